"""The presets that need natural images, from the command line to the comparison with images that they have not seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from captum_proto import Prototypes
from captum_proto._utils.files import image_digest
from captum_proto.cli import main
from captum_proto.data import Unseen
from captum_proto.data.natural import NaturalImages
from captum_proto.models import load_model
from captum_proto.optim import NaturalActivations

STEPS = ["--steps", "2", "--no-progress", "--device", "cpu"]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def digits():
    return load_model("digits", device="cpu")


def command(name: str, target: int, preset: str, out, *more: object) -> int:
    return run(name, "--model", "digits", "--target", target, "--preset", preset, *STEPS, "--out", out, *more)


def test_matched_prototypes_are_told_and_compared_with_other_images(tmp_path, digits, capsys):
    made = tmp_path / "made"
    assert command("generate", 3, "matched", made, "--natural-images", "digits", "--limit", 5) == 0
    prototypes = Prototypes.load(made / "prototypes.safetensors")
    (recorded,) = prototypes.settings["match"]["images"]
    assert (recorded["target"], recorded["count"]) == ([3], 5)
    assert len(prototypes.seen_images) == 5
    out = tmp_path / "compared"
    line = ["--model", "digits", "--target", 3, "--images", "digits", "--prototypes", made / "prototypes.safetensors"]
    line += ["--controls", "gray", "--others", 4, "--layers", "leaf", "--out", out, *STEPS]
    assert run("evaluate", *line) == 0
    scans = len(NaturalImages("digits", digits.geometry).collection.of(3))
    told = f"made to match 5 natural images; 5 of the {scans} images given here are among them and are left out"
    assert told in capsys.readouterr().err
    assert told in (out / "report.html").read_text()
    assert "made to match what the network makes of 5 natural images" in (made / "report.html").read_text()


def test_prototypes_that_have_seen_all_images_cannot_be_compared_with_them(tmp_path, capsys):
    made = tmp_path / "made"
    assert command("generate", 3, "matched", made, "--natural-images", "digits", "--limit", 4) == 0
    line = [
        "--model",
        "digits",
        "--target",
        3,
        "--images",
        "digits",
        "--limit",
        4,
        "--out",
        tmp_path / "compared",
        *STEPS,
    ]
    assert run("evaluate", *line, "--prototypes", made / "prototypes.safetensors", "--controls", "gray") == 1
    assert "were made to match 4 of its 4 images" in capsys.readouterr().err


def test_what_was_measured_may_come_from_a_file(tmp_path, digits):
    images = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    natural = NaturalActivations.measured(digits.model, {7: images, 8: images}, preprocess=digits.preprocess)
    natural.save(tmp_path / "natural.safetensors")
    assert (
        command(
            "generate",
            7,
            "matched",
            tmp_path / "out",
            "--match",
            tmp_path / "natural.safetensors",
            "--transform",
            "none",
        )
        == 0
    )
    prototypes = Prototypes.load(tmp_path / "out" / "prototypes.safetensors")
    assert prototypes.seen_images == {image_digest(image) for image in images}
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["options"]["match"]["name"] == "NaturalActivations"


def test_a_spectrum_is_measured_or_read(tmp_path):
    assert command("generate", 3, "maco", tmp_path / "measured", "--natural-images", "digits") == 0
    np.save(tmp_path / "spectrum.npy", np.random.default_rng(0).random((1, 16, 9)))
    assert command("generate", 3, "maco", tmp_path / "read", "--spectrum", tmp_path / "spectrum.npy") == 0
    first, second = (
        Prototypes.load(tmp_path / name / "prototypes.safetensors").settings["parametrization"]
        for name in ("measured", "read")
    )
    assert first["name"] == second["name"] == "MACOImage"
    assert first["magnitudes"] != second["magnitudes"]


@pytest.mark.parametrize(
    ("preset", "more", "sentence"),
    [
        ("matched", [], "need natural images of their classes"),
        ("maco", [], "MACO needs the mean magnitude spectrum"),
        ("best", ["--natural-images", "digits"], "the preset has no use for"),
        ("matched", ["--natural-images", "nowhere"], "nowhere"),
        ("matched", ["--match", "nowhere.safetensors"], 'there is no file "nowhere.safetensors"'),
        ("maco", ["--spectrum", "nowhere.npy"], 'there is no file "nowhere.npy"'),
        ("best", ["--natural-statistics-weight", "2"], "natural_statistics is None"),
    ],
)
def test_what_is_missing_is_said_in_a_sentence(preset, more, sentence, tmp_path, capsys):
    assert command("generate", 3, preset, tmp_path / "out", *more) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_images_that_were_seen_are_left_out_each_time():
    images = torch.rand(5, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    unseen = Unseen([images[:2], images[2:4], images[4:]], [image_digest(images[0]), image_digest(images[1])])
    for _ in range(2):
        assert torch.equal(torch.cat(list(unseen)), images[2:])
        assert (unseen.left_out, unseen.count) == (2, 5)
