"""Means of shares: the bootstrap's interval where it has a width, Wilson's written out where it has none."""

from __future__ import annotations

import math

import pytest
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import mean_estimate, proportion
from captum_proto.stats.shares import mean_share, wilson_of_mean


def test_values_that_differ_have_the_bootstraps_interval():
    values = [0.1, 0.5, 0.9, 0.4, 1.0]
    assert mean_share(values, 0.9, 999, 3) == mean_estimate(values, 0.9, 999, 3)


@pytest.mark.parametrize(("value", "count"), [(1.0, 10), (0.0, 4), (0.5, 6)])
def test_values_that_are_alike_have_wilsons(value, count):
    z, p = float(stats.norm.ppf(0.975)), value
    center = (p + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(p * (1 - p) / count + z**2 / (4 * count**2))
    found = mean_share([value] * count)
    assert found.value == value
    assert (found.low, found.high) == pytest.approx((center - half, center + half), abs=1e-12)


def test_an_interval_holds_its_mean():
    found = mean_share([0.04] * 5)  # nearest to it is no case of five
    assert found.low == 0
    assert found.value == 0.04
    assert found.high == proportion(0, 5).high
    assert wilson_of_mean(1 + 1e-12, 3) == proportion(3, 3)


def test_of_one_value_there_is_no_interval_and_of_none_no_mean():
    assert math.isnan(mean_share([0.3]).low)
    with pytest.raises(InputError, match="at least one value"):
        mean_share([])
    with pytest.raises(InputError, match=r"values range over \[0.5, 2\]; expected shares"):
        mean_share([0.5, 2.0])
