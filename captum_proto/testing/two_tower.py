"""A small network of two towers that learns captioned shapes, and one with units that answer to a shape drawn or written, planted."""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.models.two_tower import TwoTower
from captum_proto.testing.captioned_shapes import COLORS, SHAPES, caption_of
from captum_proto.testing.marked_digits import seeded

#: Every word of a caption, and the size of the space that images and texts share.
WORDS = ("a", "and", "the", "word", *COLORS, *SHAPES)
DIMENSIONS = 16


class WordBag(nn.Module):
    """
    A text tower: the mean of its words' vectors, whatever their order, and a linear layer.

    Args:
        dimensions (int, optional): Of the shared space. Default: 16
        words (sequence of str, optional): That it knows. Default: those of captioned shapes
    """

    def __init__(self, dimensions: int = DIMENSIONS, words: Sequence[str] = WORDS) -> None:
        super().__init__()
        self.words = tuple(words)
        self.vectors = nn.EmbeddingBag(len(self.words), 32, mode="mean")
        self.projection = nn.Linear(32, dimensions)

    def forward(self, texts: Sequence[str]) -> Tensor:
        """
        Embeddings (N, D).

        Raises:
            ValueError: If a text is empty or holds a word that is not known.
        """
        rows = [[self._number_of(word) for word in re.findall(r"\w+", text.lower())] for text in texts]
        if not all(rows):
            raise InputError(f"text {[bool(row) for row in rows].index(False)} holds no word; expected at least one.")
        begins = [0, *itertools.accumulate(len(row) for row in rows[:-1])]
        numbers = torch.tensor(list(itertools.chain(*rows)), device=self.projection.weight.device)
        embedded: Tensor = self.projection(self.vectors(numbers, torch.tensor(begins, device=numbers.device)))
        return embedded

    def _number_of(self, word: str) -> int:
        if word not in self.words:
            hint = nearest(word, self.words) or "; expected " + ", ".join(self.words)
            raise InputError(f'the word "{word}" is not known{hint}.')
        return self.words.index(word)


class Captioned(Protocol):
    """Images of 32 by 32 pixels with a caption each."""

    @property
    def images(self) -> Tensor:
        """(N, 3, 32, 32), in [0, 1]."""

    @property
    def captions(self) -> list[str]:
        """N texts."""


def small_two_tower() -> TwoTower:
    """
    An untrained network for :func:`~captum_proto.testing.captioned_shapes`, about 57 000 weights, drawn from PyTorch's global generator.

    Returns:
        TwoTower: Into 16 dimensions.

    Examples::

        >>> small_two_tower().text(["a red disc"]).shape
        torch.Size([1, 16])
    """
    image_tower = nn.Sequential(
        nn.Conv2d(3, 16, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, DIMENSIONS),
    )
    return TwoTower(image_tower, WordBag())


def train_two_tower(
    shapes: Captioned, seed: int = 0, epochs: int = 16, make: Callable[[], TwoTower] = small_two_tower
) -> TwoTower:
    """
    Train a network of two towers to tell which caption belongs to which image, to the same weights from the same seed.

    Args:
        shapes (Captioned): What it learns, such as :func:`~captum_proto.testing.captioned_shapes`; equal captions count as one.
        seed (int, optional): Of the weights and of the order. Default: 0
        epochs (int, optional): Passes over the images. Default: 16
        make (Callable, optional): Makes the untrained network, whose text tower knows every word of the captions. Default:
            :func:`small_two_tower`

    Returns:
        TwoTower: In evaluation mode.
    """
    texts = sorted(set(shapes.captions))
    labels = torch.tensor([texts.index(caption) for caption in shapes.captions])
    with seeded(seed), torch.enable_grad():
        tower = make()
        optimizer = torch.optim.AdamW(tower.parameters(), weight_decay=0.05)
        steps = epochs * -(-len(labels) // 128)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.005, total_steps=steps)
        for _ in range(epochs):
            for batch in torch.split(torch.randperm(len(labels)), 128):
                images, captions = tower(shapes.images[batch]), tower.text_tower(texts)
                images, captions = (nn.functional.normalize(each, dim=1) for each in (images, captions))
                loss = nn.functional.cross_entropy(images @ captions.T / 0.2, labels[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
    return tower.eval()


def with_concept_units(tower: TwoTower) -> TwoTower:
    """
    The same network with its shared space turned so that its first four channels are the four shapes, drawn or written alike.

    The texts that name a shape, in whatever way, have a direction in common. These directions, made orthogonal, become the first axes.
    Every cosine between an image and a text stays as it was.

    Args:
        tower (TwoTower): As :func:`train_two_tower` gives it.

    Returns:
        TwoTower: A copy; unit i of ``image_tower.9`` answers to shape i.

    Examples::

        >>> tower = small_two_tower()
        >>> turned = with_concept_units(tower)
        >>> images = torch.rand(2, 3, 32, 32)
        >>> lengths = [network.image(images).norm(dim=1) for network in (tower, turned)]
        >>> torch.allclose(*lengths, atol=1e-5)
        True
    """
    captions = {
        shape: [caption_of(shape, color, None) for color in COLORS] + [caption_of(None, None, shape)] * len(COLORS)
        for shape in SHAPES
    }
    means = torch.stack([nn.functional.normalize(tower.text(each), dim=1).mean(0) for each in captions.values()])
    means = means - means.mean(0)
    # Four means less their mean lie in three dimensions; what all shapes have in common is no shape's own, so it may go to any of them.
    left, _, right = torch.linalg.svd(means.double(), full_matrices=True)
    concepts = left @ right[: len(SHAPES)]
    turn = torch.cat([concepts, right[len(SHAPES) :]]).to(means)
    turned = copy.deepcopy(tower)
    for layer in (turned.image_tower[-1], turned.text_tower.projection):  # type: ignore[index,attr-defined]
        with torch.no_grad():
            layer.weight.copy_(turn @ layer.weight)
            layer.bias.copy_(turn @ layer.bias)
    return turned


__all__ = ["DIMENSIONS", "WORDS", "WordBag", "small_two_tower", "train_two_tower", "with_concept_units"]
