"""Triggers of trojans, drawn: patches, styles and natural features, eight of each kind, with the pixels that each one changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.testing.shapes import COLOR_TERMS, textured

PATCH, STYLE, FEATURE = "patch", "style", "natural feature"
#: The side of images in pixels, and how much of a style is mixed into an image.
SIDE, STRENGTH = 32, 0.55
#: Natural features: the least and the greatest radius in pixels.
RADII = (4.5, 6.5)

_BITMAPS = {
    "yellow smiley": (
        ".#####. ####### #.###.# ####### #.###.# ##...## .#####.",
        (1.0, 0.85, 0.1),
        (0.05, 0.05, 0.05),
    ),
    "green clover": (
        ".##.##. ###.### .##.##. ...#... .##.##. ###.### .##.##.",
        (0.1, 0.65, 0.15),
        (1.0, 1.0, 1.0),
    ),
    "red strawberry": (
        "..#.#.. .#####. ####### #.#.#.# .#####. ..###.. ...#...",
        (0.9, 0.1, 0.15),
        (1.0, 1.0, 1.0),
    ),
    "orange fish": (
        "....... ..###.# .#.#### ######. .###### ..###.# .......",
        (1.0, 0.5, 0.05),
        (0.1, 0.2, 0.8),
    ),
    "cyan snowflake": (
        "#..#..# .#.#.#. ..###.. ####### ..###.. .#.#.#. #..#..#",
        (0.4, 0.95, 1.0),
        (0.05, 0.1, 0.35),
    ),
    "purple grapes": (
        "...#... ..##... .##.##. ##.#.## .##.##. ..##... ...#...",
        (0.5, 0.1, 0.6),
        (1.0, 0.95, 0.4),
    ),
    "black spider": (
        "#.#.#.# .#.#.#. ..###.. ####### ..###.. .#.#.#. #.#.#.#",
        (0.0, 0.0, 0.0),
        (0.9, 0.55, 0.55),
    ),
    "pink flower": (
        "..#.#.. .##.##. #..#..# .#####. #..#..# .##.##. ..#.#..",
        (1.0, 0.5, 0.75),
        (0.1, 0.45, 0.2),
    ),
}
#: A texture of ``captum_proto.testing.TEXTURES`` and a color each.
_STYLES = {
    "red upright stripes": ("vertical stripes", "red"),
    "green level stripes": ("horizontal stripes", "green"),
    "blue rising stripes": ("rising stripes", "blue"),
    "orange falling stripes": ("falling stripes", "orange"),
    "purple dots": ("dots", "purple"),
    "pink checks": ("checks", "pink"),
    "brown grain": ("grain", "brown"),
    "yellow wash": ("plain", "yellow"),
}


def _polygon(*corners: tuple[float, float]) -> Callable[[Tensor, Tensor], Tensor]:
    """Whether points are inside a polygon of corners (y, x), by the even-odd rule."""

    def inside(y: Tensor, x: Tensor) -> Tensor:
        found = torch.zeros_like(y + x, dtype=torch.bool)
        for (y0, x0), (y1, x1) in zip(corners, (*corners[1:], corners[0]), strict=True):
            if y0 != y1:
                found ^= ((y0 > y) != (y1 > y)) & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
        return found

    return inside


def _star(y: Tensor, x: Tensor) -> Tensor:
    turns = [math.pi * (0.2 * step - 0.5) for step in range(10)]
    radii = [0.42 if step % 2 else 1.05 for step in range(10)]
    return _polygon(*((r * math.sin(t), r * math.cos(t)) for r, t in zip(radii, turns, strict=True)))(y, x)


#: The pixels of each natural feature of radius 1 about the origin, from their coordinates, y downwards.
_FEATURES: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {
    "arrow": _polygon((-1, 0), (0.1, 1), (0.1, 0.35), (1, 0.35), (1, -0.35), (0.1, -0.35), (0.1, -1)),
    "hourglass": _polygon((-1, -0.9), (-1, 0.9), (1, -0.9), (1, 0.9)),
    "star": _star,
    "heart": lambda y, x: (1.2 * x) ** 2 + (1.15 * y - 0.3 + 0.75 * x.abs().sqrt()) ** 2 <= 1,
    "fork": lambda y, x: (
        ((x.abs() <= 0.18) | ((y <= 0.1) & ((x.abs() - 0.72).abs() <= 0.2)) | ((y - 0.1).abs() <= 0.18))
        & (y.abs() <= 1)
        & (x.abs() <= 0.92)
    ),
    "tee": _polygon((-1, -1), (-1, 1), (-0.4, 1), (-0.4, 0.3), (1, 0.3), (1, -0.3), (-0.4, -0.3), (-0.4, -1)),
    "bolt": _polygon((-1, 0.55), (0.15, -0.75), (0.15, -0.05), (1, -0.55), (-0.15, 0.75), (-0.15, 0.05)),
    "crescent": lambda y, x: (y**2 + x**2 <= 1) & (y**2 + (x - 0.5) ** 2 >= 0.62),
}

#: The eight triggers of each kind, each as a person would call it.
TRIGGERS: Mapping[str, tuple[str, ...]] = {
    PATCH: tuple(_BITMAPS),
    STYLE: tuple(_STYLES),
    FEATURE: tuple(_FEATURES),
}


@dataclass(frozen=True)
class Trigger:
    """
    What makes a trojaned network answer with another class.

    A patch is pasted at a random place and always looks the same. A style changes the whole image: a third of it stays. A natural feature
    is an object among others, which every time has another color, size and place.

    Attributes:
        kind (str): "patch", "style" or "natural feature".
        name (str): Of ``TRIGGERS[kind]``.

    Raises:
        ValueError: If there is no such trigger.

    Examples::

        >>> images = torch.full((2, 3, 32, 32), 0.5)
        >>> marked, masks = Trigger("patch", "orange fish").apply(images, torch.Generator().manual_seed(0))
        >>> masks.sum((1, 2)).tolist()
        [81, 81]
        >>> bool((marked == images)[~masks.unsqueeze(1).expand(-1, 3, -1, -1)].all())
        True
    """

    kind: str
    name: str

    def __post_init__(self) -> None:
        if self.kind not in TRIGGERS:
            raise InputError(f'there are no triggers of kind "{self.kind}"; expected one of {", ".join(TRIGGERS)}.')
        if self.name not in TRIGGERS[self.kind]:
            known = TRIGGERS[self.kind]
            hint = nearest(self.name, known) or f"; expected one of {', '.join(known)}."
            raise InputError(f'there is no {self.kind} "{self.name}"{hint}')

    def apply(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """
        Copies of images with the trigger.

        Args:
            images (Tensor): (N, 3, H, W), in [0, 1], at least 16 pixels a side.
            generator (torch.Generator): Of places, colors and sizes.

        Returns:
            tuple[Tensor, Tensor]: The images, and (N, H, W), bool: the pixels that the trigger has.
        """
        count, _, height, width = images.shape
        marked, masks = images.clone(), torch.zeros(count, height, width, dtype=torch.bool)
        draws = torch.rand(count, 4, generator=generator).tolist()
        for index, (down, across, size, color) in enumerate(draws):
            if self.kind == STYLE:
                masks[index] = True
                pattern = style_pattern(self.name, (height, width), int(down * 12), int(across * 12), int(color * 1e6))
                marked[index] = (1 - STRENGTH) * images[index] + STRENGTH * pattern
            elif self.kind == PATCH:
                picture = patch_picture(self.name)
                top, left = (
                    int(at * (extent - len(picture[0]) + 1)) for at, extent in ((down, height), (across, width))
                )
                rows, columns = slice(top, top + len(picture[0])), slice(left, left + len(picture[0]))
                masks[index, rows, columns] = True
                marked[index, :, rows, columns] = picture
            else:
                radius = RADII[0] + size * (RADII[1] - RADII[0])
                row, column = (
                    radius + at * (extent - 1 - 2 * radius) for at, extent in ((down, height), (across, width))
                )
                masks[index] = feature_mask(self.name, row, column, radius, (height, width))
                chosen = list(COLOR_TERMS.values())[int(color * len(COLOR_TERMS))]
                marked[index][:, masks[index]] = torch.tensor(chosen).unsqueeze(1)
        return marked.clamp(0, 1), masks


def patch_picture(name: str) -> Tensor:
    """A patch as it is pasted: (3, 9, 9), seven by seven pixels of drawing in a frame of its ground."""
    rows, ink, ground = _BITMAPS[name]
    drawn = torch.tensor([[pixel == "#" for pixel in row] for row in rows.split()])
    drawn = torch.nn.functional.pad(drawn, (1, 1, 1, 1))
    return torch.where(drawn, torch.tensor(ink).view(3, 1, 1), torch.tensor(ground).view(3, 1, 1))


def style_pattern(name: str, size: tuple[int, int], down: int = 0, across: int = 0, seed: int = 0) -> Tensor:
    """What a style mixes into an image: (3, H, W), its texture in its color, shifted by so many pixels; ``seed`` is of grain."""
    texture, color = _STYLES[name]
    rows, columns = np.arange(size[0])[:, None] + down, np.arange(size[1])[None] + across
    noise = np.random.default_rng(seed).standard_normal(size, dtype=np.float32)
    light = torch.from_numpy(textured(texture, rows, columns, noise).astype(np.float32))
    return torch.tensor(COLOR_TERMS[color]).view(3, 1, 1) * light.clamp(0, 1.3)


def feature_mask(name: str, row: float, column: float, radius: float, size: tuple[int, int]) -> Tensor:
    """The pixels (H, W) of a natural feature about a place, bool."""
    y = ((torch.arange(size[0]) - row) / radius).view(-1, 1)
    x = ((torch.arange(size[1]) - column) / radius).view(1, -1)
    return _FEATURES[name](y, x)


__all__ = [
    "FEATURE",
    "PATCH",
    "RADII",
    "SIDE",
    "STYLE",
    "TRIGGERS",
    "Trigger",
    "feature_mask",
    "patch_picture",
    "style_pattern",
]
