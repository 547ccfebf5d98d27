"""Exact quantiles of each unit's values, which never are in memory at once: two passes over them, sometimes three."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto.ops.double import exact
from captum_proto.stats.search import OrderSearch

Interpolation = Literal["linear", "lower", "higher"]
#: Sums of int32 counts stay below this.
_INT32_ROOM = 2**31 - 1


class Quantiles:
    r"""
    The q-quantiles of each unit's values: ``torch.quantile`` of all of them, to the last bit, in float64.

    Passes narrow each wanted value down. In the first, values are counted in some 2,500 bins a unit, 32nds of an octave, of which zero is
    one (:func:`captum_proto.ops.radix_histogram`). So it is known in which bin the wanted value is, and how many are with it. In the
    second pass these few are kept and then sorted. Where they would take more than ``memory``, they are counted bit by bit instead
    (:func:`captum_proto.ops.radix_select`); if then several values still are possible, there is a third pass, and :meth:`end_pass` says
    so. Where the wanted value is zero, as for most units after a ReLU, the first pass does.

    All that is counted are integers, so the result depends on the values alone, not on batches, processes or the order of merging. But
    values have to be the same in every pass: give the model the same images in batches of the same size, since its own kernels round by
    the shape of the batch.

    Args:
        q (sequence of float): Between 0 and 1.
        interpolation (str, optional): What is taken between two neighboring values, as in ``torch.quantile``: ``"linear"``, ``"lower"`` or
            ``"higher"``. Default: ``"linear"``
        memory (int, optional): How many bytes one later pass may take. The first takes 10 KB a unit, and 20 KB for more than 2³¹ values
            each. Default: 256 MiB

    Attributes:
        count (int): How many values each unit had, in the first pass.
        passes (int): How many passes have ended.
        finished (bool): Whether :meth:`compute` can say the result.

    Raises:
        ValueError: If a q is not between 0 and 1, or there is none, or another argument is not as described.

    Examples::

        >>> batches = torch.randn(4, 3, 100, generator=torch.Generator().manual_seed(0))  # four batches, three units
        >>> quantiles = Quantiles([0.5, 0.99])
        >>> while not quantiles.finished:
        ...     for values in batches:
        ...         quantiles.update(values)
        ...     _ = quantiles.end_pass()
        >>> everything = batches.movedim(1, 0).flatten(1).double()
        >>> in_memory = everything.quantile(torch.tensor([0.5, 0.99], dtype=torch.float64), 1).T
        >>> quantiles.compute().equal(in_memory)
        True
    """

    def __init__(self, q: Sequence[float], interpolation: Interpolation = "linear", memory: int = 2**28) -> None:
        self.q = tuple(float(each) for each in q)
        for each in self.q:
            if not 0 <= each <= 1:
                raise InputError(f"q holds {each}; a quantile is between 0 and 1.")
        if not self.q:
            raise InputError("q is empty; give at least one number between 0 and 1.")
        if interpolation not in get_args(Interpolation):
            raise InputError(
                f"interpolation is {interpolation!r}; expected one of {', '.join(map(repr, get_args(Interpolation)))}."
            )
        if memory < 1:
            raise InputError(f"memory is {memory}; expected a positive number of bytes.")
        self.interpolation, self.memory = interpolation, memory
        self.count = self.passes = 0
        self.finished = False
        self._seen = 0  # values a unit, in this pass
        self._dtype: torch.dtype | None = None
        self._counts = torch.empty(0, 0, dtype=torch.int32)  # of the first pass, (U, bins)
        self._search: OrderSearch | None = None  # of the later ones

    def update(self, values: Tensor) -> None:
        """
        Take further values.

        Args:
            values (Tensor): (U, ...), floating point, any strides, on the device of those before: as many values for each unit. A layer's
                output (N, C, H, W) comes as ``output.movedim(1, 0)``, which copies nothing.

        Raises:
            ValueError: If there are other units than before, or a value is NaN.
            TypeError: If the dtype is not floating point, or not that of before.
            RuntimeError: If all passes are over.
        """
        if self.finished:
            raise StateError("the quantiles are known; there is no further pass to take values for.")
        if values.dim() < 2:
            raise InputError(f"values have shape {tuple(values.shape)}; expected (U, n) or (U, ...).")
        if not values.is_floating_point():
            raise InputTypeError(f"values have dtype {values.dtype}; expected floating point: convert with .float().")
        known = self._units()
        if known is not None and len(values) != known:
            raise InputError(f"there are {len(values)} units, before them {known}; give the values of one layer.")
        if self._dtype not in (None, values.dtype):
            raise InputTypeError(f"values have dtype {values.dtype}, those before them {self._dtype}; give one dtype.")
        values = exact(values)
        flat = values.detach().unsqueeze(1) if values.dim() == 2 else values.detach().unsqueeze(-1).flatten(2)
        number = flat.shape[1] * flat.shape[2]
        if self._search is not None:
            self._search.look(flat)
        else:
            if known is None:
                bins = len(ops.radix_bins(values.dtype)[0])
                self._counts = torch.zeros(len(values), bins, dtype=torch.int32, device=values.device)
                self._dtype = values.dtype
            self._make_room(self.count + number)
            ops.radix_histogram(self._counts, flat)
            self.count += number
            if values.device.type == "cpu":  # elsewhere to look is to wait, so it waits for the end of the pass
                self._refuse_nan()
        self._seen += number

    def merge(self, other: Quantiles) -> None:
        """
        Take the values of another state of the same pass, which stays as it is.

        For several processes: each takes its part of the first pass; one merges them all, ends the pass, and gives its
        :meth:`state_dict` to the others for the next.

        Raises:
            ValueError: If it looks for other quantiles, has other units, or is in another pass.
        """
        if (other.q, other.passes, other.finished) != (self.q, self.passes, self.finished):
            raise InputError(
                f"a state of q={self.q} after {self.passes} passes cannot take one of q={other.q} after {other.passes}."
            )
        if other._dtype is None:
            return
        if self._dtype is None:
            self._dtype, self._counts = other._dtype, torch.zeros_like(other._counts)
        if other._dtype != self._dtype or other._units() != self._units():
            raise InputError(
                f"a state of {self._units()} units in {self._dtype} cannot take one of {other._units()} units in {other._dtype}."
            )
        if self._search is not None and other._search is not None:
            self._search.add(other._search)
        else:
            self.count += other.count
            self._make_room(self.count)
            self._counts += other._counts.to(self._counts.device)
        self._seen += other._seen

    def end_pass(self) -> bool:
        """
        Say that all values have been given once.

        Returns:
            bool: Whether the quantiles are known now. If not, give all values again, and end that pass.

        Raises:
            ValueError: If a value was NaN.
            RuntimeError: If there were no values, or other ones than in the first pass.
        """
        if self.finished:
            return True
        if not self.count:
            raise StateError("there were no values; call update before end_pass.")
        if self._seen != self.count:
            raise StateError(
                f"this pass had {self._seen} values a unit and the first {self.count}; give the same values in every pass."
            )
        if self._search is not None:
            self._search.narrow(self.memory)
        else:
            self._refuse_nan()
            assert self._dtype is not None
            ranks = torch.tensor(self._ranks())
            self._search = OrderSearch.in_bins(self._counts, ranks, self._dtype, self.memory)
            self._counts = self._counts[:, :0].clone()  # no longer needed
        self.passes, self._seen, self.finished = self.passes + 1, 0, self._search.finished
        return self.finished

    def compute(self) -> Tensor:
        """
        The quantiles.

        Returns:
            Tensor: (U, len(q)), float64. What is between an infinite value and another is infinite, where ``torch.quantile`` may make it
            NaN; between the two infinities it is NaN.

        Raises:
            RuntimeError: If passes are missing.
        """
        if self._search is None or not self.finished:
            raise StateError(
                f"the quantiles are not known after {self.passes} passes; call end_pass after each, until it returns True."
            )
        values = dict(zip(self._ranks(), self._search.values().double().unbind(1), strict=True))
        columns = []
        for place in self._places():
            lower, higher = math.floor(place), math.ceil(place)
            if self.interpolation == "linear":
                between = torch.lerp(values[lower], values[higher], place - lower)
                # Where an infinity is subtracted from itself: towards an infinite neighbor all is infinite.
                columns.append(torch.where(between.isnan(), values[lower] + values[higher], between))
            else:
                columns.append(values[lower if self.interpolation == "lower" else higher])
        return torch.stack(columns, 1)

    def to(self, device: torch.device) -> None:
        """Bring the state to a device, as to that of the values to come."""
        self.load_state_dict({name: value.to(device) for name, value in self.state_dict().items()})

    def state_dict(self) -> dict[str, Tensor]:
        """The state as tensors."""
        state = {
            "q": torch.tensor(self.q, dtype=torch.float64),
            "interpolation": torch.tensor(get_args(Interpolation).index(self.interpolation)),
            "memory": torch.tensor(self.memory),
            "count": torch.tensor(self.count),
            "passes": torch.tensor(self.passes),
            "finished": torch.tensor(self.finished),
            "seen": torch.tensor(self._seen),
        }
        if self._dtype is not None:
            state["like"] = torch.empty(0, dtype=self._dtype)
            state["counts"] = self._counts.clone()
        if self._search is not None:
            state |= {f"search.{name}": tensor for name, tensor in self._search.state_dict().items()}
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Become the state that :meth:`state_dict` described."""
        self.q = tuple(state["q"].tolist())
        self.interpolation = get_args(Interpolation)[int(state["interpolation"])]
        self.memory, self.count, self.passes = int(state["memory"]), int(state["count"]), int(state["passes"])
        self.finished, self._seen = bool(state["finished"]), int(state["seen"])
        self._dtype = state["like"].dtype if "like" in state else None
        self._counts = state["counts"].clone() if "counts" in state else torch.empty(0, 0, dtype=torch.int32)
        search = {name.removeprefix("search."): tensor for name, tensor in state.items() if name.startswith("search.")}
        self._search = OrderSearch.from_state_dict(search) if search else None

    def _units(self) -> int | None:
        if self._dtype is None:
            return None
        return len(self._counts)

    def _make_room(self, count: int) -> None:
        if count > _INT32_ROOM and self._counts.dtype == torch.int32:
            self._counts = self._counts.to(torch.int64)

    def _refuse_nan(self) -> None:
        nan = self._counts[:, 0] + self._counts[:, -1]
        if bool(nan.any()):
            unit = int(nan.nonzero()[0])
            raise InputError(f"unit {unit} has values that are NaN, {int(nan[unit])} of them, which have no order.")

    def _places(self) -> list[float]:
        """Where the quantiles are among the sorted values, as torch.quantile has it."""
        return [q * (self.count - 1) for q in self.q]

    def _ranks(self) -> list[int]:
        """Which of the sorted values are wanted."""
        floors, ceilings = {math.floor(each) for each in self._places()}, {math.ceil(each) for each in self._places()}
        return sorted({"lower": floors, "higher": ceilings, "linear": floors | ceilings}[self.interpolation])


__all__ = ["Interpolation", "Quantiles"]
