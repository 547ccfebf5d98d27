"""The operators on streams of activations in plain PyTorch: what units were excited by most, and exact order statistics."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops._digits import DIGITS, ordered_keys

#: How many values are looked at at once: their keys take eight bytes each, several times over.
_AT_ONCE = 2**22
#: As many partial sums make up the sum over positions, natively too: position p adds to sum p modulo 32.
_LANES = 32


def unit_summary(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n, units, positions = values.shape
    wide = torch.float64 if values.dtype == torch.float64 else torch.float32
    if n * units == 0:
        empty = values.new_empty(n, units, dtype=wide)
        return empty, values.new_empty(n, units, dtype=torch.int64), empty.clone()
    values = values.to(wide)
    # The position of the first of several equal maxima, which max does not promise; of NaN, the first.
    is_largest = (values == values.amax(2, keepdim=True)) | values.isnan()
    where = is_largest.to(torch.uint8).argmax(2)
    largest = values.gather(2, where.unsqueeze(2)).squeeze(2)
    sums = torch.nn.functional.pad(values.to(torch.float64), (0, -positions % _LANES)).view(n, units, -1, _LANES)
    lanes = sums.cumsum(2)[:, :, -1] + 0.0  # one after the other, from +0, as the native kernels add
    while lanes.shape[2] > 1:
        half = lanes.shape[2] // 2
        lanes = lanes[..., :half] + lanes[..., half:]
    return largest, where, (lanes.squeeze(2) / positions).to(wide)


def top_k(
    scores: Tensor,
    indices: Tensor,
    payload: Tensor,
    new_scores: Tensor,
    new_indices: Tensor,
    new_payload: Tensor,
    largest: bool,
) -> None:
    k = scores.shape[1]
    new = [tensor.t() for tensor in (new_scores, new_indices, new_payload)]
    last = scores[:, -1:]
    candidates = (new[0] > last if largest else new[0] < last) | ((new[0] == last) & (new[1] <= indices[:, -1:]))
    units = candidates.any(1).nonzero().squeeze(1)
    if not len(units):
        return
    state = (scores, indices, payload)
    together = [torch.cat([old[units], more[units]], 1) for old, more in zip(state, new, strict=True)]
    # By payload, then stably by index, then by score: so the last sort counts most.
    for key, descending in ((2, False), (1, False), (0, largest)):
        order = together[key].sort(dim=1, descending=descending, stable=True).indices
        together = [tensor.gather(1, order) for tensor in together]
    for old, sorted_ in zip(state, together, strict=True):
        old[units] = sorted_[:, :k]


def radix_histogram(counts: Tensor, values: Tensor) -> None:
    units, bins = counts.shape
    first = torch.arange(units, device=values.device).view(-1, 1, 1) * bins
    one = torch.ones((), dtype=counts.dtype, device=counts.device)
    for part in torch.split(values, max(1, _AT_ONCE // max(1, units * values.shape[2])), 1):
        keys = ordered_keys(part)
        digit = DIGITS[values.dtype]
        magnitudes = digit.of_magnitudes(keys.abs())
        place = first + digit.last + torch.where(keys < 0, -magnitudes, magnitudes)
        counts.view(-1).scatter_add_(0, place.flatten(), one.expand(place.numel()))


def radix_select(counts: Tensor, filled: Tensor, kept: Tensor, values: Tensor, first: Tensor, slots: Tensor) -> None:
    most = int(first.diff().max()) if len(first) > 1 else 0
    for part in torch.split(values, max(1, _AT_ONCE // max(1, len(values) * values.shape[2])), 1):
        keys, flat = ordered_keys(part).flatten(1), part.flatten(1)
        for turn in range(most):
            units = (first.diff() > turn).nonzero().squeeze(1)
            numbers = first[units] + turn
            low, width, shift, offset, room = slots[numbers].unbind(1)
            steps = keys[units] - low.unsqueeze(1)
            row, column = ((steps >= 0) & (steps < width.unsqueeze(1))).nonzero(as_tuple=True)
            counted = shift[row] >= 0
            to_count = row[counted]
            bins = offset[to_count] + (steps[to_count, column[counted]] >> shift[to_count])
            counts.scatter_add_(0, bins, torch.ones_like(bins))
            row, column = row[~counted], column[~counted]
            # Places within a slot: rows come one after the other.
            each = torch.bincount(row, minlength=len(units))
            place = torch.arange(len(row), device=row.device) - (each.cumsum(0) - each)[row] + filled[numbers][row]
            fits = place < room[row]
            kept[(offset[row] + place)[fits]] = flat[units[row[fits]], column[fits]]
            filled[numbers] += each
