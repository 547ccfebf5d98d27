"""Pictures of units from the command line: what is written, what the page says of it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from captum_proto._utils.errors import InputError
from captum_proto.cli import main
from captum_proto.data import ImageGeometry, TensorCollection, photographs
from captum_proto.experiments.visualize import (
    LayerUnits,
    NaturalExamples,
    Visualize,
    channels_in,
    chosen_layers,
    parse_units,
    read_directions,
    visualization_page,
)
from captum_proto.models import NamedModel
from captum_proto.optim import Visualizations
from captum_proto.report.blocks import Pictures
from captum_proto.report.unit_blocks import Units
from captum_proto.report.views.visualizations import UnitPicture, read_natural, write_strip
from captum_proto.runs.tasks import carry_out

MODEL = """
import torch

def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 5, 3), torch.nn.ReLU(), torch.nn.Conv2d(5, 4, 3), torch.nn.Flatten(), torch.nn.Linear(576, 3)
    )
    with torch.no_grad():
        model[0].bias[4] = -100.0
    model.image_shape = (3, 16, 16)
    return model
"""
FAST = ["--steps", "3", "--no-progress", "--transform", "none"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(MODEL)
    return f"{tmp_path / 'net.py'}:factory"


@pytest.fixture
def folder(tmp_path: Path) -> str:
    generator = np.random.default_rng(0)
    (tmp_path / "photos" / "inner").mkdir(parents=True)
    for i in range(8):
        pixels = generator.integers(0, 256, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / ("inner" if i % 2 else "") / f"{i}.png")
    return str(tmp_path / "photos")


def plants() -> NamedModel:
    """Of its units one is the mean red of a patch, one its blue, and one never fires."""
    layer = nn.Conv2d(3, 3, 4, stride=4)
    with torch.no_grad():
        layer.weight.zero_()
        layer.weight[0, 0], layer.weight[1, 2] = 1 / 16, 1 / 16
        layer.bias.copy_(torch.tensor([0.0, 0.0, -9.0]))
    network = nn.Sequential(layer, nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    return NamedModel("plants", network, None, (3, 16, 16), resize_ratio=1.0)


def colored() -> TensorCollection:
    """Six images more and more red, six more and more blue."""
    images = torch.full((12, 3, 16, 16), 0.2)
    for place in range(6):
        images[place, 0], images[6 + place, 2] = 0.3 + 0.1 * place, 0.3 + 0.1 * place
    return TensorCollection(images, torch.zeros(12, dtype=torch.int64))


class Colors(nn.Module):
    """The judge: the mean of each color."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.head(self.flat(self.pool(images)))
        return logits


