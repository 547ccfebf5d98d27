"""The images to which the units of some layers respond most, chunk by chunk of a folder of images, and a page of them."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.reading import read_json
from captum_proto.data import Collection, ImageBatches, ImageCollection, digits_collection
from captum_proto.data.natural import DIGITS
from captum_proto.data.numbered import NumberedImages
from captum_proto.features import Examples, ExampleState, LayerExamples, TopExamples
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Files, Paragraphs
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.report.views.examples import (
    LABELS,
    field_words,
    figure,
    framed_crop,
    unit_of,
    units_table,
    write_strip,
)
from captum_proto.runs.files import write_json, write_rows
from captum_proto.runs.folder import SETTINGS, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of

EXAMPLES, UNITS = "examples.safetensors", "units.csv"
_STRIPS = "strips"
#: As many passes have a task each; what is not known after them, as of float64, is found in one go.
_PASSES = 3
#: Bytes that a pass may take for each layer: each chunk of images puts at most as much on disk.
_MEMORY = 2**24
#: Of a row of controls.
_CONTROLS = 4
#: A unit by layer and channels: "blocks.3=1,5,8".
_NAMED = re.compile(r"(?P<layer>.+)=(?P<channels>\d+(?:,\d+)*)")


@dataclass(frozen=True)
class FindExamples(Protocol[Examples]):
    """
    Top examples of the units of some layers: their numbers, a table of all units, and pictures of chosen ones.

    Images are gone through in chunks, each a task whose state is saved; states add up to exactly what one pass would give.

    Args:
        named (NamedModel): The model and its preprocessing.
        source (str or Collection): A folder of images, whatever they are called, with those in folders within it; "digits" for the held-out
            scans of scikit-learn; or a collection.
        layers (sequence of str): Names or patterns.
        units (sequence of str): Which units have pictures: a number of them for each layer, evenly spaced, or "LAYER=3,17". Default: 12
        k (int): Examples of each unit. Default: 15
        pool (str): "max", "mean" or "position", as in :class:`~captum_proto.features.TopExamples`. Default: "max"
        position (tuple[int, ...], optional): Of ``pool="position"``. Default: None
        quantiles (sequence of float): Default: (0.99, 0.995)
        shown (int): Top examples of a unit that are shown. Default: 9
        seed (int): Of the random sample. Default: 0
        batch_size (int): Images at a time. Default: 32
        chunk (int): Images in a task. Default: 512
        workers (int): Threads that read files. Default: 2

    Raises:
        InputError: If an argument is out of its range.
    """

    named: NamedModel
    source: str | Collection
    layers: Sequence[str]
    units: Sequence[str] = ("12",)
    k: int = 15
    pool: str = "max"
    position: tuple[int, ...] | None = None
    quantiles: Sequence[float] = (0.99, 0.995)
    shown: int = 9
    seed: int = 0
    batch_size: int = 32
    chunk: int = 512
    workers: int = 2

    unit = "image"

    def __post_init__(self) -> None:
        for name in ("shown", "batch_size", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1.")
        if self.pool == "position" and self.position is None:
            raise InputError('pool is "position", but position is missing; give one, such as 3 3.')

    @cached_property
    def finder(self) -> TopExamples:
        return TopExamples(
            self.named.model,
            self.layers[0] if list(self.layers) in (["all"], ["leaf"]) else list(self.layers),
            self.k,
            self.pool,
            self.named.preprocess,
            position=self.position,
            quantiles=self.quantiles,
            seed=self.seed,
            memory=_MEMORY,
        )

    @cached_property
    def collection(self) -> Collection:
        return opened(self.source)

    @cached_property
    def chosen(self) -> dict[str, list[int]]:
        """By layer, the units that have pictures."""
        return chosen_units(self.units, self.finder.units(self.named.image_shape))

    def provenance(self) -> dict[str, Any]:
        names = ("layers", "units", "k", "pool", "position", "quantiles", "shown", "seed", "batch_size", "chunk")
        return provenance(
            "examples",
            {
                "model": self.named.provenance(),
                "images": self.source if isinstance(self.source, str) else self.source.where,
                "count": len(self.collection.all_labels),
                "image_shape": self.named.image_shape,
                **{name: getattr(self, name) for name in names},
            },
        )

    def tasks(self) -> list[Task]:
        count = len(self.collection.all_labels)
        if count < self.k:
            raise InputError(f"k is {self.k}, but there are {count} images; give k at most {count}, or more images.")
        assert self.chosen  # whatever is wrong with layers and units is found here
        chunks = list(range(0, count, self.chunk))
        digests = {begin: self._digest(begin) for begin in chunks}
        tasks: list[Task] = []
        last: tuple[str, ...] = ()
        for number in range(1, 1 + (_PASSES if self.quantiles else 1)):
            parts = [
                Task(f"pass{number}/{begin:07d}", {"images": digests[begin]}, last, min(self.chunk, count - begin))
                for begin in chunks
            ]
            merged = Task(f"merged/{number}", needs=(*last, *(part.name for part in parts)))
            tasks += [*parts, merged]
            last = (merged.name,)
        tasks.append(Task("examples", needs=last))
        return [*tasks, *(Task(f"{_STRIPS}/{place:02d}", needs=("examples",)) for place in range(len(self.chosen)))]

    def make(self, task: Task, run: Run) -> None:
        kind, _, rest = task.name.partition("/")
        if kind.startswith("pass"):
            self._look(int(kind.removeprefix("pass")), int(rest), run)
        elif kind == "merged":
            self._merge(int(rest), run)
        elif kind == "examples":
            state = ExampleState.load(_last_state(run))
            while not state.finished:
                self.finder.update(state, self._batches(0, len(self.collection.all_labels)))
                state.end_pass()
            self.finder.result(state).save(run.folder / EXAMPLES, overwrite=True)
        else:
            name = list(self.chosen)[int(rest)]
            self._draw(Examples.load(run.folder / EXAMPLES)[name], int(rest), run)

    def summarize(self, run: Run) -> Examples:
        examples = Examples.load(run.folder / EXAMPLES)
        write_units(examples, run.folder / UNITS)
        write_page(examples_page(run.folder), run.folder)
        return examples

    def _look(self, number: int, begin: int, run: Run) -> None:
        """One pass over one chunk."""
        state = self.finder.start()
        if number > 1:
            state = ExampleState.load(run.folder / f"merged/{number - 1}.safetensors")
            state = state if state.finished else state.part()
        if not state.finished:
            self.finder.update(state, self._batches(begin, self.chunk), first=begin)
            state.save(run.folder / f"pass{number}/{begin:07d}.safetensors", overwrite=True)

    def _merge(self, number: int, run: Run) -> None:
        """What the chunks of a pass come to."""
        state = self.finder.start()
        if number > 1:
            state = ExampleState.load(run.folder / f"merged/{number - 1}.safetensors")
        if not state.finished:
            for begin in range(0, len(self.collection.all_labels), self.chunk):
                state.merge(ExampleState.load(run.folder / f"pass{number}/{begin:07d}.safetensors"))
            state.end_pass()
        state.save(run.folder / f"merged/{number}.safetensors", overwrite=True)

    def _draw(self, layer: LayerExamples, place: int, run: Run) -> None:
        """The strips of the chosen units of a layer, and what is beneath their pictures."""
        images = NumberedImages(self._batches(0, len(self.collection.all_labels)), self.batch_size)
        ending = "png" if max(self.named.image_shape[-2:]) <= 64 else "jpg"
        units = []
        for unit in self.chosen[layer.layer]:
            strips = []
            for which, label in LABELS.items():
                count = min(self.shown if which == "top" else _CONTROLS, self.k)
                scores, numbers, boxes = layer.chosen(unit, which)
                crops = layer.crops(images, unit, which, count)
                places = layer.places(unit, which)
                framed = [
                    framed_crop(crop, box, layer, place) for crop, box, place in zip(crops, boxes, places, strict=False)
                ]
                path = f"{_STRIPS}/{place:02d}/{unit:05d}_{which}.{ending}"
                write_strip(framed, run.folder / path)
                strips.append(
                    {
                        "path": path,
                        "label": label,
                        "words": [figure(score) for score in scores[:count]],
                        "images": [self._name(number) for number in numbers[:count]],
                    }
                )
            units.append({"unit": unit, "strips": strips})
        write_json(run.folder / f"{_STRIPS}/{place:02d}.json", {"layer": layer.layer, "units": units}, overwrite=True)

    def _batches(self, begin: int, count: int) -> ImageBatches | Any:
        end = min(begin + count, len(self.collection.all_labels))
        part = self.collection.take(list(range(begin, end)))
        return part.batches_for(self.named.geometry, self.batch_size, self.workers)

    def _name(self, number: int) -> str:
        if isinstance(self.collection, ImageCollection):
            path = Path(self.collection.files[number][0])
            return path.relative_to(self.collection.root).as_posix()
        return f"{self.collection.where.strip(chr(34))} {number}"

    def _digest(self, begin: int) -> str:
        """Of the images of a chunk: a replaced one is noticed."""
        part = self.collection.take(list(range(begin, min(begin + self.chunk, len(self.collection.all_labels)))))
        return hashlib.sha256(json.dumps([digest for _, digest in part.listed()]).encode()).hexdigest()


def opened(source: str | Collection) -> Collection:
    """The images that were asked for: of a folder all, whatever they are called."""
    if isinstance(source, Collection):
        return source
    return digits_collection() if source == DIGITS else ImageCollection.one_class(source)


def chosen_units(texts: Sequence[str], units: Mapping[str, int]) -> dict[str, list[int]]:
    """
    Units that were asked for, by layer.

    Args:
        texts (sequence of str): A number of units for each layer, evenly spaced, such as "12"; or "LAYER=3,17" for certain ones.
        units (mapping[str, int]): How many each layer has.

    Raises:
        InputError: If there is no such layer or unit.

    Examples::

        >>> chosen_units(["3", "fc=1"], {"conv": 16, "fc": 4})
        {'conv': [0, 5, 10], 'fc': [1]}
    """
    found: dict[str, list[int]] = {}
    each = 0
    for text in texts:
        match = _NAMED.fullmatch(text)
        if match is not None:
            layer = match["layer"]
            if layer not in units:
                raise InputError(
                    f'there are no examples of layer "{layer}"{nearest(layer, units) or f"; give one of {len(units)} asked for."}'
                )
            for channel in map(int, match["channels"].split(",")):
                if channel >= units[layer]:
                    raise InputError(f'unit is {channel}; layer "{layer}" has units 0 to {units[layer] - 1}.')
                found.setdefault(layer, []).append(channel)
        elif text.isdecimal() and int(text):
            each = int(text)
        else:
            raise InputError(
                f'units is "{text}"; expected a number of units, such as 12, or units of a layer, such as LAYER=3,17.'
            )
    evenly = {
        name: [place * count // min(each, count) for place in range(min(each, count))] for name, count in units.items()
    }
    return {name: list(dict.fromkeys(found.get(name, evenly[name]))) for name in units if found.get(name, evenly[name])}


def write_units(examples: Examples, path: Path) -> None:
    """All figures of all units, as CSV."""
    levels = [f"q{q:g}" for q in examples.settings["quantiles"]]
    header = [
        "layer",
        "unit",
        "highest_activation",
        *levels,
        "lowest_activation",
        "firing_images",
        "firing_positions",
        "images",
    ]
    header += [f"{which}_{place}" for which in ("top", "lowest") for place in range(examples.settings["k"])]

    def rows() -> Any:
        for name, layer in examples.layers.items():
            for unit in range(layer.units):
                share = layer.firing(unit)
                yield [
                    name,
                    unit,
                    float(layer.highest_value[unit]),
                    *layer.quantiles[unit].tolist(),
                    float(layer.lowest_value[unit]),
                    int(layer.firing_images[unit]),
                    share.value,
                    layer.count,
                    *layer.indices[unit].tolist(),
                    *layer.lowest_indices[unit].tolist(),
                ]

    write_rows(path, header, rows())


def examples_page(folder: Path) -> Page:
    """
    What a folder of examples has to show, from the files in it; of an interrupted run, the layers it finished.

    Args:
        folder (Path): That :class:`FindExamples` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    name = (settings.get("model") or {}).get("name")
    page = Page(
        f"What units of {name} respond to" if name else "What units respond to",
        settings=settings,
        failures=warnings_of(folder),
    )
    if not (folder / EXAMPLES).exists():
        page.failures.insert(0, "The run is not finished: images are missing; the same command with --resume goes on.")
        page.summary = ["No example is known yet: the images have not all been gone through."]
        page.sections = [Section("Examples", [Paragraphs(page.summary)])]
        return page
    examples = Examples.load(folder / EXAMPLES)
    drawn = [read_json(path) for path in sorted((folder / _STRIPS).glob("*.json"))]
    if not (folder / UNITS).exists():
        page.failures.insert(
            0,
            f"The run is not finished: {len(drawn)} of {len(examples)} layers have pictures; the same command with --resume goes on.",
        )
    units = {each["layer"]: _units(examples[each["layer"]], each["units"]) for each in drawn}
    page.lead = [UnitRows([_first(found[0]) for found in units.values() if found][:6])] if units else []
    for layer in examples.layers.values():
        silent = (
            [f"{len(layer.silent)} of {layer.units} units say nothing of these images: {_few(layer.silent)}."]
            if layer.silent
            else []
        )
        blocks = [Paragraphs([field_words(layer), *silent]), UnitRows(units.get(layer.layer, [])), units_table(layer)]
        page.sections.append(Section(layer.layer, blocks, shown=2))
    page.sections.append(
        Section("Files", [Files([path for path in (EXAMPLES, UNITS, SETTINGS) if (folder / path).exists()])])
    )
    _say(page, examples, sum(map(len, units.values())))
    return page


