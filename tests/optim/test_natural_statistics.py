"""What batch normalizations remember, against PyTorch's own batch normalization and planted networks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto._utils.errors import InputError, OccupiedError
from captum_proto.optim import (
    L2,
    ClassLogit,
    FeatureDistribution,
    ImagePrior,
    InputOptimization,
    NaturalStatistics,
    RandomAffine,
    deep_inversion_regularizer,
)

SHAPE = (3, 12, 12)


def planted(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """Two batch normalizations, with running statistics that a hand-made picture can have."""
    network = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 5, 3, bias=False),
            nn.BatchNorm2d(5),
        )
    )
    with torch.no_grad():
        for norm in (network[1], network[4]):
            norm.running_mean.copy_(torch.linspace(-0.3, 0.4, norm.num_features))
            norm.running_var.copy_(torch.linspace(0.2, 0.9, norm.num_features))
            norm.weight.copy_(torch.linspace(-1.0, 1.5, norm.num_features))
    return network.to(dtype).eval()


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.rand(count, *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def value(loss, network: nn.Module, images: Tensor, **choices) -> Tensor:
    """The loss of images as they are, before a step."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimization = InputOptimization(network, loss, steps=1, lr=0.0, **choices)
        return optimization.optimize(start=images).history["loss"][0]


