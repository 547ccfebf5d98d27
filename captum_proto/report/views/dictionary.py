"""What a layer sees in an image, as pictures and figures: groups, attribution maps, the activation grid and controls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto._utils.files import whole_file
from captum_proto._utils.tables import number, percent, typographic
from captum_proto.features import NeuronGroupsResult, SemanticDictionaryResult
from captum_proto.report.blocks import Table
from captum_proto.report.figures import picture_sheet, to_display

#: For and against the target, as the page's colors have it.
_FOR, _AGAINST = (217, 95, 2), (31, 120, 180)
_SIDE, _EXAMPLE = 224, 72


def write_picture(picture: Tensor, path: Path) -> None:
    """A picture (C, H, W) in [0, 1] as a PNG of its own size."""
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(to_display(picture)).save(temporary, format="png")


def write_examples(rows: Sequence[Sequence[Tensor]], path: Path) -> None:
    """Crops of images, a row for each unit, each in a square of its own: what :class:`~captum_proto.report.positions.Positions` shows."""
    across = max(map(len, rows))
    sheet = Image.new("RGB", (across * _EXAMPLE, len(rows) * _EXAMPLE), (127, 127, 127))
    for down, row in enumerate(rows):
        for place, crop in enumerate(row):
            image = Image.fromarray(to_display(crop)).convert("RGB")
            image = image.resize(
                (_EXAMPLE, _EXAMPLE), Image.Resampling.LANCZOS if min(image.size) > 16 else Image.Resampling.NEAREST
            )
            sheet.paste(image, (place * _EXAMPLE, down * _EXAMPLE))
    with whole_file(path, overwrite=True) as temporary:
        sheet.save(temporary, format="png")


def _photograph(image: Tensor) -> np.ndarray:
    pixels = to_display(image)
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def _spread(values: Tensor, image: Tensor) -> np.ndarray:
    """A map at the size of an image."""
    return interpolate(values[None, None].float(), image.shape[1:], mode="bilinear")[0, 0].numpy()


def signed_overlay(image: Tensor, values: Tensor) -> np.ndarray:
    """
    An image in faint gray with a map over it: orange where it is positive, blue where it is negative.

    Args:
        image (Tensor): (C, H, W), in [0, 1].
        values (Tensor): (Y, X).

    Returns:
        numpy.ndarray: (H, W, 3), uint8.
    """
    gray = _photograph(image).mean(2, keepdims=True) * 0.5 + 127
    shares = _spread(values / values.abs().max().clamp(min=1e-12), image)[..., None]
    color = np.where(shares >= 0, np.array(_FOR), np.array(_AGAINST))
    opacity = np.abs(shares) * 0.85
    found: np.ndarray = np.rint(gray * (1 - opacity) + color * opacity).clip(0, 255).astype(np.uint8)
    return found


def masked(image: Tensor, opacity: Tensor) -> np.ndarray:
    """An image where a map (Y, X) is 1, the same in blue where it is -1, and gray where it is 0."""
    pixels = _photograph(image).astype(np.float64)
    brightness = pixels.mean(2, keepdims=True)
    shares = _spread(opacity.clamp(-1, 1), image)[..., None]
    seen = np.where(shares >= 0, pixels, brightness * 0.5 + np.array(_AGAINST) * 0.5)
    sizes = np.abs(shares)
    found: np.ndarray = np.rint(seen * sizes + (brightness * 0.25 + 168) * (1 - sizes)).clip(0, 255).astype(np.uint8)
    return found


def groups_figure(groups: NeuronGroupsResult) -> Figure:
    """
    The groups of one image: where each is active, and what it responds to.

    Args:
        groups (NeuronGroupsResult): With icons.
    """
    count = len(groups.channel_factors)
    above, below = [], []
    for group in range(count):
        attribution = (
            "" if groups.attributions is None else f"\n{typographic(f'{float(groups.attributions[0, group]):+.2f}')}"
        )
        above.append((f"group {group + 1}{attribution}", masked(groups.images[0], groups.display[0, group])))
        below.append(("", None if groups.icons is None else to_display(groups.icons[group])))
    return picture_sheet([above, below], 150, labels=["where it is active", "what it responds to"])


def attribution_figure(image: Tensor, maps: dict[str, Tensor]) -> Figure:
    """An image and maps (Y, X) over it, by title."""
    cells: list[tuple[str, np.ndarray | None]] = [("the image", _photograph(image))]
    cells += [(title, signed_overlay(image, values)) for title, values in maps.items()]
    return picture_sheet([cells], _SIDE)


def controls_figure(rows: dict[str, list[tuple[str, Tensor]]]) -> Figure:
    """A row of pictures for each name, each with a title."""
    cells = [[(title, to_display(picture)) for title, picture in row] for row in rows.values()]
    return picture_sheet(cells, 112, labels=list(rows))


def position_table(found: SemanticDictionaryResult, unit: str = "channel") -> Table:
    """The most active units of each position, as text."""
    rows = []
    for row in range(found.components.shape[1]):
        for column in range(found.components.shape[2]):
            entries = found.position(row, column)
            cells = [
                f"{entry.unit}: {typographic(number(entry.activation, 2))}"
                + ("" if entry.attribution is None else f" ({typographic(f'{entry.attribution:+.3f}')})")
                for entry in entries
            ]
            rows.append([f"{row + 1}, {column + 1}", *cells, percent(float(found.explained[row, column]))])
    header = ["row, column", *(f"{place + 1}." for place in range(len(found.units))), "together"]
    each = "" if found.attributions is None else ", in brackets its attribution"
    return Table(
        header,
        rows,
        f"At each position the most active {unit}s: its number, its activation{each}. Together: their share.",
    )


def spread_of(values: Tensor) -> str:
    """The mean over positions, and the middle nine tenths of them: positions of one image are no independent sample."""
    finite = values[values.isfinite()].float()
    if not len(finite):
        return "–"
    low, high = torch.quantile(finite, torch.tensor([0.05, 0.95])).tolist()
    mean = float(finite.mean())
    if math.isnan(mean):
        return "–"
    return f"{percent(mean)} ({100 * low:.0f}–{100 * high:.0f})"
