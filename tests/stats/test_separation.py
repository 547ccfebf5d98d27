"""The area under the ROC curve against scikit-learn's, and the coverage of its interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import optimize, stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.separation import area_intervals, area_under_curve, areas_under_curve


@pytest.mark.parametrize("levels", [2, 5, 10**6])
def test_the_area_is_scikit_learns(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(levels)
    positive, negative = random.integers(0, levels, (2, 4, 15)), random.integers(-1, levels, (2, 4, 11))
    areas = areas_under_curve(positive, negative)
    for place in np.ndindex(2, 4):
        scores = np.concatenate([positive[place], negative[place]])
        expected = metrics.roc_auc_score([1] * 15 + [0] * 11, scores)
        assert areas[place] == pytest.approx(expected, abs=1e-14)


def test_the_ends_solve_newcombes_equation():
    m, n, quantile = 15, 11, stats.norm.ppf(0.975)

    def deviation(theta: float) -> float:
        more = (m + n) / 2 - 1
        factor = 1 + more * (1 - theta) / (2 - theta) + more * theta / (1 + theta)
        return math.sqrt(theta * (1 - theta) * factor / (m * n))

    areas = [0.3, 0.5, 0.9, 0.99]
    lows, highs = area_intervals(areas, m, n)
    for area, low, high in zip(areas, lows, highs, strict=True):
        assert low == pytest.approx(optimize.brentq(lambda t, a=area: a - t - quantile * deviation(t), 1e-9, area))
        assert high == pytest.approx(optimize.brentq(lambda t, a=area: t - a - quantile * deviation(t), area, 1 - 1e-9))


def test_an_area_at_its_end_has_an_interval_that_mirrors():
    low, high = area_intervals([0.0, 1.0], 15, 10)
    assert (low[0], high[1]) == (0, 1)
    assert 0 < high[0] < 0.3
    assert low[1] == pytest.approx(1 - high[0])


@pytest.mark.parametrize("distance", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("count", [15, 50])
def test_the_interval_holds_the_true_area_as_often_as_it_says(distance, count):
    random = np.random.default_rng(0)
    truth = stats.norm.cdf(distance / math.sqrt(2))
    areas = areas_under_curve(random.normal(distance, 1, (2000, count)), random.normal(0, 1, (2000, count)))
    low, high = area_intervals(areas, count, count)
    covered = ((low <= truth) & (truth <= high)).mean()
    assert 0.93 <= covered <= 0.99
    assert (high - low).mean() < 0.5


def test_bad_input_gets_a_sentence():
    with pytest.raises(InputError, match=r"positive has shape \(0,\)"):
        areas_under_curve([], [1.0])
    with pytest.raises(InputError, match="NaN or infinity"):
        area_under_curve([math.nan], [1.0])
    with pytest.raises(InputError, match="confidence is 95"):
        area_intervals(0.5, 3, 3, 95)
    with pytest.raises(InputError, match="0 and 3 scores"):
        area_intervals(0.5, 0, 3)
