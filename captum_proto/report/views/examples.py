"""The images to which units respond: strips of them, a table of all units, and what is said of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import between, percent, typographic
from captum_proto.features import LayerExamples
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


def write_strip(pictures: Sequence[Tensor], path: Path, context: Sequence[Tensor] = ()) -> None:
    """
    Pictures side by side as one file, each in a square.

    Args:
        pictures (sequence of Tensor): (C, h, w) in [0, 1], of any size.
        path (Path): PNG or JPEG.
        context (sequence of Tensor, optional): A second row. Default: none
    """
    rows = [row for row in (pictures, context) if len(row)]
    width = len(pictures) * (SIDE + _GAP) - _GAP
    canvas = Image.new("RGB", (width, len(rows) * (SIDE + _GAP) - _GAP), (_NOTHING,) * 3)
    for line, row in enumerate(rows):
        for place, picture in enumerate(row):
            image = _in_square(to_display(picture))
            x, y = place * (SIDE + _GAP) + (SIDE - image.width) // 2, line * (SIDE + _GAP) + (SIDE - image.height) // 2
            canvas.paste(image, (x, y))
    with whole_file(path, overwrite=True) as temporary:
        if path.suffix == ".png":
            canvas.save(temporary, format="png")
        else:
            canvas.save(temporary, format="jpeg", quality=88)


def _in_square(pixels: np.ndarray) -> Image.Image:
    """A picture as large as the square has room for."""
    image = Image.fromarray(pixels).convert("RGB")
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
    return f"{percent(share.value)} [{between((share.low, share.high), lambda end: f'{100 * end:.1f}')}]"


def positions_firing(layer: LayerExamples, unit: int) -> str:
    """At which share of positions a unit is above 0, with the interval over images."""
    share = layer.firing(unit)
    ends = (max(0.0, share.low), min(1.0, share.high))
    return f"{percent(share.value)} [{between(ends, lambda end: f'{100 * end:.1f}')}]"


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
        "highest and lowest: the scores of the first image and of the last; q0.99: what 99 % of all activations at all positions are at most; "
        f"random: the mean score of {len(layer.random_indices)} images drawn at random; images and positions: at which share of them the unit "
        "is above 0. In brackets 95 % intervals over images: Student's t, of shares of images Wilson's."
    )
    return Table(header, rows, caption, sortable=True)


def field_words(layer: LayerExamples) -> str:
    """What part of an image a unit of the layer sees, in a sentence."""
    if layer.boxes is None:
        return "A unit of this layer has no position in the image: pictures are whole images."
    boxes = layer.boxes.flatten(0, -2)
    tall, wide = int((boxes[:, 2] - boxes[:, 0]).max()), int((boxes[:, 3] - boxes[:, 1]).max())
    positions = " x ".join(map(str, layer.shape))
    height, width = layer.image_shape[-2:]
    if (tall, wide) == (height, width):
        seen = "the whole image"
    else:
        seen = f"at most {tall} x {wide} of the image's {height} x {width} pixels"
    return f"{positions} positions, each of which sees {seen}; pictures are cut to what the position of the score sees."


__all__ = ["LABELS", "SIDE", "field_words", "figure", "unit_of", "units_table", "write_strip"]
