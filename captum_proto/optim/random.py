"""
Random numbers that belong to a prototype and a step, not to a batch.

A counter-based generator: a number is a hash of (key, stream, counter, position), so there is no state to share, save or restore. The
same prototype draws the same numbers alone or among a thousand, on the CPU or a GPU, today or after a resume. The hash is the
finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) applied in a chain.
"""

from __future__ import annotations

import torch
from torch import Tensor

#: What the streams of one prototype are for; each is independent of the others.
START, TRANSFORM, EVALUATION, CONTROL, LOSS, DIRECTION, BACKGROUND = range(7)


def _signed(value: int) -> int:
    value &= (1 << 64) - 1
    return value - (1 << 64) if value >= 1 << 63 else value


_GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX_1 = _signed(0xBF58476D1CE4E5B9)
_MIX_2 = _signed(0x94D049BB133111EB)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    # int64's own shift repeats the sign; a hash wants zeros.
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _mix(x: Tensor) -> Tensor:
    x = (x ^ _shift_right(x, 30)) * _MIX_1
    x = (x ^ _shift_right(x, 27)) * _MIX_2
    return x ^ _shift_right(x, 31)


def prototype_keys(seeds: list[int], targets: list[tuple[int, ...]], device: torch.device | str = "cpu") -> Tensor:
    """
    The key of each prototype's random numbers, from its seed and its classes.

    Args:
        seeds (list[int]): One for each prototype.
        targets (list[tuple[int, ...]]): The classes of each prototype. Different classes draw different numbers from equal seeds.
        device (torch.device, optional): Where the keys live. Default: "cpu"

    Returns:
        Tensor: Shape (N,), int64.
    """
    keys = []
    for seed, target in zip(seeds, targets, strict=True):
        key = torch.tensor(_signed(seed), dtype=torch.int64)
        for index in target:
            key = _mix(key + _GOLDEN) ^ _mix(torch.tensor(_signed((index + 1) * _GOLDEN)))
        keys.append(_mix(key + _GOLDEN))
    return torch.stack(keys).to(device) if keys else torch.empty(0, dtype=torch.int64, device=device)


class RandomStream:
    r"""
    The random numbers of every prototype of a batch at one step.

    Args:
        keys (Tensor): Shape (N,), int64, of :func:`prototype_keys`.
        stream (int): What the numbers are for: START, TRANSFORM, EVALUATION, CONTROL, LOSS, DIRECTION or BACKGROUND.
        step (int, optional): The step they are for. Default: 0

    Examples::

        >>> keys = prototype_keys([0, 1], [(12,), (12,)])
        >>> RandomStream(keys, START).uniform(3).shape
        torch.Size([2, 3])
    """

    def __init__(self, keys: Tensor, stream: int, step: int = 0) -> None:
        self._state = _mix(_mix(keys + _signed((stream + 1) * _GOLDEN)) + _signed((step + 1) * _MIX_1))
        self._drawn = 0

    def __len__(self) -> int:
        return len(self._state)

    @property
    def device(self) -> torch.device:
        return self._state.device

    def integers(self, count: int) -> Tensor:
        """``count`` further hashes for each prototype: shape (N, count), int64, all bits random."""
        position = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self.device, dtype=torch.int64)
        self._drawn += count
        return _mix(self._state.unsqueeze(1) + position * _GOLDEN)

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """``count`` further draws from U[low, high) for each prototype: shape (N, count), float64."""
        unit = _shift_right(self.integers(count), 11).to(torch.float64) * 2.0**-53
        return low + (high - low) * unit

    def normal(self, count: int) -> Tensor:
        """``count`` further draws from the standard normal distribution for each prototype: shape (N, count), float64."""
        # The inverse of its distribution function, of draws from the open interval: 0 would become minus infinity.
        return torch.special.ndtri(self.uniform(count) + 2.0**-54)
