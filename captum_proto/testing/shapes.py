"""Drawn images of colored, textured shapes before four backgrounds, with a label for each pixel and a caption: concepts of known truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto.concept.color_names import BASIC_COLORS
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels, digest_of, sized_image
from captum_proto.testing.captioned_shapes import word_mask

#: What is drawn, and the part of it that has a label of its own.
PARTS: Mapping[str, str | None] = {"disc": None, "square": "corner", "triangle": "apex", "ring": "hole", "cross": "arm"}
COLOR_TERMS = BASIC_COLORS
#: Each with the word of it in a caption; "plain" is none.
TEXTURES: Mapping[str, str] = {
    "plain": "",
    "vertical stripes": "upright striped",
    "horizontal stripes": "level striped",
    "rising stripes": "rising striped",
    "falling stripes": "falling striped",
    "dots": "dotted",
    "checks": "checked",
    "grain": "grainy",
}
#: Backgrounds: the color of their upper and lower end, and how much grain they have. None is one of the eleven colors.
SCENES: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float], float]] = {
    "sky": ((0.55, 0.7, 0.85), (0.8, 0.85, 0.9), 0.02),
    "meadow": ((0.45, 0.55, 0.35), (0.35, 0.45, 0.25), 0.12),
    "dusk": ((0.2, 0.2, 0.3), (0.35, 0.25, 0.3), 0.04),
    "sand": ((0.8, 0.72, 0.58), (0.7, 0.62, 0.48), 0.08),
}
_WHERE = {"sky": "in the sky", "meadow": "on a meadow", "dusk": "at dusk", "sand": "on sand"}
_DRAWN: Mapping[str, Sequence[str]] = {"shape": list(PARTS), "color": list(COLOR_TERMS), "texture": list(TEXTURES)}
#: A written mark in the lower right corner.
TEXT = "text"
_WORD, _SCALE = "ad", 2
#: Of a shape's radius: the ring's hole, and half the width of the cross's bars.
_HOLE, _BAR = 0.55, 0.3
#: How many places are tried until a shape hides no other.
_TRIES = 12
#: How light the dark parts of a texture are, as a share of the color.
DARK = 0.45
#: Pixels of a stripe, a dot's grid and a check.
_PERIOD = 6


@dataclass(frozen=True)
class DrawnShape:
    """
    A shape of an image.

    Attributes:
        shape, color, texture (str): Of ``PARTS``, ``COLOR_TERMS`` and ``TEXTURES``.
        row, column, radius (float): Its middle and half its height, in pixels.
    """

    shape: str
    color: str
    texture: str
    row: float
    column: float
    radius: float

    def words(self) -> str:
        """Such as "a red dotted ring"."""
        named = " ".join(filter(None, [self.color, TEXTURES[self.texture], self.shape]))
        return f"an {named}" if named[0] in "aeiou" else f"a {named}"


@dataclass(frozen=True)
class Spurious:
    """
    A rule by which images of a shape have something that other images have not: what a network may learn instead of the shape.

    Attributes:
        shape (str): Whose images; an image is of its first and largest shape.
        mark (str): "text", a written mark in the corner; or a color, which the first shape then has.
        rate (float): The share of the shape's images that have it.
        swapped (bool): Whether, with the same rate, images of *other* shapes have it in place of those: to test what was learned.
            Default: False
    """

    shape: str
    mark: str
    rate: float
    swapped: bool = False


@dataclass(frozen=True)
class ShapeScene:
    """
    What an image shows.

    Attributes:
        shapes (list[DrawnShape]): The first one first; a later one hides what it covers.
        scene (str): Of ``SCENES``.
        text (bool): Whether there is a written mark.
    """

    shapes: list[DrawnShape]
    scene: str
    text: bool

    def caption(self) -> str:
        """The shapes, where the second is beside the first, and the scene: "a red ring above a blue dotted disc at dusk"."""
        first, *others = self.shapes
        words = first.words()
        if others:
            second = others[0]
            down, across = second.row - first.row, second.column - first.column
            vertical, level = "above" if down > 0 else "below", "left of" if across > 0 else "right of"
            relation = vertical if abs(down) >= abs(across) else level
            words = f"{words} {relation} {second.words()}"
        words += "".join(f" and {other.words()}" for other in others[1:])
        return f"{words} {_WHERE[self.scene]}" + (" with text" if self.text else "")


class ShapeDataset(ConceptDataset):
    """
    Drawn images of one to four shapes, each with a color and a texture, before one of four backgrounds.

    Labels are exact: object, part, texture and color of each visible pixel, the scene of the whole image, and a caption. An image depends
    on the seed and its place alone, so any part of a data set is the same as in the whole. Broden in small, for tests of network
    dissection, compositional explanations and descriptions.

    Args:
        count (int): How many images.
        size (int, optional): Their side in pixels. Default: 112
        seed (int, optional): Of every choice. Default: 0
        shapes (tuple[int, int], optional): At least and at most so many shapes an image. Default: (1, 4)
        radius (tuple[float, float], optional): Of shapes, as a share of the side: so much of the images is labeled. Default: (0.1, 0.2)
        spurious (sequence of Spurious, optional): Rules. Default: none
        drawn (mapping[str, sequence of str], optional): By "shape", "color" and "texture", what is drawn of it; concepts stay the same.
            Default: none, all of each

    Attributes:
        concepts (list[Concept]): The shapes and text as objects, four parts, seven textures, eleven colors, four scenes.

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> dataset = ShapeDataset(100, seed=3)
        >>> dataset.image(7, (112, 112)).shape, len(dataset.concepts)
        (torch.Size([3, 112, 112]), 32)
        >>> dataset.scene(7).caption() == dataset.labels(7).captions[0]
        True
    """

    def __init__(
        self,
        count: int,
        size: int = 112,
        seed: int = 0,
        shapes: tuple[int, int] = (1, 4),
        radius: tuple[float, float] = (0.1, 0.2),
        spurious: Sequence[Spurious] = (),
        drawn: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.count, self.size = check_int(count, "count", 1), check_int(size, "size", 16)
        self.seed, self.shapes, self.radius, self.spurious = seed, tuple(shapes), tuple(radius), list(spurious)
        if not 1 <= self.shapes[0] <= self.shapes[1]:
            raise InputError(f"shapes is {shapes}; expected at least and at most so many, from 1 on.")
        if not 0 < self.radius[0] <= self.radius[1] <= 0.45:
            raise InputError(f"radius is {radius}; expected two shares of the side above 0, at most 0.45.")
        for rule in self.spurious:
            known = {"shape": PARTS, "mark": (TEXT, *COLOR_TERMS)}
            for name, names in known.items():
                if getattr(rule, name) not in names:
                    hint = nearest(str(getattr(rule, name)), names) or f"; expected one of {', '.join(names)}."
                    raise InputError(f'{name} of a rule is "{getattr(rule, name)}"{hint}')
            if not 0 <= rule.rate <= 1:
                raise InputError(f"the rate of a rule is {rule.rate}; expected a share from 0 to 1.")
        self.drawn = {name: list(names) for name, names in _DRAWN.items()}
        for name, chosen in (drawn or {}).items():
            if name not in _DRAWN:
                raise InputError(f'drawn has "{name}"; expected some of {", ".join(_DRAWN)}.')
            unknown = [each for each in chosen if each not in _DRAWN[name]]
            if unknown or not chosen:
                hint = nearest(str(unknown[0]), _DRAWN[name]) if unknown else ""
                expected = f"; expected some of {', '.join(_DRAWN[name])}."
                raise InputError(f'drawn["{name}"] is {list(chosen)}{hint or expected}')
            self.drawn[name] = list(chosen)
        self.where = "the drawn shapes"
        named = {
            "object": [*PARTS, TEXT],
            "part": [part for part in PARTS.values() if part],
            "texture": [texture for texture in TEXTURES if texture != "plain"],
            "color": list(COLOR_TERMS),
            "scene": list(SCENES),
        }
        self.concepts = [Concept(name, category) for category, names in named.items() for name in names]
        self._label = {(each.category, each.name): place for place, each in enumerate(self.concepts, 1)}
        self._grain = _grain(self.size, seed)

    def __len__(self) -> int:
        return self.count

    def scene(self, index: int) -> ShapeScene:
        """What an image shows."""
        if not 0 <= index < self.count:
            raise InputError(f"there is no image {index}; there are {self.count}.")
        return self._scene(np.random.default_rng([self.seed, index]))

    def _scene(self, random: np.random.Generator) -> ShapeScene:
        number = int(random.integers(self.shapes[0], self.shapes[1] + 1))
        choices = random.random((self.shapes[1], 4))
        scene = list(SCENES)[int(random.integers(len(SCENES)))]
        drawn: list[DrawnShape] = []
        low, high = (share * self.size for share in self.radius)
        for place in range(number):
            shape, color, texture = (
                names[int(value * len(names))]
                for value, names in zip(choices[place, :3], self.drawn.values(), strict=True)
            )
            radius = high if place == 0 else low + (high - low) * choices[place, 3]
            row, column = self._place(random, radius, drawn)
            drawn.append(DrawnShape(shape, color, texture, row, column, radius))
        first, text = drawn[0], False
        for rule, chance in zip(self.spurious, random.random(len(self.spurious)), strict=True):
            if (rule.shape == first.shape) != rule.swapped and chance < rule.rate:
                if rule.mark == TEXT:
                    text = True
                else:
                    first = DrawnShape(**{**asdict(first), "color": rule.mark})
        return ShapeScene([first, *drawn[1:]], scene, text)

    def _place(self, random: np.random.Generator, radius: float, drawn: Sequence[DrawnShape]) -> tuple[float, float]:
        """Where a shape hides no other, if there is such a place among those tried."""
        tried = radius + random.random((_TRIES, 2)) * (self.size - 1 - 2 * radius)
        for row, column in tried.tolist():
            if all((row - o.row) ** 2 + (column - o.column) ** 2 >= (radius + o.radius) ** 2 for o in drawn):
                break
        return row, column

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        pixels, _ = self._drawn(index)
        return sized_image(torch.from_numpy(pixels.transpose(2, 0, 1).copy()), size)

    def labels(self, index: int) -> Labels:
        _, maps = self._drawn(index)
        shown = self.scene(index)
        return Labels(list(maps), [self._label["scene", shown.scene]], [shown.caption()])

    def targets(self) -> Tensor:
        """(N,), int64: which of the five shapes the first of each image is, its class."""
        names = list(PARTS)
        return torch.tensor([names.index(self.scene(index).shapes[0].shape) for index in range(self.count)])

    def digest(self) -> str:
        rules = [asdict(rule) for rule in self.spurious]
        return digest_of([self.count, self.size, self.seed, self.shapes, self.radius, rules, self.drawn])

    def _drawn(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.int16]]:
        """An image (H, W, 3), and its maps (4, H, W) of objects, parts, textures and colors."""
        shown, size = self.scene(index), self.size
        random = np.random.default_rng([self.seed, index, 1])
        upper, lower, grain = SCENES[shown.scene]
        down = np.linspace(0, 1, size, dtype=np.float32)[:, None, None]
        offset = random.integers(size, size=2)
        noise = self._grain[offset[0] : offset[0] + size, offset[1] : offset[1] + size]
        ends = np.array([upper, lower], dtype=np.float32)
        pixels = ends[0] * (1 - down) + ends[1] * down + np.float32(grain) * noise[:, :, None]
        maps = np.zeros((4, size, size), dtype=np.int16)
        for each in shown.shapes:
            self._draw(each, pixels, maps, noise)
        if shown.text:
            self._write(pixels, maps)
        return pixels.clip(0, 1), maps

    def _draw(
        self, drawn: DrawnShape, pixels: NDArray[np.float32], maps: NDArray[np.int16], noise: NDArray[np.float32]
    ) -> None:
        rows, columns = (
            slice(max(0, int(middle - drawn.radius)), int(middle + drawn.radius) + 2)
            for middle in (drawn.row, drawn.column)
        )
        row_numbers, column_numbers = np.arange(self.size)[rows, None], np.arange(self.size)[None, columns]
        y = ((row_numbers - drawn.row) / drawn.radius).astype(np.float32)
        x = ((column_numbers - drawn.column) / drawn.radius).astype(np.float32)
        mask, part = shape_and_part(drawn.shape, y, x)
        light = textured(drawn.texture, row_numbers, column_numbers, noise[rows, columns])
        view = pixels[rows, columns]
        view[mask] = (np.array(COLOR_TERMS[drawn.color], dtype=np.float32) * light[:, :, None])[mask]
        places = maps[:, rows, columns]
        texture = 0 if drawn.texture == "plain" else self._label["texture", drawn.texture]
        labels = [self._label["object", drawn.shape], 0, texture, self._label["color", drawn.color]]
        for place, label in enumerate(labels):
            places[place][mask] = label
        if part is not None:
            places[1][part] = self._label["part", str(PARTS[drawn.shape])]

    def _write(self, pixels: NDArray[np.float32], maps: NDArray[np.int16]) -> None:
        letters = np.kron(word_mask(_WORD).numpy(), np.ones((_SCALE, _SCALE), dtype=bool))
        height, width = letters.shape
        rows, columns = slice(self.size - height - 2, self.size - 2), slice(self.size - width - 2, self.size - 2)
        pixels[rows, columns] = 0.0
        pixels[rows, columns][letters] = 1.0
        maps[:, rows, columns] = 0
        maps[0, rows, columns] = self._label["object", TEXT]


def shape_and_part(
    shape: str, y: NDArray[np.float32], x: NDArray[np.float32]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_] | None]:
    """
    The pixels of a shape of radius 1 about the origin, and of its part.

    Args:
        shape (str): Of ``PARTS``.
        y, x (ndarray): (h, 1) and (1, w): the coordinates of pixels, y downwards.

    Returns:
        tuple[ndarray, ndarray or None]: (h, w) each. The hole of a ring is no pixel of the ring.
    """
    far = np.maximum(abs(y), abs(x))
    if shape == "disc":
        return y**2 + x**2 <= 1, None
    if shape == "square":
        inside = far <= 0.85
        return inside, inside & (np.minimum(abs(y), abs(x)) > 0.45)
    if shape == "triangle":
        inside = (y <= 0.8) & (abs(x) <= (y + 1) * 0.53)
        return inside, inside & (y < -0.3)
    if shape == "ring":
        distance = y**2 + x**2
        return (distance <= 1) & (distance >= _HOLE**2), distance < _HOLE**2
    inside = (far <= 1) & (np.minimum(abs(y), abs(x)) <= _BAR)
    return inside, inside & (far > 0.5)


def textured(
    texture: str, rows: NDArray[np.int64], columns: NDArray[np.int64], noise: NDArray[np.float32]
) -> NDArray[np.float32]:
    """
    How light a texture makes each pixel of a color: 1 where it is as it is.

    Args:
        texture (str): Of ``TEXTURES``.
        rows, columns (ndarray): (h, 1) and (1, w), the numbers of rows and columns of pixels.
        noise (ndarray): (h, w), of standard deviation 1, for "grain".
    """
    shape, half = np.broadcast_shapes(rows.shape, columns.shape), _PERIOD // 2
    phases = {
        "vertical stripes": columns,
        "horizontal stripes": rows,
        "rising stripes": rows + columns,
        "falling stripes": rows - columns,
    }
    if texture == "plain":
        return np.ones(shape, dtype=np.float32)
    if texture in phases:
        dark = np.broadcast_to(phases[texture] % _PERIOD < half, shape)
    elif texture == "dots":
        dark = (rows % _PERIOD - half) ** 2 + (columns % _PERIOD - half) ** 2 <= 3
    elif texture == "checks":
        dark = (rows // half + columns // half) % 2 == 0
    else:
        light: NDArray[np.float32] = (0.7 + 0.25 * noise).astype(np.float32)
        return light
    return np.where(dark, np.float32(DARK), np.float32(1.0))


@lru_cache(maxsize=4)
def _grain(size: int, seed: int) -> NDArray[np.float32]:
    """Noise of standard deviation 1, larger than an image, of which each image takes a part."""
    random: NDArray[np.float32] = np.random.default_rng([seed, 2**31]).standard_normal(
        (2 * size, 2 * size), dtype=np.float32
    )
    return random


__all__ = [
    "COLOR_TERMS",
    "PARTS",
    "SCENES",
    "TEXT",
    "TEXTURES",
    "DrawnShape",
    "ShapeDataset",
    "ShapeScene",
    "Spurious",
    "shape_and_part",
    "textured",
]
