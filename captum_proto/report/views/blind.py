"""A blind test as tables and sentences: how well people named pictures, by method and beside chance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from captum_proto._utils.tables import bare_percent, between, number, p_equals, p_text, percent, text_table
from captum_proto.metrics.blind_test import (
    NAMED,
    UNANSWERED,
    UNKNOWN,
    UNMATCHED,
    BlindScores,
    JudgedAnswer,
    MethodScore,
)
from captum_proto.metrics.controls import DATA_FREE
from captum_proto.report.blocks import Gallery, Picture, Pictures, Shown, Table
from captum_proto.stats.intervals import Estimate


def method_rows(scores: BlindScores, bare: bool = False) -> tuple[list[str], list[list[str]]]:
    """
    A row for each method: the share of answers that are right with its interval, chance beside it, and what the others are.

    Args:
        scores (BlindScores): What was found.
        bare (bool, optional): Whether shares are numbers from 0 to 1 with their ends in columns of their own, for a CSV file, instead of
            what people read. Default: False

    Returns:
        tuple[list[str], list[list[str]]]: The names of the columns, and the rows.
    """
    several = len(scores.people) > 1
    if bare:
        header = ["method", "pictures", "answers", "right", "low", "high", "pictures low", "pictures high"]
        header += ["chance", "shuffled", "group right", "group low", "group high", "group chance"]
        return [*header, NAMED, UNMATCHED, UNKNOWN, UNANSWERED], [_bare(score) for score in scores.methods]
    ends = f"{100 * scores.confidence:g} %"
    header = ["method", "pictures", "answers", "right", ends]
    header += [f"{ends}, pictures"] if several else []
    header += ["chance", "shuffled"]
    header += ["group right", f"{ends}, group", "chance, group"] if scores.has_groups else []
    header += ["don't know", "no class's name", "no answer"]
    rows = []
    for score in scores.methods:
        row = [score.method, str(score.pictures), str(score.answers), *_share(score.right)]
        row += [_ends(score.over_pictures)] if several else []
        row += [percent(score.chance), percent(score.shuffled)]
        row += [*_share(score.group_right), percent(score.group_chance)] if scores.has_groups else []
        rows.append([*row, *(str(score.outcomes[name]) for name in (UNKNOWN, UNMATCHED, UNANSWERED))])
    return header, rows


def pair_rows(scores: BlindScores) -> tuple[list[str], list[list[str]]]:
    """A row for each pair of methods: the difference, its test, and what may be said."""
    header = [
        "methods",
        "difference",
        f"{100 * scores.confidence:g} %",
        "classes",
        "first higher",
        "second higher",
        "test",
        "p",
        "p, Holm",
        "judgment",
    ]
    rows = [
        [
            f"{pair.first} – {pair.second}",
            f"{100 * pair.difference.value:.1f} points",
            between((100 * pair.difference.low, 100 * pair.difference.high), lambda end: number(end, 1)),
            *(str(count) if pair.classes else "–" for count in (pair.classes, pair.only_first, pair.only_second)),
            pair.test,
            p_text(pair.p_value),
            p_text(pair.p_corrected),
            pair.order.told(f"{pair.first} named more often", f"{pair.second} named more often"),
        ]
        for pair in scores.comparisons
    ]
    return header, rows


def summary(scores: BlindScores) -> str:
    """The table of methods and that of their comparisons, as text."""
    tables = [text_table(*method_rows(scores))]
    if scores.comparisons:
        tables.append(text_table(*pair_rows(scores)))
    return "\n\n".join(tables)


def conclusion(scores: BlindScores) -> list[str]:
    """What was found, a sentence each: of every method beside chance, of methods beside each other, and how far people agree."""
    sentences = [_told(score) for score in scores.methods]
    for pair in scores.comparisons:
        if pair.order.certain:
            better, worse = (pair.first, pair.second) if pair.difference.value > 0 else (pair.second, pair.first)
            sentences.append(
                f"Pictures of “{better}” were named more often than those of “{worse}”, by {abs(100 * pair.difference.value):.1f} points "
                f"({pair.test}, p {p_equals(pair.p_corrected)} after Holm's correction)."
            )
    if not math.isnan(scores.agreement.value):
        kind = "Cohen's" if len(scores.people) == 2 else "Fleiss'"
        ends = between((scores.agreement.low, scores.agreement.high), lambda value: number(value, 2))
        sentences.append(
            f"The {len(scores.people)} people agree with {kind} kappa {number(scores.agreement.value, 2)} (interval {ends}): 1 is "
            "always, 0 is as often as chance gives."
        )
    return sentences


def headline(scores: BlindScores) -> str:
    """The share of right answers of each method, in one sentence."""
    labeled = [score for score in scores.methods if score.right is not None]
    shares = ", ".join(f"{percent(score.right.value)} of “{score.method}”" for score in labeled if score.right)
    chance = labeled[0].chance
    return f"Named rightly: {shares}" + ("." if math.isnan(chance) else f"; chance gives {percent(chance)}.")


def trust(scores: BlindScores) -> str:
    """Whether a blind test allows a conclusion, with the most important reason."""
    labeled = [score for score in scores.methods if score.right is not None]
    people = len(scores.people)
    text = [f"{people} {'person' if people == 1 else 'people'} answered"]
    if people < 3:
        text.append(
            "another one may see things differently" if people == 1 else "more would tell how far people differ"
        )
    fewest = min(score.pictures for score in labeled)
    if fewest < 30:
        text.append(f"the fewest pictures of a method are {fewest}, so that the intervals are wide")
    if all(one.label and one.method not in DATA_FREE for one in scores.judged):
        text.append("no pictures such as noise were mixed in, which would tell how often people name what is not there")
    return "; ".join(text) + "."


def methods_table(scores: BlindScores) -> Table:
    """Methods, with the share of answers that are right."""
    header, rows = method_rows(scores)
    caption = (
        "Right: answers that name the class; “I don't know”, a text that is no name of a class, and no answer count as wrong, and are "
        "counted apart too. Intervals are Wilson's"
        + (
            "; those over pictures are by bootstrap, since answers to one picture are not independent"
            if len(scores.people) > 1
            else ""
        )
        + ". Chance: guessing among the names that were offered. Shuffled: the same answers, given to the pictures of the method in random "
        "order."
    )
    brief = [place for place, name in enumerate(header) if name in ("method", "answers", "right", header[4], "chance")]
    return Table(header, rows, caption, brief=brief)


def pairs_table(scores: BlindScores) -> Table:
    """Methods beside each other."""
    caption = (
        "Difference: of the shares of right answers, the mean over classes that both methods have, with its bootstrap interval. "
        "McNemar's exact test compares one answer of each class, the sign-flip test is the same for several; Fisher's compares methods "
        "that share no class."
    )
    return Table(*pair_rows(scores), caption, brief=[0, 1, 2, 8, 9])


def confused_table(scores: BlindScores) -> Table:
    """For each class and method what people said instead, the most frequent first."""
    rows: dict[tuple[str, str], list[JudgedAnswer]] = {}
    for one in scores.judged:
        rows.setdefault((one.label, one.method), []).append(one)
    table = [
        [
            label or "(no class)",
            method,
            f"{sum(one.right for one in answers)} of {len(answers)}" if label else "–",
            _instead(answers) or "–",
        ]
        for (label, method), answers in sorted(rows.items())
    ]
    return Table(["class", "method", "right", "what else was said"], table, sortable=True)


def answered_pictures(scores: BlindScores, paths: Mapping[int, str]) -> tuple[Gallery, Pictures]:
    """
    Pictures with what people said: some of each method for the first screen, and all.

    Args:
        scores (BlindScores): What was found.
        paths (mapping[int, str]): By number, the file of a picture relative to the folder of the page.
    """
    by_method: dict[str, list[Shown]] = {score.method: [] for score in scores.methods}
    every = []
    for picture in dict.fromkeys((one.number, one.label, one.method) for one in scores.judged):
        number_, label, method = picture
        if number_ not in paths:
            continue
        answers = scores.of_picture(number_)
        right = f"{sum(one.right for one in answers)} of {len(answers)} right" if label else "of no class"
        instead = _instead(answers, 3)
        text = f"{number_}: {label or 'no class'}, {method}; {right}" + (f"; {instead}" if instead else "")
        every.append(Picture(paths[number_], text))
        by_method[method].append(Shown(paths[number_], label or method, [method, right], text))
    turns = max(map(len, by_method.values()), default=0)
    leading = [shown[place] for place in range(turns) for shown in by_method.values() if place < len(shown)]
    return Gallery(leading), Pictures(every)


def _told(score: MethodScore) -> str:
    if score.right is None:
        named = score.outcomes[NAMED] + score.outcomes[UNMATCHED]
        return f"In pictures of “{score.method}”, which are of no class, people saw something in {named} of {score.answers} answers."
    text = f"Of {score.answers} answers to “{score.method}”, {percent(score.right.value)} name the class (interval {_ends(score.right)}"
    expected = score.shuffled if math.isnan(score.chance) else max(score.chance, score.shuffled)
    source = "the same answers in random order" if math.isnan(score.chance) else "chance"
    # Of several people's answers to the same pictures the wider of the two intervals decides.
    ends = [score.right.low, score.right.high, score.over_pictures.low, score.over_pictures.high]
    low, high = (pick(end for end in ends if not math.isnan(end)) for pick in (min, max))
    if low > expected:
        judged = f"more than {source} gives, {percent(expected)}"
    elif high < expected:
        judged = f"less than {source} gives, {percent(expected)}"
    else:
        judged = f"no more than {source} may give, {percent(expected)}"
    return f"{text}): {judged}."


def _instead(answers: Sequence[JudgedAnswer], most: int = 5) -> str:
    """What was said that is not right, with how often where that is more than once."""
    said = Counter(_said(one) for one in answers if not one.right and one.outcome != UNANSWERED).most_common()
    shown = [f"{text} ({count})" if count > 1 else text for text, count in said[:most]]
    return ", ".join([*shown, *(["…"] if len(said) > most else [])])


def _said(one: JudgedAnswer) -> str:
    return (
        "don't know"
        if one.outcome == UNKNOWN
        else f"“{one.text}”"
        if one.outcome == UNMATCHED
        else " or ".join(one.meant)
    )


def _share(share: Estimate | None) -> list[str]:
    return ["–", "–"] if share is None else [percent(share.value), _ends(share)]


def _ends(share: Estimate) -> str:
    ends = between((share.low, share.high), bare_percent)
    return ends if ends == "–" else f"{ends} %"


def _bare(score: MethodScore) -> list[str]:
    nothing = Estimate(math.nan, math.nan, math.nan)
    right, group = score.right or nothing, score.group_right or nothing
    figures = [
        *(right.value, right.low, right.high, score.over_pictures.low, score.over_pictures.high),
        *(score.chance, score.shuffled, group.value, group.low, group.high, score.group_chance),
    ]
    shown = ["" if math.isnan(value) else f"{value:.6g}" for value in figures]
    counts = [str(score.outcomes[name]) for name in (NAMED, UNMATCHED, UNKNOWN, UNANSWERED)]
    return [score.method, str(score.pictures), str(score.answers), *shown, *counts]


__all__ = [
    "answered_pictures",
    "conclusion",
    "confused_table",
    "headline",
    "method_rows",
    "methods_table",
    "pair_rows",
    "pairs_table",
    "summary",
    "trust",
]
