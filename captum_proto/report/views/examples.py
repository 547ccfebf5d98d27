"""The images to which units respond: strips of them, a table of all units, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import bare_percent, between, percent, typographic
from captum_proto.features import Box, LayerExamples
from captum_proto.report.blocks import Table
from captum_proto.report.figures import to_display
from captum_proto.report.unit_rows import Strip, Unit
from captum_proto.stats.intervals import interval, proportion

#: The side of a picture in a strip, in pixels, and between two of them.
SIDE, _GAP = 112, 4
#: An image no larger than this is shown by its pixels.
_COARSE = 64
#: What a row is called.
LABELS = {"top": "Most", "lowest": "Least", "random": "Random"}
#: What lies around a crop that is no square, and between two: seen as nothing on light and on dark pages.
_NOTHING = 128


def write_strip(pictures: Sequence[np.ndarray], path: Path) -> None:
    """
    Pictures side by side as one file, each in a square.

    Args:
        pictures (sequence of numpy.ndarray): (h, w, 3) in uint8, of any size.
        path (Path): PNG or JPEG.
    """
    canvas = Image.new("RGB", (len(pictures) * (SIDE + _GAP) - _GAP, SIDE), (_NOTHING,) * 3)
    for place, picture in enumerate(pictures):
        image = _in_square(picture)
        canvas.paste(image, (place * (SIDE + _GAP) + (SIDE - image.width) // 2, (SIDE - image.height) // 2))
    with whole_file(path, overwrite=True) as temporary:
        if path.suffix == ".png":
            canvas.save(temporary, format="png")
        else:
            canvas.save(temporary, format="jpeg", quality=88)


def framed_crop(crop: Tensor, box: Box, layer: LayerExamples, position: Sequence[int] | None) -> np.ndarray:
    """
    What a position saw as it is shown: with what its receptive field has beyond the border of the image left empty, so that all pictures of
    a layer have one scale; and with a frame where the position itself is, if the field is so large that one would not know.

    Args:
        crop (Tensor): (C, h, w) in [0, 1].
        box (Box): Where it was in the image.
        layer (LayerExamples): Of which layer.
        position (sequence of int, optional): Of the score; None: there is none.

    Returns:
        numpy.ndarray: (H, W, 3) in uint8.
    """
    image = Image.fromarray(to_display(crop)).convert("RGB")
    if layer.boxes is None or position is None or len(layer.shape) != 2:
        return np.asarray(image)
    largest, sides = _largest_field(layer), layer.image_shape[-2:]
    if any(2 * field >= side for field, side in zip(largest, sides, strict=True)):
        _mark(
            image,
            [
                (at * side / count - begin, (at + 1) * side / count - begin)
                for at, side, count, begin in zip(position, sides, layer.shape, box[:2], strict=True)
            ],
        )
    around = []
    for axis, side in enumerate(sides):
        missing = max(0, largest[axis] - (box[axis + 2] - box[axis]))
        # What is clipped at both ends shows the whole side of the image, and has nothing to be filled up with.
        clipped = box[axis] == 0, box[axis + 2] == side
        around.append({(True, False): (missing, 0), (False, True): (0, missing)}.get(clipped, (0, 0)))
    return np.pad(np.asarray(image), (*around, (0, 0)), constant_values=_NOTHING)


def _largest_field(layer: LayerExamples) -> tuple[int, int]:
    """Height and width of the largest receptive field of a map."""
    assert layer.boxes is not None
    boxes = layer.boxes.flatten(0, -2)
    return int((boxes[:, 2] - boxes[:, 0]).max()), int((boxes[:, 3] - boxes[:, 1]).max())


def _mark(image: Image.Image, ends: Sequence[tuple[float, float]]) -> None:
    """A frame, white with black around it, so that one sees it on anything."""
    (top, bottom), (left, right) = ends
    width = max(1, max(image.size) // SIDE)
    draw = ImageDraw.Draw(image)
    for color, out in (("black", width), ("white", 0)):
        draw.rectangle((left - out, top - out, right - 1 + out, bottom - 1 + out), outline=color, width=width)


def _in_square(pixels: np.ndarray) -> Image.Image:
    """A picture as large as the square has room for."""
    image = Image.fromarray(pixels)
    scale = SIDE / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    coarse = max(image.size) <= _COARSE
    return image.resize(size, Image.Resampling.NEAREST if coarse else Image.Resampling.LANCZOS)


def figure(value: float) -> str:
    """An activation: four digits that count."""
    return typographic(f"{value:.3g}") if math.isfinite(value) else "–"


def unit_of(layer: LayerExamples, unit: int, strips: Sequence[Strip]) -> Unit:
    """A unit with what is known of it, and its strips."""
    facts = []
    if silence := layer.silence(unit):
        facts.append(silence)
    for q, value in zip(layer.levels, layer.quantiles[unit].tolist(), strict=True):
        facts.append(f"{percent(q)} of its activations are at most {figure(value)}")
    facts.append(
        f"fires on {images_firing(layer, unit)} of the images, at {positions_firing(layer, unit)} of the positions"
    )
    return Unit(f"{layer.layer}, unit {unit}", facts, list(strips))


def images_firing(layer: LayerExamples, unit: int) -> str:
    """On which share of images a unit is above 0, with Wilson's interval."""
    share = proportion(int(layer.firing_images[unit]), layer.count)
    return f"{percent(share.value)} [{between((share.low, share.high), bare_percent)}]"


