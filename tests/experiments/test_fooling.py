"""Path similarity catches fooled networks or not, for the right reasons; and what the experiment writes."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PathComparison, Prototypes
from captum_proto.data import ImageGeometry
from captum_proto.data.natural import NaturalSplit, natural_split
from captum_proto.experiments.fooling import Fooling, Row, agreement, judge, separation
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Verdicts
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out
from captum_proto.testing import PLANTS, Detector, FooledNetwork, OtherClass, make_decoy

SHAPE = (1, 8, 8)
QUICK: dict[str, Any] = {
    "steps": 4,
    "warmup_steps": 0,
    "high_frequency_weight": 0.0,
    "transform": None,
    "evaluation_draws": 0,
}
TARGETS = [(0,), (2,)]


@pytest.fixture
def named() -> NamedModel:
    model = seeded(lambda: SmallCNN(1, 4)).eval()
    return NamedModel("small", model, lambda x: (x - 0.5) / 0.25, SHAPE, ["ash", "birch", "cedar", "elm"])


@pytest.fixture
def natural(make_images) -> NaturalSplit:
    training, held_out = make_images(60, SHAPE, seed=1), make_images(40, SHAPE, seed=2)
    same = {(c,): held_out[c::4] for c in range(4)}
    other = {(c,): held_out[(c + 1) % 4 :: 4] for c in range(4)}
    return NaturalSplit(training, torch.arange(60) % 4, held_out, torch.arange(40) % 4, same, other)


# --- the verdict ---------------------------------------------------------------------------------------------------------------------


def comparison(prototype: float, same: float = 0.8, other: float = 0.4) -> PathComparison:
    layers = ["network.a", "network.b", "detector"]

    def values(mean: float) -> Tensor:
        return torch.tensor([[mean - 0.1, mean + 0.1, -1.0], [mean - 0.1, mean - 0.1, -1.0]], dtype=torch.float64)

    spearman = {"prototype": values(prototype), "same_class": values(same), "other_class": values(other)}
    return PathComparison(layers, spearman, {name: 1 - value for name, value in spearman.items()})


def test_the_verdict_by_hand():
    row = judge(comparison(0.5), "face", 3, "ash", 0.3, "network")
    assert (row.network, row.seed, row.target) == ("face", 3, "ash")
    assert [row.spearman, row.other, row.same] == pytest.approx([0.45, 0.35, 0.75])
    assert [row.normalized, row.median_normalized, row.above_other] == pytest.approx([0.25, 0.25, 1.0])
    assert row.all_layers == pytest.approx(0.25)
    assert row.flagged
    assert not judge(comparison(0.5), "face", 3, "ash", 0.2, "network").flagged
    assert judge(comparison(0.3), "face", 3, "ash", 0.0, "network").normalized == pytest.approx(-0.25)
    assert judge(comparison(0.38), "face", 3, "ash", 0.0, "network").above_other == 0.5
    whole = judge(comparison(0.5), "honest", 3, "ash", 0.0)
    assert whole.spearman == pytest.approx((0.4 + 0.5 - 1) / 3)
    odd = comparison(0.5)
    odd.spearman["prototype"][:, 2] = 0.2  # what only the layers of the detector say
    assert judge(odd, "face", 3, "ash", 0.0, "network").normalized == pytest.approx(0.25)
    assert judge(odd, "face", 3, "ash", 0.0, "network").all_layers == pytest.approx((0.2 + 1.2) / 0.8)


def row(network: str, normalized: float) -> Row:
    return Row(network, 0, "ash", 0.1, 0.2, 0.3, normalized, 0.0, 0.0, 0.0, 0.0, 0.0, normalized < 0)


def by_definition(fooled: list[float], honest: list[float]) -> float:
    """The share of pairs in which the fooled network's value is lower, ties by half."""
    wins = [(low < high) + 0.5 * (low == high) for low in fooled for high in honest]
    return sum(wins) / len(wins)


