"""The three-way comparison by sorted path similarity: figures worked out by hand, and one of a real model."""

from __future__ import annotations

import csv
import math

import numpy as np
import pytest
import torch
from torch import Tensor

from captum_proto import PathComparison
from captum_proto.metrics import CONTROLS, SortedComparison, SortedSimilarity, SortedSummary, summarize_sorted
from captum_proto.metrics.sorted_comparison import sorted_table

nan = math.nan
SAME, OTHER = "same_class", "other_class"


def table(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def by_hand(shift: float = 0.0) -> SortedComparison:
    """Three layers, the second dead. Same-class means: 1, –, 1; other-class means: 3, –, 2."""
    return SortedComparison(
        ["a", "dead", "c, with a comma"],
        {
            "prototype": table([[1.0, nan, 1.5], [2.0, nan, 0.5]]) + shift,
            SAME: table([[0.5, nan, 0.9], [1.0, nan, 1.0], [1.5, nan, 1.1]]),
            OTHER: table([[3.0, nan, 2.0]]),
            "gray": table([[9.0, nan, 1.0]]),
        },
        {"left_out": 3, "reference_images": 3},
    )


def test_figures() -> None:
    report = by_hand()
    assert report.conditions == ["prototype", SAME, OTHER, "gray"]
    assert report.dead.tolist() == [False, True, False]
    expected = {"prototype": [0.25, nan, 0], SAME: [0, nan, 0], OTHER: [1, nan, 1], "gray": [4, nan, 0]}
    for condition, values in expected.items():
        torch.testing.assert_close(report.normalized(condition), table([values])[0], equal_nan=True)
    row = report.summary("prototype")
    assert (row.condition, row.images, row.classes) == ("prototype", 2, 1)
    assert row.distance == pytest.approx((1.5 + 1.0) / 2)
    assert row.distance_over_images == 0
    assert row.normalized == pytest.approx(0.125)
    assert row.below_mean == pytest.approx(1 / 2)
    assert row.below_median == 0  # both images have 1.25, the median of the same class is 1
    natural = report.summary(SAME)
    assert natural.distance == pytest.approx(1)
    assert natural.distance_over_images == pytest.approx(np.std([0.7, 1.0, 1.3], ddof=1))
    assert natural.below_median == pytest.approx(2 / 3)
    assert math.isnan(report.summary("gray").distance_over_images)


def test_where_same_and_other_class_are_equal_there_is_no_scale() -> None:
    rows = dict.fromkeys(("prototype", SAME, OTHER), table([[1.0, 2.0]]))
    report = SortedComparison(["a", "b"], rows)
    assert bool(report.normalized("prototype").isnan().all())
    assert math.isnan(report.summary("prototype").normalized)
    assert "–" in report.table()


def test_nothing_but_dead_layers() -> None:
    report = SortedComparison(["a"], dict.fromkeys(("prototype", SAME, OTHER), table([[nan], [nan]])))
    row = report.summary("prototype")
    assert all(math.isnan(value) for value in (row.distance, row.normalized, row.below_mean, row.below_median))
    assert "1 layers, 1 dead" in report.table()


def test_over_classes() -> None:
    rows = summarize_sorted([by_hand(), by_hand(shift=0.5)])
    assert [row.condition for row in rows] == by_hand().conditions
    assert (rows[0].images, rows[0].classes) == (4, 2)
    assert rows[0].distance == pytest.approx(1.5)
    assert rows[0].distance_over_classes == pytest.approx(np.std([1.25, 1.75], ddof=1))
    assert "± classes" in sorted_table(rows)
    with pytest.raises(ValueError, match="there are no comparisons to summarize"):
        summarize_sorted([])
    other = by_hand()
    other.layers = ["a", "b", "c"]
    with pytest.raises(ValueError, match="the comparisons differ in their layers or conditions"):
        summarize_sorted([by_hand(), other])


def test_table_and_csv(tmp_path) -> None:
    report = by_hand()
    lines = report.table().splitlines()
    assert lines[2].split() == ["prototype", "2", "1.250", "0.000", "0.12", "50.0", "%", "0.0", "%"]
    assert lines[3].startswith("same class ")
    assert lines[-1].endswith("3 of 3 same-class images were left out of the mean they are compared with.")
    report.to_csv(tmp_path / "scores.csv")
    with open(tmp_path / "scores.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == (2 + 3 + 1 + 1) * 3
    assert rows[2] == {
        "condition": "prototype",
        "image": "0",
        "index": "2",
        "layer": "c, with a comma",
        "distance": "1.5",
    }


def test_saved_and_loaded_is_the_same(tmp_path) -> None:
    report, file = by_hand(), tmp_path / "comparison.safetensors"
    report.save(file)
    loaded = SortedComparison.load(file)
    assert (loaded.layers, loaded.conditions, loaded.settings) == (report.layers, report.conditions, report.settings)
    assert all(
        torch.equal(loaded.distance[name].nan_to_num(-9), report.distance[name].nan_to_num(-9))
        for name in report.conditions
    )
    with pytest.raises(ValueError, match="holds sorted path comparison; expected a path comparison"):
        PathComparison.load(file)


def test_of_a_model(make_cnn, make_images) -> None:
    model, same, other = make_cnn(), make_images(5), 1 - make_images(4, seed=1)
    similarity = SortedSimilarity(model)
    report = similarity.compare(
        make_images(2, seed=2), same, other, ascent_steps=2, further={"unseen": make_images(3, seed=3)}
    )
    assert report.conditions == ["prototype", SAME, OTHER, *CONTROLS, "unseen"]
    assert report.layers == similarity.reference.layers
    assert report.settings["left_out"] == report.settings["reference_images"] == 5
    expected = similarity.evaluate(same, leave_one_out=True).distance
    assert torch.equal(report.distance[SAME], expected)
    assert torch.equal(report.distance["unseen"], similarity.evaluate(make_images(3, seed=3)).distance)
    mean = similarity.evaluate(similarity.reference.mean_image()[None]).distance
    assert torch.equal(report.distance["mean_image"], mean)
    assert all(isinstance(row, SortedSummary) for row in report.summaries())
    assert report.summary(SAME).distance == pytest.approx(1, abs=1e-6)
    within = similarity.compare(make_images(1, seed=2), same, other, controls=("gray",), leave_one_out=False)
    torch.testing.assert_close(within.distance[SAME] * (5 / 4) ** 2, report.distance[SAME])
    with pytest.raises(ValueError, match='a further condition is called "gray"'):
        similarity.compare(same[:1], same, other, controls=("gray",), further={"gray": same})
    batches = Changing(same)
    with pytest.warns(UserWarning, match="only 0 of 5 same-class images came again as they were fitted"):
        SortedSimilarity(model).compare(same[:1], batches, other, controls=("gray",))


class Changing:
    """Images that are others each time one goes through them, as with random augmentation."""

    def __init__(self, images: Tensor) -> None:
        self.images, self.times = images, 0

    def __iter__(self):
        self.times += 1
        yield (self.images * (1 - 0.01 * self.times)).clamp(0, 1)
