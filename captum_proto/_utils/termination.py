"""
A process that is asked to terminate (SIGTERM) ends soon, and never in the middle of something that is to be whole.

The command line takes the signal with :func:`taken`; a program that uses the package keeps its own ways with it. What is to be whole is a
block of :func:`postponed`: a file that is written, a step of an optimization of which snapshots are kept.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

#: The exit code of a process that SIGTERM ended, as shells give it.
EXIT_CODE = 128 + int(signal.SIGTERM)


class Terminated(BaseException):
    """The process was asked to terminate; like KeyboardInterrupt, nothing that handles errors handles it."""


_asked = False
#: How many blocks of :func:`postponed` the main thread is in.
_depth = 0


def asked() -> bool:
    """Whether the process was asked to terminate."""
    return _asked


def end_if_asked() -> None:
    """
    End here, if the process was asked to terminate: where Python dropped the exception, as it does in finalizers, it comes again.

    Raises:
        Terminated: In the main thread, outside of :func:`postponed`.
    """
    if _asked and not _depth and threading.current_thread() is threading.main_thread():
        raise Terminated


@contextlib.contextmanager
def postponed() -> Iterator[None]:
    """A block that is not ended in the middle. In other threads than the main one, which no signal ends, it is a block like any other."""
    global _depth
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    try:
        yield
    finally:
        _depth -= 1
    end_if_asked()


@contextlib.contextmanager
def taken() -> Iterator[None]:
    """
    Raise :class:`Terminated` in the main thread when the process is asked to terminate, for the length of a block.

    A handler that is there already stays, and so does everything where the block is not in the main thread, which alone gets signals.
    Processes that are forked meanwhile, such as those of a DataLoader, end as any other process does.
    """
    global _asked
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    owner = os.getpid()

    def terminate(number: int, frame: FrameType | None) -> None:
        global _asked
        if os.getpid() != owner:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        _asked = True
        end_if_asked()

    _asked = False
    signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _asked = False


__all__ = ["EXIT_CODE", "Terminated", "asked", "end_if_asked", "postponed", "taken"]
