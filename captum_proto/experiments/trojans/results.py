"""What was found of trojans: of which pictures which trigger was chosen, how often it is right, and beside which controls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import bare_percent, between, number, p_equals, p_text, percent, text_table
from captum_proto.metrics.multiple_choice import Answered, ChoiceRate, Question, choice_rate
from captum_proto.runs.files import write_json, write_rows
from captum_proto.stats.blind_comparison import PairedComparison, compare_shares
from captum_proto.stats.intervals import Estimate, holm

RESULTS, _KIND = "results.json", "results of trojans"
#: Conditions beside the methods: pictures from which no ascent was begun, and unseen images with the triggers themselves.
NOISE, TRIGGER_IMAGES = "noise", "images with the trigger"
#: What is behind the name of a method where its pictures are of the network without trojans.
CLEAN = ", clean network"
#: Who chooses.
TWO_TOWER, DRAWING = "two-tower model", "drawing"
#: Intervals and tests.
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Choice:
    """
    What was chosen for the pictures of one trojan.

    Attributes:
        condition (str): Which pictures: the name of a method, the same with ``CLEAN``, ``NOISE`` or ``TRIGGER_IMAGES``.
        chooser (str): "two-tower model", or "drawing": by how much of each trigger's drawing the pictures show.
        answered (Answered): The question, and how each answer scores.
    """

    condition: str
    chooser: str
    answered: Answered


@dataclass(frozen=True)
class Attack:
    """
    What a trigger does to a small network of ours and to its clean twin, on unseen images of other classes.

    Attributes:
        name (str): Of the question.
        success, foil, plain (Estimate): The share that the trojaned network gives the target with the trigger, with another trigger of
            the kind, and without any.
        clean (Estimate): The share that the clean twin gives it with the trigger.
    """

    name: str
    success: Estimate
    foil: Estimate
    plain: Estimate
    clean: Estimate


@dataclass(frozen=True)
class TrojanResult:
    """
    What was found.

    Attributes:
        choices (list[Choice]): Of every condition, chooser and trojan.
        methods (list[str]): The conditions that are pictures of the trojaned network.
        attacks (list[Attack]): Of networks that were trojaned here. Default: none
        accuracies (dict[str, tuple[float, float]]): By network that was trojaned here, its accuracy on unseen images without triggers and
            that of its clean twin. Default: none
    """

    choices: list[Choice]
    methods: list[str]
    attacks: list[Attack] = field(default_factory=list)
    accuracies: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def choosers(self) -> list[str]:
        return list(dict.fromkeys(choice.chooser for choice in self.choices))

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(choice.condition for choice in self.choices))

    @property
    def kinds(self) -> list[str]:
        return list(dict.fromkeys(choice.answered.question.group for choice in self.choices))

    def of(self, condition: str, chooser: str, kind: str | None = None) -> list[Answered]:
        """The answers of one condition and chooser, of all kinds of trojans or of one."""
        return [
            choice.answered
            for choice in self.choices
            if (choice.condition, choice.chooser) == (condition, chooser)
            and (kind is None or choice.answered.question.group == kind)
        ]

    def rates(self, kind: str | None = None) -> dict[tuple[str, str], ChoiceRate]:
        """By chooser and condition, how often the choice is right."""
        return {
            (chooser, condition): choice_rate(answered, CONFIDENCE)
            for chooser, condition in product(self.choosers, self.conditions)
            if (answered := self.of(condition, chooser, kind))
        }

    def comparisons(self) -> list[tuple[str, PairedComparison]]:
        """For each chooser and method, its pictures beside those of the clean network and beside noise, p corrected after Holm."""
        found = []
        for chooser, method in product(self.choosers, self.methods):
            for other in (method + CLEAN, NOISE):
                first, second = self.of(method, chooser), self.of(other, chooser)
                if first and second:
                    shares = [{one.question.name: [one.right] for one in each} for each in (first, second)]
                    found.append((chooser, compare_shares(method, other, shares[0], shares[1], CONFIDENCE)))
        corrected = holm([pair.p_value for _, pair in found])
        return [(chooser, pair.corrected(p)) for (chooser, pair), p in zip(found, corrected, strict=True)]

    def rate_rows(self, bare: bool = False) -> tuple[list[str], list[list[str]]]:
        """A row for each chooser, condition and kind; ``bare`` for numbers, for a CSV file."""
        header = [
            "chosen by",
            "pictures",
            "trojans",
            "right",
            "of",
            "rate",
            "95 %",
            "chance",
            "p",
            "exchanged",
            "p, exchanged",
        ]
        header += ["single pictures", "95 %, single", "mean rank"]
        share, ends = (str, str) if bare else (percent, bare_percent)
        rows = []
        for kind in (None, *self.kinds):
            for (chooser, condition), rate in self.rates(kind).items():
                rows.append(
                    [
                        *(chooser, condition, "all" if kind is None else kind),
                        *(str(round(rate.right.value * rate.questions)), str(rate.questions)),
                        *(share(rate.right.value), between((rate.right.low, rate.right.high), ends)),
                        *(
                            share(rate.chance),
                            p_text(rate.p_value),
                            share(rate.exchanged),
                            p_text(rate.exchanged_p_value),
                        ),
                        *(share(rate.single.value), between((rate.single.low, rate.single.high), ends)),
                        number(rate.rank.value, 2),
                    ]
                )
        return header, rows

    def trojan_rows(self) -> tuple[list[str], list[list[str]]]:
        """A row for each trojan and chooser: what was chosen for the pictures of each condition, and the place of the right answer."""
        questions = {choice.answered.question.name: choice.answered.question for choice in self.choices}
        header = ["trojan", "kind", "right answer", "chosen by", *self.conditions]
        rows = []
        for name, question in questions.items():
            for chooser in self.choosers:
                cells = []
                for condition in self.conditions:
                    one = next((each for each in self.of(condition, chooser) if each.question.name == name), None)
                    cells.append(
                        "–" if one is None else one.chosen if one.right else f"{one.chosen} (right one: {one.rank})"
                    )
                rows.append([name, question.group, question.right, chooser, *cells])
        return header, rows

    def attack_rows(self) -> tuple[list[str], list[list[str]]]:
        """A row for each trojan that was planted here: what its trigger does."""
        header = [
            "trojan",
            "with the trigger",
            "95 %",
            "with another one",
            "without",
            "clean network, with the trigger",
        ]
        rows = [
            [
                *(one.name, percent(one.success.value), between((one.success.low, one.success.high), bare_percent)),
                *(percent(each.value) for each in (one.foil, one.plain, one.clean)),
            ]
            for one in self.attacks
        ]
        return header, rows

    def comparison_rows(self) -> tuple[list[str], list[list[str]]]:
        """A row for each chooser, method and control."""
        header = [
            "chosen by",
            "pictures",
            "control",
            "difference",
            "95 %",
            "only pictures",
            "only control",
            "p, Holm",
            "judgment",
        ]
        rows = [
            [
                *(chooser, pair.first, pair.second, f"{100 * pair.difference.value:.1f} points"),
                between((100 * pair.difference.low, 100 * pair.difference.high), lambda end: number(end, 1)),
                *(str(pair.only_first), str(pair.only_second), p_text(pair.p_corrected)),
                pair.order.told("right more often", "right less often", "as often right"),
            ]
            for chooser, pair in self.comparisons()
        ]
        return header, rows

    def conclusion(self) -> list[str]:
        """Of each chooser and method, whether it tells triggers by more than chance, a sentence each."""
        told = []
        for (chooser, condition), rate in self.rates().items():
            if condition not in self.methods:
                continue
            ends = between((rate.right.low, rate.right.high), bare_percent)
            p = max(rate.p_value, rate.exchanged_p_value)
            beyond = p < 1 - CONFIDENCE
            told.append(
                f"From pictures by “{condition}” the {chooser} names {round(rate.right.value * rate.questions)} of {rate.questions} "
                f"triggers ({percent(rate.right.value)}, interval {ends} %; guessing {percent(rate.chance)}, the same choices exchanged "
                f"{percent(rate.exchanged)}): {'more than' if beyond else 'no more than may be'} chance "
                f"(p {p_equals(p)}, the larger of two)."
            )
        for chooser, pair in self.comparisons():
            if pair.second != NOISE:
                words = pair.order.told("more often", "less often", "as often")
                told.append(
                    f"Beside the network without trojans, “{pair.first}” and the {chooser} are right {words}"
                    f" ({100 * pair.difference.value:+.0f} points, p {p_equals(pair.p_corrected)} corrected)."
                    if pair.order.certain
                    else f"Beside the network without trojans, the difference of “{pair.first}” and the {chooser} is "
                    f"{100 * pair.difference.value:+.0f} points: {pair.order.told('', '', 'none was measured')}."
                )
        return told

    def table(self) -> str:
        """Rates, and the comparison with controls, as text."""
        tables = [text_table(*self.rate_rows())] if self.choices else []
        header, rows = self.comparison_rows()
        tables += [text_table(header, rows)] if rows else []
        tables += [text_table(*self.attack_rows())] if self.attacks else []
        return "\n\n".join(tables)

    def write(self, folder: Path) -> None:
        """``results.json``, ``rates.csv``, ``choices.csv``, and of networks that were trojaned here ``attacks.csv``."""
        write_rows(folder / "rates.csv", *self.rate_rows(bare=True))
        write_rows(folder / "choices.csv", *self.trojan_rows())
        if self.attacks:
            write_rows(folder / "attacks.csv", *self.attack_rows())
        write_json(folder / RESULTS, {"kind": _KIND, **asdict(self)}, overwrite=True, indent=1)

    @classmethod
    def load(cls, folder: Path) -> TrojanResult:
        """What :meth:`write` wrote into ``results.json``."""
        path = folder / RESULTS
        with intact(path, _KIND):
            content: dict[str, Any] = read_json(path)
            return cls(
                [load_choice(choice) for choice in content["choices"]],
                content["methods"],
                [
                    Attack(attack.pop("name"), **{name: Estimate(**value) for name, value in attack.items()})
                    for attack in content["attacks"]
                ],
                {name: (values[0], values[1]) for name, values in content["accuracies"].items()},
            )


def load_choice(content: dict[str, Any]) -> Choice:
    """A choice from JSON."""
    asked = content["answered"]["question"]
    question = Question(asked["name"], tuple(asked["answers"]), asked["right"], asked["group"])
    return Choice(content["condition"], content["chooser"], Answered(question, content["answered"]["scores"]))


def save_choices(choices: Sequence[Choice], path: Path) -> None:
    """Choices as JSON, as a task leaves them."""
    write_json(path, [asdict(choice) for choice in choices], overwrite=True, indent=1)


def load_choices(path: Path) -> list[Choice]:
    """What :func:`save_choices` wrote."""
    with intact(path, "choices"):
        return [load_choice(content) for content in read_json(path)]


__all__ = [
    "CLEAN",
    "DRAWING",
    "NOISE",
    "RESULTS",
    "TRIGGER_IMAGES",
    "TWO_TOWER",
    "Attack",
    "Choice",
    "TrojanResult",
    "load_choices",
    "save_choices",
]
