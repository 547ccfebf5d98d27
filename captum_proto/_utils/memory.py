"""Memory: a budget for it, how much a piece of work took, and which errors say that there is none left."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path

import torch

from captum_proto._utils.errors import InputError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", re.IGNORECASE)
#: What is said where memory ran out by those who have no exception of its own for it: PyTorch's allocators, oneDNN, C++, CUDA's libraries.
_NONE_LEFT = re.compile(
    r"not enough memory|DefaultCPUAllocator|can't allocate memory|cannot allocate memory|out of memory|std::bad_alloc|bad allocation|"
    r"ALLOC_FAILED|could not create a memory object",
    re.IGNORECASE,
)
#: How much was asked for, in such a message.
_ASKED = re.compile(r"tried to allocate ([\d.]+ ?[KMGT]?i?B?(?:ytes)?)", re.IGNORECASE)
_budget: ContextVar[int | None] = ContextVar("captum_proto memory budget", default=None)


def parse_size(size: int | str) -> int:
    """
    A number of bytes, from itself or from a text with a unit.

    Args:
        size (int or str): ``4294967296``, ``"4GiB"``, ``"500 MB"``, ``"1.5g"``; units with an i are powers of 1024, the others of 1000.

    Raises:
        InputError: If it is neither, or not positive.

    Examples::

        >>> parse_size("4GiB"), parse_size("500 MB"), parse_size(1024)
        (4294967296, 500000000, 1024)
    """
    found = _SIZE.fullmatch(str(size).strip()) if isinstance(size, (int, str)) and not isinstance(size, bool) else None
    number = int(float(found[1]) * _UNITS[(found[2] or "").lower()]) if found else 0
    if number < 1:
        raise InputError(
            f'the memory budget is {size!r}; expected a positive number of bytes, such as "4GiB" or "500MB".'
        )
    return number


def readable_size(size: int) -> str:
    """A number of bytes with the unit that makes it short: ``1.5 GiB``."""
    value, unit = float(size), "bytes"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "bytes" or value >= 100 else f"{value:.2f} {unit}"


@contextlib.contextmanager
def memory_budget(limit: int | str | None) -> Iterator[None]:
    """
    Hold what the block runs through a model to a memory budget: batches are made as small as it takes.

    On a GPU it is the memory that PyTorch has allocated on the model's device. On the CPU it is what the process holds and cannot give
    back: its resident memory without the pages that lie in files, such as its libraries and a memory-mapped store. What the process holds
    already counts. The budget is of the thread that opens the block.

    Args:
        limit (int, str or None): Bytes, or a text such as ``"4GiB"``; None: no budget, memory may be used up.

    Raises:
        ValueError: If ``limit`` is no size, or this system does not tell how much memory a process holds.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> with memory_budget("64GiB"):
        ...     scores = path_similarity(model, torch.rand(2, 1, 8, 8), torch.rand(16, 1, 8, 8))
    """
    size = None if limit is None else parse_size(limit)
    if size is not None and not torch.cuda.is_available() and not Gauge(torch.device("cpu")).held:
        raise InputError("this system does not tell how much memory a process holds; leave the memory budget out.")
    token = _budget.set(size)
    try:
        yield
    finally:
        _budget.reset(token)


def current_budget() -> int | None:
    """The bytes of the innermost :func:`memory_budget`, None where there is none."""
    return _budget.get()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that there was no memory: of a GPU, of the host, in PyTorch's allocators or in others' code."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and _NONE_LEFT.search(str(error)) is not None


def what_was_asked(error: BaseException) -> str:
    """How much memory was asked for, as part of a sentence, where an exception says it."""
    found = _ASKED.search(str(error))
    if found is None:
        return ""
    digits, _, unit = found[1].partition(" ")
    asked = digits if unit else re.sub(r"bytes?$|b$", "", digits, flags=re.IGNORECASE)
    return (
        f" (it tried to allocate {readable_size(int(asked))})"
        if asked.isdigit()
        else f" (it tried to allocate {found[1]})"
    )


class Gauge:
    """
    How much memory is held on a device, and how much was at most since a moment.

    Args:
        device (torch.device): Of the model.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._resettable = False
        self._peak_before = 0

    @property
    def held(self) -> int:
        """Bytes now: allocated on a GPU; of a process what is resident and not in files. 0 where nobody knows."""
        if self.device.type == "cuda":
            return torch.cuda.memory_allocated(self.device)
        known = _status()
        return known.get("RssAnon", 0) + known.get("RssShmem", 0) if "RssAnon" in known else _lifetime_peak()

    def begin(self) -> None:
        """Forget the peak so far."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            return
        try:
            Path("/proc/self/clear_refs").write_text("5")
            self._resettable = True
        except OSError:  # no Linux, or one that does not let us: the peak of the whole life is what there is
            self._resettable = False
        self._peak_before = _lifetime_peak()

    def peak(self) -> int:
        """Bytes at most since :meth:`begin`; where the system has only a peak of the whole life, that one if it has risen since."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        known = _status()
        highest = known.get("VmHWM", 0) or _lifetime_peak()
        if not self._resettable and highest <= self._peak_before:
            return self.held
        return max(self.held, highest - known.get("RssFile", 0))


def _status() -> dict[str, int]:
    """What Linux tells of this process's memory, in bytes by name."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return {}
    pairs = (line.split() for line in lines if line.startswith(("VmHWM", "Rss")))
    return {name.rstrip(":"): int(size) * 1024 for name, size, *_ in pairs}


def _lifetime_peak() -> int:
    """The most that was resident at a time, in bytes; 0 on Windows, which has no module for it."""
    try:
        import resource
    except ImportError:
        return 0
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


__all__ = [
    "Gauge",
    "current_budget",
    "is_out_of_memory",
    "memory_budget",
    "parse_size",
    "readable_size",
    "what_was_asked",
]
