"""Factors, icons, weights by hand, matches between networks and kinds of examples, each against what was planted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from captum_proto.circuits import (
    Connection,
    ExpandedWeights,
    PutBack,
    TuningCurve,
    UnitMatches,
    WeightFactors,
    correlation,
    curve,
    curve_weights,
    example_clusters,
    expanded_weights,
    gap_statistic,
    line_preferences,
    match_units,
    odd_square,
    position_icons,
    weight_factors,
    weights_by_orientation,
)
from captum_proto.report.circuit_blocks import Circuit
from captum_proto.report.html import render
from captum_proto.report.page import Page
from captum_proto.report.views.circuit import circuit_block
from captum_proto.testing import CurveNetwork

RADIUS, SIZE = 6.0, 32


def of_weights(weights: torch.Tensor) -> ExpandedWeights:
    units, channels, height, width = weights.shape
    return ExpandedWeights(
        weights,
        "a",
        "b",
        list(range(channels)),
        list(range(units)),
        (4, 4),
        (1, 1, 1 + height, 1 + width),
        (9, 9),
        (9, 9),
        (1, 1),
    )


def test_planted_factors_are_found() -> None:
    pytest.importorskip("sklearn")
    spatial = np.zeros((2, 5, 5))
    spatial[0, :2], spatial[0, 3:] = 1.0, -1.0  # of either sign
    spatial[1, :, 4] = 2.0
    channels = np.array([[0.6, 0.8, 0, 0], [0, 0, 1.0, 0]])
    weights = torch.from_numpy(np.einsum("kyx,ki->iyx", spatial, channels)).float()[None]
    found = weight_factors(of_weights(weights), 0, 2)
    assert found.error < 0.01 < found.shuffled_error
    rebuilt = torch.einsum("kyx,ki->iyx", found.spatial, found.channels)
    assert torch.allclose(rebuilt, weights[0], atol=0.02)
    assert bool((found.channels >= 0).all())
    assert (0, 1) in {tuple(sorted(found.strongest(place, 2))) for place in range(2)}
    excites, inhibits = found.pictures()
    assert float(excites[:, 2, 0].min()) > 0.98  # nothing there
    assert float(inhibits[:, 4, 0].min()) < 0.5
    assert float(excites[:, 4, 0].min()) > 0.98
    with pytest.raises(ValueError, match="give at most 4"):
        weight_factors(of_weights(weights), 0, 5)
    with pytest.raises(ValueError, match="0 everywhere"):
        weight_factors(of_weights(torch.zeros(1, 3, 3, 3)), 0, 2)


def test_factors_save_and_load(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    found = weight_factors(of_weights(torch.randn(1, 4, 3, 3, generator=torch.Generator().manual_seed(0))), 0, 3)
    found.save(tmp_path / "factors.safetensors")
    again = WeightFactors.load(tmp_path / "factors.safetensors")
    assert bool((again.spatial == found.spatial).all())
    assert (again.error, again.unit, again.from_units) == (found.error, found.unit, found.from_units)


def test_icons_show_what_the_weights_ask_for() -> None:
    """One position excites by red, one by blue: their pictures are that."""
    colors = nn.Conv2d(3, 3, 1, bias=False)
    last = nn.Conv2d(3, 1, (1, 2), bias=False)
    with torch.no_grad():
        colors.weight.copy_(torch.eye(3).view(3, 3, 1, 1))
        last.weight.zero_()
        last.weight[0, 0, 0, 0], last.weight[0, 2, 0, 1] = 1.0, 1.0
        last.weight[0, 1] = -1.0
    model = nn.Sequential(colors, last)
    found = expanded_weights(model, "0", "1", (3, 8, 8))
    made, places = position_icons(model, found, 0, (3, 8, 8), steps=24, transform=None)
    assert places == [(0, 0), (0, 1)]
    red, blue = made.images.mean((2, 3))
    assert red[0] > max(red[1], red[2])
    assert blue[2] > max(blue[0], blue[1])
    against, _ = position_icons(model, found, 0, (3, 8, 8), steps=24, transform=None, inhibition=True, at=[(0, 0)])
    red, green, _ = against.images.mean((2, 3))[0]
    assert green > 0.5 > red or green > red + 0.02
    for at, words in (([(3, 3)], "there is no weight at"), ([], "nothing to draw")):
        with pytest.raises(ValueError, match=words):
            position_icons(model, found, 0, (3, 8, 8), at=at)
    some = expanded_weights(model, "0", "1", (3, 8, 8), from_units=[2])
    with pytest.raises(ValueError, match="expand them to all"):
        position_icons(model, some, 0, (3, 8, 8))


@pytest.fixture(scope="module")
def planted() -> CurveNetwork:
    return CurveNetwork(orientations=4, radius=RADIUS, lines=8).eval()


@pytest.fixture(scope="module")
def own(planted: CurveNetwork) -> ExpandedWeights:
    return expanded_weights(planted, "lines", "curves", (3, SIZE, SIZE))


@pytest.fixture(scope="module")
def lines(planted: CurveNetwork) -> torch.Tensor:
    return line_preferences(TuningCurve(planted, "lines", image_size=SIZE).orientation("line", width=3.0))


def test_line_units_prefer_their_planted_lines(lines: torch.Tensor) -> None:
    """Half of the angle of each, for that of a line is twice its own."""
    found = (lines.angle().rad2deg() / 2) % 180
    expected = torch.tensor([180.0 * place / 8 for place in range(8)])
    assert bool((((found - expected + 90) % 180 - 90).abs() < 5).all())


def test_weights_of_planted_curves_agree_with_those_by_hand(own: ExpandedWeights, lines: torch.Tensor) -> None:
    angles = [15.0 * place for place in range(24)]
    for unit, orientation in enumerate([0.0, 90.0, 180.0, 270.0]):
        found = weights_by_orientation(own.of(unit), lines, angles, [4.0, RADIUS, 9.0])
        best = int(found.flatten().argmax())
        assert angles[best % 24] == orientation
        by_hand = curve_weights(lines, odd_square(own), orientation, RADIUS)
        cosine = nn.functional.cosine_similarity(by_hand.flatten(), own.of(unit).flatten(), dim=0)
        assert float(found[1, angles.index(orientation)]) == pytest.approx(float(cosine), abs=1e-5)
    several = weights_by_orientation(own.of(0), torch.stack([lines, lines.flip(0)]), angles, [RADIUS])
    assert torch.allclose(several[0], weights_by_orientation(own.of(0), lines, angles, [RADIUS]))


def test_weights_put_back_do_what_the_unit_does(
    planted: CurveNetwork, own: ExpandedWeights, lines: torch.Tensor
) -> None:
    probe = TuningCurve(planted, "curves", image_size=SIZE)
    angles = [30.0 * place for place in range(12)]
    tuning = probe.orientation("curve", angles, [RADIUS])
    shown = torch.stack([curve(angle, RADIUS, SIZE) for angle in angles])
    agree: dict[str, float] = {}
    made = {"own": own.of(1), "by hand": curve_weights(lines, odd_square(own), 90, RADIUS)}
    made |= {"turned": curve_weights(lines, odd_square(own), 270, RADIUS)}
    for name, weights in made.items():
        back = PutBack(planted, own, 1, weights).fit(shown[::2])
        with back.in_place():
            replaced = probe.orientation("curve", angles, [RADIUS])
        assert torch.allclose(
            replaced.responses[[0, 2, 3]], tuning.responses[[0, 2, 3]]
        )  # other units are as they were
        agree[name] = correlation(replaced.responses[1], tuning.responses[1])
    assert agree["own"] > 0.999
    assert agree["by hand"] > 0.8
    assert not agree["turned"] > 0.3
    assert torch.allclose(probe.orientation("curve", angles, [RADIUS]).responses, tuning.responses)


def test_what_weights_by_hand_need_is_said(planted: CurveNetwork, own: ExpandedWeights, lines: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="square and odd"):
        odd_square(of_weights(torch.zeros(1, 2, 4, 4)))
    with pytest.raises(ValueError, match="square and odd"):
        odd_square(of_weights(torch.zeros(1, 2, 3, 5)))
    with pytest.raises(ValueError, match="no position in its middle"):
        curve_weights(lines, 4, 0, 3.0)
    with pytest.raises(ValueError, match="nothing to make a curve of"):
        curve_weights(torch.zeros(3, dtype=torch.complex128), 5, 0, 3.0)
    with pytest.raises(ValueError, match="weights have shape"):
        PutBack(planted, own, 0, torch.zeros(2, 3, 3))
    with pytest.raises(RuntimeError, match="call fit"):
        PutBack(planted, own, 0, own.of(0)).in_place()
    with pytest.raises(ValueError, match='measure that to "line"'):
        line_preferences(TuningCurve(planted, "lines", image_size=SIZE).orientation("corner", [0]))


def test_units_are_found_again_in_another_order_and_with_noise(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)
    first = torch.randn(80, 6, 2, generator=random)
    order = torch.tensor([3, 5, 0, 2, 1, 4])
    second = first[:, order] + torch.randn(80, 6, 2, generator=random)
    found = match_units(first, second, draws=100)
    assert order[found.best].tolist() == list(range(6))
    assert found.assigned.tolist() == found.best.tolist()
    assert found.found() == list(range(6))
    flat = [values.transpose(1, 2).reshape(-1, 6).numpy() for values in (first, second)]
    expected = np.corrcoef(flat[0].T, flat[1].T)[:6, 6:]
    assert np.abs(found.correlations.numpy() - expected).max() < 1e-6
    found.save(tmp_path / "matches.safetensors")
    assert UnitMatches.load(tmp_path / "matches.safetensors").best.tolist() == found.best.tolist()


def test_units_of_unrelated_networks_are_not_found_again() -> None:
    p_values = []
    for seed in range(8):
        random = torch.Generator().manual_seed(seed)
        found = match_units(torch.randn(30, 6, generator=random), torch.randn(30, 9, generator=random), draws=99)
        p_values += found.p_values.tolist()
        assert not found.found(0.01)
    assert stats.kstest(p_values, "uniform").pvalue > 0.01


def test_a_unit_that_is_the_same_on_all_images_has_no_match() -> None:
    first = torch.rand(20, 3, generator=torch.Generator().manual_seed(0))
    first[:, 1] = 0.3
    found = match_units(first, first, draws=20)
    assert found.best.tolist() == [0, -1, 2]
    assert found.assigned.tolist() == [0, -1, 2]
    assert found.p_values.isnan().tolist() == [False, True, False]
    broken = first.clone()
    broken[0, 0] = torch.nan
    given = [(first, first[:-1], "the same images"), (first[:2], first[:2], "at least 3"), (broken, first, "finite")]
    for a, b, words in given:
        with pytest.raises(ValueError, match=words):
            match_units(a, b)
    with pytest.raises(TypeError, match="first is a list"):
        match_units([[1.0]], first)  # type: ignore[arg-type]


def test_planted_clusters_are_counted_and_noise_is_one() -> None:
    pytest.importorskip("sklearn")
    random = np.random.default_rng(0)
    noise = [random.normal(size=(30, 3)), random.uniform(size=(40, 2))]
    assert [gap_statistic(points, 4, 10).count for points in noise] == [1, 1]
    centers = np.array([[0, 0], [9, 0], [0, 9]])
    three = np.concatenate(
        [random.normal(size=(size, 2)) + center for size, center in zip((8, 14, 10), centers, strict=True)]
    )
    found = gap_statistic(three, 5, 10)
    assert found.count == 3
    assert found.sizes == [14, 10, 8]
    assert set(found.labels[8:22]) == {0}
    assert gap_statistic(np.ones((5, 2))).count == 1


def test_examples_of_two_kinds_in_many_dimensions() -> None:
    pytest.importorskip("sklearn")
    random = np.random.default_rng(1)
    kinds = random.normal(size=(2, 200))
    examples = kinds[np.arange(24) % 2] * 3 + random.normal(size=(24, 200))
    assert example_clusters(examples, max_clusters=4, draws=10).sizes == [12, 12]
    one = kinds[0] * 3 + random.normal(size=(24, 200))
    assert example_clusters(one, max_clusters=4, draws=10).count == 1


@pytest.mark.parametrize("points", [np.ones(4), np.ones((2, 2)), np.full((4, 2), np.nan)], ids=["flat", "two", "nan"])
@pytest.mark.parametrize("count", [gap_statistic, example_clusters])
def test_points_that_cannot_be_clustered(points: np.ndarray, count: Callable[..., object]) -> None:
    with pytest.raises(ValueError, match=r"at least three|finite"):
        count(points)


def test_a_circuit_is_drawn_with_what_excites_apart_from_what_inhibits(tmp_path: Path) -> None:
    before = [Connection(4, 1, 2.0, 0.5, 3.0, -1.0, (0, 0)), Connection(7, 1, 1.0, 0.2, 0.0, -2.0, (1, 1))]
    after = [Connection(1, 9, 1.5, 0.4, 2.0, 0.0, (0, 0))]
    block = circuit_block(["a<b", "b", "c"], 1, before, after, {})
    assert [node.column for node in block.nodes] == [0, 0, 1, 2]
    html = render(Page("A circuit", lead=[block]), tmp_path)
    assert html.count('<g class="excites">') == 2
    assert html.count('<g class="inhibits">') == 1
    assert "unit 7 inhibits unit 1" in html
    assert "a&lt;b" in html
    assert Circuit.from_json(block.to_json()) == block
