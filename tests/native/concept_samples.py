"""Activations, thresholds and labels as the operators on concepts meet them: here, in tests/ops and in tests/cuda."""

from __future__ import annotations

from typing import Any

import torch
from native.stream_samples import activations as of_kind
from torch import Tensor

#: (N, U, h, w) and (M, H, W): single places and pixels, sizes that do not divide, maps larger than labels, no labels, no images.
SHAPES = [
    ((2, 3, 7, 7), (2, 28, 28)),
    ((1, 2, 5, 4), (1, 13, 9)),
    ((3, 1, 1, 1), (1, 6, 6)),
    ((2, 2, 9, 8), (3, 4, 5)),
    ((1, 40, 3, 3), (0, 10, 10)),
    ((0, 3, 4, 4), (1, 8, 8)),
    ((2, 0, 4, 4), (1, 8, 8)),
    ((1, 1, 1, 6), (1, 1, 24)),
    ((1, 2, 14, 14), (4, 112, 112)),
]
KINDS = ("dense", "after a ReLU", "ties", "infinities", "not a number", "denormal")
CONCEPTS = 6


def sample(
    kind: str, shape: tuple[int, ...], of_labels: tuple[int, ...], dtype: torch.dtype, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """Activations, thresholds of which one is met exactly somewhere, and labels."""
    generator = torch.Generator().manual_seed(seed)
    x = of_kind(kind, shape, dtype, seed)
    thresholds = x.double().movedim(1, 0).flatten(1).nan_to_num(0, 1, -1)
    level = (
        thresholds.sort(1).values[:, thresholds.shape[1] * 7 // 10]
        if thresholds.numel()
        else thresholds.new_zeros(len(thresholds))
    )
    labels = torch.randint(0, CONCEPTS + 1, (shape[0], *of_labels), generator=generator).to(torch.int16)
    return x, level.contiguous(), labels


def layouts(x: Tensor) -> list[Tensor]:
    """The same maps at other strides."""
    return [x, x.to(memory_format=torch.channels_last), torch.nn.functional.pad(x, (1, 2))[..., 1 : 1 + x.shape[3]]]


def results(
    operators: Any, x: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool
) -> tuple[Tensor, Tensor]:
    """Counts, to which is added twice, and hits."""
    counts = torch.ones(x.shape[1], CONCEPTS + 1, dtype=torch.int64, device=x.device)
    for _ in range(2):
        hits = operators.unit_concept_counts(counts, x, thresholds, labels, align_corners)
    return counts, hits


#: Rows of the one, rows of the other, words.
PACKED_SHAPES = [(3, 5, 7), (1, 1, 1), (40, 17, 196), (0, 4, 3), (4, 0, 3), (3, 2, 0), (2, 33, 33)]


def packed_masks(rows: int, words: int, seed: int = 0) -> list[Tensor]:
    """The same masks at several strides between rows."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.randint(-(2**63), 2**63 - 1, (rows, words), generator=generator)
    masks = torch.where(torch.rand(rows, words, generator=generator) < 0.2, torch.tensor(-1), masks)
    wide = torch.nn.functional.pad(masks, (1, 2))[:, 1 : 1 + words]
    return [masks, wide, masks[:1].expand(rows, -1) if rows else masks]
