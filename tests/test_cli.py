"""The command line, run in this process: what it writes, what it refuses, and how it goes on after an interrupt."""

from __future__ import annotations

import contextlib
import csv
import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import PRESETS, PathComparison, PathSimilarity, PrototypeGeneration, Prototypes
from captum_proto.__main__ import waiting
from captum_proto.cli import main
from captum_proto.data import ImageCollection
from captum_proto.metrics import CONTROLS
from captum_proto.models import load_model
from captum_proto.optim import FFTImage

pytest.importorskip("sklearn")

FAST = ["--steps", "6", "--warmup-steps", "2", "--no-progress"]

FACTORY = """
import torch

def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 3)
    )
    model.image_shape = (3, 16, 16)
    model.class_names = ["ash", "birch", "cedar"]
    return model
"""


@pytest.fixture
def model_file(tmp_path: Path) -> str:
    path = tmp_path / "trees.py"
    path.write_text(FACTORY)
    return f"{path}:factory"


@contextlib.contextmanager
def interrupted(owner: type, method: str, call: int) -> Iterator[None]:
    """The user interrupts the ``call``-th call of a method; that in which no step is taken, to see that all can be made, is not counted."""
    original, calls = getattr(owner, method), itertools.count(1)

    def stop(self, *args, **kwargs):
        if kwargs.get("steps") != 0 and next(calls) == call:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, stop)
        yield


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    generator = np.random.default_rng(0)
    for name in ("ash", "birch", "cedar"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(4):
            pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    return tmp_path / "photos"


def test_generate_writes_pictures_tensors_and_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "digits"
    assert (
        main(
            [
                "generate",
                "--model",
                "digits",
                "--target",
                "3",
                "--target",
                "7",
                "--count",
                "2",
                "--out",
                str(out),
                *FAST,
            ]
        )
        == 0
    )
    prototypes = Prototypes.load(out / "prototypes.safetensors")
    assert prototypes.target == [(3,), (3,), (7,), (7,)]
    assert prototypes.seeds == [0, 1, 0, 1]
    for group, seed, image in zip(prototypes.target, prototypes.seeds, prototypes.images, strict=True):
        picture = np.asarray(Image.open(next(out.glob(f"{group[0]:04d}*_seed{seed}.png"))))
        np.testing.assert_array_equal(picture, (image[0] * 255).round().to(torch.uint8).numpy())
    assert Image.open(out / "prototypes.png").width > 100
    assert (out / "report.html").exists()
    settings = json.loads((out / "settings.json").read_text())
    assert settings["options"]["steps"] == 6
    assert settings["recorded"]["warmup_steps"] == 2
    assert settings["recorded"]["transform"]["degrees"] == [-180.0, 180.0]
    assert settings["model"]["name"] == "digits"
    printed = capsys.readouterr().out
    assert f"p = {float(prototypes.probabilities[0]):.4f}" in printed
    assert str(out) in printed


def test_generate_groups_and_names(tmp_path: Path, model_file: str) -> None:
    out = tmp_path / "out"
    assert (
        main(
            [
                "generate",
                "--model",
                model_file,
                "--target",
                "Birch",
                "--target",
                "0-1",
                "--target",
                "0,2",
                "--out",
                str(out),
                *FAST,
            ]
        )
        == 0
    )
    assert Prototypes.load(out / "prototypes.safetensors").target == [(1,), (0, 1), (0, 2)]
    assert {path.name for path in out.glob("*_seed0.png")} == {
        "0001_birch_seed0.png",
        "0000-0001_seed0.png",
        "0000_0002_seed0.png",
    }


def test_a_number_taken_for_a_name_is_told(tmp_path: Path, model_file: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trees.py").write_text(FACTORY.replace('["ash", "birch", "cedar"]', '["1", "2", "0"]'))
    command = ["generate", "--model", model_file, *FAST, "--out", str(tmp_path / "out")]
    assert main([*command, "--target", "1", "--target", "0-1"]) == 0
    assert Prototypes.load(tmp_path / "out" / "prototypes.safetensors").target == [(0,), (0, 2)]
    told = capsys.readouterr()
    assert '"1" names the class of index 0: where classes are named by numbers, a number is a name' in told.err
    assert '"0-1" names the classes of index 0, 2' in told.err
    assert "classes 0–1, 0: " in told.out
    assert main([*command, "--target", "3", "--overwrite"]) == 1
    assert 'there is no class "3": the classes are named by numbers, 0 to 2' in capsys.readouterr().err


def test_nothing_is_overwritten_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", "digits", "--target", "3", "--out", str(tmp_path / "out"), *FAST]
    assert main(command) == 0
    before = (tmp_path / "out" / "prototypes.safetensors").read_bytes()
    assert main([*command, "--seed", "5"]) == 1
    assert "not empty" in capsys.readouterr().err
    assert (tmp_path / "out" / "prototypes.safetensors").read_bytes() == before
    assert main([*command, "--seed", "5", "--overwrite"]) == 0
    assert (tmp_path / "out" / "prototypes.safetensors").read_bytes() != before


def test_a_preset_and_what_goes_before_it(tmp_path: Path, model_file: str) -> None:
    command = ["generate", "--model", model_file, "--target", "1", "--preset", "best", "--no-progress"]
    assert main([*command, "--steps", "3", "--degrees", "30", "--out", str(tmp_path / "out")]) == 0
    settings = Prototypes.load(tmp_path / "out" / "prototypes.safetensors").settings
    best = PRESETS["best"]
    assert settings["parametrization"] == best["parametrization"].settings()
    assert (settings["steps"], settings["lr"], settings["warmup_steps"]) == (3, best["lr"], 0)
    assert settings["transform"] == {**best["transform"].settings(), "degrees": [-30.0, 30.0]}


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(out: str) -> list[str]:
        targets = [word for digit in "0123" for word in ("--target", digit)]
        return ["generate", "--model", "digits", *targets, "--batch-size", "2", "--out", str(tmp_path / out), *FAST]

    assert main(command("whole")) == 0
    generate = PrototypeGeneration.generate
    calls: list[list[list[int]]] = []

    def interrupted(self, target, *args, **kwargs):
        if kwargs["steps"]:  # else it is only seen that all can be made
            calls.append(target)
            if len(calls) == 2:
                raise KeyboardInterrupt
        return generate(self, target, *args, **kwargs)

    monkeypatch.setattr(PrototypeGeneration, "generate", interrupted)
    assert main(command("parts")) == 130
    assert "--resume" in capsys.readouterr().err
    assert not (tmp_path / "parts" / "prototypes.safetensors").exists()
    assert main([*command("parts"), "--resume"]) == 0
    assert calls == [[[0], [1]], [[2], [3]], [[2], [3]]]  # the finished batch was not made again
    whole, parts = (Prototypes.load(tmp_path / name / "prototypes.safetensors") for name in ("whole", "parts"))
    assert torch.equal(whole.images, parts.images)
    assert main([*command("parts"), "--resume", "--lr", "0.1"]) == 1
    assert "was made with" in capsys.readouterr().err


@pytest.mark.parametrize("earlier", ["finished", "interrupted"])
def test_a_resumed_generation_takes_nothing_of_the_run_it_overwrites(
    tmp_path: Path, model_file: str, earlier: str
) -> None:
    def command(out: str, seed: str) -> list[str]:
        targets = ["--target", "0", "--target", "1", "--batch-size", "1", "--seed", seed]
        return ["generate", "--model", model_file, *targets, "--out", str(tmp_path / out), *FAST]

    assert main(command("whole", "5")) == 0
    with interrupted(PrototypeGeneration, "generate", 2 if earlier == "interrupted" else 0):
        assert main(command("out", "0")) == (130 if earlier == "interrupted" else 0)
    with interrupted(PrototypeGeneration, "generate", 1):
        assert main([*command("out", "5"), "--overwrite"]) == 130
    assert main([*command("out", "5"), "--resume"]) == 0
    whole, resumed = (Prototypes.load(tmp_path / name / "prototypes.safetensors") for name in ("whole", "out"))
    assert resumed.seeds == [5, 5]
    assert torch.equal(resumed.images, whole.images)


def test_a_run_is_resumed_with_the_same_settings_and_weights_only(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--model", model_file, "--images", str(image_folder), "--target", "0", "--controls"]
    command += ["--out", str(tmp_path / "out"), *FAST]
    assert main(command) == 0
    assert main([*command, "--resume", "--limit", "3"]) == 1
    assert "was made with images.limit = None, now it is 3" in capsys.readouterr().err
    (tmp_path / "trees.py").write_text(FACTORY.replace("manual_seed(0)", "manual_seed(1)"))
    assert main([*command, "--resume"]) == 1
    assert "was made with model" in capsys.readouterr().err


def test_a_model_without_weights_can_be_looked_at(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("import torch\n\ndef factory():\n    return torch.nn.Flatten()\n")
    command = ["generate", "--model", f"{tmp_path}/plain.py:factory", "--image-shape", "1", "2", "2", "--target", "3"]
    assert main([*command, "--out", str(tmp_path / "out"), *FAST]) == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"]["device"] == "cpu"


@pytest.mark.parametrize("command", ["generate", "evaluate"])
def test_every_option_reaches_the_generation(command: str, tmp_path: Path, model_file: str, image_folder: Path) -> None:
    line = [command, "--model", model_file, "--target", "birch", "--count", "3", "--out", str(tmp_path / "out")]
    line += ["--steps", "4", "--lr", "0.1", "--high-frequency-weight", "2", "--high-frequency-power", "2"]
    line += ["--warmup-steps", "3", "--warmup-tolerance", "0.25", "--degrees", "20", "--translate", "0.1", "0.2"]
    line += ["--scale", "0.8", "1.1", "--fill", "0.3", "--preprocess-first", "--no-clamp", "--autocast", "bfloat16"]
    line += ["--batch-size", "2", "--seed", "4", "--no-progress"]
    line += ["--parametrization", "fourier", "--lr-schedule", "cosine"]
    place = tmp_path / "out"
    if command == "evaluate":
        line += ["--images", str(image_folder), "--controls"]
        place = place / "0001_birch" / "prototypes"
    assert main(line) == 0
    prototypes = Prototypes.load(place / "prototypes.safetensors")
    assert prototypes.seeds == [4, 5, 6]
    expected = {
        "steps": 4,
        "lr": 0.1,
        "high_frequency_weight": 2.0,
        "high_frequency_power": 2,
        "warmup_steps": 3,
        "warmup_tolerance": 0.25,
        "transform": {
            "name": "RandomAffine",
            "degrees": [-20.0, 20.0],
            "translate": [0.1, 0.2],
            "scale": [0.8, 1.1],
            "fill": 0.3,
        },
        "preprocess_first": True,
        "clamp": False,
        "parametrization": FFTImage().settings(),
        "lr_schedule": "cosine",
        "autocast": "bfloat16",
        "batch_size": 2,
    }
    assert {name: prototypes.settings[name] for name in expected} == expected


def test_what_is_not_trained_is_not_expected_to_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["generate", "--model", "digits", "--random-weights", "--target", "3", "--transform", "none"]
    assert main([*command, "--out", str(tmp_path / "out"), *FAST]) == 0
    assert json.loads((tmp_path / "out" / "settings.json").read_text())["model"]["weights"] == "random (seed 0)"
    assert "transforms" not in capsys.readouterr().out  # there are none to expect anything under
    assert Prototypes.load(tmp_path / "out" / "prototypes.safetensors").settings["transform"] is None


def test_evaluate_writes_every_value_the_table_and_the_figure(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (image_folder / "ash" / "broken.png").write_bytes(b"no image")
    out = tmp_path / "out"
    command = [
        "evaluate",
        "--model",
        model_file,
        "--images",
        str(image_folder),
        "--target",
        "ash",
        "--target",
        "2",
        "--out",
        str(out),
        *FAST,
    ]
    with pytest.warns(UserWarning, match="broken.png"):
        assert main(command) == 0
    captured = capsys.readouterr()
    assert "broken.png" in captured.err
    comparison = PathComparison.load(out / "0000_ash" / "comparison.safetensors")
    assert comparison.conditions == ["prototype", "same_class", "other_class", *CONTROLS]
    assert len(comparison.spearman["same_class"]) == 4  # the broken one is left out
    assert len(comparison.spearman["other_class"]) == 5
    assert len(comparison.layers) == 5
    with (out / "0000_ash" / "scores.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(values) for values in comparison.spearman.values()) * 5
    one = next(row for row in rows if row["condition"] == "other_class" and row["image"] == "2" and row["index"] == "3")
    assert float(one["l1"]) == float(comparison.l1["other_class"][2, 3])
    with (out / "summary.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"ash", "cedar", "mean over classes"}
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "broken.png&#34; was skipped" in page
    assert not (out / "0000_ash" / "prototypes" / "report.html").exists()  # the prototypes are on the page of all
    assert (out / "summary.txt").read_text() in captured.out + (out / "summary.txt").read_text()
    assert comparison.table() in (out / "summary.txt").read_text()
    for picture in (
        out / "curves.png",
        out / "0000_ash" / "curves.png",
        out / "0000_ash" / "prototypes" / "prototypes.png",
    ):
        assert Image.open(picture).width > 100
    finished = (out / "0000_ash" / "comparison.safetensors").stat().st_mtime_ns
    assert main([*command, "--resume"]) == 0
    assert (out / "0000_ash" / "comparison.safetensors").stat().st_mtime_ns == finished


def test_evaluate_takes_prototypes_layers_and_options(tmp_path: Path) -> None:
    made, out = tmp_path / "made", tmp_path / "out"
    assert main(["generate", "--model", "digits", "--target", "3", "--out", str(made), *FAST]) == 0
    command = ["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--out", str(out), *FAST]
    command += ["--prototypes", str(made / "prototypes.safetensors"), "--layers", "conv?", "--layers", "fc"]
    command += ["--controls", "gray", "--limit", "9", "--others", "5", "--no-leave-one-out"]
    assert main(command) == 0
    comparison = PathComparison.load(out / "0003_3" / "comparison.safetensors")
    assert comparison.layers == ["conv1", "conv2", "conv3", "fc"]
    assert {name: len(values) for name, values in comparison.spearman.items()} == {
        "prototype": 1,
        "same_class": 9,
        "other_class": 5,
        "gray": 1,
    }
    assert comparison.settings["leave_one_out"] is False
    given = Prototypes.load(out / "0003_3" / "prototypes" / "prototypes.safetensors")  # for the page to show
    assert torch.equal(given.images, Prototypes.load(made / "prototypes.safetensors").images)


def test_report_makes_the_page_again_and_shows_it(
    tmp_path: Path, model_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, shown = tmp_path / "out", []
    assert main(["generate", "--model", model_file, "--target", "ash", "--out", str(out), *FAST]) == 0
    first = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    monkeypatch.setattr("webbrowser.open", lambda address: not shown.append(address))
    assert main(["report", str(out)]) == 0
    assert f"written: {out / 'report.html'}" in capsys.readouterr().out
    assert (out / "report.html").read_bytes() == first
    assert shown == []
    assert main(["report", str(out), "--open"]) == 0
    assert shown == [(out / "report.html").as_uri()]
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    assert main(["report", str(out), "--open"]) == 1
    assert "there is no browser to show" in capsys.readouterr().err
    assert main(["report", str(tmp_path)]) == 1
    assert "holds neither page.json nor settings.json" in capsys.readouterr().err


def test_prototypes_of_another_model_are_refused(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made" / "prototypes.safetensors"
    assert main(["generate", "--model", model_file, "--target", "0", "--out", str(made.parent), *FAST]) == 0
    (tmp_path / "other.py").write_text(FACTORY.replace("manual_seed(0)", "manual_seed(1)"))

    def evaluate(model: str, out: str) -> int:
        command = ["evaluate", "--model", model, "--images", str(image_folder), "--target", "0", "--controls"]
        return main([*command, "--prototypes", str(made), "--out", str(tmp_path / out), *FAST])

    assert evaluate(f"{tmp_path}/other.py:factory", "refused") == 1
    assert "made with another model or other weights" in capsys.readouterr().err
    assert not (tmp_path / "refused").exists()
    assert evaluate(model_file, "taken") == 0
    prototypes = Prototypes.load(made)
    prototypes.settings["model_fingerprint"] = None  # made with a function, of which nothing is known
    prototypes.save(made, overwrite=True)
    assert evaluate(f"{tmp_path}/other.py:factory", "unknown") == 0


def test_unclamped_prototypes_are_evaluated_when_asked(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = tmp_path / "made" / "prototypes.safetensors"
    options = ["--no-clamp", "--lr", "1"]
    assert main(["generate", "--model", model_file, "--target", "0", "--out", str(made.parent), *options, *FAST]) == 0
    assert float(Prototypes.load(made).images.max()) > 1.5
    command = ["evaluate", "--model", model_file, "--images", str(image_folder), "--target", "0", "--controls"]
    command += ["--prototypes", str(made), *FAST, "--out"]
    assert main([*command, str(tmp_path / "clamped")]) == 1
    assert "prototypes" in capsys.readouterr().err.splitlines()[-1]
    assert main([*command, str(tmp_path / "unclamped"), "--no-clamp"]) == 0


def test_evaluate_reads_images_as_the_model_does_and_passes_every_option(tmp_path: Path, image_folder: Path) -> None:
    factory = FACTORY.replace(
        "return model", "return NamedModel('trees', model, lambda x: x * 2 - 1, (3, 16, 16), NAMES, "
    )
    factory = factory.replace(
        "import torch\n", "import torch\nfrom captum_proto.models import NamedModel\nNAMES = None\n"
    )
    # A leaf that never runs is no layer, and no mistake of who asks for the leaves.
    factory = factory.replace(
        "    model.image_shape", "    model[2].spare = torch.nn.Identity()\n    model.image_shape"
    )
    (tmp_path / "trees.py").write_text(factory.rstrip() + "resize_ratio=1.5, interpolation='nearest')\n")
    for split in ("val", "train"):
        (tmp_path / "tree" / split).mkdir(parents=True)
    for i, name in enumerate(("ash", "birch", "cedar")):
        (image_folder / name).rename(tmp_path / "tree" / "train" / str(i))
    (tmp_path / "tree" / "val" / "0").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "tree" / "val" / "0" / "black.png")
    command = ["evaluate", "--model", f"{tmp_path}/trees.py:factory", "--images", str(tmp_path / "tree")]
    command += [
        "--split",
        "train",
        "--target",
        "0",
        "--limit",
        "3",
        "--others",
        "5",
        "--seed",
        "2",
        "--image-batch",
        "2",
    ]
    command += ["--repeat", "first", "--alias", "reference", "--ascent-steps", "1", "--layers", "leaf"]
    assert main([*command, "--out", str(tmp_path / "out"), *FAST]) == 0
    comparison = PathComparison.load(tmp_path / "out" / "0000" / "comparison.safetensors")
    expected = {"repeat": "first", "alias": "reference", "ascent_steps": 1, "seed": 2, "reference_images": 3}
    assert {name: comparison.settings[name] for name in expected} == expected
    named = load_model(f"{tmp_path}/trees.py:factory")
    images = ImageCollection.discover(tmp_path / "tree", split="train")
    how = {"resize_ratio": 1.5, "interpolation": "nearest"}
    same = images.of(0, limit=3, seed=2).batches((3, 16, 16), 2, **how)
    other = images.except_(0, limit=5, seed=2).batches((3, 16, 16), 2, **how)
    options = {"repeat": "first", "alias": "reference", "batch_size": 2}
    similarity = PathSimilarity(named.model, "leaf", named.preprocess, **options).fit(same)
    assert comparison.layers == similarity.reference.layers == ["0", "1", "3", "4"]
    assert torch.equal(comparison.l1["same_class"], similarity.evaluate(same, leave_one_out=True).l1)
    assert torch.equal(comparison.l1["other_class"], similarity.evaluate(other).l1)


def test_a_group_is_of_the_classes_that_have_images(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for picture in (image_folder / "birch").iterdir():
        picture.unlink()
    command = ["evaluate", "--model", model_file, "--images", str(image_folder), "--controls", *FAST]
    assert main([*command, "--target", "0-1", "--out", str(tmp_path / "group")]) == 0
    comparison = PathComparison.load(tmp_path / "group" / "0000-0001" / "comparison.safetensors")
    assert {name: len(values) for name, values in comparison.l1.items()} == {
        "prototype": 2,
        "same_class": 4,
        "other_class": 4,
    }
    assert main([*command, "--target", "1", "--out", str(tmp_path / "single")]) == 1
    assert "no images of class 1 (birch)" in capsys.readouterr().err


def test_classes_of_one_name_are_told_apart(
    tmp_path: Path, model_file: str, image_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "trees.py").write_text(FACTORY.replace("birch", "ash"))
    for index, name in enumerate(("ash", "birch", "cedar")):
        (image_folder / name).rename(image_folder / str(index))
    command = ["evaluate", "--model", model_file, "--images", str(image_folder), "--controls", *FAST]
    assert main([*command, "--target", "ash", "--out", str(tmp_path / "name")]) == 1
    assert "names the classes 0, 1 alike; use the index" in capsys.readouterr().err
    assert main([*command, "--target", "0", "--target", "1", "--out", str(tmp_path / "index")]) == 0
    with (tmp_path / "index" / "summary.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} == {"ash (0)", "ash (1)", "mean over classes"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", "--model", "digit", "--target", "3"], 'did you mean "digits"'),
        (
            ["generate", "--model", "digits", "--target", "10"],
            'there is no class "10": the classes are named by numbers, 0 to 9',
        ),
        (["generate", "--model", "digits", "--target", "thre"], 'no class "thre"'),
        (["generate", "--model", "digits", "--target", "7-3"], "lower index first"),
        (["generate", "--model", "digits", "--target", "3", "--steps", "-1"], "steps is -1"),
        (["generate", "--model", "digits", "--target", "3", "--count", "0"], "count is 0; expected at least 1"),
        (["generate", "--model", "digits", "--target", "3", "--batch-size", "0"], "batch_size is 0; expected at least"),
        (["generate", "--model", "digits", "--target", "3", "--num-classes", "4"], "leave num_classes out"),
        (["generate", "--model", "digits", "--target", "3", "--image-shape", "1", "9", "9"], "leave image_shape out"),
        (["generate", "--model", "digits", "--target", "3", "--device", "tpu9000"], 'tpu9000" is unknown'),
        (["generate", "--model", "digits", "--target", "3", "--checkpoint", "nowhere.pt"], "nowhere.pt"),
        (
            ["generate", "--model", "digits", "--target", "3", "--high-frequency-weight", "-1"],
            "high_frequency_weight is",
        ),
        (
            ["generate", "--model", "digits", "--target", "3", "--diversity", "pixels"],
            "no class is asked for more than",
        ),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--steps", "-1"], "steps is -1"),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "12"], "12"),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--limit", "1"], "at least two"),
        (
            ["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--limit", "900"],
            "limit asks for 900",
        ),
        (
            ["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--control-count", "0"],
            "control_count",
        ),
        (["evaluate", "--model", "digits", "--images", "nowhere", "--target", "3"], "nowhere"),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--count", "-1"], "count is -1"),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--others", "0"], "others is 0"),
        (["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--layers", "conv9"], "did you mean"),
        (
            ["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--controls", "grai"],
            'did you mean "gray"',
        ),
        (
            [
                "evaluate",
                "--model",
                "digits",
                "--images",
                "digits",
                "--target",
                "3",
                "--prototypes",
                "none.safetensors",
            ],
            "no file",
        ),
    ],
)
def test_bad_input_gets_one_sentence_and_exit_code_1_before_anything_is_removed(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    results_of_an_earlier_run: Callable[[Path, str], Callable[[], None]],
) -> None:
    check_results = results_of_an_earlier_run(tmp_path, arguments[0])
    assert main([*arguments, "--out", str(tmp_path), "--overwrite", "--no-progress"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("captum-proto: error: ")
    assert words in error
    check_results()


def test_a_bug_stays_a_traceback_and_says_how_to_report_it(
    tmp_path: Path, model_file: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["generate", "--model", model_file, "--target", "0", "--out", str(tmp_path / "out"), *FAST]

    def broken(*_: object, **__: object) -> None:
        raise ValueError("something that nobody wrote for a user")  # of the built-in kind, not of ours

    with monkeypatch.context() as patch:
        patch.setattr(PrototypeGeneration, "generate", broken)
        assert main(command) == 70
    error = capsys.readouterr().err
    assert "Traceback (most recent call last)" in error
    assert "ValueError: something that nobody wrote for a user" in error
    assert error.rstrip().endswith("send what is above and the output of: captum-proto info --json")
    assert main([*command, "--steps", "-1"]) == 1
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert error.splitlines()[-1].startswith("captum-proto: error: steps is -1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_asked_for_and_absent(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        main(["generate", "--model", "digits", "--target", "3", "--device", "cuda", "--out", str(tmp_path / "out")])
        == 1
    )
    assert "sees no CUDA device" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["generate", "--model", "digits", "--target", "3", "--out", str(out), *FAST]) == 1
        assert str(out) in capsys.readouterr().err
    assert (tmp_path / "file").read_text() == "in the way"


def test_help_has_examples_and_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    commands = (
        "generate",
        "evaluate",
        "sweep",
        "compare-groups",
        "planted-bias",
        "reproduce",
        "report",
        "info",
        "demo",
    )
    for command in commands:
        with pytest.raises(SystemExit) as exit_info:
            main([command, "--help"])
        assert exit_info.value.code == 0
        text = capsys.readouterr().out
        assert "130 interrupted" in text
        if command in ("generate", "evaluate"):
            assert f"captum-proto {command} --model efficientnet-lite0" in text


@pytest.mark.parametrize(
    "arguments", [[], ["paint"], ["generate", "--target", "3"], ["generate", "--model", "digits", "--steps", "many"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(arguments)
    assert exit_info.value.code == 2
    assert "usage: captum-proto" in capsys.readouterr().err


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='no class "99"'):
        main(
            [
                "--debug",
                "generate",
                "--model",
                "digits",
                "--target",
                "99",
                "--out",
                str(tmp_path / "out"),
                "--no-progress",
            ]
        )


def test_info_as_text_and_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["versions"]["torch"]
    assert set(facts["native"]) >= {"cpu", "cuda"}
    assert main(["info"]) == 0
    assert "native" in capsys.readouterr().out


def test_runs_as_a_module() -> None:
    result = subprocess.run([sys.executable, "-m", "captum_proto", "info"], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "versions" in result.stdout


@pytest.mark.parametrize(
    ("given", "others", "cores", "added"),
    [
        ({}, 0, 2, {"GOMP_SPINCOUNT": "3000"}),
        ({}, 1, 2, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({}, 3, 16, {"GOMP_SPINCOUNT": "3000"}),
        ({}, 4, 16, {"OMP_WAIT_POLICY": "PASSIVE"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, 9, 2, {}),
        ({"GOMP_SPINCOUNT": "7"}, 9, 2, {}),
    ],
)
def test_threads_sleep_beside_others_unless_the_user_says_otherwise(given, others, cores, added) -> None:
    assert waiting(given, others, cores) == added


def test_openmp_reads_how_its_threads_are_to_wait() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count() or 1)]
    try:
        for start in (
            ["-m", "captum_proto"],
            ["-c", "import sys; from captum_proto.__main__ import main; sys.exit(main())"],
        ):
            result = subprocess.run(
                [sys.executable, *start, "info"],
                capture_output=True,
                text=True,
                env={**environment, "OMP_DISPLAY_ENV": "true"},
                check=True,
            )
            if "OMP_WAIT_POLICY" not in result.stderr:
                pytest.skip("this PyTorch's threads are not OpenMP's, or its library does not say what it has read")
            if sys.platform == "linux":
                assert "OMP_WAIT_POLICY = 'PASSIVE'" in result.stderr
                assert "OMP_WAIT_POLICY: PASSIVE" in result.stdout
    finally:
        for other in others:
            other.kill()
            other.wait()
