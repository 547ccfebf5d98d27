"""Rows of which a sample tells nothing, for the CUDA kernels that part rows by one. Here and in tests/cuda."""

from __future__ import annotations

import torch
from torch import Tensor

#: As in csrc/kernels/cuda/part_tables.cuh.
MOST_BUCKETS, MOST_SAMPLES = 2048, 4096


def places_of_sample(length: int, room: int) -> Tensor:
    """Where the kernels sample a row, as csrc/kernels/cuda/part_planning.cuh says."""
    buckets = 1
    while buckets < -(-length // max(1, room // 4)):
        buckets *= 2
    assert buckets <= MOST_BUCKETS
    samples = min(length, MOST_SAMPLES, max(256, 8 * buckets))
    places = []
    for number in range(samples):
        begin, end = number * length // samples, (number + 1) * length // samples
        mixed = number * 0x9E3779B9 & 0xFFFFFFFF
        mixed = (mixed ^ mixed >> 15) * 0x85EBCA6B & 0xFFFFFFFF
        mixed ^= mixed >> 13
        places.append(begin + mixed % (end - begin))
    return torch.tensor(places)


def rows_that_deceive_a_sample(length: int, room: int, dtype: torch.dtype) -> Tensor:
    """Rows whose sample is all zeros, all ones, a few values at the ends, or misses a group of ties among others."""
    generator = torch.Generator().manual_seed(length)
    x = torch.randn(6, length, generator=generator, dtype=torch.float64)
    seen = places_of_sample(length, room)
    x[0, seen] = 0.0
    x[1, seen] = 1.0
    x[2, seen[::2]], x[2, seen[1::2]] = -9.0, 9.0
    ties = torch.randperm(length, generator=generator)[: length // 2]
    x[3, ties] = 0.5
    x[3, seen] = torch.linspace(-3, 3, len(seen), dtype=torch.float64)
    x[4] = torch.randint(0, 3, (length,), generator=generator).double()
    x[4, seen] = 1.0
    x[5].relu_()
    x[5, seen] = -0.0
    return x.to(dtype)
