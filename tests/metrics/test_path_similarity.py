"""Path similarity where the answer is known in closed form, and against brute force with NumPy and SciPy everywhere else."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
import torchvision
from networks import seeded
from scipy import stats
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from captum_proto import PathReference, PathScores, PathSimilarity, capture, path_similarity

# --- a network whose answers are known -------------------------------------------------------------------------------------------------

RAMP = torch.arange(1, 17).view(1, 4, 4) / 32  # distinct, and exact in floating point


class Elementwise(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Fabricated(nn.Module):
    """Layers that rise, fall, stand still, or turn round with the brightness of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.rising = Elementwise(lambda x: x**3)
        self.falling = Elementwise(lambda x: 1 - 2 * x)
        self.constant = Elementwise(lambda x: torch.full_like(x, 0.25))
        self.turning = Elementwise(lambda x: x * (x.mean((1, 2, 3), keepdim=True) - 0.25).sign())
        self.half_dead = Elementwise(lambda x: x.clamp(min=0.25))
        self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            layer(x)
        return x.flatten(1)


def ramps(*factors: float) -> Tensor:
    """Images of one shape and several brightnesses; the mean pixel of factor 1 is 17/64."""
    return torch.stack([factor * RAMP for factor in factors])


def test_known_similarities():
    similarity = PathSimilarity(Fabricated()).fit(ramps(1.0, 1.25, 1.5))
    dark, reversed_ = ramps(0.5), ramps(1.0).flip(2, 3)
    scores = similarity.evaluate(torch.cat([ramps(1.0), dark, reversed_, torch.full((1, 1, 4, 4), 0.5)]))
    assert scores.layers == ["rising", "falling", "constant", "turning", "half_dead"]
    nan = float("nan")
    # Ranks see only the order: the brighter ramp is the same, the dark one has turned round where a layer turns, the reversed is -1.
    expected = [[1, 1, nan, 1], [1, 1, nan, -1], [-1, -1, nan, -1], [nan] * 4]
    torch.testing.assert_close(
        scores.spearman[:, :4], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=0, equal_nan=True
    )
    # half_dead: half the values of each image are tied; SciPy says what that gives.
    mean = np.mean([np.maximum(a * RAMP.numpy(), 0.25) for a in (1.0, 1.25, 1.5)], axis=0).flatten()
    for row, image in zip(scores.spearman[[0, 2], 4].tolist(), [ramps(1.0), reversed_], strict=True):
        assert row == pytest.approx(stats.spearmanr(np.maximum(image.numpy().flatten(), 0.25), mean).statistic)
    assert bool(scores.spearman[1, 4].isnan())  # the dark image is below the threshold throughout
    assert bool(scores.spearman[3].isnan().all())


def test_known_distances():
    similarity = PathSimilarity(Fabricated()).fit(ramps(1.0, 1.25, 1.5))
    scores = similarity.evaluate(ramps(1.0, 0.5))
    total, cubes = float(RAMP.sum()), float((RAMP.double() ** 3).sum())
    mean_cube = (1 + 1.25**3 + 1.5**3) / 3
    for row, factor in zip(scores.l1.tolist(), (1.0, 0.5), strict=True):
        rising, falling, constant, turning, _ = row
        assert rising == pytest.approx(abs(mean_cube - factor**3) * cubes, rel=1e-12)
        assert falling == pytest.approx(2 * (1.25 - factor) * total, rel=1e-12)
        assert constant == 0
        # The dark image's activations are turned round: their distance is the sum.
        assert turning == pytest.approx((1.25 - factor if factor > 0.95 else 1.25 + factor) * total, rel=1e-12)


def test_known_distances_leaving_the_image_out():
    factors = (1.0, 1.25, 1.5, 2.0)
    similarity = PathSimilarity(Fabricated()).fit(ramps(*factors))
    within = similarity.evaluate(ramps(*factors))
    without = similarity.evaluate(ramps(*factors), leave_one_out=True)
    total = float(RAMP.sum())
    for i, factor in enumerate(factors):
        others = [other for other in factors if other != factor]
        assert float(within.l1[i, 1]) == pytest.approx(2 * abs(np.mean(factors) - factor) * total, rel=1e-12)
        assert float(without.l1[i, 1]) == pytest.approx(2 * abs(np.mean(others) - factor) * total, rel=1e-12)
    assert bool((without.l1[:, 1] > within.l1[:, 1]).all())


