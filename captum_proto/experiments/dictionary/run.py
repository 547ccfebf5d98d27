"""What a layer sees in one image: semantic dictionary, neuron groups, attribution and activation grid, each beside its control."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.class_names import label_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.model import borrowed, device_of
from captum_proto._utils.targets import Target
from captum_proto.data import ImageCollection
from captum_proto.data.images import read_image
from captum_proto.experiments.dictionary.page import (
    CONTROLS,
    DICTIONARY,
    EXAMPLES,
    GRID,
    GROUPS,
    MAPS,
    NUMBERS,
    PARTS,
    dictionary_page,
)
from captum_proto.features import (
    ActivationGrid,
    NeuronGroups,
    NeuronGroupsResult,
    SemanticDictionary,
    SemanticDictionaryResult,
    TopExamples,
    UnitAttribution,
)
from captum_proto.models import NamedModel
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss import ChannelActivation, Direction
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.views.dictionary import (
    attribution_figure,
    controls_figure,
    groups_figure,
    spread_of,
    write_examples,
    write_picture,
)
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

#: So many channels and directions are drawn by chance; so many steps has a path.
_BY_CHANCE, _PATH = 4, 100
#: A grid of more pictures than this would take hours.
_MOST_CELLS = 1024
#: Images that activate a unit most: so many are shown.
_EXAMPLES = 4
_PATH_KIND, _EXAMPLES_KIND = "path attribution", "examples of units"


@dataclass(frozen=True)
class Dictionary(Protocol[SemanticDictionaryResult]):
    """
    Read one image by one layer of a model.

    Args:
        named (NamedModel): The model and its preprocessing.
        image (Path): An image file.
        layer (str): A layer with positions.
        target (tuple[int, ...], optional): What is attributed. Default: None, the class that the model gives the image
        contrast (tuple[int, ...], optional): What is subtracted from it. Default: None
        top (int): Units of each position. Default: 4
        groups (int): Neuron groups; 0 for none. Default: 6
        grid (bool): Whether to draw the activation grid, a picture for each position. Default: True
        images (Path, optional): A folder of images, of which those that activate units most are shown. Default: None
        limit (int, optional): So many of them, drawn at random. Default: None, all
        steps (int): Of each picture. Default: 128
        picture_size (int): The side of each picture, in pixels. Default: 112
        batch_size (int): Pictures at a time; each finished batch is on disk at once. Default: 16
        image_batch (int): Images of the folder at a time. Default: 32
        seed (int): Of pictures and of controls. Default: 0

    Raises:
        InputError: If a number is out of range, or an image cannot be read.
    """

    named: NamedModel
    image: Path
    layer: str
    target: Target | None = None
    contrast: Target | None = None
    top: int = 4
    groups: int = 6
    grid: bool = True
    images: Path | None = None
    limit: int | None = None
    steps: int = 128
    picture_size: int = 112
    batch_size: int = 16
    image_batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("top", 1), ("groups", 0), ("steps", 0), ("picture_size", 8), ("batch_size", 1)):
            check_int(getattr(self, name), name, least)

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "dictionary",
            {
                "model": self.named.provenance(),
                "layer": self.layer,
                "target": self._target,
                "contrast": self.contrast,
                "top": self.top,
                "groups": self.groups,
                "grid": self.grid,
                "steps": self.steps,
                "picture_size": self.picture_size,
                "batch_size": self.batch_size,
                "image_shape": self.named.image_shape,
                "seed": self.seed,
                "examples": None if self._collection is None else _digest_of(self._collection),
            },
            {"image": self.image},
        )

    @cached_property
    def _collection(self) -> ImageCollection | None:
        if self.images is None:
            return None
        found = ImageCollection.one_class(self.images)
        return found if self.limit is None or self.limit >= len(found) else found.of([0], self.limit, self.seed)

    @cached_property
    def _image(self) -> Tensor:
        return read_image(str(self.image), self.named.geometry).image

    @cached_property
    def _target(self) -> Target:
        if self.target is not None:
            return self.target
        model = self.named.model
        with borrowed(model), torch.no_grad():
            return (int(self.named.logits(self._image[None].to(device_of(model))).argmax()),)

    @cached_property
    def _dictionary(self) -> SemanticDictionary:
        return SemanticDictionary(self.named.model, self.layer, preprocess=self.named.preprocess)

    @property
    def _groups(self) -> NeuronGroups:
        return NeuronGroups(self.named.model, self.layer, self.groups, preprocess=self.named.preprocess)

    @cached_property
    def _found(self) -> SemanticDictionaryResult:
        return self._interpret(self._image, self._dictionary)

    def _interpret(self, image: Tensor, dictionary: SemanticDictionary) -> SemanticDictionaryResult:
        return dictionary.interpret(image, **self._attributed, top=self.top, draw=False)

    @property
    def _attributed(self) -> dict[str, Any]:
        return {
            "target": [list(self._target)],
            "contrast": None if self.contrast is None else [list(self.contrast)],
        }

    @cached_property
    def _vectors(self) -> Tensor:
        return ActivationGrid(self.named.model, self.layer, self.named.preprocess).vectors(self._image)

    @property
    def _alive(self) -> Tensor:
        flat = self._vectors.flatten(0, 2)
        return flat[flat.norm(dim=1) > 0]

    @property
    def _shape(self) -> tuple[int, int, int]:
        return self.named.image_shape[0], self.picture_size, self.picture_size

    @property
    def _choices(self) -> dict[str, Any]:
        return {"steps": self.steps, "batch_size": self.batch_size, "seed": self.seed}

    def tasks(self) -> list[Task]:
        units = self._found.occurring
        if not units:
            raise InputError(
                f'no unit of "{self.layer}" is active on "{self.image.name}"; choose another layer, or another image.'
            )
        if self.groups:
            self._groups.check(self._image)
        if self.grid and len(self._alive) > _MOST_CELLS:
            raise InputError(
                f'the activation grid of "{self.layer}" takes {len(self._alive)} pictures, more than {_MOST_CELLS}; leave it out '
                "(--no-grid), or choose a later layer."
            )
        self._rehearse()
        tasks = [Task(f"{PARTS}/numbers")]
        if self._collection is not None:
            tasks.append(Task(f"{PARTS}/examples", weight=max(1, len(self._collection) // 8)))
        tasks += self._batches("units", len(units))
        tasks += self._batches("groups", self.groups)
        tasks += self._batches("controls", 2 * _BY_CHANCE)
        return tasks + (self._batches("grid", len(self._alive)) if self.grid else [])

    def _batches(self, what: str, count: int) -> list[Task]:
        begins = range(0, count, self.batch_size)
        needs = (f"{PARTS}/numbers",) if what == "groups" else ()  # which finds them
        return [
            Task(f"{PARTS}/{what}/{begin:05d}", needs=needs, weight=min(self.batch_size, count - begin))
            for begin in begins
        ]

    def _rehearse(self) -> None:
        """One step for one picture, so that a size that the model does not take is found before anything is made."""
        loss = ChannelActivation(self.layer, self._found.occurring[:1])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to warn of comes again
            visualize(self.named.model, loss, self._shape, self.named.preprocess, steps=min(1, self.steps))

    def begun(self) -> dict[str, Any]:
        names = self.named.class_names
        against = "" if self.contrast is None else f" against “{label_of(self.contrast, names)}”"
        return {
            "label": label_of(self._target, names),
            "score_of": f"the logit of “{label_of(self._target, names)}”{against}",
        }

    def make(self, task: Task, run: Run) -> None:
        _, what, *rest = task.name.split("/")
        path = run.folder / f"{task.name}.safetensors"
        if what == "numbers":
            self._make_numbers(run.folder)
        elif what == "examples":
            self._make_examples(run)
        else:
            rows = slice(int(rest[0]), int(rest[0]) + self.batch_size)
            getattr(self, f"_draw_{what}")(rows, run.folder).save(path, overwrite=True)

    def _make_numbers(self, folder: Path) -> None:
        """Everything but pictures: of the image, and of noise in its place; with channels, and with axes drawn at random in their place."""
        random = torch.Generator().manual_seed(self.seed)
        noise = torch.rand(self._image.shape, generator=random)
        basis = torch.linalg.qr(torch.randn(2 * [self._vectors.shape[-1]], generator=random))[0]
        turned = SemanticDictionary(self.named.model, self.layer, basis, self.named.preprocess)
        self._found.save(folder / PARTS / DICTIONARY, overwrite=True)
        attribution = UnitAttribution(self.named.model, self.layer, self.named.preprocess)
        path = attribution.attribute(self._image, **self._attributed, method="path", n_steps=_PATH)
        save_tensors(folder / PARTS / "path.safetensors", _PATH_KIND, {"spatial": path.spatial[0]}, {}, overwrite=True)
        numbers: dict[str, Any] = {
            "path_total": float(path.totals[0]),
            "path_difference": float(path.scores[0]) - (0.0 if path.baselines is None else float(path.baselines[0])),
        }
        for name, image in (("image", self._image), ("noise", noise)):
            found, by_chance = self._interpret(image, self._dictionary), self._interpret(image, turned)
            numbers[name] = {
                "mean_explained": float(found.explained.nanmean()),
                "mean_explained_by_chance": float(by_chance.explained.nanmean()),
                "explained": spread_of(found.explained),
                "explained_by_chance": spread_of(by_chance.explained),
                "units": len(found.occurring),
                "score": found.settings["score"],
                "total": found.settings["total_attribution"],
            }
            if self.groups:
                groups = self._groups.interpret(image, **self._attributed, draw=False)
                numbers[name] |= {
                    "error": groups.error,
                    "shuffled_error": groups.shuffled_error,
                    "residual": float(groups.residual[0]) if groups.residual is not None else None,
                }
                if name == "image":
                    groups.save(folder / PARTS / GROUPS, overwrite=True)
        write_json(folder / NUMBERS, numbers, overwrite=True, indent=1)

    def _make_examples(self, run: Run) -> None:
        assert self._collection is not None  # else there is no such task
        images = self._collection.batches_for(self.named.geometry, self.image_batch)
        k = min(_EXAMPLES, len(self._collection))
        examples = TopExamples(self.named.model, [self.layer], k=k, preprocess=self.named.preprocess, quantiles=()).fit(
            images, show_progress=run.show_progress
        )
        found = self._dictionary.with_examples(self._found, examples)
        rows = [examples[self.layer].crops(images, unit) for unit in found.drawn]
        write_examples(rows, run.folder / EXAMPLES)
        assert found.examples is not None
        assert found.example_scores is not None
        save_tensors(
            run.folder / PARTS / "examples.safetensors",
            _EXAMPLES_KIND,
            {"indices": found.examples, "scores": found.example_scores},
            {},
            overwrite=True,
        )

    def _draw_units(self, rows: slice, folder: Path) -> Visualizations:
        loss = ChannelActivation(self.layer, self._found.occurring[rows])
        return visualize(self.named.model, loss, self._shape, self.named.preprocess, **self._choices)

    def _draw_groups(self, rows: slice, folder: Path) -> Visualizations:
        found = NeuronGroupsResult.load(folder / PARTS / GROUPS)
        found.channel_factors = found.channel_factors[rows]
        return self._groups.draw(found, self.picture_size, **self._choices)

    def _draw_controls(self, rows: slice, folder: Path) -> Visualizations:
        wanted = range(2 * _BY_CHANCE)[rows]
        random = torch.Generator().manual_seed(self.seed + 1)
        width = self._vectors.shape[-1]
        channels = torch.randint(width, (_BY_CHANCE,), generator=random)
        directions = torch.cat([torch.eye(width)[channels], torch.randn(_BY_CHANCE, width, generator=random)])
        loss = Direction(self.layer, torch.nn.functional.normalize(directions)[list(wanted)])
        made = visualize(self.named.model, loss, self._shape, self.named.preprocess, **self._choices)
        made.settings["channels"] = channels.tolist()
        return made

    def _draw_grid(self, rows: slice, folder: Path) -> Visualizations:
        grid = ActivationGrid(self.named.model, self.layer, self.named.preprocess)
        return grid.draw(self._alive[rows], self._shape, **self._choices)

    def summarize(self, run: Run) -> SemanticDictionaryResult:
        folder, found = run.folder, SemanticDictionaryResult.load(run.folder / PARTS / DICTIONARY)
        found = found.with_pictures(self._drawn(run, "units"), found.occurring)
        if self._collection is not None:
            examples, _ = load_tensors(folder / PARTS / "examples.safetensors", _EXAMPLES_KIND)
            found.examples, found.example_scores = examples["indices"], examples["scores"]
        found.save(folder / DICTIONARY, overwrite=True)
        if self.groups:
            groups = NeuronGroupsResult.load(folder / PARTS / GROUPS).with_icons(self._drawn(run, "groups"))
            groups.save(folder / GROUPS, overwrite=True)
            save_figure(groups_figure(groups), folder / "groups.png", overwrite=True)
        if self.grid:
            grid = ActivationGrid(self.named.model, self.layer, self.named.preprocess).assembled(
                self._image[None], self._vectors, self._drawn(run, "grid")
            )
            grid.save(folder / GRID, overwrite=True)
            write_picture(grid.picture(), folder / "grid.png")
            run.note({"grid_cosine": float(grid.cosines.nanmean())})
        path, _ = load_tensors(folder / PARTS / "path.safetensors", _PATH_KIND)
        assert found.spatial is not None  # there is a target
        maps = {"gradient × activation": found.spatial, f"path of {_PATH} steps": path["spatial"]}
        save_figure(attribution_figure(found.image, maps), folder / MAPS, overwrite=True)
        self._show_controls(self._drawn(run, "controls"), folder)
        run.note({"choices": self._drawn(run, "units").settings})
        write_page(dictionary_page(folder), folder)
        return found

    def _drawn(self, run: Run, what: str) -> Visualizations:
        """All batches of pictures of a kind."""
        paths = [task.name for task in run.tasks if task.name.startswith(f"{PARTS}/{what}/")]
        parts = [Visualizations.load(run.folder / f"{path}.safetensors") for path in paths]
        seeds = [seed for part in parts for seed in part.seeds]
        images, activations = (
            torch.cat([part.images for part in parts]),
            torch.cat([part.activations for part in parts]),
        )
        return Visualizations(images, activations, seeds, parts[0].settings)

    def _show_controls(self, pictures: Visualizations, folder: Path) -> None:
        channels = pictures.settings["channels"]
        titles = [f"channel {channel}" for channel in channels] + [
            f"direction {place + 1}" for place in range(_BY_CHANCE)
        ]
        cells = list(zip(titles, pictures.images, strict=True))
        rows = {"channels": cells[:_BY_CHANCE], "directions": cells[_BY_CHANCE:]}
        save_figure(controls_figure(rows), folder / CONTROLS, overwrite=True)


def _digest_of(images: ImageCollection) -> dict[str, Any]:
    """How many images a data set holds, and a digest of all of them in their order."""
    listed = [digest for _, digest in images.listed()]
    return {"images": len(listed), "sha256": hashlib.sha256("\n".join(listed).encode()).hexdigest()}


__all__ = ["Dictionary"]
