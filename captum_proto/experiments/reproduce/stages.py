"""A stage of the reproduction: a model, and the classes and natural images on which it is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import file_stem, labels_of, model_stem, parse_classes
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS, Prototypes
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments import evaluate, evaluation_page, generate
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.sweep import PAPER_PROTOCOLS
from captum_proto.metrics import PathComparison
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine, feature_visualization_transform
from captum_proto.report.views.prototypes import PROTOTYPES as PROTOTYPES_FILE
from captum_proto.runs.tasks import Protocol

#: The folder of the classes' runs below that of the model, and in that of a class the folder of its prototypes.
CLASSES, PROTOTYPES = "classes", "prototypes"
#: Methods whose pictures stand beside the prototypes, by preset; each has a folder in that of a class.
BASELINES = {"ascent": "ascent", "feature_visualization": "feature_visualization"}
#: The paper's way of comparing, beside pictures that know nothing of the class.
COMPARISON = {"leave_one_out": False, "controls": ("gray", "noise", "mean_image")}


@dataclass(frozen=True)
class ReproduceSettings:
    """
    How all stages are made.

    Args:
        subgroups (mapping): For "table2" and "table3", the folder of each subgroup of images by its name. Default: none
        seed (int): Of everything random. Default: 0
        batch_size (int): Prototypes at a time. Default: 8
        image_batch (int): Natural images at a time. Default: 32
        workers (int): Threads that read images. Default: 2
    """

    subgroups: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 8
    image_batch: int = 32
    workers: int = 2

    def settings(self) -> dict[str, Any]:
        """What the results depend on."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.name != "workers"}


@dataclass(frozen=True)
class Stage:
    """
    A model, and on what it is looked at.

    Args:
        model (str): Its name.
        targets (list[str]): Classes or superclasses.
        images (str, optional): A folder of natural images, or "digits". None: pictures are made, and compared with nothing.
        class_table (Path, optional): Which class a wnid or a name in it is. None: as
            :meth:`~captum_proto.data.ImageCollection.discover` finds it.
        limit (int, optional): Images of each class. None: all.
        count (int): Prototypes of each class.
        options (dict): Arguments of generate for the prototypes, beside the preset "paper".
        steps (int): Of every ascent of the baselines and controls.
        protocol_target (str): The class of Table 4.
        protocols (dict[str, list]): The grid of Table 4.
        protocol_seeds (list[int]): Its seeds.
    """

    model: str
    targets: list[str]
    images: str | None
    limit: int | None = paper.IMAGES_PER_CLASS
    count: int = 1
    options: dict[str, Any] = field(default_factory=dict)
    steps: int = 512
    protocol_target: str = str(paper.GOLDFISH)
    protocols: dict[str, list[Any]] = field(default_factory=lambda: dict(PAPER_PROTOCOLS))
    protocol_seeds: list[int] = field(default_factory=lambda: [0, 1, 2, 3, 4])
    class_table: Path | None = None

    @property
    def stem(self) -> str:
        """What the folder of its results is called."""
        return model_stem(self.model)

    def settings(self) -> dict[str, Any]:
        """Everything that its results depend on."""
        return {each.name: getattr(self, each.name) for each in fields(self)}


def small_stages(images: str | None = None, class_table: Path | None = None) -> list[Stage]:
    """
    The protocol on a small stage: the digits, and an ImageNet network on photographs if there are any.

    Args:
        images (str, optional): A folder of ImageNet photographs, for EfficientNet-Lite0. Default: None, its pictures are made and not
            compared
        class_table (Path, optional): Which class a wnid or a name in it is. Default: None

    Returns:
        list[Stage]: For :class:`~captum_proto.experiments.reproduce.Reproduce`, minutes on a laptop.
    """
    # A digit turned upside down is another digit, so digits are shaken, not spun; squared differences keep strokes, remove speckles.
    digits = Stage(
        model="digits",
        targets=[str(digit) for digit in range(10)],
        images="digits",
        limit=40,  # the training held back 43 to 46 of each
        options={
            "steps": 256,
            "transform": RandomAffine(15, translate=(0.1, 0.1), scale=(0.9, 1.1)),
            "high_frequency_weight": 30.0,
            "high_frequency_power": 2,
        },
        steps=256,
        protocol_target="3",
        protocols={
            "scale": ["none", [0.9, 1.1], [0.7, 1.3]],
            "degrees": ["none", 15, 180],
            "translate": ["none", 0.1, 0.5],
        },
        protocol_seeds=[0, 1, 2],
    )
    network = Stage(
        model="efficientnet-lite0",
        targets=["151-268", "7-24,80-100,127-146"] if images else ["558", "12"],
        images=images,
        class_table=class_table,
        limit=24,
        options={"steps": 128, "warmup_steps": 16},
        steps=128,
        protocol_target="151-268" if images else "558",
        protocols={"scale": [[0.7, 1.3]], "degrees": ["none", 180], "translate": ["none", 0.5]},
        protocol_seeds=[0, 1],
    )
    return [digits, network]


