"""Parametrizations by name."""

from __future__ import annotations

from typing import Any

from captum_proto._utils.checks import type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.cppn import CPPNImage
from captum_proto.optim.inputs.laplacian import LaplacianImage
from captum_proto.optim.inputs.pixels import PixelImage
from captum_proto.optim.inputs.spectral import FFTImage, PhaseImage

#: By name: those that need no argument, and whose images are as the model takes them.
PARAMETRIZATIONS: dict[str, type[Any]] = {
    "pixels": PixelImage,
    "fourier": FFTImage,
    "phase": PhaseImage,
    "laplacian": LaplacianImage,
    "cppn": CPPNImage,
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
        f"parametrization is a {type_name(parametrization)}; expected {' or '.join(map(repr, PARAMETRIZATIONS))}, or a Parametrization."
    )


__all__ = ["PARAMETRIZATIONS", "as_parametrization"]
