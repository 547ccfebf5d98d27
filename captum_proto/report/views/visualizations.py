"""Pictures of units as files and on a page: each with what it reaches, beside the natural images that excite the unit most and least."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from captum_proto._utils.files import intact, whole_file
from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import number, typographic
from captum_proto.data.images import decoded
from captum_proto.optim import Visualizations
from captum_proto.report.blocks import Gallery, Picture, Pictures, Shown, Table
from captum_proto.report.figures import picture_sheet, sized, to_display
from captum_proto.report.unit_blocks import Strip, Unit, Units
from captum_proto.stats.intervals import Estimate

#: The natural images beside each picture, by the name of their file, and what they are called.
STRIPS = {"top": "highest", "lowest": "lowest", "random": "random"}
#: How many natural images stand beside a picture on a page and on a sheet, and how large.
BESIDE, _TILE, _GAP = 8, 110, 4
_ON_SHEET = 6
#: What is around an example that is no square, such as one cut at the border of its image.
_MARGIN = "#b8b6b0"


@dataclass(frozen=True)
class Natural:
    """
    What natural images make of one unit, and how well its picture tells which of them excite it.

    Attributes:
        greatest (float): The activation of the image that excites it most.
        least (float): Of the one that excites it least.
        count (int): How many images there were.
        quantile (float): The activation below which the unit stays at 99 of 100 positions of all images.
        reached (float): The activation of the unit's picture, measured as those of natural images.
        pool (str): How an image's activations over the positions of the map are measured: "max" or "mean".
        silent (str): In a sentence why the unit has no examples worth a look; empty where it has some.
        score (Estimate, optional): How often the picture is more similar to one of the highest images than to one of the lowest: 0.5 by
            chance.
        control (Estimate, optional): The same with the pictures of other units of the layer, on average.
        ceiling (Estimate, optional): The same with the highest examples themselves in place of the picture.
    """

    greatest: float
    least: float
    count: int
    quantile: float = math.nan
    reached: float = math.nan
    pool: str = "max"
    silent: str = ""
    score: Estimate | None = None
    control: Estimate | None = None
    ceiling: Estimate | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Natural:
        """What :meth:`to_json` gave."""
        values: dict[str, Any] = {
            name: Estimate(**value) if isinstance(value, dict) else value for name, value in content.items()
        }
        return cls(**values)


@dataclass(frozen=True)
class UnitPicture:
    """
    A unit, the picture made for it, and what is known of both.

    Attributes:
        label (str): What the unit is called within its layer.
        layer (str): Its layer.
        stem (str): How the names of its files begin.
        activation (float): What the picture reaches, as it is.
        seed (int): Of the picture.
        responds (bool): Whether the unit responded to anything while the picture was made.
        natural (Natural, optional): What natural images make of the unit. Default: None, it was not asked
        strips (list[str]): Which natural images stand beside the picture, of :data:`STRIPS`. Default: none
    """

    label: str
    layer: str
    stem: str
    activation: float
    seed: int
    responds: bool = True
    natural: Natural | None = None
    strips: list[str] = field(default_factory=list)

    @property
    def shown(self) -> bool:
        """Whether there is a picture of the unit: of one that never fired, there is only what the start was."""
        return self.responds

    @property
    def multiple(self) -> float:
        """What it reaches as a multiple of what the image reaches that excites the unit most; NaN where that is not above zero."""
        if self.natural is None or not self.natural.greatest > 0:
            return math.nan
        return self.natural.reached / self.natural.greatest

    @property
    def silent(self) -> str:
        """A sentence for a unit that has no picture, or that never fires; else empty."""
        if not self.responds:
            return (
                f"{self.label.capitalize()} of {self.layer} has no picture: it never fired while one was made; try other seeds (--seed, "
                "--attempts), or the layer before its activation function."
            )
        return "" if self.natural is None else self.natural.silent

    @property
    def path(self) -> str:
        """The PNG of the picture."""
        return f"{self.stem}.png"

    @property
    def text(self) -> str:
        """For those who do not see the picture."""
        return f"{self.label} of {self.layer}: a picture made to activate it, which reaches {_figure(self.activation)}"

    def facts(self) -> list[str]:
        """What is known of it, in few words each."""
        facts = [f"reaches {_figure(self.activation)}"]
        facts += [f"{_times(self.multiple)} natural"] if self.multiple > 0 else []
        if self.natural is not None and self.natural.score is not None:
            facts.append(f"score {number(self.natural.score.value, 2)}")
        return facts

    def lines(self) -> list[str]:
        """All that is known of it, a line each."""
        lines = [f"activation {_figure(self.activation)}, seed {self.seed}"]
        if not self.responds:
            lines = [f"no picture: it never fired, and gives {_figure(self.activation)}"]
        if (natural := self.natural) is None:
            return lines
        if natural.silent:
            return [*lines, f"never fires: natural images give {_figure(natural.least)} to {_figure(natural.greatest)}"]
        lines.append(f"{natural.pool} over positions: {_figure(natural.reached)}")
        lines.append(f"natural images: {_figure(natural.least)} to {_figure(natural.greatest)}")
        if self.multiple > 0:
            lines.append(f"{_times(self.multiple)} the greatest of these")
        for name, estimate in (("score", natural.score), ("other units' pictures", natural.control)):
            lines += [] if estimate is None else [f"{name} {_estimate(estimate)}"]
        return lines


def _figure(value: float) -> str:
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return typographic(number(value, digits))


def _times(multiple: float) -> str:
    return f"{multiple:.2g} ×" if multiple < 100 else f"{multiple:.0f} ×"


def _estimate(estimate: Estimate) -> str:
    text = number(estimate.value, 2)
    if math.isnan(estimate.low):
        return text
    return f"{text} [{number(estimate.low, 2)}, {number(estimate.high, 2)}]"


def write_unit_pictures(made: Visualizations, stems: Sequence[str], folder: Path) -> None:
    """A PNG of each picture at its own size, but of units that never fired."""
    for image, stem, responds in zip(made.images, stems, made.responds.tolist(), strict=True):
        if responds:
            save_png(to_display(image, _range_of(made)), folder / f"{stem}.png")


def _range_of(made: Visualizations) -> tuple[float, float]:
    low, high = made.settings.get("value_range", (0.0, 1.0))
    return low, high


def save_png(picture: np.ndarray, path: Path) -> None:
    """Write a picture, whole or not at all."""
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(picture).save(temporary, format="png")


def write_strip(images: Sequence[Tensor], path: Path) -> None:
    """
    Natural images side by side, small, as one JPEG.

    Args:
        images (sequence of Tensor): (C, H, W) each, in [0, 1], of any sizes; at least one.
        path (Path): Where to write.
    """
    tiles = [Image.fromarray(to_display(image)).convert("RGB") for image in images]
    strip = Image.new("RGB", (len(tiles) * (_TILE + _GAP) - _GAP, _TILE), _MARGIN)
    for place, tile in enumerate(tiles):
        scale = _TILE / max(tile.size)
        size = (max(1, round(tile.width * scale)), max(1, round(tile.height * scale)))
        how = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.LANCZOS
        small = tile.resize(size, how)
        left = place * (_TILE + _GAP)
        strip.paste(small, (left + (_TILE - small.width) // 2, (_TILE - small.height) // 2))
    with whole_file(path, overwrite=True) as temporary:
        strip.save(temporary, format="jpeg", quality=85)


def read_natural(path: Path) -> list[Natural]:
    """
    What natural images make of units, from a file.

    Raises:
        FileNotFoundError: If there is no such file.
        InputError: If it is damaged.
    """
    with intact(path, "record of natural images"):
        found = [Natural.from_json(each) for each in read_json(path)]
        if not all(isinstance(one.greatest, float) and isinstance(one.count, int) for one in found):
            raise ValueError("an activation is no number")
    return found


def unit_sheet(units: Sequence[UnitPicture], images: Sequence[Tensor], folder: Path) -> Figure:
    """
    Units of a layer on one sheet, each with its picture and, where there are some, the natural images that excite it most.

    Args:
        units (sequence of UnitPicture): At least one.
        images (sequence of Tensor): Their pictures, (C, H, W) each, in [0, 1].
        folder (Path): Where the natural images are.

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    cells: list[tuple[str, np.ndarray | None]] = []
    for unit, image in zip(units, images, strict=True):
        highest = folder / f"{unit.stem}_{next(iter(STRIPS))}.jpg"
        shown = to_display(image) if unit.shown else np.full((8, 8), 255, np.uint8)
        facts = unit.facts() if unit.shown else ["never fired"]
        cell = _beside_tiles(shown, highest) if highest.exists() else shown
        cells.append(
            (f"{unit.label}: {', '.join(facts)}" if highest.exists() else "\n".join([unit.label, *facts]), cell)
        )
    across = 6 if max(picture.shape[1] / picture.shape[0] for _, picture in cells if picture is not None) < 2 else 2
    side = max(max(picture.shape) for _, picture in cells if picture is not None)
    rows = [cells[begin : begin + across] for begin in range(0, len(cells), across)]
    return picture_sheet(rows, max(224, side))