@dataclass(frozen=True)
class OpenStage:
    """
    A stage whose model is in memory.

    Attributes:
        stage (Stage): What is asked for.
        settings (ReproduceSettings): How.
        named (NamedModel): The model.
        natural (NaturalImages, optional): Natural images for it; None if there are none to compare with.
        labels (dict[tuple[int, ...], str]): The targets, and what tables call each.
        runs (dict[str, Protocol]): What its items are read off, by their folders below that of the model.
    """

    stage: Stage
    settings: ReproduceSettings
    named: NamedModel
    natural: NaturalImages | None
    labels: dict[Target, str]
    runs: dict[str, Protocol[Any]] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The name of the model."""
        return self.stage.model

    @property
    def random_weights(self) -> bool:
        """Whether the model has not been trained."""
        return str(self.named.settings.get("weights", "")).startswith("random")

    def class_folder(self, target: Target) -> str:
        """The folder of a class below that of the model."""
        return f"{CLASSES}/{file_stem(target, self.named.class_names)}"


def open_stage(stage: Stage, settings: ReproduceSettings, named: NamedModel) -> OpenStage:
    """A stage with its model, and with the runs that make prototypes and baselines of each class and compare them."""
    targets = list(dict.fromkeys(parse_classes(stage.targets, named.class_names)))
    labels = dict(zip(targets, labels_of(targets, named.class_names), strict=True))
    natural = None if stage.images is None else natural_images(stage, settings, named)
    opened = OpenStage(stage, settings, named, natural, labels)
    opened.runs.update(_class_runs(opened))
    return opened


def natural_images(stage: Stage, settings: ReproduceSettings, named: NamedModel) -> NaturalImages:
    """The natural images of a stage, for a model."""
    assert stage.images is not None
    return NaturalImages(
        stage.images,
        named.geometry,
        named.class_names,
        limit=stage.limit,
        seed=settings.seed,
        batch_size=settings.image_batch,
        workers=settings.workers,
        class_table=stage.class_table,
    )


def _class_runs(opened: OpenStage) -> dict[str, Protocol[Any]]:
    """An evaluation of all classes; without natural images, the generation of each picture."""
    stage, settings, named = opened.stage, opened.settings, opened.named
    options = {**PRESETS["paper"], **stage.options}
    baselines = {name: {**PRESETS[preset], "steps": stage.steps} for name, preset in BASELINES.items()}
    baselines["feature_visualization"]["transform"] = feature_visualization_transform(min(named.image_shape[1:]))
    if opened.natural is not None:
        run = evaluate.Evaluate(
            named,
            list(opened.labels),
            opened.natural,
            options,
            count=stage.count,
            seed=settings.seed,
            batch_size=settings.batch_size,
            similarity={"batch_size": settings.image_batch},
            comparison={**COMPARISON, "ascent_steps": stage.steps, "seed": settings.seed},
            further=baselines,
        )
        return {CLASSES: run}
    return {
        f"{opened.class_folder(target)}/{name}": generate.Generate(
            named,
            [target] * stage.count,
            how,
            seed=settings.seed,
            batch_size=settings.batch_size,
            page=False,
        )
        for target in opened.labels
        for name, how in {PROTOTYPES: options, **baselines}.items()
    }


@dataclass(frozen=True)
class StageResults:
    """
    What was made of a stage: what its items are read off.

    Attributes:
        stage (OpenStage): The stage.
        folder (Path): Where its results are.
    """

    stage: OpenStage
    folder: Path

    @cached_property
    def comparisons(self) -> dict[Target, PathComparison]:
        """The comparison of each class with natural images; empty without these."""
        if self.stage.natural is None:
            return {}
        return {
            target: PathComparison.load(self.folder / self.stage.class_folder(target) / evaluation_page.COMPARISON)
            for target in self.stage.labels
        }

    @property
    def every(self) -> list[PathComparison]:
        """The comparisons of all classes, in their order."""
        return list(self.comparisons.values())

    @cached_property
    def images(self) -> dict[str, list[dict[str, str]]]:
        """By class, each natural image of it that was compared with, and its SHA-256."""
        natural = self.stage.natural
        return {} if natural is None else {label: natural.listed(target) for target, label in self.stage.labels.items()}

    def prototypes(self, target: Target, name: str = PROTOTYPES) -> Prototypes:
        """The prototypes of a class, or the pictures of a baseline."""
        return Prototypes.load(self.folder / self.stage.class_folder(target) / name / PROTOTYPES_FILE)
