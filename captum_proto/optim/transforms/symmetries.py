"""Mirror images and cyclic shifts, drawn for each image by itself: all pixels stay, each in another place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream


class RandomHorizontalFlip:
    """
    The mirror image, left and right exchanged, of each image with some probability.

    Args:
        probability (float, optional): Between 0 and 1. Default: 0.5

    Raises:
        ValueError: If ``probability`` is not between 0 and 1.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomHorizontalFlip()(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, probability: float = 0.5) -> None:
        if not 0 <= probability <= 1:
            raise InputError(f"probability is {probability!r}; expected a number between 0 and 1.")
        self.probability = float(probability)

    def settings(self) -> dict[str, Any]:
        return {"name": "RandomHorizontalFlip", "probability": self.probability}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        flipped = (random.uniform(1) < self.probability).to(images.device)
        return torch.where(flipped.view(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)


class RandomRoll:
    """
    A cyclic shift by whole pixels, drawn for each image: what leaves it on one side comes in on the other.

    The jitter of DeepInversion (arXiv:1912.08795), in which it is 30 of 224 pixels. :class:`RandomSpatialJitter` is the same by a number of
    pixels, which must not be greater than the image.

    Args:
        share (float, optional): Shifts are of up to this share of the side, in each direction for itself; between 0 and 1.
            Default: 30 / 224

    Raises:
        ValueError: If ``share`` is not between 0 and 1.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomRoll()(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, share: float = 30 / 224) -> None:
        if not 0 <= share <= 1:
            raise InputError(f"share is {share!r}; expected a share of the side, between 0 and 1.")
        self.share = float(share)

    def settings(self) -> dict[str, Any]:
        return {"name": "RandomRoll", "share": self.share}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        height, width = images.shape[-2:]
        unit, places = random.uniform(2), []
        for side, draw in zip((height, width), unit.unbind(1), strict=True):
            most = round(self.share * side)
            shift = (draw * (2 * most + 1)).long() - most
            places.append((torch.arange(side, device=shift.device) - shift.unsqueeze(1)) % side)
        index = (places[0].unsqueeze(2) * width + places[1].unsqueeze(1)).flatten(1).to(images.device)
        # No pixel is taken twice, so the gradient is moved back and nothing is added up in an order of chance.
        taken = images.flatten(2).gather(2, index.unsqueeze(1).expand(-1, images.shape[1], -1))
        return taken.view_as(images)


__all__ = ["RandomHorizontalFlip", "RandomRoll"]
