"""Attribution to a layer's units and positions: Captum's, closed forms, and sums that must come out."""

from __future__ import annotations

import pytest
import torch
import torchvision
from captum.attr import LayerGradientXActivation
from networks import seeded
from torch import Tensor, nn

from captum_proto.capture import changed_output
from captum_proto.features import UnitAttribution, relaxed_max_pool
from captum_proto.testing import QuadrantNetwork, quadrant_pictures


class Twice(nn.Module):
    """One module called twice in a pass, an in-place layer after it, and a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.both = _Pair()
        self.head = nn.Linear(3, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.conv(self.relu(self.conv(x))))
        first, second = self.both(x)
        return self.head((first * second).mean((2, 3)))


class _Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x * 2


@pytest.mark.parametrize("layer", ["stem", "stem.0", "relu", "block"])
def test_it_is_captums_gradient_times_activation(layer: str, make_cnn, untouched, lived_in) -> None:
    model, images, targets = make_cnn(), torch.rand(3, 3, 12, 12), [0, 4, 2]
    module = dict(model.named_modules())[layer]
    expected = LayerGradientXActivation(model, module).attribute(images, torch.tensor(targets))
    for given in (layer, module):
        found = UnitAttribution(model, given).attribute(images, targets)
        torch.testing.assert_close(found.values, expected.detach(), rtol=0, atol=0)
        assert torch.equal(found.values, found.activations * found.gradients)
    lived_in(model)
    with untouched(model):
        again = UnitAttribution(model, layer).attribute(images, targets)
    assert torch.equal(again.values, found.values)


def test_of_several_calls_it_is_the_last_as_captum_has_it_or_the_one_that_is_named() -> None:
    model, images = seeded(Twice).eval(), torch.rand(2, 3, 8, 8)
    expected = LayerGradientXActivation(model, model.conv).attribute(images, 1)
    last = UnitAttribution(model, "conv").attribute(images, 1).values
    torch.testing.assert_close(last, expected.detach(), rtol=0, atol=0)
    torch.testing.assert_close(UnitAttribution(model, "conv#1").attribute(images, 1).values, last)
    # The first call, by hand.
    first = model.conv(images).detach().requires_grad_()
    x = model.conv(first.relu()).relu()
    score = model.head(((x + 1) * x * 2).mean((2, 3)))[:, 1].sum()
    by_hand = first.detach() * torch.autograd.grad(score, first)[0]
    assert by_hand.abs().max() > 0
    torch.testing.assert_close(UnitAttribution(model, "conv#0").attribute(images, 1).values, by_hand)
    torch.testing.assert_close(UnitAttribution(model, "both[0]").attribute(images, 1).values.shape, by_hand.shape)


def test_a_rows_attribution_is_what_it_is_alone(make_cnn) -> None:
    model, images = make_cnn(dtype=torch.float64), torch.rand(4, 3, 12, 12, dtype=torch.float64)
    both = UnitAttribution(model, "block").attribute(images, [0, 1, 2, 3], contrast=4)
    for row in range(4):
        alone = UnitAttribution(model, "block").attribute(images[row], row, contrast=4)
        torch.testing.assert_close(both.values[row : row + 1], alone.values, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("method", ["linear", "path"])
def test_of_a_network_that_is_linear_from_there_on_it_is_exact(method: str) -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures(3)
    found = UnitAttribution(network, "features").attribute(pictures, [0, 1, 1], method=method, n_steps=3)
    weights = network.head.weight.detach()[[0, 1, 1]] / 64
    torch.testing.assert_close(found.values, network.features(pictures).detach() * weights[:, :, None, None])
    torch.testing.assert_close(found.totals, network(pictures).detach()[range(3), [0, 1, 1]])
    torch.testing.assert_close(found.spatial.sum((1, 2)), found.channels.sum(1))
    contrast = UnitAttribution(network, "features").attribute(pictures, 0, contrast=1)
    logits = network(pictures).detach()
    torch.testing.assert_close(contrast.totals, logits[:, 0] - logits[:, 1])
    torch.testing.assert_close(contrast.scores, contrast.totals)


def test_a_path_sums_to_the_difference_of_the_scores_as_its_steps_grow(make_cnn) -> None:
    model, images = make_cnn(dtype=torch.float64), torch.rand(2, 3, 12, 12, dtype=torch.float64)
    attribution = UnitAttribution(model, "stem")  # an in-place ReLU and a second one follow
    errors = []
    for steps in (8, 32, 128):
        found = attribution.attribute(images, [[0, 1], 2], method="path", n_steps=steps)
        errors.append(float((found.totals - (found.scores - found.baselines)).abs().max()))
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0  # of order 1 / N, as a left sum is
    one = attribution.attribute(images, [[0, 1], 2], method="path", n_steps=1)
    with torch.no_grad(), changed_output(model, "stem", torch.zeros_like):
        torch.testing.assert_close(one.baselines[1], model(images)[1, 2])
    # n / N from 0: the one step of N = 1 is where the layer returns zeros, which is not where it is.
    assert not torch.allclose(one.gradients, attribution.attribute(images, [[0, 1], 2]).gradients)


def test_between_layers_it_is_the_gradient_of_norms_and_of_sums() -> None:
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.Flatten()))
    model = model.double().eval()
    images = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    attribution = UnitAttribution(model, "0")
    spatial, channels = attribution.between(images, "2"), attribution.between(images, "2", "channels")
    assert spatial.shape == (2, 4, 4, 6, 6)
    assert channels.shape == (2, 5, 4)
    before = model[0](images).detach().requires_grad_()
    after = model[2](before.relu())
    (gradient,) = torch.autograd.grad(after[1, :, 2, 3].norm(), before, retain_graph=True)
    torch.testing.assert_close(spatial[1, 2, 3], (before * gradient)[1].sum(0).detach())
    (gradient,) = torch.autograd.grad(after[1, 4].sum(), before)
    torch.testing.assert_close(channels[1, 4], (before * gradient)[1].sum((1, 2)).detach())
    # A position sees what is under its filter, and nothing else.
    assert bool((spatial[0, 0, 0, 3:] == 0).all())
    assert bool((spatial[0, 0, 0, :3, :3] != 0).any())


def test_a_relaxed_max_pool_returns_the_maximum_and_passes_gradients_on_to_all() -> None:
    model = seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.MaxPool2d(3, 2, 1), nn.Flatten(), nn.Linear(64, 3))
    ).eval()
    images = torch.rand(2, 3, 10, 10)
    with relaxed_max_pool(model):
        torch.testing.assert_close(model(images), model[:](images))
        values = torch.rand(1, 1, 8, 8, dtype=torch.float64, requires_grad=True)
        pool = model[1]
        (found,) = torch.autograd.grad(pool(values).sum(), values)
    padded = nn.functional.pad(values, (1, 1, 1, 1))
    windows = padded.unfold(2, 3, 2).unfold(3, 3, 2).flatten(-2)
    (expected,) = torch.autograd.grad((windows.square().mean(-1) / (0.01 + windows.abs().mean(-1))).sum(), values)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        plain, relaxed = (
            UnitAttribution(model, "0").attribute(images, 1, relax_max_pool=flag) for flag in (False, True)
        )
    assert int((relaxed.values != 0).sum()) > int((plain.values != 0).sum())
    torch.testing.assert_close(relaxed.scores, plain.scores)


def test_tokens_are_maps_and_the_class_token_is_no_position() -> None:
    model = seeded(
        lambda: torchvision.models.VisionTransformer(
            image_size=16, patch_size=4, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=3
        )
    ).eval()
    nn.init.normal_(model.heads.head.weight)  # torchvision's begins with zeros
    images = torch.rand(2, 3, 16, 16)
    layer = "encoder.layers.encoder_layer_0"
    found = UnitAttribution(model, layer).attribute(images, 1)
    module = dict(model.named_modules())[layer]
    expected = LayerGradientXActivation(model, module).attribute(images, 1).detach()
    assert found.values.shape == (2, 8, 4, 4)
    torch.testing.assert_close(found.values.flatten(2).transpose(1, 2), expected[:, 1:])
    path = UnitAttribution(model, layer).attribute(images, 1, method="path", n_steps=4)
    assert path.values.shape == (2, 8, 4, 4)


def test_a_score_that_does_not_depend_on_the_layer_is_told(make_cnn) -> None:
    model, images = make_cnn(), torch.rand(1, 3, 12, 12)
    model.register_forward_hook(lambda module, arguments, output: output.detach())
    for method in ("linear", "path"):
        with pytest.raises(ValueError, match='does not depend on "block", or has no gradient'):
            UnitAttribution(model, "block").attribute(images, 0, method=method)


def test_bad_input_gets_a_sentence(make_cnn) -> None:
    model, images = make_cnn(), torch.rand(1, 3, 12, 12)
    attribution = UnitAttribution(model, "block")
    for call, words in [
        (lambda: UnitAttribution(model, "blok"), 'no layer "blok".*did you mean "block"'),
        (
            lambda: UnitAttribution(model, "head").attribute(images, 0),
            'no positions.*choose a layer that has, such as "relu"',
        ),
        (lambda: attribution.attribute(images, 5), "target 5 is out of range.*5 classes"),
        (lambda: attribution.attribute(images, 0, contrast=-1), "target -1 is out of range"),
        (lambda: attribution.attribute(images, [0, 1]), "2 targets were given for 1 images"),
        (lambda: attribution.attribute(images, 0, method="pth"), 'method is "pth"; did you mean "path"'),
        (lambda: attribution.attribute(images, 0, method="path", n_steps=0), "n_steps is 0"),
        (lambda: attribution.attribute(torch.rand(1, 1, 12, 12), 0), r"does not take images of shape \(1, 12, 12\)"),
        (lambda: attribution.attribute(images, 0, relax_max_pool=True), "no nn.MaxPool2d"),
        (lambda: attribution.between(images, "stem"), "does not depend on"),
        (lambda: attribution.between(images, "head"), "no positions"),
        (lambda: attribution.between(images, "block", "unit"), 'units is "unit"'),
    ]:
        with pytest.raises((ValueError, TypeError), match=words) as raised:
            call()
        assert type(raised.value).__module__ == "captum_proto._utils.errors"
        assert str(raised.value).count("\n") == 0


def test_changed_output_of_one_call_and_of_a_tuple() -> None:
    model, images = seeded(Twice).eval(), torch.rand(1, 3, 8, 8)
    plain = model(images)
    with changed_output(model, "conv#1", torch.zeros_like):
        torch.testing.assert_close(model(images), model.head(torch.zeros(1, 3)))
    with changed_output(model, "both[1]", torch.zeros_like):
        torch.testing.assert_close(model(images), model.head(torch.zeros(1, 3)))
    with changed_output(model, "conv#0", lambda value: None):
        assert torch.equal(model(images), plain)
    assert torch.equal(model(images), plain)
