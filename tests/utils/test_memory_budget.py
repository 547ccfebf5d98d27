"""Sizes, budgets, what says that memory ran out, and work that is done in parts."""

from __future__ import annotations

import itertools
import warnings
import weakref
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captum_proto import memory_budget
from captum_proto._utils.errors import InputError, MemoryLimitError
from captum_proto._utils.halving import Halving, Once
from captum_proto._utils.memory import Gauge, is_out_of_memory, parse_size, readable_size, what_was_asked

CPU = torch.device("cpu")
MIB = 2**20


@pytest.mark.parametrize(
    ("given", "size"),
    [
        (1, 1),
        ("1", 1),
        ("4GiB", 4 * 2**30),
        ("500 MB", 500_000_000),
        ("1.5g", 1_500_000_000),
        ("2ki", 2048),
        ("3TB", 3 * 10**12),
    ],
)
def test_sizes(given, size):
    assert parse_size(given) == size


@pytest.mark.parametrize("given", ["", "lots", "-1", 0, "0GB", "4 gallons", 1.5, True, None, [], "1e9"])
def test_what_is_no_size(given):
    with pytest.raises(InputError, match="expected a positive number of bytes"):
        parse_size(given)


def test_sizes_are_read_as_they_are_written():
    assert [readable_size(size) for size in (5, 1536, 300 * MIB, 5 * 2**40)] == [
        "5 bytes",
        "1.50 KiB",
        "300 MiB",
        "5.00 TiB",
    ]


def real_failure() -> Exception:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    return caught.value


def test_what_says_that_memory_ran_out():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    assert not is_out_of_memory(ValueError("not enough memory"))
    assert is_out_of_memory(real_failure())
    assert what_was_asked(real_failure()) == f" (it tried to allocate {readable_size(2**60)})"
    assert what_was_asked(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0")) == (
        " (it tried to allocate 2.00 GiB)"
    )
    assert what_was_asked(MemoryError()) == ""


class Limited:
    """Takes so many rows at a time, and keeps those it took."""

    def __init__(self, most: int) -> None:
        self.most, self.taken, self.tries = most, list[int](), list[int]()

    def __call__(self, rows: slice) -> list[int]:
        self.tries.append(rows.stop - rows.start)
        if rows.stop - rows.start > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.taken += range(rows.start, rows.stop)
        return list(range(rows.start, rows.stop))


@pytest.mark.parametrize("total", [1, 2, 7, 16])
@pytest.mark.parametrize("most", [1, 2, 3, 5, 100])
def test_every_row_is_taken_once_and_in_order(total, most):
    work, halving = Limited(most), Halving(CPU)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert list(itertools.chain.from_iterable(halving.parts(total, work))) == work.taken == list(range(total))
        assert len(caught) == (total > most)
        before = len(work.tries)
        assert list(itertools.chain.from_iterable(halving.parts(total, work))) == list(range(total))
    assert max(work.tries[before:]) <= most  # what was learned stays
    assert len(caught) == (total > most)  # one warning for all


def test_the_warning_says_what_goes_on():
    with pytest.warns(UserWarning, match="there was no memory") as caught:
        Halving(CPU, "prototype").whole(8, Limited(2))
    assert str(caught[0].message) == (
        "there was no memory for 8 prototypes at a time (it tried to allocate 2.00 GiB); going on with 4 at a time, and fewer where that "
        "is too many. A smaller batch size spares the try."
    )


@pytest.mark.filterwarnings("ignore:there was no memory")
def test_a_single_row_that_does_not_fit_is_one_sentence():
    with pytest.raises(MemoryLimitError) as caught:
        Halving(CPU).whole(8, Limited(0))
    assert str(caught.value) == (
        "one image by itself does not fit into the memory of cpu (it tried to allocate 2.00 GiB); give smaller images, fewer layers or "
        "more memory."
    )
    with pytest.raises(MemoryLimitError, match="a batch of 8 rows, which cannot be parted, does not fit"):
        Halving(CPU, "row", least=8).whole(8, Limited(4))


def test_other_errors_are_no_reason_to_halve():
    def work(rows: slice) -> None:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        Halving(CPU).whole(4, work)


