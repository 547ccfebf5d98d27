"""Sort matching against SciPy's Wasserstein distance, and what a picture that matches is like."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from networks import seeded
from scipy import stats
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.optim import (
    ClassLogit,
    InputOptimization,
    MatchActivations,
    NaturalActivations,
    RandomAffine,
    stage_layers,
)

SHAPE = (3, 12, 12)
LAYERS = ["1", "3"]


def network(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    made = seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.Tanh(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 5, 3),
            nn.Flatten(),
            nn.Linear(80, 6),
        )
    )
    return made.to(dtype).eval()


def pictures(count: int, seed: int = 0, size: int = 12) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def terms(loss, images: Tensor, model: nn.Module | None = None, **choices) -> dict[str, Tensor]:
    """What a loss and its terms are for images as they are."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        optimization = InputOptimization(model or network(), loss, steps=1, lr=0.0, **choices)
        return {name: values[0] for name, values in optimization.optimize(start=images).history.items()}


def activations(images: Tensor) -> list[Tensor]:
    model = network()
    return [model[:2](images).detach(), model[:4](images).detach()]


def test_it_is_the_squared_wasserstein_distance_from_the_mean_quantile_function():
    natural, images = pictures(6, seed=1), pictures(2)
    loss = MatchActivations(
        NaturalActivations.measured(network(), {4: natural}, LAYERS), 4, weights=[1, 3], scaled=False
    )
    found = terms(MatchActivations(loss.reference, [4, 4], [1, 3], scaled=False), images)["match_loss"]
    for row in range(2):
        total = 0.0
        for weight, mine, theirs in zip((0.25, 0.75), activations(images), activations(natural), strict=True):
            channels = []
            for channel in range(mine.shape[1]):
                own = np.sort(mine[row, channel].numpy().ravel())
                mean = np.sort(theirs[:, channel].numpy().reshape(len(theirs), -1), axis=1).mean(0)
                assert (np.diff(mean) >= 0).all()
                # On a line the best transport keeps the order, here of equally many atoms; SciPy has the first power of it.
                assert np.abs(own - mean).mean() == pytest.approx(stats.wasserstein_distance(own, mean), rel=1e-9)
                channels.append(((own - mean) ** 2).mean())
            total += weight * float(np.mean(channels))
        assert float(found[row]) == pytest.approx(total, rel=1e-10)


def test_scaled_it_is_in_units_of_the_variance_of_natural_activations():
    natural, images = pictures(6, seed=1), pictures(2)
    reference = NaturalActivations.measured(network(), {4: natural[:5]}, LAYERS)
    for number, theirs in enumerate(activations(natural[:5])):
        variance = theirs.numpy().transpose(1, 0, 2, 3).reshape(theirs.shape[1], -1).var(axis=1).mean()
        assert float(reference.scales[0, number]) == pytest.approx(variance, rel=1e-9)
    raw, scaled = (
        terms(MatchActivations(reference, [4, 4], [1, 0], scaled=each), images)["loss"] for each in (False, True)
    )
    torch.testing.assert_close(scaled, raw / reference.scales[0, 0], rtol=1e-12, atol=0)


def test_it_is_zero_at_the_natural_image_and_wherever_its_parts_are():
    image = pictures(1, seed=3)
    reference = NaturalActivations.measured(network(), {2: image}, LAYERS)
    loss = MatchActivations(reference, 2, exact_weight=0.5)
    at_itself = terms(loss, image)
    assert max(float(at_itself["match_loss"]), float(at_itself["exact_loss"])) < 1e-25
    # With kernels of one pixel, a picture whose pixels are elsewhere has the same activations elsewhere.
    pointwise = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Tanh())).double()
    order = torch.randperm(144, generator=torch.Generator().manual_seed(0))
    shuffled = image.flatten(2)[..., order].view_as(image)
    reference = NaturalActivations.measured(pointwise, {2: image}, ["1"])
    moved = terms(MatchActivations(reference, 2, exact_weight=0.5), shuffled, pointwise)
    assert float(moved["match_loss"]) < 1e-25
    assert float(moved["exact_loss"]) > 0.1


