"""Images of a colored shape, a written word or both, with captions: drawn from a seed, and their contents known exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError

SHAPES = ("disc", "square", "ring", "cross")
COLORS = {"red": (0.9, 0.15, 0.1), "green": (0.1, 0.75, 0.2), "blue": (0.15, 0.3, 0.95), "yellow": (0.95, 0.85, 0.1)}
#: Side of an image in pixels; shapes are in its upper part, words in the lowest rows.
SIDE, _WORD_ROWS = 32, 9
_RADII = (5, 8)
#: Letters of three by five pixels, row by row from the top.
_LETTERS = {
    "a": ".#. #.# ### #.# #.#",
    "c": ".## #.. #.. #.. .##",
    "d": "##. #.# #.# #.# ##.",
    "e": "### #.. ##. #.. ###",
    "g": ".## #.. #.# #.# .##",
    "i": "### .#. .#. .#. ###",
    "n": "##. #.# #.# #.# #.#",
    "o": ".#. #.# #.# #.# .#.",
    "q": ".#. #.# #.# .#. ..#",
    "r": "##. #.# ##. #.# #.#",
    "s": ".## #.. .#. ..# ##.",
    "u": "#.# #.# #.# #.# ###",
}


@dataclass(frozen=True)
class CaptionedShapes:
    """
    Images with their captions and what is in them.

    Attributes:
        images (Tensor): (N, 3, 32, 32), float32 in [0, 1].
        captions (list[str]): Of each: "a red disc", "the word ring", "a red disc and the word ring".
        shapes (Tensor): (N,), int64: which of ``SHAPES`` is drawn, -1 for none.
        colors (Tensor): (N,), int64: which of ``COLORS`` it has, -1 for none.
        words (Tensor): (N,), int64: which of ``SHAPES`` is written, -1 for none.
    """

    images: Tensor
    captions: list[str]
    shapes: Tensor
    colors: Tensor
    words: Tensor

    def __len__(self) -> int:
        return len(self.images)

    @property
    def drawn(self) -> Tensor:
        """(N, 4), bool: whether each image shows each shape."""
        return self.shapes.unsqueeze(1) == torch.arange(len(SHAPES))

    @property
    def written(self) -> Tensor:
        """(N, 4), bool: whether each image holds each shape's word."""
        return self.words.unsqueeze(1) == torch.arange(len(SHAPES))


def shape_mask(shape: str, row: float, column: float, radius: float, side: int = SIDE) -> Tensor:
    """
    The pixels of a shape.

    Args:
        shape (str): One of ``SHAPES``.
        row, column (float): Of its middle.
        radius (float): In pixels.
        side (int, optional): Of the image. Default: 32

    Returns:
        Tensor: (side, side), bool.

    Raises:
        ValueError: If there is no such shape.

    Examples::

        >>> int(shape_mask("square", 8, 8, 2, 16).sum())
        25
    """
    down, across = torch.arange(side).view(-1, 1) - row, torch.arange(side).view(1, -1) - column
    if shape == "disc":
        return down**2 + across**2 <= radius**2
    if shape == "square":
        return (down.abs() <= radius) & (across.abs() <= radius)
    if shape == "ring":
        distance = down**2 + across**2
        return (distance <= radius**2) & (distance >= (0.55 * radius) ** 2)
    if shape == "cross":
        inside = (down.abs() <= radius) & (across.abs() <= radius)
        return inside & ((down.abs() <= radius / 3) | (across.abs() <= radius / 3))
    raise InputError(
        f'there is no shape "{shape}"{nearest(shape, SHAPES) or "; expected one of " + ", ".join(SHAPES)}.'
    )


def word_mask(word: str) -> Tensor:
    """
    A word in letters of three by five pixels.

    Args:
        word (str): Of the letters in the names of ``SHAPES``.

    Returns:
        Tensor: (5, 4 · letters - 1), bool.

    Raises:
        ValueError: If a letter is not known.

    Examples::

        >>> print(*("".join(" #"[pixel] for pixel in row) for row in word_mask("disc").int()), sep="\\n")
        ##  ###  ##  ##
        # #  #  #   #
        # #  #   #  #
        # #  #    # #
        ##  ### ##   ##
    """
    missing = [letter for letter in word if letter not in _LETTERS]
    if missing or not word:
        raise InputError(f'"{word}" cannot be written; expected letters of {"".join(_LETTERS)}.')
    letters = [torch.tensor([[pixel == "#" for pixel in row] for row in _LETTERS[each].split()]) for each in word]
    spaced = [torch.nn.functional.pad(letter, (0, 1)) for letter in letters]
    return torch.cat(spaced, 1)[:, :-1]


def caption_of(shape: str | None, color: str | None, word: str | None) -> str:
    """
    What an image holds, in words.

    Examples::

        >>> caption_of("disc", "red", "ring")
        'a red disc and the word ring'
    """
    parts = [f"a {color} {shape}"] if shape else []
    parts += [f"the word {word}"] if word else []
    return " and ".join(parts)


def captioned_shapes(count: int, seed: int = 0) -> CaptionedShapes:
    """
    Draw images of which a third hold a shape, a third a word, and a third both, each chosen by itself.

    Args:
        count (int): How many images, at least 1.
        seed (int, optional): Of every choice. Default: 0

    Returns:
        CaptionedShapes: The same each time.

    Examples::

        >>> shapes = captioned_shapes(3)
        >>> shapes.images.shape, len(shapes.captions)
        (torch.Size([3, 3, 32, 32]), 3)
    """
    check_int(count, "count", 1)
    generator = torch.Generator().manual_seed(seed)

    def draw(most: int) -> list[int]:
        return torch.randint(most, (count,), generator=generator).tolist()

    kinds, shapes, colors, words = draw(3), draw(len(SHAPES)), draw(len(COLORS)), draw(len(SHAPES))
    places = torch.rand(count, 6, generator=generator).tolist()
    noise = 0.08 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    images = noise + torch.tensor([0.05 + 0.35 * place[0] for place in places]).view(-1, 1, 1, 1)
    captions, names = [], list(COLORS)
    for index, kind in enumerate(kinds):
        shape, color, word = SHAPES[shapes[index]], names[colors[index]], SHAPES[words[index]]
        _, size, row, column, down, across = places[index]
        if kind != 1:
            radius = _RADII[0] + size * (_RADII[1] - _RADII[0])
            top = radius + row * (SIDE - _WORD_ROWS - 2 * radius)
            left = radius + column * (SIDE - 1 - 2 * radius)
            images[index, :, shape_mask(shape, top, left, radius)] = torch.tensor(COLORS[color]).view(3, 1)
        if kind != 0:
            mask = word_mask(word)
            height, width = mask.shape
            begin = SIDE - _WORD_ROWS + 2 + int(down * (_WORD_ROWS - 2 - height))
            left_edge = int(across * (SIDE - width))
            images[index, :, begin : begin + height, left_edge : left_edge + width][:, mask] = 1.0
        drawn, written = kind != 1, kind != 0
        captions.append(caption_of(shape if drawn else None, color if drawn else None, word if written else None))
    chosen = torch.tensor(kinds)
    return CaptionedShapes(
        images.clamp(0, 1),
        captions,
        torch.tensor(shapes).where(chosen != 1, torch.tensor(-1)),
        torch.tensor(colors).where(chosen != 1, torch.tensor(-1)),
        torch.tensor(words).where(chosen != 0, torch.tensor(-1)),
    )


__all__ = ["COLORS", "SHAPES", "SIDE", "CaptionedShapes", "caption_of", "captioned_shapes", "shape_mask", "word_mask"]
