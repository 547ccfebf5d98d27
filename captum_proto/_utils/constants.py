"""Constants of the host beside values of a device, copied there once instead of in every step: a copy makes a GPU wait."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

#: Of each constant, as long as it lives, its copies: by device, dtype, and how often the constant was changed in place.
_copies: WeakIdKeyDictionary = WeakIdKeyDictionary()
_numbers: dict[tuple[tuple[int, ...], torch.device], Tensor] = {}
_MOST_NUMBERS = 1024


def beside(constant: Tensor, like: Tensor, keep_dtype: bool = False) -> Tensor:
    """
    A constant on the device and in the dtype of other values, copied at most once.

    Args:
        constant (Tensor): Any shape. One that requires a gradient is converted anew each time.
        like (Tensor): The values.
        keep_dtype (bool, optional): Whether the constant keeps its own dtype. Default: False

    Returns:
        Tensor: Not to be changed in place.

    Examples::

        >>> weights = torch.tensor([0.5, 2.0])
        >>> beside(weights, torch.zeros(2, dtype=torch.float64)) is beside(weights, torch.ones(3, dtype=torch.float64))
        True
    """
    device, dtype = like.device, constant.dtype if keep_dtype else like.dtype
    if constant.device == device and constant.dtype == dtype:
        return constant
    if constant.requires_grad or constant.is_inference():
        return constant.to(device, dtype)
    copies: dict[tuple[torch.device, torch.dtype, int], Tensor] = _copies.setdefault(constant, {})  # type: ignore[no-untyped-call]
    key = (device, dtype, constant._version)
    if key not in copies:
        with torch.inference_mode(False), torch.no_grad():
            made = constant.to(device, dtype)
        if type(made) is not Tensor:  # a compiler's stand-in, which is of no use later
            return made
        copies[key] = made
    return copies[key]


def numbers_on(device: torch.device, numbers: Sequence[int]) -> Tensor:
    """
    Whole numbers as a tensor on a device, copied there at most once: what indexes with a list copies it at every call.

    Args:
        device (torch.device): The device.
        numbers (sequence of int): The numbers.

    Returns:
        Tensor: (len(numbers),), int64; not to be changed in place.
    """
    key = (tuple(numbers), device)
    if key not in _numbers:
        with torch.inference_mode(False):
            made = torch.tensor(key[0], dtype=torch.int64, device=device)
        if type(made) is not Tensor:
            return made
        if len(_numbers) >= _MOST_NUMBERS:
            _numbers.clear()
        _numbers[key] = made
    return _numbers[key]


__all__ = ["beside", "numbers_on"]
