"""The formulas of a layer's units, beside those of one concept and beside what a search finds by chance."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, whole_file
from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import number, p_text, text_table
from captum_proto.concept.compositional import Explanation
from captum_proto.concept.dataset import Concept, concepts_json
from captum_proto.concept.formula import OPERATORS, parse_formula
from captum_proto.stats.draws import pooled_p_values

_KIND, _VERSION = "explained layer", 1


@dataclass(frozen=True)
class ExplainedLayer:
    """
    The units of a layer.

    Attributes:
        layer (str): Its name.
        concepts (list[Concept]): What labels in formulas stand for.
        units (int): How many the layer has; those that fire nowhere have no formula.
        explanations (list[Explanation]): By :class:`~captum_proto.concept.CompositionalExplainer`.
        chance (ndarray): (D, E), the intersection over union of the best formula of each of them in D draws in which images have the labels
            of others. As long a search finds a formula for anything; this is how good it then is.
        pixels (int): Of all images.

    Examples::

        >>> import tempfile
        >>> from captum_proto.concept import CompositionalExplainer, PackedMasks
        >>> from captum_proto.testing import ShapeDataset
        >>> dataset = ShapeDataset(40, size=32)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     masks = PackedMasks.pack(dataset, f"{folder}/concepts", (32, 32))
        ...     units = PackedMasks.pack(dataset, f"{folder}/units", (32, 32))  # a unit for each concept
        ...     explainer = CompositionalExplainer(masks, length=2)
        ...     found = ExplainedLayer("shapes", dataset.concepts, 32, explainer.interpret(units), explainer.chance(units, 3), masks.pixels)
        >>> bool((found.iou == 1).all()), bool((found.chance < 1).all())
        (True, True)
    """

    layer: str
    concepts: list[Concept]
    units: int
    explanations: list[Explanation]
    chance: NDArray[np.float64]
    pixels: int

    def __post_init__(self) -> None:
        if self.chance.ndim != 2 or self.chance.shape[1] != len(self.explanations):
            raise InputError(
                f"chance has shape {self.chance.shape}; expected (draws, {len(self.explanations)}), a number for each explanation."
            )

    @property
    def draws(self) -> int:
        """How many draws there are of what chance gives."""
        return len(self.chance)

    @property
    def length(self) -> int:
        """How many concepts a formula has at most."""
        return len(self.explanations[0].best) if self.explanations else 0

    @cached_property
    def iou(self) -> NDArray[np.float64]:
        """(E,): the intersection over union of each explanation."""
        return np.array([each.iou for each in self.explanations])

    @cached_property
    def p_values(self) -> NDArray[np.float64]:
        """
        (E,): how often chance would give a formula at least so good: :func:`~captum_proto.stats.draws.pooled_p_values`.

        NaN without at least three draws.
        """
        if self.draws < 3 or not self.explanations:
            return np.full(len(self.explanations), np.nan)
        found, drawn = torch.from_numpy(self.iou).unsqueeze(1), torch.from_numpy(self.chance).unsqueeze(2)
        p_values: NDArray[np.float64] = pooled_p_values(found, drawn, 1 / max(1, self.pixels)).squeeze(1).numpy()
        return p_values

    @cached_property
    def q_values(self) -> NDArray[np.float64]:
        """(E,): p-values after Benjamini and Hochberg, over all units."""
        if self.draws < 3 or not self.explanations:
            return self.p_values
        found: NDArray[np.float64] = stats.false_discovery_control(self.p_values)
        return found

    def of_unit(self, unit: int) -> int:
        """
        The place of a unit's explanation.

        Raises:
            ValueError: If there is none.
        """
        for place, each in enumerate(self.explanations):
            if each.unit == unit:
                return place
        raise InputError(
            f'layer "{self.layer}" has no explanation of unit {unit}; it has {self.units} units, and some may fire nowhere.'
        )

    def operators(self) -> dict[str, int]:
        """How often each operator occurs in the formulas."""
        counts = dict.fromkeys(OPERATORS, 0)
        for each in self.explanations:
            for name in each.formula.operators():
                counts[name] += 1
        return counts

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """The header and the rows of a table of all explanations, the best first."""
        header = ["unit", "formula", "IoU", "one concept", "its IoU", "by chance", "q"]
        proofs = any(each.bound is not None for each in self.explanations)
        rows = []
        for place in np.argsort(-self.iou, kind="stable").tolist():
            each = self.explanations[place]
            single, alone = each.best[0]
            by_chance = float(self.chance[:, place].mean()) if self.draws else float("nan")
            row = [
                str(each.unit),
                each.formula.text(self.concepts),
                number(each.iou),
                single.text(self.concepts),
                number(alone),
            ]
            row += [number(by_chance), p_text(float(self.q_values[place])) if self.draws >= 3 else "–"]
            if proofs:
                row.append("yes" if each.proved else "–" if each.bound is None else f"to {number(each.bound)}")
            rows.append(row)
        return [*header, *(["none is better"] if proofs else [])], rows

    def table(self) -> str:
        """A line for each unit, the best first."""
        return text_table(*self.cells())

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write to a file of JSON.

        Args:
            path (str or Path): Of the file.
            overwrite (bool, optional): Whether a file that is there may be replaced. Default: False

        Raises:
            FileExistsError: If there is a file, and ``overwrite`` is False.
        """
        explanations: list[dict[str, Any]] = [
            {
                "unit": each.unit,
                "formula": each.formula.text(),
                "together": each.together,
                "fired": each.fired,
                "area": each.area,
                "best": [[formula.text(), iou] for formula, iou in each.best],
                "visited": each.visited,
                "bound": each.bound,
            }
            for each in self.explanations
        ]
        content = {
            "kind": _KIND,
            "version": _VERSION,
            "layer": self.layer,
            "concepts": concepts_json(self.concepts),
            "units": self.units,
            "pixels": self.pixels,
            "chance": self.chance.tolist(),
            "explanations": explanations,
        }
        with whole_file(path, overwrite=overwrite) as temporary:
            temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ExplainedLayer:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If it is damaged or of another kind.
        """
        with intact(path, _KIND):
            content = read_json(path)
            if content["kind"] != _KIND or content["version"] != _VERSION:
                raise InputError(
                    f"it is {content['kind']} of version {content['version']}; expected {_KIND} of version {_VERSION}."
                )
            concepts = [Concept(str(name), str(category)) for name, category in content["concepts"]]
            numbers = [Concept(str(label), "label") for label in range(1, len(concepts) + 1)]
            found = [
                Explanation(
                    int(each["unit"]),
                    parse_formula(each["formula"], numbers),
                    _ratio(each["together"], each["fired"] + each["area"] - each["together"]),
                    int(each["together"]),
                    int(each["fired"]),
                    int(each["area"]),
                    [(parse_formula(text, numbers), float(iou)) for text, iou in each["best"]],
                    int(each["visited"]),
                    None if each["bound"] is None else float(each["bound"]),
                )
                for each in content["explanations"]
            ]
            chance = np.array(content["chance"], dtype=np.float64).reshape(len(content["chance"]), len(found))
            return cls(str(content["layer"]), concepts, int(content["units"]), found, chance, int(content["pixels"]))


def _ratio(together: int, union: int) -> float:
    return together / union if union else 0.0


def best_explained(layer: ExplainedLayer, count: int) -> Sequence[int]:
    """The units of the best formulas, those of a formula that another has already last."""
    seen: set[Any] = set()
    first, then = list[int](), list[int]()
    for place in np.argsort(-layer.iou, kind="stable").tolist():
        each = layer.explanations[place]
        (then if each.formula in seen else first).append(each.unit)
        seen.add(each.formula)
    return [*first, *then][:count]


__all__ = ["ExplainedLayer", "best_explained"]
