"""What a GPU has not: memory, and code for its architecture."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from native.operator_samples import assert_same_bits, references, rows_like_layers

from captum_proto import ops

native = torch.ops.captum_proto
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def share() -> Iterator[None]:
    """A GPU whose memory is this process's to bound, put back afterwards."""
    gc.collect()
    torch.cuda.empty_cache()
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def leave(megabytes: float) -> None:
    """So much memory, and no more, beside what is in use."""
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + megabytes * 2**20) / total)


@pytest.mark.usefixtures("share")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_chunks_shrink_to_what_is_free(dtype: torch.dtype) -> None:
    x, reference = rows_like_layers(60, 200_000, dtype), references(1, 200_000)[0]
    expected, ranks = native.spearman(x, reference), native.doubled_rank(x)
    gpu_x, gpu_reference = x.cuda(), reference.cuda()
    out = torch.empty_like(ranks, device="cuda")
    for megabytes in (2000, 150, 70, 40):
        leave(megabytes)
        assert_same_bits(native.spearman(gpu_x, gpu_reference).cpu(), expected)
        if megabytes > 60:  # the result alone takes 46
            out.copy_(native.doubled_rank(gpu_x))
            assert_same_bits(out.cpu(), ranks)


@pytest.mark.usefixtures("share")
def test_no_memory_is_pytorchs_own_error_and_leaves_everything_usable() -> None:
    x = torch.randn(2, 4_000_000, device="cuda")
    leave(20)
    with pytest.raises(torch.OutOfMemoryError, match=r"tried to allocate .* MiB of scratch memory on GPU 0"):
        ops.spearman(x, x[0])
    with pytest.raises(torch.OutOfMemoryError, match="there is none for a result"):
        ops.rank(x)
    torch.cuda.set_per_process_memory_fraction(1.0)
    assert ops.spearman(x, x[0])[0] == 1.0


WITHOUT_CODE = """
import warnings, torch
from captum_proto import ops
from captum_proto.ops import _architectures, _twin
called = []
twin = _twin.spearman
_twin.spearman = lambda *arguments: called.append(1) or twin(*arguments)
x = torch.randn(3, 500, device="cuda")
before = ops.spearman(x, x[0])
assert not called
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    _architectures._check(["1.0"], [])
assert len(caught) == 1 and "has no code for cuda:0" in str(caught[0].message)
assert torch.equal(ops.spearman(x, x[0]), before) and called
"""


def test_a_gpu_without_code_takes_the_twin() -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_CODE], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_gpus_here_have_code() -> None:
    torch.cuda.init()
    assert ops.backend()["cuda"]["uncovered_devices"] == []
