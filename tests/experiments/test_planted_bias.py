"""A planted bias, small: the cue is read off the prototype, confirmed on unseen scans, and gone after retraining."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file

from captum_proto import Prototypes
from captum_proto.cli import main
from captum_proto.experiments.planted_bias import Measured, PlantedBias, measure, trend
from captum_proto.metrics import SubgroupComparison
from captum_proto.report.blocks import Verdicts
from captum_proto.report.page import Page
from captum_proto.testing import CUE, Mark, colorfulness, read_off, small_classifier

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
    found = [row for row in measured(folder) if (row["rate"], row["cleaned"]) == (rate, str(cleaned))]
    assert len(found) == 2
    return found


def test_the_prototype_shows_the_cue_and_the_hypothesis_is_read_off_it(folder: Path) -> None:
    hypothesis = Mark(**json.loads((folder / "results.json").read_text())["hypothesis"])
    assert hypothesis.near(CUE)
    biased = Prototypes.load(folder / "prototypes" / "biased" / "prototypes.safetensors").of(8).images
    assert float(colorfulness(biased)[0, 0, 0, 0]) > 0.8
    assert read_off(biased[0]) == hypothesis
    for row in rows(folder, "1.0"):
        assert row["found"] == "True"
        assert float(row["strength"]) > 0.8
        assert abs(float(row["strength_elsewhere"])) < 0.3
        assert float(row["strength_of_others"]) < 0.0  # other classes avoid it


def test_unseen_images_confirm_it_and_a_control_patch_does_nothing(folder: Path) -> None:
    others = SubgroupComparison.load(folder / "comparisons" / "biased-others" / "comparison.json")
    assert [subgroup.subgroup for subgroup in others.subgroups] == ["no patch", "red patch", "green patch (control)"]
    plain, cue, control = (subgroup.accuracy.value for subgroup in others.subgroups)
    assert cue > plain + 0.1
    assert cue > control + 0.1
    assert others.pairs[0].corrected_p_value < 0.001
    assert others.pairs[1].p_value > 0.05
    own = SubgroupComparison.load(folder / "comparisons" / "biased-class" / "comparison.json")
    assert own.pairs[0].accuracy_difference < 0
    assert own.pairs[0].probability_differences["8"].high < -0.2
    assert (
        sum(subgroup.images for subgroup in own.subgroups) + sum(subgroup.images for subgroup in others.subgroups)
        == 445
    )


def test_retraining_on_cleaned_scans_removes_both(folder: Path) -> None:
    for row in rows(folder, "1.0", cleaned=True):
        assert abs(float(row["strength"])) < 0.4
        assert row["found"] == "False"
        assert float(row["called_with_cue"]) < 0.08
    own = SubgroupComparison.load(folder / "comparisons" / "cleaned-class" / "comparison.json")
    difference = own.pairs[0].probability_differences["8"]
    assert difference.low < 0 < difference.high
    others = SubgroupComparison.load(folder / "comparisons" / "cleaned-others" / "comparison.json")
    assert others.pairs[0].corrected_p_value > 0.05


def test_the_strength_rises_with_the_rate(folder: Path) -> None:
    means = [sum(float(row["strength"]) for row in rows(folder, rate)) / 2 for rate in ("0.0", "0.5", "1.0")]
    assert means[0] < 0.4 < means[1] < means[2]
    result = json.loads((folder / "results.json").read_text())["trends"]["strength"]
    assert result["monotone"] is True
    assert result["kendall"] > 0.5
    assert result["page_p_value"] < 0.1
    assert "the mean rises from each rate to the next" in (folder / "summary.txt").read_text()


def test_figures_and_page(folder: Path) -> None:
    page = Page.load(folder)
    named = page.files()
    assert {"overview.png", "dose_response.png", "comparisons/cleaned-others/groups.png"} <= set(named)
    assert all((folder / name).exists() for name in named)
    assert Image.open(folder / "dose_response.png").width > 500
    assert (folder / "overview.svg").read_text().startswith("<?xml")
    assert "red patch" in page.summary[0]
    verdict = page.sections[-1].of(Verdicts)[0].verdicts[0]
    assert verdict.passed is True


def test_the_networks_are_there_to_look_into(folder: Path) -> None:
    network = small_classifier()
    network.load_state_dict(load_file(folder / "networks" / "rate1_seed1_weights.safetensors"))
    prototypes = Prototypes.load(folder / "networks" / "rate1_seed1.safetensors")
    assert measure(network.eval(), prototypes, 8, 1.0, seed=1) == Measured(
        **json.loads((folder / "networks" / "rate1_seed1.json").read_text())
    )
    settings = json.loads((folder / "settings.json").read_text())
    assert settings["cue"] == {"color": "red", "row": 0, "column": 0}
    assert set(settings["scans"]) == {"training", "held_out"}


def test_a_cleaned_network_is_trained_after_the_biased_one_that_says_what_to_clean() -> None:
    tasks = {task.name: task for task in PlantedBias(rates=(0, 1), rate=0.5, networks=2).tasks()}
    assert len(tasks) == 3 * 2 + 2 + 4
    assert tasks["networks/rate0.5_cleaned_seed1"].needs == ("networks/rate0.5_seed1",)
    for scans in ("class", "others"):
        assert tasks[f"comparisons/biased-{scans}"].needs == ("networks/rate0.5_seed0",)
        assert set(tasks[f"comparisons/cleaned-{scans}"].needs) == {
            "networks/rate0.5_seed0",
            "networks/rate0.5_cleaned_seed0",
        }


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
