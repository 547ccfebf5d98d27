"""The L1 distance of rows as the CUDA kernels add it, in NumPy, operation by operation."""

from __future__ import annotations

import numpy as np
from torch import Tensor

#: As in csrc/kernels/cuda/row_distance.cuh and platform.cuh.
TILE, THREADS, LANES = 8192, 256, 32


def distance_in_order(x: Tensor, mean: Tensor) -> np.ndarray:
    """Σ |x - mean| of each row: the threads' sums, the warps', the block's, and those of a row's tiles by one warp."""
    differences = np.abs(x.double().numpy() - mean.double().numpy())
    rows, length = differences.shape
    tiles = -(-length // TILE)
    padded = np.zeros((rows, tiles * TILE))
    padded[:, :length] = differences
    threads = _one_after_the_other(padded.reshape(rows, tiles, TILE // THREADS, THREADS))
    warps = _by_halves(threads.reshape(rows, tiles, THREADS // LANES, LANES))
    partials = _by_halves(np.pad(warps, ((0, 0), (0, 0), (0, LANES - THREADS // LANES))))
    if tiles == 1:
        return partials[:, 0]
    rounds = -(-tiles // LANES)
    lanes = np.pad(partials, ((0, 0), (0, rounds * LANES - tiles))).reshape(rows, rounds, LANES)
    return _by_halves(_one_after_the_other(lanes))


def _one_after_the_other(values: np.ndarray) -> np.ndarray:
    """Sums over the last axis but one, in its order."""
    total = np.zeros_like(values[..., 0, :])
    for i in range(values.shape[-2]):
        total = total + values[..., i, :]
    return total


def _by_halves(lanes: np.ndarray) -> np.ndarray:
    """Sums over the last axis, lane i and the one half the lanes further on, as a warp's shuffles do."""
    while lanes.shape[-1] > 1:
        half = lanes.shape[-1] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return lanes[..., 0]
