"""Expanded weights against SciPy's convolution and PyTorch's own Jacobian of networks that are linear."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from networks import seeded
from scipy.signal import convolve
from torch import Tensor, nn
from torch.autograd.functional import jacobian

from captum_proto.circuits import ExpandedWeights, drawn, expanded_weights
from captum_proto.models import NamedModel


class Residual(nn.Module):
    """A block with batch normalization, several activation functions, a pooling and a way around."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, 4, 3, padding=1)
        self.inner = inner
        self.after = nn.MaxPool2d(3, 2, 1)
        self.last = nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.start(x)
        x = self.after(x + self.inner(x))
        y: Tensor = self.last(torch.relu_(x))
        return y


def block(linear: bool) -> Residual:
    """As it is, or written down without what is not linear."""

    def keep(module: nn.Module) -> nn.Module:
        return nn.Identity() if linear else module

    def build() -> Residual:
        layers = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), keep(nn.ReLU6(inplace=True)), nn.Conv2d(4, 4, 1)]
        return Residual(nn.Sequential(*layers, keep(nn.SiLU()), keep(nn.Hardswish()), nn.Dropout(0.5)))

    made = seeded(build)
    with torch.no_grad():
        norm = made.inner[1]
        norm.running_mean.copy_(torch.tensor([0.5, -1.0, 2.0, 0.0]))
        norm.running_var.copy_(torch.tensor([0.5, 2.0, 1.0, 3.0]))
    if linear:
        made.after = nn.AvgPool2d(3, 2, 1)
    return made.eval()


