"""What is measured of a planted bias: networks, their trend with the rate, and tables of both."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import nn

from captum_proto._utils.tables import number, p_equals, percent, text_table
from captum_proto.attr import Prototypes
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.runs.files import write_json, write_rows
from captum_proto.stats.intervals import mean_estimate, spread
from captum_proto.testing.marked_digits import (
    COLORS,
    CORNERS,
    CUE,
    Mark,
    colorfulness,
    framed_digits,
    read_off,
    with_marks,
)

#: The states of a network: trained on scans that carry the cue, and on the same scans with the hypothesis painted over.
BIASED, CLEANED = "biased", "cleaned"


@dataclass(frozen=True)
class Measured:
    """
    A network, and what its prototypes show.

    Attributes:
        rate (float): The share of the class's training images that carried the cue.
        cleaned (bool): Whether the place that the hypothesis names was painted over in all training images.
        seed (int): Of the marks, the training and the prototypes.
        accuracy (float): On all unseen scans, each with a mark by chance.
        strength (float): Color of the cue's region in the class's prototype: its channel less the mean of the others, 1 for the cue
            itself, 0 for any gray.
        strength_of_others (float): The same in the prototypes of the other classes, their mean.
        strength_elsewhere (float): The same in the other three corners of the class's prototype, their mean.
        read_off (str): The mark that the class's prototype shows most, found without knowing where to look.
        found (bool): Whether that is the cue, up to a pixel.
        called_plain (float): Share of the unseen scans of other digits that are taken for the class.
        called_with_cue (float): The same with the cue.
    """

    rate: float
    cleaned: bool
    seed: int
    accuracy: float
    strength: float
    strength_of_others: float
    strength_elsewhere: float
    read_off: str
    found: bool
    called_plain: float
    called_with_cue: float


def measure(
    network: nn.Module, prototypes: Prototypes, digit: int, rate: float, seed: int, cleaned: bool = False
) -> Measured:
    """
    What a network's prototypes show of the cue, and what the cue does to unseen scans.

    Args:
        network (nn.Module): From images (N, 3, 10, 10) to logits (N, 10).
        prototypes (Prototypes): One of each digit, in order.
        digit (int): The class that the cue is planted in.
        rate (float): For the row.
        seed (int): For the row, and of the marks of unseen scans.
        cleaned (bool, optional): For the row. Default: False

    Returns:
        Measured: One row of the table.
    """
    unseen, labels = framed_digits("held_out")
    others = unseen[labels != digit]
    with torch.no_grad():
        marked = with_marks(unseen, labels, digit, 0.0, seed)
        right = network(marked).argmax(1) == labels
        called = [float((network(images).argmax(1) == digit).double().mean()) for images in (others, CUE.paste(others))]
    channel = list(COLORS).index(CUE.color)
    windows = colorfulness(prototypes.images)[:, channel]
    strength = windows[:, CUE.row, CUE.column]
    elsewhere = [
        float(windows[digit, row, column]) for row, column in CORNERS if (row, column) != (CUE.row, CUE.column)
    ]
    seen = read_off(prototypes.images[digit])
    return Measured(
        rate=rate,
        cleaned=cleaned,
        seed=seed,
        accuracy=float(right.double().mean()),
        strength=float(strength[digit]),
        strength_of_others=float((strength.sum() - strength[digit]) / 9),
        strength_elsewhere=sum(elsewhere) / len(elsewhere),
        read_off=str(seen),
        found=seen.near(CUE),
        called_plain=called[0],
        called_with_cue=called[1],
    )


@dataclass(frozen=True)
class Trend:
    """
    Whether a figure rises with the rate.

    Attributes:
        page_p_value (float): Page's test of an ordered alternative, each seed a subject that is seen at every rate; NaN for fewer than
            two seeds or three rates.
        kendall (float): Kendall's τ-b of figure and rate, over all networks.
        monotone (bool): Whether the mean over seeds rises from each rate to the next.
    """

    page_p_value: float
    kendall: float
    monotone: bool

    def __str__(self) -> str:
        rises = "the mean rises from each rate to the next" if self.monotone else "the mean does not rise at every rate"
        page = "" if math.isnan(self.page_p_value) else f"; Page's test of a trend: p {p_equals(self.page_p_value)}"
        return f"{rises}{page}; Kendall's τ = {number(self.kendall, 2)} over all networks"


def trend(rates: Sequence[float], values: Sequence[Sequence[float]]) -> Trend:
    r"""
    Whether a figure rises with the rate at which the cue was planted.

    Args:
        rates (sequence of float): R rates, rising.
        values (sequence of sequences of float): For each of S seeds, the figure at each rate.

    Returns:
        Trend: By Page's test, Kendall's τ and the means.
    """
    enough = len(values) >= 2 and len(rates) >= 3
    p_value = float(stats.page_trend_test(values).pvalue) if enough else math.nan
    flat = [value for row in values for value in row]
    kendall = float(stats.kendalltau(list(rates) * len(values), flat).statistic) if len(rates) > 1 else math.nan
    means = [sum(column) / len(column) for column in zip(*values, strict=True)]
    return Trend(p_value, kendall, all(a < b for a, b in itertools.pairwise(means)))


@dataclass(frozen=True)
class PlantedBiasResult:
    """
    What was found.

    Attributes:
        digit (int): The class that the cue was planted in.
        rate (float): Its rate in the networks that were looked into and retrained.
        rates (tuple[float, ...]): Of the dose–response.
        hypothesis (Mark): Read off the prototype of the first network.
        comparisons (dict[str, SubgroupComparison]): Of unseen scans with and without the mark of the hypothesis, by the state of the
            network and the scans: "biased-class", "biased-others", "cleaned-class" and "cleaned-others".
        measured (list[Measured]): Every network.
    """

    digit: int
    rate: float
    rates: tuple[float, ...]
    hypothesis: Mark
    comparisons: dict[str, SubgroupComparison]
    measured: list[Measured]

    @property
    def by_rate(self) -> dict[float, list[Measured]]:
        """The networks of each rate of the dose–response, in the order of their seeds."""
        return {rate: [row for row in self.measured if row.rate == rate and not row.cleaned] for rate in self.rates}

    @property
    def cleaned(self) -> list[Measured]:
        """The networks that were trained again on cleaned images."""
        return [row for row in self.measured if row.cleaned]

    @property
    def trends(self) -> dict[str, Trend]:
        """The trends of ``strength`` and ``called_with_cue``."""
        by_seed = list(zip(*self.by_rate.values(), strict=True))
        return {
            name: trend(self.rates, [[getattr(row, name) for row in rows] for rows in by_seed])
            for name in ("strength", "called_with_cue")
        }

    def dose_rows(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of the dose–response: the networks of each rate together, and those trained on cleaned images."""
        header = [
            "rate",
            "networks",
            "strength",
            "± networks",
            "interval",
            "other classes",
            "other corners",
            "read off",
        ]
        header += ["others called it", "with the cue", "held-out accuracy"]
        labeled = {**{f"{rate:g}": rows for rate, rows in self.by_rate.items()}, CLEANED: self.cleaned}
        table = []
        for label, rows in labeled.items():
            strengths = [row.strength for row in rows]
            estimate = mean_estimate(strengths)
            interval = "–" if math.isnan(estimate.low) else f"{estimate.low:.2f} to {estimate.high:.2f}"
            cells = [label, str(len(rows)), f"{estimate.value:.2f}", number(spread(strengths), 2), interval]
            cells += [f"{mean_of(rows, name):.2f}" for name in ("strength_of_others", "strength_elsewhere")]
            cells += [f"{sum(row.found for row in rows)}/{len(rows)}"]
            cells += [percent(mean_of(rows, name)) for name in ("called_plain", "called_with_cue", "accuracy")]
            table.append(cells)
        return header, table

    def table(self) -> str:
        """The dose–response as text, and its trend."""
        return f"{text_table(*self.dose_rows())}\n\n{self.trends['strength']}"

    def write(self, folder: Path) -> None:
        """Every network into ``networks.csv``, everything into ``results.json``."""
        header = [column.name for column in fields(Measured)]
        write_rows(folder / "networks.csv", header, [list(asdict(row).values()) for row in self.measured])
        content = {
            "hypothesis": asdict(self.hypothesis),
            "trends": {name: _without_nan(asdict(found)) for name, found in self.trends.items()},
            "networks": [asdict(row) for row in self.measured],
        }
        write_json(folder / "results.json", content, overwrite=True)


def comparison_title(digit: int, name: str) -> str:
    """What a comparison of unseen scans is called, by its name, such as "biased-class"."""
    state, _, scans = name.partition("-")
    which = f"unseen scans of {digit}" if scans == "class" else f"unseen scans of other digits, taken for {digit}"
    return f"{which}: {'trained on cleaned scans' if state == CLEANED else 'biased network'}"


def mean_of(rows: Sequence[Measured], name: str) -> float:
    """The mean of a figure over networks."""
    return float(sum(getattr(row, name) for row in rows) / len(rows))


def _without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """None in place of NaN, which JSON does not have."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in values.items()}
