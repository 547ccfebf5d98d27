"""Prototypes with known answers, of every shape, each independent of the others."""

from __future__ import annotations

import gc
import inspect
import json
import weakref
from importlib import metadata
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from scipy import stats
from torch import Tensor, nn

from captum_proto import PrototypeGeneration, Prototypes, RandomAffine
from captum_proto._utils.model import fingerprint
from captum_proto.optim import RandomStream, prototype_keys
from captum_proto.optim.random import START

QUICK: dict[str, Any] = {"steps": 4, "warmup_steps": 2, "evaluation_draws": 2}


def linear_model(weight: Tensor) -> nn.Module:
    """Logits of K classes by a fixed weight (K, C, H, W)."""
    layer = nn.Linear(weight[0].numel(), len(weight), bias=False)
    layer.weight = nn.Parameter(weight.flatten(1).clone())
    return nn.Sequential(nn.Flatten(), layer)


# --- known answers -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-2.0, 0.5)])
def test_a_linear_models_prototype_is_the_sign_pattern_of_its_weights(value_range):
    weight = torch.randn(6, 3, 5, 7)
    weight[:, :, 2, :] = 0  # pixels no class cares about
    low, high = value_range
    prototypes = PrototypeGeneration(linear_model(weight)).generate(
        [0, 3, 5],
        (3, 5, 7),
        steps=70,
        transform=None,
        high_frequency_weight=0.0,
        warmup_steps=0,
        value_range=value_range,
        seed=4,
    )
    start = RandomStream(prototype_keys([4, 4, 4], [(0,), (3,), (5,)]), START).uniform(105, low, high).float()
    for image, noise, target in zip(prototypes.images, start.view(3, 3, 5, 7), [0, 3, 5], strict=True):
        w = weight[target]
        assert torch.equal(image[w > 0], torch.full_like(image[w > 0], high))
        assert torch.equal(image[w < 0], torch.full_like(image[w < 0], low))
        assert torch.equal(image[w == 0], noise[w == 0])
    best = (weight.clamp(min=0) * high + weight.clamp(max=0) * low).sum((1, 2, 3))[[0, 3, 5]]
    torch.testing.assert_close(prototypes.logits, best, rtol=1e-5, atol=1e-5)


def test_the_prototype_of_a_superclass_suits_all_its_classes():
    weight = torch.zeros(4, 1, 4, 4)
    weight[1, 0, :2] = torch.randn(2, 4)  # each class looks at a part of its own
    weight[2, 0, 2] = torch.randn(4)
    weight[3, 0, 3] = torch.randn(4)
    prototypes = PrototypeGeneration(linear_model(weight)).generate(
        [[1, 2], [3]], (1, 4, 4), steps=100, transform=None, high_frequency_weight=0.0, warmup_steps=0
    )
    superclass, single = prototypes.images
    both = weight[1] + weight[2]
    assert torch.equal(superclass[both != 0], (both[both != 0] > 0).float())
    assert torch.equal(single[weight[3] != 0], (weight[3][weight[3] != 0] > 0).float())
    logits = linear_model(weight)(prototypes.images).detach()
    torch.testing.assert_close(prototypes.logits[0], logits[0, 1:3].logsumexp(0))
    torch.testing.assert_close(prototypes.probabilities[0], logits.softmax(1)[0, 1:3].sum())


def test_a_strong_high_frequency_loss_makes_the_image_smooth(make_cnn):
    generation = PrototypeGeneration(make_cnn())

    def roughness(**options):
        images = generation.generate([0, 1], (3, 12, 12), steps=40, warmup_steps=0, transform=None, **options).images
        return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()

    free = roughness(high_frequency_weight=0.0)
    for power in (1, 2):
        assert roughness(high_frequency_weight=300.0, high_frequency_power=power) < free / 4


def test_the_probability_of_a_single_logit_is_its_sigmoid():
    weight = torch.randn(1, 1, 4, 4)
    prototypes = PrototypeGeneration(linear_model(weight)).generate([0, 0], (1, 4, 4), **{**QUICK, "warmup_steps": 64})
    assert torch.allclose(prototypes.probabilities, prototypes.logits.sigmoid(), rtol=1e-6)
    assert torch.allclose(prototypes.history["probability"], prototypes.history["logit"].sigmoid(), rtol=1e-6)
    assert (prototypes.transformed_probabilities < 1).all()
    # The warm-up has somewhere to go: to where the class is as likely as its absence.
    variance = prototypes.history["warmup_variance"]
    assert (variance[-1] < 0.1 * variance[0]).all()


