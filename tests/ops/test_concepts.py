"""The operators on concepts against PyTorch's own interpolation, against their twins, and against PyTorch's checks of operators."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native.concept_samples import CONCEPTS, KINDS, PACKED_SHAPES, SHAPES, layouts, packed_masks, results, sample
from torch import Tensor

from captum_proto import ops
from captum_proto.ops import _twin

native = torch.ops.captum_proto


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("shape", "of_labels"), SHAPES, ids=str)
def test_native_equals_twin(
    shape: tuple[int, ...], of_labels: tuple[int, ...], dtype: torch.dtype, align_corners: bool
) -> None:
    for seed, kind in enumerate(KINDS):
        x, thresholds, labels = sample(kind, shape, of_labels, dtype, seed)
        expected = results(_twin, x, thresholds, labels, align_corners)
        for layout in layouts(x):
            for found, wanted in zip(results(native, layout, thresholds, labels, align_corners), expected, strict=True):
                assert torch.equal(found, wanted)


def by_interpolation(x: Tensor, thresholds: Tensor, labels: Tensor, align_corners: bool) -> tuple[Tensor, Tensor]:
    """Masks as network dissection makes them: each map enlarged, compared, and counted label by label."""
    size = tuple(labels.shape[2:])
    enlarged = torch.nn.functional.interpolate(x.double(), size=size, mode="bilinear", align_corners=align_corners)
    fires = enlarged > thresholds.view(-1, 1, 1)
    counts = torch.zeros(x.shape[1], CONCEPTS + 1, dtype=torch.int64)
    for label in range(CONCEPTS + 1):
        for of_map in (labels == label).unbind(1):
            counts[:, label] += (fires & of_map.unsqueeze(1)).sum((0, 2, 3))
    return counts, fires.sum((2, 3))


@pytest.mark.parametrize("align_corners", [False, True])
def test_masks_are_those_of_torchs_interpolation(align_corners: bool) -> None:
    for seed, (shape, of_labels) in enumerate(each for each in SHAPES if min(each[0]) > 0):
        x, thresholds, labels = sample("dense", shape, of_labels, torch.float32, seed)
        thresholds = thresholds + 1e-3  # between values, where no rounding decides
        counts = torch.zeros(x.shape[1], CONCEPTS + 1, dtype=torch.int64)
        hits = ops.unit_concept_counts(counts, x, thresholds, labels, align_corners)
        expected = by_interpolation(x, thresholds, labels, align_corners)
        assert torch.equal(counts, expected[0])
        assert torch.equal(hits, expected[1])


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(0, 2), st.integers(1, 9), st.integers(1, 9)),
    st.sampled_from(KINDS),
    st.booleans(),
    st.integers(0, 2**31 - 1),
)
def test_native_equals_twin_at_any_size(
    shape: tuple[int, ...], of_labels: tuple[int, ...], kind: str, align_corners: bool, seed: int
) -> None:
    x, thresholds, labels = sample(kind, shape, of_labels, torch.float32, seed)
    for found, wanted in zip(
        results(native, x, thresholds, labels, align_corners),
        results(_twin, x, thresholds, labels, align_corners),
        strict=True,
    ):
        assert torch.equal(found, wanted)


def test_any_number_of_threads_counts_the_same() -> None:
    x, thresholds, labels = sample("dense", (4, 60, 14, 14), (2, 56, 56), torch.float32)
    threads, found = torch.get_num_threads(), []
    try:
        for number in (1, 2, 3):
            torch.set_num_threads(number)
            found.append(results(native, x, thresholds, labels, False))
    finally:
        torch.set_num_threads(threads)
    for each in found[1:]:
        assert torch.equal(each[0], found[0][0])
        assert torch.equal(each[1], found[0][1])


def test_half_precision_is_counted_as_it_is() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        x, thresholds, labels = sample("dense", (2, 3, 7, 7), (1, 14, 14), dtype)
        counts = [torch.zeros(3, CONCEPTS + 1, dtype=torch.int64) for _ in range(2)]
        hits = [
            ops.unit_concept_counts(each, y, thresholds, labels) for each, y in zip(counts, (x, x.float()), strict=True)
        ]
        assert torch.equal(*counts)
        assert torch.equal(*hits)


def test_a_published_example() -> None:
    """Two pixels of four fire; of these one has label 2 in one map and both have label 1 in another."""
    labels = torch.tensor([[[[1, 1, 1, 0]], [[0, 2, 0, 2]]]], dtype=torch.int16)
    counts = torch.zeros(1, 3, dtype=torch.int64)
    hits = ops.unit_concept_counts(counts, torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([0.5]), labels)
    assert (hits.tolist(), counts.tolist()) == ([[2]], [[1, 2, 1]])


def test_opcheck() -> None:
    x, thresholds, labels = sample("dense", (2, 3, 4, 4), (1, 8, 8), torch.float32)
    counts = torch.zeros(3, CONCEPTS + 1, dtype=torch.int64)
    torch.library.opcheck(native.unit_concept_counts, (counts, x, thresholds, labels, False))


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"activations": torch.zeros(1, 2, 3)}, ValueError, r"activations have shape \(1, 2, 3\)"),
        ({"activations": torch.zeros(1, 2, 0, 3)}, ValueError, "with at least one place"),
        ({"activations": torch.zeros(1, 2, 3, 3, dtype=torch.int32)}, TypeError, "expects floating point"),
        ({"counts": torch.zeros(3, 4, dtype=torch.int64)}, ValueError, r"expected \(2, K \+ 1\) and \(2,\)"),
        ({"counts": torch.zeros(2, 4)}, TypeError, "expected int64 and int16"),
        ({"counts": torch.zeros(4, 2, dtype=torch.int64).t()}, ValueError, "have to be contiguous"),
        ({"thresholds": torch.zeros(3)}, ValueError, r"thresholds \(3,\)"),
        ({"labels": torch.zeros(2, 1, 6, 6, dtype=torch.int16)}, ValueError, r"expected \(1, M, H, W\)"),
        ({"labels": torch.zeros(1, 1, 6, 6, dtype=torch.int64)}, TypeError, "labels torch.int64"),
        (
            {"labels": torch.full((1, 1, 6, 6), 4, dtype=torch.int16)},
            ValueError,
            "labels go from 4 to 4; counts have columns for 0 to 3",
        ),
        ({"labels": torch.full((1, 1, 6, 6), -1, dtype=torch.int16)}, ValueError, "labels go from -1"),
    ],
)
def test_bad_input(changes: dict[str, Tensor], error: type[Exception], sentence: str) -> None:
    arguments = {
        "counts": torch.zeros(2, 4, dtype=torch.int64),
        "activations": torch.zeros(1, 2, 3, 3),
        "thresholds": torch.zeros(2),
        "labels": torch.zeros(1, 1, 6, 6, dtype=torch.int16),
    }
    with pytest.raises(error, match=sentence):
        ops.unit_concept_counts(**{**arguments, **changes})


@pytest.mark.parametrize("shape", PACKED_SHAPES, ids=str)
def test_common_bits_are_those_that_python_counts(shape: tuple[int, int, int]) -> None:
    p, q, words = shape
    for a, b in zip(packed_masks(p, words), packed_masks(q, words, 1), strict=True):
        expected = [
            [sum((x & y & (2**64 - 1)).bit_count() for x, y in zip(of_a, of_b, strict=True)) for of_b in b.tolist()]
            for of_a in a.tolist()
        ]
        for operators in (ops, _twin, native):
            assert operators.packed_counts(a, b).view(p, q).tolist() == expected
    turned = packed_masks(words, p)[0].t()
    other = packed_masks(q, words, 1)[0]
    assert torch.equal(ops.packed_counts(turned, other), _twin.packed_counts(turned.contiguous(), other))


def test_opcheck_of_common_bits() -> None:
    torch.library.opcheck(native.packed_counts, (packed_masks(3, 4)[0], packed_masks(2, 4, 1)[0]))


@pytest.mark.parametrize(
    ("a", "b", "error", "sentence"),
    [
        (torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.int64), TypeError, "masks have dtypes torch.float32"),
        (
            torch.zeros(2, 3, dtype=torch.int64),
            torch.zeros(2, 4, dtype=torch.int64),
            ValueError,
            r"expected \(p, W\) and \(q, W\)",
        ),
        (torch.zeros(3, dtype=torch.int64), torch.zeros(2, 3, dtype=torch.int64), ValueError, r"shapes \(3,\)"),
    ],
)
def test_masks_that_do_not_match(a: Tensor, b: Tensor, error: type[Exception], sentence: str) -> None:
    with pytest.raises(error, match=sentence):
        ops.packed_counts(a, b)
