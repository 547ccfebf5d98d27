"""A step captured as a CUDA graph: replayed, it is the step to the last bit."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from optim.step_combinations import COMBINATIONS, Combination
from optim.test_cuda_graph import REASONS, Counting, assert_same
from torch import nn

from captum_proto.optim import InputOptimization, OptimizationResult, step_graph

STEPS = 40


@pytest.fixture(autouse=True)
def _deterministic() -> Iterator[None]:
    """cuDNN takes no operation that adds up in an order of chance."""
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    yield
    torch.backends.cudnn.deterministic = before


def same(one: OptimizationResult, other: OptimizationResult) -> bool:
    return torch.equal(one.images, other.images)


@pytest.mark.parametrize("name", COMBINATIONS)
def test_replayed_steps_are_those_taken_to_the_last_bit(name: str) -> None:
    combination = COMBINATIONS[name]
    taken, again = (combination.optimize("cuda", STEPS) for _ in range(2))
    if not same(taken, again):
        pytest.skip("an operation of its step adds up in an order of chance: it is not the same twice")
    replayed = combination.optimize("cuda", STEPS, cuda_graph=True)
    assert_same(replayed, taken)
    assert replayed.graph is not None
    reason = REASONS.get(name, "")
    if reason:
        assert replayed.graph.replayed == 0
    else:
        assert "ascent" not in replayed.graph.reasons, replayed.graph.reasons
        assert replayed.graph.replayed >= STEPS // 2


def test_over_blocks_of_draws() -> None:
    combination = COMBINATIONS["nadam and cosine, preprocessing v2"]
    taken, replayed = (combination.optimize("cuda", 600, cuda_graph=wanted) for wanted in (False, True))
    assert_same(replayed, taken)
    assert replayed.graph is not None
    assert replayed.graph.replayed == 594


@pytest.mark.parametrize("kind", ["number", "choice", "table"])
def test_what_cannot_be_replayed_is_taken(kind: str) -> None:
    def made(wanted: bool) -> OptimizationResult:
        combination = Combination(preprocess=None)
        network: nn.Module = combination.make_model().cuda()
        loss: Any = Counting(kind)
        return InputOptimization(network, loss, steps=STEPS, cuda_graph=wanted).optimize((3, 16, 16), count=2)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = made(True)
    assert_same(result, made(False))
    assert result.graph is not None
    assert set(result.graph.reasons) == {"ascent"}
    # What a failed capture leaves behind does not stand in the way of the next one.
    assert COMBINATIONS["plain, preprocessing none"].optimize("cuda", STEPS, cuda_graph=True).graph.replayed > 0  # type: ignore[union-attr]


def test_a_capture_that_cuda_refuses_leaves_the_stream_and_the_device_as_they_were() -> None:
    device = torch.device("cuda", torch.cuda.current_device())
    graph, before = step_graph.CUDAStepGraph(device), torch.cuda.current_stream()
    values = torch.ones(4, device=device)

    def synchronizing() -> None:
        values.mul_(2)
        torch.cuda.current_stream().synchronize()

    with pytest.raises(RuntimeError):
        graph.capture(synchronizing)
    assert torch.cuda.current_stream() == before
    assert (values + 1).tolist() == [2.0] * 4
    another = step_graph.CUDAStepGraph(device)
    another.capture(lambda: (values.mul_(2), None)[1])
    another.replay()
    assert values.tolist() == [2.0] * 4
