"""Image files by class, read batch by batch."""

from __future__ import annotations

import math
import operator
import os
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.data.images import ENDINGS, _check_geometry, _decoded
from captum_proto.data.labels import (
    SPLITS,
    _Classes,
    _few,
    _folder,
    _images_below,
    _is_image,
    _label_files,
    _label_folders,
    _split_folder,
    _subfolders,
    _visible,
)


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
    The images of a collection as batches: read anew on each pass, never more than a batch at a time.

    Made by :meth:`ImageCollection.batches`. Iterating gives tensors of shape (N, C, H, W); :meth:`items` gives labels and paths too.
    ``len()`` is the number of batches.
    """

    def __init__(
        self,
        collection: ImageCollection,
        image_shape: Sequence[int],
        batch_size: int = 32,
        resize_ratio: float = 256 / 224,
        interpolation: str = "bilinear",
        workers: int = 0,
    ) -> None:
        self.collection = collection
        self.image_shape = _check_geometry(image_shape, resize_ratio, interpolation)
        if operator.index(batch_size) < 1:
            raise InputError(f"batch_size is {batch_size}; expected at least 1.")
        if operator.index(workers) < 0:
            raise InputError(
                f"workers is {workers}; expected 0 to read in this thread, or a number of threads to read with."
            )
        self.batch_size = batch_size
        self.resize_ratio = resize_ratio
        self.interpolation = interpolation
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
            :attr:`ImageCollection.skipped`.

        Raises:
            ValueError: If not one of the images can be read.
        """
        collection = self.collection
        readable = [(path, label) for path, label in collection._files if path not in collection._unreadable]
        new: list[str] = []
        images: list[Tensor] = []
        files: list[tuple[str, int]] = []
        count = 0
        try:
            for (path, label), image in zip(readable, self._read([path for path, _ in readable]), strict=True):
                if isinstance(image, str):
                    collection._unreadable[path] = image
                    new.append(path)
                    continue
                images.append(image)
                files.append((path, label))
                count += 1
                if len(images) == self.batch_size:
                    yield _batch(images, files)
                    images, files = [], []
            if images:
                yield _batch(images, files)
        finally:
            if new:
                named = _few([f"{path} ({collection._unreadable[path]})" for path in new], 3)
                warnings.warn(
                    f"{len(new)} of {len(readable)} images cannot be read and are skipped: {named}; .skipped lists them.",
                    stacklevel=2,
                )
        if not count:
            path = collection._files[0][0]
            raise InputError(
                f'none of the {len(collection._files)} images in "{collection.root}" can be read, the first because: '
                f'"{path}" {collection._unreadable[path]}; replace them.'
            )

    def _read(self, paths: list[str]) -> Iterator[Tensor | str]:
        def read(path: str) -> Tensor | str:
            return _decoded(path, self.image_shape, self.resize_ratio, self.interpolation)

        if not self.workers:
            yield from map(read, paths)
            return
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="captum_proto images")
        rest = iter(paths)
        try:
            # Two batches ahead: while the model works on one, the next is decoded, and memory still holds but three.
            ahead = deque(pool.submit(read, path) for path in islice(rest, 2 * self.batch_size))
            while ahead:
                image = ahead.popleft().result()
                ahead.extend(pool.submit(read, path) for path in islice(rest, 1))
                yield image
        finally:
            pool.shutdown(cancel_futures=True)

    def __repr__(self) -> str:
        return (
            f"ImageBatches({self.collection!r}, image_shape={self.image_shape}, batch_size={self.batch_size}, "
            f'resize_ratio={self.resize_ratio:.4g}, interpolation="{self.interpolation}")'
        )


def _batch(images: list[Tensor], files: list[tuple[str, int]]) -> ImageBatch:
    return ImageBatch(torch.stack(images), [label for _, label in files], [Path(path) for path, _ in files])


