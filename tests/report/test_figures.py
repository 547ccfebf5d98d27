"""Figures hold what they are given, in a file that is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto.report.figures import picture_grid, points_figure, save_figure, to_display


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_images_are_shown_as_they_are(channels: int) -> None:
    image = torch.rand(channels, 4, 6) * 2 - 1
    shown = to_display(image, (-1.0, 1.0))
    expected = ((image + 1) / 2 * 255).round()
    if channels == 3:
        np.testing.assert_array_equal(shown, expected.permute(1, 2, 0).numpy())
    elif channels == 1:
        np.testing.assert_array_equal(shown, expected[0].numpy())
    else:
        np.testing.assert_array_equal(shown, expected.mean(0).round().numpy())
    assert shown.dtype == np.uint8


def test_points_have_a_row_each_and_a_line_at_their_mean() -> None:
    (axis,) = points_figure({"first": [0.1, 0.3], "second": [0.5]}, "score").axes
    points, mean, *_ = axis.lines
    assert points.get_xdata().tolist() == [0.1, 0.3]
    assert mean.get_xdata() == pytest.approx([0.2, 0.2])
    assert [label.get_text() for label in axis.get_yticklabels()] == ["first", "second"]


def test_a_grid_names_its_rows_and_columns_and_is_written_once(tmp_path: Path) -> None:
    image = torch.rand(3, 4, 4)
    figure = picture_grid({"row": {"left": image, "right": image}, "other": {"right": image}})
    assert [axis.get_title() for axis in figure.axes] == ["left", "right", "", ""]
    assert [len(axis.images) for axis in figure.axes] == [1, 1, 0, 1]
    save_figure(figure, tmp_path / "grid.png")
    assert Image.open(tmp_path / "grid.png").size[0] > 300
    with pytest.raises(FileExistsError, match=r"grid\.png"):
        save_figure(figure, tmp_path / "grid.png")
