"""What a network makes of its prototypes as they were saved is recorded, and said on their pages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.generate import Generate, saved_recognition
from captum_proto.experiments.quality.sources import read_picture
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