def remembered(network: nn.Sequential, image: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """The running statistics that PyTorch keeps of one image alone: in training, with a momentum of 1."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    values = image.unsqueeze(0)
    for name, module in network.named_children():
        if isinstance(module, nn.BatchNorm2d):
            only = nn.BatchNorm2d(module.num_features, momentum=1.0).to(values.dtype).train()
            only(values)
            seen[name] = only.running_mean.detach(), only.running_var.detach()
        values = module(values).detach()
    return seen


def by_hand(network: nn.Module, image: Tensor, power: int = 1) -> float:
    total, norms = 0.0, dict(network.named_modules())
    seen = remembered(network, image)
    for name, (mean, variance) in seen.items():
        norm = norms[name]
        running = np.sqrt(norm.running_var.numpy() + norm.eps)
        far = np.abs((mean - norm.running_mean).numpy() / running) ** power
        far = far + np.abs((np.sqrt(variance.numpy() + norm.eps) - running) / running) ** power
        total += far.mean() / len(seen)
    return total


@pytest.mark.parametrize("power", [1, 2])
def test_statistics_are_those_that_pytorch_keeps_of_one_image(power):
    network, images = planted(), pictures(3)
    found = value(NaturalStatistics(network, power=power), network, images)
    expected = [by_hand(network, image, power) for image in images]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def remember(network: nn.Sequential, image: Tensor) -> nn.Sequential:
    """Plant the statistics of one image: first of the earlier batch normalization, on which those of the later one depend."""
    for name in ("1", "4"):
        mean, variance = remembered(network, image)[name]
        network.get_submodule(name).running_mean.copy_(mean)
        network.get_submodule(name).running_var.copy_(variance)
    return network


def test_a_network_that_remembers_a_picture_is_at_its_minimum_there():
    image = pictures(1, seed=5)
    network = remember(planted(), image[0])
    assert float(value(NaturalStatistics(network), network, image)) < 1e-12
    assert float(value(NaturalStatistics(network), network, pictures(1, seed=6))) > 0.01


def test_going_down_the_loss_brings_the_statistics_near():
    network = remember(planted(), pictures(1, seed=5)[0] ** 2)
    result = InputOptimization(network, NaturalStatistics(network), steps=150, lr=0.02).optimize(SHAPE, count=2)
    course = result.history["natural_statistics"]
    assert bool((course[-1] < 0.35 * course[0]).all())


@pytest.mark.parametrize("make", [NaturalStatistics, FeatureDistribution, deep_inversion_regularizer])
def test_gradients_alone_are_those_in_a_batch(make):
    network, images = planted(), pictures(3)

    def moved(rows: slice) -> Tensor:
        loss = ClassLogit([1, 2, 0]).rows(range(rows.start, rows.stop)) + 3.0 * make(head)
        return (
            InputOptimization(head, loss, steps=3, lr=0.01, transform=RandomAffine(20))
            .optimize(start=images[rows])
            .images
        )

    head = nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    together = moved(slice(0, 3))
    for row in range(3):
        torch.testing.assert_close(moved(slice(row, row + 1))[0], together[row], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layers", [None, ["1"], ["4"]])
def test_folding_other_batch_normalizations_changes_nothing(layers):
    network, images = planted(), pictures(2)
    losses = []
    for fold in (True, False):
        loss = NaturalStatistics(network, layers) + 0.0 * L2()
        losses.append(value(loss, network, images, fold_batch_norm=fold))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-12, atol=0)
    optimization = InputOptimization(network, NaturalStatistics(network, ["4"]), steps=1)
    assert optimization.optimize(start=images).arrangement.folded == 1  # the other one


def test_layers_count_by_their_weights():
    network, images = planted(), pictures(2)
    first, second = (value(NaturalStatistics(network, [name]), network, images) for name in ("1", "4"))
    found = value(NaturalStatistics(network, weights=[3, 1]), network, images)
    torch.testing.assert_close(found, 0.75 * first + 0.25 * second, rtol=1e-12, atol=0)


def test_the_gradient_is_that_of_the_formula():
    network = planted()
    loss, layers = NaturalStatistics(network, ["1"]), network[:1]

    def of(images: Tensor) -> Tensor:
        units = layers(images)
        mean, variance = units.mean((2, 3)), units.var((2, 3), correction=1)
        running = (network[1].running_var + network[1].eps).sqrt()
        far = (mean - network[1].running_mean).abs() + ((variance + network[1].eps).sqrt() - running).abs()
        return (far / running).mean(1)

    images = pictures(2).requires_grad_()
    (expected,) = torch.autograd.grad(of(images).sum(), images)
    with torch.no_grad():
        start = images.detach().clone()
    steps = InputOptimization(network, loss, steps=1, lr=1e-3, eps=1e3, clamp=False).optimize(start=start).images
    # With so large an eps, Adam's first step is the gradient's, scaled.
    torch.testing.assert_close((start - steps) * 1e6, expected, rtol=1e-3, atol=1e-6)


def test_measured_on_photographs_only_what_is_farther_out_than_they_are_costs():
    network, natural = planted(), pictures(12, seed=3)
    generous = NaturalStatistics.measured(network, natural, tolerance=10.0)
    assert bool((value(generous, network, natural) == 0).all())
    strict = NaturalStatistics.measured(network, natural, tolerance=0.0)
    assert bool((value(strict, network, natural) > 0).all())
    far = 0.2 * pictures(2, seed=9) + 0.8  # brighter than all
    assert bool((value(generous, network, far) < value(strict, network, far)).all())
    one = NaturalStatistics.measured(network, natural, ["1"], tolerance=1.0)
    units = network[0](natural)
    mean, deviation = units.mean((2, 3)), (units.var((2, 3)) + network[1].eps).sqrt()
    scale = (network[1].running_var + network[1].eps).sqrt()
    by_numpy = 0.0
    for values in (mean, deviation):
        center, spread = values.mean(0), values.std(0)
        by_numpy = by_numpy + (((values - center).abs() - spread).clamp(min=0) / scale).mean(1)
    torch.testing.assert_close(value(one, network, natural), by_numpy.detach(), rtol=1e-9, atol=1e-12)


def test_what_was_measured_is_saved_and_loaded_for_the_same_model(tmp_path):
    network, other, path = planted(), planted(), tmp_path / "statistics.safetensors"
    measured = NaturalStatistics.measured(network, pictures(5), ["1"], power=2, tolerance=0.5)
    measured.save(path)
    loaded = NaturalStatistics.load(network, path)
    assert loaded.settings() == measured.settings()
    assert torch.equal(value(loaded, network, pictures(3, 1)), value(measured, network, pictures(3, 1)))
    with pytest.raises(OccupiedError):
        measured.save(path)
    with torch.no_grad():
        other[1].running_var.mul_(2)
    with pytest.raises(InputError, match='batch normalization "1" remembers others'):
        NaturalStatistics.load(other, path)


def test_what_is_measured_does_not_depend_on_batches():
    network, natural = planted(), pictures(7)
    whole = NaturalStatistics.measured(network, natural)
    parted = NaturalStatistics.measured(network, iter([natural[:2], natural[2:3], natural[3:]]))
    assert whole.settings() == parted.settings()
    images = pictures(2, seed=8)
    torch.testing.assert_close(value(whole, network, images), value(parted, network, images), rtol=1e-12, atol=0)
    turned = NaturalStatistics.measured(network, natural, transform=RandomAffine(90))
    assert not torch.allclose(value(whole, network, images), value(turned, network, images))


def test_the_regularizers_of_deep_inversion_by_their_formulas():
    network, images = planted(), pictures(2)
    mean, deviation = 0.4, 0.25
    loss = FeatureDistribution(network)
    units = [network[0](images), network[:4](images)]
    expected = torch.zeros(2, dtype=torch.float64)
    for weight, seen, norm in zip((10, 1), units, (network[1], network[4]), strict=True):
        expected += weight * (seen.mean((2, 3)) - norm.running_mean).norm(dim=1)
        expected += weight * (seen.var((2, 3), unbiased=False) - norm.running_var).norm(dim=1)
    torch.testing.assert_close(value(loss, network, images), expected.detach(), rtol=1e-12, atol=0)
    prior = value(ImagePrior(lambda x: (x - mean) / deviation), network, images)
    x = (images.numpy() - mean) / deviation
    for row in range(2):
        pairs = (
            np.diff(x[row], axis=1),
            np.diff(x[row], axis=2),
            x[row][:, :-1, :-1] - x[row][:, 1:, 1:],
            x[row][:, 1:, :-1] - x[row][:, :-1, 1:],
        )
        by_numpy = 1e-4 * sum(np.linalg.norm(each) for each in pairs) + 1e-5 * np.linalg.norm(x[row])
        assert float(prior[row]) == pytest.approx(by_numpy, rel=1e-12)


class WithAuxiliaryHead(nn.Module):
    """As GoogLeNet: a head that runs in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.auxiliary = nn.BatchNorm2d(4)
        self.features = nn.BatchNorm1d(4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        if self.training:
            x = self.auxiliary(x)
        return self.features(x.mean((2, 3)))


def test_batch_normalizations_that_do_not_run_are_left_out():
    network = WithAuxiliaryHead().double().train()
    loss = NaturalStatistics(network, image_shape=SHAPE)
    assert loss.names == ["body.1", "features"]
    assert network.training
    found = value(loss, network.eval(), pictures(2))
    assert bool(found.isfinite().all())
    assert bool((found > 0).all())
    with pytest.raises(ValueError, match="did not run"):
        value(NaturalStatistics(network), network, pictures(2))
    # Of a feature vector there is a mean alone.
    of_vector = value(NaturalStatistics(network, ["features"]), network, pictures(2))
    features = network.body(pictures(2)).mean((2, 3)) / (1 + network.features.eps) ** 0.5
    torch.testing.assert_close(of_vector, features.abs().mean(1).detach(), rtol=1e-9, atol=0)


def test_in_a_network_with_in_place_layers_and_in_half_precision():
    network = seeded(SmallCNN).eval()
    loss = ClassLogit([1, 2]) + 0.5 * NaturalStatistics(network)
    result = InputOptimization(network, loss, steps=3, autocast=torch.bfloat16).optimize(SHAPE)
    assert bool(result.history["natural_statistics"].isfinite().all())


def test_a_model_in_a_wrapper_or_a_function_is_the_same_model():
    network, images = planted(torch.float32), pictures(2).float()
    expected = value(NaturalStatistics(network), network, images)
    parallel = nn.DataParallel(network)
    for model in (parallel, lambda x: network(x), nn.Sequential(parallel)):
        loss = NaturalStatistics(model)
        assert len(loss.names) == 2
        torch.testing.assert_close(value(loss, model, images), expected)


def test_a_network_under_preprocessing_is_measured_under_it():
    network, natural = planted(), pictures(4)
    shrink = nn.AvgPool2d(2)
    outside = NaturalStatistics.measured(network, natural, preprocess=shrink)
    inside = NaturalStatistics.measured(network, shrink(natural))
    images = pictures(2, seed=8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = InputOptimization(network, outside, shrink, steps=1, lr=0.0).optimize(start=images).history["loss"][0]
    torch.testing.assert_close(found, value(inside, network, shrink(images)), rtol=1e-12, atol=0)


def without(**arguments) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, **arguments), nn.ReLU())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: NaturalStatistics(nn.Conv2d(3, 4, 3)), "no batch normalization.*MatchActivations"),
        (lambda: NaturalStatistics(without(track_running_stats=False)), "keep no running statistics.*leave"),
        (lambda: NaturalStatistics(without(track_running_stats=False), ["1"]), "leave it out of layers"),
        (lambda: NaturalStatistics(without(), ["0"]), "is a Conv2d and no batch normalization"),
        (lambda: NaturalStatistics(without(), []), "layers is empty"),
        (lambda: NaturalStatistics(without(), ["7"]), 'no layer "7"'),
        (lambda: NaturalStatistics(without(), weights=[1, 2]), "2 weights were given for 1 layers"),
        (lambda: NaturalStatistics(without(), weights=[-1]), "expected finite numbers of at least 0"),
        (lambda: NaturalStatistics(without(), weights=[0]), "one of them above"),
        (lambda: NaturalStatistics(without(), power=3), "expected 1 or 2"),
        (lambda: NaturalStatistics.measured(without(), torch.rand(1, *SHAPE)), "at least two"),
        (lambda: NaturalStatistics.measured(without(), torch.rand(4, *SHAPE), tolerance=-1), "tolerance is -1"),
        (lambda: NaturalStatistics.measured(without(), 7 * torch.rand(4, *SHAPE)), "ranges over"),
        (lambda: FeatureDistribution(nn.Conv2d(3, 4, 3)), "no batch normalization"),
        (lambda: FeatureDistribution(without(), first_weight=-1), "first_weight is -1"),
        (lambda: ImagePrior(l2=float("nan")), "l2 is nan"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
