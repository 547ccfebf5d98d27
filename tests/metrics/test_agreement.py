"""How well sets of images agree: against scikit-learn's cosines, closed forms, and directions of known properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from captum_proto._utils.errors import InputError
from captum_proto.metrics.direction_agreement import (
    agreement,
    class_sets,
    expected_agreement,
    nearest_sets,
    random_sets,
)
from captum_proto.metrics.directions import nonnegative_directions, principal_directions, random_frame, whitening


@pytest.fixture(scope="module")
def vectors() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(40, 7, generator=generator) + 0.5


def test_agreement_is_the_mean_cosine_of_all_pairs(vectors):
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    sets = random_sets(5, 6, 40)
    cosines = pairwise.cosine_similarity(vectors.double())
    for row, found in zip(sets.tolist(), agreement(vectors, sets), strict=True):
        inner = cosines[np.ix_(row, row)]
        assert float(found) == pytest.approx(inner[~np.eye(6, dtype=bool)].mean(), abs=1e-12)


def test_random_sets_agree_by_the_closed_form_on_average(vectors):
    expected = expected_agreement(vectors)
    for size in (2, 9):
        found = agreement(vectors, random_sets(4000, size, 40))
        error = float(found.std()) / math.sqrt(len(found))
        assert float(found.mean()) == pytest.approx(expected, abs=4 * error)
        assert error < 0.01


def test_nearest_images_agree_more_than_any_random_set_and_begin_with_themselves(vectors):
    nearest = nearest_sets(vectors, 5)
    assert nearest[:, 0].tolist() == list(range(40))
    assert float(agreement(vectors, nearest).mean()) > float(agreement(vectors, random_sets(500, 5, 40)).max()) - 0.05
    doubled = torch.cat([vectors, vectors])
    assert nearest_sets(doubled, 2).tolist() == [[i, (i + 40) % 80] for i in range(80)]


def test_sets_of_a_class_hold_its_images_alone():
    labels = [3, 5, 3, 3, 9, 5]
    sets = class_sets(labels, 2)
    assert [sorted({labels[place] for place in each.tolist()}) for each in sets] == [[3], [5]]
    assert all(len(set(each.tolist())) == 2 for each in sets)


def test_frames_are_orthonormal_and_uniform():
    generator = torch.Generator().manual_seed(0)
    frames = torch.stack([random_frame(4, 3, generator) for _ in range(3000)])
    assert torch.allclose(frames @ frames.mT, torch.eye(3, dtype=torch.float64).expand(3000, 3, 3), atol=1e-12)
    for row in range(3):  # of a uniform direction each coordinate has mean 0 and mean square 1 / 4
        assert frames[:, row].mean(0).abs().max() < 0.05
        assert (frames[:, row].square().mean(0) - 0.25).abs().max() < 0.02


def test_whitening_makes_the_covariance_the_identity(vectors):
    skewed = vectors.double() @ torch.randn(7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    white = skewed @ whitening(skewed)
    assert torch.allclose(torch.cov(white.T), torch.eye(7, dtype=torch.float64), atol=1e-8)


def test_principal_directions_are_the_eigenvectors_with_the_longer_tail(vectors):
    tailed = vectors.double().exp()
    found = principal_directions(tailed, 4)
    _, axes = torch.linalg.eigh(torch.cov(tailed.T))
    assert torch.allclose((found @ axes.flip(1)[:, :4]).abs(), torch.eye(4, dtype=torch.float64), atol=1e-8)
    projected = (tailed - tailed.mean(0)) @ found.T
    assert bool(((projected**3).mean(0) >= 0).all())


@pytest.mark.parametrize("signed", [False, True])
def test_nonnegative_directions_recover_planted_factors(signed):
    generator = torch.Generator().manual_seed(0)
    factors = torch.zeros(3, 9)
    for i in range(3):
        factors[i, 3 * i : 3 * i + 3] = torch.rand(3, generator=generator) + 0.2
    if signed:
        factors[2] *= -1
    weights = torch.rand(300, 3, generator=generator) * (torch.rand(300, 3, generator=generator) < 0.4)
    found = nonnegative_directions(weights @ factors, 3)
    cosines = found @ torch.nn.functional.normalize(factors, dim=1).double().T
    assert sorted(cosines.argmax(1).tolist()) == [0, 1, 2]
    assert float(cosines.amax(1).min()) > 0.99


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda v: agreement(v, torch.tensor([[1]])), "sets have 1 image each; expected at least 2"),
        (lambda v: agreement(v, torch.tensor([[1, 1]])), "an image is twice in a set"),
        (lambda v: agreement(v, torch.tensor([[1, 40]])), "sets hold numbers from 1 to 40; there are 40 images"),
        (lambda v: agreement(v, torch.zeros(1, 41, dtype=torch.int64)), "choose a smaller k"),
        (lambda v: agreement(v[:1], torch.tensor([[0, 0]])), "N at least 2"),
        (lambda v: agreement(v / 0, torch.tensor([[0, 1]])), "NaN or infinity"),
        (lambda v: random_sets(2, 41, 40), "k is 41, but there are 40 images"),
        (lambda v: nearest_sets(v, 41), "k is 41, but there are 40 images"),
        (lambda v: random_frame(4, 5, torch.Generator()), "5 directions were asked for, but there are 4 at most"),
        (lambda v: principal_directions(v, 8), "8 directions were asked for"),
        (lambda v: nonnegative_directions(v * 0, 2), "zero everywhere"),
    ],
)
def test_bad_input_gets_a_sentence(vectors, call, message):
    with pytest.raises((InputError, TypeError), match=message):
        call(vectors)
