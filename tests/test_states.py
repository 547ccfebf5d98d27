"""What holds for every state: parts add up to the whole, and what is put down is taken up again, by however many processes."""

from __future__ import annotations

import importlib
import itertools
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from networks import seeded
from torch import Tensor, nn

import captum_proto
from captum_proto import PathSimilarity
from captum_proto.concept.tally import Counts, LabelBatch, Tally
from captum_proto.features import TopExamples
from captum_proto.features.example_state import ExampleSettings, ExampleState, LayerState
from captum_proto.metrics.reference import PathReference
from captum_proto.metrics.sorted_reference import SortedReference
from captum_proto.metrics.sorted_similarity import SortedSimilarity
from captum_proto.optim import Loss
from captum_proto.stats.moments import Moments
from captum_proto.stats.quantiles import Quantiles
from captum_proto.stats.random_sample import RandomSample
from captum_proto.stats.search import OrderSearch
from captum_proto.stats.top_k import TopK

COUNT = 40
GENERATOR = torch.Generator().manual_seed(0)
ROWS = torch.randn(COUNT, 6, generator=GENERATOR)
#: Sums of such values are exact, so that a network gives the same whatever the batch.
IMAGES = torch.randint(0, 9, (COUNT, 3, 8, 8), generator=GENERATOR) / 8
LABELS = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (COUNT, 1, 8, 8), dtype=np.int16))


