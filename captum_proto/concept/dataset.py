"""Images with labels of concepts: of single pixels, of whole images, and in words."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import sha256, tensor_sha256
from captum_proto.data.images import whole_image

#: The categories of Broden, in the order in which they are told; a data set may have others.
CATEGORIES = ("object", "part", "scene", "texture", "material", "color")
#: How many concepts a data set may have: label maps are of 16 bits.
MOST_CONCEPTS = 2**15 - 1


@dataclass(frozen=True)
class Concept:
    """
    Something that parts of images can be of.

    Attributes:
        name (str): Such as "dog".
        category (str): Such as "object". Names are different within a category.
    """

    name: str
    category: str

    def __str__(self) -> str:
        return f"{self.name} ({self.category})"


@dataclass(frozen=True)
class Labels:
    """
    The labels of an image. A label is the place of its concept in the data set's list, plus one; 0 stands for none.

    Attributes:
        maps (list[ndarray]): (h, w) each, int16: the label of each pixel. Several maps may label the same pixel, in one category too: a
            wheel that is part of a car and part of its side.
        whole (list[int]): Labels of the whole image, such as its scene.
        captions (list[str]): What people say of it.
    """

    maps: list[NDArray[np.int16]] = field(default_factory=list)
    whole: list[int] = field(default_factory=list)
    captions: list[str] = field(default_factory=list)

    def resized(self, size: tuple[int, int]) -> list[NDArray[np.int16]]:
        """
        The maps at one size: of each pixel the label at its center, never one between two.

        Args:
            size (tuple[int, int]): Rows and columns.
        """
        found = []
        for each in self.maps:
            if each.shape == size:
                found.append(each)
                continue
            rows, columns = (
                ((np.arange(new) + 0.5) * old / new).astype(np.int64) for new, old in zip(size, each.shape, strict=True)
            )
            found.append(each[rows[:, None], columns[None, :]])
        return found

    def counts(self, concepts: int, size: tuple[int, int]) -> NDArray[np.int64]:
        """
        How many pixels are of each concept, each pixel once.

        Args:
            concepts (int): How many there are.
            size (tuple[int, int]): Rows and columns.

        Returns:
            ndarray: (concepts,).
        """
        found = np.zeros(concepts + 1, dtype=np.int64)
        maps = self.resized(size)
        for place, each in enumerate(maps):
            labels = (
                each if place == 0 else np.where(np.any([each == other for other in maps[:place]], axis=0), 0, each)
            )
            found += np.bincount(labels.ravel(), minlength=concepts + 1)
        for label in set(self.whole):
            found[label] = size[0] * size[1]
        return found[1:]


class ConceptDataset(ABC):
    """
    Images with labels of concepts, in an order that stays.

    Network dissection, compositional explanations and descriptions read it. A subclass says which concepts there are, how many images, and
    what an image and its labels are: :class:`~captum_proto.concept.ConceptFolder` for a folder in our own format,
    :class:`~captum_proto.concept.Broden`, :class:`~captum_proto.concept.CocoDataset` and :class:`~captum_proto.concept.ADE20K` for those
    of others, :class:`ImageLevelConcepts` where images as a whole have classes, :class:`SegmentedImages` where a network labels pixels,
    and :class:`captum_proto.testing.ShapeDataset` for images that are drawn.

    Attributes:
        concepts (list[Concept]): All of them; the label of a concept is its place plus one.
        where (str): Where the images are, for messages.
    """

    concepts: list[Concept]
    where: str

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        """
        An image at a size, the whole of it: labels of pixels are of the whole too.

        Args:
            index (int): Its place.
            size (tuple[int, int]): Rows and columns.

        Returns:
            Tensor: (C, H, W), float32 in [0, 1].
        """

    @abstractmethod
    def labels(self, index: int) -> Labels:
        """The labels of an image, at the size at which they are kept."""

    def name(self, index: int) -> str:
        """What an image is called."""
        return f"image {index}"

    @abstractmethod
    def digest(self) -> str:
        """What the data set is of, as a SHA-256 sum: the same for the same images and labels."""

    @property
    def categories(self) -> list[str]:
        """The categories that concepts are of: those of Broden in their order, then others."""
        there = dict.fromkeys(concept.category for concept in self.concepts)
        return [*(name for name in CATEGORIES if name in there), *(name for name in there if name not in CATEGORIES)]

    @cached_property
    def category_of(self) -> NDArray[np.int64]:
        """(1 + concepts,): the place of each label's category; -1 for none, which is label 0."""
        places = {name: place for place, name in enumerate(self.categories)}
        return np.array([-1, *(places[concept.category] for concept in self.concepts)], dtype=np.int64)

    def label(self, name: str, category: str | None = None) -> int:
        """
        The label of a concept.

        Args:
            name (str): Of the concept.
            category (str, optional): Of the concept. Default: None, the only one in which there is such a name

        Raises:
            ValueError: If there is no such concept, or several.
        """
        found = [
            place
            for place, concept in enumerate(self.concepts, 1)
            if concept.name == name and category in (None, concept.category)
        ]
        if len(found) == 1:
            return found[0]
        of = "" if category is None else f" in the category {category}"
        if found:
            several = ", ".join(self.concepts[place - 1].category for place in found)
            raise InputError(f'"{name}" is a concept of several categories ({several}); give one of them.')
        names = [concept.name for concept in self.concepts if category in (None, concept.category)]
        hint = nearest(name, names) or f"; there are {len(names)} concepts, such as {', '.join(map(repr, names[:3]))}."
        raise InputError(f'there is no concept "{name}"{of}{hint}')

    def image_batches(self, size: tuple[int, int], batch_size: int = 32) -> Iterator[Tensor]:
        """All images in their order, as batches (N, C, H, W)."""
        check_int(batch_size, "batch_size", 1)
        for first in range(0, len(self), batch_size):
            yield torch.stack([self.image(index, size) for index in range(first, min(first + batch_size, len(self)))])

    def checked_labels(self, index: int) -> Labels:
        """
        The labels of an image, seen to be in order.

        Raises:
            ValueError: If a map is no map of int16, or a label is of no concept.
        """
        found = self.labels(index)
        most = len(self.concepts)
        for each in found.maps:
            if each.ndim != 2 or each.dtype != np.int16 or not each.size:
                raise InputError(
                    f"{self.name(index)} of {self.where} has a label map of shape {each.shape} and type {each.dtype}; expected (h, w) in "
                    "int16."
                )
            self._check_labels(index, int(each.min()), int(each.max()), most)
        if found.whole:
            self._check_labels(index, min(found.whole) - 1, max(found.whole), most)
        return found

    def _check_labels(self, index: int, low: int, high: int, most: int) -> None:
        if low < 0 or high > most:
            raise InputError(
                f"{self.name(index)} of {self.where} has the label {low if low < 0 else high}; there are {most} concepts, whose labels are "
                f"1 to {most}."
            )

    def _check_concepts(self) -> None:
        """See that the concepts can be told apart, and that 16 bits do for them."""
        if not self.concepts:
            raise InputError(f"{self.where} has no concepts; give at least one.")
        if len(self.concepts) > MOST_CONCEPTS:
            raise InputError(f"{self.where} has {len(self.concepts)} concepts; at most {MOST_CONCEPTS} can be labeled.")
        seen: set[Concept] = set()
        for concept in self.concepts:
            if concept in seen:
                raise InputError(f"{self.where} has the concept {concept} twice; give each once.")
            if not concept.name.strip() or not concept.category.strip():
                raise InputError(f"{self.where} has a concept without a name or a category: {concept}.")
            seen.add(concept)


