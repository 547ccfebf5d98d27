"""
One step is captured and replayed in place of the others. Here a recording of the calls of a step stands for the graph, on the CPU;
tests/cuda has CUDA's own.
"""

from __future__ import annotations

import json
import runpy
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from optim.recorded_graph import RecordedGraph
from optim.step_combinations import AFFINE, COMBINATIONS, SHAPE, Combination, model
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from captum_proto import PrototypeGeneration
from captum_proto.optim import InputOptimization, Loss, OptimizationResult, Outputs, Snapshot, loss, step_graph
from captum_proto.optim.step_graph import CapturedCalls, NotCapturableError

STEPS = 24


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[RecordedGraph]:
    """All that were made."""
    made: list[RecordedGraph] = []

    def graph_for(device: torch.device) -> RecordedGraph:
        made.append(RecordedGraph())
        return made[-1]

    monkeypatch.setattr(step_graph, "graph_for", graph_for)
    return made


def assert_same(one: OptimizationResult, other: OptimizationResult) -> None:
    assert torch.equal(one.images, other.images)
    assert one.history.keys() == other.history.keys()
    for name, values in one.history.items():
        assert torch.equal(values, other.history[name]), name
    assert one.parameters.keys() == other.parameters.keys()
    for name, values in one.parameters.items():
        assert torch.equal(values, other.parameters[name]), name
    for step, images in one.snapshots.items():
        assert torch.equal(images, other.snapshots[step])


#: What cannot be captured, and why; "" where it can.
REASONS = {
    "transform: per image": "it cannot be captured: its transform draws from PyTorch's own generators",
    "input: tokens of a falling temperature": "of its 24 steps too few",
}


@pytest.mark.parametrize("name", COMBINATIONS)
def test_replayed_steps_are_those_taken_to_the_last_bit(name: str, graphs: list[RecordedGraph]) -> None:
    combination = COMBINATIONS[name]
    taken = combination.optimize(steps=STEPS)
    replayed = combination.optimize(steps=STEPS, cuda_graph=True)
    assert_same(replayed, taken)
    assert taken.graph is None
    assert replayed.graph is not None
    reason = REASONS.get(name, "")
    if reason:
        assert replayed.graph.reasons["ascent"].startswith(reason)
        assert replayed.graph.replayed == 0
    else:
        assert "ascent" not in replayed.graph.reasons
        assert replayed.graph.replayed >= 12
        assert sum(graph.replays for graph in graphs) == replayed.graph.replayed + 2 * len(
            [graph for graph in graphs if graph.replays]
        )


@pytest.mark.parametrize("name", ["plain, preprocessing classic", "nadam and cosine, preprocessing v2", "input: alpha"])
def test_over_blocks_of_draws(name: str, graphs: list[RecordedGraph]) -> None:
    """Numbers are made for 256 steps at a time."""
    taken, replayed = (COMBINATIONS[name].optimize(steps=270, cuda_graph=wanted) for wanted in (False, True))
    assert_same(replayed, taken)
    assert replayed.graph is not None
    assert replayed.graph.replayed == 264
    assert len(graphs) == 1


class Counting(Loss):
    """Counts its calls up in Python, and acts on it."""

    def __init__(self, kind: str) -> None:
        self.kind, self.calls, self.before = kind, 0, torch.zeros(())

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        self.calls += 1
        score = -outputs.logits[:, 1]
        if self.kind == "number":
            return score * (1 + 0.01 * outputs._step)
        if self.kind == "tensor":  # of a step before, and in other memory in each
            weight, self.before = 1 + self.before, score.detach().mean() * 0.01
            return score * weight
        if self.kind == "choice":
            return score if float(score.detach().mean()) > -1e9 else 2 * score
        if self.kind == "table":
            return score * torch.tensor(1.5)
        raise ValueError(self.kind)


