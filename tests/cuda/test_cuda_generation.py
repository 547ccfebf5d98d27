"""Generation on a GPU: a step that waits for nothing, and the same draws as on the CPU."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from optim.step_combinations import COMBINATIONS
from torch import nn
from torchvision import transforms

from captum_proto import PrototypeGeneration
from captum_proto.optim import TRANSFORM, FFTImage, RandomAffine, RandomStream, descent, prototype_keys
from captum_proto.optim.random import StepStreams

AFFINE = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    ).eval().cuda()  # fmt: skip


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that PyTorch has watched for synchronization: all after the first, which sees that all is as it should be."""
    steps: list[int] = []
    evaluate, update = descent.Descent._evaluate, descent.Descent._update

    def watching(self: Any, phase: Any, step: int) -> Any:
        torch.cuda.set_sync_debug_mode("error" if step > 0 else "default")
        try:
            return evaluate(self, phase, step)
        finally:
            torch.cuda.set_sync_debug_mode("default")
            steps.append(step)

    def watching_too(self: Any, *arguments: Any) -> None:
        torch.cuda.set_sync_debug_mode("error" if steps[-1] > 0 else "default")
        try:
            update(self, *arguments)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(descent.Descent, "_evaluate", watching)
    monkeypatch.setattr(descent.Descent, "_update", watching_too)
    return steps


@pytest.mark.parametrize(
    "choices",
    [{}, {"noise": 0.05}, {"preprocess_first": True}, {"diversity": "pixels"}, {"parametrization": FFTImage()}],
    ids=lambda choices: next(iter(choices), "plain"),
)
def test_a_step_waits_for_nothing(choices: dict[str, Any], watched: list[int]) -> None:
    generation = PrototypeGeneration(model(), transforms.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.3]))
    generation.generate([1, 1, 2], (3, 16, 16), steps=300, warmup_steps=3, transform=AFFINE, **choices)
    assert len(watched) == 303


@pytest.mark.parametrize("name", COMBINATIONS)
def test_no_step_waits(name: str, watched: list[int]) -> None:
    COMBINATIONS[name].optimize("cuda", 12)
    assert len(watched) >= 12


def test_the_watch_sees_what_waits(watched: list[int]) -> None:
    generation = PrototypeGeneration(model(), lambda images: images * float(images.detach().abs().max().clamp(min=1)))
    with pytest.raises(RuntimeError, match="synchronizing"):
        generation.generate([1], (3, 16, 16), steps=3, warmup_steps=0)
    assert watched == [0, 1]


def test_draws_are_the_cpus_to_the_last_bit() -> None:
    keys = prototype_keys([3, 4], [(1,), (1,)])
    streams = StepStreams(keys.cuda(), TRANSFORM, 300)
    for step in (0, 255, 256, 299):
        mine, its = streams.at(step), RandomStream(keys, TRANSFORM, step)
        for count in (4, 40):
            assert torch.equal(mine.uniform(count).cpu(), its.uniform(count))
