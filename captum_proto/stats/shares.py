"""Means of numbers between 0 and 1, with intervals that have a width where all of them are alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import Estimate, mean_estimate, proportion

#: An interval narrower than this comes from values that are all alike.
NO_WIDTH = 1e-12


def mean_share(values: ArrayLike, confidence: float = 0.95, resamples: int = 9999, seed: int = 0) -> Estimate:
    r"""
    The mean of shares, chances or probabilities, with its bootstrap interval (BCa).

    Where all values are alike a bootstrap has no width, though ten classes of which all are recognized do not say that the next one will
    be. The interval is then Wilson's, with each value counted as one case: of values between 0 and 1 none vary more than those that are 0
    or 1, so it is wide rather than narrow.

    Args:
        values (array-like): (N,) numbers in [0, 1].
        confidence (float, optional): Of the interval, between 0 and 1. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 9999
        seed (int, optional): Of the bootstrap. Default: 0

    Returns:
        Estimate: In [0, 1]. Of a single value there is no interval (NaN).

    Raises:
        ValueError: If there are no values, or one is not between 0 and 1.

    Examples::

        >>> share = mean_share([1.0] * 10)
        >>> f"{share.value:.2f} [{share.low:.2f}, {share.high:.2f}]"
        '1.00 [0.72, 1.00]'
    """
    found = mean_estimate(values, confidence, resamples, seed)
    sample = np.asarray(values, dtype=np.float64)
    # A sum of probabilities may be over 1 by a rounding.
    if sample.min() < -1e-9 or sample.max() > 1 + 1e-9:
        raise InputError(f"values range over [{sample.min():.4g}, {sample.max():.4g}]; expected shares, from 0 to 1.")
    if not found.high - found.low < NO_WIDTH:
        return found
    wide = wilson_of_mean(found.value, len(sample), confidence)
    return Estimate(found.value, min(wide.low, found.value), max(wide.high, found.value))


def wilson_of_mean(mean: float, count: int, confidence: float = 0.95) -> Estimate:
    """Wilson's interval of so many cases whose share is nearest to a mean of shares; the value is that share."""
    return proportion(round(min(max(mean, 0.0), 1.0) * count), count, confidence)


__all__ = ["NO_WIDTH", "mean_share", "wilson_of_mean"]
