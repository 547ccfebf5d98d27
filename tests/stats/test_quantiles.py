"""Quantiles that stream: torch.quantile's to the last bit, whatever the batches, the processes and the order of merging."""

from __future__ import annotations

import itertools
import multiprocessing
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from native.operator_samples import FLOATING
from native.stream_samples import KINDS, activations
from torch import Tensor, distributed

from captum_proto.stats.quantiles import Interpolation, Quantiles
from captum_proto.stats.top_k import TopK

SOME = (0.5, 0.9, 0.99)
Q = (0.0, 0.25, 0.5, 0.9, 0.995, 1.0)
INTERPOLATIONS: tuple[Interpolation, ...] = ("linear", "lower", "higher")


def in_memory(values: Tensor, q: tuple[float, ...] = Q, interpolation: str = "linear") -> Tensor:
    wanted, flat = torch.tensor(q, dtype=torch.float64), values.flatten(1).double()

    def found(interpolation: str) -> Tensor:
        return torch.quantile(flat, wanted, 1, interpolation=interpolation).t()

    # Beside an infinity torch.quantile may take infinity minus infinity.
    result = found(interpolation)
    return torch.where(result.isnan(), found("lower") + found("higher"), result)


def same(actual: Tensor, expected: Tensor) -> bool:
    return torch.equal(actual.isnan(), expected.isnan()) and torch.equal(actual.nan_to_num(), expected.nan_to_num())


def streamed(batches: list[Tensor], state: Quantiles) -> Quantiles:
    while not state.finished:
        for batch in batches:
            state.update(batch)
        state.end_pass()
    return state


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "not a number"])
def test_they_are_those_of_torch(kind: str, dtype: torch.dtype, interpolation: Interpolation) -> None:
    for length in (1, 2, 3, 700):
        values = activations(kind, (4, length), dtype)
        for memory in (2**28, 1000, 1):  # kept, some counted, all counted
            state = streamed(list(values.split(256, 1)), Quantiles(Q, interpolation, memory))
            assert same(state.compute(), in_memory(values, Q, interpolation))
            assert state.passes <= (2 if memory == 2**28 or dtype.itemsize == 2 else 8)
            assert state.count == length


def test_beside_an_infinity() -> None:
    inf = torch.inf
    values = torch.tensor([[1.0, inf], [-inf, 2.0], [-inf, inf], [inf, inf], [-inf, -inf]])
    state = streamed([values], Quantiles([0.25, 0.75]))
    expected = torch.tensor([[inf] * 2, [-inf] * 2, [torch.nan] * 2, [inf] * 2, [-inf] * 2], dtype=torch.float64)
    assert torch.equal(state.compute().nan_to_num(5), expected.nan_to_num(5))


@pytest.mark.parametrize("layout", ["contiguous", "channels last", "every second"])
def test_a_layers_output_comes_as_it_lies(layout: str) -> None:
    output = activations("after a ReLU", (6, 5, 9, 8), torch.float32)
    output = {
        "contiguous": output,
        "channels last": output.to(memory_format=torch.channels_last),
        "every second": output[:, :, ::2, 1::2],
    }[layout]
    state = streamed([part.movedim(1, 0) for part in output.split(4)], Quantiles(Q))
    assert torch.equal(state.compute(), in_memory(output.movedim(1, 0)))
    assert state.count == output[:, 0].numel()


def test_zeros_of_a_relu_take_one_pass() -> None:
    values = activations("after a ReLU", (3, 1001), torch.float32)
    assert streamed([values], Quantiles([0.1, 0.4])).passes == 1
    assert streamed([values], Quantiles([0.1, 0.4, 0.9])).passes == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32], ids=str)
def test_two_passes_do(dtype: torch.dtype) -> None:
    values = activations("dense", (3, 5000), dtype)
    assert streamed([values], Quantiles(Q)).passes == 2
    assert (
        streamed([values], Quantiles(Q, memory=3 * 6 * 2**22)).passes == 2
    )  # also where values of a bin cannot be kept


special = st.sampled_from(
    [0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, 1e-45, -1e-45, 5e-324, 1e-310, 2.0**-15, 2.0**17]
)
arrays = hnp.arrays(
    "float64", st.tuples(st.integers(1, 3), st.integers(1, 30)), elements=st.one_of(special, st.floats(-3, 3))
)


