"""Subgroups of images of a class beside each other: sentences, sections of a page, and a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_proto._utils.tables import bare_percent, between, number, p_equals, p_text, percent
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table, Verdict, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.stats.intervals import Estimate

#: Where the figure is, in the folder of the page.
GROUPS_FIGURE = "groups.png"
#: Okabe and Ito's colors, which the color-blind can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def conclusion(comparison: SubgroupComparison) -> list[str]:
    """A sentence for each pair: how many images of each subgroup the model takes for the target, Fisher's test, and what it says."""
    sentences = []
    results = {result.subgroup: result for result in comparison.subgroups}
    for pair in comparison.pairs:
        first, second = results[pair.first], results[pair.second]
        test = f"Fisher's exact test: p {p_equals(pair.p_value)}"
        if len(comparison.pairs) > 1:
            test += f", {p_text(pair.corrected_p_value)} after Holm's correction"
        sentences.append(
            f"The model takes {first.correct} of {first.images} images of {pair.first} for {comparison.target}, and {second.correct} of "
            f"{second.images} of {pair.second} ({test}): "
            + comparison.order(pair).told(
                f"{pair.first} more often than {pair.second}",
                f"{pair.first} less often than {pair.second}",
                "equally often",
            )
            + "."
        )
    return sentences


def trust(comparison: SubgroupComparison) -> str:
    """Whether subgroups differ by more than chance, with the test that says so."""
    orders = [comparison.order(pair) for pair in comparison.pairs]
    told = [pair for pair, order in zip(comparison.pairs, orders, strict=True) if order.certain]
    least = min((pair.corrected_p_value for pair in comparison.pairs), default=math.nan)
    test = f"Fisher's exact test: p {p_equals(least)}{'' if len(orders) == 1 else ' at least, after Holm’s correction'}"
    if not told:
        return f"No difference is shown: whatever there is may be chance ({test})."
    if len(orders) == 1:
        return f"Yes, the two differ by more than chance ({test}); that says nothing of the reason."
    names = ", ".join(f"{pair.first} and {pair.second}" for pair in told)
    return f"{len(told)} of {len(orders)} pairs differ by more than chance, {names} ({test}); that says nothing of the reason."


def comparison_sections(comparison: SubgroupComparison, figure: str) -> list[Section]:
    """
    What a comparison shows on a page: every subgroup's figures, then the differences pair by pair.

    Args:
        comparison (SubgroupComparison): What to show.
        figure (str): Where :func:`groups_figure` is saved, relative to the folder of the page.

    Returns:
        list[Section]: Two of them.
    """
    verdicts = []
    for result in comparison.subgroups:
        share = f"{_with_interval(result.accuracy, share=True)} ({result.correct} of {result.images})"
        verdicts.append(Verdict(f"{result.subgroup}: accuracy", share))
        for name, estimate in result.probabilities.items():
            verdicts.append(Verdict(f"{result.subgroup}: mean p({name})", _with_interval(estimate)))
    subgroups = Table(*comparison.subgroup_rows(), "Target by subgroup. Accuracy and its interval in per cent.")
    pairs = Table(*comparison.pair_rows(), f"Pair by pair, the first less the second; {comparison.note()}")
    shown = Picture(figure, "Each subgroup's figures with their intervals.", small=False)
    return [
        Section("Subgroups", [Verdicts(verdicts), Pictures([shown]), subgroups], shown=1),
        Section("Differences", [pairs]),
    ]


def groups_page(
    comparison: SubgroupComparison,
    title: str,
    settings: dict[str, Any],
    *,
    pictures: Sequence[Picture] = (),
    lead: Sequence[Block] = (),
    files: Sequence[str] = (),
    failures: Sequence[str] = (),
) -> Page:
    """
    The page of a comparison of subgroups.

    Args:
        comparison (SubgroupComparison): What to show.
        title (str): Of the page.
        settings (dict): How it was made.
        pictures (sequence of Picture, optional): Prototypes of the classes of interest. Default: none
        lead (sequence of Block, optional): What is shown of them at the top of the page, below "groups.png". Default: nothing
        files (sequence of str, optional): Files of the folder to link to; "groups.png" is shown anyway. Default: none
        failures (sequence of str, optional): What failed. Default: nothing

    Returns:
        Page: For :func:`captum_proto.report.html.write_page`.
    """
    sections = [*comparison_sections(comparison, GROUPS_FIGURE), Section("Files", [Files(list(files))])]
    if pictures:
        text = "Prototypes of the classes of interest, to set beside the subgroups; whether they explain a difference is not measured here."
        sections.insert(2, Section("Prototypes", [Paragraphs([text]), Pictures(list(pictures))], shown=1))
    figure = Picture(GROUPS_FIGURE, "Each subgroup's figures with their intervals.", small=False)
    return Page(
        title,
        conclusion(comparison),
        sections,
        settings,
        list(failures),
        lead=[Pictures([figure]), *lead],
        trust=trust(comparison),
    )


def _with_interval(estimate: Estimate, share: bool = False) -> str:
    """A figure with its interval in brackets, where it has one."""
    value = percent(estimate.value) if share else number(estimate.value)
    if math.isnan(estimate.low):
        return value
    return f"{value} [{between((estimate.low, estimate.high), bare_percent if share else number, ', ')}]"


def groups_figure(comparison: SubgroupComparison, title: str = "") -> Figure:
    """
    Accuracy and mean probability of each class of interest, subgroup by subgroup, with their intervals.

    Args:
        comparison (SubgroupComparison): What to draw.
        title (str, optional): Above the figure. Default: none

    Returns:
        Figure: One panel for the accuracy, one for each class of interest; of two subgroups the p-value of Fisher's test is beneath the
        first.
    """
    panels = [(f"share taken for {comparison.target}", [result.accuracy for result in comparison.subgroups])]
    for name in comparison.classes:
        panels.append((f"mean p({name})", [result.probabilities[name] for result in comparison.subgroups]))
    names = [f"{result.subgroup} ({result.images})" for result in comparison.subgroups]
    height = 1.6 + 0.45 * len(names)
    figure = Figure(figsize=(2.0 + 3.0 * len(panels), height), layout="constrained")
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (label, estimates) in zip(axes, panels, strict=True):
        _estimates(axis, estimates)
        axis.set_xlabel(label)
        axis.set_xlim(-0.02, 1.02)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].invert_yaxis()
    if len(comparison.pairs) == 1:
        axes[0].set_xlabel(f"{panels[0][0]} (Fisher's p {p_equals(comparison.pairs[0].p_value)})")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _estimates(axis: Axes, estimates: Sequence[Estimate]) -> None:
    """A point and its interval for each subgroup; without an interval, the point alone."""
    for place, estimate in enumerate(estimates):
        color = _COLORS[place % len(_COLORS)]
        if not math.isnan(estimate.low):
            axis.plot([estimate.low, estimate.high], [place, place], color=color, linewidth=2)
        axis.plot([estimate.value], [place], "o", color=color)
    axis.set_ylim(-0.6, len(estimates) - 0.4)
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
