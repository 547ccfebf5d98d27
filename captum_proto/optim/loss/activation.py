"""Objectives that make units of a layer active."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs


def channels_of(channels: Any) -> list[int]:
    """
    One channel for each row, from one or several.

    Raises:
        TypeError, ValueError: If they are not whole numbers of at least 0, or there are none.
    """
    one = as_int(channels)
    given = [one] if one is not None else channels.tolist() if isinstance(channels, Tensor) else channels
    numbers = [as_int(channel) for channel in given] if isinstance(given, (list, tuple, range)) else [None]
    if any(number is None for number in numbers):
        raise InputTypeError(
            f"channel is {channels!r} ({type_name(channels)}); expected an int, or one int for each row."
        )
    if not numbers or min(number for number in numbers if number is not None) < 0:
        raise InputError(f"channel is {channels!r}; expected at least one channel, each from 0.")
    return [number for number in numbers if number is not None]


class ChannelActivation(Loss):
    r"""
    The mean of a channel over its positions, negated: maximized.

    .. math::
        L_i = -\frac{1}{P} \sum_p a_{c_i, p}(x_i)

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017). It records "activation".

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        channel (int or sequence of int): One, or one for each row.
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the layer has no such channel.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU())
        >>> result = InputOptimization(model, ChannelActivation("0", range(64)), steps=2).optimize((3, 8, 8))
        >>> result.images.shape
        torch.Size([64, 3, 8, 8])
    """

    terms = ("activation",)

    def __init__(self, layer: Layer, channel: int | Sequence[int] | Tensor, channel_axis: int | None = None) -> None:
        self.layers = (layer,)
        self.channels, self.channel_axis = channels_of(channel), channel_axis
        self.targets: list[Target] | None = [(number,) for number in self.channels]

    def rows(self, rows: range) -> Loss:
        return ChannelActivation(self.layers[0], [self.channels[row] for row in rows], self.channel_axis)

    def settings(self) -> dict[str, Any]:
        return {"name": type(self).__name__, "layer": str(self.layers[0]), "channels": self.channels}

    def check(self, outputs: Outputs) -> None:
        count = outputs.units(self.layers[0], self.channel_axis).shape[1]
        if max(self.channels) >= count:
            raise InputError(
                f'channel {max(self.channels)} is out of range: layer "{self.layers[0]}" has {count} channels, 0 to {count - 1}.'
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = outputs.units(self.layers[0], self.channel_axis)
        chosen = values[torch.arange(len(values), device=values.device), self.channels]
        return -outputs.record("activation", chosen.flatten(1).mean(1))
