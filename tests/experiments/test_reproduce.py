"""The paper's items: every file there, every figure that of the comparisons, every missing thing said."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from captum_proto import PathComparison, PrototypeGeneration
from captum_proto.cli import main
from captum_proto.experiments.reproduce import (
    ITEMS,
    Reproduce,
    ReproduceSettings,
    Stage,
    check_items,
    paper,
    small_stages,
    verdict_line,
)
from captum_proto.experiments.reproduce.items import RECIPES, Item, item
from captum_proto.experiments.reproduce.items.diversity import middle_layer
from captum_proto.experiments.reproduce.items.registry import lacks_nothing
from captum_proto.experiments.reproduce.stages import StageResults
from captum_proto.models import load_model
from captum_proto.report.blocks import Verdict
from captum_proto.report.page import Page
from captum_proto.runs.folder import TASKS
from captum_proto.runs.tasks import carry_out

FACTORY = """
import torch

def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2),
        torch.nn.Flatten(), torch.nn.Linear(16, 1000),
    )
    model.image_shape = (3, 16, 16)
    return model
"""
OPTIONS = [
    "--target",
    "1",
    "--target",
    "400",
    "--limit",
    "3",
    "--steps",
    "2",
    "--warmup-steps",
    "1",
    "--protocol-seeds",
    "1",
]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for index in (1, 400, 667):
        (root / str(index)).mkdir()
        for number in range(4):
            pixels = rng.integers(0, 256, (18, 18, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / str(index) / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory, images: Path) -> list[str]:
    path = tmp_path_factory.mktemp("model") / "net.py"
    path.write_text(FACTORY)
    return [
        "reproduce",
        "--model",
        f"{path}:factory",
        "--images",
        str(images),
        "--no-progress",
        "--workers",
        "0",
        *OPTIONS,
    ]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, command: list[str], images: Path) -> Path:
    """Everything there is to make again, of a tiny network."""
    out = tmp_path_factory.mktemp("out") / "paper"
    subgroups = ["--table2", f"lighter={images / '1'}", "--table2", f"darker={images / '667'}"]
    subgroups += ["--table3", f"without={images / '1'}", "--table3", f"with={images / '400'}"]
    assert main([*command, *subgroups, "--out", str(out)]) == 0
    return out


def place(made: Path) -> Path:
    (folder,) = (path for path in made.iterdir() if path.is_dir() and path.name != TASKS)
    return folder


def test_every_item_has_its_files(made):
    for name in ITEMS:
        for file in ("values.csv", "figure.png", "figure.svg", "manifest.json", "verdict.txt"):
            assert (place(made) / name / file).stat().st_size > 0, f"{name}/{file}"
    assert (made / "report.html").stat().st_size > 0
    page = Page.load(made)
    assert page.sections[2].title.endswith(": Table 1, mean Spearman correlation")
    assert len(page.sections) == len(ITEMS) + 1


def comparisons(made: Path) -> list[PathComparison]:
    return [PathComparison.load(path) for path in sorted((place(made) / "classes").glob("*/comparison.safetensors"))]


def test_figures_are_those_of_the_comparisons(made):
    found = comparisons(made)
    assert len(found) == 2
    assert found[0].settings["leave_one_out"] is False  # the paper's way
    conditions = [
        "prototype",
        "same_class",
        "other_class",
        "gray",
        "noise",
        "mean_image",
        "ascent",
        "feature_visualization",
    ]
    assert found[0].conditions == conditions

    def lines(item: str) -> str:
        return (place(made) / item / "verdict.txt").read_text()

    spearman = np.mean([float(scores.spearman["prototype"].mean(0).nanmean()) for scores in found])
    assert f"mean Spearman, prototype: {spearman:.3f} ± " in lines("table1")
    l1 = torch.stack([scores.l1["prototype"].mean(0) for scores in found]).mean(0)
    natural = torch.stack([scores.l1["same_class"].mean(0) for scores in found]).mean(0)
    assert f"layers with D ≤ D_I: {100 * float((l1 <= natural).double().mean()):.1f} % of 7" in lines("fig4")
    ours = torch.stack([scores.spearman["prototype"].nanmean(0) for scores in found]).mean(0)
    same = torch.stack([scores.spearman["same_class"].nanmean(0) for scores in found]).mean(0)
    assert f"layers with SS ≥ SS_I: {100 * float((ours >= same).double().mean()):.1f} % of 7" in lines("fig5")
    every = np.mean(
        [
            float((scores.spearman["prototype"][0] >= scores.spearman["same_class"].amax(0)).double().mean())
            for scores in found
        ]
    )
    assert f"layers with SS ≥ every I: {100 * every:.1f} %" in lines("fig5")


def test_every_value_of_every_layer_is_written(made):
    with (place(made) / "fig4" / "values.csv").open() as file:
        rows = list(csv.DictReader(file))
    found = comparisons(made)
    assert len(rows) == sum(len(scores.conditions) * len(scores.layers) for scores in found)
    first = next(row for row in rows if row["condition"] == "same_class" and row["index"] == "3")
    assert float(first["spearman"]) == pytest.approx(float(found[0].spearman["same_class"][:, 3].mean()))
    assert {row["l1_sd"] for row in rows if row["condition"] == "gray"} == {"nan"}  # there is one
    assert float(first["l1_sd"]) == pytest.approx(float(found[0].l1["same_class"][:, 3].std()))


def test_a_manifest_says_what_a_result_was_made_of(made, images):
    manifest = json.loads((place(made) / "fig5" / "manifest.json").read_text())
    assert manifest["layers"] == comparisons(made)[0].layers
    assert manifest["prototypes"]["steps"] == 2
    assert manifest["prototypes"]["transform"]["name"] == "RandomAffine"
    assert manifest["seeds"] == [0]
    (first, second) = manifest["images"].values()
    assert len(first) == len(second) == 3
    assert first[0]["sha256"] == hashlib.sha256(Path(first[0]["file"]).read_bytes()).hexdigest()
    assert {"torch", "captum_proto"} <= manifest["versions"].keys()


def test_the_125_protocols_are_ranked(made):
    with (place(made) / "table4" / "values.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 125
    scores = [float(row["Spearman"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert (
        "with one seed nothing says whether that is more than chance"
        in (place(made) / "table4" / "verdict.txt").read_text()
    )


def test_subgroups_have_intervals_and_a_test(made):
    lines = (place(made) / "table3" / "verdict.txt").read_text()
    for words in ("accuracy, without", "accuracy, with:", "95 % interval", "4 images", "Fisher's exact test: p ="):
        assert words in lines
    assert (place(made) / "table3" / "groups" / "report.html").exists()


@pytest.mark.parametrize("missing", ["images", "table2"])
def test_folders_are_looked_for_before_the_first_model_is_opened(missing, tmp_path):
    def opened(name):
        raise AssertionError(f"{name} was opened")

    images = str(tmp_path / "nope") if missing == "images" else None
    subgroups = {"table2": {"lighter": tmp_path / "nope"}} if missing == "table2" else {}
    with pytest.raises(FileNotFoundError, match=r'there is no folder ".*nope"'):
        Reproduce(small_stages(images), opened, ITEMS, ReproduceSettings(subgroups))


def test_a_second_run_takes_what_is_there(command, images, tmp_path, monkeypatch, capsys):
    fast = [*command, "--items", "table1,fig1", "--out", str(tmp_path / "out")]
    assert main(fast) == 0
    generate = PrototypeGeneration.generate

    def rehearsed(self, *args, **kwargs):
        assert kwargs["steps"] == 0, "made again"
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(PrototypeGeneration, "generate", rehearsed)
    assert main([*fast, "--resume"]) == 0
    assert main(fast) == 1
    assert "is not empty" in capsys.readouterr().err


def test_weights_of_the_model(command, images, tmp_path):
    layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    model = nn.Sequential(*layers, nn.Linear(16, 1000))
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    line = [*command, "--checkpoint", str(tmp_path / "weights.pt"), "--items", "fig1", "--target", "667"]
    assert main([*line, "--out", str(tmp_path / "out")]) == 0
    manifest = json.loads((place(tmp_path / "out") / "fig1" / "manifest.json").read_text())
    assert "weights.pt (sha256" in manifest["model"]["weights"]


def test_what_was_not_given_is_said(command, tmp_path):
    assert main([*command, "--items", "fig4,table2", "--out", str(tmp_path / "out")]) == 0
    (failure,) = [sentence for sentence in Page.load(tmp_path / "out").failures if "table2" in sentence]
    assert "pass --table2 NAME=DIR" in failure


def test_random_weights_missing_photographs_and_an_item_of_ones_own(tmp_path, monkeypatch):
    @item("seeds", lacks=lacks_nothing)
    def seeds(results: StageResults) -> Item:
        made = results.prototypes((3,)).seeds
        return Item("the seeds", header=["seed"], rows=[[seed] for seed in made], text=[f"There are {len(made)}."])

    monkeypatch.setitem(RECIPES, "seeds", RECIPES["seeds"])  # and away with it
    stage = Stage("digits", ["3"], None, count=2, options={"steps": 1, "warmup_steps": 0}, steps=1)
    protocol = Reproduce([stage], lambda name: load_model(name, pretrained=False), ["fig1", "table1", "seeds"])
    generate, made = PrototypeGeneration.generate, []

    def interrupted(self, *args, **kwargs):
        if kwargs["steps"] > 0:  # no rehearsal
            made.append(kwargs["steps"])
            if len(made) == 3:
                raise KeyboardInterrupt
        return generate(self, *args, **kwargs)

    monkeypatch.setattr(PrototypeGeneration, "generate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carry_out(protocol, tmp_path / "out")
    result = carry_out(protocol, tmp_path / "out", resume=True)
    assert len(made) == 3 + 1  # prototypes and two baselines, of which the last was begun twice
    folder = tmp_path / "out" / "digits"
    assert (folder / "seeds" / "values.csv").read_text().split() == ["seed", "0", "1"]
    assert (folder / "seeds" / "verdict.txt").read_text().startswith("the seeds\nThere are 2.")
    failures = Page.load(tmp_path / "out").failures
    assert failures == result.failures
    assert "digits has random weights" in failures[0]
    assert "digits has random weights" in (folder / "fig1" / "verdict.txt").read_text()
    assert "table1: not made, since it compares prototypes with natural images" in failures[1]


def test_the_small_stage():
    pytest.importorskip("sklearn")
    digits, network = small_stages()
    assert (digits.model, network.model, network.images) == ("digits", "efficientnet-lite0", None)
    assert small_stages("photos")[1].images == "photos"
    assert middle_layer(load_model("digits", pretrained=False).model).startswith("conv")


def test_the_papers_values():
    assert paper.VALUES["fig4", "layers with D ≤ D_I", "torchvision:resnet18"].value == pytest.approx(0.821, abs=5e-4)
    assert len(paper.CLASSES) == 11
    line = verdict_line(Verdict("layers", "60 %", "55/67 = 82.1 %", "-22.1 points"))
    assert line == "layers: 60 %; paper 55/67 = 82.1 %; difference -22.1 points"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--items", "table11"], 'there is no item "table11"; did you mean "table1"'),
        (["--target", "500"], "there are no images of"),
        (["--limit", "5"], "but limit asks for 5"),
        (["--target", "goldfisch"], 'there is no class "goldfisch"'),
        (["--table2", "lighter"], '--table2 is "lighter"; expected NAME=DIR'),
        (["--table2", "lighter=a", "--table2", "lighter=b"], 'two subgroups called "lighter"'),
        (["--table2", "lighter=nowhere", "--table2", "darker=nowhere"], "nowhere"),
        (["--images", "nowhere"], "nowhere"),
        (["--protocol-target", "oak", "--items", "table4"], 'there is no class "oak"'),
        (["--small"], "--small has its own models"),
        (["--checkpoint", "a.pt", "--checkpoint", "b.pt"], "2 checkpoints were given for 1 models; give one for each"),
    ],
)
def test_bad_input_is_a_sentence(arguments, sentence, command, tmp_path, capsys):
    assert main([*command, *arguments, "--out", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_no_model_and_no_images(capsys, tmp_path):
    assert main(["reproduce", "--out", str(tmp_path / "out")]) == 1
    assert "there is no model" in capsys.readouterr().err
    assert main(["reproduce", "--model", "digits", "--out", str(tmp_path / "out")]) == 1
    assert "there are no natural images" in capsys.readouterr().err
    assert check_items(ITEMS) == list(ITEMS)
