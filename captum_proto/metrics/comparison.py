"""Path similarity of prototypes, natural images and controls against one reference, and what they say together."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto.metrics.depth import WINDOW, DepthSummary, depth_above_half
from captum_proto.metrics.summaries import (
    FURTHER,
    OTHER,
    SAME,
    ConditionSummary,
    condition_label,
    save_summaries,
    summary_table,
)
from captum_proto.runs.files import write_rows
from captum_proto.stats.intervals import spread


@dataclass
class PathComparison:
    r"""
    The paper's three-way comparison (arXiv:2309.17144, section 4), with controls.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        spearman (dict[str, Tensor]): By condition, (N, L) float64: "prototype", "same_class", "other_class", and the controls.
        l1 (dict[str, Tensor]): By condition, (N, L) float64.
        settings (dict): How it was made.
        cosine (dict[str, Tensor]): By condition, (N, L) float64; empty where it was not computed.
        pearson (dict[str, Tensor]): By condition, (N, L) float64; empty where it was not computed.

    Examples::

        >>> report = similarity.compare(prototypes, same_class, other_class)
        >>> print(report.table())
        >>> report.to_csv("scores.csv")
    """

    layers: list[str]
    spearman: dict[str, Tensor]
    l1: dict[str, Tensor]
    settings: dict[str, Any] = field(default_factory=dict)
    cosine: dict[str, Tensor] = field(default_factory=dict)
    pearson: dict[str, Tensor] = field(default_factory=dict)

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

    def depth_above_half(self, condition: str, window: int = WINDOW) -> float:
        """
        The depth from which on a condition's normalized Spearman curve stays above one half: see
        :func:`~captum_proto.metrics.depth_above_half`.

        Layers in which the curve has no scale, because they are dead or same and other class are equal, are left out. A living layer in
        which no image of the condition has a rank correlation counts as processed like other classes.

        Args:
            condition (str): Of :attr:`conditions`.
            window (int, optional): Over how many layers the curve is smoothed; 1 is the raw curve. Default: 10, the paper's

        Returns:
            float: In [0, 1]: 0 from the first layer on, 1 nowhere; NaN where no layer has a scale.
        """
        curve, known = self.normalized_spearman(condition), ~self.normalized_spearman(SAME).isnan()
        return depth_above_half(torch.where(known, curve.nan_to_num(0.0), math.nan), window)

    def depths(self, window: int = WINDOW) -> list[DepthSummary]:
        """Every condition's depth, on the smoothed and on the raw curve."""
        return [
            DepthSummary(name, self.depth_above_half(name, window), self.depth_above_half(name, 1))
            for name in self.conditions
        ]

    def summary(self, condition: str) -> ConditionSummary:
        """A condition's row of the table."""
        living = ~self.dead
        by_layer = self.mean_spearman(condition)[living]
        by_image = self.spearman[condition][:, living].nanmean(1)
        further = {name: float(values[condition][:, living].nanmean(0).nanmean()) for name, values in self._further()}
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
            cosine=further.get("cosine"),
            pearson=further.get("pearson"),
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
        measures = {"spearman": self.spearman, "l1": self.l1, **dict(self._further())}
        rows = (
            [condition, image, index, layer, *map(repr, numbers)]
            for condition in self.conditions
            for image, values in enumerate(
                zip(*(measured[condition].tolist() for measured in measures.values()), strict=True)
            )
            for index, (layer, *numbers) in enumerate(zip(self.layers, *values, strict=True))
        )
        write_rows(path, ["condition", "image", "index", "layer", *measures], rows, overwrite)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        measures = {"spearman": self.spearman, "l1": self.l1, **dict(self._further())}
        tensors = {f"{name}.{g}": v for name, measured in measures.items() for g, v in measured.items()}
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
                **{
                    name: {condition: tensors[f"{name}.{condition}"] for condition in metadata["conditions"]}
                    for name in FURTHER
                    if any(tensor.startswith(f"{name}.") for tensor in tensors)  # earlier files have none
                },
            )
            for condition, values in loaded.spearman.items():
                for measured in (loaded.l1, *dict(loaded._further()).values()):
                    alike(f"images of {condition}", len(values), len(measured[condition]))
                    alike("layers", len(loaded.layers), values.shape[1], measured[condition].shape[1])
        return loaded

    def _further(self) -> list[tuple[str, dict[str, Tensor]]]:
        """The measures beside Spearman and L1 that were computed."""
        return [(name, getattr(self, name)) for name in FURTHER if getattr(self, name)]


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
        numbers = [name for name in each[0] if all(isinstance(row[name], float) for row in each)]
        means = {name: _mean([row[name] for row in each]) for name in numbers}
        means["spearman_over_classes"] = spread([row["spearman"] for row in each])
        totals = {name: sum(row[name] for row in each) for name in ("images", "undefined")}
        rows.append(ConditionSummary(**{"condition": condition, "classes": len(each), **totals, **means}))
    return rows


def pooled(comparisons: Sequence[PathComparison]) -> PathComparison:
    """All images of several classes together, each with the scores against its own class's reference: for curves over classes."""
    first = comparisons[0]
    further = [name for name in FURTHER if all(getattr(each, name) for each in comparisons)]
    return PathComparison(
        layers=first.layers,
        spearman={
            condition: torch.cat([each.spearman[condition] for each in comparisons]) for condition in first.conditions
        },
        l1={condition: torch.cat([each.l1[condition] for each in comparisons]) for condition in first.conditions},
        settings=first.settings,
        **{
            name: {
                condition: torch.cat([getattr(each, name)[condition] for each in comparisons])
                for condition in first.conditions
            }
            for name in further
        },
    )


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


__all__ = [
    "OTHER",
    "SAME",
    "ConditionSummary",
    "PathComparison",
    "condition_label",
    "pooled",
    "save_summaries",
    "summarize",
    "summary_table",
]
