"""Which explanations pass a sanity check: what is left of a similarity, tested, for several methods at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, number, p_text, percent, text_table
from captum_proto.metrics.randomization.result import MARGIN, RandomizationResult, Retained
from captum_proto.stats.intervals import Estimate, holm


@dataclass(frozen=True)
class SanityVerdict:
    """
    What a sanity check says of a method.

    Attributes:
        method (str): Its name.
        measure (str): The similarity.
        similarity (Estimate): At the last stage, with its 95 % interval over inputs and seeds.
        chance (Estimate): Of maps of different inputs.
        last (Retained): What is left at the last stage, at which everything is randomized, between the two controls.
        along (Retained): What is left on average over all stages of the way there. Of a single stage the same.
        p_last, p_along (float): Of the share being the margin, after Holm's correction for all methods and both; NaN: not known.
        undefined (float): The share of maps at the last stage that have no similarity, because they are constant.
        level (float): Of the verdict.
    """

    method: str
    measure: str
    similarity: Estimate
    chance: Estimate
    last: Retained
    along: Retained
    p_last: float
    p_along: float
    undefined: float
    level: float = 0.05

    def _each(self) -> list[tuple[bool | None, float]]:
        """Of both: whether less than the margin is left, and its p-value."""
        return [
            (None if not p < self.level else left.share.value < left.margin, p)
            for left, p in ((self.last, self.p_last), (self.along, self.p_along))
        ]

    @property
    def passed(self) -> bool | None:
        """Whether both are less than the margin (True), or one is more (False), by more than chance; None where the data do not decide."""
        found = [passed for passed, _ in self._each()]
        return False if False in found else True if all(found) else None

    @property
    def p_value(self) -> float:
        """Of the verdict: the larger of both, but where one of them fails, the least of those that do. NaN: not known."""
        failing = [p for passed, p in self._each() if passed is False]
        return min(failing) if failing else float(np.max([self.p_last, self.p_along]))

    @property
    def word(self) -> str:
        """ "passes", "fails" or "undecided"."""
        return {True: "passes", False: "fails", None: "undecided"}[self.passed]


def verdicts(
    results: Mapping[str, RandomizationResult], measure: str, *, margin: float = MARGIN, level: float = 0.05
) -> list[SanityVerdict]:
    r"""
    Which of several methods pass a sanity check.

    Of the way from chance (maps of different inputs) to no change at all (an edge detector), some share is left: at the last stage, at
    which everything is randomized, and on average over the stages on the way there. Both have to be seen: guided backpropagation, of all
    methods the one that Adebayo et al. warn of, hardly notices that all but the first layers are random, and changes when these are.

    The hypothesis is that the share is ``margin``. A method passes where both shares are less, and fails where one of them is more, by
    two-sided tests over inputs and seeds at ``level``, corrected after Holm for all methods and both shares; else it is undecided. See
    :meth:`~captum_proto.metrics.randomization.result.RandomizationResult.retained`.

    Args:
        results (mapping[str, RandomizationResult]): By the name of the method.
        measure (str): A similarity that all have.
        margin (float, optional): Default: 0.3
        level (float, optional): Of all tests together. Default: 0.05

    Returns:
        list[SanityVerdict]: In the order of the methods.

    Raises:
        ValueError: If there is no such measure, or layers were randomized one by one, so that no stage has all of them.

    Examples::

        >>> same, chance = torch.ones(3, 2, 4), torch.zeros(3, 2, 4)
        >>> edges = RandomizationResult(["none", "fc"], {"spearman": same}, {"spearman": chance})
        >>> verdicts({"edges": edges}, "spearman")[0].word
        'fails'
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected between 0 and 1, such as 0.05.")
    tests: dict[tuple[str, int | None], Retained] = {}
    for name, result in results.items():
        if result.settings.get("order") == "independent":
            raise InputError(
                f"the layers of {name} were randomized one by one, so that no stage has all of them; judge a cascade, or see its table."
            )
        tests[name, -1] = result.retained(measure, margin=margin)
        if len(result.stages) > 2:
            tests[name, None] = result.retained(measure, None, margin=margin)
    known = [key for key, left in tests.items() if not math.isnan(left.p_value)]
    corrected = dict(zip(known, holm([tests[key].p_value for key in known]), strict=True))
    found = []
    for name, result in results.items():
        along = (name, None) if (name, None) in tests else (name, -1)
        found.append(
            SanityVerdict(
                name,
                measure,
                result.mean(measure).estimate(),
                result.chance_mean(measure).estimate(),
                tests[name, -1],
                tests[along],
                corrected.get((name, -1), math.nan),
                corrected.get(along, math.nan),
                result.undefined(measure),
                level,
            )
        )
    return found


#: The columns of a table of verdicts.
HEADER = [
    "method",
    "measure",
    "similarity",
    "95 %",
    "chance",
    "left at the end",
    "95 %",
    "left on the way",
    "95 %",
    "undefined",
    "p",
    "verdict",
]


def cells(verdict: SanityVerdict) -> list[str]:
    """A row of that table."""

    def short(value: float) -> str:
        return number(value, 2)

    shares = []
    for left in (verdict.last, verdict.along):
        shares += [short(left.share.value), between((left.share.low, left.share.high), short)]
    return [
        verdict.method,
        verdict.measure,
        number(verdict.similarity.value),
        between((verdict.similarity.low, verdict.similarity.high), short),
        number(verdict.chance.value),
        *shares,
        percent(verdict.undefined),
        "–" if math.isnan(verdict.p_value) else p_text(verdict.p_value),
        verdict.word,
    ]


def verdict_table(found: Sequence[SanityVerdict]) -> str:
    """Verdicts as text."""
    return text_table(HEADER, [cells(verdict) for verdict in found])


__all__ = ["HEADER", "SanityVerdict", "cells", "verdict_table", "verdicts"]
