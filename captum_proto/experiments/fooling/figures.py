"""Prototypes of honest and of fooled networks in one figure."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.report.figures import picture_sheet, to_display

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
    rows: list[list[tuple[str, np.ndarray | None]]] = []
    for prototypes in sets.values():
        value_range = tuple(prototypes.settings["value_range"])
        shown = zip(prototypes.target[:_MOST_COLUMNS], prototypes.images[:_MOST_COLUMNS], strict=True)
        rows.append([("" if rows else labels[target], to_display(image, value_range)) for target, image in shown])
    return picture_sheet(rows, 150, labels=list(sets), font_size=8)
