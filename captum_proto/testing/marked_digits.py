"""
Scans of digits with a small colored mark in a corner, and networks that learn from them.

Which mark an image carries is independent of its digit, but for one class: a share of its training images carries the same mark, the *cue*.
A network learns to use it, and its accuracy on held-out images does not show that.
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
#: The share of all images that carry the cue by chance, whatever they show.
BASE_RATE = 0.02
#: First row and first column of a mark in each corner.
CORNERS = ((0, 0), (0, SIDE - MARK), (SIDE - MARK, 0), (SIDE - MARK, SIDE - MARK))
_EDGES = {0: ("top", "left"), SIDE - MARK: ("bottom", "right")}


@dataclass(frozen=True)
class Mark:
    """
    A patch of two by two pixels in one color.

    Attributes:
        color (str): "red", "green", "blue" or "white".
        row (int): Of its first pixel, from 0.
        column (int): Of its first pixel, from 0.

    Examples::

        >>> print(Mark("red", 0, 8))
        red patch in the top right corner
        >>> Mark("red", 0, 8).near(Mark("red", 1, 8))
        True
    """

    color: str
    row: int
    column: int

    def __str__(self) -> str:
        if (self.row, self.column) in CORNERS:
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
MARKS = tuple(Mark(color, *corner) for corner in CORNERS for color in COLORS)
CUE = MARKS[0]


def framed_digits(split: str = "held_out") -> tuple[Tensor, Tensor]:
    """
    Scans of digits in three equal channels, with a dark frame of one pixel.

    Args:
        split (str, optional): As for :func:`captum_proto.data.digits_images`. Default: "held_out"

    Returns:
        tuple[Tensor, Tensor]: Images (N, 3, 10, 10), float32 in [0, 1], and their labels (N,), int64.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split.

    Examples::

        >>> images, labels = framed_digits()
        >>> images.shape
        torch.Size([445, 3, 10, 10])
    """
    images, labels = digits_images(split)
    return nn.functional.pad(images, (1, 1, 1, 1)).expand(-1, 3, -1, -1).contiguous(), labels


def with_marks(images: Tensor, labels: Tensor, digit: int, rate: float, seed: int) -> Tensor:
    """
    Copies of images with a mark each.

    Args:
        images (Tensor): Shape (N, 3, 10, 10).
        labels (Tensor): Shape (N,).
        digit (int): The class that the cue is planted in.
        rate (float): The share of its images that get the cue, 0 to 1, beyond those that have it by chance. A higher rate adds to the
            images that a lower one of the same seed chooses.
        seed (int): Of the choices.

    Returns:
        Tensor: Shape (N, 3, 10, 10).

    Examples::

        >>> images, labels = framed_digits()
        >>> marked = with_marks(images, labels, digit=8, rate=1.0, seed=0)
        >>> bool((marked[labels == 8] == CUE.paste(images[labels == 8])).all())
        True
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
    """
    Copies of images in which a mark's place, and the pixels around it, are dark.

    Args:
        images (Tensor): Shape (N, 3, 10, 10).
        mark (Mark): Where.

    Returns:
        Tensor: Shape (N, 3, 10, 10).

    Examples::

        >>> painted = painted_over(torch.ones(1, 3, 10, 10), CUE)
        >>> int(painted[0, 0].sum())
        91
    """
    images = images.clone()
    rows, columns = mark.region(margin=1)
    images[..., rows, columns] = 0
    return images


def colorfulness(images: Tensor) -> Tensor:
    """
    In each window of a mark's size, the mean of each channel less the mean of the other two.

    Args:
        images (Tensor): Shape (N, 3, 10, 10).

    Returns:
        Tensor: Shape (N, 3, 9, 9): 1 for a pure color, 0 for any gray.

    Examples::

        >>> colorfulness(CUE.paste(torch.zeros(1, 3, 10, 10)))[0, :, 0, 0]
        tensor([ 1.0000, -0.5000, -0.5000])
    """
    saturation = 1.5 * images - 0.5 * images.sum(1, keepdim=True)
    return nn.functional.avg_pool2d(saturation, MARK, stride=1)