# --- brute force ---------------------------------------------------------------------------------------------------------------------


def activations(model: nn.Module, images: Tensor) -> dict[str, np.ndarray]:
    """Every layer's output of every image, kept: (N, D) in float64. What nobody should do with a large network."""
    seen: dict[str, np.ndarray] = {}
    handles = []
    for name, module in model.named_modules():
        if name:

            def hook(_module, _inputs, output, name=name):
                seen[name] = output.detach().double().flatten(1).numpy().copy()

            handles.append(module.register_forward_hook(hook))
    model.eval()
    with torch.no_grad():
        model(images)
    for handle in handles:
        handle.remove()
    return seen


def by_brute_force(natural: np.ndarray, scored: np.ndarray, own: list[int | None], rounding: type) -> np.ndarray:
    """(N, 2): Spearman and L1 of each row with the mean over ``natural``, row ``own[i]`` of it left out."""
    rows = []
    for row, index in zip(scored, own, strict=True):
        mean = (natural if index is None else np.delete(natural, index, 0)).mean(0).astype(rounding)
        with np.errstate(all="ignore"):
            constant = np.all(row == row[0]) or np.all(mean == mean[0])
            rho = np.nan if constant else stats.spearmanr(mean, row).statistic
        rows.append((rho, np.abs(mean.astype(np.float64) - row).sum()))
    return np.array(rows)


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_layer_and_image_against_brute_force(make_cnn, make_images, dtype, leave_one_out):
    model = make_cnn(dtype=dtype)
    natural, foreign = make_images(7).to(dtype), make_images(3, seed=1).to(dtype)
    scored = torch.cat([natural[2:5], foreign, natural[:1]])
    own = [2, 3, 4, None, None, None, 0] if leave_one_out else [None] * 7
    scores = PathSimilarity(model).fit(natural).evaluate(scored, leave_one_out=leave_one_out)
    everything, of_scored = activations(model, natural), activations(model, scored)
    assert set(scores.layers) == set(everything)
    for index, layer in enumerate(scores.layers):
        rounding = np.float32 if dtype == torch.float32 else np.float64
        expected = by_brute_force(everything[layer], of_scored[layer], own, rounding)
        # In float32 convolutions of 7 images round a little differently from batch to batch.
        tolerance = 2e-4 if dtype == torch.float32 else 1e-9
        np.testing.assert_allclose(scores.spearman[:, index], expected[:, 0], rtol=0, atol=tolerance, err_msg=layer)
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-4 if rounding is np.float32 else 1e-9)


def test_all_67_layers_of_a_resnet_against_brute_force(make_images):
    model = seeded(torchvision.models.resnet18).eval()
    natural, scored = make_images(4, (3, 32, 32)), make_images(2, (3, 32, 32), seed=1)

    def normalize(x):
        return (x - 0.45) / 0.225

    scores = PathSimilarity(model, preprocess=normalize).fit(natural).evaluate(scored)
    everything, of_scored = activations(model, normalize(natural)), activations(model, normalize(scored))
    assert len(scores.layers) == 67
    # Hooks by hand see bn1 and bn2 of a block before the in-place ReLU has changed them only because they copy at once.
    for index, layer in enumerate(scores.layers):
        expected = by_brute_force(everything[layer], of_scored[layer], [None, None], np.float32)
        np.testing.assert_allclose(scores.spearman[:, index], expected[:, 0], rtol=0, atol=2e-4, err_msg=layer)
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-4, err_msg=layer)