def test_the_exact_term_is_from_the_mean_at_each_position():
    natural, images = pictures(5, seed=1), pictures(2)
    reference = NaturalActivations.measured(network(), {0: natural}, LAYERS)
    found = terms(MatchActivations(reference, [0, 0], [1, 0], exact_weight=2.0, scaled=False), images)
    mine, theirs = activations(images)[0], activations(natural)[0]
    expected = (mine - theirs.mean(0)).square().mean((1, 2, 3))
    torch.testing.assert_close(found["exact_loss"], expected, rtol=1e-10, atol=0)
    torch.testing.assert_close(found["loss"], found["match_loss"] + 2.0 * expected, rtol=1e-10, atol=0)


def test_each_row_is_matched_with_its_own_class():
    classes = {2: pictures(3, seed=1), (1, 5): pictures(4, seed=2) ** 2, 0: pictures(2, seed=3)}
    reference = NaturalActivations.measured(network(), classes, LAYERS)
    images = pictures(3)
    targets = [[1, 5], [0], [1, 5]]
    together = terms(ClassLogit(targets) + MatchActivations(reference, targets), images)["match_loss"]
    for row, target in enumerate(targets):
        alone = terms(MatchActivations(reference, [target]), images[row : row + 1])["match_loss"]
        torch.testing.assert_close(alone[0], together[row], rtol=1e-12, atol=0)
    assert len(set(together.tolist())) == 3
    part = (ClassLogit(targets) + MatchActivations(reference, targets)).rows(range(1, 3))
    torch.testing.assert_close(terms(part, images[1:])["match_loss"], together[1:], rtol=1e-12, atol=0)


def test_a_class_that_is_named_by_two_losses_is_one_target():
    reference = NaturalActivations.measured(network(), {2: pictures(3), 0: pictures(3, 1)}, LAYERS)
    plain, matched = ClassLogit([2, 0]), ClassLogit([2, 0]) + 0.0 * MatchActivations(reference, [2, 0])
    assert matched.targets == plain.targets  # so a matched prototype starts where one of the model alone does
    first, second = (InputOptimization(network(), loss, steps=2).optimize(SHAPE).images for loss in (plain, matched))
    torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_gradients_alone_are_those_in_a_batch():
    reference = NaturalActivations.measured(network(), {2: pictures(3), 0: pictures(3, 1)}, LAYERS)
    targets, seeds, images = [2, 0, 2], [0, 0, 1], pictures(3, seed=7)

    def moved(rows: range) -> Tensor:
        loss = (ClassLogit(targets) + 5 * MatchActivations(reference, targets, exact_weight=0.1)).rows(rows)
        optimization = InputOptimization(network(), loss, steps=4, lr=0.01, transform=RandomAffine(30))
        return optimization.optimize(start=images[rows.start : rows.stop], seed=seeds[rows.start : rows.stop]).images

    together = moved(range(3))
    for row in range(3):
        torch.testing.assert_close(moved(range(row, row + 1))[0], together[row], rtol=1e-9, atol=1e-11)


def test_its_gradient_is_that_of_finite_differences():
    reference = NaturalActivations.measured(network()[:2], {2: pictures(3, 1, 6)}, ["1"])
    model, loss = network()[:2], MatchActivations(reference, [2, 2], exact_weight=0.3)

    class Seen:
        """What the loss looks at: a layer's output, and a place to record."""

        def __init__(self, images: Tensor) -> None:
            self.values = model(images)

        def units(self, layer: str) -> Tensor:
            return self.values

        def record(self, name: str, values: Tensor) -> Tensor:
            return values

    images = pictures(2, seed=4, size=6).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(Seen(x), x), images, eps=1e-7, atol=1e-6)


def test_a_picture_of_another_size_is_matched_with_the_same_distribution():
    natural = pictures(8, seed=1)
    reference = NaturalActivations.measured(network()[:4], {2: natural}, LAYERS)
    model = network()[:4]
    larger = nn.functional.interpolate(natural[:1], scale_factor=2, mode="nearest")
    noise = 3 * pictures(1, seed=2, size=24).clamp(0, 0.3)
    near, far = (terms(MatchActivations(reference, 2), each, model)["match_loss"] for each in (larger, noise))
    assert float(near) < float(far)
    with pytest.raises(ValueError, match="at the size of the picture"):
        terms(MatchActivations(reference, 2, exact_weight=1.0), larger, model)