def test_the_transform_makes_the_prototype_robust_to_it(make_cnn):
    generation = PrototypeGeneration(make_cnn())
    transform = RandomAffine(180, translate=(0.3, 0.3))
    options = {"steps": 60, "warmup_steps": 0, "high_frequency_weight": 0.0}
    with_it = generation.generate([0, 1, 2], (3, 12, 12), transform=transform, evaluation_draws=64, **options)
    without = generation.generate([0, 1, 2], (3, 12, 12), transform=None, **options)
    keys = prototype_keys([9, 9, 9], [(0,), (1,), (2,)])
    model = make_cnn()

    def expected(images):
        scores = [
            model(transform(images, RandomStream(keys, 0, d))).gather(1, torch.arange(3)[:, None]) for d in range(64)
        ]
        return torch.stack(scores).mean(0)[:, 0].detach()

    assert bool((expected(with_it.images) > expected(without.images)).all())
    assert bool((without.logits > with_it.logits).all())
    # What is reported is that expectation, up to the luck of the draw.
    torch.testing.assert_close(with_it.transformed_logits, expected(with_it.images), rtol=0.15, atol=0.15)


# --- batches and seeds -----------------------------------------------------------------------------------------------------------------

EVERYTHING: dict[str, Any] = {
    "steps": 8,
    "warmup_steps": 4,
    "warmup_tolerance": 1e-4,
    "evaluation_draws": 2,
    "snapshot_steps": (3,),
    "transform": RandomAffine(180, (0.5, 0.5), (0.7, 1.3), 0.5),
}


@pytest.fixture(scope="module")
def double_generation(make_cnn):
    return PrototypeGeneration(make_cnn(dtype=torch.float64), preprocess=lambda x: (x - 0.45) / 0.25)


@pytest.fixture(scope="module")
def batch_of_five(double_generation):
    return double_generation.generate([0, 3, [1, 2], 3, 4], (3, 12, 12), **EVERYTHING)


@pytest.mark.parametrize("which", range(5))
def test_a_prototype_is_the_same_alone_and_among_others(double_generation, batch_of_five, which):
    target, seed = batch_of_five.target[which], batch_of_five.seeds[which]
    alone = double_generation.generate([list(target)], (3, 12, 12), seed=seed, **EVERYTHING)
    torch.testing.assert_close(alone.images[0], batch_of_five.images[which], rtol=0, atol=1e-12)
    for name in ("logits", "probabilities", "transformed_logits", "transformed_probabilities"):
        torch.testing.assert_close(getattr(alone, name)[0], getattr(batch_of_five, name)[which], rtol=0, atol=1e-11)
    for name in ("loss", "logit", "probability", "high_frequency_loss"):
        torch.testing.assert_close(alone.history[name][:, 0], batch_of_five.history[name][:, which], rtol=0, atol=1e-11)
    torch.testing.assert_close(alone.snapshots[3][0], batch_of_five.snapshots[3][which], rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 5, 99])
