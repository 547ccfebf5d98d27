"""Path similarity of prototypes, natural images and controls against one reference, and what they say together."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.tables import number, percent, text_table
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import spread

SAME, OTHER = "same_class", "other_class"


def condition_label(condition: str) -> str:
    """A condition's name for people: "same class" for ``same_class``."""
    return condition.replace("_", " ")


@dataclass(frozen=True)
class ConditionSummary:
    r"""
    One row of the table: what path similarity says of one condition.

    Attributes:
        condition (str): "prototype", "same_class", "other_class", or a control.
        images (int): How many.
        spearman (float): Mean over layers of the mean over images; dead and undefined layers left out.
        spearman_over_layers (float): Standard deviation of a layer's mean, over layers.
        spearman_over_images (float): Standard deviation of an image's mean over layers, over images; NaN for a single image.
        normalized_spearman (float): Median over layers of (SS - SS_dc) / (SS_I - SS_dc): 1 as the same class, 0 as other classes.
        normalized_l1 (float): Median over layers of (D - D_I) / (D_dc - D_I): 0 as the same class, 1 as other classes.
        spearman_above_mean (float): Share of the living layers with SS ≥ the *mean* over same-class images: assertion (2), read mildly.
        spearman_above_every (float): Share of the living layers with SS ≥ that of *every* same-class image: assertion (2), as written.
        l1_below_mean (float): Share of the living layers with D ≤ D_I: assertion (1).
        undefined (int): Living layers in which no image of the condition has a rank correlation, because its activations are constant.
            They count as failing assertion (2).
        classes (int): Over how many classes the row is a mean.
        spearman_over_classes (float): Standard deviation of ``spearman`` over classes; NaN for a single one.
    """

    condition: str
    images: int
    spearman: float
    spearman_over_layers: float
    spearman_over_images: float
    normalized_spearman: float
    normalized_l1: float
    spearman_above_mean: float
    spearman_above_every: float
    l1_below_mean: float
    undefined: int
    classes: int = 1
    spearman_over_classes: float = math.nan


