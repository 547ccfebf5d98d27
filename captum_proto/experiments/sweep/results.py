"""The results of a sweep: figures of every prototype, and a ranking with its spread."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.experiments.sweep.grid import Combination, Sweep
from captum_proto.experiments.sweep.plan import ModelPlan
from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME, condition_label
from captum_proto.stats.intervals import interval, spread
from captum_proto.stats.judgments import mean_difference, order_by_interval


@dataclass(frozen=True)
class Cell:
    """The figures of one prototype: its combination, model, target and seed, its logit and probability, and its path similarity."""

    combination: int
    model: str
    target: str
    seed: int
    logit: float
    probability: float
    transformed_logit: float
    transformed_probability: float
    spearman: float = math.nan
    spearman_above_mean: float = math.nan
    spearman_above_every: float = math.nan
    l1_below_mean: float = math.nan
    same_spearman: float = math.nan
    other_spearman: float = math.nan


@dataclass(frozen=True)
class Rank:
    """
    One line of the ranking.

    Attributes:
        combination (Combination): Of the grid.
        score (float): Mean over models, classes and seeds of the Spearman, or without natural images of the expected logit.
        over_seeds (float): Standard deviation over seeds of the mean over models and classes; NaN for one seed.
        over_classes (float): Standard deviation over models and classes of the mean over seeds; NaN for one of them.
        ends (tuple[float, float], optional): The 95 % interval of the mean, by Student's t over seeds; None for one seed.
        cells (list[Cell]): What it is a mean of.
    """

    combination: Combination
    score: float
    over_seeds: float
    over_classes: float
    ends: tuple[float, float] | None
    cells: list[Cell]

    @property
    def index(self) -> int:
        """Which combination of the grid it is."""
        return self.cells[0].combination

    def mean(self, name: str) -> float:
        """The mean over the cells of one of their figures."""
        return float(np.mean([getattr(cell, name) for cell in self.cells]))


@dataclass
class SweepResult:
    """
    What came of a sweep.

    Attributes:
        sweep (Sweep): What was asked for.
        cells (list[Cell]): Every prototype's figures; those of a model and target in the order in which their comparison has them.
        comparisons (dict[tuple[str, str], PathComparison]): By model and target, all prototypes as a single condition; empty without
            natural images.
        plans (list[ModelPlan]): What was made with each model, and what its files are called.
        warnings (list[str]): What was warned of while prototypes were made and compared.
    """

    sweep: Sweep
    cells: list[Cell]
    comparisons: dict[tuple[str, str], PathComparison] = field(default_factory=dict)
    plans: list[ModelPlan] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def scored(self) -> bool:
        """Whether prototypes were compared with natural images."""
        return bool(self.comparisons)

    @property
    def skipped(self) -> list[str]:
        """A sentence for each file that could not be read."""
        sentences = [text for comparison in self.comparisons.values() for text in comparison.settings["failures"]]
        return list(dict.fromkeys(sentences))

    def ranking(self) -> list[Rank]:
        """Combinations from the best to the worst."""
        name = "spearman" if self.scored else "transformed_logit"
        ranks = []
        for index, combination in enumerate(self.sweep.combinations()):
            cells = [cell for cell in self.cells if cell.combination == index]
            by_seed = _means(cells, lambda cell: cell.seed, name)
            by_class = _means(cells, lambda cell: (cell.model, cell.target), name)
            score, ends = float(np.mean(by_seed)), interval(by_seed)
            ranks.append(Rank(combination, score, spread(by_seed), spread(by_class), ends, cells))
        return sorted(ranks, key=lambda rank: -rank.score if not math.isnan(rank.score) else math.inf)

    def verdict(self) -> str:
        """Whether the first is ahead of the second by more than chance: a paired t test over models, classes and seeds."""
        ranks = self.ranking()
        if len(ranks) < 2:
            return "There is one combination, so there is nothing to rank."
        first, second = ranks[:2]
        name = "spearman" if self.scored else "transformed_logit"
        ahead = first.score - second.score
        if math.isnan(ahead):
            return f'Of "{first.combination.name}" and "{second.combination.name}" one has no score: they cannot be ranked.'
        words = f'"{first.combination.name}" is ahead of "{second.combination.name}" by {ahead:.3f}'
        if len(self.sweep.seeds) < 2:
            return f"{words}; with one seed nothing says whether that is more than chance."
        of_first, of_second = (
            {(cell.model, cell.target, cell.seed): getattr(cell, name) for cell in rank.cells}
            for rank in (first, second)
        )
        pairs = np.array([(value, of_second[key]) for key, value in of_first.items()])
        difference = mean_difference(pairs[:, 0], pairs[:, 1], paired=True)
        over_seeds = max(first.over_seeds, second.over_seeds)
        p = ""
        if np.ptp(pairs[:, 0] - pairs[:, 1]) > 0:
            p = f", p = {stats.ttest_rel(pairs[:, 0], pairs[:, 1]).pvalue:.2g} in a paired t test"
        ends = between((difference.low, difference.high), joint=" to ")
        told = order_by_interval(difference).told("they differ", "they differ")
        return f"{words} (95 % interval {ends}{p}; spread over seeds {over_seeds:.3f}): {told}."

    def table(self) -> str:
        """The ranking as text."""
        header, rows = self.ranking_rows()
        return f"{text_table(header, rows)}\n\n{self.verdict()}"

    def ranking_rows(self) -> tuple[list[str], list[list[str]]]:
        """The ranking as cells of a table."""
        score = "Spearman" if self.scored else "expected logit"
        header = ["combination", "prototypes", score, "95 % interval", "± seeds", "± classes"]
        header += (
            ["− same class", "SS ≥ SS_I", "SS ≥ every I", "D ≤ D_I"] if self.scored else ["expected p", "p as it is"]
        )
        rows = []
        for rank in self.ranking():
            row = [rank.combination.name, str(len(rank.cells)), number(rank.score), between(rank.ends, joint=" to ")]
            row += [number(rank.over_seeds), number(rank.over_classes)]
            if self.scored:
                row.append(f"{rank.score - rank.mean('same_spearman'):+.3f}")
                shares = ("spearman_above_mean", "spearman_above_every", "l1_below_mean")
                row += [percent(rank.mean(name)) for name in shares]
            else:
                row += [number(rank.mean("transformed_probability")), number(rank.mean("probability"))]
            rows.append(row)
        return header, rows

    def class_rows(self) -> tuple[list[str], list[list[str]]]:
        """By model and class: every combination beside natural images and controls."""
        header = [
            "model",
            "class",
            "images of",
            "n",
            "Spearman",
            "95 % interval",
            "SS ≥ SS_I",
            "SS ≥ every I",
            "D ≤ D_I",
        ]
        rows = []
        for (model, target), comparison in self.comparisons.items():
            of_class = [
                *((condition_label(condition), comparison, condition) for condition in (SAME, OTHER)),
                *(
                    (combination.name, self.comparison_of(index, model, target), "prototype")
                    for index, combination in enumerate(self.sweep.combinations())
                ),
                *(
                    (f"control: {condition_label(condition)}", comparison, condition)
                    for condition in comparison.conditions
                    if condition not in ("prototype", SAME, OTHER)
                ),
            ]
            rows += [[model, target, name, *_figures(scores, condition)] for name, scores, condition in of_class]
        return header, rows

    def comparison_of(self, combination: int, model: str, target: str) -> PathComparison:
        """The comparison with one combination's prototypes alone."""
        cells = [cell for cell in self.cells if (cell.model, cell.target) == (model, target)]
        rows = [row for row, cell in enumerate(cells) if cell.combination == combination]
        return _with_prototypes(self.comparisons[model, target], rows)


