"""What people type stands for a class by its spelling alone."""

from __future__ import annotations

import pytest

from captum_proto._utils.spellings import ClassSpellings, normalized

NAMES = ["goldfish, Carassius auratus", "crane (134)", "crane, lifting machine", "jack-o'-lantern", "café", "+", "-"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Goldfish", (0,)),
        ("  carassius   AURATUS ", (0,)),
        ("goldfish, Carassius auratus", (0,)),
        ("goldfish (Carassius auratus)", (0,)),
        ("gold fish", ()),
        ("crane", (1, 2)),
        ("Lifting Machine", (2,)),
        ("crane 134", (1,)),
        ("jack o lantern", (3,)),
        ("cafe\u0301", (4,)),
        ("cafe", ()),
        ("+", (5,)),
        ("-", (6,)),
        ("", ()),
        ("  ", ()),
    ],
)
def test_found_by_spelling(text: str, found: tuple[int, ...]) -> None:
    assert ClassSpellings(NAMES).find(text) == found


def test_nearest_names_are_told_and_not_taken() -> None:
    spellings = ClassSpellings(NAMES)
    assert spellings.nearest("goldfisch") == ["goldfish, Carassius auratus"]
    assert spellings.nearest("crame", 2) == ["crane (134)", "crane, lifting machine"]
    assert spellings.nearest("qqqq") == []


def test_a_spelling_that_is_added_stands_for_all_that_its_name_stands_for() -> None:
    spellings = ClassSpellings(NAMES)
    spellings.add("Goldfisch", "goldfish")
    spellings.add("Kran", "CRANE")
    assert spellings.find("goldfisch") == (0,)
    assert spellings.find("kran") == (1, 2)
    with pytest.raises(KeyError):
        spellings.add("x", "gold fish")


def test_accents_are_one_letter_however_they_are_stored() -> None:
    assert normalized("Cafe\u0301_Noir") == normalized("café noir") == "café noir"