@pytest.mark.parametrize("kind", ["number", "tensor"])
def test_a_step_that_depends_on_python_is_found_out_and_taken(kind: str, graphs: list[RecordedGraph]) -> None:
    expected = InputOptimization(model(), Counting(kind), steps=STEPS).optimize(SHAPE, count=2)
    with pytest.warns(UserWarning, match="gave other results than the step itself") as caught:
        result = InputOptimization(model(), Counting(kind), steps=STEPS, cuda_graph=True).optimize(SHAPE, count=2)
    assert len(caught) == 1
    assert result.graph is not None
    assert result.graph.settings() == {
        "replayed_steps": 0,
        "reasons": {"ascent": "replayed, a step led elsewhere than taken"},
    }
    assert graphs[0].replays == 2
    if kind == "number":  # the other loss has seen the step that was captured, and says nothing of what it keeps
        assert_same(result, expected)


@pytest.mark.parametrize(("kind", "operation"), [("choice", "_local_scalar_dense"), ("table", "lift_fresh")])
def test_what_the_host_decides_is_not_captured(kind: str, operation: str, graphs: list[RecordedGraph]) -> None:
    expected = InputOptimization(model(), Counting(kind), steps=STEPS).optimize(SHAPE, count=2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = InputOptimization(model(), Counting(kind), steps=STEPS, cuda_graph=True).optimize(SHAPE, count=2)
    assert_same(result, expected)
    assert result.graph is not None
    assert operation in result.graph.reasons["ascent"]


class Averaging(Loss):
    """Goes on from the mean of the steps before, and says so."""

    def __init__(self) -> None:
        self.mean = torch.zeros(2)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        score = -outputs.logits[:, 1]
        self.mean = 0.9 * self.mean + 0.1 * score.detach()
        return score - self.mean * score

    def state_dict(self) -> dict[str, Tensor]:
        return {"mean": self.mean}

    def load_state_dict(self, state: Any) -> None:
        self.mean = state["mean"]


def reasons(**choices: Any) -> dict[str, str]:
    settings = {"steps": STEPS, "cuda_graph": True, **choices.pop("settings", {})}
    objective = choices.pop("objective", loss.ClassLogit([1, 2]))
    warmup = loss.ProbabilityVariance() if "warmup_steps" in settings else None
    result = InputOptimization(model(), objective, warmup=warmup, **settings).optimize(SHAPE, **choices)
    assert result.graph is not None
    return result.graph.reasons


def test_why_steps_are_taken_one_by_one(graphs: list[RecordedGraph], monkeypatch: pytest.MonkeyPatch) -> None:
    assert reasons() == {}
    assert reasons(callback=lambda step: None) == {"ascent": "a callback sees each step"}
    assert reasons(settings={"steps": 13}) == {"ascent": "of its 13 steps too few would be replayed"}
    assert reasons(settings={"warmup_steps": 20, "warmup_tolerance": 1e-9}) == {
        "warmup": "rows may come to rest before its end"
    }
    assert reasons(objective=Averaging(), count=2) == {
        "ascent": "a loss goes on from what it has come to in the step before"
    }
    monkeypatch.undo()
    assert reasons() == {"ascent": "steps on the device cpu have no graph"}


def test_a_graph_that_fails_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(RecordedGraph):
        def capture(self, step: Any) -> None:
            super().capture(step)
            raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nand more")

    expected = COMBINATIONS["plain, preprocessing v2"].optimize(steps=STEPS)
    monkeypatch.setattr(step_graph, "graph_for", lambda device: Failing())
    result = COMBINATIONS["plain, preprocessing v2"].optimize(steps=STEPS, cuda_graph=True)
    assert_same(result, expected)
    assert result.graph is not None
    assert result.graph.reasons == {
        "ascent": "it cannot be captured: CUDA error: operation not permitted when stream is capturing"
    }


def test_scaled_gradients_of_float16(graphs: list[RecordedGraph]) -> None:
    half = Combination(make_model=lambda: nn.Sequential(*model()).half(), preprocess=None)
    assert_same(half.optimize(steps=STEPS, cuda_graph=True), half.optimize(steps=STEPS))
    assert graphs[-1].replays > 12


def test_pictures_on_the_way(graphs: list[RecordedGraph]) -> None:
    taken, replayed = (
        InputOptimization(model(), loss.ClassLogit([1, 2]), steps=STEPS, transform=AFFINE, cuda_graph=wanted).optimize(
            SHAPE, snapshot_steps=[0, 5, 6, 7, 8, 20, STEPS]
        )
        for wanted in (False, True)
    )
    assert len(taken.snapshots) == len(replayed.snapshots) == 7
    assert_same(replayed, taken)


def test_an_optimization_that_goes_on_from_a_snapshot(graphs: list[RecordedGraph], tmp_path: Any) -> None:
    class Killed(BaseException):
        pass

    def made(wanted: bool, snapshot: Snapshot | None = None) -> OptimizationResult:
        optimization = InputOptimization(
            model(), loss.ClassLogit([1, 2]), steps=40, transform=AFFINE, optimizer="nadam", cuda_graph=wanted
        )
        return optimization.optimize(SHAPE, snapshot=snapshot)

    expected = made(False)
    original, calls = RecordedGraph.replay, []

    def killing(self: RecordedGraph) -> None:
        calls.append(None)
        if len(calls) == 15:
            raise Killed
        original(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RecordedGraph, "replay", killing)
        with pytest.raises(Killed):
            made(True, Snapshot(tmp_path / "state", every=6))
    resumed = made(True, Snapshot(tmp_path / "state", every=6))
    assert_same(resumed, expected)
    assert resumed.graph is not None
    assert 0 < resumed.graph.replayed < 40 - 12


def test_what_is_recorded(graphs: list[RecordedGraph]) -> None:
    made = PrototypeGeneration(model()).generate([1, 2], SHAPE, steps=STEPS, warmup_steps=2, cuda_graph=True)
    assert made.settings["cuda_graph"] is True
    assert made.settings["network"]["cuda_graph"] == {
        "replayed_steps": STEPS - 6,
        "reasons": {"warmup": "of its 2 steps too few would be replayed"},
    }
    plain = PrototypeGeneration(model()).generate([1, 2], SHAPE, steps=STEPS, warmup_steps=2)
    assert "cuda_graph" not in plain.settings["network"]
    assert torch.equal(made.images, plain.images)


def test_what_a_captured_step_reads_is_kept_and_what_it_makes_is_not() -> None:
    read, calls = torch.ones(3), CapturedCalls(torch.device("cpu"))
    outside, made = StorageWeakRef(read.untyped_storage()), []
    with calls:
        sums = read + 1
        view = sums[:2]
        made.append(StorageWeakRef(sums.untyped_storage()))
        product = view * read[1:]
        sums.zero_()
    del read, sums, view
    assert made[0].expired()
    assert not outside.expired()
    assert product.tolist() == [2.0, 2.0]
    del calls
    assert outside.expired()


def test_copies_between_the_host_and_the_device_are_refused() -> None:
    with CapturedCalls(torch.device("meta")) as calls:
        there = torch.ones(2, device="meta")
        (there * 2).clone()
        torch.ones(2).sum().item()  # of the host alone
        with pytest.raises(NotCapturableError, match="between the host and the device"):
            torch.ones(2).to("meta")
        with pytest.raises(NotCapturableError, match="between the host and the device"):
            there.copy_(torch.ones(2))
    assert calls is not None


def test_the_script_for_a_gpu(
    graphs: list[RecordedGraph], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(__file__).parents[1] / "cuda" / "step_graph.py"
    script = runpy.run_path(str(path))
    load_model = script["load_model"]
    monkeypatch.setitem(
        script["main"].__globals__, "load_model", lambda name, device: load_model(name, pretrained=False)
    )
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    monkeypatch.setattr("sys.argv", [str(path), "20"])
    script["main"]()
    told = json.loads(capsys.readouterr().out)
    assert told["record"] == {"replayed_steps": 24, "reasons": {}}
    monkeypatch.undo()
    monkeypatch.setitem(
        script["main"].__globals__, "load_model", lambda name, device: load_model(name, pretrained=False)
    )
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    monkeypatch.setattr("sys.argv", [str(path), "20"])
    with pytest.raises(SystemExit, match="no step was replayed"):
        script["main"]()