@pytest.mark.parametrize("alias", ["value", "reference"])
@pytest.mark.parametrize("repeat", ["last", "first", "all"])
def test_options_reach_the_capture(make_cnn, make_images, repeat, alias):
    model, natural, scored = make_cnn(dtype=torch.float64), make_images(4).double(), make_images(2, seed=1).double()
    scores = PathSimilarity(model, repeat=repeat, alias=alias).fit(natural).evaluate(scored)
    everything = capture(model, natural, repeat=repeat, alias=alias)
    of_scored = capture(model, scored, repeat=repeat, alias=alias)
    assert scores.layers == list(everything)
    assert ("relu#1" in scores.layers) == (repeat == "all")
    for index, layer in enumerate(scores.layers):
        expected = by_brute_force(
            everything[layer].flatten(1).numpy(), of_scored[layer].flatten(1).numpy(), [None, None], np.float64
        )
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-9, err_msg=layer)
        np.testing.assert_allclose(scores.spearman[:, index], expected[:, 0], rtol=0, atol=1e-9, err_msg=layer)


def test_containers_that_return_their_childs_tensor_are_scored_alike(make_images):
    """The shortcut for a tensor seen twice must not be taken when the tensor has changed in between."""

    class InPlaceTail(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Flatten(), nn.Linear(48, 20))
            self.tail = nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.tail(self.inner(x))

    model = seeded(lambda: nn.Sequential(InPlaceTail(), nn.Identity())).double()
    natural = make_images(5, (3, 4, 4)).double()
    scores = PathSimilarity(model).fit(natural).evaluate(natural, leave_one_out=True)
    everything = activations(model, natural)
    assert scores.layers == ["0.inner.0", "0.inner.1", "0.inner", "0.tail", "0", "1"]
    for index, layer in enumerate(scores.layers):
        expected = by_brute_force(everything[layer], everything[layer], list(range(5)), np.float64)
        np.testing.assert_allclose(scores.spearman[:, index], expected[:, 0], rtol=0, atol=1e-9, err_msg=layer)
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-9, err_msg=layer)
    assert not torch.equal(scores.l1[:, 2], scores.l1[:, 3])
    assert torch.equal(scores.l1[:, 3], scores.l1[:, 5])


