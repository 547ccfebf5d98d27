"""Maps on which implementations of ``affine_sample`` are compared, and the operator in NumPy, rounding by rounding."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

#: Sizes of images, those of one pixel's height or width and more channels than are worked on at once among them.
SHAPES = [(2, 3, 9, 14), (1, 1, 1, 1), (3, 2, 1, 7), (2, 4, 7, 1), (1, 6, 5, 5), (1, 3, 40, 70)]
EMPTY = [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)]


def turned(degrees: float, scale: float = 1.0, x: float = 0.0, y: float = 0.0) -> list[list[float]]:
    cos, sin = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    return [[cos, sin, x], [-sin, cos, y]]


#: What a matrix may be, the ways in which it has no inverse or no sense among them.
MATRICES: dict[str, list[list[float]]] = {
    "identity": turned(0),
    "turned": turned(33, 1.1, 0.1, -0.2),
    "turned far": turned(-120, 0.7, 0.4, 0.3),
    "quarter": turned(90),
    "half": turned(180),
    "mirrored": [[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "moved": [[1.0, 0.0, 0.13], [0.0, 1.0, -0.37]],
    "moved outside": [[1.0, 0.0, 2.5], [0.0, 1.0, 0.0]],
    "far outside": [[1.0, 0.0, -1e30], [0.0, 1.0, 1e30]],
    "enlarged": turned(10, 20.0),
    "enlarged a lot": turned(10, 1e9),
    "shrunk": turned(10, 0.1),
    "shrunk a lot": turned(10, 1e-9),
    "sheared": [[1.0, 0.7, 0.1], [0.2, 1.0, 0.0]],
    "a point": [[0.0, 0.0, 0.2], [0.0, 0.0, -0.1]],
    "a row": [[1.0, 0.3, 0.0], [0.0, 0.0, 0.3]],
    "a diagonal": [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]],
    "nearly a diagonal": [[0.5, 0.5, 0.0], [0.5, 0.5 + 1e-9, 0.0]],
    "not a number": [[math.nan, 0.0, 0.0], [0.0, 1.0, 0.0]],
    "infinite": [[1.0, 0.0, 0.0], [0.0, math.inf, 0.0]],
    "infinitely far": [[1.0, 0.0, math.inf], [0.0, 1.0, -math.inf]],
    "overflowing": [[1e308, -1e308, 1e308], [-1e308, 1e308, 0.0]],
}
FINITE = [name for name, matrix in MATRICES.items() if np.isfinite(matrix).all() and np.abs(matrix).max() < 1e6]


def random_maps(n: int, seed: int = 0) -> Tensor:
    """Those of the random affine transform: any angle, a little larger or smaller, moved by up to half of the image."""
    random = np.random.default_rng(seed)
    maps = [turned(*random.uniform((-180, 0.7, -0.7, -0.7), (180, 1.3, 0.7, 0.7))) for _ in range(n)]
    return torch.tensor(maps, dtype=torch.float64).reshape(n, 2, 3)


#: The borders of ``affine_sample``, by number.
CONSTANT, REFLECT, REPLICATE = range(3)


def _inside(coordinate: np.ndarray, size: int, border: int) -> np.ndarray:
    """Coordinates along a side within it; between its first and its last pixel they stay what they are."""
    last = np.float64(size - 1)
    if border == REFLECT:
        period, rounder = np.float64(2 * size), np.float64(1.5 * 2**52)
        from_edge = coordinate + 0.5
        distance = from_edge - ((from_edge / period + rounder) - rounder) * period
        within = (coordinate >= 0) & (coordinate <= last)
        coordinate = np.where(within, coordinate, np.abs(distance) - 0.5)
    coordinate = np.where(coordinate > 0, coordinate, 0.0)
    return np.where(coordinate < last, coordinate, last)


def _taps(matrix: np.ndarray, height: int, width: int, dtype: type, border: int) -> list[tuple[np.ndarray, ...]]:
    """For each of the four taps: whether it is inside, its row and column, and its weight, all of the output's shape."""
    h, w = np.float64(height), np.float64(width)
    (m00, m01, m02), (m10, m11, m12) = matrix
    ax, bx, ay, by = m00, m01 * (w / h), m10 * (h / w), m11
    cx = (ax * ((1 - w) / 2) + bx * ((1 - h) / 2)) + (m02 * w + (w - 1)) / 2
    cy = (ay * ((1 - w) / 2) + by * ((1 - h) / 2)) + (m12 * h + (h - 1)) / 2
    row, column = np.arange(height, dtype=np.float64)[:, None], np.arange(width, dtype=np.float64)[None]
    x, y = ax * column + (bx * row + cx), ay * column + (by * row + cy)
    if border != CONSTANT:
        x, y = _inside(x, width, border), _inside(y, height, border)
    near = (x >= -1) & (x < width) & (y >= -1) & (y < height)
    x, y = np.where(near, x, 0), np.where(near, y, 0)
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    right_weight, lower_weight = (x - left).astype(dtype), (y - top).astype(dtype)
    taps = []
    for down, vertical in ((0, 1 - lower_weight), (1, lower_weight)):
        for right, horizontal in ((0, 1 - right_weight), (1, right_weight)):
            i, j = top + down, left + right
            inside = near & (i >= 0) & (i < height) & (j >= 0) & (j < width)
            taps.append((inside, np.where(inside, i, 0), np.where(inside, j, 0), vertical * horizontal))
    return taps


@np.errstate(all="ignore")
def sample_in_order(
    images: Tensor, matrix: Tensor, scale: Tensor, shift: Tensor, fill: float, border: int = 0
) -> Tensor:
    """The operator with the kernels' roundings in the kernels' order: they give these very bits."""
    x, factor = images.numpy(), scale.numpy()[:, None, None]
    out = np.empty_like(x)
    for image, coefficients, result in zip(x, matrix.double().numpy(), out, strict=True):
        prepared = (image - x.dtype.type(fill)) * factor
        taps = _taps(coefficients, *image.shape[1:], x.dtype.type, border)
        parts = [np.where(inside, prepared[:, i, j], 0) * weight.astype(x.dtype) for inside, i, j, weight in taps]
        # Far outside there are no taps to weigh.
        near = np.any([inside for inside, *_ in taps], 0)
        samples = ((parts[0] + parts[1]) + (parts[2] + parts[3])) + shift.numpy()[:, None, None]
        result[:] = np.where(near, samples, shift.numpy()[:, None, None])
    return torch.from_numpy(out)


@np.errstate(all="ignore")
def gradient_in_order(grad_output: Tensor, matrix: Tensor, scale: Tensor, border: int = 0) -> Tensor:
    """The backward, likewise: each pixel of the images adds what it is given by the output's pixels in their order."""
    g = grad_output.numpy()
    out = np.zeros_like(g)
    for given, coefficients, result in zip(g * scale.numpy()[:, None, None], matrix.double().numpy(), out, strict=True):
        inside, i, j, weight = (
            np.stack(each, -1)
            for each in zip(*_taps(coefficients, *given.shape[1:], g.dtype.type, border), strict=True)
        )
        terms = given[..., None] * weight.astype(g.dtype)
        for channel, values in zip(result, terms, strict=True):
            np.add.at(channel, (i[inside], j[inside]), values[inside])
    return torch.from_numpy(out)
