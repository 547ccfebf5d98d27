"""Subgroups of images of a class beside each other, as a figure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from captum_proto.metrics.group_comparison import SubgroupComparison, p_text
from captum_proto.stats.intervals import Estimate

#: Okabe and Ito's colors, which the color-blind can tell apart.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


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
    panels = [(f"share taken for {comparison.target}", [one.accuracy for one in comparison.subgroups])]
    for name in comparison.classes:
        panels.append((f"mean p({name})", [one.probabilities[name] for one in comparison.subgroups]))
    names = [f"{one.subgroup} ({one.images})" for one in comparison.subgroups]
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
        p_value = p_text(comparison.pairs[0].p_value)
        axes[0].set_xlabel(f"{panels[0][0]} (Fisher's p {p_value if p_value.startswith('<') else f'= {p_value}'})")
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


def _estimates(axis: Axes, estimates: Sequence[Estimate]) -> None:
    """A point and its interval for each subgroup; without an interval, the point alone."""
    for place, one in enumerate(estimates):
        color = _COLORS[place % len(_COLORS)]
        if not math.isnan(one.low):
            axis.plot([one.low, one.high], [place, place], color=color, linewidth=2)
        axis.plot([one.value], [place], "o", color=color)
    axis.set_ylim(-0.6, len(estimates) - 0.4)
    axis.set_xticks(np.linspace(0, 1, 6))
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    axis.set_axisbelow(True)