class Selected(ConceptDataset):
    """
    Some of the images of a data set, in a given order.

    Args:
        dataset (ConceptDataset): The whole.
        places (sequence of int): Of the images.

    Examples::

        >>> from captum_proto.testing import ShapeDataset
        >>> few = Selected(ShapeDataset(10), [3, 1])
        >>> len(few), few.name(0)
        (2, 'image 3')
    """

    def __init__(self, dataset: ConceptDataset, places: Sequence[int]) -> None:
        wrong = [place for place in places if not 0 <= place < len(dataset)]
        if wrong:
            raise InputError(f"there is no image {wrong[0]} in {dataset.where}, which has {len(dataset)}.")
        self.dataset, self.places = dataset, list(places)
        self.concepts, self.where = dataset.concepts, dataset.where

    def __len__(self) -> int:
        return len(self.places)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return self.dataset.image(self.places[index], size)

    def labels(self, index: int) -> Labels:
        return self.dataset.labels(self.places[index])

    def name(self, index: int) -> str:
        return self.dataset.name(self.places[index])

    def digest(self) -> str:
        return digest_of([self.dataset.digest(), self.places])


class ImageLevelConcepts(ConceptDataset):
    """
    Images that are of concepts as a whole, such as those of ImageNet with its classes and superclasses: each pixel of one has its labels.

    Args:
        images (sequence of str or Tensor): Paths of image files, or images (C, H, W) in [0, 1].
        labels (sequence of sequence of str): Of each image the names of its concepts; none for some is fine.
        category (str, optional): That the concepts are of. Default: "object"

    Raises:
        ValueError: If there are not as many labels as images, or no concept.

    Examples::

        >>> images = [torch.rand(3, 8, 8) for _ in range(3)]
        >>> dataset = ImageLevelConcepts(images, [["dog", "animal"], ["cat", "animal"], []])
        >>> [str(concept) for concept in dataset.concepts], dataset.labels(1).whole
        (['dog (object)', 'animal (object)', 'cat (object)'], [3, 2])
    """

    def __init__(
        self,
        images: Sequence[Any],
        labels: Sequence[Sequence[str]],
        category: str = "object",
        where: str = "the images",
    ) -> None:
        if len(images) != len(labels):
            raise InputError(f"there are {len(images)} images and labels of {len(labels)}; give labels of each.")
        names = list(dict.fromkeys(name for each in labels for name in each))
        self.concepts, self.where = [Concept(name, category) for name in names], where
        self._check_concepts()
        self._images = list(images)
        self._labels = [[names.index(name) + 1 for name in dict.fromkeys(each)] for each in labels]

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return sized_image(self._images[index], size)

    def labels(self, index: int) -> Labels:
        return Labels(whole=list(self._labels[index]))

    def name(self, index: int) -> str:
        given = self._images[index]
        return f"image {index}" if isinstance(given, Tensor) else str(given)

    def digest(self) -> str:
        return digest_of(
            [[digest_of_image(image) for image in self._images], self._labels, concepts_json(self.concepts)]
        )


