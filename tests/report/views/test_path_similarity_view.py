"""What a comparison is said to show: the figures are those of the comparison, and no control that does as well goes unnamed."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from captum_proto import PathComparison
from captum_proto.metrics.comparison import SAME, condition_label
from captum_proto.report.views.path_similarity import (
    comparison_failures,
    comparison_table,
    conclusion,
    criteria,
    interval,
    layers_left_out,
)

LEVELS = {"prototype": 0.4, "same_class": 0.5, "other_class": 0.2, "gray": 0.1, "noise": 0.1, "ascent": 0.1}


def comparison(levels: dict[str, float] | None = None, l1: dict[str, float] | None = None) -> PathComparison:
    """Twenty layers, conditions at given heights, two images of each but of gray, seven natural ones."""
    generator = torch.Generator().manual_seed(0)

    def scores(level: float, condition: str, spread: float) -> Tensor:
        count = 1 if condition == "gray" else 7 if condition == "same_class" else 2
        return level + spread * torch.randn(count, 20, generator=generator, dtype=torch.float64)

    spearman = {condition: scores(level, condition, 0.01) for condition, level in {**LEVELS, **(levels or {})}.items()}
    distances = {
        condition: scores((l1 or {}).get(condition, 2 - LEVELS.get(condition, 1)), condition, 0.01)
        for condition in spearman
    }
    settings = {"left_out": 7, "reference_images": 7}
    return PathComparison([f"layer{i}" for i in range(20)], spearman, distances, settings)


def test_each_criterion_is_beside_what_natural_images_reach() -> None:
    one = comparison()
    row = one.summary("prototype")
    spearman, mean, every, distance = criteria([one])
    assert spearman.measured.startswith(f"{row.spearman:.3f} (95 % interval ")
    assert spearman.expected == f"at least {one.summary(SAME).spearman:.3f}, same-class images"
    assert spearman.difference.startswith("−0.1")
    single = (one.spearman[SAME] >= one.spearman[SAME].mean(0)).double().mean()
    assert mean.expected == f"at least {100 * single:.1f} %, a same-class image on average"
    assert every.expected.startswith("at least 14.3 %")  # one in seven is the highest
    assert [verdict.passed for verdict in (spearman, mean, every, distance)] == [False] * 4
    assert "over 2 classes" in criteria([one, comparison({"prototype": 0.3})])[0].measured
    assert criteria([one, one])[0].measured == f"{row.spearman:.3f} (in each of 2 classes)"  # no interval of no width


def test_a_control_that_passes_is_named_beside_the_criterion() -> None:
    gray_is_near = comparison(l1={"gray": 1.0, "prototype": 1.4})
    *_, distance = criteria([gray_is_near])
    assert distance.passed
    assert distance.note == (
        "Controls without data that pass too: a gray square (100.0 %). The criterion does not tell a prototype from these. "
        "Controls without data as high as the prototypes or higher: a gray square (100.0 %)."
    )
    gray_is_nearer = comparison({"gray": 0.45, "other_class": 0.45})
    note = criteria([gray_is_nearer])[0].note
    assert note.startswith("Controls without data as high as the prototypes or higher: a gray square (0.4")
    assert "pass too" not in note
    assert "Images of other classes are as high as the prototypes or higher: 0.4" in note
    both = criteria([comparison(l1={"gray": 1.0, "noise": 1.0})])[3].note
    assert both == (
        "Controls without data that pass where the prototypes do not: a gray square (100.0 %), uniform noise (100.0 %). "
        "Controls without data as high as the prototypes or higher: a gray square (100.0 %), uniform noise (100.0 %)."
    )  # and not plain ascent, whose 0.0 % are no more than those of the prototypes
    # What passes and what is as high as the prototypes need not be the same.
    behind = criteria([comparison({"noise": 0.52, "prototype": 0.6})])[0].note
    assert behind.startswith("Controls without data that pass too: uniform noise (0.5")
    assert "as high as" not in behind
    assert criteria([comparison()])[0].note == ""


def test_without_controls_nothing_is_known_and_the_page_says_so() -> None:
    one = comparison()
    for condition in ("gray", "noise", "ascent"):
        del one.spearman[condition], one.l1[condition]
    assert all(verdict.note.startswith("No control that knows no data was run") for verdict in criteria([one]))
    assert "what these figures are worth is not known" in " ".join(conclusion([one]))


@pytest.mark.parametrize(
    ("levels", "words"),
    [
        ({}, "That lies between images of other classes and of the class itself"),
        ({"prototype": 0.6}, "as it processes natural images of the class"),
        ({"prototype": 0.15}, "no higher than images of other classes: these pictures are not to be trusted far"),
        ({"noise": 0.45}, "no better than uniform noise: nothing here is a reason to trust these pictures"),
        ({"prototype": math.nan}, "nothing can be said of them"),
        ({"mean_image": 0.7}, "The mean of the natural images, which knows the data, reaches 0.70"),
    ],
)
def test_the_conclusion_does_not_flatter(levels: dict[str, float], words: str) -> None:
    assert words in " ".join(conclusion([comparison(levels)]))


def test_what_may_be_chance_is_said() -> None:
    far, near = comparison(), comparison()
    assert "may be chance" not in " ".join(conclusion([far]))
    near.spearman["prototype"][0] += 0.3
    (doubt,) = [sentence for sentence in conclusion([near]) if "may be chance" in sentence]
    welch = stats.ttest_ind(*(near.spearman[name].mean(1) for name in ("prototype", SAME)), equal_var=False)
    low, high = welch.confidence_interval()
    assert doubt.startswith(
        "Over 2 prototypes, the prototypes differ from these by no more than may be chance: natural images of the class "
        f"(−{-low:.3f} to {high:.3f}), images of other classes (−"
    )
    for values in (near.spearman, near.l1):
        values["prototype"] = values["prototype"][:1]
    assert "how much another would differ is not known" in " ".join(conclusion([near]))
    assert criteria([near])[0].measured.endswith("(one prototype, no interval)")
    assert criteria([far])[2].measured == "0.0 % (each prototype 0.0 %)"


def test_the_table_has_every_condition_with_intervals() -> None:
    one, other = comparison(), comparison({"prototype": 0.3})
    table = comparison_table([one])
    assert [row[0] for row in table.rows] == [condition_label(condition) for condition in one.conditions]
    assert all(len(row) == len(table.header) for row in table.rows)
    gray = next(row for row in table.rows if row[0] == "gray")
    assert gray[3] == "–"  # one image
    expected = interval(one.spearman["noise"].mean(1).tolist())
    assert expected is not None
    noise = next(row for row in table.rows if row[0] == "noise")
    assert noise[3] == (
        f"{expected[0]:.3f} to {expected[1]:.3f}" if expected[0] < 0 else f"{expected[0]:.3f}–{expected[1]:.3f}"
    )
    assert "7 of 7 same-class images were left out" in table.caption
    over = comparison_table([one, other])
    assert "Means over 2 classes" in over.caption
    assert "14 of 14" in over.caption


def test_what_could_not_be_measured_is_said_once() -> None:
    one, other = comparison(), comparison()
    for each in (one, other):
        each.settings["skipped"] = {"gate": "a tuple, no tensor"}
        for values in each.spearman.values():
            values[:, 3] = math.nan
        each.spearman["gray"][:, 5:12] = math.nan
    other.spearman["noise"][:, 0] = math.nan
    assert layers_left_out({"ash": one, "birch": other}) == [
        'Every class: layer "gate" was left out: a tuple, no tensor.'
    ]
    assert comparison_failures({"ash": one, "birch": other}) == [
        "Every class: 1 of 20 layers are dead, that is, no same-class image has a rank correlation there, and are left out of every mean: "
        "layer3.",
        "Every class: gray has no rank correlation in 7 layers, because its activations are constant there; they count as failing: "
        "layer5, layer6, layer7, layer8, layer9 and 2 more.",
        "birch: noise has no rank correlation in 1 layers, because its activations are constant there; they count as failing: layer0.",
    ]
    assert comparison_failures({"ash": comparison()}) == []
    assert criteria([one])[0].passed is False


def test_above_every_control_is_said_where_it_is_more_than_chance() -> None:
    above = "They are above every control that knows no data, by more than chance."
    assert above in conclusion([comparison()])
    assert above in conclusion([comparison(), comparison({"prototype": 0.41})])
    # Over classes: in pairs, as the intervals of the figures themselves would not tell.
    levels = [(0.514, 0.469), (0.7, 0.45), (0.3, 0.45)]
    classes = [comparison({"prototype": own, "ascent": ascent}) for own, ascent in levels]
    text = " ".join(conclusion(classes))
    assert above not in text
    assert (
        "Over 3 classes, the prototypes differ from these by no more than may be chance: natural images of the class"
        in text
    )
    assert "gradient ascent without transforms (−" in text
    assert (
        "gradient ascent without transforms"
        in criteria(classes)[0].note.partition("lower by no more than may be chance: ")[2]
    )
    one = comparison()
    for values in (one.spearman, one.l1):
        values["prototype"] = values["prototype"][:1]
    assert above not in conclusion([one])


@pytest.mark.parametrize(
    ("prototype", "said", "never"),
    [
        ((0.49, 0.52), "not told apart from natural images of the class", "lies between"),
        (
            (0.0, 0.6),
            "not told apart from images of other classes: these pictures are not to be trusted far",
            "lies between",
        ),
        ((0.35, 0.36), "lies between images of other classes and of the class itself", "told apart"),
    ],
)
def test_where_prototypes_are_is_said_as_far_as_their_spread_allows(
    prototype: tuple[float, float], said: str, never: str
) -> None:
    one = comparison({"gray": -0.1, "noise": -0.1, "ascent": -0.1})
    for row, level in enumerate(prototype):
        one.spearman["prototype"][row] = level
    text = " ".join(conclusion([one]))
    assert said in text
    assert never not in text


def test_a_criterion_is_met_or_not_where_the_difference_is_more_than_chance() -> None:
    def mean_spearman(*levels: float) -> tuple[bool | None, str]:
        one = comparison({"gray": -0.9, "noise": -0.9, "ascent": -0.9, "other_class": -0.9})
        one.spearman["prototype"] = torch.tensor(levels, dtype=torch.float64)[:, None].expand(-1, 20).clone()
        verdict = criteria([one])[0]
        return verdict.passed, verdict.note

    assert mean_spearman(0.600, 0.601) == (True, "")
    assert mean_spearman(0.400, 0.401) == (False, "")
    for levels in ((0.40, 0.70), (0.30, 0.60)):
        passed, note = mean_spearman(*levels)
        assert passed is None
        assert note.startswith("The difference may be chance: its 95 % interval is −")
    assert mean_spearman(0.6) == (None, "")  # of a single one nothing is known
    assert mean_spearman(math.nan, math.nan)[0] is None


def test_a_criterion_that_holds_nowhere_is_reached_by_nothing() -> None:
    """In no layer: a control that does no better is not as good as the prototypes."""
    nowhere = comparison(l1=dict.fromkeys(("prototype", "gray", "noise", "ascent", "other_class"), 9.0))
    verdict = criteria([nowhere])[3]
    assert verdict.measured.startswith("0.0 %")
    assert verdict.note == ""
    noise = comparison(l1={"prototype": 9.0, "gray": 9.0, "noise": 1.0, "ascent": 9.0, "other_class": 9.0})
    assert criteria([noise])[3].note == (
        "Controls without data that pass where the prototypes do not: uniform noise (100.0 %). "
        "Controls without data as high as the prototypes or higher: uniform noise (100.0 %)."
    )


def test_controls_without_a_rank_correlation_are_none() -> None:
    one = comparison({"gray": math.nan, "noise": math.nan, "ascent": math.nan})
    text = " ".join(conclusion([one]))
    assert "No control that knows no data has a rank correlation: what these figures are worth is not known." in text
    assert "above every control" not in text
    nothing = conclusion([comparison({"prototype": math.nan, "noise": 0.3})])
    assert nothing[-1] == "No layer of the prototypes has a rank correlation, so nothing can be said of them."
    assert "one prototype" not in " ".join(nothing)
