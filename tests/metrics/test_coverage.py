"""Coverage against scikit-learn's nearest neighbors, every choice of prototypes gone through, and planted modes of a class."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.metrics import coverage
from captum_proto.stats.shares import mean_share


def clouds(counts: list[int], seed: int, size: int = 5, spread: float = 0.8) -> tuple[Tensor, Tensor]:
    """Points around one center a class, as features; and their classes."""
    generator = torch.Generator().manual_seed(seed)
    centers = torch.randn(len(counts), size, generator=torch.Generator().manual_seed(99))
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    return centers[labels] + spread * torch.randn(len(labels), size, generator=generator), labels


def covered(prototypes: Tensor, natural: Tensor, mine: list[int], k: int) -> list[bool]:
    """By the definition in words: whether a prototype is among the k nearest of prototypes and all other natural images."""
    neighbors = pytest.importorskip("sklearn.neighbors")
    found = []
    for place in mine:
        others = torch.cat([prototypes, natural[:place], natural[place + 1 :]]).double()
        search = neighbors.NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(others.numpy())
        nearest = search.kneighbors(natural[place : place + 1].double().numpy(), return_distance=False)
        found.append(bool((nearest < len(prototypes)).any()))
    return found


@pytest.mark.parametrize("k", [1, 3, 5])
def test_it_is_scikit_learns_nearest_neighbors_for_every_choice_of_prototypes(k):
    natural, labels = clouds([9, 7, 8], 0)
    prototypes, _ = clouds([0, 4, 0], 1)
    found = coverage(prototypes, 1, natural, labels, k=k, counts=[1, 2, 3, 4, 5]).targets[0]
    mine = (labels == 1).nonzero().flatten().tolist()
    assert sorted(found.prototypes) == [1, 2, 3, 4]  # five there are not
    for count, values in found.prototypes.items():
        choices = [covered(prototypes[list(c)], natural, mine, k) for c in itertools.combinations(range(4), count)]
        assert values.tolist() == pytest.approx(np.mean(choices, 0))


def test_photographs_in_place_of_prototypes_are_gone_through_as_well():
    natural, labels = clouds([5, 6, 4], 2)
    found = coverage(natural[:1] * 0 + 1, 1, natural, labels, k=2, counts=[1, 2, 3, 8]).targets[0]
    mine = (labels == 1).nonzero().flatten().tolist()
    assert sorted(found.photographs) == [1, 2, 3]
    for count, values in found.photographs.items():
        for value, place in zip(values.tolist(), mine, strict=True):
            choices = []
            for chosen in itertools.combinations([other for other in mine if other != place], count):
                rest = [other for other in range(15) if other not in chosen]
                choices += covered(natural[list(chosen)], natural[rest], [rest.index(place)], 2)
            assert value == pytest.approx(np.mean(choices))


def test_chance_is_what_photographs_of_any_class_cover():
    natural, labels = clouds([6, 7], 3)
    found = coverage(natural[:1], 0, natural, labels, k=3, counts=[1, 4]).targets[0]
    for count in (1, 4):
        hits = [bool(set(chosen) & {0, 1, 2}) for chosen in itertools.combinations(range(12), count)]
        assert found.chance[count] == pytest.approx(np.mean(hits))


def test_several_prototypes_cover_a_class_of_several_modes_where_one_alone_does_not():
    generator = torch.Generator().manual_seed(0)
    modes = torch.eye(8)[:5]
    # Four modes of the class, and another class in between all of them.
    class_0 = modes[torch.arange(40) % 4] + 0.05 * torch.randn(40, 8, generator=generator)
    class_1 = modes[torch.zeros(40, dtype=torch.int64) + 4] + 0.05 * torch.randn(40, 8, generator=generator)
    natural, labels = torch.cat([class_0, class_1]), torch.arange(2).repeat_interleave(40)
    diverse, same = modes[:4], modes[:1].expand(4, -1)
    rows = {name: coverage(p, 0, natural, labels).rows() for name, p in (("diverse", diverse), ("same", same))}
    assert [row.count for row in rows["diverse"]] == [1, 2, 4]
    assert [row.prototypes.value for row in rows["same"]] == pytest.approx([0.25] * 3)
    assert [row.prototypes.value for row in rows["diverse"]] == pytest.approx([0.25, 0.5, 1.0])
    assert all(row.photographs.value > row.chance for row in rows["same"])
    off = coverage(modes[4:5].expand(4, -1), 0, natural, labels).rows()
    assert [row.prototypes.value for row in off] == [0, 0, 0]


def test_rows_are_means_over_targets_with_their_intervals():
    natural, labels = clouds([8, 9, 2], 4)
    prototypes, of = clouds([2, 2, 2], 5)
    found = coverage(prototypes, of, natural, labels, counts=(1, 2))
    assert [each.target for each in found.targets] == [(0,), (1,), (2,)]
    first, second = found.rows()
    means = [float(each.prototypes[1].mean()) for each in found.targets]
    assert first.prototypes == mean_share(means)
    assert (first.targets, first.with_photographs) == (3, 3)
    assert (second.targets, second.with_photographs) == (3, 2)  # of two photographs, two cannot cover the other
    single = coverage(prototypes[:2], 0, natural, labels, counts=(1,))
    assert single.rows()[0].prototypes == mean_share(single.targets[0].prototypes[1].numpy())
    assert len(found.table().splitlines()) == 4
    lonely = coverage(prototypes[:1], 0, natural[7:], [0] + [1] * (len(natural) - 8), counts=(1,)).rows()[0]
    assert math.isnan(lonely.photographs.value)


def test_a_superclass_and_its_class_are_targets_of_their_own():
    natural, labels = clouds([5, 5, 5], 6)
    found = coverage(natural[[0, 5]], [[0, 1], [0]], natural, labels, counts=(1,))
    assert [len(each.prototypes[1]) for each in found.targets] == [10, 5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": 0}, "k is 0"),
        ({"k": 12}, "k is 12, but each of 12 natural images has 11 others"),
        ({"counts": [0]}, "counts is 0"),
        ({"target": 7}, r"no photographs of the target \[7\]"),
        ({"labels": [0]}, "1 labels were given for 12 photographs"),
        ({"features": torch.ones(2, 3)}, "features has 3 features of each picture"),
    ],
)
def test_bad_input_gets_a_sentence(change, message):
    natural, labels = clouds([6, 6], 7)
    with pytest.raises(InputError, match=message):
        coverage(**{"features": natural[:2], "target": 0, "natural": natural, "labels": labels, **change})
