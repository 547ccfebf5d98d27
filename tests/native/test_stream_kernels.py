"""The CUDA kernels for streams of activations, executed on the host and compared with the PyTorch twin, bit by bit."""

from __future__ import annotations

import pytest
import torch
from cuda_harness import COMPILER, Harness
from operator_samples import FLOATING, assert_same_bits
from stream_samples import KINDS, activations, layouts, lists, results
from torch import Tensor

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

SCHEDULES = ("ascending", "descending", "shuffled")


def compare(harness: Harness, x: Tensor, seed: int = 0) -> None:
    found, expected = dict(results(harness, x, seed)), dict(results(_twin, x, seed))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert_same_bits(found[name], tensor)


def compare_lists(harness: Harness, scores: Tensor, k: int) -> None:
    for largest in (True, False):
        for found, expected in zip(lists(harness, scores, k, largest), lists(_twin, scores, k, largest), strict=True):
            assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 1), (3, 5, 7), (2, 35, 49), (1, 2, 700), (0, 3, 4), (3, 0, 4)], ids=str)
def test_activations_give_what_the_twin_gives(plain: Harness, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    for seed, kind in enumerate(KINDS):
        plain.set(schedule=SCHEDULES[seed % 3], seed=seed, most_blocks=(1, 2, 2**31 - 1)[seed // 3])
        of_kind = list(layouts(activations(kind, shape, dtype, seed)).values())
        compare(plain, of_kind[seed % 5], seed)


def test_more_values_than_a_block_counts_at_once(plain: Harness) -> None:
    compare(plain, activations("after a ReLU", (1, 2, 16385), torch.float32))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_lists_are_those_of_the_twin(plain: Harness, dtype: torch.dtype) -> None:
    for shape in ((1, 1), (40, 7), (6, 300), (0, 5), (5, 0)):
        for kind in ("dense", "ties", "infinities", "zeros of both signs"):
            scores = activations(kind, shape, dtype)
            compare_lists(plain, scores, 6)
            compare_lists(plain, scores.t().contiguous().t(), 1)


def exercise(harness: Harness, dtype: torch.dtype) -> None:
    harness.set(schedule="shuffled", most_blocks=2)
    for x in layouts(activations("after a ReLU", (2, 33, 37), dtype)).values():
        compare(harness, x)
    compare_lists(harness, activations("ties", (7, 260), torch.float32), 3)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_no_access_out_of_bounds_and_no_undefined_behavior(address: Harness, dtype: torch.dtype) -> None:
    exercise(address, dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_no_data_races(thread: Harness, dtype: torch.dtype) -> None:
    exercise(thread, dtype)
