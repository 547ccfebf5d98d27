"""A device without float64, as MPS is: what it refuses, and all that the package does with a model on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from entry_points import ENTRIES, SHAPE, differences
from networks import SmallCNN, seeded
from no_float64 import DEVICE, ROUNDING, DeviceGenerator, DeviceTensor, NoFloat64
from torch import Tensor, nn

from captum_proto import capture, ops


@pytest.fixture
def device() -> Iterator[torch.device]:
    with NoFloat64():
        yield DEVICE


def test_a_tensor_of_the_device_is_there(device: torch.device) -> None:
    for made in (
        torch.zeros(2, 3, device=device),
        torch.tensor([[1.0, 2.0]], device=device),
        torch.rand(2, device="mps"),
        torch.ones(2).to(device),
        torch.ones(2, dtype=torch.float64).to(device, torch.float32),
        torch.arange(3, device=device).new_tensor([4]),
    ):
        assert isinstance(made, DeviceTensor)
        assert made.device == device
        assert made.to(device) is made
        assert type(made.cpu()) is Tensor
        assert made.cpu().device.type == "cpu"
    values = torch.arange(6, device=device).view(2, 3)
    assert values.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert values[1, 2].item() == int(values.sum()) - 10 == 5
    values[0] = 7
    values[1, 0] = torch.tensor(8)
    values += 1
    assert values.cpu().tolist() == [[8, 8, 8], [9, 5, 6]]
    assert values.t()[torch.tensor([1])].tolist() == [[8, 5]]  # indices may be on the CPU
    values[:, [0, 2]] = -1
    assert values[[1]].tolist() == [[-1, 5, -1]]
    values.data = torch.full((2, 3), 8, device=device)
    assert values.tolist() == values.data.tolist() == [[8, 8, 8], [8, 8, 8]]
    host = torch.zeros(2, 3, dtype=torch.int64)
    assert host.copy_(values) is host
    assert host.equal(values.cpu())
    assert torch.zeros_like(values, device="cpu").device.type == "cpu"


REFUSED: dict[str, Callable[[Tensor], object]] = {
    "double": lambda x: x.double(),
    "to": lambda x: x.to(torch.float64),
    "to the CPU and float64 at once": lambda x: x.to("cpu", torch.float64),
    "factory": lambda x: torch.zeros(2, dtype=torch.float64, device=x.device),
    "tensor": lambda x: torch.tensor([1.0], dtype=torch.float64, device=x.device),
    "new_zeros": lambda x: x.new_zeros(2, dtype=torch.float64),
    "sum": lambda x: x.sum(dtype=torch.float64),
    "from the CPU": lambda x: torch.ones(2, dtype=torch.float64).to(x.device),
    "complex": lambda x: x.to(torch.complex128),
    "a float64 that has no dimensions": lambda x: x.long() * torch.tensor(0.5, dtype=torch.float64),
    "into float64": lambda x: torch.zeros(2, dtype=torch.float64).copy_(x),
    "module": lambda x: nn.Linear(2, 2).double().to(x.device),
    "NumPy": lambda x: x.numpy(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_float64_is_refused(name: str, device: torch.device) -> None:
    with pytest.raises(TypeError):
        REFUSED[name](torch.ones(2, device=device))


MIXED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "sum": lambda x, y: x + y,
    "product": lambda x, y: y @ x,
    "in place": lambda x, y: y.add_(x),
    "cat": lambda x, y: torch.cat([x, y]),
    "indices of the device": lambda x, y: y[x.long()],
    "convolution": lambda x, y: nn.functional.conv1d(x.view(1, 1, 2), y.view(1, 1, 2)),
    "generator": lambda x, y: torch.rand(2, device=x.device, generator=torch.Generator()),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_do_not_mix(name: str, device: torch.device) -> None:
    with pytest.raises(RuntimeError, match=r"same device|generator"):
        MIXED[name](torch.ones(2, device=device), torch.ones(2))
    assert (torch.ones(2, device=device) * torch.tensor(3.0)).tolist() == [3.0, 3.0]
    assert torch.rand(2, device=device, generator=DeviceGenerator()).device == device


def test_a_tensor_of_the_device_needs_the_mode() -> None:
    with NoFloat64():
        made = torch.ones(2, device=DEVICE)
    with pytest.raises(RuntimeError, match="not active"):
        made + 1


def _passes(model: nn.Module, images: Tensor) -> list[Tensor]:
    """Output, gradients, what a step of an optimizer makes of the weights, and buffers."""
    images = images.clone().requires_grad_()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    output = model(images)
    output.logsumexp(1).sum().backward()
    assert images.grad is not None
    found = [output.detach(), images.grad, *(each.grad for each in model.parameters())]
    optimizer.step()
    return [*found, *(each.detach() for each in model.state_dict().values())]


@pytest.mark.parametrize("training", [False, True])
def test_networks_are_those_of_the_cpu(
    training: bool, device: torch.device, make_images: Callable[..., Tensor]
) -> None:
    images = make_images(4, SHAPE)
    networks = [seeded(SmallCNN).train(training) for _ in range(2)]
    for each in networks:
        each.dropout.p = 0.0
    found = _passes(networks[1].to(device), images.to(device))
    assert all(isinstance(each, DeviceTensor) for each in found)
    for ours, theirs in zip(found, _passes(networks[0], images), strict=True):
        assert torch.equal(ours.cpu(), theirs)
    networks[0].load_state_dict(networks[1].state_dict())
    assert {each.device for each in networks[1].cpu().parameters()} == {torch.device("cpu")}


#: What is optimized on the device; the rest is networks, which are those of the CPU here, and sums, which are made on the CPU.
OPTIMIZED = (
    "ActivationGrid",
    "InputOptimization",
    "PrototypeGeneration.attribute",
    "PrototypeGeneration.generate",
    "SemanticDictionary",
    "visualize",
)


@pytest.mark.parametrize("entry", ENTRIES)
def test_everything_without_float64(entry: str, make_images: Callable[..., Tensor]) -> None:
    images = make_images(8, SHAPE)
    expected = ENTRIES[entry](seeded(SmallCNN).eval(), images)
    with NoFloat64():
        found = ENTRIES[entry](seeded(SmallCNN).eval().to(DEVICE), images.to(DEVICE))
        assert differences(found, expected, ROUNDING if entry in OPTIMIZED else 0.0) == ""


def test_operators_without_an_answer_of_their_own_refuse_as_the_device_does(device: torch.device) -> None:
    """By themselves the operators of PyTorch's registry move nothing; what does is ``captum_proto.ops``."""
    with pytest.raises(TypeError, match="float64"):
        torch.ops.captum_proto.rank(torch.rand(2, 5, device=device))
    assert ops.rank(torch.rand(2, 5, device=device)).device.type == "cpu"


def test_what_is_in_float64_stays_on_the_cpu(device: torch.device) -> None:
    wide = seeded(SmallCNN).double()
    with pytest.raises(TypeError, match="float64"):
        wide.to(device)
    assert capture(wide.eval(), torch.rand(1, *SHAPE).double())["head"].dtype == torch.float64
