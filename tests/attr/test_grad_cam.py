"""Grad-CAM against class activation maps in closed form, and guided backpropagation on networks of ReLU6."""

from __future__ import annotations

import pytest
import torch
from captum.attr import GuidedBackprop, LayerGradCam, Saliency
from networks import SmallCNN, seeded
from torch import Tensor, nn
from torch.nn.functional import interpolate

from captum_proto.attr import GradCam, last_map, with_plain_relus
from captum_proto.metrics import pointing_game
from captum_proto.testing.quadrants import QuadrantNetwork, quadrant_pictures


class _Pooled(nn.Module):
    """Maps, their mean over positions, and a linear layer: the network of class activation maps (Zhou et al. 2016)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 7, 3, stride=2), nn.ReLU())
        self.fc = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.features(x).mean((2, 3)))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def pooled() -> _Pooled:
    return seeded(_Pooled).eval()


def test_of_a_pooled_network_it_is_the_class_activation_map(pooled: _Pooled) -> None:
    images, target = torch.rand(3, 3, 19, 23), [0, 3, 1]
    maps = pooled.features(images).detach()
    activation = torch.einsum("nk,nkhw->nhw", pooled.fc.weight[target].detach(), maps)[:, None] / maps[0, 0].numel()
    grad_cam = GradCam(pooled, "features")
    plain = grad_cam.attribute(images, target, relu_attributions=False, interpolate_mode=None)
    assert torch.allclose(plain, activation, atol=1e-7)
    against = grad_cam.attribute(images, target, counterfactual=True, interpolate_mode=None)
    assert torch.allclose(against, activation.neg().relu(), atol=1e-7)
    whole = grad_cam.attribute(images, target)
    assert torch.allclose(whole, interpolate(activation.relu(), (19, 23), mode="bilinear"), atol=1e-7)
    theirs = LayerGradCam(pooled, pooled.features).attribute(images, target, relu_attributions=True)
    assert torch.equal(grad_cam.attribute(images, target, interpolate_mode=None), theirs)


def test_several_layers_give_a_map_each_and_the_model_is_as_it_was(pooled: _Pooled) -> None:
    pooled.train()
    images = torch.rand(2, 3, 12, 12)
    first, second = GradCam(pooled, ["features.1", pooled.features[3]]).attribute(images, 1)
    assert first.shape == second.shape == (2, 1, 12, 12)
    assert torch.equal(second, GradCam(pooled, "features.3").attribute(images, 1))
    assert pooled.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in pooled.parameters())
    pooled.eval()


def test_it_points_to_the_texture_of_the_class() -> None:
    pictures, textures = quadrant_pictures(8, seed=1)
    network = QuadrantNetwork()
    weights = next(parameter for name, parameter in network.named_parameters() if parameter.dim() == 2)
    target, row = 0, weights[0].detach()
    maps = GradCam(network, "features").attribute(pictures, target)
    best = int((row.view(4, 2) * torch.tensor([1.0, 0.5])).sum(1).argmax())
    masks = (textures == best).repeat_interleave(4, 1).repeat_interleave(4, 2)
    game = pointing_game(maps, masks, tolerance=0)
    assert game.accuracy.value == 1
    assert game.chance == 0.25


def test_the_last_map_is_found(pooled: _Pooled) -> None:
    assert last_map(pooled, torch.rand(1, 3, 12, 12)) == "features"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 2)).eval()
    with pytest.raises(ValueError, match="no layer of the model returns maps"):
        last_map(flat, torch.rand(1, 3, 2, 2))


def test_bad_input_is_a_sentence(pooled: _Pooled) -> None:
    with pytest.raises(ValueError, match='there is no layer "layer4"'):
        GradCam(pooled, "layer4")
    with pytest.raises(ValueError, match="layer is empty"):
        GradCam(pooled, [])
    with pytest.raises(ValueError, match="the layer, a Linear, returns no maps"):
        GradCam(pooled, "fc").attribute(torch.rand(2, 3, 12, 12), 1)
    with pytest.raises(TypeError, match="inputs are no images"):
        GradCam(pooled, "features").attribute(torch.rand(2, 12), 1)


class _Sixes(nn.Module):
    """One ReLU6 that is used twice, as in EfficientNet-Lite, and an in-place ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 3)
        self.six, self.relu = nn.ReLU6(), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.relu(self.second(self.six(self.first(self.six(x))))))  # type: ignore[no-any-return]


def test_guided_backpropagation_reaches_relu6() -> None:
    network = seeded(_Sixes).eval()
    copied = with_plain_relus(network)
    x = 6 * torch.randn(7, 6, generator=torch.Generator().manual_seed(0)) + 3
    assert torch.equal(copied(x), network(x))
    assert copied.first.weight is network.first.weight
    with torch.no_grad():
        network.first.bias += 1
    assert torch.equal(copied(x), network(x))
    # By hand, from the output: only what is positive goes on, where a unit is on, and nothing above six.
    with torch.no_grad():
        a = network.first(x.clamp(0, 6))
        b = network.second(a.clamp(0, 6))
        back = network.third.weight[1].clamp(min=0) * (b > 0) @ network.second.weight
        back = back.clamp(min=0) * ((a > 0) & (a < 6)) @ network.first.weight
        expected = back.clamp(min=0) * ((x > 0) & (x < 6))
    guided = GuidedBackprop(copied).attribute(x.clone(), target=1)
    assert torch.allclose(guided, expected, atol=1e-6)
    assert not torch.allclose(guided, Saliency(network).attribute(x.clone(), target=1, abs=False), atol=1e-3)
    assert network.relu.inplace
    assert isinstance(network.six, nn.ReLU6)


def test_a_network_without_rectifiers_is_told() -> None:
    with pytest.raises(ValueError, match="the model has no ReLU or ReLU6 among its modules"):
        with_plain_relus(nn.Sequential(nn.Linear(2, 2), nn.GELU()))
    awkward = seeded(SmallCNN).eval()
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(with_plain_relus(awkward)(images), awkward(images))
