"""Sorted path similarity of prototypes, natural images and controls against one reference, and what they say together."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.tables import number, percent, text_table
from captum_proto.metrics.summaries import OTHER, SAME, condition_label
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import spread


@dataclass(frozen=True)
class SortedSummary:
    r"""
    One row of the table: what sorted path similarity says of one condition.

    Attributes:
        condition (str): "prototype", "same_class", "other_class", or a control.
        images (int): How many.
        distance (float): Mean over layers of the mean over images, 1 being natural images of the class, each against
            the others; dead layers left out.
        distance_over_images (float): Standard deviation of an image's mean over layers, over images; NaN for a single image.
        normalized (float): Median over layers of (D - D_I) / (D_dc - D_I): 0 as the same class, 1 as other classes.
        below_mean (float): Share of the living layers with D ≤ D_I, the mean over same-class images.
        below_median (float): Share of the images whose mean over layers is at most the median of same-class images'.
        classes (int): Over how many classes the row is a mean.
        distance_over_classes (float): Standard deviation of ``distance`` over classes; NaN for a single one.
    """

    condition: str
    images: int
    distance: float
    distance_over_images: float
    normalized: float
    below_mean: float
    below_median: float
    classes: int = 1
    distance_over_classes: float = math.nan


@dataclass
class SortedComparison:
    r"""
    A three-way comparison by sorted path similarity, with controls.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        distance (dict[str, Tensor]): By condition, (N, L) float64: "prototype", "same_class", "other_class", and the controls.
        settings (dict): How it was made.

    Examples::

        >>> distances = {"prototype": [[1.0, 3.0]], "same_class": [[1.0, 2.0], [1.0, 2.0]], "other_class": [[2.0, 4.0]]}
        >>> report = SortedComparison(["conv", "fc"], {name: torch.tensor(rows).double() for name, rows in distances.items()})
        >>> report.normalized("prototype")
        tensor([0.0000, 0.5000], dtype=torch.float64)
    """

    layers: list[str]
    distance: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def conditions(self) -> list[str]:
        """The names of the conditions, controls last."""
        return list(self.distance)

    @property
    def dead(self) -> Tensor:
        """(L,) bool: layers that are the same for all natural images. They are left out of every mean."""
        return self.distance[SAME].isnan().all(0)

    def mean(self, condition: str) -> Tensor:
        """(L,): the mean over a condition's images, in each layer."""
        return self.distance[condition].mean(0)

    def by_image(self, condition: str) -> Tensor:
        """(N,): each image's mean over the living layers."""
        return self.distance[condition][:, ~self.dead].mean(1)

    def normalized(self, condition: str) -> Tensor:
        r"""(L,): :math:`(D - D_I) / (D_{dc} - D_I)`; 0 as the same class, 1 as other classes, NaN where those are equal."""
        low, high = self.mean(SAME), self.mean(OTHER)
        return torch.where(high == low, math.nan, (self.mean(condition) - low) / (high - low))

    def summary(self, condition: str) -> SortedSummary:
        """A condition's row of the table."""
        living = ~self.dead
        by_image, natural = self.by_image(condition), self.by_image(SAME)
        curve = self.normalized(condition)[living]
        curve = curve[~curve.isnan()]
        some = bool(living.any())
        return SortedSummary(
            condition=condition,
            images=len(by_image),
            distance=float(self.mean(condition)[living].mean()),
            distance_over_images=spread(by_image),
            normalized=float(curve.quantile(0.5)) if len(curve) else math.nan,
            below_mean=float((self.mean(condition) <= self.mean(SAME))[living].double().mean()) if some else math.nan,
            below_median=float((by_image <= natural.quantile(0.5)).double().mean()) if some else math.nan,
        )

    def summaries(self) -> list[SortedSummary]:
        """Every condition's row."""
        return [self.summary(condition) for condition in self.conditions]

    def table(self) -> str:
        """The rows as text, with what they were made from beneath."""
        left_out, count = self.settings.get("left_out", 0), self.settings.get("reference_images", "?")
        way = f"{left_out} of {len(self.distance[SAME])} same-class images were left out of the mean they are compared with"
        return (
            f"{sorted_table(self.summaries())}\n\n"
            f"{len(self.layers)} layers, {int(self.dead.sum())} dead; reference: {count} images; {way}."
        )

    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write every value: one line for each condition, image and layer.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        rows = (
            [condition, image, index, layer, repr(distance)]
            for condition, values in self.distance.items()
            for image, each in enumerate(values.tolist())
            for index, (layer, distance) in enumerate(zip(self.layers, each, strict=True))
        )
        write_rows(path, ["condition", "image", "index", "layer", "distance"], rows, overwrite)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        tensors = {f"distance.{condition}": values for condition, values in self.distance.items()}
        images = {condition: len(values) for condition, values in self.distance.items()}
        described = {"layers": self.layers, "images": images, "settings": self.settings}
        save_tensors(path, "sorted path comparison", tensors, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SortedComparison:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "sorted path comparison")
        with intact(path, "sorted path comparison"):
            loaded = cls(
                layers=list(metadata["layers"]),
                distance={condition: tensors[f"distance.{condition}"] for condition in metadata["images"]},
                settings=dict(metadata["settings"]),
            )
            for condition, values in loaded.distance.items():
                alike(f"images of {condition}", metadata["images"][condition], len(values))
                alike("layers", len(loaded.layers), values.shape[1])
        return loaded


def summarize_sorted(comparisons: Sequence[SortedComparison]) -> list[SortedSummary]:
    r"""
    The table over several classes: every figure the mean over those classes that have one.

    Args:
        comparisons (sequence of SortedComparison): One for each class, of the same model and conditions.

    Returns:
        list[SortedSummary]: One row for each condition; ``images`` are totals.

    Raises:
        ValueError: If there are none, or their conditions or layers differ.
    """
    if not comparisons:
        raise InputError("there are no comparisons to summarize; give at least one.")
    first = comparisons[0]
    if any((other.layers, other.conditions) != (first.layers, first.conditions) for other in comparisons):
        raise InputError(
            "the comparisons differ in their layers or conditions; summarize those of one model, made with the same controls."
        )

    def mean(values: list[float]) -> float:
        finite = [value for value in values if not math.isnan(value)]
        return sum(finite) / len(finite) if finite else math.nan

    rows = []
    for condition in first.conditions:
        each = [comparison.summary(condition) for comparison in comparisons]
        names = ("distance", "distance_over_images", "normalized", "below_mean", "below_median")
        means = {name: mean([getattr(row, name) for row in each]) for name in names}
        over_classes = spread([row.distance for row in each])
        images = sum(row.images for row in each)
        rows.append(SortedSummary(condition, images, **means, classes=len(each), distance_over_classes=over_classes))
    return rows


def sorted_table(summaries: Sequence[SortedSummary]) -> str:
    """Rows of a table as aligned text."""
    over_classes = any(row.classes > 1 for row in summaries)
    header = ["condition", "images", "distance", "± classes" if over_classes else "± images"]
    header += ["normalized", "D ≤ D_I", "images ≤ median"]
    rows = []
    for row in summaries:
        around = row.distance_over_classes if over_classes else row.distance_over_images
        # It is what the others are measured by.
        shares = ["–", "–"] if row.condition == SAME else [percent(row.below_mean), percent(row.below_median)]
        values = [number(row.distance), number(around), number(row.normalized, 2)]
        rows.append([condition_label(row.condition), str(row.images), *values, *shares])
    return text_table(header, rows)


__all__ = ["SortedComparison", "SortedSummary", "sorted_table", "summarize_sorted"]
