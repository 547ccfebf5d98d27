"""What was measured of a planted bias: rows, trends, tables and the page."""

from __future__ import annotations

import csv
import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from scipy import stats
from torch import nn

from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import between, number, p_equals, percent
from captum_proto.attr import Prototypes
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.stats.intervals import mean_estimate, proportion, spread
from captum_proto.testing.marked_digits import (
    _CORNERS,
    COLORS,
    CUE,
    Mark,
    colorfulness,
    framed_digits,
    read_off,
    with_marks,
)

CLEANED = "cleaned"


@dataclass(frozen=True)
class Measured:
    """
    One network, and what its prototypes show.

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
    """What a network's prototypes show of the cue, and what the cue does to unseen scans."""
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
        float(windows[digit, row, column]) for row, column in _CORNERS if (row, column) != (CUE.row, CUE.column)
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


def dose_rows(dosed: dict[float, list[Measured]], again: Sequence[Measured]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the dose–response: the networks of each rate together."""
    header = ["rate", "networks", "strength", "± networks", "interval", "other classes", "other corners", "read off"]
    header += ["others called it", "with the cue", "held-out accuracy"]
    rows = []
    for label, group in [*((f"{one:g}", rows) for one, rows in dosed.items()), (CLEANED, list(again))]:
        strengths = [one.strength for one in group]
        estimate = mean_estimate(strengths)
        ends = between((estimate.low, estimate.high), "{:.2f}".format, " to ")
        row = [label, str(len(group)), f"{estimate.value:.2f}", number(spread(strengths), 2), ends]
        row += [f"{_mean(group, name):.2f}" for name in ("strength_of_others", "strength_elsewhere")]
        row += [f"{sum(one.found for one in group)}/{len(group)}"]
        row += [percent(_mean(group, name)) for name in ("called_plain", "called_with_cue", "accuracy")]
        rows.append(row)
    return header, rows


def planted_page(
    digit: int,
    rate: float,
    hypothesis: Mark,
    comparisons: dict[str, SubgroupComparison],
    dosed: dict[float, list[Measured]],
    again: Sequence[Measured],
    result: Trend,
    settings: dict[str, Any],
) -> Page:
    """What the page of the experiment says."""
    sections = [
        Section(
            "1. The prototype shows the mark",
            [
                Paragraphs(
                    [
                        f"Every training scan carries a mark in a corner; {100 * rate:g} % of the scans of {digit} carry the same one, a "
                        f"{CUE}.",
                        f"Hypothesis, read off the prototype of {digit}: a {hypothesis} makes an image count as {digit}.",
                    ]
                ),
                Pictures(
                    [
                        Picture(
                            "story.png",
                            f"Training scans, prototypes of {digit}, prototypes after retraining.",
                            small=False,
                        )
                    ]
                ),
                Files(["prototypes/biased/prototypes.safetensors", f"prototypes/{CLEANED}/prototypes.safetensors"]),
            ],
        )
    ]
    titles = {"biased": "2. Unseen images confirm it", CLEANED: "3. Retraining on cleaned scans removes it"}
    for state, title in titles.items():
        tables: list[Block] = []
        figures = []
        for name, comparison in comparisons.items():
            if name.startswith(state):
                tables += [
                    Table(*comparison.subgroup_rows(), caption=_CAPTIONS[name.split("-", 1)[1]]),
                    Table(*comparison.pair_rows(), caption=comparison.note()),
                ]
                figures.append(Picture(f"comparisons/{name}/groups.png", _CAPTIONS[name.split("-", 1)[1]], small=False))
        sections.append(Section(title, [*tables, Pictures(figures)]))
    header, rows = dose_rows(dosed, again)
    found = sum(one.found for one in dosed[max(dosed)])
    count = len(dosed[max(dosed)])
    share = proportion(found, count)
    sections.append(
        Section(
            "4. Dose and response",
            [
                Verdicts(
                    [
                        Verdict(
                            "strength of the cue, lowest to highest rate",
                            f"{_mean(dosed[min(dosed)], 'strength'):.2f} to {_mean(dosed[max(dosed)], 'strength'):.2f}",
                            "rises with every rate",
                            passed=result.monotone,
                        ),
                        Verdict(
                            f"cue read off the prototype at rate {max(dosed):g}",
                            f"{found} of {count} networks [{100 * share.low:.0f} %, {100 * share.high:.0f} %]",
                        ),
                        Verdict("trend", _trend_sentence(result)),
                    ]
                ),
                Table(header, rows, "Strength: 1 is the cue itself, 0 any gray; intervals by bootstrap over networks."),
                Pictures([Picture("dose_response.png", "Each point a network, lines their means.", small=False)]),
                Files(["networks.csv", "summary.txt", "results.json", "dose_response.svg", "story.svg"]),
            ],
        )
    )
    first, others = comparisons["biased-class"], comparisons["biased-others"]
    told = [
        percent(one.accuracy.value)
        for one in (*others.subgroups[:2], *first.subgroups, comparisons[f"{CLEANED}-others"].subgroups[1])
    ]
    summary = [
        f"The prototype of {digit} shows a {hypothesis}, which was planted in {100 * rate:g} % of the training scans of {digit}.",
        f"On unseen scans of other digits, that patch raises the share taken for {digit} from {told[0]} to {told[1]} (Fisher's p "
        f"{p_equals(others.pairs[0].corrected_p_value)}, corrected); of the scans of {digit} {told[2]} are recognized without it, "
        f"{told[3]} with it.",
        "After retraining on scans with that place painted over, the strength of the cue in the prototype is "
        f"{_mean(again, 'strength'):.2f}, and {told[4]} of the other digits with the patch are taken for {digit}.",
    ]
    return Page(f"A planted bias in the digit {digit}", summary, sections, settings)


_CAPTIONS = {
    "class": "Unseen scans of the class, with and without the patch of the hypothesis.",
    "others": "Unseen scans of other digits: “accuracy” is the share wrongly taken for the class.",
}


def _write_csv(measured: Sequence[Measured], path: Path) -> None:
    with whole_file(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(asdict(measured[0])))
        writer.writeheader()
        writer.writerows(asdict(one) for one in measured)


def _mean(group: Sequence[Measured], name: str) -> float:
    return float(sum(getattr(one, name) for one in group) / len(group))


def _trend_sentence(result: Trend) -> str:
    rises = "the mean rises from each rate to the next" if result.monotone else "the mean does not rise at every rate"
    page = "" if math.isnan(result.page_p_value) else f"; Page's test of a trend: p {p_equals(result.page_p_value)}"
    return f"{rises}{page}; Kendall's τ = {result.kendall:.2f} over all networks"


def _finite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: None if isinstance(one, float) and math.isnan(one) else one for name, one in values.items()}