def test_folding_batch_normalizations_changes_nothing():
    model = (
        seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3)))
        .double()
        .eval()
    )
    model[1].running_mean.fill_(0.2), model[1].running_var.fill_(0.4)
    reference = NaturalActivations.measured(model, {2: pictures(3)}, ["2", "3"])
    folded, plain = (
        terms(MatchActivations(reference, 2), pictures(1, 5), model, fold_batch_norm=fold)["loss"]
        for fold in (True, False)
    )
    torch.testing.assert_close(folded, plain, rtol=1e-10, atol=0)


def test_going_down_the_loss_brings_the_distributions_near():
    reference = NaturalActivations.measured(network(), {2: 0.5 + 0.3 * pictures(6, 1)}, LAYERS)
    course = InputOptimization(network(), MatchActivations(reference, [2, 2]), steps=120, lr=0.02).optimize(SHAPE)
    history = course.history["match_loss"]
    assert bool((history[-1] < 0.1 * history[0]).all())


def test_prototypes_are_asked_for_the_mean_as_well():
    generation = PrototypeGeneration(network())
    reference = NaturalActivations.measured(network(), {2: 0.5 + 0.3 * pictures(6, 1)}, LAYERS)
    options = {
        "steps": 8,
        "match": reference,
        "class_loss": "none",
        "warmup_steps": 0,
        "transform": None,
        "high_frequency_weight": 0.0,
    }
    found = {weight: generation.generate([2], SHAPE, match_exact_weight=weight, **options) for weight in (0.0, 4.0)}
    assert "exact_loss" not in found[0.0].history
    course = found[4.0].history["exact_loss"]
    assert course[-1] < course[0]
    assert found[4.0].settings["match_exact_weight"] == 4.0


def test_layers_may_be_patterns():
    model = seeded(lambda: nn.Sequential(*(nn.Sequential(nn.Conv2d(3, 3, 3), nn.Tanh()) for _ in range(3))))
    assert NaturalActivations.measured(model, {2: pictures(2).float()}, ["?"]).layers == ["0", "1", "2"]
    assert NaturalActivations.measured(model, {2: pictures(2).float()}, "?.1").layers == ["0.1", "1.1", "2.1"]
    generation = PrototypeGeneration(network())
    options = {"steps": 1, "class_loss": "none", "warmup_steps": 0, "match": {2: pictures(2)}}
    found = generation.generate([2], SHAPE, match_layers=["[13]"], **options)
    assert found.settings["match"]["layers"] == LAYERS
    with pytest.raises(ValueError, match="no layer"):
        generation.generate([2], SHAPE, match_layers="9.*", **options)


