"""Classes by what people call them: names with synonyms, found whatever their case and punctuation, and never guessed."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Sequence

#: What tells classes of one name apart.
_IN_BRACKETS = re.compile(r"\s*\([^()]*\)$")


def normalized(name: str) -> str:
    """
    A name without regard to case, punctuation, and how its accents are stored.

    Examples::

        >>> normalized("House_Finch"), normalized("  Jack-o'-lantern ")
        ('house finch', 'jack o lantern')
    """
    return re.sub(r"[\W_]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


class ClassSpellings:
    """
    Which classes a text may stand for.

    A name may hold synonyms, with commas between them as ImageNet's have: each of them stands for the class, and so does the whole. What
    stands in brackets at the end, such as the index in "crane (134)", tells classes of one name apart and may be left out.

    Args:
        names (sequence of str): The name of each class.

    Examples::

        >>> spellings = ClassSpellings(["goldfish, Carassius auratus", "crane", "crane, lifting machine"])
        >>> spellings.find("Carassius auratus"), spellings.find("CRANE"), spellings.find("gold fish")
        ((0,), (1, 2), ())
        >>> spellings.nearest("gold fish")
        ['goldfish, Carassius auratus']
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self._classes: dict[str, list[int]] = {}
        for index, name in enumerate(self.names):
            for spelling in (name, *name.split(","), _IN_BRACKETS.sub("", name)):
                self._add(spelling, index)

    def add(self, spelling: str, name: str) -> None:
        """
        Let a further spelling stand for the classes that a name stands for.

        Raises:
            KeyError: If the name stands for none.
        """
        classes = self.find(name)
        if not classes:
            raise KeyError(name)
        for index in classes:
            self._add(spelling, index)

    def find(self, text: str) -> tuple[int, ...]:
        """The classes that a text may stand for, in their order: none, one, or several that share a name."""
        return tuple(self._classes.get(_key(text), ()))

    def nearest(self, text: str, count: int = 3) -> list[str]:
        """The names of the classes whose spellings are nearest to a text, the nearest first; may be none."""
        matches = difflib.get_close_matches(_key(text), self._classes, n=2 * count, cutoff=0.6)
        names = [self.names[index] for spelling in matches for index in self._classes[spelling]]
        return list(dict.fromkeys(names))[:count]

    def _add(self, spelling: str, index: int) -> None:
        if key := _key(spelling):
            classes = self._classes.setdefault(key, [])
            if index not in classes:
                classes.append(index)
                classes.sort()


def _key(text: str) -> str:
    """What a text is looked up by: a name of signs alone, such as "+", has nothing but these."""
    return normalized(text) or text.casefold().strip()


__all__ = ["ClassSpellings", "normalized"]
