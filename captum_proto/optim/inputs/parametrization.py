"""
What an optimization changes: the pixels of its images, or the coefficients of a basis that they are made from.

A parametrization turns parameters into images, differentiably, and finds the parameters of given images. The objective is the same in
every basis; which of its maxima an ascent finds, and how soon, is not.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.optim.inputs.pixels import Pixels
from captum_proto.optim.inputs.spectral import FourierImage, PhaseImage
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


#: By name.
PARAMETRIZATIONS: dict[str, type[Any]] = {
    "pixels": Pixels,
    "fourier": FourierImage,
    "phase": PhaseImage,
}


def as_parametrization(parametrization: Any) -> Parametrization:
    """
    A :class:`Parametrization` from what the user gave: one, or the name of one.

    Raises:
        ValueError: If there is none of this name.
        TypeError: If it is neither.
    """
    if isinstance(parametrization, str):
        if parametrization not in PARAMETRIZATIONS:
            raise InputError(f'parametrization is "{parametrization}"; expected one of {", ".join(PARAMETRIZATIONS)}.')
        made: Parametrization = PARAMETRIZATIONS[parametrization]()
        return made
    if isinstance(parametrization, Parametrization):
        return parametrization
    raise InputTypeError(
        f"parametrization is a {type(parametrization).__name__}; expected {' or '.join(map(repr, PARAMETRIZATIONS))}, or a Parametrization."
    )
