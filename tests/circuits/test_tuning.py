"""Stimuli against geometry, and tuning curves of planted and of trained curve detectors."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from captum_proto.circuits import Tuning, TuningCurve, corner, curve, edge, high_low_frequency, line, turned
from captum_proto.testing import ArcClassifier, CurveNetwork, train_arc_classifier

RADIUS, SIZE = 8.0, 44


@pytest.fixture(scope="module")
def planted() -> CurveNetwork:
    return CurveNetwork(radius=RADIUS).eval()


@pytest.fixture(scope="module")
def curves(planted: CurveNetwork) -> Tuning:
    """Every 7.5 degrees, so that a peak is told within these."""
    angles = [7.5 * place for place in range(48)]
    return TuningCurve(planted, "curves", image_size=SIZE).orientation("curve", angles, [RADIUS])


def test_an_arc_is_where_the_circle_is() -> None:
    """The pixels that are drawn, against a circle's equation."""
    radius, size = 20.0, 101
    drawn = curve(90, radius, size, angular_width=170, width=1.0)[0]
    rows, columns = (drawn > 0.5).nonzero().unbind(1)
    up, right = size // 2 - rows.float(), columns.float() - size // 2
    far = ((up + radius).square() + right.square()).sqrt()
    on_arc = torch.atan2(right, up + radius).abs() < math.radians(80)
    assert on_arc.sum() > 40
    assert bool(((far - radius).abs()[on_arc] < 0.75).all())


def test_a_filled_corner_has_the_area_of_its_angle() -> None:
    for angle in (60.0, 90.0, 120.0):
        drawn = corner(0, 201, angle=angle, style="fill", window=60.0)[0]
        whole = curve(0, 1e6, 201, style="fill", window=60.0)[0]
        assert float(drawn.sum() / whole.sum()) == pytest.approx(angle / 180, abs=0.03)


def test_orientations_turn_all_stimuli_alike() -> None:
    for draw in (lambda angle: curve(angle, 12, 65), lambda angle: line(angle, 65), lambda angle: edge(angle, 65)):
        assert torch.allclose(draw(90), draw(0).rot90(1, (1, 2)), atol=1e-3)
        assert torch.allclose(draw(213), draw(33).rot90(2, (1, 2)), atol=1e-3)


def test_a_curve_touches_the_line_of_its_orientation() -> None:
    bent, straight = curve(30, 25, 65)[0], line(30, 65)[0]
    assert bent[32, 32] == straight[32, 32] == 1
    assert torch.allclose(curve(30, 1e6, 65)[0], straight, atol=1e-2)
    assert torch.allclose(curve(30, 0, 65), corner(30, 65))


