"""What a fuzzer tries: a reader of the package, on a file of any bytes, watched so that nothing else happens than that it is read."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from captum_proto._utils.errors import CaptumProtoError

#: So long may a file of a few kilobytes take, in seconds, and so much memory beyond what the process had before it.
SECONDS, BYTES = 20.0, 3 * 2**30
#: What a reader has no business with, as Python's audit hooks call it.
_NEVER = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "socket.connect",
    "socket.getaddrinfo",
    "pickle.find_class",
    "webbrowser.open",
)
#: What changes files: allowed in the folder that is read, as a page is written there, and nowhere else.
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate", "shutil.rmtree")


class Violation(BaseException):
    """Something happened that reading a file must never bring about. No handler of the package catches it."""


class Slow(BaseException):
    """A file took longer than any file may."""


@dataclass(frozen=True)
class Reader:
    """
    A reader and files to begin with.

    Args:
        name (str): What is read, as a stranger calls it.
        file (str): What the file is called, relative to its folder: readers look at the ending.
        seeds (Callable): Gives whole files, of a folder that is its own.
        read (Callable): Of the path of a file.
        words (tuple[bytes, ...]): That such files hold, for the fuzzer to put in. Default: none
    """

    name: str
    file: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    words: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """
    What came of a file.

    Attributes:
        kind (str): "read", "refused" or "broken".
        said (str): The type of what was read; the sentence; or what went wrong.
        where (str): Of what is broken, the line at which it went wrong: by it findings are told apart.
    """

    kind: str
    said: str
    where: str = ""


_watched: list[Path] = []


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    if event in _NEVER:
        raise Violation(f"{event} {str(arguments)[:200]}")
    if event == "open":
        path, mode, flags = arguments
        writes = (isinstance(mode, str) and set(mode) & set("wax+")) or (
            isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        )
        if not isinstance(path, int) and not (
            isinstance(flags, int) and flags & os.O_NOFOLLOW and os.path.islink(path)
        ):
            _check(event, path, bool(writes))  # a link that is not followed is refused by the system
    elif event in _CHANGES:
        path, *rest = arguments
        if rest and isinstance(rest[-1], int) and rest[-1] >= 0 and not os.path.isabs(os.fsdecode(path)):
            path = os.path.join(
                os.readlink(f"/proc/self/fd/{rest[-1]}"), os.fsdecode(path)
            )  # within a folder that is open
        _check(event, path, True)


def _check(event: str, path: Any, writes: bool) -> None:
    text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else str(path)
    if "\0" in text or text == os.devnull:
        return
    inside = os.path.realpath(text).startswith(str(_watched[0]) + os.sep) or os.path.realpath(text) == str(_watched[0])
    if writes and not inside:
        raise Violation(f"{event} of {text} outside of the folder")
    if not inside and os.path.basename(text).startswith("secret"):
        raise Violation(f"{event} of {text}, which a name in the file led to")


sys.addaudithook(_hook)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Within bounds of time and memory, with an eye on what is opened, started and changed."""

    def late(number: int, frame: FrameType | None) -> None:
        raise Slow("".join(traceback.format_stack(frame, limit=3)))

    before = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + BYTES, before[1]))
    handler = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    _watched.append(folder.resolve())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        _watched.clear()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


def attempt(reader: Reader, folder: Path, data: bytes) -> Outcome:
    """
    Give a reader a file.

    Args:
        reader (Reader): What reads it.
        folder (Path): Where to write it; beside the folder lies ``secret.png``, which no name in the file may lead to.
        data (bytes): What it holds.
    """
    path = folder / reader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return watched_read(lambda: reader.read(path), folder)


def watched_read(read: Callable[[], object], folder: Path) -> Outcome:
    """What comes of a call that reads files in a folder."""
    try:
        with watched(folder):
            found = read()
    except CaptumProtoError as error:
        said = str(error)
        if not said.strip() or len(said) > 20_000:
            return Outcome("broken", f"a sentence of {len(said)} letters: {said[:200]!r}", "sentence")
        return Outcome("refused", said)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if f"{os.sep}captum_proto{os.sep}" in frame.filename] or frames
        where = f"{type(error).__name__} at {Path(own[-1].filename).name}:{own[-1].lineno}"
        return Outcome("broken", f"{type(error).__name__}: {str(error)[:300]}", where)
    return Outcome("read", type(found).__name__)
