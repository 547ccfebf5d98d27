"""The command ``atlas``: what it writes, how it goes on after an interrupt, what its page says."""

from __future__ import annotations

import json
import re
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto._utils.errors import InputError
from captum_proto.cli import main
from captum_proto.data import ImageCollection
from captum_proto.experiments.atlas import Atlas
from captum_proto.experiments.atlas.settings import AtlasSettings, levels_of
from captum_proto.features import ActivationAtlas, AtlasResult
from captum_proto.features.activation_atlas import AtlasVectors
from captum_proto.models import load_model
from captum_proto.report.page import Page
from captum_proto.report.views.atlas import AtlasMap, around
from captum_proto.runs.tasks import Run, Task, carry_out

FACTORY = """
import torch

def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 5, stride=2), torch.nn.ReLU(inplace=True), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
        torch.nn.Linear(6, 3),
    )
    model.image_shape = (3, 24, 24)
    model.class_names = ["ash", "<script>birch</script>", "cedar"]
    return model
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """The command that makes a small atlas of eight images with names that say nothing."""
    (tmp_path / "trees.py").write_text(FACTORY)
    (tmp_path / "photos").mkdir()
    generator = np.random.default_rng(0)
    for number in range(8):
        coarse = generator.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((30, 28), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photos" / f"holiday {number}.png")
    return [
        *("atlas", "--model", f"{tmp_path / 'trees.py'}:factory", "--images", str(tmp_path / "photos")),
        *("--positions", "all", "--method", "pca", "--grid", "4", "8", "--min-density", "3", "--steps", "3"),
        *("--examples", "2", "--pair-grid", "4", "--batch-size", "8", "--no-progress"),
    ]


def map_of(page: Page) -> AtlasMap:
    (found,) = page.lead
    assert isinstance(found, AtlasMap)
    return found


def test_the_command_writes_an_atlas_with_its_page(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([*command, "--layer", "0", "--target", "0", "--against", "1", "--out", str(out)]) == 0
    result, printed = AtlasResult.load(out / "atlas.safetensors"), capsys.readouterr().out
    assert len(result) == 8 * 100
    assert [level.size for level in result.levels] == [4, 8]
    for level in result.levels:
        assert int(level.counts.sum()) == 800
        assert level.icons is not None
        assert level.icons.shape == (len(level), 3, 24, 24)
        assert level.note() in printed
        sheet = np.asarray(Image.open(out / f"atlas_{level.size:03d}.png"))
        cell = int(level.cells[-1])
        y, x = (24 * at for at in divmod(cell, level.size))
        np.testing.assert_array_equal(sheet[y : y + 24, x : x + 24, :3], level.icons[-1].permute(1, 2, 0).numpy())
        empty = next((at for at in range(level.size**2) if at not in level.cells.tolist()), None)
        if empty is not None:
            y, x = (24 * at for at in divmod(empty, level.size))
            assert not sheet[y : y + 24, x : x + 24, 3].any()
    page = Page.load(out)
    shown = map_of(page)
    assert [sheet.size for sheet in shown.levels] == [4, 8]
    level = result.levels[1]
    for place, cell in enumerate(shown.levels[1].cells):
        assert cell.count == int(level.counts[cell.row, cell.column])
        values = level.attributions[place]
        best = result.vectors.targets[int(values.argmax())][0]
        assert cell.labels[0][0] == ["ash", "<script>birch</script>", "cedar"][best]
        assert float(cell.labels[0][1].replace("−", "-")) == pytest.approx(float(values.max()), abs=6e-4)
        assert 1 <= len(cell.examples) <= 2
    text = (out / "report.html").read_text(encoding="utf-8")
    assert "<script>birch" not in text
    assert "&lt;script&gt;birch" in text
    assert not re.findall(r'src="(?!data:)[^"]*"', text)
    assert "http" not in text.replace("http-equiv", "")
    assert text.count("<script>") == 1
    assert "enlivenAtlas" in text
    assert "by chance" in page.trust
    settings = json.loads((out / "settings.json").read_text())
    assert settings["layer"] == "0"
    assert len(settings["images"]) == 8
    patch = json.loads((out / "pair/patch.json").read_text())
    assert "failure" in patch or {trial["name"] for trial in patch["trials"]} == {
        "suggested",
        "other cells",
        "shuffled pixels",
    }


def test_an_interrupted_run_goes_on_and_ends_the_same(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    options = [*command, "--layer", "0"]
    assert main([*options, "--out", str(whole)]) == 0
    make, made, interrupting = Atlas.make, list[str](), [True]

    def noted(self: Atlas, task: Task, run: Run) -> None:
        made.append(task.name)
        if task.name == "icons/008/00008" and interrupting:
            raise KeyboardInterrupt
        make(self, task, run)

    monkeypatch.setattr(Atlas, "make", noted)
    assert main([*options, "--out", str(parted)]) == 130
    before = made[:-1]
    interrupting.clear()
    made.clear()
    assert main([*options, "--resume", "--out", str(parted)]) == 0
    assert made[0] == "icons/008/00008"
    assert not set(made) & set(before)
    for name in ("atlas.safetensors", "vectors.safetensors", "examples.png", "atlas_008.png", "report.html"):
        assert (whole / name).read_bytes() == (parted / name).read_bytes(), name


@pytest.mark.parametrize("positions", ["random", "all"])
@pytest.mark.parametrize("most", [None, 5])
@pytest.mark.parametrize("broken", [[], [1, 2, 6]])
@pytest.mark.filterwarnings("ignore:.*cannot be read", "ignore:.*fewer than")
def test_the_sample_does_not_depend_on_chunks(
    positions: str, most: int | None, broken: list[int], command: list[str], tmp_path: Path
) -> None:
    """Also where files of the first chunks cannot be read, so that images of others take their places."""
    for number in broken:
        (tmp_path / "photos" / f"holiday {number}.png").write_bytes(b"no picture")
    settings = AtlasSettings(
        positions=positions, vectors=most, method="pca", min_density=1, labels=2, examples=1, steps=1
    )
    named = load_model(f"{tmp_path / 'trees.py'}:factory")
    found = {}
    for chunk in (1, 2, 3, 100):
        out = tmp_path / str(chunk)
        protocol = Atlas(named, "0", tmp_path / "photos", [2], settings, image_batch=1, chunk=chunk, workers=0)
        carry_out(protocol, out)
        found[chunk] = [
            (out / name).read_bytes() for name in ("vectors.safetensors", "examples.png", "layout.safetensors")
        ]
        assert (out / "classes").exists() == (chunk < 8)
        assert json.loads((out / "settings.json").read_text())["chunk"] == chunk
    assert found[1] == found[2] == found[3] == found[100]
    vectors = AtlasVectors.load(tmp_path / "100" / "vectors.safetensors")
    there = [number for number in range(8) if number not in broken]
    each = 100 if positions == "all" else 1
    expected = sorted(there * each)[:most]
    assert vectors.images.tolist() == expected  # the place of its file
    if positions == "random":
        images = ImageCollection.one_class(tmp_path / "photos").batches_for(named.geometry, 1)
        sample = ActivationAtlas(named.model, "0", named.preprocess).collect(images, n=most)
        assert torch.equal(sample.vectors, vectors.vectors)
        assert torch.equal(sample.positions, vectors.positions)


def test_more_images_than_needed_are_not_looked_at(command: list[str], tmp_path: Path) -> None:
    """Of three vectors the first three images are enough, in whole batches; of all, all."""
    named = load_model(f"{tmp_path / 'trees.py'}:factory")
    settings = AtlasSettings(vectors=3, method="pca", min_density=1, labels=0, examples=0, steps=0)
    protocol = Atlas(named, "0", tmp_path / "photos", [1], settings, image_batch=2, chunk=2, workers=0)
    names = [task.name for task in protocol.tasks()]
    assert names[:4] == ["vectors/0000000", "vectors/0000002", "vectors", "layout"]
    all_of_them = Atlas(named, "0", tmp_path / "photos", [1], replace(settings, vectors=None), chunk=2)
    assert len([task for task in all_of_them.tasks() if task.name.startswith("vectors/")]) == 4


def test_of_no_image_that_can_be_read_there_is_a_sentence(command: list[str], tmp_path: Path) -> None:
    for path in (tmp_path / "photos").iterdir():
        path.write_bytes(b"no picture")
    named = load_model(f"{tmp_path / 'trees.py'}:factory")
    for chunk in (3, 100):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(InputError, match=r"none of the 8 images in .*photos.* can be read; replace them"):
                carry_out(Atlas(named, "0", tmp_path / "photos", [2], chunk=chunk, workers=0), tmp_path / f"out{chunk}")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        (["--layer", "00"], '"00"'),
        (["--layer", "0", "--grid", "40"], "there are 800 vectors for the 1600 cells"),
        (["--layer", "0", "--min-density", "900"], "no cell of a grid of 4 by 4 holds 900 vectors"),
        (["--layer", "0", "--target", "0"], "needs both; give target and against, or neither"),
        (["--layer", "0", "--target", "0", "--against", "ash"], "give two different classes"),
        (["--layer", "0", "--target", "0", "--against", "9"], "target 9 is out of range"),
        (["--layer", "0", "--patch-size", "2"], "patch_size is 2"),
        (["--layer", "0", "--grid", "0"], "grid is 0; expected at least 1"),
        (["--layer", "0", "--chunk", "0"], "chunk is 0"),
    ],
)
def test_what_cannot_be_used_gets_a_sentence(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], sentence: str
) -> None:
    assert main([*command, *more, "--out", str(tmp_path / "out")]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out" / "report.html").exists()


def test_levels_are_given_or_halved() -> None:
    assert levels_of(20) == [5, 10, 20]
    assert levels_of(7) == [7]
    assert levels_of([8]) == [4, 8]
    assert levels_of([12, 3]) == [3, 12]


def test_the_part_around_a_position_stays_inside_the_image() -> None:
    image = torch.arange(64).float().view(1, 8, 8) / 255
    assert around(image, [0, 0], [4, 4]).flatten().tolist()[0] == 0
    assert around(image, [3, 3], [4, 4])[0, -1, -1] == 63
    assert around(image, [2, 1], [4, 4]).tolist() == (image[:, 3:7, 1:5] * 255).round().to(torch.uint8).tolist()
    assert around(image, [], []).shape == (1, 8, 8)
