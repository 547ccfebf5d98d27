"""The command ``dictionary``: its files, its page, and what it is told wrong."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from captum_proto.cli import main
from captum_proto.experiments.dictionary import Dictionary
from captum_proto.experiments.report import report_on
from captum_proto.features import ActivationGridResult, NeuronGroupsResult, SemanticDictionaryResult
from captum_proto.models import NamedModel
from captum_proto.report.figures import to_display
from captum_proto.report.page import Page
from captum_proto.report.positions import Positions
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import QuadrantNetwork, quadrant_pictures

NAMES = ["calm", "<script>alert(1)</script>"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of quadrants as files: one to look at, and a folder of further ones, of which some have one texture only."""
    folder = tmp_path_factory.mktemp("quadrants")
    pictures, _ = quadrant_pictures(6, seed=2)
    (folder / "others").mkdir()
    Image.fromarray(to_display(pictures[0])).save(folder / "<b>picture&.png")
    for number, picture in enumerate(pictures[1:]):
        Image.fromarray(to_display(picture)).save(folder / "others" / f"{number}.png")
    return folder


def protocol(folder: Path) -> Dictionary:
    named = NamedModel("quadrants", QuadrantNetwork(), None, (3, 32, 32), NAMES, resize_ratio=1.0)
    choices = {"top": 2, "groups": 4, "steps": 2, "picture_size": 8, "batch_size": 20}
    return Dictionary(named, folder / "<b>picture&.png", "features", images=folder / "others", **choices)


@pytest.fixture(scope="module")
def finished(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    carry_out(protocol(folder), out)
    return out


def test_its_files_hold_what_is_planted(finished: Path) -> None:
    found = SemanticDictionaryResult.load(finished / "dictionary.safetensors")
    _, textures = quadrant_pictures()
    assert torch.equal(found.units[0], 2 * textures[0])
    assert found.pictures.shape == (8, 3, 8, 8)
    assert found.examples.shape == (8, 4)
    assert found.settings["target"] == [[1]]  # the class that the network gives the picture
    assert NeuronGroupsResult.load(finished / "groups.safetensors").icons.shape == (4, 3, 8, 8)
    grid = ActivationGridResult.load(finished / "grid.safetensors")
    assert grid.icons.shape == (1, 8, 8, 3, 8, 8)
    numbers = json.loads((finished / "numbers.json").read_text())
    recorded = json.loads((finished / "settings.json").read_text())["recorded"]
    assert recorded["grid_cosine"] == pytest.approx(float(grid.cosines.mean()))
    assert recorded["score_of"] == f"the logit of “{NAMES[1]}”"
    image = numbers["image"]
    # Two channels are all that is active at a position; of axes drawn at random, two are not. The network is linear from there on.
    assert image["mean_explained"] == pytest.approx(1)
    assert 0.3 < image["mean_explained_by_chance"] < 0.8
    assert image["total"] == pytest.approx(image["score"], abs=1e-5)
    assert numbers["path_total"] == pytest.approx(numbers["path_difference"], abs=1e-5)
    assert image["residual"] == pytest.approx(0, abs=1e-4)
    assert image["error"] < 1e-2 < image["shuffled_error"]  # a file has 8 bits
    with Image.open(finished / "examples.png") as sheet:
        assert sheet.size == (4 * 72, 8 * 72)


def test_its_page_needs_nothing_else_and_escapes_names(finished: Path, folder: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<b>picture" not in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#|[^"':]*\.(?:safetensors|json|png)["'])[^"']*""", page)
    assert not re.findall(r"""url\((?!["']?data:)""", page)
    assert str(folder) not in page


