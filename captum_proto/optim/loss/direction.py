"""Objectives that make a layer's activations point in a direction."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer
from captum_proto.optim.loss.objective import Loss, Outputs


def directions_of(directions: Any) -> Tensor:
    """
    Directions (N, C) from one (C,) or several, finite.

    Raises:
        TypeError, ValueError: If they are something else.
    """
    if not isinstance(directions, Tensor):
        directions = torch.as_tensor(directions)
    if not directions.is_floating_point():
        raise InputTypeError(f"direction is of {directions.dtype}; expected floating point numbers.")
    directions = directions.detach().unsqueeze(0) if directions.dim() == 1 else directions.detach()
    if directions.dim() != 2 or not bool(directions.isfinite().all()) or bool((directions == 0).all(1).any()):
        raise InputError(
            f"direction has shape {tuple(directions.shape)}; expected (C,) or (N, C), finite, and none of them zero everywhere."
        )
    return directions


def digest_of(row: Tensor) -> int:
    """A number that stands for a direction: rows of equal directions are of the same target, and a direction's seed is its own."""
    content = row.detach().cpu().double().contiguous().numpy().tobytes()
    return int.from_bytes(hashlib.sha256(content).digest()[:4], "big")


class Direction(Loss):
    r"""
    How far a layer's activations go in a direction, the mean over positions, negated: maximized.

    .. math::
        L_i = -\frac{1}{P} \sum_p (a_p \cdot v_i) \max\bigl(0.1, \cos(a_p, v_i)\bigr)^q

    Of Carter et al., "Exploring Neural Networks with Activation Atlases" (Distill 2019), as Lucid has it. It records "activation", the
    mean of :math:`a_p \cdot v_i`.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        direction (Tensor): (C,), or (N, C) for one direction each row.
        power (float, optional): q: how much the angle counts; 0 for the dot product. Default: 0
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If a direction is zero or has another length than the layer has channels.
    """

    terms = ("activation",)

    def __init__(self, layer: Layer, direction: Any, power: float = 0.0, channel_axis: int | None = None) -> None:
        self.layers = (layer,)
        self.directions, self.power, self.channel_axis = directions_of(direction), float(power), channel_axis
        self.targets: list[Target] | None = [(digest_of(row),) for row in self.directions]

    def rows(self, rows: range) -> Loss:
        return type(self)(self.layers[0], self.directions[rows.start : rows.stop], self.power, self.channel_axis)

    def settings(self) -> dict[str, Any]:
        digests = [row[0] for row in self.targets or []]
        return {"name": type(self).__name__, "layer": str(self.layers[0]), "power": self.power, "directions": digests}

    def check(self, outputs: Outputs) -> None:
        count = outputs.units(self.layers[0], self.channel_axis).shape[1]
        if self.directions.shape[1] != count:
            raise InputError(
                f'directions have {self.directions.shape[1]} entries; expected {count}, one for each channel of "{self.layers[0]}".'
            )

    def _values(self, outputs: Outputs) -> Tensor:
        """(N, C, P): the positions at which the direction is looked for."""
        return outputs.units(self.layers[0], self.channel_axis).unsqueeze(-1).flatten(2)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self._values(outputs)
        directions = self.directions.to(values)
        dot = torch.einsum("ncp,nc->np", values, directions)
        outputs.record("activation", dot.mean(1))
        if self.power:
            cosine = dot / (values.norm(dim=1) * directions.norm(dim=1, keepdim=True) + 1e-6)
            dot = dot * cosine.clamp(min=0.1) ** self.power
        return -dot.mean(1)


class AngledNeuronDirection(Direction):
    """
    As :class:`Direction` with the angle, at the middle position alone: what activation grids and atlases are drawn with.

    Args:
        layer, direction, channel_axis: As in :class:`Direction`.
        power (float, optional): How much the angle counts. Default: 4
    """

    def __init__(self, layer: Layer, direction: Any, power: float = 4.0, channel_axis: int | None = None) -> None:
        super().__init__(layer, direction, power, channel_axis)

    def _values(self, outputs: Outputs) -> Tensor:
        values = outputs.units(self.layers[0], self.channel_axis)
        for size in values.shape[2:]:
            values = values.select(2, size // 2)
        return values.unsqueeze(-1)
