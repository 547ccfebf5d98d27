"""Choices among answers: chance against SciPy and against every permutation, and what a two-tower model is asked."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from captum_proto.metrics.multiple_choice import Answered, Question, answer_scores, choice_rate
from captum_proto.models import TwoTower

ANSWERS = ("ash", "birch", "cedar", "date", "elm", "fir", "gum", "hazel")


def answered(right: str, chosen: str, name: str = "", answers: tuple[str, ...] = ANSWERS) -> Answered:
    question = Question(name or f"{right} {chosen}", answers, right)
    return Answered(question, [[float(answer == chosen) for answer in answers]])


def test_guessing_is_the_binomial_and_the_interval_is_wilsons() -> None:
    rows = [answered(right, right if place < 5 else "hazel") for place, right in enumerate(ANSWERS[:7])]
    rate = choice_rate(rows, resamples=99)
    test = stats.binomtest(5, 7, 1 / 8, alternative="greater")
    assert rate.p_value == pytest.approx(test.pvalue, rel=1e-9)
    wilson = stats.binomtest(5, 7).proportion_ci(0.95, method="wilson")
    assert (rate.right.low, rate.right.high) == pytest.approx((wilson.low, wilson.high))
    assert rate.chance == 1 / 8


def test_questions_with_different_numbers_of_answers() -> None:
    """Against every way in which guesses can fall."""
    chances, hits = [1 / 2, 1 / 3, 1 / 8], 2
    rows = [answered("ash", "ash", f"{n}", ANSWERS[: round(1 / c)]) for n, c in enumerate(chances[:2])]
    rows.append(answered("ash", "elm", "last"))
    expected = sum(
        math.prod(c if hit else 1 - c for hit, c in zip(found, chances, strict=True))
        for found in itertools.product((0, 1), repeat=3)
        if sum(found) >= hits
    )
    assert choice_rate(rows, resamples=9).p_value == pytest.approx(expected)


def test_exchanged_choices_against_every_permutation() -> None:
    right, chosen = ("ash", "ash", "birch", "cedar"), ("ash", "birch", "birch", "ash")
    rate = choice_rate(
        [answered(*pair, str(n)) for n, pair in enumerate(zip(right, chosen, strict=True))], resamples=9999
    )
    counts = [sum(a == b for a, b in zip(order, right, strict=True)) for order in itertools.permutations(chosen)]
    assert rate.exchanged == pytest.approx(sum(counts) / len(counts) / 4)
    assert rate.exchanged_p_value == pytest.approx(sum(count >= 2 for count in counts) / len(counts), abs=0.02)


def test_one_who_always_says_the_same_is_not_credited() -> None:
    """Two of four are right, which guessing seldom gives; exchanged, they always are."""
    rate = choice_rate([answered(right, "ash", str(n)) for n, right in enumerate(("ash", "ash", "birch", "elm"))])
    assert rate.p_value < 0.1
    assert rate.exchanged == rate.right.value == 0.5
    assert rate.exchanged_p_value == 1


def test_rank_and_single_pictures() -> None:
    question = Question("tree", ANSWERS[:3], "birch")
    one = Answered(question, [[0.0, 1.0, 0.0], [0.9, 0.0, 0.0], [0.0, 0.3, 0.2]])
    assert one.right
    assert one.rank == 1
    assert one.single == pytest.approx(2 / 3)
    assert Answered(question, [[1.0, 0.0, 2.0]]).rank == 3
    assert Answered(question, [[1.0, 1.0, 1.0]]).rank == 2


def test_cosines_are_scikit_learns() -> None:
    pairwise = pytest.importorskip("sklearn.metrics.pairwise")
    torch.manual_seed(0)
    texts = {f"a photo of {answer}": torch.randn(5) for answer in ANSWERS}
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 5))
    tower = TwoTower(network, lambda given: torch.stack([texts[text] for text in given]))
    images = torch.rand(5, 3, 4, 4)
    with torch.no_grad():
        expected = pairwise.cosine_similarity(network(images), torch.stack(list(texts.values())))
    found = answer_scores(tower, images, ANSWERS, "a photo of {}", batch_size=2)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-6, rtol=0)


class _Broken:
    def image(self, images: Tensor) -> Tensor:
        return torch.full((len(images), 2), math.nan)

    def text(self, texts: Sequence[str]) -> Tensor:
        return torch.ones(len(texts), 2)


def test_what_cannot_be_asked() -> None:
    with pytest.raises(ValueError, match="is not among ash, birch; add it"):
        Question("tree", ANSWERS[:2], "elm")
    with pytest.raises(ValueError, match="at least two, each once"):
        Question("tree", ("ash", "ash"), "ash")
    with pytest.raises(ValueError, match="a row of 2 for each picture"):
        Answered(Question("tree", ANSWERS[:2], "ash"), [[1.0]])
    with pytest.raises(ValueError, match="there are no questions"):
        choice_rate([])
    images = torch.rand(1, 3, 4, 4)
    with pytest.raises(TypeError, match="methods image and text"):
        answer_scores(nn.Identity(), images, ANSWERS)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="in place of the answer"):
        answer_scores(_Broken(), images, ANSWERS, "a photo")
    with pytest.raises(ValueError, match="NaN or infinity"):
        answer_scores(_Broken(), images, ANSWERS)
