"""An activation atlas on a page: its levels as pictures to zoom through, what each cell holds, and what its figures are worth."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from PIL import Image, features
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto.data.images import decoded
from captum_proto.features.activation_atlas import AtlasLevel, AtlasVectors
from captum_proto.report.block import Block, FilePath
from captum_proto.report.context import Context

#: Pixels a side of a cell on its sheet, at most, and of an example.
CELL, EXAMPLE = 96, 64
#: So many classes of each cell are told.
MOST_LABELS = 5


@dataclass(frozen=True)
class AtlasCell:
    """
    A cell that is drawn.

    Attributes:
        row, column (int): Where, from the upper left, counted from 0.
        count (int): How many vectors it holds.
        labels (list[list[str]]): Name and figure of the classes to which its vectors contribute most.
        examples (list[int]): Images nearest to it, as places on the sheet of examples.
    """

    row: int
    column: int
    count: int
    labels: list[list[str]] = field(default_factory=list)
    examples: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class AtlasSheet:
    """
    A level of an atlas.

    Attributes:
        size (int): Cells a side.
        path (str): The picture of all cells, relative to the folder.
        note (str): How many cells are drawn.
        cells (list[AtlasCell]): Those that are.
    """

    size: int
    path: FilePath
    note: str
    cells: list[AtlasCell]


@dataclass(frozen=True)
class AtlasMap(Block, kind="atlas"):
    """
    An activation atlas: a map to zoom and pan through, one sheet for each level; without a script the sheets, and a table of the finest.

    Attributes:
        title (str): What it is of.
        levels (list[AtlasSheet]): The coarsest first.
        examples (list[str]): The sheet of examples, relative to the folder, if there is one.
        left, right (str): What the two sides stand for. Empty: nothing in particular.
    """

    title: str
    levels: list[AtlasSheet]
    examples: list[FilePath] = field(default_factory=list)
    left: str = ""
    right: str = ""

    script = "atlas.js"
    style = "atlas.css"

    def render(self, context: Context) -> dict[str, Any] | None:
        sheets = [(level, context.read(level.path, "picture", _embedded)) for level in self.levels]
        shown = [(level, picture) for level, picture in sheets if picture is not None]
        if not shown:
            return None
        examples = [picture for path in self.examples if (picture := context.read(path, "picture", _embedded))]
        data = {
            "example": EXAMPLE,
            "levels": [
                {
                    "size": level.size,
                    "cells": [
                        [c.row, c.column, c.count, c.labels, c.examples if examples else []] for c in level.cells
                    ],
                }
                for level, _ in shown
            ],
        }
        return {
            "title": self.title,
            "levels": [{"size": level.size, "note": level.note, **picture} for level, picture in shown],
            "finest": shown[-1][0],
            "examples": examples,
            "left": self.left,
            "right": self.right,
            "labeled": any(cell.labels for cell in shown[-1][0].cells),
            "data": data,
        }


def write_sheet(level: AtlasLevel, path: Path) -> None:
    """
    The pictures of a level as one PNG, each in its place; where no cell is drawn, nothing.

    Args:
        level (AtlasLevel): With its pictures.
        path (Path): The file.
    """
    assert level.icons is not None
    height, width = level.icons.shape[2:]
    side = min(CELL, max(height, width))
    sheet = Image.new("RGBA", (level.size * side, level.size * side))
    for cell, icon in zip(level.cells.tolist(), level.icons, strict=True):
        row, column = divmod(cell, level.size)
        sheet.paste(_image(icon).resize((side, side), Image.Resampling.LANCZOS), (column * side, row * side))
    with whole_file(path, overwrite=True) as temporary:
        sheet.save(temporary, format="png", optimize=True)


def write_examples(crops: Sequence[Tensor], path: Path) -> None:
    """
    Small pictures as one PNG, in rows of a square.

    Args:
        crops (sequence of Tensor): uint8 (C, h, w), at least one.
        path (Path): The file.
    """
    columns = math.ceil(math.sqrt(len(crops)))
    sheet = Image.new("RGB", (columns * EXAMPLE, math.ceil(len(crops) / columns) * EXAMPLE))
    for place, crop in enumerate(crops):
        row, column = divmod(place, columns)
        picture = _image(crop).convert("RGB").resize((EXAMPLE, EXAMPLE), Image.Resampling.LANCZOS)
        sheet.paste(picture, (column * EXAMPLE, row * EXAMPLE))
    with whole_file(path, overwrite=True) as temporary:
        sheet.save(temporary, format="png", optimize=True)


def atlas_cells(
    level: AtlasLevel, vectors: AtlasVectors, labels: Sequence[str], examples: Sequence[Sequence[int]]
) -> list[AtlasCell]:
    """
    What a page tells of each drawn cell.

    Args:
        level (AtlasLevel): A grid.
        vectors (AtlasVectors): That it is over.
        labels (sequence of str): What each of the vectors' targets is called.
        examples (sequence of sequence of int): Of each drawn cell, places on the sheet of examples. Empty: none.
    """
    counts = level.counts.flatten()
    told = []
    for place, cell in enumerate(level.cells.tolist()):
        values = level.attributions[place]
        best = values.argsort(descending=True, stable=True)[:MOST_LABELS].tolist() if len(labels) else []
        named = [[labels[target], f"{float(values[target]):+.3f}".replace("-", "−")] for target in best]
        row, column = divmod(cell, level.size)
        told.append(AtlasCell(row, column, int(counts[cell]), named, list(examples[place]) if examples else []))
    return told


def _image(picture: Tensor) -> Image.Image:
    """uint8 (C, h, w) as Pillow has it, gray or color."""
    array = picture.permute(1, 2, 0).numpy()
    return Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array[:, :, :3])


def _embedded(path: Path) -> dict[str, Any]:
    """A picture as a page holds it: WebP where Pillow writes it, a third of the PNG's size."""
    with decoded(path) as image:
        width, height, content, kind = image.width, image.height, path.read_bytes(), "png"
        if features.check("webp"):
            buffer = io.BytesIO()
            image.save(buffer, format="WEBP", quality=85)
            content, kind = buffer.getvalue(), "webp"
    return {
        "source": f"data:image/{kind};base64,{base64.b64encode(content).decode()}",
        "width": width,
        "height": height,
    }


def around(image: Tensor, position: Sequence[int], sizes: Sequence[int], share: float = 0.5) -> Tensor:
    """
    The part of an image around a position of a layer: what the vector there is of, roughly.

    Args:
        image (Tensor): (C, H, W), in [0, 1].
        position (sequence of int): Row and column; the whole image is given where there are not two.
        sizes (sequence of int): How many rows and columns of positions there are.
        share (float, optional): Of the image's shorter side. Default: 0.5

    Returns:
        Tensor: (C, h, h), uint8.
    """
    side = min(image.shape[1:])
    picture = (image * 255).round().clamp(0, 255).to(torch.uint8)
    if len(position) != 2:
        return picture
    side = max(1, round(share * side))
    corner = [
        min(max(round((at + 0.5) / size * length - side / 2), 0), length - side)
        for at, size, length in zip(position, sizes, image.shape[1:], strict=True)
    ]
    return picture[:, corner[0] : corner[0] + side, corner[1] : corner[1] + side]


__all__ = ["AtlasCell", "AtlasMap", "AtlasSheet", "around", "atlas_cells", "write_examples", "write_sheet"]