class SegmentedImages(ConceptDataset):
    """
    Images whose pixels are labeled by a function, such as a segmentation network, where nobody has masks.

    Its labels are as good as the function. It is called for each image whenever labels are asked for, and has to say the same each time.

    Args:
        images (sequence of str or Tensor): Paths of image files, or images (C, H, W) in [0, 1].
        segmenter (Callable): From an image (C, H, W) in [0, 1] to its label maps (h, w) or (M, h, w) of integers: 0 for none, else the
            place of a concept plus one.
        concepts (sequence of Concept): What labels stand for.
        size (tuple[int, int]): At which images are shown to the function.
        settings (str, optional): What the function is, such as the name of a network and its weights: part of the digest. Default: ""
        where (str, optional): What the images are called in what is said of them. Default: "the segmented images"

    Raises:
        ValueError: If there is no concept, or two are the same.

    Examples::

        >>> def bright(image):
        ...     return (image.mean(0) > 0.5).int()
        >>> dataset = SegmentedImages([torch.rand(3, 8, 8)], bright, [Concept("light", "color")], (8, 8))
        >>> dataset.labels(0).maps[0].shape
        (8, 8)
    """

    def __init__(
        self,
        images: Sequence[Any],
        segmenter: Callable[[Tensor], Any],
        concepts: Sequence[Concept],
        size: tuple[int, int],
        settings: str = "",
        where: str = "the segmented images",
    ) -> None:
        self.concepts, self.where = list(concepts), where
        self._check_concepts()
        self._images, self._segmenter, self._size, self._settings = list(images), segmenter, size, settings

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return sized_image(self._images[index], size)

    def labels(self, index: int) -> Labels:
        given = self._segmenter(self.image(index, self._size))
        maps = given.detach().cpu().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if maps.ndim not in (2, 3) or maps.dtype.kind not in "iub":
            raise InputError(
                f"the segmenter gave shape {maps.shape} and type {maps.dtype} for {self.name(index)}; expected labels (h, w) or (M, h, w) "
                "of integers."
            )
        if maps.size and (int(maps.min()) < 0 or int(maps.max()) > len(self.concepts)):
            self._check_labels(index, int(maps.min()), int(maps.max()), len(self.concepts))
        return Labels(list(maps.reshape(-1, *maps.shape[-2:]).astype(np.int16)))

    def name(self, index: int) -> str:
        given = self._images[index]
        return f"image {index}" if isinstance(given, Tensor) else str(given)

    def digest(self) -> str:
        parts = [digest_of_image(image) for image in self._images]
        return digest_of([parts, concepts_json(self.concepts), list(self._size), self._settings])


def sized_image(given: Any, size: tuple[int, int]) -> Tensor:
    """
    The whole of an image at a size, bilinear and antialiased; its proportions change, as those of its labels do.

    Args:
        given (str, Path or Tensor): A file, or an image (C, H, W) in [0, 1].
        size (tuple[int, int]): Rows and columns.

    Returns:
        Tensor: (C, H, W), float32 in [0, 1]; of a file, in color.
    """
    if isinstance(given, Tensor):
        if given.dim() != 3 or not given.is_floating_point():
            raise InputTypeError(
                f"an image has shape {tuple(given.shape)} and type {given.dtype}; expected floats (C, H, W)."
            )
        if tuple(given.shape[1:]) == tuple(size):
            return given.float()
        resized = torch.nn.functional.interpolate(
            given.float().unsqueeze(0), size=size, mode="bilinear", antialias=True
        )
        return resized.clamp(0, 1)[0]
    return whole_image(given, size)


def digest_of_image(given: Any) -> str:
    """The SHA-256 sum of an image: of a file its content, of a tensor its values."""
    return tensor_sha256(given) if isinstance(given, Tensor) else sha256(Path(given))


def digest_of(content: Any) -> str:
    """The SHA-256 sum of something that JSON can hold."""
    return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode(errors="surrogateescape")).hexdigest()


def concepts_json(concepts: Sequence[Concept]) -> list[list[str]]:
    """Concepts as JSON can hold them."""
    return [[concept.name, concept.category] for concept in concepts]


__all__ = [
    "CATEGORIES",
    "MOST_CONCEPTS",
    "Concept",
    "ConceptDataset",
    "ImageLevelConcepts",
    "Labels",
    "SegmentedImages",
    "Selected",
    "concepts_json",
    "digest_of",
    "digest_of_image",
    "sized_image",
]
