"""The table of every measure: figures against SciPy, each class counting the same, and paired tests with their correction."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.metrics.quality import (
    CONTROL,
    DATA_CONTROL,
    FEATURES,
    MEASURES,
    METHOD,
    NATURAL,
    PATH,
    RECOGNITION,
    Figure,
    QualityRow,
    QualityTable,
    column_label,
    figure,
    whole_figure,
)
from captum_proto.metrics.quality_tests import (
    MCNEMAR,
    WILCOXON,
    cells_of_tests,
    lines_of_tests,
    paired_test,
    power_note,
    powerless,
    quality_tests,
    verdicts,
)
from captum_proto.stats.intervals import Estimate, holm, mean_estimate, proportion
from captum_proto.stats.judgments import Order

RANDOM = np.random.default_rng(0)


def of_classes(values: list[float]) -> dict[str, list[float]]:
    return {f"class {index}": [value] for index, value in enumerate(values)}


@pytest.mark.parametrize("right", [0, 1, 7, 24])
def test_a_share_of_one_picture_a_class_has_wilsons_interval(right: int) -> None:
    found = figure("own_top1", of_classes([1.0] * right + [0.0] * (24 - right))).estimate
    wilson = stats.binomtest(right, 24).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((right / 24, wilson.low, wilson.high))


def test_seeds_of_a_class_are_no_further_trials() -> None:
    """Ten equal pictures of each class say no more than one of each."""
    once = figure("top1", of_classes([1.0, 0.0, 1.0]), "other")
    often = figure("top1", {name: values * 10 for name, values in once.values.items()}, "other")
    assert often.estimate == once.estimate
    assert (once.pictures, often.pictures) == (3, 30)


def test_of_a_single_class_pictures_are_counted() -> None:
    found = figure("own_top1", {"flute": [1.0] * 7 + [0.0] * 3}).estimate
    wilson = proportion(7, 10)
    assert (found.low, found.high) == pytest.approx((wilson.low, wilson.high))


def test_each_class_counts_the_same() -> None:
    found = figure("own_p", {"flute": [1.0, 1.0, 1.0], "fox": [0.0]})
    assert found.estimate.value == 0.5


def test_a_mean_has_the_bootstrap_over_classes() -> None:
    values = RANDOM.random(12).tolist()
    for measure in ("own_p", "spearman", "coverage_1"):
        assert figure(measure, of_classes(values)).estimate == mean_estimate(values)
    equal = figure("spearman", of_classes([0.5] * 4)).estimate
    assert equal.value == 0.5
    assert math.isnan(equal.low)
    share = figure("coverage_1", of_classes([0.0] * 4)).estimate
    assert (share.low, share.high) == pytest.approx((0.0, proportion(0, 4).high))


def test_a_median_has_its_order_statistics() -> None:
    ranks = [1.0, 1.0, 2.0, 5.0, 8.0, 9.0, 20.0, 30.0, 40.0]
    found = figure("retrieval", of_classes(ranks), "other").estimate
    expected = stats.quantile_test(ranks, p=0.5).confidence_interval(0.95)
    assert (found.value, found.low, found.high) == (8.0, expected.low, expected.high)


def test_missing_values_are_left_out() -> None:
    found = figure("own_p", {"flute": [math.nan, 0.25], "fox": [math.nan]})
    assert found.values == {"flute": [0.25]}
    assert math.isnan(figure("own_p", {"fox": [math.nan]}).estimate.value)
    assert QualityRow.of("best", METHOD, [figure("own_p", {})]).figures == {}


@pytest.mark.parametrize(
    ("name", "hint"), [("own_top2", "did you mean"), ("relative", "no measure of single pictures")]
)
def test_a_measure_that_there_is_not(name: str, hint: str) -> None:
    with pytest.raises(InputError, match=hint):
        figure(name, {"flute": [1.0]})


def test_every_measure_has_its_words() -> None:
    assert {measure.family for measure in MEASURES.values()} == {RECOGNITION, FEATURES, PATH}
    assert all(measure.meaning.endswith(".") and name == measure.name for name, measure in MEASURES.items())
    assert column_label("top1@lite1") == "top-1, lite1"
    assert column_label("spearman") == "Spearman"


# Tests.


def test_right_or_wrong_by_class_is_mcnemars_test() -> None:
    first = figure("own_top1", of_classes([1.0] * 9 + [0.0] * 3))
    second = figure("own_top1", of_classes([1.0] * 2 + [0.0] * 8 + [1.0] * 2))
    difference, p_value, test, classes = paired_test(first, second)
    assert test == MCNEMAR
    assert p_value == pytest.approx(stats.binomtest(7, 9).pvalue)
    assert (difference.value, classes) == (pytest.approx(5 / 12), 12)


def test_everything_else_is_wilcoxons_test() -> None:
    a, b = RANDOM.random(15), RANDOM.random(15) - 0.2
    _, p_value, test, _ = paired_test(figure("spearman", of_classes(list(a))), figure("spearman", of_classes(list(b))))
    assert test == WILCOXON
    assert p_value == pytest.approx(stats.wilcoxon(a, b).pvalue)
    several = figure("own_top1", {"flute": [1.0, 0.0], "fox": [1.0, 1.0]})
    assert paired_test(several, several)[1:3] == (1.0, WILCOXON)


def test_only_classes_that_both_have_are_paired() -> None:
    first, second = figure("own_p", of_classes([0.5, 0.7, 0.9])), figure("own_p", {"class 1": [0.2], "other": [0.9]})
    difference, p_value, _, classes = paired_test(first, second)
    assert (difference.value, classes) == (pytest.approx(0.5), 1)
    assert math.isnan(p_value)
    assert paired_test(first, figure("own_p", {"other": [0.9]}))[3] == 0


def table(classes: int = 16) -> QualityTable:
    """Of which "good" is better than every control by its p, and worse by its KID; "poor" is as a control is."""
    noisy = np.random.default_rng(1).random((4, classes)) / 100

    def row(name: str, kind: str, p: float, kid: float, index: int) -> QualityRow:
        p_values = of_classes(list(p + noisy[index]))
        distance = Figure("kid", Estimate(kid, kid - 0.1, kid + 0.1), of_classes(list(kid - noisy[index])), "judge")
        return QualityRow.of(name, kind, [figure("own_p", p_values), distance])

    rows = [row("good", METHOD, 0.9, 2.0, 0), row("poor", METHOD, 0.1, 1.0, 1), row("gray", CONTROL, 0.1, 1.0, 2)]
    rows.append(row("mean_image", DATA_CONTROL, 0.95, 0.5, 3))
    natural = [figure("own_p", of_classes([0.97] * classes)), whole_figure("kid", Estimate(0.0, -0.1, 0.1), "judge")]
    return QualityTable(
        "held out", list(of_classes([0.0] * classes)), [*rows, QualityRow.of(NATURAL, NATURAL, natural)], ["A note."]
    )


def test_each_method_is_tested_against_every_other_row() -> None:
    made = table()
    tests = quality_tests(made)
    pairs = {(each.method, each.other, each.key) for each in tests}
    others = {"good": ("poor", "gray", "mean_image"), "poor": ("good", "gray", "mean_image")}
    expected = {(method, other, key) for method, names in others.items() for other in names for key in made.columns()}
    assert pairs == expected | {("good", NATURAL, "own_p"), ("poor", NATURAL, "own_p")}  # whose KID is a floor of all
    for method in others:
        of_method = [each for each in tests if each.method == method]
        assert [each.corrected for each in of_method] == holm([each.p_value for each in of_method])


def test_less_is_better_of_a_distance() -> None:
    orders = {(each.other, each.key): each.order for each in quality_tests(table()) if each.method == "good"}
    assert orders["gray", "own_p"] is Order.ABOVE
    assert orders["gray", "kid@judge"] is Order.BELOW
    assert orders["mean_image", "own_p"] is Order.BELOW


def test_what_is_said_of_a_method() -> None:
    made = table()
    tests = quality_tests(made)
    good, poor = verdicts(made, tests)
    assert "“good” beats every control that knows no data (gray) by more than chance on 1 of 2 measures: own p." in good
    assert poor.endswith("on 0 of 2 measures.")
    header, rows = cells_of_tests(made, tests, "good")
    assert header == ["good against", "poor", "gray", "mean image", NATURAL]
    assert [row[0] for row in rows] == ["own p", "KID, judge"]
    assert rows[0][2].startswith("better, p ")
    assert rows[1][4] == "–"
    assert cells_of_tests(made, tests, "gray")[1] == []


def test_with_few_classes_nothing_can_be_significant() -> None:
    few, many = table(4), table(16)
    assert verdicts(few, quality_tests(few))[0].endswith("on 0 of 2 measures.")
    assert "no difference is significant" in power_note(quality_tests(few))
    assert "leaves significant" in power_note(quality_tests(many))
    assert power_note([]) == ""
    assert powerless(quality_tests(few))
    assert not powerless(quality_tests(many))


# Files and text.


def test_the_table_comes_back_from_json() -> None:
    made = table()
    again = QualityTable.from_json(json.loads(json.dumps(made.to_json(), allow_nan=False)))
    assert again.to_json() == made.to_json()
    assert again.table() == made.table()


def test_lines_for_files() -> None:
    made = table()
    header, lines = made.lines()
    assert {len(line) for line in lines} == {len(header)}
    assert len(lines) == sum(len(row.figures) for row in made.rows)
    header, lines = lines_of_tests(made.title, quality_tests(made))
    assert {len(line) for line in lines} == {len(header)}


def test_the_table_as_text() -> None:
    text = table().table()
    assert text.splitlines()[0] == "held out: 16 classes"
    assert "A note." in text
    assert "KID, judge" in text
    assert table().cells(PATH) == (["pictures"], [["good"], ["poor"], ["gray"], ["mean image"], [NATURAL]])


def test_each_verifier_has_columns_of_its_own() -> None:
    figures = [figure("top1", of_classes([1.0, 0.0]), name) for name in ("one", "two")]
    figures += [figure("naming", of_classes([1.0, 0.0]), name) for name in ("one", "two")]
    made = QualityTable("all", ["class 0", "class 1"], [QualityRow.of("best", METHOD, figures)], [])
    assert made.columns() == ["top1@one", "naming@one", "top1@two", "naming@two"]
    assert made.columns(FEATURES, "two") == ["naming@two"]
    assert made.verifiers(RECOGNITION) == ["one", "two"]
    assert made.cells(FEATURES, "one")[0] == ["pictures", "named, one"]
