"""Images as sums of layers of different resolution."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int
from captum_proto._utils.errors import InputError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.colors import planes_of, squeezed
from captum_proto.optim.random import RandomStream


class LaplacianImage(Parametrization):
    r"""
    Images as a sum of layers, each of a resolution of its own, with decorrelated colors, squeezed into the value range.

    .. math::
        x = \sigma\Bigl(C \sum_s (s / s_{max})^{p} \operatorname{up}_s(z_s)\Bigr)

    with :math:`z_s` the parameters at 1/s of the resolution, up the bilinear enlargement and C the color correlations. A step in a coarse
    layer moves many pixels at once, so what is large comes first; unlike Fourier coefficients, every parameter has a place. After the
    Laplacian pyramid of Burt and Adelson (1983), as Lucid and captum.optim optimize it.

    Args:
        scales (sequence of int, optional): By what the sides are divided, layer by layer; those that leave no pixel are left out.
            Default: (1, 2, 4, 8, 16, 32)
        power (float, optional): p, by how much coarse layers outweigh fine ones. Default: 0.1
        sd (float, optional): Standard deviation of the parameters at the start. Default: 0.1
        decorrelate (bool, optional): Whether three channels are mixed by the color correlations. Default: True

    Raises:
        ValueError: If there is no scale or one is less than 1, or ``sd`` is not positive.

    Examples::

        >>> pyramid = LaplacianImage().for_images((3, 32, 32), (0.0, 1.0))
        >>> images = 0.1 + 0.8 * torch.rand(2, 3, 32, 32)
        >>> torch.allclose(pyramid.render(pyramid.parameters_of(images)), images, atol=1e-4)
        True
    """

    def __init__(
        self,
        scales: Sequence[int] = (1, 2, 4, 8, 16, 32),
        power: float = 0.1,
        sd: float = 0.1,
        decorrelate: bool = True,
    ) -> None:
        numbers = [as_int(scale) or 0 for scale in scales]
        if not numbers or min(numbers) < 1:
            raise InputError(f"scales is {list(scales)}; expected at least one, each a whole number of at least 1.")
        if not sd > 0:
            raise InputError(f"sd is {sd}; expected a positive standard deviation.")
        self.scales = tuple(sorted(set(numbers)))
        self.power, self.sd, self.decorrelate = float(power), float(sd), bool(decorrelate)

    def settings(self) -> dict[str, Any]:
        return {
            "name": "LaplacianImage",
            "scales": list(self.scales),
            "power": self.power,
            "sd": self.sd,
            "decorrelate": self.decorrelate,
        }

    def __repr__(self) -> str:
        return f"LaplacianImage(scales={self.scales}, power={self.power:g}, sd={self.sd:g}, decorrelate={self.decorrelate})"

    def _layers(self) -> list[tuple[str, float, tuple[int, int]]]:
        """Of each layer the name, the weight and the size, from coarse to fine."""
        _, height, width = self.shape
        fitting = [scale for scale in self.scales if scale <= min(height, width)]
        if not fitting:
            raise InputError(
                f"LaplacianImage has the scales {list(self.scales)}, none of which leaves a pixel of {height} x {width}; add the scale 1."
            )
        most = max(fitting)
        return [
            (f"scale_{scale}", (scale / most) ** self.power, (height // scale, width // scale))
            for scale in reversed(fitting)
        ]

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        made = {}
        for name, _, size in self._layers():
            made[name] = self.sd * random.normal(shape[0] * math.prod(size)).view(-1, shape[0], *size)
        return made

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        planes = None
        for name, weight, _ in self._layers():
            layer = weight * _enlarged(parameters[name], self.shape[1:])
            planes = layer if planes is None else planes + layer
        assert planes is not None  # there is at least one layer
        return squeezed(planes, self.value_range, self.decorrelate)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """
        The layers of given images, from coarse to fine: each holds the mean of what the coarser ones leave.

        Raises:
            ValueError: If there is no layer of full resolution, which holds what the others leave.
        """
        if 1 not in self.scales:
            raise InputError(
                f"LaplacianImage with the scales {list(self.scales)} has no layer of full resolution and cannot hold given images; add "
                "the scale 1, or leave start images out."
            )
        left = planes_of(images, self.value_range, self.decorrelate)
        made = {}
        for name, weight, size in self._layers():
            made[name] = torch.nn.functional.adaptive_avg_pool2d(left, size) / weight
            left = left - weight * _enlarged(made[name], self.shape[1:])
        return made


def _enlarged(layer: Tensor, size: tuple[int, ...]) -> Tensor:
    if tuple(layer.shape[2:]) == size:
        return layer
    return torch.nn.functional.interpolate(layer, size=size, mode="bilinear", align_corners=False)


__all__ = ["LaplacianImage"]
