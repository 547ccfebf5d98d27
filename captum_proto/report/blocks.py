"""
The kinds of blocks that pages are made of: paragraphs, verdicts, pictures, galleries, tables, curves and files.

Each is a dataclass that adds what its template is to show; the template is ``templates/blocks/KIND.html``.
"""

from __future__ import annotations

import base64
import io
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image, features

from captum_proto._utils.errors import InputError
from captum_proto.data.images import decoded
from captum_proto.metrics.comparison import PathComparison, condition_label, pooled
from captum_proto.report.block import Block, FilePath
from captum_proto.report.context import Context
from captum_proto.report.views.layer_curves import CONDITION_STYLES, page_curves

#: From so many pictures on, a page holds thumbnails of this size instead of the files.
MANY_PICTURES, _THUMBNAIL = 200, 160
#: So many pictures of a gallery are seen at once.
MOST_LEADING = 12
#: So many comparisons are drawn; each takes about a hundred kilobytes.
MOST_CURVES = 60
#: What a browser can show, by what Pillow calls it.
_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp", "GIF": "image/gif"}


@dataclass(frozen=True)
class Paragraphs(Block, kind="paragraphs"):
    """
    Text.

    Attributes:
        text (list[str]): A paragraph each.
    """

    text: list[str]


@dataclass(frozen=True)
class Verdict:
    """
    One figure beside what was expected of it.

    Attributes:
        name (str): Of the figure.
        measured (str): With its interval or spread.
        expected (str): The paper's value, or the goal. Empty: none.
        difference (str): Of the two. Empty: none.
        passed (bool, optional): Whether the expectation is met. None: nothing is expected, or the data do not decide it.
        note (str): What has to be read with it, such as which controls pass as well. Empty: nothing.
    """

    name: str
    measured: str
    expected: str = ""
    difference: str = ""
    passed: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class Verdicts(Block, kind="verdicts"):
    """
    Figures beside what was expected of them, in a table.

    Attributes:
        verdicts (list[Verdict]): A row each.
    """

    verdicts: list[Verdict]

    def render(self, context: Context) -> dict[str, Any] | None:
        if not self.verdicts:
            return None
        judged = [verdict for verdict in self.verdicts if verdict.passed is not None]
        undecided = (
            [verdict for verdict in self.verdicts if verdict.passed is None and verdict.expected] if judged else []
        )
        met = sum(verdict.passed is True for verdict in judged)
        counts = {"met": met, "not met": len(judged) - met, "undecided": len(undecided)}
        return {"verdicts": self.verdicts, "judged": len(judged) + len(undecided), "counts": counts}


@dataclass(frozen=True)
class Picture:
    """
    An image file of the folder.

    Attributes:
        path (str): Relative to the folder, with "/" between its parts.
        caption (str): Beneath it; also its text for those who do not see it.
        small (bool): Whether it is one of many of a size, such as prototypes, rather than a figure as wide as the page.
    """

    path: FilePath
    caption: str
    small: bool = True


@dataclass(frozen=True)
class Pictures(Block, kind="pictures"):
    """
    Image files: small ones side by side, then figures, each as wide as the page.

    Attributes:
        pictures (list[Picture]): PNG, JPEG, WebP or GIF.
    """

    pictures: list[Picture]

    def render(self, context: Context) -> dict[str, Any] | None:
        shown = [
            picture
            for picture in (loaded_picture(picture, context) for picture in self.pictures)
            if picture is not None
        ]
        small = [picture for picture in shown if picture["small"]]
        return {"small": small, "figures": [picture for picture in shown if not picture["small"]]} if shown else None

    @classmethod
    def notes(cls, context: Context) -> list[str]:
        if not context.counts["thumbnails"]:
            return []
        return [
            f"Of {_count_pictures(context)} pictures, {context.counts['thumbnails']} are shown as thumbnails of at most {_THUMBNAIL} "
            "pixels a side; each leads to its file in the folder of the results."
        ]


@dataclass(frozen=True)
class Shown:
    """
    A picture of a gallery.

    Attributes:
        path (str): Relative to the folder, with "/" between its parts.
        label (str): What it is of, in a word or two.
        facts (list[str]): What is known of it, each in a word or two.
        text (str): For those who do not see it.
    """

    path: FilePath
    label: str
    facts: list[str]
    text: str


@dataclass(frozen=True)
class Gallery(Block, kind="gallery"):
    """
    Small pictures with few words beneath each, so that many of them fit into the first screen of a page.

    Attributes:
        pictures (list[Shown]): PNG, JPEG, WebP or GIF, of which the first twelve are shown.
    """

    pictures: list[Shown]

    def render(self, context: Context) -> dict[str, Any] | None:
        first = self.pictures[:MOST_LEADING]
        shown = [
            {**picture, "label": each.label, "facts": each.facts}
            for each in first
            if (picture := loaded_picture(Picture(each.path, each.text), context)) is not None
        ]
        if not shown:
            return None
        # As many columns as make rows of about equal length, on a wide and on a narrow screen.
        wide, narrow = (math.ceil(len(shown) / math.ceil(len(shown) / most)) for most in (10, 5))
        return {"pictures": shown, "wide": wide, "narrow": narrow, "all": len(self.pictures)}


def _count_pictures(context: Context) -> int:
    return sum(len(block.pictures) for block in context.blocks if isinstance(block, Pictures))


