"""Words of units: the definitions written out, planted words found, and what does not fit told."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.concept import rank_reorder, soft_wpmi, wpmi

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
