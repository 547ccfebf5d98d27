"""A planted bias as pictures: what was planted, what the prototypes show of it, and how that follows the rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto.report.figures import to_display


def story_figure(rows: Mapping[str, Sequence[Tensor]]) -> Figure:
    """
    Rows of small images, each with its title.

    Args:
        rows (mapping[str, sequence of Tensor]): By title, images (C, H, W) in [0, 1].

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    columns = max(len(images) for images in rows.values())
    figure = Figure(figsize=(1.35 * max(columns, 3), 1.75 * len(rows)), layout="constrained")
    for part, (title, images) in zip(figure.subfigures(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        part.suptitle(title, fontsize=10)
        axes = part.subplots(1, columns, squeeze=False)[0]
        for axis in axes:
            axis.set_axis_off()
        for axis, image in zip(axes, images, strict=False):
            axis.imshow(to_display(image), interpolation="nearest")
    return figure


def dose_response_figure(
    dosed: Mapping[float, Sequence[Mapping[str, Any]]], cleaned: Sequence[Mapping[str, Any]], digit: int
) -> Figure:
    """
    What the prototype shows, and what the network does, by the rate at which the cue was planted.

    Args:
        dosed (mapping[float, sequence of mappings]): By rate, a network's measurements each.
        cleaned (sequence of mappings): Those of the networks retrained on cleaned images.
        digit (int): The class.

    Returns:
        Figure: Two panels, each a point a network, with the lines of the means and the controls.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    shown, done = figure.subplots(1, 2)
    _curve(shown, dosed, "strength", "#D55E00", f"cue's corner, prototype of {digit}")
    _curve(shown, dosed, "strength_elsewhere", "#E69F00", f"its other corners, prototype of {digit}", control=True)
    _curve(shown, dosed, "strength_of_others", "#0072B2", "cue's corner, other prototypes", control=True)
    _curve(done, dosed, "called_with_cue", "#D55E00", "with the cue")
    _curve(done, dosed, "called_plain", "#0072B2", "without it", control=True)
    for axis, name in ((shown, "strength"), (done, "called_with_cue")):
        values = [one[name] for one in cleaned]
        axis.plot(
            [1.15] * len(values), values, "s", color="#009E73", alpha=0.6, markersize=5, label="retrained, cleaned"
        )
        axis.set_xlabel(f"share of the training scans of {digit} that carry the cue")
        axis.axhline(0, color="#bbbbbb", linewidth=0.8, zorder=0)
    shown.set_ylabel("strength of the cue: 1 the cue itself, 0 any gray")
    done.set_ylabel(f"share of other digits taken for {digit}")
    for axis in (shown, done):
        axis.set_xticks([*dosed, 1.15], [*(f"{rate:g}" for rate in dosed), "cleaned"])
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, fontsize=8)
    return figure


def _curve(
    axis: Axes,
    dosed: Mapping[float, Sequence[Mapping[str, Any]]],
    name: str,
    color: str,
    label: str,
    control: bool = False,
) -> None:
    """The mean over networks as a line, each network as a point."""
    rates = list(dosed)
    means = [sum(one[name] for one in dosed[rate]) / len(dosed[rate]) for rate in rates]
    axis.plot(rates, means, "--" if control else "-", color=color, linewidth=1.2 if control else 2, label=label)
    for rate in rates:
        axis.plot([rate] * len(dosed[rate]), [one[name] for one in dosed[rate]], ".", color=color, alpha=0.6)
