"""Spreads, shares, means and their differences, each with its interval or test: SciPy's, and what holds where SciPy gives none."""

from __future__ import annotations

import math
import operator
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from captum_proto._utils.errors import InputError

#: Numbers that a bootstrap draws at a time, so that its memory does not grow with the number of images.
_AT_A_TIME = 10_000_000


def spreads(values: ArrayLike, axis: int = 0) -> NDArray[np.float64]:
    r"""
    The standard deviation of samples along an axis, with n - 1 in the denominator.

    Args:
        values (array-like): Of any shape; NaN are left out.
        axis (int, optional): Along which the samples run. Default: 0

    Returns:
        NDArray: The shape of ``values`` without the axis; NaN where fewer than two values are left, exactly 0 where all are equal.

    Examples::

        >>> spreads([[1.0, 2.0], [3.0, math.nan]]).tolist()
        [1.4142135623730951, nan]
    """
    sample = np.asarray(values, dtype=np.float64)
    count = (~np.isnan(sample)).sum(axis, keepdims=True)
    mean = np.nansum(sample, axis, keepdims=True) / np.maximum(count, 1)
    squares = np.nansum((sample - mean) ** 2, axis, keepdims=True)
    # A mean of equal values need not be that value to the last bit.
    low, high = (find.reduce(sample, axis, keepdims=True, initial=np.nan) for find in (np.fmin, np.fmax))
    squares[low == high] = 0.0
    found: NDArray[np.float64] = np.where(count > 1, np.sqrt(squares / np.maximum(count - 1, 1)), np.nan).squeeze(axis)
    return found


def spread(values: ArrayLike) -> float:
    """The standard deviation of one sample, with n - 1 in the denominator; NaN are left out, and of fewer than two values it is NaN."""
    return float(spreads(np.ravel(np.asarray(values, dtype=np.float64))))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """
    The confidence interval of a mean, by Student's t.

    Args:
        values (sequence of float): Independent values; NaN are left out.
        level (float, optional): Of confidence. Default: 0.95

    Returns:
        tuple[float, float]: Its ends; None for fewer than two values.

    Examples::

        >>> interval([0.25, 0.25, 0.25])
        (0.25, 0.25)
    """
    finite = [value for value in values if not math.isnan(value)]
    if len(finite) < 2:
        return None
    if min(finite) == max(finite):
        return finite[0], finite[0]
    mean = sum(finite) / len(finite)
    half = float(stats.t.ppf((1 + level) / 2, len(finite) - 1) * spread(finite) / math.sqrt(len(finite)))
    return mean - half, mean + half


@dataclass(frozen=True)
class Estimate:
    """
    A figure and its interval.

    Attributes:
        value (float): The figure.
        low (float): Lower end of the interval; NaN where the data allow none.
        high (float): Upper end.
    """

    value: float
    low: float
    high: float


def proportion(successes: int, count: int, confidence: float = 0.95) -> Estimate:
    r"""
    A share with Wilson's score interval.

    Args:
        successes (int): How many of them, 0 to ``count``.
        count (int): How many in all, at least 1.
        confidence (float, optional): Of the interval, between 0 and 1. Default: 0.95

    Returns:
        Estimate: In [0, 1].

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> share = proportion(29, 40)
        >>> f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
        '0.725 [0.572, 0.839]'
    """
    _check_confidence(confidence)
    _check_share(successes, count)
    interval = stats.binomtest(successes, count).proportion_ci(confidence, method="wilson")
    return Estimate(successes / count, float(interval.low), float(interval.high))


