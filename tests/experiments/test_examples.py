"""Top examples from the command line: what is found, what is written, and what is refused."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from PIL import Image
from torch import nn

from captum_proto.cli import main
from captum_proto.data import ImageCollection, TensorCollection
from captum_proto.experiments.examples import FindExamples, chosen_units
from captum_proto.features import Examples, TopExamples
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import UnitRows
from captum_proto.runs.tasks import carry_out

SHAPE = (3, 16, 16)


def small() -> NamedModel:
    layers = [nn.Conv2d(3, 6, 3, stride=2), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(100, 3)]
    return NamedModel("small", seeded(lambda: nn.Sequential(*layers)).eval(), None, SHAPE, resize_ratio=1.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Files of no class, some in a folder of their own, one that cannot be read."""
    generator = np.random.default_rng(0)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for number in range(23):
        place = folder if number % 3 else folder / "more"
        Image.fromarray(generator.integers(0, 256, (*SHAPE[1:], 3), dtype=np.uint8)).save(
            place / f"img{number:02d}.png"
        )
    (folder / "img04.png").write_bytes(b"no picture")
    return folder


@pytest.mark.filterwarnings("always")
def test_chunks_find_exactly_what_one_pass_finds(photos: Path, tmp_path: Path) -> None:
    named = small()
    found = carry_out(
        FindExamples(named, str(photos), ["1", "2"], ["2", "1=5"], k=4, batch_size=4, chunk=7), tmp_path / "out"
    )
    images = ImageCollection.one_class(photos).batches_for(named.geometry, 4)
    whole = TopExamples(named.model, ["1", "2"], k=4).fit(images)
    for name in ("1", "2"):
        for key in ("indices", "lowest_indices", "random_indices", "positions", "boxes", "firing_images"):
            assert torch.equal(getattr(found[name], key), getattr(whole[name], key)), (name, key)
        assert torch.allclose(found[name].scores, whole[name].scores, atol=1e-6)  # other batches, other rounding
        assert torch.allclose(found[name].quantiles, whole[name].quantiles, atol=1e-6)
    assert found.count == 22
    rows = list(csv.DictReader((tmp_path / "out" / "units.csv").read_text().splitlines()))
    assert [row["unit"] for row in rows if row["layer"] == "1"] == [str(unit) for unit in range(6)]
    assert [int(rows[5][f"top_{place}"]) for place in range(4)] == found["1"].indices[5].tolist()
    page = Page.load(tmp_path / "out")
    shown = [block for section in page.sections for block in section.of(UnitRows)]
    assert [[unit.name for unit in block.units] for block in shown] == [["1, unit 5"], ["2, unit 0", "2, unit 2"]]
    assert [len(strip.words) for strip in shown[0].units[0].strips] == [4, 4, 4]
    assert any("img04.png" in failure for failure in page.failures)
    with Image.open(tmp_path / "out" / shown[0].units[0].strips[0].path) as strip:
        assert strip.size == (4 * 116 - 4, 112)
        # A unit of the first layer sees 3 x 3 pixels: its picture is these, enlarged.
        crop = found["1"].crops(images, 5)[0]
        assert strip.getpixel((20, 20)) == tuple((255 * crop[:, 0, 0]).round().byte().tolist())


def test_a_page_says_of_a_silent_unit_that_it_is_silent(tmp_path: Path) -> None:
    named = small()
    with torch.no_grad():
        named.model[0].bias[2] = -1e6
    images = TensorCollection(torch.rand(9, *SHAPE), torch.zeros(9, dtype=torch.int64))
    carry_out(FindExamples(named, images, ["1"], ["1=2"], k=3, quantiles=()), tmp_path / "out")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "never fires on these 9 images" in text
    assert "1 of 6 units say nothing of these images: 2." in text


def test_the_command_on_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("sklearn")
    out = tmp_path / "out"
    command = [
        "examples",
        "--model",
        "digits",
        "--images",
        "digits",
        "--layers",
        "relu1",
        "--layers",
        "fc",
        "--units",
        "2",
    ]
    assert main([*command, "--quantiles", "--no-progress", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "relu1: 16 units; most: unit " in said
    assert "0 say nothing of these 445 images" in said
    examples = Examples.load(out / "examples.safetensors")
    assert examples["fc"].scores.shape == (10, 15)
    assert "scores higher" in (out / "report.html").read_text(encoding="utf-8")
    assert main([*command, "--quantiles", "--no-progress", "--out", str(out), "--resume"]) == 0
    (out / "page.json").unlink()
    assert main(["report", str(out)]) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ["9"]}, 'there is no layer "9" in Sequential'),
        ({"k": 10}, "k is 10, but there are 9 images; give k at most 9, or more images."),
        ({"units": ["1=6"]}, 'unit is 6; layer "1" has units 0 to 5.'),
        ({"units": ["11=1"]}, 'there are no examples of layer "11"; did you mean "1"?'),
        ({"units": ["many"]}, 'units is "many"; expected a number of units, such as 12, or'),
        ({"pool": "position"}, 'pool is "position", but position is missing; give one, such as 3 3.'),
        ({"pool": "position", "position": (7, 0)}, 'position is (7, 0), but layer "1" has 7 x 7 positions'),
        ({"chunk": 0}, "chunk is 0; expected at least 1."),
    ],
)
def test_bad_input_gets_a_sentence_and_no_folder(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    images = TensorCollection(torch.rand(9, *SHAPE), torch.zeros(9, dtype=torch.int64))
    with pytest.raises(ValueError, match=re.escape(message)):
        carry_out(FindExamples(small(), images, **{"layers": ["1"], "k": 3, **options}), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_units_are_evenly_spaced_or_named() -> None:
    assert chosen_units(["3"], {"a": 9, "b": 2}) == {"a": [0, 3, 6], "b": [0, 1]}
    assert chosen_units(["b=1,0,1"], {"a": 9, "b": 2}) == {"b": [1, 0]}
