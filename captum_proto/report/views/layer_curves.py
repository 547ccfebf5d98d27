"""
Curves over layers, on the page and as a figure: four measures, smoothed as the paper smooths them, conditions in the same axes.

What is drawn (:func:`line`, :func:`limits`, :func:`ticks`, the colors) is shared; :func:`page_curves` makes SVG paths of it and
:func:`comparison_figure` a matplotlib figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator
from numpy.typing import NDArray
from torch import Tensor

from captum_proto.metrics.comparison import OTHER, SAME, PathComparison, condition_label
from captum_proto.metrics.depth import smooth
from captum_proto.stats.intervals import spreads

#: The paper's moving averages: of means and of standard deviations, in layers.
MEAN_WINDOW, SPREAD_WINDOW = 10, 5


@dataclass(frozen=True)
class Style:
    """
    How a condition looks.

    Attributes:
        name (str): Of its color on the page, where it depends on whether the page is light or dark.
        color (str, optional): Of its line in a figure. None: the next of matplotlib's.
    """

    name: str
    color: str | None = None


#: Conditions that have a color of their own. Those of figures are Okabe and Ito's, which the color-blind can tell apart.
CONDITION_STYLES = {
    "prototype": Style("prototype", "#D55E00"),
    SAME: Style("same", "#009E73"),
    OTHER: Style("other", "#0072B2"),
    "gray": Style("gray", "#777777"),
    "noise": Style("noise", "#000000"),
    "ascent": Style("ascent", "#CC79A7"),
    "feature_visualization": Style("feature", "#56B4E9"),
    "mean_image": Style("mean", "#E69F00"),
}
#: Further conditions share what is left.
SPARE_STYLES = tuple(Style(f"spare-{i}") for i in range(6))
#: The measures of a figure's panels, row by row.
FIGURE_PANELS = ("spearman", "spearman-normalized", "l1", "l1-normalized")
#: Where a logarithmic axis ends: the mean image is at no distance at all in the first layers.
LEAST_SHOWN = 0.1


@dataclass(frozen=True)
class Measure:
    """
    A value of a condition in each layer.

    Attributes:
        key (str): Its name in data.
        title (str): Its name for people.
        label (str): Of its axis.
        values (Callable): (L,), given a comparison and a condition.
        lines (tuple[float, ...]): Values that mean something, drawn across.
        limits (tuple[float, float], optional): Values beyond are drawn at the edge.
        logarithmic (bool): Of the axis.
        natural (bool): Whether same-class and other-class images are shown; else they are what the others are measured by.
        digits (int): Of a value, after the point.
    """

    key: str
    title: str
    label: str
    values: Callable[[PathComparison, str], Tensor]
    lines: tuple[float, ...] = ()
    limits: tuple[float, float] | None = None
    logarithmic: bool = False
    natural: bool = True
    digits: int = 3

    def shows(self, condition: str) -> bool:
        """Whether a condition has a curve of this measure."""
        return self.natural or condition not in (SAME, OTHER)


MEASURES = (
    Measure(
        "spearman",
        "Spearman",
        "Spearman with the mean natural activations",
        lambda comparison, condition: comparison.mean_spearman(condition),
    ),
    Measure(
        "l1",
        "L1",
        "L1 distance, relative to the same class",
        lambda comparison, condition: comparison.mean_l1(condition) / comparison.mean_l1(SAME),
        lines=(1.0,),
        logarithmic=True,
        digits=2,
    ),
    Measure(
        "spearman-normalized",
        "Spearman, normalized",
        "normalized Spearman: 1 same class, 0 other",
        lambda comparison, condition: comparison.normalized_spearman(condition),
        lines=(0.0, 1.0),
        limits=(-1.0, 3.0),
        natural=False,
        digits=2,
    ),
    Measure(
        "l1-normalized",
        "L1, normalized",
        "normalized L1: 0 same class, 1 other",
        lambda comparison, condition: comparison.normalized_l1(condition),
        lines=(0.0, 1.0),
        limits=(-3.0, 3.0),
        natural=False,
        digits=2,
    ),
)


@dataclass(frozen=True)
class Line:
    """
    A curve, ready to be drawn.

    Attributes:
        condition (str): Of which condition.
        layers (numpy.ndarray): The layers that have a value, counted from 1.
        values (numpy.ndarray): There, smoothed.
        spread (numpy.ndarray, optional): One standard deviation over images, smoothed; of natural images alone.
    """

    condition: str
    layers: np.ndarray
    values: np.ndarray
    spread: np.ndarray | None = None


def line(comparison: PathComparison, condition: str, measure: Measure) -> Line | None:
    """
    A condition's curve of a measure; gaps, where a layer has no value, are bridged so that smoothing does not spread them.

    Args:
        comparison (PathComparison): The scores.
        condition (str): One of its conditions.
        measure (Measure): One of ``MEASURES``.

    Returns:
        Line: The moving mean over 10 layers, fewer where there are few; None where no layer has a value.
    """
    values = measure.values(comparison, condition)
    living = ~values.isnan() & values.isfinite()
    if not bool(living.any()):
        return None
    count = int(living.sum())
    if measure.limits is not None:
        values = values.clamp(*measure.limits)
    spread = None
    if measure.key == "spearman" and condition in (SAME, OTHER):
        band = np.nan_to_num(spreads(comparison.spearman[condition])[living.numpy()])  # of a single image there is none
        spread = smooth(band, window(SPREAD_WINDOW, count)).numpy()
    return Line(
        condition=condition,
        layers=np.arange(1, len(values) + 1)[living.numpy()],
        values=smooth(values[living], window(MEAN_WINDOW, count)).numpy(),
        spread=spread,
    )


def window(most: int, layers: int) -> int:
    """The paper's window, or about a sixth of the layers where there are few."""
    return max(1, min(most, layers // 6))


def styles(conditions: Sequence[str]) -> dict[str, Style]:
    """How each condition looks: its own style, or one of the spare ones in turn."""
    spare = (SPARE_STYLES[i % len(SPARE_STYLES)] for i in range(len(conditions)))
    return {condition: CONDITION_STYLES.get(condition) or next(spare) for condition in conditions}


def limits(lines: Sequence[Line], measure: Measure) -> tuple[float, float]:
    """What an axis spans to show all lines with their bands, with a margin; of a logarithmic one, as powers of ten."""
    ends = [np.asarray(measure.lines, dtype=float)]
    for curve in lines:
        band = 0 if curve.spread is None else curve.spread
        ends += [curve.values - band, curve.values + band]
    values = np.concatenate(ends)
    if not len(values):
        values = np.array([0.0, 1.0])
    if measure.logarithmic:
        values = np.log10(np.maximum(values, LEAST_SHOWN))
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.1
    return low - margin, high + margin


def ticks(low: float, high: float, most: int = 6, logarithmic: bool = False) -> list[float]:
    """
    Round numbers between two ends, by matplotlib's locators.

    Args:
        low (float): One end; of a logarithmic axis, as a power of ten.
        high (float): The other, at least ``low``.
        most (int, optional): About how many there may be. Default: 6
        logarithmic (bool, optional): Whether the axis is. Default: False
    """
    if logarithmic:
        locator = LogLocator(subs=(1.0, 2.0, 5.0) if high - low < 2.5 else (1.0,), numticks=99)
        found = np.asarray(locator.tick_values(10**low, 10**high))
        inside = (np.log10(found) >= low) & (np.log10(found) <= high)
    else:
        found = np.asarray(MaxNLocator(most, steps=[1, 2, 5, 10]).tick_values(low, high))
        inside = (found >= low) & (found <= high)
    return [round(float(value), 12) for value in np.unique(found[inside])]


def page_curves(comparison: PathComparison) -> dict[str, Any]:
    """
    The curves as the page's template takes them: four panels of SVG paths, a legend, and the values behind them.

    Args:
        comparison (PathComparison): What to draw.

    Returns:
        dict: "conditions" (the legend), "panels", "layers" (how many), "window" (over how many a line is smoothed at most) and "data"
        (every value, as JSON can hold it).
    """
    names = [condition_label(condition) for condition in comparison.conditions]
    looks = styles(comparison.conditions)
    data = {
        "layers": comparison.layers,
        "conditions": names,
        "measures": {
            measure.key: {
                "title": measure.title,
                "digits": measure.digits,
                "values": [
                    _plain(measure.values(comparison, condition).tolist()) if measure.shows(condition) else None
                    for condition in comparison.conditions
                ],
            }
            for measure in MEASURES
        },
    }
    return {
        "conditions": [{"name": name, "style": look.name} for name, look in zip(names, looks.values(), strict=True)],
        "panels": [_panel(comparison, measure, looks) for measure in MEASURES],
        "layers": len(comparison.layers),
        "window": window(MEAN_WINDOW, len(comparison.layers)),
        "data": data,
    }


def _panel(comparison: PathComparison, measure: Measure, looks: dict[str, Style]) -> dict[str, Any]:
    """One panel: shapes in a square of a thousand units that the page stretches, and ticks in per cent of it, which stay text."""
    lines = _lines(comparison, measure)
    low, high = limits(lines, measure)
    layers = len(comparison.layers)

    def across(layer: Any) -> NDArray[np.float64]:
        return (np.asarray(layer, dtype=float) - 0.5) / layers

    def up(value: Any) -> NDArray[np.float64]:
        value = np.asarray(value, dtype=float)
        if measure.logarithmic:
            value = np.log10(np.maximum(value, 10**low))
        place: NDArray[np.float64] = 1 - (value - low) / (high - low)
        return place

    curves = []
    for curve in lines:
        x, y, band = across(curve.layers), up(curve.values), None
        if curve.spread is not None:
            above, below = up(curve.values + curve.spread), up(curve.values - curve.spread)
            band = _path(np.concatenate([x, x[::-1]]), np.concatenate([above, below[::-1]]).clip(0, 1)) + "Z"
        if len(x) == 1:  # a single layer is a line across it
            x, y = np.array([x[0] - 0.5 / layers, x[0] + 0.5 / layers]), np.repeat(y, 2)
        place, style = comparison.conditions.index(curve.condition), looks[curve.condition].name
        curves.append({"condition": place, "style": style, "band": band, "path": _path(x, y)})
    means = ", ".join(
        f"{condition_label(curve.condition)} {np.mean(curve.values):.{measure.digits}f}" for curve in lines
    )
    places = [int(place) for place in ticks(1, layers, 5) if place == int(place) and place >= 1]
    return {
        "key": measure.key,
        "title": measure.title,
        "label": measure.label,
        "curves": sorted(curves, key=lambda curve: curve["style"] == "prototype"),  # on top of the others
        "across": [{"at": f"{100 * across(place):.2f}", "text": str(place)} for place in dict.fromkeys([1, *places])],
        "up": [
            {"at": f"{100 * up(mark):.2f}", "y": f"{1000 * up(mark):.1f}", "text": f"{mark:g}".replace("-", "−")}
            for mark in ticks(low, high, logarithmic=measure.logarithmic)
        ],
        "lines": [f"{1000 * up(value):.1f}" for value in measure.lines if 0 <= up(value) <= 1],
        "summary": f"{measure.label}, by layer, of {layers}. Means of the curves, over the layers that have a value: {means}."
        if lines
        else "No layer has a value.",
    }


def _lines(comparison: PathComparison, measure: Measure) -> list[Line]:
    """The curves of all conditions that have one."""
    lines = [line(comparison, condition, measure) for condition in comparison.conditions if measure.shows(condition)]
    return [curve for curve in lines if curve is not None]


def _path(x: NDArray[np.float64], y: NDArray[np.float64]) -> str:
    return "M" + "L".join(f"{1000 * a:.1f} {1000 * b:.1f}" for a, b in zip(x, y, strict=True))


def _plain(values: list[float]) -> list[float | None]:
    """As JSON can hold them, and no longer than they are worth."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def comparison_figure(comparison: PathComparison, title: str = "", measures: Sequence[str] = FIGURE_PANELS) -> Figure:
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
        for curve in _lines(comparison, measure):
            _draw(axis, curve)
        axis.set_ylabel(measure.label)
        for value in measure.lines:
            axis.axhline(value, color="#bbbbbb", linewidth=0.8, zorder=0)
        if measure.logarithmic:
            axis.set_yscale("log")
            axis.set_ylim(bottom=LEAST_SHOWN)
    for axis in axes[-1]:
        axis.set_xlabel(f"layer, in the order in which they return (1 to {len(comparison.layers)})")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=min(len(names), 4 * columns), frameon=False)
    if title:
        figure.suptitle(title)
    return figure


def _draw(axis: Axes, curve: Line) -> None:
    """One smoothed line, with a band for natural images."""
    natural, style = curve.condition in (SAME, OTHER), CONDITION_STYLES.get(curve.condition)
    color = None if style is None else style.color
    width = 2.4 if curve.condition == "prototype" else 1.8 if natural else 1.1
    dashes = "-" if natural or curve.condition == "prototype" else "--"
    axis.plot(curve.layers, curve.values, dashes, color=color, linewidth=width, label=condition_label(curve.condition))
    if curve.spread is not None:
        low, high = curve.values - curve.spread, curve.values + curve.spread
        axis.fill_between(curve.layers, low, high, color=color, alpha=0.15, linewidth=0)
