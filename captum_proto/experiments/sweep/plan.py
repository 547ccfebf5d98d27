"""What a sweep makes with one model, settled before anything is computed: its prototypes, their batches, and what files are called."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from captum_proto._utils.class_names import file_stem, labels_of, model_stem, parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.generate import rehearse
from captum_proto.experiments.sweep.grid import Combination, Sweep
from captum_proto.models import NamedModel
from captum_proto.optim import EachAffine, PhaseImage, RandomAffine

#: How many photographs of other classes the magnitudes of a ``PhaseImage`` are measured on.
MEASURED_IMAGES = 90
#: The folders of a sweep, in each of which every model has its own.
PROTOTYPES, SCORES, PICTURES, CURVES = "prototypes", "scores", "pictures", "curves"


@dataclass(frozen=True)
class Point:
    """One prototype of a sweep: which combination of the grid, which target, which seed."""

    combination: int
    target: Target
    seed: int


@dataclass(frozen=True)
class ModelPlan:
    """
    What a sweep makes with one model.

    Attributes:
        model (str): Its name.
        provenance (dict): What is recorded of it.
        images (dict, optional): What is recorded of the natural images.
        labels (dict[tuple[int, ...], str]): What tables call each target.
        stems (dict[tuple[int, ...], str]): What files call each target.
        batches (list[list[Point]]): Which prototypes are optimized together.
    """

    model: str
    provenance: dict[str, Any]
    images: dict[str, Any] | None
    labels: dict[Target, str]
    stems: dict[Target, str]
    batches: list[list[Point]]

    @property
    def stem(self) -> str:
        """What files call the model."""
        return model_stem(self.model)

    def batch_name(self, index: int) -> str:
        """The task of a batch, and its file without the ending."""
        return f"{PROTOTYPES}/{self.stem}/{index:05d}"

    def scores_name(self, target: Target) -> str:
        """The task of a target's comparison, and its file without the ending."""
        return f"{SCORES}/{self.stem}/{self.stems[target]}"

    def picture(self, point: Point) -> str:
        """The file of a prototype's picture."""
        return f"{PICTURES}/{self.stem}/{self.stems[point.target]}/{point.combination:03d}_seed{point.seed}.png"

    def curves(self, combination: int, target: Target) -> str:
        """The file of a combination's curves."""
        return f"{CURVES}/{self.stem}/{self.stems[target]}/{combination:03d}.safetensors"

    def batches_of(self, target: Target) -> list[int]:
        """The batches in which there are prototypes of a target."""
        return [i for i, batch in enumerate(self.batches) if any(point.target == target for point in batch)]

    def points_of(self, target: Target) -> list[Point]:
        """The prototypes of a target, in the order in which its comparison has them."""
        return [point for batch in self.batches for point in batch if point.target == target]


def plan_model(
    sweep: Sweep, model: str, named: NamedModel, natural: NaturalImages | None, batch_size: int
) -> ModelPlan:
    """
    Settle what a sweep makes with a model.

    Prototypes whose settings differ in their affine transform, class or seed alone are optimized together.

    Args:
        sweep (Sweep): What to make.
        model (str): The model's name in the sweep.
        named (NamedModel): The model.
        natural (NaturalImages, optional): The natural images for it.
        batch_size (int): Prototypes at a time.

    Raises:
        InputError: If a class is unknown or named twice, an argument of generate is out of its range, or magnitudes are to be measured
            without images.
    """
    targets = parse_classes(sweep.targets, named.class_names)
    if len(set(targets)) < len(targets):
        raise InputError(f"targets are {sweep.targets}, which name a class twice; leave one out.")
    labels = dict(zip(targets, labels_of(targets, named.class_names), strict=True))
    labels |= {
        target: sweep.names[text] for target, text in zip(targets, sweep.targets, strict=True) if text in sweep.names
    }
    if len(set(labels.values())) < len(labels):
        raise InputError(f"the names of the targets are {list(labels.values())}; expected a different one for each.")
    combinations = sweep.combinations()
    for combination in combinations:
        if combination.measured and natural is None:
            raise InputError(
                f'"{combination.name}" has measured magnitudes, but there are no images to measure; give --images.'
            )
    together: dict[str, list[Point]] = {}
    for (index, combination), target in itertools.product(enumerate(combinations), targets):
        points = together.setdefault(_batch_key(combination, target), [])
        points.extend(Point(index, target, seed) for seed in sweep.seeds)
    for points in together.values():
        options = combinations[points[0].combination].options(named.image_shape)
        rehearse(named, [point.target for point in points], options)
    return ModelPlan(
        model=model,
        provenance=named.provenance(),
        images=None if natural is None else natural.settings(),
        labels=labels,
        stems={target: file_stem(target, named.class_names) for target in targets},
        batches=[
            points[begin : begin + batch_size]
            for points in together.values()
            for begin in range(0, len(points), batch_size)
        ],
    )


def batch_options(
    combinations: Sequence[Combination],
    points: Sequence[Point],
    natural: NaturalImages | None,
    image_shape: tuple[int, ...],
) -> dict[str, Any]:
    """The keyword arguments with which generate makes the prototypes of one batch."""
    each = [combinations[point.combination].options(image_shape) for point in points]
    options = {**each[0], "transform": _common_transform([values["transform"] for values in each])}
    if combinations[points[0].combination].measured and natural is not None:
        photographs = natural.elsewhere(points[0].target, MEASURED_IMAGES)
        plain = options["parametrization"]
        options["parametrization"] = PhaseImage.measured(
            photographs,
            decorrelate=plain.decorrelate,
            coarse_to_fine=plain.coarse_to_fine,
            half_size=plain.half_size,
        )
    return options


def _batch_key(combination: Combination, target: Target) -> str:
    """What has to be equal within a batch."""
    options = combination.options()
    plain: dict[str, Any] = {
        name: value.settings() if hasattr(value, "settings") else str(value)
        for name, value in options.items()
        if name != "transform"
    }
    if combination.measured:  # on images of other classes than the target's: each target has magnitudes of its own
        spectrum = options["parametrization"]
        plain["parametrization"] = ["measured", target, repr(spectrum)]
    transform = options["transform"]
    shape = transform.fill if type(transform) is RandomAffine else None if transform is None else transform.settings()
    return json.dumps([plain, type(transform).__name__, shape], sort_keys=True)


def _common_transform(transforms: Sequence[Any]) -> Any:
    """One transform for a batch: each prototype's own affine transform, or the one that all have."""
    if all(type(transform) is RandomAffine for transform in transforms):
        return EachAffine(list(transforms))
    return transforms[0]


__all__ = ["PICTURES", "PROTOTYPES", "ModelPlan", "Point", "batch_options", "plan_model"]
