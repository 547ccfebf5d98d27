"""Whether features are about objects: against hand counts, scikit-image-free loops, and controls."""

from __future__ import annotations

import json

import pytest
import torch

from captum_proto.metrics import ObjectAgreement, object_agreement

OBJECTS = ["sky", "saw", "coin"]


@pytest.fixture(scope="module")
def labels() -> torch.Tensor:
    random = torch.Generator().manual_seed(0)
    found = torch.zeros(12, 16, 16, dtype=torch.long)
    for image in found:
        row, column = torch.randint(1, 12, (2,), generator=random).tolist()
        image[row : row + 4, column : column + 4] = 1
    found[:6, 0, 0] = 2
    return found


def test_it_counts_pixels_as_a_loop_does(labels: torch.Tensor) -> None:
    features = torch.randn(12, 2, 16, 16, generator=torch.Generator().manual_seed(1))
    found = object_agreement(features, labels, OBJECTS, quantile=0.9, skip=["sky"])
    for feature in range(2):
        sizes = features[:, feature].abs()
        fires = sizes > sizes.flatten().kthvalue(int(0.9 * sizes.numel())).values
        for place, number in enumerate((1, 2)):
            mask = labels == number
            assert found.iou[feature, place] == pytest.approx(float((fires & mask).sum() / (fires | mask).sum()))
            shown = mask.flatten(1).any(1)
            hits = [bool(mask[i].flatten()[sizes[i].argmax()]) for i in range(12) if shown[i]]
            assert found.pointing[feature, place] == pytest.approx(sum(hits) / len(hits))
    assert found.images.tolist() == [[12, 6], [12, 6]]
    assert found.area.tolist() == pytest.approx([16 / 256, 1 / 256])


def test_planted_features_are_about_their_objects_and_noise_is_not(labels: torch.Tensor) -> None:
    noise = torch.rand(12, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    features = torch.cat([-(labels == 1).float()[:, None], noise, (labels == 2).float()[:, None]], 1)
    found = object_agreement(features, labels, OBJECTS, quantile=0.93, skip=["sky"])
    assert found.names() == ["saw", "", "coin"]
    assert found.score.value == pytest.approx(2 / 3)
    assert (found.feature_of("saw"), found.feature_of("coin")) == (0, 2)
    again = ObjectAgreement.from_json(json.loads(json.dumps(found.to_json())))
    assert again.names() == found.names()
    assert torch.allclose(again.iou.double(), found.iou)


def test_an_object_that_is_never_there_is_not_pointed_at() -> None:
    found = object_agreement(torch.rand(2, 1, 4, 4), torch.zeros(2, 4, 4, dtype=torch.long), OBJECTS, skip=["sky"])
    assert bool(found.pointing.isnan().all())
    assert not bool(found.about.any())
    assert json.loads(json.dumps(found.to_json()))["pointing"] == [[None, None]]


def test_bad_input(labels: torch.Tensor) -> None:
    with pytest.raises(TypeError, match="floating-point"):
        object_agreement(labels, labels, OBJECTS)
    with pytest.raises(TypeError, match="integers"):
        object_agreement(torch.rand(3, 1, 4, 4), labels, OBJECTS)
    with pytest.raises(ValueError, match="name them all"):
        object_agreement(torch.rand(12, 1, 4, 4), labels, ["sky"])
    with pytest.raises(ValueError, match="no object"):
        object_agreement(torch.rand(12, 1, 4, 4), labels, OBJECTS).feature_of("moon")
