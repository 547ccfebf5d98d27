"""
A step asks the device for no value and copies no table to it: what a GPU would have to wait for. Here the operations are watched that say
so on any device; tests/cuda has PyTorch itself look on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import transforms as classic
from torchvision.transforms import v2

from captum_proto import PrototypeGeneration, optim
from captum_proto._utils.constants import beside, numbers_on
from captum_proto.optim import (
    TRANSFORM,
    FFTImage,
    InputOptimization,
    RandomAffine,
    RandomStream,
    descent,
    loss,
    prototype_keys,
)
from captum_proto.optim.random import StepStreams

#: Operations that make the host wait for a GPU: a value is asked for, how many there are, or a table of the host is copied to it.
WAITS = {
    "_local_scalar_dense",
    "equal",
    "is_nonzero",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "unique_dim",
    "_unique2",
}
AFFINE = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))


class Watch(TorchDispatchMode):
    """Counts what is dispatched."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.operations[func._schema.name.removeprefix("aten::")] += 1
        return func(*args, **(kwargs or {}))


Steps = list[tuple[str, int, Counter[str]]]


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    """Phase, number and operations of every step: its forward and backward pass and the optimizer's."""
    watched: Steps = []
    evaluate, update = descent.Descent._evaluate, descent.Descent._update

    def watching(self: Any, phase: Any, step: int) -> Any:
        with Watch() as watch:
            result = evaluate(self, phase, step)
        watched.append((phase.name, step, watch.operations))
        return result

    def watching_too(self: Any, *arguments: Any) -> None:
        with Watch() as watch:
            update(self, *arguments)
        watched[-1][2].update(watch.operations)

    monkeypatch.setattr(descent.Descent, "_evaluate", watching)
    monkeypatch.setattr(descent.Descent, "_update", watching_too)
    return watched


def waits(watched: Steps) -> dict[tuple[str, int], set[str]]:
    """What makes the host wait in the steps after the first, which sees that all is as it should be."""
    found = {(phase, step): WAITS & set(operations) for phase, step, operations in watched if step > 0}
    assert found
    return {step: names for step, names in found.items() if names}


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    ).eval()  # fmt: skip


NORMALIZE = classic.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.3])


def test_the_watch_sees_what_waits(steps: Steps) -> None:
    def asking(images: Tensor) -> Tensor:
        return images * float(images.detach().abs().max().clamp(min=1))

    PrototypeGeneration(model(), asking).generate([1, 2], (3, 16, 16), steps=3, warmup_steps=0, transform=AFFINE)
    assert waits(steps) == {("ascent", 1): {"_local_scalar_dense"}, ("ascent", 2): {"_local_scalar_dense"}}


@pytest.mark.parametrize("preprocess", [None, NORMALIZE, v2.Normalize([0.5], [0.25])], ids=["none", "classic", "v2"])
@pytest.mark.parametrize(
    "choices",
    [
        {},
        {"noise": 0.05},
        {"preprocess_first": True},
        {"diversity": "pixels"},
        {"parametrization": FFTImage()},
        {"lr_schedule": "cosine", "optimizer": "adam"},
    ],
    ids=lambda choices: next(iter(choices), "plain"),
)
def test_a_step_of_generation_waits_for_nothing(
    preprocess: Callable[[Tensor], Tensor] | None, choices: dict[str, Any], steps: Steps
) -> None:
    generation = PrototypeGeneration(model(), preprocess)
    generation.generate([1, 1, [2, 3]], (3, 16, 16), steps=4, warmup_steps=3, transform=AFFINE, **choices)
    assert waits(steps) == {}


TRANSFORMS = {
    "choice": optim.RandomChoiceAffine(range(-10, 11), (0.9, 1.0, 1.1), 4, "reflect"),
    "composed": [RandomAffine(10), optim.Pad(2), optim.RandomCrop(16), optim.GaussianNoise(0.1)],
    "each": optim.EachAffine([RandomAffine(30), RandomAffine(180, scale=(0.5, 2.0))]),
    "jitter": optim.RandomSpatialJitter(3),
    "part": optim.RandomResizedCrop((0.5, 1.0)),
    "part of a size": optim.RandomResizedCrop((0.5, 0.8), output=16),
    "symmetries": [optim.RandomHorizontalFlip(), optim.RandomRoll()],
    "smoothing": optim.GaussianSmoothing(3, 1.0),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS.keys())
def test_no_transform_waits(transform: Any, steps: Steps) -> None:
    PrototypeGeneration(model(), NORMALIZE).generate([1, 2], (3, 16, 16), steps=3, warmup_steps=0, transform=transform)
    assert waits(steps) == {}


LOSSES = {
    "channel": loss.ChannelActivation("0", [1, 2]),
    "neuron": loss.NeuronActivation("0", [1, 2]),
    "direction": loss.Direction("0", torch.randn(2, 8, dtype=torch.float64)),
    "weights": loss.ActivationWeights("0", torch.rand(2, 8, dtype=torch.float64)),
    "style": loss.ClassLogit([1, 2]) + loss.Style("0", torch.randn(2, 8, 14, 14, dtype=torch.float64)),
    "prior": loss.ClassLogit([1, 2]) + loss.TotalVariation() + loss.L2() + loss.ImagePrior(),
}


