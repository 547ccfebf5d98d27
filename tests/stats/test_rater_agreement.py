"""Kappa against scikit-learn and a published example."""

from __future__ import annotations

import math

import numpy as np
import pytest

from captum_proto._utils.errors import InputError
from captum_proto.stats.rater_agreement import rater_agreement


@pytest.mark.parametrize("seed", range(5))
def test_of_two_people_it_is_cohens_kappa(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(seed)
    first = random.integers(0, 4, 40)
    second = np.where(random.random(40) < 0.6, first, random.integers(0, 5, 40))
    found = rater_agreement(list(zip(first.tolist(), second.tolist(), strict=True)))
    assert found.value == pytest.approx(metrics.cohen_kappa_score(first, second), abs=1e-12)
    assert found.low < found.value < found.high


#: An example that textbooks and encyclopedias share: 10 items, 14 raters, 5 categories; kappa 0.210.
FLEISS = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""


def test_of_more_it_is_fleiss_kappa() -> None:
    table = [[int(count) for count in line.split()] for line in FLEISS.split("\n") if line]
    ratings = [[category for category, count in enumerate(row) for _ in range(count)] for row in table]
    assert rater_agreement(ratings).value == pytest.approx(0.210, abs=5e-4)


def test_the_order_of_raters_matters_to_two_and_not_to_three() -> None:
    rows = [("a", "b", "a"), ("a", "a", "b"), ("c", "b", "b"), ("c", "c", "c"), ("a", "c", "b")]
    turned = [row[::-1] if place % 2 else row for place, row in enumerate(rows)]
    assert rater_agreement(rows).value == pytest.approx(rater_agreement(turned).value)


def test_chance_alone_gives_zero_and_agreement_one() -> None:
    random = np.random.default_rng(0)
    by_chance = rater_agreement(random.integers(0, 3, (2000, 3)).tolist())
    assert by_chance.low < 0 < by_chance.high
    assert rater_agreement([("a", "a", "a"), ("b", "b", "b")]).value == 1
    assert math.isnan(rater_agreement([("a", "a"), ("a", "a")]).value)  # chance would agree as well
    one = rater_agreement([("a", "b")])
    assert one.value == 0
    assert math.isnan(one.low)


@pytest.mark.parametrize("kind", [2, 3])
def test_the_interval_holds_the_true_value_as_often_as_it_says(kind: int) -> None:
    """People who agree by copying with probability one half: kappa 0.5 of two; of three, of each of whom it is a copy of a truth."""
    random = np.random.default_rng(1)
    inside = 0
    for _ in range(100):
        truth = random.integers(0, 3, (60, 1))
        copied = random.random((60, kind)) < math.sqrt(0.5)
        ratings = np.where(copied, truth, random.integers(0, 3, (60, kind)))
        found = rater_agreement(ratings.tolist(), resamples=199)
        inside += found.low <= 0.5 <= found.high
    assert 85 <= inside <= 100


def test_bad_input_gets_a_sentence() -> None:
    for ratings, words in (
        ([], "there are no ratings"),
        ([("a",)], "the items have 1 ratings"),
        ([("a", "b"), ("a",)], "have 1 and 2 ratings"),
    ):
        with pytest.raises(InputError, match=words):
            rater_agreement(ratings)
    with pytest.raises(InputError, match=r"confidence is 1\.5"):
        rater_agreement([("a", "b")], confidence=1.5)
    with pytest.raises(InputError, match="resamples is 0"):
        rater_agreement([("a", "b")], resamples=0)
