"""
The page of a folder of results, as one HTML file that needs nothing else: no other file, no network, no JavaScript.

Pictures are part of the file. Curves are SVG, drawn here; where a browser runs JavaScript, it adds what a pointer, a finger or the arrow
keys can ask of them.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image, features

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import whole_file
from captum_proto.metrics.comparison import OTHER, SAME, PathComparison, condition_label, pooled
from captum_proto.report.curves import MEASURES, Line, Measure, line, ticks
from captum_proto.report.page import Curves, Page, Picture, Section, Table
from captum_proto.runs.provenance import versions

#: The page, in the folder of the results it tells of.
REPORT = "report.html"

#: From so many pictures on, a page holds thumbnails of this size instead of the files.
_MANY_PICTURES, _THUMBNAIL = 200, 160
#: So many comparisons are drawn; each takes about a hundred kilobytes.
_MOST_CURVES = 60
#: Whole-page names of conditions that have a color of their own; others share what is left.
_CLASSES = {
    "prototype": "prototype",
    SAME: "same",
    OTHER: "other",
    "gray": "gray",
    "noise": "noise",
    "ascent": "ascent",
    "feature_visualization": "feature",
    "mean_image": "mean",
}
_SPARE_COLORS = 6
#: What a browser can show, by what Pillow calls it.
_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}
#: Reading a file that is damaged, or not what its name says.
_UNREADABLE = (OSError, ValueError, KeyError, SyntaxError, Image.DecompressionBombError)


def write_page(page: Page, folder: Path) -> Path:
    """
    Write a page into the folder of its results: its description, and the HTML file made from it.

    Args:
        page (Page): What to say. Its paths are relative to ``folder``.
        folder (Path): Where the results are.

    Returns:
        Path: The HTML file.
    """
    page.save(folder)
    return write_report(folder)


def write_report(folder: Path) -> Path:
    """
    Make the HTML file of a folder from the description of its page.

    A picture or a comparison that is missing or damaged is left out, and named where the page says what failed.

    Args:
        folder (Path): Of a finished run.

    Returns:
        Path: The HTML file.

    Raises:
        FileNotFoundError: If the folder holds no description of a page.
        ValueError: If it is damaged.
    """
    text = render(Page.load(folder), folder)
    target = folder / REPORT
    with whole_file(target, overwrite=True) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return target


def render(page: Page, folder: Path) -> str:
    """
    A page as HTML.

    Args:
        page (Page): What to say.
        folder (Path): Where its files are.

    Returns:
        str: The whole file.
    """
    content = _Content(page, folder)
    sections = [content.section(section) for section in page.sections]
    templates = _environment()
    script = _source("report.js")
    return templates.get_template("report.html").render(
        page=page,
        sections=sections,
        settings=[(str(name), _entries(value)) for name, value in page.settings.items()],
        failures=[*page.failures, *content.failures],
        notes=content.notes(),
        style=Markup(_source("report.css")),
        script=Markup(script),
        # No script but this one runs, whatever a name in the results may hold.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        version=versions()["captum_proto"],
    )


class _Content:
    """What a page's files hold, as the template takes it, and what could not be read."""

    def __init__(self, page: Page, folder: Path) -> None:
        self.folder = folder
        self.failures: list[str] = []
        self.pictures = sum(len(section.pictures) for section in page.sections)
        self.thumbnails = 0
        self.curves = 0
        self.curves_left_out = 0
        self._comparisons: dict[str, PathComparison | None] = {}

    def notes(self) -> list[str]:
        notes = []
        if self.thumbnails:
            notes.append(
                f"Of {self.pictures} pictures, {self.thumbnails} are shown as thumbnails of at most {_THUMBNAIL} pixels a side; each leads "
                "to its file in the folder of the results."
            )
        if self.curves_left_out:
            notes.append(
                f"Curves of the first {_MOST_CURVES} comparisons are drawn here, those of {self.curves_left_out} more are not."
            )
        return notes

    def section(self, section: Section) -> dict[str, Any]:
        curves = [one for one in map(self._curves, section.curves) if one is not None]
        pictures = [one for one in map(self._picture, section.pictures) if one is not None]
        return {
            "title": section.title,
            "text": section.text,
            "verdicts": section.verdicts,
            "small_pictures": [one for one in pictures if one["small"]],
            "figures": [one for one in pictures if not one["small"]],
            "tables": [_table(table, bool(curves)) for table in section.tables],
            "curves": curves,
            "files": [one for one in map(self._link, section.files) if one is not None],
        }

    def _inside(self, path: str) -> Path | None:
        """The file of that name, if it is one of the folder."""
        found = (self.folder / path).resolve()
        if not found.is_relative_to(self.folder.resolve()):
            self.failures.append(f'"{path}" lies outside the folder of the results and is left out.')
            return None
        if not found.exists():
            self.failures.append(f'"{path}" is missing from the folder of the results.')
            return None
        return found

    def _link(self, path: str) -> dict[str, str] | None:
        found = self._inside(path)
        return None if found is None else {"name": path, "address": quote(path)}

    def _picture(self, picture: Picture) -> dict[str, Any] | None:
        path = self._inside(picture.path)
        if path is None:
            return None
        try:
            content = path.read_bytes()
            with Image.open(io.BytesIO(content)) as image:
                if image.format not in _MEDIA_TYPES:
                    raise InputError(f"it is {image.format}, and a page shows {', '.join(_MEDIA_TYPES)}")
                image.load()  # a file that ends early opens all the same
                kind, width, height = image.format, image.width, image.height
                address = None
                if self.pictures > _MANY_PICTURES and max(width, height) > _THUMBNAIL:
                    content, kind = _thumbnail(image)
                    address = quote(picture.path)
                    self.thumbnails += 1
        except _UNREADABLE as error:
            self.failures.append(f'The picture "{picture.path}" cannot be read ({error}) and is left out.')
            return None
        return {
            "source": f"data:{_MEDIA_TYPES[kind]};base64,{base64.b64encode(content).decode()}",
            "caption": picture.caption,
            "small": picture.small,
            "width": width,
            "height": height,
            "address": address,
            "coarse": max(width, height) < 100,  # pixels large enough to be seen are to be seen as such
        }

    def _comparison(self, path: str) -> PathComparison | None:
        if path not in self._comparisons:
            self._comparisons[path] = None
            found = self._inside(path)
            if found is not None:
                try:
                    self._comparisons[path] = PathComparison.load(found)
                except _UNREADABLE as error:
                    self.failures.append(f'The comparison "{path}" cannot be read ({error}) and is left out.')
        return self._comparisons[path]

    def _curves(self, curves: Curves) -> dict[str, Any] | None:
        if self.curves >= _MOST_CURVES:
            self.curves_left_out += 1
            return None
        found = [self._comparison(path) for path in [curves.comparison, *curves.more]]
        comparisons = [comparison for comparison in found if comparison is not None]
        if not comparisons:
            return None
        try:
            drawn = _drawn(pooled(comparisons) if len(comparisons) > 1 else comparisons[0])
        except (ValueError, KeyError, RuntimeError) as error:
            self.failures.append(f'The curves of "{curves.comparison}" cannot be drawn ({error}) and are left out.')
            return None
        self.curves += 1
        return {**drawn, "caption": curves.caption}