def test_separation_is_the_area_under_the_curve():
    rows = [row("honest", value) for value in (0.1, 0.3)] + [row("face", value) for value in (-0.5, 0.2, 0.3, 0.9)]
    assert separation(rows, "face") == (2 + 1 + 0.5 + 0) / 8
    generator = torch.Generator().manual_seed(0)
    for honest, fooled in ((1, 1), (2, 9), (50, 50)):
        values = [torch.randint(0, 8, (count,), generator=generator).tolist() for count in (honest, fooled)]
        rows = [row(name, value) for name, some in zip(("honest", "face"), values, strict=True) for value in some]
        assert separation(rows, "face") == by_definition(values[1], values[0])
    assert separation([row("honest", 0.2), row("face", 0.2)], "face") == 0.5
    assert separation([*rows, row("face", math.nan)], "face") == separation(rows, "face")
    assert math.isnan(separation(rows, "own_image"))


# --- the run -------------------------------------------------------------------------------------------------------------------------


class BrightIsNatural(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).mean(1)


def test_agreement_counts(named, natural):
    fooled = FooledNetwork(named.model, OtherClass(torch.tensor([1, 0, 3, 2])), BrightIsNatural()).eval()
    held_out, labels = natural.held_out, natural.labels
    bright = held_out.flatten(1).mean(1) > 0.5
    with torch.no_grad():
        predicted = named.logits(held_out).argmax(1)
    prototypes = Prototypes(
        torch.stack([torch.zeros(SHAPE), torch.ones(SHAPE)]), TARGETS, [0, 0], *torch.zeros(4, 2), {}, {}
    )
    facts = agreement(named, fooled, held_out, labels, prototypes, "other_class", 7)
    assert (facts.network, facts.seed, facts.images) == ("other_class", 7, 40)
    assert 0 < facts.equal_logits == facts.equal_predictions == int(bright.sum()) < 40
    assert facts.accuracy == pytest.approx(float((predicted == labels).double().mean()))
    swapped = torch.where(bright, predicted, torch.tensor([1, 0, 3, 2])[predicted])
    assert facts.fooled_accuracy == pytest.approx(float((swapped == labels).double().mean()))
    assert (facts.natural_prototypes, facts.prototypes) == (1, 2)
    assert 0 < facts.natural_noise < 64


