"""Gradients of an optimization: taken with what can go wrong told, and where one is zero, the operation at which it is lost."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError

#: Why operations have no slope, and what to do: by the beginnings of their names.
_CAUSES = {
    ("round", "floor", "ceil", "trunc", "sign", "fakequantize"): (
        "rounding or quantization, which has no slope; leave it out of the preprocessing and the model"
    ),
    ("relu", "threshold", "hardtanh", "hardswish", "hardsigmoid", "clamp", "maximum", "minimum"): (
        "units that are off, or at their limit, for everything shown to them; give another seed, other start images or a lower lr"
    ),
    ("sigmoid", "tanh", "softmax", "logsoftmax", "gelu", "silu"): (
        "saturated values, whose slope is below the smallest number; check the scale of the preprocessing and of the weights"
    ),
    ("addmm", "mm", "bmm", "mul", "convolution", "nativebatchnorm", "cudnn", "mkldnn"): (
        "weights or factors of zero; check whether the weights were loaded"
    ),
}
_UNKNOWN = (
    "most likely by rounding, quantization, units that are off, or saturated values in the preprocessing or the model"
)


def gradients_of(loss: Tensor, inputs: Sequence[Tensor]) -> list[Tensor | None]:
    """
    The gradient of a loss by each input; None where it does not depend on it.

    Raises:
        InputError: If the model forgets its activations in a way that can be gone through by ``backward()`` alone.
    """
    try:
        return list(torch.autograd.grad(loss, list(inputs), allow_unused=True))
    except RuntimeError as error:
        if "checkpoint" not in str(error).lower():
            raise
        raise InputError(
            "the model uses torch.utils.checkpoint with use_reentrant=True, whose gradient cannot be taken with respect to images alone; "
            "call it with use_reentrant=False, or switch checkpointing off."
        ) from error


@dataclass(frozen=True)
class Lost:
    """
    Where a gradient was lost.

    Attributes:
        operation (str): As PyTorch calls it.
        undefined (bool): Whether the operation has no gradient at all, and handed on none instead of zeros.
    """

    operation: str
    undefined: bool


def where_lost(loss: Tensor, images: Tensor) -> Lost | None:
    """
    The operation at which the gradient of a loss by images becomes zero, or None where it does not, or not in an operation.

    Every operation between them is watched during the backward pass: a gradient is lost where one comes in and zero goes out.

    Args:
        loss (Tensor): A single value.
        images (Tensor): Part of its graph.
    """
    lost: list[Lost] = []
    handles = []

    def watch(node: Any) -> None:
        def hook(to_inputs: Sequence[Tensor | None], from_outputs: Sequence[Tensor | None]) -> None:
            if _is_nonzero(from_outputs) and not _is_nonzero(to_inputs):
                name = re.sub(r"Backward\d*$", "", node.name().rpartition("::")[2])
                lost.append(Lost(name, all(gradient is None for gradient in to_inputs)))

        handles.append(node.register_hook(hook))

    seen: set[Any] = set()
    ahead = [loss.grad_fn]
    while ahead:
        node = ahead.pop()
        if node is not None and node not in seen:
            seen.add(node)
            watch(node)
            ahead += [parent for parent, _ in node.next_functions]
    try:
        gradients_of(loss, [images])
    finally:
        for handle in handles:
            handle.remove()
    return lost[-1] if lost else None  # the farthest that anything came


def cause_of(lost: Lost | None) -> str:
    """Where a gradient was lost and why that may be, as the end of a sentence."""
    if lost is None:
        return _UNKNOWN
    for beginnings, cause in _CAUSES.items():
        if lost.operation.lower().startswith(beginnings):
            return f"in the operation {lost.operation}: {cause}"
    return f"in the operation {lost.operation}, {_UNKNOWN}"


def _is_nonzero(gradients: Sequence[Tensor | None]) -> bool:
    return any(gradient is not None and bool(gradient.any()) for gradient in gradients)


__all__ = ["Lost", "cause_of", "gradients_of", "where_lost"]
