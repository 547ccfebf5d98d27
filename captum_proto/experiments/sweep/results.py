"""The results of a sweep: a ranking that knows its spread, its tables and its page."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from captum_proto._utils.class_names import file_stem_of
from captum_proto._utils.tables import between, number, percent, text_table
from captum_proto._utils.targets import Target
from captum_proto.experiments.sweep.grid import Combination, Sweep
from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME, condition_label
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.figures import points_figure, save_figure
from captum_proto.report.page import Page, Section
from captum_proto.report.views.path_similarity import NOTATION
from captum_proto.runs.files import write_rows, write_text
from captum_proto.stats.intervals import interval, spread

#: So many combinations are drawn, and so many have their pictures on the page.
_MOST_DRAWN, _MOST_SHOWN = 25, 6


@dataclass(frozen=True)
class Cell:
    """One prototype of a sweep: which combination, of which model, class and seed, and what came of it."""

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

    def mean(self, name: str) -> float:
        """The mean over the cells of one of their figures."""
        return float(np.mean([getattr(cell, name) for cell in self.cells]))


@dataclass
class SweepResult:
    """
    Attributes:
        sweep (Sweep): What was asked for.
        cells (list[Cell]): Every prototype's figures.
        comparisons (dict[tuple[str, str], PathComparison]): By model and class, all prototypes as one group; empty without natural images.
        rows (dict[tuple[str, str], list[tuple[int, int]]]): The combination and seed of each prototype of a comparison.
        skipped (list[str]): Files that could not be read, each with the reason.
        made (dict[str, list[MadeRow]]): By model, every prototype in the order in which it was made.
        stems (dict[tuple[str, str], str]): By model and class, what its files are called.
    """

    sweep: Sweep
    cells: list[Cell]
    comparisons: dict[tuple[str, str], PathComparison] = field(default_factory=dict)
    rows: dict[tuple[str, str], list[tuple[int, int]]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    made: dict[str, list[MadeRow]] = field(default_factory=dict)
    stems: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def scored(self) -> bool:
        """Whether prototypes were compared with natural images."""
        return bool(self.comparisons)

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
        """Whether the first is ahead of the second by more than their spread over seeds."""
        ranks = self.ranking()
        if len(ranks) < 2:
            return "There is one combination, so there is nothing to rank."
        first, second = ranks[:2]
        name = "spearman" if self.scored else "transformed_logit"
        ahead = first.score - second.score
        words = f'"{first.combination.name}" is ahead of "{second.combination.name}" by {ahead:.3f}'
        if len(self.sweep.seeds) < 2:
            return f"{words}; with one seed nothing says whether that is more than chance."
        one, two = (
            {(cell.model, cell.target, cell.seed): getattr(cell, name) for cell in rank.cells}
            for rank in (first, second)
        )
        differences = np.array([one[key] - two[key] for key in one])
        over_seeds = max(first.over_seeds, second.over_seeds)
        if np.ptp(differences) > 0:
            p = f", p = {stats.ttest_rel(list(one.values()), [two[key] for key in one]).pvalue:.2g} in a paired t test"
        else:
            p = ""
        told = "more" if ahead > over_seeds else "no more"
        judged = "they differ" if ahead > over_seeds else "they are not told apart"
        return f"{words}, {told} than the spread over seeds ({over_seeds:.3f}{p}): {judged}."

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
        names = [combination.name for combination in self.sweep.combinations()]
        for (model, target), comparison in self.comparisons.items():
            owners = self.rows[model, target]
            for group in (SAME, OTHER):
                rows.append([model, target, condition_label(group), *_figures(comparison, group)])
            for index, name in enumerate(names):
                chosen = [row for row, (combination, _) in enumerate(owners) if combination == index]
                rows.append([model, target, name, *_figures(_only(comparison, chosen), "prototype")])
            for group in comparison.conditions:
                if group not in ("prototype", SAME, OTHER):
                    rows.append([model, target, f"control: {condition_label(group)}", *_figures(comparison, group)])
        return header, rows

    def comparison_of(self, combination: int, model: str, target: str) -> PathComparison:
        """The comparison with one combination's prototypes alone."""
        chosen = [row for row, (index, _) in enumerate(self.rows[model, target]) if index == combination]
        return _only(self.comparisons[model, target], chosen)


@dataclass(frozen=True)
class MadeRow:
    """A prototype that is to be made."""

    combination: int
    group: Target
    seed: int