def test_batch_size_makes_no_difference(double_generation, batch_of_five, batch_size):
    batches = []
    split = double_generation.generate(
        [0, 3, [1, 2], 3, 4],
        (3, 12, 12),
        batch_size=batch_size,
        callback=lambda step: batches.append(step.prototypes),
        **EVERYTHING,
    )
    sizes = [len(batch) for batch in dict.fromkeys((b.start, b.stop) for b in batches)]
    assert len(sizes) == -(-5 // batch_size)
    assert [i for start, stop in dict.fromkeys((b.start, b.stop) for b in batches) for i in range(start, stop)] == list(
        range(5)
    )
    torch.testing.assert_close(split.images, batch_of_five.images, rtol=0, atol=1e-12)
    torch.testing.assert_close(split.history["loss"], batch_of_five.history["loss"], rtol=0, atol=1e-11)
    assert split.target == batch_of_five.target
    assert split.seeds == batch_of_five.seeds == [0, 0, 0, 1, 0]


def test_the_order_of_targets_makes_no_difference(double_generation, batch_of_five):
    turned = double_generation.generate([4, 3, 3, [2, 1], 0], (3, 12, 12), **EVERYTHING)
    assert turned.target == [(4,), (3,), (3,), (1, 2), (0,)]
    torch.testing.assert_close(turned.images, batch_of_five.images[[4, 1, 3, 2, 0]], rtol=0, atol=1e-12)


def test_the_same_call_gives_the_same_bits(make_cnn):
    generation = PrototypeGeneration(make_cnn())
    first = generation.generate([0, 1], (3, 12, 12), **EVERYTHING)
    torch.manual_seed(99)  # nothing comes from the global generator
    second = generation.generate([0, 1], (3, 12, 12), **EVERYTHING)
    assert torch.equal(first.images, second.images)
    assert all(torch.equal(first.history[name], second.history[name]) for name in first.history)


def test_a_class_named_twice_gives_two_prototypes_from_seeds_in_turn(make_cnn):
    generation = PrototypeGeneration(make_cnn(dtype=torch.float64))
    prototypes = generation.generate([2, 2, 1, 2], (3, 8, 8), seed=10, **QUICK)
    assert prototypes.seeds == [10, 11, 10, 12]
    by_list = generation.generate([2, 2, 1, 2], (3, 8, 8), seed=[10, 11, 10, 12], **QUICK)
    assert torch.equal(by_list.images, prototypes.images)
    flat = prototypes.images.flatten(1)
    assert not any(torch.allclose(flat[i], flat[j]) for i in range(4) for j in range(i))
    other = generation.generate([2], (3, 8, 8), seed=np.int64(12), **QUICK)
    torch.testing.assert_close(other.images[0], prototypes.images[3], rtol=0, atol=1e-12)


def test_the_start_is_uniform_noise_of_its_own(make_cnn):
    prototypes = PrototypeGeneration(make_cnn()).generate(
        [0] * 8, (3, 20, 20), steps=0, warmup_steps=0, value_range=(-1.0, 3.0)
    )
    assert stats.kstest(prototypes.images.flatten().numpy(), "uniform", args=(-1, 4)).pvalue > 1e-3
    flat = prototypes.images.flatten(1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(8)).max() < 0.15


# --- targets -------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "targets"),
    [
        (3, [(3,)]),
        (np.int64(3), [(3,)]),
        (torch.tensor(3), [(3,)]),
        ((3,), [(3,)]),
        ([3, 1], [(3,), (1,)]),
        (torch.tensor([3, 1]), [(3,), (1,)]),
        (np.array([3, 1]), [(3,), (1,)]),
        (range(3), [(0,), (1,), (2,)]),
        ([(3,), (1,)], [(3,), (1,)]),
        ([[3, 1], [2]], [(1, 3), (2,)]),
        ([[3, 1, 3]], [(1, 3)]),
        ([2, [0, 4]], [(2,), (0, 4)]),
        ([torch.tensor([0, 4]), torch.tensor(1)], [(0, 4), (1,)]),
    ],
)
def test_targets_of_every_kind(make_cnn, target, targets):
    prototypes = PrototypeGeneration(make_cnn()).generate(target, (3, 8, 8), steps=1, warmup_steps=0)
    assert prototypes.target == targets
    assert len(prototypes) == len(targets)
    logits = make_cnn()(prototypes.images).detach()
    expected = torch.stack([row[list(classes)].logsumexp(0) for row, classes in zip(logits, targets, strict=True)])
    torch.testing.assert_close(prototypes.logits, expected, rtol=1e-4, atol=1e-4)


def test_a_class_out_of_range_shows_before_any_work_is_done(make_cnn):
    steps = []
    with pytest.raises(ValueError, match="target 5 is out of range: the model has 5 classes, 0 to 4"):
        PrototypeGeneration(make_cnn()).generate(
            [0, 1, 2, 5], (3, 8, 8), batch_size=1, callback=lambda step: steps.append(step), **QUICK
        )
    assert steps == []


# --- shapes and precisions ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (5, 8, 8), (3, 17, 9), (1, 9, 30), (4, 32, 32)], ids=str)
def test_any_number_of_channels_and_any_oblong(make_cnn, shape):
    prototypes = PrototypeGeneration(make_cnn(channels=shape[0])).generate([1, 4], shape, **QUICK)
    assert prototypes.images.shape == (2, *shape)
    assert bool(prototypes.images.isfinite().all())
    assert prototypes.settings["high_frequency_weight"] == pytest.approx(shape[0] * shape[1] * shape[2] / 150.528)


