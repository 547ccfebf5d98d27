"""Curves over layers: the page and the figure draw the same values in the same colors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from captum_proto import PathComparison
from captum_proto.metrics.comparison import condition_label
from captum_proto.report.blocks import Curves
from captum_proto.report.figures import save_figure
from captum_proto.report.html import render
from captum_proto.report.page import Page, Section
from captum_proto.report.views.layer_curves import (
    CONDITION_STYLES,
    MEASURES,
    comparison_figure,
    limits,
    line,
    page_curves,
    styles,
    ticks,
)


def comparison(layers: int = 40) -> PathComparison:
    generator = torch.Generator().manual_seed(0)
    conditions = {"prototype": 2, "same_class": 5, "other_class": 5, "gray": 1}
    spearman = {name: torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in conditions.items()}
    spearman["gray"][:, :7] = torch.nan  # a constant image has no ranks in the first layers
    l1 = {name: 1 + torch.rand(n, layers, generator=generator, dtype=torch.float64) for name, n in conditions.items()}
    return PathComparison([f"layer{i}" for i in range(layers)], spearman, l1)


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


def test_ticks_are_round() -> None:
    assert ticks(-0.13, 0.97) == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert ticks(1, 199, 5) == [50, 100, 150]
    assert ticks(1, 1) == [1]
    assert all(2 <= len(ticks(0.37, 0.37 + 10**power * 3.3)) <= 8 for power in range(-6, 6))
    assert ticks(-1, 1.2, logarithmic=True) == [0.1, 0.2, 0.5, 1, 2, 5, 10]
    assert ticks(-0.5, 3.1, logarithmic=True) == [1, 10, 100, 1000]


def test_conditions_without_a_color_of_their_own_get_one_each() -> None:
    found = styles(["prototype", "mine", "gray", "yours"])
    assert (found["prototype"], found["gray"]) == (CONDITION_STYLES["prototype"], CONDITION_STYLES["gray"])
    assert (found["mine"].name, found["yours"].name) == ("spare-0", "spare-1")
    assert len({style.name for style in styles([str(i) for i in range(20)]).values()}) == 6


def test_the_page_draws_what_the_figure_draws() -> None:
    report = comparison()
    drawn, figure = page_curves(report), comparison_figure(report)
    by_label = {axis.get_ylabel(): axis for axis in figure.axes}
    for measure, panel in zip(MEASURES, drawn["panels"], strict=True):
        lines = {curve.get_label(): curve for curve in by_label[measure.label].lines}
        shown = [line(report, condition, measure) for condition in report.conditions if measure.shows(condition)]
        low, high = limits([curve for curve in shown if curve is not None], measure)
        for curve in panel["curves"]:
            condition = report.conditions[curve["condition"]]
            points = np.array(re.findall(r"[-\d.]+", curve["path"]), dtype=float).reshape(-1, 2)
            expected = lines[condition_label(condition)]
            up = np.log10(expected.get_ydata()) if measure.logarithmic else expected.get_ydata()
            np.testing.assert_allclose(points[:, 1] / 1000, 1 - (up - low) / (high - low), atol=1e-4)
            np.testing.assert_allclose(points[:, 0] / 1000 * 40 + 0.5, expected.get_xdata(), atol=0.05)
            assert expected.get_color() == CONDITION_STYLES[condition].color


def test_the_band_is_the_sample_standard_deviation_over_images() -> None:
    report = comparison(5)  # of so few layers nothing is smoothed
    report.spearman["same_class"][0, 2] = torch.nan
    band = line(report, "same_class", MEASURES[0]).spread
    values = report.spearman["same_class"].numpy()
    np.testing.assert_allclose(band, np.nanstd(values, 0, ddof=1), rtol=1e-12)
    report.spearman["same_class"] = report.spearman["same_class"][1:2]
    assert line(report, "same_class", MEASURES[0]).spread.tolist() == [0.0] * 5  # a single image has no band


def test_the_words_beneath_curves_are_those_of_the_curves(tmp_path: Path) -> None:
    drawn = page_curves(comparison(40))
    panel = drawn["panels"][0]
    means = {
        name: float(value) for name, value in re.findall(r"([a-z ]+) (\d\.\d{3})", panel["summary"].partition(": ")[2])
    }
    gray = line(comparison(40), "gray", MEASURES[0])
    assert gray is not None
    assert means[" gray"] == round(float(gray.values.mean()), 3)  # over the layers that have a value
    assert drawn["window"] == 6
    assert page_curves(comparison(7))["window"] == 1
    for layers, words in ((40, "Lines are moving means over up to 6 layers,"), (7, "Lines are as measured,")):
        comparison(layers).save(tmp_path / "scores.safetensors", overwrite=True)
        page = Page("curves", sections=[Section("curves", [Curves("scores.safetensors")])])
        assert words in render(page, tmp_path)
