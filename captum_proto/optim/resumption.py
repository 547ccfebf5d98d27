"""What an optimization goes on from after it was killed: all that it keeps from one step to the next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.files import tensor_sha256
from captum_proto._utils.model import fingerprint, modules_of
from captum_proto._utils.pipeline import Pipeline
from captum_proto.optim.loss.objective import Loss, Rows
from captum_proto.optim.result import OptimizationResult
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.runs.provenance import plain, versions
from captum_proto.runs.snapshots import Place

#: Goes up when what is kept means something else.
_FORMAT = 1


@dataclass
class Progress:
    """
    What a phase has come to.

    Attributes:
        optimizer (torch.optim.Optimizer): Its own.
        step (int): The next to take.
        history (dict[str, list[Tensor]]): Of each step what is recorded, (N,) each.
        losses (list[Tensor]): Of each step, (N,) each.
        zero (list[Tensor]): In which rows the gradient through the model was zero, (N,) each.
        going_on (list[Tensor]): Whether any row did not rest.
        active (Tensor, optional): (N,), bool: which rows do not rest.
    """

    optimizer: torch.optim.Optimizer
    step: int = 0
    history: dict[str, list[Tensor]] = field(default_factory=dict)
    losses: list[Tensor] = field(default_factory=list)
    zero: list[Tensor] = field(default_factory=list)
    going_on: list[Tensor] = field(default_factory=list)
    active: Tensor | None = None


class Resumption:
    """
    The state of one optimization, kept in a file and read back.

    Args:
        place (Place): The file.
        depends_on (mapping): All that the optimization depends on: see :func:`what_it_depends_on`.
        device (torch.device): Of the optimization.
    """

    def __init__(self, place: Place, depends_on: Mapping[str, Any], device: torch.device) -> None:
        self.every, self._place, self._depends_on, self._device = place.every, place, depends_on, device
        self._generators = self._generator_states()  # as they are before anything is drawn

    def keep(
        self,
        phase: int,
        progress: Progress | None,
        parameters: Mapping[str, Tensor],
        result: OptimizationResult,
        losses: Iterable[Loss | None],
        loss_scale: Tensor | None,
        output_wanted: bool,
    ) -> None:
        """
        Keep the state after a step.

        Args:
            phase (int): Which is at work; their number when all are done.
            progress (Progress, optional): Of that phase; None when all are done.
            parameters (mapping): What is optimized.
            result (OptimizationResult): As far as it is there.
            losses (iterable of Loss or None): Whose own states are kept.
            loss_scale (Tensor, optional): By which losses are scaled.
            output_wanted (bool): Whether a loss looked at the model's output.

        Raises:
            WriteError: If it cannot be written.
        """
        tensors = _under("parameters", parameters)
        tensors |= _under("done", result.history)
        tensors |= _under("pictures", {str(step): images for step, images in result.snapshots.items()})
        for number, loss in enumerate(losses):
            tensors |= _under(f"loss{number}", {} if loss is None else loss.state_dict())
        if loss_scale is not None:
            tensors["loss_scale"] = loss_scale
        for name, generator in self._generator_states().items():
            if not torch.equal(generator, self._generators[name]):
                tensors[f"random/{name}"] = generator
        state: dict[str, Any] = {
            "phase": phase,
            "step": 0 if progress is None else progress.step,
            "output_wanted": output_wanted,
            "done": list(result.history),
        }
        if progress is not None:
            steps = {"losses": progress.losses, "zero": progress.zero, "going_on": progress.going_on}
            tensors |= _under("steps", {name: torch.stack(values) for name, values in steps.items() if values})
            tensors |= _under("now", {name: torch.stack(values) for name, values in progress.history.items() if values})
            state["now"] = list(progress.history)
            if progress.active is not None:
                tensors["active"] = progress.active
            held = [progress.optimizer.state.get(value, {}) for value in parameters.values()]
            state["optimizer"] = [_without_tensors(each) for each in held]
            for number, each in enumerate(held):
                tensors |= _under(f"optimizer{number}", {n: v for n, v in each.items() if isinstance(v, Tensor)})
            state["on_cpu"] = [
                [n for n, v in e.items() if isinstance(v, Tensor) and v.device.type == "cpu"] for e in held
            ]
        self._place.keep(self._depends_on, tensors, state)

    def kept(self) -> Kept | None:
        """The state that is kept; None where there is none that can be used, of which a warning says why."""
        found = self._place.kept(self._depends_on)
        return None if found is None else Kept(*found, self._device)

    def _generator_states(self) -> dict[str, Tensor]:
        """The states of PyTorch's own generators, from which a loss or a network of others may draw."""
        states = {"cpu": torch.get_rng_state()}
        if self._device.type == "cuda":
            states["cuda"] = torch.cuda.get_rng_state(self._device)
        return states


