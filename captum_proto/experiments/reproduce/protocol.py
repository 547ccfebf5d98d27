"""The paper's tables and figures, made again with the controls that it leaves out (arXiv:2309.17144)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto.data import ImageCollection
from captum_proto.data.natural import check_source
from captum_proto.experiments.reproduce.items import ITEMS, RECIPES, check_items
from captum_proto.experiments.reproduce.page import (
    RUNS,
    TITLE,
    begin_with_pictures,
    classes_section,
    item_section,
    numbered,
    write_item,
)
from captum_proto.experiments.reproduce.stages import OpenStage, ReproduceSettings, Stage, StageResults, open_stage
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Verdict
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.first_screen import trust
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out


@dataclass
class Reproduction:
    """
    What a reproduction came to.

    Attributes:
        verdicts (list[tuple[str, str, Verdict]]): The model, the item, and one of its figures beside the paper's.
        failures (list[str]): A sentence for each thing that could not be made, was skipped, or was warned of.
        left_out (list[str]): A sentence for each item that nobody asked for by name, and that lacks what it is made from.
    """

    verdicts: list[tuple[str, str, Verdict]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Reproduce(Protocol[Reproduction]):
    """
    The paper's tables and figures: a folder for each model, in it one for each item, and the page.

    Prototypes, sweeps and comparisons are runs of their own, which are parts of this one; every item is read off them. Models are opened
    one at a time.

    Args:
        stages (sequence of Stage): The models, each with its classes and natural images.
        open_model (Callable): A model by its name.
        items (sequence of str): Of ``ITEMS``. Default: all
        settings (ReproduceSettings): How. Default: as they are

    Raises:
        InputError: If an item is unknown, two stages would share a folder, or something that a stage needs cannot be made: a class is
            unknown, has too few images, or an argument of generate is out of its range.
    """

    stages: Sequence[Stage]
    open_model: Callable[[str], NamedModel]
    items: Sequence[str] = ITEMS
    settings: ReproduceSettings = field(default_factory=ReproduceSettings)
    _open: dict[str, OpenStage] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_items(self.items)
        if len({stage.stem for stage in self.stages}) < len(self.stages):
            models = [stage.model for stage in self.stages]
            raise InputError(f"models are {models}, of which two would share a folder; reproduce with one at a time.")
        for stage in self.stages:  # before the first model is opened
            if stage.images is not None:
                check_source(stage.images)
        for table in self.items:
            for folder in self.settings.subgroups.get(table, {}).values():
                ImageCollection.one_class(folder)
        self._planned  # noqa: B018  # finds what cannot be made

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "reproduce",
            {
                "items": self.items,
                "stages": self.stages,
                "models": {model: recorded for model, (recorded, _) in self._planned.items()},
                **self.settings.settings(),
            },
        )

    def tasks(self) -> list[Task]:
        return [task for _, tasks in self._planned.values() for task in tasks]

    def begun(self) -> dict[str, Any]:
        return {RUNS: [task.name for task in self.tasks()]}

    def make(self, task: Task, run: Run) -> None:
        stem, _, name = task.name.partition("/")
        stage = next(stage for stage in self.stages if stage.stem == stem)
        protocol = self._opened(stage).runs[name]
        carry_out(protocol, run.folder / task.name, resume=True, show_progress=run.show_progress)

    def summarize(self, run: Run) -> Reproduction:
        page = Page(TITLE, settings=run.provenance)
        made = Reproduction()
        for stage in self.stages:
            self._read_stage(StageResults(self._opened(stage), run.folder / stage.stem), page, made, run)
        made.failures = list(dict.fromkeys([*made.failures, *run.warnings()]))
        page.summary = [summary_sentence(made, len(self.stages))]
        page.failures, page.left_out = made.failures, made.left_out
        begin_with_pictures(page)
        write_page(page, run.folder)
        return made

    @cached_property
    def _planned(self) -> dict[str, tuple[dict[str, Any], list[Task]]]:
        """By model, what is recorded of it and the tasks of its stage."""
        return {stage.model: self._plan(stage) for stage in self.stages}

    def _plan(self, stage: Stage) -> tuple[dict[str, Any], list[Task]]:
        opened = self._opened(stage)
        tasks = [
            # A run of which a part would be made again, since its files have changed, is itself made again.
            Task(f"{stage.stem}/{name}", inputs={part.name: part.inputs for part in run.tasks() if part.inputs})
            for name, run in opened.runs.items()
        ]
        return opened.named.provenance(), tasks

    def _opened(self, stage: Stage) -> OpenStage:
        """A stage with its model, until another is opened: there is one at a time in memory."""
        if stage.model not in self._open:
            self._open.clear()
            opened = open_stage(stage, self.settings, self.open_model(stage.model))
            wanted = [RECIPES[name] for name in self.items if not RECIPES[name].lacks(opened)]
            for runs in dict.fromkeys(recipe.runs for recipe in wanted):  # some items are read off the same
                opened.runs.update(runs(opened))
            self._open[stage.model] = opened
        return self._open[stage.model]

    def _read_stage(self, results: StageResults, page: Page, made: Reproduction, run: Run) -> None:
        """Write every item of a stage, and add it to the page."""
        stage = results.stage
        untrained = ""
        if stage.random_weights:
            untrained = f"{stage.model} has random weights: what is made shows that the protocol runs, and nothing about the paper."
            made.failures.append(untrained)
        for name in self.items:
            recipe = RECIPES[name]
            if lacking := recipe.lacks(stage):
                # Asked for all, one gets what there is; asked for this one, it is missing.
                missing = made.left_out if set(self.items) >= set(ITEMS) else made.failures
                missing.append(f"{stage.model}: {name}: {lacking}")
                continue
            item = recipe.make(results)
            if untrained:
                item.text.append(untrained)
            write_item(name, item, results, run.provenance)
            section = item_section(name, item).within(f"{stage.stage.stem}/{name}")
            section.title = f"{stage.model}: {numbered(name)}, {item.title}"
            page.sections.append(section)
            made.verdicts += [(stage.model, name, verdict) for verdict in item.verdicts]
        if untrained:
            page.trust += f"No: {untrained} "
        elif results.every:
            page.trust += f"Prototypes of {stage.model}: {trust(results.every)} "
        if results.comparisons:
            page.sections.append(classes_section(results).within(stage.stage.stem))
        for comparison in results.every:
            made.failures += comparison.settings["failures"]


def summary_sentence(made: Reproduction, stages: int) -> str:
    """How many figures there are, and beside how many of them the paper has a value."""
    models = "one model" if stages == 1 else f"{stages} models"
    published = sum(bool(verdict.expected) for _, _, verdict in made.verdicts)
    beside = (
        f"the paper's value stands beside {published} of them"
        if published
        else "the paper has none of these models' figures"
    )
    return f"{len(made.verdicts)} figures over {models}; {beside}."


__all__ = ["Reproduce", "Reproduction"]