@pytest.mark.filterwarnings("ignore:.*the gradient through the model was exactly zero")
def test_planted_units_have_their_examples_and_a_score_and_a_silent_one_has_no_picture(tmp_path: Path) -> None:
    judge = NamedModel("colors", Colors().eval(), None, (3, 16, 16))
    natural = NaturalExamples(colored(), k=4, judge=judge, workers=0)
    units = LayerUnits("1", (0, 1, 2), width=3)
    options = {"steps": 30, "transform": None, "parametrization": "pixels", "lr": 0.1}
    made = carry_out(Visualize(plants(), [units], options, natural=natural), tmp_path)["1"]
    torch.testing.assert_close(made.activations, torch.tensor([1.0, 1.0, 0.0]))
    red, blue, silent = read_natural(tmp_path / "natural" / "00.json")
    assert (red.greatest, red.count) == (pytest.approx(0.8), 12)
    assert red.reached == pytest.approx(1.0)
    for one in (red, blue):
        assert one.score is not None and one.control is not None and one.ceiling is not None  # noqa: PT018
        assert one.score.value == 1.0
        assert one.score.low > 0.5
        assert one.control.value == 0.0  # the other's picture is of the other color
    assert silent.score is None
    assert "never fires" in silent.silent
    page = visualization_page(tmp_path)
    (rows,) = page.sections[0].of(Units)
    assert [len(unit.pictures) for unit in rows.units] == [1, 1, 0]
    assert [len(unit.strips) for unit in rows.units] == [3, 3, 3]
    assert any(line.startswith("1.2 ×") for line in rows.units[0].facts)
    assert any("Unit 2 of 1 has no picture: it never fired" in sentence for sentence in page.failures)
    assert not (tmp_path / "1_unit0002.png").exists()
    assert "2 of 2 units" in page.trust
    strip = np.asarray(Image.open(tmp_path / "1_unit0000_top.jpg"))
    middle = strip[strip.shape[0] // 2]
    assert middle[20, 0] > middle[20, 2] + 100  # red, and the first more than the last
    assert middle[20, 0] > middle[20 + 3 * 114, 0] + 40


def test_the_command(tmp_path: Path, model: str, folder: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = [
        "visualize",
        "--model",
        model,
        "--layer",
        "0",
        "--layer",
        "2",
        "--units",
        "0-1,3",
        "--attempts",
        "2",
        *FAST,
    ]
    assert main([*command, "--images", folder, "--k", "2", "--pool", "mean", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert printed.count("activation") == 6
    for layer in ("0", "2"):
        made = Visualizations.load(out / f"{layer}.safetensors")
        assert made.targets == [(0,), (1,), (3,)]
        assert made.attempts is not None
        assert made.attempts.shape == (3, 2)
        assert Image.open(out / f"{layer}.png").width > 300
        for unit, image in zip((0, 1, 3), made.images, strict=True):
            picture = np.asarray(Image.open(out / f"{layer}_unit{unit:04d}.png"))
            np.testing.assert_array_equal(picture, (image.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    settings = json.loads((out / "settings.json").read_text())
    assert settings["options"]["steps"] == 3
    assert settings["images"]["count"] == 8
    assert (out / "report.html").exists()
    assert main([*command, "--images", folder, "--k", "2", "--pool", "mean", "--out", str(out), "--resume"]) == 0
    assert main([*command, "--images", folder, "--k", "3", "--pool", "mean", "--out", str(out), "--resume"]) == 1
    assert "images.k = 2, now it is 3" in capsys.readouterr().err


def test_directions_and_neurons(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    save_file({"any": torch.eye(4)[:2]}, tmp_path / "two.safetensors")
    np.save(tmp_path / "one.npy", np.ones(4, np.float32))
    for name, count in (("two.safetensors", 2), ("one.npy", 1)):
        out = tmp_path / f"out-{count}"
        command = ["visualize", "--model", model, "--layer", "2", "--direction", str(tmp_path / name), *FAST]
        assert main([*command, "--out", str(out)]) == 0
        assert len(Visualizations.load(out / "2.safetensors")) == count
        assert (out / "2_direction0000.png").exists()
        (pictures,) = visualization_page(out).sections[0].of(Pictures)
        assert len(pictures.pictures) == count
    out = tmp_path / "neuron"
    assert (
        main(["visualize", "--model", model, "--layer", "2", "--neuron", "--units", "1", *FAST, "--out", str(out)]) == 0
    )
    assert Visualizations.load(out / "2.safetensors").settings["loss"]["name"] == "NeuronActivation"
    capsys.readouterr()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--layer", "9"], 'there is no layer "9"'),
        (["--layer", "0", "--units", "2,5"], 'unit 5 is out of range: layer "0" has 5 units, 0 to 4'),
        (["--layer", "0", "--units", "x"], 'units is "x"; expected numbers and ranges'),
        (["--layer", "0", "--direction", "one.npy", "--units", "1"], "--units and --direction were both given"),
        (["--layer", "0", "--direction", "one.npy"], "directions have 4 entries; expected 5"),
        (["--layer", "?", "--direction", "one.npy"], "--direction was given for 5 layers"),
        (["--layer", "0", "--k", "3"], "--k was given without natural images"),
        (["--layer", "0", "--judge", "digits"], "--judge was given without natural images"),
        (["--layer", "0", "--images", "photos", "--k", "9"], "k is 9; expected 1 to 8"),
        (
            ["--layer", "2", "--images", "photos", "--k", "2", "--direction", "one.npy"],
            "examples are of units, and directions were",
        ),
        (["--layer", "0", "--images", "photos", "--judge", "digitz"], 'did you mean "digits"?'),
    ],
)
def test_what_is_refused(
    options: list[str],
    words: str,
    tmp_path: Path,
    model: str,
    folder: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("one.npy", np.ones(4, np.float32))
    assert main(["visualize", "--model", model, *options, *FAST, "--out", "out"]) == 1
    said = capsys.readouterr().err
    assert words in said
    assert not Path("out").exists()


def test_units_as_people_write_them() -> None:
    assert parse_units(" 3 , 1 - 2") == (3, 1, 2)
    for text in ("", "3-1", "1,,2", "-1"):
        with pytest.raises(InputError, match="expected numbers and ranges"):
            parse_units(text)
    named = plants()
    assert chosen_layers(named, ["?", "1"]) == ["0", "1", "2", "3"]
    assert channels_in(named, ["0", "3"]) == {"0": 3, "3": 2}


@pytest.mark.parametrize("content", [b"", b"no tensors", b"\x93NUMPY"])
@pytest.mark.parametrize("name", ["a.npy", "a.safetensors"])
def test_a_damaged_file_of_directions(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="holds no directions"):
        read_directions(tmp_path / name)


def test_files_that_hold_something_else(tmp_path: Path) -> None:
    save_file({"a": torch.ones(3), "b": torch.ones(3)}, tmp_path / "two.safetensors")
    save_file({"a": torch.ones(3, dtype=torch.int64)}, tmp_path / "whole.safetensors")
    np.save(tmp_path / "objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    for name, words in (("two", "holds 2 tensors"), ("whole", "int64"), ("objects", "holds no directions")):
        with pytest.raises(InputError, match=words):
            read_directions(next(tmp_path.glob(f"{name}.*")))
    (tmp_path / "00.json").write_text('[{"greatest": 1.0}]')
    with pytest.raises(InputError, match="is damaged"):
        read_natural(tmp_path / "00.json")


def test_photographs_are_there_without_a_download() -> None:
    pytest.importorskip("skimage")
    images = photographs(ImageGeometry((3, 32, 32)))
    assert len(images) >= 50
    assert images.labeled.images.flatten(1).std(1).min() > 0.01  # none of them is empty
    assert photographs(ImageGeometry((1, 32, 32))).labeled.images.shape[1] == 1


def test_a_strip_shows_whole_examples(tmp_path: Path) -> None:
    wide = torch.zeros(3, 4, 8)
    wide[0] = 1.0
    write_strip([wide, torch.ones(3, 4, 4)], tmp_path / "a.jpg")
    strip = np.asarray(Image.open(tmp_path / "a.jpg")).astype(int)
    side = strip.shape[0]
    assert strip.shape[1] == 2 * side + 4
    assert strip[side // 2, side // 2].tolist() == pytest.approx([254, 0, 0], abs=12)
    assert np.ptp(strip[4, side // 2]) < 30  # around it is gray, not a stretched part of it
    assert strip[4, -side // 2].tolist() == pytest.approx([255, 255, 255], abs=6)


def test_a_unit_that_no_image_excites_has_no_multiple() -> None:
    assert not UnitPicture("unit 1", "a", "a_unit0001", 2.0, 0).multiple > 0