@pytest.mark.parametrize("size", [8, 512])
def test_from_8_by_8_to_512_by_512(size):
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
    prototypes = PrototypeGeneration(model).generate(2, (3, size, size), steps=1, warmup_steps=1, evaluation_draws=1)
    assert prototypes.images.shape == (1, 3, size, size)
    assert float(prototypes.images.std()) > 0.2


@pytest.mark.parametrize(
    ("dtype", "images"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.bfloat16, torch.float32)],
)
def test_images_are_in_float32_unless_the_model_is_double(make_cnn, dtype, images):
    prototypes = PrototypeGeneration(make_cnn(dtype=dtype)).generate([1, 2], (3, 8, 8), **QUICK)
    assert prototypes.images.dtype == images
    assert prototypes.logits.dtype == images
    assert prototypes.images.device == torch.device("cpu")
    exact = PrototypeGeneration(make_cnn(dtype=torch.float64)).generate([1, 2], (3, 8, 8), **QUICK)
    tolerance = {torch.float32: 1e-3, torch.float64: 1e-12, torch.bfloat16: 0.5}[dtype]
    assert float((exact.images - prototypes.images).abs().mean()) < tolerance


@pytest.mark.parametrize("autocast", [torch.bfloat16, torch.float16])
def test_mixed_precision_stays_near_full_precision(make_cnn, autocast):
    generation = PrototypeGeneration(make_cnn(classes=3))
    seen = []
    handle = generation.forward_func.head.register_forward_hook(lambda m, i, output: seen.append(output.dtype))
    options = {"steps": 30, "warmup_steps": 5, "high_frequency_weight": 2.0, "transform": None, "lr": 0.02}
    mixed = generation.generate([0, 1, 2], (3, 12, 12), autocast=autocast, **options)
    assert set(seen) == {autocast}
    handle.remove()
    full = generation.generate([0, 1, 2], (3, 12, 12), **options)
    noise = generation.generate([0, 1, 2], (3, 12, 12), **{**options, "steps": 0})
    assert mixed.images.dtype == mixed.history["loss"].dtype == torch.float32
    gained = full.logits - noise.logits
    torch.testing.assert_close(mixed.logits, full.logits, rtol=0, atol=float(gained.min()) / 10)
    assert float((mixed.images - full.images).abs().mean()) < float((full.images - noise.images).abs().mean()) / 5
    assert mixed.settings["autocast"] == str(autocast).removeprefix("torch.")
    assert full.settings["autocast"] is None


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_works_in_whatever_gradient_mode_the_caller_is(make_cnn, context):
    generation = PrototypeGeneration(make_cnn(), preprocess=lambda x: (x - 0.5) * 2)
    expected = generation.generate([0, 1], (3, 8, 8), **QUICK)
    with context():
        prototypes = generation.generate([0, 1], (3, 8, 8), **QUICK)
        attributed = generation.attribute(expected.images, 2, steps=2)
    assert torch.equal(prototypes.images, expected.images)
    assert not prototypes.images.requires_grad
    assert torch.equal(attributed, generation.attribute(expected.images, 2, steps=2))


# --- what is recorded ----------------------------------------------------------------------------------------------------------------


def test_history_has_a_column_for_each_prototype(make_cnn):
    prototypes = PrototypeGeneration(make_cnn()).generate([0, 1, 2], (3, 8, 8), steps=5, warmup_steps=3, batch_size=2)
    assert {name: tuple(value.shape) for name, value in prototypes.history.items()} == {
        "warmup_variance": (3, 3),
        "loss": (5, 3),
        "logit": (5, 3),
        "probability": (5, 3),
        "high_frequency_loss": (5, 3),
    }
    weight = prototypes.settings["high_frequency_weight"]
    history = prototypes.history
    torch.testing.assert_close(history["loss"], weight * history["high_frequency_loss"] - history["logit"])
    assert bool(((history["probability"] > 0) & (history["probability"] <= 1)).all())


