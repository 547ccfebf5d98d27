"""The operators on streams against PyTorch, against their twins, and against PyTorch's own checks of custom operators."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native.operator_samples import FLOATING, assert_same_bits
from native.stream_samples import KINDS, SHAPES, activations, layouts, lists, results, slots_of
from torch import Tensor

from captum_proto import ops
from captum_proto.ops import _twin
from captum_proto.ops._digits import DIGITS
from captum_proto.ops._streams import EMPTY

native = torch.ops.captum_proto


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_native_equals_twin_bit_for_bit(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    for seed, kind in enumerate(KINDS):
        of_kind = list(layouts(activations(kind, shape, dtype, seed)).values())
        for x in (of_kind[seed % 5], of_kind[(seed + 2) % 5]):
            twins, natives = dict(results(_twin, x, seed)), dict(results(native, x, seed))
            assert twins.keys() == natives.keys()
            for name, expected in twins.items():
                assert_same_bits(natives[name], expected)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "not a number"])
def test_a_summary_is_that_of_torch(kind: str, dtype: torch.dtype) -> None:
    for shape in [(2, 3, 1, 1), (2, 5, 7, 9), (1, 3, 20, 31)]:
        x = activations(kind, shape, dtype)
        for layout in (x, x.to(memory_format=torch.channels_last)):
            largest, position, mean = ops.unit_summary(layout)
            flat = x.flatten(2)
            assert torch.equal(largest, flat.amax(2).to(largest.dtype))
            firsts = [[row.tolist().index(row.max().item()) for row in image] for image in flat]
            assert position.tolist() == firsts
            exact = flat.double().mean(2)
            tolerance = 1e-12 if dtype == torch.float64 else 2**-23
            torch.testing.assert_close(mean.double(), exact, rtol=tolerance, atol=tolerance, equal_nan=True)


def test_a_summary_shows_nan() -> None:
    x = torch.tensor([[[1.0, torch.nan, 2.0, torch.nan], [torch.inf, 0.0, -torch.inf, 1.0]]])
    largest, position, mean = ops.unit_summary(x)
    assert largest.isnan().tolist() == [[True, False]]
    assert position.tolist() == [[1, 0]]
    assert mean.isnan().all()


def test_units_without_positions_are_their_own_summary() -> None:
    x = torch.randn(4, 10)
    largest, position, mean = ops.unit_summary(x)
    assert torch.equal(largest, x)
    assert torch.equal(mean, x)
    assert not position.any()


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_bins_part_the_keys_in_order(dtype: torch.dtype) -> None:
    """Every value but NaN is in the bin whose interval holds its key; intervals leave no gap."""
    low, width = ops.radix_bins(dtype)
    assert torch.equal(low[2:-1], low[1:-2] + width[1:-2])
    assert width[1:-1].min() >= 1
    assert width[0] == width[-1] == 0
    center = len(low) // 2
    assert (int(low[center]), int(width[center])) == (0, 1)
    edges = torch.cat([low[1:-1], low[1:-1] + width[1:-1] - 1])
    values = torch.cat([ops.values_of_keys(edges, dtype), activations("any scale", (2000,), dtype)])
    assert torch.equal(ops.ordered_keys(values[: len(edges)]), edges)
    assert edges.max() == ops.ordered_keys(torch.tensor([torch.inf], dtype=dtype)).item()
    keys = ops.ordered_keys(values)
    counts = torch.zeros(len(values), len(low), dtype=torch.int32)
    ops.radix_histogram(counts, values.view(-1, 1, 1))
    bins = counts.argmax(1)
    assert (counts.sum(1) == 1).all()
    assert (low[bins] <= keys).all()
    assert (keys < low[bins] + width[bins]).all()


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_keys_order_as_values_do(dtype: torch.dtype) -> None:
    values = activations("any scale", (3000,), dtype).sort().values
    keys = ops.ordered_keys(values)
    assert torch.equal(keys.diff() > 0, values.diff() > 0)
    assert torch.equal(ops.values_of_keys(keys, dtype), values + 0.0)
    assert ops.ordered_keys(torch.tensor([-0.0, 0.0], dtype=dtype)).tolist() == [0, 0]


def test_nan_of_either_sign_is_in_an_outermost_bin() -> None:
    for dtype in FLOATING:
        counts = torch.zeros(1, DIGITS[dtype].bins, dtype=torch.int64)
        nan = torch.tensor([torch.nan], dtype=dtype)
        ops.radix_histogram(counts, torch.cat([nan, nan.copysign(-torch.ones(1, dtype=dtype)), nan]).view(1, 1, -1))
        assert (int(counts[0, 0]), int(counts[0, -1]), int(counts.sum())) == (1, 2, 3)


def test_slots_count_and_keep_what_is_in_their_interval() -> None:
    for dtype in FLOATING:
        x = activations("ties", (3, 6, 50), dtype)
        counts, filled, kept, first, slots = slots_of(dtype, 6, 3)
        ops.radix_select(counts, filled, kept, x.movedim(1, 0), first, slots)
        for unit in range(6):
            keys = ops.ordered_keys(x[:, unit].flatten())
            for slot in range(int(first[unit]), int(first[unit + 1])):
                low, width, shift, offset, room = slots[slot].tolist()
                inside = (keys[(keys >= low) & (keys < low + width)] - low).sort().values
                if shift >= 0:
                    expected = torch.bincount(inside >> shift, minlength=room)
                    assert torch.equal(counts[offset : offset + room], expected)
                else:
                    assert filled[slot] == len(inside)
                    if len(inside) <= room:
                        held = ops.ordered_keys(kept[offset : offset + len(inside)]) - low
                        assert torch.equal(held.sort().values, inside)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("shape", [(1, 1), (40, 7), (9, 300), (0, 5), (5, 0)], ids=str)
def test_lists_are_the_first_of_a_sort(shape: tuple[int, int], largest: bool, dtype: torch.dtype) -> None:
    for kind in ("dense", "ties", "infinities", "zeros of both signs"):
        scores = activations(kind, shape, dtype)
        for layout in (scores, scores.t().contiguous().t()):
            for k in (1, 6):
                lists_of_twin = lists(_twin, layout, k, largest)
                for actual, expected in zip(lists(native, layout, k, largest), lists_of_twin, strict=True):
                    assert torch.equal(actual, expected)
                expected = scores.topk(min(k, len(scores)), 0, largest).values.t()
                assert torch.equal(lists_of_twin[0][:, : expected.shape[1]], expected)
                assert (lists_of_twin[1][:, len(scores) :] == EMPTY).all()


entry = st.tuples(st.sampled_from([-torch.inf, -1.0, -0.0, 0.0, 1.0, torch.inf]), st.integers(0, 3), st.integers(0, 2))


@settings(max_examples=100, deadline=None)
@given(st.lists(entry, min_size=1, max_size=20), st.integers(1, 6), st.booleans(), st.randoms())
def test_the_order_of_entries_is_total(entries: list[tuple[float, int, int]], k: int, largest: bool, random) -> None:
    expected = sorted(entries, key=lambda each: ((-1 if largest else 1) * each[0], each[1], each[2]))[:k]
    random.shuffle(entries)
    for operators in (native, _twin):
        worst = -torch.inf if largest else torch.inf
        state = torch.full((1, k), worst), torch.full((1, k), EMPTY), torch.full((1, k), EMPTY)
        scores, indices, payload = (torch.tensor(column).unsqueeze(1) for column in zip(*entries, strict=True))
        operators.top_k(*state, scores, indices, payload, largest)
        held = zip(*(column[0, : len(expected)].tolist() for column in state), strict=True)
        assert list(held) == expected


def test_threads_make_no_difference() -> None:
    x = activations("after a ReLU", (4, 64, 3000), torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            found.append(dict(results(native, x)))
    finally:
        torch.set_num_threads(threads)
    for name, expected in found[0].items():
        assert_same_bits(found[1][name], expected)


def test_summaries_do_not_depend_on_the_batch_or_the_layout() -> None:
    x = activations("dense", (3, 20, 777), torch.float32)
    whole = ops.unit_summary(x)
    for layout in layouts(x).values():
        for image in range(len(layout)):
            for alone, together in zip(
                ops.unit_summary(layout[image : image + 1]), ops.unit_summary(layout), strict=True
            ):
                assert torch.equal(alone[0], together[image])
    assert torch.equal(ops.unit_summary(x.transpose(1, 2).contiguous().transpose(1, 2))[2], whole[2])


def arguments() -> dict[str, tuple[object, ...]]:
    x = activations("after a ReLU", (2, 3, 10), torch.float32)
    scores = torch.randn(4, 3)
    entries = scores, torch.arange(4).unsqueeze(1).expand(4, 3), torch.zeros(4, 3, dtype=torch.int64)
    free = torch.full((3, 2), EMPTY)
    counts, filled, kept, first, slots = slots_of(torch.float32, 3, 0)
    return {
        "unit_summary": (x,),
        "top_k": (torch.full((3, 2), -torch.inf), free, free.clone(), *entries, True),
        "radix_histogram": (torch.zeros(3, 2499, dtype=torch.int32), x.movedim(1, 0)),
        "radix_select": (counts, filled, kept, x.movedim(1, 0), first, slots),
    }


@pytest.mark.parametrize("name", list(arguments()))
def test_opcheck(name: str) -> None:
    results = torch.library.opcheck(getattr(native, name).default, arguments()[name])
    assert set(results.values()) == {"SUCCESS"}


def test_compiles_without_a_graph_break() -> None:
    x = activations("dense", (2, 3, 10), torch.float32)

    def everything(x: Tensor) -> tuple[Tensor, ...]:
        counts = torch.zeros(3, 2499, dtype=torch.int32)
        ops.radix_histogram(counts, x.movedim(1, 0))
        return (*ops.unit_summary(x), counts)

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(x), everything(x), strict=True):
        assert torch.equal(a, b)


def integers(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.unit_summary(torch.zeros(3)), ValueError, r"\(3,\).*\(N, C, \*positions\)"),
        (lambda: ops.unit_summary(torch.zeros(2, 3, 0)), ValueError, "no positions"),
        (lambda: ops.unit_summary(integers(2, 3)), TypeError, "int64.*float"),
        (lambda: ops.radix_histogram(torch.zeros(3, 9), torch.zeros(3, 2, 2)), TypeError, "int32 or int64"),
        (lambda: ops.radix_histogram(integers(3, 9), torch.zeros(3, 2, 2)), ValueError, r"contiguous \(3, 2499\)"),
        (lambda: ops.radix_histogram(integers(3, 2499), torch.zeros(3, 2)), ValueError, r"\(U, A, B\)"),
        (
            lambda: ops.top_k(torch.zeros(3, 2).half(), *(integers(3, 2),) * 2, *(integers(4, 3),) * 3),
            TypeError,
            "float16.*float32 or float64",
        ),
        (
            lambda: ops.top_k(torch.zeros(3, 2), *(integers(3, 2),) * 2, torch.zeros(4, 2), *(integers(4, 3),) * 2),
            ValueError,
            r"expected \(N, 3\)",
        ),
        (
            lambda: ops.top_k(torch.zeros(3, 0), *(integers(3, 0),) * 2, torch.zeros(4, 3), *(integers(4, 3),) * 2),
            ValueError,
            "k at least 1",
        ),
        (
            lambda: ops.top_k(torch.zeros(2, 3).t(), *(integers(3, 2),) * 2, torch.zeros(4, 3), *(integers(4, 3),) * 2),
            ValueError,
            "contiguous",
        ),
        (
            lambda: ops.top_k(torch.zeros(3, 2), *(torch.zeros(3, 2),) * 2, torch.zeros(4, 3), *(integers(4, 3),) * 2),
            TypeError,
            "int64",
        ),
        (
            lambda: ops.radix_select(
                integers(0), integers(1), torch.zeros(0), torch.zeros(2, 1, 1), integers(2), integers(1, 5)
            ),
            ValueError,
            r"for 2 units expected .*\(3,\)",
        ),
        (
            lambda: ops.radix_select(
                integers(0), integers(1), integers(0), torch.zeros(2, 1, 1), integers(3), integers(1, 5)
            ),
            TypeError,
            "kept has dtype",
        ),
    ],
)
def test_bad_input_gets_one_sentence(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: native.unit_summary(torch.zeros(2, 3)), r"\(2, 3\); expected \(N, C, P\)"),
        (lambda: native.unit_summary(torch.zeros(2, 3, 0)), "at least one position"),
        (lambda: native.unit_summary(integers(2, 3, 1)), "float16, bfloat16, float32 or float64"),
        (lambda: native.radix_histogram(integers(2, 9), torch.zeros(2, 3, 1)), r"expected \(2, 2499\)"),
        (lambda: native.radix_histogram(torch.zeros(2, 2499), torch.zeros(2, 3, 1)), "counts must be"),
        (
            lambda: native.top_k(
                torch.zeros(3, 2), *(integers(3, 1),) * 2, torch.zeros(4, 3), *(integers(4, 3),) * 2, True
            ),
            "expected that of scores",
        ),
        (
            lambda: native.radix_select(
                integers(0), integers(1), torch.zeros(0), torch.zeros(2, 1, 1), integers(3), integers(1, 4)
            ),
            r"expected \(1, 5\)",
        ),
    ],
)
def test_kernels_check_for_themselves(call, words: str) -> None:
    with pytest.raises(RuntimeError, match=words):
        call()
