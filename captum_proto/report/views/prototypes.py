"""Prototypes, as one sheet."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from captum_proto.attr.prototypes import Prototypes
from captum_proto.report.figures import to_display


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
