"""A blind test: people name what pictures show without being told, and what they typed is scored."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from captum_proto._utils.errors import InputError
from captum_proto._utils.spellings import ClassSpellings, normalized
from captum_proto.stats.blind_comparison import PairedComparison, compare_shares
from captum_proto.stats.intervals import Estimate, holm, mean_estimate, proportion
from captum_proto.stats.rater_agreement import rater_agreement

#: What became of a picture at the hands of a person: a class was named, the text is no name of a class, the person did not know, or left
#: it out.
NAMED, UNMATCHED, UNKNOWN, UNANSWERED = "named", "unmatched", "unknown", "unanswered"


@dataclass(frozen=True)
class BlindPicture:
    """
    A picture of a blind test.

    Args:
        number (int): By which the form calls it.
        label (str): The name of its class; empty for a picture of no class, such as noise.
        method (str): How it was made.
        choices (tuple[str, ...]): What was offered for this picture. Default: none, all names
    """

    number: int
    label: str
    method: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class BlindClasses:
    """
    The names that answers may be.

    Args:
        names (sequence of str): Of all classes that may be named, each once; synonyms are separated by commas.
        groups (mapping[str, str]): The group of each class, by its name: its superclass. A class may have none. Default: none
        listed (bool): Whether people could choose from the names; without, they wrote what they liked. Default: True
        synonyms (mapping[str, str]): Further spellings, each with a name that it stands for. Default: none

    Raises:
        InputError: If a group or a synonym is of a class that is not among the names.
    """

    names: Sequence[str]
    groups: Mapping[str, str] = field(default_factory=dict)
    listed: bool = True
    synonyms: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in self.groups:
            if name not in self.names:
                raise InputError(
                    f'a group is given for "{name}", which is not among the names of classes; add it there.'
                )
        self.spellings()

    def spellings(self) -> ClassSpellings:
        """What a text may stand for."""
        found = ClassSpellings(self.names)
        for spelling, name in self.synonyms.items():
            try:
                found.add(spelling, name)
            except KeyError as error:
                near = found.nearest(name, 1)
                hint = f'did you mean "{near[0]}"?' if near else "give a name that is among the classes."
                raise InputError(f'"{spelling}" is to stand for "{name}", which is no class; {hint}') from error
        return found


@dataclass(frozen=True)
class JudgedAnswer:
    """
    What a person made of a picture.

    Args:
        person (str): Who.
        number (int): Of the picture.
        label (str): The class of the picture; empty for none.
        method (str): How the picture was made.
        text (str): As it was typed.
        outcome (str): "named", "unmatched", "unknown" or "unanswered".
        meant (list[str]): The classes that the text may stand for, or the group of classes.
        right (bool): Whether the class of the picture is among them.
        group_right (bool): Whether a class of the same group is among them, or the group itself was named.
        choices (list[str]): What was offered for this picture; empty: all names. Default: empty
    """

    person: str
    number: int
    label: str
    method: str
    text: str
    outcome: str
    meant: list[str]
    right: bool
    group_right: bool
    choices: list[str] = field(default_factory=list)


def judge_answers(
    pictures: Sequence[BlindPicture],
    answers: Mapping[str, Mapping[int, str | None]],
    classes: BlindClasses,
) -> list[JudgedAnswer]:
    """
    What each person made of each picture. Names are matched by their spelling alone, and nothing is guessed.

    Args:
        pictures (sequence of BlindPicture): All pictures of the form.
        answers (mapping): By person, what was typed by the number of the picture; None for "I don't know". Numbers that are missing, and
            empty texts, are pictures without an answer.
        classes (BlindClasses): The names that answers may be.

    Returns:
        list[JudgedAnswer]: For each person, all pictures in their order.

    Examples::

        >>> pictures = [BlindPicture(1, "goldfish", "prototype"), BlindPicture(2, "owl", "prototype")]
        >>> classes = BlindClasses(["goldfish", "owl", "finch"], {"owl": "bird", "finch": "bird"})
        >>> [(one.right, one.group_right) for one in judge_answers(pictures, {"Ann": {1: "Goldfish", 2: "finch"}}, classes)]
        [(True, True), (False, True)]
    """
    spellings = classes.spellings()
    groups = {normalized(group): group for group in classes.groups.values()}
    judged = []
    for person, texts in answers.items():
        for picture in pictures:
            text = texts.get(picture.number, "")
            typed = "" if text is None else text.strip()
            meant = [classes.names[index] for index in spellings.find(typed)] if typed else []
            named_group = "" if meant else groups.get(normalized(typed), "")
            group = classes.groups.get(picture.label, "")
            right = bool(picture.label) and picture.label in meant
            same_group = bool(group) and group in [named_group, *(classes.groups.get(name, "") for name in meant)]
            if text is None:
                outcome = UNKNOWN
            elif not typed:
                outcome = UNANSWERED
            else:
                outcome = NAMED if meant or named_group else UNMATCHED
            judged.append(
                JudgedAnswer(
                    person,
                    picture.number,
                    picture.label,
                    picture.method,
                    typed,
                    outcome,
                    meant or ([named_group] if named_group else []),
                    right,
                    right or same_group,
                    list(picture.choices),
                )
            )
    return judged


@dataclass(frozen=True)
class MethodScore:
    """
    How well people named the pictures of a method.

    Args:
        method (str): How the pictures were made.
        pictures (int): How many there are.
        answers (int): Pictures times people, with or without an answer.
        right (Estimate, optional): The share of answers that name the class, with Wilson's interval. None: the pictures are of no class.
        over_pictures (Estimate): The same with an interval by bootstrap over pictures, since people who see the same picture are not
            independent; NaN where there is one person, who makes no difference between the two.
        group_right (Estimate, optional): The share that name the group, with Wilson's interval. None: there are no groups.
        chance (float): What guessing among the names that were offered comes to; NaN where none were offered.
        group_chance (float): The same of groups.
        shuffled (float): What each person's own answers come to on the pictures of this method in random order.
        outcomes (dict[str, int]): How many answers were "named", "unmatched", "unknown" and "unanswered".
    """

    method: str
    pictures: int
    answers: int
    right: Estimate | None
    over_pictures: Estimate
    group_right: Estimate | None
    chance: float
    group_chance: float
    shuffled: float
    outcomes: dict[str, int]


@dataclass(frozen=True)
class BlindScores:
    """
    What a blind test has found.

    Args:
        judged (list[JudgedAnswer]): Every person's answer to every picture.
        methods (list[MethodScore]): The one named most often first; those without a class last.
        comparisons (list[PairedComparison]): Each method whose pictures have classes with each other one, p corrected after Holm.
        agreement (Estimate): Kappa of the people; NaN for one.
        confidence (float): Of all intervals.
    """

    judged: list[JudgedAnswer]
    methods: list[MethodScore]
    comparisons: list[PairedComparison]
    agreement: Estimate
    confidence: float

    @property
    def people(self) -> list[str]:
        return list(dict.fromkeys(one.person for one in self.judged))

    @property
    def has_groups(self) -> bool:
        return any(score.group_right is not None for score in self.methods)

    def unmatched(self) -> dict[str, int]:
        """The texts that are no name of a class, by how often they were typed."""
        return dict(Counter(one.text for one in self.judged if one.outcome == UNMATCHED).most_common())

    def of_picture(self, number: int) -> list[JudgedAnswer]:
        """Every person's answer to a picture."""
        return [one for one in self.judged if one.number == number]


