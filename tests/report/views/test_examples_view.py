"""Crops as a page shows them, and the table of units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from networks import seeded
from PIL import Image
from torch import nn

from captum_proto.features import LayerExamples, TopExamples
from captum_proto.report.block import Block
from captum_proto.report.context import Context
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.report.views.examples import field_words, framed_crop, unit_of, units_table


@pytest.fixture(scope="module")
def layer() -> LayerExamples:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 5, padding=2), nn.ReLU()))
    images = torch.rand(12, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    return TopExamples(network, "1", k=3).fit(images)["1"]


def test_a_crop_at_the_border_has_the_scale_of_the_others(layer: LayerExamples) -> None:
    assert layer.boxes is not None
    for place, gray in (((0, 10), (slice(0, 2), slice(None))), ((10, 19), (slice(None), slice(3, 5)))):
        box = layer._box(place)
        crop = torch.ones(3, box.bottom - box.top, box.right - box.left)
        shown = framed_crop(crop, box, layer, place)
        assert shown.shape == (5, 5, 3)
        assert (shown[gray] == 128).all()
        assert (shown == 255).sum() == 3 * crop[0].numel()


def test_a_large_field_is_marked_where_the_position_is() -> None:
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 13, padding=6, stride=4)))
    images = torch.rand(4, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    layer = TopExamples(network, "0", k=2, quantiles=()).fit(images)["0"]
    box = layer._box((3, 3))
    shown = framed_crop(torch.full((3, 13, 13), 0.5), box, layer, (3, 3))
    white = np.argwhere((shown == 255).all(2))
    assert white.min(0).tolist() == [12 - box.top, 12 - box.left]
    assert white.max(0).tolist() == [15 - box.top, 15 - box.left]


def test_the_table_has_every_unit_and_an_interval_for_each_mean(layer: LayerExamples) -> None:
    table = units_table(layer)
    assert [row[0] for row in table.rows] == ["0", "1", "2", "3"]
    assert table.header[2:4] == ["q0.99", "q0.995"]
    mean = float(layer.random_scores[1].double().mean())
    assert table.rows[1][5].startswith(f"{mean:.3g} [")
    assert all(row[place].endswith("]") for row in table.rows for place in (5, 6, 7))
    assert table.sortable
    assert field_words(layer).startswith("20 x 20 positions, which see at most 5 x 5 of the image's 20 x 20 pixels")


def test_rows_of_units_are_shown_with_what_is_beneath_each_picture(layer: LayerExamples, tmp_path: Path) -> None:
    Image.new("RGB", (228, 112), "red").save(tmp_path / "strip.png")
    block = UnitRows(
        [unit_of(layer, 2, [Strip("strip.png", "Most", ["1.5", "−0.2"]), Strip("gone.png", "Least", ["0"])])]
    )
    assert Block.from_json(block.to_json()) == block
    assert block.within("part").files() == ["part/strip.png", "part/gone.png"]
    context = Context(tmp_path, [block])
    rendered = block.render(context)
    assert rendered is not None
    assert [strip["width"] for strip in rendered["units"][0]["strips"]] == [228]
    assert context.failures == ['"gone.png" is missing from the folder of the results.']
    assert isinstance(rendered["units"][0]["unit"], Unit)