@dataclass
class PathComparison:
    r"""
    The paper's three-way comparison (arXiv:2309.17144, section 4), with controls.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        spearman (dict[str, Tensor]): By condition, (N, L) float64: "prototype", "same_class", "other_class", and the controls.
        l1 (dict[str, Tensor]): By condition, (N, L) float64.
        settings (dict): How it was made.

    Examples::

        >>> report = similarity.compare(prototypes, same_class, other_class)
        >>> print(report.table())
        >>> report.to_csv("scores.csv")
    """

    layers: list[str]
    spearman: dict[str, Tensor]
    l1: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def conditions(self) -> list[str]:
        """The names of the conditions, controls last."""
        return list(self.spearman)

    @property
    def dead(self) -> Tensor:
        """(L,) bool: layers in which no same-class image has a rank correlation with the reference. They are left out of every mean."""
        return self.spearman[SAME].isnan().all(0)

    def mean_spearman(self, condition: str) -> Tensor:
        """(L,): the mean over a condition's images, in each layer; NaN where none has one."""
        return self.spearman[condition].nanmean(0)

    def mean_l1(self, condition: str) -> Tensor:
        """(L,): the mean over a condition's images, in each layer."""
        return self.l1[condition].mean(0)

    def normalized_spearman(self, condition: str) -> Tensor:
        r"""(L,): :math:`(SS - SS_{dc}) / (SS_I - SS_{dc})`; 1 as the same class, 0 as other classes, NaN where those are equal."""
        low, high = self.mean_spearman(OTHER), self.mean_spearman(SAME)
        return _ratio(self.mean_spearman(condition) - low, high - low)

    def normalized_l1(self, condition: str) -> Tensor:
        r"""(L,): :math:`(D - D_I) / (D_{dc} - D_I)`; 0 as the same class, 1 as other classes, NaN where those are equal."""
        low, high = self.mean_l1(SAME), self.mean_l1(OTHER)
        return _ratio(self.mean_l1(condition) - low, high - low)

    def above_mean(self, condition: str) -> Tensor:
        """(L,) bool: layers in which assertion (2) holds against the mean over same-class images."""
        return self.mean_spearman(condition) >= self.mean_spearman(SAME)

    def above_every(self, condition: str) -> Tensor:
        """(L,) bool: layers in which assertion (2) holds against every same-class image, as the paper writes it."""
        highest = self.spearman[SAME].nan_to_num(-math.inf).amax(0)
        return self.mean_spearman(condition) >= highest

    def below_mean(self, condition: str) -> Tensor:
        """(L,) bool: layers in which assertion (1), D ≤ D_I, holds."""
        return self.mean_l1(condition) <= self.mean_l1(SAME)

    def summary(self, condition: str) -> ConditionSummary:
        """A condition's row of the table."""
        living = ~self.dead
        by_layer = self.mean_spearman(condition)[living]
        by_image = self.spearman[condition][:, living].nanmean(1)
        return ConditionSummary(
            condition=condition,
            images=len(self.spearman[condition]),
            spearman=float(by_layer.nanmean()),
            spearman_over_layers=spread(by_layer),
            spearman_over_images=spread(by_image),
            normalized_spearman=_median(self.normalized_spearman(condition)[living]),
            normalized_l1=_median(self.normalized_l1(condition)[living]),
            spearman_above_mean=_share(self.above_mean(condition)[living]),
            spearman_above_every=_share(self.above_every(condition)[living]),
            l1_below_mean=_share(self.below_mean(condition)[living]),
            undefined=int(by_layer.isnan().sum()),
        )

    def summaries(self) -> list[ConditionSummary]:
        """Every condition's row."""
        return [self.summary(condition) for condition in self.conditions]

    def table(self) -> str:
        """The rows as text, with what they were made from beneath."""
        dead = int(self.dead.sum())
        left_out = self.settings.get("left_out", 0)
        way = f"{left_out} of {len(self.spearman[SAME])} same-class images were left out of the mean they are compared with"
        return (
            f"{summary_table(self.summaries())}\n\n"
            f"{len(self.layers)} layers, {dead} dead; reference: {self.settings.get('reference_images', '?')} images; {way}."
        )

    def to_csv(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write every value: one line for each condition, image and layer.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        rows = (
            [condition, image, index, layer, repr(correlation), repr(distance)]
            for condition in self.conditions
            for image, values in enumerate(
                zip(self.spearman[condition].tolist(), self.l1[condition].tolist(), strict=True)
            )
            for index, (layer, correlation, distance) in enumerate(zip(self.layers, *values, strict=True))
        )
        write_rows(path, ["condition", "image", "index", "layer", "spearman", "l1"], rows, overwrite)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        tensors = {f"spearman.{g}": v for g, v in self.spearman.items()} | {f"l1.{g}": v for g, v in self.l1.items()}
        save_tensors(
            path,
            "path comparison",
            tensors,
            {"layers": self.layers, "conditions": self.conditions, "settings": self.settings},
            overwrite,
        )

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PathComparison:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, "path comparison")
        if "conditions" not in metadata:
            raise InputError(f'"{path}" was saved by an earlier version of captum_proto; make the comparison again.')
        with intact(path, "path comparison"):
            loaded = cls(
                layers=list(metadata["layers"]),
                spearman={condition: tensors[f"spearman.{condition}"] for condition in metadata["conditions"]},
                l1={condition: tensors[f"l1.{condition}"] for condition in metadata["conditions"]},
                settings=dict(metadata["settings"]),
            )
            for condition, values in loaded.spearman.items():
                alike(f"images of {condition}", len(values), len(loaded.l1[condition]))
                alike("layers", len(loaded.layers), values.shape[1], loaded.l1[condition].shape[1])
        return loaded


