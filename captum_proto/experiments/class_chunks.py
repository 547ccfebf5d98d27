"""One class's natural images chunk by chunk: the sums of its reference, and their scores, in the files of a run."""

from __future__ import annotations

import typing
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch

from captum_proto._utils.batches import Images
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_tensors, save_tensors
from captum_proto._utils.targets import Target
from captum_proto.data.natural import ClassImages
from captum_proto.data.unseen import Unseen
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.metrics.path_scores import PathScores
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.metrics.reference import PathReference
from captum_proto.runs.tasks import Task

#: The tasks of a class whose images are shared out, beside the scores of images of the class and of others: sums of chunks, and of all.
SUMS, REFERENCE = "sums", "reference"
_SCORES = "path scores of a chunk"
_MEASURES = ("spearman", "l1", "cosine", "pearson")


@typing.runtime_checkable
class PartedImages(typing.Protocol):
    """A source of natural images of which parts can be read: :class:`~captum_proto.data.natural.NaturalImages`, or the like."""

    def sizes(self, target: Target) -> tuple[int, int]:
        """How many images there are to read of a target, and of other classes."""

    def part(self, target: Target, first: int, count: int) -> ClassImages:
        """Of the images of a target, and of those of other classes, those from one place on."""

    def afresh(self) -> PartedImages:
        """The same images, with nothing known yet of files that cannot be read."""


def is_shared_out(images: Any, target: Target, chunk: int) -> typing.TypeGuard[PartedImages]:
    """Whether a class has more images than a chunk, or is compared with more, and they come from a source that has parts."""
    return isinstance(images, PartedImages) and max(images.sizes(target)) > chunk


def tasks_of(images: PartedImages, target: Target, stem: str, chunk: int, needs: Sequence[str]) -> list[Task]:
    """
    The tasks of a class's natural images.

    Args:
        images (PartedImages): Where they come from.
        target (tuple[int, ...]): The class.
        stem (str): The name of its folder.
        chunk (int): Images in a task.
        needs (sequence of str): Tasks that say which images may be used.
    """
    same, other = images.sizes(target)

    def parts(kind: str, count: int, needs: Sequence[str]) -> list[Task]:
        return [Task(f"{stem}/{kind}/{first:07d}", needs=tuple(needs)) for first in range(0, count, chunk)]

    sums = parts(SUMS, same, needs)
    reference = Task(f"{stem}/{REFERENCE}", needs=tuple(task.name for task in sums))
    return [*sums, reference, *parts(SAME, same, [reference.name]), *parts(OTHER, other, [reference.name])]


@dataclass(frozen=True)
class ClassChunks:
    """
    The natural images of one class, chunk by chunk: sums are added within a chunk first, and then in the order of chunks.

    Args:
        images (PartedImages): Where they come from.
        target (tuple[int, ...]): The class.
        label (str): Its name.
        seen (collection of str): Digests of images by which the prototypes cannot be judged.
        similarity (Callable): Makes a :class:`PathSimilarity` that has not been fitted.
        leave_one_out (bool): Whether each image is compared with the mean of the others.
        chunk (int): Images in a chunk.
        folder (Path): Of the class.
    """

    images: PartedImages
    target: Target
    label: str
    seen: Collection[str]
    similarity: Callable[[], PathSimilarity]
    leave_one_out: bool
    chunk: int
    folder: Path

    def make(self, kind: str, first: int) -> None:
        """Make one task of a chunk."""
        part = self.images.afresh().part(self.target, first, self.chunk)
        batches, unseen = _batches(part.other if kind == OTHER else part.same), None
        if batches is not None and self.seen and kind != OTHER:
            unseen = Unseen(batches, self.seen)
            batches = _batches(unseen)
        path = self._path(kind, first)
        if kind == SUMS:
            if batches is None:
                path.unlink(missing_ok=True)  # of an earlier run of which the images were others
            else:
                self.similarity().fit_part(batches).save(path, overwrite=True)
            return
        reference = self.reference()
        scores = _none(reference.layers)
        if batches is not None:
            similarity = self.similarity().with_reference(reference)
            scores = similarity.evaluate(batches, leave_one_out=self.leave_one_out)
        tensors = {
            name: getattr(scores, name) for name in ("left_out", *_MEASURES) if getattr(scores, name) is not None
        }
        described = {
            "layers": scores.layers,
            "failures": part.failures(),
            "count": 0 if unseen is None else unseen.count,
            "seen": 0 if unseen is None else unseen.left_out,
        }
        save_tensors(path, _SCORES, tensors, described, overwrite=True)

    def add_up(self) -> None:
        """
        Add the sums of all chunks to the reference of the class.

        Raises:
            InputError: If they are of fewer than two images.
        """
        reference: PathReference | None = None
        for path in self._paths(SUMS):
            if not path.exists():
                continue
            part = PathReference.load(path)
            if reference is None:
                reference = part
            else:
                reference.merge(part)
        count = 0 if reference is None else reference.count
        if reference is None or count < 2:
            unseen = " and were not seen by the prototypes" if self.seen else ""
            raise InputError(
                f"there is {count} image of {self.label} among {self.images.sizes(self.target)[0]} that can be used: that can be "
                f"read{unseen}; path similarity needs at least two."
            )
        reference.save(self.folder / f"{REFERENCE}.safetensors", overwrite=True)

    def reference(self) -> PathReference:
        """Of the class, from its file."""
        return PathReference.load(self.folder / f"{REFERENCE}.safetensors")

    def scores(self) -> tuple[PathScores, PathScores, list[str], tuple[int, int]]:
        """
        What all chunks come to.

        Returns:
            tuple: The scores of images of the class, and of others; sentences on files that could not be read; and how many images of the
            class were left out as the prototypes have seen them, of how many.

        Raises:
            InputError: If no image of another class can be read.
        """
        found, failures, left_out, count = list[PathScores](), list[str](), 0, 0
        for kind in (SAME, OTHER):
            parts = []
            for path in self._paths(kind):
                tensors, described = load_tensors(path, _SCORES)
                parts.append(PathScores(described["layers"], **tensors))
                failures += described["failures"]
                left_out, count = left_out + described["seen"], count + described["count"]
            some = [part for part in parts if len(part)]
            if not some:
                raise InputError(
                    f"none of the images of other classes than {self.label} can be read; give some to compare with."
                )
            found.append(PathScores.concatenate(some))
        return found[0], found[1], list(dict.fromkeys(failures)), (left_out, count)

    def _paths(self, kind: str) -> list[Path]:
        size = self.images.sizes(self.target)[kind == OTHER]
        return [self._path(kind, first) for first in range(0, size, self.chunk)]

    def _path(self, kind: str, first: int) -> Path:
        return self.folder / kind / f"{first:07d}.safetensors"


def _batches(images: Images) -> Iterable[Any] | None:
    """The batches of images that may be none."""
    batches = iter(images)
    first = next(batches, None)
    return None if first is None else chain([first], batches)


def _none(layers: list[str]) -> PathScores:
    empty = torch.empty(0, len(layers), dtype=torch.float64)
    return PathScores(layers, empty, empty, torch.empty(0, dtype=torch.bool))


__all__ = ["REFERENCE", "SUMS", "ClassChunks", "PartedImages", "is_shared_out", "tasks_of"]
