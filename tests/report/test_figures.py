"""Figures hold what they are given, in a file that is whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.experiments.fooling.figures import prototype_rows_figure
from captum_proto.experiments.planted_bias.figures import overview_figure
from captum_proto.report.figures import picture_grid, points_figure, save_figure, sized, to_display
from captum_proto.report.views.prototypes import prototype_sheet


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


def prototypes(image: Tensor) -> Prototypes:
    """Two that are all the same picture."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
    made = PrototypeGeneration(model).generate([0, 1], tuple(image.shape), steps=0, warmup_steps=0, evaluation_draws=0)
    made.images[:] = image
    return made


#: By name, a sheet of a picture, and how large a picture may be on it.
SHEETS: dict[str, tuple[Callable[[Tensor], Figure], int]] = {
    "prototypes": (
        lambda image: prototype_sheet(prototypes(image), ["flute", "a class of a name that takes lines"]),
        300,
    ),
    "grid": (lambda image: picture_grid({"a row": {"left": image, "right": image}, "other": {"right": image}}), 224),
    "fooling": (lambda image: prototype_rows_figure({"honest": prototypes(image)}, {(0,): "flute", (1,): "gown"}), 150),
    "planted": (lambda image: overview_figure({"scans": [image] * 2, "prototypes": [image]}), 160),
}


@pytest.mark.parametrize("size", [8, 28, 224])
@pytest.mark.parametrize("name", SHEETS)
def test_a_sheet_shows_a_picture_at_whole_pixels(name: str, size: int, tmp_path: Path) -> None:
    make, most = SHEETS[name]
    image = torch.rand(3, size, size, generator=torch.Generator().manual_seed(0))
    figure = make(image)
    save_figure(figure, tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png").convert("RGB"))
    shown = to_display(image)
    multiple = most // size
    if multiple:
        expected = np.kron(shown, np.ones((multiple, multiple, 1), np.uint8))
    else:
        expected = np.asarray(Image.fromarray(shown).resize((most, most), Image.Resampling.LANCZOS))
    drawn = [axis.get_position() for axis in figure.axes if axis.images]
    assert len(drawn) >= 2
    for box in drawn:
        x, y = round(box.x0 * sheet.shape[1]), round((1 - box.y1) * sheet.shape[0])
        np.testing.assert_array_equal(sheet[y : y + len(expected), x : x + len(expected)], expected)


def test_a_picture_that_would_be_enlarged_by_a_fraction_stays_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 224), dtype=np.uint8)
    np.testing.assert_array_equal(sized(picture, 302), picture)
    np.testing.assert_array_equal(sized(picture, 448), picture.repeat(2, 0).repeat(2, 1))
    assert sized(picture, 112).shape == (50, 112)
