"""What may be said of a figure beside another: above, below or neither, as far as an interval or a test of their difference tells."""

from __future__ import annotations

import math
from enum import Enum

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from captum_proto.stats.intervals import Estimate, interval, spread


class Order(Enum):
    """
    How a figure stands to another.

    Every page says "above" and "below" by this alone: :meth:`told` gives its words where the data do not carry either.
    """

    #: Above, by more than chance.
    ABOVE = "above"
    #: Below, by more than chance.
    BELOW = "below"
    #: The two are equal, as measured.
    EQUAL = "equal"
    #: They differ, by no more than may be chance.
    CHANCE = "chance"
    #: They differ, and with a single value there is nothing to tell that from chance.
    UNTESTED = "untested"
    #: One of them was not measured.
    UNKNOWN = "unknown"

    @property
    def certain(self) -> bool:
        """Whether it is above or below by more than chance."""
        return self in (Order.ABOVE, Order.BELOW)

    def told(self, above: str, below: str, equal: str = "no difference was measured") -> str:
        """
        The words for it.

        Args:
            above (str): Where the figure is above the other, by more than chance.
            below (str): Where it is below.
            equal (str, optional): Where the two are equal. Default: "no difference was measured"

        Examples::

            >>> Order.ABOVE.told("it helps", "it harms")
            'it helps'
            >>> Order.CHANCE.told("it helps", "it harms")
            'that may be chance'
        """
        return {
            Order.ABOVE: above,
            Order.BELOW: below,
            Order.EQUAL: equal,
            Order.CHANCE: "that may be chance",
            Order.UNTESTED: "nothing says whether that is more than chance",
            Order.UNKNOWN: "they cannot be compared",
        }[self]


def order_by_interval(difference: Estimate) -> Order:
    """
    How a figure stands to another, by the interval of their difference.

    Args:
        difference (Estimate): The figure less the other; NaN: one of them was not measured, or there is no interval.

    Examples::

        >>> order_by_interval(Estimate(0.2, 0.1, 0.3)).value, order_by_interval(Estimate(0.2, -0.1, 0.5)).value
        ('above', 'chance')
    """
    if math.isnan(difference.value):
        return Order.UNKNOWN
    if difference.value == 0:
        return Order.EQUAL
    if math.isnan(difference.low) or math.isnan(difference.high):
        return Order.UNTESTED
    if difference.low <= 0 <= difference.high:
        return Order.CHANCE
    return Order.ABOVE if difference.value > 0 else Order.BELOW


def order_by_test(difference: float, p_value: float, confidence: float = 0.95) -> Order:
    """
    How a figure stands to another, by a test of whether they differ.

    Args:
        difference (float): The figure less the other; NaN: one of them was not measured.
        p_value (float): Of the test, corrected where there are several; NaN: there is none.
        confidence (float, optional): Above and below are said where the p-value is less than what this leaves. Default: 0.95

    Examples::

        >>> order_by_test(-0.3, 0.001).value, order_by_test(-0.3, 0.2).value, order_by_test(0.0, 1.0).value
        ('below', 'chance', 'equal')
    """
    if math.isnan(difference):
        return Order.UNKNOWN
    if difference == 0:
        return Order.EQUAL
    if math.isnan(p_value):
        return Order.UNTESTED
    # 1 - 0.95 is a little more than 0.05.
    if p_value >= round(1 - confidence, 12):
        return Order.CHANCE
    return Order.ABOVE if difference > 0 else Order.BELOW


def mean_difference(first: ArrayLike, second: ArrayLike, *, paired: bool = False) -> Estimate:
    r"""
    The difference of two means, first less second, with its 95 % interval by Student's t, or by Welch's where the samples are not paired.

    Args:
        first (array-like): (N,) values; NaN are left out.
        second (array-like): (M,) values. A single one has no spread: the first are compared with it as it is.
        paired (bool, optional): Whether the values belong together one by one, such as those of a class. Default: False

    Returns:
        Estimate: NaN where a sample has no value. There is no interval where the first sample, or the pairs, are a single one; it has no
        width where no value differs.

    Examples::

        >>> mean_difference([0.5, 0.5], [0.25])
        Estimate(value=0.25, low=0.25, high=0.25)
    """
    a, b = (np.asarray(values, dtype=np.float64) for values in (first, second))
    if paired:
        a, b = a - b, np.zeros(1)
    a, b = a[~np.isnan(a)], b[~np.isnan(b)]
    if not len(a) or not len(b):
        return Estimate(math.nan, math.nan, math.nan)
    if len(b) == 1:
        value, ends = float(a.mean() - b[0]), interval((a - b[0]).tolist())
    elif len(a) == 1:
        value, ends = float(a[0] - b.mean()), None
    elif spread(a) == spread(b) == 0:
        value, ends = float(a[0] - b[0]), interval([float(a[0] - b[0])] * 2)
    else:
        value = float(a.mean() - b.mean())
        of_a, of_b = spread(a) ** 2 / len(a), spread(b) ** 2 / len(b)
        freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
        half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(of_a + of_b)
        ends = value - half, value + half
    if ends is None:
        return Estimate(value, math.nan, math.nan)
    # A mean of equal values need not be that value to the last bit.
    return Estimate(ends[0] if ends[0] == ends[1] else value, *ends)


__all__ = ["Order", "mean_difference", "order_by_interval", "order_by_test"]
