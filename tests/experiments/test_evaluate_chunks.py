"""A class whose images are shared out by chunks: what one task finds, whoever made the chunks, and what is said of images left out."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import seeded
from PIL import Image
from torch import Tensor, nn

from captum_proto import PathComparison, cli
from captum_proto._utils.files import image_digest
from captum_proto.data import TensorCollection
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.evaluation_page import COMPARISON
from captum_proto.experiments.generate import Generate
from captum_proto.models import NamedModel
from captum_proto.runs.folder import SETTINGS
from captum_proto.runs.tasks import carry_out

QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "transform": None}
NAMES = ["ash", "birch"]


class Coarse(nn.Sequential):
    """A network whose sums over images of a few levels are exact, in any order."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
        with torch.no_grad():
            for values in self.parameters():
                values.copy_((32 * values).round() / 32)


@pytest.fixture(scope="module")
def named() -> NamedModel:
    return NamedModel("coarse", seeded(Coarse).eval(), None, (3, 8, 8), NAMES, resize_ratio=1.0)


def scans(count: int) -> Tensor:
    return torch.randint(0, 9, (count, 3, 8, 8), generator=torch.Generator().manual_seed(1)) / 8


def evaluate(named: NamedModel, images: Any, out: Path, **options: Any) -> dict[Any, PathComparison]:
    source = NaturalImages(images, named.geometry, NAMES, batch_size=2, workers=0)
    values = {"similarity": {"measures": ["cosine"]}, "comparison": {"controls": ["gray", "mean_image"]}, **options}
    return carry_out(Evaluate(named, [(0,)], source, QUICK, count=1, page=False, **values), out)


@pytest.mark.parametrize(("chunk", "count"), [(2, 5), (4, 3), (8, 2)])
@pytest.mark.parametrize("leave_one_out", [True, False])
def test_chunks_find_what_one_task_finds(
    chunk: int, count: int, leave_one_out: bool, named: NamedModel, tmp_path: Path
) -> None:
    """Where sums are exact, and batches the same, to the last bit; the mean image and every measure among them."""
    images = TensorCollection(scans(17), torch.tensor([0] * 9 + [1] * 8))
    options = {"comparison": {"controls": ["gray", "mean_image"], "leave_one_out": leave_one_out}}
    evaluate(named, images, tmp_path / "whole", chunk=9, **options)
    evaluate(named, images, tmp_path / "parts", chunk=chunk, **options)
    for name in (COMPARISON, "scores.csv"):
        whole, parts = (tmp_path / folder / "0000_ash" / name for folder in ("whole", "parts"))
        assert parts.read_bytes() == whole.read_bytes()
    assert len(list((tmp_path / "parts" / "0000_ash" / "sums").iterdir())) == count
    assert not (tmp_path / "whole" / "0000_ash" / "sums").exists()
    assert json.loads((tmp_path / "parts" / SETTINGS).read_text())["chunk"] == chunk


