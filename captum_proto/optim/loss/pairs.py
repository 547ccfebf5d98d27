"""Two units at once: their interaction over a grid of weights, and the way from one to the other."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, plain_int
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs, named
from captum_proto.optim.loss.unit import check_channels


def weight_grid(first: Sequence[float], second: Sequence[float] | None = None) -> Tensor:
    """
    All pairs of weights, row by row: for each of the first unit's weights each of the second's.

    Args:
        first (sequence of float): Weights of the first unit.
        second (sequence of float, optional): Weights of the second. Default: None, those of the first

    Returns:
        Tensor: (len(first) · len(second), 2).

    Raises:
        ValueError: If there are none, or they are not finite.

    Examples::

        >>> weight_grid([0, 1], [-1, 1])
        tensor([[ 0., -1.],
                [ 0.,  1.],
                [ 1., -1.],
                [ 1.,  1.]])
    """
    axes = [
        torch.as_tensor(list(weights), dtype=torch.float32) for weights in (first, first if second is None else second)
    ]
    if any(axis.dim() != 1 or not len(axis) or not bool(axis.isfinite().all()) for axis in axes):
        raise InputError("weights of a grid are missing or not finite; give at least one number for each unit.")
    return torch.cartesian_prod(*axes)


class Interaction(Loss):
    r"""
    Two channels, each with a weight, the mean over positions, negated: maximized. One row for each pair of weights.

    .. math::
        L_i = -\Bigl(\frac{w_{i1}}{P_1} \sum_p a_{c_1, p}(x_i) + \frac{w_{i2}}{P_2} \sum_p b_{c_2, p}(x_i)\Bigr)

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), "How neurons interact": units are added, subtracted and
    mixed. The pictures of all pairs together are a sheet, one row of it for each weight of the first unit: see :func:`weight_grid`. All
    rows are of one target: they begin from different noise, and with ``seed=[0] * len(weights)`` from the same. It records "activation",
    the weighted sum.

    Args:
        layer1 (str or nn.Module): The layer of the first channel, as :func:`~captum_proto.capture.capture` names it.
        channel1 (int): The first channel.
        layer2 (str or nn.Module): The layer of the second.
        channel2 (int): The second channel.
        weights (Tensor): (N, 2), as :func:`weight_grid` gives them.
        channel_axis (int, optional): Which axis of the layers' outputs holds their channels. Default: None, told from the layers

    Raises:
        ValueError: If the weights are not finite, or a layer has no such channel.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> loss = Interaction("1", 2, "1", 5, weight_grid([-1, 0, 1]))
        >>> InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([9, 3, 8, 8])
    """

    terms = ("activation",)

    def __init__(
        self,
        layer1: Layer,
        channel1: int,
        layer2: Layer,
        channel2: int,
        weights: Any,
        channel_axis: int | None = None,
    ) -> None:
        self.layers = tuple(dict.fromkeys((layer1, layer2)))
        self.units = [(layer1, check_int(channel1, "channel1", 0)), (layer2, check_int(channel2, "channel2", 0))]
        weights = torch.as_tensor(weights).detach()
        if weights.dim() != 2 or weights.shape[1] != 2 or not len(weights) or not bool(weights.isfinite().all()):
            raise InputError(
                f"weights have shape {tuple(weights.shape)}; expected (N, 2), finite, one pair for each row, as weight_grid gives them."
            )
        self.weights = weights if weights.is_floating_point() else weights.float()
        self.channel_axis = plain_int(channel_axis)
        self.targets: list[Target] = [(self.units[0][1], self.units[1][1])] * len(weights)

    def rows(self, rows: range) -> Interaction:
        part = copy.copy(self)
        part.weights, part.targets = self.weights[rows.start : rows.stop], self.targets[rows.start : rows.stop]
        return part

    def unit(self, row: int) -> str:
        both = zip(self.weights[row].tolist(), self.units, strict=True)
        return " + ".join(f"{weight:g} × channel {channel} of {named(layer)}" for weight, (layer, channel) in both)

    def settings(self) -> dict[str, Any]:
        units = [{"layer": str(layer), "channel": channel} for layer, channel in self.units]
        return {"name": type(self).__name__, "units": units, "weights": self.weights.tolist()}

    def check(self, outputs: Outputs) -> None:
        for layer, channel in self.units:
            check_channels(layer, [channel], outputs.units(layer, self.channel_axis))

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        means = [
            outputs.units(layer, self.channel_axis)[:, channel].unsqueeze(-1).flatten(1).mean(1)
            for layer, channel in self.units
        ]
        weights = beside(self.weights, means[0])
        return -outputs.record("activation", (torch.stack(means, 1) * weights).sum(1))


class ActivationInterpolation(Interaction):
    r"""
    The way from one channel to another, in equal steps over the rows, negated: maximized.

    .. math::
        L_i = -\Bigl((1 - t_i) \frac{1}{P_1} \sum_p a_{c_1, p}(x_i) + t_i \frac{1}{P_2} \sum_p b_{c_2, p}(x_i)\Bigr)
        \qquad t_i = \frac{i}{n - 1}

    Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017); Lucid's ``channel_interpolate``, captum.optim's
    ``ActivationInterpolation``. Rows do not see each other; with ``+ w * Alignment(layer)`` neighbors stay alike. It records "activation",
    the weighted sum.

    Args:
        layer1, channel1, layer2, channel2, channel_axis: As in :class:`Interaction`.
        steps (int, optional): n, how many rows, both ends included. Default: 6

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> loss = ActivationInterpolation("1", 2, "1", 5, steps=4) + 0.1 * Alignment("1")
        >>> InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([4, 3, 8, 8])
    """

    def __init__(
        self,
        layer1: Layer,
        channel1: int,
        layer2: Layer,
        channel2: int,
        steps: int = 6,
        channel_axis: int | None = None,
    ) -> None:
        share = torch.linspace(0, 1, check_int(steps, "steps", 2))
        super().__init__(layer1, channel1, layer2, channel2, torch.stack([1 - share, share], 1), channel_axis)


__all__ = ["ActivationInterpolation", "Interaction", "weight_grid"]
