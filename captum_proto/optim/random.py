"""
Random numbers that belong to a prototype and a step, not to a batch.

A counter-based generator: a number is a hash of (key, stream, counter, position), so there is no state to share, save or restore. The
same prototype draws the same numbers alone or among a thousand, on the CPU or a GPU, today or after a resume. The hash is the
finalizer of SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) applied in a chain.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property

import torch
from torch import Tensor

from captum_proto.ops.double import exact

#: What the streams of one prototype are for; each is independent of the others.
START, TRANSFORM, EVALUATION, CONTROL, LOSS, DIRECTION, BACKGROUND = range(7)

#: So many draws of a row are few: made by the host, for many steps together.
_FEW = 16
#: How many steps are together, and how many rows of them.
_MOST_STEPS, _MOST_ROWS = 256, 2**16


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


class NotHeldError(RuntimeError):
    """Numbers were asked for that are not at one place in memory in all steps."""


class RandomStream:
    r"""
    The random numbers of every prototype of a batch at one step.

    Args:
        keys (Tensor): Shape (N,), int64, of :func:`prototype_keys`. If their device has no float64, numbers are drawn on the CPU, and are
            there.
        stream (int): What the numbers are for: START, TRANSFORM, EVALUATION, CONTROL, LOSS, DIRECTION or BACKGROUND.
        step (int or sequence of int, optional): The step they are for; with several there are rows for each, one step after the other.
            Default: 0

    Examples::

        >>> keys = prototype_keys([0, 1], [(12,), (12,)])
        >>> RandomStream(keys, START).uniform(3).shape
        torch.Size([2, 3])
    """

    def __init__(self, keys: Tensor, stream: int, step: int | Sequence[int] = 0) -> None:
        keys = exact(keys)
        self._keys, self._stream, self._step = keys, stream, step
        self._drawn = 0
        self._together: StepStreams | None = None

    def __len__(self) -> int:
        return len(self._keys) * (1 if isinstance(self._step, int) else len(self._step))

    @property
    def device(self) -> torch.device:
        """Where the numbers are: on the device of the keys, or on the CPU if that has no float64."""
        return self._keys.device

    @cached_property
    def _state(self) -> Tensor:
        if self._together is not None and self._together.holding:
            assert isinstance(self._step, int)
            return self._together.state(self._step)
        of_prototype = _mix(self._keys + _signed((self._stream + 1) * _GOLDEN))
        if isinstance(self._step, int):
            return _mix(of_prototype + _signed((self._step + 1) * _MIX_1))
        of_step = torch.tensor([_signed((step + 1) * _MIX_1) for step in self._step], dtype=torch.int64)
        return _mix(of_prototype + of_step.to(self.device).unsqueeze(1)).flatten()

    def integers(self, count: int) -> Tensor:
        """``count`` further hashes for each prototype: shape (N, count), int64, all bits random."""
        position = torch.arange(self._drawn + 1, self._drawn + count + 1, device=self.device, dtype=torch.int64)
        self._drawn += count
        return _mix(self._state.unsqueeze(1) + position * _GOLDEN)

    def seeds(self) -> list[int]:
        """One further hash for each prototype, as numbers of the host."""
        if self._together is None:
            return [int(seed) for seed in self.integers(1).flatten().tolist()]
        if self._together.closed:
            raise NotHeldError("its transform draws from PyTorch's own generators, which the host seeds in each step")
        assert isinstance(self._step, int)
        host = RandomStream(self._together.host_keys, self._stream, self._step)
        host._drawn = self._drawn
        self._drawn += 1
        return host.seeds()

    def uniform(self, count: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """``count`` further draws from U[low, high) for each prototype: shape (N, count), float64."""
        if self._together is not None and count <= _FEW:
            return self.ahead(count, ("uniform", low, high), lambda unit: low + (high - low) * unit)
        unit = _shift_right(self.integers(count), 11).to(torch.float64) * 2.0**-53
        return low + (high - low) * unit

    def normal(self, count: int) -> Tensor:
        """``count`` further draws from the standard normal distribution for each prototype: shape (N, count), float64."""
        # The inverse of its distribution function, of draws from the open interval: 0 would become minus infinity.
        return torch.special.ndtri(self.uniform(count) + 2.0**-54)

    def ahead(self, count: int, name: Hashable, make: Callable[[Tensor], Tensor]) -> Tensor:
        """
        What a function makes of ``count`` further draws from U[0, 1), row by row. A stream of :class:`StepStreams` makes it for many steps
        together, on the host.

        Args:
            count (int): How many draws.
            name (hashable): Tells ``make`` from every other function that is given here: equal names, equal results.
            make (Callable): From draws (rows, count), float64, to (rows, ...), each row by its own draws alone.

        Returns:
            Tensor: (N, ...) on :attr:`device`; not to be changed in place.
        """
        if self._together is None:
            return make(self.uniform(count))
        assert isinstance(self._step, int)
        position = self._drawn
        self._drawn += count
        return self._together.part(self._step, position, count, name, make)


class StepStreams:
    r"""
    The streams of the steps of an optimization, of which few numbers at a time are drawn, and worked on, for many steps together.

    An affine map takes dozens of operations on a few numbers, which a GPU spends more time on being told of than on computing, and tables
    that the host has to copy to it. So such numbers are made on the host, for a block of steps at once, and copied to the device once a
    block, without waiting for it. They are the same numbers: a draw is a hash, and depends on no other.

    Args:
        keys (Tensor): Shape (N,), int64, of :func:`prototype_keys`.
        stream (int): What the numbers are for, as in :class:`RandomStream`.
        steps (int): How many steps there are.

    Examples::

        >>> keys = prototype_keys([0, 1], [(12,), (12,)])
        >>> streams = StepStreams(keys, TRANSFORM, 100)
        >>> bool((streams.at(7).uniform(3) == RandomStream(keys, TRANSFORM, 7).uniform(3)).all())
        True
    """

    def __init__(self, keys: Tensor, stream: int, steps: int) -> None:
        self.host_keys = keys.cpu()
        self._keys, self._stream, self._steps = exact(keys), stream, steps
        self._block = max(1, min(_MOST_STEPS, _MOST_ROWS // max(1, len(keys))))
        self._first = 0
        self._made: dict[Hashable, Tensor] = {}
        self._makers: dict[Hashable, Callable[[range], Tensor]] = {}
        #: Of each kind of numbers, where those of the step are.
        self._held: dict[Hashable, Tensor] = {}
        #: Whether no further kinds may come: see :meth:`close`.
        self.closed = False
        #: Whether the numbers of a step are at the same place in memory for each step: see :meth:`hold`.
        self.holding = False

    def at(self, step: int) -> RandomStream:
        """The stream of a step."""
        stream = RandomStream(self._keys, self._stream, step)
        stream._together = self
        return stream

    def part(self, step: int, position: int, count: int, name: Hashable, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What :meth:`RandomStream.ahead` returns at a step, of the draws that follow the first ``position``."""

        def made(steps: range) -> Tensor:
            stream = RandomStream(self.host_keys, self._stream, steps)
            stream._drawn = position
            return make(stream.uniform(count))

        return self._at(step, (position, count, name), made)

    def state(self, step: int) -> Tensor:
        """What all numbers of a step are hashed from: (N,), int64."""
        return self._at(step, "state", lambda steps: RandomStream(self.host_keys, self._stream, steps)._state)

    def hold(self) -> None:
        """From now on, keep the numbers of the step at one place in the device's memory: what reads them there need not be told anew."""
        self.holding, self.closed = True, False
        self._held.clear()

    def close(self) -> None:
        """From now on there are places for those kinds of numbers alone that were asked for so far, and :meth:`fill` alone fills them."""
        self.closed = True

    def let_go(self) -> None:
        """Take :meth:`hold` back."""
        self.holding = self.closed = False
        self._held.clear()

    def fill(self, step: int) -> None:
        """Put the numbers of a step where they are held."""
        for key, place in self._held.items():
            place.copy_(self._of(step, key))

    def _at(self, step: int, key: Hashable, made: Callable[[range], Tensor]) -> Tensor:
        self._makers[key] = made
        if not self.holding:
            return self._of(step, key)
        if key not in self._held:
            if self.closed:
                raise NotHeldError("a step asked for other random numbers than the one before")
            self._held[key] = self._of(step, key).clone()
        elif not self.closed:
            self._held[key].copy_(self._of(step, key))
        return self._held[key]

    def _of(self, step: int, key: Hashable) -> Tensor:
        """A step's row of what is made for a block of steps."""
        first = step - step % self._block
        if first != self._first:
            self._first = first
            self._made.clear()
        if key not in self._made:
            steps = range(first, max(step + 1, min(first + self._block, self._steps)))
            made = self._makers[key](steps)
            self._made[key] = copied_to(made.view(len(steps), len(self.host_keys), *made.shape[1:]), self._keys.device)
        return self._made[key][step - first]


def copied_to(values: Tensor, device: torch.device) -> Tensor:
    """Values of the host on a device, without waiting for what that is doing."""
    if device.type != "cuda":
        return values.to(device)
    # From pageable memory the copy would wait, whatever non_blocking says.
    return values.pin_memory().to(device, non_blocking=True)
