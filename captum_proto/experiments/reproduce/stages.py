"""A stage of the reproduction: one model with its classes and images, and what was made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_proto._utils.batches import Images
from captum_proto._utils.class_names import file_stem, labels_of, parse_classes
from captum_proto._utils.targets import Target
from captum_proto.attr import PRESETS, PrototypeGeneration, Prototypes
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.evaluate import evaluate_to_folder
from captum_proto.experiments.generate import generate_to_folder
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.sweep import PAPER_PROTOCOLS
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.models import NamedModel
from captum_proto.optim import RandomAffine, feature_visualization_transform
from captum_proto.runs.provenance import versions

#: Methods whose pictures stand beside the prototypes, by preset.
BASELINES = {"ascent": "ascent", "feature_visualization": "feature_visualization"}


@dataclass(frozen=True)
class Stage:
    """
    One model, and on what it is to be looked at.

    Args:
        model (str): Its name.
        targets (list[str]): Classes or groups of classes.
        images (str, optional): A folder of natural images, or "digits". None: pictures are made, and compared with nothing.
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


def small_stages(images: str | None = None) -> list[Stage]:
    """
    The protocol on a small stage: the digits, and an ImageNet network on photographs if there are any.

    Args:
        images (str, optional): A folder of ImageNet photographs, for EfficientNet-Lite0. Default: None, its pictures are made and not
            compared

    Returns:
        list[Stage]: For :func:`reproduce_to_folder`, minutes on a laptop.
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
        limit=24,
        options={"steps": 128, "warmup_steps": 16},
        steps=128,
        protocol_target="151-268" if images else "558",
        protocols={"scale": [[0.7, 1.3]], "degrees": ["none", 180], "translate": ["none", 0.5]},
        protocol_seeds=[0, 1],
    )
    return [digits, network]


@dataclass
class _Run:
    """One stage, carried out: what the items are read off."""

    stage: Stage
    named: NamedModel
    folder: Path
    labels: dict[Target, str]
    comparisons: dict[Target, PathComparison]
    images: dict[str, list[dict[str, str]]]

    @property
    def model(self) -> str:
        return self.stage.model

    def every(self) -> list[PathComparison]:
        return list(self.comparisons.values())

    def place(self, group: Target) -> Path:
        return self.folder / "classes" / file_stem(group, self.named.class_names)


def _stage_story(stage: Stage) -> dict[str, Any]:
    values = {name: getattr(stage, name) for name in stage.__dataclass_fields__}
    options = {name: value.settings() if hasattr(value, "settings") else value for name, value in stage.options.items()}
    return {**values, "options": options}


def _carry_out(
    stage: Stage,
    named: NamedModel,
    folder: Path,
    *,
    seed: int,
    batch_size: int,
    image_batch: int,
    workers: int,
    resume: bool,
    show_progress: bool,
) -> _Run:
    """Prototypes, baselines and controls of every class, compared with natural images as the paper does."""
    groups = parse_classes(stage.targets, named.class_names)
    labels = dict(zip(groups, labels_of(groups, named.class_names), strict=True))
    natural = None if stage.images is None else _natural(stage, named, seed, image_batch, workers)
    if natural is not None:
        for group in groups:
            natural.of(group)  # before anything takes time: are there images of every class?
    generation = PrototypeGeneration(named.model, named.preprocess)

    def generate(group: Target, place: Path, name: str, options: Mapping[str, Any]) -> Prototypes:
        return generate_to_folder(
            generation,
            [group] * stage.count,
            named.image_shape,
            place / name,
            options=dict(options),
            seed=seed,
            batch_size=batch_size,
            class_names=named.class_names,
            resume=(place / name).exists(),
            show_progress=show_progress,
            page=False,
        )

    def prototypes_of(group: Target, place: Path) -> Prototypes:
        return generate(group, place, "prototypes", {**PRESETS["paper"], **stage.options})

    def baselines_of(group: Target, place: Path) -> dict[str, Images]:
        options = {name: {**PRESETS[preset], "steps": stage.steps} for name, preset in BASELINES.items()}
        options["feature_visualization"]["transform"] = feature_visualization_transform(min(named.image_shape[1:]))
        return {name: generate(group, place, name, one).images for name, one in options.items()}

    run = _Run(stage, named, folder, labels, {}, {})
    if natural is None:
        for group in groups:
            prototypes_of(group, run.place(group))
            baselines_of(group, run.place(group))
        return run
    run.comparisons = evaluate_to_folder(
        lambda: PathSimilarity(named.model, preprocess=named.preprocess, batch_size=image_batch),
        prototypes_of,
        natural.of,
        groups,
        folder / "classes",
        options={
            "leave_one_out": False,  # the paper's way
            "controls": ("gray", "noise", "mean_image"),
            "ascent_steps": stage.steps,
            "seed": seed,
            "show_progress": show_progress,
        },
        further_of=baselines_of,
        class_names=named.class_names,
        story={"command": "evaluate", "model": {"name": stage.model, **_plain(named.settings)}, "versions": versions()},
        resume=resume,
        overwrite=not resume,
        say=lambda text: None,
    )
    run.images = {labels[group]: natural.listed(group) for group in groups}
    return run


def _natural(stage: Stage, named: NamedModel, seed: int, image_batch: int, workers: int) -> NaturalImages:
    assert stage.images is not None
    return NaturalImages(
        stage.images,
        named.geometry,
        named.class_names,
        limit=stage.limit,
        seed=seed,
        batch_size=image_batch,
        workers=workers,
    )


def _plain(settings: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in settings.items()}
