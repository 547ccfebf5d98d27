"""A mean over rows and columns that are both drawn at random: against SciPy where one of them is alone, and by drawing where both are."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from captum_proto.stats.crossed import crossed_mean


def test_a_single_row_or_column_is_the_usual_test() -> None:
    values = np.random.default_rng(0).normal(0.3, 1.0, 12)
    expected = stats.ttest_1samp(values, 0.1)
    for table in (values[None], values[:, None]):
        mean = crossed_mean(table)
        assert mean.p_value(0.1) == pytest.approx(expected.pvalue)
        interval = mean.estimate(0.9)
        assert (interval.low, interval.high) == pytest.approx(tuple(expected.confidence_interval(0.9)))


def test_the_error_is_that_of_the_analysis_of_variance() -> None:
    table = np.random.default_rng(1).normal(size=(4, 6)) + np.random.default_rng(2).normal(size=(4, 1))
    rows, columns = table.mean(1), table.mean(0)
    between_rows, between_columns = 6 * rows.var(ddof=1), 4 * columns.var(ddof=1)
    rest = ((table - rows[:, None] - columns[None] + table.mean()) ** 2).sum() / 15
    total = between_rows + between_columns - rest
    assert total > max(between_rows, between_columns)
    mean = crossed_mean(table)
    assert mean.error == pytest.approx(math.sqrt(total / 24))
    assert mean.freedom == pytest.approx(total**2 / (between_rows**2 / 3 + between_columns**2 / 5 + rest**2 / 15))


@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (0.0, 1.0, 1.0), (1.0, 0.2, 0.2)])
def test_intervals_hold_the_true_mean_as_often_as_they_say(spreads: tuple[float, float, float]) -> None:
    random = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        parts = [
            spread * random.normal(size=size) for spread, size in zip(spreads, ((5, 1), (1, 8), (5, 8)), strict=True)
        ]
        interval = crossed_mean(parts[0] + parts[1] + parts[2]).estimate()
        held += interval.low <= 0 <= interval.high
    assert held / 400 > 0.92


def test_missing_values_are_left_out_and_equal_ones_have_no_error() -> None:
    table = np.random.default_rng(0).normal(size=(3, 4))
    wider = np.full((4, 5), math.nan)
    wider[:3, :4] = table
    assert crossed_mean(wider) == crossed_mean(table)
    assert crossed_mean(np.full((3, 4), 0.7)).estimate().high == 0.7
    assert crossed_mean(np.full((3, 4), 0.7)).p_value(0.7) == 1
    assert crossed_mean(np.full((3, 4), 0.7)).p_value(0.0) == 0
    assert math.isnan(crossed_mean([[1.0]]).p_value())
    assert math.isnan(crossed_mean([[math.nan]]).value)
    with pytest.raises(ValueError, match=r"values have shape \(3,\)"):
        crossed_mean([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="confidence is 2"):
        crossed_mean(table).estimate(2)
