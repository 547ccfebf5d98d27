"""Whether things of one kind are recognized more often than those of another, by the same people and of the same classes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import Estimate, difference_estimate, fisher_exact, mean_estimate
from captum_proto.stats.judgments import Order, order_by_test

#: What a test is called.
MCNEMAR, SIGNS, FISHER = "McNemar's exact test", "sign-flip test over classes", "Fisher's exact test"


@dataclass(frozen=True)
class PairedComparison:
    """
    A share of right answers beside another one.

    Args:
        first (str): What the first share is of.
        second (str): What the second is of.
        difference (Estimate): First less second, the mean over shared classes, or of all answers where no class is shared; with its
            bootstrap interval.
        p_value (float): Two-sided, of a single test.
        p_corrected (float): For several tests at once.
        test (str): Its name.
        classes (int): How many classes the test compares; for Fisher's, none.
        only_first (int): In how many of them the first share is higher.
        only_second (int): In how many the second is.
    """

    first: str
    second: str
    difference: Estimate
    p_value: float
    p_corrected: float
    test: str
    classes: int
    only_first: int
    only_second: int

    @property
    def order(self) -> Order:
        """How the first stands to the second, by the corrected p-value."""
        return order_by_test(self.difference.value, self.p_corrected)

    def corrected(self, p_value: float) -> PairedComparison:
        """The same with a corrected p-value."""
        return replace(self, p_corrected=p_value)


def compare_shares(
    first: str,
    second: str,
    right_of_first: Mapping[str, Sequence[bool]],
    right_of_second: Mapping[str, Sequence[bool]],
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> PairedComparison:
    """
    Whether answers of one kind are right more often than those of another.

    Classes that both have are pairs: of each the share of right answers of the one less that of the other. Under the null hypothesis each
    difference is as likely as its negative, whatever makes a class easy or hard, and however many people see it. With one answer of
    each class that is McNemar's exact test. Where no class is shared, answers are taken as independent: Fisher's exact test.

    Args:
        first (str): What the first are answers to.
        second (str): What the second are answers to.
        right_of_first (mapping[str, sequence of bool]): By class, whether each answer is right.
        right_of_second (mapping[str, sequence of bool]): The same of the second.
        confidence (float, optional): Of the interval of the difference, between 0 and 1. Default: 0.95
        resamples (int, optional): Of the bootstrap, and random sign flips where there are too many to try all. Default: 9999
        seed (int, optional): Of both. Default: 0

    Returns:
        PairedComparison: Its ``p_corrected`` is the p-value itself.

    Raises:
        InputError: If one of the kinds has no answers.

    Examples::

        >>> seen = {name: [True] for name in "abcdef"}
        >>> unseen = {name: [False] for name in "abcdef"}
        >>> compared = compare_shares("prototype", "noise", seen, unseen)
        >>> compared.test, compared.p_value
        ("McNemar's exact test", 0.03125)
    """
    for name, answers in ((first, right_of_first), (second, right_of_second)):
        if not answers or not all(answers.values()):
            raise InputError(
                f'there are no answers to "{name}", or none of one of its classes; give at least one of each.'
            )
    shared = [name for name in right_of_first if name in right_of_second]
    if not shared:
        one, other = ([each for answers in of.values() for each in answers] for of in (right_of_first, right_of_second))
        p_value = fisher_exact((sum(one), len(one)), (sum(other), len(other)))
        difference = difference_estimate(one, other, confidence, resamples, seed)
        return PairedComparison(first, second, difference, p_value, p_value, FISHER, 0, 0, 0)
    differences = np.array([float(np.mean(right_of_first[name]) - np.mean(right_of_second[name])) for name in shared])
    changed = differences[differences != 0]
    above, below = int((changed > 0).sum()), int((changed < 0).sum())
    alone = all(len(of[name]) == 1 for of in (right_of_first, right_of_second) for name in shared)
    p_value = _sign_flips(changed, resamples, seed)
    test = MCNEMAR if alone else SIGNS
    return PairedComparison(
        first,
        second,
        mean_estimate(differences, confidence, resamples, seed),
        p_value,
        p_value,
        test,
        len(shared),
        above,
        below,
    )


def _sign_flips(changed: np.ndarray[tuple[int], np.dtype[np.float64]], resamples: int, seed: int) -> float:
    """How often a sum is as far from zero if the sign of each difference is drawn at random; no difference says nothing."""
    if not len(changed):
        return 1.0
    sizes = np.abs(changed)
    if math.isclose(float(sizes.min()), float(sizes.max())):  # their sum is a count: exact for any number of them
        return float(stats.binomtest(int((changed > 0).sum()), len(changed)).pvalue)
    found = stats.permutation_test(
        (changed,),
        np.sum,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        rng=np.random.default_rng(seed),
    )
    return min(1.0, float(found.pvalue))


__all__ = ["FISHER", "MCNEMAR", "SIGNS", "PairedComparison", "compare_shares"]
