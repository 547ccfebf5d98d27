"""A picture of a unit scores by which images it tells apart: against scikit-learn, planted units, and the controls."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.metrics import visualization_score, visualization_scores

#: Units of a planted network: each answers to one color, whose share of an image the embedding sees through a rotation.
UNITS = 6
#: What a color is on average.
MEAN = 0.8 / 3 + 0.1


def colored(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (N, 6, 4, 4) of six channels, each a color of its own, and how much of each they hold: (N, 6)."""
    generator = torch.Generator().manual_seed(seed)
    amounts = torch.rand(count, UNITS, generator=generator) ** 2
    noise = 0.2 * torch.rand(count, UNITS, 4, 4, generator=generator)
    return (0.8 * amounts[:, :, None, None] + noise).clamp(0, 1), amounts


def embed(images: Tensor) -> Tensor:
    """Another network's features: a rotation of the mean colors, so that no feature is a unit's."""
    turn, _ = torch.linalg.qr(torch.randn(UNITS, UNITS, generator=torch.Generator().manual_seed(7)))
    return (images.mean((2, 3)) - MEAN) @ turn


def pictures_of_units() -> Tensor:
    """(6, 2, 6, 4, 4): of each unit its color beside the mean of the others, at full and at half strength."""
    pure = torch.eye(UNITS)[:, :, None, None].expand(-1, -1, 4, 4)
    return torch.stack([pure.clamp(min=MEAN), (pure * 0.7).clamp(min=MEAN)], 1)


@pytest.fixture(scope="module")
def planted() -> tuple[Tensor, Tensor, Tensor]:
    images, amounts = colored(200, 0)
    order = amounts.argsort(0).T
    return images, order[:, -15:].flip(1).contiguous(), order[:, :15].contiguous()


def test_the_score_is_scikit_learns_area_over_the_similarities(planted):
    metrics = pytest.importorskip("sklearn.metrics")
    images, top, bottom = planted
    pictures = pictures_of_units()[2]
    score = visualization_score(pictures, images[top[0]], images[bottom[0]], embed)
    cosine = torch.nn.functional.cosine_similarity
    similar = torch.stack([cosine(embed(images), embed(one[None])) for one in pictures]).double().mean(0)
    assert torch.allclose(score.top, similar[top[0]], atol=1e-6)
    expected = metrics.roc_auc_score([1] * 15 + [0] * 15, similar[torch.cat([top[0], bottom[0]])])
    assert score.auc == pytest.approx(expected, abs=1e-12)
    assert score.interval[0] < score.auc < score.interval[1]


def test_a_planted_units_picture_scores_high_and_anothers_near_a_half(planted):
    images, top, bottom = planted
    scores = visualization_scores(pictures_of_units(), images, top, bottom, embed)
    assert (scores.auc > 0.97).all()
    assert (scores.low > 0.8).all()
    assert abs(scores.others.mean() - 0.5) < 0.1
    assert scores.ceiling.mean() > 0.9
    assert (np.maximum(scores.gray, scores.noise) < scores.auc).all()
    assert (scores.p_values == 1 / UNITS).all()
    assert scores.p_value < 0.01
    above = scores.above_others()
    assert above.low > 0.3
    assert list(scores.summary())[-1] == "top images (ceiling)"
    assert "own pictures" in scores.table()


def test_many_units_are_what_each_is_alone(planted):
    images, top, bottom = planted
    scores = visualization_scores(pictures_of_units(), torch.split(images, 33), top, bottom, embed, batch_size=7)
    for unit in range(UNITS):
        alone = visualization_score(pictures_of_units()[unit], images[top[unit]], images[bottom[unit]], embed)
        assert scores.auc[unit] == alone.auc
        assert (scores.low[unit], scores.high[unit]) == alone.interval


def test_pictures_that_show_nothing_of_their_units_score_like_those_of_others(planted):
    images, top, bottom = planted
    generator = torch.Generator().manual_seed(3)
    pictures = torch.rand(UNITS, 2, UNITS, 4, 4, generator=generator)
    scores = visualization_scores(pictures, images, top, bottom, embed, permutations=999)
    assert scores.p_value > 0.05
    assert 0.2 < scores.auc.mean() < 0.8


