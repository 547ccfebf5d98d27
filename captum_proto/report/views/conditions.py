"""Prototypes beside controls, by several measures: a table of means with intervals, and in a sentence what sets them apart."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto.metrics.comparison import SAME, condition_label
from captum_proto.report.blocks import Table
from captum_proto.stats.conditions import Measured, condition_estimate, paired_estimate
from captum_proto.stats.intervals import Estimate

PROTOTYPE = "prototype"
#: The measure that is seen beside shares; others unfold.
PATH = "spearman"
_HALF, _MOST = 0.5, 0.9
Self = TypeVar("Self", bound="InputsResult")


@dataclass
class InputsResult(ABC):
    """
    Prototypes that are no images, of one or several networks, and what was measured of them.

    Attributes:
        networks (list[dict]): Of each network its settings and its classes, with prototypes.
        measured (list[Measured]): Of all networks.
        comparisons (list[str]): Files of comparisons of the first network, relative to the folder of the results.
    """

    networks: list[dict[str, Any]]
    measured: list[Measured]
    comparisons: list[str]

    @classmethod
    def load(cls: type[Self], folder: Path) -> Self:
        """What the tasks of a run wrote."""
        networks = [read_json(path) for path in sorted(folder.glob("*.json"))]
        measured = [Measured.from_json(each) for network in networks for each in network["measured"]]
        comparisons = [f"{folder.name}/{path.name}" for path in sorted(folder.glob("00_comparison_*.safetensors"))]
        return cls(networks, measured, comparisons)

    def table(self) -> str:
        """The measures of each condition, as text."""
        block = self.conditions()
        return text_table(block.header, block.rows)

    @abstractmethod
    def conditions(self) -> Table:
        """The measures of each condition."""


def condition_table(
    measured: Sequence[Measured],
    measures: Mapping[str, str],
    shares: Sequence[str],
    bounded: Sequence[str],
    caption: str,
) -> Table:
    """
    A row for each condition, a column for each measure.

    Args:
        measured (sequence of Measured): Of all conditions.
        measures (mapping[str, str]): What each measure is called in the header.
        shares (sequence of str): Measures that are shares, to be shown in per cent.
        bounded (sequence of str): Measures between 0 and 1: shares and probabilities.
        caption (str): What the figures say.
    """
    conditions = list(dict.fromkeys(each.condition for each in measured))
    counts = {condition: sum(each.condition == condition for each in measured) for condition in conditions}
    rows = []
    for condition in conditions:
        cells = [
            with_interval(condition_estimate(measured, condition, measure, measure in bounded), measure in shares)
            for measure in measures
        ]
        rows.append([condition_label(condition), str(counts[condition]), *cells])
    seen = [0, *(place for place, measure in enumerate(measures, 2) if measure in (*shares, PATH))]
    return Table(["condition", "inputs", *measures.values()], rows, caption, conditions=True, brief=seen)


def with_interval(estimate: Estimate, share: bool) -> str:
    """A mean and, where there is one, its interval."""
    show = percent if share else number
    ends = None if math.isnan(estimate.low) else (estimate.low, estimate.high)
    return show(estimate.value) + (f" ({between(ends, show)})" if ends is not None else "")


def against(measured: Sequence[Measured], control: str, measure: str, share: bool) -> str:
    """How far prototypes are above a control, in words: by how much on average, and whether it may be chance."""
    found = paired_estimate(measured, PROTOTYPE, control, measure, share)
    if math.isnan(found.value):
        return f"not compared with the control “{condition_label(control)}”"
    show = _points if share else number
    way = "above" if found.value > 0 else "below"
    size = show(abs(found.value))
    if found.value == 0:
        return f"as high as the control “{condition_label(control)}”"
    if math.isnan(found.low):
        return f"{size} {way} the control “{condition_label(control)}”, of which a single case does not tell whether by chance"
    certain = found.low > 0 or found.high < 0
    chance = "" if certain else ", which may be chance"
    return f"{size} {way} the control “{condition_label(control)}” (interval {between((found.low, found.high), show)}{chance})"


def verdict(measured: Sequence[Measured], judged: str = "judged") -> str:
    """
    Whether prototypes can be trusted, in a word: whether a judge of another family gives most of them their class, and they are not
    processed less like natural inputs of the class than these are, by more than chance.

    Args:
        measured (sequence of Measured): Of all conditions.
        judged (str, optional): The measure of the judge. Default: "judged"
    """
    given = condition_estimate(measured, PROTOTYPE, judged, share=True).value
    below = paired_estimate(measured, PROTOTYPE, SAME, PATH)
    if given < _HALF:
        return "No"
    return "In part" if given < _MOST or below.high < 0 else "By this measure, yes"


def beside_natural(measured: Sequence[Measured]) -> str:
    """The path similarity of natural inputs of the class, in words."""
    return f"Natural ones of the class reach {number(condition_estimate(measured, SAME, PATH).value)}."


def _points(value: float) -> str:
    """A difference of shares."""
    return f"{100 * value:.1f} points"


__all__ = ["PROTOTYPE", "InputsResult", "against", "beside_natural", "condition_table", "verdict", "with_interval"]