def test_every_position_can_be_chosen_without_a_script(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    found = SemanticDictionaryResult.load(finished / "dictionary.safetensors")
    inputs = re.findall(r'<input type="radio" name="positions-1" id="(positions-1-\d+-\d+)"[^>]*?( checked)?>', page)
    assert len(inputs) == 64
    row, column = found.start
    assert [name for name, checked in inputs if checked] == [f"positions-1-{row}-{column}"]
    for name, _ in inputs:
        place = name.removeprefix("positions-1-")
        assert page.count(f'for="{name}"></label>') == 1
        assert f"#{name}:checked ~ .at-positions .p{place} {{ display: block; }}" in page
        assert page.count(f'class="position p{place}"') == 1
    shown = page[page.index(f'class="position p{row}-{column}"') :][:2500]
    entry = found.position(row, column)[0]
    assert f"channel {entry.unit}</b>" in shown
    assert f"activation {entry.activation:.2f}, {100 * entry.share:.1f} %" in shown
    assert f"attribution {entry.attribution:+.3f}".replace("-", "−") in shown


def test_the_page_is_made_again_from_the_files(finished: Path) -> None:
    before = (finished / "report.html").read_bytes()
    description = (finished / "page.json").read_bytes()
    (finished / "page.json").unlink()
    report_on(finished)
    assert (finished / "report.html").read_bytes() == before
    assert (finished / "page.json").read_bytes() == description
    (block,) = Page.load(finished).lead
    assert isinstance(block, Positions)
    assert block.within("part").files() == ["part/dictionary.safetensors", "part/examples.png"]


def test_a_map_that_is_fine_is_shown_at_some_positions_and_an_empty_one_says_so(tmp_path: Path) -> None:
    from captum_proto.report.context import Context

    found = SemanticDictionaryResult(
        torch.rand(1, 60, 60),
        torch.zeros(1, 60, 30, dtype=torch.int64),
        torch.zeros(1, 60, 30),
        torch.full((1, 60, 30), torch.nan),
        torch.zeros(60, 30),
    )
    found.save(tmp_path / "d.safetensors")
    values = Positions("d.safetensors").render(Context(tmp_path, []))
    assert values is not None
    assert (values["rows"], values["columns"], values["step"]) == (20, 10, 3)
    rows = [line[0]["row"] for line in values["places"]]
    assert rows == list(range(1, 60, 3))
    assert values["start"] in [(place["row"], place["column"]) for line in values["places"] for place in line]
    assert all(not place["entries"] for line in values["places"] for place in line)
    context = Context(tmp_path, [])
    assert Positions("nothing.safetensors").render(context) is None
    assert context.failures


def test_bad_input_is_a_sentence_before_the_folder_is_touched(folder: Path, tmp_path: Path) -> None:
    right = protocol(folder)
    out = tmp_path / "out"
    for wrong, words in [
        ({"layer": "head"}, "no positions in rows and columns; choose a layer that has"),
        ({"layer": "feature"}, 'no layer "feature".*did you mean "features"'),
        ({"top": 9}, "top is 9, but"),
        ({"groups": 9}, "n_groups is 9, but"),
        ({"target": (2,)}, "target 2 is out of range"),
        ({"picture_size": 3}, "picture_size is 3"),
        ({"image": folder / "none.png"}, "cannot be read: No such file"),
        ({"steps": -1}, "steps is -1"),
    ]:
        with pytest.raises((ValueError, OSError), match=words):
            carry_out(replace(right, **wrong), out)
        assert not out.exists()


def test_the_command_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = tmp_path / "net.py"
    module.write_text(
        "from captum_proto.testing import QuadrantNetwork\n\n\ndef make():\n    return QuadrantNetwork()\n"
    )
    given = [
        "dictionary",
        "--model",
        f"{module}:make",
        "--image",
        str(folder / "others" / "0.png"),
        "--layer",
        "features",
    ]
    quick = ["--steps", "1", "--picture-size", "8", "--no-grid", "--groups", "0", "--no-progress"]
    out = ["--out", str(tmp_path / "out")]
    assert main([*given, *quick, "--target", "0", "--contrast", "1", *out]) == 0
    said = capsys.readouterr().out
    assert re.search(r"row \d, column \d of 8 × 8: channel, activation, share, attribution", said)
    assert not (tmp_path / "out" / "grid.png").exists()
    assert not (tmp_path / "out" / "groups.png").exists()
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "the logit of “class 0” against “class 1”" in re.sub(r"<a [^>]*>|</a>", "", page)
    assert main([*given, *quick, "--layer", "head", "--out", str(tmp_path / "other")]) == 1
    assert "no positions" in capsys.readouterr().err
    assert main([*given[:4], "nothing.png", *given[5:], *out]) == 1
    assert capsys.readouterr().err
