"""Losses as objects, which add, subtract and scale, and what they see of a model at a step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_logits
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer, Source, channels_first
from captum_proto.optim.random import LOSS, RandomStream, StepStreams

NO_GRADIENT = (
    "has no gradient with respect to the images; leave torch.no_grad, .detach(), rounding and quantized layers out of the model, its "
    "preprocessing and the transform."
)


def partners_of(targets: Sequence[Target], device: torch.device | str = "cpu") -> Tensor:
    """
    Which prototypes are of the same target.

    Args:
        targets (sequence of tuple[int, ...]): The classes of each prototype.
        device (torch.device, optional): Where the result lives. Default: "cpu"

    Returns:
        Tensor: Shape (N, N), bool: True for two different prototypes of equal targets.

    Examples::

        >>> partners_of([(3,), (5,), (3,)]).long()
        tensor([[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    """
    same = torch.tensor([[a == b for b in targets] for a in targets], dtype=torch.bool)
    return same.view(len(targets), len(targets)).fill_diagonal_(False).to(device)


@dataclass(frozen=True)
class Rows:
    """
    What the rows of a batch are.

    Attributes:
        numbers (range): Which of all the prototypes asked for they are.
        targets (list[tuple[int, ...]]): What each is optimized for: classes, or a unit; () where the loss is the same for all.
        keys (Tensor): (N,), of :func:`~captum_proto.optim.prototype_keys`: each row's random numbers.
    """

    numbers: range
    targets: list[Target]
    keys: Tensor

    @cached_property
    def partners(self) -> Tensor:
        """(N, N), bool: which rows have the same target."""
        return partners_of(self.targets, self.keys.device)


def _by_rank(_layer: Layer, value: Tensor) -> int:
    """Which axis holds the channels, where no module tells: tokens have theirs last."""
    return 2 if value.dim() == 3 else 1


class Outputs:
    """
    What a model made of a batch at a step: what a loss sees.

    Attributes:
        used (bool): Whether a loss looked at anything of it.
        output_used (bool): Whether it looked at the model's output.
        terms (dict[str, Tensor]): What losses recorded, each (N,), without gradient.
    """

    def __init__(
        self,
        output: Any,
        layers: Mapping[Layer, Tensor],
        rows: Rows,
        step: int = 0,
        closely: bool = True,
        channel_axis: Callable[[Layer, Tensor], int] = _by_rank,
        sources: Mapping[Layer, Source] | None = None,
        beside: Callable[[Tensor], Outputs] | None = None,
        finish: Callable[[], Any] | None = None,
        draws: StepStreams | None = None,
    ) -> None:
        self._output, self._finish, self._draws = output, finish, draws
        self.used = self.output_used = False
        self.terms: dict[str, Tensor] = {}
        self._layers, self._rows, self._step, self._closely = layers, rows, step, closely
        self._differentiable = torch.is_grad_enabled()
        self._channel_axis, self._sources = channel_axis, sources or {}
        self._beside = beside

    @property
    def output(self) -> Any:
        """What the model returned."""
        self.used = self.output_used = True
        if self._finish is not None:
            self._output, self._finish = self._finish(), None
        return self._output

    def __getitem__(self, layer: Layer) -> Tensor:
        """
        What a layer returned: (N, ...), in its own shape.

        Raises:
            ValueError: If the loss does not have it in its ``layers``, or it has no gradient with respect to the images.
        """
        if layer not in self._layers:
            raise InputError(f"{named(layer)} was not asked for; put it into the layers of the loss that looks at it.")
        self.used = True
        value = self._layers[layer]
        if self._differentiable and not value.requires_grad:
            raise InputError(f"what {named(layer)} returned {NO_GRADIENT}")
        return value.to(self._rows.keys.device)  # a model may be spread over several

    def units(self, layer: Layer, channel_axis: int | None = None) -> Tensor:
        """
        What a layer returned, its channels in front of its positions: ``(N, C, *positions)``.

        Args:
            layer (str or nn.Module): One of the loss's ``layers``.
            channel_axis (int, optional): Which axis of the output holds the channels. Default: None, told from the layer: see
                :func:`~captum_proto.capture.channel_axis`

        Raises:
            ValueError: As indexing does, or if there is no such axis.
        """
        return channels_first(self[layer], self.channel_axis(layer, channel_axis))

    def channel_axis(self, layer: Layer, given: int | None = None) -> int:
        """Which axis of what a layer returned holds its channels: the one ``given``, or the one told from the layer."""
        return self._channel_axis(layer, self[layer]) if given is None else given

    def gradient(self, value: Tensor, layer: Layer) -> Tensor:
        """
        The gradient of a single value by what a layer returned, as a constant: (N, ...), in the layer's own shape.

        Args:
            value (Tensor): A single one, of outputs of other layers.
            layer (str or nn.Module): One of the loss's ``layers``. The loss must have ``between_layers``.

        Raises:
            ValueError: If the value does not depend on the layer.
        """
        found = self._sources[layer].gradient(value) if layer in self._sources else None
        if found is None:
            raise InputError(
                f"what was to be differentiated does not depend on {named(layer)}; give a layer that the network runs before, and a loss "
                "with between_layers = True."
            )
        return found.detach().to(self._rows.keys.device)

    def beside(self, images: Tensor) -> Outputs:
        """
        What the model makes of other images under the very draws of this step's transform: constants to compare with, one for each row.

        Args:
            images (Tensor): (N, ...), in the input range.

        Raises:
            ValueError: If there are not as many as rows, or these outputs are not of an optimization.
        """
        if self._beside is None:
            raise InputError("these outputs are not of an optimization, which alone can run the model on other images.")
        if len(images) != len(self._rows.keys):
            raise InputError(f"{len(images)} images were given for {len(self._rows.keys)} rows; give one for each row.")
        return self._beside(beside(images, self._rows.keys, keep_dtype=True).detach())

    @property
    def logits(self) -> Tensor:
        """
        The model's output as logits (N, K), in at least float32.

        Raises:
            TypeError, ValueError: If it is none, or has no gradient with respect to the images.
        """
        self.used = self.output_used = True
        return self._logits

    @cached_property
    def _logits(self) -> Tensor:
        output = check_logits(self.output, len(self._rows.keys)) if self._closely else self.output
        if self._differentiable and not output.requires_grad:
            raise InputError(f"the model's output {NO_GRADIENT}")
        logits: Tensor = output if output.dtype == torch.float64 else output.float()
        return logits.to(self._rows.keys.device)  # a model may be spread over several

    @property
    def partners(self) -> Tensor:
        """(N, N), bool, symmetric: which rows have the same target. No row is its own partner."""
        return self._rows.partners

    @cached_property
    def random(self) -> RandomStream:
        """Random numbers of this step for losses, each row's own."""
        return RandomStream(self._rows.keys, LOSS, self._step) if self._draws is None else self._draws.at(self._step)

    def record(self, name: str, values: Tensor) -> Tensor:
        """
        Put values (N,) into the history of the optimization.

        Args:
            name (str): Under which. A name that is taken gets a number: ``logit#1``.
            values (Tensor): (N,).

        Returns:
            Tensor: ``values``.
        """
        taken = sum(term.partition("#")[0] == name for term in self.terms)
        self.terms[f"{name}#{taken}" if taken else name] = values.detach()
        return values


class Loss(ABC):
    """
    What an optimization minimizes, one value a row.

    Losses add, subtract and scale: ``a + 2 * b``, ``-a``, ``a / 3``, ``sum([a, b])``. A subclass implements :meth:`__call__`, and names the
    layers it looks at in ``layers``. See :class:`~captum_proto.optim.InputOptimization` for an example.

    Attributes:
        layers (tuple[str or nn.Module, ...]): The layers it looks at: names as :func:`~captum_proto.capture.capture` gives them, or
            modules. Their outputs are ``outputs[layer]``.
        terms (tuple[str, ...]): The names under which it records values.
        targets (list[tuple[int, ...]] or None): What each row is optimized for, one for each row; None: the same for any number of rows.
            Rows of equal targets get different seeds, and are partners for :class:`Diversity`.
        of_classes (bool): Whether targets are classes: where several losses of a sum name the same ones, a row is of them once.
        between_layers (bool): Whether it takes gradients of one layer by another, which finished inputs then are given for too.
    """

    layers: tuple[Layer, ...] = ()
    terms: tuple[str, ...] = ()
    targets: list[Target] | None = None
    of_classes: bool = False
    between_layers: bool = False

    @abstractmethod
    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        """
        The loss of each row.

        Args:
            outputs (Outputs): What the model made of the images at this step, under the transform.
            images (Tensor): (N, ...), without the transform.

        Returns:
            Tensor: (N,). Each row's value is of that row alone, so that its gradient is its own.
        """

    def rows(self, rows: range) -> Loss:
        """The same loss for some of its rows."""
        return self

    def check(self, outputs: Outputs) -> None:  # noqa: B027  # most have nothing to check
        """Raise what can be known to be wrong from the outputs of the first step, before any other is taken."""

    def check_batches(self, targets: Sequence[Target], batch_size: int | None) -> None:  # noqa: B027  # most see one row at a time
        """Raise ValueError if batches of this size part rows that are to see each other."""

    def unit(self, row: int) -> str | None:
        """What a row is optimized for, as a message can name it: ``channel 3 of layer "relu"``; None where its target says it."""
        return None

    def state_dict(self) -> dict[str, Tensor]:
        """
        What it has come to on the way and goes on from, such as a running mean, for snapshots of an optimization. Default: nothing, the
        loss of a step is that of its images alone
        """
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027  # most have no state
        """Go on from what :meth:`state_dict` gave; tensors are on the CPU."""

    def settings(self) -> dict[str, Any]:
        """What it is, as JSON can hold it."""
        return {"name": type(self).__name__}

    def __add__(self, other: Any) -> Loss:
        if isinstance(other, Loss):
            return WeightedSum([*_parts(self), *_parts(other)])
        return self if isinstance(other, int) and other == 0 else NotImplemented  # sum() begins with 0

    __radd__ = __add__

    def __sub__(self, other: Any) -> Loss:
        return self + -other if isinstance(other, Loss) else NotImplemented

    def __mul__(self, weight: Any) -> Loss:
        if not isinstance(weight, (int, float)):
            return NotImplemented
        return WeightedSum([(weight * own, loss) for own, loss in _parts(self)])

    __rmul__ = __mul__

    def __truediv__(self, divisor: Any) -> Loss:
        return self * (1 / divisor) if isinstance(divisor, (int, float)) else NotImplemented

    def __neg__(self) -> Loss:
        return self * -1


class WeightedSum(Loss):
    """
    A sum of losses, each with a weight: what ``a + 2 * b`` makes.

    Args:
        parts (sequence of tuple[float, Loss]): In the order in which they are added.

    Raises:
        ValueError: If the losses are for different numbers of rows.
    """

    def __init__(self, parts: Sequence[tuple[float, Loss]]) -> None:
        self.parts = list(parts)
        losses = [loss for _, loss in self.parts]
        self.layers = tuple(dict.fromkeys(layer for loss in losses for layer in loss.layers))
        self.terms = tuple(dict.fromkeys(term for loss in losses for term in loss.terms))
        targets: list[list[Target]] = []
        classes: list[list[Target]] = []
        for loss in losses:
            if loss.targets is None or (loss.of_classes and loss.targets in classes):
                continue
            targets.append(loss.targets)
            classes += [loss.targets] if loss.of_classes else []
        if len({len(each) for each in targets}) > 1:
            counts = " and ".join(str(len(each)) for each in targets)
            raise InputError(f"losses of {counts} rows were added; give all of them equally many targets.")
        self.targets = [sum(row, ()) for row in zip(*targets, strict=True)] if targets else None
        self.between_layers = any(loss.between_layers for loss in losses)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        total: Tensor | None = None
        for weight, loss in self.parts:
            value = loss(outputs, images)
            value = value if weight == 1 else weight * value
            total = value if total is None else total + value
        assert total is not None  # a sum of nothing is never made
        return total

    def rows(self, rows: range) -> Loss:
        return WeightedSum([(weight, loss.rows(rows)) for weight, loss in self.parts])

    def state_dict(self) -> dict[str, Tensor]:
        states = [loss.state_dict() for _, loss in self.parts]
        return {f"{place}/{name}": value for place, state in enumerate(states) for name, value in state.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        for place, (_, loss) in enumerate(self.parts):
            beginning = f"{place}/"
            own = {name.removeprefix(beginning): value for name, value in state.items() if name.startswith(beginning)}
            loss.load_state_dict(own)

    def check(self, outputs: Outputs) -> None:
        for _, loss in self.parts:
            loss.check(outputs)

    def check_batches(self, targets: Sequence[Target], batch_size: int | None) -> None:
        for _, loss in self.parts:
            loss.check_batches(targets, batch_size)

    def unit(self, row: int) -> str | None:
        units = [unit for _, loss in self.parts if (unit := loss.unit(row)) is not None]
        return " and ".join(dict.fromkeys(units)) or None

    def settings(self) -> dict[str, Any]:
        return {
            "name": "WeightedSum",
            "parts": [{"weight": weight, "loss": loss.settings()} for weight, loss in self.parts],
        }

    def __repr__(self) -> str:
        return " + ".join(f"{weight:g} * {loss!r}" for weight, loss in self.parts)


def _parts(loss: Loss) -> list[tuple[float, Loss]]:
    return loss.parts if isinstance(loss, WeightedSum) else [(1, loss)]


def named(layer: Layer) -> str:
    """A layer as a message calls it."""
    return f"the {type(layer).__name__}" if isinstance(layer, nn.Module) else f'layer "{layer}"'


__all__ = ["Loss", "Outputs", "Rows", "WeightedSum", "named", "partners_of"]
