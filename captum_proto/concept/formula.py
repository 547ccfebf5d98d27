"""Formulas of concepts, such as "(water OR river) AND NOT blue": parsed, printed and evaluated on masks."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np

from captum_proto._utils.errors import InputError
from captum_proto.concept.dataset import Concept

OR, AND, AND_NOT = "or", "and", "and_not"
#: The operators, each with the word for it.
OPERATORS = {OR: "OR", AND: "AND", AND_NOT: "AND NOT"}
_WORDS = ("OR", "AND", "NOT")
#: A name that needs no quotes.
_BARE = re.compile(r"[^\s()\"@]+")
_TOKEN = re.compile(r'\s*(?:(?P<sign>[()])|"(?P<quoted>[^"]*)"(?:@(?P<of>[^\s()"@]+))?|(?P<bare>[^\s()"]+))')
#: More concepts than this make a truth table too long.
_MOST_IN_TABLE = 20
Mask = TypeVar("Mask")


@dataclass(frozen=True)
class Formula:
    """
    A concept, or two formulas joined by an operator.

    Formulas join by ``|``, ``&`` and ``-`` (and not).

    Attributes:
        label (int): Of the concept; 0 where two are joined.
        operator (str): "or", "and" or "and_not"; "" for a concept.
        left, right (Formula, optional): What is joined.

    Examples::

        >>> formula = (Formula(1) | Formula(2)) - Formula(3)
        >>> formula.evaluate({1: True, 2: False, 3: False}.__getitem__), len(formula)
        (True, 3)
    """

    label: int = 0
    operator: str = ""
    left: Formula | None = None
    right: Formula | None = None

    def __post_init__(self) -> None:
        joined = self.operator in OPERATORS and self.left is not None and self.right is not None and self.label == 0
        alone = self.operator == "" and self.left is None and self.right is None and self.label > 0
        if not (joined or alone):
            raise InputError(
                f"a formula is a concept, with a label from 1 on, or two formulas joined by one of {', '.join(OPERATORS)}; got label "
                f'{self.label} and operator "{self.operator}".'
            )

    def __or__(self, other: Formula) -> Formula:
        return Formula(operator=OR, left=self, right=other)

    def __and__(self, other: Formula) -> Formula:
        return Formula(operator=AND, left=self, right=other)

    def __sub__(self, other: Formula) -> Formula:
        return Formula(operator=AND_NOT, left=self, right=other)

    def __len__(self) -> int:
        """How many concepts it has, each as often as it occurs."""
        if self.left is None or self.right is None:
            return 1
        return len(self.left) + len(self.right)

    def labels(self) -> Iterator[int]:
        """The labels of its concepts, from left to right."""
        if self.left is None or self.right is None:
            yield self.label
        else:
            yield from self.left.labels()
            yield from self.right.labels()

    def operators(self) -> Iterator[str]:
        """Its operators, from the inside to the outside."""
        if self.left is not None and self.right is not None:
            yield from self.left.operators()
            yield from self.right.operators()
            yield self.operator

    def evaluate(self, mask: Callable[[int], Mask]) -> Mask:
        """
        Where the formula is true.

        Args:
            mask (Callable): From a label to its mask: a bool, an array of bools, or one of bits as in
                :class:`~captum_proto.concept.PackedMasks`; of the same shape for all.

        Returns:
            Of the same kind.
        """
        if self.left is None or self.right is None:
            return mask(self.label)
        a: Any = self.left.evaluate(mask)
        b: Any = self.right.evaluate(mask)
        if self.operator == OR:
            found = a | b
        elif self.operator == AND:
            found = a & b
        else:  # ~ of a bool of Python would be a number
            found = a and not b if isinstance(a, bool) else a & ~b
        result: Mask = found
        return result

    def equivalent(self, other: Formula) -> bool:
        """
        Whether two formulas are true of the same combinations of concepts.

        Raises:
            ValueError: If they have more than twenty different concepts together.
        """
        labels = sorted({*self.labels(), *other.labels()})
        if len(labels) > _MOST_IN_TABLE:
            raise InputError(f"the formulas have {len(labels)} concepts; at most {_MOST_IN_TABLE} can be gone through.")
        table = np.array(list(product([False, True], repeat=len(labels))))
        columns = dict(zip(labels, table.T, strict=True))
        return bool((self.evaluate(columns.__getitem__) == other.evaluate(columns.__getitem__)).all())

    def text(self, concepts: Sequence[Concept] | None = None) -> str:
        """
        The formula in words, which :func:`parse_formula` reads.

        Args:
            concepts (sequence of Concept, optional): Whose names stand for labels. A name that two have is followed by "@" and its
                category, one with spaces is quoted. Default: None, labels as numbers
        """
        if self.left is None or self.right is None:
            return str(self.label) if concepts is None else _named(self.label, concepts)
        parts = [
            part.text(concepts) if part.left is None else f"({part.text(concepts)})" for part in (self.left, self.right)
        ]
        return f"{parts[0]} {OPERATORS[self.operator]} {parts[1]}"


def _named(label: int, concepts: Sequence[Concept]) -> str:
    if label > len(concepts):
        raise InputError(f"the formula has the label {label}; there are {len(concepts)} concepts.")
    concept = concepts[label - 1]
    several = sum(each.name == concept.name for each in concepts) > 1
    plain = _BARE.fullmatch(concept.name) and concept.name not in _WORDS
    name = concept.name if plain else f'"{concept.name}"'
    return f"{name}@{concept.category}" if several else name


def parse_formula(text: str, concepts: Sequence[Concept]) -> Formula:
    """
    Read a formula: names of concepts, ``OR``, ``AND``, ``AND NOT`` and parentheses; without these, AND binds before OR.

    Args:
        text (str): Such as ``(water OR river) AND NOT blue``. A name with spaces is quoted, "@" and a category follow a name that is in
            several: ``"rising stripes" OR orange@color``.
        concepts (sequence of Concept): What names stand for.

    Returns:
        Formula

    Raises:
        ValueError: If the text is no formula; says where, and what was expected.

    Examples::

        >>> concepts = [Concept("water", "object"), Concept("river", "object"), Concept("blue", "color")]
        >>> formula = parse_formula("(water OR river) AND NOT blue", concepts)
        >>> formula == (Formula(1) | Formula(2)) - Formula(3), formula.text(concepts)
        (True, '(water OR river) AND NOT blue')
    """
    return _Parser(text, concepts).formula()


class _Parser:
    """A descent through the text, one method for each level at which operators bind."""

    def __init__(self, text: str, concepts: Sequence[Concept]) -> None:
        self.text, self.concepts = text, concepts
        self.tokens = list(self._tokens())
        self.place = 0

    def _tokens(self) -> Iterator[tuple[str, str, int]]:
        """The kind, the text and the place of each: a sign, a word or a name."""
        place = 0
        while self.text[place:].strip():
            match = _TOKEN.match(self.text, place)
            start = place + len(self.text[place:]) - len(self.text[place:].lstrip())
            if match is None:
                raise self._error(start, "a name, a word or a parenthesis, with quotes closed")
            if match["sign"]:
                yield "sign", match["sign"], start
            elif match["bare"] in _WORDS:
                yield "word", match["bare"], start
            elif match["quoted"] is not None:
                yield "name", match["quoted"] + (f"@{match['of']}" if match["of"] else ""), start
            else:
                yield "name", match["bare"], start
            place = match.end()

    def _error(self, place: int, expected: str) -> InputError:
        found = f'"{self.text[place : place + 20]}"' if place < len(self.text) else "its end"
        return InputError(
            f'the formula "{self.text}" does not parse at character {place + 1}, {found}: expected {expected}.'
        )

    def _next(self, *texts: str) -> bool:
        """Whether the next token is one of some, which then is passed."""
        if self.place < len(self.tokens):
            kind, text, _ = self.tokens[self.place]
            if kind != "name" and text in texts:
                self.place += 1
                return True
        return False

    def _here(self) -> int:
        return self.tokens[self.place][2] if self.place < len(self.tokens) else len(self.text)

    def formula(self) -> Formula:
        found = self._ors()
        if self.place < len(self.tokens):
            raise self._error(self._here(), "OR, AND or AND NOT")
        return found

    def _ors(self) -> Formula:
        found = self._ands()
        while self._next("OR"):
            found = found | self._ands()
        return found

    def _ands(self) -> Formula:
        found = self._one()
        while self._next("AND"):
            found = found - self._one() if self._next("NOT") else found & self._one()
        return found

    def _one(self) -> Formula:
        if self._next("("):
            found = self._ors()
            if not self._next(")"):
                raise self._error(self._here(), "a closing parenthesis")
            return found
        if self.place < len(self.tokens) and self.tokens[self.place][0] == "name":
            _, name, start = self.tokens[self.place]
            self.place += 1
            return Formula(self._label(name, start))
        raise self._error(self._here(), "the name of a concept or an opening parenthesis")

    def _label(self, given: str, start: int) -> int:
        name, at, category = given.rpartition("@")
        for wanted, of in ((given, None), (name, category if at else None)):
            found = [
                place
                for place, concept in enumerate(self.concepts, 1)
                if concept.name == wanted and of in (None, concept.category)
            ]
            if len(found) == 1:
                return found[0]
            if len(found) > 1:
                several = " or ".join(f"{wanted}@{self.concepts[place - 1].category}" for place in found)
                raise self._error(start, f"one of several concepts of this name, {several}")
        raise self._error(start, "the name of a concept, in quotes if it has spaces")


__all__ = ["AND", "AND_NOT", "OPERATORS", "OR", "Formula", "parse_formula"]
