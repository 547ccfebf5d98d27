"""Images by number: their place in the order in which a tensor, a data set or batches give them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from captum_proto._utils.batches import image_batches
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.data.batches import ImageBatches
from captum_proto.data.collection import Collection, TensorCollection
from captum_proto.data.images import read_image


class NumberedImages:
    r"""
    Images that can be gone through again and again, in one order, and looked up by their place in it.

    Args:
        images (Tensor, Dataset, DataLoader, Collection or iterable): (N, C, H, W); a data set or a list of single images, or of tuples that
            begin with one; anything that gives batches each time it is iterated, as what ``ImageCollection.batches`` makes does; a
            collection in memory. A DataLoader must not shuffle.
        batch_size (int, optional): Images at a time, where ``images`` does not come in batches. Default: 32

    Raises:
        TypeError: If it is something else.
        ValueError: If a DataLoader shuffles.

    Examples::

        >>> images = torch.rand(5, 1, 8, 8)
        >>> numbered = NumberedImages([images[:3], images[3:]])
        >>> bool((numbered.at([4, 0]) == images[[4, 0]]).all())
        True
    """

    def __init__(self, images: Any, batch_size: int = 32) -> None:
        if isinstance(images, NumberedImages):
            images = images.images
        if isinstance(images, TensorCollection):
            images = images.labeled.images
        if isinstance(images, Collection):
            raise InputTypeError(
                f"images is {images!r}, which does not say at what size to read them; give images.batches(image_shape)."
            )
        if isinstance(images, DataLoader) and isinstance(images.sampler, RandomSampler):
            raise InputError(
                "images is a DataLoader that shuffles, so numbers would stand for other images each time; make it with shuffle=False."
            )
        self.images: Any = images
        self.batch_size = batch_size

    @property
    def once(self) -> bool:
        """Whether they can be gone through a single time only, as a generator's."""
        return isinstance(self.images, Iterator)

    @property
    def count(self) -> int | None:
        """How many there are, where that is known beforehand."""
        if isinstance(self.images, Tensor):
            return len(self.images) if self.images.dim() else None
        if isinstance(self.images, ImageBatches):
            return len(self.images.collection.files)
        if isinstance(self.images, DataLoader):
            return _length(self.images.dataset)
        return _length(self.images) if self._single() else None

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """
        All images in order, with their numbers.

        Returns:
            Iterator[tuple[Tensor, Tensor]]: Checked batches (N, C, H, W), and the number of each image, (N,) in int64. Files that
            cannot be read leave a gap, so that those after them keep their numbers.
        """
        if isinstance(self.images, ImageBatches):
            places = {path: place for place, (path, _) in reversed(list(enumerate(self.images.collection.files)))}
            for read in self.images.items():
                yield read.images, torch.tensor([places[str(path)] for path in read.paths])
            return
        begin = 0
        images = self._stacked() if self._single() else self.images
        for batch in image_batches(images, self.batch_size, None, "images"):
            yield batch, torch.arange(begin, begin + len(batch))
            begin += len(batch)

    def at(self, numbers: Iterable[int]) -> Tensor:
        """
        Some images.

        Args:
            numbers (iterable of int): From 0.

        Returns:
            Tensor: (len(numbers), C, H, W), in the order of the numbers.

        Raises:
            ValueError: If there is no such image.
        """
        wanted = [int(number) for number in numbers]
        known = self.count
        if known is not None and wanted and not -1 < min(wanted) <= max(wanted) < known:
            raise InputError(
                f"there is no image {min(wanted) if min(wanted) < 0 else max(wanted)} among the {known} given; give those from which the "
                "examples come."
            )
        images = self.images
        if isinstance(images, Tensor):
            return images[wanted]
        if isinstance(images, ImageBatches):
            files = images.collection.files
            return torch.stack([read_image(files[number][0], images.geometry).image for number in wanted])
        data = images.dataset if isinstance(images, DataLoader) else images if self._single() else None
        if data is not None and hasattr(data, "__getitem__"):
            return torch.stack([_image_of(data[number]) for number in wanted])
        return self._walked(wanted)

    def _walked(self, wanted: Sequence[int]) -> Tensor:
        found: dict[int, Tensor] = {}
        needed = set(wanted)
        for batch, numbers in self.batches():
            found |= {number: image for image, number in zip(batch, numbers.tolist(), strict=True) if number in needed}
            if len(found) == len(needed):
                return torch.stack([found[number] for number in wanted])
        raise InputError(
            f"there is no image {min(needed - found.keys())} among those given; give those from which the examples come."
        )

    def _single(self) -> bool:
        """Whether what is given holds images one by one, rather than batches of them."""
        images = self.images
        if isinstance(images, (Tensor, DataLoader, ImageBatches)) or not hasattr(images, "__getitem__"):
            return False
        if not _length(images):
            return False
        if isinstance(images, (Dataset, Sequence)):
            first = images[0]
            image = first[0] if isinstance(first, (tuple, list)) and first else first
            return isinstance(image, Tensor) and image.dim() == 3
        return False

    def _stacked(self) -> Iterator[Tensor]:
        total = _length(self.images) or 0
        for begin in range(0, total, self.batch_size):
            numbers = range(begin, min(begin + self.batch_size, total))
            yield torch.stack([_image_of(self.images[number]) for number in numbers])


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except (TypeError, AttributeError):  # an iterable of unknown length
        return None


def _image_of(entry: Any) -> Tensor:
    image = entry[0] if isinstance(entry, (tuple, list)) and entry else entry
    if not isinstance(image, Tensor):
        raise InputTypeError(f"an image is a {type(image).__name__}; expected a tensor (C, H, W).")
    return image


__all__ = ["NumberedImages"]
