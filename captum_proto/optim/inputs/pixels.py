"""Images whose parameters are their pixels."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from captum_proto.optim.random import RandomStream


class Pixels:
    """
    The pixels themselves, from uniform noise: the parametrization of Prototype Generation (arXiv:2309.17144).

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), START)
        >>> Pixels().noise(stream, (3, 8, 8), (0.0, 1.0)).shape
        torch.Size([1, 3, 8, 8])
    """

    def noise(self, random: RandomStream, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        return random.uniform(math.prod(shape), *value_range).view(-1, *shape)

    def parameters(self, images: Tensor, value_range: tuple[float, float]) -> Tensor:
        return images

    def images(self, parameters: Tensor, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        return parameters

    def settings(self) -> dict[str, Any]:
        return {"name": "Pixels"}
