"""Running sums over rows: the same to the last bit however rows come in batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captum_proto import ops
from captum_proto.ops import _twin

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def one_by_one(rows: torch.Tensor) -> np.ndarray:
    sums = np.zeros(rows.shape[1])
    for row in rows.double().numpy():
        sums = sums + row
    return sums


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (17, 2049), (2, 100_003), (0, 5), (4, 0)])
def test_sums_are_those_of_rows_one_by_one(shape, dtype):
    rows = (torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 100).to(dtype)
    sums, twin = torch.zeros(shape[1], dtype=torch.float64), torch.zeros(shape[1], dtype=torch.float64)
    ops.accumulate(sums, rows)
    _twin.accumulate(twin, rows)
    np.testing.assert_array_equal(sums.numpy(), one_by_one(rows))
    assert torch.equal(sums, twin)


@pytest.mark.parametrize("split", [1, 2, 5, 9])
def test_batches_and_threads_do_not_matter(split):
    rows = torch.randn(9, 70_001, generator=torch.Generator().manual_seed(1))
    whole = torch.zeros(70_001, dtype=torch.float64)
    ops.accumulate(whole, rows)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            parts = torch.zeros_like(whole)
            for part in rows.split(split):
                ops.accumulate(parts, part)
            assert torch.equal(parts, whole)
    finally:
        torch.set_num_threads(threads)


def test_strided_rows():
    base = torch.randn(6, 40, 3, generator=torch.Generator().manual_seed(2))
    for rows in (base[..., 1], base[::2, :, 0], base[:, :, 0].t(), base[0, :, 0].expand(4, 40)):
        sums = torch.zeros(rows.shape[1], dtype=torch.float64)
        ops.accumulate(sums, rows)
        np.testing.assert_array_equal(sums.numpy(), one_by_one(rows))


def test_what_is_not_finite_stays_where_it_is():
    rows = torch.tensor([[1.0, float("inf"), float("nan"), -0.0], [2.0, float("-inf"), 1.0, -0.0]])
    sums = torch.zeros(4, dtype=torch.float64)
    ops.accumulate(sums, rows)
    assert sums[0] == 3
    assert sums[1].isnan()
    assert sums[2].isnan()
    assert sums[3] == 0


def test_opcheck_and_compile():
    rows = torch.randn(3, 50)
    torch.library.opcheck(torch.ops.captum_proto.accumulate.default, (torch.zeros(50, dtype=torch.float64), rows))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def run(sums: torch.Tensor) -> torch.Tensor:
        torch.ops.captum_proto.accumulate(sums, rows)
        return sums * 2

    np.testing.assert_array_equal(run(torch.zeros(50, dtype=torch.float64)).numpy(), 2 * one_by_one(rows))


@pytest.mark.parametrize(
    ("sums", "rows", "error"),
    [
        (torch.zeros(3), torch.ones(2, 3), TypeError),
        (torch.zeros(3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.int64), TypeError),
        (torch.zeros(3, dtype=torch.float64), torch.ones(2, 4), ValueError),
        (torch.zeros(3, dtype=torch.float64), torch.ones(3), ValueError),
        (torch.zeros(6, dtype=torch.float64)[::2], torch.ones(2, 3), ValueError),
    ],
)
def test_bad_input(sums, rows, error):
    with pytest.raises(error, match="expected"):
        ops.accumulate(sums, rows)
