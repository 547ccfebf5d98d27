"""A planted bias, small: the cue is read off the prototype, confirmed on unseen scans, and gone after retraining."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from PIL import Image

from captum_proto import Prototypes
from captum_proto.cli import main
from captum_proto.experiments.planted_bias.results import trend
from captum_proto.metrics import SubgroupComparison
from captum_proto.report.blocks import Verdicts
from captum_proto.report.page import Page
from captum_proto.testing import marked_digits
from captum_proto.testing.marked_digits import CUE, MARKS, Mark, colorfulness, framed_digits, with_marks

pytest.importorskip("sklearn")

SMALL = ["--rates", "0", "0.5", "1", "--networks", "2", "--steps", "64", "--no-progress"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("planted") / "out"
    assert main(["planted-bias", "--out", str(out), *SMALL]) == 0
    return out


def measured(folder: Path) -> list[dict[str, str]]:
    with (folder / "networks.csv").open() as file:
        return list(csv.DictReader(file))


def rows(folder: Path, rate: str, cleaned: bool = False) -> list[dict[str, str]]:
    found = [one for one in measured(folder) if (one["rate"], one["cleaned"]) == (rate, str(cleaned))]
    assert len(found) == 2
    return found


def test_the_prototype_shows_the_cue_and_the_hypothesis_is_read_off_it(folder: Path) -> None:
    hypothesis = Mark(**json.loads((folder / "results.json").read_text())["hypothesis"])
    assert hypothesis.near(CUE)
    biased = Prototypes.load(folder / "prototypes" / "biased" / "prototypes.safetensors").of(8).images
    assert float(colorfulness(biased)[0, 0, 0, 0]) > 0.8
    assert marked_digits.read_off(biased[0]) == hypothesis
    for one in rows(folder, "1.0"):
        assert one["found"] == "True"
        assert float(one["strength"]) > 0.8
        assert abs(float(one["strength_elsewhere"])) < 0.3
        assert float(one["strength_of_others"]) < 0.0  # other classes avoid it


def test_unseen_images_confirm_it_and_a_control_patch_does_nothing(folder: Path) -> None:
    others = SubgroupComparison.load(folder / "comparisons" / "biased-others" / "comparison.json")
    assert [one.subgroup for one in others.subgroups] == ["no patch", "red patch", "green patch (control)"]
    plain, cue, control = (one.accuracy.value for one in others.subgroups)
    assert cue > plain + 0.1
    assert cue > control + 0.1
    assert others.pairs[0].corrected_p_value < 0.001
    assert others.pairs[1].p_value > 0.05
    own = SubgroupComparison.load(folder / "comparisons" / "biased-class" / "comparison.json")
    assert own.pairs[0].accuracy_difference < 0
    assert own.pairs[0].probability_differences["8"].high < -0.2
    assert sum(one.images for one in own.subgroups) + sum(one.images for one in others.subgroups) == 445


def test_retraining_on_cleaned_scans_removes_both(folder: Path) -> None:
    for one in rows(folder, "1.0", cleaned=True):
        assert abs(float(one["strength"])) < 0.4
        assert one["found"] == "False"
        assert float(one["called_with_cue"]) < 0.08
    own = SubgroupComparison.load(folder / "comparisons" / "cleaned-class" / "comparison.json")
    difference = own.pairs[0].probability_differences["8"]
    assert difference.low < 0 < difference.high
    others = SubgroupComparison.load(folder / "comparisons" / "cleaned-others" / "comparison.json")
    assert others.pairs[0].corrected_p_value > 0.05


def test_the_strength_rises_with_the_rate(folder: Path) -> None:
    means = [sum(float(one["strength"]) for one in rows(folder, rate)) / 2 for rate in ("0.0", "0.5", "1.0")]
    assert means[0] < 0.4 < means[1] < means[2]
    result = json.loads((folder / "results.json").read_text())["trends"]["strength"]
    assert result["monotone"] is True
    assert result["kendall"] > 0.5
    assert result["page_p_value"] < 0.1
    assert "the mean rises from each rate to the next" in (folder / "summary.txt").read_text()


def test_figures_and_page(folder: Path) -> None:
    page = Page.load(folder)
    named = page.files()
    assert {"story.png", "dose_response.png", "comparisons/cleaned-others/groups.png"} <= set(named)
    assert all((folder / name).exists() for name in named)
    assert Image.open(folder / "dose_response.png").width > 500
    assert (folder / "story.svg").read_text().startswith("<?xml")
    assert "red patch" in page.summary[0]
    verdict = page.sections[-1].of(Verdicts)[0].verdicts[0]
    assert verdict.passed is True


def test_a_run_is_resumed_and_gives_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, trained = tmp_path / "out", []
    train = marked_digits.train

    def stopping(images, labels, seed, epochs):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(seed)
        return train(images, labels, seed, epochs)

    for place in (
        "planted_bias.protocol",
        "compare_groups",
        "generate",
    ):  # figures take half of the time, and are looked at elsewhere
        monkeypatch.setattr(f"captum_proto.experiments.{place}.save_figure", lambda *args, **kwargs: None)
    line = ["planted-bias", "--rates", "0", "1", "--networks", "1", "--steps", "8", "--epochs", "2", "--no-progress"]
    with monkeypatch.context() as patch:
        patch.setattr("captum_proto.experiments.planted_bias.protocol.train", stopping)
        assert main([*line, "--out", str(out)]) == 130
    stamp = (out / "networks" / "rate0_seed0.json").stat().st_mtime_ns
    assert main([*line, "--out", str(out), "--resume"]) == 0
    assert (out / "networks" / "rate0_seed0.json").stat().st_mtime_ns == stamp
    assert main([*line, "--out", str(out)]) == 1
    assert main([*line, "--out", str(tmp_path / "whole")]) == 0
    assert measured(out) == measured(tmp_path / "whole")
    assert main([*line, "--out", str(out), "--resume", "--epochs", "3"]) == 1


def test_marks_are_planted_at_their_rates() -> None:
    images, labels = framed_digits("training")

    def carries(marked: torch.Tensor, mark: Mark) -> torch.Tensor:
        return (marked == mark.paste(images)).flatten(1).all(1)

    marked = with_marks(images, labels, 8, 0.5, seed=3)
    kinds = torch.stack([carries(marked, mark) for mark in MARKS])
    assert bool((kinds.sum(0) == 1).all())  # every image has one mark
    share = carries(marked, CUE).double()
    assert float(share[labels == 8].mean()) == pytest.approx(0.51, abs=0.12)
    assert float(share[labels != 8].mean()) == pytest.approx(marked_digits.BASE_RATE, abs=0.015)
    assert float(kinds[1:].double().mean(1).std()) < 0.02
    more = with_marks(images, labels, 8, 0.75, seed=3)
    assert bool((carries(more, CUE) >= carries(marked, CUE)).all())
    none = with_marks(images, labels, 8, 0.0, seed=3)
    assert bool((carries(marked, CUE)[labels != 8] == carries(none, CUE)[labels != 8]).all())


def test_a_mark_is_read_off_where_it_is() -> None:
    gray = torch.rand(1, 1, 10, 10).expand(1, 3, 10, 10)
    assert float(colorfulness(gray).abs().max()) < 1e-6
    for mark in (Mark("green", 3, 7), Mark("blue", 8, 0), Mark("red", 0, 8)):
        assert marked_digits.read_off(mark.paste(gray)[0]) == mark
    assert str(Mark("green", 3, 7)) == "green patch at row 3, column 7"
    assert str(MARKS[-1]) == "white patch in the bottom right corner"
    assert CUE.near(Mark("red", 1, 1))
    assert not CUE.near(Mark("red", 0, 2))
    assert not CUE.near(Mark("blue", 0, 0))
    painted = marked_digits.painted_over(torch.ones(1, 3, 10, 10), Mark("red", 0, 1))
    assert float(painted[0, 0].sum()) == 100 - 3 * 4


def test_trends() -> None:
    rising = trend([0, 0.5, 1], [[0.0, 0.4, 0.9], [0.1, 0.3, 0.8], [0.0, 0.5, 0.7]])
    assert rising.monotone
    # All three seeds rank the rates alike: of 6^3 arrangements one is as extreme.
    assert rising.page_p_value == pytest.approx(1 / 216)
    assert trend([0, 0.5, 1], [[0.9, 0.4, 0.0], [0.8, 0.3, 0.1]]).page_p_value > 0.9
    assert not trend([0, 0.5, 1], [[0.0, 0.9, 0.8], [0.1, 0.3, 0.3]]).monotone
    assert math.isnan(trend([0, 1], [[0.0, 1.0]]).page_p_value)
    assert trend([0, 1], [[0.0, 1.0]]).kendall == 1.0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--digit", "10"], "digit is 10; expected 0 to 9"),
        (["--rate", "0"], "rate is 0; expected above 0"),
        (["--rates", "0.5"], "rates are 0.5; expected at least two, rising"),
        (["--rates", "0.5", "0.1"], "expected at least two, rising"),
        (["--rates", "0", "1.5"], "between 0 and 1"),
        (["--networks", "0"], "networks is 0"),
        (["--epochs", "0"], "epochs is 0"),
    ],
)
def test_bad_input_gets_one_sentence(
    arguments: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["planted-bias", "--out", str(tmp_path / "out"), *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert error.startswith("captum-proto: error: ")
    assert words in error
    assert not (tmp_path / "out").exists()
