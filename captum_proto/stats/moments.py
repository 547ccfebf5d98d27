"""Sums and means of rows that stream by, in double precision and the same to the last bit however the rows come."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError, StateError
from captum_proto.ops.double import exact


class Moments:
    r"""
    The sum and the mean of rows.

    Rows are added in float64 one after the other (:func:`captum_proto.ops.accumulate`), so their batches make no difference. The sums of
    merged states are kept apart and added from the least to the greatest, so the order of merging makes none either.

    Attributes:
        count (int): How many rows there were.

    Examples::

        >>> rows = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 9.0]])
        >>> first, second = Moments(), Moments()
        >>> first.update(rows[:2])
        >>> second.update(rows[2:])
        >>> first.merge(second)
        >>> first.count, first.compute()
        (3, tensor([3., 5.], dtype=torch.float64))
    """

    def __init__(self) -> None:
        self.count = 0
        self._own: Tensor | None = None
        self._merged: list[Tensor] = []

    def update(self, rows: Tensor) -> None:
        """
        Add rows.

        Args:
            rows (Tensor): (N, …), floating point, any strides, on the device of the rows before them. Of a device without
                float64 they are added on the CPU.

        Raises:
            ValueError: If their shape is not that of the rows before.
        """
        self._check_shape(rows.shape[1:])
        rows = exact(rows)
        if self._own is None:
            self._own = torch.zeros(rows.shape[1:], dtype=torch.float64, device=rows.device)
        ops.accumulate(self._own.view(-1), rows.reshape(len(rows), -1))
        self.count += len(rows)

    def merge(self, other: Moments) -> None:
        """
        Add the rows of another state, which stays as it is.

        Raises:
            ValueError: If their shape is another one.
        """
        for total in other._totals():
            self._check_shape(total.shape)
            self._merged.append(total.clone())
        self.count += other.count

    def copy(self, other: Moments) -> None:
        """Become what another state is, which has seen the same rows: cheaper than to add them again."""
        merged = [total.clone() for total in other._merged]
        if self._own is None or other._own is None or self._own.shape != other._own.shape:
            self._own = None if other._own is None else other._own.clone()
        else:
            self._own.copy_(other._own)
        self._merged, self.count = merged, other.count  # last, so that without memory for the copies all is as it was

    def total(self) -> Tensor:
        """
        The sum of all rows, (…) in float64.

        Raises:
            RuntimeError: If there were no rows.
        """
        totals = self._totals()
        if not totals:
            raise StateError("there were no rows to sum; call update first.")
        if len(totals) == 1:
            return totals[0]
        ordered = torch.stack([each.to(totals[0].device) for each in totals]).sort(0).values
        total = ordered[0].clone()
        for each in ordered[1:]:
            total += each
        return total

    def compute(self) -> Tensor:
        """
        The mean of all rows, (…) in float64.

        Raises:
            RuntimeError: If there were no rows.
        """
        return self.total() / self.count

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors: how many rows, their sum, and the sums of merged states."""
        state = {"count": torch.tensor(self.count)}
        if self._own is not None:
            state["own"] = self._own.clone()
        if self._merged:
            state["merged"] = torch.stack([each.to(self._merged[0].device) for each in self._merged])
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        self.count = int(state["count"])
        self._own = state["own"].clone() if "own" in state else None
        self._merged = list(state["merged"].clone()) if "merged" in state else []

    def _totals(self) -> list[Tensor]:
        return [*([] if self._own is None else [self._own]), *self._merged]

    def _check_shape(self, shape: torch.Size) -> None:
        known = next((total.shape for total in self._totals()), shape)
        if shape != known:
            raise InputError(
                f"rows have shape {tuple(shape)}, those before them {tuple(known)}; give rows of one shape."
            )


__all__ = ["Moments"]
