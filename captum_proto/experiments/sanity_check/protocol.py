"""Sanity checks of attributions and of prototypes of a model, a method at a time, and a page of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, check_logits
from captum_proto._utils.class_names import labels_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration, last_map
from captum_proto.capture import find_layer
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.generate import rehearse
from captum_proto.experiments.sanity_check.methods import DEFAULT, METHODS, Choices, check_methods
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics.randomization import (
    EdgeDetector,
    LinearControl,
    MapSimilarity,
    PrototypeRandomization,
    RandomizationResult,
    SanityTable,
    linear_control,
    measures_for,
    parameter_randomization,
    prototype_randomization,
)
from captum_proto.metrics.randomization.result import MARGIN
from captum_proto.metrics.randomization.table import EDGES, PROTOTYPES
from captum_proto.metrics.randomization.weights import find_stages
from captum_proto.models import NamedModel
from captum_proto.optim.loss.objective import NO_GRADIENT
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.sanity_check import (
    CURVES,
    curves_figure,
    sanity_check_page,
    write_maps,
    write_prototypes,
)
from captum_proto.runs.files import write_text
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of

VERDICTS = "verdicts.csv"
_METHODS, _CONTROLS, _MADE = "methods", "controls", "prototypes"
_EDGES, _LINEAR, _PICTURES = "edges", "linear", "pictures"
_LABELS, _LEFT_OUT = "labels", "left_out"
#: Random linear models, which cost nothing: as many as it takes to see that their mean is chance.
_LINEAR_SEEDS = 20
#: So many of the inputs are shown with their maps.
_SHOWN = 2

#: What results depend on beside the model and the images.
_CHOICES = (
    *(
        "targets",
        "methods",
        "layer",
        "order",
        "similarity",
        "init",
        "stages",
        "seeds",
        "inputs",
        "new_target",
        "margin",
    ),
    *("n_steps", "nt_samples", "noise", "options", "prototype_seed", "batch_size", "path_layers"),
)


@dataclass(frozen=True)
class SanityCheck(Protocol[SanityTable]):
    """
    Sanity checks: randomize a model's weights, and see whether Captum's attributions and prototypes notice.

    Args:
        named (NamedModel): The model.
        images (NaturalImages): Photographs: those that are explained are drawn from all of them, and those of each target are what its
            prototype is compared with.
        targets (sequence of Target): Classes of which prototypes are made. Default: none
        methods (sequence of str): Of ``METHODS``. Default: all but SmoothGrad
        inputs (int): How many images are explained. Default: 8
        layer (str, optional): Of Grad-CAM. Default: None, the last that returns maps
        order (str): See :func:`~captum_proto.metrics.parameter_randomization`. Default: "cascading"
        similarity (sequence of str, optional): As there; the first is looked at first. Default: None, signed ranks first, and all others
            that the images are large enough for
        init (str): "reset" or "permute". Default: "reset"
        stages (int or sequence of str): As there. Default: 4
        seeds (sequence of int): Of random networks. Default: 0 to 4
        new_target (bool): As there. Default: False
        margin (float): Of verdicts. Default: 0.3
        n_steps (int): Of integrated gradients. Default: 50
        nt_samples (int): Of SmoothGrad. Default: 50
        noise (float): Of SmoothGrad. Default: 0.15
        options (mapping): Of the prototypes: arguments of :meth:`~captum_proto.PrototypeGeneration.generate`. Default: its own
        prototype_seed (int): Their seed. Default: 0
        path_layers (sequence of str, optional): Of path similarity. Default: None, all
        batch_size (int): Inputs at a time. Default: 8

    Raises:
        InputError: If an argument is out of its range, or there is no such method or layer.
    """

    named: NamedModel
    images: NaturalImages
    targets: Sequence[Target] = ()
    methods: Sequence[str] = DEFAULT
    inputs: int = 8
    layer: str | None = None
    order: str = "cascading"
    similarity: Sequence[str] | None = None
    init: str = "reset"
    stages: int | Sequence[str] = 4
    seeds: Sequence[int] = (0, 1, 2, 3, 4)
    new_target: bool = False
    margin: float = MARGIN
    n_steps: int = 50
    nt_samples: int = 50
    noise: float = 0.15
    options: Mapping[str, Any] = field(default_factory=dict)
    prototype_seed: int = 0
    path_layers: Sequence[str] | None = None
    batch_size: int = 8

    unit = "method"

    def __post_init__(self) -> None:
        check_methods(self.methods)
        check_int(self.inputs, "inputs", 2)
        for name in ("n_steps", "nt_samples", "batch_size"):
            check_int(getattr(self, name), name, 1)
        if not 0 < self.margin < 1:
            raise InputError(f"margin is {self.margin}; expected between 0 and 1, such as 0.3.")
        if not self.methods and not self.targets:
            raise InputError("there is neither a method nor a class to check; name some.")
        MapSimilarity(torch.rand(2, *self.named.image_shape), self._measures)  # are the images large enough?

    def provenance(self) -> dict[str, Any]:
        chosen = {name: getattr(self, name) for name in _CHOICES}
        return provenance(
            "sanity-check",
            {
                "model": self.named.provenance(),
                "image_shape": self.named.image_shape,
                "images": self.images,
                **chosen,
                "layer": self._layer,
                "similarity": self._measures,
            },
        )

    def tasks(self) -> list[Task]:
        self._check()
        made = [Task(_MADE)] if self.targets else []
        return [Task(_CONTROLS), *(Task(f"{_METHODS}/{name}") for name in self.methods), *made]

    def begun(self) -> dict[str, Any]:
        sentences = self._failures
        return {_LABELS: labels_of(self.targets, self.named.class_names), _LEFT_OUT: [*self._left_out(), *sentences]}

    def make(self, task: Task, run: Run) -> None:
        kind, _, name = task.name.partition("/")
        if kind == _CONTROLS:
            edges = self._randomized(
                EdgeDetector(self.named.model), {}, run.folder / _PICTURES / _EDGES, run.show_progress
            )
            linear = linear_control(self._prepared, self._classes, seeds=_LINEAR_SEEDS)
            linear.result.save(run.folder / _CONTROLS / f"{_LINEAR}.safetensors", overwrite=True)
            edges.save(run.folder / _CONTROLS / f"{_EDGES}.safetensors", overwrite=True)
        elif kind == _METHODS:
            choices = Choices(self._layer or "", self.n_steps, self.nt_samples, self.noise, self.batch_size)
            attribution, options = METHODS[name].make(self.named.model, choices)
            found = self._randomized(attribution, options, run.folder / _PICTURES / name, run.show_progress)
            found.save(run.folder / _METHODS / f"{name}.safetensors", overwrite=True)
        else:
            made = self._prototypes(run.show_progress)
            made.save(run.folder / f"{_MADE}.safetensors", overwrite=True)
            write_prototypes(made, run.folder / _PICTURES / _MADE)

    def summarize(self, run: Run) -> SanityTable:
        table = _table(run.folder, self.methods, self.margin)
        table.write(run.folder)
        write_text(run.folder / "verdicts.txt", table.table(), overwrite=True)
        save_figure(curves_figure(table), run.folder / CURVES, overwrite=True)
        write_page(_page(table, run.folder, run.warnings()), run.folder)
        return table

    @property
    def _measures(self) -> tuple[str, ...]:
        if self.similarity is not None:
            return tuple(self.similarity)
        return measures_for(self.named.image_shape[1:], ("spearman", "spearman_abs", "ssim", "hog"))

    @cached_property
    def _layer(self) -> str | None:
        """The layer of Grad-CAM, where it is asked for."""
        if not {"grad_cam", "guided_grad_cam"} & set(self.methods):
            return None
        gray = torch.full((1, *self.named.image_shape), 0.5)
        if self.layer is None:
            return last_map(self.named.model, self._on_device(gray), self.named.preprocess)
        return find_layer(self.named.model, self.layer)[0]

    @cached_property
    def _drawn(self) -> tuple[Tensor, list[str]]:
        """The images that are explained, (N, C, H, W) in [0, 1], and what is to be told of files that were skipped."""
        images = self.images.afresh()
        collection = images.collection
        limit = min(self.inputs, len(collection))
        drawn = collection.of(collection.classes, limit, self.images.seed)
        found = drawn.read(images.geometry, images.workers).images
        if len(found) < 2:
            raise InputError(f"there is {len(found)} image to explain; a sanity check needs at least two.")
        return found, [f'The image "{path}" was skipped: {reason}.' for path, reason in drawn.skipped]

    @property
    def _images(self) -> Tensor:
        return self._drawn[0]

    @property
    def _failures(self) -> list[str]:
        return self._drawn[1]

    @cached_property
    def _prepared(self) -> Tensor:
        images = self._on_device(self._images)
        return images if self.named.preprocess is None else self.named.preprocess(images)

    @cached_property
    def _classes(self) -> list[int]:
        """What the model sees in each image: the target of its maps."""
        with torch.no_grad(), borrowed(self.named.model):
            return check_logits(self.named.model(self._prepared), len(self._prepared)).argmax(1).tolist()

    def _on_device(self, images: Tensor) -> Tensor:
        pipeline = Pipeline(self.named.model)
        return images.to(pipeline.device, pipeline.image_dtype)

    def _randomized(
        self, attribution: Any, options: dict[str, Any], folder: Path, show_progress: bool
    ) -> RandomizationResult:
        """The check of one attribution; what is shown of its maps is written."""
        kept: list[Tensor] = []

        def keep(seed: int, stage: str, maps: Any) -> None:
            if seed == self.seeds[0]:
                kept.append(maps[:_SHOWN].sum(1).float().cpu())

        result = parameter_randomization(
            attribution,
            self.named.model,
            self._prepared,
            self._classes,
            self.order,
            self._measures,
            self.init,
            stages=self.stages,
            seeds=self.seeds,
            new_target=self.new_target,
            batch_size=self.batch_size,
            callback=keep,
            show_progress=show_progress,
            **options,
        )
        write_maps(self._images[:_SHOWN], torch.stack(kept, 1), folder)
        return result

    def _prototypes(self, show_progress: bool) -> PrototypeRandomization:
        images = self.images.afresh()
        return prototype_randomization(
            PrototypeGeneration(self.named.model, self.named.preprocess),
            self.named.model,
            [images.of(target).same for target in self.targets],
            [list(target) for target in self.targets],
            self.named.image_shape,
            self.order if self.order != "independent" else "cascading",
            self.init,
            seeds=self.seeds,
            layers=None if self.path_layers is None else list(self.path_layers),
            preprocess=self.named.preprocess,
            show_progress=show_progress,
            seed=self.prototype_seed,
            **self.options,
        )

    def _left_out(self) -> list[str]:
        missing = [name for name in ("ssim", "hog") if name not in self._measures]
        told = []
        if missing and self.similarity is None:
            told.append(
                f"{' and '.join(missing)}: images of {self.named.image_shape[1]} by {self.named.image_shape[2]} are too small for them."
            )
        if not self.targets:
            told.append("Prototypes: give --target, and images of each of these classes.")
        return told

    def _check(self) -> None:
        """See that everything can be made, as far as that can be seen before anything takes time."""
        probe = self._prepared[:1].detach().clone().requires_grad_()
        with borrowed(self.named.model):
            output = check_logits(self.named.model(probe), 1)
        if not output.requires_grad:
            raise InputError(f"the model's output {NO_GRADIENT}")
        find_stages(self.named.model, lambda: self.named.model(self._prepared[:1]), self.stages)
        for name in self.methods:
            METHODS[name].make(self.named.model, Choices(self._layer or ""))
        if self.targets:
            rehearse(self.named, self.targets, {**self.options, "seed": self.prototype_seed})
            images = self.images.afresh(batch_size=1, workers=0)
            for target, label in zip(self.targets, labels_of(self.targets, self.named.class_names), strict=True):
                if len(list(images.of(target).same)) < 2:
                    raise InputError(f"there is no second image of {label}; path similarity needs at least two.")


def _table(folder: Path, methods: Sequence[str], margin: float) -> SanityTable:
    """What the finished tasks of a folder found."""
    load: Callable[[Path], RandomizationResult] = RandomizationResult.load
    made = folder / f"{_MADE}.safetensors"
    return SanityTable(
        {METHODS[name].label: load(folder / _METHODS / f"{name}.safetensors") for name in methods},
        {METHODS[name].label: METHODS[name].published for name in methods if METHODS[name].published},
        load(folder / _CONTROLS / f"{_EDGES}.safetensors"),
        LinearControl(load(folder / _CONTROLS / f"{_LINEAR}.safetensors")),
        PrototypeRandomization.load(made) if made.exists() else None,
        margin,
    )


def sanity_page(folder: Path) -> Page:
    """
    What a folder of sanity checks has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`SanityCheck` wrote to.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) or not (folder / VERDICTS).is_file():
        return tasks_page(folder)
    settings = read_settings(folder)
    return _page(_table(folder, settings["methods"], settings["margin"]), folder, warnings_of(folder))


def _page(table: SanityTable, folder: Path, warned: Sequence[str]) -> Page:
    settings = read_settings(folder)
    recorded = settings.get(RECORDED) or {}
    model = (settings.get("model") or {}).get("name", "a model")
    folders = {EDGES: f"{_PICTURES}/{_EDGES}", PROTOTYPES: f"{_PICTURES}/{_MADE}"}
    folders |= {METHODS[name].label: f"{_PICTURES}/{name}" for name in settings["methods"]}
    page = sanity_check_page(table, model, recorded.get(_LABELS, []), folders, settings, warned)
    page.left_out += recorded.get(_LEFT_OUT, [])
    return page


__all__ = ["VERDICTS", "SanityCheck", "sanity_page"]
