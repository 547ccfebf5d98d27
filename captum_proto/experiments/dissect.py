"""Network dissection of some layers, chunk by chunk of the images, and a page of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.reading import read_json
from captum_proto.concept import (
    ConceptDataset,
    Dissection,
    LayerDissection,
    NetworkDissection,
)
from captum_proto.concept.dissection_passes import DissectionPasses
from captum_proto.experiments.concept_protocol import CONCEPTS, ConceptProtocol
from captum_proto.experiments.dissection_chunks import COUNTS, MERGED, PASS, PASSES, LayerChunks, chunks_of
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.experiments.unit_pictures import draw_units, unit_strips
from captum_proto.models import NamedModel
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.unit_rows import Unit
from captum_proto.report.views.dissection import detectors_figure, dissection_page, unit_of
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.tasks import Run, Task, warnings_of

DISSECTION, UNITS = "dissection.safetensors", "units.csv"
_LAYERS, _PICTURES = "layers", "pictures"
_CONCEPT = "concept"


#: What results depend on beside the model, its layers and the data set.
_CHOICES = ("quantile", "iou_threshold", "size", "align_corners", "denominator", "draws", "shown", "examples", "chunk")
#: Bytes that a later pass for thresholds may take: each chunk of images puts at most as much on disk.
_MEMORY = 2**26


@dataclass(frozen=True)
class Dissect(ConceptProtocol[Dissection]):
    """
    Network dissection: for each layer the passes over the images, of which a chunk is a task, and the pictures of its best units.

    The images go by in a random order, and a chunk has some of their batches. States of chunks are saved, and add up to exactly what
    :meth:`NetworkDissection.interpret <captum_proto.concept.NetworkDissection.interpret>` finds in one process.

    Args:
        named (NamedModel): The model.
        dataset (ConceptDataset): Images and labels.
        layers (sequence of str): Names or patterns.
        quantile (float): See :class:`~captum_proto.concept.NetworkDissection`. Default: 0.005
        iou_threshold (float): Default: 0.04
        size (int): Rows and columns at which masks are compared. Default: 112
        align_corners (bool): Default: False
        denominator (str): Default: "category"
        draws (int): Default: 20
        shown (int): Units of each layer that have pictures, the best first and each concept once. Default: 12
        examples (int): Images of each. Default: 6
        batch_size (int): Images at a time. Default: 32
        chunk (int): Images in a task at most, in whole batches: at least one. Each chunk puts its counts on disk, a number for each draw,
            unit and concept. Default: 2048

    Raises:
        InputError: If an argument is out of its range, or a layer has no map.
    """

    named: NamedModel
    dataset: ConceptDataset
    layers: Sequence[str]
    quantile: float = 0.005
    iou_threshold: float = 0.04
    size: int = 112
    align_corners: bool = False
    denominator: str = "category"
    draws: int = 20
    shown: int = 12
    examples: int = 6
    batch_size: int = 32
    chunk: int = 2048

    unit = "image"

    def __post_init__(self) -> None:
        for name in ("size", "shown", "examples", "batch_size", "chunk"):
            check_int(getattr(self, name), name, 1)
        self._dissector(None)

    def _dissector(self, layer: str | None) -> NetworkDissection:
        return NetworkDissection(
            self.named.model,
            list(self.layers) if layer is None else [layer],
            self.quantile,
            self.iou_threshold,
            self.named.preprocess,
            size=(self.size, self.size),
            align_corners=self.align_corners,
            denominator=self.denominator,
            draws=self.draws,
            memory=_MEMORY,
        )

    def _passes(self, layer: str) -> DissectionPasses:
        return self._dissector(layer).passes(self.dataset, self.image_size, self.batch_size)

    def provenance(self) -> dict[str, Any]:
        return self.recorded("dissect", _CHOICES)

    def tasks(self) -> list[Task]:
        for name in self.names:
            passes = self._passes(name)  # a layer without a map is found before the folder is touched
            passes.check_draws()
        chunks = chunks_of(passes.batches, self.chunk)
        made, drawn = list[Task](), list[Task]()
        for place, name in enumerate(self.names):
            stem, last = f"{place:02d}", tuple[str, ...]()

            def parts(kind: str, needs: tuple[str, ...], name: str = name, stem: str = stem) -> list[Task]:
                return [
                    Task(f"{kind}/{stem}/{first:07d}", {"layer": name}, needs, sum(map(len, batches)))
                    for first, batches in chunks.items()
                ]

            for number in range(1, 1 + PASSES):
                looks = parts(f"{PASS}{number}", last)
                merged = Task(f"{MERGED}/{stem}/{number}", needs=(*last, *(task.name for task in looks)), weight=0)
                made += [*looks, merged]
                last = (merged.name,)
            counts = parts(COUNTS, last)
            made += [*counts, Task(f"{_LAYERS}/{stem}", needs=(*last, *(task.name for task in counts)), weight=0)]
            drawn.append(Task(f"{_PICTURES}/{stem}", needs=(f"{_LAYERS}/{stem}",), weight=0))
        return [*made, *drawn]

    def make(self, task: Task, run: Run) -> None:
        kind, place, *rest = task.name.split("/")
        name, folder = self.names[int(place)], run.folder
        if kind == _PICTURES:
            self._draw(Dissection.load(folder / _LAYERS / f"{place}.safetensors")[name], place, folder)
            return
        layer = LayerChunks(folder, place, name, self._passes(name), self.chunk)
        if kind == MERGED:
            layer.add_up(int(rest[0]))
        elif kind == COUNTS:
            layer.count(int(rest[0]))
        elif kind == _LAYERS:
            layer.result().save(folder / _LAYERS / f"{place}.safetensors", overwrite=True)
        else:
            layer.look(int(kind.removeprefix(PASS)), int(rest[0]))

    def summarize(self, run: Run) -> Dissection:
        parts = [Dissection.load(run.folder / _LAYERS / f"{place:02d}.safetensors") for place in range(len(self.names))]
        layers = {name: layer for part in parts for name, layer in part.layers.items()}
        dissection = Dissection(layers, parts[0].images, parts[0].settings)
        dissection.save(run.folder / DISSECTION, overwrite=True)
        write_units(dissection, run.folder / UNITS)
        save_figure(detectors_figure(dissection), run.folder / "detectors.png", overwrite=True)
        write_page(_page(dissection, run.folder, run.warnings()), run.folder)
        return dissection

    def _draw(self, layer: LayerDissection, place: str, folder: Path) -> None:
        """Strips of the best units: where each fires on the images that excite it most, and where its concept is on these."""
        label_of = {unit: layer.label(unit).concept for unit in best_units(layer, self.shown)}
        wanted = {unit: self.dataset.label(of.name, of.category) for unit, of in label_of.items()}
        written = draw_units(
            self.named,
            self.dataset,
            layer.layer,
            {unit: float(layer.thresholds[unit]) for unit in wanted},
            (_CONCEPT, lambda unit, mask: mask(wanted[unit])),
            folder / _PICTURES / place,
            self.examples,
            self.batch_size,
            self.align_corners,
        )
        content = {"layer": layer.layer, "units": written}
        write_json(folder / _PICTURES / f"{place}.json", content, overwrite=True)


def best_units(layer: LayerDissection, count: int) -> list[int]:
    """The units with the highest intersection over union, those of a concept that another has already last."""
    labels = sorted(layer.labels(), key=lambda label: -label.iou)
    seen: set[Any] = set()
    first, then = list[int](), list[int]()
    for label in labels:
        (then if label.concept in seen else first).append(label.unit)
        seen.add(label.concept)
    return [*first, *then][:count]


def write_units(dissection: Dissection, path: Path) -> None:
    """The concept of each unit in each category, as CSV."""
    header = ["layer", "unit", "threshold", "category", "concept", "iou", "ceiling", "chance", "p", "q", "detector"]

    def rows() -> Any:
        for name, layer in dissection.layers.items():
            for unit in range(layer.units):
                for category in layer.categories:
                    label = layer.label(unit, category)
                    figures = (label.iou, label.ceiling, label.chance, label.p_value, label.q_value)
                    threshold = repr(float(layer.thresholds[unit]))
                    detector = label.iou > layer.threshold
                    yield [name, unit, threshold, category, label.concept.name, *map(repr, figures), detector]

    write_rows(path, header, rows())


def dissected_page(folder: Path) -> Page:
    """
    What a folder of a dissection has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`Dissect` wrote to.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) or not (folder / DISSECTION).is_file():
        return tasks_page(folder)
    return _page(Dissection.load(folder / DISSECTION), folder, warnings_of(folder))


def _page(dissection: Dissection, folder: Path, warned: Sequence[str]) -> Page:
    settings = read_settings(folder)
    units: dict[str, list[Unit]] = {}
    for path in sorted((folder / _PICTURES).glob("*.json")):
        drawn = read_json(path)
        layer = dissection[drawn["layer"]]
        for each in drawn["units"]:
            strips = unit_strips(each, f"{_PICTURES}/{path.stem}", _CONCEPT)
            units.setdefault(layer.layer, []).append(unit_of(layer.label(each["unit"]), layer, strips))
    recorded = settings.get(RECORDED) or {}
    model = (settings.get("model") or {}).get("name", "a model")
    return dissection_page(dissection, units, model, str(recorded.get(CONCEPTS, "labeled images")), settings, warned)


__all__ = [
    "DISSECTION",
    "UNITS",
    "Dissect",
    "best_units",
    "dissected_page",
    "write_units",
]
