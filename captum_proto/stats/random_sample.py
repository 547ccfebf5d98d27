"""A random sample of rows that stream by: the same rows however they come in batches, and in whichever process."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, StateError
from captum_proto.ops.double import exact

#: Of SplitMix64 (Steele, Lea and Flood 2014), as signed numbers: the step, and the two multipliers of the mixing.
_STEP, _FIRST, _SECOND = (value - 2**64 for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


class RandomSample:
    r"""
    A sample of k rows without replacement.

    Each row has a random number made from the seed and its index; those with the k smallest are the sample. So which rows they are depends
    on their indices and the seed alone: not on values, batches or the order of merging.

    Args:
        k (int): How many, at least 1.
        seed (int, optional): Which sample. Default: 0

    Attributes:
        count (int): How many rows there were.

    Raises:
        ValueError: If ``k`` is not at least 1.

    Examples::

        >>> first, second = RandomSample(2), RandomSample(2)
        >>> first.update(torch.tensor([[0.1], [0.2], [0.3]]), torch.tensor([0, 1, 2]))
        >>> second.update(torch.tensor([[0.4], [0.5]]), torch.tensor([3, 4]))
        >>> first.merge(second)
        >>> scores, indices, _ = first.compute()
        >>> scores.shape, len(indices), bool((scores[0] == 0.1 * (indices + 1)).all())
        (torch.Size([1, 2]), 2, True)
    """

    def __init__(self, k: int, seed: int = 0) -> None:
        self.k, self.seed, self.count = check_int(k, "k", 1), check_int(seed, "seed", 0), 0
        self._keys = self._indices = torch.empty(0, dtype=torch.int64)
        self._scores = self._payload = torch.empty(0, 0)

    def update(self, scores: Tensor, indices: Tensor, payload: Tensor | None = None) -> None:
        """
        Take further rows.

        Args:
            scores (Tensor): (N, U), floating point. Half precision is kept as float32.
            indices (Tensor): (N,), int64: which row each is; none comes twice.
            payload (Tensor, optional): (N, U), int64. Default: None

        Raises:
            ValueError: If the shapes do not match one another or those before.
        """
        if scores.dim() != 2 or indices.shape != (len(scores),):
            raise InputError(
                f"scores have shape {tuple(scores.shape)} and indices {tuple(indices.shape)}; expected (N, U) and (N,)."
            )
        scores, payload = exact(scores), None if payload is None else exact(payload)
        held = scores if scores.dtype == torch.float64 else scores.float()
        nothing = torch.empty(len(scores), 0, dtype=torch.int64, device=scores.device) if payload is None else payload
        self._take(random_keys(indices.cpu(), self.seed), indices.cpu(), held, nothing)
        self.count += len(scores)

    def merge(self, other: RandomSample) -> None:
        """
        Take the rows of another state, which stays as it is.

        Raises:
            ValueError: If it is of another k or seed, or has another number of units.
        """
        if (other.k, other.seed) != (self.k, self.seed):
            raise InputError(
                f"a sample of {self.k} with seed {self.seed} cannot take one of {other.k} with seed {other.seed}."
            )
        if other.count:
            self._take(other._keys, other._indices, other._scores, other._payload)
            self.count += other.count

    def compute(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """
        The sample so far, in the order of the indices.

        Returns:
            tuple[Tensor, Tensor, Tensor or None]: Scores (U, k), indices (k,) and payload (U, k); fewer where there were fewer rows than k.

        Raises:
            RuntimeError: If there were no rows.
        """
        if not self.count:
            raise StateError("there were no rows to draw from; call update first.")
        order = self._indices.argsort()
        payload = self._payload[order].T.contiguous() if self._payload.shape[1] else None
        return self._scores[order].T.contiguous(), self._indices[order], payload

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors: how many rows, and those of the sample."""
        state = {name: torch.tensor(getattr(self, name)) for name in ("k", "seed", "count")}
        return state | {name: getattr(self, f"_{name}").clone() for name in ("keys", "indices", "scores", "payload")}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        self.k, self.seed, self.count = int(state["k"]), int(state["seed"]), int(state["count"])
        self._keys, self._indices = state["keys"].cpu().clone(), state["indices"].cpu().clone()
        self._scores, self._payload = state["scores"].clone(), state["payload"].clone()

    def _take(self, keys: Tensor, indices: Tensor, scores: Tensor, payload: Tensor) -> None:
        if self.count and scores.shape[1] != self._scores.shape[1]:
            raise InputError(
                f"there are {scores.shape[1]} units, before them {self._scores.shape[1]}; give rows of one layer."
            )
        if self.count:
            device = self._scores.device
            keys, indices = torch.cat([self._keys, keys]), torch.cat([self._indices, indices])
            scores = torch.cat([self._scores, scores.to(device)])
            payload = torch.cat([self._payload, payload.to(device)])
        best = keys.argsort(stable=True)[: self.k]
        there = best.to(scores.device)
        chosen = keys[best].clone(), indices[best].clone(), scores[there].clone(), payload[there].clone()
        self._keys, self._indices, self._scores, self._payload = (
            chosen  # all at once, or nothing where there is no memory
        )


def random_keys(indices: Tensor, seed: int) -> Tensor:
    """A random number for each index, (N,) in int64, all different: SplitMix64 of its place in the seed's sequence."""
    mixed = (indices + 1) * _STEP + _mixed(torch.tensor(seed))
    return _mixed(mixed)


def _mixed(values: Tensor) -> Tensor:
    for shift, factor in ((30, _FIRST), (27, _SECOND)):
        values = (values ^ _shifted(values, shift)) * factor
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """To the right, with zeros from the left."""
    return (values >> bits) & (2 ** (64 - bits) - 1)


__all__ = ["RandomSample", "random_keys"]