class Small(nn.Sequential):
    """Two layers that have maps."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
        with torch.no_grad():
            for values in self.parameters():
                values.copy_((32 * values).round() / 32)


MODEL = seeded(Small).eval()
FINDER = TopExamples(MODEL, ["0", "3"], k=5, seed=3, memory=1)


@dataclass(frozen=True)
class Case:
    """
    A state.

    Args:
        begin (Callable): Makes one that has seen nothing.
        update (Callable): Gives it rows from one index to another.
        found (Callable): What it comes to.
        end_pass (Callable): Ends a pass; returns whether everything is known. Default: one pass is all
        part (Callable): Of a state after a pass, what a part of the next begins with.
        exact (bool): Whether it is the same bit for bit, however it is divided. Default: True
    """

    begin: Callable[[], Any]
    update: Callable[[Any, int, int], None]
    found: Callable[[Any], Any]
    end_pass: Callable[[Any], bool] = lambda state: True
    part: Callable[[Any], Any] | None = None
    exact: bool = True


def _where(quantiles: Quantiles) -> Quantiles:
    part = Quantiles(quantiles.q, memory=1)
    part.load_state_dict(quantiles.state_dict())
    return part


def _end_layer(state: LayerState) -> bool:
    state.end_pass()
    return state.quantiles is None or state.quantiles.finished


def _end_quantiles(state: Quantiles) -> bool:
    state.end_pass()
    return state.finished


def _layer(state: LayerState, begin: int, end: int) -> None:
    values = ROWS[begin:end].reshape(-1, 2, 3)
    if state._where:
        state.later_pass(values)
    else:
        state.first_pass(values, torch.arange(begin, end), None)


def _tally(state: Tally, begin: int, end: int) -> None:
    count = end - begin
    whole, carried = torch.zeros(count, 4, dtype=torch.bool), torch.ones(count, 2, dtype=torch.bool)
    labels = LabelBatch(LABELS[begin:end], whole, carried, torch.zeros(4, dtype=torch.int64))
    state.update(IMAGES[begin:end], torch.full((3,), 0.5, dtype=torch.float64), labels)


def _counts(state: Counts, begin: int, end: int) -> None:
    for tally in state.tallies.values():
        _tally(tally, begin, end)
    state.areas += torch.bincount(torch.from_numpy(LABELS.numpy()[begin:end].ravel()), minlength=4)


def _sum(kind: Any) -> Callable[[Any, int, int], None]:
    def update(state: Any, begin: int, end: int) -> None:
        fitted = kind(MODEL, ["0", "3"]).fit(IMAGES[begin:end]).reference
        if hasattr(state, "sums"):
            state.merge(fitted)
        else:
            vars(state).update(vars(fitted))

    return update


CASES: dict[type, Case] = {
    Moments: Case(Moments, lambda s, a, b: s.update(ROWS[a:b]), lambda s: s.compute(), exact=False),
    TopK: Case(lambda: TopK(4), lambda s, a, b: s.update(ROWS[a:b], torch.arange(a, b)), lambda s: s.compute()),
    RandomSample: Case(
        lambda: RandomSample(4, 1),
        lambda s, a, b: s.update(ROWS[a:b], torch.arange(a, b)),
        lambda s: s.compute(),
    ),
    Quantiles: Case(
        lambda: Quantiles([0.1, 0.9], memory=1),
        lambda s, a, b: s.update(ROWS[a:b].T),
        lambda s: s.compute(),
        _end_quantiles,
        _where,
    ),
    LayerState: Case(
        lambda: LayerState(ExampleSettings(4, "max", None, (0.5,), 2, 1)),
        _layer,
        lambda s: s.state_dict(),
        _end_layer,
        lambda s: s.of_later_pass(),
    ),
    ExampleState: Case(
        FINDER.start,
        lambda s, a, b: FINDER.update(s, IMAGES[a:b], 5, first=a),
        lambda s: [vars(layer) for layer in FINDER.result(s).layers.values()],
        lambda s: s.end_pass(),
        lambda s: s.part(),
    ),
    Tally: Case(lambda: Tally.empty(3, 3, 1, 0), _tally, lambda s: s.state_dict()),
    Counts: Case(lambda: Counts.empty({"conv.0": 3, "relu": 3}, 3, 1, 0), _counts, lambda s: s.state_dict()),
    PathReference: Case(
        lambda: object.__new__(PathReference), _sum(PathSimilarity), lambda s: s.state_dict(), exact=False
    ),
    SortedReference: Case(
        lambda: object.__new__(SortedReference), _sum(SortedSimilarity), lambda s: s.state_dict(), exact=False
    ),
}
#: What has ``merge`` or ``state_dict`` and is no state of its own.
OTHERS = {
    "State": "says what a state is",
    "Examples": "a result, which is saved and loaded",
    "ActivationSums": "what the references share",
    "_FilmstripHooks": "the callback of a training",
    OrderSearch.__name__: "a part of the state of quantiles",
}


def _classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(captum_proto.__path__, "captum_proto."):
        if module.name.endswith("__main__"):
            continue
        for value in vars(importlib.import_module(module.name)).values():
            if isinstance(value, type) and value.__module__ == module.name:
                yield value


def test_every_state_is_here() -> None:
    names = {"merge", "state_dict"}
    states = {
        found
        for found in _classes()
        if not issubclass(
            found, Loss
        )  # its state is that of an optimization, put down and taken up again but never merged
        and any(names & vars(parent).keys() for parent in found.__mro__ if parent.__module__.startswith("captum_proto"))
    }
    assert {found.__name__ for found in states - CASES.keys()} <= OTHERS.keys()
    assert CASES.keys() <= states
    for found in CASES:
        assert all(hasattr(found, name) for name in ("merge", "state_dict", "load_state_dict")), found


def put_down(case: Case, state: Any) -> Any:
    """The state as another process reads it: tensors in a file, nothing else."""
    content = safetensors.torch.save({name: value.contiguous().clone() for name, value in state.state_dict().items()})
    taken_up = case.begin()
    taken_up.load_state_dict(safetensors.torch.load(content))
    return taken_up


def over(
    case: Case,
    divided: Callable[[Callable[[], Any]], list[Any]],
    between: Callable[[Case, Any], Any] = put_down,
) -> Any:
    """What a state comes to, of which each pass is divided in parts, merged in their order."""
    state, begin = case.begin(), case.begin
    for _ in range(10):
        first, *others = [between(case, part) for part in divided(begin)]
        for other in others:
            first.merge(other)
        if state is not None and case.part is not None and begin is not case.begin:
            state.merge(first)  # which knows what was found in the passes before
        else:
            state = first
        if case.end_pass(state):
            return case.found(state)
        assert case.part is not None
        kept = state
        begin = lambda kept=kept: case.part(kept)  # noqa: E731
    raise AssertionError("there is no end of passes")


def same(found: Any, expected: Any, exact: bool) -> bool:
    if isinstance(expected, Tensor):
        if exact or not expected.dtype.is_floating_point:
            return torch.equal(found, expected)
        return torch.allclose(found, expected, rtol=1e-12, atol=0)
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(same(found[name], expected[name], exact) for name in expected)
    if isinstance(expected, (list, tuple)):
        return len(found) == len(expected) and all(map(lambda a, b: same(a, b, exact), found, expected))
    return bool(found == expected)


def rows_of(case: Case, begin: Callable[[], Any], ranges: list[tuple[int, int]]) -> Any:
    state = begin()
    for first, last in ranges:
        case.update(state, first, last)
    return state


def whole(case: Case) -> Any:
    return over(case, lambda begin: [rows_of(case, begin, [(0, COUNT)])], lambda _, state: state)


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_parts_of_several_processes_are_the_whole(kind: type, count: int) -> None:
    case = CASES[kind]
    edges = [round(place * COUNT / count) for place in range(count + 1)]
    parts = list(itertools.pairwise(edges))
    found = over(case, lambda begin: [rows_of(case, begin, [part]) for part in parts])
    assert same(found, whole(case), case.exact)


@pytest.mark.parametrize("kind", CASES, ids=lambda kind: kind.__name__)
def test_what_two_processes_began_three_go_on_with(kind: type) -> None:
    case = CASES[kind]

    def divided(begin: Callable[[], Any]) -> list[Any]:
        two = [put_down(case, rows_of(case, begin, [part])) for part in ((0, 7), (20, 26))]
        three = [*two, begin()]
        for state, part in zip(three, ((7, 20), (26, 33), (33, COUNT)), strict=True):
            case.update(state, *part)
        return three

    assert same(over(case, divided), whole(case), case.exact)


def _one_process(rank: int, count: int, folder: str) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store{count}", rank=rank, world_size=count
    )
    similarity = PathSimilarity(MODEL).fit(IMAGES.tensor_split(count)[rank], distributed=True)
    similarity.save(f"{folder}/{count}-{rank}.safetensors")
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_a_reference_of_several_processes(tmp_path: Path) -> None:
    alone = PathSimilarity(MODEL).fit(IMAGES)
    alone.evaluate(IMAGES)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process has no threads but its own
    try:
        for count in (2, 3):
            torch.multiprocessing.start_processes(
                _one_process, (count, str(tmp_path)), nprocs=count, start_method="fork"
            )
    finally:
        torch.set_num_threads(threads)
    expected = alone.evaluate(IMAGES)
    for path in tmp_path.glob("*.safetensors"):
        assert same(PathReference.load(path).state_dict(), alone.reference.state_dict(), exact=False)
        found = PathSimilarity(MODEL).load(path).evaluate(IMAGES)
        assert torch.equal(found.spearman, expected.spearman)
        assert torch.allclose(found.l1.double(), expected.l1.double(), rtol=1e-12, atol=0)
    first, second = ((tmp_path / f"2-{rank}.safetensors").read_bytes() for rank in range(2))
    assert first == second