def test_every_argument_is_in_the_settings_and_they_are_json(make_cnn):
    prototypes = PrototypeGeneration(make_cnn()).generate(
        [0],
        (3, 8, 8),
        steps=2,
        lr=0.125,
        high_frequency_weight=0.5,
        high_frequency_power=2,
        warmup_steps=1,
        warmup_tolerance=0.25,
        transform=RandomAffine(3),
        preprocess_first=True,
        value_range=(-1, 2),
        clamp=False,
        betas=(0.5, 0.75),
        eps=1e-3,
        autocast=torch.bfloat16,
        seed=7,
        evaluation_draws=3,
    )
    recorded = json.loads(json.dumps(prototypes.settings))
    assert recorded["transform"]["degrees"] == [-3.0, 3.0]
    expected = {
        "image_shape": [3, 8, 8],
        "start": "noise",
        "steps": 2,
        "lr": 0.125,
        "high_frequency_weight": 0.5,
        "high_frequency_power": 2,
        "warmup_steps": 1,
        "warmup_tolerance": 0.25,
        "preprocess_first": True,
        "value_range": [-1.0, 2.0],
        "clamp": False,
        "betas": [0.5, 0.75],
        "eps": 1e-3,
        "autocast": "bfloat16",
        "evaluation_draws": 3,
        "stopped_by_callback": False,
        "model": "SmallCNN",
        "model_fingerprint": fingerprint(make_cnn()),
        "batch_size": 1,
        "device": "cpu",
    }
    assert {name: recorded[name] for name in expected} == expected
    assert recorded["versions"]["torch"] == metadata.version("torch")
    recorded_elsewhere = {"target", "seed", "start"}  # attributes of the prototypes
    without_influence = {"self", "additional_forward_args", "callback", "snapshot", "snapshot_steps", "show_progress"}
    arguments = set(inspect.signature(PrototypeGeneration.generate).parameters)
    assert arguments - recorded_elsewhere - without_influence <= set(recorded)


