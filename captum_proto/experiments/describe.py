"""Descriptions of units in words, some units at a time, beside what random exemplars give, and a page of them."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.reading import read_json
from captum_proto.concept import (
    Captioner,
    ConceptDataset,
    Description,
    Exemplars,
    LanguageModel,
    NeuronDescriber,
    exemplars_of,
    firing_on,
    rank_reorder,
    soft_wpmi,
    wpmi,
)
from captum_proto.data import Collection
from captum_proto.data.numbered import NumberedImages
from captum_proto.experiments.examples import chosen_units, opened
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.experiments.unit_pictures import highlighted
from captum_proto.features import Examples, LayerExamples, TopExamples
from captum_proto.models import ImageTextEncoder, LayerActivations, NamedModel
from captum_proto.report.figures import to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.descriptions import DescribedLayer, DescribedUnit, described_page
from captum_proto.report.views.examples import figure, write_strip
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of
from captum_proto.testing import ShapeCaptioner, ShapeDataset, ShapeLanguageModel, train_shape_captioner

DESCRIPTIONS, UNITS, SHAPES, MILAN = "descriptions.json", "units.csv", "shapes", "milan"
#: By name: which words fit a unit, from similarities and activations; and how many images each looks at, where that is a number.
WORD_SCORES: Mapping[str, tuple[Callable[..., Tensor], int | None]] = {
    "soft_wpmi": (soft_wpmi, 100),
    "wpmi": (wpmi, 28),
    "rank_reorder": (rank_reorder, None),
}
METHODS = (MILAN, *WORD_SCORES)
_CAPTIONER, _LANGUAGE_MODEL = "captioner.safetensors", "language_model.safetensors"
_TRAINED, _SIMILARITY = "captioner", "similarity"
#: The largest side at which shapes are drawn; for a network that takes larger images they are enlarged.
_LARGEST_DRAWN = 64
#: Units of which the exemplars are mixed for the control, at most.
_MIXED = 24


@dataclass(frozen=True)
class Describe(Protocol[dict[str, DescribedLayer]]):
    """
    Descriptions of the units of some layers: a task for each layer's exemplars, one for each few units, and one for its control.

    Args:
        named (NamedModel): The model.
        source (str, Collection or ConceptDataset): Images: a folder of them, whatever they are called, "digits", "shapes" for drawn ones, a
            collection, or a data set.
        layers (sequence of str): Names or patterns.
        by (str): "milan", or a score of given words: "soft_wpmi", "wpmi", "rank_reorder". Default: "milan"
        units (sequence of str, optional): Which: a number of them for each layer, evenly spaced, or "LAYER=3,17". Default: None, all
        captioner (Captioner, optional): Of "milan". Default: None, one that is trained on drawn shapes at the beginning
        language_model (LanguageModel, optional): Of "milan". Default: None, that of the trained captioner
        weight (float): λ, of "milan". Default: 0.2
        beam (int): Descriptions that are weighed for each unit. Default: 50
        k (int): Images of each unit. Default: 15
        quantile (float): Of a unit's activations, above which it fires. Default: 0.99
        two_tower (ImageTextEncoder, optional): Of the scores of words. Default: None
        words (sequence of str): Of the scores of words, those to choose from. Default: none
        top_k (int, optional): Images of which "soft_wpmi" and "wpmi" look at the activations. Default: None, 100 and 28
        factories (mapping[str, Path]): By "captioner", "language_model", "two_tower", the file that made it, to record. Default: none
        count (int): Of drawn images. Default: 2000
        training (mapping[str, int]): Arguments of :func:`~captum_proto.testing.train_shape_captioner`. Default: none
        draws (int): Of the control, for each layer. Default: 20
        shown (int): Units of each layer that have pictures, the highest scores first. Default: 12
        chunk (int): Units in a task. Default: 16
        seed (int): Of the control and the training. Default: 0
        batch_size (int): Images at a time. Default: 32
        workers (int): Threads that read files. Default: 2

    Raises:
        InputError: If an argument is out of its range, or a layer has no map.
    """

    named: NamedModel
    source: str | Collection | ConceptDataset
    layers: Sequence[str]
    by: str = MILAN
    units: Sequence[str] | None = None
    captioner: Captioner | None = None
    language_model: LanguageModel | None = None
    weight: float = 0.2
    beam: int = 50
    k: int = 15
    quantile: float = 0.99
    two_tower: ImageTextEncoder | None = None
    words: Sequence[str] = ()
    top_k: int | None = None
    factories: Mapping[str, Path] = field(default_factory=dict)
    count: int = 2000
    training: Mapping[str, int] = field(default_factory=dict)
    draws: int = 20
    shown: int = 12
    chunk: int = 16
    seed: int = 0
    batch_size: int = 32
    workers: int = 2

    unit = "task"

    def __post_init__(self) -> None:
        for name in ("beam", "k", "count", "draws", "shown", "chunk", "batch_size"):
            check_int(getattr(self, name), name, 1)
        if self.by not in METHODS:
            hint = nearest(self.by, METHODS) or f"; expected one of {', '.join(METHODS)}."
            raise InputError(f'by is "{self.by}"{hint}')
        if self.by == MILAN:
            if self.captioner is None and self.language_model is not None:
                raise InputError(
                    "language_model was given without captioner; give both, or none for those of drawn shapes."
                )
            if self.captioner is not None:
                NeuronDescriber(self.captioner, self.language_model, self.weight, self.beam)
            elif not 0 <= self.weight < math.inf:
                raise InputError(f"weight is {self.weight}; expected a finite number, at least 0.")
            return
        if not self.words:
            raise InputError(f"there are no words to choose from, which {self.by} needs; give some, one a line.")
        if len(set(self.words)) < len(self.words):
            twice = next(word for word in self.words if list(self.words).count(word) > 1)
            raise InputError(f'the words have "{twice}" twice; give each once.')
        for method in ("image", "text"):
            if not callable(getattr(self.two_tower, method, None)):
                found = "missing" if self.two_tower is None else f"a {type(self.two_tower).__name__}"
                raise InputTypeError(
                    f"two_tower is {found}; {self.by} needs an object with the methods image and text, such as a TwoTower."
                )

    @cached_property
    def images(self) -> NumberedImages:
        """All images, to look some up by number."""
        return self.all_images()

    def all_images(self) -> NumberedImages:
        """All images, at the size that the model takes; files that cannot be read are warned of anew."""
        source, (channels, height, width) = self.source, self.named.image_shape
        if source == SHAPES:
            if channels != 3:
                raise InputError(
                    f"the drawn shapes are in color, and the model takes {channels} channels; give images."
                )
            source = ShapeDataset(self.count, size=min(height, width, _LARGEST_DRAWN), seed=self.seed)
        if isinstance(source, ConceptDataset):
            return NumberedImages(_Images(source, (height, width)), self.batch_size)
        return NumberedImages(
            opened(source).batches_for(self.named.geometry, self.batch_size, self.workers), self.batch_size
        )

    @cached_property
    def finder(self) -> TopExamples:
        return TopExamples(
            self.named.model,
            list(self.layers),
            self.k,
            preprocess=self.named.preprocess,
            quantiles=(self.quantile,),
            seed=self.seed,
            receptive_fields=False,
        )

    @cached_property
    def chosen(self) -> dict[str, list[int]]:
        """By layer, the units that are described."""
        there = self.finder.units(self.named.image_shape)
        if self.units is None:
            return {name: list(range(count)) for name, count in there.items()}
        return chosen_units(self.units, there)

    @cached_property
    def names(self) -> list[str]:
        return list(self.chosen)

    def provenance(self) -> dict[str, Any]:
        names = [*("layers", "by", "units", "weight", "beam", "k", "quantile", "words", "top_k", "count", "training")]
        names += ["draws", "shown", "chunk", "seed", "batch_size"]
        made = {name: type(getattr(self, name)).__name__ for name in ("captioner", "language_model", "two_tower")}
        source = self.source if isinstance(self.source, str) else self.source.where
        return provenance(
            "describe",
            {
                "model": self.named.provenance(),
                "images": source,
                "image_shape": self.named.image_shape,
                **{name: kind for name, kind in made.items() if kind != "NoneType"},
                **{name: getattr(self, name) for name in names},
            },
            {f"{name}_file": path for name, path in self.factories.items()},
        )

    def begun(self) -> dict[str, Any]:
        return {"layer_names": self.names, "image_count": self.images.count}

    def tasks(self) -> list[Task]:
        count = self.images.count or 0
        if count < self.k:
            raise InputError(f"k is {self.k}, but there are {count} images; give k at most {count}, or more images.")
        if self.by != MILAN and (needed := self._top_k) is not None and needed > count:
            raise InputError(f"top_k is {needed}, but there are {count} images; choose a smaller one, or give more.")
        random = torch.rand(1, *self.named.image_shape, generator=torch.Generator().manual_seed(0))
        for name in self.names:  # one without a map is found before the folder is touched
            firing_on(self.named.model, name, 0, 0.0, random, self.named.preprocess)
        digest = {"images": self._digest}
        trained = [Task(_TRAINED)] if self.by == MILAN and self.captioner is None else []
        if self.by != MILAN:
            trained = [Task(_SIMILARITY, digest)]
        needs = tuple(task.name for task in trained)
        made = list(trained)
        for place, name in enumerate(self.names):
            examples = Task(f"examples/{place:02d}", {"layer": name, **digest})
            begins = range(0, len(self.chosen[name]), self.chunk) if self.by == MILAN else (0,)
            units = [Task(f"units/{place:02d}/{begin:05d}", needs=(*needs, examples.name)) for begin in begins]
            control = Task(f"control/{place:02d}", needs=(*needs, examples.name))
            pictures = Task(f"pictures/{place:02d}", needs=(examples.name, *(task.name for task in units)), weight=0)
            made += [examples, *units, control, pictures]
        return made

    def make(self, task: Task, run: Run) -> None:
        kind, _, rest = task.name.partition("/")
        folder = run.folder
        if kind == _TRAINED:
            captioner, language_model = train_shape_captioner(**self._training)
            captioner.save(folder / _CAPTIONER, overwrite=True)
            language_model.save(folder / _LANGUAGE_MODEL, overwrite=True)
            return
        if kind == _SIMILARITY:
            save_tensors(folder / f"{_SIMILARITY}.safetensors", _SIMILARITY, {"cosines": self._cosines()}, {}, True)
            return
        place, _, begin = rest.partition("/")
        name = self.names[int(place)]
        if kind == "examples":
            self._find(name, place, run)
            return
        layer = Examples.load(folder / f"examples/{place}.safetensors")[name]
        if kind == "units":
            found = self._described(layer, int(begin), run) if self.by == MILAN else self._scored(place, folder)
            content = {"layer": name, "units": [vars(each) for each in found]}
            write_json(folder / f"units/{place}/{begin}.json", content, overwrite=True)
        elif kind == "control":
            scores = self._control(layer, folder) if self.by == MILAN else self._word_control(place, folder)
            write_json(folder / f"control/{place}.json", {"layer": name, "scores": scores}, overwrite=True)
        else:
            self._draw(layer, place, folder)

    def summarize(self, run: Run) -> dict[str, DescribedLayer]:
        layers = described_layers(run.folder)
        content = {name: [vars(unit) for unit in layer.units] for name, layer in layers.items()}
        write_json(run.folder / DESCRIPTIONS, content, overwrite=True)
        write_units(layers, run.folder / UNITS)
        write_page(_page(run.folder, layers, run.warnings()), run.folder)
        return layers

    @property
    def _top_k(self) -> int | None:
        default = WORD_SCORES[self.by][1]
        return default if self.top_k is None or default is None else self.top_k

    @cached_property
    def _training(self) -> dict[str, int]:
        size = min(*self.named.image_shape[1:], _LARGEST_DRAWN)
        return {"seed": self.seed, "size": max(16, size), **self.training}

    @cached_property
    def _digest(self) -> str:
        """Of the images: a replaced one is noticed."""
        if self.source == SHAPES or isinstance(self.source, ConceptDataset):
            return str(self.images.images.digest())
        return hashlib.sha256(json.dumps(opened(self.source).listed()).encode()).hexdigest()

    def _describer(self, folder: Path) -> NeuronDescriber:
        if self.captioner is not None:
            return NeuronDescriber(self.captioner, self.language_model, self.weight, self.beam)
        captioner = ShapeCaptioner.load(folder / _CAPTIONER)
        return NeuronDescriber(captioner, ShapeLanguageModel.load(folder / _LANGUAGE_MODEL), self.weight, self.beam)

    def _find(self, name: str, place: str, run: Run) -> None:
        """The exemplars of a layer; for scores of words its mean activations as well."""
        finder = TopExamples(
            self.named.model,
            [name],
            self.k,
            preprocess=self.named.preprocess,
            quantiles=(self.quantile,),
            seed=self.seed,
            receptive_fields=False,
        )
        found = finder.fit(self.all_images(), self.batch_size)
        found.save(run.folder / f"examples/{place}.safetensors", overwrite=True)
        if self.by != MILAN:
            look = LayerActivations(self.named, name, batch_size=self.batch_size)
            means = torch.cat([look(batch).float().mean(2).cpu() for batch, _ in self.all_images().batches()])
            save_tensors(run.folder / f"activations/{place}.safetensors", "activations", {"means": means}, {}, True)

    def _exemplars(self, layer: LayerExamples, unit: int) -> Exemplars:
        def image_of(number: int) -> Tensor:
            return self.images.at([number])[0].cpu()

        return exemplars_of(self.named.model, layer, unit, image_of, self.quantile, self.named.preprocess)

    def _described(self, layer: LayerExamples, begin: int, run: Run) -> list[DescribedUnit]:
        """Some units; what a captioner says amiss of one is said of it, and the others have their descriptions."""
        describer, found = self._describer(run.folder), []
        for unit in self.chosen[layer.layer][begin : begin + self.chunk]:
            exemplars = self._exemplars(layer, unit)
            if not bool(exemplars.masks.any()):
                reason = layer.silence(unit) or (
                    f'Unit {unit} of layer "{layer.layer}" is on none of its images above its {self.quantile:g} quantile, '
                    f"{figure(float(layer.quantiles[unit, 0]))}, which is its highest value; give a lower quantile."
                )
                found.append(DescribedUnit(unit, failure=reason))
                continue
            try:
                found.append(_of(describer.describe(exemplars)))
            except InputError as error:
                found.append(DescribedUnit(unit, failure=f'Unit {unit} of layer "{layer.layer}": {error}'))
        return found

    def _control(self, layer: LayerExamples, folder: Path) -> list[float]:
        """The scores of the best descriptions of exemplars that are mixed from random units, in their order."""
        generator = torch.Generator().manual_seed(self.seed)
        describer = self._describer(folder)
        firing = [unit for unit in range(layer.units) if unit not in set(layer.silent)]
        order = torch.randperm(len(firing), generator=generator)[:_MIXED].tolist()
        mixed = [self._exemplars(layer, firing[place]) for place in order]
        mixed = [each for each in mixed if bool(each.masks.any())]
        scores = list[float]()
        for _ in range(self.draws if len(mixed) > 1 else 0):
            rows = torch.randint(len(mixed), (self.k,), generator=generator).tolist()
            images = torch.stack([mixed[row].images[place] for place, row in enumerate(rows)])
            masks = torch.stack([mixed[row].masks[place] for place, row in enumerate(rows)])
            try:
                scores.append(describer.describe(Exemplars(-1, images, masks)).score)
            except InputError:  # what the captioner says amiss is told of units
                continue
        return sorted(scores)

    def _cosines(self) -> Tensor:
        """(N, W), of images and words."""
        assert self.two_tower is not None
        texts = torch.nn.functional.normalize(self.two_tower.text(list(self.words)).float(), dim=1)
        rows = [
            torch.nn.functional.normalize(self.two_tower.image(batch).float(), dim=1) @ texts.T
            for batch, _ in self.all_images().batches()
        ]
        return torch.cat(rows).cpu()

    def _word_scores(self, activations: Tensor, folder: Path) -> Tensor:
        cosines = load_tensors(folder / f"{_SIMILARITY}.safetensors", _SIMILARITY)[0]["cosines"]
        function, top_k = WORD_SCORES[self.by][0], self._top_k
        return function(cosines, activations, **({} if top_k is None else {"top_k": top_k}))

    def _activations(self, place: str, folder: Path) -> Tensor:
        return load_tensors(folder / f"activations/{place}.safetensors", "activations")[0]["means"]

    def _scored(self, place: str, folder: Path) -> list[DescribedUnit]:
        """The words of all units that were asked for; the scores are of one matrix."""
        scores, found = self._word_scores(self._activations(place, folder), folder), []
        for unit in self.chosen[self.names[int(place)]]:
            order = scores[unit].argsort(descending=True, stable=True)[: self.beam].tolist()
            others = [(self.words[word], float(scores[unit, word])) for word in order]
            others = [(word, score) for word, score in others if math.isfinite(score)]
            if others:
                found.append(DescribedUnit(unit, others[0][0], others[0][1], others=others))
            else:
                found.append(DescribedUnit(unit, failure=f"Unit {unit}: its images are like none of the words."))
        return found

    def _word_control(self, place: str, folder: Path) -> list[float]:
        """The scores of the best words where each unit has its activations on other images, in their order."""
        activations = self._activations(place, folder)
        generator, chosen = torch.Generator().manual_seed(self.seed), self.chosen[self.names[int(place)]]
        scores = list[float]()
        for _ in range(self.draws):
            order = torch.rand(activations.shape, generator=generator).argsort(0)
            best = self._word_scores(activations.gather(0, order), folder)[chosen].amax(1)
            scores += [float(score) for score in best if math.isfinite(score)]
        return sorted(scores)

    def _draw(self, layer: LayerExamples, place: str, folder: Path) -> None:
        """Strips of the units with the highest scores: what excites them, light where they fire."""
        found = [unit for unit in _units(folder, place) if not unit.failure]
        content = []
        for each in sorted(found, key=lambda unit: -unit.score)[: self.shown]:
            exemplars = self._exemplars(layer, each.unit)
            path = f"pictures/{place}/{each.unit:05d}.png"
            pictures = [
                highlighted(np.asarray(to_display(image)), mask.numpy())
                for image, mask in zip(exemplars.images, exemplars.masks, strict=True)
            ]
            write_strip(pictures, folder / path)
            words = [figure(score) for score in layer.scores[each.unit].tolist()]
            content.append({"unit": each.unit, "path": path, "words": words})
        write_json(folder / f"pictures/{place}.json", {"layer": layer.layer, "units": content}, overwrite=True)


class _Images(Dataset[Tensor]):
    """The images of a data set of concepts, one by one."""

    def __init__(self, dataset: ConceptDataset, size: tuple[int, int]) -> None:
        self.dataset, self.size = dataset, size

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor:
        if index >= len(self):
            raise IndexError(index)
        return self.dataset.image(index, self.size)

    def digest(self) -> str:
        return self.dataset.digest()


def _of(found: Description) -> DescribedUnit:
    others = [(text, score) for text, score in found.others if math.isfinite(score)]
    return DescribedUnit(found.unit, found.text, found.score, found.given, found.prior, others)


def _units(folder: Path, place: str) -> list[DescribedUnit]:
    """What is known of the units of a layer."""
    found = []
    for path in sorted((folder / "units" / place).glob("*.json")):
        for each in read_json(path)["units"]:
            found.append(DescribedUnit(**{**each, "others": [(text, score) for text, score in each["others"]]}))
    return found


def described_layers(folder: Path) -> dict[str, DescribedLayer]:
    """
    What the finished tasks of a run found, by layer.

    Args:
        folder (Path): That :class:`Describe` wrote to.
    """
    found = {}
    for path in sorted((folder / "control").glob("*.json")):
        control = read_json(path)
        found[control["layer"]] = DescribedLayer(control["layer"], _units(folder, path.stem), control["scores"])
    return found


def write_units(layers: Mapping[str, DescribedLayer], path: Path) -> None:
    """The description of each unit and how far to trust it, as CSV."""
    header = ["layer", "unit", "description", "score", "log_p_given", "log_p", "specific", "p", "runner_up"]
    header += ["runner_up_score", "failure"]

    def rows() -> Any:
        for name, layer in layers.items():
            for unit in layer.units:
                if unit.failure:
                    yield [name, unit.unit, *[""] * 8, unit.failure]
                    continue
                second: tuple[Any, Any] = unit.others[1] if len(unit.others) > 1 else ("", "")
                values = (unit.score, unit.given, unit.prior, layer.specificity(unit), layer.p_value(unit))
                yield [
                    name,
                    unit.unit,
                    unit.text,
                    *("" if each is None else repr(each) for each in values),
                    *second,
                    "",
                ]

    write_rows(path, header, rows())


def descriptions_page(folder: Path) -> Page:
    """
    What a folder of descriptions has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`Describe` wrote to.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) or not (folder / DESCRIPTIONS).is_file():
        return tasks_page(folder)
    return _page(folder, described_layers(folder), warnings_of(folder))


def _page(folder: Path, layers: Mapping[str, DescribedLayer], warned: Sequence[str]) -> Page:
    pictures = {}
    for path in sorted((folder / "pictures").glob("*.json")):
        drawn = read_json(path)
        pictures[drawn["layer"]] = {each["unit"]: (each["path"], each["words"]) for each in drawn["units"]}
    settings = read_settings(folder)
    count = (settings.get(RECORDED) or {}).get("image_count") or 0
    return described_page(layers, pictures, settings, int(count), warned)


__all__ = [
    "DESCRIPTIONS",
    "METHODS",
    "MILAN",
    "SHAPES",
    "UNITS",
    "WORD_SCORES",
    "Describe",
    "described_layers",
    "descriptions_page",
    "write_units",
]