@pytest.mark.filterwarnings("ignore:there was no memory")
def test_what_a_part_that_failed_held_is_free_before_its_halves_are_tried():
    held: list[weakref.ref[Tensor]] = []

    def work(rows: slice) -> None:
        assert not any(reference() is not None for reference in held)
        large = torch.zeros(100)
        held.append(weakref.ref(large))
        if rows.stop - rows.start > 2:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    Halving(CPU).whole(8, work)
    assert len(held) == 2 + 4


@pytest.mark.filterwarnings("ignore:there was no memory")
def test_steps_that_are_done_are_not_done_again():
    """A batch of several steps, of which any may fail in the middle: each takes each row once."""
    for failing in range(12):
        taken, once, number = {"a": [], "b": [], "c": []}, Once(), 0

        def step(name: str, rows: slice, taken=taken, failing=failing) -> None:
            nonlocal number
            number += 1
            if number - 1 == failing:
                raise MemoryError
            taken[name] += range(rows.start, rows.stop)

        def work(rows: slice, once=once, step=step, taken=taken) -> None:
            for name in taken:
                once(name, rows, lambda: step(name, rows))  # noqa: B023  # it is called at once

        Halving(CPU).whole(8, work)
        assert all(rows == list(range(8)) for rows in taken.values()), failing


class Greedy:
    """Takes memory for each row, and gives it back."""

    def __init__(self, each: int) -> None:
        self.each, self.sizes = each, list[int]()

    def __call__(self, rows: slice) -> int:
        self.sizes.append(rows.stop - rows.start)
        return int(torch.ones(self.sizes[-1] * self.each, dtype=torch.uint8)[-1]) * self.sizes[-1]


linux = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured where Linux tells it")


@linux
def test_the_gauge_sees_what_was_held_for_a_moment():
    gauge = Gauge(CPU)
    before = gauge.held
    gauge.begin()
    torch.ones(96 * MIB, dtype=torch.uint8)
    assert gauge.peak() - before == pytest.approx(96 * MIB, abs=16 * MIB)
    gauge.begin()
    assert gauge.peak() - before < 48 * MIB


@linux
def test_parts_grow_as_long_as_the_budget_allows():
    work = Greedy(32 * MIB)
    with memory_budget(Gauge(CPU).held + 5 * 32 * MIB):
        halving = Halving(CPU)
    assert sum(halving.parts(24, work)) == 24
    assert work.sizes[:2] == [1, 2]
    assert max(work.sizes) == 4  # twice as many would take 8 times 32 MiB
    with memory_budget(Gauge(CPU).held + 200 * 32 * MIB):
        roomy = Halving(CPU)
    work = Greedy(32 * MIB)
    assert sum(roomy.parts(24, work)) == 24
    assert work.sizes == [1, 2, 4, 8, 9]


@linux
def test_a_budget_that_one_row_exceeds_is_one_sentence():
    with memory_budget(Gauge(CPU).held + 16 * MIB):
        halving = Halving(CPU)
    with pytest.raises(
        MemoryLimitError,
        match=r"one image by itself takes .*iB, of which .*iB were held before, and the memory budget is ",
    ):
        halving.whole(4, Greedy(96 * MIB))


@linux
def test_a_part_that_took_more_than_was_foreseen_is_the_last_of_its_size():
    def work(rows: slice) -> int:
        sizes.append(rows.stop - rows.start)
        return int(torch.ones((160 if len(sizes) == 3 else 8) * MIB, dtype=torch.uint8)[-1]) * sizes[-1]

    sizes: list[int] = []
    with memory_budget(Gauge(CPU).held + 100 * MIB):
        halving = Halving(CPU)
    with pytest.warns(
        UserWarning, match="4 images at a time took .*, more than the memory budget of .*; going on with 2 at a time"
    ):
        assert sum(halving.parts(16, work)) == 16
    assert sizes == [1, 2, 4, 2, 2, 2, 2, 1]


@linux
def test_a_probe_divides_the_budget():
    work, probed = Greedy(32 * MIB), list[int]()
    with memory_budget(Gauge(CPU).held + 5 * 32 * MIB):
        halving = Halving(CPU)
    assert sum(halving.parts(9, work, lambda: probed.append(work(slice(0, 1))))) == 9
    assert probed == [1]
    assert 3 <= work.sizes[1] <= 5
    assert work.sizes[0] == 1


def test_a_budget_is_of_its_block():
    from captum_proto._utils.memory import current_budget

    with memory_budget("64GiB"):
        with memory_budget(None):
            assert current_budget() is None
        assert current_budget() == 64 * 2**30
    assert current_budget() is None
