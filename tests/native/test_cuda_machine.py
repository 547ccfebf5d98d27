"""
The machine on which the CUDA kernels run on the host: that it notices mistakes, those included that only some orders of the threads show.

``CAPTUM_PROTO_HARNESS_SEEDS=100-200`` in the environment tries these seeds in place of the few that tests try.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from comparisons import SCHEDULES, compare_everything, exercise_every_kernel
from cuda_harness import COMPILER, Harness, HarnessError, build
from operator_samples import references, rows_like_layers

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

ROOT = Path(__file__).resolve().parents[2]


def seeds(few: int) -> range:
    first, _, last = os.environ.get("CAPTUM_PROTO_HARNESS_SEEDS", f"0-{few - 1}").partition("-")
    return range(int(first), int(last or first) + 1)


#: Mistakes in tests/native/broken_kernels.h, and what notices them: the order of threads ("order"), the harness, or a sanitizer.
MISTAKES = {
    "missing_barrier": ("order", "data race"),
    "missing_barrier_between_rounds": ("thread", "data race"),
    "race_in_global_memory": ("thread", "data race"),
    "barrier_in_a_branch": ("plain", "divergence"),
    "early_return": ("plain", "divergence"),
    "two_barriers": ("plain", "different barriers"),
    "shuffle_in_a_branch": ("plain", "divergence"),
    "shuffle_from_an_absent_lane": ("plain", "does not take part"),
    "syncwarp_in_a_branch": ("plain", "divergence"),
    "neighbor_in_lockstep": ("thread", "data race"),
    "swap_in_lockstep": ("thread", "data race"),
    "sum_in_lockstep": ("thread", "data race"),
    "digits_in_lockstep": ("thread", "data race"),
    "scatter_before_all_have_read": ("order", "data race"),
    "too_much_shared_memory": ("plain", "48 KiB"),
    "beyond_shared_memory": ("address", "out of bounds"),
    "beyond_dynamic_shared_memory": ("address", "use-after-poison"),
    "beyond_global_memory": ("address", "heap-buffer-overflow"),
    "signed_overflow": ("address", "signed integer overflow"),
    "unwritten_shared_memory": ("garbage", ""),
}


def _broken(harness: Harness, name: str) -> np.ndarray:
    return np.frombuffer(harness.request(f"broken:{name}", [])[0], dtype=np.int32)


def test_a_kernel_without_mistake_passes(plain: Harness, address: Harness) -> None:
    for harness in (plain, address):
        for schedule in SCHEDULES:
            harness.set(schedule=schedule)
            assert _broken(harness, "sound").tolist() == list(range(63, -1, -1))


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_harness_notices(mistake: str, request: pytest.FixtureRequest) -> None:
    who, what = MISTAKES[mistake]
    if who in ("order", "garbage"):
        harness = request.getfixturevalue("plain")
        harness.reset()
        results = {
            schedule: harness.set(schedule=schedule) or _broken(harness, mistake).tolist() for schedule in SCHEDULES
        }
        if who == "order":
            assert results["ascending"] != results["descending"]
        else:
            assert results["ascending"] != list(range(63, -1, -1))
        return
    harness = request.getfixturevalue(who)
    harness.reset()
    with pytest.raises(HarnessError, match=what):
        _broken(harness, mistake)


def test_a_kernel_that_loses_a_barrier_is_noticed(tmp_path: Path) -> None:
    """Take one barrier from the real sources: the sums of two rounds then meet in one place."""
    shutil.copytree(ROOT / "csrc" / "kernels", tmp_path / "csrc" / "kernels")
    shutil.copytree(ROOT / "tests" / "native", tmp_path / "tests" / "native")
    source = tmp_path / "csrc" / "kernels" / "cuda" / "tie_groups.cuh"
    text = source.read_text()
    barrier = text.index("__syncthreads();")
    source.write_text(text[:barrier] + text[barrier + len("__syncthreads();") :])
    harness = Harness(build("plain", tmp_path, tmp_path / "tests" / "native" / "cuda_harness.cpp"))
    x = rows_like_layers(4, 500, torch.float32)
    wrong = 0
    for schedule in SCHEDULES:
        harness.set(schedule=schedule)
        wrong += not torch.equal(harness.doubled_rank(x), _twin.doubled_rank(x))
    harness.close()
    assert wrong > 0


# ---- Lanes of a warp -----------------------------------------------------------------------------------------------------------


def _places_of_digits() -> list[int]:
    """Of each thread's digit among its warp's, in the second of two rounds."""
    digits = [i * 5 % 3 for i in range(64)]
    warps = [digits[:32], digits[32:]]
    return [warps[i // 32].count(digits[i]) + warps[i // 32][: i % 32].count(digits[i]) for i in range(64)]


#: Kernels that rely on a warp's lanes running in lockstep, their mended twins, and what both are to write.
LOCKSTEP = {
    "neighbor_in_lockstep": ("neighbor_after_syncwarp", [i ^ 1 for i in range(64)]),
    "swap_in_lockstep": ("swap_before_syncwarp", [2 * (i & ~1) + 1 for i in range(64)]),
    "sum_in_lockstep": ("sum_with_syncwarp", [sum(range(32)) + 32 * 32 * (i // 32) for i in range(64)]),
    "digits_in_lockstep": ("digits_with_syncwarp", _places_of_digits()),
}


@pytest.mark.parametrize("mistake", LOCKSTEP)
def test_a_kernel_that_relies_on_lockstep_is_noticed(interleaved: Harness, mistake: str) -> None:
    mended, expected = LOCKSTEP[mistake]
    wrong = []
    for seed in range(50):
        interleaved.set(schedule="interleaved", seed=seed)
        assert _broken(interleaved, mended).tolist() == expected
        if _broken(interleaved, mistake).tolist() != expected:
            wrong.append(seed)
    assert len(wrong) >= 5
    interleaved.set(seed=wrong[0])
    assert _broken(interleaved, mistake).tolist() == _broken(interleaved, mistake).tolist()  # a seed tells it again


def test_only_lanes_that_interleave_show_a_branch_that_has_not_ended(plain: Harness) -> None:
    """What interleaving is for: whichever lane goes first, as long as each goes on to where it waits, nothing is wrong."""
    for schedule in SCHEDULES:
        for seed in range(10):
            plain.set(schedule=schedule, seed=seed)
            assert _broken(plain, "swap_in_lockstep").tolist() == LOCKSTEP["swap_in_lockstep"][1]


@pytest.mark.parametrize("variant", ["plain", "address", "thread"])
def test_syncwarp_orders_memory(request: pytest.FixtureRequest, variant: str) -> None:
    harness = request.getfixturevalue(variant)
    harness.reset()
    for mended, expected in LOCKSTEP.values():
        for schedule in SCHEDULES:
            harness.set(schedule=schedule)
            assert _broken(harness, mended).tolist() == expected


@pytest.mark.parametrize(
    "dtype",
    [
        torch.bfloat16,
        pytest.param(torch.float32, marks=pytest.mark.long),
        pytest.param(torch.float64, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_every_kernel_with_interleaved_threads(interleaved: Harness, dtype: torch.dtype) -> None:
    for seed in seeds(2):
        exercise_every_kernel(interleaved, dtype, 300, schedules=["interleaved"], seed=seed)
        interleaved.reset()
        interleaved.set(schedule="interleaved", seed=seed)
        compare_everything(interleaved, rows_like_layers(3, 2050, dtype), references(1, 2050)[0])


def test_a_failure_names_schedule_and_seed(interleaved: Harness, plain: Harness) -> None:
    interleaved.set(schedule="interleaved", seed=17)
    with pytest.raises(HarnessError, match="early_return, block 0, schedule interleaved, seed 17: divergence"):
        interleaved.request("broken:early_return", [])
    assert "schedule=interleaved, seed=17" in repr(interleaved)
    plain.set(schedule="interleaved")
    with pytest.raises(HarnessError, match=r"compiled with host_interleaving\.h"):
        _broken(plain, "sound")
