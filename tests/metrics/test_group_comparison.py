"""The comparison of subgroups, on logits of which every figure is known."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from scipy import stats
from torch import Tensor

from captum_proto.metrics.group_comparison import SubgroupComparison, compare_groups
from captum_proto.stats.intervals import difference_estimate, mean_estimate, proportion

NAMES = ["ash", "birch", "cedar", "elm", "fir", "oak", "crane", "crane"]


def logits(right: int, count: int, margin: float = 3.0, seed: int = 0) -> Tensor:
    """(N, 8): the first ``right`` images are taken for class 2, the others for class 5 with class 2 last."""
    values = 0.1 * torch.rand(count, 8, generator=torch.Generator().manual_seed(seed))
    values[:right, 2] += margin
    values[right:, 5] += margin
    values[right:, 2] -= margin
    return values


@pytest.fixture(scope="module")
def two() -> SubgroupComparison:
    subgroups = {"lighter": logits(29, 40), "darker": logits(24, 40, seed=1)}
    return compare_groups(subgroups, 2, also=[5], class_names=NAMES, skipped={"darker": 3}, resamples=400)


def test_shares_and_means_of_each_group(two: SubgroupComparison) -> None:
    assert two.classes == ["cedar", "oak"]
    lighter, darker = two.subgroups
    assert (lighter.subgroup, lighter.images, lighter.correct, lighter.skipped, darker.skipped) == (
        "lighter",
        40,
        29,
        0,
        3,
    )
    assert lighter.accuracy == proportion(29, 40)
    assert darker.accuracy == proportion(24, 40)
    assert lighter.top5 == proportion(29, 40)  # elsewhere the class is last
    for name, index in (("cedar", 2), ("oak", 5)):
        values = logits(29, 40).double().softmax(1)[:, index]
        assert lighter.probabilities[name] == mean_estimate(values, resamples=400)


def test_the_pair_has_its_test_and_differences(two: SubgroupComparison) -> None:
    (pair,) = two.pairs
    assert (pair.first, pair.second) == ("lighter", "darker")
    assert pair.accuracy_difference == pytest.approx(5 / 40)
    assert pair.p_value == pair.corrected_p_value == pytest.approx(stats.fisher_exact([[29, 11], [24, 16]]).pvalue)
    first, second = (x.double().softmax(1)[:, 5] for x in (logits(29, 40), logits(24, 40, seed=1)))
    assert pair.probability_differences["oak"] == difference_estimate(first, second, resamples=400)


def test_the_table_says_what_it_is(two: SubgroupComparison) -> None:
    table = two.table()
    assert "72.5 %" in table
    assert "57.2–83.9" in table
    assert "+12.5 %" in table
    assert "0.34" in table
    assert "Wilson" in table
    assert "Fisher's exact test" in table
    assert "Holm" not in table  # a single pair needs no correction


def test_several_groups_are_corrected_and_that_is_said() -> None:
    subgroups = {"a": logits(40, 40), "b": logits(30, 40), "c": logits(29, 40)}
    comparison = compare_groups(subgroups, 2, resamples=50)
    assert [(pair.first, pair.second) for pair in comparison.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    smallest, middle, largest = sorted(comparison.pairs, key=lambda pair: pair.p_value)
    assert smallest.corrected_p_value == pytest.approx(3 * smallest.p_value)
    assert middle.corrected_p_value == pytest.approx(2 * middle.p_value)
    assert largest.corrected_p_value == largest.p_value
    assert "Holm's correction is for the 3 pairs" in comparison.table()


def test_a_superclass_is_one_class() -> None:
    comparison = compare_groups({"a": logits(30, 40), "b": logits(10, 40)}, [2, 5], also=[[0, 1, 3]], resamples=50)
    assert comparison.classes == ["2, 5", "0, 1, 3"]
    assert [one.correct for one in comparison.subgroups] == [40, 40]
    together = logits(30, 40).double().softmax(1)[:, [2, 5]].sum(1)
    assert comparison.subgroups[0].probabilities["2, 5"].value == pytest.approx(float(together.mean()))


def test_of_a_single_logit_the_sigmoid_tells() -> None:
    single = {"day": torch.tensor([[2.0], [0.5], [-1.0]]), "night": torch.tensor([[-3.0], [-0.5], [0.1]])}
    comparison = compare_groups(single, target=0, resamples=100)
    assert [subgroup.correct for subgroup in comparison.subgroups] == [2, 1]
    for subgroup in comparison.subgroups:
        expected = float(single[subgroup.subgroup].sigmoid().mean())
        assert subgroup.probabilities[comparison.target].value == pytest.approx(expected, rel=1e-6)


def test_top_5_is_for_models_of_more_classes() -> None:
    few = {name: logits(3, 4)[:, 1:6] for name in ("a", "b")}
    comparison = compare_groups(few, 1, resamples=50)
    assert [one.top5 for one in comparison.subgroups] == [None, None]
    assert "top-5" not in comparison.table()


def test_classes_are_labelled_apart_and_named_once(two: SubgroupComparison) -> None:
    subgroups = {"a": logits(3, 4), "b": logits(3, 4)}
    assert compare_groups(subgroups, 6, also=[7, 6], class_names=NAMES, resamples=50).classes == ["crane", "crane (7)"]


def test_everything_is_saved_and_comes_back(two: SubgroupComparison, tmp_path: Path) -> None:
    two.save(tmp_path / "two.json")
    assert SubgroupComparison.load(tmp_path / "two.json") == two
    single = compare_groups({"a": logits(1, 1), "b": logits(3, 4)}, 2, resamples=50)
    single.save(tmp_path / "single.json")
    assert "NaN" not in (tmp_path / "single.json").read_text()
    loaded = SubgroupComparison.load(tmp_path / "single.json")
    assert math.isnan(loaded.subgroups[0].probabilities["2"].low)
    assert loaded.table() == single.table()
    with pytest.raises(FileExistsError, match=r"two\.json"):
        two.save(tmp_path / "two.json")


def test_what_is_no_comparison_is_refused(two: SubgroupComparison, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no file"):
        SubgroupComparison.load(tmp_path / "none.json")
    two.save(tmp_path / "two.json")
    content = json.loads((tmp_path / "two.json").read_text())
    for damaged in ({**content, "kind": "recipe"}, {**content, "subgroups": [{}]}, [1]):
        (tmp_path / "damaged.json").write_text(json.dumps(damaged))
        with pytest.raises(ValueError, match="save it again"):
            SubgroupComparison.load(tmp_path / "damaged.json")


def test_every_figure_is_in_the_csv(two: SubgroupComparison, tmp_path: Path) -> None:
    two.to_csv(tmp_path / "summary.csv")
    with (tmp_path / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 4 + 3
    by = {(row["subgroup"], row["second"], row["figure"], row["class"]): row for row in rows}
    assert float(by["darker", "", "accuracy", "cedar"]["low"]) == two.subgroups[1].accuracy.low
    assert by["darker", "", "accuracy", "cedar"]["skipped"] == "3"
    assert float(by["lighter", "darker", "accuracy difference", "cedar"]["p_value"]) == two.pairs[0].p_value
    difference = two.pairs[0].probability_differences["oak"]
    assert float(by["lighter", "darker", "mean probability difference", "oak"]["high"]) == difference.high


@pytest.mark.parametrize(
    ("subgroups", "target", "kind", "words"),
    [
        ({"a": logits(1, 2)}, 2, ValueError, "1 subgroup of images given; expected at least two"),
        ({}, 2, ValueError, "0 subgroups of images given"),
        ({"a": logits(1, 2), "b": torch.zeros(0, 8)}, 2, ValueError, 'subgroup "b" holds no image'),
        ({"a": logits(1, 2), "b": logits(1, 2)[:, :4]}, 2, ValueError, "expected those of one model"),
        ({"a": logits(1, 2), "b": logits(1, 2)}, 8, ValueError, "target 8 is out of range"),
        ({"a": logits(1, 2), "b": logits(1, 2).softmax(1)}, 2, ValueError, "probabilities"),
        ({"a": logits(1, 2), "b": [[0.0, 1.0]]}, 2, TypeError, 'logits of the subgroup "b"'),
        ({"a": logits(1, 2), "b": torch.full((2, 8), math.nan)}, 2, ValueError, "NaN"),
    ],
)
def test_what_cannot_be_compared_is_said(subgroups, target: int, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        compare_groups(subgroups, target)
