"""Which devices have float64 is found by trying, once for each type."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from no_float64 import DEVICE, NoFloat64
from torch.utils._python_dispatch import TorchDispatchMode

from captum_proto._utils.checks import check_device
from captum_proto._utils.errors import InputError
from captum_proto.ops import double as module
from captum_proto.ops.double import double, exact, exact_device, has_float64

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def nobody_knows() -> Iterator[None]:
    before = dict(module._answers)
    module._answers.clear()
    yield
    module._answers.clear()
    module._answers.update(before)


class Asked(TorchDispatchMode):
    """A device of another type, played by the CPU: what it is asked for in float64, and what it says to that."""

    def __init__(self, refuses: str = "", error: Exception | None = None) -> None:
        super().__init__()
        self.refuses, self.error, self.made = refuses, error, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if named.get("device") == torch.device("vulkan"):
            self.made += 1
            named["device"] = CPU
        if self.refuses and func._schema.name == f"aten::{self.refuses}":
            raise self.error or RuntimeError("Required aspect fp64 is not supported on the device")
        return func(*args, **named)


def test_a_device_that_has_it_is_asked_once() -> None:
    with Asked() as asked:
        assert has_float64(torch.device("vulkan"))
        assert has_float64(torch.device("vulkan"))
        assert exact_device(torch.device("vulkan")) == torch.device("vulkan")
    assert asked.made == 1


@pytest.mark.parametrize("refuses", ["ones", "sum", "_local_scalar_dense"])
def test_memory_for_it_is_not_enough(refuses: str) -> None:
    """Some GPUs of Intel hold such numbers, and do not add them."""
    with Asked(refuses) as asked:
        assert not has_float64(torch.device("vulkan"))
        assert not has_float64(torch.device("vulkan"))
        assert exact_device(torch.device("vulkan")) == CPU
    assert asked.made == 1


def test_without_memory_it_is_asked_again() -> None:
    with Asked("ones", torch.OutOfMemoryError("CUDA out of memory.")), pytest.raises(torch.OutOfMemoryError):
        has_float64(torch.device("vulkan"))
    with Asked():
        assert has_float64(torch.device("vulkan"))


def test_cpu_and_cuda_are_not_asked() -> None:
    with Asked("ones"):
        assert has_float64(CPU)
        assert has_float64(torch.device("cuda", 1))
    values = torch.rand(3, 2, requires_grad=True)
    assert exact(values) is values
    assert double(values.double()).dtype == torch.float64


def test_values_and_their_gradients_come_and_go() -> None:
    with NoFloat64():
        values = torch.rand(3, device=DEVICE, requires_grad=True)
        found = double(values)
        assert found.device == CPU
        assert found.dtype == torch.float64
        found.square().sum().backward()
        assert values.grad is not None
        assert torch.equal(values.grad.cpu(), 2 * values.detach().cpu())


def test_a_device_that_is_not_there_is_refused_with_a_sentence() -> None:
    for name in ("mps", "xpu", "vulkan"):
        with pytest.raises(InputError, match=f'device "{name}" was asked for.* use "cpu"'):
            check_device(name)
    with NoFloat64():
        assert check_device("mps").type == "mps"