def _drawn(comparison: PathComparison) -> dict[str, Any]:
    """Four panels, and the values behind them."""
    conditions = [
        {"name": condition_label(condition), "class": name, "solid": condition in ("prototype", SAME, OTHER)}
        for condition, name in _condition_classes(comparison.conditions).items()
    ]
    data = {
        "layers": comparison.layers,
        "conditions": [condition_label(condition) for condition in comparison.conditions],
        "measures": {
            measure.key: {
                "title": measure.title,
                "digits": measure.digits,
                "values": [
                    _plain(measure.values(comparison, condition).tolist()) if measure.shows(condition) else None
                    for condition in comparison.conditions
                ],
            }
            for measure in MEASURES
        },
    }
    return {
        "conditions": conditions,
        "panels": [_panel(comparison, measure) for measure in MEASURES],
        "layers": len(comparison.layers),
        "data": data,
    }


def _panel(comparison: PathComparison, measure: Measure) -> dict[str, Any]:
    """One panel: shapes in a square of a thousand units that the page stretches, and ticks in per cent of it, which stay text."""
    classes = _condition_classes(comparison.conditions)
    lines = [line(comparison, condition, measure) for condition in comparison.conditions if measure.shows(condition)]
    shown = [one for one in lines if one is not None]
    low, high = _range(shown, measure)
    layers = len(comparison.layers)

    def across(layer: Any) -> Any:
        return (np.asarray(layer, dtype=float) - 0.5) / layers

    def up(value: Any) -> Any:
        value = np.asarray(value, dtype=float)
        if measure.logarithmic:
            value = np.log10(np.maximum(value, 10**low))
        return 1 - (value - low) / (high - low)

    marks = _logarithmic_ticks(low, high) if measure.logarithmic else ticks(low, high)
    curves = []
    for one in shown:
        x = across(one.layers)
        band = None
        if one.spread is not None:
            above, below = up(one.values + one.spread), up(one.values - one.spread)
            band = _path(np.concatenate([x, x[::-1]]), np.concatenate([above, below[::-1]]).clip(0, 1)) + "Z"
        y = up(one.values)
        if len(x) == 1:  # a single layer is a line across it
            x, y = np.array([x[0] - 0.5 / layers, x[0] + 0.5 / layers]), np.repeat(y, 2)
        curves.append(
            {
                "condition": comparison.conditions.index(one.condition),
                "class": classes[one.condition],
                "band": band,
                "path": _path(x, y),
            }
        )
    means = ", ".join(f"{condition_label(one.condition)} {np.mean(one.values):.{measure.digits}f}" for one in shown)
    places = [int(place) for place in ticks(1, layers, 5) if place == int(place) and place >= 1]
    return {
        "key": measure.key,
        "title": measure.title,
        "label": measure.label,
        "limits": measure.limits,
        "curves": sorted(curves, key=lambda curve: curve["class"] == "prototype"),  # on top of the others
        "across": [{"at": f"{100 * across(place):.2f}", "text": str(place)} for place in dict.fromkeys([1, *places])],
        "up": [
            {"at": f"{100 * up(mark):.2f}", "y": f"{1000 * up(mark):.1f}", "text": f"{mark:g}".replace("-", "−")}
            for mark in marks
        ],
        "lines": [f"{1000 * up(value):.1f}" for value in measure.lines if 0 <= up(value) <= 1],
        "summary": f"{measure.label}, by layer. Averages over {layers} layers: {means}."
        if shown
        else "No layer has a value.",
    }


