"""Masks of concepts with one bit a pixel, of the images alone that have them, in a file that is mapped and not read."""

from __future__ import annotations

import copy
import hashlib
import json
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingFileError, OccupiedError
from captum_proto._utils.files import intact, sha256, whole_file
from captum_proto._utils.reading import read_json
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels, concepts_json
from captum_proto.data.images import MOST_PIXELS

DESCRIBED, BITS, PLACES = "masks.json", "masks.bits", "masks.places"
#: Bits of a word.
_WORD = 64
_VERSION = 1
#: How many bits of each byte are set.
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1)


class PackedMasks:
    r"""
    The masks of every concept on every image of a data set.

    A mask is ``words`` words of 64 bits: the pixel in row r and column c is bit :math:`p \bmod 64` of word :math:`\lfloor p / 64 \rfloor`,
    with :math:`p = r \cdot w + c`; bits beyond the last pixel are zero. Only masks that are not empty are kept, image by image and in the
    order of labels: a data set of 22,210 images and 1,000 concepts, of which an image has some 20, takes 0.7 GB at 112 × 112, where a byte
    for each pixel and concept would take 280 GB. The file is mapped into memory, so what is looked at is read and nothing else.

    :meth:`pack` makes one in a single pass over a data set.

    Args:
        folder (str or Path): That :meth:`pack` wrote to.
        verify (bool, optional): Whether to check the sum of the masks, which reads them all. Default: False

    Attributes:
        size (tuple[int, int]): Rows and columns of a mask.
        words (int): Of a mask.
        concepts (list[Concept]): Their labels are their places plus one.
        images (int): How many.
        digest (str): Of the data set.

    Raises:
        FileNotFoundError: If the folder has no masks, or they were not written to their end.
        ValueError: If they are damaged.

    Examples::

        >>> import tempfile
        >>> from captum_proto.testing import ShapeDataset
        >>> dataset = ShapeDataset(5)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     masks = PackedMasks.pack(dataset, folder, (56, 56))
        ...     masks.images, masks.words, masks.mask(0, dataset.label("black")).shape
        (5, 49, (56, 56))
    """

    def __init__(self, folder: str | os.PathLike[str], verify: bool = False) -> None:
        self.folder = Path(folder)
        path = self.folder / DESCRIBED
        if not path.is_file():
            raise MissingFileError(
                f'"{self.folder}" has no {DESCRIBED}: there are no masks, or they were not written to their end; pack them anew.'
            )
        with intact(path, "description of masks"):
            content: dict[str, Any] = read_json(path)
            if content["version"] != _VERSION:
                raise InputError(
                    f"{path} is of version {content['version']}, and this package reads {_VERSION}; pack anew."
                )
            self.size: tuple[int, int] = (int(content["size"][0]), int(content["size"][1]))
            self.concepts = [Concept(str(name), str(category)) for name, category in content["concepts"]]
            self.images, self.digest = int(content["images"]), str(content["dataset"])
            self._sums: dict[str, str] = dict(content["sha256"])
            count = int(content["masks"])
            places = np.fromfile(self.folder / PLACES, dtype=np.int64)
            if len(places) != self.images + 1 + count:
                raise InputError(f"{PLACES} has {len(places)} numbers; expected {self.images + 1 + count}.")
            if self.images < 0 or count < 0 or min(self.size) < 1 or self.size[0] * self.size[1] > MOST_PIXELS:
                raise InputError(f"{path} tells of {self.images} images and {count} masks of {self.size} pixels.")
            self._first, labels = places[: self.images + 1], places[self.images + 1 :]
            if self._first[0] or self._first[-1] != count or (np.diff(self._first) < 0).any():
                raise InputError(f"{PLACES} does not say which masks are of which image; pack the masks anew.")
            if len(labels) and not (labels.min() >= 1 and labels.max() <= len(self.concepts)):
                raise InputError(
                    f"{PLACES} has labels from {labels.min()} to {labels.max()}; there are {len(self.concepts)} concepts."
                )
            self._labels = labels.astype(np.int16)
            expected = count * self.words * 8
            if (found := (self.folder / BITS).stat().st_size) != expected:
                raise InputError(f"{BITS} has {found} bytes; expected {expected}.")
        #: Which image's masks each image has: its own, but in :meth:`shuffled`.
        self._order: NDArray[np.int64] | None = None
        if verify:
            self.verify()

    @property
    def words(self) -> int:
        return -(-self.size[0] * self.size[1] // _WORD)

    @property
    def pixels(self) -> int:
        """Of all images together."""
        return self.images * self.size[0] * self.size[1]

    def __len__(self) -> int:
        """How many masks there are that are not empty."""
        return len(self._labels)

    @cached_property
    def _bits(self) -> NDArray[np.uint64]:
        if not len(self):
            return np.zeros((0, self.words), dtype=np.uint64)
        mapped: NDArray[np.uint64] = np.memmap(self.folder / BITS, dtype="<u8", mode="r", shape=(len(self), self.words))
        return mapped

    def of_image(self, index: int) -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
        """
        The masks of an image.

        Args:
            index (int): Of the image.

        Returns:
            tuple[ndarray, ndarray]: The labels (m,), ascending, and the masks (m, words), mapped.
        """
        if not 0 <= index < self.images:
            raise InputError(f"there is no image {index}; there are {self.images}.")
        if self._order is not None:
            index = int(self._order[index])
        part = slice(int(self._first[index]), int(self._first[index + 1]))
        return self._labels[part], self._bits[part]

    def shuffled(self, seed: int) -> PackedMasks:
        """
        The same masks, each image with those of another, to see what chance gives: positions, areas and which concepts go together stay.

        Args:
            seed (int): Of the order.

        Returns:
            PackedMasks: Of the same files; nothing is copied.
        """
        found = copy.copy(self)
        found._order = np.random.default_rng(seed).permutation(self.images)
        return found

    def release(self) -> None:
        """
        Let the system take back the memory of what was looked at, which it else does when memory is short.

        What is looked at again is read again, mostly from the system's own copy of the file.
        """
        mapped = getattr(self._bits, "_mmap", None)
        if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):  # not on all systems
            mapped.madvise(mmap.MADV_DONTNEED)

    def mask(self, index: int, label: int) -> NDArray[np.bool_]:
        """
        The mask of a concept on an image.

        Args:
            index (int): Of the image.
            label (int): Of the concept.

        Returns:
            ndarray: (h, w).
        """
        check_int(label, "label", 1)
        labels, masks = self.of_image(index)
        found = np.flatnonzero(labels == label)
        if not len(found):
            return np.zeros(self.size, dtype=bool)
        return unpacked(masks[found[0]][None], self.size)[0]

    def blocks(
        self, words: int = 2**24
    ) -> Iterator[tuple[range, NDArray[np.int64], NDArray[np.int16], NDArray[np.uint64]]]:
        """
        All masks, some images at a time.

        Args:
            words (int, optional): At most so many at a time, where an image has not more by itself. Default: 2²⁴, 128 MiB

        Yields:
            tuple: Which images; where the masks of each begin, and the end; the labels; and the masks.
        """
        if self._order is not None:
            raise InputError(
                "blocks are of the masks as they lie in the file; take them of masks that are not shuffled."
            )
        begin = 0
        while begin < self.images:
            end = begin + 1
            while end < self.images and (self._first[end + 1] - self._first[begin]) * self.words <= words:
                end += 1
            part = slice(int(self._first[begin]), int(self._first[end]))
            yield (
                range(begin, end),
                self._first[begin : end + 1] - self._first[begin],
                self._labels[part],
                self._bits[part],
            )
            begin = end

    @cached_property
    def areas(self) -> NDArray[np.int64]:
        """(1 + concepts,): how many pixels are of each concept; those of label 0 are zero."""
        found = np.zeros(len(self.concepts) + 1, dtype=np.int64)
        stored = copy.copy(self)
        stored._order = None
        for _, _, labels, masks in stored.blocks():
            np.add.at(found, labels.astype(np.int64), ones(masks))
            stored.release()
        return found

    @cached_property
    def image_counts(self) -> NDArray[np.int64]:
        """(1 + concepts,): on how many images each concept is."""
        found: NDArray[np.int64] = np.bincount(self._labels, minlength=len(self.concepts) + 1)
        return found

    def verify(self) -> None:
        """
        See that the files are as they were written.

        Raises:
            ValueError: If one is not.
        """
        for name, expected in self._sums.items():
            if sha256(self.folder / name) != expected:
                raise InputError(f'"{self.folder / name}" is damaged: its SHA-256 sum is another; pack the masks anew.')

    @classmethod
    def pack(
        cls,
        dataset: ConceptDataset,
        folder: str | os.PathLike[str],
        size: tuple[int, int] = (112, 112),
        overwrite: bool = False,
        show_progress: bool = False,
    ) -> PackedMasks:
        """
        Write the masks of a data set, in one pass.

        Args:
            dataset (ConceptDataset): Label maps of other sizes are resized, each pixel to the label at its center.
            folder (str or Path): Where to.
            size (tuple[int, int], optional): Of the masks; (112, 112) as in network dissection. Default: (112, 112)
            overwrite (bool, optional): Whether masks that are there may be replaced. Default: False
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Raises:
            FileExistsError: If there are masks, and ``overwrite`` is False.
            ValueError: If a label is of no concept.
        """
        size = (check_int(size[0], "size", 1), check_int(size[1], "size", 1))
        each = (packed_labels(dataset.checked_labels(index), size) for index in range(len(dataset)))
        return cls.write(each, len(dataset), dataset.concepts, dataset.digest(), folder, size, overwrite, show_progress)

    @classmethod
    def write(
        cls,
        each: Iterable[tuple[NDArray[np.int16], NDArray[np.uint64]]],
        images: int,
        concepts: Sequence[Concept],
        digest: str,
        folder: str | os.PathLike[str],
        size: tuple[int, int],
        overwrite: bool = False,
        show_progress: bool = False,
    ) -> PackedMasks:
        """
        Write masks that come image by image.

        Args:
            each (iterable): Of each image the labels (m,), ascending, and the masks (m, words), none of them empty.
            images (int): How many.
            concepts (sequence of Concept): What labels stand for.
            digest (str): Of what the masks are of.
            folder, size, overwrite, show_progress: As in :meth:`pack`.

        Raises:
            FileExistsError: If there are masks, and ``overwrite`` is False.
        """
        out = Path(folder)
        if (out / DESCRIBED).exists() and not overwrite:
            raise OccupiedError(f'"{out}" holds masks; choose another folder or pass overwrite=True.')
        (out / DESCRIBED).unlink(missing_ok=True)
        first, labels, summed = [0], list[NDArray[np.int64]](), hashlib.sha256()
        with whole_file(out / BITS, overwrite=True) as temporary, open(temporary, "wb") as file:
            for found, masks in tqdm(each, total=images, desc="masks", unit="image", disable=not show_progress):
                content = masks.astype("<u8").tobytes()
                summed.update(content)
                file.write(content)
                labels.append(found.astype(np.int64))
                first.append(first[-1] + len(found))
        places = np.concatenate([np.array(first, dtype=np.int64), *labels])
        with whole_file(out / PLACES, overwrite=True) as temporary:
            places.astype("<i8").tofile(temporary)
        described = {
            "version": _VERSION,
            "size": list(size),
            "images": images,
            "masks": first[-1],
            "concepts": concepts_json(concepts),
            "dataset": digest,
            "sha256": {BITS: summed.hexdigest(), PLACES: sha256(out / PLACES)},
        }
        with whole_file(out / DESCRIBED, overwrite=True) as temporary:
            temporary.write_text(json.dumps(described, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
        return cls(out)


def packed_labels(labels: Labels, size: tuple[int, int]) -> tuple[NDArray[np.int16], NDArray[np.uint64]]:
    """
    The masks of the concepts that an image has.

    Args:
        labels (Labels): Of the image.
        size (tuple[int, int]): Of the masks.

    Returns:
        tuple[ndarray, ndarray]: The labels (m,), ascending, and the masks (m, words).
    """
    maps = labels.resized(size)
    there = sorted({int(label) for each in maps for label in np.unique(each) if label} | set(labels.whole))
    masks = np.zeros((len(there), *size), dtype=bool)
    for place, label in enumerate(there):
        masks[place] = label in labels.whole
        for each in maps:
            masks[place] |= each == label
    return np.array(there, dtype=np.int16), packed(masks)


def ones(masks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(m,): how many bits of each mask are set."""
    if hasattr(np, "bitwise_count"):  # from NumPy 2 on
        counted: NDArray[np.int64] = np.bitwise_count(masks).sum(1, dtype=np.int64)
        return counted
    content = np.ascontiguousarray(masks).view(np.uint8).reshape(len(masks), 8 * masks.shape[1])
    found: NDArray[np.int64] = _ONES[content].sum(1, dtype=np.int64)
    return found


def packed(masks: NDArray[np.bool_]) -> NDArray[np.uint64]:
    """
    Masks as bits.

    Args:
        masks (ndarray): (m, h, w).

    Returns:
        ndarray: (m, words), with the first pixel in the lowest bit of the first word.
    """
    count, pixels = len(masks), masks.shape[1] * masks.shape[2]
    words = -(-pixels // _WORD)
    found = np.zeros((count, words * 8), dtype=np.uint8)
    found[:, : -(-pixels // 8)] = np.packbits(masks.reshape(count, pixels), axis=1, bitorder="little")
    return found.view("<u8").astype(np.uint64, copy=False)


def unpacked(masks: NDArray[np.uint64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """
    Bits as masks: the reverse of :func:`packed`.

    Args:
        masks (ndarray): (m, words).
        size (tuple[int, int]): Of the masks.

    Returns:
        ndarray: (m, h, w).
    """
    content = (
        np.ascontiguousarray(masks.astype("<u8", copy=False)).view(np.uint8).reshape(len(masks), 8 * masks.shape[1])
    )
    pixels = size[0] * size[1]
    return np.unpackbits(content, axis=1, count=pixels, bitorder="little").astype(bool).reshape(len(masks), *size)


__all__ = ["PackedMasks", "ones", "packed", "packed_labels", "unpacked"]