class Squeezed(nn.Module):
    """A convolution, gates of its means, and one convolution more."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.gate, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        y: Tensor = self.last(x * torch.sigmoid(self.gate(x.mean((2, 3), keepdim=True))))
        return y


@pytest.mark.parametrize("kernel", [(3, 3), (5, 3), (4, 2)])
def test_two_convolutions_are_the_convolution_of_their_kernels(kernel: tuple[int, int]) -> None:
    """Square, not square and even."""
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.Conv2d(6, 5, 3), nn.Conv2d(5, 4, kernel)))
    found = expanded_weights(model, "0", "2", (3, 20, 20))
    first, second = (model[place].weight.detach().double().numpy() for place in (1, 2))
    expected = np.array(
        [[sum(convolve(second[o, m], first[m, i]) for m in range(5)) for i in range(6)] for o in range(4)]
    )
    assert found.weights.shape == expected.shape
    assert np.abs(found.weights.numpy() - expected).max() < 1e-5
    assert found.stride == (1, 1)
    assert not found.at_border
    assert found.box[0] == found.position[0]


def test_what_is_not_linear_is_its_nearest_linear_map() -> None:
    model, linear = block(False), block(True)
    for place in ((0, 0), (3, 3)):
        found = expanded_weights(model, "start", "last", (3, 14, 14), position=place, units=[4, 0])

        def after(maps: Tensor) -> Tensor:
            y: Tensor = linear.last(linear.after(maps + linear.inner(maps)))[0, [4, 0]]
            return y

        whole = jacobian(after, torch.zeros(1, 4, 14, 14))[:, place[0], place[1], 0]
        top, left, bottom, right = found.box
        assert torch.allclose(found.weights, whole[:, :, top:bottom, left:right], atol=1e-5)
        whole[:, :, top:bottom, left:right] = 0
        assert not whole.any()
        assert found.stride == (2, 2)
        assert found.at_border == (place == (0, 0))


def test_the_model_comes_back_as_it_was() -> None:
    model = block(False).train()
    before = copy.deepcopy(model.state_dict())
    expanded_weights(model, "start", "last", (3, 14, 14), units=1)
    with pytest.raises(ValueError, match="no path"):
        expanded_weights(model, "last", "start", (3, 14, 14))
    assert model.training
    assert model.inner.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert all(bool((before[name] == value).all()) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_batches_of_units_and_one_unit_are_the_same() -> None:
    model = block(False)
    whole = expanded_weights(model, "start", "last", (3, 14, 14))
    assert torch.allclose(whole.weights, expanded_weights(model, "start", "last", (3, 14, 14), batch_size=2).weights)
    one = expanded_weights(model, "start", "last", (3, 14, 14), units=3, from_units=[2, 0])
    assert torch.allclose(one.weights[0], whole.of(3)[[2, 0]])
    assert one.of(3).shape == one.weights[0].shape


def test_gates_are_refused_or_have_the_values_of_an_image() -> None:
    model = seeded(Squeezed).eval()
    with pytest.raises(ValueError, match=r"multiplies two things .* frozen_at"):
        expanded_weights(model, "first", "last", (3, 12, 12))
    image = torch.rand(3, 12, 12, generator=torch.Generator().manual_seed(1))
    found = expanded_weights(model, "first", "last", (3, 12, 12), frozen_at=image)
    with torch.no_grad():
        gates = torch.sigmoid(model.gate(model.first(image[None]).mean((2, 3), keepdim=True)))
        assert torch.allclose(found.weights, model.last.weight * gates, atol=1e-6)
    with pytest.raises(ValueError, match="frozen_at has shape"):
        expanded_weights(model, "first", "last", (3, 12, 12), frozen_at=image[:, 1:])


def test_vectors_are_maps_of_one_position() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 8), nn.GELU(), nn.Linear(8, 5))
    )
    between = expanded_weights(NamedModel("small", model.eval(), None, (3, 6, 6)), "3", "5")
    assert torch.allclose(between.weights[:, :, 0, 0], model[5].weight, atol=1e-6)
    read = expanded_weights(model, "1", "3", (3, 6, 6))
    assert torch.allclose(read.weights, model[3].weight.view(8, 4, 4, 4), atol=1e-6)


def test_calls_of_a_layer_that_runs_twice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.relu = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.relu(self.b(self.relu(self.a(x))))
            return y

    model = seeded(Twice)
    found = expanded_weights(model, "relu#0", "relu", (3, 12, 12))
    assert torch.allclose(found.weights, model.b.weight, atol=1e-6)


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (("2", "0"), "no path leads from"),
        (("nope", "2"), 'there is no layer "nope"'),
        (("0", "3"), "expanded weights are of maps"),
    ],
)
def test_layers_that_cannot_be_used(layers: tuple[str, str], words: str) -> None:
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(64, 5))
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), tokens))
    with pytest.raises(ValueError, match=words):
        expanded_weights(model, *layers, (3, 12, 12))


def test_bad_input_is_a_sentence() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))).eval()
    for choices, words in (
        ({"units": 9}, "unit is 9"),
        ({"units": [1, 1]}, "each once"),
        ({"from_units": []}, "counted from 0"),
        ({"position": (50, 0)}, "position is"),
        ({"batch_size": 0}, "batch_size is 0"),
    ):
        with pytest.raises(ValueError, match=words):
            expanded_weights(model, "0", "1", (3, 12, 12), **choices)
    with pytest.raises(ValueError, match="image_shape is"):
        expanded_weights(model, "0", "1", (3, 12))
    with pytest.raises(TypeError, match="forward_func is a function"):
        expanded_weights(lambda x: x, "0", "1")  # type: ignore[arg-type]
    fixed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(ValueError, match="give its image_shape"):
        expanded_weights(fixed, "0", "2", (3, 9, 9))


def test_what_is_not_linear_without_activation_functions_is_named() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4), nn.Conv2d(4, 4, 3))).eval()
    with pytest.raises(ValueError, match='layer "1" is not'):
        expanded_weights(model, "0", "2", (3, 12, 12))


def test_strongest_connections_and_files(tmp_path: Path) -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 1), nn.Conv2d(6, 4, 3))).eval()
    with torch.no_grad():
        model[1].weight[2] *= 0.01
        model[1].weight[2, 5] = -torch.ones(3, 3)
        model[1].weight[2, 5, 0, 2] = -7
    found = expanded_weights(model, "0", "1", (3, 8, 8))
    first = found.strongest(2, 3)[0]
    assert (first.from_unit, first.to_unit, first.place) == (5, 2, (0, 2))
    assert first.inhibition == pytest.approx(-15, abs=1e-4)
    assert first.excitation == 0
    assert first.share > 0.98
    assert sum(each.share for each in found.strongest(2, 99)) == pytest.approx(1)
    assert found.strongest_from(5, 1)[0].to_unit == 2
    norms = found.norms[:, 5]
    assert [each.to_unit for each in found.strongest_from(5)] == norms.argsort(descending=True).tolist()
    for call in (found.strongest, found.strongest_from):
        with pytest.raises(ValueError, match="give one of these"):
            call(77)
    found.save(tmp_path / "weights.safetensors")
    again = ExpandedWeights.load(tmp_path / "weights.safetensors")
    assert bool((again.weights == found.weights).all())
    assert {**vars(again), "weights": 0} == {**vars(found), "weights": 0}
    with pytest.raises(FileExistsError):
        found.save(tmp_path / "weights.safetensors")


def test_pictures_of_weights_are_red_where_they_excite_and_blue_where_they_inhibit() -> None:
    picture = drawn(torch.tensor([[1.0, 0.0, -1.0]]))
    assert picture[:, 0, 1].tolist() == [1, 1, 1]
    assert picture[0, 0, 0] > picture[2, 0, 0]
    assert picture[2, 0, 2] > picture[0, 0, 2]
    assert drawn(torch.zeros(2, 2)).min() == 1
