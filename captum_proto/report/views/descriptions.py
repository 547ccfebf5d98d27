"""What units are for, in words: their exemplars beside their descriptions, all units in a table, and whether it is more than chance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from captum_proto._utils.tables import number, p_text, percent, typographic
from captum_proto.report.blocks import Files, Paragraphs, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.runs.folder import SETTINGS

#: From such a share of the other units on, with lower scores of the same description, it is specific to a unit.
SPECIFIC = 0.9
#: At most this is a p-value of a description that random exemplars do not reach.
LEVEL = 0.05
#: So many units are seen at once, and so many texts that came after the best.
_LEADING, _RUNNERS_UP = 4, 3
#: So many failures of units are read one by one.
_FAILURES = 10


@dataclass(frozen=True)
class DescribedUnit:
    """
    A unit and its description.

    Attributes:
        unit (int): Its channel.
        text (str): The best description. Empty: there is none.
        score (float): Of it.
        given (float, optional): log p(d | E). None: by a score of words.
        prior (float, optional): log p(d).
        others (list[tuple[str, float]]): All that were weighed with their scores, the best first.
        failure (str): Why there is no description, in a sentence.
    """

    unit: int
    text: str = ""
    score: float = 0.0
    given: float | None = None
    prior: float | None = None
    others: list[tuple[str, float]] = field(default_factory=list)
    failure: str = ""


@dataclass(frozen=True)
class DescribedLayer:
    """
    The units of a layer that were described, and the control.

    Attributes:
        layer (str): Its name.
        units (list[DescribedUnit]): In the order of their channels.
        control (list[float]): The scores of the best descriptions of random exemplars, the lowest first. Empty: there is no control.
    """

    layer: str
    units: list[DescribedUnit]
    control: list[float]

    @property
    def described(self) -> list[DescribedUnit]:
        """Those that have a description."""
        return [unit for unit in self.units if not unit.failure]

    def specificity(self, unit: DescribedUnit) -> float | None:
        """
        Of the layer's other units that have another description, at which share the description of this one scores lower than here.

        A text that was not among those weighed for a unit scores lower. None: all units have the same description.
        """
        others = [other for other in self.described if other.text != unit.text]
        if not others:
            return None
        lower = sum(dict(other.others).get(unit.text, -float("inf")) < unit.score for other in others)
        return lower / len(others)

    def p_value(self, unit: DescribedUnit) -> float | None:
        """How often random exemplars have a description of at least such a score. None: there is no control."""
        if not self.control:
            return None
        return (1 + sum(score >= unit.score for score in self.control)) / (1 + len(self.control))

    def trusted(self, unit: DescribedUnit) -> bool:
        """Whether a description is specific to a unit, and better than those of random exemplars."""
        specific, p = self.specificity(unit), self.p_value(unit)
        return specific is not None and specific >= SPECIFIC and p is not None and p <= LEVEL


def unit_of(layer: DescribedLayer, unit: DescribedUnit, strips: Sequence[Strip]) -> Unit:
    """A unit with what is known of it."""
    facts = [f"score {_score(unit.score)}"]
    if unit.given is not None and unit.prior is not None:
        facts[0] += f": log p(d | E) {_score(unit.given)}, log p(d) {_score(unit.prior)}"
    others = [f"{text} {_score(score)}" for text, score in unit.others[1 : 1 + _RUNNERS_UP]]
    if others:
        facts.append("then " + ", ".join(others))
    specific, p = layer.specificity(unit), layer.p_value(unit)
    if specific is not None:
        facts.append(f"the same description scores lower on {percent(specific)} of the units with another one")
    if p is not None:
        facts.append(f"p {p_text(p)} against random exemplars")
    return Unit(f"{layer.layer}, unit {unit.unit}: {unit.text}", facts, list(strips))


def units_table(layer: DescribedLayer) -> Table:
    """All units of a layer."""
    milan = any(unit.given is not None for unit in layer.units)
    header = ["unit", "description", "score", *(["log p(d | E)", "log p(d)"] if milan else []), "specific", "p", "then"]
    rows = []
    for unit in layer.units:
        if unit.failure:
            rows.append([str(unit.unit), "–"])
            continue
        specific, p = layer.specificity(unit), layer.p_value(unit)
        second = unit.others[1] if len(unit.others) > 1 else None
        rows.append(
            [
                str(unit.unit),
                unit.text,
                _score(unit.score),
                *([_score(unit.given or 0.0), _score(unit.prior or 0.0)] if milan else []),
                "–" if specific is None else percent(specific),
                "–" if p is None else p_text(p),
                "–" if second is None else f"{second[0]} ({_score(second[1])})",
            ]
        )
    caption = (
        "specific: the share of the layer's units with another description on whose exemplars this description scores lower; p: how often "
        "random exemplars have a description of at least such a score, not corrected for how many units there are."
    )
    return Table(header, rows, caption, sortable=True)


def described_page(
    layers: Mapping[str, DescribedLayer],
    pictures: Mapping[str, Mapping[int, tuple[str, list[str]]]],
    settings: dict[str, Any],
    images: int,
    warned: Sequence[str] = (),
) -> Page:
    """
    What the page says.

    Args:
        layers (mapping[str, DescribedLayer]): What was found.
        pictures (mapping[str, mapping[int, tuple[str, list[str]]]]): By layer and unit, the strip of its exemplars, relative to the folder
            of the run, and the words beneath them.
        settings (dict): What is recorded of the run.
        images (int): How many there were.
        warned (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    model, by = (settings.get("model") or {}).get("name", "a model"), settings.get("by", "milan")
    failed = [unit.failure for layer in layers.values() for unit in layer.units if unit.failure]
    page = Page(f"What units of {model} are for, in words", settings=settings, failures=[*warned, *failed[:_FAILURES]])
    if len(failed) > _FAILURES:
        page.failures.append(f"{len(failed) - _FAILURES} more units have no description; units.csv says why.")
    rows = {name: _rows(layer, pictures.get(name, {})) for name, layer in layers.items()}
    in_turn = [unit for units in zip_longest(*rows.values()) for unit in units if unit is not None]
    page.lead = [UnitRows(in_turn[:_LEADING])]
    total = sum(len(layer.units) for layer in layers.values())
    described = sum(len(layer.described) for layer in layers.values())
    where = "1 layer" if len(layers) == 1 else f"{len(layers)} layers"
    page.summary = [
        f"Units of the network, those of {images} images to which each responds most, faded where it does not fire, and what it is for in "
        f"words. {described} of {total} units in {where} have a description.",
        *(_found(layer) for layer in layers.values()),
    ]
    page.legend = [
        "Beneath each picture is the unit's highest activation on it. " + _score_words(by, settings.get("weight", 0.0))
    ]
    page.trust = _trust(layers, by)
    for name, layer in layers.items():
        page.sections.append(Section(name, [UnitRows(rows[name]), units_table(layer)], shown=1))
    page.sections.append(Section("The control", [Paragraphs([_control_words(by, layers)])]))
    page.sections.append(Section("Files", [Files(["units.csv", "descriptions.json", SETTINGS])]))
    return page


def _rows(layer: DescribedLayer, pictures: Mapping[int, tuple[str, list[str]]]) -> list[Unit]:
    """The units that have pictures, the highest scores first."""
    chosen = sorted((unit for unit in layer.described if unit.unit in pictures), key=lambda unit: -unit.score)
    return [
        unit_of(layer, unit, [Strip(pictures[unit.unit][0], "Exemplars", pictures[unit.unit][1])]) for unit in chosen
    ]


def _found(layer: DescribedLayer) -> str:
    texts = [unit.text for unit in layer.described]
    if not texts:
        return f"{layer.layer}: no unit has a description."
    frequent = max(texts, key=texts.count)
    trusted = sum(layer.trusted(unit) for unit in layer.described)
    most = f'; "{frequent}" is that of {texts.count(frequent)}' if texts.count(frequent) > 1 else ""
    return (
        f"{layer.layer}: {len(set(texts))} different descriptions of {len(texts)} units{most}; {trusted} are specific to their unit and "
        "better than those of random exemplars."
    )


def _trust(layers: Mapping[str, DescribedLayer], by: str) -> str:
    described = [(layer, unit) for layer in layers.values() for unit in layer.described]
    if not described:
        return "There is nothing to trust: no unit has a description."
    if not any(layer.control for layer in layers.values()):
        return "Not known: there is no control, since a layer of one unit that fires has no others to mix exemplars of."
    trusted = sum(layer.trusted(unit) for layer, unit in described)
    share = f"{trusted} of {len(described)} units ({percent(trusted / len(described))})"
    whose = "the captioner's" if by == "milan" else "the given words, as the two-tower model sees images"
    limit = (
        f"The words are {whose}: what it has no words for is described by others. That a description fits what excites a unit most does "
        "not say that the network uses it so, nor what the unit does on other images."
    )
    if not trusted:
        return (
            "No: no description both scores higher than those of random exemplars and is specific to its unit. " + limit
        )
    return (
        f"Of {share}, in part: their descriptions score higher than those of random exemplars (p at most {LEVEL:g}, which one unit in "
        f"twenty reaches by chance), and lower on at least {percent(SPECIFIC)} of the units that have another one. {limit}"
    )


def _control_words(by: str, layers: Mapping[str, DescribedLayer]) -> str:
    if by == "milan":
        what = (
            "Exemplars of random units of the layer, with their masks, are mixed, and described like those of a unit."
        )
    else:
        what = "Each unit gets its activations on other images, in random order, and the words are scored anew."
    ranges = [
        f"{name}: the best descriptions then score {_score(layer.control[0])} to {_score(layer.control[-1])}, over "
        f"{len(layer.control)} draws"
        for name, layer in layers.items()
        if layer.control
    ]
    return " ".join([what, *(f"{each}." for each in ranges)])


def _score_words(by: str, weight: float) -> str:
    if by == "milan":
        what = f"log p(d | E) − {weight:g} · log p(d)"
        return f"The score of a description d of exemplars E is {what}: how well it fits, less how common it is."
    return f"The score is {by}, of the similarity of images and words and the unit's mean activations."


def _score(value: float) -> str:
    return typographic(number(round(value, 2) + 0.0, 2))  # no minus before zero


__all__ = [
    "LEVEL",
    "SPECIFIC",
    "DescribedLayer",
    "DescribedUnit",
    "described_page",
    "unit_of",
    "units_table",
]
