"""The activation vectors of an atlas, and the classes that label its cells, by chunks of the images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, device_of
from captum_proto._utils.reading import read_json
from captum_proto._utils.targets import Target
from captum_proto.data.image_collection import ImageCollection
from captum_proto.experiments.atlas.settings import AtlasSettings
from captum_proto.features.activation_atlas import ActivationAtlas, AtlasVectors
from captum_proto.features.activation_atlas.collect import MOST, warn_of_fewer
from captum_proto.models import NamedModel
from captum_proto.runs.files import write_json
from captum_proto.runs.tasks import Run, Task

#: Tasks, and their files: the classes that label cells, and the vectors.
CLASSES, VECTORS = "classes", "vectors"
#: Of a task: of how many images it collects the vectors.
_COUNT = "images"


@dataclass(frozen=True)
class Sampling:
    """
    Collects the vectors of an atlas: where there are more images than in a chunk, chunk by chunk.

    The sample does not depend on chunks: each image's random position belongs to the place of its file and the seed, and where only so
    many vectors are wanted, they are those of the first images that can be read.

    Args:
        named (NamedModel): The model and its preprocessing.
        layer (str): The layer.
        images (ImageCollection): Of which nothing is known yet but the files.
        settings (AtlasSettings): Every other choice of the atlas.
        compared (sequence of tuple[int, ...]): Classes to which contributions are wanted in any case.
        image_batch (int): Images at a time.
        workers (int): Threads that read images.
        chunk (int): Images in a chunk.
    """

    named: NamedModel
    layer: str
    images: ImageCollection
    settings: AtlasSettings
    compared: Sequence[Target]
    image_batch: int
    workers: int
    chunk: int

    def tasks(self, each: int) -> list[Task]:
        """
        A task, or one for each chunk and what these come to.

        Args:
            each (int): How many vectors an image gives.
        """
        if self._count <= self.chunk:
            return [Task(VECTORS)]
        looks = [Task(f"{CLASSES}/{first:07d}") for first in self._begins(self._count)] if self.settings.labels else []
        classes = [Task(CLASSES, needs=tuple(task.name for task in looks))] if looks else []
        labeled = tuple(task.name for task in classes)
        # Of whole batches, since the model's own kernels round by their size.
        batches = -(-self._most // (max(1, each) * self.image_batch))
        needed = min(self._count, batches * self.image_batch)
        parts = [
            Task(f"{VECTORS}/{first:07d}", {_COUNT: min(self.chunk, needed - first)}, labeled)
            for first in self._begins(needed)
        ]
        return [*looks, *classes, *parts, Task(VECTORS, needs=(*labeled, *(task.name for task in parts)))]

    def make(self, task: Task, run: Run) -> None:
        """Make one of the tasks."""
        kind, _, first = task.name.partition("/")
        path = run.folder / f"{task.name}.{'json' if kind == CLASSES else 'safetensors'}"
        if kind == CLASSES:
            content = self._seen(int(first), self.chunk) if first else self._classes(run.folder)
            write_json(path, content, overwrite=True)
            return
        found = self._collected(int(first), task.inputs[_COUNT], None, run) if first else self._all_vectors(run)
        if found is None:
            path.unlink(missing_ok=True)  # of an earlier run of which the images were others
        else:
            found.save(path, overwrite=True)

    def _all_vectors(self, run: Run) -> AtlasVectors:
        """The vectors of all chunks, and what is missing."""
        chunks = [task for task in run.tasks if task.name.startswith(f"{VECTORS}/")]
        paths = [run.folder / f"{task.name}.safetensors" for task in chunks]
        parts = [AtlasVectors.load(path) for path in paths if path.exists()]
        there, looked_at = sum(map(len, parts)), sum(task.inputs[_COUNT] for task in chunks)
        if there < self._most and looked_at < self._count:
            # Of few images all; else some could not be read of those that would have been enough.
            found = self._collected(looked_at, self._count, self._most - there, run)
            parts += [] if found is None else [found]
        if not parts:
            raise InputError(f"none of the {self._count} images in {self.images.where} can be read; replace them.")
        vectors = AtlasVectors.concatenate(parts)
        warn_of_fewer(len(vectors), self.settings.vectors, self.settings.positions)
        return vectors.select(torch.arange(min(len(vectors), self._most)))

    def _collected(self, first: int, count: int, most: int | None, run: Run) -> AtlasVectors | None:
        """The vectors of some images; None where not one of them can be read."""
        part = self._part(first, count)
        atlas = ActivationAtlas(self.named.model, self.layer, self.named.preprocess)
        try:
            return atlas.collect_part(
                part.batches_for(self.named.geometry, self.image_batch, self.workers),
                most,
                positions=self.settings.positions,
                targets=[list(target) for target in self._targets(run.folder)] or None,
                seed=self.settings.seed,
                first=first,
                show_progress=run.show_progress,
            )
        except InputError:
            if len(part):
                raise
            return None

    def _targets(self, folder: Path) -> list[Target]:
        """The classes of a comparison, and those that the images are taken for most often."""
        if not self.settings.labels:
            return list(self.compared)
        if self._count <= self.chunk:
            return self._most_frequent(self._seen(0, self._count))
        return [tuple(target) for target in read_json(folder / f"{CLASSES}.json")["targets"]]

    def _classes(self, folder: Path) -> dict[str, list[list[int]]]:
        seen: Counter[int] = Counter()
        for first in self._begins(self._count):
            for index, count in read_json(folder / CLASSES / f"{first:07d}.json").items():
                seen[int(index)] += count
        return {"targets": [list(target) for target in self._most_frequent(seen)]}

    def _most_frequent(self, seen: Mapping[int, int]) -> list[Target]:
        common = sorted(seen, key=lambda index: (-seen[index], index))[: self.settings.labels]
        return list(dict.fromkeys([*self.compared, *((index,) for index in common)]))

    def _seen(self, first: int, count: int) -> dict[int, int]:
        """How many of some images the model takes for each class."""
        part, seen = self._part(first, count), Counter[int]()
        try:
            with torch.no_grad():
                for batch in part.batches_for(self.named.geometry, self.image_batch, self.workers):
                    with borrowed(self.named.model):
                        logits = self.named.logits(batch.to(device_of(self.named.model)))
                    seen.update(logits.argmax(1).tolist())
        except InputError:
            if len(part):
                raise
        return dict(sorted(seen.items()))

    @property
    def _count(self) -> int:
        """How many images there are, whether they can be read or not."""
        return len(self.images.files)

    @property
    def _most(self) -> int:
        """How many vectors there are at most."""
        return MOST if self.settings.vectors is None else self.settings.vectors

    def _begins(self, count: int) -> range:
        return range(0, count, self.chunk)

    def _part(self, first: int, count: int) -> ImageCollection:
        """The images from one place on, with nothing known yet of files that cannot be read."""
        files = self.images.files[first : first + count]
        return ImageCollection([path for path, _ in files], [label for _, label in files], None, self.images.root)


__all__ = ["CLASSES", "VECTORS", "Sampling"]
