"""Figures of any kind, by matplotlib's object interface: no window, no global state."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto._utils.files import whole_file


def to_display(image: Tensor, value_range: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """An image (C, H, W) as matplotlib and Pillow take it: (H, W) or (H, W, 3), uint8. Other channel counts show their mean."""
    image = (image.detach().float().cpu() - value_range[0]) / (value_range[1] - value_range[0])
    image = image.clamp(0, 1).mul(255).round().to(torch.uint8)
    if image.shape[0] == 3:
        return image.permute(1, 2, 0).numpy()
    return image[0].numpy() if image.shape[0] == 1 else image.float().mean(0).round().to(torch.uint8).numpy()


def points_figure(values: Mapping[str, Sequence[float]], label: str) -> Figure:
    """
    A row for each name: a point for each value, a line at their mean.

    Args:
        values (mapping[str, sequence of float]): By name, from top to bottom.
        label (str): What the values are.
    """
    figure = Figure(figsize=(9, 1.2 + 0.32 * len(values)), layout="constrained")
    axis = figure.subplots()
    for row, points in enumerate(values.values()):
        axis.plot(points, [row] * len(points), "o", color="#0072B2", alpha=0.45, markersize=5, markeredgewidth=0)
        axis.plot([np.nanmean(points)] * 2, [row - 0.35, row + 0.35], color="#D55E00", linewidth=2)
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
    kind = Path(path).suffix.lstrip(".")
    # An SVG would carry the date and random identifiers; equal results are to be equal files.
    metadata = {"Date": None} if kind == "svg" else None
    with whole_file(path, overwrite) as temporary, rc_context({"svg.hashsalt": "captum_proto"}):
        figure.savefig(temporary, format=kind, dpi=120, metadata=metadata)
