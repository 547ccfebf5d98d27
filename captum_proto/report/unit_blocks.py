"""The block of units: the picture made for each beside natural images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from captum_proto.report.block import Block, FilePath
from captum_proto.report.blocks import Picture, loaded_picture
from captum_proto.report.context import Context


@dataclass(frozen=True)
class Strip:
    """
    Natural images side by side, in one image file.

    Attributes:
        path (str): Relative to the folder, with "/" between its parts.
        label (str): Which they are, in a word.
        text (str): For those who do not see it.
    """

    path: FilePath
    label: str
    text: str


@dataclass(frozen=True)
class Unit:
    """
    A unit of a network.

    Attributes:
        label (str): What it is called.
        facts (list[str]): What is known of it, a line each.
        pictures (list[str]): The picture made for it, relative to the folder; empty where there is none to show.
        strips (list[Strip]): Natural images.
    """

    label: str
    facts: list[str]
    pictures: list[FilePath] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)


@dataclass(frozen=True)
class Units(Block, kind="units"):
    """
    Units, one beneath the other: the picture made for each, what is known of it, and natural images beside it.

    Attributes:
        units (list[Unit]): In the order in which they are read.
    """

    units: list[Unit]

    def render(self, context: Context) -> dict[str, Any] | None:
        shown = []
        for unit in self.units:
            picture = next((loaded_picture(Picture(path, unit.label), context) for path in unit.pictures), None)
            strips = [
                {"label": strip.label, "picture": loaded}
                for strip in unit.strips
                if (loaded := loaded_picture(Picture(strip.path, strip.text), context)) is not None
            ]
            shown.append({"label": unit.label, "facts": unit.facts, "picture": picture, "strips": strips})
        return {"units": shown} if shown else None


__all__ = ["Strip", "Unit", "Units"]