@dataclass(frozen=True)
class Kept:
    """
    A state that was read back.

    Attributes:
        tensors (dict[str, Tensor]): Of it, on the CPU.
        state (dict): What else there is.
        device (torch.device): Of the optimization.
    """

    tensors: dict[str, Tensor]
    state: dict[str, Any]
    device: torch.device

    @property
    def phase(self) -> int:
        """Which phase is at work."""
        return int(self.state["phase"])

    @property
    def output_wanted(self) -> bool:
        """Whether a loss looked at the model's output."""
        return bool(self.state["output_wanted"])

    @property
    def loss_scale(self) -> Tensor | None:
        """By which losses are scaled."""
        return self.tensors["loss_scale"].to(self.device) if "loss_scale" in self.tensors else None

    @torch.no_grad()
    def put_back(
        self, parameters: Mapping[str, Tensor], result: OptimizationResult, losses: Iterable[Loss | None]
    ) -> None:
        """Give parameters, what a result holds so far, losses and random generators the state that they had."""
        for name, values in parameters.items():
            values.copy_(self.tensors[f"parameters/{name}"])
        result.history |= {name: self.tensors[f"done/{name}"] for name in self.state["done"]}
        result.snapshots |= {int(step): images for step, images in self._of("pictures").items()}
        for number, loss in enumerate(losses):
            if loss is not None:
                loss.load_state_dict(self._of(f"loss{number}"))
        random = self._of("random")
        if "cpu" in random:
            torch.set_rng_state(random["cpu"])
        if "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"], self.device)

    def progress(self, optimizer: torch.optim.Optimizer, parameters: Mapping[str, Tensor]) -> Progress:
        """What the phase at work has come to, with an optimizer made for it."""
        for number, values in enumerate(parameters.values()):
            held = self._of(f"optimizer{number}")
            on_cpu = self.state["on_cpu"][number]
            # Not load_state_dict, which gives the optimizer's own numbers the dtype and the device of the parameters.
            on_device = {name: value if name in on_cpu else value.to(self.device) for name, value in held.items()}
            if state := {**self.state["optimizer"][number], **on_device}:
                optimizer.state[values] = state
        steps = {name: list(values.to(self.device)) for name, values in self._of("steps").items()}
        now = {name: list(values.to(self.device)) for name, values in self._of("now").items()}
        return Progress(
            optimizer,
            int(self.state["step"]),
            {name: now.get(name, []) for name in self.state["now"]},
            steps.get("losses", []),
            steps.get("zero", []),
            steps.get("going_on", []),
            self.tensors["active"].to(self.device) if "active" in self.tensors else None,
        )

    def _of(self, group: str) -> dict[str, Tensor]:
        beginning = f"{group}/"
        return {n.removeprefix(beginning): value for n, value in self.tensors.items() if n.startswith(beginning)}


def what_it_depends_on(
    pipeline: Pipeline,
    settings: OptimizationSettings,
    losses: Iterable[Loss | None],
    rows: Rows,
    shape: tuple[int, ...],
    start: Tensor | None,
    snapshot_steps: Iterable[int],
) -> dict[str, Any]:
    """
    All that the state of an optimization depends on, as JSON can hold it, as far as settings tell it.

    Args:
        pipeline (Pipeline): The model and its preprocessing.
        settings (OptimizationSettings): Every choice.
        losses (iterable of Loss or None): What is minimized.
        rows (Rows): What the rows are.
        shape (tuple[int, ...]): Of one input.
        start (Tensor, optional): Start images.
        snapshot_steps (iterable of int): After which steps pictures are kept.
    """
    arguments = [tensor_sha256(a) if isinstance(a, Tensor) else repr(a) for a in pipeline.additional_forward_args]
    return {
        "format": _FORMAT,
        "settings": plain(settings.to_json()),
        "losses": [None if loss is None else plain(loss.settings()) for loss in losses],
        "targets": plain(rows.targets),
        "seeds": tensor_sha256(rows.keys),
        "numbers": plain(rows.numbers),
        "image_shape": list(shape),
        "start": None if start is None else tensor_sha256(start),
        "snapshot_steps": sorted(snapshot_steps),
        "model": [fingerprint(module) for module in modules_of(pipeline.forward_func)],
        "additional_forward_args": arguments,
        "preprocess": None if pipeline.preprocess is None else repr(pipeline.preprocess),
        "device": pipeline.device.type,
        "dtype": str(pipeline.image_dtype),
        "versions": versions(),
    }


def _under(group: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{group}/{name}": value for name, value in tensors.items()}


def _without_tensors(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if not isinstance(value, Tensor)}


__all__ = ["Kept", "Progress", "Resumption", "what_it_depends_on"]
