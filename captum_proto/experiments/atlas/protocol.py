"""An activation atlas in a folder: vectors, layout and pictures as tasks, so that an interrupted run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.targets import Target
from captum_proto.data.image_collection import ImageCollection
from captum_proto.data.numbered import NumberedImages
from captum_proto.experiments.atlas.page import write_atlas_page
from captum_proto.experiments.atlas.sampling import CLASSES, VECTORS, Sampling
from captum_proto.experiments.atlas.settings import AtlasSettings
from captum_proto.features.activation_atlas import ActivationAtlas, AtlasResult, AtlasVectors
from captum_proto.features.activation_atlas.atlas import eight_bits
from captum_proto.features.activation_atlas.layout import check_method
from captum_proto.models import NamedModel
from captum_proto.optim import Visualizations
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task

#: Files of a run; those of the atlas of two classes lie in a folder of their own.
LAYOUT, ATLAS, PATCH, PAIR = "layout", "atlas.safetensors", "patch", "pair"


@dataclass(frozen=True)
class Atlas(Protocol[AtlasResult]):
    """
    The activation atlas of a layer, and of two of its classes: vectors, layout and pictures as safetensors, sheets, and the page.

    Args:
        named (NamedModel): The model and its preprocessing.
        layer (str): The layer.
        images (Path): A folder of images, whatever they are called.
        grid (sequence of int): Cells a side of each level.
        settings (AtlasSettings): Every other choice.
        target, against (tuple[int, ...], optional): Two classes to compare: an atlas of both, and the patch that it suggests to turn
            images of the first into the second. Default: none
        batch_size (int): Pictures at a time; each finished batch is on disk at once. Default: 16
        image_batch (int): Images at a time. Default: 32
        chunk (int): Images in a task, of more than so many: the sample does not depend on it, since each image's random position belongs to
            the place of its file and the seed. Default: 512
        workers (int): Threads that read images. Default: 2

    Raises:
        InputError: If a choice is out of its range, or one of two classes is missing.
    """

    named: NamedModel
    layer: str
    images: Path
    grid: Sequence[int]
    settings: AtlasSettings = field(default_factory=AtlasSettings)
    target: Target | None = None
    against: Target | None = None
    batch_size: int = 16
    image_batch: int = 32
    workers: int = 2
    chunk: int = 512

    unit = "task"

    def __post_init__(self) -> None:
        if (self.target is None) != (self.against is None):
            raise InputError("an atlas of two classes needs both; give target and against, or neither.")
        if self.target is not None and self.target == self.against:
            raise InputError(f"target and against are both {list(self.target)}; give two different classes.")
        check_int(self.chunk, "chunk", 1)

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "atlas",
            {
                "model": self.named.provenance(),
                "layer": self.layer,
                "images": self._listed(),
                "grid": list(self.grid),
                "target": None if self.target is None else list(self.target),
                "against": None if self.against is None else list(self.against),
                "batch_size": self.batch_size,
                "chunk": self.chunk,
                "image_shape": self.named.image_shape,
                **self.settings.to_json(),
            },
        )

    def tasks(self) -> list[Task]:
        tasks = [
            *self._sampling().tasks(self._rehearse()),
            Task(LAYOUT, needs=(VECTORS,)),
            *self._icon_tasks("", self.grid),
        ]
        if self.target is not None:
            layout = f"{PAIR}/{LAYOUT}"
            icons = self._icon_tasks(f"{PAIR}/", [self.settings.pair_grid])
            names = tuple(task.name for task in icons)
            tasks += [
                Task(layout, needs=(VECTORS,)),
                *icons,
                Task(f"{PAIR}/{PATCH}", needs=(layout, *names)),
            ]
        return tasks

    def make(self, task: Task, run: Run) -> None:
        place = task.name.removeprefix(f"{PAIR}/")
        pair = place != task.name
        if place.partition("/")[0] in (CLASSES, VECTORS):
            self._sampling().make(task, run)
        elif place == LAYOUT:
            atlas = self._two_classes(run) if pair else self._atlas(run)
            if not pair:
                atlas.layout(self.settings.method, self.settings.seed, self.settings.reduce)
            self._gridded(atlas, pair)  # a grid that cannot be drawn is told before anything is
            _save_layout(atlas.result, run.folder / f"{task.name}.safetensors")
        elif place == PATCH:
            self._patch(run)
        else:
            self._icons(task, run, pair)

    def summarize(self, run: Run) -> AtlasResult:
        results = {}
        for pair in (False, True) if self.target is not None else (False,):
            atlas = self._drawn(run, pair)
            folder = run.folder / PAIR if pair else run.folder
            atlas.result.save(folder / ATLAS, overwrite=True)
            results[pair] = atlas
        write_atlas_page(
            results[False],
            results.get(True),
            self.named,
            self.layer,
            self.settings,
            NumberedImages(self._batches()).batches(),
            run,
        )
        return results[False].result

    # Tasks

    def _icon_tasks(self, prefix: str, grid: Sequence[int]) -> list[Task]:
        """Batches of all cells that there could be; how many are drawn is known once vectors are laid out, and the last find none."""
        return [
            Task(f"{prefix}icons/{size:03d}/{begin:05d}", needs=(f"{prefix}{LAYOUT}",))
            for size in grid
            for begin in range(0, size * size, self.batch_size)
        ]

    def _icons(self, task: Task, run: Run, pair: bool) -> None:
        atlas = self._laid_out(run, pair)
        _, size, begin = task.name.removeprefix(f"{PAIR}/").split("/")
        level, rows = atlas.result.level(int(size)), slice(int(begin), int(begin) + self.batch_size)
        directions = atlas.directions(level, self.settings.whiten, self.settings.regularization)[rows]
        if not len(directions):
            return
        made = atlas.icons(
            directions,
            self._icon_shape(),
            power=self.settings.power,
            attempts=self.settings.attempts,
            seed=self.settings.seed,
            batch_size=self.batch_size,
            steps=self.settings.steps,
        )
        made.save(run.folder / f"{task.name}.safetensors", overwrite=True)

    def _patch(self, run: Run) -> None:
        atlas = self._drawn(run, pair=True)
        try:
            found = atlas.suggest_patch(
                self._batches(),
                self.target,
                self.against,
                size=self.settings.patch_size,
                corners=[self.settings.patch_corner],
                seed=self.settings.seed,
            )
        except InputError as error:  # the atlas is worth having where no image can be patched
            write_json(run.folder / f"{PAIR}/{PATCH}.json", {"failure": str(error)}, overwrite=True)
            return
        save_tensors(run.folder / f"{PAIR}/{PATCH}.safetensors", "patch", {"patch": found.patch}, {}, overwrite=True)
        write_json(run.folder / f"{PAIR}/{PATCH}.json", found.to_json(), overwrite=True)

    # What tasks share

    def _collection(self) -> ImageCollection:
        return ImageCollection.one_class(self.images)

    def _sampling(self) -> Sampling:
        return Sampling(
            self.named,
            self.layer,
            self._collection(),
            self.settings,
            [target for target in (self.target, self.against) if target is not None],
            self.image_batch,
            self.workers,
            self.chunk,
        )

    def _listed(self) -> list[dict[str, str]]:
        return [{"file": name, "sha256": digest} for name, digest in self._collection().listed()]

    def _batches(self) -> Any:
        return self._collection().batches_for(self.named.geometry, self.image_batch, self.workers)

    def _rehearse(self) -> int:
        """
        See that the layer, the classes and the model can be used, before anything takes time: one image, one step.

        Returns:
            int: How many vectors an image gives.
        """
        check_method(self.settings.method)
        image = torch.rand(1, *self.named.image_shape, generator=torch.Generator().manual_seed(0))
        asked = [list(target) for target in (self.target, self.against) if target is not None] or None
        atlas = self._fresh()
        vectors = atlas.collect(image, targets=asked)
        atlas.icons(torch.ones(1, vectors.vectors.shape[1]), self._icon_shape(), power=self.settings.power, steps=1)
        return len(atlas.collect_part(image, positions=self.settings.positions))

    def _icon_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.named.image_shape
        side = self.settings.icon_size
        return (channels, height, width) if side is None else (channels, side, side)

    def _fresh(self, result: AtlasResult | None = None) -> ActivationAtlas:
        return ActivationAtlas(self.named.model, self.layer, self.named.preprocess, result=result)

    def _atlas(self, run: Run) -> ActivationAtlas:
        return self._fresh(AtlasResult(AtlasVectors.load(run.folder / f"{VECTORS}.safetensors")))

    def _two_classes(self, run: Run) -> ActivationAtlas:
        choices = self.settings
        return self._atlas(run).two_class_atlas(
            self.target, self.against, choices.pair_vectors, choices.method, choices.seed, choices.reduce
        )

    def _gridded(self, atlas: ActivationAtlas, pair: bool) -> None:
        choices = self.settings
        if pair:
            atlas.grid(choices.pair_grid, choices.pair_min_density)
        else:
            atlas.grid(self.grid, choices.min_density)

    def _laid_out(self, run: Run, pair: bool) -> ActivationAtlas:
        """The atlas as far as its layout's task has made it; grids follow from that in no time."""
        vectors = AtlasVectors.load(run.folder / f"{VECTORS}.safetensors")
        if pair:
            vectors = vectors.favoring([self.target, self.against], self.settings.pair_vectors)
        prefix = f"{PAIR}/" if pair else ""
        tensors, metadata = load_tensors(run.folder / f"{prefix}{LAYOUT}.safetensors", "atlas layout")
        atlas = self._fresh(AtlasResult(vectors, tensors["coordinates"], settings={"layout": metadata["layout"]}))
        self._gridded(atlas, pair)
        return atlas

    def _drawn(self, run: Run, pair: bool) -> ActivationAtlas:
        """The atlas with the pictures of all finished batches."""
        atlas = self._laid_out(run, pair)
        folder = run.folder / PAIR if pair else run.folder
        for level in atlas.result.levels:
            paths = sorted((folder / "icons" / f"{level.size:03d}").glob("*.safetensors"))
            made = [Visualizations.load(path) for path in paths]
            level.icons = eight_bits(torch.cat([part.images for part in made]), atlas.value_range)
            level.activations = torch.cat([part.activations for part in made])
        return atlas


def _save_layout(result: AtlasResult, path: Path) -> None:
    assert result.coordinates is not None
    layout = json.loads(json.dumps(result.settings["layout"], default=str))
    save_tensors(path, "atlas layout", {"coordinates": result.coordinates}, {"layout": layout}, overwrite=True)


__all__ = ["Atlas"]
