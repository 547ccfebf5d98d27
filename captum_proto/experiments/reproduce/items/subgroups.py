"""Tables 2 and 3: a model's accuracy and probabilities, by subgroup of the images of a class."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from captum_proto._utils.tables import between, number
from captum_proto._utils.targets import Target
from captum_proto.data import ImageCollection
from captum_proto.experiments.compare_groups import COMPARISON, CompareGroups
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.reproduce.items.registry import Item, beside_paper, item
from captum_proto.experiments.reproduce.stages import OpenStage, StageResults
from captum_proto.metrics.group_comparison import SubgroupComparison
from captum_proto.report.blocks import Verdict
from captum_proto.report.views.group_comparison import conclusion, groups_figure
from captum_proto.runs.tasks import Protocol
from captum_proto.stats.intervals import Estimate

_GOWN, _BOARD = (paper.ACADEMIC_GOWN,), (paper.MORTARBOARD,)


def _runs_of(table: str, target: Target, *also: Target) -> Callable[[OpenStage], dict[str, Protocol[Any]]]:
    """The comparison of a table's subgroups."""

    def runs(stage: OpenStage) -> dict[str, Protocol[Any]]:
        settings = stage.settings
        folders = settings.subgroups[table]
        run = CompareGroups(
            stage.named,
            {name: ImageCollection.one_class(path) for name, path in folders.items()},
            target,
            also=also,
            seed=settings.seed,
            batch_size=settings.image_batch,
            workers=settings.workers,
        )
        return {_folder(table): run}

    return runs


def _lacks(table: str, stage: OpenStage) -> str:
    if stage.settings.subgroups.get(table):
        return ""
    return f"not made, since it compares subgroups of images; pass --{table} NAME=DIR for each of its subgroups."


def _folder(table: str) -> str:
    return f"{table}/groups"


@item("table2", runs=_runs_of("table2", _GOWN), lacks=partial(_lacks, "table2"))
def table_2(results: StageResults) -> Item:
    """Academic gown: two subgroups of photographs."""
    return _subgroup_table("table2", results)


@item("table3", runs=_runs_of("table3", _BOARD, _GOWN), lacks=partial(_lacks, "table3"))
def table_3(results: StageResults) -> Item:
    """Mortarboard: two subgroups of photographs, and the probability of academic gown."""
    return _subgroup_table("table3", results)


def _subgroup_table(table: str, results: StageResults) -> Item:
    comparison = SubgroupComparison.load(results.folder / _folder(table) / COMPARISON)
    made = Item(
        f"{comparison.target}, by subgroup of images",
        header=["subgroup", "images", "figure", "value", "low", "high"],
        text=[f"Everything is in {_folder(table)}, beginning with its page."],
    )
    for subgroup in comparison.subgroups:
        probabilities = {f"p({name})": value for name, value in subgroup.probabilities.items()}
        for figure, estimate in {"accuracy": subgroup.accuracy, **probabilities}.items():
            made.rows.append([subgroup.subgroup, subgroup.images, figure, estimate.value, estimate.low, estimate.high])
            name = f"{figure}, {subgroup.subgroup}"
            made.verdicts.append(
                beside_paper(
                    name,
                    f"{number(estimate.value)}, {_interval(estimate)}, {_images(subgroup.images)}",
                    estimate.value,
                    paper.VALUES.get((table, name, results.stage.model)),
                )
            )
    corrected = ", after Holm's correction" if len(comparison.pairs) > 1 else ""
    made.verdicts += [
        Verdict(
            f"{pair.first} against {pair.second}, Fisher's exact test", f"p = {pair.corrected_p_value:.3g}{corrected}"
        )
        for pair in comparison.pairs
    ]
    made.text = [*conclusion(comparison), *made.text]
    made.figure = groups_figure(comparison, made.title)
    return made


def _interval(estimate: Estimate) -> str:
    ends = between((estimate.low, estimate.high), joint=" to ")
    return "no interval" if ends == "–" else f"95 % interval {ends}"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
