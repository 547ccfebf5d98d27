"""Whether one method is better than another: tests on each measure, paired by class and corrected for their number."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from captum_proto._utils.tables import p_equals
from captum_proto.metrics.quality import CONTROL, MEASURES, METHOD, Figure, QualityTable, column_label
from captum_proto.stats.intervals import Estimate, holm, mean_estimate
from captum_proto.stats.judgments import Order, order_by_test

#: Of the interval of each difference: there are many of them.
_RESAMPLES = 1999
_CONFIDENCE = 0.95
MCNEMAR, WILCOXON = "McNemar's exact test", "Wilcoxon's signed-rank test"


@dataclass(frozen=True)
class QualityTest:
    """
    One method against another on one measure.

    Attributes:
        method (str): The one.
        other (str): The other.
        key (str): The measure, and the verifier.
        difference (Estimate): The mean over classes of the one less the other, with its 95 % interval by BCa's bootstrap over classes.
        p_value (float): Two-sided; NaN with fewer than two classes.
        corrected (float): After Holm, over all tests of the method in its table.
        test (str): Which test it is.
        classes (int): Over how many classes the two are paired.
    """

    method: str
    other: str
    key: str
    difference: Estimate
    p_value: float
    corrected: float
    test: str
    classes: int

    @property
    def order(self) -> Order:
        """Whether the one is better ("above") than the other, worse ("below"), or neither by more than chance."""
        higher = MEASURES[self.key.partition("@")[0]].higher
        return order_by_test(self.difference.value * (1 if higher else -1), self.corrected)


def paired_test(first: Figure, second: Figure) -> tuple[Estimate, float, str, int]:
    """
    The difference of two figures of the same measure, paired by class, with a two-sided test.

    Where each class has a single picture that is right or wrong, McNemar's exact test: the binomial test of the classes in which the two
    disagree. Else Wilcoxon's signed-rank test of the differences between the means of each class; classes with no difference are left out.

    Args:
        first (Figure): The one.
        second (Figure): The other.

    Returns:
        tuple: The mean difference with its interval by bootstrap over classes, the p-value, the test's name, and the number of classes.

    Examples::

        >>> from captum_proto.metrics.quality import figure
        >>> names = [f"class {i}" for i in range(8)]
        >>> right, wrong = (figure("own_top1", {name: [value] for name in names}) for value in (1.0, 0.0))
        >>> difference, p_value, test, classes = paired_test(right, wrong)
        >>> difference.value, p_value, test, classes
        (1.0, 0.0078125, "McNemar's exact test", 8)
    """
    names = [name for name in first.values if name in second.values]
    binary = MEASURES[first.measure].kind == "share" and all(
        len(each.values[name]) == 1 for each in (first, second) for name in names
    )
    test = MCNEMAR if binary else WILCOXON
    if not names:
        return Estimate(math.nan, math.nan, math.nan), math.nan, test, 0
    differences = np.array([np.mean(first.values[name]) - np.mean(second.values[name]) for name in names])
    difference = mean_estimate(differences, resamples=_RESAMPLES)
    if len(names) < 2:
        return difference, math.nan, test, len(names)
    return difference, _mcnemar(differences) if binary else _wilcoxon(differences), test, len(names)


def _mcnemar(differences: NDArray[np.float64]) -> float:
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    return float(stats.binomtest(better, better + worse).pvalue) if better + worse else 1.0


def _wilcoxon(differences: NDArray[np.float64]) -> float:
    # Equal means of equal values may differ by a rounding.
    changed = differences[~np.isclose(differences, 0, atol=1e-12)]
    return float(stats.wilcoxon(changed).pvalue) if len(changed) else 1.0


def quality_tests(table: QualityTable) -> list[QualityTest]:
    """
    Each method against every other row on every measure that both have, corrected after Holm over all tests of the method.

    Args:
        table (QualityTable): Of some classes.

    Returns:
        list[QualityTest]: Method by method; measures of a whole row, such as a ratio, have no test of their own.
    """
    tests: list[QualityTest] = []
    for row in table.rows:
        if row.kind != METHOD:
            continue
        found: list[tuple[str, str, tuple[Estimate, float, str, int]]] = []
        for other in table.rows:
            if other is row:
                continue
            for key in table.columns():
                pair = row.figures.get(key), other.figures.get(key)
                if pair[0] is not None and pair[1] is not None and pair[0].values and pair[1].values:
                    found.append((other.name, key, paired_test(pair[0], pair[1])))
        known = [index for index, (_, _, (_, p_value, _, _)) in enumerate(found) if not math.isnan(p_value)]
        corrected = dict(zip(known, holm([found[index][2][1] for index in known]), strict=True))
        tests += [
            QualityTest(row.name, other, key, difference, p_value, corrected.get(index, math.nan), test, classes)
            for index, (other, key, (difference, p_value, test, classes)) in enumerate(found)
        ]
    return tests


def beaten_on(table: QualityTable, tests: Sequence[QualityTest], method: str) -> tuple[list[str], int]:
    """
    On which measures a method beats every control that knows no data, by more than chance.

    Args:
        table (QualityTable): Of some classes.
        tests (sequence of QualityTest): From :func:`quality_tests`.
        method (str): Its name.

    Returns:
        tuple[list[str], int]: Their columns, and how many measures there are that it shares with these controls.
    """
    controls = {row.name for row in table.rows if row.kind == CONTROL}
    by_key: dict[str, list[QualityTest]] = {}
    for each in tests:
        if each.method == method and each.other in controls:
            by_key.setdefault(each.key, []).append(each)
    beaten = [
        column_label(key)
        for key, of_key in by_key.items()
        if {each.other for each in of_key if each.order is Order.ABOVE} == controls
    ]
    return beaten, len(by_key)


def verdicts(table: QualityTable, tests: Sequence[QualityTest]) -> list[str]:
    """
    A sentence on each method: on which measures it beats every control that knows no data, by more than chance.

    Args:
        table (QualityTable): Of some classes.
        tests (sequence of QualityTest): From :func:`quality_tests`.
    """
    controls = ", ".join(row.label for row in table.rows if row.kind == CONTROL)
    sentences = []
    for row in table.rows:
        beaten, count = beaten_on(table, tests, row.name)
        if count:
            named = f": {'; '.join(beaten)}" if beaten else ""
            sentences.append(
                f"“{row.name}” beats every control that knows no data ({controls}) by more than chance on {len(beaten)} of {count} "
                f"measures{named}."
            )
    return sentences


def cells_of_tests(table: QualityTable, tests: Sequence[QualityTest], method: str) -> tuple[list[str], list[list[str]]]:
    """
    The tests of one method as cells of a table: a row for each measure, a column for each other method.

    Args:
        table (QualityTable): Of some classes.
        tests (sequence of QualityTest): From :func:`quality_tests`.
        method (str): Its name.
    """
    found = {(each.key, each.other): each for each in tests if each.method == method}
    others = {row.name: row.label for row in table.rows if any(other == row.name for _, other in found)}
    keys = [key for key in table.columns() if any(key == other for other, _ in found)]
    rows = [
        [column_label(key), *(_told(found[key, other]) if (key, other) in found else "–" for other in others)]
        for key in keys
    ]
    return [f"{method} against", *others.values()], rows


def _told(test: QualityTest) -> str:
    if test.order is Order.UNTESTED:
        return "not tested"
    words = test.order.told("better", "worse", "equal")
    return f"{words}, p {p_equals(test.corrected)}" if test.order.certain else words.removeprefix("that ")


def powerless(tests: Sequence[QualityTest]) -> bool:
    """Whether no test of a method can be significant after the correction, however large a difference is: there are too few classes."""
    classes, count = _size(tests)
    return _smallest(classes) * count > 1 - _CONFIDENCE


def power_note(tests: Sequence[QualityTest]) -> str:
    """What the tests could find at best: with few classes and many tests no difference is significant, however large it is."""
    if not tests:
        return ""
    classes, count = _size(tests)
    note = (
        f"Each method has {count} tests, corrected together after Holm. Over {classes} {'class' if classes == 1 else 'classes'} no p is "
        f"smaller than {_smallest(classes):.2g}"
    )
    if not powerless(tests):
        return f"{note}, which the correction leaves significant."
    needed = 1 + math.ceil(math.log2(count / (1 - _CONFIDENCE)))
    return f"{note}, so that after correction no difference is significant; with {needed} classes the largest can be."


def _size(tests: Sequence[QualityTest]) -> tuple[int, int]:
    """Over how many classes tests are at most, and how many a method has at most."""
    counts = Counter(each.method for each in tests)
    return max((each.classes for each in tests), default=0), max(counts.values(), default=0)


def _smallest(classes: int) -> float:
    """The smallest p-value of either test, two-sided."""
    return 2.0 ** (1 - classes) if classes > 1 else 1.0


def lines_of_tests(title: str, tests: Sequence[QualityTest]) -> tuple[list[str], list[list[Any]]]:
    """A line for each test, for a CSV file."""
    header = ["classes", "method", "other", "measure", "verifier", "difference", "low", "high", "p", "p_holm", "test"]
    header += ["of_classes", "verdict"]
    rows = []
    for each in tests:
        measure, _, verifier = each.key.partition("@")
        ends = (each.difference.value, each.difference.low, each.difference.high, each.p_value, each.corrected)
        verdict = each.order.told("better", "worse", "equal")
        rows.append(
            [title, each.method, each.other, measure, verifier, *map(repr, ends), each.test, each.classes, verdict]
        )
    return header, rows


__all__ = [
    "QualityTest",
    "beaten_on",
    "cells_of_tests",
    "lines_of_tests",
    "paired_test",
    "power_note",
    "quality_tests",
    "verdicts",
]
