"""The operators on concepts in plain PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops.firing import firing

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


__all__ = ["packed_counts", "unit_concept_counts"]
