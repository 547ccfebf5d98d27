"""Files that are written whole or not at all, and tensors with a description of them in one file."""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import hashlib
import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from captum_proto._utils import termination
from captum_proto._utils.durable import PARTIAL, make_folders, put_in_place
from captum_proto._utils.errors import CaptumProtoError, InputError, MissingFileError, OccupiedError, WriteError
from captum_proto._utils.reading import check_regular, parse_json, read_json

_METADATA = "captum_proto"
#: The ``errors`` with which text is written: see :func:`_escaped`.
ESCAPED = "captum_proto.escaped"
#: The ``errors`` with which JSON is written: what JSON itself has for a letter that UTF-8 cannot hold, so that it is read as it was.
JSON_ESCAPED = "backslashreplace"

#: Where to note the files that are written, if anyone asked.
_written: ContextVar[set[Path] | None] = ContextVar("captum_proto files written", default=None)
#: Whether what is written goes nowhere.
_discarded: ContextVar[bool] = ContextVar("captum_proto files discarded", default=False)
#: Whom to tell of each file before it is there, if anyone asked: a process that is killed cannot say afterwards what it wrote.
_foretold: ContextVar[Callable[[Path], None] | None] = ContextVar("captum_proto files foretold", default=None)


def _escaped(error: UnicodeError) -> tuple[str, int]:
    r"""
    What is shown for a letter that cannot be encoded, in files of text and in the terminal.

    A byte of a name that is not UTF-8, which Python's names of files hold as a lone surrogate, is shown as ``\xff``; a letter that the
    terminal's encoding lacks as ``\u03bb``. Names themselves stay as Python has them: by these a file is found.
    """
    if isinstance(error, UnicodeEncodeError):
        letter = error.object[error.start]
        if "\udc80" <= letter <= "\udcff":
            return f"\\x{ord(letter) - 0xDC00:02x}", error.start + 1
        error.end = error.start + 1
    shown, end = codecs.backslashreplace_errors(error)
    return str(shown), end


codecs.register_error(ESCAPED, _escaped)


def readable(text: str) -> str:
    """A text that may hold the name of a file, with what of it is not UTF-8 as it is shown."""
    return text.encode("utf-8", ESCAPED).decode("utf-8")


def one_line(text: str) -> str:
    r"""
    A sentence as a terminal shows it, whatever names stand in it: on one line, with control characters spelled out.

    A name may hold line breaks, and sequences by which terminals move the cursor, change colors or turn the direction of letters.

    Examples::

        >>> one_line("there is no file \"a\x1b[2Jb\nc\".")
        'there is no file "a\\x1b[2Jb\\nc".'
    """
    shown = (repr(letter)[1:-1] if unicodedata.category(letter) in _UNSEEN else letter for letter in text)
    return "".join(shown)


#: Categories of letters that are not seen, or change how others are: controls, marks of direction, separators of lines and paragraphs.
_UNSEEN = ("Cc", "Cf", "Zl", "Zp")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str], overwrite: bool = False, passing: bool = False) -> Iterator[Path]:
    """
    A temporary path beside ``path`` that takes its place when the block ends, and vanishes if the block raises.

    When it has taken its place, the disk has it: see :func:`~captum_proto._utils.durable.put_in_place`. A process that is asked to
    terminate meanwhile does so afterwards.

    Args:
        path (str or PathLike): The file.
        overwrite (bool, optional): Whether it may be there already. Default: False
        passing (bool, optional): Whether it is no result and goes again, so that nobody is to note it. Default: False

    Raises:
        OccupiedError: If ``path`` exists and ``overwrite`` is False.
        WriteError: If it cannot be written: a folder of others, a full disk.
    """
    target = Path(path)
    if _discarded.get():
        with tempfile.TemporaryDirectory() as elsewhere:
            yield Path(elsewhere) / target.name
        return
    if target.exists() and not overwrite:
        raise OccupiedError(f'"{target}" exists and would be overwritten; choose another name or pass overwrite=True.')
    with termination.postponed():
        folders: list[Path] = []
        try:
            folders = make_folders(target.parent)
            handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=PARTIAL)
        except OSError as error:
            raise file_error(error, target) from error
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            # mkstemp makes files for their owner's eyes only; give what any other new file gets.
            umask = os.umask(0)
            os.umask(umask)
            with contextlib.suppress(PermissionError):  # of a file system without permissions
                temporary.chmod(0o666 & ~umask)
            if not passing and (foretell := _foretold.get()) is not None:
                foretell(target)
            put_in_place(temporary, target)
        except (OSError, SafetensorError) as error:
            if isinstance(error, CaptumProtoError) or (isinstance(error, OSError) and error.errno not in _OF_THE_DISK):
                raise
            raise file_error(error, target) from error
        finally:
            with contextlib.suppress(OSError):  # it has taken its place, or the disk went while it was written
                temporary.unlink()
            with contextlib.suppress(OSError):  # it is in them, or others' files are
                for folder in folders:
                    folder.rmdir()
        if not passing and (written := _written.get()) is not None:
            written.add(target)


