"""Which explanations pass a sanity check: what is left of a similarity, tested, for several methods at once."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, number, p_text, percent, text_table
from captum_proto.metrics.randomization.result import RandomizationResult, Retained
from captum_proto.stats.intervals import Estimate, holm

#: A method that keeps this share of the way from chance to an edge detector, or more, has not noticed.
MARGIN = 0.1


@dataclass(frozen=True)
class Verdict:
    """
    What a sanity check says of a method.

    Attributes:
        method (str): Its name.
        measure (str): The similarity.
        similarity (Estimate): At the last stage, with its 95 % interval over inputs and seeds.
        chance (Estimate): Of maps of different inputs.
        retained (Retained): What is left between the two controls.
        corrected (float): The p-value of ``retained`` after Holm's correction for all methods of the measure; NaN: not known.
        undefined (float): The share of maps that have no similarity, because they are constant.
        level (float): Of the verdict.
    """

    method: str
    measure: str
    similarity: Estimate
    chance: Estimate
    retained: Retained
    corrected: float
    undefined: float
    level: float = 0.05

    @property
    def passed(self) -> bool | None:
        """Whether less than the margin is left (True), or more (False), by more than chance; None where the data do not decide."""
        if math.isnan(self.corrected) or self.corrected >= self.level:
            return None
        return self.retained.share.value < self.retained.margin

    @property
    def word(self) -> str:
        """ "passes", "fails" or "undecided"."""
        return {True: "passes", False: "fails", None: "undecided"}[self.passed]


def verdicts(
    results: Mapping[str, RandomizationResult],
    measure: str,
    stage: int | str = -1,
    *,
    margin: float = MARGIN,
    level: float = 0.05,
) -> list[Verdict]:
    r"""
    Which of several methods pass a sanity check.

    The hypothesis is that of the way from chance (maps of different inputs) to no change at all (an edge detector), the share ``margin`` is
    left. A method passes where less is left, and fails where more is, by a two-sided test over inputs and seeds at ``level``, corrected for
    all methods after Holm; else it is undecided. See :meth:`~captum_proto.metrics.randomization.RandomizationResult.retained`.

    Args:
        results (mapping[str, RandomizationResult]): By the name of the method.
        measure (str): A similarity that all have.
        stage (int or str, optional): Its place or name. Default: -1, the last, at which all layers are randomized
        margin (float, optional): Default: 0.1
        level (float, optional): Of all tests together. Default: 0.05

    Returns:
        list[Verdict]: In the order of the methods.

    Raises:
        ValueError: If there is no such measure or stage, or the stage is the last of layers that were randomized one by one.

    Examples::

        >>> same, chance = torch.ones(3, 2, 4), torch.rand(3, 2, 4)
        >>> edges = RandomizationResult(["none", "fc"], {"spearman": same}, {"spearman": chance})
        >>> verdicts({"edges": edges}, "spearman")[0].word
        'fails'
    """
    if not 0 < level < 1:
        raise InputError(f"level is {level}; expected between 0 and 1, such as 0.05.")
    for name, result in results.items():
        if stage == -1 and result.settings.get("order") == "independent":
            raise InputError(
                f"the layers of {name} were randomized one by one, so no stage has all of them; name the stage that is judged."
            )
    left = {name: result.retained(measure, stage, margin=margin) for name, result in results.items()}
    known = [name for name, found in left.items() if not math.isnan(found.p_value)]
    corrected = dict(zip(known, holm([left[name].p_value for name in known]), strict=True))
    return [
        Verdict(
            name,
            measure,
            result.mean(measure, stage).estimate(),
            result.chance_mean(measure, stage).estimate(),
            left[name],
            corrected.get(name, math.nan),
            result.undefined(measure, stage),
            level,
        )
        for name, result in results.items()
    ]


#: The columns of a table of verdicts.
HEADER = ["method", "measure", "similarity", "95 %", "chance", "left", "95 %", "undefined", "p", "verdict"]


def cells(verdict: Verdict) -> list[str]:
    """A row of that table."""
    share = verdict.retained.share
    return [
        verdict.method,
        verdict.measure,
        number(verdict.similarity.value),
        between((verdict.similarity.low, verdict.similarity.high)),
        number(verdict.chance.value),
        number(share.value, 2),
        between((share.low, share.high), lambda value: number(value, 2)),
        percent(verdict.undefined),
        "–" if math.isnan(verdict.corrected) else p_text(verdict.corrected),
        verdict.word,
    ]


def verdict_table(found: Sequence[Verdict]) -> str:
    """Verdicts as text."""
    return text_table(HEADER, [cells(verdict) for verdict in found])


__all__ = ["HEADER", "MARGIN", "Verdict", "cells", "verdict_table", "verdicts"]
