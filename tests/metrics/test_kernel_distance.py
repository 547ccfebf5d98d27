"""The kernel distance against torchmetrics, the sum over pairs written out, the expectation of Gaussians, and its own error."""

from __future__ import annotations

import itertools
import math
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics import kernel_distance


def sample(count: int, seed: int, shift: float = 0.0, size: int = 6) -> Tensor:
    return shift + torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def written_out(x: Tensor, y: Tensor) -> float:
    """The definition, pair by pair."""

    def kernel(a: Tensor, b: Tensor) -> float:
        return float((a @ b / len(a) + 1) ** 3)

    inside = [
        np.mean([kernel(a, b) for (i, a), (j, b) in itertools.product(enumerate(each), repeat=2) if i != j])
        for each in (x, y)
    ]
    return float(sum(inside) - 2 * np.mean([kernel(a, b) for a, b in itertools.product(x, y)]))


def test_it_is_torchmetrics_polynomial_distance():
    kid = pytest.importorskip("torchmetrics.image.kid")
    x, y = sample(40, 0, 0.3), sample(40, 1)  # torchmetrics takes as many of each
    assert kernel_distance(x, y).distance.value == pytest.approx(float(kid.poly_mmd(y, x)), abs=1e-12)


@pytest.mark.parametrize(("m", "n"), [(5, 9), (12, 3), (2, 2)])
def test_it_is_the_sum_over_pairs_also_where_there_are_more_of_one_kind(m, n):
    x, y = sample(m, 2, 0.5), sample(n, 3)
    found = kernel_distance(x, y)
    assert found.distance.value == pytest.approx(written_out(x, y), abs=1e-12)
    assert (found.pictures, found.natural) == (m, n)


def test_blocks_of_any_size_give_the_same(monkeypatch):
    x, y = sample(23, 4, 0.2), sample(31, 5)
    whole = kernel_distance(x, y)
    monkeypatch.setattr(sys.modules["captum_proto.metrics.kernel_distance"], "_AT_A_TIME", 40)
    parts = kernel_distance(x, y)
    for name in ("distance", "floor"):
        for end in ("value", "low", "high"):
            assert getattr(getattr(parts, name), end) == pytest.approx(getattr(getattr(whole, name), end), abs=1e-12)


def test_the_interval_is_the_jackknifes():
    x, y = sample(9, 6, 0.4), sample(7, 7)
    found = kernel_distance(x, y, confidence=0.9)
    without = [
        [written_out(torch.cat([x[:i], x[i + 1 :]]), y) for i in range(len(x))],
        [written_out(x, torch.cat([y[:i], y[i + 1 :]])) for i in range(len(y))],
    ]
    variance = sum((len(each) - 1) * np.var(each) for each in without)
    half = 1.9431802805153022 * math.sqrt(variance)  # Student's t of 6 degrees of freedom at 0.95
    assert found.distance.high - found.distance.value == pytest.approx(half, rel=1e-9)
    assert found.distance.value - found.distance.low == pytest.approx(half, rel=1e-9)


def test_the_interval_holds_what_gaussians_are_expected_to_have():
    size, shift = 4, 0.5
    # For independent x and y with means a and b: E (xᵀy/d + 1)³, by moments of the Gaussian product s = xᵀy/d.
    a, b = torch.full((size,), shift), torch.zeros(size)

    def expected(mean_x: Tensor, mean_y: Tensor) -> float:
        d = len(mean_x)
        first = float(mean_x @ mean_y) / d
        squares = float(mean_x @ mean_x), float(mean_y @ mean_y)
        # s given x is Gaussian of mean xᵀb/d and variance |x|²/d².
        second = (squares[0] + squares[1] + d + float(mean_x @ mean_y) ** 2) / d**2
        m1 = float(mean_x @ mean_y)
        third_of_mean = m1**3 + 3 * m1 * squares[1]  # E (xᵀb)³, xᵀb being Gaussian of mean m1 and variance |b|²
        mixed = m1 * (squares[0] + d) + 2 * m1  # E xᵀb |x|²
        third = (third_of_mean + 3 * mixed) / d**3
        return third + 3 * second + 3 * first + 1

    truth = expected(a, a) + expected(b, b) - 2 * expected(a, b)
    found = [
        kernel_distance(sample(80, 2 * i, shift, size), sample(80, 2 * i + 1, 0.0, size), splits=2).distance
        for i in range(150)
    ]
    values = np.array([each.value for each in found])
    assert values.mean() == pytest.approx(truth, abs=4 * values.std() / math.sqrt(len(values)))
    assert np.mean([each.low <= truth <= each.high for each in found]) > 0.88


