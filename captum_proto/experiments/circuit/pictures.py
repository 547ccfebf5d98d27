"""Pictures of a circuit as files: of units, and of what each position of a receptive field looks for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto.report.figures import to_display

#: Icons to a side of a receptive field, at most.
_ICONS = 7


def spread_places(side: int) -> list[int]:
    """Places along an axis, the middle among them, every so many that there are few."""
    step = -(-side // _ICONS)
    return list(range(side // 2 % step, side, step))


def write_picture(image: Tensor, path: Path, side: int = 0) -> None:
    """An image as a PNG file; enlarged by whole pixels to at least a side."""
    pixels = to_display(image)
    multiple = max(1, -(-side // max(pixels.shape[:2])))
    pixels = pixels.repeat(multiple, 0).repeat(multiple, 1)
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(pixels).save(temporary, format="png")


def write_icons(images: Tensor, places: Sequence[tuple[int, int]], amounts: Tensor, path: Path, side: int = 72) -> None:
    """Icons at their places, fainter where weights are small."""
    height, width = amounts.shape
    sheet = torch.ones(3, height * side, width * side)
    for image, (row, column) in zip(images, places, strict=True):
        small = torch.nn.functional.interpolate(
            image[None].float(), size=(side - 2, side - 2), mode="bilinear", antialias=True
        )[0].expand(3, -1, -1)
        faded = 1 - float(amounts[row, column]) * (1 - small.clamp(0, 1))
        sheet[:, row * side + 1 : (row + 1) * side - 1, column * side + 1 : (column + 1) * side - 1] = faded
    write_picture(sheet, path)


__all__ = ["spread_places", "write_icons", "write_picture"]
