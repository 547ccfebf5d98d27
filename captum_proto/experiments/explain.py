"""Formulas of concepts for the units of some layers, a layer at a time, and a page of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from captum_proto._utils.checks import check_int
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.reading import read_json
from captum_proto.concept import (
    CompositionalExplainer,
    ConceptDataset,
    ExplainedLayer,
    NetworkDissection,
    PackedMasks,
    pack_units,
)
from captum_proto.concept.compositional import check_search
from captum_proto.concept.explained_layer import best_explained
from captum_proto.concept.formula import AND, AND_NOT, OR
from captum_proto.experiments.concept_protocol import CONCEPTS, ConceptProtocol
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.experiments.unit_pictures import draw_units, unit_strips
from captum_proto.models import NamedModel
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import Unit
from captum_proto.report.views.explanations import agreement_figure, explained_unit, explanations_page
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.tasks import Run, Task, warnings_of

FORMULAS = "formulas.csv"
_MASKS, _FIRING, _LAYERS, _PICTURES = "masks", "firing", "layers", "pictures"
_FORMULA, _LEVELS = "formula", "levels.safetensors"
_KIND = "levels of units"


#: What results depend on beside the model, its layers and the data set.
_CHOICES = (
    "length",
    "beam",
    "operators",
    "search",
    "budget",
    "draws",
    "quantile",
    "size",
    "align_corners",
    "shown",
    "examples",
)


@dataclass(frozen=True)
class Explain(ConceptProtocol[list[ExplainedLayer]]):
    """
    Compositional explanations: masks of concepts once; of each layer where its units fire, their formulas, and pictures of the best.

    Args:
        named (NamedModel): The model.
        dataset (ConceptDataset): Images and labels.
        layers (sequence of str): Names or patterns.
        length (int): See :class:`~captum_proto.concept.CompositionalExplainer`. Default: 3
        beam (int): Default: 5
        operators (sequence of str): Default: "or", "and" and "and_not"
        search (str): Default: "beam"
        budget (int): Default: 100,000
        draws (int): How often images get the labels of others, to see what a search finds by chance. Default: 5
        quantile (float): The share of its activations at which a unit fires. Default: 0.005
        size (int): Rows and columns at which masks are compared. Default: 112
        align_corners (bool): Default: False
        shown (int): Units of each layer that have pictures, the best first and each formula once. Default: 12
        examples (int): Images of each. Default: 6
        batch_size (int): Images at a time. Default: 32

    Raises:
        InputError: If an argument is out of its range, or a layer has no map.
    """

    named: NamedModel
    dataset: ConceptDataset
    layers: Sequence[str]
    length: int = 3
    beam: int = 5
    operators: Sequence[str] = (OR, AND, AND_NOT)
    search: str = "beam"
    budget: int = 100_000
    draws: int = 5
    quantile: float = 0.005
    size: int = 112
    align_corners: bool = False
    shown: int = 12
    examples: int = 6
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name in ("size", "shown", "examples", "batch_size"):
            check_int(getattr(self, name), name, 1)
        check_int(self.draws, "draws", 0)
        check_search(self.length, self.beam, self.operators, self.search, self.budget)
        self._dissector(None)

    def _dissector(self, layer: str | None) -> NetworkDissection:
        layers = list(self.layers) if layer is None else [layer]
        return NetworkDissection(self.named.model, layers, self.quantile, preprocess=self.named.preprocess, draws=0)

    def provenance(self) -> dict[str, Any]:
        return self.recorded("explain", _CHOICES)

    def tasks(self) -> list[Task]:
        places = [f"{place:02d}" for place in range(len(self.names))]
        masks = Task(_MASKS, weight=0)
        firing = [
            Task(f"{_FIRING}/{place}", {"layer": name}, weight=0)
            for place, name in zip(places, self.names, strict=True)
        ]
        explained = [Task(f"{_LAYERS}/{place}", needs=(_MASKS, f"{_FIRING}/{place}")) for place in places]
        drawn = [
            Task(f"{_PICTURES}/{place}", needs=(f"{_FIRING}/{place}", f"{_LAYERS}/{place}"), weight=0)
            for place in places
        ]
        return [*firing, masks, *explained, *drawn]

    def make(self, task: Task, run: Run) -> None:
        kind, _, place = task.name.partition("/")
        if kind == _MASKS:
            PackedMasks.pack(
                self.dataset,
                run.folder / _MASKS,
                (self.size, self.size),
                overwrite=True,
                show_progress=run.show_progress,
            )
        elif kind == _FIRING:
            self._pack_units(self.names[int(place)], run.folder / _FIRING / place, run.show_progress)
        elif kind == _LAYERS:
            self._explain(self.names[int(place)], place, run)
        else:
            self._draw(ExplainedLayer.load(run.folder / _LAYERS / f"{place}.json"), place, run.folder)

    def summarize(self, run: Run) -> list[ExplainedLayer]:
        found = [ExplainedLayer.load(run.folder / _LAYERS / f"{place:02d}.json") for place in range(len(self.names))]
        write_formulas(found, run.folder / FORMULAS)
        save_figure(agreement_figure(found), run.folder / "agreement.png", overwrite=True)
        write_page(_page(found, run.folder, run.warnings()), run.folder)
        return found

    def _pack_units(self, name: str, folder: Path, show_progress: bool) -> None:
        """Above which level each unit of a layer fires, and where it does."""
        levels = self._dissector(name).thresholds(
            self.dataset, self.image_size, self.batch_size, show_progress=show_progress
        )[name]
        pack_units(
            self.named.model,
            name,
            levels,
            self.dataset,
            self.image_size,
            folder,
            self.named.preprocess,
            size=(self.size, self.size),
            align_corners=self.align_corners,
            batch_size=self.batch_size,
            overwrite=True,
            show_progress=show_progress,
        )
        save_tensors(folder / _LEVELS, _KIND, {"levels": levels}, {}, overwrite=True)

    def _explain(self, name: str, place: str, run: Run) -> None:
        masks, units = PackedMasks(run.folder / _MASKS), PackedMasks(run.folder / _FIRING / place)
        explainer = CompositionalExplainer(
            masks, self.length, self.beam, list(self.operators), self.search, self.budget
        )
        explanations = explainer.interpret(units, run.show_progress)
        chance = explainer.chance(units, self.draws, show_progress=run.show_progress)
        found = ExplainedLayer(name, masks.concepts, len(units.concepts), explanations, chance, masks.pixels)
        found.save(run.folder / _LAYERS / f"{place}.json", overwrite=True)

    def _draw(self, layer: ExplainedLayer, place: str, folder: Path) -> None:
        levels: torch.Tensor = load_tensors(folder / _FIRING / place / _LEVELS, _KIND)[0]["levels"]
        chosen = best_explained(layer, self.shown)
        formulas = {unit: layer.explanations[layer.of_unit(unit)].formula for unit in chosen}
        written = draw_units(
            self.named,
            self.dataset,
            layer.layer,
            {unit: float(levels[unit]) for unit in chosen},
            (_FORMULA, lambda unit, mask: formulas[unit].evaluate(mask)),
            folder / _PICTURES / place,
            self.examples,
            self.batch_size,
            self.align_corners,
        )
        content = {"layer": layer.layer, "units": written}
        write_json(folder / _PICTURES / f"{place}.json", content, overwrite=True)


def write_formulas(layers: Sequence[ExplainedLayer], path: Path) -> None:
    """The formula of each unit, beside that of one concept, as CSV."""
    header = [
        "layer",
        "unit",
        "formula",
        "iou",
        "concept",
        "concept_iou",
        "chance",
        "p",
        "q",
        "together",
        "fired",
        "area",
        "bound",
    ]

    def rows() -> Any:
        for layer in layers:
            for place, each in enumerate(layer.explanations):
                single, alone = each.best[0]
                chance = float(layer.chance[:, place].mean()) if layer.draws else float("nan")
                figures = (chance, float(layer.p_values[place]), float(layer.q_values[place]))
                bound = "" if each.bound is None else repr(each.bound)
                yield [
                    layer.layer,
                    each.unit,
                    each.formula.text(layer.concepts),
                    repr(each.iou),
                    single.text(layer.concepts),
                    repr(alone),
                    *map(repr, figures),
                    each.together,
                    each.fired,
                    each.area,
                    bound,
                ]

    write_rows(path, header, rows())


def explained_page(folder: Path) -> Page:
    """
    What a folder of explanations has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`Explain` wrote to.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) or not (folder / FORMULAS).is_file():
        return tasks_page(folder)
    found = [ExplainedLayer.load(path) for path in sorted((folder / _LAYERS).glob("*.json"))]
    return _page(found, folder, warnings_of(folder))


def _page(layers: Sequence[ExplainedLayer], folder: Path, warned: Sequence[str]) -> Page:
    settings = read_settings(folder)
    by_name = {layer.layer: layer for layer in layers}
    units: dict[str, list[Unit]] = {}
    for path in sorted((folder / _PICTURES).glob("*.json")):
        drawn = read_json(path)
        layer = by_name[drawn["layer"]]
        for each in drawn["units"]:
            strips = unit_strips(each, f"{_PICTURES}/{path.stem}", _FORMULA)
            units.setdefault(layer.layer, []).append(explained_unit(layer, each["unit"], strips))
    recorded = settings.get(RECORDED) or {}
    model = (settings.get("model") or {}).get("name", "a model")
    return explanations_page(layers, units, model, str(recorded.get(CONCEPTS, "labeled images")), settings, warned)


__all__ = ["FORMULAS", "Explain", "explained_page", "write_formulas"]
