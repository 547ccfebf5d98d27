"""Intervals and tests against closed forms, published values and other functions of SciPy, and where there is nothing to compute."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from captum_proto.stats.intervals import (
    difference_estimate,
    fisher_exact,
    holm,
    interval,
    mean_estimate,
    proportion,
    spread,
    spreads,
)


@pytest.mark.parametrize(("successes", "count"), [(29, 40), (24, 40), (0, 10), (10, 10), (1, 1), (81, 263)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilsons_interval_is_its_closed_form(successes: int, count: int, confidence: float) -> None:
    z = stats.norm.ppf(0.5 + confidence / 2)
    share = successes / count
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    estimate = proportion(successes, count, confidence)
    assert estimate.value == share
    assert estimate.low == pytest.approx(max(0.0, middle - half), abs=1e-12)
    assert estimate.high == pytest.approx(min(1.0, middle + half), abs=1e-12)


def test_wilsons_interval_as_published() -> None:
    # Newcombe (1998), table I: 81 of 263 and 15 of 148, method 3.
    assert [round(value, 4) for value in (proportion(81, 263).low, proportion(81, 263).high)] == [0.2553, 0.3662]
    assert [round(value, 4) for value in (proportion(15, 148).low, proportion(15, 148).high)] == [0.0624, 0.1605]


def test_fishers_test_on_the_papers_table_is_the_sum_over_tables_no_more_likely() -> None:
    # 72.5 % and 60 % of 40 images.
    table = stats.hypergeom(80, 53, 40)
    likely = table.pmf(29)
    expected = sum(table.pmf(k) for k in range(41) if table.pmf(k) <= likely * (1 + 1e-7))
    assert fisher_exact((29, 40), (24, 40)) == pytest.approx(expected, rel=1e-9)
    assert round(expected, 2) == 0.34
    assert fisher_exact((8, 9), (1, 9)) == pytest.approx(2 * (9 * 9 + 1) / math.comb(18, 9))
    assert fisher_exact((0, 5), (0, 7)) == 1.0
    assert fisher_exact((29, 40), (24, 40)) == fisher_exact((24, 40), (29, 40))


def test_students_interval_is_that_of_scipy() -> None:
    values = [0.1, 0.4, 0.35, 0.2]
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert interval(values) == pytest.approx((expected.low, expected.high))
    assert interval([*values, math.nan]) == interval(values)
    assert interval([0.3]) is None
    assert interval([0.1] * 3) == (0.1, 0.1)


def test_spread_is_of_a_sample_and_leaves_out_nan() -> None:
    values = np.random.default_rng(0).random((7, 5))
    np.testing.assert_allclose(spreads(values), values.std(0, ddof=1), rtol=1e-14)
    np.testing.assert_allclose(spreads(values, axis=1), values.std(1, ddof=1), rtol=1e-14)
    assert spread(values[:, 0].tolist()) == pytest.approx(values[:, 0].std(ddof=1), rel=1e-14)
    values[3:, 1], values[1:, 2], values[:, 3] = math.nan, math.nan, math.nan
    found = spreads(values)
    assert found[1] == pytest.approx(values[:3, 1].std(ddof=1), rel=1e-14)
    assert np.isnan(found[[2, 3]]).all()
    assert math.isnan(spread([0.5]))
    assert math.isnan(spread([]))
    assert spread([0.1, 0.1, 0.1]) == 0.0  # exactly


def test_holms_correction() -> None:
    # The example of R's p.adjust is of this form: sorted, times what is left, never falling.
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, 0.6]) == pytest.approx([0.08, 0.003, 0.6])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.3]) == [0.3]


def test_a_means_interval_on_many_values_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(0.4, 0.2, 2000)
    estimate = mean_estimate(values, 0.9)
    half = 1.6449 * values.std() / math.sqrt(len(values))
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_a_skewed_means_interval_is_skewed() -> None:
    values = np.random.default_rng(1).exponential(1.0, 30)
    estimate = mean_estimate(values)
    assert estimate.high - estimate.value > 1.1 * (estimate.value - estimate.low)
    # Plain percentiles lean the same way, but less: what BCa corrects.
    means = np.random.default_rng(2).choice(values, (9999, 30)).mean(1)
    low, high = np.quantile(means, [0.025, 0.975])
    assert estimate.low > low + 0.015
    assert estimate.high > high + 0.015


def test_a_differences_interval() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.normal(0.7, 0.1, 900), generator.normal(0.5, 0.3, 400)
    estimate = difference_estimate(first, second)
    half = 1.96 * math.sqrt(first.var() / 900 + second.var() / 400)
    assert estimate.value == pytest.approx(first.mean() - second.mean())
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half, rel=0.06)
    back = difference_estimate(second, first)
    assert back.value == pytest.approx(-estimate.value)
    assert back.low == pytest.approx(-estimate.high, abs=0.1 * half)


def test_the_interval_holds_the_mean_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    held = 0
    for _ in range(200):
        estimate = mean_estimate(generator.beta(2, 2, 40), 0.8, resamples=300)
        held += estimate.low <= 0.5 <= estimate.high
    assert 0.7 < held / 200 < 0.9


def test_equal_seeds_give_equal_intervals_and_batches_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random(50)
    whole = mean_estimate(values, resamples=500, seed=4)
    assert mean_estimate(values, resamples=500, seed=4) == whole
    assert mean_estimate(values, resamples=500, seed=5) != whole
    monkeypatch.setattr("captum_proto.stats.intervals._AT_A_TIME", 5000)
    assert mean_estimate(values, resamples=500, seed=4).low == pytest.approx(whole.low, abs=0.03)


def test_where_there_is_no_interval() -> None:
    single = mean_estimate([0.25])
    assert single.value == 0.25
    assert math.isnan(single.low)
    assert math.isnan(single.high)
    assert math.isnan(difference_estimate([0.25], [0.1, 0.2, 0.4]).low)
    equal = difference_estimate([0.75] * 4, [0.5] * 3)
    assert (equal.value, equal.low, equal.high) == (0.25, 0.25, 0.25)


def test_nearly_equal_values_have_a_finite_interval() -> None:
    estimate = mean_estimate([0.0] * 30 + [1.0], resamples=99)
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    one_sided = difference_estimate([1.0] * 5, [0.0, 0.0, 0.0, 0.0, 1e-12])
    assert math.isfinite(one_sided.low)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: proportion(5, 4), "5 of 4 cannot be a share"),
        (lambda: proportion(0, 0), "0 of 0 cannot be a share"),
        (lambda: proportion(1, 4, 95), "confidence is 95; expected between 0 and 1"),
        (lambda: fisher_exact((1, 2), (-1, 2)), "-1 of 2 cannot be a share"),
        (lambda: mean_estimate([]), r"shape \(0,\); expected \(N,\)"),
        (lambda: mean_estimate([[0.1, 0.2]]), r"shape \(1, 2\)"),
        (lambda: mean_estimate([0.1, math.nan]), "NaN or infinity"),
        (lambda: mean_estimate([0.1, 0.2], resamples=0), "resamples is 0"),
        (lambda: difference_estimate([0.1, 0.2], [0.1, 0.2], confidence=1.0), "confidence is 1.0"),
    ],
)
def test_what_cannot_be_computed_is_said(call, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call()