#: What a disk says while a file is written, whatever the file: full, over quota, read-only, broken.
_OF_THE_DISK = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EACCES, errno.EPERM, errno.EFBIG))


#: Of these, what more room mends.
_FULL = (errno.ENOSPC, errno.EDQUOT)
#: safetensors gives the number of the operating system's error in words alone.
_ERROR_NUMBER = re.compile(r"\(os error (\d+)\)")


def file_error(error: Exception, path: Path, what: str = "cannot be written") -> WriteError:
    """What the operating system said of a file, as a sentence that names it."""
    reason, number = getattr(error, "strerror", None) or str(error), getattr(error, "errno", None)
    if isinstance(error, SafetensorError) and (found := _ERROR_NUMBER.search(reason)):
        number = int(found[1])
        reason = os.strerror(number)
    full = number in _FULL or "No space left" in reason
    advice = "make room, and go on with --resume" if full else "choose a folder you may write to"
    made = WriteError(f'"{path}" {what} ({reason}); {advice}.')
    made.errno = number
    return made


@contextlib.contextmanager
def files_written() -> Iterator[set[Path]]:
    """
    Collect the paths of the files that :func:`whole_file` puts in their place during the block, in any function it calls, and of those
    that :func:`count_as_written` names.
    """
    outer, inner = _written.get(), set[Path]()
    token = _written.set(inner)
    try:
        yield inner
    finally:
        _written.reset(token)
        if outer is not None:
            outer |= inner


@contextlib.contextmanager
def files_foretold(tell: Callable[[Path], None]) -> Iterator[None]:
    """Call a function with the path of each file that :func:`whole_file` is about to put in its place during the block."""
    token = _foretold.set(tell)
    try:
        yield
    finally:
        _foretold.reset(token)


@contextlib.contextmanager
def files_discarded() -> Iterator[None]:
    """
    Let :func:`whole_file` put nothing in its place during the block: for a process that needs what a function returns, not what it writes,
    since another process has written it.
    """
    token = _discarded.set(True)
    try:
        yield
    finally:
        _discarded.reset(token)


def count_as_written(paths: Iterable[Path]) -> None:
    """Tell :func:`files_written` of files that an earlier process wrote, and that are part of what is made now."""
    if (written := _written.get()) is not None:
        written.update(paths)


def save_tensors(
    path: str | os.PathLike[str],
    kind: str,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    overwrite: bool = False,
    passing: bool = False,
) -> None:
    """Tensors and a JSON description of them, as one safetensors file of this ``kind``; ``passing`` as :func:`whole_file` has it."""
    described = {_METADATA: json.dumps({"kind": kind, **metadata})}
    with whole_file(path, overwrite, passing) as temporary:
        # Not save_file, which writes to a temporary file of its own in the same folder, and leaves it there when it is killed.
        held = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        temporary.write_bytes(safetensors.torch.save(held, described))


