"""
Where float64 is had: sums that have to be exact, and random draws, are made on a device that has it.

Apple's MPS, Vulkan and some of Intel's GPUs have no float64. What is optimized there stays there, in float32; what leaves a network for
statistics is moved to the CPU, so that results are those of the CPU. Of the CPU and CUDA nothing is moved.
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

#: Device types that have float64, which nobody needs to ask.
_HAVE = frozenset({"cpu", "cuda", "meta"})
_answers: dict[str, bool] = {}
_lock = threading.Lock()


def has_float64(device: torch.device) -> bool:
    """
    Whether a device has float64: tried once for each type of device.

    Args:
        device (torch.device): The device.

    Returns:
        bool: Whether numbers in float64 can be made and added there.

    Examples::

        >>> has_float64(torch.device("cpu"))
        True
    """
    if device.type in _HAVE:
        return True
    with _lock:
        if device.type not in _answers:
            _answers[device.type] = _tried(device)
        return _answers[device.type]


def _tried(device: torch.device) -> bool:
    try:
        # Some devices have memory for float64 and no arithmetic, which is noticed when the sum is looked at.
        return float(torch.ones(2, dtype=torch.float64, device=device).sum()) == 2.0
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, TypeError):
        return False


def exact_device(device: torch.device) -> torch.device:
    """
    Where sums and draws in float64 are made for a device.

    Args:
        device (torch.device): The device.

    Returns:
        torch.device: Itself; the CPU, if it has no float64.

    Examples::

        >>> exact_device(torch.device("cpu"))
        device(type='cpu')
    """
    return device if has_float64(device) else torch.device("cpu")


def exact(values: Tensor) -> Tensor:
    """
    Values where their sums in float64 are made.

    Args:
        values (Tensor): Any shape and dtype.

    Returns:
        Tensor: Itself; on the CPU, if its device has no float64.

    Examples::

        >>> values = torch.ones(2)
        >>> exact(values) is values
        True
    """
    return values if has_float64(values.device) else values.cpu()


def double(values: Tensor) -> Tensor:
    """
    Values in float64, on their device or, if that has no float64, on the CPU.

    Args:
        values (Tensor): Any shape and dtype.

    Returns:
        Tensor: Of the same shape.

    Examples::

        >>> double(torch.ones(2))
        tensor([1., 1.], dtype=torch.float64)
    """
    return exact(values).double()


__all__ = ["double", "exact", "exact_device", "has_float64"]
