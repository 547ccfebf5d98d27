"""Above, below and neither, by intervals and tests: against SciPy's, and where there is nothing to compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from captum_proto.stats.intervals import Estimate
from captum_proto.stats.judgments import Order, mean_difference, order_by_interval, order_by_test

NAN = math.nan


@pytest.mark.parametrize(
    ("difference", "order"),
    [
        (Estimate(0.2, 0.1, 0.3), Order.ABOVE),
        (Estimate(-0.2, -0.3, -0.1), Order.BELOW),
        (Estimate(0.2, -0.1, 0.5), Order.CHANCE),
        (Estimate(0.2, 0.0, 0.4), Order.CHANCE),
        (Estimate(0.0, -0.1, 0.1), Order.EQUAL),
        (Estimate(0.0, NAN, NAN), Order.EQUAL),
        (Estimate(0.2, NAN, NAN), Order.UNTESTED),
        (Estimate(NAN, NAN, NAN), Order.UNKNOWN),
    ],
)
def test_order_by_interval(difference: Estimate, order: Order) -> None:
    assert order_by_interval(difference) is order
    assert order.certain == (order in (Order.ABOVE, Order.BELOW))


@pytest.mark.parametrize(
    ("difference", "p_value", "order"),
    [
        (0.2, 0.01, Order.ABOVE),
        (-0.2, 0.01, Order.BELOW),
        (0.2, 0.05, Order.CHANCE),
        (-0.2, 1.0, Order.CHANCE),
        (0.0, 1.0, Order.EQUAL),
        (0.2, NAN, Order.UNTESTED),
        (NAN, NAN, Order.UNKNOWN),
    ],
)
def test_order_by_test(difference: float, p_value: float, order: Order) -> None:
    assert order_by_test(difference, p_value) is order
    assert order_by_test(0.2, 0.03, confidence=0.99) is Order.CHANCE


def test_every_order_has_its_own_words() -> None:
    told = {order: order.told("it rises", "it falls") for order in Order}
    assert len(set(told.values())) == len(Order)
    assert (told[Order.ABOVE], told[Order.BELOW]) == ("it rises", "it falls")
    assert Order.EQUAL.told("", "", "it stays") == "it stays"


def test_the_interval_of_a_difference_is_that_of_scipy() -> None:
    first, second = [0.4, 0.5, 0.45, 0.7], [0.1, 0.2, 0.15, 0.3]
    welch = stats.ttest_ind(first, second[:3], equal_var=False)
    found = mean_difference([*first, NAN], second[:3])
    assert found.value == pytest.approx(np.mean(first) - np.mean(second[:3]))
    assert (found.low, found.high) == pytest.approx(tuple(welch.confidence_interval()))
    paired = stats.ttest_rel(first, second)
    found = mean_difference([*first, 0.1], [*second, NAN], paired=True)
    assert (found.low, found.high) == pytest.approx(tuple(paired.confidence_interval()))
    single = stats.ttest_1samp(first, 0.3)
    found = mean_difference(first, [0.3])
    assert (found.low, found.high) == pytest.approx(tuple(np.array(single.confidence_interval()) - 0.3))


@pytest.mark.parametrize(
    ("first", "second", "paired", "order"),
    [
        ([0.5], [0.1], False, Order.UNTESTED),
        ([0.5], [0.1, 0.2], False, Order.UNTESTED),
        ([0.5], [0.1], True, Order.UNTESTED),
        ([0.5, NAN], [0.1, 0.2], True, Order.UNTESTED),
        ([0.5, 0.5], [0.1, 0.1], False, Order.ABOVE),
        ([0.1] * 3, [0.1] * 7, False, Order.EQUAL),
        ([0.1, 0.2], [0.1, 0.2], True, Order.EQUAL),
        ([NAN], [0.1], False, Order.UNKNOWN),
        ([], [0.1, 0.2], False, Order.UNKNOWN),
        ([0.1, NAN], [NAN, 0.1], True, Order.UNKNOWN),
    ],
)
def test_where_there_is_little_to_compare(first: list[float], second: list[float], paired: bool, order: Order) -> None:
    with np.errstate(all="raise"):
        assert order_by_interval(mean_difference(first, second, paired=paired)) is order
