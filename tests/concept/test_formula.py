"""Formulas of concepts: what is printed is parsed, what is evaluated is what Python says, and what is no formula is told where."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from captum_proto._utils.errors import InputError
from captum_proto.concept import Concept, Formula, parse_formula
from captum_proto.concept.packed import packed, unpacked

CONCEPTS = [
    Concept("water", "object"),
    Concept("river", "object"),
    Concept("blue", "color"),
    Concept("rising stripes", "texture"),
    Concept("orange", "color"),
    Concept("orange", "object"),
    Concept("AND", "object"),
    Concept("street-s", "scene"),
    Concept("a (b)", "part"),
]
FORMULAS = st.recursive(
    st.integers(1, len(CONCEPTS)).map(Formula),
    lambda inner: st.builds(
        lambda a, b, operator: Formula(operator=operator, left=a, right=b),
        inner,
        inner,
        st.sampled_from(["or", "and", "and_not"]),
    ),
    max_leaves=6,
)


@settings(max_examples=100, deadline=None)
@given(FORMULAS)
def test_what_is_printed_is_parsed(formula: Formula) -> None:
    assert parse_formula(formula.text(CONCEPTS), CONCEPTS) == formula
    assert len(list(formula.labels())) == len(formula)


@settings(max_examples=60, deadline=None)
@given(FORMULAS, st.integers(0, 2**31 - 1))
def test_bits_and_bools_agree(formula: Formula, seed: int) -> None:
    masks = np.random.default_rng(seed).random((len(CONCEPTS), 5, 15)) < 0.5
    by_bools = formula.evaluate(lambda label: masks[label - 1])
    words = packed(masks)
    by_bits = unpacked(formula.evaluate(lambda label: words[label - 1])[None], (5, 15))[0]
    assert np.array_equal(by_bools, by_bits)
    for row, column in ((0, 0), (4, 14)):
        one = formula.evaluate(lambda label: bool(masks[label - 1, row, column]))  # noqa: B023
        assert one is bool(by_bools[row, column])


def test_and_binds_before_or() -> None:
    water, river, blue = Formula(1), Formula(2), Formula(3)
    for text, expected in (
        ("water", water),
        ("water OR river AND blue", water | (river & blue)),
        ("water AND river OR blue", (water & river) | blue),
        ("water AND NOT river AND blue", (water - river) & blue),
        ("water OR river OR blue", (water | river) | blue),
        ("water AND NOT (river OR blue)", water - (river | blue)),
        ('  ( ( "water" ) )  ', water),
        ('"rising stripes" OR orange@object', Formula(4) | Formula(6)),
        ('"orange"@color', Formula(5)),
        ('"AND" AND street-s', Formula(7) & Formula(8)),
        ('"a (b)"', Formula(9)),
    ):
        assert parse_formula(text, CONCEPTS) == expected, text


@pytest.mark.parametrize(
    ("text", "place", "expected"),
    [
        ("", 1, "the name of a concept or an opening parenthesis"),
        ("water river", 7, "OR, AND or AND NOT"),
        ("water OR", 9, "the name of a concept or an opening parenthesis"),
        ("water OR AND", 10, "the name of a concept"),
        ("NOT water", 1, "the name of a concept"),
        ("(water OR river", 16, "a closing parenthesis"),
        ("water)", 6, "OR, AND or AND NOT"),
        ("water OR lake", 10, "the name of a concept, in quotes if it has spaces"),
        ("rising stripes", 1, "the name of a concept, in quotes"),
        ("orange", 1, "one of several concepts of this name, orange@color or orange@object"),
        ("orange@part", 1, "the name of a concept"),
        ('water OR "river', 10, "with quotes closed"),
    ],
)
def test_what_is_no_formula_is_told_where(text: str, place: int, expected: str) -> None:
    with pytest.raises(InputError, match=rf"does not parse at character {place}, .*{expected}"):
        parse_formula(text, CONCEPTS)


def test_equivalence_is_of_truth_tables() -> None:
    a, b, c = Formula(1), Formula(2), Formula(3)
    assert ((a | b) - c).equivalent((b - c) | (a - c))
    assert not ((a | b) - c).equivalent(a | (b - c))
    assert (a & (a | b)).equivalent(a)
    many = Formula(1)
    for label in range(2, 23):
        many = many | Formula(label)
    with pytest.raises(InputError, match="have 22 concepts; at most 20"):
        many.equivalent(a)


def test_formulas_that_cannot_be() -> None:
    for arguments in ({"label": 0}, {"label": -1}, {"operator": "xor", "left": Formula(1), "right": Formula(2)}):
        with pytest.raises(InputError, match="a formula is a concept, with a label from 1 on"):
            Formula(**arguments)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="has the label 10; there are 9 concepts"):
        Formula(10).text(CONCEPTS)
    assert (Formula(10) | Formula(2)).text() == "10 OR 2"
