"""Groups of image files, compared by the command: what is written, what is refused, and how it goes on after an interrupt."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.cli import main
from captum_proto.data import ImageCollection, load_image
from captum_proto.experiments.compare_groups import CompareGroups
from captum_proto.experiments.subgroup_images import SubgroupLogits, write_images
from captum_proto.metrics import SubgroupComparison
from captum_proto.models import NamedModel, load_model
from captum_proto.report.page import Page
from captum_proto.runs.tasks import carry_out

# The mean of red, of green and of blue as logits: a picture is of the class of its color.
FACTORY = """
import torch

def factory():
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 3, bias=False))
    torch.nn.init.eye_(model[2].weight)
    model.image_shape = (3, 8, 8)
    model.class_names = ["robin", "grass", "sky"]
    return model
"""
FAST = ["--steps", "4", "--warmup-steps", "0", "--resamples", "100", "--no-progress"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "colors.py").write_text(FACTORY)
    return f"{tmp_path}/colors.py:factory"


def paint(folder: Path, colors: str, seed: int) -> Path:
    """A picture for each letter: "r", "g" or "b", no two alike."""
    generator = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for place, color in enumerate(colors):
        pixels = generator.integers(0, 100, (10, 12, 3), dtype=np.uint8)
        pixels[..., "rgb".index(color)] += 150
        Image.fromarray(pixels).save(folder / f"{place}.png")
    return folder


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {"day": paint(tmp_path / "day", "rrrrrg", 0), "night": paint(tmp_path / "night", "rbbbbbbb", 1)}


def command(model: str, places: dict[str, Path], out: Path, *more: str) -> list[str]:
    line = ["compare-groups", "--model", model, "--target", "Robin", "--out", str(out), *FAST]
    for name, place in places.items():
        line += ["--group", f"{name}={place}"]
    return [*line, *more]


def test_every_value_the_tables_the_figure_and_the_prototypes_are_written(
    model: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (places["day"] / "deep" / "er").mkdir(parents=True)
    (places["day"] / "0.png").rename(places["day"] / "deep" / "er" / "0.png")
    (places["night"] / "torn.png").write_bytes((places["night"] / "0.png").read_bytes()[:90])
    (places["night"] / "notes.txt").write_text("no image, and not taken for one")
    out = tmp_path / "out"
    with pytest.warns(UserWarning, match=r"torn\.png"):
        assert main(command(model, places, out, "--also", "sky", "--count", "1")) == 0
    comparison = SubgroupComparison.load(out / "comparison.json")
    day, night = comparison.subgroups
    assert (day.images, day.correct, day.skipped) == (6, 5, 0)
    assert (night.images, night.correct, night.skipped) == (8, 1, 1)
    assert comparison.classes == ["robin", "sky"]
    assert comparison.table() in (out / "summary.txt").read_text()
    printed = capsys.readouterr().out
    assert comparison.table() in printed
    assert "1 files of the group night were skipped" in printed
    with (out / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["subgroup"] for row in rows] == ["day"] * 6 + ["night"] * 8
    named = load_model(model)
    for row in rows:
        assert row["sha256"] == hashlib.sha256(Path(row["file"]).read_bytes()).hexdigest()
        image = load_image(row["file"], (3, 8, 8), named.resize_ratio, named.interpolation)
        expected = named.logits(image.unsqueeze(0)).detach()[0]
        assert float(row["logit(sky)"]) == pytest.approx(float(expected[2]), abs=1e-5)
        assert float(row["probability(robin)"]) == pytest.approx(float(expected.softmax(0)[0]), abs=1e-5)
        assert row["predicted_class"] == named.class_names[int(expected.argmax())]
    mean = np.mean([float(row["probability(sky)"]) for row in rows if row["subgroup"] == "night"])
    assert night.probabilities["sky"].value == pytest.approx(mean)
    with (out / "summary.csv").open() as file:
        assert {row["figure"] for row in csv.DictReader(file)} >= {"accuracy", "mean probability difference"}
    manifest = json.loads((out / "manifest.json").read_text())
    assert [one["file"] for one in manifest["images"]["day"]["images"]] == [row["file"] for row in rows[:6]]
    assert manifest["images"]["night"]["skipped"][0]["file"].endswith("torn.png")
    assert manifest["versions"]["torch"]
    assert manifest["bootstrap_seed"] == 0
    assert Image.open(out / "groups.png").width > 300
    assert (out / "groups.svg").read_text().startswith("<?xml")
    assert Prototypes.load(out / "prototypes" / "prototypes.safetensors").target == [(0,), (2,)]
    page = Page.load(out)
    assert "prototypes/0002_sky_seed0.png" in page.files()
    assert all((out / name).exists() for name in page.files())
    assert any("torn.png" in sentence for sentence in page.failures)
    assert "5 of 6 images of day" in page.summary[0]


def test_a_single_logit_is_a_class_or_none(tmp_path: Path) -> None:
    single = {"day": torch.tensor([[2.0], [-1.0]]), "night": torch.tensor([[0.5]])}
    found = {
        name: SubgroupLogits(values, ["a.png", "b.png"][: len(values)], ["", ""][: len(values)], [])
        for name, values in single.items()
    }
    write_images(found, {"robin": (0,)}, ["robin"], tmp_path / "images.csv")
    with (tmp_path / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["predicted_class"] for row in rows] == ["robin", "none", "robin"]
    assert [row["prediction"] for row in rows] == ["0", "", "0"]
    assert [float(row["probability(robin)"]) for row in rows] == pytest.approx([0.880797, 0.268941, 0.622459], abs=1e-6)


def test_prototypes_are_made_taken_from_a_file_or_left_out(
    model: str, places: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(model, places, tmp_path / "none", "--no-prototypes")) == 0
    assert not (tmp_path / "none" / "prototypes").exists()
    assert "Prototypes" not in [section.title for section in Page.load(tmp_path / "none").sections]
    made = PrototypeGeneration(load_model(model).model).generate([2, 0], (3, 8, 8), steps=2, warmup_steps=0)
    made.save(tmp_path / "made.safetensors")
    assert main(command(model, places, tmp_path / "given", "--prototypes", str(tmp_path / "made.safetensors"))) == 0
    kept = Prototypes.load(tmp_path / "given" / "prototypes" / "prototypes.safetensors")
    assert kept.target == [(0,)]
    assert torch.equal(kept.images, made.of(0).images)
    line = command(model, places, tmp_path / "other", "--prototypes", str(tmp_path / "made.safetensors"))
    assert main([*line, "--also", "grass"]) == 1
    assert "no prototypes of [1]" in capsys.readouterr().err
    (tmp_path / "colors.py").write_text(FACTORY.replace("eye_", "ones_"))
    assert main(line) == 1
    assert "another model or other weights" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_an_interrupted_comparison_goes_on_and_reads_again_only_what_changed(
    model: str, places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    batches = ImageCollection.batches

    def watched(self, shape, batch_size, **kwargs):
        if batch_size == 1:  # only to see that there is an image that can be read
            return batches(self, shape, batch_size, **kwargs)
        if self.root.name == stop:
            raise KeyboardInterrupt
        read.append(self.root.name)
        return batches(self, shape, batch_size, **kwargs)

    monkeypatch.setattr(ImageCollection, "batches", watched)
    out, stop = tmp_path / "out", "night"
    assert main(command(model, places, out, "--no-prototypes")) == 130
    stop = ""
    assert main(command(model, places, out, "--no-prototypes")) == 1  # neither overwritten nor resumed unless asked
    assert main(command(model, places, out, "--no-prototypes", "--resume")) == 0
    assert read == ["day", "night"]
    finished = (out / "comparison.json").read_bytes()
    assert main(command(model, places, out, "--no-prototypes", "--resume")) == 0
    assert (out / "comparison.json").read_bytes() == finished
    (places["day"] / "0.png").write_bytes((places["night"] / "5.png").read_bytes())
    with pytest.warns(UserWarning, match='groups "day" and "night" share 1 image'):
        assert main(command(model, places, out, "--no-prototypes", "--resume")) == 0
    assert read == ["day", "night", "day"]
    assert SubgroupComparison.load(out / "comparison.json").subgroups[0].correct == 4
    assert main(command(model, places, out, "--no-prototypes", "--resume", "--confidence", "0.9")) == 1
    with pytest.warns(UserWarning, match="share 1 image"):
        assert main(command(model, places, out, "--no-prototypes", "--overwrite")) == 0
    assert read[3:] == ["day", "night"]


def test_what_was_found_is_on_disk_before_the_prototypes_are_made(
    model: str, places: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    generate = PrototypeGeneration.generate

    def stop(*args, steps, **kwargs):
        if steps:
            raise KeyboardInterrupt
        return generate(*args, steps=steps, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(PrototypeGeneration, "generate", stop)
        assert main(command(model, places, out)) == 130
    assert SubgroupComparison.load(out / "comparison.json").subgroups[0].correct == 5
    assert main(command(model, places, out, "--resume")) == 0
    assert (out / "prototypes" / "prototypes.safetensors").exists()


def test_copies_are_warned_of(model: str, places: dict[str, Path], tmp_path: Path) -> None:
    for name in ("copy.png", "copy too.png"):
        (places["day"] / name).write_bytes((places["day"] / "0.png").read_bytes())
    with pytest.warns(UserWarning, match='2 of the 8 images of the group "day" are copies'):
        assert main(command(model, places, tmp_path / "out", "--no-prototypes")) == 0
    assert "copies" in Page.load(tmp_path / "out").failures[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line, root: [*line, "--group", f"dusk={root}/empty"], 'empty" holds no images'),
        (lambda line, root: [*line, "--group", f"dusk={root}/nowhere"], "no folder"),
        (lambda line, root: [*line, "--group", f"dusk={root}/day/0.png"], "is a file"),
        (lambda line, root: [*line, "--group", f"dusk={root}/broken"], "none of the 1 images"),
        (
            lambda line, root: [*line, "--group", f"dusk={root}/day/../day"],
            'groups "day" and "dusk" are the same folder',
        ),
        (lambda line, root: [*line, "--group", f"day={root}/empty"], 'two groups are called "day"'),
        (lambda line, root: [*line, "--group", "dusk"], 'the group "dusk" is not NAME=DIR'),
        (lambda line, root: line[:-2], "one group of images was given; expected at least two"),
        (lambda line, root: [*line, "--also", "gras"], 'no class "gras"; did you mean "grass"?'),
        (lambda line, root: [*line, "--target", "3"], "target 3 is out of range: the model has 3 classes"),
        (lambda line, root: [*line, "--confidence", "95"], "confidence is 95"),
        (lambda line, root: [*line, "--resamples", "0"], "resamples is 0"),
        (lambda line, root: [*line, "--count", "0"], "count is 0"),
    ],
)
def test_bad_input_gets_one_sentence_before_anything_is_removed(
    change,
    words: str,
    model: str,
    places: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    results_of_an_earlier_run,
) -> None:
    check_results = results_of_an_earlier_run(tmp_path / "out", "compare-groups")
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "x.png").write_bytes(b"no image")
    line = command(model, places, tmp_path / "out")
    assert main([*change(line, tmp_path), "--overwrite"]) == 1
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("captum-proto: error: ")
    assert words in error
    check_results()


def test_tensors_are_groups_too(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    network.train()
    named = NamedModel("linear", network, lambda images: images * 2 - 1, (3, 2, 2), ["a", "b", "c"])
    groups = {name: torch.rand(5, 3, 2, 2) for name in ("first", "second")}
    comparison = carry_out(CompareGroups(named, groups, (1,), resamples=50, batch_size=2), tmp_path / "out")
    assert network.training
    for one, images in zip(comparison.subgroups, groups.values(), strict=True):
        expected = (network(images * 2 - 1).argmax(1) == 1).sum()
        assert one.correct == int(expected)
    assert (
        json.loads((tmp_path / "out" / "manifest.json").read_text())["images"]["first"]["images"][4]["file"]
        == "image 4"
    )
    with pytest.raises(ValueError, match="1 group of images given"):
        carry_out(CompareGroups(named, {"first": groups["first"]}, (1,)), tmp_path / "one")
    assert not (tmp_path / "one").exists()
