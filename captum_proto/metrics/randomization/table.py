"""The sanity checks of several methods and of prototypes side by side, with the controls that every table has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from captum_proto._utils.tables import number, p_text, text_table
from captum_proto.metrics.randomization.controls import LinearControl
from captum_proto.metrics.randomization.prototypes import PrototypeRandomization
from captum_proto.metrics.randomization.result import MARGIN, RandomizationResult
from captum_proto.metrics.randomization.verdict import SanityVerdict, verdict_table, verdicts
from captum_proto.runs.files import write_rows

#: A p-value of the linear model below this says that chance is not what it should be.
_CHANCE = 0.001
#: What the controls are called, and prototypes.
PROTOTYPES = "prototypes"
EDGES, LINEAR, UNCHANGED = "edge detector", "gradient of a linear model", "no layer randomized"


@dataclass
class SanityTable:
    """
    Sanity checks of several methods, of prototypes, and of controls, for the same inputs.

    Attributes:
        results (dict[str, RandomizationResult]): By the label of the method.
        published (dict[str, str]): By label, what the paper says: "passes" or "fails".
        edges (RandomizationResult): Of the edge detector, which must be exactly 1 throughout.
        linear (LinearControl): Of the gradient of a linear model, which must be chance.
        prototypes (PrototypeRandomization, optional): Of prototypes. Default: None
        margin (float): Of the verdicts. Default: 0.3
    """

    results: dict[str, RandomizationResult]
    published: dict[str, str]
    edges: RandomizationResult
    linear: LinearControl
    prototypes: PrototypeRandomization | None = None
    margin: float = MARGIN
    _verdicts: list[SanityVerdict] | None = field(default=None, repr=False)

    @property
    def measures(self) -> list[str]:
        """Of attributions; the first is the one that is looked at first."""
        return self.edges.measures

    @property
    def judged(self) -> bool:
        """Whether there are verdicts: layers that are randomized one by one are never all random."""
        return self.edges.settings.get("order") != "independent"

    def verdicts(self) -> list[SanityVerdict]:
        """Of each method by each measure; of prototypes by what they have to lose. Corrected for all methods of a measure."""
        if self._verdicts is None:
            self._verdicts = []
            if self.judged:
                for measure in self.measures:
                    self._verdicts += verdicts(self.results, measure, margin=self.margin) if self.results else []
                if self.prototypes is not None:
                    of = {PROTOTYPES: self.prototypes.result}
                    for measure in self.prototypes.result.measures:
                        self._verdicts += verdicts(of, measure, margin=self.margin)
        return self._verdicts

    def of_measure(self, measure: str) -> list[SanityVerdict]:
        """The verdicts by one measure."""
        return [verdict for verdict in self.verdicts() if verdict.measure == measure]

    def control_rows(self) -> list[list[str]]:
        """What each control must be, and is."""
        rows = []
        for name, result in {EDGES: self.edges, **self.results}.items():
            for measure in result.measures:
                values = result.similarity[measure]
                shown = values if name == EDGES else values[:, :1]
                there = shown[~shown.isnan()]
                exact = bool((there == 1).all()) if len(there) else False
                span = f"{float(there.min()):.6g} to {float(there.max()):.6g}" if len(there) else "–"
                told = name if name == EDGES else f"{UNCHANGED}: {name}"
                rows.append([told, measure, "exactly 1", span, "yes" if exact else "no"])
        control = self.linear
        mean = control.result.mean("spearman").estimate()
        p = control.p_value
        expected = f"0 ± {control.expected_spread:.2g}"
        rows.append(
            [LINEAR, "spearman", expected, f"{number(mean.value, 4)}, p {p_text(p)}", "yes" if p > _CHANCE else "no"]
        )
        return rows

    def table(self) -> str:
        """The verdicts as text, and beneath them the controls."""
        parts = [verdict_table(self.verdicts())] if self.verdicts() else []
        header = ["control", "measure", "must be", "is", "as it must"]
        return "\n\n".join([*parts, text_table(header, self.control_rows())])

    def write(self, folder: Path) -> None:
        """The verdicts and all mean similarities as CSV."""
        header = [
            *(
                "method",
                "measure",
                "published",
                "similarity",
                "low",
                "high",
                "chance",
                "left_at_the_end",
                "low",
                "high",
            ),
            *("left_on_the_way", "low", "high", "undefined", "p_end", "p_way", "margin", "verdict"),
        ]

        def row(verdict: SanityVerdict) -> list[object]:
            shares = [verdict.similarity, verdict.last.share, verdict.along.share]
            first, last, along = ([repr(e.value), repr(e.low), repr(e.high)] for e in shares)
            left = [repr(verdict.chance.value), *last, *along, repr(verdict.undefined)]
            p = [repr(verdict.p_last), repr(verdict.p_along), repr(verdict.last.margin)]
            return [
                verdict.method,
                verdict.measure,
                self.published.get(verdict.method, ""),
                *first,
                *left,
                *p,
                verdict.word,
            ]

        write_rows(folder / "verdicts.csv", header, map(row, self.verdicts()))
        every: Mapping[str, RandomizationResult] = {EDGES: self.edges, LINEAR: self.linear.result, **self.results}
        if self.prototypes is not None:
            every = {**every, PROTOTYPES: self.prototypes.result}
        rows = []
        for name, result in every.items():
            for measure in result.measures:
                for place, stage in enumerate(result.stages):
                    mean = result.mean(measure, place).estimate()
                    chance = result.chance_mean(measure, place).value
                    figures = (mean.value, mean.low, mean.high, chance, result.undefined(measure, place))
                    rows.append([name, measure, place, stage, *map(repr, figures)])
        header = ["method", "measure", "place", "stage", "similarity", "low", "high", "chance", "undefined"]
        write_rows(folder / "similarities.csv", header, rows)


__all__ = ["EDGES", "LINEAR", "PROTOTYPES", "UNCHANGED", "SanityTable"]
