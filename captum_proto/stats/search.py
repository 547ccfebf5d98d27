"""The search for some of each unit's values in their order: in which interval each is, narrower after every pass."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError, StateError

#: A histogram of a later pass has at least so many bits, whatever memory says: fewer would bring little.
_LEAST_BITS = 8


@dataclass
class OrderSearch:
    """
    Intervals of keys (:func:`captum_proto.ops.radix_bins`) that are known to hold wanted values, and what a pass finds in them.

    Attributes:
        low (Tensor): (U, R), the smallest key of the interval that holds the wanted value.
        width (Tensor): (U, R), how many keys it has: 1 where the value is known.
        below (Tensor): (U, R), how many values of the interval come before the wanted one.
        inside (Tensor): (U, R), how many there are.
        slot (Tensor): (U, R), the slot of the pass that looks into the interval, or -1.
        first (Tensor): (U + 1,), the slots of each unit.
        slots (Tensor): (S, 5), see :func:`captum_proto.ops.radix_select`, as are the next three.
        counts (Tensor): (bins,).
        filled (Tensor): (S,).
        kept (Tensor): (room,), in the dtype of the values.
    """

    low: Tensor
    width: Tensor
    below: Tensor
    inside: Tensor
    slot: Tensor
    first: Tensor
    slots: Tensor
    counts: Tensor
    filled: Tensor
    kept: Tensor

    @classmethod
    def in_bins(cls, counts: Tensor, ranks: Tensor, dtype: torch.dtype, memory: int) -> OrderSearch:
        """
        The search after a first pass.

        Args:
            counts (Tensor): (U, bins), as :func:`captum_proto.ops.radix_histogram` makes them.
            ranks (Tensor): (R,), int64, rising: which of the sorted values are wanted, from 0.
            dtype (torch.dtype): Of the values.
            memory (int): How many bytes the next pass may take.
        """
        counts = counts.long()
        wanted = ranks.to(counts.device).expand(len(counts), -1).contiguous()
        up_to = counts.cumsum(1)
        bins = torch.searchsorted(up_to, wanted, right=True)
        low, width = (each.to(counts.device) for each in ops.radix_bins(dtype))
        inside = counts.gather(1, bins)
        below = wanted - (up_to.gather(1, bins) - inside)
        none = counts.new_zeros(0)
        search = cls(low[bins], width[bins], below, inside, none, none, none, none, none, torch.empty(0, dtype=dtype))
        search.plan(memory)
        return search

    @property
    def finished(self) -> bool:
        """Whether every wanted value is known."""
        return not len(self.slots)

    def values(self) -> Tensor:
        """The wanted values (U, R), once they are known."""
        return ops.values_of_keys(self.low, self.kept.dtype)

    def look(self, values: Tensor) -> None:
        """Take values (U, A, B) of this pass."""
        ops.radix_select(self.counts, self.filled, self.kept, values, self.first, self.slots)

    def add(self, other: OrderSearch) -> None:
        """Take what another search has found in the same intervals, in this pass."""
        if not torch.equal(self.slots, other.slots.to(self.slots.device)):
            raise InputError(
                "the states look for values in different intervals; after each pass, load the state_dict of the one that all were "
                "merged into."
            )
        self.counts += other.counts.to(self.counts.device)
        keeps = self.slots[:, 2] < 0
        offset, room = self.slots[keeps, 3], self.slots[keeps, 4]
        mine, theirs = self.filled[keeps], torch.minimum(other.filled.to(self.filled.device)[keeps], room)
        owner = torch.arange(len(room), device=room.device).repeat_interleave(theirs)
        place = torch.arange(len(owner), device=room.device) - (theirs.cumsum(0) - theirs)[owner]
        fits = mine[owner] + place < room[owner]
        owner, place = owner[fits], place[fits]
        self.kept[offset[owner] + mine[owner] + place] = other.kept.to(self.kept.device)[offset[owner] + place]
        self.filled += other.filled.to(self.filled.device)

    def narrow(self, memory: int) -> None:
        """
        End the pass: what was kept is known now, what was counted is in a narrower interval. Plan the next one.

        Raises:
            RuntimeError: If the values were not those of the first pass.
        """
        searched = self.slot >= 0
        slot, below, inside = self.slot[searched], self.below[searched], self.inside[searched]
        low, width = self.low[searched], self.width[searched]
        _, _, shift, offset, room = self.slots[slot].unbind(1)
        keeps = shift < 0
        up_to = torch.cat([self.counts.new_zeros(1), self.counts.cumsum(0)])
        begin, counts = offset[~keeps], up_to[(offset + room)[~keeps]] - up_to[offset[~keeps]]
        if not (torch.equal(self.filled[slot[keeps]], inside[keeps]) and torch.equal(counts, inside[~keeps])):
            raise StateError(
                "the values of this pass are not those of the first; give the same ones, from a model in evaluation mode and in "
                "batches of the same size."
            )
        low[keeps] = self._sorted_keys()[(offset + below)[keeps]]
        width[keeps] = 1

        bins = torch.searchsorted(up_to[1:], up_to[begin] + below[~keeps], right=True)
        step = shift[~keeps]
        beyond = (bins - begin) << step  # how far into the interval the narrower one begins
        low[~keeps] += beyond
        width[~keeps] = torch.minimum(torch.ones_like(step) << step, width[~keeps] - beyond)
        below[~keeps] -= up_to[bins] - up_to[begin]
        inside[~keeps] = self.counts[bins]
        self.low[searched], self.width[searched], self.below[searched], self.inside[searched] = (
            low,
            width,
            below,
            inside,
        )
        self.plan(memory)

    def plan(self, memory: int) -> None:
        """Choose for each interval of more than one key whether the next pass keeps its values, or counts them by how many bits."""
        searched = self.width > 1
        unit = searched.nonzero()[:, 0]
        low, width, inside = self.low[searched], self.width[searched], self.inside[searched]
        # Wanted values of a unit are in order, so where several are in one interval they are neighbors, and share a slot.
        new = torch.ones_like(unit, dtype=torch.bool)
        new[1:] = (unit[1:] != unit[:-1]) | (low[1:] != low[:-1])
        self.slot = torch.full_like(self.low, -1)
        self.slot[searched] = new.cumsum(0) - 1
        unit, low, width, inside = unit[new], low[new], width[new], inside[new]

        dtype = self.kept.dtype
        share = memory // max(1, len(unit))
        keeps = inside * dtype.itemsize <= share
        most_bits = max(_LEAST_BITS, (share // 8).bit_length() - 1)
        widths, which = torch.unique(width, return_inverse=True)  # a handful, whose bits Python counts
        bits = widths.new_tensor([(each - 1).bit_length() for each in widths.tolist()])[which]
        shift = torch.where(keeps, -1, (bits - most_bits).clamp(min=0))
        room = torch.where(keeps, inside, ((width - 1) >> shift.clamp(min=0)) + 1)
        kept, counted = room * keeps, room * ~keeps
        offset = torch.where(keeps, kept.cumsum(0), counted.cumsum(0)) - room

        self.slots = torch.stack([low, width, shift, offset, room], 1)
        number = torch.bincount(unit, minlength=len(self.low))
        self.first = torch.cat([number.new_zeros(1), number.cumsum(0)])
        self.filled = torch.zeros_like(low)
        self.counts = low.new_zeros(int(counted.sum()))
        self.kept = torch.zeros(int(kept.sum()), dtype=dtype, device=low.device)

    def state_dict(self) -> dict[str, Tensor]:
        """The search as tensors; of the room for values what is filled, as of a part of the data little is."""
        state = {field.name: getattr(self, field.name).clone() for field in dataclasses.fields(self)}
        return {**state, "kept": self.kept[self._filled_places()]}

    @classmethod
    def from_state_dict(cls, state: dict[str, Tensor]) -> OrderSearch:
        """The search that :meth:`state_dict` described."""
        search = cls(**{field.name: state[field.name].clone() for field in dataclasses.fields(cls)})
        room = int(search.slots[search.slots[:, 2] < 0, 4].sum()) if len(search.slots) else len(search.kept)
        if len(search.kept) != room:  # else it was full
            filled, search.kept = search.kept, search.kept.new_zeros(room)
            search.kept[search._filled_places()] = filled
        return search

    def _filled_places(self) -> Tensor:
        """Where in the room values are kept, slot by slot."""
        if not len(self.slots):
            return torch.arange(len(self.kept), device=self.kept.device)
        keeps = self.slots[:, 2] < 0
        offset, room = self.slots[keeps, 3], self.slots[keeps, 4]
        count = torch.minimum(self.filled[keeps], room)
        owner = torch.arange(len(room), device=room.device).repeat_interleave(count)
        return offset[owner] + torch.arange(len(owner), device=room.device) - (count.cumsum(0) - count)[owner]

    def _sorted_keys(self) -> Tensor:
        """The keys of the values that were kept, sorted within each slot."""
        keys = ops.ordered_keys(self.kept)
        room = self.slots[self.slots[:, 2] < 0, 4]
        owner = torch.arange(len(room), device=room.device).repeat_interleave(room)
        order = keys.argsort()
        return keys[order[owner[order].argsort(stable=True)]]


__all__ = ["OrderSearch"]
