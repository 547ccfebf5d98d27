"""Shares of right answers beside each other: SciPy's tests in the cases that it has, and all sign flips counted one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.blind_comparison import FISHER, MCNEMAR, SIGNS, compare_shares
from captum_proto.stats.judgments import Order


@pytest.mark.parametrize("seed", range(4))
def test_one_answer_of_each_class_is_mcnemars_test(seed: int) -> None:
    random = np.random.default_rng(seed)
    first = {name: [bool(random.random() < 0.8)] for name in range(40)}
    second = {name: [bool(random.random() < 0.5)] for name in range(40)}
    found = compare_shares("a", "b", first, second)
    only_first = sum(first[name] > second[name] for name in first)
    only_second = sum(first[name] < second[name] for name in first)
    assert found.test == MCNEMAR
    assert (found.only_first, found.only_second, found.classes) == (only_first, only_second, 40)
    assert found.p_value == pytest.approx(stats.binomtest(only_first, only_first + only_second).pvalue)
    assert found.difference.value == pytest.approx((only_first - only_second) / 40)
    assert found.difference.low < found.difference.value < found.difference.high


def test_several_answers_are_a_sign_flip_test() -> None:
    first = {"a": [True, True], "b": [True, False], "c": [True, True], "d": [False, False], "e": [True, True]}
    second = {"a": [False], "b": [False], "c": [True], "d": [True], "e": [False]}
    differences = [1.0, 0.5, 0.0, -1.0, 1.0]
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True)) for signs in product((1, -1), repeat=5)]
    expected = min(1.0, 2 * np.mean([total >= sum(differences) - 1e-9 for total in sums]))
    found = compare_shares("a", "b", first, second)
    assert found.test == SIGNS
    assert found.p_value == pytest.approx(expected)
    assert found.difference.value == pytest.approx(0.3)


def test_with_many_classes_flips_are_drawn_and_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    first = {name: [bool(flip) for flip in random.random(3) < 0.7] for name in range(40)}
    second = {name: [bool(flip) for flip in random.random(3) < 0.3] for name in range(40)}
    found = compare_shares("a", "b", first, second)
    assert found.p_value < 0.001
    assert found == compare_shares("a", "b", first, second)
    assert found.order is Order.ABOVE
    assert found.corrected(0.2).order is Order.CHANCE


def test_where_no_class_is_shared_it_is_fishers_test() -> None:
    found = compare_shares("a", "b", {"x": [True] * 7 + [False]}, {"y": [True] + [False] * 7})
    assert found.test == FISHER
    assert found.p_value == pytest.approx(stats.fisher_exact([[7, 1], [1, 7]]).pvalue)


def test_no_difference_says_nothing() -> None:
    same = {"x": [True], "y": [False]}
    assert compare_shares("a", "b", same, same).p_value == 1.0


def test_a_kind_without_answers_gets_a_sentence() -> None:
    with pytest.raises(InputError, match='there are no answers to "b"'):
        compare_shares("a", "b", {"x": [True]}, {})
    with pytest.raises(InputError, match='no answers to "a", or none of one of its classes'):
        compare_shares("a", "b", {"x": []}, {"x": [True]})
