"""Images that a small network draws, from the place of each pixel to its color."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.random import RandomStream


def _composite(x: Tensor) -> Tensor:
    x = x.atan()
    return torch.cat([x / 0.67, x.square() / 0.6], 1)


def _composite_unbiased(x: Tensor) -> Tensor:
    x = x.atan()
    return torch.cat([x / 0.67, (x.square() - 0.45) / 0.396], 1)


#: By name: what follows each layer. The numbers keep mean and spread where they are for standard normal values; "composite" gives twice
#: as many channels, an odd and an even function of each.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "composite": _composite,
    "composite_unbiased": _composite_unbiased,
    "relu": lambda x: (x.relu() - 0.40) / 0.58,
    "tanh": torch.tanh,
}


class CPPNImage(Parametrization):
    r"""
    A compositional pattern-producing network, one for each image: it maps the place of a pixel to its color, and its weights are optimized.

    .. math::
        x_{u,v} = \sigma\bigl(W_L\, h_{L-1} + b_L\bigr), \qquad h_0 = (u, v), \qquad h_l = \varphi(W_l h_{l-1} + b_l)

    A picture is a function of the plane: the same weights render at any size, without pixels. Of Mordvintsev, Pezzotti, Schubert and Olah,
    "Differentiable Image Parameterizations" (Distill 2018), after Stanley's networks (2007), with Lucid's sizes; its last layer is zero at
    the start, so that every picture begins gray. It learns with less than pixels do: an ``lr`` of about 0.005.

    Args:
        hidden (int, optional): Channels of a layer. Default: 24
        layers (int, optional): Layers before the last. Default: 8
        activation (str, optional): :math:`\varphi`: "composite", the arcus tangent and its square; "composite_unbiased", the same with
            mean zero; "relu" or "tanh". Default: "composite"

    Raises:
        ValueError: If a number is less than 1, or there is no such activation.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> optimization = InputOptimization(model, ChannelActivation("0", 1), parametrization=CPPNImage(layers=3), steps=4, lr=0.005)
        >>> result = optimization.optimize((3, 16, 16))
        >>> large = result.parametrization.for_images((3, 64, 64), (0.0, 1.0))
        >>> large.render(result.parameters).shape
        torch.Size([1, 3, 64, 64])
    """

    def __init__(self, hidden: int = 24, layers: int = 8, activation: str = "composite") -> None:
        self.hidden, self.layers = check_int(hidden, "hidden", 1), check_int(layers, "layers", 1)
        if activation not in ACTIVATIONS:
            hint = nearest(str(activation), ACTIVATIONS) or ";"
            raise InputError(f"activation is {activation!r}{hint} expected one of {', '.join(ACTIVATIONS)}.")
        self.activation = activation

    def settings(self) -> dict[str, Any]:
        return {"name": "CPPNImage", "hidden": self.hidden, "layers": self.layers, "activation": self.activation}

    def __repr__(self) -> str:
        return f"CPPNImage(hidden={self.hidden}, layers={self.layers}, activation={self.activation!r})"

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        incoming, made = 2, {}
        for number in range(self.layers):
            weights = random.normal(self.hidden * incoming).view(-1, self.hidden, incoming) / math.sqrt(incoming)
            made[f"weight_{number}"] = weights
            made[f"bias_{number}"] = 0.1 * random.normal(self.hidden).unsqueeze(2)
            incoming = self.hidden * (2 if self.activation.startswith("composite") else 1)
        made[f"weight_{self.layers}"] = weights.new_zeros(len(random), shape[0], incoming)
        made[f"bias_{self.layers}"] = weights.new_zeros(len(random), shape[0], 1)
        return made

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        channels, height, width = self.shape
        places = self._places(parameters["bias_0"])
        activation = ACTIVATIONS[self.activation]
        values = places.expand(len(parameters["bias_0"]), -1, -1)
        for number in range(self.layers):
            values = activation(torch.baddbmm(parameters[f"bias_{number}"], parameters[f"weight_{number}"], values))
        last = torch.baddbmm(parameters[f"bias_{self.layers}"], parameters[f"weight_{self.layers}"], values)
        low, high = self.value_range
        return low + (high - low) * last.sigmoid().view(-1, channels, height, width)

    def _places(self, like: Tensor) -> Tensor:
        """Where the centers of pixels are, (2, H * W): x and y, as far apart in both, the longer side with spread one."""
        _, height, width = self.shape
        longer = max(height, width)
        along = [
            (torch.arange(side, dtype=like.dtype, device=like.device) + 0.5 - side / 2) * (2 * math.sqrt(3) / longer)
            for side in (height, width)
        ]
        vertical, horizontal = torch.meshgrid(*along, indexing="ij")
        return torch.stack([horizontal.flatten(), vertical.flatten()])


__all__ = ["CPPNImage"]