@settings(max_examples=150, deadline=None)
@given(
    arrays,
    st.sampled_from(FLOATING),
    st.lists(st.floats(0, 1), min_size=1, max_size=4),
    st.sampled_from(INTERPOLATIONS),
    st.sampled_from([1, 300, 2**28]),
    st.integers(1, 30),
)
def test_any_values(array, dtype, q: list[float], interpolation: Interpolation, memory: int, size: int) -> None:
    values = torch.from_numpy(array).to(dtype)
    state = streamed(list(values.split(size, 1)), Quantiles(q, interpolation, memory))
    assert same(state.compute(), in_memory(values, tuple(q), interpolation))


@pytest.mark.parametrize("memory", [2**28, 1000, 1])
def test_the_order_of_merging_makes_no_difference(memory: int) -> None:
    values = activations("after a ReLU", (4, 900), torch.float32)
    parts = values.tensor_split([100, 101, 700], 1)
    expected = in_memory(values)
    for order in list(itertools.permutations(range(4)))[::5]:
        states = [Quantiles(Q, memory=memory) for _ in parts]
        while not states[0].finished:
            for state, part in zip(states, parts, strict=True):
                for batch in part.split(64, 1):
                    state.update(batch)
            first, *others = (states[i] for i in order)
            others[1].merge(others[2])
            first.merge(others[0])
            first.merge(others[1])
            first.end_pass()
            for state in states:
                state.load_state_dict(first.state_dict())
        for state in states:
            assert torch.equal(state.compute(), expected)


def take_part(rank: int, processes: int, folder: Path) -> None:
    """What one of several processes does with its part of the values."""
    distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=processes)
    values = torch.load(folder / "values.pt", weights_only=True)
    mine = torch.arange(values.shape[1]).tensor_split(processes)[rank]

    def of_all(state: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        states: list[dict[str, Tensor]] = [{}] * processes
        distributed.all_gather_object(states, state)
        return states

    best, together = TopK(6), TopK(6)
    best.update(values[:, mine].t(), mine)
    for state in of_all(best.state_dict()):
        best.load_state_dict(state)
        together.merge(best)
    quantiles, other = Quantiles(SOME), Quantiles(SOME)
    while not quantiles.finished:
        for batch in values[:, mine].split(50, 1):
            quantiles.update(batch)
        states = of_all(quantiles.state_dict())
        for number in set(range(processes)) - {rank}:  # each process in an order of its own
            other.load_state_dict(states[number])
            quantiles.merge(other)
        quantiles.end_pass()
    torch.save([quantiles.compute(), *together.compute()[:2]], folder / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
@pytest.mark.parametrize("processes", [1, 3])
def test_processes_agree(tmp_path: Path, processes: int) -> None:
    values = activations("ties", (5, 401), torch.float32) + activations("after a ReLU", (5, 401), torch.float32, 1)
    torch.save(values, tmp_path / "values.pt")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process has no threads but its own, and those of PyTorch would be waited for
    try:
        forked = multiprocessing.get_context("fork")
        started = [forked.Process(target=take_part, args=(rank, processes, tmp_path)) for rank in range(processes)]
        for process in started:
            process.start()
        for process in started:
            process.join(120)
    finally:
        torch.set_num_threads(threads)
    assert [process.exitcode for process in started] == [0] * processes
    best = values.topk(6, 1).values
    for rank in range(processes):
        quantiles, scores, indices = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert torch.equal(quantiles, in_memory(values, SOME))
        assert torch.equal(scores, best)
        assert torch.equal(values.gather(1, indices), best)


def test_more_than_int32_counts_are_exact() -> None:
    state, other = Quantiles([0.5]), Quantiles([0.5])
    values = torch.tensor([[1.0, 1.0, 2.0]])
    state.update(values)
    other.update(values)
    for _ in range(30):
        copy = Quantiles([0.5])
        copy.load_state_dict(state.state_dict())
        state.merge(copy)
    assert state.count == 3 * 2**30
    state.merge(other)
    assert state.end_pass() is False
    assert state.count == 3 * 2**30 + 3
    assert state._search is not None
    assert state._search.inside.tolist() == [[2**31 + 2]]


def test_it_goes_on_where_it_was_put_down() -> None:
    values = activations("dense", (4, 900), torch.bfloat16)
    state = Quantiles(Q)
    for _ in range(2):
        for batch in values.split(300, 1):
            resumed = Quantiles([0.1], "lower", 5)
            resumed.load_state_dict(state.state_dict())
            resumed.update(batch)
            state = resumed
        state.end_pass()
    assert state.finished
    assert state.end_pass()
    done = Quantiles([0.1])
    done.load_state_dict(state.state_dict())
    assert torch.equal(done.compute(), in_memory(values))


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    values = activations("dense", (4, 50), torch.float32)
    for q in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=rf"q holds {q}; a quantile is between 0 and 1"):
            Quantiles([0.5, q])
    with pytest.raises(ValueError, match="q is empty"):
        Quantiles([])
    with pytest.raises(ValueError, match="interpolation is 'nearest'; expected one of 'linear'"):
        Quantiles([0.5], "nearest")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="memory is 0"):
        Quantiles([0.5], memory=0)
    state = Quantiles([0.5])
    with pytest.raises(RuntimeError, match="no values; call update"):
        state.end_pass()
    with pytest.raises(RuntimeError, match="not known after 0 passes; call end_pass"):
        state.compute()
    state.update(values)
    with pytest.raises(ValueError, match="there are 3 units, before them 4"):
        state.update(values[:3])
    with pytest.raises(TypeError, match=r"torch\.float64, those before them torch\.float32"):
        state.update(values.double())
    with pytest.raises(TypeError, match=r"convert with .float\(\)"):
        state.update(values.long())
    with pytest.raises(ValueError, match=r"\(4,\); expected \(U, n\)"):
        state.update(values[:, 0])
    with pytest.raises(ValueError, match="cannot take one of q="):
        state.merge(Quantiles([0.6]))
    other = Quantiles([0.5])
    other.update(values[:2])
    with pytest.raises(ValueError, match=r"4 units in torch\.float32 cannot take one of 2 units"):
        state.merge(other)
    spoiled = values.clone()
    spoiled[2, 7:9] = torch.nan
    with pytest.raises(ValueError, match="unit 2 has values that are NaN, 2 of them"):
        Quantiles([0.5]).update(spoiled)


