"""A file put in its place so that it stays there: through a killed process, a lost connection and a power cut."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: How the name of a file ends that is still being written.
PARTIAL = ".partial"
#: How the name of a file ends that a new one is about to replace, where the file system renames no file over another.
ASIDE = f".before{PARTIAL}"
#: Switches off waiting for the disk: ``CAPTUM_PROTO_FSYNC=0``.
_VARIABLE = "CAPTUM_PROTO_FSYNC"
#: What a file system says that cannot flush a folder, or a file: there is nothing to wait for then.
_NO_FLUSH = frozenset((errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EISDIR))
#: What a file system says that renames no file over another, as some network and foreign ones do.
_NO_REPLACE = frozenset((errno.EEXIST, errno.EPERM, errno.EACCES, errno.EBUSY, *_NO_FLUSH, errno.ENOTEMPTY))


def flush(path: Path) -> None:
    """
    Wait until a file's content, or a folder's names, are on the disk and not in the operating system's memory alone.

    Raises:
        OSError: If the disk cannot take it. A file system that has no such thing is taken as it is.
    """
    folder = path.is_dir()
    if os.environ.get(_VARIABLE) == "0" or (folder and os.name == "nt"):  # where folders cannot be opened
        return
    # Windows flushes what may be written to, and there is nothing to be flushed in a folder but its names.
    handle = os.open(path, os.O_RDONLY if folder or os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _NO_FLUSH:
            raise
    finally:
        os.close(handle)


def make_folders(folder: Path) -> list[Path]:
    """Make a folder and those above it, and wait until the disk has their names: those that were not there, the innermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for made in missing:
        flush(made.parent)
    return missing


def put_in_place(temporary: Path, target: Path) -> None:
    """
    Give a file that is written its own name, in place of another of that name, and wait until the disk has both content and name.

    There is no moment without a whole file of that name. Where the file system renames no file over another, the old one steps aside for
    that moment: :func:`step_back` puts it back after a process was killed there.

    Raises:
        OSError: If the disk cannot take it.
    """
    flush(temporary)
    try:
        temporary.replace(target)
    except OSError as error:
        if error.errno not in _NO_REPLACE or not target.exists():
            raise
        aside = target.with_name(f".{target.name}{ASIDE}")
        aside.unlink(missing_ok=True)
        target.rename(aside)
        try:
            temporary.rename(target)
        except BaseException:
            aside.rename(target)
            raise
        flush(target.parent)
        aside.unlink()
    flush(target.parent)


def aside_of(path: Path) -> Path:
    """Where the earlier file of a name is while :func:`put_in_place` replaces it: the file itself, but for that moment."""
    aside = path.with_name(f".{path.name}{ASIDE}")
    return aside if not path.exists() and aside.exists() else path


def step_back(folder: Path) -> None:
    """Put files back that stepped aside for new ones that never came, and remove what was being written, in a folder and those below."""
    for aside in folder.rglob(f".*{ASIDE}"):
        target = aside.with_name(aside.name[1 : -len(ASIDE)])
        if not target.exists():
            aside.rename(target)
    for left in folder.rglob(f".*{PARTIAL}"):
        with contextlib.suppress(FileNotFoundError):
            left.unlink()


__all__ = ["ASIDE", "PARTIAL", "aside_of", "flush", "make_folders", "put_in_place", "step_back"]
