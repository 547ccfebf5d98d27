"""Figures hold what they are given, in a file that is whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import PathComparison, PrototypeGeneration
from captum_proto.metrics.comparison import condition_label, save_summaries, summarize
from captum_proto.report.figures import comparison_figure, prototype_sheet, save_figure, to_display


def comparison(layers: int = 40) -> PathComparison:
    generator = torch.Generator().manual_seed(0)
    groups = {"prototype": 2, "same_class": 5, "other_class": 5, "gray": 1}
    spearman = {name: torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in groups.items()}
    spearman["gray"][:, :7] = torch.nan  # a constant image has no ranks in the first layers
    l1 = {name: 1 + torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in groups.items()}
    return PathComparison([f"layer{i}" for i in range(layers)], spearman, l1)


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


def test_the_sheet_labels_each_prototype(tmp_path: Path) -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    prototypes = PrototypeGeneration(model).generate(list(range(7)), (1, 8, 8), steps=2, warmup_steps=0)
    figure = prototype_sheet(prototypes, [f"class {i}" for i in range(7)])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert [title.splitlines()[0] for title in titles] == [f"class {i}" for i in range(7)]
    assert f"p = {float(prototypes.probabilities[4]):.3f}" in titles[4]
    assert f"transformed {float(prototypes.transformed_probabilities[4]):.3f}" in titles[4]
    save_figure(figure, tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").size[0] > 500
    with pytest.raises(FileExistsError, match=r"sheet\.png"):
        save_figure(figure, tmp_path / "sheet.png")


def test_without_a_transform_the_sheet_expects_nothing_under_it() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    prototypes = PrototypeGeneration(model).generate(3, (1, 8, 8), steps=2, warmup_steps=0, transform=None)
    (axis,) = prototype_sheet(prototypes, ["class 3"]).axes
    assert axis.get_title() == f"class 3\np = {float(prototypes.probabilities[0]):.3f}"


@pytest.mark.parametrize("layers", [1, 5, 40])
def test_curves_show_every_group_with_its_controls_in_the_same_axes(layers: int, tmp_path: Path) -> None:
    report = comparison(layers)
    figure = comparison_figure(report, "dogs")
    spearman, spearman_normalized, l1, _ = figure.axes
    shown = {line.get_label() for line in spearman.lines}
    living = {name for name in report.conditions if not bool(report.mean_spearman(name).isnan().all())}
    assert shown == {condition_label(name) for name in living}
    assert {line.get_label() for line in l1.lines} >= {condition_label(name) for name in report.conditions}
    assert "same class" not in {line.get_label() for line in spearman_normalized.lines}
    if layers == 40:
        gray = next(line for line in spearman.lines if line.get_label() == "gray")
        assert gray.get_xdata()[0] == 8  # from the first layer in which it has ranks
    save_figure(figure, tmp_path / "curves.svg")
    assert (tmp_path / "curves.svg").read_text().startswith("<?xml")


def test_summaries_as_csv(tmp_path: Path) -> None:
    report = comparison()
    save_summaries({"dogs, all": report.summaries(), "mean": summarize([report, report])}, tmp_path / "summary.csv")
    lines = (tmp_path / "summary.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(report.conditions)
    assert lines[1].startswith('"dogs, all",prototype,2,')
