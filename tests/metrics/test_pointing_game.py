"""The pointing game in closed form."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import binomtest

from captum_proto.metrics import pointing_game


def test_points_are_hits_up_to_the_tolerance() -> None:
    maps = torch.zeros(4, 2, 40, 50)
    for place, (row, column) in enumerate([(10, 10), (10, 24), (10, 25), (39, 49)]):
        maps[place, place % 2, row, column] = 1.0
    boxes = torch.tensor([[5, 5, 10, 11]] * 4)  # columns 5 to 9, rows 5 to 10
    game = pointing_game(maps, boxes, tolerance=15, labels=[0, 0, 1, 1])
    assert game.hits.tolist() == [True, True, False, False]
    interval = binomtest(2, 4).proportion_ci(method="wilson")
    assert (game.accuracy.low, game.accuracy.high) == pytest.approx((interval.low, interval.high))
    assert {label: share.value for label, share in game.by_class.items()} == {0: 1.0, 1: 0.0}
    assert game.class_mean == 0.5
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(50), indexing="ij")
    away = torch.hypot((rows - rows.clamp(5, 10)).float(), (columns - columns.clamp(5, 9)).float())
    assert game.chance == pytest.approx(float((away <= 15).float().mean()))
    assert game.center.value == float(away[20, 25] <= 15)
    assert pointing_game(maps, boxes, tolerance=math.inf).accuracy.value == 1
    assert "a random point" in str(game)


def test_masks_are_taken_and_maps_that_point_nowhere_miss() -> None:
    maps = torch.rand(3, 8, 8)
    maps[0], maps[1, 2, 2] = 0.0, math.nan
    maps[2, 3, 3] = 2.0
    game = pointing_game(maps, torch.ones(3, 8, 8, dtype=torch.bool), tolerance=0)
    assert game.hits.tolist() == [False, False, True]
    assert game.chance == 1


def test_bad_input_is_a_sentence() -> None:
    maps, masks = torch.rand(2, 1, 8, 8), torch.ones(2, 8, 8, dtype=torch.bool)
    for objects, words in (
        (torch.ones(2, 7, 8, dtype=torch.bool), r"objects has shape \(2, 7, 8\); for maps"),
        (torch.ones(2, 8, 8), "dtype torch.float32; expected masks of torch.bool"),
        (masks & (torch.arange(2) == 0)[:, None, None], "image 1 has no object"),
        ("cat", "objects has type str"),
    ):
        with pytest.raises((ValueError, TypeError), match=words):
            pointing_game(maps, objects)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="attributions are no maps"):
        pointing_game(torch.rand(2, 8), masks)
    with pytest.raises(ValueError, match="tolerance is -1"):
        pointing_game(maps, masks, tolerance=-1)
    with pytest.raises(ValueError, match="3 labels for 2 maps"):
        pointing_game(maps, masks, labels=[1, 2, 3])
