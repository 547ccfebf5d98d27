"""Compositional explanations: which formula of concepts agrees best with where a unit fires (Mu and Andreas, arXiv:2006.14032)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto import ops
from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto.concept.exact import LONGEST, exact_search
from captum_proto.concept.formula import AND, AND_NOT, OPERATORS, OR, Formula
from captum_proto.concept.packed import PackedMasks, ones

_SEARCHES = ("beam", "exact")
#: For so many units pairs of concepts are counted in one pass: each takes eight bytes for every two concepts.
_AT_ONCE = 32
#: After so many images the memory of their masks is given back: files may be larger than memory.
_RELEASED = 512


@dataclass(frozen=True)
class Explanation:
    """
    The formula of a unit.

    Attributes:
        unit (int): Its channel.
        formula (Formula): With the highest intersection over union of those that were looked at.
        iou (float): That.
        together (int): At how many pixels the unit fires and the formula is true.
        fired (int): At how many pixels the unit fires.
        area (int): At how many pixels the formula is true.
        best (list[tuple[Formula, float]]): The best formula of at most 1, 2, ... concepts, and its intersection over union.
        visited (int): How many formulas were looked at.
        bound (float, optional): No formula of the length has a greater intersection over union. None: not known, of a beam search.
    """

    unit: int
    formula: Formula
    iou: float
    together: int
    fired: int
    area: int
    best: list[tuple[Formula, float]]
    visited: int
    bound: float | None = None

    @property
    def proved(self) -> bool:
        """Whether no formula of the length is better."""
        return self.bound is not None and self.bound <= self.iou


class CompositionalExplainer:
    r"""
    Explain units by formulas of concepts, found by beam search, or with proof that none is better.

    A beam search begins with the ``beam`` concepts of the highest intersection over union, joins each formula of the beam with each
    concept by each operator, and keeps the best ``beam`` of these and of the formulas before, ``length`` − 1 times.

    One count serves the three operators. Of a unit N, a formula F and a concept l, the pixels of :math:`F \cap l` and
    :math:`N \cap F \cap l` are counted, on the images that have l, and

    .. math::
        |N \cap (F \cup l)| = |N \cap F| + |N \cap l| - |N \cap F \cap l|, \qquad
        |N \cap (F \setminus l)| = |N \cap F| - |N \cap F \cap l|,

    and so for the areas: no mask of a formula that is tried is ever made. Units share the formulas of their beams, and all units are
    explained in one pass over the images for each length.

    A beam begins with good concepts, and may miss a formula whose parts are bad ones. The exact search counts every pair of concepts,
    for each unit, and of formulas of three those alone that may be better than the best so far: pairs tell between which numbers the
    pixels that three share are. It begins with what the beam found.

    Args:
        masks (PackedMasks): Of concepts.
        length (int, optional): Of the longest formula, in concepts. Default: 3
        beam (int, optional): How many formulas are kept. Default: 5
        operators (sequence of str, optional): Of "or", "and" and "and_not". Default: all three
        search (str, optional): "beam", or "exact" for formulas of at most three concepts. Default: "beam"
        budget (int, optional): How many formulas of three an exact search counts for a unit at most. Where that is not enough,
            ``bound`` of the :class:`Explanation` says how much better a formula may be. Default: 100,000

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> import tempfile
        >>> from captum_proto.testing import ShapeDataset
        >>> dataset = ShapeDataset(40, size=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     masks = PackedMasks.pack(dataset, f"{folder}/concepts", (32, 32))
        ...     units = PackedMasks.pack(dataset, f"{folder}/units", (32, 32))  # a unit for each concept
        ...     found = CompositionalExplainer(masks, length=2).interpret(units)
        >>> found[0].formula.text(dataset.concepts), found[0].iou
        ('disc', 1.0)
    """

    def __init__(
        self,
        masks: PackedMasks,
        length: int = 3,
        beam: int = 5,
        operators: Sequence[str] = (OR, AND, AND_NOT),
        search: str = "beam",
        budget: int = 100_000,
    ) -> None:
        check_search(length, beam, operators, search, budget)
        self.masks, self.length, self.beam = masks, length, beam
        self.operators = list(dict.fromkeys(operators))
        self.search, self.budget = search, budget

    def interpret(self, units: PackedMasks, show_progress: bool = False) -> list[Explanation]:
        """
        Explain all units.

        Args:
            units (PackedMasks): Where units fire, on the same images at the same size: see :func:`~captum_proto.concept.pack_units`.
            show_progress (bool, optional): Whether to show progress bars. Default: False

        Returns:
            list[Explanation]: One for each unit that fires somewhere, in their order.

        Raises:
            ValueError: If the masks are of other images or another size.
        """
        search = self._beams(self.masks, units, show_progress)
        explained = search.explanations()
        return explained if self.search == "beam" else list(self._proved(explained, units, show_progress))

    def chance(
        self, units: PackedMasks, draws: int = 5, seed: int = 0, show_progress: bool = False
    ) -> NDArray[np.float64]:
        """
        How good the formulas are that a beam search finds where images have the labels of others.

        A search over thousands of formulas finds one that agrees a little with anything. So much does it find here where there is nothing
        to be found: areas, positions, and which concepts go together stay as they are.

        Args:
            units (PackedMasks): As in :meth:`interpret`.
            draws (int, optional): How often images get the labels of others; each takes as long as the search itself. Default: 5
            seed (int, optional): Of the draws. Default: 0
            show_progress (bool, optional): Whether to show progress bars. Default: False

        Returns:
            ndarray: (draws, E), the intersection over union of the best formula of each unit that fires somewhere, in their order.

        Raises:
            ValueError: If the masks are of other images or another size.
        """
        found = []
        for draw in range(check_int(draws, "draws", 0)):
            shuffled = self.masks.shuffled(seed + draw)
            found.append([each.iou for each in self._beams(shuffled, units, show_progress).explanations()])
        fire = int((units.areas > 0).sum())
        return np.array(found, dtype=np.float64).reshape(draws, fire)

    def _beams(self, masks: PackedMasks, units: PackedMasks, show_progress: bool) -> _Search:
        if units.images != self.masks.images or units.size != self.masks.size:
            raise InputError(
                f"units are masks of {units.images} images at {units.size[0]} x {units.size[1]}, concepts of {self.masks.images} at "
                f"{self.masks.size[0]} x {self.masks.size[1]}; pack both from the same images at the same size."
            )
        search = _Search(self, masks, units)
        search.begin(show_progress)
        for length in range(2, self.length + 1):
            search.extend(length, show_progress)
        return search

    def _proved(
        self, explained: Sequence[Explanation], units: PackedMasks, show_progress: bool
    ) -> Iterator[Explanation]:
        """What an exact search makes of what a beam found."""
        with tqdm(total=len(explained), desc="exact", unit="unit", disable=not show_progress) as progress:
            for first in range(0, len(explained), _AT_ONCE):
                part = explained[first : first + _AT_ONCE]
                chosen, start = [each.unit for each in part], [each.formula for each in part]
                search = exact_search(self.masks, units, chosen, start, self.length, self.operators, self.budget)
                for each, found in zip(part, search, strict=True):
                    iou = found.together / (each.fired + found.area - found.together)
                    best = [*each.best[:-1], (found.formula, iou)]
                    yield replace(
                        each,
                        formula=found.formula,
                        iou=iou,
                        together=found.together,
                        area=found.area,
                        best=best,
                        visited=each.visited + found.visited,
                        bound=found.bound,
                    )
                    progress.update()


def check_search(length: int, beam: int, operators: Sequence[str], search: str, budget: int) -> None:
    """
    See that a search can be made.

    Raises:
        ValueError: If an argument of :class:`CompositionalExplainer` is out of its range.
    """
    for name, value, least in (("length", length, 1), ("beam", beam, 1), ("budget", budget, 0)):
        check_int(value, name, least)
    for name in operators:
        if name not in OPERATORS:
            hint = nearest(str(name), OPERATORS) or f"; expected some of {', '.join(OPERATORS)}."
            raise InputError(f'there is no operator "{name}"{hint}')
    if not operators and length > 1:
        raise InputError("there is no operator; give at least one, or length=1.")
    if search not in _SEARCHES:
        raise InputError(f'search is "{search}"{nearest(str(search), _SEARCHES) or "; expected beam or exact."}')
    if search == "exact" and length > LONGEST:
        raise InputError(
            f'length is {length}; an exact search goes to {LONGEST} concepts: take search="beam" for longer ones.'
        )


@dataclass(frozen=True)
class _Kept:
    """A formula of a beam, with its counts."""

    formula: Formula
    together: int
    area: int
    iou: float


class _Search:
    """The beams of all units."""

    def __init__(self, explainer: CompositionalExplainer, masks: PackedMasks, units: PackedMasks) -> None:
        self.explainer, self.masks, self.units = explainer, masks, units
        self.concepts, self.count = len(self.masks.concepts), len(units.concepts)
        self.areas = self.masks.areas
        self.fired = np.zeros(self.count, dtype=np.int64)
        self.together = np.zeros((self.count, self.concepts + 1), dtype=np.int64)
        self.beams: list[list[_Kept]] = []
        self.best: list[list[_Kept]] = []
        self.visited = 0

    def _images(self, words: str, show_progress: bool) -> Iterator[tuple[_Image, _Image]]:
        for index in tqdm(range(self.masks.images), desc=words, unit="image", disable=not show_progress):
            if index % _RELEASED == 0:
                self.masks.release()
                self.units.release()
            yield _Image(*self.masks.of_image(index)), _Image(*self.units.of_image(index))

    def begin(self, show_progress: bool) -> None:
        """Every concept by itself."""
        for concepts, units in self._images("concepts", show_progress):
            self.fired[units.labels - 1] += ones(units.words)
            if len(concepts.labels) and len(units.labels):
                counts = ops.packed_counts(units.bits, concepts.bits).numpy()
                self.together[np.ix_(units.labels - 1, concepts.labels)] += counts
        for unit in range(self.count):
            singles = [
                self._kept(unit, Formula(label), int(self.together[unit, label]), int(self.areas[label]))
                for label in range(1, self.concepts + 1)
            ]
            self.beams.append(_best(singles, self.explainer.beam))
            self.best.append(self.beams[-1][:1])
        self.visited = self.concepts

    def _kept(self, unit: int, formula: Formula, together: int, area: int) -> _Kept:
        union = int(self.fired[unit]) + area - together
        return _Kept(formula, together, area, together / union if union else 0.0)

    def extend(self, length: int, show_progress: bool) -> None:
        """One concept more."""
        formulas: dict[Formula, int] = {}
        for beam in self.beams:
            for kept in beam:
                formulas.setdefault(kept.formula, len(formulas))
        chains = _Chains(list(formulas))
        within = np.zeros((len(formulas), self.concepts + 1), dtype=np.int64)
        places = np.array([[formulas[kept.formula] for kept in beam] for beam in self.beams], dtype=np.int64)
        width = places.shape[1] if self.count else 0
        of_units = np.zeros((self.count * width, self.concepts + 1), dtype=np.int64)
        for concepts, units in self._images(f"formulas of {length}", show_progress):
            if not len(concepts.labels):
                continue
            numbers, masks = chains.masks(concepts, self.concepts)
            if not len(numbers):
                continue
            bits = torch.from_numpy(masks.view(np.int64))
            within[np.ix_(numbers, concepts.labels)] += ops.packed_counts(bits, concepts.bits).numpy()
            row_of = np.full(len(formulas), -1, dtype=np.int64)
            row_of[numbers] = np.arange(len(numbers))
            unit, place = (
                np.nonzero(row_of[places[units.labels - 1]] >= 0) if len(units.labels) else (np.empty(0, int),) * 2
            )
            if len(unit):
                number = units.labels[unit] - 1
                both = units.words[unit] & masks[row_of[places[number, place]]]
                there = ones(both) > 0
                if there.any():
                    counts = ops.packed_counts(torch.from_numpy(both[there].view(np.int64)), concepts.bits).numpy()
                    of_units[np.ix_((number * width + place)[there], concepts.labels)] += counts
        for unit_number, beam in enumerate(self.beams):
            found = list(beam)
            for place_number, kept in enumerate(beam):
                found += self._joined(
                    unit_number, kept, within[formulas[kept.formula]], of_units[unit_number * width + place_number]
                )
            self.beams[unit_number] = _best(found, self.explainer.beam)
            self.best[unit_number].append(self.beams[unit_number][0])
        self.visited += width * self.concepts * len(self.explainer.operators)

    def _joined(self, unit: int, kept: _Kept, within: NDArray[np.int64], together: NDArray[np.int64]) -> list[_Kept]:
        """The best of a formula with each concept by each operator: as many as a beam holds."""
        counts = {
            OR: (kept.together + self.together[unit] - together, kept.area + self.areas - within),
            AND: (together, within),
            AND_NOT: (kept.together - together, kept.area - within),
        }
        found = []
        for operator in self.explainer.operators:
            i, a = counts[operator]
            union = self.fired[unit] + a - i
            iou = np.where(union > 0, i / np.maximum(union, 1), 0.0)[1:]
            # A formula that is no better than without the concept is no explanation of it.
            order = np.argsort(-iou, kind="stable")[: self.explainer.beam]
            for label in (order + 1).tolist():
                formula = Formula(operator=operator, left=kept.formula, right=Formula(label))
                found.append(self._kept(unit, formula, int(i[label]), int(a[label])))
        return found

    def explanations(self) -> list[Explanation]:
        found = []
        for unit, beam in enumerate(self.beams):
            if not self.fired[unit]:
                continue
            best = beam[0]
            found.append(
                Explanation(
                    unit,
                    best.formula,
                    best.iou,
                    best.together,
                    int(self.fired[unit]),
                    best.area,
                    [(kept.formula, kept.iou) for kept in self.best[unit]],
                    self.visited,
                )
            )
        return found


def _best(found: Sequence[_Kept], count: int) -> list[_Kept]:
    """The best formulas: of equal ones the shorter, then the one that was found first; each once."""
    chosen: dict[Formula, _Kept] = {}
    for kept in sorted(found, key=lambda kept: (-kept.iou, len(kept.formula))):
        chosen.setdefault(kept.formula, kept)
        if len(chosen) == count:
            break
    return list(chosen.values())


class _Image:
    """The masks of an image, with labels as they index."""

    def __init__(self, labels: NDArray[np.int16], words: NDArray[np.uint64]) -> None:
        self.labels = labels.astype(np.int64)
        self.words = np.asarray(words).astype(np.uint64, copy=False)

    @property
    def bits(self) -> Tensor:
        """(m, words), int64."""
        return torch.from_numpy(np.array(self.words).view(np.int64))


class _Chains:
    """Formulas each of which joins a concept to the one before: evaluated together, a concept at a time."""

    def __init__(self, formulas: Sequence[Formula]) -> None:
        steps = [_steps(formula) for formula in formulas]
        most = max(map(len, steps), default=0)
        self.labels = np.zeros((len(steps), most), dtype=np.int64)
        self.operators = np.zeros((len(steps), most), dtype=np.int64)  # 0: nothing more
        names = list(OPERATORS)
        for row, chain in enumerate(steps):
            for column, (operator, label) in enumerate(chain):
                self.labels[row, column] = label
                self.operators[row, column] = 1 + names.index(operator) if operator else 0

    def masks(self, image: _Image, concepts: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
        """The numbers of the formulas that are true somewhere in an image, and their masks."""
        place = np.full(concepts + 1, len(image.labels), dtype=np.int64)  # of what is not there: a row of zeros
        place[image.labels] = np.arange(len(image.labels))
        words = np.concatenate([image.words, np.zeros((1, image.words.shape[1]), dtype=np.uint64)])
        numbers = np.flatnonzero((place[self.labels] < len(image.labels)).any(1))
        found = words[place[self.labels[numbers, 0]]]
        for column in range(1, self.labels.shape[1]):
            operator = self.operators[numbers, column]
            for code, name in enumerate(OPERATORS, 1):
                rows = np.flatnonzero(operator == code)
                if len(rows):
                    other = words[place[self.labels[numbers[rows], column]]]
                    if name == OR:
                        found[rows] |= other
                    elif name == AND:
                        found[rows] &= other
                    else:
                        found[rows] &= ~other
        there = found.any(1)
        return numbers[there], found[there]


def _steps(formula: Formula) -> list[tuple[str, int]]:
    """The concepts of a chain, each with the operator that joins it."""
    if formula.left is None or formula.right is None:
        return [("", formula.label)]
    return [*_steps(formula.left), (formula.operator, formula.right.label)]


__all__ = ["CompositionalExplainer", "Explanation"]