class ImageCollection:
    r"""
    Image files and the classes they are of.

    Nothing but file names is kept: images are read when :meth:`batches` is iterated, a batch at a time. Files that turn out to be
    unreadable are left out, named in :attr:`skipped`, and warned of once.

    Args:
        paths (Sequence[str or os.PathLike]): N image files.
        labels (Sequence[int]): N class indices of the model.
        class_names (Sequence[str], optional): Names of all classes, for messages. Default: None
        root (str or os.PathLike, optional): Where the images come from, for messages. Default: None

    Raises:
        ValueError: If there are no paths, or not one label for each.

    Examples::

        >>> import tempfile
        >>> from PIL import Image
        >>> folder = tempfile.mkdtemp()
        >>> for name, color in (("0_a", "red"), ("0_b", "brown"), ("2_a", "blue")):
        ...     Image.new("RGB", (20, 16), color).save(f"{folder}/{name}.png")
        >>> images = ImageCollection.discover(folder)
        >>> images.classes
        [0, 2]
        >>> [batch.shape for batch in images.of([0]).batches((3, 8, 8), batch_size=32)]
        [torch.Size([2, 3, 8, 8])]
        >>> images.except_([0]).paths[0].name
        '2_a.png'
    """

    def __init__(
        self,
        paths: Sequence[str | os.PathLike[str]],
        labels: Sequence[int],
        class_names: Sequence[str] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> None:
        if len(paths) != len(labels) or not paths:
            raise InputError(
                f"there are {len(paths)} paths and {len(labels)} labels; expected at least one path, and a class index for each."
            )
        self._files = [(os.fspath(path), operator.index(label)) for path, label in zip(paths, labels, strict=True)]
        self._unreadable: dict[str, str] = {}
        self._strays: list[tuple[Path, str]] = []
        self.class_names = None if class_names is None else list(class_names)
        self.root = Path(os.path.dirname(self._files[0][0]) if root is None else root)

    @classmethod
    def discover(
        cls,
        root: str | os.PathLike[str],
        class_names: Sequence[str] | None = None,
        *,
        wnids: Sequence[str] | None = None,
        split: str | None = None,
    ) -> ImageCollection:
        r"""
        Find the images in a folder and the class of each.

        Three layouts are known:

        1. ImageNet's: ``root/nXXXXXXXX/*`` or ``root/{train,val}/nXXXXXXXX/*``. Which class a wnid is comes from ``wnids``, else from
           ``classes.csv`` (columns index, wnid, name), ``LOC_synset_mapping.txt`` or ``synset_words.txt`` beside the images, else from
           the sorted order if every class is there, else, for a model with 1000 named classes, from timm's table where timm is installed.
        2. One folder for each class, named by index, by a class name of the model, or, if there are no class names, in sorted order.
        3. A flat folder whose file names begin with an index and a separator (``0012_anything.jpg``), carry a wnid, or begin with a
           class name.

        Names are compared without regard to case and punctuation. Images that lie outside the layout are named in :attr:`skipped`.

        Args:
            root (str or os.PathLike): The folder.
            class_names (Sequence[str], optional): The model's class names. Default: None
            wnids (Sequence[str], optional): The wnid of each class, in order. Default: None
            split (str, optional): Which of the folders val, validation, test and train to read; None: the first of them that is there.
                Default: None

        Returns:
            ImageCollection: All images, ordered by class and file name.

        Raises:
            FileNotFoundError: If there is no such folder.
            NotADirectoryError: If ``root`` is a file.
            ValueError: If there are no images, or it is not clear which classes they are of.

        Examples::

            >>> import tempfile
            >>> from pathlib import Path
            >>> from PIL import Image
            >>> folder = Path(tempfile.mkdtemp())
            >>> for name in ("tabby cat", "Flute"):
            ...     (folder / name).mkdir()
            ...     Image.new("L", (9, 9)).save(folder / name / "1.png")
            >>> ImageCollection.discover(folder, class_names=["flute", "goldfish", "tabby_cat"]).labels
            [0, 2]
        """
        folder = _folder(root)
        top = _split_folder(folder, split)
        beside = [top, folder] if top != folder else [folder]
        if top == folder and os.path.basename(os.path.abspath(folder)) in SPLITS:
            beside.append(os.path.dirname(os.path.abspath(folder)))
        classes = _Classes(beside, class_names, wnids, folder)
        folders = _subfolders(top)
        inside = [list(_images_below(sub)) for sub in folders]
        loose = [entry.path for entry in _visible(top) if entry.is_file() and _is_image(entry.name)]
        names = classes.model_names or classes.table_names
        files: list[tuple[int, str]]
        if any(inside):
            labels, by_order = _label_folders(folders, [bool(images) for images in inside], classes)
            files = [(label, path) for label, images in zip(labels, inside, strict=True) for path in images]
            strays = [(Path(path), "it lies beside the class folders, not in one") for path in loose]
            names = [os.path.basename(sub) for sub in folders] if by_order else names
        elif loose:
            flat = _label_files(loose, classes)
            files = [(label, path) for label, path in zip(flat, loose, strict=True) if label is not None]
            strays = [
                (Path(path), "its name carries no class")
                for label, path in zip(flat, loose, strict=True)
                if label is None
            ]
            if not files:
                raise InputError(
                    f'no file name in "{folder}" carries a class ({_few([path.name for path, _ in strays], 3)}); expected names such as '
                    "0012_anything.jpg, n01532829_anything.jpg or house_finch_anything.jpg with class_names given, or one folder for each "
                    "class."
                )
        else:
            raise InputError(
                f'"{folder}" holds no images; expected one folder for each class, or files named by class, that end in '
                f"{', '.join(sorted(ENDINGS))}."
            )
        files.sort()
        collection = cls([path for _, path in files], [label for label, _ in files], names, folder)
        collection._strays = strays
        if strays:
            warnings.warn(
                f'{len(strays)} images in "{folder}" are of no known class and are skipped: '
                f"{_few([f'{path.name} ({reason})' for path, reason in strays], 3)}; .skipped lists them.",
                stacklevel=2,
            )
        return collection

    @classmethod
    def one_class(cls, root: str | os.PathLike[str], label: int = 0) -> ImageCollection:
        r"""
        Take all images in a folder, and in the folders within it, for images of one class, whatever they are called.

        Args:
            root (str or os.PathLike): The folder.
            label (int, optional): The class index of all of them. Default: 0

        Returns:
            ImageCollection: All images, ordered by path.

        Raises:
            FileNotFoundError: If there is no such folder.
            NotADirectoryError: If ``root`` is a file.
            ValueError: If there are no images.

        Examples::

            >>> import tempfile
            >>> from PIL import Image
            >>> folder = tempfile.mkdtemp()
            >>> Image.new("L", (9, 9)).save(f"{folder}/anything.png")
            >>> ImageCollection.one_class(folder, label=400).labels
            [400]
        """
        folder = _folder(root)
        paths = sorted(_images_below(folder))
        if not paths:
            raise InputError(f'"{folder}" holds no images; expected files that end in {", ".join(sorted(ENDINGS))}.')
        return cls(paths, [label] * len(paths), None, folder)

    @property
    def paths(self) -> list[Path]:
        """The image files, in the order in which :meth:`batches` gives them; without those that a pass has found unreadable."""
        return [Path(path) for path, _ in self._files if path not in self._unreadable]

    @property
    def labels(self) -> list[int]:
        """The class index of each of :attr:`paths`."""
        return [label for path, label in self._files if path not in self._unreadable]

    @property
    def classes(self) -> list[int]:
        """The indices of the classes that have images, sorted."""
        return sorted({label for _, label in self._files})

    @property
    def counts(self) -> dict[int, int]:
        """How many images each class has, by class index."""
        return dict(sorted(Counter(self.labels).items()))

    @property
    def skipped(self) -> list[tuple[Path, str]]:
        """The files left out so far, each with the reason."""
        unreadable = [(Path(path), self._unreadable[path]) for path, _ in self._files if path in self._unreadable]
        return self._strays + unreadable

    def __len__(self) -> int:
        return sum(path not in self._unreadable for path, _ in self._files)

    def __repr__(self) -> str:
        return f'ImageCollection("{self.root}": {len(self)} images of {len(self.classes)} classes)'

    def of(self, classes: int | Iterable[int], limit: int | None = None, seed: int = 0) -> ImageCollection:
        r"""
        The images of some classes.

        Args:
            classes (int or Iterable[int]): Class indices.
            limit (int, optional): How many images to draw at random, of all the classes together, without replacement; None: all.
                A smaller limit gives a part of what a larger one gives. Default: None
            seed (int, optional): Which draw. Default: 0

        Returns:
            ImageCollection: A part of this collection, in the same order.

        Raises:
            ValueError: If a class has no images, or there are fewer images than ``limit``.
        """
        wanted = _class_indices(classes)
        missing = sorted(wanted - set(self.classes))
        if missing or not wanted:
            raise InputError(
                f'there are no images of {self._named(missing) or "no class at all"} in "{self.root}"; it has images of the classes '
                f"{_few(sorted(self.classes, key=lambda c: (min(abs(c - m) for m in missing or [0]), c)))}."
            )
        return self._part(lambda label: label in wanted, limit, seed, f"of {self._named(sorted(wanted))}")

    def except_(self, classes: int | Iterable[int], limit: int | None = None, seed: int = 0) -> ImageCollection:
        r"""
        The images of all classes but some.

        Args:
            classes (int or Iterable[int]): Class indices to leave out.
            limit (int, optional): How many images to draw at random without replacement; None: all. Default: None
            seed (int, optional): Which draw. Default: 0

        Returns:
            ImageCollection: A part of this collection, in the same order.

        Raises:
            ValueError: If no images remain, or fewer than ``limit``.
        """
        unwanted = _class_indices(classes)
        return self._part(
            lambda label: label not in unwanted, limit, seed, f"of other classes than {self._named(sorted(unwanted))}"
        )

    def batches(
        self,
        image_shape: Sequence[int],
        batch_size: int = 32,
        *,
        resize_ratio: float = 256 / 224,
        interpolation: str = "bilinear",
        workers: int = 0,
    ) -> ImageBatches:
        r"""
        The images as batches for a model; can be iterated any number of times.

        Args:
            image_shape (Sequence[int]): (C, H, W) with C = 1 or 3; :func:`load_image` says how images get this shape.
            batch_size (int, optional): Images in a batch. Default: 32
            resize_ratio (float, optional): The resized image's side over the crop's; a NamedModel knows its own. Default: 256/224
            interpolation (str, optional): "nearest", "bilinear", "bicubic" or "lanczos". Default: "bilinear"
            workers (int, optional): Threads that read files, up to two batches ahead of what is asked for; the batches are the same
                with any number. Default: 0, read in this thread

        Returns:
            ImageBatches: An iterable of tensors (N, C, H, W), float32 in [0, 1].

        Raises:
            ValueError: If an argument is out of range.
        """
        return ImageBatches(self, image_shape, batch_size, resize_ratio, interpolation, workers)

    def _named(self, classes: Sequence[int]) -> str:
        """Class indices with their names, for messages."""
        names = self.class_names or []
        shown = [f"{index} ({names[index]})" if 0 <= index < len(names) else str(index) for index in classes]
        return f"class{'es' if len(shown) > 1 else ''} {_few(shown, 5)}" if shown else ""

    def _part(self, chosen: Callable[[int], bool], limit: int | None, seed: int, which: str) -> ImageCollection:
        files = [(path, label) for path, label in self._files if chosen(label)]
        if not files:
            raise InputError(f'there are no images {which} in "{self.root}"; add some, or leave out fewer classes.')
        drawn = _draw(len(files), limit, seed, f'images {which} in "{self.root}"')
        part = ImageCollection([files[i][0] for i in drawn], [files[i][1] for i in drawn], self.class_names, self.root)
        part._unreadable = self._unreadable
        return part


def _class_indices(classes: int | Iterable[int]) -> set[int]:
    if isinstance(classes, (str, bytes)):
        raise InputTypeError(f'classes is "{classes!r}"; expected class indices, e.g. [12, 558].')
    return {operator.index(index) for index in (classes if isinstance(classes, Iterable) else [classes])}


def _draw(count: int, limit: int | None, seed: int, what: str) -> list[int]:
    """``limit`` of ``count`` positions at random, in order; the caller's random numbers stay as they are."""
    if limit is None:
        return list(range(count))
    if limit < 1:
        raise InputError(f"limit is {limit}; expected at least 1, or None for all {what}.")
    if limit > count:
        raise InputError(f"there are {count} {what}, but limit asks for {limit}; lower limit, or add images.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[:limit])
