"""Prototypes of honest and of fooled networks in one figure."""

from __future__ import annotations

from collections.abc import Mapping

from matplotlib.figure import Figure

from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.report.figures import to_display

_MOST_COLUMNS = 10


def prototype_rows_figure(sets: Mapping[str, Prototypes], labels: Mapping[Target, str]) -> Figure:
    """
    A row of prototypes for each network, a column for each prototype, at most ten.

    Args:
        sets (mapping[str, Prototypes]): By the name of the network, prototypes of the same targets.
        labels (mapping[tuple[int, ...], str]): What each target is called.

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    columns = min(_MOST_COLUMNS, len(next(iter(sets.values()))))
    figure = Figure(figsize=(1.3 * columns + 1.2, 1.35 * len(sets) + 0.3), layout="constrained")
    axes = figure.subplots(len(sets), columns, squeeze=False)
    for row, (name, prototypes) in enumerate(sets.items()):
        for column, axis in enumerate(axes[row]):
            axis.set_xticks([])
            axis.set_yticks([])
            shown = to_display(prototypes.images[column], tuple(prototypes.settings["value_range"]))
            axis.imshow(shown, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            if row == 0:
                axis.set_title(labels[prototypes.target[column]], fontsize=8)
        axes[row][0].set_ylabel(name, fontsize=9)
    return figure
