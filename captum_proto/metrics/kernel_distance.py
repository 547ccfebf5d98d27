"""How far pictures are from natural images as a whole: the kernel distance of their features (KID), with its interval and floor."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.metrics.feature_checks import checked_features
from captum_proto.stats.intervals import Estimate

#: Entries of a kernel matrix that are computed at a time.
_AT_A_TIME = 4_000_000


@dataclass(frozen=True)
class KernelDistance:
    """
    The squared maximum mean discrepancy between pictures and natural images, in a network's features.

    Attributes:
        distance (Estimate): Unbiased, so below zero as often as above where both are alike.
        floor (Estimate): Between two random halves of the natural images: the mean over draws of halves, and between which ends 95 % of
            them lie (or as many as ``confidence`` says). NaN where there are fewer than four.
        pictures (int): How many.
        natural (int): How many natural images.
        subset_spread (float): The standard deviation over subsets, as KID is often given; NaN where all were taken.
    """

    distance: Estimate
    floor: Estimate
    pictures: int
    natural: int
    subset_spread: float = math.nan


def kernel_distance(
    features: Tensor,
    natural: Tensor,
    *,
    subsets: int | None = None,
    subset_size: int = 1000,
    splits: int = 100,
    confidence: float = 0.95,
    seed: int = 0,
) -> KernelDistance:
    r"""
    The kernel distance (KID) between pictures and natural images, in a network's pooled features.

    The squared maximum mean discrepancy with the cubic polynomial kernel, unbiased: Bińkowski et al., "Demystifying MMD GANs" (2018,
    arXiv:1801.01401), section 4, there in Inception's features.

    .. math::
        \frac{1}{m(m-1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{n(n-1)} \sum_{i \ne j} k(y_i, y_j) - \frac{2}{mn} \sum_{i,j} k(x_i, y_j)
        \qquad k(x, y) = \Bigl(\frac{\langle x, y \rangle}{d} + 1\Bigr)^3

    Its interval is by the jackknife over pictures and over natural images (Arvesen 1969), which for such sums errs on the wide side, and
    Student's t. Distances in different networks' features are of different scales: they do not compare.

    Args:
        features (Tensor): (m, d), of the pictures, m at least 2; not normalized.
        natural (Tensor): (n, d), of natural images, n at least 2.
        subsets (int, optional): To take the mean over so many random subsets of each, as published; the interval then holds the error of
            this draw as well. Default: None, all pairs at once, which is its limit
        subset_size (int, optional): Images in a subset. Default: 1000, or all if there are fewer
        splits (int, optional): Draws of halves for the floor. Default: 100
        confidence (float, optional): Of the intervals. Default: 0.95
        seed (int, optional): Of subsets and halves. Default: 0

    Returns:
        KernelDistance: With its interval and the floor.

    Raises:
        TypeError, ValueError: If features are not such tensors, or there are fewer than two of a kind.

    Examples::

        >>> generator = torch.Generator().manual_seed(0)
        >>> natural = torch.randn(60, 8, generator=generator)
        >>> near, far = torch.randn(40, 8, generator=generator), 1 + torch.randn(40, 8, generator=generator)
        >>> found = kernel_distance(near, natural)
        >>> found.distance.low < 0 < found.distance.high
        True
        >>> kernel_distance(far, natural).distance.low > found.floor.high
        True
    """
    y = checked_features(natural, "natural")
    x = checked_features(features, "features", like=y)
    for name, rows in (("features", x), ("natural", y)):
        if len(rows) < 2:
            raise InputError(f"{name} holds 1 picture; expected at least 2, for the distance looks at pairs.")
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95.")
    check_int(splits, "splits", 2)
    check_int(subset_size, "subset_size", 2)
    random = np.random.default_rng(seed)
    halves = _halves(len(y), splits, random)
    within_x, _ = _sums(x, x, None)
    within_y, of_halves = _sums(y, y, halves)
    between_x, between_y = _cross_sums(x, y)
    value = float(_distance(len(x), len(y), within_x.sum(), within_y.sum(), between_x.sum()))
    variance = _jackknife(within_x, within_y, between_x, between_y)
    spread = math.nan
    if subsets is not None:
        found = _over_subsets(x, y, check_int(subsets, "subsets", 2, ", or None for all pairs"), subset_size, random)
        value, spread = float(found.mean()), float(found.std())
        variance += spread**2 / subsets
    width = float(stats.t.ppf((1 + confidence) / 2, min(len(x), len(y)) - 1)) * math.sqrt(variance)
    width = width if min(len(x), len(y)) > 2 else math.nan
    return KernelDistance(
        Estimate(value, value - width, value + width),
        _floor(within_y, halves, of_halves, confidence),
        len(x),
        len(y),
        spread,
    )


def _kernel(x: Tensor, y: Tensor) -> Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _blocks(rows: int, columns: int) -> list[slice]:
    step = max(1, _AT_A_TIME // columns)
    return [slice(begin, min(begin + step, rows)) for begin in range(0, rows, step)]


def _sums(x: Tensor, y: Tensor, halves: Tensor | None) -> tuple[Tensor, Tensor]:
    """Of the kernel matrix of a sample with itself, less its diagonal: the sums of its rows, and of its pairs inside each half."""
    sums, inside = [], torch.zeros(0 if halves is None else halves.shape[1], dtype=torch.float64)
    for rows in _blocks(len(x), len(y)):
        block = _kernel(x[rows], y)
        block[torch.arange(len(block)), torch.arange(rows.start, rows.stop)] = 0
        sums.append(block.sum(1))
        if halves is not None:
            inside += (halves[rows] * (block @ halves)).sum(0)
    return torch.cat(sums), inside


def _cross_sums(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The sums of the rows and of the columns of the kernel matrix of two samples."""
    of_x, of_y = [], torch.zeros(len(y), dtype=torch.float64)
    for rows in _blocks(len(x), len(y)):
        block = _kernel(x[rows], y)
        of_x.append(block.sum(1))
        of_y += block.sum(0)
    return torch.cat(of_x), of_y


def _distance(m: int, n: int, within_x: Tensor, within_y: Tensor, between: Tensor) -> Tensor:
    return within_x / (m * (m - 1)) + within_y / (n * (n - 1)) - 2 * between / (m * n)


def _jackknife(within_x: Tensor, within_y: Tensor, between_x: Tensor, between_y: Tensor) -> float:
    """The variance of the distance, from what it is without each picture and without each natural image."""
    m, n = len(within_x), len(within_y)
    if min(m, n) < 3:  # without one of two there is no pair
        return math.nan
    totals = within_x.sum(), within_y.sum(), between_x.sum()
    without_x = _distance(m - 1, n, totals[0] - 2 * within_x, totals[1], totals[2] - between_x)
    without_y = _distance(m, n - 1, totals[0], totals[1] - 2 * within_y, totals[2] - between_y)
    return float(
        sum((len(each) - 1) / len(each) * (each - each.mean()).square().sum() for each in (without_x, without_y))
    )


def _halves(count: int, splits: int, random: np.random.Generator) -> Tensor:
    """(count, splits): 1 for the images of the first half of each split."""
    order = random.permuted(np.tile(np.arange(count), (splits, 1)), axis=1)
    return torch.from_numpy((order < count // 2).T.astype(np.float64))


def _floor(within: Tensor, halves: Tensor, inside: Tensor, confidence: float) -> Estimate:
    count, first = len(within), len(within) // 2
    if first < 2:
        return Estimate(math.nan, math.nan, math.nan)
    between = within @ halves - inside
    other = within.sum() - inside - 2 * between
    found = _distance(first, count - first, inside, other, between).numpy()
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(float(found.mean()), float(low), float(high))


def _over_subsets(x: Tensor, y: Tensor, subsets: int, size: int, random: np.random.Generator) -> Tensor:
    """(subsets,): the distance of random subsets of both."""
    found = []
    for _ in range(subsets):
        a, b = (each[random.choice(len(each), min(size, len(each)), replace=False)] for each in (x, y))
        within = [_sums(each, each, None)[0].sum() for each in (a, b)]
        found.append(_distance(len(a), len(b), within[0], within[1], _cross_sums(a, b)[0].sum()))
    return torch.stack(found)


__all__ = ["KernelDistance", "kernel_distance"]