def score_answers(
    judged: Sequence[JudgedAnswer], classes: BlindClasses, confidence: float = 0.95, seed: int = 0
) -> BlindScores:
    """
    How well people named the pictures of each method.

    "I don't know", a text that is no name of a class, and no answer at all count as wrong, and are counted apart as well.

    Args:
        judged (sequence of JudgedAnswer): By :func:`judge_answers`.
        classes (BlindClasses): The names that answers may be.
        confidence (float, optional): Of all intervals, between 0 and 1. Default: 0.95
        seed (int, optional): Of bootstraps and permutations. Default: 0

    Returns:
        BlindScores: By method, and the methods with each other.

    Raises:
        InputError: If there are no answers.
    """
    if not judged:
        raise InputError("there are no answers to score; give those of at least one person.")
    people = list(dict.fromkeys(one.person for one in judged))
    by_method: dict[str, list[JudgedAnswer]] = {}
    for one in judged:
        by_method.setdefault(one.method, []).append(one)
    found_of = [_score(method, rows, classes, confidence, seed) for method, rows in by_method.items()]
    methods = sorted(found_of, key=lambda score: (1.0 if score.right is None else -score.right.value, score.method))
    with_class = {
        score.method: [one for one in by_method[score.method] if one.label]
        for score in methods
        if score.right is not None
    }
    found = [
        compare_shares(
            first, second, _by_class(with_class[first]), _by_class(with_class[second]), confidence, seed=seed
        )
        for first, second in combinations(with_class, 2)
    ]
    corrected = holm([comparison.p_value for comparison in found])
    comparisons = [comparison.corrected(p_value) for comparison, p_value in zip(found, corrected, strict=True)]
    agreement = Estimate(math.nan, math.nan, math.nan)
    if len(people) > 1:
        said: dict[int, list[str]] = {}
        for one in judged:
            said.setdefault(one.number, []).append(_category(one))
        agreement = rater_agreement(list(said.values()), confidence, seed=seed)
    return BlindScores(list(judged), methods, comparisons, agreement, confidence)


