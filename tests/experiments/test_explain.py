"""Formulas of units from the command line: what is found, what is drawn, what is said, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from captum_proto import cli
from captum_proto.concept import ExplainedLayer, parse_formula
from captum_proto.experiments.explain import Explain
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Table
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import UnitRows
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import PlantedNetwork, ShapeDataset

SIDE = 40
#: What units of logic fire at. A pixel has one color, so that the last part of the second says nothing, and the search leaves it out.
LOGIC = {0: "blue OR red", 1: "green OR red"}


@pytest.fixture(scope="module")
def planted() -> NamedModel:
    return NamedModel("planted", PlantedNetwork(8).eval(), None, (3, SIDE, SIDE), resize_ratio=1.0)


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(60, size=SIDE, radius=(0.2, 0.2), drawn={"texture": ["plain"]}, seed=3)


@pytest.fixture(scope="module")
def explained(planted: NamedModel, shapes: ShapeDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("explained") / "out"
    # The units of logic are above zero at up to a fifth of the pixels.
    carry_out(Explain(planted, shapes, ["exact", "logic"], draws=12, quantile=0.2, size=SIDE, shown=3, examples=4), out)
    return out


def test_planted_formulas_are_found_and_told(explained: Path, shapes: ShapeDataset) -> None:
    exact, logic = (ExplainedLayer.load(explained / "layers" / f"{place}.json") for place in ("00", "01"))
    colors = [each.name for each in shapes.concepts if each.category == "color"]
    assert [
        each.formula.text(shapes.concepts) for each in exact.explanations
    ] == colors  # none is longer than it has to be
    for unit, text in LOGIC.items():
        found = logic.explanations[unit]
        assert found.iou == 1.0
        assert found.best[0][1] < 1
        assert found.formula.equivalent(parse_formula(text, shapes.concepts))
    page = Page.load(explained)
    assert page.trust.startswith("Of 13 of 13 units (100.0 %), yes")
    assert re.search(
        r"logic: on average over units, IoU 0\.\d+ with one concept, 1\.000 with a formula, and 0\.\d+ with",
        page.summary[2],
    )
    rows = [block for section in page.sections for block in section.of(UnitRows)]
    assert [len(block.units) for block in rows] == [3, 2]
    assert all(len(unit.strips) == 2 and len(unit.strips[0].words) == 4 for unit in rows[0].units)
    tables = [block for section in page.sections for block in section.of(Table)]
    assert [len(table.rows) for table in tables] == [11, 2, 2]
    assert tables[2].rows[1][:4] == ["logic", *(str(logic.operators()[name]) for name in ("or", "and", "and_not"))]


def test_files(explained: Path, shapes: ShapeDataset) -> None:
    with open(explained / "formulas.csv", newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 13
    for line in lines:
        parse_formula(line["formula"], shapes.concepts)
        assert float(line["iou"]) == int(line["together"]) / (
            int(line["fired"]) + int(line["area"]) - int(line["together"])
        )
        assert float(line["chance"]) < float(line["iou"])
    assert (explained / "agreement.png").exists()
    html = (explained / "report.html").read_text(encoding="utf-8")
    for words in ("Formulas of concepts for units of planted", "the drawn shapes", "logic, unit 0: ", "by chance"):
        assert words in html
    for path in sorted((explained / "pictures").rglob("*_fires.png")):  # a unit that fires where its formula is true
        fires, true = (
            np.asarray(Image.open(path.with_name(path.name.replace("fires", kind)))) for kind in ("fires", "formula")
        )
        assert np.array_equal(fires, true)


def test_an_exact_search_says_so(planted: NamedModel, shapes: ShapeDataset, tmp_path: Path) -> None:
    protocol = Explain(
        planted, shapes, ["logic"], search="exact", length=2, draws=3, quantile=0.2, size=SIDE, shown=1, examples=1
    )
    (found,) = carry_out(protocol, tmp_path / "out")
    assert all(each.proved for each in found.explanations)
    assert "proved: no formula is better" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    trust = Page.load(tmp_path / "out").trust
    assert "with 3 draws of chance over so few units no formula can be told from chance" in trust


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, module = tmp_path / "out", tmp_path / "small.py"
    layers = "Conv2d(3, 4, 5, stride=4), nn.ReLU(), nn.Flatten(), nn.Linear(324, 3)"
    module.write_text(f"from torch import nn\n\n\ndef make():\n    return nn.Sequential(nn.{layers})\n")
    command = [
        "explain",
        "--model",
        f"{module}:make",
        "--image-shape",
        "3",
        "40",
        "40",
        "--layers",
        "1",
        "--concepts",
        "shapes",
    ]
    command += ["--count", "30", "--size", "20", "--shown", "2", "--examples", "3", "--length", "2", "--draws", "0"]
    command += ["--operators", "or", "and", "--out", str(out), "--no-progress"]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "one concept" in printed
    assert " AND NOT " not in printed
    assert "at least 3 draws of chance say how much" in Page.load(out).trust
    (out / "layers" / "00.json").unlink()  # the masks stay, the search is made again
    before = (out / "masks" / "masks.bits").stat().st_mtime_ns
    assert cli.main([*command, "--resume"]) == 0
    assert (out / "masks" / "masks.bits").stat().st_mtime_ns == before
    capsys.readouterr()
    for wrong, sentence in (
        (["--length", "0"], "length is 0"),
        (["--search", "exact", "--length", "4"], "an exact search goes to 3 concepts"),
        (["--draws", "-1"], "draws is -1"),
        (["--group", "dog"], '--group is "dog"; expected a name and classes'),
        (["--layers", "3"], "which is no map with rows and columns"),
    ):
        assert cli.main([*command, *wrong, "--overwrite"]) == 1
        assert sentence in capsys.readouterr().err
