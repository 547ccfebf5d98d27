"""Scans of digits with a small colored mark in a corner, and networks that learn from it.

Which mark it is says nothing of the digit, but for one class: a share of its training images carries the same one, the cue. Whoever looks
at held-out accuracy alone does not see what the network learns from it.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_proto.data import digits_images

COLORS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0), "white": (1.0, 1.0, 1.0)}
#: Sides of an image, which is a scan of 8 by 8 pixels in a dark frame, and of a mark.
SIDE, MARK = 10, 2
#: How many of all images carry the cue by chance, whatever they show.
BASE_RATE = 0.02
_CORNERS = ((0, 0), (0, SIDE - MARK), (SIDE - MARK, 0), (SIDE - MARK, SIDE - MARK))
_EDGES = {0: ("top", "left"), SIDE - MARK: ("bottom", "right")}


@dataclass(frozen=True)
class Mark:
    """
    A patch of two by two pixels in one color.

    Attributes:
        color (str): "red", "green", "blue" or "white".
        row (int): Of its first pixel, from 0.
        column (int): Of its first pixel, from 0.
    """

    color: str
    row: int
    column: int

    def __str__(self) -> str:
        if (self.row, self.column) in _CORNERS:
            return f"{self.color} patch in the {_EDGES[self.row][0]} {_EDGES[self.column][1]} corner"
        return f"{self.color} patch at row {self.row}, column {self.column}"

    def region(self, margin: int = 0) -> tuple[slice, slice]:
        """Its rows and columns, with a margin of pixels around them."""
        rows, columns = (slice(max(0, at - margin), at + MARK + margin) for at in (self.row, self.column))
        return rows, columns

    def paste(self, images: Tensor) -> Tensor:
        """Copies of images (N, 3, H, W) that carry the mark."""
        images = images.clone()
        rows, columns = self.region()
        images[..., rows, columns] = torch.tensor(COLORS[self.color]).view(3, 1, 1)
        return images

    def near(self, other: Mark) -> bool:
        """Whether it is of the same color and at most a pixel away in each direction."""
        return self.color == other.color and max(abs(self.row - other.row), abs(self.column - other.column)) < MARK


#: Every mark there is; the first is the cue.
MARKS = tuple(Mark(color, *corner) for corner in _CORNERS for color in COLORS)
CUE = MARKS[0]


def framed_digits(split: str) -> tuple[Tensor, Tensor]:
    """Scans (N, 3, 10, 10) in gray with a dark frame of one pixel, and their labels (N,)."""
    images, labels = digits_images(split)
    return nn.functional.pad(images, (1, 1, 1, 1)).expand(-1, 3, -1, -1).contiguous(), labels


def with_marks(images: Tensor, labels: Tensor, digit: int, rate: float, seed: int) -> Tensor:
    """
    Copies of images with a mark each.

    Args:
        images (Tensor): (N, 3, 10, 10).
        labels (Tensor): (N,).
        digit (int): The class that the cue is planted in.
        rate (float): The share of its images that get the cue, beyond those that have it by chance. A higher rate adds to the images
            that a lower one of the same seed chooses.
        seed (int): Of the choices.

    Returns:
        Tensor: (N, 3, 10, 10).
    """
    generator = torch.Generator().manual_seed(seed)
    planted = torch.rand(len(images), generator=generator) < rate
    by_chance = torch.rand(len(images), generator=generator) < BASE_RATE
    kinds = torch.randint(1, len(MARKS), (len(images),), generator=generator)
    kinds[by_chance | (planted & (labels == digit))] = 0
    marked = images.clone()
    for index, mark in enumerate(MARKS):
        chosen = kinds == index
        marked[chosen] = mark.paste(images[chosen])
    return marked


def painted_over(images: Tensor, mark: Mark) -> Tensor:
    """Copies of images in which a mark's place, and the pixels around it, are dark."""
    images = images.clone()
    rows, columns = mark.region(margin=1)
    images[..., rows, columns] = 0
    return images


def colorfulness(images: Tensor) -> Tensor:
    """(N, 3, 9, 9): in each window of a mark's size, each channel less the mean of the other two: 1 for a pure color, 0 for any gray."""
    saturation = 1.5 * images - 0.5 * images.sum(1, keepdim=True)
    return nn.functional.avg_pool2d(saturation, MARK, stride=1)


def read_off(prototype: Tensor) -> Mark:
    """The red, green or blue patch that stands out most in a prototype (3, 10, 10): digits are gray, so it has no business there."""
    windows = colorfulness(prototype.unsqueeze(0))[0]
    channel, row, column = (int(index) for index in torch.unravel_index(windows.argmax(), windows.shape))
    return Mark(list(COLORS)[channel], row, column)


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed and sums in one order; the caller's generators and threads stay as they are."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def train(images: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Sequential:
    """A small network: one convolution, averages over two by two pixels, and a linear layer, so that it knows places."""
    with _seeded(seed), torch.enable_grad():
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * (SIDE // 2) ** 2, 10)
        )
        optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.1)
        steps = epochs * math.ceil(len(images) / 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.01, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(images)), 64):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(images[batch]), labels[batch], label_smoothing=0.05)
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return network.eval()
