"""What a network makes of its prototypes as they were saved is recorded, and said on their pages."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_proto._utils.errors import InputError
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.generate import Generate
from captum_proto.experiments.quality.sources import read_picture
from captum_proto.experiments.saved_pictures import saved_recognition, verified_recognition
from captum_proto.metrics import recognition
from captum_proto.models import NamedModel
from captum_proto.report.views.prototypes import saved_words
from captum_proto.runs.tasks import carry_out

NAMES = ["ash", "birch", "cedar"]
QUICK = {"steps": 3, "warmup_steps": 0, "transform": None, "lr": 0.2}


def trees(channels: int = 3, width: int = 4) -> NamedModel:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        layers = [nn.Conv2d(channels, width, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * width, 3)]
    return NamedModel("trees", nn.Sequential(*layers).eval(), None, (channels, 8, 8), NAMES, resize_ratio=1.0)


def shrubs() -> NamedModel:
    """Another network, of larger images and of the same classes in another order."""
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        layers = [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 4)]
    names = ["cedar", "dogwood", "ash", "birch"]
    return NamedModel("shrubs", nn.Sequential(*layers).eval(), None, (3, 12, 12), names, resize_ratio=1.0)


def test_what_is_recorded_is_of_the_pictures(tmp_path: Path) -> None:
    named = trees()
    targets = [(0,), (1,), (0, 2)]
    made = carry_out(Generate(named, targets, QUICK), tmp_path)
    recorded = json.loads((tmp_path / "settings.json").read_text(encoding="utf-8"))["recorded"]["as_saved"]
    files = [next(tmp_path.glob(f"{stem}_seed*.png")) for stem in ("0000_ash", "0001_birch", "0000_0002")]
    found = recognition(torch.stack([read_picture(file, 3) for file in files]), [list(each) for each in targets], named)
    assert recorded["top1"] == found.top1.tolist()
    assert recorded["p"] == pytest.approx(found.probability.tolist(), abs=1e-6)
    assert recorded == saved_recognition(named, made)
    words = saved_words(recorded)[0]
    assert words.startswith(
        f"As saved, 8 bits a channel and no transform, the network gives the class of {sum(found.top1)} of 3 first"
    )
    assert words[:26] in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_an_evaluation_says_it_of_each_class(tmp_path: Path) -> None:
    named = trees(channels=1)
    natural = NaturalImages("digits", named.geometry, None, limit=3, others=3, workers=0)
    evaluate = Evaluate(named, [(0,)], natural, QUICK, similarity={"layers": ["0"]}, comparison={"controls": ["gray"]})
    carry_out(evaluate, tmp_path)
    assert "As saved, 8 bits a channel" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_another_range_of_pixels_is_saved_as_it_is(tmp_path: Path) -> None:
    named = trees()
    made = carry_out(Generate(named, [(0,)], {**QUICK, "value_range": (-1.0, 3.0)}), tmp_path)
    picture = read_picture(next(tmp_path.glob("0000_ash_seed*.png")), 3)
    with torch.no_grad():
        p = named.model((picture * 4 - 1).unsqueeze(0)).softmax(1)[0, 0]
    found = saved_recognition(named, made)
    assert found is not None
    assert found["p"] == pytest.approx([float(p)], abs=1e-5)


def test_what_no_picture_holds_is_not_recorded(tmp_path: Path) -> None:
    made = carry_out(Generate(trees(channels=2), [(0,)], QUICK), tmp_path)
    assert saved_recognition(trees(channels=2), made) is None
    assert "As saved" not in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert saved_words(None) == []


def test_another_network_is_shown_the_pictures_too(tmp_path: Path) -> None:
    """As it would be shown the files, with the classes by their names."""
    named, verifier = trees(), shrubs()
    targets = [(0,), (1,), (0, 2)]
    made = carry_out(Generate(named, targets, QUICK, verifiers=[verifier]), tmp_path / "run")
    recorded = json.loads((tmp_path / "run" / "settings.json").read_text(encoding="utf-8"))["recorded"]["verified"]
    files = [next((tmp_path / "run").glob(f"{stem}_seed*.png")) for stem in ("0000_ash", "0001_birch", "0000_0002")]
    pictures = torch.stack([read_picture(file, 3) for file in files])
    found = recognition(pictures, [[2], [3], [0, 2]], verifier)
    assert recorded == {"shrubs": recorded["shrubs"]} == verified_recognition(named, made, [verifier])
    assert recorded["shrubs"]["top1"] == found.top1.tolist()
    assert recorded["shrubs"]["p"] == pytest.approx(found.probability.tolist(), abs=1e-6)
    assert recorded["shrubs"]["chance"]["top1"] == pytest.approx((1 + 1 + 2) / 12)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "shrubs" in page
    assert "no other was asked" not in page
    carry_out(Generate(named, targets, QUICK), tmp_path / "alone")
    assert "no other was asked" in (tmp_path / "alone" / "report.html").read_text(encoding="utf-8")
    for number, file in enumerate([*files, *files]):
        for name in NAMES:
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, tmp_path / "photos" / NAMES[number % 3] / f"{number}.png")
    natural = NaturalImages(str(tmp_path / "photos"), named.geometry, NAMES, workers=0)
    for number, given in enumerate((None, tmp_path / "run" / "prototypes.safetensors")):
        evaluate = Evaluate(
            named,
            [(0,)],
            natural,
            QUICK,
            count=1,
            prototypes=given,
            similarity={"layers": ["0"]},
            comparison={"controls": ["gray"]},
            verifiers=[verifier],
        )
        carry_out(evaluate, tmp_path / f"evaluated{number}")
        assert "shrubs" in (tmp_path / f"evaluated{number}" / "report.html").read_text(encoding="utf-8")


def test_a_verifier_that_cannot_judge_is_refused() -> None:
    for verifier, sentence in (
        (trees(), 'the verifier "trees" is "trees" itself'),
        (replace(trees(channels=1), name="bushes"), "takes images of 1 channels"),
        (replace(shrubs(), class_names=["cedar", "dogwood", "elm", "birch"]), 'no class of its own for "ash"'),
    ):
        with pytest.raises(InputError, match=sentence):
            Generate(trees(), [(0,)], QUICK, verifiers=[verifier])
