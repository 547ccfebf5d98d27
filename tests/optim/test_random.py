"""The random numbers of a prototype: reproducible, its own, uniform and independent."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy import stats

from captum_proto.optim.random import (
    CONTROL,
    EVALUATION,
    START,
    TRANSFORM,
    RandomStream,
    _mix,
    prototype_keys,
)

STREAMS = (START, TRANSFORM, EVALUATION, CONTROL)
KEYS = prototype_keys(list(range(400)), [(i % 7,) for i in range(400)])


def test_the_hash_is_the_finalizer_of_splitmix64():
    # The outputs of SplitMix64 seeded with 1234567, as published with its reference implementation.
    published = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    golden = 0x9E3779B97F4A7C15
    states = [(1234567 + (k + 1) * golden) % 2**64 for k in range(len(published))]
    signed = torch.tensor([s - 2**64 if s >= 2**63 else s for s in states])
    assert [value % 2**64 for value in _mix(signed).tolist()] == published


def test_the_numbers_of_today_are_those_of_yesterday():
    """Prototypes made from a seed are to be made again from it: these values may never change."""
    keys = prototype_keys([0, 7, -1], [(12,), (3, 5), ()])
    assert keys.tolist() == PINNED_KEYS
    assert RandomStream(keys, TRANSFORM, 3).uniform(2).tolist() == PINNED_UNIFORM


PINNED_KEYS = [7411659878723060757, 2403158813736294093, -1956407806741107680]
PINNED_UNIFORM = [
    [0.16453322729749154, 0.5539575920326034],
    [0.5741604197517727, 0.2809092816265343],
    [0.7731372972042898, 0.4829223120469057],
]


@pytest.mark.parametrize("stream", STREAMS)
def test_uniform(stream):
    values = RandomStream(KEYS, stream, step=5).uniform(500).flatten().numpy()
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    assert 0 <= values.min() < 1e-4
    assert 1 - 1e-4 < values.max() < 1
    # To the last of float64's bits: none repeats, and as many are odd as even.
    assert len(np.unique(values)) == values.size
    assert abs((values * 2.0**53 % 2).mean() - 0.5) < 5 * 0.5 / np.sqrt(values.size)


@pytest.mark.parametrize("across", ["seeds", "classes", "steps", "positions", "streams"])
def test_uniform_along_every_axis_alone(across):
    n = 4000
    if across == "seeds":
        values = RandomStream(prototype_keys(list(range(n)), [(12,)] * n), START).uniform(1)
    elif across == "classes":
        values = RandomStream(prototype_keys([0] * n, [(i,) for i in range(n)]), START).uniform(1)
    elif across == "steps":
        values = torch.stack([RandomStream(KEYS[:1], TRANSFORM, step).uniform(1)[0] for step in range(n)])
    elif across == "positions":
        values = RandomStream(KEYS[:1], START).uniform(n)
    else:
        values = torch.stack([RandomStream(KEYS[:1], stream).uniform(1)[0] for stream in range(n)])
    values = values.flatten().numpy()
    assert stats.kstest(values, "uniform").pvalue > 1e-3
    # Neighbors are independent: pairs fill the square evenly.
    pairs, _, _ = np.histogram2d(values[:-1], values[1:], bins=8, range=[[0, 1], [0, 1]])
    assert stats.chisquare(pairs.flatten()).pvalue > 1e-3


def test_every_bit_is_random():
    values = RandomStream(KEYS, START).integers(100).flatten().numpy().view(np.uint64)
    ones = np.array([((values >> np.uint64(bit)) & np.uint64(1)).mean() for bit in range(64)])
    assert np.abs(ones - 0.5).max() < 5 * 0.5 / np.sqrt(values.size)


def test_independent_between_seeds_classes_groups_streams_and_steps():
    n = 20000
    variants = {
        "seed 0": (0, (12,), START, 0),
        "seed 1": (1, (12,), START, 0),
        "class 13": (0, (13,), START, 0),
        "seed and class swapped": (12, (0,), START, 0),
        "group": (0, (12, 13), START, 0),
        "no class": (0, (), START, 0),
        "transform": (0, (12,), TRANSFORM, 0),
        "next step": (0, (12,), TRANSFORM, 1),
        "evaluation": (0, (12,), EVALUATION, 0),
        "control": (0, (12,), CONTROL, 0),
        "control of the next step": (0, (12,), CONTROL, 1),
    }
    draws = {
        name: RandomStream(prototype_keys([seed], [group]), stream, step).uniform(n)[0].numpy()
        for name, (seed, group, stream, step) in variants.items()
    }
    for (one, a), (other, b) in itertools.combinations(draws.items(), 2):
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(n), f"{one} and {other}"
        # Nor is one the other moved along: no shift up to 8 correlates.
        for shift in range(1, 9):
            assert abs(np.corrcoef(a[shift:], b[:-shift])[0, 1]) < 6 / np.sqrt(n), f"{one} and {other} by {shift}"


def test_no_two_prototypes_share_a_key():
    seeds, classes = range(64), range(64)
    pairs = list(itertools.product(seeds, classes))
    keys = prototype_keys([s for s, _ in pairs], [(c,) for _, c in pairs])
    assert len(set(keys.tolist())) == len(pairs)
    groups = [(), (0,), (1,), (0, 1), (1, 2), (0, 1, 2), (2,), (0, 2)]
    assert len(set(prototype_keys([5] * len(groups), groups).tolist())) == len(groups)


def test_a_prototype_draws_the_same_alone_and_among_others():
    seeds, groups = [3, 3, 9, 0], [(1,), (2,), (1,), (4, 5)]
    together = RandomStream(prototype_keys(seeds, groups), TRANSFORM, 11).uniform(6)
    for i in range(4):
        alone = RandomStream(prototype_keys(seeds[i : i + 1], groups[i : i + 1]), TRANSFORM, 11).uniform(6)
        assert torch.equal(together[i : i + 1], alone)


def test_draws_in_parts_are_the_draws_at_once():
    stream = RandomStream(KEYS, START)
    parts = torch.cat([stream.integers(3), stream.integers(1), stream.integers(4)], 1)
    assert torch.equal(parts, RandomStream(KEYS, START).integers(8))


def test_range_shape_and_dtype():
    stream = RandomStream(KEYS, START, step=2)
    values = stream.uniform(50, -3.0, 2.5)
    assert values.shape == (400, 50)
    assert values.dtype == torch.float64
    assert stream.integers(2).dtype == torch.int64
    assert len(stream) == 400
    assert stream.device == torch.device("cpu")
    assert -3 <= float(values.min()) < -2.99
    assert 2.49 < float(values.max()) < 2.5
    unit = RandomStream(KEYS, START, step=2).uniform(50)
    assert torch.equal(values, -3 + 5.5 * unit)


@pytest.mark.parametrize("seed", [0, -1, 2**31, 2**63 - 1, 2**63, 2**64 - 1, -(2**63)])
def test_any_seed_of_64_bits(seed):
    values = RandomStream(prototype_keys([seed], [(1,)]), START).uniform(2000).numpy().flatten()
    assert stats.kstest(values, "uniform").pvalue > 1e-3


def test_no_prototypes_no_keys():
    assert prototype_keys([], []).shape == (0,)
    assert RandomStream(prototype_keys([], []), START).uniform(3).shape == (0, 3)


def test_the_global_generator_is_not_used():
    before = torch.get_rng_state()
    RandomStream(prototype_keys([1], [(2,)]), START).uniform(10)
    assert torch.equal(torch.get_rng_state(), before)
