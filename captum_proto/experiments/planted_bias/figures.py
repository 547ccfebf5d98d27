"""Figures of the planted bias: what was planted, what the prototypes show of it, and how that follows the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto.experiments.planted_bias.results import Measured, PlantedBiasResult, mean_of
from captum_proto.report.figures import picture_sheet, to_display

#: Where the networks that were trained on cleaned images stand on the axis of rates.
_CLEANED_AT = 1.15


def overview_figure(rows: Mapping[str, Sequence[Tensor]]) -> Figure:
    """
    Rows of small images, each with its title.

    Args:
        rows (mapping[str, sequence of Tensor]): By title, images (C, H, W) in [0, 1].

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    return picture_sheet(
        [[("", to_display(image)) for image in images] for images in rows.values()], 160, headings=list(rows)
    )


def dose_response_figure(result: PlantedBiasResult) -> Figure:
    """
    What the prototype shows, and what the network does, by the rate at which the cue was planted.

    Args:
        result (PlantedBiasResult): What was found.

    Returns:
        Figure: Two panels, a point for each network, with the lines of the means and the controls.
    """
    by_rate, digit = result.by_rate, result.digit
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    shown, done = figure.subplots(1, 2)
    _curve(shown, by_rate, "strength", "#D55E00", f"cue's corner, prototype of {digit}")
    _curve(shown, by_rate, "strength_elsewhere", "#E69F00", f"its other corners, prototype of {digit}", control=True)
    _curve(shown, by_rate, "strength_of_others", "#0072B2", "cue's corner, other prototypes", control=True)
    _curve(done, by_rate, "called_with_cue", "#D55E00", "with the cue")
    _curve(done, by_rate, "called_plain", "#0072B2", "without it", control=True)
    for axis, name in ((shown, "strength"), (done, "called_with_cue")):
        values = [getattr(row, name) for row in result.cleaned]
        places = [_CLEANED_AT] * len(values)
        axis.plot(places, values, "s", color="#009E73", alpha=0.6, markersize=5, label="retrained, cleaned")
        axis.set_xlabel(f"share of the training scans of {digit} that carry the cue")
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    shown.set_ylabel("strength of the cue: 1 the cue itself, 0 any gray")
    done.set_ylabel(f"share of other digits taken for {digit}")
    for axis in (shown, done):
        axis.set_xticks([*by_rate, _CLEANED_AT], [*(f"{rate:g}" for rate in by_rate), "cleaned"])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    return figure


def _curve(
    axis: Axes, by_rate: Mapping[float, Sequence[Measured]], name: str, color: str, label: str, control: bool = False
) -> None:
    """The mean over networks as a line, each network as a point."""
    means = [mean_of(rows, name) for rows in by_rate.values()]
    style, width = ("--", 1.2) if control else ("-", 2)
    axis.plot(list(by_rate), means, style, color=color, linewidth=width, label=label)
    for rate, rows in by_rate.items():
        axis.plot([rate] * len(rows), [getattr(row, name) for row in rows], ".", color=color, alpha=0.6)
