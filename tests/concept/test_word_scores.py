"""Words of units: the definitions written out, planted words found, and what does not fit told."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.concept import rank_reorder, soft_wpmi, wpmi
from captum_proto.models import TwoTower
from captum_proto.testing import (
    COLORS,
    SHAPES,
    CaptionedShapes,
    captioned_shapes,
    small_two_tower,
    train_two_tower,
    with_concept_units,
)

SCORES: list[Callable[..., Tensor]] = [soft_wpmi, wpmi, rank_reorder]


def planted(words: int = 12, units: int = 9, noise: float = 0.3) -> tuple[Tensor, Tensor, list[int]]:
    """Images that show some of twelve things; units that fire at one each; word 0 fits every image."""
    torch.manual_seed(3)
    there = torch.rand(600, words) < 0.1
    there[:, 0] = True
    chosen = [1 + unit % (words - 1) for unit in range(units)]
    similarity = 0.3 + 0.3 * there + 0.05 * torch.randn(600, words)
    similarity[:, 0] += 0.15
    activations = there[:, chosen].float() * (1 + torch.rand(600, units)) + noise * torch.rand(600, units)
    return similarity, activations, chosen


def test_every_planted_word_is_found() -> None:
    similarity, activations, chosen = planted()
    assert soft_wpmi(similarity, activations, top_k=40).argmax(1).tolist() == chosen
    assert wpmi(similarity, activations, top_k=28, scale=10.0, weight=1.0).argmax(1).tolist() == chosen
    assert (
        soft_wpmi(similarity, activations, top_k=40, weight=0.0).argmax(1).tolist() == [0] * 9
    )  # the word that fits all


def test_words_in_the_order_of_activations_are_found() -> None:
    torch.manual_seed(0)
    activations = torch.rand(400, 5)
    similarity = torch.cat([activations + 0.1 * torch.rand(400, 5), torch.rand(400, 7)], 1)
    assert rank_reorder(similarity, activations, top_fraction=0.2).argmax(1).tolist() == list(range(5))
    same = rank_reorder(activations, activations)
    assert same.diagonal().abs().max() < 1e-9  # nothing has to move


def test_definitions_written_out() -> None:
    torch.manual_seed(1)
    similarity, activations = torch.rand(30, 4).double(), torch.rand(30, 3).double()
    for function, top_k, scale, weight, belief in (
        (soft_wpmi, 7, 10.0, 1.0, (0.998, 0.97)),
        (wpmi, 7, 2.0, 0.6, (1.0, 1.0)),
    ):
        logs = torch.zeros(3, 4).double()
        for unit in range(3):
            ranked = sorted(range(30), key=lambda row: -float(activations[row, unit]))[:top_k]
            for place, row in enumerate(ranked):
                b = belief[0] - place / top_k * (belief[0] - belief[1])
                p = torch.exp(scale * similarity[row]) / torch.exp(scale * similarity[row]).sum()
                logs[unit] += torch.log(1 + b * (p - 1) + 1e-7)
        expected = logs - weight * torch.log(torch.exp(logs).mean(0))
        torch.testing.assert_close(function(similarity, activations, top_k=top_k), expected)
    ranked = activations[:, 1].argsort(descending=True)[:6]
    target, given = activations[ranked, 1], similarity[ranked]
    for word in range(4):
        places = sorted(range(6), key=lambda row: float(given[row, word]))
        reordered = torch.empty(6).double()
        for rank, row in enumerate(places):
            reordered[row] = target.flip(0)[rank]
        moved = (target - reordered).abs().pow(3).mean()
        random = torch.stack([(a - b).abs() ** 3 for a in target for b in target]).mean()
        expected_error = -moved / random / given[:, word].mean() ** 0.5
        torch.testing.assert_close(rank_reorder(similarity, activations, top_fraction=0.2)[1, word], expected_error)


def test_a_word_to_which_no_image_is_like_is_not_the_one() -> None:
    torch.manual_seed(2)
    activations = torch.rand(40, 2)
    scores = rank_reorder(torch.cat([-activations, activations], 1), activations, top_fraction=0.5)
    assert scores[:, :2].tolist() == [[-math.inf] * 2] * 2
    assert scores.argmax(1).tolist() == [2, 3]


#: What eight units are planted to answer to, and words that are in captions and of no unit.
LABELS = [*SHAPES, *COLORS]
WORDS = [*LABELS, "a", "and", "the", "word"]


@pytest.fixture(scope="module")
def tower() -> TwoTower:
    """Trained on captioned shapes; its first four units answer to a shape, drawn or written."""
    return with_concept_units(train_two_tower(captioned_shapes(4000)))


@pytest.fixture(scope="module")
def held_out() -> CaptionedShapes:
    return captioned_shapes(800, seed=1)


def cosines(tower: TwoTower, shapes: CaptionedShapes) -> Tensor:
    images, texts = tower.image(shapes.images), tower.text(WORDS)
    return torch.nn.functional.normalize(images, dim=1) @ torch.nn.functional.normalize(texts, dim=1).T


def planted_units(tower: TwoTower, shapes: CaptionedShapes) -> Tensor:
    """(N, 8): the four shape units of the network, and four that are nearer to 0 the nearer a pixel is to a color."""
    pixels, colors = shapes.images.flatten(2).transpose(1, 2), torch.tensor(list(COLORS.values()))
    return torch.cat([tower.image(shapes.images)[:, : len(SHAPES)], -torch.cdist(pixels, colors).amin(1)], 1)


def named(scores: Tensor) -> list[str]:
    return [WORDS[word] for word in scores.argmax(1).tolist()]


def test_every_planted_unit_of_a_network_gets_its_label(tower: TwoTower, held_out: CaptionedShapes) -> None:
    similarity, activations = cosines(tower, held_out), planted_units(tower, held_out)
    assert named(soft_wpmi(similarity, activations)) == LABELS
    assert named(wpmi(similarity, activations)) == LABELS
    # A color unit is the same on all images of its color, so that their order says nothing: rank reordering is for graded units.
    assert named(rank_reorder(similarity, activations))[: len(SHAPES)] == list(SHAPES)


@pytest.mark.parametrize("function", [soft_wpmi, wpmi])
def test_units_without_a_meaning_get_labels_by_chance(
    function: Callable[..., Tensor], tower: TwoTower, held_out: CaptionedShapes
) -> None:
    """Of 40 units of untrained networks one in eight or less is right by chance: more than twelve have a probability below 0.002."""
    similarity, right = cosines(tower, held_out), 0
    torch.manual_seed(0)
    for _ in range(5):
        units = small_two_tower().image(held_out.images)[:, : len(LABELS)]
        right += sum(name == label for name, label in zip(named(function(similarity, units)), LABELS, strict=True))
    assert right <= 12
    shuffled = planted_units(tower, held_out)[torch.randperm(len(held_out))]
    assert sum(name == label for name, label in zip(named(function(similarity, shuffled)), LABELS, strict=True)) <= 4


@pytest.mark.parametrize("function", SCORES)
def test_bad_input(function: Callable[..., Tensor]) -> None:
    good = torch.rand(200, 3)
    for similarity, activations, error, sentence in (
        (good[:5], good, InputError, "similarities of 5 images and activations of 200"),
        (good[0], good, InputError, r"similarity has shape \(3,\); expected two dimensions"),
        (good.int(), good, TypeError, "similarity has dtype torch.int32"),
        (good, good * torch.nan, InputError, "activations has values that are not finite"),
    ):
        with pytest.raises(error, match=sentence):
            function(similarity, activations)
    with pytest.raises(InputError, match="top_k is 100, but there are 50 images"):
        soft_wpmi(good[:50], good[:50])
    with pytest.raises(InputError, match=r"top_fraction is 0\.05 of 20 images, 1; expected at least two"):
        rank_reorder(good[:20], good[:20])
