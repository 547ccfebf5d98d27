"""Mirror images, drawn for each image by itself."""

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
        flipped = random.uniform(1) < self.probability
        return torch.where(flipped.view(-1, *[1] * (images.dim() - 1)), images.flip(-1), images)


__all__ = ["RandomHorizontalFlip"]
