"""Every measure of prototypes in one table: a row for each method and control, each figure with its interval."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto.metrics.quality_measures import (
    COVERAGES,
    FEATURES,
    MEAN,
    MEASURES,
    MEDIAN,
    PATH,
    PERCENT,
    RECOGNITION,
    SHARE,
    SHARES,
    WHOLE,
    Measure,
    column_label,
)
from captum_proto.stats.intervals import Estimate, mean_estimate
from captum_proto.stats.shares import mean_share

#: The kinds of rows: pictures of a method; of a control that knows no data, and of one that does; photographs.
METHOD, CONTROL, DATA_CONTROL, NATURAL = "method", "control", "control with data", "natural images"


@dataclass(frozen=True)
class Figure:
    """
    One cell of the table.

    Attributes:
        measure (str): Of :data:`~captum_proto.metrics.quality_measures.MEASURES`.
        estimate (Estimate): The figure and its 95 % interval.
        values (dict[str, list[float]]): By class, the value of each picture. Empty for a figure of the whole row.
        verifier (str): The network that it was measured with. Empty: the one that the pictures were made with.
    """

    measure: str
    estimate: Estimate
    values: dict[str, list[float]]
    verifier: str = ""

    @property
    def key(self) -> str:
        """The measure and the verifier, the same for the whole column."""
        return f"{self.measure}@{self.verifier}" if self.verifier else self.measure

    @property
    def pictures(self) -> int:
        """How many pictures it is of."""
        return sum(map(len, self.values.values()))

    def shown(self) -> str:
        """The figure with its interval, as a table has it."""
        kind = MEASURES[self.measure].kind
        share = kind == SHARE or self.measure in PERCENT
        digits = 1 if kind == MEDIAN else 4 if self.measure == "kid" else 2 if self.measure == "relative" else 3
        show = percent if share else lambda value: number(value, digits)
        ends = (self.estimate.low, self.estimate.high)
        bare = (lambda value: number(100 * value, 0)) if share else show
        if any(math.isnan(end) for end in ends):
            return show(self.estimate.value)
        return f"{show(self.estimate.value)} ({between(ends, bare)})"


def figure(measure: str, values: Mapping[str, Sequence[float]], verifier: str = "") -> Figure:
    r"""
    A measure over the pictures of several classes, each class counting the same, with its 95 % interval.

    Pictures of one class made from several seeds are not independent of each other. So where there are several classes, the interval
    counts classes: of a share Wilson's, with as many trials as classes; of a mean BCa's bootstrap over the means of classes; of a median
    the order statistics of the medians of classes (``scipy.stats.quantile_test``). Of a single class it counts pictures. There is none
    for a mean of equal values that may be greater than 1.

    Args:
        measure (str): Of :data:`~captum_proto.metrics.quality_measures.MEASURES`, but none of a whole row.
        values (mapping[str, sequence of float]): By class, the value of each picture; NaN are left out.
        verifier (str, optional): The network that it was measured with. Default: "", the one that the pictures were made with

    Returns:
        Figure: NaN where there is no value.

    Raises:
        ValueError: If there is no such measure, or it is of a whole row.

    Examples::

        >>> shares = figure("own_top1", {"flute": [1.0, 1.0], "fox": [1.0, 0.0]})
        >>> shares.estimate.value, shares.shown()
        (0.75, '75.0 % (20–97)')
        >>> figure("retrieval", {"flute": [1.0], "fox": [3.0], "hen": [2.0]}).estimate.value
        2.0
    """
    known = MEASURES.get(measure)
    if known is None or known.kind == WHOLE:
        single = [name for name, each in MEASURES.items() if each.kind != WHOLE]
        hint = nearest(str(measure), single) or f"; expected one of {', '.join(single)}."
        raise InputError(f'"{measure}" is no measure of single pictures{hint}')
    kept = {name: [float(value) for value in each if not math.isnan(value)] for name, each in values.items()}
    kept = {name: each for name, each in kept.items() if each}
    if not kept:
        return Figure(measure, Estimate(math.nan, math.nan, math.nan), {}, verifier)
    central = np.median if known.kind == MEDIAN else np.mean
    by_class = np.array([float(central(each)) for each in kept.values()])
    independent = by_class if len(kept) > 1 else np.array(next(iter(kept.values())))
    if known.kind == SHARE:
        estimate = _share(float(by_class.mean()), len(independent))
    elif known.kind == MEAN:
        estimate = (mean_share if measure in PERCENT or measure in SHARES else mean_estimate)(independent)
        if estimate.low == estimate.high:  # equal values: a bootstrap of them tells nothing of others
            estimate = Estimate(estimate.value, math.nan, math.nan)
    else:
        ends: Any = stats.quantile_test(independent, q=float(np.median(independent)), p=0.5).confidence_interval(0.95)
        estimate = Estimate(float(np.median(independent)), float(ends.low), float(ends.high))
    return Figure(measure, estimate, kept, verifier)


def whole_figure(measure: str, estimate: Estimate, verifier: str = "") -> Figure:
    """A figure that all pictures of a row have together, such as a ratio."""
    return Figure(measure, estimate, {}, verifier)


def _share(share: float, trials: int) -> Estimate:
    """Wilson's score interval, also of a number of successes that is no whole one: a mean over classes of shares of their pictures."""
    z = float(stats.norm.ppf(0.975))
    middle = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    return Estimate(share, 0.0 if share == 0 else middle - half, 1.0 if share == 1 else middle + half)


