"""The best formula of at most three concepts, with proof: pairs are counted, and of triples only those that may be better."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from captum_proto import ops
from captum_proto.concept.formula import AND, AND_NOT, OR, Formula
from captum_proto.concept.packed import PackedMasks, ones

#: The longest formula that can be proved to be best.
LONGEST = 3
#: So many triples are looked at together.
_TOGETHER = 512


@dataclass(frozen=True)
class Found:
    """
    The best formula of a unit.

    Attributes:
        formula (Formula): That.
        together (int): At how many pixels the unit fires and it is true.
        area (int): At how many pixels it is true.
        bound (float): No formula of the length has a greater intersection over union; that of the formula, where it is proved to be best.
        visited (int): How many formulas were counted.
    """

    formula: Formula
    together: int
    area: int
    bound: float
    visited: int


@dataclass(frozen=True)
class _Pairs:
    """
    Counts of pairs of concepts, all pixels or those at which a unit fires.

    Attributes:
        both (ndarray): (K, K), the pixels that two concepts share; on the diagonal those of each.
    """

    both: NDArray[np.int64]

    @property
    def one(self) -> NDArray[np.int64]:
        return self.both.diagonal()

    def joined(self, operator: str) -> NDArray[np.int64]:
        """(K, K): the pixels of each pair, joined."""
        one = self.one
        return {OR: one[:, None] + one[None] - self.both, AND: self.both, AND_NOT: one[:, None] - self.both}[operator]

    def triples(self, first: int, operator: str, second: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        r"""
        Between which numbers the pixels are of a concept joined with every other, and that with every third.

        All depends on one number that pairs do not tell, of the pixels that the three share: at most as many as any two, and at least as
        many as two pairs must have in common within the concept of both.

        Args:
            first (int): The place of the first concept.
            operator, second (str): How the second and the third are joined.

        Returns:
            tuple[ndarray, ndarray]: (K, K) each, the least and the most.
        """
        one, ab, al, bl = self.one, self.both[first][:, None], self.both[first][None, :], self.both
        b, third = one[:, None], one[None, :]
        most = np.minimum(np.minimum(ab, al), bl)
        least = np.maximum(np.maximum(0, ab + al - one[first]), np.maximum(ab + bl - b, al + bl - third))
        pair = {OR: one[first] + b - ab, AND: ab, AND_NOT: one[first] - ab}[operator]
        # Of the pixels that the pair and the third share, how they are made of the pairs', and the sign of the number of the three.
        shared, sign = {OR: (al + bl, -1), AND: (np.zeros_like(bl), 1), AND_NOT: (al + np.zeros_like(bl), -1)}[operator]
        base, of_shared = {
            OR: (pair + third, -1),
            AND: (np.zeros_like(bl), 1),
            AND_NOT: (pair + np.zeros_like(bl), -1),
        }[second]
        ends = [base + of_shared * (shared + sign * number) for number in (least, most)]
        return np.minimum(*ends), np.maximum(*ends)


def exact_search(
    masks: PackedMasks,
    units: PackedMasks,
    chosen: Sequence[int],
    start: Sequence[Formula],
    length: int,
    operators: Sequence[str],
    budget: int,
) -> Iterator[Found]:
    """
    The best formulas of some units.

    Args:
        masks (PackedMasks): Of concepts.
        units (PackedMasks): Of units.
        chosen (sequence of int): Which.
        start (sequence of Formula): A good formula of each.
        length (int): Of the longest formula, at most three.
        operators (sequence of str): Of "or", "and" and "and_not".
        budget (int): So many triples are counted for a unit at most.

    Yields:
        Found: For each unit in turn.
    """
    areas, fired = _pairs(masks), np.zeros(len(units.concepts), dtype=np.int64)
    within = {unit: np.zeros_like(areas.both) for unit in chosen}
    for index in range(masks.images):
        labels, words = masks.of_image(index)
        numbers, of_units = units.of_image(index)
        fired[numbers.astype(np.int64) - 1] += ones(np.asarray(of_units))
        if not len(labels):
            continue
        places, bits = labels.astype(np.int64) - 1, torch.from_numpy(np.array(words).view(np.int64))
        for number, mask in zip(numbers.tolist(), np.array(of_units).view(np.int64), strict=True):
            if number - 1 in within:
                within[number - 1][np.ix_(places, places)] += ops.packed_counts(
                    bits & torch.from_numpy(mask), bits
                ).numpy()
    for unit, formula in zip(chosen, start, strict=True):
        yield _UnitSearch(masks, units, unit, int(fired[unit]), areas, _Pairs(within[unit]), operators).run(
            formula, length, budget
        )


def _pairs(masks: PackedMasks) -> _Pairs:
    """Of all pixels of all images."""
    found = np.zeros((len(masks.concepts), len(masks.concepts)), dtype=np.int64)
    for index in range(masks.images):
        labels, words = masks.of_image(index)
        if len(labels):
            places, bits = labels.astype(np.int64) - 1, torch.from_numpy(np.array(words).view(np.int64))
            found[np.ix_(places, places)] += ops.packed_counts(bits, bits).numpy()
    return _Pairs(found)


class _UnitSearch:
    """The search for one unit."""

    def __init__(
        self,
        masks: PackedMasks,
        units: PackedMasks,
        unit: int,
        fired: int,
        areas: _Pairs,
        within: _Pairs,
        operators: Sequence[str],
    ) -> None:
        self.masks, self.units, self.unit, self.fired = masks, units, unit, fired
        self.areas, self.within, self.operators = areas, within, list(operators)

    def run(self, start: Formula, length: int, budget: int) -> Found:
        ((together, area),) = self._counted([start])
        self.formula, self.together, self.area, self.iou = start, together, area, self._iou(together, area)
        one_together, one_area = self.within.one, self.areas.one
        self._take(one_together, one_area, lambda place: Formula(place + 1))
        visited = len(one_area)
        if length > 1:
            for operator in self.operators:
                self._take(self.within.joined(operator), self.areas.joined(operator), partial(self._pair, operator))
                visited += one_area.size**2
        if length < LONGEST:
            return Found(self.formula, self.together, self.area, self.iou, visited)
        candidates = self._candidates()
        counted, bound = 0, self.iou
        order = np.argsort(-candidates[1], kind="stable")
        for begin in range(0, len(order), _TOGETHER):
            part = order[begin : begin + _TOGETHER]
            part = part[candidates[1][part] > self.iou]
            if not len(part):
                break
            if counted >= budget:
                bound = float(candidates[1][part[0]])
                break
            formulas = [self._triple(candidates[0][place]) for place in part]
            counted += len(formulas)
            for formula, (together, area) in zip(formulas, self._counted(formulas), strict=True):
                if self._iou(together, area) > self.iou:
                    self.formula, self.together, self.area = formula, together, area
                    self.iou = self._iou(together, area)
        return Found(self.formula, self.together, self.area, max(bound, self.iou), visited + counted)

    def _iou(self, together: int, area: int) -> float:
        union = self.fired + area - together
        return together / union if union else 0.0

    def _ratios(self, together: NDArray[np.int64], area: NDArray[np.int64]) -> NDArray[np.float64]:
        union = self.fired + area - together
        found: NDArray[np.float64] = np.where(union > 0, together / np.maximum(union, 1), 0.0)
        return found

    def _take(self, together: NDArray[np.int64], area: NDArray[np.int64], formula: Callable[..., Formula]) -> None:
        """The best of some formulas, if it is better than what there is."""
        ratios = self._ratios(together, area)
        place = np.unravel_index(int(ratios.argmax()), ratios.shape)
        if ratios[place] > self.iou:
            self.iou, self.together, self.area = float(ratios[place]), int(together[place]), int(area[place])
            self.formula = formula(*map(int, place))

    @staticmethod
    def _pair(operator: str, first: int, second: int) -> Formula:
        return Formula(operator=operator, left=Formula(first + 1), right=Formula(second + 1))

    def _triple(self, row: NDArray[np.int64]) -> Formula:
        first, operator, second, joined, third = (int(value) for value in row)
        pair = self._pair(self.operators[operator], first, second)
        return Formula(operator=self.operators[joined], left=pair, right=Formula(third + 1))

    def _candidates(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The triples that may be better than the best so far, (n, 5), and how good they can be at most."""
        rows, bounds = [np.empty((0, 5), dtype=np.int64)], [np.empty(0)]
        for first in range(len(self.areas.one)):
            for (one, operator), (two, joined) in product(enumerate(self.operators), enumerate(self.operators)):
                together = self.within.triples(first, operator, joined)[1]
                area = np.maximum(self.areas.triples(first, operator, joined)[0], together)
                ratios = self._ratios(together, area)
                if operator != AND_NOT:
                    ratios[:first] = 0.0  # of two that may change places, the one is enough
                second, third = np.nonzero(ratios > self.iou)
                if len(second):
                    fixed = np.full((len(second), 1), 1, dtype=np.int64)
                    rows.append(np.hstack([first * fixed, one * fixed, second[:, None], two * fixed, third[:, None]]))
                    bounds.append(ratios[second, third])
        return np.concatenate(rows), np.concatenate(bounds)

    def _counted(self, formulas: Sequence[Formula]) -> list[tuple[int, int]]:
        """At how many pixels each is true and the unit fires, and at how many it is true."""
        found = np.zeros((len(formulas), 2), dtype=np.int64)
        for index in range(self.masks.images):
            labels, words = self.masks.of_image(index)
            numbers, of_units = self.units.of_image(index)
            there = dict(zip(labels.tolist(), np.asarray(words), strict=True))
            nothing = np.zeros(self.masks.words, dtype=np.uint64)
            needed = [place for place, each in enumerate(formulas) if any(label in there for label in each.labels())]
            if not needed:
                continue
            masks = np.stack([formulas[place].evaluate(lambda label: there.get(label, nothing)) for place in needed])  # noqa: B023
            found[needed, 1] += ones(masks)
            own = np.flatnonzero(numbers == self.unit + 1)
            if len(own):
                found[needed, 0] += ones(masks & np.asarray(of_units)[own[0]])
        return [(int(together), int(area)) for together, area in found]


__all__ = ["LONGEST", "Found", "exact_search"]
