"""Natural images for a comparison: of a target, and of all other classes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.batches import Images
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import sha256
from captum_proto._utils.targets import Target
from captum_proto.data.collection import Collection, LabeledImages
from captum_proto.data.digits import digits_collection
from captum_proto.data.image_collection import ImageCollection
from captum_proto.data.images import ImageGeometry
from captum_proto.data.labels import existing_folder

#: What a command line calls scikit-learn's scans, in place of a folder.
DIGITS = "digits"
#: So many files that could not be read are named, each in a sentence.
_MOST_SKIPPED = 20


@dataclass(frozen=True)
class ClassImages:
    """
    Natural images for the comparison of a target.

    Attributes:
        same (Images): Of the target.
        other (Images): Of other classes.
        failures (Callable): Sentences on files that could not be read, once the images were.
    """

    same: Images
    other: Images
    failures: Callable[[], list[str]] = list


class NaturalImages:
    r"""
    Natural images for a model, of each target and of other classes, drawn at random.

    Args:
        source (str or Collection): A folder, as :meth:`captum_proto.data.ImageCollection.discover` reads it, "digits" for the held-out
            scans of scikit-learn, or a collection.
        geometry (ImageGeometry): The shape of the model's images, and how they get it.
        class_names (Sequence[str], optional): The model's class names, by which images in a folder are labeled. Default: None
        split (str, optional): Of an ImageNet-style tree. Default: None, as :meth:`~captum_proto.data.ImageCollection.discover` prefers
        limit (int, optional): Images of each target. Default: None, all
        others (int, optional): Images of other classes. Default: None, as many as of the target, or all if there are fewer
        seed (int, optional): Of the draw. Default: 0
        batch_size (int, optional): Images at a time. Default: 32
        workers (int, optional): Threads that read files. Default: 2
        class_table (Path, optional): As :meth:`~captum_proto.data.ImageCollection.discover` reads it. Default: None

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are no images in it, or it is not clear which classes they are of.

    Examples::

        >>> natural = NaturalImages("digits", ImageGeometry((1, 8, 8)), limit=5)
        >>> images = natural.of((3,))
        >>> [len(batch) for batch in images.same], [len(batch) for batch in images.other]
        ([5], [5])
    """

    def __init__(
        self,
        source: str | Collection,
        geometry: ImageGeometry,
        class_names: Sequence[str] | None = None,
        *,
        split: str | None = None,
        limit: int | None = None,
        others: int | None = None,
        seed: int = 0,
        batch_size: int = 32,
        workers: int = 2,
        class_table: Path | None = None,
    ) -> None:
        self.collection = _opened(source, class_names, split, class_table)
        self.class_table = class_table
        self.source, self.split = source if isinstance(source, str) else source.where, split
        self.geometry = geometry
        self.limit, self.others, self.seed = limit, others, seed
        self.batch_size, self.workers = batch_size, workers

    def of(self, target: Target) -> ClassImages:
        """
        Images of a class or a superclass, and of all other classes.

        Raises:
            ValueError: If there are none, or fewer than asked for.
        """
        same, other = self._chosen(target)
        return ClassImages(self._batches(same), self._batches(other), self._failures)

    def sizes(self, target: Target) -> tuple[int, int]:
        """How many images there are to read of a target and of other classes, whether they can be read or not."""
        same, other = self._chosen(target)
        return len(same.all_labels), len(other.all_labels)

    def part(self, target: Target, first: int, count: int) -> ClassImages:
        """
        A part of what :meth:`of` gives, for processes that share the images: of the target's and of the others' those from one place on.

        Args:
            target (tuple[int, ...]): A class or a superclass.
            first (int): The place of the first.
            count (int): How many; fewer where there are not so many, or where files cannot be read, and perhaps none.
        """
        same, other = (self._of_part(chosen, first, count) for chosen in self._chosen(target))
        return ClassImages(same, other, self._failures)

    def elsewhere(self, target: Target, count: int) -> Images:
        """At most ``count`` images of other classes, drawn apart from those that :meth:`of` gives."""
        outside = self.collection.except_(target)
        return self._batches(self.collection.except_(target, limit=min(count, len(outside)), seed=self.seed + 1))

    def listed(self, target: Target) -> list[dict[str, str]]:
        """The images of a target that :meth:`of` gives: the file and the SHA-256 of each; of digits, that of the values."""
        return [{"file": name, "sha256": digest} for name, digest in self._same(target).listed()]

    def settings(self) -> dict[str, Any]:
        """What a result depends on, as JSON can hold it."""
        names = ("source", "split", "limit", "others", "seed", "batch_size")
        table = {} if self.class_table is None else {"class_table": sha256(self.class_table)}
        return {**{name: getattr(self, name) for name in names}, **table}

    def afresh(self, batch_size: int | None = None, workers: int | None = None) -> NaturalImages:
        """
        The same images, with nothing known yet of files that cannot be read: what is skipped does not depend on what was read before.

        Args:
            batch_size (int, optional): Another number of images at a time. Default: None
            workers (int, optional): Another number of threads that read them. Default: None
        """
        fresh = copy.copy(self)
        fresh.collection = copy.deepcopy(self.collection)
        fresh.batch_size = self.batch_size if batch_size is None else batch_size
        fresh.workers = self.workers if workers is None else workers
        return fresh

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """Files left out so far, each with the reason."""
        return self.collection.skipped

    def _chosen(self, target: Target) -> tuple[Collection, Collection]:
        """The images of a target, and those of other classes."""
        same = self._same(target)
        elsewhere = len(self.collection) - len(self._present(target))
        count = min(len(same), elsewhere) if self.others is None else self.others
        return same, self.collection.except_(target, limit=count, seed=self.seed)

    def _same(self, target: Target) -> Collection:
        return self._present(target, self.limit)

    def _present(self, target: Target, limit: int | None = None) -> Collection:
        # Of a superclass, the classes that are there; of a single class, an error if it is not.
        there = set(self.collection.classes)
        present = [index for index in target if index in there]
        return self.collection.of(present if len(target) > 1 and present else target, limit, self.seed)

    def _of_part(self, images: Collection, first: int, count: int) -> Images:
        places = list(range(first, min(first + count, len(images.all_labels))))
        return _Readable(images.take(places), self._batches) if places else ()

    def _failures(self) -> list[str]:
        named = [f'The image "{path}" was skipped: {reason}.' for path, reason in self.skipped]
        further = len(named) - _MOST_SKIPPED
        return named[:_MOST_SKIPPED] + ([f"{further} more images were skipped."] if further > 0 else [])

    def _batches(self, images: Collection) -> Images:
        return images.batches_for(self.geometry, self.batch_size, self.workers)


class _Readable:
    """
    The batches of a part of a collection, none where not one of its files can be read.

    Args:
        images (Collection): The part.
        batches (Callable): Its batches.
    """

    def __init__(self, images: Collection, batches: Callable[[Collection], Images]) -> None:
        self._images, self._batches = images, batches

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self._batches(self._images)
        except InputError:
            if len(self._images):
                raise


def spaced_images(
    natural: LabeledImages, target: Target, limit: int | None = None, *, full: bool = False
) -> tuple[Tensor, Tensor]:
    """
    Images of a target, and evenly spaced images of other classes: a choice without a draw, for images in memory.

    Args:
        natural (LabeledImages): Images of the target and of other classes.
        target (tuple[int, ...]): A class or a superclass.
        limit (int, optional): Images of the target, the first of them. Default: None, all
        full (bool, optional): Whether there are to be as many images of other classes as of the target, if there are so many, though the
            last ones are never taken; else there are at most as many, taken from all of them. Default: False

    Returns:
        tuple[Tensor, Tensor]: The images of the target, and those of other classes.

    Raises:
        ValueError: If there are fewer than two images of the target, or none of another class.
    """
    mine = torch.isin(natural.labels, torch.tensor(target))
    same, rest = natural.images[mine][:limit], natural.images[~mine]
    if int(mine.sum()) < 2:
        raise InputError(
            f"there are {int(mine.sum())} images of target {list(target)[:4]}; path similarity needs at least two: name a superclass, such "
            "as 151-268."
        )
    if not len(rest):
        raise InputError(f"there are no images of other classes than {list(target)[:4]}; give some.")
    step = len(rest) // len(same) if full else math.ceil(len(rest) / len(same))
    return same, rest[:: max(1, step)][: len(same)]


@dataclass(frozen=True)
class NaturalSplit:
    """
    Natural images in memory, parted for a detector that learns what natural images look like; all in [0, 1].

    Attributes:
        training (Tensor): (N, C, H, W), for the detector, and to plant one of.
        training_labels (Tensor): (N,), their classes.
        held_out (Tensor): (M, C, H, W), on which the fooled network must agree with the classifier.
        labels (Tensor): (M,), the classes of those held out.
        same (dict[tuple[int, ...], Tensor]): By target, natural images of the class.
        other (dict[tuple[int, ...], Tensor]): By target, natural images of other classes.
    """

    training: Tensor
    training_labels: Tensor
    held_out: Tensor
    labels: Tensor
    same: dict[Target, Tensor]
    other: dict[Target, Tensor]


def natural_split(
    source: str,
    geometry: ImageGeometry,
    class_names: Sequence[str] | None,
    targets: Sequence[Target],
    *,
    split: str | None = None,
    limit: int | None = None,
    workers: int = 2,
    class_table: Path | None = None,
) -> NaturalSplit:
    """
    Read natural images, and part them into training and held out.

    Of the digits, the split of scikit-learn's scans on which the model "digits" is trained is for training, and images for the
    comparison are drawn from the held-out scans. Of photographs, every second is for training, and all are there for the comparison.

    Args:
        source (str): A folder, as :meth:`captum_proto.data.ImageCollection.discover` reads it, or "digits".
        geometry (ImageGeometry): The shape of the model's images, and how they get it.
        class_names (Sequence[str], optional): The model's class names.
        targets (Sequence[tuple[int, ...]]): The classes and superclasses to compare.
        split (str, optional): Of an ImageNet-style tree. Default: None
        limit (int, optional): Images of each target. Default: None, all
        workers (int, optional): Threads that read files. Default: 2
        class_table (Path, optional): As :meth:`~captum_proto.data.ImageCollection.discover` reads it. Default: None

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are too few images of a target, or none of other classes.
    """
    if source == DIGITS:
        training, held_out = (digits_collection(part).read(geometry) for part in ("training", "held_out"))
        compared = {target: _drawn_digits(target, limit) for target in targets}
    else:
        images, labels = everything = _opened(source, class_names, split, class_table).read(geometry, workers)
        training, held_out = LabeledImages(images[::2], labels[::2]), LabeledImages(images[1::2], labels[1::2])
        compared = {target: spaced_images(everything, target, limit, full=True) for target in targets}
    same = {target: images for target, (images, _) in compared.items()}
    other = {target: images for target, (_, images) in compared.items()}
    return NaturalSplit(*training, *held_out, same, other)


def _drawn_digits(target: Target, limit: int | None) -> tuple[Tensor, Tensor]:
    """Held-out scans of a target, and of other digits: as many as of the target, divided by the number of other digits, if there are."""
    scans = digits_collection()
    same, others = scans.of(target, limit), scans.except_(target)
    other = scans.except_(target, limit=min(len(others), max(1, len(same) // len(others.classes))))
    return same.labeled.images, other.labeled.images


def check_source(source: str) -> None:
    """
    See that there are images to look for, without looking.

    Raises:
        MissingFileError: If there is no such folder.
        NotAFolderError: If it is a file.
    """
    if source != DIGITS:
        existing_folder(source)


def _opened(
    source: str | Collection, class_names: Sequence[str] | None, split: str | None, class_table: Path | None
) -> Collection:
    if isinstance(source, Collection):
        return source
    if source == DIGITS:
        return digits_collection()
    return ImageCollection.discover(source, class_names, split=split, class_table=class_table)