def test_it_is_unbiased_where_both_are_alike_and_so_is_the_floor():
    found = [kernel_distance(sample(20, 2 * i), sample(30, 2 * i + 1), splits=20) for i in range(200)]
    for values in (np.array([getattr(each, name).value for each in found]) for name in ("distance", "floor")):
        assert abs(values.mean()) < 4 * values.std() / math.sqrt(len(values))
        assert (values < 0).any()
    assert np.mean([each.distance.low <= 0 <= each.distance.high for each in found]) > 0.9


def test_the_floor_is_of_halves_of_the_natural_images():
    natural = sample(11, 8)
    found = kernel_distance(sample(5, 9), natural, splits=3000)
    values = [
        written_out(natural[list(half)], natural[[i for i in range(11) if i not in half]])
        for half in itertools.combinations(range(11), 5)
    ]
    assert found.floor.value == pytest.approx(np.mean(values), abs=4 * np.std(values) / math.sqrt(3000))
    assert found.floor.low == pytest.approx(np.quantile(values, 0.025), abs=0.1 * np.std(values))
    assert found.floor.high == pytest.approx(np.quantile(values, 0.975), abs=0.2 * np.std(values))
    assert math.isnan(kernel_distance(sample(5, 9), natural[:3]).floor.value)


def test_subsets_approach_all_pairs_and_say_how_they_spread():
    x, y = sample(60, 10, 0.3), sample(80, 11)
    whole, parts = kernel_distance(x, y), kernel_distance(x, y, subsets=400, subset_size=20)
    assert parts.distance.value == pytest.approx(whole.distance.value, abs=4 * parts.subset_spread / 20)
    assert parts.distance.high - parts.distance.low > whole.distance.high - whole.distance.low
    assert math.isnan(whole.subset_spread)
    every = kernel_distance(x, y, subsets=3, subset_size=1000)
    assert every.distance.value == pytest.approx(whole.distance.value, abs=1e-12)
    assert every.subset_spread == pytest.approx(0, abs=1e-12)
    assert kernel_distance(x, y, subsets=5, subset_size=20, seed=1) == kernel_distance(
        x, y, subsets=5, subset_size=20, seed=1
    )


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": sample(1, 0)}, InputError, "features holds 1 picture; expected at least 2"),
        ({"natural": sample(1, 0)}, InputError, "natural holds 1 picture"),
        (
            {"features": sample(4, 0, size=5)},
            InputError,
            "features has 5 features of each picture, and those it is compared with have 6",
        ),
        ({"features": sample(4, 0)[0]}, InputError, r"features has shape \(6,\); expected \(N, D\)"),
        ({"features": sample(4, 0).int()}, InputTypeError, "features is a torch.int32 tensor"),
        ({"natural": [1.0]}, InputTypeError, "natural is a list"),
        ({"natural": sample(4, 0) / 0}, InputError, "natural holds NaN or infinity in row 0"),
        ({"confidence": 1.0}, InputError, "confidence is 1.0"),
        ({"subsets": 1}, InputError, "subsets is 1; expected at least 2, or None for all pairs"),
        ({"subset_size": 1}, InputError, "subset_size is 1"),
        ({"splits": 0}, InputError, "splits is 0"),
    ],
)
def test_bad_input_gets_a_sentence(change, error, message):
    with pytest.raises(error, match=message):
        kernel_distance(**{"features": sample(4, 1), "natural": sample(4, 2), **change})
