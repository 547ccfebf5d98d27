"""The images of some files, read batch by batch and ahead of what is asked for."""

from __future__ import annotations

import math
import operator
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, UnreadableImageError
from captum_proto.data.images import ImageGeometry, ReadImage, read_image
from captum_proto.data.labels import few

if TYPE_CHECKING:
    from captum_proto.data.image_collection import ImageCollection


class ImageBatch(NamedTuple):
    """
    Some images of a collection.

    Attributes:
        images (Tensor): Shape (N, C, H, W), float32 in [0, 1].
        labels (list[int]): N class indices.
        paths (list[Path]): N files.
    """

    images: Tensor
    labels: list[int]
    paths: list[Path]


class ImageBatches:
    """
    The images of a collection as batches: read anew on each pass, never more than three batches in memory.

    Made by :meth:`~captum_proto.data.Collection.batches`. Iterating gives tensors of shape (N, C, H, W); :meth:`items` gives labels
    and paths too.
    ``len()`` is the number of batches.
    """

    def __init__(
        self, collection: ImageCollection, geometry: ImageGeometry, batch_size: int = 32, workers: int = 0
    ) -> None:
        check_batches(batch_size, workers)
        self.collection = collection
        self.geometry = geometry
        self.batch_size = batch_size
        self.workers = workers

    def __len__(self) -> int:
        return math.ceil(len(self.collection) / self.batch_size)

    def __iter__(self) -> Iterator[Tensor]:
        for batch in self.items():
            yield batch.images

    def items(self) -> Iterator[ImageBatch]:
        """
        One pass over the images, with their labels and files.

        Returns:
            Iterator[ImageBatch]: Every batch but the last holds ``batch_size`` images. Files that cannot be read are left out; see
            :attr:`~captum_proto.data.Collection.skipped`.

        Raises:
            ValueError: If not a single image can be read.
        """
        collection = self.collection
        readable = collection.readable
        found_unreadable: list[str] = []
        found_turned = 0
        images: list[Tensor] = []
        files: list[tuple[str, int]] = []
        try:
            for (path, label), read in zip(readable, self._reads([path for path, _ in readable]), strict=True):
                try:
                    image, turned = read()
                except UnreadableImageError as error:
                    collection.unreadable[path] = error.reason
                    found_unreadable.append(path)
                    continue
                if turned and not self.geometry.exif_orientation and path not in collection.turned:
                    collection.turned.add(path)
                    found_turned += 1
                images.append(image)
                files.append((path, label))
                if len(images) == self.batch_size:
                    yield _batch(images, files)
                    images, files = [], []
            if images:
                yield _batch(images, files)
        finally:
            if found_unreadable:
                named = few([f"{path} ({collection.unreadable[path]})" for path in found_unreadable], 3)
                warnings.warn(
                    f"{len(found_unreadable)} of {len(readable)} images cannot be read and are skipped: {named}; .skipped lists them.",
                    stacklevel=2,
                )
            if found_turned:
                warnings.warn(
                    f"{found_turned} of {len(readable)} images in {collection.where} are stored turned or mirrored, as their cameras' EXIF "
                    "orientation says, and are looked at as they are stored, as in torchvision's own evaluation; to have them upright, set "
                    "exif_orientation=True (--exif-orientation).",
                    stacklevel=2,
                )
        if len(found_unreadable) == len(readable):
            path = collection.files[0][0]
            raise InputError(
                f"none of the {len(collection.files)} images in {collection.where} can be read, the first because: "
                f'"{path}" {collection.unreadable[path]}; replace them.'
            )

    def _reads(self, paths: list[str]) -> Iterator[Callable[[], ReadImage]]:
        """For each path, in order, a function that returns what is read or raises its error."""
        # Threads rather than the processes of torch.utils.data.DataLoader: Pillow decodes and resizes without holding the interpreter's
        # lock, so threads read as fast, and the first batch of each pass comes in about half the time, for no process has to start.
        # A script needs no __main__ guard for them either, and an image or its error comes as it is, not through shared memory.
        if not self.workers:
            yield from (partial(read_image, path, self.geometry) for path in paths)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="captum_proto images")
        remaining = iter(paths)
        try:
            # Two batches ahead: while the model works on the first, the next is decoded, and memory never holds more than three.
            ahead = deque(
                pool.submit(read_image, path, self.geometry) for path in islice(remaining, 2 * self.batch_size)
            )
            while ahead:
                next_image = ahead.popleft()
                ahead.extend(pool.submit(read_image, path, self.geometry) for path in islice(remaining, 1))
                yield next_image.result
        finally:
            pool.shutdown(cancel_futures=True)

    def __repr__(self) -> str:
        return f"ImageBatches({self.collection!r}, {self.geometry!r}, batch_size={self.batch_size})"


def check_batches(batch_size: int, workers: int) -> None:
    """
    Check how a collection is to be read.

    Raises:
        InputError: If a number is too small.
    """
    if operator.index(batch_size) < 1:
        raise InputError(f"batch_size is {batch_size}; expected at least 1.")
    if operator.index(workers) < 0:
        raise InputError(
            f"workers is {workers}; expected 0 to read in this thread, or a number of threads to read with."
        )


def _batch(images: list[Tensor], files: list[tuple[str, int]]) -> ImageBatch:
    return ImageBatch(torch.stack(images), [label for _, label in files], [Path(path) for path, _ in files])
