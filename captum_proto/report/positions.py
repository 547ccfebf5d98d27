"""A block of a page: an image and, for each position of a layer's map, the units that are most active there."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image, features
from torch import Tensor

from captum_proto._utils.tables import number, percent, typographic
from captum_proto.data.images import decoded
from captum_proto.features import SemanticDictionaryResult
from captum_proto.report.block import Block, FilePath
from captum_proto.report.context import Context
from captum_proto.report.figures import to_display

#: A map with more rows or columns than this is shown at every second position, or every third.
MOST_POSITIONS = 28
#: Sides of the pictures of units, of examples and of the photograph, in pixels.
_UNIT, _EXAMPLE, _PHOTOGRAPH = 112, 72, 448
#: So many pictures side by side in a sheet.
_COLUMNS = 12


@dataclass(frozen=True)
class Positions(Block, kind="positions"):
    """
    An image and the units that are most active at each position: with what each responds to, and what it contributes.

    Attributes:
        dictionary (str): A saved :class:`~captum_proto.features.SemanticDictionaryResult`, relative to the folder.
        examples (list[str]): None, or a picture of the images of a data set that activate units most: a row for each unit that is drawn.
        unit (str): What a unit is called: "channel".
        target (str): What attributions are to. Empty: there are none.
    """

    dictionary: FilePath
    examples: list[FilePath] = field(default_factory=list)
    unit: str = "channel"
    target: str = ""

    def render(self, context: Context) -> dict[str, Any] | None:
        found = context.read(self.dictionary, "semantic dictionary", SemanticDictionaryResult.load)
        if found is None:
            return None
        context.counts["positions"] += 1
        rows, columns = found.components.shape[1:]
        step = math.ceil(max(rows, columns) / MOST_POSITIONS)
        start = tuple(
            min(at - at % step + step // 2, extent - 1) for at, extent in zip(found.start, (rows, columns), strict=True)
        )
        largest = max(float(found.components.abs().max()), 1e-12)
        most = 1e-12 if found.attributions is None else max(float(found.attributions.abs().max()), 1e-12)
        places = [
            [_place(found, row, column, largest, most) for column in _shown(columns, step)]
            for row in _shown(rows, step)
        ]
        examples = [context.read(path, "sheet of examples", _open) for path in self.examples]
        shown_examples = next((each for each in examples if each is not None), None)
        across = (
            0
            if shown_examples is None
            else max(1, round(shown_examples.width / max(1, shown_examples.height) * max(1, len(found.drawn))))
        )
        return {
            "name": f"positions-{context.counts['positions']}",
            "photograph": _source(_resized(to_display(found.image), _PHOTOGRAPH)),
            "height": found.image.shape[1],
            "width": found.image.shape[2],
            "places": places,
            "start": start,
            "rows": len(places),
            "columns": len(places[0]),
            "units": None if found.pictures is None else _sheet(found.pictures),
            "sheet_columns": min(_COLUMNS, max(1, len(found.drawn))),
            "sheet_rows": math.ceil(len(found.drawn) / _COLUMNS),
            "examples": None if shown_examples is None else _source(shown_examples),
            "example_rows": len(found.drawn),
            "across": across,
            "unit": self.unit,
            "target": self.target,
            "top": len(found.units),
            "step": step,
        }


def _shown(extent: int, step: int) -> list[int]:
    """Of each ``step`` rows or columns the middle one."""
    return [min(begin + step // 2, extent - 1) for begin in range(0, extent, step)]


def _place(found: SemanticDictionaryResult, row: int, column: int, largest: float, most: float) -> dict[str, Any]:
    """A position as its template takes it."""
    silent = found.silent_pictures
    entries = [
        {
            "unit": entry.unit,
            "activation": typographic(number(entry.activation, 2)),
            "share": percent(entry.share),
            "length": round(100 * max(entry.activation, 0.0) / largest, 1),
            "attribution": None if entry.attribution is None else _signed(entry.attribution),
            "weight": None if entry.attribution is None else round(100 * abs(entry.attribution) / most, 1),
            "positive": entry.attribution is not None and entry.attribution >= 0,
            "picture": None
            if entry.picture is None or found.pictures is None
            else _tile(entry.picture, len(found.drawn)),
            "place": entry.picture,
            "silent": entry.picture in silent,
        }
        for entry in found.position(row, column)
        if entry.activation > 0
    ]
    return {
        "row": row,
        "column": column,
        "entries": entries,
        "together": percent(float(found.explained[row, column])),
        "attribution": None if found.spatial is None else _signed(float(found.spatial[row, column])),
    }


def _signed(value: float) -> str:
    return typographic(f"{value:+.3f}")


def _tile(place: int, count: int) -> str:
    """Where in the sheet a picture is, as CSS positions backgrounds: in per cent of what is left over."""
    across, down = min(_COLUMNS, count), math.ceil(count / _COLUMNS)
    x, y = place % _COLUMNS, place // _COLUMNS
    return f"{100 * x / max(1, across - 1):.4g}% {100 * y / max(1, down - 1):.4g}%"


def _sheet(pictures: Tensor) -> str:
    tiles = [_resized(to_display(picture), _UNIT, square=True) for picture in pictures]
    across, down = min(_COLUMNS, len(tiles)), math.ceil(len(tiles) / _COLUMNS)
    sheet = Image.new("RGB", (across * _UNIT, down * _UNIT))
    for place, tile in enumerate(tiles):
        sheet.paste(tile, (place % _COLUMNS * _UNIT, place // _COLUMNS * _UNIT))
    return _source(sheet)


def _resized(pixels: np.ndarray[Any, Any], side: int, square: bool = False) -> Image.Image:
    """A picture no larger than a square; with ``square``, just that, and a small one in pixels that can be seen."""
    image = Image.fromarray(pixels).convert("RGB")
    if square:
        return image.resize(
            (side, side), Image.Resampling.LANCZOS if min(image.size) > 32 else Image.Resampling.NEAREST
        )
    scale = side / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if scale < 1:
        return image.resize(size, Image.Resampling.LANCZOS)
    return image if max(image.size) > 64 else image.resize(size, Image.Resampling.NEAREST)


def _source(image: Image.Image) -> str:
    buffer = io.BytesIO()
    kind = "WEBP" if features.check("webp") else "PNG"
    image.save(buffer, format=kind, **({"quality": 88} if kind == "WEBP" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _open(path: Any) -> Image.Image:
    with decoded(path) as image:
        return image.convert("RGB")


__all__ = ["MOST_POSITIONS", "Positions"]
