"""The circuit of a planted curve detector, from the command line to the page: the six checks tell it from a unit that is none."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path

import pytest
import torch
from PIL import Image

from captum_proto.circuits import ExpandedWeights, expanded_weights
from captum_proto.cli import main
from captum_proto.experiments.circuit import circuit_page
from captum_proto.experiments.circuit.checks import check_picture
from captum_proto.experiments.circuit.stimuli import noise_images, turned_examples
from captum_proto.report.circuit_blocks import Circuit
from captum_proto.report.page import Page
from captum_proto.report.views.circuit import UnitChecks
from captum_proto.testing import CurveNetwork, drawn_arcs

SIDE = 32
_FACTORY = """
    from captum_proto.testing import CurveNetwork

    IMAGE_SHAPE = (3, 32, 32)


    def planted():
        network = CurveNetwork(orientations=4, radius=6, lines=8)
        network.shapes.inplace = False
        return network.eval()
"""


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("given")
    (folder / "network.py").write_text(textwrap.dedent(_FACTORY))
    images, _ = drawn_arcs(24, SIDE, kinds=4, seed=3, noise=0.02, straight=0.0)
    (folder / "images").mkdir()
    for place, image in enumerate(images):
        pixels = (image * 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{place:02d}.png")
    return folder


def arguments(given: Path, *further: str) -> list[str]:
    options = ["circuit", "--model", f"{given / 'network.py'}:planted", "--image-shape", "3", str(SIDE), str(SIDE)]
    options += ["--layer", "curves", "--from-layer", "lines", "--to-layer", "shapes", "--unit", "1"]
    options += ["--radii", "4", "6", "9", "--width", "3", "--steps", "24", "--k", "4", "--shown", "3", "--no-progress"]
    return [*options, *further]


@pytest.fixture(scope="module")
def run(given: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sklearn")
    out = tmp_path_factory.mktemp("run") / "out"
    assert main(arguments(given, "--images", str(given / "images"), "--out", str(out))) == 0
    return out


def checks_of(folder: Path, unit: int) -> UnitChecks:
    return UnitChecks.from_json(json.loads((folder / "checks" / f"{unit:05d}.json").read_text(encoding="utf-8")))


def test_the_checks_find_a_planted_curve_detector(run: Path) -> None:
    found = checks_of(run, 1)
    assert found.orientation == 90
    assert found.radius == 6
    assert found.appearance == "light lines"
    results = {verdict.name: verdict.passed for verdict in found.verdicts}
    assert list(results) == [
        "Feature visualization",
        "Dataset examples",
        "Synthetic stimuli",
        "Weights",
        "Downstream units",
        "Weights by hand",
    ]
    wanted = dict.fromkeys(results, True)
    wanted["Downstream units"] = None  # of five later units no order is rare
    del wanted["Feature visualization"], results["Feature visualization"]  # of so few steps
    assert results == wanted
    joint = found.curves["examples turned"]
    assert joint[0] == pytest.approx(1)
    assert joint[12] < 0.5


def test_the_page_shows_the_circuit_and_can_be_made_again(run: Path) -> None:
    page = Page.load(run)
    (diagram,) = [block for block in page.lead if isinstance(block, Circuit)]
    assert {node.column for node in diagram.nodes} == {0, 1, 2}
    assert any(edge.weight < 0 for edge in diagram.edges)
    own = expanded_weights(CurveNetwork(orientations=4, radius=6, lines=8), "lines", "curves", (3, SIDE, SIDE))
    assert torch.allclose(ExpandedWeights.load(run / "incoming.safetensors").of(1), own.of(1), atol=1e-5)
    assert all((run / path).is_file() for path in page.files())
    (run / "page.json").unlink()
    assert main(["report", str(run)]) == 0
    assert vars(Page.load(run)) == vars(circuit_page(run))
    html = (run / "report.html").read_text(encoding="utf-8")
    assert "Weights by hand" in html


def test_every_connection_is_in_the_table(run: Path) -> None:
    lines = (run / "connections.csv").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1 + 8 + 5  # eight line units lead to it, and it leads to five later ones


def test_what_cannot_be_traced_is_said_before_the_folder_is_touched(
    given: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    for further, words in (
        (["--unit", "99"], "unit is 99"),
        (["--from-layer", "shapes"], "no path leads"),
        (["--to-layer", "lines"], "no path leads"),
        (["--factors", "0"], "factors is 0"),
        (["--radii", "-3"], "a radius is -3"),
        (["--images", str(given / "images"), "--k", "99"], "there are 24 images"),
        (["--other-model", "digits"], "needs a layer of it as well"),
        (["--frozen-at", "none.png"], 'there is no file "none.png"'),
        (["--layer", "curvez"], 'did you mean "curves"'),
    ):
        assert main([*arguments(given), *further, "--out", str(out)]) == 1
        assert words in capsys.readouterr().err
        assert not out.exists()


def test_a_picture_has_to_beat_images_and_other_pictures() -> None:
    assert check_picture(2.0, [1.0, 0.5], [0.3]).passed is True
    assert check_picture(2.0, [3.0], [0.3]).passed is False
    assert check_picture(2.0, [], [2.5]).passed is False
    assert check_picture(2.0, [], []).passed is None


def test_examples_are_turned_counterclockwise_about_their_middles() -> None:
    crop = torch.zeros(3, 8, 8)
    crop[:, 3:5, 5:8] = 1  # to the right of the middle
    made = turned_examples([crop], 16, [0.0, 90.0])
    assert made.shape == (1, 2, 3, 16, 16)
    right, up = made[0, :, 0] - crop[0].mean()
    assert right[7:9, 9:].sum() > 3
    assert up[:7, 7:9].sum() > 3
    assert made[0, 0, 0, 0, 0] == pytest.approx(float(crop.mean()))


def test_noise_is_the_same_each_time() -> None:
    assert bool((noise_images(8) == noise_images(8)).all())
    assert float(noise_images(8).min()) >= 0