def _score(
    method: str, rows: Sequence[JudgedAnswer], classes: BlindClasses, confidence: float, seed: int
) -> MethodScore:
    nothing = Estimate(math.nan, math.nan, math.nan)
    labeled = [one for one in rows if one.label]
    right, over, group_right = None, nothing, None
    chance = group_chance = shuffled = math.nan
    if labeled:
        right = proportion(sum(one.right for one in labeled), len(labeled), confidence)
        of_picture: dict[int, list[bool]] = {}
        for one in labeled:
            of_picture.setdefault(one.number, []).append(one.right)
        if max(map(len, of_picture.values())) > 1:
            over = mean_estimate([float(np.mean(each)) for each in of_picture.values()], confidence, seed=seed)
        shuffled = _shuffled(labeled)
        if classes.listed:
            offered = [len(one.choices or classes.names) for one in labeled]
            chance = 1 / offered[0] if len(set(offered)) == 1 else float(np.mean([1 / count for count in offered]))
        grouped = [one for one in labeled if classes.groups.get(one.label)]
        if grouped:
            group_right = proportion(sum(one.group_right for one in grouped), len(grouped), confidence)
            sizes = Counter(classes.groups.values())
            if classes.listed:
                of_each = [sizes[classes.groups[one.label]] / len(classes.names) for one in grouped]
                group_chance = float(np.mean(of_each))
    outcomes = {name: sum(one.outcome == name for one in rows) for name in (NAMED, UNMATCHED, UNKNOWN, UNANSWERED)}
    pictures = len({one.number for one in rows})
    return MethodScore(method, pictures, len(rows), right, over, group_right, chance, group_chance, shuffled, outcomes)


def _shuffled(rows: Sequence[JudgedAnswer]) -> float:
    """The share that would be right, on average, if each person's answers were given to the pictures in random order."""
    shares = []
    # Answers go to pictures for which the same was offered.
    for _, own in _alike(rows):
        labels = Counter(one.label for one in own)
        hits = sum(labels[name] for one in own for name in set(one.meant))
        shares.append((hits / len(own) ** 2, len(own)))
    return sum(share * count for share, count in shares) / sum(count for _, count in shares)


def _alike(rows: Sequence[JudgedAnswer]) -> list[tuple[tuple[str, frozenset[str]], list[JudgedAnswer]]]:
    """The answers of each person to pictures for which the same was offered."""
    found: dict[tuple[str, frozenset[str]], list[JudgedAnswer]] = {}
    for one in rows:
        found.setdefault((one.person, frozenset(one.choices)), []).append(one)
    return list(found.items())


def _by_class(rows: Sequence[JudgedAnswer]) -> dict[str, list[bool]]:
    """Whether answers are right, by the class of the picture."""
    found: dict[str, list[bool]] = {}
    for one in rows:
        found.setdefault(one.label, []).append(one.right)
    return found


def _category(one: JudgedAnswer) -> str:
    """What an answer says, for the agreement of people: the classes it may stand for, else the text itself."""
    return "; ".join(one.meant) if one.meant else f"{one.outcome}: {normalized(one.text)}"


__all__ = [
    "NAMED",
    "UNANSWERED",
    "UNKNOWN",
    "UNMATCHED",
    "BlindClasses",
    "BlindPicture",
    "BlindScores",
    "JudgedAnswer",
    "MethodScore",
    "judge_answers",
    "score_answers",
]
