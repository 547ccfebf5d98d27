"""Blind naming against sums and means written out, scikit-learn's confusion matrix, and planted superclasses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics import name_by_features, name_by_logits
from captum_proto.stats.intervals import proportion

GROUPS = {"trees": [0, 1, 2], "birds": [3, 4], "fish": [5]}
OF = np.array([0, 0, 0, 1, 1, 2])


def features(count: int, seed: int, size: int = 6) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed))


def planted(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Features near an axis for each class of GROUPS, those of one superclass near each other; and the classes."""
    centers = torch.zeros(6, 6)
    centers[torch.arange(6), torch.tensor(OF)] = 1
    centers += 0.3 * torch.eye(6)
    labels = torch.arange(count) % 6
    return centers[labels] + 0.4 * features(count, seed), labels


def test_by_logits_the_greatest_summed_probability_wins():
    metrics = pytest.importorskip("sklearn.metrics")
    logits = 2 * features(60, 0, 8)  # two classes are in no superclass
    target = (torch.arange(60) % 6).tolist()
    found = name_by_logits(logits, target, GROUPS)
    sums = np.stack([logits.double().softmax(1)[:, classes].sum(1) for classes in GROUPS.values()], 1)
    assert np.allclose(found.scores, sums)
    truth, named = OF[np.array(target)], sums.argmax(1)
    assert found.named.tolist() == named.tolist()
    assert found.confusion.tolist() == metrics.confusion_matrix(truth, named).tolist()
    assert found.accuracy == proportion(int((truth == named).sum()), 60)
    assert found.chance == pytest.approx(1 / 3)


def test_by_features_the_greatest_mean_cosine_wins():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    natural, labels = features(40, 1), torch.arange(40) % 8  # classes 6 and 7 are in no superclass
    pictures = features(25, 2)
    found = name_by_features(pictures, [[3, 4]] * 25, natural, labels, GROUPS)
    cosines = pairwise.cosine_similarity(pictures.double(), natural.double())
    means = np.stack([cosines[:, np.isin(labels, classes)].mean(1) for classes in GROUPS.values()], 1)
    assert np.allclose(found.scores, means)
    assert found.named.tolist() == means.argmax(1).tolist()
    assert found.truth.tolist() == [1] * 25


def test_a_photograph_is_left_out_of_its_own_superclass():
    natural, labels = features(24, 3), torch.arange(24) % 6
    found = name_by_features(natural, labels, natural, labels, GROUPS, own=range(24))
    for row in range(24):
        others = [i for i in range(24) if i != row]
        alone = name_by_features(natural[row : row + 1], int(labels[row]), natural[others], labels[others], GROUPS)
        assert torch.allclose(found.scores[row], alone.scores[0])
    outside = name_by_features(natural[:1], 0, natural, [7, *labels[1:].tolist()], GROUPS, own=[0])
    inside = name_by_features(natural[:1], 0, natural[1:], labels[1:], GROUPS)
    assert torch.allclose(outside.scores, inside.scores)  # it was in no superclass


def test_planted_superclasses_are_named_and_noise_is_not():
    natural, labels = planted(240, 4)
    pictures, target = planted(120, 5)
    found = name_by_features(pictures, target, natural, labels, GROUPS)
    assert found.accuracy.low > 0.8 > found.chance
    noise = name_by_features(features(600, 6), torch.arange(600) % 6, natural, labels, GROUPS)
    assert abs(noise.accuracy.value - 1 / 3) < 0.1
    assert found.confusion.diagonal().sum() == found.right.sum()
    last = found.table().splitlines()
    assert last[-1].split()[0] == "chance"
    assert last[-2].split()[:2] == ["all", "120"]


def test_a_picture_that_tells_nothing_is_named_as_nothing():
    natural, labels = planted(60, 7)
    found = name_by_features(torch.zeros(2, 6), [0, 5], natural, labels, GROUPS)
    assert found.named.tolist() == [-1, -1]
    assert found.accuracy.value == 0
    assert int(found.confusion.sum()) == 0
    tied = name_by_logits(torch.zeros(1, 6), 0, {"a": [0], "b": [1], "c": [2, 3, 4]})
    assert tied.named.tolist() == [2]  # more classes, more probability
    assert name_by_logits(torch.zeros(1, 6), 0, {"a": [0], "b": [1]}).named.tolist() == [-1]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"superclasses": {"a": [0]}}, InputError, "superclasses holds 1; expected at least 2"),
        ({"superclasses": [[0], [1]]}, InputTypeError, "superclasses is a list"),
        ({"superclasses": {"a": [0, 1], "b": [1, 2]}}, InputError, 'class 1 is in the superclasses "a" and "b"'),
        (
            {"target": [[2, 3], 0]},
            InputError,
            r"picture 0 is of the classes \[2, 3\], which are not all in one superclass",
        ),
        ({"target": 7}, InputError, r"picture 0 is of the classes \[7\]"),
        ({"superclasses": {"a": [0], "b": [9]}}, InputError, 'the superclass "b" has no photographs'),
        (
            {"labels": [0, 1, 2, 3, 4, 5], "target": 5, "own": [5, -1]},
            InputError,
            'the superclass "fish" has no photographs beside',
        ),
    ],
)
def test_bad_input_gets_a_sentence(change, error, message):
    given = {"features": features(2, 1), "target": 0, "natural": features(6, 2), "labels": range(6)}
    with pytest.raises(error, match=message):
        name_by_features(**{**given, "superclasses": GROUPS, **change})


def test_logits_are_checked():
    with pytest.raises(InputError, match="target 9 is out of range: the model has 6 classes"):
        name_by_logits(torch.zeros(2, 6), 0, {"a": [0], "b": [9]})
    with pytest.raises(InputError, match=r"logits is shape \(6,\)"):
        name_by_logits(torch.zeros(6), 0, GROUPS)