def fisher_exact(first: tuple[int, int], second: tuple[int, int]) -> float:
    r"""
    Fisher's exact test of whether two shares differ, two-sided.

    Args:
        first (tuple[int, int]): Successes and count of one sample.
        second (tuple[int, int]): Successes and count of the other, of other images.

    Returns:
        float: The p-value.

    Raises:
        ValueError: If a share is impossible.

    Examples::

        >>> f"{fisher_exact((29, 40), (24, 40)):.2f}"
        '0.34'
    """
    for successes, count in (first, second):
        _check_share(successes, count)
    table = np.array([[successes, count - successes] for successes, count in (first, second)])
    return min(1.0, float(stats.fisher_exact(table).pvalue))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""
    Holm's correction for several tests at once.

    Args:
        p_values (sequence of float): Of the tests.

    Returns:
        list[float]: The corrected p-values, in the order given: each compares with the level of all tests together.

    Examples::

        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    corrected = [math.nan] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def mean_estimate(values: ArrayLike, confidence: float = 0.95, resamples: int = 9999, seed: int = 0) -> Estimate:
    r"""
    A mean with its bootstrap interval (bias-corrected and accelerated, BCa).

    Args:
        values (array-like): (N,) finite numbers.
        confidence (float, optional): Of the interval, between 0 and 1. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 9999
        seed (int, optional): Of the bootstrap: equal values and seeds give equal intervals. Default: 0

    Returns:
        Estimate: Of a single value there is no interval (NaN); of values that are all equal it has no width.

    Raises:
        ValueError: If there are no values, one is not finite, or an argument is out of its range.

    Examples::

        >>> mean_estimate([0.5, 0.5, 0.5])
        Estimate(value=0.5, low=0.5, high=0.5)
    """
    return _bootstrap((values,), confidence, resamples, seed)


def difference_estimate(
    first: ArrayLike, second: ArrayLike, confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> Estimate:
    r"""
    The difference of two samples' means, first less second, with its bootstrap interval (BCa, each sample resampled by itself).

    Args:
        first (array-like): (N,) finite numbers.
        second (array-like): (M,) finite numbers, of other images.
        confidence (float, optional): Of the interval, between 0 and 1. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 9999
        seed (int, optional): Of the bootstrap. Default: 0

    Returns:
        Estimate: There is no interval (NaN) where a sample has a single value; it has no width where each sample's values are all equal.

    Raises:
        ValueError: If a sample has no values, one is not finite, or an argument is out of its range.

    Examples::

        >>> difference = difference_estimate([0.9, 0.8, 0.7, 0.8], [0.3, 0.2, 0.4, 0.3])
        >>> difference.low > 0.3
        True
    """
    return _bootstrap((first, second), confidence, resamples, seed)


def _bootstrap(given: tuple[ArrayLike, ...], confidence: float, resamples: int, seed: int) -> Estimate:
    _check_confidence(confidence)
    if operator.index(resamples) < 1:
        raise InputError(f"resamples is {resamples}; expected at least 1, such as 9999.")
    samples = [_sample(values) for values in given]
    value = _contrast(*samples)
    if any(len(sample) == 1 for sample in samples):
        return Estimate(value, math.nan, math.nan)
    if all(bool((sample == sample[0]).all()) for sample in samples):
        return Estimate(value, value, value)
    options: dict[str, Any] = {
        "n_resamples": resamples,
        "batch": max(1, _AT_A_TIME // max(len(sample) for sample in samples)),
        "confidence_level": confidence,
        "vectorized": True,
    }
    # Where nearly all values are equal, BCa has nothing to correct by and gives NaN; plain percentiles remain.
    for method in ("BCa", "percentile"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interval = stats.bootstrap(
                samples, _contrast, method=method, rng=np.random.default_rng(seed), **options
            ).confidence_interval
        if math.isfinite(interval.low) and math.isfinite(interval.high):
            break
    return Estimate(value, float(interval.low), float(interval.high))


def _contrast(*samples: NDArray[np.float64], axis: int = -1) -> Any:
    """The mean of one sample, or the difference of the means of two."""
    means = [sample.mean(axis) for sample in samples]
    difference = means[0] if len(means) == 1 else means[0] - means[1]
    return float(difference) if np.ndim(difference) == 0 else difference


def _sample(values: ArrayLike) -> NDArray[np.float64]:
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise InputError(f"values have shape {sample.shape}; expected (N,) with at least one value.")
    if not np.isfinite(sample).all():
        raise InputError("values hold NaN or infinity; expected finite numbers.")
    return sample


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95.")


def _check_share(successes: int, count: int) -> None:
    if not 0 <= operator.index(successes) <= operator.index(count) or count < 1:
        raise InputError(
            f"{successes} of {count} cannot be a share; expected at least one in all, and 0 to all of them."
        )