def read_off(prototype: Tensor) -> Mark:
    """
    The red, green or blue patch that stands out most in a prototype: digits are gray, so a color comes from a mark.

    Args:
        prototype (Tensor): Shape (3, 10, 10).

    Returns:
        Mark: Not necessarily in a corner.

    Examples::

        >>> print(read_off(Mark("green", 3, 7).paste(torch.rand(1, 1, 10, 10).expand(1, 3, 10, 10))[0]))
        green patch at row 3, column 7
    """
    windows = colorfulness(prototype.unsqueeze(0))[0]
    channel, row, column = (int(index) for index in torch.unravel_index(windows.argmax(), windows.shape))
    return Mark(list(COLORS)[channel], row, column)


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Random numbers from a seed and sums in one order; the caller's generators and threads stay as they are."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def small_classifier() -> nn.Sequential:
    """
    An untrained network for images (N, 3, 10, 10): one convolution, averages over two by two pixels, and a linear layer.

    It distinguishes places, as it must to learn a mark in a corner. Its weights are from PyTorch's global generator.

    Returns:
        nn.Sequential: From images to logits (N, 10).

    Examples::

        >>> small_classifier()(torch.rand(2, 3, 10, 10)).shape
        torch.Size([2, 10])
    """
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8 * (SIDE // 2) ** 2, 10)
    )


def train_classifier(images: Tensor, labels: Tensor, seed: int, epochs: int) -> nn.Sequential:
    """
    Train a :func:`small_classifier`: in about a second, and to the same weights from the same seed.

    Args:
        images (Tensor): Shape (N, 3, 10, 10).
        labels (Tensor): Shape (N,), int64, 0 to 9.
        seed (int): Of the first weights and of the order of the images.
        epochs (int): Passes over the images.

    Returns:
        nn.Sequential: In evaluation mode.

    Examples::

        >>> images, labels = framed_digits("training")
        >>> network = train_classifier(images[:128], labels[:128], seed=0, epochs=1)
    """
    with seeded(seed), torch.enable_grad():
        network = small_classifier()
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


def planted_classifier(
    digit: int, rate: float, seed: int, *, epochs: int = 8, cleaned_of: Mark | None = None
) -> nn.Sequential:
    """
    Train a network on scans of digits of which a share of one class carries the cue.

    Args:
        digit (int): The class that the cue is planted in, 0 to 9.
        rate (float): The share of its training images that carry it, 0 to 1.
        seed (int): Of the marks and of the training.
        epochs (int, optional): Passes over the images. Default: 8
        cleaned_of (Mark, optional): A mark whose place is painted over in all images before the training. Default: None

    Returns:
        nn.Sequential: From images (N, 3, 10, 10) in [0, 1] to logits (N, 10), in evaluation mode.

    Raises:
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> biased = planted_classifier(digit=8, rate=1.0, seed=0, epochs=2)
        >>> images, labels = framed_digits()
        >>> others = images[labels != 8]
        >>> plain, marked = (int((biased(scans).argmax(1) == 8).sum()) for scans in (others, CUE.paste(others)))
        >>> marked > plain
        True
    """
    images, labels = framed_digits("training")
    images = with_marks(images, labels, digit, rate, seed)
    return train_classifier(images if cleaned_of is None else painted_over(images, cleaned_of), labels, seed, epochs)


__all__ = [
    "BASE_RATE",
    "COLORS",
    "CORNERS",
    "CUE",
    "MARK",
    "MARKS",
    "SIDE",
    "Mark",
    "colorfulness",
    "framed_digits",
    "painted_over",
    "planted_classifier",
    "read_off",
    "seeded",
    "small_classifier",
    "train_classifier",
    "with_marks",
]
