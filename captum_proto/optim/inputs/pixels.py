"""Images whose parameters are their pixels."""

from __future__ import annotations

import math

from torch import Tensor

from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.random import RandomStream


class PixelImage(Parametrization):
    """
    The pixels themselves, from uniform noise, clamped to their range: the parametrization of Prototype Generation (arXiv:2309.17144).

    Examples::

        >>> pixels = PixelImage().for_images((3, 8, 8), (0.0, 1.0))
        >>> parameters = pixels.start(RandomStream(prototype_keys([0], [(12,)]), START), (3, 8, 8))
        >>> pixels.render(parameters).shape
        torch.Size([1, 3, 8, 8])
    """

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return {"pixels": random.uniform(math.prod(shape), *self.value_range).view(-1, *shape)}

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        return parameters["pixels"]

    def project(self, parameters: dict[str, Tensor]) -> None:
        parameters["pixels"].clamp_(*self.value_range)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        return {"pixels": images}

    def __repr__(self) -> str:
        return "PixelImage()"
