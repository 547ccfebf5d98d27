"""
What an optimisation changes: the pixels of its images, or the coefficients of a basis that they are made from.

A parametrization turns parameters into images, differentiably, and finds the parameters of given images. The objective is the same in
every basis; which of its maxima an ascent finds, and how soon, is not.
"""

from __future__ import annotations

import math
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from captum_proto.optim.random import RandomStream


@runtime_checkable
class Parametrization(Protocol):
    """A way to write images down. Everything is per image: the first dimension of parameters and images is that of the prototypes."""

    def noise(self, random: RandomStream, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        """Random parameters of images (C, H, W), each from its own stream."""
        ...

    def parameters(self, images: Tensor, value_range: tuple[float, float]) -> Tensor:
        """The parameters of given images (N, C, H, W)."""
        ...

    def images(self, parameters: Tensor, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        """Images (N, C, H, W) from parameters, differentiably."""
        ...

    def settings(self) -> dict[str, Any]:
        """What it is, as JSON can hold it."""
        ...


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


#: How the colours of ImageNet's pixels vary together, a square root of their covariance: of Olah, Mordvintsev and Schubert, "Feature
#: Visualization", Distill 2017. The longest column is scaled to one.
_COLOR_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))


class FourierImage:
    r"""
    Images from Fourier coefficients that are scaled as natural images' are, with decorrelated colours, squeezed into the value range.

    .. math::
        x = \sigma\Bigl(\tfrac14\, C \operatorname{irfft2}\bigl(s \odot z\bigr)\Bigr),
        \qquad s_f = \frac{1}{\max(|f|, 1 / \max(H, W))^{p}}

    with z the parameters and C the colour correlations. Equal steps in z change coarse structure much and fine structure little: what
    an ascent in pixels needs hundreds of steps for is there after tens. Of Olah, Mordvintsev and Schubert, "Feature Visualization"
    (Distill 2017), as Lucid and Lucent have it.

    Args:
        decay_power (float, optional): p, how fast amplitudes fall with frequency. Default: 1
        sd (float, optional): Standard deviation of the parameters at the start. Default: 0.01
        decorrelate (bool, optional): Whether three channels are mixed by the colour correlations; other numbers of channels never are.
            Default: True

    Raises:
        ValueError: If ``sd`` is not positive.

    Examples::

        >>> basis = FourierImage()
        >>> images = torch.rand(2, 3, 32, 32)
        >>> parameters = basis.parameters(images, (0.0, 1.0))
        >>> torch.allclose(basis.images(parameters, (3, 32, 32), (0.0, 1.0)), images, atol=1e-2)
        True
    """

    #: By what Lucid divides: "increasing this seems to reduce saturation".
    _DIVISOR = 4.0
    #: How near the ends of the value range a given image may come: at the ends themselves the sigmoid's argument is infinite.
    _MARGIN = 1e-3

    def __init__(self, decay_power: float = 1.0, sd: float = 0.01, decorrelate: bool = True) -> None:
        if not sd > 0:
            raise ValueError(f"sd is {sd}; expected a positive standard deviation.")
        self.decay_power = float(decay_power)
        self.sd = float(sd)
        self.decorrelate = bool(decorrelate)
        self._scales: dict[tuple[Any, ...], Tensor] = {}

    def settings(self) -> dict[str, Any]:
        return {
            "name": "FourierImage",
            "decay_power": self.decay_power,
            "sd": self.sd,
            "decorrelate": self.decorrelate,
        }

    def __repr__(self) -> str:
        return f"FourierImage(decay_power={self.decay_power:g}, sd={self.sd:g}, decorrelate={self.decorrelate})"

    def noise(self, random: RandomStream, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        channels, height, width = shape
        size = (channels, height, width // 2 + 1, 2)
        return self.sd * random.normal(math.prod(size)).view(-1, *size)

    def images(self, parameters: Tensor, shape: tuple[int, int, int], value_range: tuple[float, float]) -> Tensor:
        channels, height, width = shape
        spectrum = torch.view_as_complex(parameters) * self._scale(height, width, parameters)
        planes = torch.fft.irfft2(spectrum, s=(height, width), norm="ortho") / self._DIVISOR
        low, high = value_range
        return low + (high - low) * self._mixed(planes, channels).sigmoid()

    def parameters(self, images: Tensor, value_range: tuple[float, float]) -> Tensor:
        _, channels, height, width = images.shape
        low, high = value_range
        unit = ((images - low) / (high - low)).clamp(self._MARGIN, 1 - self._MARGIN)
        planes = self._mixed(unit.logit(), channels, inverse=True) * self._DIVISOR
        spectrum = torch.fft.rfft2(planes, norm="ortho") / self._scale(height, width, images)
        return torch.view_as_real(spectrum)

    def _scale(self, height: int, width: int, like: Tensor) -> Tensor:
        key = (height, width, like.dtype, like.device)
        if key not in self._scales:
            vertical = torch.fft.fftfreq(height, dtype=torch.float64).unsqueeze(1)
            horizontal = torch.fft.rfftfreq(width, dtype=torch.float64)
            frequency = (vertical.square() + horizontal.square()).sqrt().clamp(min=1 / max(height, width))
            self._scales[key] = frequency.pow(-self.decay_power).to(like.device, like.dtype)
        return self._scales[key]

    def _mixed(self, planes: Tensor, channels: int, inverse: bool = False) -> Tensor:
        if channels != 3 or not self.decorrelate:
            return planes
        colors = torch.tensor(_COLOR_CORRELATION, dtype=torch.float64)
        colors = colors / colors.norm(dim=0).max()
        colors = (colors.inverse() if inverse else colors).to(planes.device, planes.dtype)
        return torch.einsum("ij,njhw->nihw", colors, planes)


#: By name.
PARAMETRIZATIONS: dict[str, type[Pixels] | type[FourierImage]] = {"pixels": Pixels, "fourier": FourierImage}


def as_parametrization(parametrization: Any) -> Parametrization:
    """
    A :class:`Parametrization` from what the user gave: one, or the name of one.

    Raises:
        ValueError: If there is none of this name.
        TypeError: If it is neither.
    """
    if isinstance(parametrization, str):
        if parametrization not in PARAMETRIZATIONS:
            raise ValueError(f'parametrization is "{parametrization}"; expected one of {", ".join(PARAMETRIZATIONS)}.')
        return PARAMETRIZATIONS[parametrization]()
    if isinstance(parametrization, Parametrization):
        return parametrization
    raise TypeError(
        f"parametrization is a {type(parametrization).__name__}; expected {' or '.join(map(repr, PARAMETRIZATIONS))}, or a Parametrization."
    )


__all__ = ["PARAMETRIZATIONS", "FourierImage", "Parametrization", "Pixels", "as_parametrization"]
