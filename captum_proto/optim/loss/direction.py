"""Objectives that make a layer's activations point in a direction."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, check_int, type_name
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer, channels_first
from captum_proto.optim.loss.objective import Outputs, named
from captum_proto.optim.loss.unit import LayerLoss, Position, Positions, broadcast, positions_of
from captum_proto.optim.random import DIRECTION, RandomStream, prototype_keys

#: What keeps a cosine finite where nothing is active.
_EPS = 1e-6
#: The least that an angle counts, so that what points the other way is still drawn towards the direction.
_FLOOR = 0.1


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


def random_directions(count: int, channels: int, seed: int | Sequence[int] = 0) -> Tensor:
    """
    Directions drawn evenly from the unit sphere: normal numbers, divided by their norm.

    Args:
        count (int): How many.
        channels (int): Of the layer.
        seed (int or sequence of int, optional): Of the first; the k-th is that of ``seed + k``, whatever else is drawn. Or one for each.
            Default: 0

    Returns:
        Tensor: (count, channels), float32.

    Raises:
        ValueError: If ``count`` or ``channels`` is less than 1, or there are not as many seeds.

    Examples::

        >>> four = random_directions(4, 64, seed=7)
        >>> bool((four[3] == random_directions(1, 64, seed=10)).all())
        True
        >>> torch.allclose(four.norm(dim=1), torch.ones(4))
        True
    """
    count, channels = check_int(count, "count", 1), check_int(channels, "channels", 1)
    first = as_int(seed)
    seeds = list(range(first, first + count)) if first is not None else [as_int(each) for each in seed]  # type: ignore[union-attr]
    if len(seeds) != count or None in seeds:
        raise InputError(f"seed is {seed!r}; expected an int, or {count} of them.")
    keys = prototype_keys(seeds, [()] * count)  # type: ignore[arg-type]  # none of them is None
    normal = RandomStream(keys, DIRECTION).normal(channels)
    return (normal / normal.norm(dim=1, keepdim=True)).float()


def along(values: Tensor, directions: Tensor, power: float) -> tuple[Tensor, Tensor]:
    """
    How far activations go in a direction, and that times how well they point there.

    Args:
        values (Tensor): (N, C, P).
        directions (Tensor): (N, C) or (N, C, P).
        power (float): Of the cosine, which counts as at least 0.1.

    Returns:
        tuple[Tensor, Tensor]: (N, P) each.
    """
    each = directions.dim() == 3
    dot = (values * directions).sum(1) if each else torch.einsum("ncp,nc->np", values, directions)
    if not power:
        return dot, dot
    cosine = dot / (values.norm(dim=1) * directions.norm(dim=1, keepdim=not each) + _EPS)
    return dot, dot * cosine.clamp(min=_FLOOR) ** power


class Direction(LayerLoss):
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

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3), torch.nn.ReLU())
        >>> loss = Direction("0", random_directions(3, 64), power=2)
        >>> InputOptimization(model, loss, steps=2).optimize((3, 8, 8)).images.shape
        torch.Size([3, 3, 8, 8])
    """

    of_rows: tuple[str, ...] = ("directions",)

    def __init__(self, layer: Layer, direction: Any, power: float = 0.0, channel_axis: int | None = None) -> None:
        super().__init__(layer, channel_axis)
        self.directions, self.power = directions_of(direction), float(power)
        self.targets: list[Target] | None = [(digest_of(row),) for row in self.directions]

    def unit(self, row: int) -> str:
        return f"the direction of row {row} in {named(self.layer)}"

    def settings(self) -> dict[str, Any]:
        digests = [row[0] for row in self.targets or []]
        return {**super().settings(), "power": self.power, "directions": digests}

    def check(self, outputs: Outputs) -> None:
        count = self.units(outputs).shape[1]
        if self.directions.shape[1] != count:
            raise InputError(
                f"directions have {self.directions.shape[1]} entries; expected {count}, one for each channel of {named(self.layer)}."
            )

    def values(self, outputs: Outputs) -> Tensor:
        """(N, C, P): the positions at which the direction is looked for."""
        return self.units(outputs).unsqueeze(-1).flatten(2)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self.values(outputs)
        dot, score = along(values, beside(self.directions, values), self.power)
        outputs.record("activation", dot.mean(1))
        return -score.mean(1)