def test_a_callback_ends_all_and_what_there_is_comes_back(make_cnn):
    generation = PrototypeGeneration(make_cnn())

    def stop(step):
        return step.prototypes.start == 2 and step.phase == "ascent" and step.step == 1

    prototypes = generation.generate([0, 1, 2, 3, 4], (3, 8, 8), steps=5, warmup_steps=2, batch_size=2, callback=stop)
    assert prototypes.target == [(0,), (1,), (2,), (3,)]
    assert prototypes.images.shape == (4, 3, 8, 8)
    assert prototypes.settings["stopped_by_callback"]
    loss = prototypes.history["loss"]
    assert loss.shape == (5, 4)
    assert not bool(loss[:2].isnan().any())
    assert bool(loss[2:, 2:].isnan().all())
    assert not bool(loss[:, :2].isnan().any())
    logits = make_cnn()(prototypes.images).detach()
    torch.testing.assert_close(prototypes.logits, logits.diagonal(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("batch", [0, 1])
def test_a_callback_may_end_it_in_the_warm_up(make_cnn, batch):
    prototypes = PrototypeGeneration(make_cnn()).generate(
        [0, 1, 2],
        (3, 8, 8),
        steps=3,
        warmup_steps=4,
        batch_size=1,
        callback=lambda step: step.phase == "warmup" and step.step == 1 and step.prototypes.start == batch,
        snapshot_steps=(1,),
    )
    assert len(prototypes) == batch + 1
    assert prototypes.history["loss"].shape == (3 * batch, batch + 1)
    assert bool(prototypes.history["loss"][:, batch].isnan().all())
    assert not bool(prototypes.history["warmup_variance"][:2].isnan().any())
    assert prototypes.snapshots == {}


def test_a_callback_sees_which_prototypes_it_sees(make_cnn):
    seen = []
    PrototypeGeneration(make_cnn()).generate(
        [0, 1, 2], (3, 8, 8), steps=1, warmup_steps=0, batch_size=2, callback=lambda step: seen.append(step)
    )
    assert [(s.prototypes, tuple(s.images.shape)) for s in seen] == [
        (range(2), (2, 3, 8, 8)),
        (range(2, 3), (1, 3, 8, 8)),
    ]
    assert not any(s.images.requires_grad for s in seen)


@pytest.mark.parametrize("shown", [True, False])
def test_the_progress_bar_shows_when_asked_for(make_cnn, shown, capsys):
    PrototypeGeneration(make_cnn()).generate([0, 1], (3, 8, 8), show_progress=shown, **QUICK)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert ("prototypes: 100%" in printed.err and "12/12" in printed.err) if shown else printed.err == ""


# --- from given images -----------------------------------------------------------------------------------------------------------------


def test_attribute_starts_from_the_images_given(make_cnn, make_images):
    generation, images = PrototypeGeneration(make_cnn()), make_images(3, (3, 8, 8))
    before = images.clone()
    result = generation.attribute(images, [0, 1, 2], steps=1, lr=0.01, transform=None)
    assert torch.equal(images, before)
    assert result.shape == images.shape
    # The first step of Adam moves every pixel by the learning rate, but where it meets the edge of the range.
    moved = (result - images).abs()
    assert float(moved.max()) <= 0.01 + 1e-6
    assert float((moved > 0.009).float().mean()) > 0.9
    assert torch.equal(generation.attribute(images, [0, 1, 2], steps=0), images)


def test_attribute_is_generate_from_a_start_without_warm_up(make_cnn, make_images):
    generation, images = PrototypeGeneration(make_cnn()), make_images(3, (3, 8, 8))
    prototypes = generation.generate([0, 0, 2], start=images, steps=3, warmup_steps=0)
    assert torch.equal(generation.attribute(images, [0, 0, 2], steps=3), prototypes.images)
    assert prototypes.settings["start"] == "given images"
    assert prototypes.settings["image_shape"] == [3, 8, 8]
    one_for_all = generation.attribute(images, 0, steps=3)
    assert one_for_all.shape == images.shape
    assert generation.generate(0, start=images, steps=0).seeds == [0, 1, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_attribute_gives_back_the_type_it_was_given(make_cnn, make_images, dtype):
    generation, images = PrototypeGeneration(make_cnn()), make_images(2, (3, 8, 8)).to(dtype)
    result = generation.attribute(images, 1, steps=2)
    assert isinstance(result, Tensor)
    assert result.dtype == dtype
    in_a_tuple = generation.attribute((images,), 1, steps=2)
    assert isinstance(in_a_tuple, tuple)
    assert torch.equal(in_a_tuple[0], result)


def test_start_and_preprocessing_in_place(make_cnn, make_images):
    images = make_images(2, (3, 8, 8))
    before = images.clone()
    options = {"steps": 3, "warmup_steps": 2, "transform": None}
    in_place = PrototypeGeneration(make_cnn(), preprocess=lambda x: x.sub_(0.5).mul_(2))
    result = in_place.generate([0, 1], start=images, **options)
    assert torch.equal(images, before)
    apart = PrototypeGeneration(make_cnn(), preprocess=lambda x: (x - 0.5) * 2)
    assert torch.equal(result.images, apart.generate([0, 1], start=images, **options).images)


def test_a_model_that_begins_in_place():
    class InPlace(nn.Module):
        def __init__(self, in_place: bool) -> None:
            super().__init__()
            self.relu, self.in_place = nn.ReLU(inplace=in_place), in_place
            self.linear = seeded(lambda: nn.Linear(64, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = x.sub_(0.5) if self.in_place else x - 0.5
            return self.linear(self.relu(x).flatten(1))

    options = {"steps": 5, "transform": None, "warmup_steps": 2}
    made = [PrototypeGeneration(InPlace(b)).generate([0, 1], (1, 8, 8), **options) for b in (True, False)]
    assert torch.equal(made[0].images, made[1].images)
    assert torch.equal(made[0].logits, made[1].logits)


def test_preprocessing_may_change_the_size(make_cnn):
    def half(x: Tensor) -> Tensor:
        return nn.functional.avg_pool2d(x, 2)

    prototypes = PrototypeGeneration(make_cnn(), preprocess=half).generate([0], (3, 24, 24), **QUICK)
    assert prototypes.images.shape == (1, 3, 24, 24)
    logits = make_cnn()(half(prototypes.images)).detach()
    torch.testing.assert_close(prototypes.logits[0], logits[0, 0])


def test_transform_and_preprocessing_in_either_order(make_cnn):
    """With preprocessing first, what comes from outside is black to the model, not to the eye."""
    seen: list[Tensor] = []

    class Looking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make_cnn()

        def forward(self, x: Tensor) -> Tensor:
            if torch.is_grad_enabled():  # a step
                seen.append(x.detach().clone())
            return self.inner(x)

    generation = PrototypeGeneration(Looking(), preprocess=lambda x: x + 10)
    away = RandomAffine(0, scale=(0.25, 0.25))  # three quarters of each side come from outside
    for first, outside in ((False, 10.0), (True, 0.0)):
        seen.clear()
        generation.generate(
            0, (3, 8, 8), steps=1, warmup_steps=0, transform=away, preprocess_first=first, evaluation_draws=0
        )
        assert float(seen[0][0, :, 0].mean()) == outside
        assert float(seen[0][0, :, 4, 4].mean()) > 5


# --- further arguments ---------------------------------------------------------------------------------------------------------------


class Conditioned(nn.Module):
    """Logits that depend on a factor and, if there is one, a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = seeded(lambda: nn.Linear(48, 4)).double()
        self.seen: list[Any] = []

    def forward(self, x: Tensor, factor: float | Tensor, bias: Tensor | None = None) -> Tensor:
        self.seen.append((factor, bias))
        factor = factor.view(-1, 1) if isinstance(factor, Tensor) and factor.dim() else factor
        logits = self.linear(x.flatten(1)) * factor
        return logits if bias is None else logits + bias


OPTIONS: dict[str, Any] = {"steps": 3, "warmup_steps": 1, "transform": None, "high_frequency_weight": 0.0}


def test_a_scalar_argument_goes_to_the_model_as_it_is():
    model = Conditioned()
    prototypes = PrototypeGeneration(model).generate([0, 1, 2], (3, 4, 4), 2.5, batch_size=2, **OPTIONS)
    assert {factor for factor, _ in model.seen} == {2.5}
    torch.testing.assert_close(prototypes.logits, 2.5 * model.linear(prototypes.images.flatten(1)).detach().diagonal())


def test_a_tensor_with_a_row_for_each_prototype_is_split_with_the_batch():
    model = Conditioned()
    factors = torch.tensor([1.0, -2.0, 3.0, 0.5, -1.0], dtype=torch.float64)
    bias = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)  # for all
    generation = PrototypeGeneration(model)
    whole = generation.generate([0, 1, 2, 3, 0], (3, 4, 4), (factors, bias), **OPTIONS)
    split = generation.generate([0, 1, 2, 3, 0], (3, 4, 4), (factors, bias), batch_size=2, **OPTIONS)
    torch.testing.assert_close(split.images, whole.images, rtol=0, atol=1e-12)
    logits = model.linear(whole.images.flatten(1)).detach() * factors[:, None] + bias
    expected = logits.gather(1, torch.tensor([0, 1, 2, 3, 0])[:, None])[:, 0]
    torch.testing.assert_close(whole.logits, expected)
    torch.testing.assert_close(split.logits, expected)
    for i, target in enumerate([0, 1, 2, 3, 0]):
        alone = generation.generate(target, (3, 4, 4), (factors[i : i + 1], bias), seed=whole.seeds[i], **OPTIONS)
        torch.testing.assert_close(alone.images[0], whole.images[i], rtol=0, atol=1e-12)
    assert torch.equal(generation.attribute(whole.images, [0, 1, 2, 3, 0], (factors, bias), steps=0), whole.images)


# --- a guest in someone's training loop ------------------------------------------------------------------------------------------------


def test_training_goes_on_as_if_nothing_had_happened(make_cnn, make_images):
    def train(look: bool) -> dict[str, Tensor]:
        model = make_cnn().train()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        torch.manual_seed(3)  # dropout draws from it
        for step in range(4):
            images, labels = make_images(6, (3, 8, 8), seed=step), torch.arange(6) % 5
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            if look:
                PrototypeGeneration(model).generate([0, 1], (3, 8, 8), transform=nn.Dropout(0.1), **QUICK)
                PrototypeGeneration(model).attribute(images, 2, steps=1)
            optimizer.step()
            assert model.training
        return {name: value.clone() for name, value in model.state_dict().items()}

    undisturbed, looked_at = train(False), train(True)
    for name, value in undisturbed.items():
        assert torch.equal(looked_at[name], value), name


def test_a_model_in_train_mode_is_looked_at_in_evaluation_mode(make_cnn):
    in_training = PrototypeGeneration(make_cnn().train()).generate([0, 1], (3, 8, 8), **QUICK)
    in_evaluation = PrototypeGeneration(make_cnn().eval()).generate([0, 1], (3, 8, 8), **QUICK)
    assert torch.equal(in_training.images, in_evaluation.images)
    assert torch.equal(in_training.logits, in_evaluation.logits)


def test_nothing_keeps_the_graph_the_images_or_the_model(make_cnn):
    model = make_cnn()
    features: list[weakref.ref] = []
    model.stem.register_forward_hook(lambda module, inputs, output: features.append(weakref.ref(output)))
    generation = PrototypeGeneration(model)
    prototypes = generation.generate([0, 1], (3, 8, 8), snapshot_steps=(1,), **QUICK)
    assert len(features) > 4
    assert not any(feature() is not None for feature in features)
    tensors = [prototypes.images, prototypes.logits, *prototypes.history.values(), *prototypes.snapshots.values()]
    assert not any(t.requires_grad or t.grad_fn is not None or t.grad is not None for t in tensors)
    gone = [weakref.ref(model), weakref.ref(generation), weakref.ref(prototypes.images)]
    del model, generation, prototypes, tensors
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


def test_an_error_keeps_no_graph_either(make_cnn):
    model = make_cnn()
    features: list[weakref.ref] = []
    model.stem.register_forward_hook(lambda module, inputs, output: features.append(weakref.ref(output)))

    def interrupt(step):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        PrototypeGeneration(model).generate([0], (3, 8, 8), callback=interrupt, **QUICK)
    gc.collect()
    assert features
    assert not any(feature() is not None for feature in features)


# --- keeping them --------------------------------------------------------------------------------------------------------------------


def same(a: Prototypes, b: Prototypes) -> bool:
    values = ("images", "logits", "probabilities", "transformed_logits", "transformed_probabilities")
    return (
        all(torch.equal(getattr(a, name), getattr(b, name)) for name in values)
        and (a.target, a.seeds, a.settings) == (b.target, b.seeds, b.settings)
        and a.history.keys() == b.history.keys()
        and all(torch.equal(a.history[k].nan_to_num(-9), b.history[k].nan_to_num(-9)) for k in a.history)
        and a.snapshots.keys() == b.snapshots.keys()
        and all(torch.equal(a.snapshots[k], b.snapshots[k]) for k in a.snapshots)
    )


@pytest.mark.parametrize("transform", [None, RandomAffine(10)])
def test_saved_and_loaded_is_the_same(make_cnn, tmp_path, transform):
    prototypes = PrototypeGeneration(make_cnn()).generate(
        [0, [1, 2], 0], (3, 8, 8), seed=5, snapshot_steps=(0, 2), transform=transform, **QUICK
    )
    file = tmp_path / "deep" / "er" / "prototypes.safetensors"
    prototypes.save(file)
    assert same(Prototypes.load(file), prototypes)
    assert [f.name for f in file.parent.iterdir()] == ["prototypes.safetensors"]
    with pytest.raises(FileExistsError, match="would be overwritten; choose another name or pass overwrite=True"):
        prototypes.save(file)
    again = prototypes.of((0,))
    again.save(file, overwrite=True)
    assert same(Prototypes.load(file), again)


def test_the_prototypes_of_one_class(make_cnn):
    prototypes = PrototypeGeneration(make_cnn()).generate([0, [1, 2], 0], (3, 8, 8), snapshot_steps=(1,), **QUICK)
    zeros = prototypes.of((0,))
    assert zeros.target == [(0,), (0,)]
    assert zeros.seeds == [0, 1]
    assert torch.equal(zeros.images, prototypes.images[[0, 2]])
    assert torch.equal(zeros.history["loss"], prototypes.history["loss"][:, [0, 2]])
    assert torch.equal(zeros.snapshots[1], prototypes.snapshots[1][[0, 2]])
    assert prototypes.of(0).target == [(0,), (0,)]
    for spelling in ([1, 2], (2, 1), {1, 2}, [2, 1, 1, 2], range(1, 3)):
        assert torch.equal(prototypes.of(spelling).images, prototypes.images[[1]])
    with pytest.raises(ValueError, match=r"there are no prototypes of \[7\]"):
        prototypes.of((7,))


def test_concatenation(make_cnn):
    generation = PrototypeGeneration(make_cnn(dtype=torch.float64))
    short = generation.generate([0], (3, 8, 8), steps=2, warmup_steps=0, snapshot_steps=(1,))
    long = generation.generate([1, 2], (3, 8, 8), steps=4, warmup_steps=1, snapshot_steps=(1, 3))
    both = Prototypes.concatenate([short, long])
    assert both.target == [(0,), (1,), (2,)]
    assert torch.equal(both.images, torch.cat([short.images, long.images]))
    assert both.history["loss"].shape == (4, 3)
    assert torch.equal(both.history["loss"][:, 1:], long.history["loss"])
    assert bool(both.history["loss"][2:, 0].isnan().all())
    assert bool(both.history["warmup_variance"][:, 0].isnan().all())
    assert list(both.snapshots) == [1]
    with pytest.raises(ValueError, match="no prototypes to concatenate"):
        Prototypes.concatenate([])
