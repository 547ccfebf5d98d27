"""A phase of an optimization: one loss, minimized for some steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from captum_proto.optim.loss.objective import Loss
from captum_proto.optim.settings import SCHEDULES


@dataclass(frozen=True)
class Phase:
    """One loss, minimized for some steps by an optimizer of its own."""

    name: str
    loss: Loss
    steps: int
    unit: str = "step"  # what a step is called in a message
    total: str | None = "loss"  # the name under which the loss itself is recorded
    transformed: bool = False
    advances: bool = False  # whether it is along its steps that a parametrization goes from coarse to fine
    schedule: Callable[[float], float] = SCHEDULES["constant"]
    tolerance: float = 0.0  # a row rests from when the first of what is recorded is at most this
    snapshot_steps: frozenset[int] = frozenset()

    @property
    def recorded(self) -> list[str]:
        """What is recorded of it, as far as it is known before."""
        return [*([] if self.total is None else [self.total]), *self.loss.terms]


__all__ = ["Phase"]
