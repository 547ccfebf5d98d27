"""Long rows on CUDA, moved into parts that blocks sort: the twin's bits, whatever a sample of the row says of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from comparisons import SCHEDULES, WAYS, compare_everything
from cuda_harness import COMPILER, Harness, HarnessError, build
from operator_samples import assert_same_bits, references, rows_like_layers
from part_samples import rows_that_deceive_a_sample

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

ROOT = Path(__file__).resolve().parents[2]
FLOATING = [torch.float32, torch.float64]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize(("length", "room"), [(900, 64), (3000, 256), (9000, 2048)])
def test_parts_that_no_block_has_room_for(plain: Harness, length: int, room: int, dtype: torch.dtype) -> None:
    """What the sample has not seen is one bucket, and goes to the library; unless all its keys are equal."""
    x = rows_that_deceive_a_sample(length, room, dtype)
    for schedule in SCHEDULES:
        plain.set(**WAYS["parts"] | {"part_room": room}, schedule=schedule, seed=length)
        compare_everything(plain, x, references(1, length)[0])
        _, sorts = plain.launches()
        assert sorts >= 4


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_ties_need_no_sort_however_many(plain: Harness, dtype: torch.dtype) -> None:
    """Three values, seen by the sample: no part fits a block, and none goes to the library."""
    x = torch.randint(1, 4, (5, 2000), generator=torch.Generator().manual_seed(3)).to(dtype)
    plain.set(**WAYS["parts of up to 64 values"])
    compare_everything(plain, x, references(1, 2000)[0])
    assert plain.launches()[1] == 0


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_parts_fit_whatever_the_values(plain: Harness, scale: float, dtype: torch.dtype) -> None:
    """Of any magnitude, spread over many, and crowded beside a constant: the sample follows them."""
    length = 9000
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(5, length, generator=generator, dtype=torch.float64)
    x[1] = x[1].exp()
    x[2] = (8 * x[2]).exp().clamp(1e-7, 1e7)
    x[3] = 1 + 1e-3 * x[3]
    x[4] = x[4].sigmoid()
    x = (x * scale).to(dtype)
    compare_everything(plain, x, references(1, length)[0])
    assert plain.launches() == (8, 0)


def test_rows_too_long_for_parts_go_to_the_library(plain: Harness) -> None:
    """Where a row would need more buckets than there are; and each way below and above its own limit."""
    reference = references(1, 5000)[0]
    x = rows_like_layers(2, 5000, torch.float32)
    for part_room, parted_row, in_parts in ((4096, 0, True), (4, 0, False), (4096, 5000, True), (4096, 5001, False)):
        plain.set(part_room=part_room, parted_row=parted_row)
        assert_same_bits(plain.spearman(x, reference), _twin.spearman(x, reference))
        assert (plain.launches()[1] == 0) == in_parts


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_zeros_are_neither_moved_nor_sorted(interleaved: Harness, dtype: torch.dtype) -> None:
    """After a ReLU: their places are known once they are counted."""
    x = torch.randn(2, 5000, generator=torch.Generator().manual_seed(0)).to(dtype)
    bytes_of = {}
    for name, rows in (("all", x), ("positive", x.relu())):
        interleaved.spearman(rows, references(1, 5000)[0])
        bytes_of[name] = interleaved.traffic()
    item = dtype.itemsize + 4 if dtype == torch.float64 else 8
    zeros = int((x <= 0).sum())
    for launch, direction in (("moving to parts", 1), ("sorting parts", 0)):
        values, positive = (traffic[launch][direction] for traffic in bytes_of.values())
        assert values - positive >= item * zeros


def test_parts_ask_for_a_quarter_of_the_bytes(interleaved: Harness) -> None:
    """What parting is for."""
    x = torch.randn(2, 20000, generator=torch.Generator().manual_seed(0)).relu()
    reference = references(1, 20000)[0]
    totals = []
    for parted_row in (0, 2**30):
        interleaved.set(parted_row=parted_row)
        interleaved.spearman(x, reference)
        totals.append(sum(map(sum, interleaved.traffic().values())) / x.numel())
    assert totals[0] < totals[1] / 4


#: One mistake each, put into the sources: a file, what stands there, and what is put in its place.
MUTANTS = {
    "digits are scattered before all warps have counted": (
        "block_sort.cuh",
        "counts.of[warp_of_thread()][lane] = seen;\n    __syncthreads();",
        "counts.of[warp_of_thread()][lane] = seen;",
    ),
    "a pass begins before the last one ends": (
        "block_sort.cuh",
        "if (present) values.put(first + places[j], items[j]);\n    }\n    __syncthreads();",
        "if (present) values.put(first + places[j], items[j]);\n    }",
    ),
    "equal digits lose their order": (
        "block_sort.cuh",
        "__popc(same & lanes_below)",
        "__popc(same & ~lanes_below) - 1",
    ),
    "values above zero rank among the zeros": (
        "parted_rows.cuh",
        "part_begin + begin >= row.negatives ? row.zeros : 0",
        "part_begin + begin > row.negatives ? row.zeros : 0",
    ),
    "a bound is below for those that move, above for those that count": (
        "parted_rows.cuh",
        "find_leaf(tree, leaves, keys[j])",
        "find_leaf(tree, leaves, static_cast<Key>(keys[j] - 1))",
    ),
    "parts are moved before all is counted": (
        "parted_rows.cuh",
        "atomicAdd(tables.part_ends + row * leaves + part, count);\n    }\n    __syncthreads();",
        "atomicAdd(tables.part_ends + row * leaves + part, count);\n    }",
    ),
    "ties that were not sorted are read as if they were": (
        "parted_rows.cuh",
        "tile.one_key != 0 ? moved : sorted",
        "sorted",
    ),
    "what is too large for a block is not sorted": ("part_planning.cuh", "if (!one_key) {", "if (one_key) {"),
}


@pytest.mark.long  # the harness is built anew for each
@pytest.mark.parametrize("mistake", MUTANTS)
def test_a_mistake_in_the_kernels_is_noticed(tmp_path: Path, mistake: str) -> None:
    shutil.copytree(ROOT / "csrc" / "kernels", tmp_path / "csrc" / "kernels")
    shutil.copytree(ROOT / "tests" / "native", tmp_path / "tests" / "native")
    file, right, wrong = MUTANTS[mistake]
    source = tmp_path / "csrc" / "kernels" / "cuda" / file
    text = source.read_text()
    assert text.count(right) == 1
    source.write_text(text.replace(right, wrong))
    harness = Harness(build("plain", tmp_path, tmp_path / "tests" / "native" / "cuda_harness.cpp"))
    found = 0
    for room in (64, 2**30):
        x = torch.cat([rows_like_layers(9, 900, torch.float32), rows_that_deceive_a_sample(900, 64, torch.float32)])
        reference = references(1, 900)[0]
        for schedule in SCHEDULES:
            harness.set(**WAYS["parts"] | {"part_room": room}, schedule=schedule, seed=1)
            try:
                found += not torch.equal(harness.doubled_rank(x), _twin.doubled_rank(x))
                correlations, expected = harness.spearman(x, reference), _twin.spearman(x, reference)
                found += not torch.equal(correlations.nan_to_num(7.0), expected.nan_to_num(7.0))
            except HarnessError:  # memory that nobody wrote was taken for a place
                found += 1
    harness.close()
    assert found > 0
