"""Natural images for a comparison: of a class, and of all others."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from captum_proto._utils.batches import Images
from captum_proto._utils.files import sha256, tensor_bytes
from captum_proto._utils.targets import Target
from captum_proto.data import ImageBatches, ImageCollection, digits_images
from captum_proto.models import NamedModel

#: So many files that could not be read are named one by one.
_MOST_SKIPPED = 20


@dataclass(frozen=True)
class ClassImages:
    """Natural images for one class: of the class, of others, and, once they were read, sentences on files that could not be."""

    same: Images
    other: Images
    failures: Callable[[], list[str]] = list


class NaturalImages:
    """
    Natural images for a model: a folder of photographs, or scikit-learn's digits.

    Args:
        source (str): A folder, as :meth:`captum_proto.data.ImageCollection.discover` reads it, or "digits".
        named (NamedModel): The model: its class names, the size of its images, and how they are resized.
        split (str, optional): Of an ImageNet-style tree. Default: None
        limit (int, optional): Images of each class. Default: None, all
        others (int, optional): Images of other classes. Default: None, as many as of the class
        seed (int, optional): Of the draw. Default: 0
        batch_size (int, optional): Images at a time. Default: 32
        workers (int, optional): Threads that read them. Default: 2
    """

    def __init__(
        self,
        source: str,
        named: NamedModel,
        *,
        split: str | None = None,
        limit: int | None = None,
        others: int | None = None,
        seed: int = 0,
        batch_size: int = 32,
        workers: int = 2,
    ) -> None:
        self.source, self.split = source, split
        self.named, self.limit, self.others, self.seed = named, limit, others, seed
        self.batch_size, self.workers = batch_size, workers
        self.collection = (
            None if source == "digits" else ImageCollection.discover(source, named.class_names, split=split)
        )

    def of(self, group: Target) -> ClassImages:
        """
        Images of a class or a group of classes, and of all others.

        Raises:
            ValueError: If there are none, or fewer than asked for.
        """
        if self.collection is None:
            rest = sorted(set(range(10)) - set(group))
            same = digits_images(classes=group, limit=self.limit, seed=self.seed).images
            others = len(same) if self.others is None else self.others
            return ClassImages(same, digits_images(classes=rest, limit=others, seed=self.seed).images)
        inside = self._inside(group, self.limit)
        elsewhere = len(self.collection) - len(self._inside(group, None))
        others = min(len(inside), elsewhere) if self.others is None else self.others
        return ClassImages(
            self._batches(inside),
            self._batches(self.collection.except_(group, limit=others, seed=self.seed)),
            self._failures,
        )

    def elsewhere(self, group: Target, count: int) -> Images:
        """At most ``count`` images of other classes, drawn apart from those that :meth:`of` gives."""
        if self.collection is None:
            rest = sorted(set(range(10)) - set(group))
            return digits_images(classes=rest, limit=count, seed=self.seed + 1).images
        outside = self.collection.except_(group)
        return self._batches(self.collection.except_(group, limit=min(count, len(outside)), seed=self.seed + 1))

    def listed(self, group: Target) -> list[dict[str, str]]:
        """The images of a class that :meth:`of` gives: the file and the SHA-256 of each; of digits, that of the values."""
        if self.collection is None:
            images = digits_images(classes=group, limit=self.limit, seed=self.seed).images
            return [
                {"file": f"digits {index}", "sha256": hashlib.sha256(tensor_bytes(image)).hexdigest()}
                for index, image in enumerate(images)
            ]
        paths = self._inside(group, self.limit).paths
        return [{"file": str(path), "sha256": sha256(path)} for path in paths]

    def settings(self) -> dict[str, Any]:
        """What a result depends on, as JSON can hold it."""
        return {name: getattr(self, name) for name in ("source", "split", "limit", "others", "seed", "batch_size")}

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
        return [] if self.collection is None else self.collection.skipped

    def _failures(self) -> list[str]:
        named = [f'The image "{path}" was skipped: {reason}.' for path, reason in self.skipped]
        rest = len(named) - _MOST_SKIPPED
        return named[:_MOST_SKIPPED] + ([f"{rest} more images were skipped."] if rest > 0 else [])

    def _inside(self, group: Target, limit: int | None) -> ImageCollection:
        assert self.collection is not None
        # Of a superclass, the classes that are there; of a single class, an error if it is not.
        present: Iterable[int] = [index for index in group if index in self.collection.classes]
        return self.collection.of((len(group) > 1 and present) or group, limit=limit, seed=self.seed)

    def _batches(self, images: ImageCollection) -> ImageBatches:
        return images.batches(
            self.named.image_shape,
            self.batch_size,
            resize_ratio=self.named.resize_ratio,
            interpolation=self.named.interpolation,
            workers=self.workers,
        )
