"""What a statistic is: a state that takes rows as they come, adds up with others of its kind, and can be put down and taken up again."""

from __future__ import annotations

from typing import Any, Protocol, TypeVar

from torch import Tensor

_State = TypeVar("_State", bound="State")


class State(Protocol):
    """
    A statistic over rows that never are in memory at once.

    The result depends on the rows alone: neither on how they come in batches, nor on the order in which states are merged.
    """

    def update(self, rows: Tensor) -> None:
        """Take further rows, (N, …)."""

    def merge(self: _State, other: _State) -> None:
        """Take what another state has taken: of another process, or of another part of the data."""

    def compute(self) -> Any:
        """The statistic over all rows so far."""

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that :meth:`load_state_dict` needs to go on from here, as tensors."""

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""


__all__ = ["State"]
