"""From which depth on a curve stays above one half: curves whose answer is read off, and the depths of a comparison."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from captum_proto import PathComparison
from captum_proto.metrics import depth_above_half, depth_table, smooth, summarize_depths

nan = math.nan
SAME, OTHER = "same_class", "other_class"


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1.0, 0.9, 0.8], 0),  # throughout
        ([0.1, 0.2, 0.3], 1),  # nowhere
        ([0.9, 0.9, 0.4], 1),  # not in the last layer
        ([0.1, 0.9, 0.9, 0.9], 1 / 4),
        ([0.9, 0.1, 0.9, 0.9], 2 / 4),  # what comes before a fall does not count
        ([0.5, 0.6], 1 / 2),  # one half is not above one half
        ([0.6], 0),
        ([0.2, nan, 0.9, 0.9], 2 / 4),  # the first layer that is above
        ([0.9, nan, 0.9, nan], 0),
        ([nan, 0.2, 0.9, nan], 2 / 4),
        ([0.9, 0.2, nan, nan], 1),
        ([nan, nan], nan),
        ([0.2, math.inf], 1 / 2),
        ([0.2, -math.inf], 1),
    ],
)
def test_the_raw_curve(curve: list[float], expected: float) -> None:
    for given in (curve, np.array(curve), torch.tensor(curve, dtype=torch.float64)):
        assert depth_above_half(given) == pytest.approx(expected, nan_ok=True)


def test_a_step_is_found_where_it_is_and_smoothing_forgives_single_layers() -> None:
    curve = np.where(np.arange(90) < 60, 0.2, 0.9)
    assert depth_above_half(curve) == pytest.approx(2 / 3)
    assert depth_above_half(curve, window=10) == pytest.approx(2 / 3, abs=5 / 90)
    curve[80] = 0.1
    assert depth_above_half(curve) == pytest.approx(81 / 90)
    assert depth_above_half(curve, window=10) == pytest.approx(2 / 3, abs=5 / 90)


@pytest.mark.parametrize("window", [2, 5, 10])
def test_the_smoothed_curve_is_scipys_without_the_undefined(window: int) -> None:
    random = np.random.default_rng(0)
    curve = np.linspace(0, 1, 60) + random.normal(0, 0.3, 60)
    missing = random.random(60) < 0.2
    smoothed = ndimage.convolve(curve[~missing], np.full(window, 1 / window), mode="reflect")
    above = smoothed > 0.5
    begin = next(i for i in range(len(above) + 1) if above[i:].all())
    expected = np.flatnonzero(~missing)[begin] / 60 if begin < len(above) else 1.0
    assert 0 < expected < 1
    assert depth_above_half(np.where(missing, nan, curve), window) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("curve", "window", "message"),
    [
        ([], 1, r"the curve has shape \(0,\); expected \(L,\)"),
        ([[1.0]], 1, r"the curve has shape \(1, 1\)"),
        ([1.0], 0, "window is 0; expected at least 1"),
        ([1.0], 2.5, "window is 2.5; expected a whole number of at least 1"),
    ],
)
def test_bad_input(curve, window, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        depth_above_half(curve, window)


def comparison(prototype: list[float], layers: int = 6) -> PathComparison:
    """Same class 0.8, other class 0.4 in every layer but the second, which is dead, and the third, where both are 0.5."""
    same, other = torch.full((2, layers), 0.8).double(), torch.full((2, layers), 0.4).double()
    same[:, 1] = other[:, 1] = nan
    same[:, 2] = other[:, 2] = 0.5
    spearman = {"prototype": torch.tensor([prototype], dtype=torch.float64), SAME: same, OTHER: other}
    return PathComparison([f"layer{i}" for i in range(layers)], spearman, {k: 1 - v for k, v in spearman.items()})


def test_of_a_comparison() -> None:
    # Halfway between 0.4 and 0.8 is 0.6. The dead layer and the one without a scale do not count.
    report = comparison([0.5, 0.9, 0.1, 0.7, 0.7, 0.7])
    assert report.depth_above_half("prototype", window=1) == pytest.approx(3 / 6)
    assert report.depth_above_half(SAME, window=1) == 0
    assert report.depth_above_half(OTHER, window=1) == 1
    # A living layer in which the prototype has no rank correlation is one in which it is not like natural images.
    assert comparison([0.7, nan, nan, 0.7, nan, 0.7]).depth_above_half("prototype", window=1) == pytest.approx(5 / 6)
    assert comparison([0.7, nan, nan, 0.7, 0.7, nan]).depth_above_half("prototype", window=1) == 1
    # By default the curve is smoothed over ten layers, as the paper's.
    long = comparison([0.5] * 10 + [0.7] * 20 + [0.5] + [0.7] * 9, 40)
    curve = long.normalized_spearman("prototype")
    known = ~curve.isnan()
    smoothed = smooth(curve[known], 10)
    begin = int((smoothed <= 0.5).nonzero().max()) + 1
    assert long.depth_above_half("prototype") == pytest.approx(int(known.nonzero()[begin]) / 40)
    assert long.depth_above_half("prototype", window=1) == pytest.approx(31 / 40)


def test_nothing_but_dead_layers_has_no_depth() -> None:
    dead = torch.full((2, 3), nan, dtype=torch.float64)
    report = PathComparison(["a", "b", "c"], dict.fromkeys(("prototype", SAME, OTHER), dead), {})
    assert math.isnan(report.depth_above_half("prototype"))
    assert depth_table(report.depths()).splitlines()[2].split() == ["prototype", "–", "–", "–"]


def test_summaries_over_classes() -> None:
    first, second = comparison([0.5, 0.9, 0.1, 0.7, 0.7, 0.7]), comparison([0.5] * 5 + [0.7])
    alone = [first.depths(window=1)[0], second.depths(window=1)[0]]
    assert [row.condition for row in first.depths()] == first.conditions
    row = summarize_depths([first, second], window=1)[0]
    assert (row.condition, row.classes) == ("prototype", 2)
    assert row.raw == row.smoothed == pytest.approx((3 / 6 + 5 / 6) / 2)
    assert row.smoothed_over_classes == pytest.approx(np.std([each.raw for each in alone], ddof=1))
    table = depth_table(summarize_depths([first, second], window=1)).splitlines()
    assert table[2].split() == ["prototype", "0.67", "0.24", "0.67"]
    assert table[3].startswith("same class ")


def test_what_cannot_be_summarized() -> None:
    with pytest.raises(ValueError, match="there are no comparisons to summarize"):
        summarize_depths([])
    other = comparison([0.5] * 6)
    other.spearman["gray"] = other.spearman[SAME]
    with pytest.raises(ValueError, match="the comparisons differ in their conditions"):
        summarize_depths([comparison([0.5] * 6), other])
