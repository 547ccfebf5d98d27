"""Batches of images from a tensor, a DataLoader or any other iterable."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_images_or_inputs
from captum_proto._utils.errors import InputError, InputTypeError

#: A tensor (N, C, H, W), or an iterable of such batches; a batch may be a tuple or list whose first entry is the images.
Images = Tensor | Iterable[Any]


def image_batches(
    images: Images, batch_size: int, value_range: tuple[float, float] | None, name: str
) -> Iterator[Tensor]:
    """
    Checked batches of at most ``batch_size`` images from a tensor, or the iterable's own batches. With no range, inputs of any other kind
    may stand for images: rows of a table (N, F), embedded tokens (N, L, D).

    Raises:
        InputTypeError: If ``images`` is something else, or a batch does not hold a tensor of images.
        InputError: If images have the wrong shape or values, or there are none.
    """
    if isinstance(images, Tensor):
        check_images_or_inputs(images, value_range, name)
        yield from torch.split(images, batch_size)
        return
    if isinstance(images, (str, bytes)) or not isinstance(images, Iterable):
        raise InputTypeError(
            f"{name} is a {type(images).__name__}; expected a tensor (N, C, H, W) or an iterable of such batches."
        )
    empty = True
    for batch in images:
        if isinstance(batch, (tuple, list)) and batch:
            batch = batch[0]
        yield check_images_or_inputs(batch, value_range, name)
        empty = False
    if empty:
        raise InputError(
            f"{name} is empty; give at least one batch of images, and a list rather than a used-up generator."
        )


def rows_of(arguments: tuple[Any, ...], rows: slice, total: int) -> tuple[Any, ...]:
    """Captum's convention: a tensor argument with one row for each example goes with the batch, any other as it is."""
    return tuple(a[rows] if isinstance(a, Tensor) and a.dim() > 0 and a.shape[0] == total else a for a in arguments)