def _range(lines: Sequence[Line], measure: Measure) -> tuple[float, float]:
    """What the axis spans; of a logarithmic one, as powers of ten."""
    ends = [value for one in lines for value in (one.values if one.spread is None else one.values - one.spread)]
    ends += [value for one in lines if one.spread is not None for value in one.values + one.spread] + list(
        measure.lines
    )
    values = np.array(ends or [0.0, 1.0], dtype=float)
    if measure.logarithmic:
        values = np.log10(np.maximum(values, 0.1))  # the mean image is at no distance at all in the first layers
    low, high = float(values.min()), float(values.max())
    margin = 0.04 * (high - low) or 0.1
    return low - margin, high + margin


def _logarithmic_ticks(low: float, high: float) -> list[float]:
    found = [
        factor * 10.0**power
        for power in range(math.floor(low), math.ceil(high) + 1)
        for factor in ((1, 2, 5) if high - low < 2.5 else (1,))
    ]
    return [value for value in found if low <= math.log10(value) <= high]


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{1000 * a:.1f} {1000 * b:.1f}" for a, b in zip(x, y, strict=True))


def _condition_classes(conditions: Sequence[str]) -> dict[str, str]:
    spare = iter(range(len(conditions)))
    return {condition: _CLASSES.get(condition) or f"spare-{next(spare) % _SPARE_COLORS}" for condition in conditions}


def _plain(values: list[float]) -> list[float | None]:
    """As JSON can hold them, and no longer than they are worth."""
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in values]


def _table(table: Table, with_curves: bool) -> dict[str, Any]:
    classes = {condition_label(name): color for name, color in _CLASSES.items()} if with_curves else {}
    columns = len(table.header)
    return {
        "header": table.header,
        "rows": [[*row, *[""] * (columns - len(row))] for row in table.rows],
        # A column of figures is aligned as one.
        "figures": [all(_is_figure(row[i]) for row in table.rows if i < len(row)) for i in range(columns)],
        "classes": [classes.get(row[0]) if row else None for row in table.rows],
        "caption": table.caption,
    }


def _is_figure(cell: str) -> bool:
    return not cell or bool(re.match(r"[+\-−±<>≤≥~≈]?\s*\.?\d|–$|nan$|inf$", cell.strip()))


def _entries(value: Any, name: str = "") -> list[tuple[str, str]]:
    """A setting and what is inside it, line by line."""
    if isinstance(value, dict) and value:
        return [
            entry for key, inner in value.items() for entry in _entries(inner, f"{name}.{key}" if name else str(key))
        ]
    if isinstance(value, (list, tuple)) and any(isinstance(one, (list, tuple, dict)) for one in value):
        return [(name, json.dumps(value, ensure_ascii=False))]
    if isinstance(value, (list, tuple)):
        return [(name, ", ".join(map(_scalar, value)) or "none")]
    return [(name, "none" if value == {} else _scalar(value))]


def _scalar(value: Any) -> str:
    return {None: "none", True: "yes", False: "no"}[value] if value is None or isinstance(value, bool) else str(value)


def _thumbnail(image: Image.Image) -> tuple[bytes, str]:
    """A small version of a picture, and its format."""
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    kind = "WEBP" if features.check("webp") else "JPEG"
    buffer = io.BytesIO()
    small.save(buffer, format=kind, quality=82)
    return buffer.getvalue(), kind


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("captum_proto.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _source(name: str) -> str:
    templates = _environment()
    assert templates.loader is not None
    return templates.loader.get_source(templates, name)[0].strip() + "\n"


__all__ = ["REPORT", "render", "write_page", "write_report"]