def cells_of(
    plan: ModelPlan, target: Target, prototypes: Iterable[Prototypes], comparison: PathComparison | None
) -> list[Cell]:
    """
    The figures of a target's prototypes.

    Args:
        plan (ModelPlan): What was made with the model.
        target (tuple[int, ...]): The target.
        prototypes (iterable of Prototypes): Its prototypes, batch by batch.
        comparison (PathComparison, optional): Their comparison with natural images.
    """
    names = ("logits", "probabilities", "transformed_logits", "transformed_probabilities")
    values = [row for part in prototypes for row in zip(*(getattr(part, name).tolist() for name in names), strict=True)]
    scored: dict[str, float] = {}
    if comparison is not None:
        scored["same_spearman"] = comparison.summary(SAME).spearman
        scored["other_spearman"] = comparison.summary(OTHER).spearman
    cells = []
    for row, (point, value) in enumerate(zip(plan.points_of(target), values, strict=True)):
        if comparison is not None:
            summary = _with_prototypes(comparison, [row]).summary("prototype")
            shares = ("spearman", "spearman_above_mean", "spearman_above_every", "l1_below_mean")
            scored |= {name: getattr(summary, name) for name in shares}
        cells.append(Cell(point.combination, plan.model, plan.labels[target], point.seed, *value, **scored))
    return cells


def _with_prototypes(comparison: PathComparison, rows: Sequence[int]) -> PathComparison:
    """A comparison with some of its prototypes alone."""
    chosen = list(rows)
    return PathComparison(
        comparison.layers,
        {**comparison.spearman, "prototype": comparison.spearman["prototype"][chosen]},
        {**comparison.l1, "prototype": comparison.l1["prototype"][chosen]},
        comparison.settings,
    )


def _figures(comparison: PathComparison, condition: str) -> list[str]:
    """A condition's figures: means over its images, with an interval where there are several. Of a criterion, the share of layers."""
    living = ~comparison.dead
    spearman, l1 = comparison.spearman[condition][:, living], comparison.l1[condition][:, living]
    natural = comparison.spearman[SAME][:, living]
    holds = (
        spearman >= natural.nanmean(0),
        spearman >= natural.nan_to_num(-math.inf).amax(0),
        l1 <= comparison.l1[SAME][:, living].mean(0),
    )
    scores = spearman.nanmean(1).tolist()
    several = len(scores) >= 3  # of two values an interval is wider than the scale
    ends = interval(scores) if several else None
    figures = [str(len(scores)), number(float(np.nanmean(scores))), between(ends, joint=" to ")]
    for criterion in holds:
        shares = criterion.double().mean(1).tolist()
        ends = interval(shares) if several else None
        figures.append(percent(float(np.mean(shares))) + (f" ± {50 * (ends[1] - ends[0]):.1f}" if ends else ""))
    return figures


def _means(cells: Iterable[Cell], key: Callable[[Cell], Any], name: str) -> list[float]:
    """The mean of one of the cells' figures for each value of a key."""
    values: dict[Any, list[float]] = {}
    for cell in cells:
        values.setdefault(key(cell), []).append(getattr(cell, name))
    return [float(np.mean(figures)) for figures in values.values()]
