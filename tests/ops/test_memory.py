"""A native kernel that finds no memory, without a GPU: a stub speaks its sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captum_proto import ops
from captum_proto.ops._memory import OUT_OF_MEMORY

ROOT = Path(__file__).resolve().parents[2]
SAID = "tried to allocate 512.00 MiB of scratch memory on GPU 0."


@pytest.fixture
def without_memory() -> Iterator[None]:
    library = torch.library.Library("captum_proto", "IMPL")

    def fail(*arguments: object) -> Tensor:
        raise RuntimeError(f"{OUT_OF_MEMORY}{SAID}")

    for name in ("doubled_rank", "rank", "high_frequency_loss_backward", "top_k"):
        library.impl(name, fail, "CPU")
    yield
    library._destroy()


def test_the_sentence_begins_as_in_the_kernels() -> None:
    sources = ROOT / "csrc" / "tensors.h"
    if not sources.exists():
        pytest.skip("needs the source tree")
    (found,) = re.findall(r'kOutOfMemory = "(.*)";', sources.read_text())
    assert found == OUT_OF_MEMORY


@pytest.mark.usefixtures("without_memory")
def test_no_memory_is_pytorchs_own_error() -> None:
    images = torch.rand(1, 1, 4, 4, requires_grad=True)
    lists = torch.zeros(1, 1), torch.zeros(1, 1, dtype=torch.int64), torch.zeros(1, 1, dtype=torch.int64)
    for call in (
        lambda: ops.rank(torch.rand(2, 3)),
        lambda: ops.spearman(torch.rand(2, 3), torch.rand(3)),
        lambda: ops.high_frequency_loss(images).sum().backward(),
        lambda: ops.top_k(*lists, *lists),
    ):
        with pytest.raises(torch.OutOfMemoryError) as caught:
            call()
        assert str(caught.value) == f"CUDA out of memory: {SAID}"


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="another") as caught:
        ops.rank(Raising(torch.rand(2, 3)))
    assert not isinstance(caught.value, torch.OutOfMemoryError)


class Raising(Tensor):
    """A tensor whose operators fail for another reason."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if "captum_proto" in str(func):
            raise RuntimeError("another reason")
        return super().__torch_function__(func, types, args, kwargs or {})
