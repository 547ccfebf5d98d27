"""Answers to a blind test, scored as by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.metrics.blind_test import (
    NAMED,
    UNANSWERED,
    UNKNOWN,
    UNMATCHED,
    BlindClasses,
    BlindPicture,
    judge_answers,
    score_answers,
)
from captum_proto.stats.blind_comparison import MCNEMAR, SIGNS

NAMES = ["goldfish, Carassius auratus", "house finch", "owl", "flute"]
GROUPS = {"goldfish, Carassius auratus": "fish", "house finch": "Bird", "owl": "Bird"}
PICTURES = [
    BlindPicture(1, "owl", "prototype"),
    BlindPicture(2, NAMES[0], "prototype"),
    BlindPicture(3, "flute", "prototype"),
    BlindPicture(4, "owl", "ascent"),
    BlindPicture(5, NAMES[0], "ascent"),
    BlindPicture(6, "flute", "ascent"),
    BlindPicture(7, "", "noise"),
]
ANN = {1: "Owl ", 2: "carassius AURATUS", 3: "recorder", 4: "house finch", 5: None, 6: "flute", 7: "owl"}
BOB = {1: "bird", 2: "goldfish", 3: None, 5: "", 7: None}


def test_each_answer_is_judged_by_its_spelling() -> None:
    judged = judge_answers(PICTURES, {"Ann": ANN, "Bob": BOB}, BlindClasses(NAMES, GROUPS))
    assert [(one.person, one.number) for one in judged] == [(who, n) for who in ("Ann", "Bob") for n in range(1, 8)]
    ann, bob = judged[:7], judged[7:]
    assert [one.right for one in ann] == [True, True, False, False, False, True, False]
    assert [one.group_right for one in ann] == [True, True, False, True, False, True, False]
    assert [one.outcome for one in ann] == [NAMED, NAMED, UNMATCHED, NAMED, UNKNOWN, NAMED, NAMED]
    assert [one.meant for one in ann[:3]] == [["owl"], [NAMES[0]], []]
    assert [one.right for one in bob] == [False, True, False, False, False, False, False]
    assert bob[0].group_right  # the group itself was named
    assert bob[0].meant == ["Bird"]
    assert [one.outcome for one in bob] == [NAMED, NAMED, UNKNOWN, *[UNANSWERED] * 3, UNKNOWN]


def test_shares_chance_and_counts_by_hand() -> None:
    classes = BlindClasses(NAMES, GROUPS)
    scores = score_answers(judge_answers(PICTURES, {"Ann": ANN, "Bob": BOB}, classes), classes)
    assert [score.method for score in scores.methods] == ["prototype", "ascent", "noise"]
    prototype, ascent, noise = scores.methods
    assert prototype.right is not None
    assert (prototype.pictures, prototype.answers) == (3, 6)
    assert prototype.right.value == pytest.approx(3 / 6)
    wilson = stats.binomtest(3, 6).proportion_ci(method="wilson")
    assert (prototype.right.low, prototype.right.high) == pytest.approx((wilson.low, wilson.high))
    assert prototype.chance == 1 / 4
    # Of owl and goldfish, which have groups: four answers, of which all are of the group. A guess is a bird in two of four.
    assert prototype.group_right is not None
    assert prototype.group_right.value == 1.0
    assert prototype.group_chance == pytest.approx((2 / 4 + 1 / 4) / 2)
    # Ann named two classes of the three pictures, each would fit one picture in three; Bob one.
    assert prototype.shuffled == pytest.approx((2 / 9 + 1 / 9) / 2)
    assert prototype.outcomes == {NAMED: 4, UNMATCHED: 1, UNKNOWN: 1, UNANSWERED: 0}
    assert ascent.right is not None
    assert ascent.right.value == pytest.approx(1 / 6)
    assert ascent.outcomes == {NAMED: 2, UNMATCHED: 0, UNKNOWN: 1, UNANSWERED: 3}
    assert noise.right is None
    assert math.isnan(noise.chance)
    assert noise.outcomes[NAMED] == 1
    (pair,) = scores.comparisons
    assert (pair.first, pair.second, pair.test, pair.classes) == ("prototype", "ascent", SIGNS, 3)
    assert pair.difference.value == pytest.approx(((0.5 - 0) + (1 - 0) + (0 - 0.5)) / 3)
    assert scores.unmatched() == {"recorder": 1}
    assert scores.people == ["Ann", "Bob"]


def test_shuffled_is_the_mean_over_random_orders() -> None:
    answers = {1: "owl", 2: "owl", 3: "flute", 4: "goldfish", 5: "owl", 6: None}
    pictures = [BlindPicture(one.number, one.label, "all") for one in PICTURES[:6]]
    classes = BlindClasses(NAMES)
    found = score_answers(judge_answers(pictures, {"Ann": answers}, classes), classes).methods[0].shuffled
    order, draws = random.Random(0), []
    for _ in range(4000):
        texts = list(answers.values())
        order.shuffle(texts)
        judged = judge_answers(pictures, {"Ann": dict(enumerate(texts, 1))}, classes)
        draws.append(np.mean([one.right for one in judged]))
    assert found == pytest.approx(np.mean(draws), abs=0.01)


def test_one_person_is_compared_by_mcnemars_test_and_agrees_with_nobody() -> None:
    classes = BlindClasses(NAMES)
    scores = score_answers(judge_answers(PICTURES, {"Ann": ANN}, classes), classes)
    (pair,) = scores.comparisons
    assert pair.test == MCNEMAR
    assert (pair.only_first, pair.only_second) == (2, 1)
    assert math.isnan(scores.agreement.value)
    assert math.isnan(scores.methods[0].over_pictures.low)
    assert not scores.has_groups


def test_agreement_is_kappa_of_what_was_meant() -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    classes = BlindClasses(NAMES)
    first = {1: "owl", 2: "goldfish", 3: "flute", 4: None, 5: "Recorder", 6: "flute", 7: "owl"}
    second = {1: "OWL", 2: "Carassius auratus", 3: "owl", 4: None, 5: "recorder", 6: "owl", 7: None}
    scores = score_answers(judge_answers(PICTURES, {"Ann": first, "Bob": second}, classes), classes)
    assert scores.agreement.value == pytest.approx(
        metrics.cohen_kappa_score(["o", "g", "f", "?", "r", "f", "o"], ["o", "g", "o", "?", "r", "o", "?"])
    )


def test_a_name_that_two_classes_share_is_right_for_both() -> None:
    classes = BlindClasses(["crane, bird", "crane, machine"])
    pictures = [BlindPicture(1, "crane, bird", "a"), BlindPicture(2, "crane, machine", "a")]
    judged = judge_answers(pictures, {"Ann": {1: "crane", 2: "crane"}, "Bob": {1: "machine", 2: "machine"}}, classes)
    assert [one.right for one in judged] == [True, True, False, True]


def test_synonyms_stand_for_a_class_when_they_are_given() -> None:
    pictures = PICTURES[:1]
    for classes, right in ((BlindClasses(NAMES), False), (BlindClasses(NAMES, synonyms={"Eule": "owl"}), True)):
        assert judge_answers(pictures, {"Ann": {1: "eule"}}, classes)[0].right is right


def test_without_a_list_of_names_there_is_no_chance_but_that_of_shuffled_answers() -> None:
    classes = BlindClasses(NAMES, listed=False)
    score = score_answers(judge_answers(PICTURES[:3], {"Ann": ANN}, classes), classes).methods[0]
    assert math.isnan(score.chance)
    assert score.shuffled == pytest.approx(2 / 9)


def test_bad_input_gets_a_sentence() -> None:
    with pytest.raises(InputError, match='a group is given for "eagle"'):
        BlindClasses(NAMES, {"eagle": "bird"})
    with pytest.raises(InputError, match='"Eule" is to stand for "owls", which is no class; did you mean "owl"'):
        BlindClasses(NAMES, synonyms={"Eule": "owls"})
    with pytest.raises(InputError, match="there are no answers to score"):
        score_answers([], BlindClasses(NAMES))