def _only(comparison: PathComparison, rows: Sequence[int]) -> PathComparison:
    """With some of the prototypes alone."""
    chosen = list(rows)
    return PathComparison(
        comparison.layers,
        {**comparison.spearman, "prototype": comparison.spearman["prototype"][chosen]},
        {**comparison.l1, "prototype": comparison.l1["prototype"][chosen]},
        comparison.settings,
    )


def _figures(comparison: PathComparison, group: str) -> list[str]:
    """A group's figures, each the mean over its images, with an interval where there are several; of an image, the share of layers."""
    living = ~comparison.dead
    spearman, l1 = comparison.spearman[group][:, living], comparison.l1[group][:, living]
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
    for each in holds:
        shares = each.double().mean(1).tolist()
        ends = interval(shares) if several else None
        figures.append(percent(float(np.mean(shares))) + (f" ± {50 * (ends[1] - ends[0]):.1f}" if ends else ""))
    return figures


def _write(result: SweepResult, folder: Path) -> None:
    names = [combination.name for combination in result.sweep.combinations()]
    columns = [one.name for one in fields(Cell)]
    rows_of_cells = ([names[cell.combination], *asdict(cell).values()] for cell in result.cells)
    write_rows(folder / "cells.csv", ["name", *columns], rows_of_cells)
    write_rows(folder / "ranking.csv", *result.ranking_rows())
    text = result.table()
    if result.scored:
        header, rows = result.class_rows()
        write_rows(folder / "classes.csv", header, rows)
        text += f"\n\n{text_table(header, rows)}"
    write_text(folder / "ranking.txt", text, overwrite=True)
    ranks = result.ranking()
    shown = {
        rank.combination.name: [cell.spearman if result.scored else cell.transformed_logit for cell in rank.cells]
        for rank in ranks[:_MOST_DRAWN]
    }
    label = "Spearman with the mean natural activations" if result.scored else "expected logit"
    save_figure(points_figure(shown, label), folder / "ranking.png", overwrite=True)


def _page(result: SweepResult, folder: Path, settings: dict[str, Any]) -> Page:
    """The ranking, the pictures of the first combinations, and every class beside natural images and controls."""
    ranks = result.ranking()
    page = Page("Sweep", settings=settings, failures=[f"The image {one}." for one in result.skipped])
    combined = "One combination" if len(ranks) == 1 else f"{len(ranks)} combinations"
    page.summary = [f"{combined}, {len(result.cells)} prototypes. {result.verdict()}"]
    files = ["cells.csv", "ranking.csv", "ranking.txt", *(["classes.csv"] if result.scored else [])]
    figure = Picture("ranking.png", "A point for each prototype, a line at each mean.", small=False)
    page.sections.append(Section("Ranking", [Table(*result.ranking_rows()), Pictures([figure]), Files(files)]))
    if result.scored:
        caption = (
            "Each combination's prototypes beside natural images and controls, by model and class: means over images, ± half of a 95 % "
            "interval; of a single image, the share of layers in which a criterion holds."
        )
        page.sections.append(Section("By class", [Paragraphs([NOTATION]), Table(*result.class_rows(), caption)]))
    combinations = [combination.name for combination in result.sweep.combinations()]
    for rank in ranks[:_MOST_SHOWN]:
        index = combinations.index(rank.combination.name)
        pictures = []
        for cell in rank.cells:
            stem = result.stems[cell.model, cell.target]
            picture = f"pictures/{file_stem_of(cell.model)}/{stem}/{index:03d}_seed{cell.seed}.png"
            score = f", Spearman {cell.spearman:.3f}" if result.scored else ""
            pictures.append(
                Picture(picture, f"{cell.target}, {cell.model}, seed {cell.seed}: p = {cell.probability:.3f}{score}")
            )
        curves: list[Block] = [_curves(result, folder, index, key) for key in result.comparisons]
        page.sections.append(Section(rank.combination.name, [Pictures(pictures), *curves]))
    return page


def _curves(result: SweepResult, folder: Path, index: int, key: tuple[str, str]) -> Curves:
    """One combination's prototypes of a class beside natural images and controls, saved for the page."""
    model, target = key
    path = f"curves/{file_stem_of(model)}/{result.stems[key]}/{index:03d}.safetensors"
    result.comparison_of(index, model, target).save(folder / path, overwrite=True)
    return Curves(path, f"{target}, {model}.")


def _means(cells: Iterable[Cell], key: Callable[[Cell], Any], name: str) -> list[float]:
    values: dict[Any, list[float]] = {}
    for cell in cells:
        values.setdefault(key(cell), []).append(getattr(cell, name))
    return [float(np.mean(one)) for one in values.values()]
