"""What a network makes of pictures and photographs: its logits and its features, each computed once and kept in a file."""

from __future__ import annotations

from collections.abc import Collection as Container
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.targets import Target
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.quality.sources import Key, read_picture
from captum_proto.metrics import verifier_view
from captum_proto.models import NamedModel

_KIND = "views of a network"


@dataclass(frozen=True)
class Seen:
    """
    What a network makes of pictures.

    Attributes:
        keys (list[Key]): Of each picture its classes, as the model that made it numbers them, and its seed; of a photograph, its class and
            its place.
        logits (Tensor): (N, K), float64.
        features (Tensor): (N, D), float64: what the last linear layer takes in, pooled over positions.
    """

    keys: list[Key]
    logits: Tensor
    features: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def targets(self) -> list[Target]:
        """The classes of each picture."""
        return [target for target, _ in self.keys]

    def of(self, targets: Container[Target]) -> Seen:
        """The pictures of some targets."""
        return self.take([row for row, target in enumerate(self.targets) if target in targets])

    def take(self, rows: Sequence[int]) -> Seen:
        """Some of the pictures, by place."""
        chosen = list(rows)
        return Seen([self.keys[row] for row in chosen], self.logits[chosen], self.features[chosen])

    def as_photographs_of(self, targets: Sequence[Target]) -> Seen:
        """Photographs as pictures of targets: one that is of a class and of a superclass comes twice."""
        rows = [(row, target) for target in targets for row, (label, _) in enumerate(self.keys) if label[0] in target]
        taken = self.take([row for row, _ in rows])
        return Seen([(target, row) for row, target in rows], taken.logits, taken.features)

    def save(self, path: Path) -> None:
        """Write everything to one safetensors file; :meth:`load` reads it."""
        described = {"keys": [[list(target), seed] for target, seed in self.keys]}
        save_tensors(path, _KIND, {"logits": self.logits, "features": self.features}, described, overwrite=True)

    @classmethod
    def load(cls, path: Path) -> Seen:
        """
        What :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, described = load_tensors(path, _KIND)
        with intact(path, _KIND):
            keys = [(tuple(target), int(seed)) for target, seed in described["keys"]]
            alike("pictures", len(keys), len(tensors["logits"]), len(tensors["features"]))
            return cls(keys, tensors["logits"], tensors["features"])


def see(network: NamedModel, batches: Iterable[Tensor], batch_size: int) -> tuple[Tensor, Tensor]:
    """The logits and the features that a network has for batches of pictures, each resized as a whole to its size."""
    return verifier_view(batches, network, batch_size=batch_size)


def see_pictures(network: NamedModel, files: Sequence[tuple[Key, Path]], batch_size: int) -> Seen:
    """
    What a network makes of pictures as they were saved.

    Args:
        network (NamedModel): A verifier, or the model itself.
        files (sequence): Of each picture its classes and seed, and its file.
        batch_size (int): Pictures at a time, of those of one size that follow each other.
    """
    paths = [path for _, path in files]
    logits, features = see(network, picture_batches(paths, network.image_shape[0], batch_size), batch_size)
    return Seen([key for key, _ in files], logits, features)


def picture_batches(paths: Iterable[Path], channels: int, batch_size: int) -> Iterator[Tensor]:
    """Pictures as they were saved, (N, C, H, W), those of one size that follow each other together."""
    yield from _together((read_picture(path, channels) for path in paths), batch_size)


def see_photographs(network: NamedModel, natural: NaturalImages) -> Seen:
    """
    What a network makes of natural images of all classes, read as its own evaluation reads them.

    Args:
        network (NamedModel): A verifier, or the model itself.
        natural (NaturalImages): Of each class as many as its ``limit``, or as there are.
    """
    natural = natural.afresh()
    everything, limit = natural.collection, natural.limit
    parts = [everything]
    if limit is not None:
        counts = everything.counts
        parts = [everything.of(index, min(limit, counts[index]), natural.seed) for index in everything.classes]
    read = (part.batches_for(network.geometry, natural.batch_size, natural.workers) for part in parts)
    images = (image for batches in read for batch in batches for image in batch)
    logits, features = see(network, _together(images, natural.batch_size), natural.batch_size)
    labels = [label for part in parts for label in part.labels]  # of those that could be read
    return Seen([((label,), place) for place, label in enumerate(labels)], logits, features)


def _together(images: Iterable[Tensor], batch_size: int) -> Iterator[Tensor]:
    """Images (C, H, W) as batches, those of one size that follow each other together."""
    waiting: list[Tensor] = []
    for image in images:
        if waiting and (image.shape != waiting[0].shape or len(waiting) == batch_size):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(image)
    if waiting:
        yield torch.stack(waiting)


__all__ = ["Seen", "picture_batches", "see", "see_photographs", "see_pictures"]
