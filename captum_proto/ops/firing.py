"""Where units fire, as masks: what :func:`~captum_proto.ops.unit_concept_counts` counts without ever writing it."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops.double import double


def firing(maps: Tensor, thresholds: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    """
    At which pixels units fire, as masks.

    Args:
        maps (Tensor): (U, h, w), floating point: of one image.
        thresholds (Tensor): (U,): above it a unit fires.
        size (tuple[int, int]): Rows and columns of pixels.
        align_corners (bool): As in :func:`~captum_proto.ops.unit_concept_counts`.

    Returns:
        Tensor: (U, *size), bool.

    Examples::

        >>> firing(torch.tensor([[[1.0, 0.0]]]), torch.tensor([0.5]), (1, 4), False).tolist()
        [[[True, True, False, False]]]
    """
    limits = double(thresholds).view(-1, 1, 1)
    enlarged = double(maps)
    above = enlarged > limits
    for axis in (1, 2):
        before, after, share = _between(maps.shape[axis], size[axis - 1], align_corners, enlarged.device)
        start, end = enlarged.index_select(axis, before), enlarged.index_select(axis, after)
        enlarged = start + (end - start) * share.view((-1, 1) if axis == 1 else (1, -1))
        above = above.index_select(axis, before) | above.index_select(axis, after)
    return (enlarged > limits) & above


def _between(size: int, pixels: int, align_corners: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The places between which each pixel of an enlarged axis lies, and how far it is on the way from the one to the other."""
    number = torch.arange(pixels, dtype=torch.float64, device=device)
    if align_corners:
        place = number * ((size - 1) / (pixels - 1) if pixels > 1 else 0.0)
    else:
        place = ((number + 0.5) * (size / pixels) - 0.5).clamp(min=0.0)
    before = place.long().clamp(max=size - 1)
    return before, (before + 1).clamp(max=size - 1), place - before


__all__ = ["firing"]
