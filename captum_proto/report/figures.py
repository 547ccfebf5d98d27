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
from PIL import Image
from torch import Tensor

from captum_proto._utils.files import whole_file

#: Pixels to an inch of every figure that is saved.
DPI = 120


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


def sized(picture: np.ndarray, side: int) -> np.ndarray:
    """
    A picture as large as fits into a square, and no worse for it.

    A small one is enlarged by a whole multiple, each pixel a square as wide as the next; one that nothing but a fraction would enlarge
    stays as it is; one that does not fit is reduced by Lanczos's filter.

    Args:
        picture (numpy.ndarray): As :func:`to_display` gives it.
        side (int): Of the square, in pixels.

    Examples::

        >>> small, large = np.zeros((8, 8), np.uint8), np.zeros((448, 224, 3), np.uint8)
        >>> sized(small, 300).shape, sized(large, 300).shape, sized(large, 450).shape
        ((296, 296), (300, 150, 3), (448, 224, 3))
    """
    height, width = picture.shape[:2]
    if max(height, width) > side:
        size = (max(1, round(extent * side / max(height, width))) for extent in (width, height))
        return np.asarray(Image.fromarray(picture).resize(tuple(size), Image.Resampling.LANCZOS))
    multiple = side // max(height, width)
    return picture.repeat(multiple, axis=0).repeat(multiple, axis=1)


def picture_sheet(
    rows: Sequence[Sequence[tuple[str, np.ndarray | None]]],
    side: int,
    *,
    labels: Sequence[str] = (),
    headings: Sequence[str] = (),
    font_size: int = 9,
) -> Figure:
    """
    Pictures in rows, each at exactly the pixels that :func:`sized` gives it: no layout stretches them by a fraction.

    Args:
        rows (sequence of sequences): Of each place the title above it, empty for none, and the picture; None leaves it empty.
        side (int): The largest that a picture may be, in pixels.
        labels (sequence of str, optional): To the left of each row. Default: none
        headings (sequence of str, optional): Above each row. Default: none
        font_size (int, optional): Of titles, labels and headings, in points. Default: 9

    Returns:
        Figure: To be saved with :func:`save_figure`.
    """
    line, letter, gap = round(1.4 * font_size * DPI / 72), 0.56 * font_size * DPI / 72, 16
    pictures = [[None if picture is None else sized(picture, side) for _, picture in row] for row in rows]
    height, width = (
        max(extents)
        for extents in zip(*(each.shape[:2] for row in pictures for each in row if each is not None), strict=True)
    )
    titles = [[_wrapped(title, (width + gap) / letter) for title, _ in row] for row in rows]
    sides = [_wrapped(label, height / letter) for label in labels] or [""] * len(rows)
    above = [gap + line * (bool(headings) + max(map(_lines, row))) for row in titles]
    left = gap + line * max(map(_lines, sides))
    across, down = left + max(map(len, rows)) * (width + gap), sum(above) + len(rows) * height + gap
    figure = Figure(figsize=(across / DPI, down / DPI), dpi=DPI)
    top = 0
    for number, row in enumerate(pictures):
        if headings:
            middle = (0.5, 1 - (top + gap / 2 + line / 2) / down)
            figure.text(*middle, headings[number], fontsize=font_size + 1, ha="center", va="center")
        top += above[number]
        for column, picture in enumerate(row):
            high, wide = (height, width) if picture is None else picture.shape[:2]
            x, y = left + column * (width + gap) + (width - wide) // 2, top + (height - high) // 2
            axis = figure.add_axes((x / across, 1 - (y + high) / down, wide / across, high / down))
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            axis.set_title(titles[number][column], fontsize=font_size, pad=3)
            if picture is not None:
                axis.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest", aspect="auto")
            if column == 0:
                axis.set_ylabel(sides[number], fontsize=font_size)
        top += height
    return figure


def _wrapped(text: str, letters: float) -> str:
    """Each line of a text in as many lines as it takes."""
    return "\n".join(textwrap.fill(part, max(8, int(letters))) for part in text.splitlines())


def _lines(text: str) -> int:
    return len(text.splitlines())


def picture_grid(pictures: Mapping[str, Mapping[str, Tensor]], value_range: tuple[float, float] = (0.0, 1.0)) -> Figure:
    """
    A row of pictures for each name, the columns named above them.

    Args:
        pictures (mapping[str, mapping[str, Tensor]]): By row and column, images (C, H, W).
        value_range (tuple[float, float], optional): The range of a pixel. Default: (0, 1)
    """
    columns = list(dict.fromkeys(column for row in pictures.values() for column in row))
    rows = [
        [
            ("" if number else column, to_display(images[column], value_range) if column in images else None)
            for column in columns
        ]
        for number, images in enumerate(pictures.values())
    ]
    return picture_sheet(rows, 224, labels=list(pictures))


def save_figure(figure: Figure, path: str | os.PathLike[str], overwrite: bool = False) -> None:
    """Write a figure in the format its file name ends in, whole or not at all."""
    kind = Path(path).suffix.lstrip(".")
    # An SVG would carry the date and random identifiers; equal results are to be equal files.
    metadata = {"Date": None} if kind == "svg" else None
    with whole_file(path, overwrite) as temporary, rc_context({"svg.hashsalt": "captum_proto"}):
        figure.savefig(temporary, format=kind, dpi=DPI, metadata=metadata)
