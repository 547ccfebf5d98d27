"""Parametrizations within others: their parameters lie in one dict, each under the name of its part."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_proto._utils.checks import type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.optim.inputs.base import Parametrization


def checked(parametrization: Any) -> Parametrization:
    """
    A parametrization that another one may hold.

    Raises:
        TypeError: If it is none.
        ValueError: If it shows smaller pictures at first, beside which nothing else would fit.
    """
    if not isinstance(parametrization, Parametrization):
        raise InputTypeError(f"parametrization is a {type_name(parametrization)}; expected one, such as FFTImage().")
    if parametrization.resizes:
        raise InputError(f"{parametrization!r} cannot be a part of another parametrization; leave half_size out.")
    return parametrization


def under(name: str, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for key, value in parameters.items()}


def part_of(name: str, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in parameters.items() if key.startswith(f"{name}.")}


__all__ = ["checked", "part_of", "under"]
