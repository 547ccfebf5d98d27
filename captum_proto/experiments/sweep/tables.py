"""The tables of a sweep, its figure, and its page."""

from __future__ import annotations

import csv
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact
from captum_proto._utils.tables import text_table
from captum_proto.experiments.sweep.plan import PICTURES, Point
from captum_proto.experiments.sweep.results import Cell, Rank, SweepResult
from captum_proto.report.blocks import Block, Curves, Files, Gallery, Paragraphs, Picture, Pictures, Shown, Table
from captum_proto.report.figures import points_figure, save_figure
from captum_proto.report.page import Page, Section
from captum_proto.report.views.path_similarity import NOTATION
from captum_proto.report.views.prototypes import what_prototypes_are
from captum_proto.runs.files import write_rows, write_text
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.tasks import warnings_of

#: So many combinations are drawn, and so many have their pictures on the page.
_MOST_DRAWN, _MOST_SHOWN = 25, 6
#: The tables, the last of which there is where prototypes were compared with natural images.
_FILES = ["cells.csv", "ranking.csv", "ranking.txt", "classes.csv"]
#: Of what is recorded when a sweep begins: how many prototypes it is to make.
ASKED = "prototypes"


def write_tables(result: SweepResult, folder: Path) -> None:
    """Write every prototype's figures, the ranking as a table, as text and as a figure, and the table by class."""
    names = [combination.name for combination in result.sweep.combinations()]
    columns = [column.name for column in fields(Cell)]
    rows_of_cells = ([names[cell.combination], *asdict(cell).values()] for cell in result.cells)
    write_rows(folder / "cells.csv", ["name", *columns], rows_of_cells)
    write_rows(folder / "ranking.csv", *result.ranking_rows())
    text = result.table()
    if result.scored:
        header, rows = result.class_rows()
        write_rows(folder / "classes.csv", header, rows)
        text += f"\n\n{text_table(header, rows)}"
    write_text(folder / "ranking.txt", text, overwrite=True)
    points = {
        rank.combination.name: [cell.spearman if result.scored else cell.transformed_logit for cell in rank.cells]
        for rank in result.ranking()[:_MOST_DRAWN]
    }
    label = "Spearman with the mean natural activations" if result.scored else "expected logit"
    save_figure(points_figure(points, label), folder / "ranking.png", overwrite=True)


def write_curves(result: SweepResult, folder: Path) -> None:
    """Write, for the page, the comparisons of each of the first combinations by itself."""
    for rank in result.ranking()[:_MOST_SHOWN] if result.scored else ():
        for plan in result.plans:
            for target, label in plan.labels.items():
                comparison = result.comparison_of(rank.index, plan.model, label)
                comparison.save(folder / plan.curves(rank.index, target), overwrite=True)


def sweep_page(result: SweepResult, settings: dict[str, Any]) -> Page:
    """
    The page of a sweep: the ranking, every class beside natural images and controls, and the pictures of the first combinations.

    Args:
        result (SweepResult): What came of it.
        settings (dict): What is recorded of the run.

    Returns:
        Page: Paths are relative to the sweep's folder.
    """
    ranks = result.ranking()
    page = Page("Sweep", settings=settings, failures=[*result.skipped, *result.warnings])
    combined = "One combination" if len(ranks) == 1 else f"{len(ranks)} combinations"
    page.summary = [
        f"{combined} of settings, {what_prototypes_are(len(result.cells), len({(cell.model, cell.target) for cell in result.cells}))}"
    ]
    if ranks:
        page.lead = [Gallery(_shown(result, ranks[0]))]
        path = (
            " path: path similarity, how far the network processes the picture as natural images of the class."
            if result.scored
            else ""
        )
        page.legend = [
            f"Shown: those of “{ranks[0].combination.name}”. p: the probability of the class, under the transforms.{path}"
        ]
    page.trust = result.verdict()
    figure = Picture("ranking.png", "A point for each prototype, a line at each mean.", small=False)
    files = _FILES if result.scored else [name for name in _FILES if name != "classes.csv"]
    ranking = Table(*result.ranking_rows(), brief=[0, 2, 3, 1])
    page.sections.append(Section("Ranking", [ranking, Pictures([figure]), Files(files)], shown=1))
    if result.scored:
        caption = (
            "Each combination's prototypes beside natural images and controls, by model and class: means over images, ± half of a 95 % "
            "interval; of a single image, the share of layers in which a criterion holds."
        )
        blocks: list[Block] = [Paragraphs([NOTATION]), Table(*result.class_rows(), caption)]
        page.sections.append(Section("By class", blocks, shown=0))
    page.sections += [_combination_section(result, rank) for rank in ranks[:_MOST_SHOWN]]
    return page