def positions_firing(layer: LayerExamples, unit: int) -> str:
    """At which share of positions a unit is above 0, with the interval over images."""
    share = layer.firing(unit)
    ends = (max(0.0, share.low), min(1.0, share.high))
    return f"{percent(share.value)} [{between(ends, bare_percent)}]"


def units_table(layer: LayerExamples) -> Table:
    """All units of a layer: one can sort by any column."""
    names = [f"q{q:g}" for q in layer.levels]
    header = ["unit", "highest", *names, "lowest of all images", "random, mean", "images", "positions"]
    rows = []
    for unit in range(layer.units):
        sample = layer.random_scores[unit].tolist()
        mean = sum(sample) / len(sample)
        rows.append(
            [
                str(unit),
                figure(float(layer.scores[unit, 0])),
                *(figure(value) for value in layer.quantiles[unit].tolist()),
                figure(float(layer.lowest_scores[unit, 0])),
                f"{figure(mean)} [{between(interval(sample), figure, joint=' to ')}]",
                images_firing(layer, unit),
                positions_firing(layer, unit),
            ]
        )
    caption = (
        "highest and lowest: the scores of the first image and of the last; q0.99: what 99 % of all activations at all positions are at "
        f"most; random: the mean score of {len(layer.random_indices)} images drawn at random; images and positions: at which share of "
        "them the unit is above 0. In brackets 95 % intervals over images: Student's t, of shares of images Wilson's."
    )
    return Table(header, rows, caption, sortable=True)


def field_words(layer: LayerExamples) -> str:
    """What part of an image a unit of the layer sees, in a sentence."""
    if layer.boxes is None:
        return "A unit of this layer has no position in the image: pictures are whole images."
    tall, wide = _largest_field(layer)
    positions = " x ".join(map(str, layer.shape))
    height, width = layer.image_shape[-2:]
    if bool((layer.boxes == torch.tensor([0, 0, height, width])).all()):
        seen = "each of which sees the whole image"
    else:
        seen = f"which see at most {tall} x {wide} of the image's {height} x {width} pixels"
    marked = "; a frame marks where in the image the position is" if 2 * max(tall, wide) >= min(height, width) else ""
    return f"{positions} positions, {seen}; pictures are cut to what the position of the score sees, gray beyond the border{marked}."


__all__ = ["LABELS", "SIDE", "field_words", "figure", "framed_crop", "unit_of", "units_table", "write_strip"]
