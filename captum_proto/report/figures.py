"""Prototypes and path similarity as pictures, by matplotlib's object interface: no window, no global state."""

from __future__ import annotations

import math
import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto.attr.prototypes import Prototypes
from captum_proto.metrics.comparison import OTHER, SAME, PathComparison, condition_label
from captum_proto.report.curves import MEASURES, Line, line

#: Okabe and Ito's colors, which the color-blind can tell apart.
_COLORS = {
    "prototype": "#D55E00",
    SAME: "#009E73",
    OTHER: "#0072B2",
    "gray": "#777777",
    "noise": "#000000",
    "ascent": "#CC79A7",
    "feature_visualization": "#56B4E9",
    "mean_image": "#E69F00",
}
#: The measures of the four panels, row by row.
_PANELS = ("spearman", "spearman-normalized", "l1", "l1-normalized")


def to_display(image: Tensor, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """An image (C, H, W) as matplotlib and Pillow take it: (H, W) or (H, W, 3), uint8. Other channel counts show their mean."""
    image = (image.detach().float().cpu() - value_range[0]) / (value_range[1] - value_range[0])
    image = image.clamp(0, 1).mul(255).round().to(torch.uint8)
    if image.shape[0] == 3:
        return image.permute(1, 2, 0).numpy()
    return image[0].numpy() if image.shape[0] == 1 else image.float().mean(0).round().to(torch.uint8).numpy()


def prototype_sheet(
    prototypes: Prototypes, labels: Sequence[str], value_range: tuple[float, float] = (0.0, 1.0)
) -> Figure:
    """
    All prototypes on one sheet, each with its label and its class probability as it is and under the transforms.

    Args:
        prototypes (Prototypes): At least one.
        labels (sequence of str): One for each.
        value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)

    Returns:
        Figure: To be saved with :func:`save_figure`.
    """
    columns = min(5, len(prototypes))
    rows = math.ceil(len(prototypes) / columns)
    figure = Figure(figsize=(2.6 * columns, 3.0 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.set_axis_off()
    for i, (axis, label) in enumerate(zip(axes, labels, strict=False)):
        shown = to_display(prototypes.images[i], value_range)
        axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
        plain, transformed = float(prototypes.probabilities[i]), float(prototypes.transformed_probabilities[i])
        both = f", transformed {transformed:.3f}" if prototypes.settings.get("transform") is not None else ""
        axis.set_title(f"{label}\np = {plain:.3f}{both}", fontsize=9)
    return figure


def comparison_figure(comparison: PathComparison, title: str = "", measures: Sequence[str] = _PANELS) -> Figure:
    r"""
    The paper's curves over layers, with the controls in the same axes: Spearman and L1, as they are and normalized.

    Args:
        comparison (PathComparison): What to draw.
        title (str, optional): Above the figure. Default: none
        measures (sequence of str, optional): What is drawn, a panel for each: of "spearman", "spearman-normalized", "l1" and
            "l1-normalized". Default: all

    Returns:
        Figure: Two panels a row. Curves are moving means over 10 layers (fewer where there are few), bands one standard
        deviation over images, moving mean over 5.
    """
    rows, columns = math.ceil(len(measures) / 2), min(2, len(measures))
    figure = Figure(figsize=(1 + 6 * columns, 1 + 3.5 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, sharex=True, squeeze=False)
    panels = dict(zip(measures, axes.flatten(), strict=False))
    for measure in MEASURES:
        if measure.key not in panels:
            continue
        axis = panels[measure.key]
        for condition in comparison.conditions:
            if measure.shows(condition):
                _draw(axis, line(comparison, condition, measure))
        axis.set_ylabel(measure.label)
        for value in measure.lines:
            axis.axhline(value, color="#bbbbbb", linewidth=0.8, zorder=0)
        if measure.logarithmic:
            axis.set_yscale("log")
            axis.set_ylim(bottom=0.1)  # the mean image is at no distance at all in the first layers
    for axis in axes[-1]:
        axis.set_xlabel(f"layer, in the order in which they return (1 to {len(comparison.layers)})")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4 * columns), frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def points_figure(values: Mapping[str, Sequence[float]], label: str) -> Figure:
    """
    A row for each name: a point for each value, a line at their mean.

    Args:
        values (mapping[str, sequence of float]): By name, from top to bottom.
        label (str): What the values are.
    """
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(values)), layout="constrained")
    axis = figure.subplots()
    for row, one in enumerate(values.values()):
        axis.plot(one, [row] * len(one), "o", color="#0072B2", alpha=0.45, markersize=5, markeredgewidth=0)
        axis.plot([np.nanmean(one)] * 2, [row - 0.35, row + 0.35], color="#D55E00", linewidth=2)
    axis.set_yticks(range(len(values)), list(values))
    axis.invert_yaxis()
    axis.set_xlabel(label)
    axis.grid(axis="x", color="#dddddd", linewidth=0.6)
    return figure


def picture_grid(pictures: Mapping[str, Mapping[str, Tensor]], value_range: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """
    A row of pictures for each name, the columns named above them.

    Args:
        pictures (mapping[str, mapping[str, Tensor]]): By row and column, images (C, H, W).
        value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
    """
    columns = list(dict.fromkeys(column for row in pictures.values() for column in row))
    figure = Figure(figsize=(1.9 * len(columns) + 1.2, 1.9 * len(pictures) + 0.3), layout="constrained")
    axes = figure.subplots(len(pictures), len(columns), squeeze=False)
    for number, (row, images) in enumerate(pictures.items()):
        for axis, column in zip(axes[number], columns, strict=True):
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if column in images:
                axis.imshow(
                    to_display(images[column], value_range), cmap="gray", vmin=0, vmax=255, interpolation="nearest"
                )
            if number == 0:
                axis.set_title(column, fontsize=9)
        axes[number][0].set_ylabel(textwrap.fill(row, 22), fontsize=9)
    return figure


def save_figure(figure: Figure, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a figure in the format its file name ends in, whole or not at all."""
    with whole_file(path, overwrite) as temporary:
        figure.savefig(temporary, format=Path(path).suffix.lstrip("."), dpi=120)


def _draw(axis: Axes, curve: Line | None) -> None:
    """One smoothed line, with a band for natural images."""
    if curve is None:
        return
    natural, color = curve.condition in (SAME, OTHER), _COLORS.get(curve.condition)
    width = 2.4 if curve.condition == "prototype" else 1.8 if natural else 1.1
    style = "-" if natural or curve.condition == "prototype" else "--"
    axis.plot(curve.layers, curve.values, style, color=color, linewidth=width, label=condition_label(curve.condition))
    if curve.spread is not None:
        low, high = curve.values - curve.spread, curve.values + curve.spread
        axis.fill_between(curve.layers, low, high, color=color, alpha=0.15, linewidth=0)
