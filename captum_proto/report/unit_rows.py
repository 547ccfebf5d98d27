"""A block of units: for each, rows of pictures with a word beneath each, such as the images to which it responds most."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto.data.images import decoded
from captum_proto.report.block import Block, FilePath
from captum_proto.report.context import Context

_MEDIA_TYPES = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


@dataclass(frozen=True)
class Strip:
    """
    Pictures side by side in one file, all of a width.

    Attributes:
        path (str): PNG, JPEG or WebP.
        label (str): What they are.
        words (list[str]): Beneath each; as many as there are pictures.
    """

    path: FilePath
    label: str
    words: list[str]


@dataclass(frozen=True)
class Unit:
    """
    A unit and what is known of it.

    Attributes:
        name (str): Its heading.
        facts (list[str]): Beneath the heading.
        strips (list[Strip]): From top to bottom; may be none.
    """

    name: str
    facts: list[str] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)


@dataclass(frozen=True)
class UnitRows(Block, kind="unit_rows"):
    """
    Units with rows of pictures.

    Attributes:
        units (list[Unit]): In the order in which they are read.
    """

    units: list[Unit]

    def render(self, context: Context) -> dict[str, Any] | None:
        shown = []
        for unit in self.units:
            strips = [{**loaded, "strip": strip} for strip in unit.strips if (loaded := _loaded(strip, context))]
            shown.append({"unit": unit, "strips": strips})
        return {"units": shown} if shown else None


def _loaded(strip: Strip, context: Context) -> dict[str, Any] | None:
    def load(path: Path) -> dict[str, Any]:
        with decoded(path) as image:
            if image.format not in _MEDIA_TYPES:
                raise InputError(f"it is {image.format}, and a page shows {', '.join(_MEDIA_TYPES)}")
            content = path.read_bytes()
            source = f"data:{_MEDIA_TYPES[image.format]};base64,{base64.b64encode(content).decode()}"
            return {"source": source, "width": image.width, "height": image.height}

    return context.read(strip.path, "picture", load)


__all__ = ["Strip", "Unit", "UnitRows"]
