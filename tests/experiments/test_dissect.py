"""Network dissection from the command line: what is found, what is drawn, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import cli
from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto.concept import (
    ADE20K,
    Broden,
    ConceptFolder,
    Dissection,
    ImageLevelConcepts,
    NetworkDissection,
    write_concept_folder,
)
from captum_proto.experiments.concept_source import open_concepts
from captum_proto.experiments.dissect import Dissect, best_units
from captum_proto.experiments.unit_pictures import highlighted
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import UnitRows
from captum_proto.report.views.dissection import draws_needed
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import PlantedNetwork, ShapeDataset

SIDE = 40


@pytest.fixture(scope="module")
def planted() -> NamedModel:
    return NamedModel("planted", PlantedNetwork(8).eval(), None, (3, SIDE, SIDE), resize_ratio=1.0)


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(60, size=SIDE, radius=(0.2, 0.2), drawn={"texture": ["plain"]}, seed=3)


@pytest.fixture(scope="module")
def dissected(planted: NamedModel, shapes: ShapeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("dissected") / "out"
    carry_out(Dissect(planted, shapes, ["exact", "logic"], 0.1, size=SIDE, draws=60, shown=3, examples=4), out)
    return out


def test_a_planted_network_has_its_page(dissected: Path, planted: NamedModel, shapes: ShapeDataset) -> None:
    found = Dissection.load(dissected / "dissection.safetensors")
    colors = [each.name for each in shapes.concepts if each.category == "color"]
    assert [label.concept.name for label in found["exact"].labels()] == colors
    expected = NetworkDissection(planted.model, ["exact"], 0.1, size=(SIDE, SIDE), draws=60).interpret(
        shapes, (SIDE, SIDE)
    )
    assert found["exact"].table() == expected["exact"].table()
    page = Page.load(dissected)
    assert re.match(r"Of 1[123] of 13 units", page.trust)
    rows = [block for section in page.sections for block in section.of(UnitRows)]
    assert [len(block.units) for block in rows] == [3, 2]
    assert all(len(unit.strips) == 2 and len(unit.strips[0].words) == 4 for unit in rows[0].units)
    html = (dissected / "report.html").read_text(encoding="utf-8")
    for words in (
        "Concepts at which units of planted fire",
        "the drawn shapes",
        "exact: 11 of 11 units detect a concept",
    ):
        assert words in html
    with open(dissected / "units.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 13 * len(shapes.categories)
    red = next(line for line in lines if (line["layer"], line["unit"], line["category"]) == ("exact", "8", "color"))
    assert (red["concept"], float(red["iou"]), red["detector"]) == ("red", 1.0, "True")


@pytest.mark.parametrize(("chunk", "count"), [(1, 4), (40, 2), (60, 1), (1000, 1)])
def test_chunks_find_exactly_what_one_pass_finds(
    chunk: int, count: int, planted: NamedModel, shapes: ShapeDataset, tmp_path: Path
) -> None:
    """A chunk has whole batches, at least one."""
    layers = ["exact", "logic"]
    protocol = Dissect(planted, shapes, layers, 0.1, size=20, draws=4, shown=1, examples=2, batch_size=18, chunk=chunk)
    found = carry_out(protocol, tmp_path / "out")
    assert protocol.provenance()["chunk"] == chunk
    assert len(list((tmp_path / "out" / "counts" / "00").iterdir())) == count
    expected = NetworkDissection(planted.model, layers, 0.1, size=(20, 20), draws=4).interpret(shapes, (SIDE, SIDE), 18)
    expected.save(tmp_path / "expected.safetensors")
    found.save(tmp_path / "found.safetensors")
    assert (tmp_path / "found.safetensors").read_bytes() == (tmp_path / "expected.safetensors").read_bytes()


def test_what_is_wrong_is_found_before_the_folder_is_touched(shapes: ShapeDataset, tmp_path: Path) -> None:
    flat = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.Flatten())
    named = NamedModel("flat", flat.eval(), None, (3, SIDE, SIDE), resize_ratio=1.0)
    for options, sentence in (
        ({"layers": ["0", "1"]}, 'layer "1" returns shape'),
        ({"layers": ["0"], "batch_size": 1}, "a batch of one has no labels of others"),
        ({"layers": ["0"], "chunk": 0}, "chunk is 0"),
    ):
        with pytest.raises(InputError, match=sentence):
            carry_out(Dissect(named, shapes, **options), tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_strips_show_where_a_unit_fires_and_where_its_concept_is(dissected: Path) -> None:
    """A unit that fires at its color exactly: both strips are the same."""
    for path in sorted((dissected / "pictures" / "00").glob("*_fires.png")):
        fires, concept = (
            np.asarray(Image.open(path.with_name(path.name.replace("fires", kind)))) for kind in ("fires", "concept")
        )
        assert np.array_equal(fires, concept)
    image = np.full((2, 2, 3), 200, dtype=np.uint8)
    assert highlighted(image, np.array([[True, False], [False, True]]))[:, :, 0].tolist() == [[200, 155], [155, 200]]


def test_the_best_units_are_of_different_concepts_first(dissected: Path) -> None:
    layer = Dissection.load(dissected / "dissection.safetensors")["logic"]
    assert sorted(best_units(layer, 5)) == [0, 1]
    assert draws_needed(layer) == 320  # 32 concepts and two units


def test_what_folders_hold_is_told(tmp_path: Path, shapes: ShapeDataset, planted: NamedModel) -> None:
    write_concept_folder(ShapeDataset(2, size=SIDE), tmp_path / "own", (SIDE, SIDE))
    assert isinstance(open_concepts(str(tmp_path / "own")), ConceptFolder)
    assert isinstance(open_concepts("shapes", count=5), ShapeDataset)
    for name in ("ash", "birch", "cedar"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(tmp_path / "classes" / name / f"{number}.png")
    names = ["ash", "birch", "cedar"]
    found = open_concepts(str(tmp_path / "classes"), names)
    assert isinstance(found, ImageLevelConcepts)
    assert [each.name for each in found.concepts] == names
    grouped = open_concepts(str(tmp_path / "classes"), names, {"leafy": "0-1", "tree": "0-2"})
    assert [[grouped.concepts[label - 1].name for label in grouped.labels(index).whole] for index in (0, 5)] == [
        ["leafy", "tree"],
        ["tree"],
    ]
    with pytest.raises(InputError, match="has labels of its own; leave out --group"):
        open_concepts(str(tmp_path / "own"), groups={"a": "1"})
    with pytest.raises(
        MissingFileError, match='there is no folder "nowhere"; give a folder of images with labels, or "shapes"'
    ):
        open_concepts("nowhere")
    for kind, files in ((Broden, ("index.csv", "label.csv")), (ADE20K, ("objectInfo150.txt",))):
        folder = tmp_path / kind.__name__
        folder.mkdir()
        for file in files:
            (folder / file).write_text("")
        with pytest.raises((ValueError, FileNotFoundError)):  # each its own, and none that says there are no classes
            open_concepts(str(folder))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    module = tmp_path / "small.py"
    layers = "Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(324, 3)"
    module.write_text(f"from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.{layers})\n")
    command = ["dissect", "--model", f"{module}:make", "--image-shape", "3", "40", "40", "--layers", "1"]
    command += ["--concepts", "shapes"]
    command += ["--count", "30", "--size", "20", "--shown", "2", "--examples", "3", "--out", str(out), "--no-progress"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "detectors" in printed
    assert (out / "detectors.png").exists()
    assert "Not known: with 20 draws of chance over so few units" in Page.load(out).trust
    assert "give --draws 160." in Page.load(out).trust
    assert cli.main([*command, "--resume"]) == 0
    for wrong, sentence in (
        (["--group", "dog"], '--group is "dog"; expected a name and classes'),
        (["--quantile", "2"], "quantile is 2.0; expected a share"),
        (["--layers", "3"], "which is no map with rows and columns"),
    ):
        assert cli.main([*command, *wrong, "--overwrite"]) == 1
        assert sentence in capsys.readouterr().err
