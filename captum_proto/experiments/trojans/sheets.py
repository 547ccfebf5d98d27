"""All pictures of a trojan by one method on one sheet, as people are shown them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.class_names import model_stem
from captum_proto._utils.files import whole_file
from captum_proto.experiments.blind import Source
from captum_proto.experiments.trojans.table import Trojan
from captum_proto.report.figures import sized, to_display

#: What the form asks of each sheet, after the survey of the benchmark.
QUESTION = "Which of these do the pictures resemble most?"
#: The side of a sheet in pixels, at least, and how far its pictures are apart.
_SIDE, _GAP = 448, 4


def sheet_path(trojan: Trojan, number: int, place: int) -> str:
    """Where the sheet of a trojan and a condition is, by the numbers of both, relative to the folder."""
    return f"sheets/{place:02d}/{number:02d}_{model_stem(trojan.name.replace(' ', '-'))}.png"


def write_sheets(trojans: Sequence[Trojan], place: int, pictures: Sequence[Tensor], folder: Path) -> None:
    """
    A square sheet of each trojan's pictures.

    Args:
        trojans (sequence of Trojan): Which.
        place (int): The number of the condition.
        pictures (sequence of Tensor): Of each trojan (N, C, H, W), in [0, 1].
        folder (Path): Of the run.
    """
    for number, (trojan, images) in enumerate(zip(trojans, pictures, strict=True)):
        with whole_file(folder / sheet_path(trojan, number, place), overwrite=True) as temporary:
            sheet(images).save(temporary, format="PNG")


def sheet(images: Tensor) -> Image.Image:
    """Pictures (N, C, H, W) in rows and columns of a square, on white."""
    across = math.ceil(math.sqrt(len(images)))
    most = max(max(images.shape[-2:]), (_SIDE - (across + 1) * _GAP) // across)
    pictures = [Image.fromarray(sized(to_display(image), most)).convert("RGB") for image in torch.unbind(images)]
    extent = max(pictures[0].size)
    side = across * extent + (across + 1) * _GAP
    page = Image.new("RGB", (side, side), "white")
    for index, picture in enumerate(pictures):
        row, column = divmod(index, across)
        page.paste(picture, (_GAP + column * (extent + _GAP), _GAP + row * (extent + _GAP)))
    return page


def form_sources(trojans: Sequence[Trojan], conditions: Sequence[str], folder: Path) -> list[Source]:
    """The sheets of all trojans and conditions, with the answers to each, for a form."""
    return [
        Source(folder / sheet_path(trojan, number, place), trojan.name, condition, trojan.answers)
        for place, condition in enumerate(conditions)
        for number, trojan in enumerate(trojans)
    ]


__all__ = ["QUESTION", "form_sources", "sheet", "sheet_path", "write_sheets"]
