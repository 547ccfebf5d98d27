"""Pictures of units of layers, written to a folder batch by batch, so that an interrupted run goes on where it was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto.experiments.visualize.natural import NaturalExamples
from captum_proto.experiments.visualize.page import (
    BATCHES,
    LAYERS,
    NATURAL,
    WARNINGS,
    pictures_of,
    stem_of,
    visualization_page,
)
from captum_proto.experiments.visualize.units import LayerUnits
from captum_proto.features import Examples
from captum_proto.models import NamedModel
from captum_proto.optim import InputOptimization, Visualizations, visualization_settings, visualize
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.views.visualizations import unit_sheet, write_unit_pictures
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

#: The task that finds the natural images of all units, and its file.
EXAMPLES, _EXAMPLES_FILE = "examples", "examples.safetensors"


@dataclass(frozen=True)
class Visualize(Protocol[dict[str, Visualizations]]):
    """
    Pictures of units of layers: a PNG of each, a sheet for each layer, everything as safetensors, and the page.

    Args:
        named (NamedModel): The model and its preprocessing.
        layers (sequence of LayerUnits): The units of each layer.
        options (mapping): Further arguments of :func:`~captum_proto.optim.visualize`. Default: its own
        seed (int): The first seed of each unit. Default: 0
        batch_size (int): Pictures at a time; each finished batch is on disk at once. Default: 16
        natural (NaturalExamples, optional): Natural images to show to the units, for examples beside the pictures and a score.
            Default: None
        page (bool): Whether to write the page; False where the pictures are part of a greater one. Default: True

    Raises:
        InputError: If ``batch_size`` is less than 1, there are no layers, or a layer is given twice.
    """

    named: NamedModel
    layers: Sequence[LayerUnits]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 16
    natural: NaturalExamples | None = None
    page: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected at least 1.")
        names = [units.layer for units in self.layers]
        if not names or len(set(names)) < len(names):
            raise InputError(f"layers are {names}; expected at least one, each once.")
        # A layer's own, and those of its units: "conv_unit0001" may be the name of another layer. Some file systems know no case.
        stems = [stem.casefold() for units in self.layers for stem in (stem_of(units.layer), *units.stems)]
        if len(set(stems)) < len(stems):
            raise InputError(f"the layers {names} would share the names of their files; visualize them in two runs.")

        if self.natural is not None and any(units.directions is not None for units in self.layers):
            raise InputError("examples are of units, and directions were given; leave the images out, or give units.")

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "visualize",
            {
                "model": self.named.provenance(),
                "layers": [units.settings() for units in self.layers],
                "seed": self.seed,
                "batch_size": self.batch_size,
                "image_shape": self.named.image_shape,
                "options": self.options,
                "images": None if self.natural is None else self.natural.settings(),
            },
        )

    def begun(self) -> dict[str, Any]:
        return {LAYERS: [self._recorded(units) for units in self.layers]}

    def tasks(self) -> list[Task]:
        self._rehearse()
        tasks = [
            Task(f"{BATCHES}/{number:02d}/{begin:05d}", weight=min(self.batch_size, len(units) - begin))
            for number, units in enumerate(self.layers)
            for begin in range(0, len(units), self.batch_size)
        ]
        if self.natural is None:
            return tasks
        of_layers = [
            Task(f"{NATURAL}/{number:02d}", needs=(EXAMPLES, *_batches_of(number, tasks)))
            for number in range(len(self.layers))
        ]
        return [*tasks, Task(EXAMPLES), *of_layers]

    def make(self, task: Task, run: Run) -> None:
        kind, _, place = task.name.partition("/")
        if kind == BATCHES:
            number, first = map(int, place.split("/"))
            self._make_batch(number, first, task, run)
            return
        assert self.natural is not None  # else there is no such task
        if kind == EXAMPLES:
            layers = [units.layer for units in self.layers]
            self.natural.find(self.named, layers, run.show_progress).save(run.folder / _EXAMPLES_FILE, overwrite=True)
            return
        units = self.layers[int(place)]
        examples, made = Examples.load(run.folder / _EXAMPLES_FILE)[units.layer], self._made(int(place), run)
        self.natural.write_strips(units, examples, self.named, run.folder)
        found = self.natural.of(units, made.images, made.responds, examples, self.named)
        write_json(run.folder / f"{task.name}.json", [one.to_json() for one in found], overwrite=True, indent=1)

    def _make_batch(self, number: int, first: int, task: Task, run: Run) -> None:
        units = self.layers[number]
        rows = range(first, min(first + self.batch_size, len(units)))
        made = visualize(
            self.named.model,
            units.loss().rows(rows),
            self.named.image_shape,
            self.named.preprocess,
            seed=self.seed,
            batch_size=self.batch_size,
            show_progress=run.show_progress,
            **self.options,
        )
        write_unit_pictures(made, units.stems[rows.start : rows.stop], run.folder)
        made.save(run.folder / f"{task.name}.safetensors", overwrite=True)

    def summarize(self, run: Run) -> dict[str, Visualizations]:
        found = {}
        for number, units in enumerate(self.layers):
            made = self._made(number, run)
            made.save(run.folder / f"{stem_of(units.layer)}.safetensors", overwrite=True)
            found[units.layer] = made
        run.note({**next(iter(found.values())).settings, WARNINGS: run.warnings()})
        for number, units in enumerate(self.layers):
            pictures = pictures_of(run.folder, number, self._recorded(units), [])
            sheet = unit_sheet(pictures, list(found[units.layer].images), run.folder)
            save_figure(sheet, run.folder / f"{stem_of(units.layer)}.png", overwrite=True)
        if self.page:
            write_page(visualization_page(run.folder), run.folder)
        return found

    def _made(self, number: int, run: Run) -> Visualizations:
        """All pictures of a layer."""
        names = _batches_of(number, run.tasks)
        return Visualizations.concatenate([Visualizations.load(run.folder / f"{name}.safetensors") for name in names])

    def _recorded(self, units: LayerUnits) -> dict[str, Any]:
        return {"layer": units.layer, "labels": units.labels, "stems": units.stems, "stem": stem_of(units.layer)}

    def _rehearse(self) -> None:
        """See that pictures can be made, before anything takes time or is removed: one step for one unit of each layer."""
        steps = {"steps": min(1, self.options.get("steps", 1))}
        chosen = {name: value for name, value in self.options.items() if name != "attempts"}
        settings = visualization_settings(self.named.image_shape, **{**chosen, **steps})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to warn of comes again
            for units in self.layers:
                InputOptimization(
                    self.named.model, units.loss().rows(range(1)), self.named.preprocess, settings
                ).optimize(self.named.image_shape)


def _batches_of(number: int, tasks: Sequence[Task]) -> list[str]:
    """The names of the tasks that make the pictures of a layer."""
    return [task.name for task in tasks if task.name.startswith(f"{BATCHES}/{number:02d}/")]


__all__ = ["Visualize"]
