"""What objectives of a layer's units have in common: the layer, its channels and positions, and their rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, plain_int, type_name
from captum_proto._utils.constants import numbers_on
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs, named

#: One position of a layer's map: a number for each of its axes, (row, column) of an image's; a single one may be an int.
Position = int | Sequence[int]
#: A vision transformer has a class token and a few others in front of its grid.
_TOKENS_IN_FRONT = 8

_Kind = TypeVar("_Kind")


class LayerLoss(Loss):
    """
    An objective of one layer. A subclass implements ``__call__``.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer
    """

    terms = ("activation",)
    #: The attributes that hold one entry for each row.
    of_rows: tuple[str, ...] = ()

    def __init__(self, layer: Layer, channel_axis: int | None = None) -> None:
        self.layers = (layer,)
        self.channel_axis = plain_int(channel_axis)

    @property
    def layer(self) -> Layer:
        """The layer."""
        return self.layers[0]

    def units(self, outputs: Outputs) -> Tensor:
        """What the layer returned, ``(N, C, *positions)``."""
        return outputs.units(self.layer, self.channel_axis)

    def rows(self, rows: range) -> LayerLoss:
        part = copy.copy(self)
        for name in self.of_rows:
            setattr(part, name, getattr(self, name)[rows.start : rows.stop])
        part.targets = None if self.targets is None else self.targets[rows.start : rows.stop]
        return part

    def unit(self, row: int) -> str | None:
        return named(self.layer)

    def settings(self) -> dict[str, Any]:
        return {"name": type(self).__name__, "layer": str(self.layer)}

    def __repr__(self) -> str:
        own = {name: value for name, value in self.settings().items() if name != "name"}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in own.items())})"


def channels_of(channels: Any) -> list[int]:
    """
    One channel for each row, from one or several.

    Raises:
        TypeError, ValueError: If they are not whole numbers of at least 0, or there are none.
    """
    one = as_int(channels)
    given = [one] if one is not None else channels.tolist() if hasattr(channels, "tolist") else channels
    numbers = [as_int(channel) for channel in given] if isinstance(given, (list, tuple, range)) else [None]
    if any(number is None for number in numbers):
        raise InputTypeError(
            f"channel is {channels!r} ({type_name(channels)}); expected an int, or one int for each row."
        )
    if not numbers or min(number for number in numbers if number is not None) < 0:
        raise InputError(f"channel is {channels!r}; expected at least one channel, each from 0.")
    return [number for number in numbers if number is not None]


def check_channels(layer: Layer, channels: Sequence[int], values: Tensor) -> None:
    """Raise ValueError if a layer that returned ``values`` (N, C, ...) has not so many channels."""
    if max(channels) >= values.shape[1]:
        raise InputError(
            f"channel {max(channels)} is out of range: {named(layer)} has {values.shape[1]} channels, 0 to {values.shape[1] - 1}."
        )


def positions_of(position: Any) -> list[tuple[int, ...] | None]:
    """
    One position for each row, from one or several; None stands for the middle.

    Raises:
        TypeError, ValueError: If they are not whole numbers of at least 0.
    """
    if position is None:
        return [None]
    given = position.tolist() if hasattr(position, "tolist") else position
    one = as_int(given)
    each = [(one,)] if one is not None else list(given) if isinstance(given, (list, tuple, range)) else [None]
    if each and all(as_int(number) is not None for number in each):
        each = [tuple(each)]
    positions: list[tuple[int, ...] | None] = []
    for entry in each:
        numbers = [as_int(number) for number in entry] if isinstance(entry, (list, tuple)) else []
        if not numbers or any(number is None for number in numbers):
            raise InputTypeError(
                f"position is {position!r}; expected whole numbers, one for each axis of the layer's map such as (row, column), or one "
                "such tuple for each row."
            )
        if min(number for number in numbers if number is not None) < 0:
            raise InputError(f"position is {position!r}; expected numbers from 0.")
        positions.append(tuple(number for number in numbers if number is not None))
    if not positions:
        raise InputError(f"position is {position!r}; expected at least one position.")
    return positions


def broadcast(first: list[_Kind], second: list[Any], names: str) -> tuple[list[_Kind], list[Any]]:
    """Two lists of one entry for each row, of which one may have a single entry for all."""
    rows = max(len(first), len(second))
    if {len(first), len(second)} - {1, rows}:
        raise InputError(f"{len(first)} {names} {len(second)} were given; give one, or as many of each.")
    return first * (rows // len(first)), second * (rows // len(second))


def middle(sizes: Sequence[int], tokens: bool = False) -> tuple[int, ...]:
    """
    The middle of a map: n // 2 of each axis, the lower right one of the four in the middle of an even map, as in Lucid.

    Args:
        sizes (sequence of int): Of the map.
        tokens (bool, optional): Whether its one axis holds a vision transformer's tokens. Of a class token and the like in front of a
            square grid, the middle is that of the grid. Default: False

    Examples::

        >>> middle((14, 14)), middle((7,)), middle((197,), tokens=True)
        ((7, 7), (3,), (106,))
    """
    if tokens and len(sizes) == 1:
        side = math.isqrt(sizes[0])
        front = sizes[0] - side**2
        if side > 1 and front <= _TOKENS_IN_FRONT:
            return (front + side // 2 * side + side // 2,)
    return tuple(size // 2 for size in sizes)


class Positions:
    """
    One position of a layer for each row.

    Args:
        given (list): Of :func:`positions_of`.
    """

    def __init__(self, given: list[tuple[int, ...] | None]) -> None:
        self.given = given

    def check(self, loss: LayerLoss, outputs: Outputs) -> None:
        """Raise ValueError if one of them is outside of the layer's map."""
        sizes = tuple(loss.units(outputs).shape[2:])
        shape = " × ".join(map(str, sizes))
        for position in self.given:
            if position is None:
                continue
            if not sizes:
                raise InputError(
                    f"position is {position} for {named(loss.layer)}, which returns one value for each channel and has no positions; leave "
                    "position out."
                )
            if len(position) != len(sizes):
                raise InputError(
                    f"position is {position} for {named(loss.layer)}, whose map has the size {shape}; expected {len(sizes)} numbers."
                )
            if any(number >= size for number, size in zip(position, sizes, strict=True)):
                bounds = ", ".join(f"0 to {size - 1}" for size in sizes)
                raise InputError(
                    f"position {position} is outside of the map of {named(loss.layer)}, which has the size {shape}; expected {bounds}."
                )

    def of(self, loss: LayerLoss, outputs: Outputs) -> Tensor:
        """(N, C): each row's channels at its position."""
        values = loss.units(outputs)
        sizes = values.shape[2:]
        if not sizes:
            return values
        axis = outputs.channel_axis(loss.layer, loss.channel_axis)
        center = middle(sizes, tokens=axis % values.dim() != 1)
        flat = [
            sum(number * stride for number, stride in zip(each or center, _strides(sizes), strict=True))
            for each in self.given
        ]
        index = numbers_on(values.device, flat).expand(len(values))
        # Positions are the last axis of the result: each row has one of them.
        return values.flatten(2)[torch.arange(len(values), device=values.device), :, index]


def _strides(sizes: Sequence[int]) -> list[int]:
    return [math.prod(sizes[axis + 1 :]) for axis in range(len(sizes))]


__all__ = [
    "LayerLoss",
    "Position",
    "Positions",
    "broadcast",
    "channels_of",
    "check_channels",
    "middle",
    "positions_of",
]
