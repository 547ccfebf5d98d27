"""Rows that all threads rank together, as is done with those that would leave threads idle: the twin's results, to the bit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch

from captum_proto import ops
from captum_proto.ops import _twin

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
KINDS = [
    "dense",
    "after a ReLU",
    "few values",
    "all zeros",
    "one value",
    "negative",
    "infinities",
    "subnormal",
    "signed zeros",
    "not a number",
    "crowded",
]
#: Two threads share a row from 393,216 values on, three from 589,824 on, four from 786,432 on.
LENGTHS = [393_215, 393_216, 589_825, 786_433]


def rows(kind: str, n: int, d: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    if kind == "after a ReLU":
        x = x.relu()
    elif kind == "few values":
        x = (x * 2).round()
    elif kind == "all zeros":
        x = torch.where(x > 0, 0.0, -0.0)
    elif kind == "one value":
        x = torch.full_like(x, -0.25)
    elif kind == "negative":
        x = -x.abs() - 0.01
    elif kind == "infinities":
        x = torch.where(x.abs() > 1, x * math.inf, x)
    elif kind == "subnormal":
        x = x.clamp(-3, 3) * torch.finfo(dtype).smallest_normal / 4
    elif kind == "signed zeros":
        x = torch.where(x > 0.5, x, torch.where(x > 0, 0.0, -0.0))
    elif kind == "not a number":
        x[:, d // 3] = math.nan
    elif kind == "crowded":  # nearly all in one part of the keys' range
        x = torch.where(x > 4, 1e4, 1 + x / 100)
    return x.to(dtype)


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def everything(x: torch.Tensor, mean: torch.Tensor, *references: torch.Tensor) -> list[torch.Tensor]:
    native = torch.ops.captum_proto
    results = [native.doubled_rank(x), native.rank(x)]
    for q in references:
        results += [native.spearman(x, q), *native.path_distance(x, mean, q)]
    return [result.nan_to_num(-9) for result in results]


def assert_equal(results: list[torch.Tensor], expected: list[torch.Tensor]) -> None:
    for a, b in zip(results, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("kind", KINDS)
def test_one_row_has_the_same_results_with_any_number_of_threads(kind: str, dtype: torch.dtype) -> None:
    d = 786_433 if dtype == torch.float32 else 393_217
    x = rows(kind, 1, d, dtype)
    mean = rows("after a ReLU", 1, d, torch.float32, seed=1)[0]
    shared, own = _twin.doubled_rank(mean.unsqueeze(0))[0], _twin.doubled_rank(rows("few values", 1, d, dtype, seed=2))
    with threads(1):
        expected = everything(x, mean, shared, own)
    assert torch.equal(expected[0], _twin.doubled_rank(x))
    assert torch.equal(expected[2], _twin.spearman(x, shared).nan_to_num(-9))
    assert torch.equal(expected[5], _twin.spearman(x, own).nan_to_num(-9))
    for count in (2, 3, 4):
        with threads(count):
            assert_equal(everything(x, mean, shared, own), expected)


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("kind", ["dense", "after a ReLU", "few values"])
def test_rows_left_over_equal_the_others(kind: str, d: int) -> None:
    x = rows(kind, 5, d, torch.float32)
    mean = rows("dense", 5, d, torch.float32, seed=1)
    references = _twin.doubled_rank(mean)
    with threads(1):
        expected = everything(x, mean, references)
    assert torch.equal(expected[2], _twin.spearman(x, references))
    for count in (2, 3, 4):
        with threads(count):
            for n in (1, 2, 3, 5):
                assert_equal(everything(x[:n], mean[:n], references[:n]), [e[:n] for e in expected])


@pytest.mark.parametrize("dtype", FLOATING)
def test_strided_rows_and_references(dtype: torch.dtype) -> None:
    base = rows("after a ReLU", 3, 800_000, dtype)
    mean = rows("dense", 1, 800_000, torch.float32, seed=1)
    q = _twin.doubled_rank(mean)
    for x in (base[:1, ::2], base[:1, :400_000].flip(1), base.t()[:400_000].t()[1:2], base[2:, 1::2]):
        own_mean, own = mean[:, ::2], _twin.doubled_rank(mean[:, ::2])
        with threads(2):
            assert_equal(
                everything(x, own_mean, own, own[0]),
                everything(x.contiguous(), own_mean.contiguous(), own.contiguous(), own[0]),
            )
            assert torch.equal(torch.ops.captum_proto.spearman(x, q[:, ::2]), _twin.spearman(x, q[:, ::2].contiguous()))


def test_calls_from_threads_of_their_own() -> None:
    x = rows("after a ReLU", 4, 400_000, torch.float32)
    with threads(2), ThreadPoolExecutor(4) as executor:
        together = list(executor.map(lambda row: ops.rank(row.unsqueeze(0)), x))
    with threads(1):
        assert torch.equal(torch.cat(together), ops.rank(x))
