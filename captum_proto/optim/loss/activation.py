"""Objectives that make units of a layer active: the whole layer, channels, neurons, heads of an attention, and weighted sums of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.constants import beside, numbers_on
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.direction import digest_of
from captum_proto.optim.loss.objective import Outputs, named
from captum_proto.optim.loss.unit import (
    LayerLoss,
    Position,
    Positions,
    broadcast,
    channels_of,
    check_channels,
    positions_of,
)


class LayerActivation(LayerLoss):
    r"""
    The mean of everything that a layer returns, negated: maximized.

    .. math::
        L_i = -\frac{1}{CP} \sum_{c, p} a_{c, p}(x_i)

    As captum.optim has it. It records "activation", the mean.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        channel_axis (int, optional): Of no effect here. Default: None

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> result = InputOptimization(model, LayerActivation("1"), steps=2).optimize((3, 8, 8), count=2)
        >>> result.history["activation"].shape
        torch.Size([2, 2])
    """

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return -outputs.record("activation", outputs[self.layer].flatten(1).mean(1))


class DeepDream(LayerLoss):
    r"""
    The mean square of everything that a layer returns, negated: maximized, so that whatever is there grows.

    .. math::
        L_i = -\frac{1}{CP} \sum_{c, p} a_{c, p}(x_i)^2

    Of Mordvintsev, Olah and Tyka, "Inceptionism: Going Deeper into Neural Networks" (2015), as Lucid's ``deepdream`` and captum.optim's
    ``DeepDream`` have it. It records "activation", the mean square.

    Args:
        layer, channel_axis: As in :class:`LayerActivation`.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> photographs = torch.rand(2, 3, 16, 16)
        >>> dreams = InputOptimization(model, DeepDream("1"), steps=2, parametrization=FFTImage()).optimize(start=photographs)
        >>> dreams.images.shape
        torch.Size([2, 3, 16, 16])
    """

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return -outputs.record("activation", outputs[self.layer].flatten(1).square().mean(1))


class ChannelActivation(LayerLoss):
    r"""
    The mean of a channel over its positions, negated: maximized.

    .. math::
        L_i = -\frac{1}{P} \sum_p a_{c_i, p}(x_i)

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017). It records "activation", the mean. A transformer's channel is
    one of its token's features, and its positions are the tokens.

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

    of_rows = ("channels",)

    def __init__(self, layer: Layer, channel: int | Sequence[int] | Tensor, channel_axis: int | None = None) -> None:
        super().__init__(layer, channel_axis)
        self.channels = channels_of(channel)
        self.targets: list[Target] | None = [(number,) for number in self.channels]

    def unit(self, row: int) -> str:
        return f"channel {self.channels[row]} of {named(self.layer)}"

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "channels": self.channels}

    def check(self, outputs: Outputs) -> None:
        check_channels(self.layer, self.channels, self.units(outputs))

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self.units(outputs)
        chosen = values[torch.arange(len(values), device=values.device), numbers_on(values.device, self.channels)]
        return -outputs.record("activation", chosen.unsqueeze(-1).flatten(1).mean(1))


