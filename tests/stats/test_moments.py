"""Sums that stream: exact, whatever the batches and the order of merging, and the same after a rest."""

from __future__ import annotations

import itertools

import pytest
import torch

from captum_proto.stats.moments import Moments
from captum_proto.stats.state import State


def rows(count: int = 37, shape: tuple[int, ...] = (5, 3)) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(0)) * 1e3


def of(values: torch.Tensor) -> Moments:
    moments = Moments()
    moments.update(values)
    return moments


def test_it_is_a_state() -> None:
    state: State = Moments()
    state.update(rows())
    torch.testing.assert_close(state.compute(), rows().double().mean(0))


@pytest.mark.parametrize("size", [1, 4, 36])
def test_batches_make_no_difference(size: int) -> None:
    whole, parts = of(rows()), Moments()
    for batch in rows().split(size):
        parts.update(batch)
    assert parts.count == whole.count == 37
    assert torch.equal(parts.total(), whole.total())
    assert torch.equal(parts.compute(), whole.total() / 37)
    exact = rows().double()
    total = torch.zeros(5, 3, dtype=torch.float64)
    for row in exact:
        total += row
    assert torch.equal(whole.total(), total)


def test_the_order_of_merging_makes_no_difference() -> None:
    parts = [torch.tensor([[value, 0.1]], dtype=torch.float64) for value in (1e16, 1.0, -1e16, 1.0)]
    plain = {float(sum(order, torch.zeros(1, 2, dtype=torch.float64))[0, 0]) for order in itertools.permutations(parts)}
    assert len(plain) > 1  # as floating point has it
    totals = []
    for a, b, c, d in itertools.permutations(parts):
        one_by_one, in_pairs, other = of(a), of(a), of(c)
        for part in (b, c, d):
            one_by_one.merge(of(part))
        other.merge(of(d))
        in_pairs.merge(of(b))
        in_pairs.merge(other)
        totals += [one_by_one.total(), in_pairs.total()]
        assert one_by_one.count == in_pairs.count == 4
    assert all(torch.equal(total, totals[0]) for total in totals)


def test_merging_leaves_the_other_as_it_is_and_two_add_up_as_numbers_do() -> None:
    first, second = of(rows()[:20]), of(rows()[20:])
    expected = first.total() + second.total()
    first.merge(second)
    assert torch.equal(first.total(), expected)
    second.update(rows())
    assert torch.equal(first.total(), expected)
    assert (first.count, second.count) == (37, 54)


def test_it_goes_on_where_it_was_put_down() -> None:
    whole, part = of(rows()), of(rows()[:9])
    resumed = Moments()
    resumed.load_state_dict(part.state_dict())
    resumed.update(rows()[9:])
    assert torch.equal(resumed.total(), whole.total())
    merged = of(rows()[:5])
    merged.merge(part)
    again = Moments()
    again.load_state_dict(merged.state_dict())
    assert again.count == 14
    assert torch.equal(again.total(), merged.total())
    empty = Moments()
    empty.load_state_dict(Moments().state_dict())
    assert empty.count == 0


def test_a_copy_is_a_state_of_its_own() -> None:
    copy, source = Moments(), of(rows())
    copy.copy(source)
    source.update(rows())
    assert torch.equal(copy.total(), of(rows()).total())
    copy.copy(source)
    assert (copy.count, torch.equal(copy.total(), source.total())) == (74, True)


def test_what_does_not_add_up_is_refused() -> None:
    with pytest.raises(RuntimeError, match="no rows to sum; call update"):
        Moments().compute()
    moments = of(rows())
    with pytest.raises(ValueError, match=r"rows have shape \(2,\), those before them \(5, 3\)"):
        moments.update(rows(3, (2,)))
    with pytest.raises(ValueError, match="give rows of one shape"):
        moments.merge(of(rows(3, (2,))))
