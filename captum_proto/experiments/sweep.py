"""A grid over the arguments of ``generate``: every combination for every model, class and seed, and a ranking that knows its spread."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import stats
from tqdm.auto import tqdm

from captum_proto._utils.checks import nearest
from captum_proto._utils.files import whole_file
from captum_proto._utils.model import fingerprint
from captum_proto._utils.tables import number, percent, text_table
from captum_proto._utils.targets import Group
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.experiments.classes import NaturalImages, parse_classes
from captum_proto.experiments.folders import file_stem, labels_of, open_folder, write_rows, write_text
from captum_proto.experiments.options import generation_options
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.metrics.statistics import spread
from captum_proto.models import NamedModel
from captum_proto.optim import EachAffine, PhaseImage, RandomAffine
from captum_proto.report.criteria import NOTATION, interval
from captum_proto.report.figures import points_figure, save_figure, to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Curves, Page, Picture, Section, Table

#: The paper's 125 protocols of affine transforms (arXiv:2309.17144, appendix; Table 4 has the best of them).
PAPER_PROTOCOLS: dict[str, list[Any]] = {
    "scale": ["none", [0.9, 1.1], [0.8, 1.2], [0.7, 1.3], [0.5, 1.5]],
    "degrees": ["none", 30, 60, 90, 180],
    "translate": ["none", 0.05, 0.1, 0.2, 0.5],
}
#: So many combinations are drawn, and so many have their pictures on the page.
_MOST_DRAWN, _MOST_SHOWN = 25, 6
#: How many photographs of other classes the magnitudes of a ``PhaseImage`` are measured on.
MEASURED_IMAGES = 90


@dataclass(frozen=True)
class Sweep:
    """
    What to make.

    Args:
        models (list[str]): Names of models.
        targets (list[str]): Classes or groups of classes, as :func:`~captum_proto.experiments.classes.parse_classes` reads them.
        seeds (list[int]): Of each combination and class.
        fixed (dict): Arguments of generate that are the same everywhere, as
            :func:`~captum_proto.experiments.options.generation_options` reads them.
        grid (dict[str, list]): Values of arguments, of which every combination is made.
        settings (dict[str, dict]): Arguments that belong together, by the name under which a table shows them; each is combined with the
            whole grid. Empty: a single one that changes nothing.
        names (dict[str, str]): What tables call a target. Empty: by its classes.

    Raises:
        ValueError: If something is empty, twice there, or unknown.
    """

    models: list[str]
    targets: list[str]
    seeds: list[int]
    fixed: dict[str, Any] = field(default_factory=dict)
    grid: dict[str, list[Any]] = field(default_factory=dict)
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("models", "targets", "seeds"):
            values = getattr(self, name)
            if not isinstance(values, list) or not values:
                raise ValueError(f"{name} is {values!r}; expected a list with at least one entry.")
            if len(set(values)) < len(values):
                raise ValueError(f"{name} is {values!r}, which holds an entry twice; leave one out.")
        if not all(isinstance(seed, int) and not isinstance(seed, bool) for seed in self.seeds):
            raise ValueError(f"seeds is {self.seeds!r}; expected whole numbers.")
        for name, values in self.grid.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"the grid of {name} is {values!r}; expected a list with at least one value.")
        for name, value in self.settings.items():
            if not isinstance(value, dict):
                raise ValueError(f'the settings "{name}" are {value!r}; expected a table of arguments.')
        for combination in self.combinations():
            generation_options(_without_measured(combination.values))

    def combinations(self) -> list[Combination]:
        """Every combination, in the order of the grid, its last argument running fastest."""
        found = []
        for name, settings in (self.settings or {"": {}}).items():
            for values in itertools.product(*self.grid.values()):
                varied = dict(zip(self.grid, values, strict=True))
                words = [name] if name else []
                words += [f"{argument} {_short(value)}" for argument, value in varied.items()]
                found.append(Combination(", ".join(words) or "as it is", {**self.fixed, **settings, **varied}))
        return found

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Combination:
    """One point of the grid: its name in a table, and its plain values."""

    name: str
    values: dict[str, Any]


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
            row = [rank.combination.name, str(len(rank.cells)), number(rank.score), _interval_text(rank.ends)]
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
                rows.append([model, target, group, *_figures(comparison, group)])
            for index, name in enumerate(names):
                chosen = [row for row, (combination, _) in enumerate(owners) if combination == index]
                rows.append([model, target, name, *_figures(_only(comparison, chosen), "prototype")])
            for group in comparison.groups:
                if group not in ("prototype", SAME, OTHER):
                    rows.append([model, target, f"control: {group}", *_figures(comparison, group)])
        return header, rows

    def comparison_of(self, combination: int, model: str, target: str) -> PathComparison:
        """The comparison with one combination's prototypes alone."""
        chosen = [row for row, (index, _) in enumerate(self.rows[model, target]) if index == combination]
        return _only(self.comparisons[model, target], chosen)


