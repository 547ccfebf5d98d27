"""Means in the place of maxima: the average over each window of a max pooling, for networks that are made linear or transparent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

#: Max poolings by the name of their function, with how many axes each pools; and for adaptive ones what takes their place.
MAX_POOLS = {f"max_pool{n}d{suffix}": n for n in (1, 2, 3) for suffix in ("", "_with_indices")}
ADAPTIVE_POOLS = {f"adaptive_max_pool{n}d": getattr(nn.functional, f"adaptive_avg_pool{n}d") for n in (1, 2, 3)}


def mean_pool(
    func: Callable[..., Any],
    axes: int,
    values: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *rest: Any,
    **options: Any,
) -> Tensor:
    """
    The mean over each window of a max pooling; what lies in the padding counts as zero.

    Args:
        func (Callable): The max pooling, which is asked for the shape of its output.
        axes (int): How many axes it pools.
        values (Tensor): (N, C, ...).
        kernel_size, stride, padding, dilation: Those of the max pooling.

    Returns:
        Tensor: Of the shape that the max pooling gives.
    """
    steps = kernel_size if stride in (None, [], ()) else stride
    result = func(values.detach(), kernel_size, steps, padding, dilation, *rest, **options)
    shape = (result[0] if isinstance(result, tuple) else result).shape[-axes:]
    size, step, pad, dilate = (_each(value, axes) for value in (kernel_size, steps, padding, dilation))
    around: list[int] = []
    for n in reversed(range(axes)):  # as many as the last window takes, which "ceil_mode" may let hang over
        needed = (shape[n] - 1) * step[n] + dilate[n] * (size[n] - 1) + 1
        around += [pad[n], needed - values.shape[-axes + n] - pad[n]]
    padded = nn.functional.pad(values, around)
    for n in range(axes):
        windows = [
            padded.narrow(-axes + n, dilate[n] * k, step[n] * (shape[n] - 1) + 1).index_select(
                -axes + n, torch.arange(0, step[n] * (shape[n] - 1) + 1, step[n], device=values.device)
            )
            for k in range(size[n])
        ]
        padded = torch.stack(windows).mean(0)
    return padded


def _each(value: Any, axes: int) -> list[int]:
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return numbers * axes if len(numbers) == 1 else numbers


__all__ = ["ADAPTIVE_POOLS", "MAX_POOLS", "mean_pool"]
