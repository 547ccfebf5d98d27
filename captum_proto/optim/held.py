"""What an optimization keeps from one step to the next, put aside and put back: for steps that may have to be taken once more."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from captum_proto.optim.loss.objective import Loss
from captum_proto.optim.resumption import Progress


class HeldState:
    """
    A copy of all that one step hands to the next.

    Args:
        parameters (mapping): What is optimized.
        progress (Progress): Of the phase at work.
        losses (iterable of Loss or None): Whose own states count.
        loss_scale (Tensor, optional): By which losses are scaled.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        progress: Progress,
        losses: Iterable[Loss | None],
        loss_scale: Tensor | None,
    ) -> None:
        self.step, self._losses = progress.step, [loss for loss in losses if loss is not None]
        self._lengths = {name: len(values) for name, values in progress.history.items()}
        self._taken = len(progress.losses), len(progress.zero), len(progress.going_on)
        self.active = progress.active
        self.loss_scale = None if loss_scale is None else loss_scale.clone()
        self._parameters = {name: value.detach().clone() for name, value in parameters.items()}
        self._optimizer: dict[Any, dict[str, Any]] = {
            parameter: {name: _cloned(value) for name, value in state.items()}
            for parameter, state in progress.optimizer.state.items()
        }
        self._of_losses = [{n: v.detach().clone() for n, v in loss.state_dict().items()} for loss in self._losses]

    @torch.no_grad()
    def put_back(self, parameters: Mapping[str, Tensor], progress: Progress, loss_scale: Tensor | None) -> None:
        """Give everything its value of then, in the memory that it has now."""
        if loss_scale is not None and self.loss_scale is not None:
            loss_scale.copy_(self.loss_scale)
        for name, value in parameters.items():
            value.copy_(self._parameters[name])
        state = progress.optimizer.state
        for parameter in list(state):
            if parameter not in self._optimizer:
                del state[parameter]
                continue
            for name, value in self._optimizer[parameter].items():
                if isinstance(value, Tensor):
                    state[parameter][name].copy_(value)
                else:
                    state[parameter][name] = value
        for loss, of_loss in zip(self._losses, self._of_losses, strict=True):
            loss.load_state_dict({name: value.clone() for name, value in of_loss.items()})
        progress.step, progress.active = self.step, self.active
        for name in list(progress.history):
            if name in self._lengths:
                del progress.history[name][self._lengths[name] :]
            else:
                del progress.history[name]
        for values, length in zip((progress.losses, progress.zero, progress.going_on), self._taken, strict=True):
            del values[length:]

    def tensors(self) -> list[Tensor]:
        """All that is in it, in the same order for states of the same optimization."""
        found = [*self._parameters.values(), *([] if self.loss_scale is None else [self.loss_scale])]
        states: list[Mapping[str, Any]] = [*self._optimizer.values(), *self._of_losses]
        for state in states:
            found += [value for value in state.values() if isinstance(value, Tensor)]
        return found


def _cloned(value: Any) -> Any:
    return value.detach().clone() if isinstance(value, Tensor) else value


__all__ = ["HeldState"]
