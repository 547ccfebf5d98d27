"""Ranks of photographs against scikit-learn and SciPy, closed forms for random order and ties, and the exact interval of a median."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics import retrieval


def features(count: int, seed: int, size: int = 8) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def test_the_rank_is_that_of_the_first_photograph_by_scikit_learns_cosines():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    pictures, photographs = features(30, 0), features(60, 1)
    labels = torch.arange(60) % 6
    found = retrieval(pictures, [[i % 6] if i % 2 else [i % 6, (i + 1) % 6] for i in range(30)], photographs, labels)
    cosines = pairwise.cosine_similarity(pictures.double(), photographs.double())
    ranks = stats.rankdata(-cosines, axis=1)
    for row, classes in enumerate(found.target):
        first = ranks[row, np.isin(labels.numpy(), classes)].min()
        assert found.rank[row] == first
        assert found.reciprocal[row] == pytest.approx(1 / first)
    assert found.median_rank.value == np.median(found.rank)
    assert found.mean_reciprocal_rank.low < found.mean_reciprocal_rank.value < found.mean_reciprocal_rank.high


def test_of_tied_photographs_the_mean_over_all_orders_is_taken():
    # One is nearer; of the four tied, two are of the class.
    photographs = torch.tensor([[1.0, 0.0], [1.0, 1.0], [2.0, 2.0], [0.5, 0.5], [3.0, 3.0], [0.0, 1.0]])
    labels = [1, 0, 1, 0, 1, 0]
    found = retrieval(torch.tensor([[1.0, 0.2]]), 0, photographs, labels)
    firsts = [2 + min(order.index(0), order.index(1)) for order in itertools.permutations(range(4))]
    assert float(found.rank) == pytest.approx(np.mean(firsts))
    assert float(found.reciprocal) == pytest.approx(np.mean([1 / first for first in firsts]))


def test_a_picture_that_tells_nothing_has_the_rank_of_chance():
    found = retrieval(torch.zeros(3, 8), [0, 1, [0, 1]], features(40, 2), [0] * 5 + [1] * 10 + [2] * 25)
    assert torch.allclose(found.rank, torch.tensor([41 / 6, 41 / 11, 41 / 16], dtype=torch.float64))
    assert torch.equal(found.rank, found.chance_rank)
    assert torch.allclose(found.reciprocal, found.chance_reciprocal)


@pytest.mark.parametrize(("count", "wanted"), [(7, 1), (7, 3), (7, 7), (50, 4)])
def test_chance_is_that_of_random_order(count, wanted):
    found = retrieval(features(1, 0), 0, features(count, 1), [0] * wanted + [1] * (count - wanted))
    if count < 10:
        firsts = [1 + min(places) for places in itertools.combinations(range(count), wanted)]
        expected = np.mean(firsts), np.mean([1 / first for first in firsts])
    else:  # the first of the wanted is at rank r where r - 1 others come before: a negative hypergeometric number
        others = np.arange(count - wanted + 1)
        chances = stats.nhypergeom(count, count - wanted, 1).pmf(others)
        expected = (chances * (1 + others)).sum(), (chances / (1 + others)).sum()
    assert float(found.chance_rank) == pytest.approx(expected[0])
    assert float(found.chance_reciprocal) == pytest.approx(expected[1])


def test_random_pictures_have_about_the_ranks_of_chance():
    # Their cosines with orthogonal photographs are exchangeable.
    shuffled = retrieval(features(2000, 5, 60), 0, torch.eye(60), torch.arange(60) % 6)
    assert len(shuffled) == 2000
    for name in ("rank", "reciprocal"):
        values = getattr(shuffled, name)
        assert float(values.mean()) == pytest.approx(
            shuffled.chance[name], abs=4 * float(values.std()) / math.sqrt(2000)
        )


def test_a_photograph_does_not_find_itself():
    photographs, labels = features(20, 6), torch.arange(20) % 4
    naive = retrieval(photographs, labels, photographs, labels)
    found = retrieval(photographs, labels, photographs, labels, own=range(20))
    assert (naive.rank == 1).all()
    for row in range(20):
        others = [i for i in range(20) if i != row]
        alone = retrieval(photographs[row : row + 1], int(labels[row]), photographs[others], labels[others])
        assert float(found.rank[row]) == float(alone.rank)
        assert float(found.chance_rank[row]) == float(alone.chance_rank) == 20 / 5


def test_the_medians_interval_is_exact():
    found = retrieval(features(12, 7), torch.arange(12) % 6, features(60, 8), torch.arange(60) % 6)
    ordered, median = np.sort(found.rank), found.median_rank
    # The third and the tenth of twelve hold the median with 1 - 2 (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 96 %.
    assert (median.low, median.high) == (ordered[2], ordered[9])
    few = retrieval(features(3, 7), 0, features(60, 8), torch.arange(60) % 6).median_rank
    assert math.isnan(few.low)
    assert math.isnan(few.high)
    assert "random order" in found.table()


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"target": 9}, InputError, r"no photographs of the target \[9\]; give some"),
        ({"target": [[7, 8], 1, 9]}, InputError, r"no photographs of the targets \[7, 8\], \[9\]"),
        ({"target": [0, 1]}, InputError, "2 targets were given for 3 images"),
        ({"labels": [0, 1]}, InputError, "2 labels were given for 6 photographs"),
        ({"labels": [0.0] * 6}, InputTypeError, "labels is a torch.float32 tensor"),
        (
            {"natural": features(6, 0, 5)},
            InputError,
            "features has 8 features of each picture, and those it is compared with have 5",
        ),
        ({"own": [0, 1]}, InputError, r"own has shape \(2,\)"),
        ({"own": [0, 1, 6]}, InputError, "values from 0 to 6"),
        (
            {"labels": [0, 1, 1, 1, 1, 1], "target": 0, "own": [0, -1, -1]},
            InputError,
            "picture 0 is the only photograph of its target",
        ),
    ],
)
def test_bad_input_gets_a_sentence(change, error, message):
    given = {"features": features(3, 1), "target": 0, "natural": features(6, 2), "labels": [0, 1, 0, 1, 0, 1]}
    with pytest.raises(error, match=message):
        retrieval(**{**given, **change})
