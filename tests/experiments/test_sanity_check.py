"""The command sanity-check: its table, its page, and what it cannot do."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch
from networks import seeded
from torch import nn

from captum_proto.cli import main
from captum_proto.data import TensorCollection
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.report import report_on
from captum_proto.experiments.sanity_check import METHODS, SanityCheck
from captum_proto.metrics.randomization import SanityTable
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import UnitRows
from captum_proto.runs.tasks import carry_out

NAMES = ["ash", "birch", "cedar"]


def trees() -> NamedModel:
    layers = seeded(lambda: [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)])
    return NamedModel("trees", nn.Sequential(*layers).eval(), None, (3, 8, 8), NAMES, resize_ratio=1.0)


def photos() -> NaturalImages:
    images = torch.rand(9, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return NaturalImages(TensorCollection(images, torch.arange(9) % 3, name="drawn"), trees().geometry, NAMES)


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SanityTable]:
    folder = tmp_path_factory.mktemp("sanity") / "out"
    protocol = SanityCheck(
        trees(),
        photos(),
        [(0,)],
        methods=["saliency", "grad_cam"],
        inputs=3,
        stages=2,
        seeds=[0, 1],
        similarity=["spearman"],
        options={"steps": 2, "warmup_steps": 1, "transform": None},
        path_layers=["0", "3"],
    )
    return folder, carry_out(protocol, folder)


def test_every_control_is_as_it_must_be_and_every_method_has_a_verdict(ran: tuple[Path, SanityTable]) -> None:
    folder, table = ran
    assert [row[-1] for row in table.control_rows()] == ["yes"] * 4
    with (folder / "verdicts.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["measure"], row["published"]) for row in rows] == [
        ("Saliency", "spearman", "passes"),
        ("LayerGradCam", "spearman", "passes"),
        ("prototypes", "class", ""),
        ("prototypes", "path", ""),
    ]
    with (folder / "similarities.csv").open() as file:
        found = {
            (row["method"], int(row["place"])): row for row in csv.DictReader(file) if row["measure"] == "spearman"
        }
    assert all(float(found["edge detector", place]["similarity"]) == 1 for place in range(3))
    assert float(found["Saliency", 0]["similarity"]) == 1
    assert float(found["Saliency", 2]["similarity"]) < 1
    assert "edge detector" in (folder / "verdicts.txt").read_text(encoding="utf-8")


def test_the_page_shows_maps_beside_the_edge_detector(ran: tuple[Path, SanityTable]) -> None:
    folder, _ = ran
    page = Page.load(folder)
    (lead,) = page.lead
    assert isinstance(lead, UnitRows)
    assert lead.units[0].name == "edge detector"
    assert "prototypes" in {unit.name for unit in lead.units}
    assert all((folder / path).is_file() for path in page.files())
    titles = [section.title for section in page.sections]
    assert titles[0] == "Side by side"
    assert {"Prototypes", "Controls", "Stage by stage"} <= set(titles)
    assert "too small" not in " ".join(page.left_out)
    before = (folder / "page.json").read_bytes()
    (folder / "page.json").unlink()
    report_on(folder)  # from the results alone
    assert (folder / "page.json").read_bytes() == before


def test_layers_one_by_one_have_no_verdict(tmp_path: Path) -> None:
    named = trees()
    images = photos()
    protocol = SanityCheck(named, images, methods=["saliency"], inputs=2, seeds=[3], order="independent")
    with pytest.raises(ValueError, match="stages is 4, but the model has 2 modules"):
        carry_out(protocol, tmp_path / "out")
    protocol = SanityCheck(
        named, images, methods=["saliency"], inputs=2, seeds=[3], order="independent", stages=["0", "3"]
    )
    table = carry_out(protocol, tmp_path / "out")
    assert not table.verdicts()
    page = Page.load(tmp_path / "out")
    assert any("one by one" in text for text in page.left_out)
    assert any("ssim and hog: images of 8 by 8 are too small" in text for text in page.left_out)


def test_every_method_can_be_made_and_run(tmp_path: Path) -> None:
    named = trees()
    images = photos()
    protocol = SanityCheck(
        named,
        images,
        methods=list(METHODS),
        inputs=2,
        seeds=[0],
        stages=1,
        similarity=["spearman"],
        n_steps=3,
        nt_samples=2,
    )
    table = carry_out(protocol, tmp_path / "out")
    assert list(table.results) == [method.label for method in METHODS.values()]
    assert [row[-1] for row in table.control_rows()].count("no") == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"methods": ["salency"]}, 'there is no method "salency"; did you mean "saliency"?'),
        ({"methods": []}, "neither a method nor a class"),
        ({"inputs": 1}, "inputs is 1; expected at least 2"),
        ({"margin": 0.0}, "margin is 0.0"),
        ({"similarity": ["hog"]}, "hog looks at no less than 48 pixels a side"),
        ({"layer": "7"}, 'there is no layer "7"'),
        ({"init": "zeros"}, "init is 'zeros'"),
    ],
)
def test_bad_input_is_a_sentence_before_anything_is_made(options: dict, words: str, tmp_path: Path) -> None:
    named = trees()
    images = photos()
    with pytest.raises(ValueError, match=words):
        carry_out(SanityCheck(named, images, **{"stages": 1, "seeds": [0], **options}), tmp_path / "out")
    assert not (tmp_path / "out" / "tasks").exists()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    arguments = [
        "sanity-check",
        "--model",
        "digits",
        "--random-weights",
        "--images",
        "digits",
        "--out",
        str(tmp_path / "out"),
    ]
    assert (
        main(
            [*arguments, "--inputs", "3", "--seeds", "2", "--stages", "fc", "--stages", "conv3", "--method", "saliency"]
        )
        == 0
    )
    told = capsys.readouterr().out
    assert "Saliency" in told
    assert "exactly 1" in told
    assert "gradient of a linear model" in told
    assert main([*arguments[:-1], str(tmp_path / "other"), "--n-steps", "0"]) == 1
    assert "n_steps is 0; expected at least 1" in capsys.readouterr().err
