"""A choice of one answer among several for pictures, such as which trigger a trojan has, and how often it is right."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.models import ImageTextEncoder
from captum_proto.models.two_tower import checked_embedding
from captum_proto.stats.intervals import Estimate, mean_estimate, proportion

#: Images that are embedded at a time.
_AT_A_TIME = 32


@dataclass(frozen=True)
class Question:
    """
    What pictures are asked about.

    Attributes:
        name (str): What the pictures are of, such as a trojan.
        answers (tuple[str, ...]): To choose from, each once.
        right (str): The one that is right.
        group (str): What kind of question it is, to count the questions of a kind apart. Default: ""

    Raises:
        ValueError: If there are fewer than two answers, one is there twice, or the right one is not among them.
    """

    name: str
    answers: tuple[str, ...]
    right: str
    group: str = ""

    def __post_init__(self) -> None:
        if len(set(self.answers)) < 2 or len(set(self.answers)) < len(self.answers):
            raise InputError(
                f'"{self.name}" has the answers {", ".join(self.answers)}; expected at least two, each once.'
            )
        if self.right not in self.answers:
            raise InputError(
                f'the right answer to "{self.name}" is "{self.right}", which is not among {", ".join(self.answers)}; add it.'
            )


@dataclass(frozen=True)
class Answered:
    """
    What was chosen for the pictures of one question.

    Attributes:
        question (Question): Which.
        scores (list[list[float]]): (N, A): how well each of N pictures goes with each of A answers; the highest is chosen.
    """

    question: Question
    scores: list[list[float]]

    def __post_init__(self) -> None:
        if not self.scores or any(len(row) != len(self.question.answers) for row in self.scores):
            raise InputError(
                f'"{self.question.name}" has scores for {sorted({len(row) for row in self.scores})} answers; expected a row of '
                f"{len(self.question.answers)} for each picture, at least one."
            )

    @cached_property
    def mean_scores(self) -> list[float]:
        """(A,): of all pictures together."""
        means: list[float] = np.mean(np.asarray(self.scores), axis=0).tolist()
        return means

    @property
    def chosen(self) -> str:
        """The answer that goes best with all pictures together."""
        return self.question.answers[int(np.argmax(self.mean_scores))]

    @property
    def right(self) -> bool:
        """Whether that is the right one."""
        return self.chosen == self.question.right

    @property
    def rank(self) -> int:
        """The place of the right answer for all pictures together, from 1; of answers with one score the middle, rounded up."""
        own = self.mean_scores[self.question.answers.index(self.question.right)]
        above = sum(score > own for score in self.mean_scores)
        return above + math.ceil((1 + sum(score == own for score in self.mean_scores)) / 2)

    @property
    def single(self) -> float:
        """The share of single pictures with which the right answer goes best."""
        best = np.argmax(np.asarray(self.scores), axis=1)
        return float(np.mean([self.question.answers[place] == self.question.right for place in best]))


@dataclass(frozen=True)
class ChoiceRate:
    """
    How often a choice is right, over questions.

    Attributes:
        questions (int): How many.
        right (Estimate): The share that is right, of all pictures of a question together, with Wilson's interval.
        chance (float): What guessing comes to: the mean over questions of one over the number of answers.
        p_value (float): How often guessing is right at least as often, exactly.
        exchanged (float): What the same choices come to if they are given to the questions with the same answers in random order: more
            than chance where some answers are chosen, and right, more often than others.
        exchanged_p_value (float): How often they are then right at least as often; 1 where no two questions have the same answers.
        single (Estimate): The share of single pictures for which the choice is right, with a bootstrap interval over questions.
        rank (Estimate): The mean place of the right answer, from 1, with a bootstrap interval over questions.
    """

    questions: int
    right: Estimate
    chance: float
    p_value: float
    exchanged: float
    exchanged_p_value: float
    single: Estimate
    rank: Estimate


def answer_scores(
    encoder: ImageTextEncoder, images: Tensor, answers: Sequence[str], prompt: str = "{}", batch_size: int = _AT_A_TIME
) -> Tensor:
    r"""
    How well answers go with images, as a two-tower model sees both: the cosines of their embeddings.

    That is how Casper et al. (arXiv:2302.10894, section 5) let CLIP take the place of people.

    Args:
        encoder (ImageTextEncoder): With the methods ``image`` and ``text``, such as a :class:`~captum_proto.models.TwoTower`.
        images (Tensor): (N, C, H, W), in [0, 1], as the image tower takes them.
        answers (sequence of str): A of them.
        prompt (str, optional): What the text tower is given, with the answer in place of ``{}``. Default: "{}"
        batch_size (int, optional): Images at a time. Default: 32

    Returns:
        Tensor: (N, A), float32 on the CPU, in [-1, 1].

    Raises:
        ValueError: If the prompt has no place for the answer, or an embedding is not finite or of another shape.
        TypeError: If the encoder lacks a method, or returns no float tensor.

    Examples::

        >>> from captum_proto.models import TwoTower
        >>> words = {"red": [1.0, 0.0, 0.0], "green": [0.0, 1.0, 0.0]}
        >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> tower = TwoTower(mean_color, lambda texts: torch.tensor([words[text] for text in texts]))
        >>> green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        >>> answer_scores(tower, green, ["red", "green"])
        tensor([[0., 1.]])
    """
    check_encoder(encoder)
    if "{}" not in prompt:
        raise InputError(
            f'prompt is "{prompt}"; expected a text with {{}} in place of the answer, such as "a photo of {{}}".'
        )
    texts = checked_embedding(
        encoder.text([prompt.replace("{}", answer) for answer in answers]), len(answers), "the text tower"
    )
    texts = torch.nn.functional.normalize(texts.detach().float().cpu(), dim=1)
    rows = []
    for part in torch.split(images, batch_size):
        embedded = checked_embedding(encoder.image(part), len(part), "the image tower").detach().float().cpu()
        rows.append(torch.nn.functional.normalize(embedded, dim=1) @ texts.T)
    return torch.cat(rows)


def check_encoder(encoder: object) -> None:
    """
    See that something has the methods of a two-tower model.

    Raises:
        TypeError: If it has not.
    """
    if not all(callable(getattr(encoder, method, None)) for method in ("image", "text")):
        raise InputTypeError(
            f"the two-tower model is a {type(encoder).__name__}; expected an object with the methods image and text, such as a TwoTower."
        )


def choice_rate(
    answered: Sequence[Answered], confidence: float = 0.95, resamples: int = 9999, seed: int = 0
) -> ChoiceRate:
    r"""
    How often a choice is right, beside two levels of chance.

    The first is guessing. The second keeps what was chosen and what is right, and exchanges choices among the questions that have the
    same answers: one who always says the same is not credited for where that happens to be right.

    Args:
        answered (sequence of Answered): One for each question.
        confidence (float, optional): Of intervals, between 0 and 1. Default: 0.95
        resamples (int, optional): Random exchanges, and draws of the bootstrap. Default: 9999
        seed (int, optional): Of both. Default: 0

    Returns:
        ChoiceRate: Of all these questions.

    Raises:
        ValueError: If there are no questions.

    Examples::

        >>> questions = [Question(name, ("disc", "ring", "star"), name) for name in ("disc", "ring", "star")]
        >>> rate = choice_rate([Answered(one, [[float(answer == one.right) for answer in one.answers]]) for one in questions])
        >>> f"{rate.right.value:.0%} against {rate.chance:.0%}, p = {rate.p_value:.3f}"
        '100% against 33%, p = 0.037'
    """
    if not answered:
        raise InputError("there are no questions; give at least one.")
    hits = sum(one.right for one in answered)
    chances = [1 / len(one.question.answers) for one in answered]
    expected, p_exchanged = _exchanged(answered, hits, resamples, seed)
    return ChoiceRate(
        len(answered),
        proportion(hits, len(answered), confidence),
        sum(chances) / len(chances),
        _at_least(hits, chances),
        expected,
        p_exchanged,
        mean_estimate([one.single for one in answered], confidence, resamples, seed),
        mean_estimate([float(one.rank) for one in answered], confidence, resamples, seed),
    )


def _at_least(hits: int, chances: Sequence[float]) -> float:
    """How often independent guesses, each right by its own chance, are right at least so often (the Poisson binomial)."""
    if len(set(chances)) == 1:
        return float(stats.binom.sf(hits - 1, len(chances), chances[0]))
    counts = np.ones(1)
    for chance in chances:
        counts = np.convolve(counts, [1 - chance, chance])
    return float(min(1.0, counts[hits:].sum()))


def _exchanged(answered: Sequence[Answered], hits: int, resamples: int, seed: int) -> tuple[float, float]:
    """What choices come to in random order among questions with the same answers, and how often they are then right as often."""
    alike: dict[frozenset[str], list[Answered]] = {}
    for one in answered:
        alike.setdefault(frozenset(one.question.answers), []).append(one)
    expected, found, random = 0.0, np.zeros(resamples), np.random.default_rng(seed)
    for group in alike.values():
        chosen, right = Counter(one.chosen for one in group), Counter(one.question.right for one in group)
        expected += sum(count * right[answer] for answer, count in chosen.items()) / len(group)
        said, truth = (
            np.array(texts) for texts in ([one.chosen for one in group], [one.question.right for one in group])
        )
        orders = random.permuted(np.tile(np.arange(len(group)), (resamples, 1)), axis=1)
        found += (said[orders] == truth).sum(1)
    return expected / len(answered), float((1 + (found >= hits).sum()) / (1 + resamples))


__all__ = ["Answered", "ChoiceRate", "Question", "answer_scores", "check_encoder", "choice_rate"]
