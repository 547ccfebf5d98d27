"""The L1 distance on CUDA, which is summed where a row is read first: the documented order, whichever kernel that is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from comparisons import SCHEDULES, WAYS, is_histogram
from cuda_harness import COMPILER, Harness
from distance_samples import distance_in_order
from operator_samples import FLOATING, assert_same_bits, references

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_every_way_adds_in_one_order(plain: Harness, way: str, dtype: torch.dtype) -> None:
    """Values of any scale, so that another order would give other bits; one mean for all rows, and one for each."""
    lengths = (
        [9000] if is_histogram(way, dtype) else [1, 300, 8192, 9000] + [40000] * (way in ("library sort", "parts"))
    )
    for schedule, length in zip(SCHEDULES * 2, lengths, strict=False):
        generator = torch.Generator().manual_seed(length)
        scales = torch.logspace(-2, 2, length)[torch.randperm(length, generator=generator)]
        x = (torch.randn(3, length, generator=generator) * scales).to(dtype)
        reference = references(1, length)[0]
        plain.set(**WAYS[way], schedule=schedule, seed=length)
        for mean in (torch.randn(length, dtype=torch.float64), torch.randn(3, 2 * length)[:, ::2]):
            correlation, distance = plain.path_distance(x, mean, reference)
            assert_same_bits(correlation, _twin.spearman(x, reference))
            expected = torch.from_numpy(np.ascontiguousarray(distance_in_order(x, mean)))
            assert_same_bits(distance, expected)


def test_the_order_shows_in_the_bits() -> None:
    """Or the test above could not fail: sums in the order of the values, and in reverse, have other bits."""
    generator = torch.Generator().manual_seed(0)
    x, mean = torch.randn(8, 9000, generator=generator, dtype=torch.float64), torch.zeros(9000)
    assert not np.array_equal(distance_in_order(x, mean), np.abs(x.numpy()).cumsum(-1)[:, -1])
    assert not np.array_equal(distance_in_order(x, mean), distance_in_order(x.flip(1), mean))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_long_rows_are_read_once_for_both(interleaved: Harness, dtype: torch.dtype) -> None:
    """No launch of its own: the row is packed or counted, and beside it lies the mean."""
    length = 20000 if dtype.itemsize == 2 else 5000
    x, mean = torch.randn(2, length).to(dtype), torch.randn(length)
    reference = references(1, length)[0]
    interleaved.spearman(x, reference)
    alone = interleaved.traffic()
    interleaved.path_distance(x, mean, reference)
    both = interleaved.traffic()
    assert "summing distances" not in both
    first = next(name for name in both if name.split()[0] in ("packing", "splitting", "counting"))
    assert both[first][0] - alone[first][0] == 4 * x.numel()  # the mean's