class Shift(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x - 0.25


class ReluIfNeeded(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.relu_() if bool((x < 0).any()) else x


@pytest.mark.parametrize("tail", [nn.ReLU(inplace=True), ReluIfNeeded()], ids=["always in place", "sometimes in place"])
@pytest.mark.parametrize("natural_is_dark", [True, False])
def test_a_tensor_changed_in_place_for_some_images_only(tail, natural_is_dark):
    """The reference knows only the one kind, the image scored is of the other: neither sums nor addresses alone tell."""
    dark, bright = torch.rand(5, 1, 4, 4), 0.5 + torch.rand(5, 1, 4, 4) / 2
    natural, scored = (dark, bright) if natural_is_dark else (bright, dark)
    model = nn.Sequential(Shift(), tail)
    scores = PathSimilarity(model).fit(natural).evaluate(scored)
    everything, of_scored = activations(model, natural), activations(model, scored)
    for index, layer in enumerate(scores.layers):
        expected = by_brute_force(everything[layer], of_scored[layer], [None] * 5, np.float32)
        np.testing.assert_allclose(scores.spearman[:, index], expected[:, 0], rtol=0, atol=1e-9, err_msg=layer)
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-6, err_msg=layer)


def test_who_was_left_out_is_told(make_cnn, make_images):
    natural, foreign = make_images(4), make_images(2, seed=1)
    similarity = PathSimilarity(make_cnn(), batch_size=3).fit(natural)
    mixed = torch.cat([foreign[:1], natural[1:3], foreign[1:]])
    assert similarity.evaluate(mixed, leave_one_out=True).left_out.tolist() == [False, True, True, False]
    assert similarity.evaluate(mixed).left_out.tolist() == [False] * 4


def test_an_image_given_twice_leaves_its_twin_in(make_cnn, make_images):
    model, images = make_cnn(dtype=torch.float64), make_images(4).double()
    natural = torch.cat([images, images[:1]])
    scores = PathSimilarity(model).fit(natural).evaluate(images[:1], leave_one_out=True)
    everything = activations(model, natural)
    for index, layer in enumerate(scores.layers):
        expected = by_brute_force(everything[layer], everything[layer][:1], [0], np.float64)
        np.testing.assert_allclose(scores.l1[:, index], expected[:, 1], rtol=1e-9)


def test_a_layer_that_is_nan_for_one_image_is_nan_for_that_image_alone(make_images):
    class Root(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x - 0.2).sqrt()  # NaN below 0.2

    model = nn.Sequential(Root(), nn.Flatten())
    natural = 0.5 + make_images(3, (1, 4, 4)) / 4
    dark = natural[:1].clone()
    dark[0, 0, 0, 0] = 0
    scores = PathSimilarity(model).fit(natural).evaluate(torch.cat([natural[1:], dark]))
    assert scores.spearman.isnan().tolist() == [[False, False], [False, False], [True, True]]
    assert scores.l1.isnan().tolist() == [[False, False], [False, False], [True, True]]


# --- streaming -----------------------------------------------------------------------------------------------------------------------

NATURAL = torch.rand(11, 1, 4, 4, generator=torch.Generator().manual_seed(5))


def partitions() -> dict[str, object]:
    return {
        "all at once": [NATURAL],
        "one by one": NATURAL.split(1),
        "threes": NATURAL.split(3),
        "uneven": (NATURAL[:1], NATURAL[1:8], NATURAL[8:]),
        "with labels": [(batch, torch.zeros(len(batch))) for batch in NATURAL.split(4)],
        "a loader": DataLoader(TensorDataset(NATURAL, torch.arange(11)), batch_size=5),
    }


def same_scores(a: PathScores, b: PathScores) -> bool:
    return a.layers == b.layers and all(
        torch.equal(getattr(a, name).nan_to_num(-9), getattr(b, name).nan_to_num(-9)) for name in ("spearman", "l1")
    )


@pytest.mark.parametrize("partition", partitions())
def test_however_the_images_come_the_bits_are_the_same(partition):
    whole = PathSimilarity(Fabricated()).fit(NATURAL)
    parts = PathSimilarity(Fabricated()).fit(partitions()[partition])
    for a, b in zip(whole.reference.sums, parts.reference.sums, strict=True):
        assert torch.equal(a, b)
    torch.testing.assert_close(parts.reference.pixel_sum, whole.reference.pixel_sum, rtol=0, atol=1e-12)
    assert parts.reference.digests == whole.reference.digests
    for leave_one_out in (False, True):
        scores = whole.evaluate(NATURAL, leave_one_out=leave_one_out)
        assert same_scores(parts.evaluate(partitions()[partition], leave_one_out=leave_one_out), scores)


@pytest.mark.parametrize("batch_size", [1, 2, 4, 10, 11, 64])
def test_batch_size_makes_no_difference(batch_size):
    whole = PathSimilarity(Fabricated()).fit(NATURAL)
    parts = PathSimilarity(Fabricated(), batch_size=batch_size).fit(NATURAL)
    assert all(torch.equal(a, b) for a, b in zip(whole.reference.sums, parts.reference.sums, strict=True))
    assert same_scores(parts.evaluate(NATURAL, leave_one_out=True), whole.evaluate(NATURAL, leave_one_out=True))


def test_a_used_up_generator_is_an_empty_one():
    generator = (batch for batch in NATURAL.split(4))
    similarity = PathSimilarity(Fabricated()).fit(generator)
    assert similarity.reference.count == 11
    with pytest.raises(ValueError, match="images is empty; give at least one batch of images, and a list rather than"):
        similarity.evaluate(generator)


def test_nothing_grows_with_the_number_of_images(make_cnn, make_images):
    model = make_cnn()
    batches: list[weakref.ref] = []
    features: list[weakref.ref] = []
    most = [0]

    def loader(count: int) -> Iterator[Tensor]:
        for seed in range(count):
            batch = make_images(2, seed=seed)
            batches.append(weakref.ref(batch))
            yield batch
            del batch
            most[0] = max(most[0], sum(ref() is not None for ref in batches))

    handle = model.block.register_forward_hook(lambda m, i, output: features.append(weakref.ref(output)))
    small = PathSimilarity(model).fit(loader(2))
    large = PathSimilarity(model).fit(loader(12))
    large.evaluate(loader(12), leave_one_out=True)
    handle.remove()
    assert most[0] <= 2
    gc.collect()
    # Of the activations only the last few layers' of the last batch may live on, as views that were just scored.
    assert sum(feature() is not None for feature in features) == 0
    sizes = [sum(total.numel() for total in s.reference.sums) for s in (small, large)]
    assert sizes[0] == sizes[1]
    assert large.reference.count == 24


def test_model_images_and_reference_can_be_freed(make_cnn, make_images):
    model, natural = make_cnn(), make_images(4)
    similarity = PathSimilarity(model).fit(natural)
    scores = similarity.evaluate(natural, leave_one_out=True)
    assert not scores.spearman.requires_grad
    assert not any(total.requires_grad for total in similarity.reference.sums)
    gone = [weakref.ref(model), weakref.ref(natural), weakref.ref(similarity), weakref.ref(similarity.reference)]
    del model, natural, similarity
    gc.collect()
    assert [ref() for ref in gone] == [None] * 4
    assert scores.l1.shape[0] == 4


def test_a_new_fit_replaces_the_old_and_a_failed_one_does_not(make_cnn, make_images):
    similarity = PathSimilarity(make_cnn()).fit(make_images(4))
    before = similarity.evaluate(make_images(2, seed=3))
    with pytest.raises(ValueError, match="at least two"):
        similarity.fit(make_images(1))
    assert same_scores(similarity.evaluate(make_images(2, seed=3)), before)
    similarity.fit(make_images(4, (3, 8, 8), seed=1))
    assert similarity.reference.image_shape == (3, 8, 8)
    similarity.evaluate(make_images(2, (3, 8, 8)))
    with pytest.raises(ValueError, match="resize them first"):
        similarity.evaluate(make_images(2))


# --- arguments -----------------------------------------------------------------------------------------------------------------------


def test_the_functional_twin_says_the_same(make_cnn, make_images):
    model, natural, scored = make_cnn(), make_images(5), make_images(2, seed=1)
    similarity = PathSimilarity(model, ["block", "head"], preprocess=lambda x: x * 2, repeat="all", batch_size=3)
    expected = similarity.fit(natural).evaluate(scored)
    options = {"preprocess": lambda x: x * 2, "batch_size": 3}
    assert same_scores(path_similarity(model, scored, natural, ["block", "head"], repeat="all", **options), expected)
    assert same_scores(path_similarity(model, scored, similarity.reference, ["block", "head"], **options), expected)
    other = make_cnn(seed=1)
    with pytest.raises(ValueError, match="fitted on another model or other weights"):
        path_similarity(other, scored, similarity.reference, ["block", "head"])


def step_of_training(model: nn.Module) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(2, 3, 12, 12)).square().sum().backward()
    optimizer.step()


