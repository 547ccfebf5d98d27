"""Says once that PyTorch does the native kernels' work, where that costs time and another installation would mend it."""

from __future__ import annotations

import functools
import sys
import threading
import warnings
from collections.abc import Callable
from types import FrameType
from typing import ParamSpec, TypeVar

from torch import Tensor

from captum_proto.ops import _native

P = ParamSpec("P")
R = TypeVar("R")

#: From so many values on, what PyTorch takes longer on a CPU is worth a word.
LARGE = 65_536

#: Packages whose lines a warning is not of: the one that it is of is theirs who called these.
_PASSED_OVER = ("captum_proto", "torch")


class SlowPathWarning(RuntimeWarning):
    """
    Operators run in PyTorch because their native module was left out of the installation: more slowly, with the same results.

    Given once in a process for the CPU and once for CUDA, at the line that first had an operator take 65,536 values or more on the CPU,
    or any on CUDA. Not given where ``CAPTUM_PROTO_NATIVE=0`` asks for PyTorch, nor where another warning has said why a module that is
    there is not used.

    Examples::

        >>> import warnings
        >>> warnings.filterwarnings("ignore", category=SlowPathWarning)
    """


_given: set[str] = set()
_lock = threading.Lock()


def watched(twin: Callable[P, R]) -> Callable[P, R]:
    """``twin``, the kernel in PyTorch, which first says so if it is called for want of a native one."""

    @functools.wraps(twin)
    def kernel(*arguments: P.args, **named: P.kwargs) -> R:
        largest = max((each for each in arguments if isinstance(each, Tensor)), key=Tensor.numel, default=None)
        if largest is not None:
            say_once(largest.device.type, largest.numel())
        return twin(*arguments, **named)

    return kernel


def say_once(device: str, size: int) -> None:
    """Warns of the first call that is worth it, of an operator on ``size`` values on ``device``."""
    if device in _given or not (device == "cuda" or size >= LARGE):
        return
    reason = _native.left_out_silently(device)
    if reason is None:
        return
    where = "on CUDA" if device == "cuda" else f"with {size:,} values on the CPU"
    text = (
        f"captum_proto's operators run in PyTorch here ({where}), which is slower and gives the same results: {reason}"
    )
    frame = _frame_of_caller()
    module = str(frame.f_globals.get("__name__", "<unknown>"))
    with _lock:
        # What a filter drops has not been said: this package drops warnings while it tries out whether input fits.
        if device in _given or _dropped(text, module, frame.f_lineno):
            return
        _given.add(device)
    registry = frame.f_globals.setdefault("__warningregistry__", {})
    warnings.warn_explicit(text, SlowPathWarning, frame.f_code.co_filename, frame.f_lineno, module, registry)


def _frame_of_caller() -> FrameType:
    """The innermost frame that is not this package's or PyTorch's; the outermost, on a thread of PyTorch's own."""
    frame = sys._getframe(1)
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in _PASSED_OVER:
        frame = frame.f_back
    return frame


def _dropped(text: str, module: str, line: int) -> bool:
    """Whether Python's filters ignore this warning of this line."""
    for action, message, category, modules, lines in warnings.filters:
        if (
            issubclass(SlowPathWarning, category)
            and lines in (0, line)
            and (message is None or message.match(text))
            and (modules is None or modules.match(module))
        ):
            return action == "ignore"
    return False