def sweep_to_folder(
    sweep: Sweep,
    folder: Path,
    *,
    open_model: Callable[[str], NamedModel],
    natural: Callable[[NamedModel], NaturalImages] | None = None,
    new_similarity: Callable[[NamedModel], PathSimilarity] | None = None,
    comparison_options: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    story: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> SweepResult:
    """
    Make every prototype of a sweep, compare them with natural images, and write tables, pictures and a figure.

    Prototypes whose settings differ in their affine transform, class or seed alone are optimised as one batch. Each finished batch is on
    disk at once, and a sweep that was stopped, however it was stopped, does only what is missing.

    Args:
        sweep (Sweep): What to make.
        folder (Path): Where to write.
        open_model (Callable): A model by its name.
        natural (Callable, optional): The natural images for a model. Default: None, prototypes are not compared
        new_similarity (Callable, optional): An unfitted :class:`~captum_proto.PathSimilarity` for a model. Default: over all layers
        comparison_options (mapping, optional): Further arguments of :meth:`~captum_proto.PathSimilarity.compare`. Default: None
        batch_size (int, optional): Prototypes at a time. Default: 8
        story (mapping, optional): What else to record in the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to go on with what an interrupted sweep left in ``folder``. Default: False
        show_progress (bool, optional): Whether to show a progress bar, with the time left. Default: False
        say (Callable, optional): Where tables are printed. Default: print

    Returns:
        SweepResult: Everything.

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.experiments.folders.open_folder`; and if ``batch_size`` is less than 1, or a
            class is unknown.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
    parts = [folder / name for name in ("prototypes", "scores", "pictures", "curves")]
    asked = {**(story or {}), "sweep": sweep.to_json(), "batch_size": batch_size}
    open_folder(folder, asked, overwrite=overwrite, resume=resume, results=parts)
    result = SweepResult(sweep, [])
    combinations = sweep.combinations()
    total = len(combinations) * len(sweep.models) * len(sweep.targets) * len(sweep.seeds)
    with tqdm(total=total, desc="sweep", unit="prototype", smoothing=0.05, disable=not show_progress) as progress:
        for model in sweep.models:
            named = open_model(model)
            groups = parse_classes(sweep.targets, named.class_names)
            if len(set(groups)) < len(groups):
                raise ValueError(f"targets are {sweep.targets}, which name a class twice; leave one out.")
            images = None if natural is None else natural(named)
            stem = file_stem_of(model)
            rows = _generate(sweep, named, groups, images, folder / "prototypes" / stem, batch_size, progress)
            result.made[model] = [row for row, _ in rows]
            labels = dict(zip(groups, labels_of(groups, named.class_names), strict=True))
            labels |= {
                group: sweep.names[t] for group, t in zip(groups, sweep.targets, strict=True) if t in sweep.names
            }
            for group in groups:
                mine = [(row, prototype) for row, prototype in rows if row.group == group]
                for row, prototype in mine:
                    place = folder / "pictures" / stem / file_stem(group, named.class_names)
                    _save_picture(prototype, place / f"{row.combination:03d}_seed{row.seed}.png")
                result.stems[model, labels[group]] = file_stem(group, named.class_names)
                comparison = None
                if images is not None:
                    place = folder / "scores" / stem / f"{file_stem(group, named.class_names)}.safetensors"
                    comparison = _compare(
                        named, [p for _, p in mine], group, images, place, new_similarity, comparison_options or {}
                    )
                    result.comparisons[model, labels[group]] = comparison
                    result.rows[model, labels[group]] = [(row.combination, row.seed) for row, _ in mine]
                result.cells += [
                    _cell(model, labels[group], row, prototype, comparison, index)
                    for index, (row, prototype) in enumerate(mine)
                ]
            if images is not None:
                result.skipped += [f"{path}: {reason}" for path, reason in images.skipped]
    _write(result, folder)
    write_page(_page(result, folder, asked), folder)
    say(result.table())
    return result


@dataclass(frozen=True)
class MadeRow:
    """A prototype that is to be made."""

    combination: int
    group: Group
    seed: int


def _generate(
    sweep: Sweep,
    named: NamedModel,
    groups: list[Group],
    images: NaturalImages | None,
    folder: Path,
    batch_size: int,
    progress: tqdm[Any],
) -> list[tuple[MadeRow, Prototypes]]:
    """Every prototype of one model, in batches of those that differ in no more than their affine transform, class and seed."""
    batches: dict[str, list[MadeRow]] = {}
    options: dict[tuple[int, Group], dict[str, Any]] = {}
    for (index, combination), group in itertools.product(enumerate(sweep.combinations()), groups):
        options[index, group] = made = _options(combination, group, images)
        batches.setdefault(_key(made), []).extend(MadeRow(index, group, seed) for seed in sweep.seeds)
    generation = PrototypeGeneration(named.model, named.preprocess)
    weights = fingerprint(named.model)
    finished = []
    number_of_batch = 0
    for rows in batches.values():
        for begin in range(0, len(rows), batch_size):
            batch = rows[begin : begin + batch_size]
            path = folder / f"{number_of_batch:05d}.safetensors"
            number_of_batch += 1
            if path.exists():
                part = Prototypes.load(path)
                if part.settings.get("model_fingerprint") not in (None, weights):
                    raise ValueError(
                        f'the prototypes in "{path}" were made with other weights than those of "{named.name}"; choose another folder, '
                        "or pass --overwrite."
                    )
                if not progress.disable:
                    progress.initial += len(batch)  # the time left is that of what is left to do
                progress.update(len(batch))
            else:
                each = [options[row.combination, row.group] for row in batch]
                part = generation.generate(
                    [list(row.group) for row in batch],
                    named.image_shape,
                    seed=[row.seed for row in batch],
                    **{**each[0], "transform": _common([one["transform"] for one in each])},
                )
                part.save(path, overwrite=True)
                progress.update(len(batch))
            finished += [(row, _row_of(part, i)) for i, row in enumerate(batch)]
    return finished


def _options(combination: Combination, group: Group, images: NaturalImages | None) -> dict[str, Any]:
    options = generation_options(_without_measured(combination.values))
    if _measured(combination.values):
        if images is None:
            raise ValueError(
                f'"{combination.name}" has measured magnitudes, but there are no images to measure; give --images.'
            )
        options["parametrization"] = PhaseImage.measured(images.elsewhere(group, MEASURED_IMAGES))
    return options


def _measured(values: Mapping[str, Any]) -> bool:
    parametrization = values.get("parametrization")
    return isinstance(parametrization, Mapping) and parametrization.get("magnitudes") == "measured"


def _without_measured(values: Mapping[str, Any]) -> dict[str, Any]:
    """With the name alone of a parametrization whose magnitudes are yet to be measured."""
    if not _measured(values):
        return dict(values)
    rest = {name: value for name, value in values["parametrization"].items() if name != "magnitudes"}
    return {**values, "parametrization": rest}


def _key(options: Mapping[str, Any]) -> str:
    """What has to be equal within a batch."""
    plain = {
        name: value.settings() if hasattr(value, "settings") else str(value)
        for name, value in options.items()
        if name != "transform"
    }
    transform = options["transform"]
    shape = transform.fill if type(transform) is RandomAffine else None if transform is None else transform.settings()
    return json.dumps([plain, type(transform).__name__, shape], sort_keys=True)


def _common(transforms: list[Any]) -> Any:
    if all(type(transform) is RandomAffine for transform in transforms):
        return EachAffine(transforms)
    return transforms[0]


def _row_of(prototypes: Prototypes, row: int) -> Prototypes:
    """One prototype, without what is recorded of each step."""
    values = ("images", "logits", "probabilities", "transformed_logits", "transformed_probabilities")
    return Prototypes(
        **{name: getattr(prototypes, name)[row : row + 1] for name in values},
        target=[prototypes.target[row]],
        seeds=[prototypes.seeds[row]],
        settings=prototypes.settings,
    )


def _compare(
    named: NamedModel,
    prototypes: list[Prototypes],
    group: Group,
    images: NaturalImages,
    path: Path,
    new_similarity: Callable[[NamedModel], PathSimilarity] | None,
    options: Mapping[str, Any],
) -> PathComparison:
    if path.exists():
        return PathComparison.load(path)
    natural = images.of(group)
    similarity = (
        PathSimilarity(named.model, preprocess=named.preprocess) if new_similarity is None else new_similarity(named)
    )
    similarity.fit(natural.same)
    everything = torch.cat([one.images for one in prototypes])
    target = [list(group)] * len(prototypes)
    comparison = similarity.compare(everything, natural.same, natural.other, target=target, **options)
    comparison.save(path, overwrite=True)
    return comparison


def _save_picture(prototype: Prototypes, path: Path) -> None:
    if not path.exists():
        value_range = tuple(prototype.settings.get("value_range", (0.0, 1.0)))
        with whole_file(path) as temporary:
            Image.fromarray(to_display(prototype.images[0], value_range)).save(temporary, format="png")


def _cell(
    model: str, target: str, row: MadeRow, prototype: Prototypes, comparison: PathComparison | None, index: int
) -> Cell:
    cell = Cell(
        combination=row.combination,
        model=model,
        target=target,
        seed=row.seed,
        logit=float(prototype.logits[0]),
        probability=float(prototype.probabilities[0]),
        transformed_logit=float(prototype.transformed_logits[0]),
        transformed_probability=float(prototype.transformed_probabilities[0]),
    )
    if comparison is None:
        return cell
    summary = _only(comparison, [index]).summary("prototype")
    return replace(
        cell,
        spearman=summary.spearman,
        spearman_above_mean=summary.spearman_above_mean,
        spearman_above_every=summary.spearman_above_every,
        l1_below_mean=summary.l1_below_mean,
        same_spearman=comparison.summary(SAME).spearman,
        other_spearman=comparison.summary(OTHER).spearman,
    )


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
    figures = [str(len(scores)), number(float(np.nanmean(scores))), _interval_text(ends)]
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
    files = ["cells.csv", "ranking.csv", "ranking.txt"]
    ranking = Section("Ranking", tables=[Table(*result.ranking_rows())], files=files)
    ranking.pictures = [Picture("ranking.png", "A point for each prototype, a line at each mean.", small=False)]
    page.sections.append(ranking)
    if result.scored:
        ranking.files.append("classes.csv")
        caption = (
            "Each combination's prototypes beside natural images and controls, by model and class: means over images, ± half of a 95 % "
            "interval; of a single image, the share of layers in which a criterion holds."
        )
        page.sections.append(Section("By class", text=[NOTATION], tables=[Table(*result.class_rows(), caption)]))
    combinations = [combination.name for combination in result.sweep.combinations()]
    for rank in ranks[:_MOST_SHOWN]:
        index = combinations.index(rank.combination.name)
        section = Section(rank.combination.name)
        for cell in rank.cells:
            stem = result.stems[cell.model, cell.target]
            picture = f"pictures/{file_stem_of(cell.model)}/{stem}/{index:03d}_seed{cell.seed}.png"
            score = f", Spearman {cell.spearman:.3f}" if result.scored else ""
            section.pictures.append(
                Picture(picture, f"{cell.target}, {cell.model}, seed {cell.seed}: p = {cell.probability:.3f}{score}")
            )
        if result.scored:
            section.curves = [_curves(result, folder, index, key) for key in result.comparisons]
        page.sections.append(section)
    return page


def _curves(result: SweepResult, folder: Path, index: int, key: tuple[str, str]) -> Curves:
    """One combination's prototypes of a class beside natural images and controls, saved for the page."""
    model, target = key
    path = f"curves/{file_stem_of(model)}/{result.stems[key]}/{index:03d}.safetensors"
    result.comparison_of(index, model, target).save(folder / path, overwrite=True)
    return Curves(path, f"{target}, {model}.")


def _interval_text(ends: tuple[float, float] | None) -> str:
    return "–" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"


def _means(cells: Iterable[Cell], key: Callable[[Cell], Any], name: str) -> list[float]:
    values: dict[Any, list[float]] = {}
    for cell in cells:
        values.setdefault(key(cell), []).append(getattr(cell, name))
    return [float(np.mean(one)) for one in values.values()]


def _short(value: Any) -> str:
    """A value in the name of a combination."""
    if isinstance(value, Mapping):
        return " ".join(
            str(value.get("name", "")).split() + [f"{k}={_short(v)}" for k, v in value.items() if k != "name"]
        )
    if isinstance(value, (list, tuple)):
        return "–".join(_short(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def file_stem_of(model: str) -> str:
    """A model's name as that of a folder."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in model)


#: What a TOML file may hold beside the tables of arguments, and what it is called here.
_KEYS = {
    "model": "models",
    "target": "targets",
    "seeds": "seeds",
    "fixed": "fixed",
    "grid": "grid",
    "settings": "settings",
}


def sweep_from_tables(tables: Mapping[str, Any], others: Iterable[str] = ()) -> tuple[dict[str, Any], dict[str, Any]]:
    """
    The arguments of a :class:`Sweep`, and the other entries, of a TOML file that was read.

    Raises:
        ValueError: If there is an entry that is neither.
    """
    arguments: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    known = [*_KEYS, *others]
    for key, value in tables.items():
        if key == "target" and isinstance(value, Mapping):
            arguments["targets"], arguments["names"] = (
                list(value.values()),
                {text: name for name, text in value.items()},
            )
        elif key in _KEYS:
            listed = key in ("model", "target") and isinstance(value, str)
            arguments[_KEYS[key]] = [value] if listed else value
        elif key in others:
            rest[key] = value
        else:
            raise ValueError(
                f'the sweep file has an entry "{key}"{nearest(key, known) or "; expected some of " + ", ".join(known) + "."}'
            )
    return arguments, rest


__all__ = [
    "PAPER_PROTOCOLS",
    "Cell",
    "Combination",
    "Rank",
    "Sweep",
    "SweepResult",
    "sweep_from_tables",
    "sweep_to_folder",
]