class NeuronActivation(LayerLoss):
    r"""
    A channel at one position, negated: maximized.

    .. math::
        L_i = -a_{c_i, p_i}(x_i)

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017). It records "activation". Where no position is given it is the
    middle: n // 2 of each axis, as in Lucid, which is the lower right one of the four in the middle of an even map; captum.optim takes the
    upper left one, (n - 1) // 2. Of a vision transformer's tokens it is the middle of their grid.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        channel (int or sequence of int): One, or one for each row.
        position (int, sequence of int, or sequence of those, optional): (row, column) in the layer's map, or the number of a token; or one
            for each row, ``[(3, 4), (5, 5)]``, of tokens ``[(0,), (16,)]``. Default: None, the middle
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the layer has no such channel or position.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU())
        >>> corners = NeuronActivation("0", 5, position=[(0, 0), (0, 5), (5, 0), (5, 5)])
        >>> InputOptimization(model, corners, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([4, 3, 8, 8])
    """

    of_rows = ("channels", "positions")

    def __init__(
        self,
        layer: Layer,
        channel: int | Sequence[int] | Tensor,
        position: Position | Sequence[Sequence[int]] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        super().__init__(layer, channel_axis)
        self.channels, self.positions = broadcast(
            channels_of(channel), positions_of(position), "channels and positions,"
        )
        pairs = zip(self.channels, self.positions, strict=True)
        self.targets: list[Target] | None = [(number, *(position or ())) for number, position in pairs]

    def unit(self, row: int) -> str:
        where = "the middle" if self.positions[row] is None else f"position {self.positions[row]}"
        return f"channel {self.channels[row]} at {where} of {named(self.layer)}"

    def settings(self) -> dict[str, Any]:
        positions = [None if position is None else list(position) for position in self.positions]
        return {**super().settings(), "channels": self.channels, "positions": positions}

    def check(self, outputs: Outputs) -> None:
        check_channels(self.layer, self.channels, self.units(outputs))
        Positions(self.positions).check(self, outputs)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = Positions(self.positions).of(self, outputs)
        chosen = values[torch.arange(len(values), device=values.device), numbers_on(values.device, self.channels)]
        return -outputs.record("activation", chosen)


class HeadActivation(LayerLoss):
    r"""
    The mean square of what one head of an attention returns, negated: maximized.

    .. math::
        L_i = -\frac{1}{DT} \sum_{d < D,\, t} a_{h_i D + d,\, t}(x_i)^2

    What heads return lies side by side before the attention's output projection, D channels each. It is what goes into that projection:
    ``"blocks.0.attn.proj@input"`` of timm's networks, ``"encoder.layers.encoder_layer_0.self_attention.out_proj@input"`` of torchvision's;
    see :class:`~captum_proto.capture.LayerRecorder`. A head's features have no sign of their own, so its size is maximized; one feature or
    a direction of them is maximized by :class:`ChannelActivation` and :class:`Direction` on the same layer. It records "activation", the
    mean square.

    Args:
        layer (str): What goes into the attention's output projection.
        head (int or sequence of int): One, or one for each row.
        heads (int): How many heads the attention has.
        channel_axis (int, optional): Which axis holds the channels. Default: None, told from the layer

    Raises:
        ValueError: If there is no such head, or the channels cannot be parted into so many heads.

    Examples::

        >>> layer = torch.nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        >>> model = torch.nn.Sequential(torch.nn.Flatten(2), torch.nn.Linear(64, 8), layer)
        >>> loss = HeadActivation("2.self_attn.out_proj@input", [0, 1], heads=2)
        >>> InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([2, 3, 8, 8])
    """

    of_rows = ("chosen",)

    def __init__(
        self, layer: Layer, head: int | Sequence[int] | Tensor, heads: int, channel_axis: int | None = None
    ) -> None:
        super().__init__(layer, channel_axis)
        self.chosen, self.heads = channels_of(head), check_int(heads, "heads", 1)
        if max(self.chosen) >= self.heads:
            raise InputError(
                f"head {max(self.chosen)} is out of range: heads is {self.heads}, so expected 0 to {self.heads - 1}."
            )
        self.targets: list[Target] | None = [(number,) for number in self.chosen]

    def unit(self, row: int) -> str:
        return f"head {self.chosen[row]} of {named(self.layer)}"

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "heads": self.chosen, "of": self.heads}

    def check(self, outputs: Outputs) -> None:
        count = self.units(outputs).shape[1]
        if count % self.heads:
            raise InputError(f"the {count} channels of {named(self.layer)} cannot be parted into {self.heads} heads.")

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self.units(outputs)
        values = values.reshape(len(values), self.heads, -1)
        chosen = values[torch.arange(len(values), device=values.device), numbers_on(values.device, self.chosen)]
        return -outputs.record("activation", chosen.square().mean(1))


class ActivationWeights(LayerLoss):
    r"""
    A weighted sum of a layer's units, the mean over channels and positions, negated: maximized.

    .. math::
        L_i = -\frac{1}{CP} \sum_{c, p} w_{i, c, p}\, a_{c, p}(x_i)

    captum.optim's ``ActivationWeights``. It records "activation", the mean.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        weights (Tensor): (C,), one for each channel, or (N, C) for one set each row; or (N, C, \*positions), one for each unit: the
            channels in front of the positions, wherever the layer has them.
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the weights are not finite, or do not fit the layer.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> contrast = ActivationWeights("0", torch.tensor([1.0, -1.0, 0.0, 0.0]))
        >>> InputOptimization(model, contrast, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([1, 3, 8, 8])
    """

    of_rows = ("weights",)

    def __init__(self, layer: Layer, weights: Any, channel_axis: int | None = None) -> None:
        super().__init__(layer, channel_axis)
        weights = torch.as_tensor(weights).detach()
        if not weights.is_floating_point() or weights.dim() < 1 or not bool(weights.isfinite().all()):
            raise InputError(
                f"weights have shape {tuple(weights.shape)} and {weights.dtype}; expected finite floating point numbers: (C,), (N, C) "
                "or (N, C, *positions)."
            )
        self.weights = weights.unsqueeze(0) if weights.dim() == 1 else weights
        self.targets: list[Target] | None = [(digest_of(row),) for row in self.weights]

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "weights": [row[0] for row in self.targets or []]}

    def check(self, outputs: Outputs) -> None:
        shape = tuple(self.units(outputs).shape[1:])
        if tuple(self.weights.shape[1:]) not in (shape[:1], shape):
            raise InputError(
                f"weights have shape {tuple(self.weights.shape)}; expected (N, {shape[0]}), one for each channel of {named(self.layer)}, "
                f"or (N, {', '.join(map(str, shape))}), one for each unit."
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self.units(outputs)
        weights = beside(self.weights, values)
        weights = weights.view(*weights.shape, *[1] * (values.dim() - weights.dim()))
        return -outputs.record("activation", (values * weights).flatten(1).mean(1))


__all__ = [
    "ActivationWeights",
    "ChannelActivation",
    "DeepDream",
    "HeadActivation",
    "LayerActivation",
    "NeuronActivation",
]