def _combination_section(result: SweepResult, rank: Rank) -> Section:
    """A combination's pictures, and its curves beside natural images and controls."""
    pictures = [Picture(shown.path, shown.text) for shown in _shown(result, rank)]
    curves: list[Block] = []
    for plan in result.plans:
        if result.scored:
            curves += [
                Curves(plan.curves(rank.index, target), f"{label}, {plan.model}.")
                for target, label in plan.labels.items()
            ]
    return Section(rank.combination.name, [Pictures(pictures), *curves], shown=0)


def _shown(result: SweepResult, rank: Rank) -> list[Shown]:
    """A combination's pictures, with their figures."""
    pictures = []
    for plan in result.plans:
        targets = {label: target for target, label in plan.labels.items()}
        for cell in rank.cells:
            if cell.model == plan.model:
                score = f", Spearman {cell.spearman:.3f}" if result.scored else ""
                caption = f"{cell.target}, {cell.model}, seed {cell.seed}: p = {cell.probability:.3f}{score}"
                facts = [
                    f"p {cell.transformed_probability:.2f}",
                    *([f"path {cell.spearman:.2f}"] if result.scored else []),
                ]
                path = plan.picture(Point(rank.index, targets[cell.target], cell.seed))
                pictures.append(Shown(path, cell.target, facts, caption))
    return pictures


def swept_page(folder: Path) -> Page:
    """
    What a folder of a sweep has to show, from the files in it; of an interrupted run, the prototypes it finished.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.sweep.RunSweep` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    asked = (settings.get(RECORDED) or {}).get(ASKED, "an unknown number of")
    page = Page("Sweep", settings=settings, failures=warnings_of(folder))
    pictures = sorted(path.relative_to(folder).as_posix() for path in (folder / PICTURES).rglob("*.png"))
    page.summary = [f"{len(pictures)} of {asked} prototypes are there."]
    if not is_finished(folder):
        page.failures.insert(
            0,
            f"The run is not finished: {len(pictures)} of {asked} prototypes are there; the same command with --resume goes on.",
        )
    if (folder / "ranking.csv").exists():
        try:
            with (
                intact(folder / "ranking.csv", "table"),
                (folder / "ranking.csv").open(newline="", encoding="utf-8") as f,
            ):
                header, *rows = csv.reader(f)
        except InputError as error:
            page.failures.append(f"The ranking is left out: {error}")
        else:
            figure = Picture("ranking.png", "A point for each prototype, a line at each mean.", small=False)
            table = Table(header, rows, brief=[0, 2, 3, 1])
            page.sections.append(Section("Ranking", [table, Pictures([figure]), Files(_FILES)]))
    if pictures:
        captions = [path.removeprefix(f"{PICTURES}/").removesuffix(".png") for path in pictures]
        found = [Picture(path, caption) for path, caption in zip(pictures, captions, strict=True)]
        page.lead = [
            Gallery([Shown(one.path, Path(one.path).parent.name, [Path(one.path).stem], one.caption) for one in found])
        ]
        page.sections.append(Section("Prototypes", [Pictures(found)], shown=0))
    return page
