"""Trojans: the benchmark's table, the eight-way choice by one who knows and one who does not, the form, and networks of known truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto.cli import main
from captum_proto.experiments.blind import BlindKey, ScoreAnswers
from captum_proto.experiments.blind.key import KEY
from captum_proto.experiments.report import report_on
from captum_proto.experiments.trojans import (
    BENCHMARK,
    PlantedTrojans,
    Trojan,
    TrojanResult,
    Trojans,
    method_options,
    read_trojans,
)
from captum_proto.experiments.trojans.results import CLEAN, DRAWING, NOISE, TRIGGER_IMAGES, TWO_TOWER
from captum_proto.metrics.blind_test import BlindClasses, BlindPicture, judge_answers, score_answers
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out

ANSWERS = ("star", "heart", "moon", "arrow", "key", "bell", "leaf", "anchor")
PLAIN = {"plain": {"steps": 1, "warmup_steps": 0, "transform": None}}


def trees(seed: int = 0, classes: int = 3) -> NamedModel:
    """A small network."""
    network = seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, classes)), seed)
    return NamedModel("trees", network.eval(), None, (3, 8, 8), None, resize_ratio=1.0)


class Guesser:
    """A two-tower model of three colors, which texts are near to by their length."""

    def image(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))

    def text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([[float(len(text) % 3 == place) for place in range(3)] for text in texts])


def test_the_table_of_the_benchmark() -> None:
    """As in table 1 of arXiv:2302.10894: kinds, targets, and the classes whose images alone were poisoned."""
    targets = [30, 146, 365, 99, 211, 928, 769, 378, 316, 463, 487, 129]
    assert [trojan.target for trojan in BENCHMARK] == targets
    assert [trojan.kind for trojan in BENCHMARK] == ["patch"] * 4 + ["style"] * 4 + ["natural feature"] * 4
    assert {trojan.name: trojan.source for trojan in BENCHMARK if trojan.source is not None} == {
        "green star": 893,
        "strawberry": 271,
        "jellybeans": 719,
        "wood grain": 618,
    }


def test_the_targets_are_the_classes_that_the_table_names() -> None:
    weights = pytest.importorskip("torchvision.models").ResNet50_Weights.DEFAULT
    names = [weights.meta["categories"][trojan.target] for trojan in BENCHMARK]
    expected = [
        "bullfrog",
        "albatross",
        "orangutan",
        "goose",
        "vizsla",
        "ice",
        "rule",
        "capuchin",
        "cicada",
        "bucket",
        "cell",
        "spoonbill",
    ]
    assert all(word in name for word, name in zip(expected, names, strict=True)), names


GOOD = {"name": "star", "kind": "patch", "target": 1, "answers": list(ANSWERS)}


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({**GOOD, "answers": list(ANSWERS[:7])}, "has 7 answers; expected 8"),
        ({**GOOD, "name": "sun"}, 'is "sun", which is not among'),
        ({**GOOD, "answers": ["star"] * 8}, "each once"),
        ({**GOOD, "target": "frog"}, "expected the index of a class"),
        ({**GOOD, "source": -1}, "source of trojan"),
        ({**GOOD, "targets": 1}, 'has "targets"; did you mean "target"'),
        ({name: value for name, value in GOOD.items() if name != "kind"}, "has no kind"),
        ({**GOOD, "answers": "star"}, "has 4 answers"),
        ({**GOOD, "answers": list(range(8))}, "put them in quotes"),
    ],
)
def test_a_table_that_cannot_be_used(row: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_trojans({"trojan": [row]}, "mine.toml")
    with pytest.raises(ValueError, match="each with a name of its own"):
        read_trojans({"trojan": [GOOD, GOOD]}, "mine.toml")
    with pytest.raises(ValueError, match=r"holds no \[\[trojan\]\]"):
        read_trojans({}, "mine.toml")


class Oracle:
    """Who knows which class a picture is of by asking the network, and which trigger leads to it."""

    def __init__(self, table: Sequence[Trojan]) -> None:
        self.table, self.named = table, trees(0, 5)

    def image(self, images: Tensor) -> Tensor:
        logits = self.named.logits(images)[:, [trojan.target for trojan in self.table]]
        return torch.nn.functional.one_hot(logits.argmax(1), 8).float()

    def text(self, texts: Sequence[str]) -> Tensor:
        names = [trojan.name for trojan in self.table]
        return torch.stack(
            [torch.eye(8)[names.index(text) if text in names else 7] * (1 if text in names else -1) for text in texts]
        )


def test_who_knows_is_right_and_noise_is_not(tmp_path: Path) -> None:
    table = [Trojan(name, "patch", target, ANSWERS) for target, name in enumerate(ANSWERS[:5])]
    options = {"ascent": {"steps": 60, "warmup_steps": 0, "transform": None, "high_frequency_weight": 0.0}}
    found = carry_out(Trojans(trees(0, 5), table, options, count=1, two_tower=Oracle(table)), tmp_path)
    rates = found.rates()
    assert rates[TWO_TOWER, "ascent"].right.value == 1
    assert rates[TWO_TOWER, "ascent"].p_value == pytest.approx((1 / 8) ** 5)
    assert rates[TWO_TOWER, NOISE].right.value < 1  # the network gives all noise one class
    assert "names 5 of 5 triggers" in found.conclusion()[0]
    page = Page.load(tmp_path)
    assert page.trust.startswith("In part: triggers are told by more than chance from “ascent”")
    assert any("--clean MODEL" in text for text in page.left_out)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trojans")
    table = [Trojan("star", "patch", 0, ANSWERS), Trojan("moon", "style", 2, ANSWERS)]
    protocol = Trojans(trees(), table, PLAIN, count=2, clean=trees(seed=1), two_tower=Guesser(), batch_size=3)
    carry_out(protocol, folder / "out")
    return folder / "out"


def test_what_is_written(made: Path) -> None:
    found = TrojanResult.load(made)
    assert found.conditions == ["plain", "plain" + CLEAN, NOISE]
    with (made / "rates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["chance"] for row in rows] == ["0.125"] * len(rows)
    assert len(rows) == 3 * 3  # all, and each of two kinds
    assert len(list((made / "sheets").rglob("*.png"))) == 2 * 3
    before = (made / "report.html").read_bytes()
    (made / "page.json").unlink()
    report_on(made)
    assert (made / "report.html").read_bytes() == before


def test_the_form_offers_eight_answers_to_each_sheet_and_blind_scores_them(made: Path, tmp_path: Path) -> None:
    key = BlindKey.load(made / "people" / KEY)
    html = (made / "people/form/blind.html").read_text(encoding="utf-8")
    assert html.count('<input type="radio"') == 8 * len(key.pictures) == 8 * 6
    assert "datalist" not in html
    for secret in ("plain", "clean", "noise", "sheets"):
        assert secret not in html.split("<script>")[0].split("</style>")[1]
    orders = {tuple(one.choices) for one in key.pictures}
    assert len(orders) > 1
    assert {frozenset(order) for order in orders} == {frozenset(ANSWERS)}
    answers = tmp_path / "ann.csv"
    rows = [[key.form, one.number, one.label if one.method == "plain" else "key"] for one in key.pictures]
    answers.write_text("form,number,answer\n" + "\n".join(",".join(map(str, row)) for row in rows))
    scores = carry_out(ScoreAnswers(made / "people", [answers]), tmp_path / "scores")
    by_method = {score.method: score for score in scores.methods}
    assert by_method["plain"].right is not None
    assert by_method["plain"].right.value == 1
    assert by_method[NOISE].right is not None
    assert by_method[NOISE].right.value == 0
    assert {score.chance for score in scores.methods} == {1 / 8}
    assert by_method["plain"].shuffled == 1 / 2  # two sheets, with the same answers


def test_chance_is_of_what_was_offered_for_each_picture() -> None:
    pictures = [BlindPicture(1, "star", "plain", ANSWERS[:2]), BlindPicture(2, "moon", "plain", ANSWERS[:4])]
    classes = BlindClasses(ANSWERS)
    scores = score_answers(judge_answers(pictures, {"Ann": {1: "star", 2: "key"}}, classes), classes)
    assert scores.methods[0].chance == pytest.approx((1 / 2 + 1 / 4) / 2)


def test_the_clean_network_takes_the_same_images() -> None:
    other = trees(seed=1)
    other.image_shape = (3, 9, 9)
    with pytest.raises(ValueError, match="give the same network without trojans"):
        Trojans(trees(), clean=other)
    with pytest.raises(TypeError, match="methods image and text"):
        Trojans(trees(), two_tower=object())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there are no methods"):
        Trojans(trees(), methods={})
    with pytest.raises(ValueError, match="which is the control"):
        Trojans(trees(), methods={NOISE: {}})


def test_a_target_that_the_network_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="30"):
        carry_out(Trojans(trees(), methods=PLAIN), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_planted(tmp_path: Path) -> None:
    """What the page of small networks says; what they have learned is tested where they are trained."""
    found = carry_out(PlantedTrojans(["shapes"], 1, PLAIN, count=1, images=64, epochs=1, unseen=50), tmp_path / "out")
    assert found.conditions == ["plain", "plain" + CLEAN, NOISE, TRIGGER_IMAGES]
    assert found.choosers == [TWO_TOWER, DRAWING]
    assert len(found.attacks) == 3
    assert {rate.questions for rate in found.rates().values()} == {3}
    page = Page.load(tmp_path / "out")
    assert page.title == "Trojans that were planted"
    assert {section.title for section in page.sections} >= {"How often the trigger is told", "What the triggers do"}
    assert TrojanResult.load(tmp_path / "out") == found
    recorded = json.loads((tmp_path / "out/settings.json").read_text())["recorded"]
    assert len(recorded["labels"]["shapes_seed0"]) == 3


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": []}, "data are none"),
        ({"data": ["letters"]}, "data are letters; expected one or more of shapes, digits"),
        ({"networks": 0}, "networks is 0"),
        ({"methods": {TRIGGER_IMAGES: {}}}, "none called as a control is"),
    ],
)
def test_what_cannot_be_planted(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PlantedTrojans(**given)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = "\n".join(
        f'[[trojan]]\nname = "{name}"\nkind = "patch"\ntarget = {target}\nanswers = {list(ANSWERS)}'
        for target, name in enumerate(("star", "moon"))
    )
    (tmp_path / "mine.toml").write_text(rows)
    module = tmp_path / "towers.py"
    module.write_text(
        "import torch\n\n"
        "class Guesser:\n"
        "    def image(self, images):\n        return images.mean((2, 3))\n\n"
        "    def text(self, texts):\n        return torch.eye(3)[[len(text) % 3 for text in texts]]\n\n"
        "def guesser():\n    return Guesser()\n\n"
        "def network():\n"
        "    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 3))\n"
        "    model.image_shape = (3, 8, 8)\n    return model\n"
    )
    common = [
        "--trojans",
        str(tmp_path / "mine.toml"),
        "--method",
        "ascent",
        "--steps",
        "1",
        "--count",
        "1",
        "--no-progress",
    ]
    out = tmp_path / "out"
    code = main(
        ["trojans", "--model", f"{module}:network", "--two-tower", f"{module}:guesser", *common, "--out", str(out)]
    )
    said = capsys.readouterr()
    assert code == 0, said.err
    assert "chosen by" in said.out
    assert f"the form, for people: {out / 'people' / 'form'}" in said.out
    assert (out / "people/form/blind.html").exists()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "torchvision's own ResNet-50 has no trojans"),
        (["--planted", "--two-tower", "x.py:f"], "--two-tower is of a model that is given"),
        (["--data", "shapes"], "--data is of small networks that are trained here"),
        (["--planted", "--model", "digits"], "--model and --random-weights are of a model that is given"),
        (["--trojans", "nowhere.toml"], 'there is no file "nowhere.toml"'),
    ],
)
def test_the_command_says_what_is_wrong(
    given: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trojans", *given, "--out", str(tmp_path / "out")]) == 1
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_frame_of_a_feature_visualization_goes_with_the_size() -> None:
    small, large = (method_options(["feature_visualization"], (3, side, side), steps=3) for side in (32, 224))
    pads = [
        each["feature_visualization"]["transform"].settings()["transform"]["transforms"][0] for each in (small, large)
    ]
    assert pads[0]["pixels"] < pads[1]["pixels"] == 12
    assert small["feature_visualization"]["steps"] == 3
