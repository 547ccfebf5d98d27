"""The circuit of some units of a layer, task by task: weights, stimuli, examples, pictures, the six checks, clusters, another network."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.reading import read_json
from captum_proto.capture import find_output
from captum_proto.circuits import (
    ExpandedWeights,
    LinearizedNetwork,
    Tuning,
    TuningCurve,
    curve,
    expanded_weights,
    match_units,
    position_icons,
    weight_factors,
)
from captum_proto.circuits.stimuli import check_number
from captum_proto.data import Collection
from captum_proto.data.images import read_image
from captum_proto.data.numbered import NumberedImages
from captum_proto.experiments.circuit import checks
from captum_proto.experiments.circuit.kinds import ExampleKinds
from captum_proto.experiments.circuit.page import (
    CHECKS,
    CLUSTERS,
    EXAMPLES,
    ICONS,
    INCOMING,
    MATCHES,
    OUTGOING,
    PICTURES,
    STIMULI,
    STRIPS,
    circuit_page,
    write_connections,
)
from captum_proto.experiments.circuit.pictures import spread_places, write_icons, write_picture
from captum_proto.experiments.circuit.stimuli import (
    APPEARANCES,
    STEP,
    StimulusResponses,
    stimulus_responses,
    straight_tuning,
    turned_examples,
)
from captum_proto.experiments.examples import opened
from captum_proto.features import Examples, LayerExamples, TopExamples
from captum_proto.models import LayerActivations, NamedModel, PooledFeatures
from captum_proto.optim import InputOptimization, Visualizations, visualization_settings, visualize
from captum_proto.optim.loss import ChannelActivation
from captum_proto.report.blocks import Verdict
from captum_proto.report.html import write_page
from captum_proto.report.views.circuit import UnitChecks
from captum_proto.report.views.examples import framed_crop, write_strip
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

#: Layers that return what they are given, changed value by value, and are off for much of it.
_ACTIVATIONS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.Mish)
#: Other units of the layer that are controls, and their top examples that are turned.
_OTHERS, _TURNED = 8, 9
#: So many sets of random images are clustered, at most, to see what chance gives.
_RANDOM_SETS = 19


@dataclass(frozen=True)
class TraceCircuit(Protocol[dict[int, UnitChecks]]):
    """
    The circuit of some units of a layer: from which earlier units they are computed, which later ones they lead to, and whether the story
    that this tells holds, by the six checks of a curve detector.

    Args:
        named (NamedModel): The model.
        layer (str): Of the units.
        units (sequence of int): Channels.
        from_layer (str): An earlier layer, from whose units the weights are read.
        to_layer (str, optional): A later layer. Default: None
        source (str or Collection, optional): Natural images: a folder of them, "digits", or a collection. Default: None
        other (NamedModel, optional): Another network, in which the layer's units are looked for; needs images. Default: None
        other_layer (str, optional): Of it. Default: None
        connections (int): The strongest, to the units and from them. Default: 6
        factors (int): Of the weights of each unit. Default: 3
        icons (bool): Whether to draw what each position of a receptive field looks for. Default: False
        radii (sequence of float, optional): Of curves, in pixels. Default: None, a sixteenth, an eighth and a quarter of the image's side
        width (float, optional): Of lines, in pixels. Default: None, a sixty-fourth of the side, at least 2
        frozen_at (Path, optional): An image on which gates have their values, for networks with squeeze-and-excitation. Default: None
        k (int): Top examples of each unit. Default: 30
        shown (int): Of these, on the page. Default: 8
        draws (int): Random orders of images, against which matches in another network are held; and at most so many sets of random images,
            against which clusters are. Default: 200
        steps (int): Of each picture. Default: 256
        picture_size (int, optional): The side of each picture, in pixels. Default: None, that of the model's images
        seed (int): Default: 0
        batch_size (int): Images at a time. Default: 32
        workers (int): Threads that read files. Default: 2

    Raises:
        InputError: If an argument is out of its range, or there is no such layer or unit.
    """

    named: NamedModel
    layer: str
    units: Sequence[int]
    from_layer: str
    to_layer: str | None = None
    source: str | Collection | None = None
    other: NamedModel | None = None
    other_layer: str | None = None
    connections: int = 6
    factors: int = 3
    icons: bool = False
    radii: Sequence[float] | None = None
    width: float | None = None
    frozen_at: Path | None = None
    k: int = 30
    shown: int = 8
    draws: int = 200
    steps: int = 256
    picture_size: int | None = None
    seed: int = 0
    batch_size: int = 32
    workers: int = 2

    unit = "task"

    def __post_init__(self) -> None:
        for name in ("connections", "factors", "k", "shown", "draws", "batch_size"):
            check_int(getattr(self, name), name, 1)
        check_int(self.steps, "steps", 0)
        if self.picture_size is not None:
            check_int(self.picture_size, "picture_size", 8)
        check_int(self.seed, "seed", 0)
        for radius in self.radii or ():
            check_number(radius, "a radius", 0.0)
        if self.width is not None:
            check_number(self.width, "width", 0.1)
        if self.k < 3:
            raise InputError(f"k is {self.k}; expected at least 3 examples, among which clusters can be looked for.")
        if self.named.image_shape[0] not in (1, 3):
            raise InputError(f"the model takes {self.named.image_shape[0]} channels; stimuli are drawn with 1 or 3.")
        if (self.other is None) != (self.other_layer is None):
            raise InputError("a network to look for the units in needs a layer of it as well; give both, or neither.")
        if self.other is not None and self.source is None:
            raise InputError("units are looked for in another network by what both make of images; give some.")

    @cached_property
    def _incoming(self) -> LinearizedNetwork:
        return LinearizedNetwork(self.named, self.from_layer, self.layer, frozen_at=self._frozen)

    @cached_property
    def _frozen(self) -> Tensor | None:
        return None if self.frozen_at is None else read_image(str(self.frozen_at), self.named.geometry).image

    @cached_property
    def _images(self) -> NumberedImages:
        assert self.source is not None  # tasks that need images are only listed with a source
        batches = opened(self.source).batches_for(self.named.geometry, self.batch_size, self.workers)
        return NumberedImages(batches, self.batch_size)

    @cached_property
    def chosen(self) -> list[int]:
        """The units, each once."""
        count = self._incoming.to_channels
        chosen = list(dict.fromkeys(self.units))
        for unit in chosen:
            if check_int(unit, "a unit", 0) >= count:
                raise InputError(f'unit is {unit}; layer "{self.layer}" has units 0 to {count - 1}.')
        if not chosen:
            raise InputError("there are no units to trace; give at least one.")
        return chosen

    @cached_property
    def others(self) -> list[int]:
        """Units of the layer that are controls, drawn at random."""
        generator = torch.Generator().manual_seed(self.seed)
        order = torch.randperm(self._incoming.to_channels, generator=generator).tolist()
        return sorted([unit for unit in order if unit not in self.chosen][:_OTHERS])

    @property
    def _size(self) -> int:
        return min(self.named.image_shape[1:])

    @property
    def _picture_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.named.image_shape
        size = self.picture_size
        return (channels, height, width) if size is None else (channels, size, size)

    @property
    def _radii(self) -> list[float]:
        return [self._size / part for part in (16, 8, 4)] if self.radii is None else list(map(float, self.radii))

    @property
    def _width(self) -> float:
        return max(2.0, self._size / 64) if self.width is None else float(self.width)

    def provenance(self) -> dict[str, Any]:
        names = ["layer", "units", "from_layer", "to_layer", "other_layer", "connections", "factors", "icons", "radii"]
        names += ["width", "k", "shown", "draws", "steps", "picture_size", "seed", "batch_size"]
        source = self.source if self.source is None or isinstance(self.source, str) else self.source.where
        return provenance(
            "circuit",
            {
                "model": self.named.provenance(),
                **({} if self.other is None else {"other_model": self.other.provenance()}),
                "images": source,
                "image_shape": self.named.image_shape,
                **{name: getattr(self, name) for name in names},
            },
            {} if self.frozen_at is None else {"frozen_at": self.frozen_at},
        )

    def begun(self) -> dict[str, Any]:
        return {"controls": self.others, "size": self._size}

    def tasks(self) -> list[Task]:
        names = [f"{unit:05d}" for unit in self.chosen]
        listed = [Task("weights", weight=3), Task("stimuli", weight=3)]
        pictured = ["weights"]
        if self.to_layer is not None:
            outgoing = LinearizedNetwork(self.named, self.layer, self.to_layer, frozen_at=self._frozen)
            outgoing.path()
            listed.append(Task("outgoing"))
            pictured.append("outgoing")
        self._incoming.path()
        self._rehearse()
        if self.source is not None:
            count = self._images.count or 0
            if count < self.k:
                raise InputError(
                    f"k is {self.k}, but there are {count} images; give k at most {count}, or more images."
                )
            digest = {"images": self._digest}
            listed.append(Task("examples", digest, weight=3))
            listed += [Task(f"clusters/{name}", needs=("examples",)) for name in names]
            if self.other is not None:
                listed.append(Task("matches", digest))
        listed.append(Task("pictures", needs=tuple(pictured), weight=3))
        needs = [*pictured, "stimuli", "pictures", *(["examples"] if self.source is not None else [])]
        listed += [Task(f"checks/{name}", needs=tuple(needs), weight=2) for name in names]
        if self.icons:
            listed += [Task(f"icons/{name}", needs=("weights",), weight=2) for name in names]
        return listed

    def make(self, task: Task, run: Run) -> None:
        kind, _, name = task.name.partition("/")
        unit = int(name) if name else -1
        folder = run.folder
        if kind == "weights":
            self._expand(folder)
        elif kind == "outgoing":
            assert self.to_layer is not None  # else there is no such task
            found = expanded_weights(self.named, self.layer, self.to_layer, frozen_at=self._frozen)
            found.save(folder / OUTGOING, overwrite=True)
        elif kind == "stimuli":
            self._show_stimuli(folder / STIMULI)
        elif kind == "examples":
            self._find_examples(run)
        elif kind == "pictures":
            self._draw(run)
        elif kind == "checks":
            content = self._check(unit, folder).to_json()
            write_json(folder / CHECKS / f"{name}.json", content, overwrite=True)
        elif kind == "clusters":
            self._cluster(unit, folder)
        elif kind == "matches":
            self._match(folder)
        else:
            self._draw_icons(unit, folder)

    def summarize(self, run: Run) -> dict[int, UnitChecks]:
        write_connections(run.folder)
        write_page(circuit_page(run.folder), run.folder)
        return {unit: UnitChecks.from_json(read_json(run.folder / CHECKS / f"{unit:05d}.json")) for unit in self.chosen}

    def _rehearse(self) -> None:
        """See that pictures can be made, before anything takes time or is removed: one step for one unit."""
        settings = visualization_settings(self._picture_shape, steps=min(1, self.steps))
        loss = ChannelActivation(self._objective(self.layer), self.chosen[:1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to warn of comes again
            InputOptimization(self.named.model, loss, self.named.preprocess, settings).optimize(self._picture_shape)

    @cached_property
    def _digest(self) -> str:
        """Of the images: a replaced one is noticed."""
        assert self.source is not None  # as above
        return hashlib.sha256(json.dumps(opened(self.source).listed()).encode()).hexdigest()

    def _expand(self, folder: Path) -> None:
        found = expanded_weights(self.named, self.from_layer, self.layer, units=self.chosen, frozen_at=self._frozen)
        found.save(folder / INCOMING, overwrite=True)
        for unit in self.chosen:
            positions = found.weights.shape[2] * found.weights.shape[3]
            most = min(self.factors, len(found.from_units), positions)
            if bool(found.of(unit).any()):
                weight_factors(found, unit, most).save(folder / f"factors/{unit:05d}.safetensors", overwrite=True)

    def _show_stimuli(self, folder: Path) -> None:
        stimulus_responses(self.named, self.layer, self._radii, self._width, self.batch_size).save(folder)
        probe = TuningCurve(self.named, self.from_layer, batch_size=self.batch_size)
        for name in APPEARANCES:
            tuning = straight_tuning(probe, name, self._width)
            tuning.save(folder / f"{self._earlier(name)}.safetensors", overwrite=True)

    @staticmethod
    def _earlier(appearance: str) -> str:
        return f"earlier of {appearance}"

    def _find_examples(self, run: Run) -> None:
        finder = TopExamples(
            self.named.model, [self.layer], self.k, preprocess=self.named.preprocess, quantiles=(), seed=self.seed
        )
        examples = finder.fit(self._images, self.batch_size, show_progress=run.show_progress)
        examples.save(run.folder / EXAMPLES, overwrite=True)
        layer = next(iter(examples.layers.values()))
        for unit in self.chosen:
            for which in ("top", "random"):
                boxes = layer.chosen(unit, which)[2]
                places = layer.places(unit, which)
                crops = layer.crops(self._images, unit, which, self.shown)
                framed = [
                    framed_crop(crop, box, layer, place) for crop, box, place in zip(crops, boxes, places, strict=False)
                ]
                write_strip(framed, run.folder / STRIPS / f"{unit:05d}_{which}.png")

    def _draw(self, run: Run) -> None:
        """A picture of every unit of the circuit, and of the controls."""
        folder = run.folder
        incoming = ExpandedWeights.load(folder / INCOMING)
        wanted: dict[str, list[int]] = {self.layer: [*self.chosen, *self.others], self.from_layer: []}
        for unit in self.chosen:
            wanted[self.from_layer] += [each.from_unit for each in incoming.strongest(unit, self.connections)]
        if self.to_layer is not None:
            wanted.setdefault(self.to_layer, [])
            outgoing = ExpandedWeights.load(folder / OUTGOING)
            for unit in self.chosen:
                wanted[self.to_layer] += [each.to_unit for each in outgoing.strongest_from(unit, self.connections)]
        for place, (layer, units) in enumerate(wanted.items()):
            each = list(dict.fromkeys(units))
            made = visualize(
                self.named.model,
                ChannelActivation(self._objective(layer), each),
                self._picture_shape,
                self.named.preprocess,
                seed=self.seed,
                steps=self.steps,
                redirect_relu_steps=self.steps // 2,  # a unit that few things turn on takes long to be turned on
                batch_size=self.batch_size,
                show_progress=run.show_progress,
            )
            made.save(folder / PICTURES / f"{place}.safetensors", overwrite=True)
            for unit, image in zip(each, made.images, strict=True):
                write_picture(image, folder / PICTURES / f"{place}_{unit:05d}.png")

    def _objective(self, layer: str) -> str:
        """The layer whose channels pictures are to activate: of an activation function what goes into it, which has a gradient anywhere."""
        name, module, call, path = find_output(self.named.model, layer)
        return f"{name}@input" if isinstance(module, _ACTIVATIONS) and call is None and not path else layer

    def _check(self, unit: int, folder: Path) -> UnitChecks:
        incoming = ExpandedWeights.load(folder / INCOMING)
        responses = StimulusResponses.load(folder / STIMULI)
        earlier = {name: Tuning.load(folder / STIMULI / f"{self._earlier(name)}.safetensors") for name in APPEARANCES}
        lines = checks.unit_lines(earlier)[incoming.from_units]
        third, tuning = checks.check_stimuli(responses, unit)
        curves = {"stimuli": tuning.raised[0, tuning.values.index(tuning.preferred[0][1])].tolist()}
        pictures = Visualizations.load(folder / PICTURES / "0.safetensors")
        probe = TuningCurve(self.named, self.layer, unit, batch_size=self.batch_size)
        activations = probe.responses(pictures.images)[:, unit]
        drawn = [target[0] for target in pictures.targets]
        examples = self._examples(folder)
        best = examples.scores[unit].tolist() if examples is not None else []
        controls = [float(activations[drawn.index(other)]) for other in self.others]
        first = checks.check_picture(float(activations[drawn.index(unit)]), best, controls)
        second = Verdict(checks.NAMES[1], "no images were given", "", "", None)
        if examples is not None:
            second, joint = self._joint(unit, float(tuning.blank[0]), examples)
            curves["examples turned"] = joint
        fourth, curves["weights"] = checks.check_weights(incoming, unit, lines, tuning, self._size, self.seed)
        fifth = Verdict(checks.NAMES[4], "no later layer was given", "", "", None)
        if self.to_layer is not None:
            outgoing = ExpandedWeights.load(folder / OUTGOING)
            fifth = checks.check_downstream(
                self.named, self.layer, unit, outgoing, self._own_curves(tuning), self.batch_size
            )
        sixth, put_back = checks.check_by_hand(self.named, incoming, unit, lines, tuning, self.batch_size, self.seed)
        curves |= {f"put back: {name}": values for name, values in put_back.items()}
        orientation, radius = tuning.preferred[0]
        verdicts = [first, second, third, fourth, fifth, sixth]
        return UnitChecks(unit, verdicts, responses.best(unit)[0], orientation, radius, curves)

    def _own_curves(self, tuning: Tuning) -> Tensor:
        """The curve that raises a unit most, and those next to it."""
        best, radius = tuning.preferred[0]
        style = {name: value for name, value in tuning.settings.items() if name not in ("size", "pool")}
        images = torch.stack([curve(best + turn, radius, self._size, **style) for turn in (-STEP, 0, STEP)])
        return images if self.named.image_shape[0] == 3 else images.mean(1, keepdim=True)

    def _examples(self, folder: Path) -> LayerExamples | None:
        if self.source is None:
            return None
        return next(iter(Examples.load(folder / EXAMPLES).layers.values()))

    def _joint(self, unit: int, blank: float, examples: LayerExamples) -> tuple[Verdict, list[float]]:
        angles = [float(angle) for angle in range(0, 360, STEP)]

        def responses(of: int, turns: Sequence[float]) -> Tensor:
            crops = examples.crops(self._images, of, "top", _TURNED)
            made = turned_examples(crops, self._size, turns)
            probe = TuningCurve(self.named, self.layer, of, batch_size=self.batch_size)
            found = probe.responses(made.flatten(0, 1))
            return found[:, of].view(len(crops), len(turns))

        control = []
        for other in self.others:
            turned = responses(other, [0.0, 180.0]) - blank_of(self.named, self.layer, other, self._size)
            upright = turned[:, 0] > 0
            shares = (turned[upright, 1] / turned[upright, 0]).clamp(min=0)
            control.append(float(shares.mean()) if len(shares) else float("nan"))
        return checks.check_examples(responses(unit, angles), blank, control, angles)

    def _cluster(self, unit: int, folder: Path) -> None:
        examples = self._examples(folder)
        assert examples is not None  # this task needs that of examples
        activations = LayerActivations(self.named, self.layer, batch_size=self.batch_size)
        kinds = ExampleKinds(activations, examples, self._images, unit, self.seed)
        content = {**vars(kinds.clusters), "unit": unit, "by_chance": kinds.by_chance(min(_RANDOM_SETS, self.draws))}
        write_json(folder / CLUSTERS / f"{unit:05d}.json", content, overwrite=True)
        kinds.draw(folder / STRIPS, self.shown)

    def _match(self, folder: Path) -> None:
        assert self.other is not None  # else there is no such task
        assert self.source is not None
        batches = [
            opened(self.source).batches_for(named.geometry, self.batch_size, self.workers)
            for named in (self.named, self.other)
        ]
        embeds = [
            PooledFeatures(self.named, self.layer, pool="max", batch_size=self.batch_size),
            PooledFeatures(self.other, self.other_layer, pool="max", batch_size=self.batch_size),
        ]
        first, second = (
            torch.cat([embed(batch) for batch, _ in NumberedImages(images, self.batch_size).batches()])
            for embed, images in zip(embeds, batches, strict=True)
        )
        settings = {"model": self.other.name, "layer": self.other_layer}
        match_units(first, second, self.draws, self.seed, settings).save(folder / MATCHES, overwrite=True)

    def _draw_icons(self, unit: int, folder: Path) -> None:
        found = expanded_weights(self.named, self.from_layer, self.layer, units=unit, frozen_at=self._frozen)
        lengths = found.of(unit).norm(dim=0)
        # Of a large field every few positions, from the middle outwards, so that there are no more than so many to a side.
        rows, columns = (spread_places(side) for side in lengths.shape)
        at = [(row, column) for row in rows for column in columns if float(lengths[row, column])]
        made, places = position_icons(
            self.named,
            found,
            unit,
            self._picture_shape,
            at=at,
            steps=self.steps,
            batch_size=self.batch_size,
            seed=self.seed,
        )
        shown = [(rows.index(row), columns.index(column)) for row, column in places]
        amounts = (lengths / lengths.max())[rows][:, columns]
        write_icons(made.images, shown, amounts, folder / ICONS / f"{unit:05d}.png")


def blank_of(named: NamedModel, layer: str, unit: int, size: int) -> float:
    """A unit's response to gray."""
    return float(TuningCurve(named, layer, unit).responses(torch.full((1, 3, size, size), 0.5))[0, unit])


__all__ = ["TraceCircuit"]
