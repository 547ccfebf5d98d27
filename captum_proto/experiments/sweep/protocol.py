"""A sweep as a run of tasks: batches of prototypes and their comparisons, model by model."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import whole_file
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.evaluate import Evaluate
from captum_proto.experiments.sweep.grid import Sweep
from captum_proto.experiments.sweep.plan import PROTOTYPES, ModelPlan, Point, batch_options, plan_model
from captum_proto.experiments.sweep.results import SweepResult, cells_of
from captum_proto.experiments.sweep.tables import ASKED, sweep_page, write_curves, write_tables
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.models import NamedModel
from captum_proto.report.figures import to_display
from captum_proto.report.html import write_page
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task


@dataclass(frozen=True)
class RunSweep(Protocol[SweepResult]):
    """
    Every prototype of a sweep, their comparison with natural images, the ranking of the combinations, and the page.

    Models are opened one at a time: each to see that everything asked of it can be made, and again when its turn comes.

    Args:
        sweep (Sweep): What to make.
        open_model (Callable): A model by its name.
        natural (Callable, optional): The natural images for a model. Default: None, prototypes are not compared
        similarity (mapping): Further arguments of :class:`~captum_proto.PathSimilarity`. Default: its own
        comparison (mapping): Further arguments of :meth:`~captum_proto.PathSimilarity.compare`. Default: its own
        batch_size (int): Prototypes at a time; each finished batch is on disk at once. Default: 8

    Raises:
        InputError: If ``batch_size`` is less than 1, a class is unknown or named twice, images of a class are missing, an argument of
            generate is out of its range, or magnitudes are to be measured without images.
    """

    sweep: Sweep
    open_model: Callable[[str], NamedModel]
    natural: Callable[[NamedModel], NaturalImages] | None = None
    similarity: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 8
    _open: dict[str, tuple[NamedModel, NaturalImages | None]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    unit = "prototype"

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected at least 1.")
        if len({plan.stem for plan in self.plans}) < len(self.plans):
            raise InputError(
                f"models are {self.sweep.models}, of which two would share a folder; sweep over them one by one."
            )

    @cached_property
    def plans(self) -> list[ModelPlan]:
        """What is made with each model."""
        return [self._plan(name) for name in self.sweep.models]

    def provenance(self) -> dict[str, Any]:
        scored = {"similarity": self.similarity, "comparison": self.comparison} if self.natural is not None else {}
        return provenance(
            "sweep",
            {
                "sweep": self.sweep.to_json(),
                "models": {plan.model: plan.provenance for plan in self.plans},
                "images": self.plans[0].images,
                **scored,
                "batch_size": self.batch_size,
            },
        )

    def tasks(self) -> list[Task]:
        tasks = []
        for plan in self.plans:
            tasks += [Task(plan.batch_name(index), weight=len(batch)) for index, batch in enumerate(plan.batches)]
            for target in plan.labels if self.natural is not None else ():
                needs = tuple(plan.batch_name(index) for index in plan.batches_of(target))
                tasks.append(Task(plan.scores_name(target), needs=needs, weight=0))
        return tasks

    def begun(self) -> dict[str, Any]:
        return {ASKED: sum(len(points) for plan in self.plans for points in plan.batches)}

    def make(self, task: Task, run: Run) -> None:
        kind, stem, name = task.name.split("/")
        plan = next(plan for plan in self.plans if plan.stem == stem)
        if kind == PROTOTYPES:
            self._make_batch(plan, int(name), run.folder)
        else:
            target = next(target for target in plan.labels if plan.stems[target] == name)
            self._make_scores(plan, target, run.folder)

    def summarize(self, run: Run) -> SweepResult:
        result = self.read(run.folder)
        result.warnings = run.warnings()
        write_tables(result, run.folder)
        write_curves(result, run.folder)
        write_page(sweep_page(result, run.provenance), run.folder)
        return result

    def read(self, folder: Path) -> SweepResult:
        """The results of a finished sweep, from its folder."""
        result = SweepResult(self.sweep, [], plans=self.plans)
        for plan in self.plans:
            for target, label in plan.labels.items():
                comparison = None
                if self.natural is not None:
                    comparison = PathComparison.load(folder / f"{plan.scores_name(target)}.safetensors")
                    result.comparisons[plan.model, label] = comparison
                result.cells += cells_of(plan, target, self._prototypes_of(plan, target, folder), comparison)
        return result

    def images(self, plan: ModelPlan, folder: Path, combinations: Container[int]) -> dict[Point, Tensor]:
        """A model's prototypes of some combinations of the grid, from the folder of a finished sweep."""
        images: dict[Point, Tensor] = {}
        for index, points in enumerate(plan.batches):
            if any(point.combination in combinations for point in points):
                made = Prototypes.load(folder / f"{plan.batch_name(index)}.safetensors").images
                images |= {
                    point: image for point, image in zip(points, made, strict=True) if point.combination in combinations
                }
        return images

    def _plan(self, name: str) -> ModelPlan:
        named, natural = self._opened(name)
        plan = plan_model(self.sweep, name, named, natural, self.batch_size)
        if natural is not None:  # an evaluation of the same classes sees what is missing
            options = self.sweep.combinations()[0].options(named.image_shape)
            targets = list(plan.labels)
            Evaluate(named, targets, natural, options, similarity=self.similarity, comparison=self.comparison).tasks()
        return plan

    def _opened(self, name: str) -> tuple[NamedModel, NaturalImages | None]:
        """A model and the natural images for it, until another is opened: there is one at a time in memory."""
        if name not in self._open:
            self._open.clear()
            named = self.open_model(name)
            natural = None if self.natural is None else self.natural(named)
            self._open[name] = named, natural
        return self._open[name]

    def _make_batch(self, plan: ModelPlan, index: int, folder: Path) -> None:
        named, natural = self._opened(plan.model)
        points = plan.batches[index]
        prototypes = PrototypeGeneration(named.model, named.preprocess).generate(
            [list(point.target) for point in points],
            named.image_shape,
            seed=[point.seed for point in points],
            **batch_options(self.sweep.combinations(), points, natural, named.image_shape),
        )
        value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
        for point, image in zip(points, prototypes.images, strict=True):
            with whole_file(folder / plan.picture(point), overwrite=True) as temporary:
                Image.fromarray(to_display(image, value_range)).save(temporary, format="png")
        prototypes.save(folder / f"{plan.batch_name(index)}.safetensors", overwrite=True)

    def _make_scores(self, plan: ModelPlan, target: Target, folder: Path) -> None:
        named, natural = self._opened(plan.model)
        assert natural is not None
        images = natural.afresh().of(target)
        similarity = PathSimilarity(named.model, preprocess=named.preprocess, **self.similarity).fit(images.same)
        prototypes = torch.cat([part.images for part in self._prototypes_of(plan, target, folder)])
        comparison = similarity.compare(
            prototypes, images.same, images.other, target=[list(target)] * len(prototypes), **self.comparison
        )
        comparison.settings["failures"] = images.failures()
        comparison.save(folder / f"{plan.scores_name(target)}.safetensors", overwrite=True)

    def _prototypes_of(self, plan: ModelPlan, target: Target, folder: Path) -> Iterator[Prototypes]:
        """The prototypes of a target, batch by batch."""
        for index in plan.batches_of(target):
            yield Prototypes.load(folder / f"{plan.batch_name(index)}.safetensors").of(target)


__all__ = ["RunSweep"]
