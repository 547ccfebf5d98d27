"""Side by side with Captum: its attributions on a prototype, and the generation inside its tools."""

from __future__ import annotations

import inspect

import pytest
import torch
from captum.attr import Attribution, IntegratedGradients, LayerActivation, LayerGradCam, NoiseTunnel, Saliency
from captum.metrics import infidelity
from torch import nn

from captum_proto import PrototypeGeneration, Prototypes, RandomAffine, capture, path_similarity


@pytest.fixture(scope="module")
def generation(make_cnn) -> PrototypeGeneration:
    return PrototypeGeneration(make_cnn())


@pytest.fixture(scope="module")
def prototypes(generation) -> Prototypes:
    return generation.generate([0, 3], (3, 12, 12), steps=20, warmup_steps=2, transform=RandomAffine(10))


def test_it_is_an_attribution(generation, make_cnn):
    assert isinstance(generation, Attribution)
    assert generation.forward_func is not None
    assert not generation.has_convergence_delta()
    names = list(inspect.signature(PrototypeGeneration.attribute).parameters)
    captums = list(inspect.signature(Saliency.attribute).parameters)
    assert names[:3] == captums[:3] == ["self", "inputs", "target"]
    assert "additional_forward_args" in names


def test_integrated_gradients_of_a_prototype_add_up_to_its_logit(prototypes, make_cnn):
    model = make_cnn()
    attributions, delta = IntegratedGradients(model).attribute(
        prototypes.images, target=[0, 3], n_steps=200, return_convergence_delta=True
    )
    assert attributions.shape == prototypes.images.shape
    black = model(torch.zeros(1, 3, 12, 12)).detach()[0, [0, 3]]
    torch.testing.assert_close(attributions.sum((1, 2, 3)).float(), prototypes.logits - black, rtol=0.02, atol=0.02)
    assert float(delta.abs().max()) < 0.05


def test_grad_cam_of_a_prototype(prototypes, make_cnn):
    model = make_cnn()
    maps = LayerGradCam(model, model.block).attribute(prototypes.images, target=[0, 3])
    assert maps.shape == (2, 1, 12, 12)
    assert float(maps.detach().abs().max()) > 0


def test_noise_tunnel_around_integrated_gradients_on_a_prototype(prototypes, make_cnn):
    tunnel = NoiseTunnel(IntegratedGradients(make_cnn()))
    smoothed = tunnel.attribute(
        prototypes.images, target=torch.tensor([0, 3]), nt_type="smoothgrad", nt_samples=3, stdevs=0.05, n_steps=8
    )
    assert smoothed.shape == prototypes.images.shape
    assert bool(smoothed.isfinite().all())


@pytest.mark.parametrize("target", [1, [0, 3], torch.tensor([0, 3])], ids=["int", "list", "tensor"])
@pytest.mark.parametrize("wrap", [lambda x: x, lambda x: (x,)], ids=["tensor", "tuple"])
def test_the_generation_inside_a_noise_tunnel(generation, make_images, target, wrap):
    images = 0.25 + make_images(2) / 2
    options = {"steps": 3, "transform": None, "high_frequency_weight": 0.0}
    mean = NoiseTunnel(generation).attribute(
        wrap(images), target=target, nt_type="smoothgrad", nt_samples=3, stdevs=0.01, **options
    )
    assert isinstance(mean, type(wrap(images)))
    mean = mean[0] if isinstance(mean, tuple) else mean
    assert mean.shape == images.shape
    # Three steps of 0.05 from images that differ by little noise: near what the images themselves become.
    alone = generation.attribute(images, target, **options)
    assert float((mean - alone).abs().mean()) < 0.02
    assert float((mean - images).abs().mean()) > 0.1


def test_a_noise_tunnel_passes_further_arguments_on(make_images):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.seen = nn.Linear(432, 4), []

        def forward(self, x, factor, each):
            self.seen.append((factor, len(each)))
            return self.linear(x.flatten(1)) * factor + each

    model = Scaled()
    NoiseTunnel(PrototypeGeneration(model)).attribute(
        0.25 + make_images(2) / 2,
        target=1,
        additional_forward_args=(2.0, torch.zeros(2, 1)),
        nt_samples=3,
        stdevs=0.02,
        steps=2,
    )
    assert set(model.seen) == {(2.0, 6)}


@pytest.mark.parametrize("arguments", [2.0, (2.0,), torch.tensor(2.0), (torch.tensor([[2.0], [2.0]]),)])
def test_further_arguments_come_as_in_captum(make_images, arguments):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(432, 4)

        def forward(self, x, factor):
            return self.linear(x.flatten(1)) * factor

    model, images = Scaled(), make_images(2)
    ours = PrototypeGeneration(model).attribute(images, [0, 1], arguments, steps=2)
    theirs = Saliency(model).attribute(images, target=[0, 1], additional_forward_args=arguments)
    assert ours.shape == theirs.shape


def test_one_step_goes_where_captums_saliency_points(generation, make_cnn, make_images):
    images = 0.25 + make_images(2) / 2
    stepped = generation.attribute(images, [0, 3], steps=1, lr=0.01, transform=None, high_frequency_weight=0.0)
    saliency = Saliency(make_cnn()).attribute(images, target=[0, 3], abs=False)
    assert float(saliency.abs().min()) > 1e-6
    torch.testing.assert_close((stepped - images) / 0.01, saliency.sign(), rtol=0, atol=2e-3)


def test_captured_layers_are_captums_layer_activations(make_cnn, make_images):
    model, images = make_cnn(), make_images(2)
    ours = capture(model, images, [model.stem[0], "block", "head"], alias="value")
    for name, layer in (("block", model.block), ("head", model.head)):
        theirs = LayerActivation(model, layer).attribute(images)
        assert theirs.shape == ours[name].shape
    # In the head nothing works in place; there both agree to the last bit.
    assert torch.equal(LayerActivation(model, model.head).attribute(images).detach(), ours["head"])


def test_path_similarity_takes_its_arguments_as_captums_metrics_do():
    ours = list(inspect.signature(path_similarity).parameters)
    assert ours[:2] == ["forward_func", "inputs"]
    assert "additional_forward_args" in ours
    assert "additional_forward_args" in inspect.signature(infidelity).parameters
