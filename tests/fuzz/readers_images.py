"""Readers of pictures: photographs, label maps, and what a page embeds."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from target import Reader

from captum_proto.data.images import ImageGeometry, label_map, pixel_size, read_image, whole_image
from captum_proto.report.blocks import Picture, Pictures
from captum_proto.report.html import render
from captum_proto.report.page import Page, Section

#: What Pillow writes; of each an image of few pixels.
FORMATS = (
    "PNG",
    "JPEG",
    "GIF",
    "WEBP",
    "TIFF",
    "BMP",
    "PPM",
    "ICO",
    "TGA",
    "PCX",
    "SGI",
    "JPEG2000",
    "DDS",
    "QOI",
    "AVIF",
    "IM",
)


def files(folder: Path) -> list[bytes]:
    """An image in every format, in gray, color and with a palette."""
    pixels = np.random.default_rng(0).integers(0, 256, (6, 7, 3), dtype=np.uint8)
    whole = [Image.fromarray(pixels), Image.fromarray(pixels[:, :, 0]), Image.fromarray(pixels).convert("P")]
    found = []
    for kind in FORMATS:
        for image in whole:
            buffer = io.BytesIO()
            try:
                image.save(buffer, format=kind)
            except (OSError, KeyError, ValueError):  # not in this Pillow, or not of this mode
                continue
            found.append(buffer.getvalue())
    turned = Image.Exif()
    turned[0x0112] = 6
    buffer = io.BytesIO()
    whole[0].save(buffer, format="JPEG", exif=turned)
    return [*found, buffer.getvalue(), b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"]


def on_a_page(path: Path) -> object:
    page = Page("title", sections=[Section("pictures", [Pictures([Picture(path.name, "a picture")])])])
    return render(page, path.parent)


READERS = [
    Reader(
        "a photograph",
        "a.png",
        files,
        lambda path: read_image(str(path), ImageGeometry((3, 8, 8), exif_orientation=True)),
    ),
    Reader("a picture in gray", "a.tif", files, lambda path: read_image(str(path), ImageGeometry((1, 8, 8)))),
    Reader("a whole picture", "a.jpg", files, lambda path: whole_image(path, (8, 8))),
    Reader("a label map", "a.png", files, label_map),
    Reader("the size of a picture", "a.png", files, pixel_size),
    Reader("a picture on a page", "a.png", files, on_a_page),
]
