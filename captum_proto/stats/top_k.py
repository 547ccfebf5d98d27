"""The k best rows of each unit, of rows that stream by: exact, whatever the batches and the order of merging."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto.ops.double import exact

#: What a free place holds, see :func:`captum_proto.ops.top_k`.
_FREE = torch.iinfo(torch.int64).max


class TopK:
    r"""
    The k largest scores of each unit, or the k smallest, and of which rows they are.

    Of equal scores the smaller index comes first, of equal indices the smaller payload. That order is a total one, so the result depends
    on the rows alone: ``torch.topk`` of all scores, with ties decided. What is kept is (U, k), however many rows there are.

    Args:
        k (int): How many, at least 1.
        largest (bool, optional): Whether the largest; otherwise the smallest. Default: True

    Attributes:
        count (int): How many rows there were.

    Raises:
        ValueError: If ``k`` is not at least 1.

    Examples::

        >>> scores = torch.tensor([[1.0, 9.0], [3.0, 9.0], [2.0, 0.0]])  # three images, two units
        >>> first, second = TopK(2), TopK(2)
        >>> first.update(scores[:2], torch.tensor([0, 1]))
        >>> second.update(scores[2:], torch.tensor([2]))
        >>> second.merge(first)
        >>> best, images, _ = second.compute()
        >>> best, images
        (tensor([[3., 2.],
                [9., 9.]]), tensor([[1, 2],
                [0, 1]]))
    """

    def __init__(self, k: int, largest: bool = True) -> None:
        self.k, self.largest, self.count = check_int(k, "k", 1), largest, 0
        self._scores: Tensor | None = None
        self._indices = self._payload = torch.empty(0, 0, dtype=torch.int64)
        self._has_payload = False

    def update(self, scores: Tensor, indices: Tensor, payload: Tensor | None = None) -> None:
        """
        Take further rows.

        Args:
            scores (Tensor): (N, U), floating point, any strides, on the device of those before. Half precision is kept as float32.
            indices (Tensor): (N,), int64: which row each is, such as the number of an image.
            payload (Tensor, optional): (N, U), int64: what is to be known of a score, such as its position. Default: None

        Raises:
            ValueError: If the shapes do not match one another or those before, or a score is NaN.
            TypeError: If a dtype is another one.
        """
        if not scores.is_floating_point():
            raise InputTypeError(f"scores have dtype {scores.dtype}; expected floating point: convert with .float().")
        if scores.dim() != 2 or indices.shape != (len(scores),):
            raise InputError(
                f"scores have shape {tuple(scores.shape)} and indices {tuple(indices.shape)}; expected (N, U) and (N,)."
            )
        if payload is not None and payload.shape != scores.shape:
            raise InputError(
                f"payload has shape {tuple(payload.shape)}; expected that of scores, {tuple(scores.shape)}."
            )
        if indices.dtype != torch.int64 or (payload is not None and payload.dtype != torch.int64):
            raise InputTypeError("indices and payload have to be int64; convert with .long().")
        if self.count and (payload is not None) != self._has_payload:
            raise InputError("rows come with a payload throughout, or throughout without one.")
        if bool(scores.isnan().any()):
            row, unit = scores.isnan().nonzero()[0].tolist()
            raise InputError(f"the score of unit {unit} in row {int(indices[row])} is NaN, which has no order.")
        if scores.dtype != torch.float64:
            scores = scores.float()
        scores = exact(scores)
        lists = self._lists(scores.shape[1], scores)
        if not len(scores):
            return
        nothing = indices.new_zeros(1, 1) if payload is None else payload
        ops.top_k(
            *lists,
            scores,
            indices.to(scores.device).unsqueeze(1).expand(scores.shape),
            nothing.to(scores.device).expand(scores.shape),
            self.largest,
        )
        self._has_payload = payload is not None
        self.count += len(scores)

    def merge(self, other: TopK) -> None:
        """
        Take the rows of another state, which stays as it is.

        Raises:
            ValueError: If it is of another k or another number of units, or takes the other end.
        """
        if (other.k, other.largest) != (self.k, self.largest):
            raise InputError(
                f"a state of k={self.k}, largest={self.largest} cannot take one of k={other.k}, largest={other.largest}."
            )
        if self.count and other.count and self._has_payload != other._has_payload:
            raise InputError("rows come with a payload throughout, or throughout without one.")
        if other._scores is None:
            return
        lists = self._lists(
            other._scores.shape[0], other._scores if self._scores is None else self._scores, other._scores.dtype
        )
        new = [each.to(lists[0].device).t() for each in (other._scores, other._indices, other._payload)]
        ops.top_k(*lists, new[0], new[1], new[2], largest=self.largest)
        self._has_payload |= other._has_payload
        self.count += other.count

    def compute(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """
        The lists so far.

        Returns:
            tuple[Tensor, Tensor, Tensor or None]: Scores, indices and payload, each (U, k), or (U, count) where there were fewer rows than
            k; the best first.

        Raises:
            RuntimeError: If there were no rows.
        """
        if self._scores is None or not self.count:
            raise StateError("there were no rows to choose from; call update first.")
        held = min(self.k, self.count)
        payload = self._payload[:, :held].clone() if self._has_payload else None
        return self._scores[:, :held].clone(), self._indices[:, :held].clone(), payload

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors: how many rows, and the lists."""
        state = {
            "k": torch.tensor(self.k),
            "largest": torch.tensor(self.largest),
            "count": torch.tensor(self.count),
            "has_payload": torch.tensor(self._has_payload),
        }
        if self._scores is not None:
            state |= {
                "scores": self._scores.clone(),
                "indices": self._indices.clone(),
                "payload": self._payload.clone(),
            }
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        self.k, self.largest, self.count = int(state["k"]), bool(state["largest"]), int(state["count"])
        self._has_payload = bool(state["has_payload"])
        self._scores = state["scores"].clone() if "scores" in state else None
        if self._scores is not None:
            self._indices, self._payload = state["indices"].clone(), state["payload"].clone()

    def _lists(self, units: int, like: Tensor, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The lists, made of free places where there are none."""
        dtype = like.dtype if dtype is None else dtype
        if self._scores is None:
            worst = -torch.inf if self.largest else torch.inf
            free = torch.full((units, self.k), _FREE, dtype=torch.int64, device=like.device)
            scores = torch.full((units, self.k), worst, dtype=dtype, device=like.device)
            self._payload, self._indices, self._scores = free.clone(), free, scores
        if len(self._scores) != units:
            raise InputError(f"there are {units} units, before them {len(self._scores)}; give rows of one layer.")
        if self._scores.dtype != dtype:
            raise InputTypeError(f"scores have dtype {dtype}, those before them {self._scores.dtype}; give one dtype.")
        return self._scores, self._indices, self._payload


__all__ = ["TopK"]
