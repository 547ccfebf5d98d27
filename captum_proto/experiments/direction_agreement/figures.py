"""Figures of the comparison of directions: agreement by kind, and images of some directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto.experiments.direction_agreement.measure import RANDOM, WHITENED
from captum_proto.experiments.direction_agreement.results import CLASS, FLOOR, NEAREST, DirectionAgreement
from captum_proto.report.figures import picture_sheet, to_display

#: Lines of the controls, from floor to ceiling. That of any two images would lie on that of random ones.
_CONTROL_COLORS = {FLOOR: "#777777", CLASS: "#CC79A7", NEAREST: "#009E73"}


def agreement_figure(result: DirectionAgreement) -> Figure:
    """
    A panel for each layer: a point for each direction, or each frame of random ones, the mean with its interval, lines for the controls.

    Args:
        result (DirectionAgreement): What was found.

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    layers = result.layers
    figure = Figure(figsize=(1.6 + 3.6 * len(layers), 3.9), layout="constrained")
    panels = figure.subplots(1, len(layers), sharex=True, sharey=True, squeeze=False)[0]
    for axis, layer in zip(panels, layers, strict=True):
        kinds = result.values[layer]
        for row, (kind, values) in enumerate(kinds.items()):
            jitter = np.random.default_rng(row).uniform(-0.22, 0.22, len(values))
            frames = kind in (RANDOM, WHITENED)
            color = "#E69F00" if frames else "#0072B2"
            axis.plot(values, row + jitter, "o", color=color, alpha=0.35, markersize=3.5, markeredgewidth=0)
            mean = result.of(layer, kind).mean
            axis.plot([mean.low, mean.high], [row, row], color="black", linewidth=2)
            axis.plot([mean.value], [row], "|", color="black", markersize=14, markeredgewidth=2)
        for name, color in _CONTROL_COLORS.items():
            if name in result.controls:
                value = result.controls[name].value
                axis.axvline(value, color=color, linestyle="--", linewidth=1.2, label=name, zorder=0)
        names = [f"{kind}\n(frames)" if kind in (RANDOM, WHITENED) else kind for kind in kinds]
        axis.set_yticks(range(len(kinds)), names)
        axis.set_title(layer, fontsize=10)
        axis.set_xlabel(f"mean cosine between {result.k} images", fontsize=9)
        axis.grid(axis="x", color="#eeeeee", linewidth=0.6)
    panels[0].invert_yaxis()
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=8)
    return figure


def examples_figure(rows: Mapping[str, Sequence[Tensor]]) -> Figure:
    """
    The images of some directions, a row each.

    Args:
        rows (mapping[str, sequence of Tensor]): By what is written beside them, images (C, H, W) in [0, 1].

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    pictures = [[("", to_display(image)) for image in images] for images in rows.values()]
    return picture_sheet(pictures, 110, labels=list(rows))


__all__ = ["agreement_figure", "examples_figure"]
