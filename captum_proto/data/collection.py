"""Natural images of known classes: parts of them, drawn or by class, and their pixels batch by batch."""

from __future__ import annotations

import hashlib
import operator
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import tensor_bytes
from captum_proto.data.batches import check_batches
from captum_proto.data.images import ImageGeometry
from captum_proto.data.labels import few

if TYPE_CHECKING:
    from typing_extensions import Self


class Batches(Protocol):
    """Batches of images (N, C, H, W), float32 in [0, 1]: countable, and the same on each pass."""

    def __iter__(self) -> Iterator[Tensor]: ...

    def __len__(self) -> int: ...


class LabeledImages(NamedTuple):
    """
    Images in memory and the classes they are of.

    Attributes:
        images (Tensor): Shape (N, C, H, W), float32 in [0, 1].
        labels (Tensor): Shape (N,), int64: class indices.
    """

    images: Tensor
    labels: Tensor


class Collection(ABC):
    r"""
    Natural images of known classes: base of :class:`ImageCollection` and :class:`TensorCollection`.

    A subclass says which image is of which class, takes a part of the images, and reads them.

    Attributes:
        class_names (list[str], optional): Names of all classes, for messages.
        where (str): Where the images are, for messages.
    """

    class_names: list[str] | None
    where: str

    @property
    @abstractmethod
    def all_labels(self) -> list[int]:
        """The class index of each image that may be drawn, whether it can be read or not."""

    @abstractmethod
    def take(self, places: list[int]) -> Self:
        """The part of the collection at some places of :attr:`all_labels`."""

    @abstractmethod
    def batches_for(self, geometry: ImageGeometry, batch_size: int = 32, workers: int = 0) -> Batches:
        r"""
        The images as batches for a model whose geometry is known; otherwise as :meth:`batches`.

        Args:
            geometry (ImageGeometry): What a :class:`~captum_proto.models.NamedModel` gives as ``geometry``.
            batch_size (int, optional): Images in a batch. Default: 32
            workers (int, optional): Threads that read files. Default: 0

        Returns:
            Batches: An iterable of tensors (N, C, H, W), float32 in [0, 1].

        Raises:
            ValueError: If an argument is out of range, or the images do not come in this shape.
        """

    @abstractmethod
    def listed(self) -> list[tuple[str, str]]:
        """The name and the SHA-256 digest of each image, as a result records what it was made from."""

    @property
    def labels(self) -> list[int]:
        """The class index of each image, in the order in which :meth:`batches` gives them."""
        return self.all_labels

    @property
    def classes(self) -> list[int]:
        """The indices of the classes that have images, sorted."""
        return sorted(set(self.all_labels))

    @property
    def counts(self) -> dict[int, int]:
        """How many images each class has, by class index."""
        return dict(sorted(Counter(self.labels).items()))

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """The files left out so far, each with the reason."""
        return []

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where}: {len(self)} images of {len(self.classes)} classes)"

    def of(self, classes: int | Iterable[int], limit: int | None = None, seed: int = 0) -> Self:
        r"""
        The images of some classes.

        Args:
            classes (int or Iterable[int]): Class indices.
            limit (int, optional): How many images to draw at random, of all the classes together, without replacement; None: all.
                A smaller limit gives a part of what a larger one gives. Default: None
            seed (int, optional): Which draw. Default: 0

        Returns:
            Collection: A part of this collection, in the same order.

        Raises:
            ValueError: If a class has no images, or there are fewer images than ``limit``.
        """
        wanted = _class_indices(classes)
        missing = sorted(wanted - set(self.classes))
        if missing or not wanted:
            raise InputError(
                f"there are no images of {self._named(missing) or 'no class at all'} in {self.where}; it has images of the classes "
                f"{few(sorted(self.classes, key=lambda c: (min(abs(c - m) for m in missing or [0]), c)))}."
            )
        return self._part(wanted, limit, seed, f"of {self._named(sorted(wanted))}")

    def except_(self, classes: int | Iterable[int], limit: int | None = None, seed: int = 0) -> Self:
        r"""
        The images of all classes but some.

        Args:
            classes (int or Iterable[int]): Class indices to leave out.
            limit (int, optional): How many images to draw at random without replacement; None: all. Default: None
            seed (int, optional): Which draw. Default: 0

        Returns:
            Collection: A part of this collection, in the same order.

        Raises:
            ValueError: If no images remain, or fewer than ``limit``.
        """
        unwanted = _class_indices(classes)
        wanted = set(self.classes) - unwanted
        return self._part(wanted, limit, seed, f"of other classes than {self._named(sorted(unwanted))}")

    def batches(
        self,
        image_shape: Sequence[int],
        batch_size: int = 32,
        *,
        resize_ratio: float = 256 / 224,
        interpolation: str = "bilinear",
        exif_orientation: bool = False,
        workers: int = 0,
    ) -> Batches:
        r"""
        The images as batches for a model; can be iterated any number of times.

        Args:
            image_shape (Sequence[int]): (C, H, W) with C = 1 or 3; :func:`load_image` says how images get this shape.
            batch_size (int, optional): Images in a batch. Default: 32
            resize_ratio (float, optional): The resized image's side over the crop's; a NamedModel knows its own. Default: 256/224
            interpolation (str, optional): "nearest", "bilinear", "bicubic" or "lanczos". Default: "bilinear"
            exif_orientation (bool, optional): Whether to turn images as their cameras' EXIF orientation says. Default: False: they are
                read as they are stored, as in torchvision's own evaluation, and a warning says how many are turned or mirrored
            workers (int, optional): Threads that read files, up to two batches ahead of what is asked for; the batches are the same
                with any number. Default: 0, read in this thread

        Returns:
            Batches: An iterable of tensors (N, C, H, W), float32 in [0, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        geometry = ImageGeometry(image_shape, resize_ratio, interpolation, exif_orientation)
        return self.batches_for(geometry, batch_size, workers)

    def read(self, geometry: ImageGeometry, workers: int = 0) -> LabeledImages:
        r"""
        All the images at once, where they fit into memory.

        Args:
            geometry (ImageGeometry): The shape of the images, and how they get it.
            workers (int, optional): Threads that read files. Default: 0

        Returns:
            LabeledImages: Those that can be read.

        Raises:
            ValueError: If none can be read.
        """
        images = torch.cat(list(self.batches_for(geometry, workers=workers)))
        return LabeledImages(images, torch.tensor(self.labels))

    def _named(self, classes: Sequence[int]) -> str:
        """Class indices with their names, for messages."""
        names = self.class_names or []
        shown = [f"{index} ({names[index]})" if 0 <= index < len(names) else str(index) for index in classes]
        return f"class{'es' if len(shown) > 1 else ''} {few(shown, 5)}" if shown else ""

    def _part(self, wanted: set[int], limit: int | None, seed: int, which: str) -> Self:
        """The images of the wanted classes, or ``limit`` of them."""
        places = [place for place, label in enumerate(self.all_labels) if label in wanted]
        if not places:
            raise InputError(f"there are no images {which} in {self.where}; add some, or leave out fewer classes.")
        drawn = _draw(len(places), limit, seed, f"images {which} in {self.where}")
        return self.take([places[index] for index in drawn])


class TensorCollection(Collection):
    r"""
    Images in memory and the classes they are of.

    Args:
        images (Tensor): Shape (N, C, H, W), in [0, 1].
        labels (Tensor): Shape (N,), integers: class indices of the model.
        class_names (Sequence[str], optional): Names of all classes, for messages. Default: None
        name (str, optional): What the images are called in messages and lists. Default: "images"

    Raises:
        ValueError: If there are no images, or not one label for each.

    Examples::

        >>> images = TensorCollection(torch.rand(3, 1, 8, 8), torch.tensor([0, 2, 0]))
        >>> images.of(0).labels, images.except_(0).labels
        ([0, 0], [2])
        >>> [batch.shape for batch in images.batches((1, 8, 8), batch_size=2)]
        [torch.Size([2, 1, 8, 8]), torch.Size([1, 1, 8, 8])]
    """

    def __init__(
        self, images: Tensor, labels: Tensor, class_names: Sequence[str] | None = None, name: str = "images"
    ) -> None:
        if images.dim() != 4 or labels.shape != images.shape[:1] or not len(images):
            raise InputError(
                f"images has shape {tuple(images.shape)} and labels {tuple(labels.shape)}; expected images (N, C, H, W) with N at least 1, "
                "and labels (N,)."
            )
        self.labeled = LabeledImages(images, labels)
        self.class_names = None if class_names is None else list(class_names)
        self.name = name
        self.where = f'"{name}"'

    @property
    def all_labels(self) -> list[int]:
        """The class index of each image."""
        labels: list[int] = self.labeled.labels.tolist()
        return labels

    def take(self, places: list[int]) -> TensorCollection:
        """The part of the collection at some places."""
        images, labels = self.labeled
        return TensorCollection(images[places], labels[places], self.class_names, self.name)

    def batches_for(self, geometry: ImageGeometry, batch_size: int = 32, workers: int = 0) -> Sequence[Tensor]:
        """The images as batches, as they are: a model that takes another shape is refused."""
        check_batches(batch_size, workers)
        shape = tuple(self.labeled.images.shape[1:])
        if geometry.image_shape != shape:
            raise InputError(
                f"{self.where} are images of shape {shape}, but image_shape is {geometry.image_shape}; give images of this shape, or a "
                "folder of image files, which are resized."
            )
        return torch.split(self.labeled.images, operator.index(batch_size))

    def listed(self) -> list[tuple[str, str]]:
        """The place and the SHA-256 digest of the values of each image."""
        digests = [hashlib.sha256(tensor_bytes(image)).hexdigest() for image in self.labeled.images]
        return [(f"{self.name} {place}", digest) for place, digest in enumerate(digests)]


def _class_indices(classes: int | Iterable[int]) -> set[int]:
    if isinstance(classes, (str, bytes)):
        raise InputTypeError(f'classes is "{classes!r}"; expected class indices, e.g. [12, 558].')
    # Tensors and arrays of no dimension call themselves iterable.
    each: Iterable[Any] = classes if isinstance(classes, Iterable) and as_int(classes) is None else [classes]
    return {operator.index(index) for index in each}


def _draw(count: int, limit: int | None, seed: int, what: str) -> list[int]:
    """``limit`` of ``count`` positions at random, in order; the caller's random numbers stay as they are."""
    if limit is None:
        return list(range(count))
    if limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1, or None for all {what}.")
    if limit > count:
        raise InputError(f"there are {count} {what}, but limit asks for {limit}; lower limit, or add images.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(operator.index(seed))).tolist()
    return sorted(order[:limit])
