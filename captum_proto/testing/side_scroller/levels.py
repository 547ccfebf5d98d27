"""Levels of the side-scroller, each made from its number alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

#: What stands in the way, by its number in a level; 0 is nothing.
SAW, ENEMY_LEFT, ENEMY_RIGHT, CRATE = 1, 2, 3, 4
OBSTACLES = {SAW: "saw", ENEMY_LEFT: "enemy_left", ENEMY_RIGHT: "enemy_right", CRATE: "crate"}
#: Places for obstacles in each level, in units of length (8 pixels): the first, from one to the next, and how far each is moved at most.
PLACES, FIRST, SPACING, MOVED = 4, 6.0, 4.5, 0.5
#: How likely nothing, a saw, either enemy and a crate are at each place.
RATES = (0.16, 0.24, 0.22, 0.22, 0.16)
START, COIN, LENGTH = 2.0, 24.0, 26
#: How many looks of sky and of ground there are.
SKIES, GROUNDS = 24, 12
_Own = TypeVar("_Own", bound="Levels")


@dataclass
class Levels:
    """
    Some levels, a row each.

    Attributes:
        numbers (NDArray): (N,), from which all else follows.
        kinds (NDArray): (N, 4), what stands at each place: 0 for nothing, else of :data:`OBSTACLES`.
        positions (NDArray): (N, 4), where, in units of length from the left end.
        sky (NDArray): (N,), which of the skies.
        ground (NDArray): (N,), which of the grounds.
        offset (NDArray): (N,), where in them the level begins, in pixels.
    """

    numbers: NDArray[np.int64]
    kinds: NDArray[np.int64]
    positions: NDArray[np.float64]
    sky: NDArray[np.int64]
    ground: NDArray[np.int64]
    offset: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.numbers)

    def rows(self: _Own, which: Any) -> _Own:
        """Some of them, in a given order."""
        return type(self)(**{field.name: getattr(self, field.name)[which] for field in fields(self)})


def make_levels(numbers: Sequence[int] | NDArray[np.int64]) -> Levels:
    """
    Levels by their numbers: the same number is the same level, alone or among others.

    Args:
        numbers (sequence of int): At least 0.

    Returns:
        Levels: In this order.

    Examples::

        >>> levels = make_levels([7, 8])
        >>> levels.positions.shape, bool((make_levels([8]).kinds == levels.kinds[1]).all())
        ((2, 4), True)
    """
    asked = np.asarray(numbers, dtype=np.int64)
    rows = [_level(int(number)) for number in asked]
    kinds, positions, sky, ground, offset = (np.array(column) for column in zip(*rows, strict=True))
    return Levels(asked, kinds, positions, sky, ground, offset)


def _level(number: int) -> tuple[Any, ...]:
    random = np.random.default_rng((number, 17))
    kinds = random.choice(len(RATES), size=PLACES, p=RATES)
    moved = random.uniform(-MOVED, MOVED, PLACES)
    positions = FIRST + SPACING * np.arange(PLACES) + moved
    solid = kinds == CRATE  # which fills a whole unit
    positions[solid] = np.floor(positions[solid]) + 0.5
    return kinds, positions, random.integers(SKIES), random.integers(GROUNDS), random.integers(256)


__all__ = [
    "COIN",
    "CRATE",
    "ENEMY_LEFT",
    "ENEMY_RIGHT",
    "GROUNDS",
    "LENGTH",
    "OBSTACLES",
    "PLACES",
    "SAW",
    "SKIES",
    "START",
    "Levels",
    "make_levels",
]