@pytest.mark.parametrize("objective", LOSSES.values(), ids=LOSSES.keys())
def test_no_loss_waits(objective: loss.Loss, steps: Steps) -> None:
    InputOptimization(model(), objective, steps=3).optimize((3, 16, 16), count=2)
    assert waits(steps) == {}


def test_a_step_of_generation_dispatches_few_operations(steps: Steps) -> None:
    """Beside the network's, the loss's and the optimizer's: one to find the matrix of the step, where there were 88."""
    for transform in (AFFINE, None):
        PrototypeGeneration(model(), NORMALIZE).generate(
            [1, 2], (3, 16, 16), steps=4, warmup_steps=0, transform=transform
        )
    with_map, without = (sum(operations.values()) for _, step, operations in steps if step == 2)
    assert (
        with_map - without <= 12
    )  # the sampling, its gradient, and the channels' factors; nothing of cosines and hashes
    assert not {"cos", "sin", "bitwise_xor", "__rshift__", "stack"} & set(steps[2][2])


@pytest.mark.parametrize("rows", [1, 3, 70000])
def test_streams_of_steps_are_the_streams_of_each_step(rows: int) -> None:
    keys = prototype_keys([5], [(12,)]) + torch.arange(rows)
    streams = StepStreams(keys, TRANSFORM, 600)
    for step in (0, 1, 255, 256, 257, 599, 3) if rows < 70000 else (0, 1, 599):
        mine, its = streams.at(step), RandomStream(keys, TRANSFORM, step)
        assert len(mine) == len(its) == rows
        for count in (4, 1, 40, 16, 17):
            assert torch.equal(mine.uniform(count, -2.0, 3.0), its.uniform(count, -2.0, 3.0))
        assert mine.seeds()[:5] == its.integers(1).flatten().tolist()[:5]
        assert torch.equal(mine.integers(2), its.integers(2))
        assert torch.equal(mine.normal(3), its.normal(3))


@pytest.mark.parametrize("transform", [AFFINE, *TRANSFORMS.values()], ids=["affine", *TRANSFORMS.keys()])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_transforms_made_ahead_are_those_made_at_each_step(transform: Any, dtype: torch.dtype) -> None:
    transform = optim.transforms.as_transform(transform)
    keys = prototype_keys([3, 4], [(1,), (1,)])
    streams = StepStreams(keys, TRANSFORM, 300)
    images = torch.rand(2, 3, 20, 16 if "output" in str(getattr(transform, "settings", dict)()) else 24).to(dtype)
    for step in (0, 7, 255, 256, 299):
        assert torch.equal(transform(images, streams.at(step)), transform(images, RandomStream(keys, TRANSFORM, step)))


def test_prototypes_are_those_of_matrices_made_at_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def made() -> optim.OptimizationResult | Any:
        generation = PrototypeGeneration(model(), NORMALIZE)
        return generation.generate(
            [1, 1, 2], (3, 16, 16), steps=9, warmup_steps=2, transform=AFFINE, seed=7, noise=0.02
        )

    ahead = made()
    monkeypatch.setattr(StepStreams, "at", lambda self, step: RandomStream(self._keys, self._stream, step))
    assert torch.equal(ahead.images, made().images)


@pytest.mark.parametrize("tolerance", [1e-4, 3e-3, 1.0])
def test_a_warm_up_ends_the_same_however_seldom_one_looks(tolerance: float, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for every in (1, 4, 100):
        monkeypatch.setattr(descent.Descent, "_looks_for_rest", lambda self, step, n=every: step % n == 0)
        generation = PrototypeGeneration(model(), NORMALIZE)
        result = generation.generate(
            [1, 2], (3, 16, 16), steps=2, warmup_steps=23, warmup_tolerance=tolerance, transform=AFFINE
        )
        results.append(result)
    for other in results[1:]:
        assert torch.equal(other.images, results[0].images)
        assert other.history.keys() == results[0].history.keys()
        for name, values in results[0].history.items():
            assert torch.equal(other.history[name], values), name


def test_a_constant_is_copied_once_and_again_when_it_has_changed() -> None:
    constant, like = torch.ones(3), torch.zeros(1, dtype=torch.float64)
    first = beside(constant, like)
    assert first.dtype == torch.float64
    assert beside(constant, like) is first
    assert beside(constant, torch.zeros(1)) is constant
    assert beside(constant, like, keep_dtype=True) is constant
    constant += 1
    assert beside(constant, like).tolist() == [2.0, 2.0, 2.0]
    with torch.inference_mode():
        second = torch.ones(2)
    assert beside(second, like).tolist() == [1.0, 1.0]
    learned = torch.ones(2, requires_grad=True)
    assert beside(learned, like).requires_grad
    cpu = torch.device("cpu")
    assert numbers_on(cpu, [3, 1]) is numbers_on(cpu, (3, 1))
    assert numbers_on(cpu, [3, 1]).tolist() == [3, 1]