def _beside_tiles(picture: np.ndarray, strip: Path) -> np.ndarray:
    """A picture, and to its right the first natural images of a strip in two rows."""
    with decoded(strip) as file:
        tiles = file.convert("RGB")
    side = 2 * _TILE + _GAP
    count = min(_ON_SHEET, (tiles.width + _GAP) // (_TILE + _GAP))
    columns = -(-count // 2)
    sheet = Image.new("RGB", (side + columns * (_TILE + _GAP), side), "white")
    whole = Image.fromarray(sized(picture, side)).convert("RGB")
    sheet.paste(whole, ((side - whole.width) // 2, (side - whole.height) // 2))
    for place in range(count):
        left = place * (_TILE + _GAP)
        tile = tiles.crop((left, 0, left + _TILE, _TILE))
        sheet.paste(tile, (side + _GAP + place % columns * (_TILE + _GAP), place // columns * (_TILE + _GAP)))
    return np.asarray(sheet)


def unit_gallery(units: Sequence[UnitPicture], several: bool) -> Gallery:
    """The pictures of units with few words beneath each; with their layer where there are several."""
    shown = [
        Shown(unit.path, f"{unit.label}, {unit.layer}" if several else unit.label, unit.facts(), unit.text)
        for unit in units
        if unit.shown
    ]
    return Gallery(shown)


def unit_rows(units: Sequence[UnitPicture]) -> Units | Pictures:
    """Units with all that is known of each; where no natural images were shown to them, pictures alone."""
    if not any(unit.strips or unit.natural or not unit.shown for unit in units):
        return Pictures([Picture(unit.path, f"{unit.label}: {'; '.join(unit.lines())}") for unit in units])
    rows = []
    for unit in units:
        strips = [
            Strip(f"{unit.stem}_{name}.jpg", STRIPS[name], f"{STRIPS[name]} natural images of {unit.label}")
            for name in unit.strips
        ]
        rows.append(Unit(unit.label, unit.lines(), [unit.path] if unit.shown else [], strips))
    return Units(rows)


def unit_legend(units: Sequence[UnitPicture]) -> list[str]:
    """What the words beneath the pictures of a gallery mean."""
    text = [
        "reaches: the activation of the unit for the picture, as it is; units of different layers have different scales."
    ]
    counts = [unit.natural.count for unit in units if unit.natural is not None]
    if counts:
        pool = next(unit.natural.pool for unit in units if unit.natural is not None)
        text.append(
            f"× natural: its {pool} over the positions of the unit's map, as a multiple of the greatest that any of {max(counts)} natural "
            "images reaches."
        )
    if _scored(units):
        text.append(
            "score: how often the picture is more similar, for another network, to a natural image that excites the unit than to one that "
            "does not; 0.5 if it tells nothing, 1 if it always tells."
        )
    return text


def _scored(units: Sequence[UnitPicture]) -> list[Natural]:
    return [unit.natural for unit in units if unit.natural is not None and unit.natural.score is not None]


def unit_trust(units: Sequence[UnitPicture]) -> str:
    """Whether the pictures can be trusted, in a word and with the most important reason."""
    scored = _scored(units)
    if not scored:
        return (
            "Not known, since whether the pictures tell which natural images excite the units is not measured here (captum-proto visualize "
            "--images DIR --judge MODEL does that, alongside controls); a high activation alone is reached by unnatural pictures as well."
        )
    sure = sum(one.score.low > 0.5 for one in scored if one.score is not None)
    better = sum(
        one.score.value > one.control.value for one in scored if one.score is not None and one.control is not None
    )
    mean, control = (
        np.nanmean([math.nan if value is None else value.value for value in values])
        for values in ([one.score for one in scored], [one.control for one in scored])
    )
    word = "For most units" if 2 * sure > len(scored) else "For some units" if sure else "No"
    return (
        f"{word}: the pictures of {sure} of {len(scored)} units tell natural images that excite the unit from those that do not, by more "
        f"than chance. The mean score is {number(float(mean), 2)}; with pictures of other units it is {number(float(control), 2)}, and "
        f"lower for {better} of {len(scored)} units."
    )


def unit_table(units: Sequence[UnitPicture]) -> Table:
    """A row for each unit: what its picture reaches, beside what natural images reach."""
    header, rows = ["unit", "seed", "activation"], []
    natural = any(unit.natural is not None for unit in units)
    scored = any(unit.natural is not None and unit.natural.score is not None for unit in units)
    header += ["pooled", "natural, greatest", "natural, 99 %", "natural, least", "multiple"] if natural else []
    header += ["score", "score of other units' pictures", "score of examples"] if scored else []
    for unit in units:
        row = [unit.label, str(unit.seed), number(unit.activation, 3)]
        known = unit.natural
        if natural:
            values = [math.nan] * 4 if known is None else [known.reached, known.greatest, known.quantile, known.least]
            row += [*(number(value, 3) for value in values), number(unit.multiple, 2)]
        if scored:
            estimates = [None] * 3 if known is None else [known.score, known.control, known.ceiling]
            row += ["–" if estimate is None else _estimate(estimate) for estimate in estimates]
        rows.append([typographic(cell) if place else cell for place, cell in enumerate(row)])
    text = "The activation of each picture as it is, without the transform"
    if natural:
        text += (
            "; pooled over the positions of the map as natural images are; the greatest and the least of theirs, and what the unit stays "
            "below at 99 % of all positions; the picture's as a multiple of the greatest"
        )
    if scored:
        text += (
            "; the score with its 95 % interval, beside the mean of the same with pictures of the layer's other units, and the score of "
            "the highest examples in place of the picture"
        )
    return Table(header, rows, f"{text}.")


__all__ = [
    "BESIDE",
    "STRIPS",
    "Natural",
    "UnitPicture",
    "read_natural",
    "save_png",
    "unit_gallery",
    "unit_legend",
    "unit_rows",
    "unit_sheet",
    "unit_table",
    "unit_trust",
    "write_strip",
    "write_unit_pictures",
]
