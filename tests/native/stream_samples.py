"""Activations as the operators on streams meet them, and every operator called on them: here and in tests/cuda."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto.ops._streams import EMPTY

KINDS = ("dense", "after a ReLU", "ties", "infinities", "not a number", "denormal", "zeros of both signs", "any scale")
#: Around the sizes at which kernels change their way of working.
SHAPES = [(2, 3, 1), (3, 5, 7), (2, 19, 49), (1, 17, 600), (1, 1, 2500), (2, 3, 513), (0, 3, 4), (3, 0, 4)]


def activations(kind: str, shape: tuple[int, ...], dtype: torch.dtype, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return {
        "dense": lambda: x,
        "after a ReLU": x.relu,
        "ties": lambda: (x * 2).round(),
        "infinities": lambda: torch.where(x.abs() > 1, x.sign() * torch.inf, x),
        "not a number": lambda: torch.where(x > 1.5, torch.nan, x),
        "denormal": lambda: x * 1e-41,
        "zeros of both signs": lambda: torch.where(x > 1, x, torch.where(x > 0, 0.0, -0.0)),
        "any scale": lambda: x.sign() * (x * 60).exp(),
    }[kind]().to(dtype)


def layouts(x: Tensor) -> dict[str, Tensor]:
    """The same (N, C, P), or rows of it, at other strides."""
    return {
        "contiguous": x,
        "channels last": x.transpose(1, 2).contiguous().transpose(1, 2),
        "positions first": x.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "cut out": torch.nn.functional.pad(x, (1, 2))[..., 1 : 1 + x.shape[2]],
        "expanded": x[:1].expand(3 if len(x) else 0, -1, -1),
    }


def slots_of(dtype: torch.dtype, units: int, seed: int) -> tuple[Tensor, ...]:
    """Counts, filled, kept, first and slots for :func:`captum_proto.ops.radix_select`: up to three slots a unit, some too small."""
    generator = torch.Generator().manual_seed(seed)
    low, width = ops.radix_bins(dtype)
    number = torch.randint(0, 4, (units,), generator=generator)
    slots: list[list[int]] = []
    bins = room = 0
    for several in number.tolist():
        for bin_ in (len(low) // 2 + torch.randint(-200, 201, (several,), generator=generator)).sort().values.tolist():
            span = 1 + int(torch.randint(0, 100, (), generator=generator))
            start, keys = int(low[bin_]), int(width[bin_ : bin_ + span].sum())
            keeps = len(slots) % 2 == 0
            shift = -1 if keeps else max(0, (keys - 1).bit_length() - 6)
            size = len(slots) % 7 * 3 if keeps else ((keys - 1) >> shift) + 1
            slots.append([start, keys, shift, room if keeps else bins, size])
            room, bins = (room + size, bins) if keeps else (room, bins + size)
    table = torch.tensor(slots, dtype=torch.int64).view(-1, 5)
    first = torch.cat([torch.zeros(1, dtype=torch.int64), number.cumsum(0)])
    empty = torch.zeros(len(table), dtype=torch.int64)
    return torch.zeros(bins, dtype=torch.int64), empty, torch.zeros(room, dtype=dtype), first, table


def results(operators: Any, x: Tensor, seed: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Everything that a set of operators makes of activations (N, C, P), with names. Kept values come sorted."""
    yield from zip(("largest", "position", "mean"), operators.unit_summary(x), strict=True)
    values = x.movedim(1, 0)
    bins = len(ops.radix_bins(x.dtype)[0])
    for dtype in (torch.int32, torch.int64):
        counts = torch.ones(len(values), bins, dtype=dtype, device=x.device)
        operators.radix_histogram(counts, values)
        yield f"histogram in {dtype}", counts
    counts, filled, kept, first, slots = (each.to(x.device) for each in slots_of(x.dtype, len(values), seed))
    for _ in range(2):
        operators.radix_select(counts, filled, kept, values, first, slots)
    yield "counts of slots", counts
    yield "filled", filled
    for slot, (low, width, shift, offset, room) in enumerate(slots.tolist()):
        if shift >= 0:
            continue
        held = kept[offset : offset + room]
        if int(filled[slot]) <= room:
            yield f"kept by slot {slot}", held.sort().values
        else:  # which of the values found room is not said
            keys = ops.ordered_keys(held)
            yield f"kept by slot {slot}, some of them", (keys >= low) & (keys < low + width)


def lists(operators: Any, scores: Tensor, k: int, largest: bool, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The lists after rows (N, U) came in three batches."""
    generator = torch.Generator().manual_seed(seed)
    n, units = scores.shape
    order = torch.randperm(n, generator=generator).to(scores.device)
    payload = torch.randint(0, 3, (n, units), generator=generator).to(scores.device)
    best = torch.full((units, k), -torch.inf if largest else torch.inf, dtype=scores.dtype, device=scores.device)
    indices = torch.full((units, k), EMPTY, device=scores.device)
    loads = indices.clone()
    indices_of_rows = (order // 2).unsqueeze(1).expand(n, units)  # each index twice: payloads decide
    for part in torch.arange(n, device=scores.device).tensor_split(3):
        operators.top_k(best, indices, loads, scores[part], indices_of_rows[part], payload[part], largest)
    return best, indices, loads
