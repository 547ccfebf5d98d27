"""Targets, seeds and masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captum_proto._utils.targets import occurrence_seeds, parse_targets, target_mask

classes = st.integers(0, 20)


@given(st.lists(st.one_of(classes, st.lists(classes, min_size=1, max_size=4)), min_size=1, max_size=6))
def test_each_entry_is_one_sorted_group_without_repeats(target):
    targets = parse_targets(target)
    assert [set(target) for target in targets] == [set(t) if isinstance(t, list) else {t} for t in target]
    assert all(list(target) == sorted(set(target)) for target in targets)
    mask = target_mask(targets, 21, torch.device("cpu"))
    assert mask.shape == (len(target), 21)
    assert [tuple(row.nonzero().flatten().tolist()) for row in mask] == targets


@given(st.lists(st.integers(0, 3), min_size=1, max_size=12), st.integers(-(2**40), 2**40))
def test_the_kth_prototype_of_a_class_has_the_kth_seed(target, seed):
    targets = parse_targets(target)
    seeds = occurrence_seeds(targets, seed)
    for chosen in set(target):
        own = [s for s, t in zip(seeds, target, strict=True) if t == chosen]
        assert own == list(range(seed, seed + len(own)))
    # So it is the same one whatever stands before or after it in the list.
    assert len(set(zip(seeds, targets, strict=True))) == len(target)


@pytest.mark.parametrize(
    "seed", [[3, 1], (3, 1), torch.tensor([3, 1]), np.array([3, 1]), [np.int64(3), 1]], ids=lambda s: type(s).__name__
)
def test_seeds_one_by_one(seed):
    seeds = occurrence_seeds([(0,), (0,)], seed)
    assert seeds == [3, 1]
    assert all(type(s) is int for s in seeds)


@pytest.mark.parametrize("seed", [1.5, "12", None, [1.5, 2], ["1", "2"], torch.tensor([0.5, 1])])
def test_a_seed_is_whole(seed):
    with pytest.raises(TypeError, match="expected an int, or one int for each prototype"):
        occurrence_seeds([(0,), (0,)], seed)


def test_seeds_must_match_the_prototypes():
    with pytest.raises(ValueError, match="3 seeds were given for 2 prototypes; give one int, or one seed for each"):
        occurrence_seeds([(0,), (1,)], [1, 2, 3])


def test_one_target_serves_all_images():
    assert parse_targets(3, expand_to=3) == [(3,)] * 3
    assert parse_targets([[1, 2]], expand_to=2) == [(1, 2)] * 2
    assert parse_targets([1, 2], expand_to=2) == [(1,), (2,)]
    with pytest.raises(ValueError, match="2 targets were given for 3 images; give one, or one for each image"):
        parse_targets([1, 2], expand_to=3)