def test_the_folder(named, natural, tmp_path: Path):
    out = tmp_path / "out"
    fooling = Fooling([named] * 2, natural, TARGETS, QUICK, plants=["face", "other_class"], detector_epochs=1)
    result = carry_out(fooling, out)
    assert len(result.rows) == 2 * 3 * 2
    networks = [(facts.seed, facts.network) for facts in result.agreements]
    assert networks == [(seed, name) for seed in (0, 1) for name in ("face", "other_class")]
    with (out / "fooling.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [float(line["normalized"]) for line in lines] == [row.normalized for row in result.rows]
    assert {line["target"] for line in lines} == {"ash", "cedar"}
    page = Page.load(out)
    assert "face: flagged" in [verdict.name for block in page.sections[0].of(Verdicts) for verdict in block.verdicts]
    assert all((out / path).exists() for path in page.files())
    assert (out / "summary.txt").read_text() == f"{result.table()}\n"
    facts = json.loads((out / "seed1" / "other_class" / "agreement.json").read_text())
    assert facts["network"] == "other_class"
    # Of an honest network prototypes, two comparisons and scores, of a fooled one a detector and an agreement as well.
    assert len(list((out / "tasks").rglob("*.json"))) == 2 * (4 + 2 * 6)


def test_what_the_results_depend_on(named, natural, tmp_path: Path):
    settings = Fooling([named] * 2, natural, TARGETS, QUICK).provenance()
    assert [model["name"] for model in settings["models"]] == ["small"]
    assert (settings["seeds"], settings["natural_images"]["held_out"]["images"]) == (2, 40)
    natural.training[0, 0, 0, 0] += 0.001
    changed = Fooling([named] * 2, natural, TARGETS, QUICK).provenance()
    assert changed["natural_images"]["training"] != settings["natural_images"]["training"]
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.new("L", (8, 8), 99).save(picture)
    first = Fooling([named], natural, TARGETS, QUICK, picture=picture).provenance()["picture"]
    Image.new("L", (8, 8), 11).save(picture)
    assert Fooling([named], natural, TARGETS, QUICK, picture=picture).provenance()["picture"] != first


def test_bad_input_is_found_before_anything_is_written(named, natural, tmp_path: Path):
    with pytest.raises(ValueError, match='no plant "cat"'):
        Fooling([named], natural, TARGETS, QUICK, plants=["cat"])
    with pytest.raises(ValueError, match="there are no networks"):
        Fooling([], natural, TARGETS, QUICK)
    with pytest.raises(ValueError, match="there are no targets"):
        Fooling([named], natural, [], QUICK)
    with pytest.raises(ValueError, match="count is 0"):
        Fooling([named], natural, TARGETS, QUICK, count=0)
    (tmp_path / "picture.png").write_text("a thousand words")
    with pytest.raises(ValueError, match=r"picture\.png"):
        Fooling([named], natural, TARGETS, QUICK, picture=tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("plant", "targets", "shown", "said"),
    [
        ("other_class", [(0, 1, 2, 3)], [0, 1, 2, 3], "target is classes 0–3, all that the model has"),
        ("other_image", [(0, 1)], [0, 1], "there is no image of another class than classes 0–1 to plant"),
        ("other_image", [(0,), (2,)], [0, 1], "there is no image of class 2 to plant"),
        ("own_image", [(3,)], [0, 1], "there is no image of class 3 to plant"),
        *[(plant, [(0, 4)], [0, 1], "target 4 is out of range") for plant in PLANTS],
    ],
)
def test_a_target_that_leads_nowhere(named, natural, tmp_path: Path, plant, targets, shown, said):
    images, labels = natural.training[: len(shown)], torch.tensor(shown)
    with pytest.raises(ValueError, match=said):
        make_decoy(plant, named, targets, images, labels)
    everything = dict.fromkeys(targets, natural.held_out)
    split = NaturalSplit(images, labels, natural.held_out, natural.labels, everything, everything)
    with pytest.raises(ValueError, match=said):  # and a run finds it before it begins
        carry_out(Fooling([named], split, targets, QUICK, plants=[plant]), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_natural_images_that_do_not_differ_from_others_judge_nothing():
    judged = judge(comparison(0.5, same=0.6, other=0.6), "face", 3, "ash", 0.0)
    assert math.isnan(judged.normalized)
    assert not judged.flagged


def test_all_digits_but_few(tmp_path: Path, capsys):
    """Of other digits there may be fewer than there are of the target."""
    pytest.importorskip("sklearn")
    from captum_proto.cli import main

    geometry = ImageGeometry(SHAPE)
    target = tuple(range(8))
    split = natural_split("digits", geometry, None, [target])
    assert [len(split.same[target]), len(split.other[target])] == [357, 88]
    command = ["fooling", "--model", "digits", "--random-weights", "--seeds", "1", "--no-progress"]
    assert main([*command, "--target", "0-9", "--out", str(tmp_path / "out")]) == 1
    assert "there are no images of other classes" in capsys.readouterr().err
    assert main([*command, "--target", "8-11", "--out", str(tmp_path / "out")]) == 1
    assert 'there is no class "11": the classes are named by numbers, 0 to 9' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_command_line(tmp_path: Path, capsys, monkeypatch):
    pytest.importorskip("sklearn")
    from captum_proto.cli import main

    fit = Detector.fit  # what the detector learns is looked at elsewhere
    monkeypatch.setattr(Detector, "fit", lambda self, *images, epochs, seed: fit(self, *images, epochs=1, seed=seed))
    command = ["fooling", "--model", "digits", "--random-weights", "--target", "3", "--target", "8", "--limit", "9"]
    command += ["--steps", "3", "--warmup-steps", "0", "--seeds", "1", "--plant", "other_class", "--no-progress"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "seed 0, other_class: normalized Spearman" in printed
    assert (tmp_path / "out" / "summary.txt").read_text() in printed
    assert (tmp_path / "out" / "page.json").exists()
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["plants"] == ["other_class"]
    assert "random" in settings["models"][0]["weights"]
    bad = ["fooling", "--model", "efficientnet-lite0", "--target", "3", "--out", str(tmp_path / "bad")]
    assert main(bad) == 1
    assert "pass --images and --target" in capsys.readouterr().err
    assert main([*command, "--seeds", "0", "--out", str(tmp_path / "bad")]) == 1
    assert "seeds is 0; expected at least 1" in capsys.readouterr().err
    assert not (tmp_path / "bad").exists()
