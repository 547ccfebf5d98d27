"""Are a layer's own units read more easily than random directions? The protocol: judge's features, directions of each layer, the page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto._utils.tables import number
from captum_proto.capture import find_output
from captum_proto.data import Collection
from captum_proto.experiments.direction_agreement.figures import agreement_figure, examples_figure
from captum_proto.experiments.direction_agreement.measure import (
    BASIS,
    directions_of,
    fitting_rows,
    halves,
    numbered_batches,
    top_images,
)
from captum_proto.experiments.direction_agreement.page import directions_page
from captum_proto.experiments.direction_agreement.results import (
    CLASS,
    EXPECTED,
    FLOOR,
    NEAREST,
    DirectionAgreement,
    compare_kinds,
)
from captum_proto.experiments.direction_agreement.settings import DirectionSettings
from captum_proto.metrics.direction_agreement import (
    agreement,
    class_sets,
    expected_agreement,
    nearest_sets,
    random_sets,
)
from captum_proto.models import LayerActivations, NamedModel, PooledFeatures
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task
from captum_proto.stats.intervals import Estimate, mean_estimate

_JUDGE, _LAYERS = "judge", "layers"
_FEATURES, _TOP = "features of images", "images of directions"
#: So many random sets of images are drawn for the floor.
_SETS = 999
#: So many directions of each kind are shown, drawn at random, and so many images of each.
_SHOWN, _IMAGES_SHOWN = 2, 9


@dataclass(frozen=True)
class CompareDirections(Protocol[DirectionAgreement]):
    """
    How well the images that excite a direction agree with one another, for a layer's channels and for other directions of its space.

    After Szegedy et al., "Intriguing properties of neural networks" (2013), who found random directions as easy to read as units, with a
    number in place of looking: the mean cosine between the images of a direction, in the features of another network. One half of the
    images, drawn at random, fits principal and non-negative directions and the whitening; the other half scores all of them.

    Args:
        named (NamedModel): Whose layers are looked at.
        judge (NamedModel): Another network, in whose features images are alike or not.
        images (Collection): Natural images.
        layers (sequence of str): Of ``named``.
        settings (DirectionSettings): How directions are drawn and scored. Default: its own
        judge_layer (str, optional): Of the judge. Default: None, what its last linear layer takes in
        labeled (bool): Whether the images' labels are classes. Default: True
        batch_size (int): Images at a time. Default: 32
        workers (int): Threads that read images. Default: 0

    Raises:
        InputError: If a layer is not there, none is given, the judge is the model itself, or there are too few images.
    """

    named: NamedModel
    judge: NamedModel
    images: Collection
    layers: Sequence[str]
    settings: DirectionSettings = field(default_factory=DirectionSettings)
    judge_layer: str | None = None
    labeled: bool = True
    batch_size: int = 32
    workers: int = 0

    unit = "pass"

    def __post_init__(self) -> None:
        if not self.layers:
            raise InputError("no layer was given; name at least one whose directions are to be compared.")
        for layer in self.layers:
            find_output(self.named.model, layer)
        if self.judge_layer is not None:
            find_output(self.judge.model, self.judge_layer)
        half = len(self.images) - len(self.images) // 2
        if self.settings.k > half:
            raise InputError(
                f"k is {self.settings.k}, but half of the {len(self.images)} images are {half}; choose a smaller k, or give more."
            )

    def provenance(self) -> dict[str, Any]:
        model, judge = self.named.provenance(), self.judge.provenance()
        if model["fingerprint"] == judge["fingerprint"]:
            raise InputError(
                "the judge is the model itself, so its features agree with themselves; choose another network as judge."
            )
        return provenance(
            "directions",
            {
                "model": model,
                "judge": judge,
                "judge_layer": self.judge_layer,
                "layers": list(self.layers),
                "settings": self.settings,
                "labeled": self.labeled,
                "images": self.images.listed(),
                "image_batch": self.batch_size,
            },
        )

    def tasks(self) -> list[Task]:
        return [Task(_JUDGE), *(Task(self._task(layer)) for layer in self.layers)]

    def make(self, task: Task, run: Run) -> None:
        if task.name == _JUDGE:
            self._embed(run.folder / f"{_JUDGE}.safetensors")
        else:
            layer = next(layer for layer in self.layers if self._task(layer) == task.name)
            self._find_images(layer, run.folder / f"{task.name}.safetensors")

    def summarize(self, run: Run) -> DirectionAgreement:
        vectors, numbers = self._features(run.folder / f"{_JUDGE}.safetensors")
        place_of = torch.full((len(self.images.all_labels),), -1)
        place_of[numbers] = torch.arange(len(numbers))
        kinds, values = [], {}
        for index, layer in enumerate(self.layers):
            path = run.folder / f"{self._task(layer)}.safetensors"
            with intact(path, _TOP):
                tensors, described = load_tensors(path, _TOP)
                found = {kind: tensors[kind] for kind in described["kinds"]}
                alive = {kind: tensors[f"{kind} alive"].bool() for kind in found}
            agreed = {
                kind: torch.where(alive[kind], agreement(vectors, place_of[sets]), math.nan)
                for kind, sets in found.items()
            }
            rows, values[layer] = compare_kinds(layer, agreed, self.settings.frames)
            kinds += rows
            sheet = examples_figure(self._shown(found, agreed, described["channels"]))
            save_figure(sheet, run.folder / f"images_{index:02d}.png", overwrite=True)
        result = DirectionAgreement(kinds, self._controls(vectors, numbers), values, len(numbers), self.settings.k)
        result.write(run.folder)
        figure = agreement_figure(result)
        for ending in ("png", "svg"):
            save_figure(figure, run.folder / f"agreement.{ending}", overwrite=True)
        write_page(directions_page(result, run.provenance, run.warnings()), run.folder)
        return result

    def _task(self, layer: str) -> str:
        return f"{_LAYERS}/{list(self.layers).index(layer):02d}"

    def _halves(self) -> tuple[Tensor, Tensor]:
        return halves(len(self.images.all_labels), self.settings.seed)

    def _embed(self, path: Path) -> None:
        """The judge's features of all images, the fitting ones for their mean."""
        judge = PooledFeatures(self.judge, self.judge_layer, batch_size=self.batch_size)
        places = torch.cat(self._halves())
        batches = list(self._batches(self.judge, places, judge))
        features, numbers = torch.cat([each for each, _ in batches]), torch.cat([each for _, each in batches])
        if not bool(features.isfinite().all()):
            raise InputError(
                f"the judge, {self.judge.name}, gives NaN or infinity; check its weights and preprocessing."
            )
        save_tensors(path, _FEATURES, {"features": features, "numbers": numbers}, judge.settings(), overwrite=True)

    def _batches(self, named: NamedModel, places: Tensor, embed: PooledFeatures) -> Any:
        for batch in numbered_batches(self.images, places, named.geometry, self.batch_size, self.workers):
            yield embed(batch.images), batch.numbers

    def _find_images(self, layer: str, path: Path) -> None:
        """The images of each direction of a layer."""
        settings = self.settings
        activations = LayerActivations(self.named, layer, batch_size=self.batch_size)
        fitting, scoring = (
            numbered_batches(self.images, places, self.named.geometry, self.batch_size, self.workers)
            for places in self._halves()
        )
        directions, channels = directions_of(
            fitting_rows(activations, fitting, settings.positions, settings.seed), settings
        )
        top = top_images(activations, scoring, torch.cat(list(directions.values())), settings.k, settings.pool)
        tensors = {}
        counts = [len(each) for each in directions.values()]
        for kind, numbers, alive in zip(
            directions, torch.split(top.numbers, counts), torch.split(top.alive, counts), strict=True
        ):
            tensors[kind], tensors[f"{kind} alive"] = numbers.contiguous(), alive.to(torch.uint8)
        described = {"layer": layer, "kinds": list(directions), "channels": channels.tolist()}
        save_tensors(path, _TOP, tensors, described, overwrite=True)

    def _features(self, path: Path) -> tuple[Tensor, Tensor]:
        """The judge's features of the images that score, and which images these are."""
        with intact(path, _FEATURES):
            tensors, _ = load_tensors(path, _FEATURES)
            features, numbers = tensors["features"].double(), tensors["numbers"]
        fitting, _ = self._halves()
        fits = torch.isin(numbers, fitting)
        if self.settings.center:
            features = features - features[fits].mean(0)
        return features[~fits], numbers[~fits]

    def _controls(self, vectors: Tensor, numbers: Tensor) -> dict[str, Estimate]:
        k, seed = self.settings.k, self.settings.seed
        floor = agreement(vectors, random_sets(_SETS, k, len(vectors), seed))
        expected = expected_agreement(vectors)
        found = {FLOOR: mean_estimate(floor.numpy()), EXPECTED: Estimate(expected, expected, expected)}
        labels = [self.images.all_labels[place] for place in numbers.tolist()]
        sets = class_sets(labels, k, seed) if self.labeled else []
        if sets:
            found[CLASS] = mean_estimate([float(agreement(vectors, each.unsqueeze(0))) for each in sets])
        found[NEAREST] = mean_estimate(agreement(vectors, nearest_sets(vectors, k)).numpy())
        return found

    def _shown(
        self, found: dict[str, Tensor], agreed: dict[str, Tensor], channels: list[int]
    ) -> dict[str, list[Tensor]]:
        """The images of some directions of each kind, drawn at random, by what is written beside them."""
        rows = {}
        generator = torch.Generator().manual_seed(self.settings.seed)
        for kind, sets in found.items():
            living = agreed[kind].isfinite().nonzero().flatten()
            for place in living[torch.randperm(len(living), generator=generator)[:_SHOWN]].tolist():
                name = f"channel {channels[place]}" if kind == BASIS else f"{kind} {place}"
                numbers = sets[place, :_IMAGES_SHOWN].tolist()
                images = torch.cat([self.images.take([one]).read(self.named.geometry).images for one in numbers])
                rows[f"{name}\n{number(float(agreed[kind][place]))}"] = list(images)
        return rows


__all__ = ["CompareDirections"]
