"""What ``cuda_timings.py`` times beside ranks and the high-frequency loss: every other operator, on inputs of the sizes it is used with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from harness import ops
from torch import Tensor

native = torch.ops.captum_proto


@dataclass
class Case:
    """One line of the table: a function of an input, and the bytes that it cannot avoid moving."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    make: Callable[[], Tensor]
    run: Callable[[Tensor], Any]
    floor_bytes: int
    check: Callable[[Tensor], None] | None = None


def same_as_cpu(operator: Callable[..., Tensor], rows: int, *rest: Any) -> Callable[[Tensor], None]:
    """Compares the first rows with the CPU's result, to the last bit."""

    def check(x: Tensor) -> None:
        others = [other.cpu() if isinstance(other, Tensor) else other for other in rest]
        expected = operator(x[:rows].cpu(), *others)
        if not torch.equal(operator(x, *rest)[:rows].cpu(), expected):
            raise SystemExit(f"wrong result for {operator} of {tuple(x.shape)} {x.dtype}")

    return check


def random_rows(shape: tuple[int, ...], dtype: torch.dtype) -> Callable[[], Tensor]:
    return lambda: torch.randn(shape, device="cuda").relu_().to(dtype)


def row_cases_of_other_operators() -> list[Case]:
    cases = []
    for rows, length, dtype in (
        (100, 50_176, torch.float32),
        (100, 50_176, torch.float64),
        (100, 802_816, torch.bfloat16),
    ):
        shape, size = (rows, length), rows * length * dtype.itemsize
        check = same_as_cpu(native.rank, 1)
        cases.append(
            Case("rank", shape, dtype, random_rows(shape, dtype), native.rank, size + 8 * rows * length, check)
        )
        sums = torch.zeros(length, dtype=torch.float64, device="cuda")
        cases.append(
            Case(
                "accumulate",
                shape,
                dtype,
                random_rows(shape, dtype),
                lambda x, s=sums: native.accumulate(s, x),
                size + 16 * length,
            )
        )
    return cases


def affine_cases() -> list[Case]:
    cases = []
    turn = torch.tensor([[0.8, 0.5, 0.3], [-0.6, 0.9, 0.1]], device="cuda")
    ones = torch.ones(3, device="cuda")
    for shape in ((16, 3, 224, 224), (128, 3, 512, 512)):
        size = 4 * shape[0] * shape[1] * shape[2] * shape[3]
        matrix = turn.expand(shape[0], 2, 3)
        for last in (False, True):
            suffix = ", channels_last" if last else ""
            cases += [
                Case(
                    f"affine_sample{suffix}",
                    shape,
                    torch.float32,
                    random_rows(shape, torch.float32),
                    lambda x, m=matrix, to=last: native.affine_sample(x, m, ones, ones, 0.5, to),
                    2 * size,
                ),
                Case(
                    f"affine_sample's gradient{suffix}",
                    shape,
                    torch.float32,
                    random_rows(shape, torch.float32),
                    lambda x, m=matrix, to=last: native.affine_sample_backward(x, m, ones, to),
                    2 * size,
                ),
            ]
    return cases


def stream_cases() -> list[Case]:
    cases = []
    for shape, dtype in (((64, 256, 3136), torch.float32), ((64, 256, 3136), torch.bfloat16)):
        size = shape[0] * shape[1] * shape[2] * dtype.itemsize
        units, bins = shape[1], len(ops.radix_bins(dtype)[0])
        counts = torch.zeros(units, bins, dtype=torch.int64, device="cuda")
        cases += [
            Case("unit_summary", shape, dtype, random_rows(shape, dtype), native.unit_summary, size),
            Case(
                "radix_histogram",
                shape,
                dtype,
                random_rows(shape, dtype),
                lambda x, c=counts: native.radix_histogram(c, x.movedim(1, 0)),
                size,
            ),
            Case("radix_select", shape, dtype, random_rows(shape, dtype), _selecting(units, dtype), size),
        ]
    rows, units = 4096, 2048
    lists = (
        torch.full((units, 9), -torch.inf, device="cuda"),
        torch.full((units, 9), torch.iinfo(torch.int64).max, device="cuda"),
        torch.full((units, 9), torch.iinfo(torch.int64).max, device="cuda"),
    )
    numbers = torch.arange(rows, device="cuda").unsqueeze(1).expand(rows, units)
    shape = (rows, units)
    cases.append(
        Case(
            "top_k",
            shape,
            torch.float32,
            random_rows(shape, torch.float32),
            lambda x: native.top_k(*lists, x, numbers, numbers, True),
            4 * rows * units,
        )
    )
    return cases


def _selecting(units: int, dtype: torch.dtype) -> Callable[[Tensor], None]:
    """Of each unit one bin is counted by its digits, above the middle of what a ReLU leaves."""
    low, width = ops.radix_bins(dtype)
    bin_ = len(low) // 2 + 400
    keys = int(width[bin_])
    shift = max(0, (keys - 1).bit_length() - 8)
    bins = ((keys - 1) >> shift) + 1
    number = torch.arange(units, device="cuda")
    same = torch.tensor([int(low[bin_]), keys, shift], device="cuda").expand(units, 3)
    slots = torch.cat([same, (number * bins).unsqueeze(1), torch.full((units, 1), bins, device="cuda")], 1)
    first = torch.arange(units + 1, device="cuda")
    counts = torch.zeros(units * bins, dtype=torch.int64, device="cuda")
    filled, kept = torch.zeros(units, dtype=torch.int64, device="cuda"), torch.zeros(0, dtype=dtype, device="cuda")
    return lambda x: native.radix_select(counts, filled, kept, x.movedim(1, 0), first, slots)


def concept_cases() -> list[Case]:
    images, units, concepts = 16, 256, 1000
    shape = (images, units, 14, 14)
    labels = torch.randint(0, concepts + 1, (images, 2, 112, 112), device="cuda").to(torch.int16)
    thresholds = torch.full((units,), 2.0, dtype=torch.float64, device="cuda")
    counts = torch.zeros(units, concepts + 1, dtype=torch.int64, device="cuda")
    words = (1024, 4096)
    masks = torch.randint(-(2**63), 2**63 - 1, words, device="cuda")
    return [
        Case(
            "unit_concept_counts",
            shape,
            torch.float32,
            random_rows(shape, torch.float32),
            lambda x: native.unit_concept_counts(counts, x, thresholds, labels, False),
            4 * images * units * 14 * 14 + labels.nbytes,
        ),
        Case(
            "packed_counts",
            words,
            torch.int64,
            lambda: torch.randint(-(2**63), 2**63 - 1, words, device="cuda"),
            lambda x: native.packed_counts(x, masks),
            2 * masks.nbytes + 8 * words[0] ** 2,
            lambda x: same_as_cpu(lambda a, b: native.packed_counts(a, b), 4, masks)(x),
        ),
    ]


def other_cases() -> list[Case]:
    """All of them."""
    return [*row_cases_of_other_operators(), *affine_cases(), *stream_cases(), *concept_cases()]


__all__ = ["Case", "other_cases", "same_as_cpu"]