def test_other_values_in_a_later_pass_are_noticed() -> None:
    values = activations("dense", (4, 51), torch.float32)
    for memory in (2**28, 1):
        state = Quantiles([0.5], memory=memory)
        state.update(values)
        state.end_pass()
        state.update(values[:, :50])
        with pytest.raises(RuntimeError, match="this pass had 50 values a unit and the first 51"):
            state.end_pass()
        state.update(values[:, :1])
        with pytest.raises(RuntimeError, match="not those of the first"):
            state.end_pass()
    one, two = Quantiles([0.5]), Quantiles([0.5])
    for state, part in ((one, values), (two, values + 1)):
        state.update(part)
        state.end_pass()
    with pytest.raises(ValueError, match="different intervals; after each pass, load the state_dict"):
        one.merge(two)


@pytest.mark.parametrize("memory", [200, 2**20])
def test_a_state_of_a_part_holds_what_the_part_has(memory: int) -> None:
    """Of the values that a pass keeps, those of the part alone; with little memory some units' are kept and others' are counted."""
    values = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    values[0, 100:] = values[0, 100:].abs() + 100  # few values about the wanted one
    whole = Quantiles([0.01, 0.6], memory=memory)
    whole.update(values)
    whole.end_pass()
    parts = []
    while not whole.finished:
        parts = []
        for columns in (slice(0, 300), slice(300, 301), slice(301, 4000)):
            part = Quantiles([0.01, 0.6])
            part.load_state_dict(whole.state_dict())
            part.update(values[:, columns])
            parts.append({name: tensor.clone() for name, tensor in part.state_dict().items()})
        kept = [len(state["search.kept"]) for state in parts]
        for state in parts:
            part = Quantiles([0.01, 0.6])
            part.load_state_dict(state)
            assert all(part.state_dict()[name].equal(state[name]) for name in state)
            whole.merge(part)
        assert len(whole.state_dict()["search.kept"]) == sum(kept)
        if whole.passes == 1:
            assert kept[1] <= 6 < sum(kept)
        whole.end_pass()
    expected = values.double().quantile(torch.tensor([0.01, 0.6], dtype=torch.float64), 1).T
    assert torch.equal(whole.compute(), expected)
