"""The k best of rows that stream by: those of a sort of all rows, whatever the batches and the order of merging."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from captum_proto.stats.top_k import TopK


def rows(count: int = 60, units: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with many ties, units that tie throughout, infinities; indices in disorder; payloads."""
    generator = torch.Generator().manual_seed(seed)
    scores = (torch.randn(count, units, generator=generator) * 2).round()
    scores[:, 1] = 0
    scores[:, 2] = torch.where(scores[:, 2] > 0, torch.inf, -torch.inf)
    scores[:, 3] = torch.randn(count, generator=generator)
    scores[:, 4] = torch.where(scores[:, 4] > 0, -0.0, 0.0)
    indices = torch.randperm(count, generator=generator) + 1000
    return scores, indices, torch.arange(count * units).view(count, units)


def of(scores: Tensor, indices: Tensor, payload: Tensor | None = None, k: int = 5, largest: bool = True) -> TopK:
    state = TopK(k, largest)
    state.update(scores, indices, payload)
    return state


def by_sorting(
    scores: Tensor, indices: Tensor, payload: Tensor, k: int, largest: bool
) -> list[list[tuple[float, int, int]]]:
    lists = []
    for unit in range(scores.shape[1]):
        entries = zip(scores[:, unit].tolist(), indices.tolist(), payload[:, unit].tolist(), strict=True)
        lists.append(sorted(entries, key=lambda entry: ((-1 if largest else 1) * entry[0], entry[1]))[:k])
    return lists


def as_lists(state: TopK) -> list[list[tuple[float, int, int]]]:
    scores, indices, payload = state.compute()
    assert payload is not None
    return [
        list(zip(*unit, strict=True)) for unit in zip(scores.tolist(), indices.tolist(), payload.tolist(), strict=True)
    ]


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("k", [1, 5, 60, 100])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_it_is_what_sorting_everything_gives(dtype: torch.dtype, k: int, largest: bool) -> None:
    scores, indices, payload = rows()
    scores = scores.to(dtype)
    state = of(scores, indices, payload, k, largest)
    assert as_lists(state) == by_sorting(scores, indices, payload, k, largest)
    values, _, _ = state.compute()
    assert torch.equal(values, scores.to(values.dtype).topk(min(k, 60), 0, largest).values.t())
    assert values.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.parametrize("size", [1, 7, 59])
def test_batches_make_no_difference(size: int) -> None:
    scores, indices, payload = rows()
    state = TopK(5)
    for part in torch.arange(60).split(size):
        state.update(scores[part].t().contiguous().t(), indices[part], payload[part])
    assert as_lists(state) == by_sorting(scores, indices, payload, 5, True)
    assert state.count == 60


@settings(max_examples=40, deadline=None)
@given(st.data(), st.integers(1, 8), st.booleans())
def test_the_order_of_rows_and_of_merging_makes_no_difference(data: st.DataObject, k: int, largest: bool) -> None:
    scores, indices, payload = rows(12, 5)
    order = torch.tensor(data.draw(st.permutations(range(12))))
    cuts = sorted(data.draw(st.lists(st.integers(0, 12), min_size=2, max_size=2)))
    parts = [of(scores[part], indices[part], payload[part], k, largest) for part in order.tensor_split(cuts)]
    for first, second, third in itertools.permutations(parts):
        left, right = TopK(k, largest), TopK(k, largest)
        left.merge(first)
        right.merge(third)
        right.merge(second)
        left.merge(right)
        assert as_lists(left) == by_sorting(scores, indices, payload, k, largest)
        assert left.count == 12


def test_it_goes_on_where_it_was_put_down() -> None:
    scores, indices, payload = rows()
    part, resumed = of(scores[:20], indices[:20], payload[:20]), TopK(1)
    resumed.load_state_dict(part.state_dict())
    resumed.update(scores[20:], indices[20:], payload[20:])
    assert as_lists(resumed) == by_sorting(scores, indices, payload, 5, True)
    assert part.count == 20
    empty = TopK(3)
    empty.load_state_dict(TopK(4, largest=False).state_dict())
    assert (empty.k, empty.largest, empty.count) == (4, False, 0)


def test_without_a_payload_there_is_none() -> None:
    scores, indices, _ = rows()
    state = of(scores, indices)
    assert state.compute()[2] is None
    other = TopK(5)
    other.merge(state)
    assert other.compute()[2] is None
    assert torch.equal(other.compute()[1], state.compute()[1])


def test_fewer_rows_than_k_are_all_there_is() -> None:
    scores, indices, payload = rows(3)
    state = of(scores, indices, payload, 5)
    assert [tuple(each.shape) for each in state.compute() if each is not None] == [(9, 3)] * 3
    state.update(scores[:0], indices[:0], payload[:0])
    assert state.count == 3


def test_results_are_not_the_state() -> None:
    scores, indices, payload = rows()
    state = of(scores, indices, payload)
    state.compute()[0].zero_()
    merged = TopK(5)
    merged.merge(state)
    merged.update(scores + 1, indices, payload)
    assert as_lists(state) == by_sorting(scores, indices, payload, 5, True)


def test_what_cannot_be_is_refused_in_a_sentence() -> None:
    scores, indices, payload = rows()
    for k in (0, -1, 2.5):
        with pytest.raises(ValueError, match=rf"k is {k}; expected .*at least 1"):
            TopK(k)  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="no rows to choose from; call update"):
        TopK(1).compute()
    state = of(scores, indices, payload)
    before = as_lists(state)
    spoiled = scores.clone()
    spoiled[7, 4] = torch.nan
    with pytest.raises(ValueError, match=f"score of unit 4 in row {int(indices[7])} is NaN"):
        state.update(spoiled, indices, payload)
    with pytest.raises(ValueError, match="there are 8 units, before them 9"):
        state.update(scores[:, :8], indices, payload[:, :8])
    with pytest.raises(ValueError, match=r"\(60, 9\) and indices \(59,\)"):
        state.update(scores, indices[1:], payload)
    with pytest.raises(ValueError, match=r"payload has shape \(60, 8\)"):
        state.update(scores, indices, payload[:, 1:])
    with pytest.raises(ValueError, match="with a payload throughout"):
        state.update(scores, indices)
    with pytest.raises(ValueError, match="with a payload throughout"):
        state.merge(of(scores, indices))
    with pytest.raises(ValueError, match="k=5, largest=True cannot take one of k=6"):
        state.merge(TopK(6))
    with pytest.raises(ValueError, match="there are 2 units"):
        state.merge(of(scores[:, :2], indices, payload[:, :2]))
    with pytest.raises(TypeError, match=r"float64, those before them torch\.float32"):
        state.update(scores.double(), indices, payload)
    with pytest.raises(TypeError, match=r"convert with .float\(\)"):
        state.update(payload, indices, payload)
    with pytest.raises(TypeError, match=r"convert with .long\(\)"):
        state.update(scores, indices.int(), payload)
    assert as_lists(state) == before
    assert state.count == 60