def _say(page: Page, examples: Examples, shown: int) -> None:
    """What the page says in words."""
    k, pool = examples.settings["k"], examples.settings["pool"]
    total = sum(layer.units for layer in examples.layers.values())
    layers = "1 layer" if len(examples) == 1 else f"{len(examples)} layers"
    page.summary = [
        f"For {shown} units of the network, the images to which each responds most, of {examples.count}. The other units, of {total} in "
        f"{layers}, are in the tables.",
        f"Of each unit the {k} images with the highest and the {k} with the lowest score are known, exactly, and its score of "
        f"{len(next(iter(examples.layers.values())).random_indices)} images drawn at random, the same for all units.",
    ]
    what = {
        "max": "the unit's highest activation in the image, and the picture is what that position sees",
        "mean": "the mean of the unit's activations over the image",
        "position": f"the unit's activation at position {examples.settings['position']}",
    }[pool]
    page.legend = [
        f"Beneath each picture is its score: {what}.",
        "Least: the images with the lowest scores; Random: images drawn at random. Both are controls: what they share with the first "
        "row, the unit does not tell from it.",
    ]
    page.trust = (
        f"What is shown, yes: no image of the {examples.count} scores higher. What it means, in part: {k} of {examples.count} images are "
        "the extreme of what a unit responds to, and what they have in common need not be what it answers to in between; the random row "
        "and the quantiles say how far out they are."
    )


def _units(layer: LayerExamples, drawn: Sequence[Mapping[str, Any]]) -> list[Unit]:
    return [
        unit_of(layer, each["unit"], [Strip(strip["path"], strip["label"], strip["words"]) for strip in each["strips"]])
        for each in drawn
    ]


def _first(unit: Unit) -> Unit:
    """A unit as the first screen shows it."""
    return Unit(unit.name, [], unit.strips[:1])


def _few(units: Sequence[int]) -> str:
    return ", ".join(map(str, units[:20])) + (f" and {len(units) - 20} more" if len(units) > 20 else "")


def _last_state(run: Run) -> Path:
    return max((run.folder / "merged").glob("*.safetensors"), key=lambda path: int(path.stem))