def summarize(comparisons: Sequence[PathComparison]) -> list[ConditionSummary]:
    r"""
    The table over several classes: every figure the mean over classes, with its spread.

    Args:
        comparisons (sequence of PathComparison): One for each class, of the same model and conditions.

    Returns:
        list[ConditionSummary]: For each condition the mean over classes of each figure; ``spearman_over_classes`` is the standard deviation
        of a class's mean Spearman; ``images`` and ``undefined`` are totals.

    Raises:
        ValueError: If there are none, or their conditions or layers differ.
    """
    if not comparisons:
        raise InputError("there are no comparisons to summarize; give at least one.")
    first = comparisons[0]
    for other in comparisons[1:]:
        if other.layers != first.layers or other.conditions != first.conditions:
            raise InputError(
                "the comparisons differ in their layers or conditions; summarize those of one model, made with the same controls."
            )
    rows = []
    for condition in first.conditions:
        each = [asdict(comparison.summary(condition)) for comparison in comparisons]
        numbers = [name for name, value in each[0].items() if isinstance(value, float)]
        means = {name: _mean([row[name] for row in each]) for name in numbers}
        means["spearman_over_classes"] = spread([row["spearman"] for row in each])
        totals = {name: sum(row[name] for row in each) for name in ("images", "undefined")}
        rows.append(ConditionSummary(**{"condition": condition, "classes": len(each), **totals, **means}))
    return rows


def pooled(comparisons: Sequence[PathComparison]) -> PathComparison:
    """All images of several classes together, each with the scores against its own class's reference: for curves over classes."""
    first = comparisons[0]
    return PathComparison(
        layers=first.layers,
        spearman={
            condition: torch.cat([each.spearman[condition] for each in comparisons]) for condition in first.conditions
        },
        l1={condition: torch.cat([each.l1[condition] for each in comparisons]) for condition in first.conditions},
        settings=first.settings,
    )


def summary_table(summaries: Sequence[ConditionSummary]) -> str:
    """Rows of a table as aligned text."""
    over_classes = any(row.classes > 1 for row in summaries)
    header = ["condition", "images", "Spearman", "± layers", "± classes" if over_classes else "± images"]
    header += ["SS ≥ SS_I", "SS ≥ every I", "D ≤ D_I", "SS norm.", "D norm.", "undefined"]
    rows = []
    for row in summaries:
        spread = row.spearman_over_classes if over_classes else row.spearman_over_images
        shares = [percent(share) for share in (row.spearman_above_mean, row.spearman_above_every, row.l1_below_mean)]
        if row.condition == SAME:  # it is what the others are measured by
            shares = ["–", "–", "–"]
        values = [number(value) for value in (row.spearman, row.spearman_over_layers, spread)]
        normalized = [number(row.normalized_spearman, 2), number(row.normalized_l1, 2)]
        rows.append(
            [condition_label(row.condition), str(row.images), *values, *shares, *normalized, str(row.undefined)]
        )
    return text_table(header, rows)


def smooth(curve: Tensor, window: int) -> Tensor:
    """A curve over layers as the paper plots it: a moving mean by ``scipy.ndimage.convolve``, the ends repeated by reflection."""
    values = np.asarray(curve, dtype=np.float64)
    return torch.from_numpy(ndimage.convolve(values, np.full(window, 1 / window), mode="reflect"))


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    return torch.where(denominator == 0, math.nan, numerator / denominator)


def _median(values: Tensor) -> float:
    values = values[~values.isnan()]
    return float(values.quantile(0.5)) if values.numel() else math.nan  # torch.median would take the lower of two


def _share(holds: Tensor) -> float:
    return float(holds.double().mean()) if holds.numel() else math.nan


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


def save_summaries(
    summaries: Mapping[str, Sequence[ConditionSummary]], path: str | os.PathLike[str], overwrite: bool = False
) -> None:
    """
    Write rows of a table as CSV, one block for each class.

    Args:
        summaries (mapping[str, sequence of ConditionSummary]): By the name of the class.
        path (path): The file.
        overwrite (bool, optional): Whether an existing file may be replaced. Default: False
    """
    columns = [column.name for column in fields(ConditionSummary)]
    lines = ([label, *asdict(row).values()] for label, rows in summaries.items() for row in rows)
    write_rows(path, ["class", *columns], lines, overwrite)
