"""Descriptions from the command line: planted units get their names, a unit that fails leaves the others, and what is refused."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from captum_proto import cli
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.experiments.describe import Describe, described_layers
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import UnitRows
from captum_proto.report.views.descriptions import DescribedLayer, DescribedUnit
from captum_proto.runs.tasks import Run, carry_out
from captum_proto.testing import COLOR_TERMS, PlantedNetwork, ShapeDataset

SIDE = 40
COLORS = list(COLOR_TERMS)
#: A user's file: a network of known units, a captioner and a language model in closed form, and a two-tower model of mean colors.
FILE = '''
import math

import torch
from torch import nn

from captum_proto.models import TwoTower
from captum_proto.testing import COLOR_TERMS, PlantedNetwork

TEXTS = ["a shape", *(f"a {color} shape" for color in COLOR_TERMS)]
COLORS = torch.tensor(list(COLOR_TERMS.values()))


class Colors:
    def describe(self, images, masks, beam):
        near = (torch.cdist(images.permute(0, 2, 3, 1)[masks], COLORS) < 0.01).float().mean(0)
        return TEXTS[:beam], torch.cat([torch.tensor([0.9]), 0.05 * near + 1e-4]).log()[:beam]

    def log_probability(self, texts):
        return torch.tensor([math.log(0.9 if text == "a shape" else 1e-7) for text in texts])


class Sometimes(Colors):
    """NaN where it sees red."""

    def describe(self, images, masks, beam):
        texts, values = super().describe(images, masks, beam)
        return texts, values * (math.nan if values[1:].argmax() == 8 else 1)


class Near(nn.Module):
    """How much of an image is of each color."""

    def forward(self, images):
        return (torch.cdist(images.flatten(2).transpose(1, 2), COLORS) < 0.01).float().mean(1) + 1e-6


def network():
    model = PlantedNetwork(8).eval()
    model.image_shape = (3, 40, 40)
    return model


def flat():
    model = nn.Sequential(nn.Conv2d(3, 4, 5), nn.Flatten(), nn.Linear(5184, 3))
    model.image_shape = (3, 40, 40)
    return model


def colors():
    return Colors()


def sometimes():
    return Sometimes()


def two_tower():
    return TwoTower(Near(), lambda texts: torch.eye(11)[[list(COLOR_TERMS).index(text) for text in texts]])


def neither():
    return object()
'''


@pytest.fixture(scope="module")
def shapes() -> ShapeDataset:
    return ShapeDataset(150, size=SIDE, radius=(0.2, 0.2), drawn={"texture": ["plain"]}, seed=6)


@pytest.fixture(scope="module")
def planted() -> NamedModel:
    return NamedModel("planted", PlantedNetwork(8).eval(), None, (3, SIDE, SIDE), resize_ratio=1.0)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(FILE, encoding="utf-8")
    return path


def command(module: Path, out: Path, *options: str) -> list[str]:
    given = ["describe", "--model", f"{module}:network", "--layers", "exact", "--images", "shapes", "--count", "150"]
    return [*given, "--quantile", "0.95", "--out", str(out), "--no-progress", *options]


def of_file(module: Path, captioner: str = "colors") -> list[str]:
    return ["--captioner", f"{module}:{captioner}", "--language-model", f"{module}:colors"]


def rows_of(out: Path) -> list[dict[str, str]]:
    with open(out / "units.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_planted_units_get_their_names(module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert cli.main(command(module, out, *of_file(module), "--shown", "5", "--examples", "6")) == 0
    assert "exact, unit 8: a red shape" in capsys.readouterr().out
    rows = rows_of(out)
    assert [row["description"] for row in rows] == [f"a {color} shape" for color in COLORS]
    for row in rows:
        assert float(row["score"]) == pytest.approx(float(row["log_p_given"]) - 0.2 * float(row["log_p"]))
        assert float(row["specific"]) == 1.0
        assert float(row["p"]) == pytest.approx(1 / 21)
        assert row["failure"] == ""
    page = Page.load(out)
    assert page.trust.startswith("Of 11 of 11 units (100.0 %), in part")
    units = [unit for section in page.sections for block in section.of(UnitRows) for unit in block.units]
    assert len(units) == 5
    for unit in units:
        assert len(unit.strips[0].words) == 6
        assert (out / unit.strips[0].path).is_file()
        assert re.search(r"score -?[\d.]+|score −?[\d.]+", unit.facts[0])
    html = (out / "report.html").read_text(encoding="utf-8")
    for words in ("a red shape", "log p(d | E)", "against random exemplars", "Can this be trusted", "units.csv"):
        assert words in html
    assert cli.main(["report", str(out)]) == 0


def test_without_the_prior_all_are_a_shape_and_nothing_is_specific(module: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(command(module, out, *of_file(module)[:2], "--weight", "0", "--examples", "4")) == 0
    assert {row["description"] for row in rows_of(out)} == {"a shape"}
    page = Page.load(out)
    assert page.trust.startswith("No: no description")
    assert '"a shape" is that of 11' in " ".join(page.summary)


def test_a_unit_that_fails_leaves_the_others(module: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(command(module, out, *of_file(module, "sometimes"), "--chunk", "4", "--examples", "4")) == 0
    rows = rows_of(out)
    assert [row["description"] for row in rows if row["unit"] != "8"] == [
        f"a {color} shape" for color in COLORS if color != "red"
    ]
    assert 'Unit 8 of layer "exact": the captioner gives nan for text 0 of unit 8' in rows[8]["failure"]
    page = Page.load(out)
    assert any("the captioner gives nan" in sentence for sentence in page.failures)
    assert page.summary[0].endswith("10 of 11 units in 1 layer have a description.")


def test_a_unit_that_is_nowhere_above_its_quantile_is_told(module: Path, tmp_path: Path) -> None:
    """Nothing is above the highest value; so it is with units that are 0 or 1 once they fire at a share of what is left."""
    out = tmp_path / "out"
    options = ("--units", "exact=8,1", "--quantile", "1", "--examples", "3")
    assert cli.main(command(module, out, *of_file(module), *options)) == 0
    rows = rows_of(out)
    assert [row["unit"] for row in rows] == ["8", "1"]
    assert all("which is its highest value; give a lower quantile." in row["failure"] for row in rows)
    assert "no unit has a description" in Page.load(out).trust


@pytest.mark.parametrize("by", ["soft_wpmi", "wpmi"])
def test_words_of_planted_units(by: str, module: Path, tmp_path: Path) -> None:
    words, out = tmp_path / "words.txt", tmp_path / "out"
    words.write_text("\n".join(COLORS) + "\n\n", encoding="utf-8")
    options = ["--by", by, "--two-tower", f"{module}:two_tower", "--words", str(words), "--top-k", "15"]
    assert cli.main(command(module, out, *options, "--examples", "4")) == 0
    assert [row["description"] for row in rows_of(out)] == COLORS
    assert Page.load(out).trust.startswith("Of ")
    activations = {row["log_p"] for row in rows_of(out)}
    assert activations == {""}


def test_an_interrupted_run_goes_on(planted: NamedModel, shapes: ShapeDataset, module: Path, tmp_path: Path) -> None:
    """The captioner is asked for no unit again whose task was finished."""
    asked = []

    class Watched:
        def describe(self, images: Tensor, masks: Tensor, beam: int) -> tuple[list[str], Tensor]:
            asked.append(len(images))
            return ["a shape", "red"], torch.tensor([-0.5, -1.0])

    def protocol() -> Describe:
        return Describe(
            planted, shapes, ["exact"], captioner=Watched(), weight=0.0, k=4, quantile=0.95, chunk=4, draws=2
        )

    out, finish = tmp_path / "out", Run.finish
    calls = iter(range(100))

    def interrupted(self: Run, *args: object) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        finish(self, *args)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(protocol(), out)
    assert len(asked) == 8  # the second chunk was not recorded
    asked.clear()
    found = carry_out(protocol(), out, resume=True)
    assert len(asked) == 7 + 2  # of eleven units the last seven, and the control
    assert len(found["exact"].units) == 11
    assert described_layers(out)["exact"].control == [-0.5, -0.5]


def test_the_captioner_of_drawn_shapes_is_trained_first_and_kept(
    planted: NamedModel, shapes: ShapeDataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    few = {"steps": 2, "images": 200}
    protocol = Describe(planted, shapes, ["exact"], units=["2"], k=3, quantile=0.95, training=few, draws=2)
    found = carry_out(protocol, out)
    assert all(unit.text for unit in found["exact"].units)
    assert [(out / f"{name}.safetensors").is_file() for name in ("captioner", "language_model")] == [True, True]
    saved = (out / "captioner.safetensors").read_bytes()
    assert (out / "tasks" / "captioner.json").is_file()
    (out / "tasks" / "control" / "00.json").unlink()
    carry_out(
        Describe(planted, shapes, ["exact"], units=["2"], k=3, quantile=0.95, training=few, draws=2), out, resume=True
    )
    assert (out / "captioner.safetensors").read_bytes() == saved


def test_what_is_specific_to_a_unit() -> None:
    red = DescribedUnit(0, "red", 2.0, others=[("red", 2.0), ("blue", 0.0)])
    blue = DescribedUnit(1, "blue", 1.0, others=[("blue", 1.0), ("red", 2.5)])
    also = DescribedUnit(2, "red", 0.5, others=[("red", 0.5)])
    none = DescribedUnit(3, failure="Unit 3 is silent.")
    layer = DescribedLayer("layer", [red, blue, also, none], [-1.0, 0.7, 1.5])
    assert layer.specificity(red) == 0.0  # blue's exemplars have more of it
    assert layer.specificity(blue) == 1.0
    assert [layer.p_value(unit) for unit in (red, blue, also)] == [0.25, 0.5, 0.75]
    assert DescribedLayer("layer", [red, also], []).specificity(red) is None
    assert DescribedLayer("layer", [red, also], []).p_value(red) is None


def test_what_cannot_be_described_gets_a_sentence(
    module: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, empty, twice = tmp_path / "out", tmp_path / "empty.txt", tmp_path / "twice.txt"
    empty.write_text("\n \n")
    twice.write_text("red\nblue\nred\n")
    flat = ["--model", f"{module}:flat", "--layers", "2"]
    by = ["--by", "soft_wpmi", "--two-tower", f"{module}:two_tower"]
    for wrong, sentence in (
        (["--by", "soft_wpmmi"], 'by is "soft_wpmmi"; did you mean "soft_wpmi"'),
        ([*by], "there are no words to choose from, which soft_wpmi needs"),
        ([*by, "--words", str(empty)], f'"{empty}" holds no words; give a file with one word'),
        ([*by, "--words", str(twice)], 'the words have "red" twice; give each once'),
        ([*by, "--words", str(tmp_path / "no.txt")], "there is no file"),
        (["--by", "wpmi", "--words", str(twice)], 'the words have "red" twice'),
        ([*flat, *of_file(module)], 'layer "2" returns shape (N, 3); expected a map with a unit 0.'),
        (["--captioner", f"{module}:neither"], "captioner is a object, which has no method describe"),
        (["--captioner", f"{module}:colors"], "weight is 0.2, but language_model is None"),
        (["--captioner", "mine"], '"mine" is no function in a Python file; give FILE.py:FACTORY.'),
        (["--captioner", f"{module}:color"], 'has no function "color"'),
        (["--language-model", f"{module}:colors"], "language_model was given without captioner"),
        ([*of_file(module), "--count", "3"], "k is 15, but there are 3 images"),
        ([*of_file(module), "--units", "exact=11"], 'unit is 11; layer "exact" has units 0 to 10'),
        (["--weight", "-1"], "weight is -1.0; expected a finite number"),
        (["--quantile", "2", *of_file(module)], "quantiles holds 2.0"),
        (["--draws", "0", *of_file(module)], "draws is 0; expected at least 1"),
    ):
        given = command(module, out, *wrong)
        if "--model" in wrong:
            given = [each for place, each in enumerate(given) if each not in ("exact",) and place not in (1, 2, 3)]
        assert cli.main(given) == 1, wrong
        assert sentence in capsys.readouterr().err, wrong
        assert not out.exists(), wrong


def test_a_two_tower_model_is_needed(planted: NamedModel, shapes: ShapeDataset) -> None:
    with pytest.raises(
        InputTypeError, match="two_tower is missing; wpmi needs an object with the methods image and text"
    ):
        Describe(planted, shapes, ["exact"], by="wpmi", words=["red"])
    with pytest.raises(InputTypeError, match="two_tower is a Linear"):
        Describe(planted, shapes, ["exact"], by="wpmi", words=["red"], two_tower=nn.Linear(1, 1))  # type: ignore[arg-type]
    gray = NamedModel("gray", nn.Conv2d(1, 2, 3), None, (1, 8, 8), resize_ratio=1.0)
    with pytest.raises(InputError, match="the drawn shapes are in color, and the model takes 1 channels"):
        Describe(gray, "shapes", [""]).images  # noqa: B018
    assert json.loads(json.dumps(Describe(planted, shapes, ["exact"]).provenance()))["images"] == "the drawn shapes"
