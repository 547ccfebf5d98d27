"""
A step asks the device for no value and copies no table to it: what a GPU would have to wait for. Here the operations are watched that say
so on any device; tests/cuda has PyTorch itself look on a GPU.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from optim.step_combinations import AFFINE, COMBINATIONS, NORMALIZE, PREPROCESSING, TRANSFORMS, model, seeded
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from captum_proto import PrototypeGeneration, optim
from captum_proto._utils.constants import beside, numbers_on
from captum_proto.optim import (
    TRANSFORM,
    InputOptimization,
    RandomStream,
    descent,
    loss,
    prototype_keys,
)
from captum_proto.optim.optimizers import NAdam
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


def test_the_watch_sees_what_waits(steps: Steps) -> None:
    def asking(images: Tensor) -> Tensor:
        return images * float(images.detach().abs().max().clamp(min=1))

    PrototypeGeneration(model(), asking).generate([1, 2], (3, 16, 16), steps=3, warmup_steps=0, transform=AFFINE)
    assert waits(steps) == {("ascent", 1): {"_local_scalar_dense"}, ("ascent", 2): {"_local_scalar_dense"}}


@pytest.mark.parametrize("preprocess", PREPROCESSING.values(), ids=PREPROCESSING.keys())
@pytest.mark.parametrize("choices", [{}, {"diversity": "pixels"}], ids=["plain", "diversity"])
def test_a_step_of_generation_waits_for_nothing(
    preprocess: Callable[[Tensor], Tensor] | None, choices: dict[str, Any], steps: Steps
) -> None:
    generation = PrototypeGeneration(model(), preprocess)
    generation.generate([1, 1, [2, 3]], (3, 16, 16), steps=4, warmup_steps=3, transform=AFFINE, **choices)
    assert waits(steps) == {}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_step_waits(name: str, steps: Steps, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(descent.Descent, "_guesses", lambda self, phase: phase.name == "ascent")  # as on a GPU
    COMBINATIONS[name].optimize(steps=5)
    assert waits(steps) == {}


def silent_at_first(steps: int) -> InputOptimization:
    """Of two rows, of which one unit is off for its start, and only turned on against its activation function."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    with torch.no_grad():
        network[0].bias.copy_(torch.tensor([1.0, -0.4]))
    objective = loss.ChannelActivation("1", [0, 1])
    return InputOptimization(network, objective, steps=steps, lr=0.004, redirect_relu_steps=steps - 5)


@pytest.mark.filterwarnings("ignore:channel 1 of layer|the gradient through the model was exactly zero")
@pytest.mark.parametrize("optimizer", ["adam", "nadam"])
def test_steps_guessed_to_have_a_gradient_are_taken_once_more_where_they_had_none(
    optimizer: str, monkeypatch: pytest.MonkeyPatch, steps: Steps
) -> None:
    optimization = silent_at_first(75)
    optimization.settings = replace(optimization.settings, optimizer=optimizer)
    expected = optimization.optimize((3, 8, 8), seed=4, snapshot_steps=[10, 40])
    assert 0 < int(expected.history["zero_gradient"][:, 1].sum()) < 75
    asked = len(steps)
    monkeypatch.setattr(descent.Descent, "_guesses", lambda self, phase: True)
    guessed = optimization.optimize((3, 8, 8), seed=4, snapshot_steps=[10, 40])
    assert len(steps) > 2 * asked  # some were taken once more
    assert torch.equal(guessed.images, expected.images)
    assert guessed.history.keys() == expected.history.keys()
    for name, values in expected.history.items():
        assert torch.equal(guessed.history[name], values), name
    for step, images in expected.snapshots.items():
        assert torch.equal(guessed.snapshots[step], images)


def test_nadam_is_pytorchs_to_the_last_bit() -> None:
    for dtype in (torch.float32, torch.float64):
        mine = seeded(3, 7, dtype=dtype)
        its = mine.clone()
        reference = torch.optim.NAdam([its], lr=0.1, betas=(0.8, 0.99), eps=1e-6)
        optimizer = NAdam([mine], betas=(0.8, 0.99), eps=1e-6)
        rates = [0.1 * 0.9**step for step in range(40)]
        for rate, coefficients in zip(rates, optimizer.table(rates).to(dtype), strict=True):
            mine.grad = its.grad = (mine * 3).sin()
            reference.param_groups[0]["lr"] = rate
            reference.step()
            optimizer.coefficients = coefficients
            optimizer.step()
            assert torch.equal(mine, its)


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
    keys = prototype_keys([3, 4, 5], [(1,), (1,), (2,)])
    streams = StepStreams(keys, TRANSFORM, 300)
    images = torch.rand(3, 3, 20, 16 if "output" in str(getattr(transform, "settings", dict)()) else 24).to(dtype)
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
