"""The quality of prototypes of several models, each shown to the others: all ordered pairs of networks in one table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from captum_proto._utils.errors import InputError
from captum_proto.metrics.quality import Figure, QualityRow, QualityTable, figure, whole_figure
from captum_proto.metrics.quality_measures import MEASURES, WHOLE
from captum_proto.metrics.recognition import ratio_of_shares
from captum_proto.stats.intervals import Estimate

#: What stands in the place of a verifier where a figure is over all pairs, and between the two networks of one pair.
ALL_PAIRS, ARROW = "all pairs", " → "
_TOP1, _RELATIVE = "top1", "relative"


def pairs_table(tables: Mapping[str, QualityTable]) -> QualityTable:
    r"""
    One table from those of several models, whose pictures were shown to each other.

    Of a class, what all pictures by a method are worth is put together: of every model, every seed and every verifier. So each class counts
    the same, and intervals and tests count classes, as in the table of a single model: six pairs of networks are not six times as many
    independent observations, since a class that is hard is hard for all of them. R is the mean over these classes of the pictures' top-1,
    divided by that of the natural images that the same verifiers saw.

    Args:
        tables (mapping[str, QualityTable]): By model, at least two: of the same classes and methods.

    Returns:
        QualityTable: Figures of a pair have "model → verifier" in the verifier's place: top-1 and R. All others are over all pairs, or over
        all models where no verifier is part of them.

    Raises:
        InputError: If there is a single table, or they are of different classes or methods.

    Examples::

        >>> def table(verifier: str, first: float) -> QualityTable:
        ...     rows = [(name, kind, value) for name, kind, value in (("mine", "method", first), ("natural images", "natural images", 1.0))]
        ...     return QualityTable("held out", ["flute", "fox"], [
        ...         QualityRow.of(name, kind, [figure("top1", {"flute": [value], "fox": [1.0]}, verifier)]) for name, kind, value in rows
        ...     ], [])
        >>> pairs = pairs_table({"a": table("b", 0.0), "b": table("a", 1.0)})
        >>> figures = pairs.rows[0].figures
        >>> figures["top1@all pairs"].estimate.value, figures["relative@all pairs"].estimate.value, figures["top1@a → b"].estimate.value
        (0.75, 0.75, 0.5)
    """
    first = _checked(tables)
    rows = []
    for place, row in enumerate(first.rows):
        by_model = {model: table.rows[place] for model, table in tables.items()}
        natural = {model: table.rows[-1] for model, table in tables.items()}
        rows.append(QualityRow.of(row.name, row.kind, [*_pooled(by_model, natural), *_of_pairs(by_model)]))
    notes = dict.fromkeys(
        note if len(tables) == len([t for t in tables.values() if note in t.notes]) else f"{model}: {note}"
        for model, table in tables.items()
        for note in table.notes
    )
    return QualityTable(first.title, first.classes, rows, list(notes))


def _checked(tables: Mapping[str, QualityTable]) -> QualityTable:
    """The first of the tables, all of which are of the same classes and rows."""
    if len(tables) < 2:
        raise InputError(f"there is {len(tables)} table; give those of at least two models.")
    (name, first), *others = tables.items()
    for other, table in others:
        for what, own, theirs in (
            ("classes", first.classes, table.classes),
            ("pictures", [row.name for row in first.rows], [row.name for row in table.rows]),
        ):
            if own != theirs:
                odd = next(iter({*own} ^ {*theirs}), None)
                told = "are in another order" if odd is None else f'differ, such as in "{odd}"'
                raise InputError(
                    f'the {what} of {name} and {other} in "{first.title}" {told}; make both with the same options.'
                )
    return first


def _of_pairs(rows: Mapping[str, QualityRow]) -> list[Figure]:
    """Top-1 and R of each pair of networks."""
    return [
        Figure(each.measure, each.estimate, each.values, f"{model}{ARROW}{each.verifier}")
        for model, row in rows.items()
        for each in row.figures.values()
        if each.measure in (_TOP1, _RELATIVE)
    ]


def _pooled(rows: Mapping[str, QualityRow], natural: Mapping[str, QualityRow]) -> list[Figure]:
    """The figures over all models and verifiers."""
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for row in rows.values():
        for each in row.figures.values():
            if MEASURES[each.measure].kind != WHOLE and each.values:
                pooled = found.setdefault((each.measure, ALL_PAIRS if each.verifier else ""), {})
                for name, values in each.values.items():
                    pooled.setdefault(name, []).extend(values)
    figures = [figure(measure, values, verifier) for (measure, verifier), values in found.items()]
    if pictures := found.get((_TOP1, ALL_PAIRS)):
        figures.append(whole_figure(_RELATIVE, _relative(pictures, rows, natural), ALL_PAIRS))
    return figures


def _relative(
    pictures: Mapping[str, Sequence[float]], rows: Mapping[str, QualityRow], natural: Mapping[str, QualityRow]
) -> Estimate:
    """R over all pairs: of each class the share of pictures that are recognized, and that of natural images."""
    if list(rows.values()) == list(natural.values()):
        return Estimate(1.0, math.nan, math.nan)
    photographs: dict[str, list[float]] = {}
    for row in natural.values():
        for each in row.figures.values():
            if each.measure == _TOP1:
                for name, values in each.values.items():
                    photographs.setdefault(name, []).append(float(np.mean(values)))
    names = [name for name in pictures if name in photographs]
    shares, of_natural = (np.array([np.mean(each[name]) for name in names]) for each in (pictures, photographs))
    return ratio_of_shares(shares, of_natural)


__all__ = ["ALL_PAIRS", "ARROW", "pairs_table"]