@dataclass(frozen=True)
class QualityRow:
    """
    A row of the table.

    Attributes:
        name (str): Of the method or control.
        kind (str): "method", "control", "control with data" or "natural images".
        figures (dict[str, Figure]): By :attr:`Figure.key`; what does not apply is not there.
    """

    name: str
    kind: str
    figures: dict[str, Figure]

    @property
    def label(self) -> str:
        """What tables call it: of a control, its name for people."""
        return self.name.replace("_", " ") if self.kind in (CONTROL, DATA_CONTROL) else self.name

    @classmethod
    def of(cls, name: str, kind: str, figures: Iterable[Figure]) -> QualityRow:
        """A row of some figures; those without a value are left out."""
        return cls(name, kind, {each.key: each for each in figures if not math.isnan(each.estimate.value)})


@dataclass(frozen=True)
class QualityTable:
    """
    Every measure of every method and control for some classes.

    Attributes:
        title (str): Which classes these are, such as "held out".
        classes (list[str]): Their labels.
        rows (list[QualityRow]): Methods first, then controls, then natural images.
        notes (list[str]): What does not apply, and why; what has to be read with the figures.
    """

    title: str
    classes: list[str]
    rows: list[QualityRow]
    notes: list[str]

    def columns(self, family: str | None = None, verifier: str | None = None) -> list[str]:
        """The keys of the columns in which some row has a figure, in their order; of one of the tables, and of one verifier, or of all."""
        found = {key: each for row in self.rows for key, each in row.figures.items()}
        order = list(MEASURES)
        verifiers = list(dict.fromkeys(each.verifier for each in found.values()))
        keys = sorted(found, key=lambda key: (verifiers.index(found[key].verifier), order.index(found[key].measure)))
        return [
            key
            for key in keys
            if family in (None, MEASURES[found[key].measure].family) and verifier in (None, found[key].verifier)
        ]

    def verifiers(self, family: str) -> list[str]:
        """The verifiers of one of the tables, in their order; "" for the network that the pictures were made with."""
        return list(dict.fromkeys(key.partition("@")[2] for key in self.columns(family)))

    def cells(self, family: str, verifier: str | None = None) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of one of the tables: "recognition", "features" or "path"; of one verifier, or of all."""
        keys = self.columns(family, verifier)
        rows = [
            [row.label, *(row.figures[key].shown() if key in row.figures else "–" for key in keys)] for row in self.rows
        ]
        return ["pictures", *map(column_label, keys)], rows

    def table(self) -> str:
        """All figures as text, a table for each family."""
        parts = [f"{self.title}: {len(self.classes)} {'class' if len(self.classes) == 1 else 'classes'}"]
        for family in (RECOGNITION, FEATURES, PATH):
            for verifier in self.verifiers(family) if family == FEATURES else [None]:
                header, rows = self.cells(family, verifier)
                if len(header) > 1:
                    parts.append(text_table(header, rows))
        return "\n\n".join([*parts, "\n".join(self.notes)]).strip()

    def lines(self) -> tuple[list[str], list[list[Any]]]:
        """A line for each figure, for a CSV file."""
        header = [
            "classes",
            "pictures",
            "kind",
            "measure",
            "verifier",
            "value",
            "low",
            "high",
            "of_classes",
            "of_pictures",
        ]
        rows = [
            [
                self.title,
                row.name,
                row.kind,
                each.measure,
                each.verifier,
                *map(repr, asdict(each.estimate).values()),
                len(each.values),
                each.pictures,
            ]
            for row in self.rows
            for each in row.figures.values()
        ]
        return header, rows

    def to_json(self) -> dict[str, Any]:
        """The table as JSON can hold it; a missing end of an interval is null."""
        rows = []
        for row in self.rows:
            figures = [
                {**asdict(each), "estimate": [_or_none(value) for value in asdict(each.estimate).values()]}
                for each in row.figures.values()
            ]
            rows.append({"name": row.name, "kind": row.kind, "figures": figures})
        return {"title": self.title, "classes": self.classes, "rows": rows, "notes": self.notes}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> QualityTable:
        """What :meth:`to_json` gave."""
        rows = []
        for row in content["rows"]:
            figures = [
                Figure(
                    each["measure"],
                    Estimate(*(math.nan if value is None else value for value in each["estimate"])),
                    each["values"],
                    each["verifier"],
                )
                for each in row["figures"]
            ]
            rows.append(QualityRow.of(row["name"], row["kind"], figures))
        return cls(content["title"], list(content["classes"]), rows, list(content["notes"]))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


__all__ = [
    "CONTROL",
    "COVERAGES",
    "DATA_CONTROL",
    "FEATURES",
    "MEASURES",
    "METHOD",
    "NATURAL",
    "PATH",
    "RECOGNITION",
    "Figure",
    "Measure",
    "QualityRow",
    "QualityTable",
    "column_label",
    "figure",
    "whole_figure",
]
