"""How well a score tells two groups apart: the area under the ROC curve, exact, with its interval."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import Estimate

#: Halvings of the search for an end of an interval: more than a double has digits.
_HALVINGS = 60


def areas_under_curve(positive: ArrayLike, negative: ArrayLike) -> NDArray[np.float64]:
    r"""
    The area under the ROC curve (AUC) of each row: the chance that a positive scores above a negative, ties counted half.

    .. math::
        \mathrm{AUC} = \frac{1}{mn} \sum_{i,j} [p_i > n_j] + \tfrac{1}{2} [p_i = n_j]

    It is the Mann–Whitney statistic over the number of pairs, computed from ranks.

    Args:
        positive (array-like): (..., m) scores of those that should score higher, finite.
        negative (array-like): (..., n) scores of the others, finite; the leading axes are those of ``positive``.

    Returns:
        NDArray: (...), in [0, 1].

    Raises:
        ValueError: If a group is empty, the leading axes differ, or a score is not finite.

    Examples::

        >>> areas_under_curve([[3, 2], [1, 1]], [[1, 2], [1, 1]]).tolist()
        [0.875, 0.5]
    """
    high, low = np.asarray(positive, dtype=np.float64), np.asarray(negative, dtype=np.float64)
    if high.ndim < 1 or low.ndim < 1 or high.shape[:-1] != low.shape[:-1] or not high.shape[-1] or not low.shape[-1]:
        raise InputError(
            f"positive has shape {high.shape} and negative {low.shape}; expected (..., m) and (..., n), at least one of each and the "
            "leading axes alike."
        )
    if not np.isfinite(high).all() or not np.isfinite(low).all():
        raise InputError("scores hold NaN or infinity; expected finite numbers.")
    m, n = high.shape[-1], low.shape[-1]
    ranks = stats.rankdata(np.concatenate([high, low], -1), axis=-1)
    areas: NDArray[np.float64] = (ranks[..., :m].sum(-1) - m * (m + 1) / 2) / (m * n)
    return areas


def area_intervals(
    areas: ArrayLike, positives: int, negatives: int, confidence: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    r"""
    The score interval of areas under the ROC curve: those true areas from which the measured one is no further than chance allows.

    The variance at a true area :math:`\theta` is that of Hanley and McNeil (1982), and it is solved for :math:`\theta` as Wilson does for
    shares: method 5 of Newcombe, "Confidence intervals for an effect size measure based on the Mann–Whitney statistic, part 2" (Statistics
    in Medicine 2006). Unlike the intervals of DeLong and of the bootstrap it has a width where the groups are apart entirely.

    Args:
        areas (array-like): Measured, in [0, 1].
        positives (int): How many scores of the one group each comes from, at least 1.
        negatives (int): How many of the other, at least 1.
        confidence (float, optional): Between 0 and 1. Default: 0.95

    Returns:
        tuple[NDArray, NDArray]: Lower and upper ends, each of the shape of ``areas``.

    Examples::

        >>> low, high = area_intervals([0.5, 1.0], 15, 15)
        >>> low.round(2).tolist(), high.round(2).tolist()
        ([0.31, 0.86], [0.69, 1.0])
    """
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95.")
    if positives < 1 or negatives < 1:
        raise InputError(f"there are {positives} and {negatives} scores; expected at least 1 of each group.")
    measured = np.asarray(areas, dtype=np.float64)
    quantile = float(stats.norm.ppf((1 + confidence) / 2))
    more = (positives + negatives) / 2 - 1

    def reached(theta: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the measured area is as near to a true one as chance allows."""
        factor = 1 + more * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        deviation = np.sqrt(theta * (1 - theta) * factor / (positives * negatives))
        near: NDArray[np.bool_] = np.abs(measured - theta) <= quantile * deviation
        return near

    ends = []
    for outer in (0.0, 1.0):
        inside, outside = measured.copy(), np.full_like(measured, outer)
        # At 0 and 1 the deviation is none, so the search begins just inside of them.
        inside = np.clip(inside, 1e-12, 1 - 1e-12)
        for _ in range(_HALVINGS):
            middle = (inside + outside) / 2
            near = reached(middle)
            inside, outside = np.where(near, middle, inside), np.where(near, outside, middle)
        ends.append(np.where(measured == outer, outer, inside))
    return ends[0], ends[1]


def area_under_curve(positive: ArrayLike, negative: ArrayLike, confidence: float = 0.95) -> Estimate:
    """
    The area under the ROC curve of two groups of scores, with its interval; see :func:`areas_under_curve` and :func:`area_intervals`.

    Args:
        positive (array-like): (m,) scores of those that should score higher.
        negative (array-like): (n,) scores of the others.
        confidence (float, optional): Of the interval. Default: 0.95

    Returns:
        Estimate: In [0, 1].

    Examples::

        >>> area = area_under_curve([0.9, 0.8, 0.7], [0.1, 0.2, 0.75])
        >>> f"{area.value:.2f} [{area.low:.2f}, {area.high:.2f}]"
        '0.89 [0.40, 0.99]'
    """
    area = areas_under_curve(positive, negative)
    low, high = area_intervals(area, np.shape(positive)[-1], np.shape(negative)[-1], confidence)
    return Estimate(float(area), float(low), float(high))


__all__ = ["area_intervals", "area_under_curve", "areas_under_curve"]
