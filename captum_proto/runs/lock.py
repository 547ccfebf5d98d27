"""The lock on a run's folder: one process, or several that make shares of one run; none outlives the process that has it."""

from __future__ import annotations

import errno
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path

from captum_proto._utils.checks import callers_level
from captum_proto.runs.contents import NO_LINKS

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody watches over two runs in one folder
    _LOCKS = False
else:
    _LOCKS = True

#: What a file system says that has no locks, as some that are mounted over a network; and of a lock that another process has.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
_TAKEN = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class FolderLock:
    """
    A lock on a file, that the operating system takes back when the process ends, however it ends.

    Args:
        path (Path): The file; it is made, and removed by the last who has the lock.
        shared (bool, optional): Whether others may have it too, that share it. Default: False
        patience (float, optional): How many seconds to wait for who has it. Default: 0
        quiet (bool, optional): Whether to say nothing where the file system has no locks. Default: False

    Raises:
        OSError: If the file cannot be made, or not be locked for another reason than that somebody has it.

    Warns:
        UserWarning: If the file system has no locks: then whoever asks has it.
    """

    def __init__(self, path: Path, *, shared: bool = False, patience: float = 0, quiet: bool = False) -> None:
        self._path, self._shared, self._quiet = path, shared, quiet
        self._handle: int | None = None
        end = time.monotonic() + patience
        while (handle := self._try()) is None and time.monotonic() < end:
            time.sleep(0.2)
        self._handle = handle

    @property
    def held(self) -> bool:
        """Whether the lock was to be had."""
        return self._handle is not None

    def release(self) -> None:
        """Give the lock back, if it is held."""
        if self._handle is None:
            return
        if not self._shared or self._flock(
            self._handle, shared=False
        ):  # else others have it still, and the file is theirs
            with suppress(OSError):
                self._path.unlink()
        os.close(self._handle)
        self._handle = None

    def _try(self) -> int | None:
        """An open file that is locked; None if another process has it."""
        while True:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | NO_LINKS, 0o666)
            try:
                mine = self._flock(handle, self._shared)
            except OSError:
                os.close(handle)
                raise
            if not mine:
                os.close(handle)
                return None
            # Whoever had it before may have removed the file after this process opened it: a lock on that one would keep nobody out.
            with suppress(OSError):
                if os.fstat(handle).st_ino == os.stat(self._path).st_ino:
                    return handle
            os.close(handle)

    def _flock(self, handle: int, shared: bool) -> bool:
        """Whether the lock was to be had."""
        if not _LOCKS:
            return True
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _TAKEN:
                return False
            if error.errno not in _NO_LOCKS:
                raise
            if not self._quiet:
                self._quiet = True  # it is not said again
                warnings.warn(
                    f'the file system of "{self._path.parent}" has no locks ({error.strerror}), so nobody watches over two runs in one '
                    "folder; see to it that no other process works in it.",
                    stacklevel=callers_level(),
                )
        return True


__all__ = ["FolderLock"]