CHANGES = {
    "through data": lambda model: model.head.weight.data.mul_(-1),
    "rows swapped through data": lambda model: model.head.weight.data.copy_(model.head.weight.data.flip(0)),
    "other data": lambda model: setattr(model.block.weight, "data", model.block.weight.data * 2),
    "in place": lambda model: nn.init.zeros_(model.head.bias),
    "a step of training": step_of_training,
    "loaded": lambda model: model.load_state_dict(seeded(lambda: type(model)(), 7).state_dict()),
    "statistics": lambda model: model.stem[1].running_mean.add_(0.5),
    "another layer": lambda model: setattr(model, "head", nn.Linear(96, 5)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_weights_that_changed_since_the_fit_are_refused_wherever_the_reference_is_used(
    make_cnn, make_images, tmp_path, change
):
    model, natural = make_cnn(), make_images(4)
    similarity = PathSimilarity(model).fit(natural)
    before, weights = similarity.evaluate(natural), copy.deepcopy(model.state_dict())
    similarity.save(tmp_path / "reference")
    CHANGES[change](model)
    for use in (
        lambda: similarity.evaluate(natural),
        lambda: similarity.compare(natural[:1], natural, natural, controls=()),
        lambda: path_similarity(model, natural, similarity.reference),
        lambda: PathSimilarity(model).load(tmp_path / "reference"),
    ):
        with pytest.raises(ValueError, match="fitted on another model or other weights; fit it again on this one"):
            use()
    fresh = PathSimilarity(model).fit(natural).evaluate(natural)
    assert same_scores(similarity.fit(natural).evaluate(natural), fresh)
    model.load_state_dict(weights)
    again = PathSimilarity(model).load(tmp_path / "reference").evaluate(natural)
    torch.testing.assert_close(again.l1, before.l1, rtol=1e-5, atol=1e-6)


def test_a_model_that_is_as_it_was_needs_no_other_reference(make_cnn, make_images):
    """What changes none of the weights: modes, flags, gradients, memory formats; and weights put back."""
    model, natural = make_cnn(), make_images(4)
    similarity = PathSimilarity(model).fit(natural)
    expected = similarity.evaluate(natural)
    weight = model.head.weight.data.clone()
    model.train().requires_grad_(False).to(memory_format=torch.channels_last)
    model.head.weight.data.zero_()
    model.head.weight.data.copy_(weight)
    scores = similarity.evaluate(natural)
    torch.testing.assert_close(scores.l1, expected.l1, rtol=1e-4, atol=1e-5)


def test_further_arguments_are_those_of_the_call(make_images):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Flatten()

        def forward(self, x: Tensor, factor: float) -> Tensor:
            return self.layer(x * factor)

    model, images = Scaled(), make_images(4)
    similarity = PathSimilarity(model).fit(images, 2.0)
    flat = images.flatten(1).double()
    for factor in (2.0, 5.0, (5.0,), torch.tensor(3.0)):
        number = float(factor[0] if isinstance(factor, tuple) else factor)
        expected = (number * flat - 2 * flat.mean(0)).abs().sum(1)
        torch.testing.assert_close(similarity.evaluate(images, factor).l1[:, 0], expected, rtol=1e-5, atol=0)
    with pytest.raises(TypeError, match="factor"):
        similarity.evaluate(images)
    expected = (3 * flat - 2 * flat.mean(0)).abs().sum(1)
    scores = path_similarity(model, images, similarity.reference, additional_forward_args=3.0)
    torch.testing.assert_close(scores.l1[:, 0], expected, rtol=1e-5, atol=0)


def test_images_are_left_alone_by_preprocessing_in_place(make_cnn, make_images):
    natural = make_images(4)
    before = natural.clone()
    in_place = PathSimilarity(make_cnn(), preprocess=lambda x: x.sub_(0.5).mul_(2))
    apart = PathSimilarity(make_cnn(), preprocess=lambda x: (x - 0.5) * 2)
    scores = in_place.fit(natural).evaluate(natural, leave_one_out=True)
    assert torch.equal(natural, before)
    assert same_scores(scores, apart.fit(natural).evaluate(natural, leave_one_out=True))
    assert torch.equal(in_place.reference.mean_image(), apart.reference.mean_image())


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_works_in_whatever_gradient_mode_the_caller_is(make_cnn, make_images, context):
    natural, scored = make_images(4), make_images(2, seed=1)
    model = make_cnn()
    outside = PathSimilarity(model).fit(natural)
    expected = outside.evaluate(scored), outside.evaluate(natural, leave_one_out=True)
    with context():
        inside = PathSimilarity(model).fit(natural.clone())
        assert same_scores(inside.evaluate(scored.clone()), expected[0])
        assert same_scores(inside.evaluate(natural.clone(), leave_one_out=True), expected[1])
        assert same_scores(outside.evaluate(natural, leave_one_out=True), expected[1])
    assert same_scores(inside.evaluate(natural, leave_one_out=True), expected[1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_scored_in_what_they_return(make_cnn, make_images, dtype):
    natural = make_images(4)
    half = PathSimilarity(make_cnn(dtype=dtype)).fit(natural).evaluate(natural, leave_one_out=True)
    full = PathSimilarity(make_cnn()).fit(natural).evaluate(natural, leave_one_out=True)
    assert half.spearman.dtype == half.l1.dtype == torch.float64
    torch.testing.assert_close(half.l1, full.l1, rtol=0.1, atol=0.1)
    wide = [i for i, layer in enumerate(half.layers) if layer not in ("head", "dropout", "")]
    torch.testing.assert_close(half.spearman[:, wide], full.spearman[:, wide], rtol=0, atol=0.05)


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_shows_when_asked_for(make_images, shown, capsys):
    similarity = PathSimilarity(Fabricated()).fit(make_images(4, (1, 4, 4)), show_progress=shown)
    similarity.evaluate(make_images(2, (1, 4, 4)), show_progress=shown)
    printed = capsys.readouterr().err
    assert ("fitting" in printed and "evaluating" in printed) == shown
    assert shown or printed == ""


# --- keeping a reference ---------------------------------------------------------------------------------------------------------------


def test_saved_and_loaded_scores_are_the_same_bits(make_cnn, make_images, tmp_path):
    file = tmp_path / "new folder" / "reference.safetensors"
    natural = make_images(5)
    similarity = PathSimilarity(make_cnn(), repeat="all", alias="reference").fit(natural)
    similarity.save(file)
    other = PathSimilarity(make_cnn(), repeat="all", alias="reference")
    assert other.load(file) is other
    for leave_one_out in (False, True):
        assert same_scores(
            other.evaluate(natural, leave_one_out=leave_one_out),
            similarity.evaluate(natural, leave_one_out=leave_one_out),
        )
    with pytest.raises(FileExistsError, match="overwrite=True"):
        similarity.save(file)
    similarity.save(file, overwrite=True)
    assert isinstance(PathReference.load(file), PathReference)


def test_a_reference_belongs_to_its_model_and_options(make_cnn, make_images, tmp_path):
    file = tmp_path / "reference.safetensors"
    PathSimilarity(make_cnn()).fit(make_images(4)).save(file)
    with pytest.raises(ValueError, match="was fitted on another model or other weights; fit it again on this one"):
        PathSimilarity(make_cnn(seed=1)).load(file)
    with pytest.raises(ValueError, match='was fitted with repeat="last", here it is "all"; use the same'):
        PathSimilarity(make_cnn(), repeat="all").load(file)
    with pytest.raises(ValueError, match='was fitted with alias="value", here it is "reference"'):
        PathSimilarity(make_cnn(), alias="reference").load(file)
    with pytest.raises(ValueError, match="fitted on other layers than this model gives"):
        PathSimilarity(make_cnn(), layers="head").load(file).evaluate(make_images(2))
    with pytest.raises(ValueError, match=r"shape \(3, 8, 8\), the reference was made from \(3, 12, 12\); resize"):
        PathSimilarity(make_cnn()).load(file).evaluate(make_images(2, (3, 8, 8)))
    changed = make_cnn()
    with torch.no_grad():
        changed.stem[1].running_mean[0] += 1e-3  # a buffer, no weight
    with pytest.raises(ValueError, match="another model or other weights"):
        PathSimilarity(changed).load(file)


def test_before_fitting_there_is_nothing_to_score_with(make_cnn, make_images, tmp_path):
    similarity = PathSimilarity(make_cnn())
    for use in (
        lambda: similarity.evaluate(make_images(2)),
        lambda: similarity.save(tmp_path / "x"),
        lambda: similarity.reference,
    ):
        with pytest.raises(RuntimeError, match="there is no reference yet; call fit"):
            use()


def test_fit_tells_when_a_container_stops_returning_its_childs_output(make_images):
    """Its sums are copied from the child's as long as it does."""

    class Sometimes(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            y = self.inner(x)
            return y if float(x[0, 0, 0, 0]) < 0.5 else y * 2

    model = nn.Sequential(Sometimes(), nn.Flatten(), nn.Linear(200, 3)).eval()
    images = make_images(6)
    images[:, 0, 0, 0] = torch.tensor([0.1, 0.2, 0.9, 0.3, 0.8, 0.1])
    reference = PathSimilarity(model, ["0", "0.inner"], batch_size=1).fit(images).reference
    with torch.no_grad():
        inner = model[0].inner(images).flatten(1).double()
    factors = torch.tensor([1, 1, 2, 1, 2, 1]).double().unsqueeze(1)
    sums = dict(zip(reference.layers, reference.sums, strict=True))
    torch.testing.assert_close(sums["0.inner"], inner.sum(0), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(sums["0"], (inner * factors).sum(0), rtol=1e-5, atol=1e-5)