def loaded_picture(picture: Picture, context: Context) -> dict[str, Any] | None:
    """A picture as its template takes it, or None, with a word of what fails, where it cannot be read."""
    many = _count_pictures(context) > MANY_PICTURES

    def load(path: Path) -> dict[str, Any]:
        with decoded(path) as image:
            if image.format not in _MEDIA_TYPES:
                raise InputError(f"it is {image.format}, and a page shows {', '.join(_MEDIA_TYPES)}")
            content = path.read_bytes()
            kind, width, height = image.format, image.width, image.height
            address = None
            if many and max(width, height) > _THUMBNAIL:
                content, kind = _thumbnail(image)
                address = quote(picture.path)
                context.counts["thumbnails"] += 1
        return {
            "source": f"data:{_MEDIA_TYPES[kind]};base64,{base64.b64encode(content).decode()}",
            "width": width,
            "height": height,
            "address": address,
            "coarse": max(width, height) <= 64,  # pixels large enough to be seen are to be seen as such
        }

    key = f"picture {picture.path}"  # the same one may be in a gallery and below
    if key not in context.kept:
        context.kept[key] = context.read(picture.path, "picture", load)
    loaded = context.kept[key]
    return loaded and {**loaded, "caption": picture.caption, "small": picture.small}


def _thumbnail(image: Image.Image) -> tuple[bytes, str]:
    """A small version of a picture, and its format."""
    small = image.convert("RGB")
    small.thumbnail((_THUMBNAIL, _THUMBNAIL))
    kind = "WEBP" if features.check("webp") else "JPEG"
    buffer = io.BytesIO()
    small.save(buffer, format=kind, quality=82)
    return buffer.getvalue(), kind


@dataclass(frozen=True)
class Table(Block, kind="table"):
    """
    Figures in rows.

    Attributes:
        header (list[str]): The names of the columns.
        rows (list[list[str]]): As they are to be read, rounded, with units and intervals.
        caption (str): What they say.
        conditions (bool): Whether the rows begin with the names of conditions, which are then marked with the colors of their curves.
        brief (list[int]): The columns that matter most, by place, beginning with the first: the others unfold. Empty: all are seen.
        sortable (bool): Whether a click on the name of a column sorts the rows by it, and long tables can be searched, where a browser runs
            JavaScript.
    """

    header: list[str]
    rows: list[list[str]]
    caption: str = ""
    conditions: bool = False
    brief: list[int] = field(default_factory=list)
    sortable: bool = False

    def render(self, context: Context) -> dict[str, Any] | None:
        styles = (
            {condition_label(name): style.name for name, style in CONDITION_STYLES.items()} if self.conditions else {}
        )
        columns = len(self.header)
        brief = self.brief or list(range(columns))
        rest = [i for i in range(columns) if i not in brief]
        return {
            "header": self.header,
            "rows": [[*row, *[""] * (columns - len(row))] for row in self.rows],
            "parts": [brief, [0, *rest]] if rest else [brief],
            # A column of figures is aligned as one.
            "figures": [all(_is_figure(row[i]) for row in self.rows if i < len(row)) for i in range(columns)],
            "styles": [styles.get(row[0]) if row else None for row in self.rows],
            "caption": self.caption,
            "sortable": self.sortable,
        }


def _is_figure(cell: str) -> bool:
    return not cell or bool(re.match(r"[+\-−±<>≤≥~≈]?\s*\.?\d|–$|nan$|inf$", cell.strip()))


@dataclass(frozen=True)
class Curves(Block, kind="curves"):
    """
    A value for each layer, prototypes and controls in the same axes.

    Attributes:
        comparison (str): A saved :class:`~captum_proto.PathComparison`, relative to the folder.
        caption (str): What they say.
        more (list[str]): Further ones, of other classes: the curves are then means over all their images.
    """

    comparison: FilePath
    caption: str = ""
    more: list[FilePath] = field(default_factory=list)

    def render(self, context: Context) -> dict[str, Any] | None:
        if context.counts["curves"] >= MOST_CURVES:
            context.counts["curves left out"] += 1
            return None
        found = [_comparison(path, context) for path in [self.comparison, *self.more]]
        comparisons = [comparison for comparison in found if comparison is not None]
        if not comparisons:
            return None
        try:
            drawn = page_curves(pooled(comparisons) if len(comparisons) > 1 else comparisons[0])
        except (ValueError, KeyError, RuntimeError) as error:
            context.fail(f'The curves of "{self.comparison}" cannot be drawn ({error}) and are left out.')
            return None
        context.counts["curves"] += 1
        return {**drawn, "caption": self.caption}

    @classmethod
    def notes(cls, context: Context) -> list[str]:
        left_out = context.counts["curves left out"]
        if not left_out:
            return []
        return [f"Curves of the first {MOST_CURVES} comparisons are drawn here, those of {left_out} more are not."]


def _comparison(path: str, context: Context) -> PathComparison | None:
    """A comparison that several curves may be drawn from, read once."""
    if path not in context.kept:
        context.kept[path] = context.read(path, "comparison", PathComparison.load)
    comparison: PathComparison | None = context.kept[path]
    return comparison


@dataclass(frozen=True)
class Files(Block, kind="files"):
    """
    Links to files of the folder.

    Attributes:
        paths (list[str]): Relative to the folder, with "/" between their parts.
    """

    paths: list[FilePath]

    def render(self, context: Context) -> dict[str, Any] | None:
        files = [{"name": path, "address": quote(path)} for path in self.paths if context.file(path) is not None]
        return {"files": files} if files else None


__all__ = [
    "Block",
    "Curves",
    "FilePath",
    "Files",
    "Gallery",
    "Paragraphs",
    "Picture",
    "Pictures",
    "Shown",
    "Table",
    "Verdict",
    "Verdicts",
    "loaded_picture",
]