def test_what_was_measured_is_kept_in_a_file(tmp_path):
    classes = {2: pictures(3, seed=1), (1, 5): pictures(4, seed=2)}
    made = NaturalActivations.measured(network(), classes, LAYERS)
    made.save(tmp_path / "natural.safetensors")
    loaded = NaturalActivations.load(tmp_path / "natural.safetensors")
    assert loaded.settings() == made.settings()
    assert loaded.counts == [3, 4]
    assert made.targets == [(2,), (1, 5)]
    for mine, theirs in zip((*made.quantiles, *made.means), (*loaded.quantiles, *loaded.means), strict=True):
        assert torch.equal(mine, theirs)
    with pytest.raises(FileExistsError):
        made.save(tmp_path / "natural.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes((tmp_path / "natural.safetensors").read_bytes()[:-64])
    with pytest.raises(ValueError, match="damaged"):
        NaturalActivations.load(tmp_path / "damaged.safetensors")
    assert loaded.of([[5, 1]]).settings()["images"][0]["count"] == 4
    assert loaded.saw(torch.cat([pictures(1, seed=1), pictures(1, seed=9)])) == [True, False]


def test_what_is_measured_does_not_depend_on_batches():
    natural = pictures(5)
    whole = NaturalActivations.measured(network(), {2: natural}, LAYERS)
    parted = NaturalActivations.measured(network(), {2: iter([natural[:1], natural[1:]])}, LAYERS, batch_size=2)
    assert whole.settings() == parted.settings()
    for mine, theirs in zip(whole.quantiles, parted.quantiles, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-14)


def test_layers_are_those_at_the_end_of_each_resolution():
    torchvision = pytest.importorskip("torchvision")
    resnet = torchvision.models.resnet18(weights=None)
    assert stage_layers(resnet, torch.rand(1, 3, 64, 64)) == ["relu", "layer1", "layer2", "layer3", "layer4"]
    # In ResNet-50 the second convolution of a stage has the stride: the first still returns maps of the stage before.
    deeper = torchvision.models.resnet50(weights=None)
    assert stage_layers(deeper, torch.rand(1, 3, 64, 64)) == ["relu", "layer1", "layer2", "layer3", "layer4"]
    assert stage_layers(network(), pictures(1)) == ["1", "2", "3"]
    padded = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.ZeroPad2d(1), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.MaxPool2d(2)
    )
    assert stage_layers(padded, torch.rand(1, 3, 16, 16)) == ["3", "4"]
    tokens = nn.Sequential(nn.Flatten(2), nn.Linear(64, 8), nn.Tanh(), nn.Linear(8, 8))
    assert stage_layers(tokens, torch.rand(1, 3, 8, 8)) == ["0", "1", "2", "3"]
    transformer = torchvision.models.VisionTransformer(32, 8, 7, 2, 16, 32, num_classes=4)
    blocks = [f"encoder.layers.encoder_layer_{number}" for number in (0, 1, 3, 4, 6)]
    assert stage_layers(transformer, torch.rand(1, 3, 32, 32)) == blocks
    with pytest.raises(ValueError, match="no layer of the model returns values at several positions"):
        stage_layers(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), torch.rand(1, 3, 8, 8))


REFERENCE = NaturalActivations.measured(network(), {2: pictures(2)}, LAYERS)

OTHER = nn.Sequential(nn.Conv2d(3, 2, 1), nn.Tanh(), nn.Tanh(), nn.Tanh()).double()


@pytest.mark.parametrize(
    ("make", "error", "sentence"),
    [
        (lambda: MatchActivations(REFERENCE, [2, 3]), ValueError, r"no natural images of target \[3\] to match"),
        (lambda: MatchActivations({2: pictures(2)}, [2]), TypeError, "expected NaturalActivations"),
        (lambda: MatchActivations(REFERENCE, 2, weights=[1]), ValueError, "1 weights were given for 2 layers"),
        (lambda: MatchActivations(REFERENCE, 2, exact_weight=-1), ValueError, "exact_weight is -1"),
        (
            lambda: NaturalActivations.measured(network(), pictures(2), LAYERS),
            TypeError,
            "expected natural images by class",
        ),
        (lambda: NaturalActivations.measured(network(), {}, LAYERS), ValueError, "images is empty"),
        (lambda: NaturalActivations.measured(network(), {2: []}, LAYERS), ValueError, "images is empty"),
        (lambda: NaturalActivations.measured(network(), {2: 3}, LAYERS), TypeError, "images is a int"),
        (
            lambda: NaturalActivations.measured(network(), {"cat": pictures(2)}, LAYERS),
            TypeError,
            "images has the key .cat.",
        ),
        (lambda: NaturalActivations.measured(network(), {2: pictures(2) - 1}, LAYERS), ValueError, "ranges over"),
        (lambda: NaturalActivations.measured(network(), {2: pictures(2)}, ["9"]), ValueError, 'no layer "9"'),
        (lambda: NaturalActivations.measured(network(), {2: pictures(2)}, [3]), TypeError, "names of layers"),
        (
            lambda: NaturalActivations.measured(network()[:2], {2: pictures(2), 3: pictures(2, size=8)}, ["1"]),
            ValueError,
            "give all images one size",
        ),
        (lambda: terms(MatchActivations(REFERENCE, 2), pictures(1), OTHER), ValueError, "measure them with this model"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(make, error, sentence):
    with pytest.raises(error, match=sentence):
        make()