def test_sums_by_chunks_are_those_of_one_pass_but_for_the_last_digits(tmp_path: Path) -> None:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(144, 2)).double().eval()
    named = NamedModel("fine", model, None, (3, 8, 8), NAMES, resize_ratio=1.0)
    images = TensorCollection(torch.rand(20, 3, 8, 8, generator=torch.Generator().manual_seed(2)), torch.arange(20) % 2)
    (whole,), (parts,) = (evaluate(named, images, tmp_path / str(chunk), chunk=chunk).values() for chunk in (10, 4))
    for measure in ("spearman", "l1", "cosine"):
        for name, expected in getattr(whole, measure).items():
            found = getattr(parts, measure)[name]
            assert torch.allclose(found, expected, rtol=1e-12, atol=1e-12, equal_nan=True), (measure, name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of a class, the first two of which cannot be read, and seven of another."""
    for label, name in enumerate(NAMES):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for index in range(6 + label):
            path = tmp_path / "photos" / name / f"{index}.png"
            pixels = (255 * scans(20)[7 * label + index]).byte().movedim(0, 2).numpy()
            Image.fromarray(pixels).save(path)
            if not label and index < 2:
                path.write_bytes(b"no picture")
    return tmp_path / "photos"


@pytest.mark.filterwarnings("ignore:.*cannot be read")
def test_a_chunk_of_which_nothing_can_be_read(folder: Path, named: NamedModel, tmp_path: Path) -> None:
    (whole,) = evaluate(named, str(folder), tmp_path / "whole", chunk=100).values()
    (parts,) = evaluate(named, str(folder), tmp_path / "parts", chunk=2).values()
    assert not (tmp_path / "parts" / "0000_ash" / "sums" / "0000000.safetensors").exists()
    assert len(parts.spearman["same_class"]) == len(whole.spearman["same_class"]) == 4
    assert torch.allclose(parts.l1["same_class"], whole.l1["same_class"], rtol=1e-12, atol=0)
    assert parts.settings == whole.settings
    assert len(parts.settings["failures"]) == 2
    for path in sorted((folder / "ash").iterdir())[2:]:
        path.write_bytes(b"no picture either")
    Image.new("RGB", (8, 8)).save(folder / "ash" / "3.png")
    with pytest.raises(ValueError, match="there is 1 image of ash; path similarity needs at least two"):
        evaluate(named, str(folder), tmp_path / "none", chunk=2)


def seen(images: Tensor, named: NamedModel, folder: Path) -> Path:
    """A file with prototypes that were made to match some images, as they record it."""
    made = carry_out(Generate(named, [(0,)], QUICK, page=False), folder / "made")
    match = {"images": [{"images": [image_digest(image) for image in images]}]}
    replace(made, settings={**made.settings, "match": match}).save(folder / "seen.safetensors")
    return folder / "seen.safetensors"


def test_images_that_prototypes_have_seen_are_left_out(named: NamedModel, tmp_path: Path) -> None:
    images = scans(16)
    collection = TensorCollection(images, torch.tensor([0] * 8 + [1] * 8))
    given = seen(images[[0, 1, 5]], named, tmp_path)  # all of the first chunk, and one of another
    (whole,), (parts,) = (
        evaluate(named, collection, tmp_path / str(chunk), chunk=chunk, prototypes=given).values() for chunk in (8, 2)
    )
    assert len(parts.spearman["same_class"]) == 5
    assert parts.settings == whole.settings
    assert "3 of the 8 images given here are among them and are left out" in parts.settings["failures"][0]
    for condition, expected in whole.l1.items():
        assert torch.equal(parts.l1[condition], expected), condition


def test_of_a_single_image_there_is_no_reference(
    named: NamedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of prototypes that are given it is seen at once; of those that the run makes itself, when they are there."""
    images = scans(16)
    collection = TensorCollection(images, torch.tensor([0] * 8 + [1] * 8))
    given = seen(images[1:8], named, tmp_path)
    with pytest.raises(ValueError, match="were made to match 7 of its 8 images"):
        evaluate(named, collection, tmp_path / "out", chunk=3, prototypes=given)
    monkeypatch.setattr(Evaluate, "_check", lambda self: None)
    with pytest.raises(
        ValueError, match="there is 1 image of ash among 8 that can be used: that can be read and were not"
    ):
        evaluate(named, collection, tmp_path / "out", chunk=3, prototypes=given)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--model", "digits", "--images", "digits", "--target", "3", "--count", "1", "--steps", "2"]
    command += ["--warmup-steps", "1", "--controls", "gray", "--limit", "20", "--no-progress"]
    assert cli.main([*command, "--chunk", "8", "--out", str(tmp_path / "out")]) == 0
    assert len(list((tmp_path / "out").glob("*/same_class/*.safetensors"))) == 3
    assert "20" in capsys.readouterr().out
    assert cli.main([*command, "--chunk", "0", "--out", str(tmp_path / "none")]) == 1
    assert "chunk is 0; expected at least 1." in capsys.readouterr().err