class NeuronDirection(Direction):
    r"""
    As :class:`Direction`, at one position alone.

    .. math::
        L_i = -(a_{p_i} \cdot v_i) \max\bigl(0.1, \cos(a_{p_i}, v_i)\bigr)^q

    Lucid's ``direction_neuron``, captum.optim's ``NeuronDirection``. It records "activation", :math:`a_{p_i} \cdot v_i`.

    Args:
        layer, direction, power, channel_axis: As in :class:`Direction`.
        position: As in :class:`NeuronActivation`; one direction at several positions makes several rows. Default: None, the middle

    Raises:
        ValueError: As :class:`Direction` does, or if the layer has no such position.
    """

    of_rows = ("directions", "positions")

    def __init__(
        self,
        layer: Layer,
        direction: Any,
        power: float = 0.0,
        channel_axis: int | None = None,
        *,
        position: Position | Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(layer, direction, power, channel_axis)
        which, self.positions = broadcast(
            list(range(len(self.directions))), positions_of(position), "directions and positions,"
        )
        self.directions = self.directions[which]
        pairs = zip(self.directions, self.positions, strict=True)
        self.targets = [(digest_of(row), *(where or ())) for row, where in pairs]

    def settings(self) -> dict[str, Any]:
        positions = [None if position is None else list(position) for position in self.positions]
        return {**super().settings(), "positions": positions}

    def check(self, outputs: Outputs) -> None:
        super().check(outputs)
        Positions(self.positions).check(self, outputs)

    def values(self, outputs: Outputs) -> Tensor:
        return Positions(self.positions).of(self, outputs).unsqueeze(-1)


class AngledNeuronDirection(NeuronDirection):
    """
    As :class:`NeuronDirection` with the angle: what activation grids and atlases are drawn with.

    Of Carter et al., "Exploring Neural Networks with Activation Atlases" (Distill 2019), captum.optim's ``AngledNeuronDirection``. Where
    activations are whitened, by S the inverse of their second moments, the direction to give is :math:`v S`.

    Args:
        layer, direction, channel_axis, position: As in :class:`NeuronDirection`.
        power (float, optional): How much the angle counts. Default: 4
    """

    def __init__(
        self,
        layer: Layer,
        direction: Any,
        power: float = 4.0,
        channel_axis: int | None = None,
        *,
        position: Position | Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__(layer, direction, power, channel_axis, position=position)


class TensorDirection(LayerLoss):
    r"""
    How far a layer goes in the direction of what it returned for a given image, position by position, negated: maximized.

    .. math::
        L_i = -\frac{1}{P} \sum_p (a_p(x_i) \cdot v_{i, p}) \max\bigl(0.1, \cos(a_p(x_i), v_{i, p})\bigr)^q

    With v the activations of a photograph it is a *caricature* of it: more of everything that the layer saw there. With a high power it is
    *feature inversion*: what the layer keeps of it. Lucid's and captum.optim's ``tensor_direction`` and ``TensorDirection``; feature
    inversion as in Olah et al., "The Building Blocks of Interpretability" (Distill 2018), takes one cosine for the whole layer:
    ``per_position=False``,

    .. math::
        L_i = -\frac{1}{P} \Bigl(\sum_p a_p \cdot v_{i, p}\Bigr) \max\bigl(0.1, \cos(a, v_i)\bigr)^q

    It records "activation", the mean of :math:`a_p \cdot v_{i, p}`.

    Args:
        layer (str or nn.Module): The layer, as :func:`~captum_proto.capture.capture` names it.
        tensor (Tensor): (N, ...), what it returned for one image each row, in its own shape, as ``capture(model, images, layer)[layer]``
            gives it. Where the layer's map is larger than the tensor's, its center is compared.
        power (float, optional): q: how much the angle counts; 0 for the dot product. Default: 0
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer
        per_position (bool, optional): Whether each position has its own angle. Default: True

    Raises:
        ValueError: If the tensor is not finite, or has other channels or more positions than the layer.

    Examples::

        >>> from captum_proto.capture import capture
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU())
        >>> photograph = torch.rand(1, 3, 16, 16)
        >>> caricature = TensorDirection("1", capture(model, photograph, "1")["1"], power=1)
        >>> InputOptimization(model, caricature, steps=2).optimize((3, 16, 16)).images.shape
        torch.Size([1, 3, 16, 16])
    """

    of_rows = ("tensor",)

    def __init__(
        self,
        layer: Layer,
        tensor: Tensor,
        power: float = 0.0,
        channel_axis: int | None = None,
        per_position: bool = True,
    ) -> None:
        super().__init__(layer, channel_axis)
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.dim() < 2:
            raise InputTypeError(
                f"tensor is {_outline(tensor)}; expected floating point numbers of shape (N, ...), what the layer returned for N images."
            )
        if not bool(tensor.isfinite().all()):
            raise InputError("tensor holds NaN or infinity; expected finite activations.")
        self.tensor, self.power, self.per_position = tensor.detach(), float(power), bool(per_position)
        self.targets: list[Target] | None = [(digest_of(row),) for row in self.tensor]

    def unit(self, row: int) -> str:
        return f"the tensor of row {row} in {named(self.layer)}"

    def settings(self) -> dict[str, Any]:
        digests = [row[0] for row in self.targets or []]
        return {**super().settings(), "power": self.power, "per_position": self.per_position, "tensors": digests}

    def _given(self, outputs: Outputs) -> Tensor:
        """The tensor with its channels in front: ``(N, C, *positions)``."""
        axis = outputs.channel_axis(self.layer, self.channel_axis)
        return channels_first(self.tensor, axis)

    def check(self, outputs: Outputs) -> None:
        values = outputs[self.layer]
        fits = self.tensor.dim() == values.dim()
        if fits:
            given, own = self._given(outputs).shape[1:], self.units(outputs).shape[1:]
            fits = given[0] == own[0] and all(a <= b for a, b in zip(given[1:], own[1:], strict=True))
        if not fits:
            raise InputError(
                f"tensor has shape {tuple(self.tensor.shape)} for {named(self.layer)}, which returns {tuple(values.shape)}; expected as "
                "many channels, and no more positions."
            )

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = self.units(outputs)
        axis = outputs.channel_axis(self.layer, self.channel_axis)
        given = channels_first(beside(self.tensor, values), axis)
        for axis, size in enumerate(given.shape[2:], start=2):
            values = values.narrow(axis, (values.shape[axis] - size) // 2, size)
        values, given = values.unsqueeze(-1).flatten(2), given.unsqueeze(-1).flatten(2)
        if self.per_position:
            dot, score = along(values, given, self.power)
        else:
            positions = values.shape[2]
            dot, score = along(values.flatten(1).unsqueeze(2), given.flatten(1), self.power)
            dot, score = dot / positions, score / positions
        outputs.record("activation", dot.mean(1))
        return -score.mean(1)


def _outline(value: Any) -> str:
    return f"{tuple(value.shape)} of {value.dtype}" if isinstance(value, Tensor) else f"a {type_name(value)}"


__all__ = [
    "AngledNeuronDirection",
    "Direction",
    "NeuronDirection",
    "TensorDirection",
    "along",
    "digest_of",
    "directions_of",
    "random_directions",
]
