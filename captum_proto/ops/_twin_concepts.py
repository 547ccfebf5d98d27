"""The operators on concepts in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

#: How many pixels of enlarged maps are held at once.
_AT_ONCE = 2**22


def unit_concept_counts(
    counts: Tensor, activations: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool
) -> Tensor:
    images, units = activations.shape[:2]
    concepts, pixels = counts.shape[1], labels.shape[2] * labels.shape[3]
    hits = activations.new_zeros(images, units, dtype=torch.int64)
    at_once = max(1, _AT_ONCE // pixels)
    for image in range(images):
        for first in range(0, units, at_once):
            part = slice(first, first + at_once)
            fires = firing(activations[image, part], thresholds[part], tuple(labels.shape[2:]), align_corners).flatten(
                1
            )
            hits[image, part] = fires.sum(1)
            unit, pixel = fires.nonzero(as_tuple=True)
            for of_map in labels[image].flatten(1):
                places = (first + unit) * concepts + of_map[pixel].long()
                counts.view(-1).scatter_add_(0, places, torch.ones_like(places))
    return hits


def firing(maps: Tensor, thresholds: Tensor, size: tuple[int, ...], align_corners: bool) -> Tensor:
    """Where units (U, h, w) fire at pixels (U, *size): :func:`captum_proto.ops.unit_concept_counts` says how."""
    limits = thresholds.view(-1, 1, 1)
    enlarged, above = maps.double(), maps.double() > limits
    for axis in (1, 2):
        before, after, share = _between(maps.shape[axis], size[axis - 1], align_corners, maps.device)
        start, end = enlarged.index_select(axis, before), enlarged.index_select(axis, after)
        enlarged = start + (end - start) * share.view((-1, 1) if axis == 1 else (1, -1))
        above = above.index_select(axis, before) | above.index_select(axis, after)
    return (enlarged > limits) & above


def packed_counts(a: Tensor, b: Tensor) -> Tensor:
    counts = a.new_zeros(len(a), len(b))
    rows = max(1, _AT_ONCE // max(1, b.numel()))
    for first in range(0, len(a), rows):
        together = a[first : first + rows, None, :] & b[None]
        counts[first : first + rows] = _ones(together).sum(2)
    return counts


def _ones(words: Tensor) -> Tensor:
    """How many bits of each word are set: pairs of bits are added, then fours, and so on."""
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        # The mask takes away what an arithmetic shift fills in.
        words = (words & mask) + ((words >> shift) & mask)
    for shift in (8, 16, 32):
        words = words + (words >> shift)
    return words & 0x7F


def _between(size: int, pixels: int, align_corners: bool, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The places between which each pixel of an enlarged axis lies, and how far it is on the way from the one to the other."""
    number = torch.arange(pixels, dtype=torch.float64, device=device)
    if align_corners:
        place = number * ((size - 1) / (pixels - 1) if pixels > 1 else 0.0)
    else:
        place = ((number + 0.5) * (size / pixels) - 0.5).clamp(min=0.0)
    before = place.long().clamp(max=size - 1)
    return before, (before + 1).clamp(max=size - 1), place - before


__all__ = ["firing", "packed_counts", "unit_concept_counts"]
