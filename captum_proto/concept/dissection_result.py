"""What network dissection finds: how well each unit's firing agrees with each concept, and how well it would by chance."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.tables import number, p_text, text_table
from captum_proto.concept.dataset import Concept, concepts_json
from captum_proto.stats.draws import pooled_p_values

_KIND = "network dissection"
DENOMINATORS = ("category", "global")


@dataclass(frozen=True)
class UnitLabel:
    """
    The concept of a unit in a category.

    Attributes:
        unit (int): Its channel.
        concept (Concept): With the highest intersection over union in its category.
        iou (float): That.
        ceiling (float): The highest that firing so often and being so frequent allow: min(p, q) / max(p, q).
        chance (float): The mean of the draws in which images have the labels of others.
        p_value (float): Of the concept and the unit, against these draws; NaN without.
        q_value (float): After Benjamini and Hochberg, over all units and concepts of the layer.
    """

    unit: int
    concept: Concept
    iou: float
    ceiling: float
    chance: float
    p_value: float
    q_value: float


@dataclass(frozen=True)
class LayerDissection:
    r"""
    The units of a layer.

    Attributes:
        layer (str): Its name.
        concepts (list[Concept]): K of them.
        categories (list[str]): C of them.
        thresholds (Tensor): (U,), float64: above it a unit fires.
        together (Tensor): (1 + D, U, K), int64: at how many pixels of each concept each unit fires; then the same in D draws.
        fired (Tensor): (1 + D, U, 1 + C), int64: at how many pixels of images with a label of a category; in the last column of all images.
        areas (Tensor): (K,), int64: how many pixels are of each concept.
        pixels (int): Of all images.
        denominator (str): "category" or "global".
        threshold (float): The intersection over union from which on a unit detects a concept.
    """

    layer: str
    concepts: list[Concept]
    categories: list[str]
    thresholds: Tensor
    together: Tensor
    fired: Tensor
    areas: Tensor
    pixels: int
    denominator: str = "category"
    threshold: float = 0.04

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return len(self.thresholds)

    @property
    def draws(self) -> int:
        """How many draws there are of what chance gives."""
        return len(self.together) - 1

    @cached_property
    def _category(self) -> Tensor:
        """(K,): the place of each concept's category."""
        return torch.tensor([self.categories.index(concept.category) for concept in self.concepts])

    @cached_property
    def _activity(self) -> Tensor:
        """(1 + D, U, K): at how many pixels a unit fires, of those that count for each concept."""
        places = (
            torch.full_like(self._category, len(self.categories)) if self.denominator == "global" else self._category
        )
        return self.fired[:, :, places]

    def _ratios(self, together: Tensor, activity: Tensor) -> Tensor:
        union = (activity + self.areas - together).double()
        return torch.where(union > 0, together / union.clamp(min=1), 0.0)

    @cached_property
    def iou(self) -> Tensor:
        """(U, K), float64: intersection over union of where each unit fires and where each concept is."""
        return self._ratios(self.together[0], self._activity[0])

    @cached_property
    def chance(self) -> Tensor:
        """(D, U, K), float64: the same in each draw, in which images have the labels of others."""
        return self._ratios(self.together[1:], self._activity[1:])

    @cached_property
    def ceiling(self) -> Tensor:
        """(U, K), float64: the highest intersection over union that both frequencies allow: the one area within the other."""
        a, t = self._activity[0].double(), self.areas.double().expand(self.units, -1)
        larger = torch.maximum(a, t)
        return torch.where(larger > 0, torch.minimum(a, t) / larger.clamp(min=1), 0.0)

    @cached_property
    def p_values(self) -> Tensor:
        r"""
        (U, K), float64: how often chance would make a unit agree with a concept at least so well.

        By :func:`~captum_proto.stats.draws.pooled_p_values` of intersections: with D draws and U units a p-value can be as small as
        1 / (1 + U D). NaN without at least three draws.
        """
        if self.draws < 3:
            return torch.full_like(self.iou, torch.nan)
        return pooled_p_values(self.together[0], self.together[1:])

    @cached_property
    def q_values(self) -> Tensor:
        """(U, K): p-values after Benjamini and Hochberg, over all units and concepts: of those at most q, a share of q is wrong."""
        if self.draws < 3 or not self.iou.numel():
            return torch.full_like(self.iou, torch.nan)
        return torch.from_numpy(stats.false_discovery_control(self.p_values.numpy().ravel())).view(self.iou.shape)

    def label(self, unit: int, category: str | None = None) -> UnitLabel:
        """
        The concept of a unit with the highest intersection over union, of equal ones the first.

        Args:
            unit (int): Its channel.
            category (str, optional): Only of this category. Default: None, of all

        Raises:
            ValueError: If there is no such unit or category.
        """
        if not 0 <= unit < self.units:
            raise InputError(f'layer "{self.layer}" has {self.units} units, numbered from 0; there is no unit {unit}.')
        allowed = torch.ones(len(self.concepts), dtype=torch.bool)
        if category is not None:
            if category not in self.categories:
                hint = nearest(category, self.categories) or f"; expected one of {', '.join(self.categories)}."
                raise InputError(f'there is no category "{category}"{hint}')
            allowed = self._category == self.categories.index(category)
        place = int(self.iou[unit].where(allowed, torch.tensor(-1.0, dtype=torch.float64)).argmax())
        chance = float(self.chance[:, unit, place].mean()) if self.draws else float("nan")
        return UnitLabel(
            unit,
            self.concepts[place],
            float(self.iou[unit, place]),
            float(self.ceiling[unit, place]),
            chance,
            float(self.p_values[unit, place]),
            float(self.q_values[unit, place]),
        )

    def labels(self) -> list[UnitLabel]:
        """The label of each unit, of whatever category."""
        return [self.label(unit) for unit in range(self.units)]

    def detectors(self) -> dict[str, list[UnitLabel]]:
        """
        By category, the units that detect a concept of it: whose best intersection over union there is above the threshold.

        A unit may be in several categories, as in the authors' counts.
        """
        found = {}
        for category in self.categories:
            labels = (self.label(unit, category) for unit in range(self.units))
            found[category] = [label for label in labels if label.iou > self.threshold]
        return found

    def unique_detectors(self) -> dict[str, int]:
        """By category, how many different concepts have a detector; "all": the sum over categories."""
        counts = {name: len({label.concept for label in labels}) for name, labels in self.detectors().items()}
        return {**counts, "all": sum(counts.values())}

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of a table of all units, the best first."""
        rows = [
            [
                str(label.unit),
                label.concept.name,
                label.concept.category,
                number(label.iou),
                number(label.ceiling),
                number(label.chance),
                p_text(label.q_value),
            ]
            for label in sorted(self.labels(), key=lambda label: -label.iou)
        ]
        return ["unit", "concept", "category", "IoU", "at most", "by chance", "q"], rows

    def table(self) -> str:
        """A line for each unit, the best first."""
        return text_table(*self.cells())


@dataclass(frozen=True)
class Dissection:
    """
    What network dissection found of some layers.

    Attributes:
        layers (dict[str, LayerDissection]): By name.
        images (int): How many there were.
        settings (dict): What it was made with.
    """

    layers: dict[str, LayerDissection]
    images: int
    settings: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> LayerDissection:
        if layer not in self.layers:
            hint = nearest(layer, self.layers) or f"; there are {', '.join(self.layers)}."
            raise InputError(f'"{layer}" was not dissected{hint}')
        return self.layers[layer]

    def table(self) -> str:
        """How many units detect something, and how many different concepts, by layer and category."""
        rows = []
        for name, layer in self.layers.items():
            detectors, unique = layer.detectors(), layer.unique_detectors()
            units = {label.unit for labels in detectors.values() for label in labels}
            counts = [f"{unique[category]} ({len(detectors[category])})" for category in layer.categories]
            rows.append([name, str(layer.units), str(len(units)), str(unique["all"]), *counts])
        first = next(iter(self.layers.values()))
        return text_table(
            ["layer", "units", "detectors", "unique", *(f"{each} (units)" for each in first.categories)], rows
        )

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        tensors, described = {}, []
        for place, layer in enumerate(self.layers.values()):
            for name in ("thresholds", "together", "fired", "areas"):
                tensors[f"{place}.{name}"] = getattr(layer, name)
            described.append(
                {
                    "layer": layer.layer,
                    "concepts": concepts_json(layer.concepts),
                    "categories": layer.categories,
                    "pixels": layer.pixels,
                    "denominator": layer.denominator,
                    "threshold": layer.threshold,
                }
            )
        content = {"layers": described, "images": self.images, "settings": self.settings}
        save_tensors(path, _KIND, tensors, content, overwrite=overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Dissection:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, described = load_tensors(path, _KIND)
        with intact(path, _KIND):
            layers = {}
            for place, each in enumerate(described["layers"]):
                concepts = [Concept(name, category) for name, category in each["concepts"]]
                layers[each["layer"]] = LayerDissection(
                    each["layer"],
                    concepts,
                    list(each["categories"]),
                    tensors[f"{place}.thresholds"],
                    tensors[f"{place}.together"],
                    tensors[f"{place}.fired"],
                    tensors[f"{place}.areas"],
                    int(each["pixels"]),
                    each["denominator"],
                    float(each["threshold"]),
                )
            return cls(layers, int(described["images"]), dict(described["settings"]))


def dissection_curve(dissections: Mapping[Any, Dissection], layer: str) -> tuple[list[str], Sequence[Sequence[str]]]:
    """
    How many different concepts a layer's units detect, over checkpoints.

    Args:
        dissections (mapping): By checkpoint, such as an epoch, in their order.
        layer (str): Its name.

    Returns:
        tuple[list[str], list]: The header and the rows of a table: a row for each checkpoint, a column for each category and all.
    """
    rows = []
    header: list[str] = []
    for checkpoint, dissection in dissections.items():
        counts = dissection[layer].unique_detectors()
        header = ["checkpoint", *counts]
        rows.append([str(checkpoint), *map(str, counts.values())])
    return header, rows


__all__ = ["DENOMINATORS", "Dissection", "LayerDissection", "UnitLabel", "dissection_curve"]