def load_tensors(path: str | os.PathLike[str], kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """
    What :func:`save_tensors` wrote.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is damaged, or of another kind.
    """
    if not Path(path).is_file():
        raise MissingFileError(f'there is no file "{path}"; expected a {kind} saved by captum_proto.')
    try:
        tensors, described = read_safetensors(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f'"{path}" is damaged or no safetensors file ({error}); save it again.') from error
    try:
        metadata: dict[str, Any] = parse_json(described.get(_METADATA, "{}"))
    except ValueError as error:
        raise InputError(f'"{path}" is damaged: its description is not JSON ({error}); save it again.') from error
    found = metadata.get("kind") if isinstance(metadata, dict) else None
    if found != kind:
        raise InputError(f'"{path}" holds {found or "something else"}; expected a {kind} saved by captum_proto.')
    return tensors, metadata


def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """
    The tensors in a safetensors file, on the CPU, and its metadata.

    Raises:
        SafetensorError, OSError: If it cannot be read, or is damaged.
    """
    try:
        check_regular(path)
        if readable(name := os.fspath(path)) == name:
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118  # no mapping
        # safetensors opens no file whose name is not UTF-8, but takes its content.
        content = Path(path).read_bytes()
        tensors = safetensors.torch.load(content)
        header = parse_json(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return tensors, header.get("__metadata__") or {}
    except (OSError, SafetensorError):
        raise
    except _OF_CONTENT as error:  # a type of numbers that PyTorch lacks
        raise SafetensorError(f"{type(error).__name__}: {error}") from error


#: What code that takes a file for granted raises where it is not what it should be: infinity as a count, a cell without an end.
_OF_CONTENT = (
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    MemoryError,
    EOFError,
    OSError,
    csv.Error,
)


@contextlib.contextmanager
def intact(path: str | os.PathLike[str], kind: str) -> Iterator[None]:
    """
    Put together in the block what a file of this ``kind`` holds: where a part is missing, or does not fit the others, it is damaged.

    Raises:
        InputError: In place of whatever else the block raises on such a file.
    """
    try:
        yield
    except CaptumProtoError:
        raise
    except _OF_CONTENT as error:
        reason = f"there is no {error}" if isinstance(error, KeyError) else " ".join(str(error).split()).rstrip(".")
        raise InputError(f'"{path}" is damaged: it cannot be read as a {kind} ({reason}); save it again.') from error


def load_json(path: str | os.PathLike[str], kind: str) -> dict[str, Any]:
    """
    What a file of JSON holds that says of which ``kind`` it is; without that.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is damaged or of another kind.
    """
    article = "an" if kind[0] in "aeiou" else "a"
    if not Path(path).is_file():
        raise MissingFileError(f'there is no file "{path}"; expected {article} {kind} saved by captum_proto.')
    with intact(path, kind):
        content: dict[str, Any] = read_json(path)
        if content.pop("kind", None) != kind:
            raise InputError(f'"{path}" holds something else than {article} {kind}; save it again.')
        return content


def alike(what: str, *counts: int) -> None:
    """
    See that the parts of what a file holds are of one length.

    Raises:
        ValueError: If they are not, for :func:`intact` to say of which file.
    """
    if len(set(counts)) > 1:
        raise ValueError(f"its parts are of {' and '.join(map(str, sorted(set(counts))))} {what}")


def sha256(path: Path) -> str:
    """The SHA-256 digest of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        check_regular(path)  # what never ends has no digest
    except ValueError as error:
        raise InputError(f'"{path}" cannot be read: {error}.') from error
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values as bytes, whatever its dtype, device or strides."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def tensor_sha256(*tensors: Tensor) -> str:
    """The SHA-256 digest of the values of one or several tensors, in hexadecimal."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def image_digest(image: Tensor) -> str:
    """A fingerprint of one image's values, by which it is known again: whether it was measured, or is part of a mean."""
    return hashlib.blake2b(tensor_bytes(image.float()), digest_size=16).hexdigest()
