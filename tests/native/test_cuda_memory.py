"""Where memory runs out, the CUDA operators on long rows work in smaller chunks: the same bits, whatever there is."""

from __future__ import annotations

import pytest
import torch
from comparisons import WAYS
from cuda_harness import COMPILER, Harness, HarnessError
from operator_samples import assert_same_bits, references, rows_like_layers
from torch import Tensor

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

ROWS, LENGTH = 13, 900


def samples(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return rows_like_layers(ROWS, LENGTH, dtype), references(1, LENGTH)[0]


def least_bytes(harness: Harness, operator: str, arguments: tuple[Tensor, ...]) -> int:
    """With how little memory an operator still works, found by halving."""
    too_few, enough = 0, 2**24
    while enough - too_few > 64:
        middle = (too_few + enough) // 2
        harness.set(scratch_bytes=middle)
        if fits(harness, operator, arguments):
            enough = middle
        else:
            too_few = middle
    return enough


def fits(harness: Harness, operator: str, arguments: tuple[Tensor, ...]) -> bool:
    """Whether there is memory for an operator; any other error is one."""
    try:
        getattr(harness, operator)(*arguments)
    except HarnessError as error:
        if "out of scratch memory" not in str(error):
            raise
        return False
    return True


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("operator", ["doubled_rank", "rank", "spearman"])
@pytest.mark.parametrize("way", ["library sort", "parts"])
def test_results_are_the_same_with_any_memory(plain: Harness, way: str, operator: str, dtype: torch.dtype) -> None:
    x, reference = samples(dtype)
    arguments = (x, reference) if operator == "spearman" else (x,)
    expected = getattr(_twin, operator)(*arguments)
    plain.set(**WAYS[way])
    getattr(plain, operator)(*arguments)
    at_once, _ = plain.launches()
    least = least_bytes(plain, operator, arguments)
    launches = []
    for scratch_bytes in (2**24, 20 * least, 8 * least, 4 * least, 3 * least, 2 * least, 3 * least // 2, least):
        plain.set(scratch_bytes=scratch_bytes)
        assert_same_bits(getattr(plain, operator)(*arguments), expected)
        launches.append(plain.launches()[0])
    assert launches[0] == at_once == min(launches)
    if operator != "rank":  # whose rows are in chunks twice over
        assert launches == sorted(launches)  # the less memory, the more chunks
    assert launches[-1] > launches[0] + ROWS  # row by row in the end


@pytest.mark.parametrize("operator", ["doubled_rank", "spearman"])
def test_histograms_shrink_too(plain: Harness, operator: str) -> None:
    x, reference = samples(torch.bfloat16)
    arguments = (x[:3], reference) if operator == "spearman" else (x[:3],)
    plain.set(**WAYS["histogram"])
    expected = getattr(_twin, operator)(*arguments)
    for scratch_bytes in (2**24, 2**21, 65536 * (12 if operator == "spearman" else 4) + 4096):
        plain.set(scratch_bytes=scratch_bytes)
        assert_same_bits(getattr(plain, operator)(*arguments), expected)
    one_row, _ = plain.launches()
    plain.set(scratch_bytes=2**24)
    getattr(plain, operator)(*arguments)
    assert one_row > plain.launches()[0]


def test_memory_for_less_than_a_row_is_an_error(plain: Harness) -> None:
    plain.set(**WAYS["library sort"])
    x, reference = samples(torch.float32)
    plain.set(scratch_bytes=2 * 8 * LENGTH)
    with pytest.raises(HarnessError, match="out of scratch memory"):
        plain.spearman(x, reference)
    plain.reset()
    assert_same_bits(plain.spearman(x, reference), _twin.spearman(x, reference))


@pytest.mark.parametrize("way", ["library sort", "parts"])
def test_what_is_given_back_is_not_used(address: Harness, way: str) -> None:
    address.set(**WAYS[way])
    for dtype in (torch.float32, torch.float64):
        x, reference = samples(dtype)
        for scratch_bytes in (20000, 40000, 70000, 100000, 300000):
            address.set(scratch_bytes=scratch_bytes)
            if not fits(address, "rank", (x,)) or not fits(address, "spearman", (x, reference)):
                assert scratch_bytes < 40000
                continue
            assert_same_bits(address.spearman(x, reference), _twin.spearman(x, reference))
            assert_same_bits(address.rank(x), _twin.rank(x))
