"""The CUDA kernels on concepts, executed on the host and compared with the PyTorch twin: equal integers."""

from __future__ import annotations

import pytest
import torch
from concept_samples import KINDS, PACKED_SHAPES, SHAPES, layouts, packed_masks, results, sample
from cuda_harness import COMPILER, Harness

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

SCHEDULES = ("ascending", "descending", "shuffled")


def compare(
    harness: Harness, shape: tuple[int, ...], of_labels: tuple[int, ...], dtype: torch.dtype, seed: int
) -> None:
    x, thresholds, labels = sample(KINDS[seed % len(KINDS)], shape, of_labels, dtype, seed)
    for align_corners in (False, True):
        expected = results(_twin, x, thresholds, labels, align_corners)
        for found, wanted in zip(
            results(harness, layouts(x)[seed % 3], thresholds, labels, align_corners), expected, strict=True
        ):
            assert torch.equal(found, wanted)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("shape", "of_labels"), SHAPES[:-1], ids=str)
def test_counts_are_those_of_the_twin(
    plain: Harness, shape: tuple[int, ...], of_labels: tuple[int, ...], dtype: torch.dtype
) -> None:
    for seed in range(len(KINDS)):
        plain.set(schedule=SCHEDULES[seed % 3], seed=seed, most_blocks=(1, 2, 2**31 - 1)[seed // 2])
        compare(plain, shape, of_labels, dtype, seed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_access_out_of_bounds_and_no_undefined_behavior(address: Harness, dtype: torch.dtype) -> None:
    address.set(schedule="shuffled", most_blocks=2)
    for seed, (shape, of_labels) in enumerate(SHAPES[:5]):
        compare(address, shape, of_labels, dtype, seed)


def test_no_data_races(thread: Harness) -> None:
    thread.set(schedule="shuffled", most_blocks=2)
    for seed, (shape, of_labels) in enumerate(SHAPES[:3]):
        compare(thread, shape, of_labels, torch.float32, seed)


@pytest.mark.parametrize("shape", PACKED_SHAPES, ids=str)
def test_common_bits_are_those_of_the_twin(plain: Harness, address: Harness, shape: tuple[int, int, int]) -> None:
    p, q, words = shape
    for harness in (plain, address):
        harness.set(schedule="shuffled", most_blocks=2)
        for a, b in zip(packed_masks(p, words), packed_masks(q, words, 1), strict=True):
            assert torch.equal(harness.packed_counts(a, b), _twin.packed_counts(a, b))