def test_the_p_value_is_uniform_where_there_is_nothing(planted):
    images, top, bottom = planted
    generator = torch.Generator().manual_seed(4)
    found = [
        visualization_scores(
            torch.rand(UNITS, 1, UNITS, 4, 4, generator=generator), images, top, bottom, embed, permutations=199
        ).p_value
        for _ in range(60)
    ]
    assert 0.35 < float(np.mean(found)) < 0.65
    assert np.mean(np.array(found) <= 0.1) < 0.25


def test_pictures_of_the_opposite_count_against_an_image(planted):
    images, top, bottom = planted
    own, other = pictures_of_units()[0], pictures_of_units()[1]
    with_opposite = visualization_score(own, images[top[0]], images[bottom[0]], embed, opposite=other)
    against = visualization_score(other, images[top[0]], images[bottom[0]], embed, opposite=own)
    assert with_opposite.auc == pytest.approx(1 - against.auc)


def test_the_ceiling_scores_no_image_by_itself():
    """Where images have nothing in common, half of the top ones says nothing of the other half; an image itself would be found."""
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(400, UNITS, 4, 4, generator=generator)
    order = torch.stack([torch.randperm(400, generator=generator) for _ in range(40)])
    pictures = torch.rand(40, 1, UNITS, 4, 4, generator=generator)
    scores = visualization_scores(pictures, images, order[:, :10], order[:, 10:20], lambda x: x.flatten(1) - 0.5)
    assert abs(scores.ceiling.mean() - 0.5) < 0.06


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"top": torch.rand(1, 3, 4, 4)}, InputError, "top holds 1 image; expected at least 2"),
        ({"bottom": torch.rand(1, 3, 4, 4)}, InputError, "bottom holds 1 image"),
        ({"embed": lambda images: torch.rand(1, 5)}, InputError, r"embed returned shape \(1, 5\) for 2 images"),
        ({"embed": lambda images: images}, InputError, r"embed returned shape \(2, 3, 4, 4\)"),
        (
            {"embed": lambda images: images.flatten(1) * torch.nan},
            InputError,
            "embed returned NaN or infinity for image 0",
        ),
        ({"embed": lambda images: [1.0]}, InputTypeError, "embed returned a list"),
        ({"embed": None}, InputTypeError, "embed is a NoneType"),
        ({"pictures": torch.rand(3, 4, 4)}, InputError, r"pictures has shape \(3, 4, 4\)"),
    ],
)
def test_bad_input_gets_a_sentence(change, error, message):
    given = {
        "pictures": torch.rand(2, 3, 4, 4),
        "top": torch.rand(3, 3, 4, 4),
        "bottom": torch.rand(3, 3, 4, 4),
        "embed": lambda images: images.flatten(1),
    }
    with pytest.raises(error, match=message):
        visualization_score(**{**given, **change})


def test_sets_that_overlap_are_refused():
    images = torch.rand(6, 3, 4, 4)
    flat = lambda x: x.flatten(1)  # noqa: E731
    with pytest.raises(InputError, match="image 0 of bottom is image 2 of top as well"):
        visualization_score(torch.rand(1, 3, 4, 4), images[:3], images[2:], flat)
    with pytest.raises(InputError, match="image 1 of top is image 0 of pictures as well"):
        visualization_score(images[1:2], images[:3], images[3:], flat)
    pictures = torch.rand(1, 1, 3, 4, 4)
    with pytest.raises(InputError, match="image 2 is twice among the top and bottom images of unit 0"):
        visualization_scores(pictures, images, torch.tensor([[0, 2]]), torch.tensor([[2, 3]]), flat)
    with pytest.raises(InputError, match="image 9 is out of range: there are 6 images"):
        visualization_scores(pictures, images, torch.tensor([[0, 9]]), torch.tensor([[2, 3]]), flat)
    with pytest.raises(InputError, match=r"top has shape \(1, 1\)"):
        visualization_scores(pictures, images, torch.tensor([[0]]), torch.tensor([[2, 3]]), flat)