def test_fine_and_coarse_patterns_have_the_contrast_but_not_the_frequency() -> None:
    drawn = high_low_frequency(0, 4.0, 128, period=8.0)[0]
    coarse, fine = drawn[:, :60], drawn[:, 68:]
    assert float(fine.std()) == pytest.approx(float(coarse.std()), rel=0.1)
    spectra = [torch.fft.rfft2(part - part.mean()).abs() for part in (coarse, fine)]
    peaks = [int(spectrum.amax(1)[:64].argmax()) for spectrum in spectra]
    assert peaks == [128 // 32, 128 // 8]


def test_a_planted_arc_peaks_at_its_orientation_and_at_little_else(planted: CurveNetwork, curves: Tuning) -> None:
    probe = TuningCurve(planted, "curves", image_size=SIZE)
    straight, sharp = probe.orientation("line"), probe.orientation("corner")
    blank = float(curves.blank.max())
    assert blank == 0
    for row, orientation in enumerate(planted.orientations):
        peak = float(curves.peak[row])
        assert abs(turned(curves.preferred[row][0] - orientation)) <= 7.5
        assert curves.at(row, orientation + 180) < 0.30 * peak
        assert float(straight.peak[row]) < 0.60 * peak
        assert float(sharp.peak[row]) < 0.60 * peak
        assert 10 < curves.half_width(row) < 60


def covered(network: ArcClassifier) -> set[int]:
    """
    The orientations, of eight, of which a curve detector gives at least half of its greatest response: a unit to which neither the opposite
    curve nor a line is nearly as good, by the bounds of the six checks.
    """
    probe = TuningCurve(network, "curves", image_size=20)
    found, straight = probe.orientation("curve", radii=[5.0, 6.0], width=2.0), probe.orientation("line", width=2.0)
    places = set()
    for row, (orientation, _) in enumerate(found.preferred):
        peak = float(found.peak[row])
        if peak > 0 and found.at(row, orientation + 180) < 0.3 * peak and float(straight.peak[row]) < 0.6 * peak:
            places |= {place for place in range(8) if found.at(row, 45 * place) >= 0.5 * peak}
    return places


def test_a_network_trained_on_arcs_has_units_for_all_orientations_and_an_untrained_one_has_not() -> None:
    assert covered(train_arc_classifier()) == set(range(8))
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        untrained = ArcClassifier().eval()
    assert len(covered(untrained)) < 4


def test_pools_look_where_they_say(planted: CurveNetwork) -> None:
    image = torch.zeros(1, 3, SIZE, SIZE)
    image[..., :4, :] = 1  # a border far from the middle
    found = {
        pool: TuningCurve(planted, "lines", image_size=SIZE, pool=pool).responses(image)[0]
        for pool in ("center", "max", "middle")
    }
    assert float(found["max"].max()) > 0.1
    assert float(found["center"].max()) < 1e-3
    assert bool((found["middle"] <= found["center"]).all())


def test_some_units_and_files(planted: CurveNetwork, tmp_path: Path) -> None:
    one = TuningCurve(planted, "curves", unit=3, image_size=SIZE).orientation("curve", [0, 135], [RADIUS])
    assert one.responses.shape == (1, 1, 2)
    assert one.preferred == [(135.0, RADIUS)]
    one.save(tmp_path / "tuning.safetensors")
    again = Tuning.load(tmp_path / "tuning.safetensors")
    assert bool((again.responses == one.responses).all())
    assert again.preferred == one.of(3).preferred
    with pytest.raises(ValueError, match="give one of these"):
        one.of(4)


def test_gray_networks_see_gray_stimuli() -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3))
    found = TuningCurve(model, "0", image_size=16, channels=1).orientation("line", [0, 45])
    assert found.responses.shape == (2, 1, 2)


def responses_of(values: list[float]) -> Tuning:
    steps = [360 * place / len(values) for place in range(len(values))]
    return Tuning(torch.tensor(values).view(1, 1, -1), torch.zeros(1), "curve", steps, [1.0], [0], "layer")


def test_half_width_is_where_a_triangle_is_at_half() -> None:
    triangle = [max(0.0, 1 - abs(turned(15.0 * place)) / 60) for place in range(24)]
    assert responses_of(triangle).half_width(0) == pytest.approx(30)
    assert math.isnan(responses_of([1.0] * 24).half_width(0))
    assert math.isnan(responses_of([0.0] * 24).half_width(0))


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda net: TuningCurve(net, "nope"), 'no layer "nope"'),
        (lambda net: TuningCurve(net, "curves", pool="mean"), 'pool is "mean"'),
        (lambda net: TuningCurve(net, "curves", channels=4), "4 channels"),
        (lambda net: TuningCurve(net, "curves", image_size=SIZE).orientation("curv"), 'did you mean "curve"'),
        (lambda net: TuningCurve(net, "curves", image_size=SIZE).orientation("line", radii=[3.0]), "which has none"),
        (
            lambda net: TuningCurve(net, "curves", image_size=SIZE).orientation("curve", [], [3.0]),
            "at least one number",
        ),
        (lambda net: TuningCurve(net, "curves", unit=99, image_size=SIZE).orientation("line", [0]), "units 0 to 7"),
        (lambda net: curve(0, -1.0), "radius is -1.0"),
        (lambda net: curve(0, math.nan), "radius is nan"),
        (lambda net: curve(0, 3.0, angular_width=180), "angular_width is 180"),
        (lambda net: curve(0, 3.0, style="dots"), 'style is "dots"'),
        (lambda net: line(0, foreground=(1.0, 2.0, 0.0)), "foreground is"),
        (lambda net: high_low_frequency(0, 0.5), "ratio is 0.5"),
    ],
)
def test_bad_input_is_a_sentence(act: object, words: str, planted: CurveNetwork) -> None:
    with pytest.raises(ValueError, match=words):
        act(planted)  # type: ignore[operator]


def test_drawn_stimuli_stay_within_their_colors() -> None:
    drawn: list[Tensor] = [
        curve(10, 8, 32, foreground=(1.0, 0.5, 0.0), background=0.25, window=9.0),
        high_low_frequency(20, size=32),
    ]
    assert all(float(each.min()) >= 0 and float(each.max()) <= 1 for each in drawn)
    assert drawn[0][:, 0, 0].tolist() == [0.25] * 3
