"""Natural images, by class: found on disk, matched with the model's classes, and read batch by batch."""

from __future__ import annotations

import csv
import importlib
import math
import operator
import os
import re
import struct
import warnings
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from captum_proto._utils.checks import nearest

__all__ = ["DigitsImages", "ImageBatch", "ImageBatches", "ImageCollection", "digits_images", "load_image"]

ENDINGS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm", ".tif", ".tiff")
)
#: Folders that part a data set, the one to prefer first.
SPLITS = ("val", "validation", "test", "train")
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
#: Longer side over shorter side: an image beyond this has no centre worth cropping, and takes gigabytes to enlarge.
_ELONGATED = 64
_WNID = re.compile(r"(?:^|[_\-. ])(n\d{8})(?=$|[_\-. ])")
_LEADING_INDEX = re.compile(r"(\d+)[_\-. ]+(?=\S)")


# One image.


def _check_geometry(image_shape: Sequence[int], resize_ratio: float, interpolation: str) -> tuple[int, int, int]:
    shape = tuple(operator.index(side) for side in image_shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
        raise ValueError(
            f"image_shape is {shape}; expected (C, H, W) with C = 1 (grey) or 3 (red, green, blue) and positive H and W."
        )
    if not (1 <= resize_ratio < math.inf):
        raise ValueError(
            f"resize_ratio is {resize_ratio}; expected 1 or more: the resized image's shorter side over the crop's, e.g. 256 / 224."
        )
    if interpolation not in INTERPOLATIONS:
        raise ValueError(
            f'interpolation is "{interpolation}"; expected one of {", ".join(INTERPOLATIONS)}'
            f"{nearest(str(interpolation), INTERPOLATIONS) or '.'}"
        )
    return shape[0], shape[1], shape[2]


def _pixels(path: str, channels: int) -> Image.Image:
    """The first frame of a file, decoded in full, as 8-bit grey or RGB."""
    with Image.open(path) as file:
        image: Image.Image = file
        image.load()
        if image.mode.startswith("I"):
            # Pillow cuts 16 bits off at 255 where it should scale them.
            values = np.asarray(image)
            if values.size and (values.min() < 0 or values.max() > 65535):
                raise ValueError(f"integers from {values.min()} to {values.max()}, which have no known white")
            image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
        elif image.mode == "F":
            raise ValueError("floating-point values, which have no known white")
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("L" if channels == 1 else "RGB")
    if max(image.size) > _ELONGATED * min(image.size):
        raise ValueError(f"{image.width} x {image.height} pixels, too elongated to crop the centre")
    return image


def load_image(
    path: str | os.PathLike[str],
    image_shape: Sequence[int],
    resize_ratio: float = 256 / 224,
    interpolation: str = "bilinear",
) -> Tensor:
    r"""
    One image as a model sees it in evaluation: resized, antialiased, and cropped at its centre.

    The image is resized until it just covers ``resize_ratio`` times (H, W), then (H, W) are cut from its centre: what torchvision's own
    evaluation transforms do, to the last bit. Colour becomes grey or grey becomes colour as C says; of an animation the first frame is
    taken, of 16 bits the upper 8. As in torchvision's evaluation, a camera's rotation flag is not followed.

    Args:
        path (str or os.PathLike): The image file, in any format that Pillow reads.
        image_shape (Sequence[int]): (C, H, W) with C = 1 or 3.
        resize_ratio (float, optional): The resized image's side over the crop's, at least 1. Default: 256/224
        interpolation (str, optional): "nearest", "bilinear", "bicubic" or "lanczos". Default: "bilinear"

    Returns:
        Tensor: Shape (C, H, W), float32 in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no whole image, or an argument is out of range.

    Examples::

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (640, 480), "red").save(f"{folder}/red.png")
        ...     image = load_image(f"{folder}/red.png", (3, 224, 224))
        >>> image.shape, image[:, 0, 0].tolist()
        (torch.Size([3, 224, 224]), [1.0, 0.0, 0.0])
    """
    shape = _check_geometry(image_shape, resize_ratio, interpolation)
    if not os.path.isfile(path):
        raise FileNotFoundError(f'there is no file "{os.fspath(path)}"; give the path of an image.')
    image = _decoded(os.fspath(path), shape, resize_ratio, interpolation)
    if isinstance(image, str):
        raise ValueError(f'"{os.fspath(path)}" cannot be read: {image}.')
    return image


def _decoded(path: str, shape: tuple[int, int, int], resize_ratio: float, interpolation: str) -> Tensor | str:
    """The image, or why there is none."""
    channels, height, width = shape
    try:
        image = _pixels(path, channels)
    except UnidentifiedImageError:
        return "no image that Pillow can read"
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        return (getattr(error, "strerror", None) or str(error) or type(error).__name__).rstrip(".")
    tall, wide = round(height * resize_ratio), round(width * resize_ratio)
    if tall * image.width >= wide * image.height:
        size = [tall, max(int(tall * image.width / image.height), wide)]
    else:
        size = [max(int(wide * image.height / image.width), tall), wide]
    image = transforms.resize(image, size, interpolation=InterpolationMode(interpolation), antialias=True)
    image = transforms.center_crop(image, [height, width])
    return cast(Tensor, transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True))


# Which class a file or folder is of.


def _normalised(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name.casefold()).strip()


def _few(items: Iterable[Any], limit: int = 10) -> str:
    shown = [str(item) for item in items]
    more = f", ... ({len(shown)} in all)" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def _visible(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith((".", "__"))), key=lambda e: e.name)


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in ENDINGS


def _images_below(folder: str) -> Iterator[str]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if _is_image(name))


def _folder(root: str | os.PathLike[str]) -> str:
    folder = os.fspath(root)
    if not os.path.exists(folder):
        raise FileNotFoundError(f'there is no folder "{folder}"; give the folder that holds the images.')
    if not os.path.isdir(folder):
        raise NotADirectoryError(f'"{folder}" is a file; give the folder that holds the images.')
    return folder


def _subfolders(folder: str) -> list[str]:
    return [entry.path for entry in _visible(folder) if entry.is_dir()]


class _Classes:
    """What is known of the classes: the model's names, and tables that lie beside the images."""

    def __init__(
        self, folders: Sequence[str], class_names: Sequence[str] | None, wnids: Sequence[str] | None, root: str
    ) -> None:
        self.root = root
        self.model_names = None if class_names is None else [str(name) for name in class_names]
        self.wnids: dict[str, int] = {}
        self.source = "wnids"
        table_names: dict[int, str] = {}
        if wnids is not None:
            self.wnids = {wnid: index for index, wnid in enumerate(wnids)}
            if len(self.wnids) != len(wnids):
                raise ValueError(
                    "wnids holds a wnid twice; expected one wnid for each class, in the order of the classes."
                )
        for folder in folders:
            table = os.path.join(folder, "classes.csv")
            if os.path.isfile(table):
                found, table_names = _read_classes(table)
                if not self.wnids:
                    self.wnids, self.source = found, table
                break
            for name in ("LOC_synset_mapping.txt", "synset_words.txt"):
                table = os.path.join(folder, name)
                if not self.wnids and os.path.isfile(table):
                    self.wnids, self.source = _read_synsets(table), table
        self.table_names: list[str] | None = None
        if table_names and sorted(table_names) == list(range(len(table_names))):
            self.table_names = [table_names[index] for index in range(len(table_names))]
        self._index_of: dict[str, set[int]] = {}
        self._add_names(dict(enumerate(self.model_names or ())))
        self._add_names(table_names)

    def _add_names(self, names: dict[int, str]) -> None:
        new: dict[str, set[int]] = {}
        for index, name in names.items():
            for spelling in {_normalised(name), *(_normalised(part) for part in name.split(","))} - {""}:
                new.setdefault(spelling, set()).add(index)
        for spelling, indices in new.items():
            self._index_of.setdefault(spelling, indices)

    @property
    def names_known(self) -> bool:
        return bool(self._index_of)

    def by_name(self, name: str) -> set[int]:
        """The classes of this name: none, one, or several of the same name."""
        return self._index_of.get(_normalised(name), set())

    def by_first_words(self, text: str) -> set[int]:
        """The classes whose name ``text`` begins with; of several names the longest. A name of digits alone is no word."""
        words = _normalised(text).split(" ")
        for count in range(len(words), 0, -1):
            name = " ".join(words[:count])
            if (found := self.by_name(name)) and any(letter.isalpha() for letter in name):
                return found
        return set()

    def the_one(self, indices: set[int], where: str) -> int | None:
        if len(indices) > 1:
            raise ValueError(
                f'"{where}" in "{self.root}" names the classes {_few(sorted(indices))} alike; use the index of the class for its name.'
            )
        return next(iter(indices), None)

    def suggestion(self, name: str) -> str:
        return nearest(_normalised(name), self._index_of) or "."

    def check_index(self, index: int, where: str) -> int:
        count = None if self.model_names is None else len(self.model_names)
        if count is not None and index >= count:
            raise ValueError(
                f'"{where}" in "{self.root}" stands for class {index}, but the model has {count} classes, 0 to {count - 1}; rename it, or '
                "use the model that these images are for."
            )
        return index

    def complete_wnids(self, found: Iterable[str]) -> None:
        """See that there is an index for each wnid that was found, or say what to do."""
        present = sorted(set(found))
        if not self.wnids:
            expected = 1000 if self.model_names is None else len(self.model_names)
            if len(present) == expected:
                self.wnids, self.source = {wnid: index for index, wnid in enumerate(present)}, "the sorted wnids"
            elif expected == 1000 and self.model_names is not None:
                self.wnids, self.source = _imagenet_wnids(), "timm's table"
        unknown = [wnid for wnid in present if wnid not in self.wnids]
        if unknown and self.wnids:
            raise ValueError(
                f'"{self.root}" names {_few(unknown, 5)}, which {self.source} does not list; add them there, or remove them.'
            )
        if unknown:
            count = "" if self.model_names is None else f" of the model's {len(self.model_names)} classes"
            raise ValueError(
                f'"{self.root}" names {len(present)}{count} by wnid ({_few(present, 3)}), and nothing says which class is which; put a '
                "classes.csv with the columns index,wnid,name there, or pass wnids, the list of all wnids in the order of the classes."
            )


def _read_classes(path: str) -> tuple[dict[str, int], dict[int, str]]:
    """A classes.csv: the index of each wnid, and the name of each index."""
    wnids: dict[str, int] = {}
    names: dict[int, str] = {}
    with open(path, encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file)
        columns = set(reader.fieldnames or ())
        if "index" not in columns or not columns & {"wnid", "name"}:
            raise ValueError(
                f'"{path}" has the columns {_few(sorted(columns)) or "of an empty file"}; expected index, wnid and name, in a first line '
                "that says so."
            )
        for row in reader:
            index = row["index"] or ""
            if not index.isascii() or not index.isdigit():
                raise ValueError(
                    f'"{path}", line {reader.line_num}: index is "{index}"; expected the number of a class, from 0.'
                )
            if row.get("wnid") and wnids.setdefault(row["wnid"], int(index)) != int(index):
                raise ValueError(f'"{path}" gives {row["wnid"]} two indices; keep one of the lines.')
            if row.get("name"):
                names[int(index)] = row["name"]
    return wnids, names


def _read_synsets(path: str) -> dict[str, int]:
    """The tables that come with ImageNet: a wnid at the start of each line, in the order of the classes."""
    with open(path, encoding="utf-8-sig", errors="replace") as file:
        wnids = [line.split(maxsplit=1)[0] for line in file if line.strip()]
    return {wnid: index for index, wnid in enumerate(wnids)}


def _imagenet_wnids() -> dict[str, int]:
    """The wnids of ImageNet's 1000 classes, where timm is installed; else none."""
    try:
        info = importlib.import_module("timm.data").ImageNetInfo("imagenet-1k")
    except ImportError:
        return {}
    return {wnid: index for index, wnid in enumerate(info.label_names())}


def _label_files(paths: list[str], classes: _Classes) -> list[int | None]:
    """The class of each file of a flat folder, from its name; None where the name carries none."""
    stems = [os.path.splitext(os.path.basename(path))[0] for path in paths]
    wnids = [match[1] if (match := _WNID.search(stem)) else None for stem in stems]
    leads = [match if (match := _LEADING_INDEX.match(stem)) else None for stem in stems]
    # A wnid that follows an index needs no table: the index says which class it is.
    named = [
        lead is not None and wnid is not None and lead.end() == stem.find(wnid)
        for lead, wnid, stem in zip(leads, wnids, stems, strict=True)
    ]
    needed = [wnid for wnid, said in zip(wnids, named, strict=True) if wnid is not None and not said]
    if needed:
        classes.complete_wnids(needed)
    labels: list[int | None] = []
    for stem, wnid, lead, said in zip(stems, wnids, leads, named, strict=True):
        if wnid is not None:
            number = int(lead[1]) if said and lead is not None else None
            others = {classes.wnids[wnid]} if wnid in classes.wnids else set()
        else:
            number = int(lead[1]) if lead is not None else None
            others = classes.by_first_words(stem[lead.end() :] if lead is not None else stem)
        if number is not None and others and number not in others:
            raise ValueError(
                f'"{stem}" in "{classes.root}" is class {number} by its number and class {_few(sorted(others))} by its name; rename it, or '
                "correct the table of classes."
            )
        index = number if number is not None else classes.the_one(others, stem)
        labels.append(None if index is None else classes.check_index(index, stem))
    return labels


def _label_folders(folders: list[str], filled: Sequence[bool], classes: _Classes) -> tuple[list[int], bool]:
    """The class of each folder, and whether it comes from its place in the sorted order alone."""
    names = [os.path.basename(folder) for folder in folders]
    wnids = [match[1] if (match := _WNID.match(name)) else None for name in names]
    if all(wnid is not None or not full for wnid, full in zip(wnids, filled, strict=True)):
        classes.complete_wnids([wnid for wnid in wnids if wnid is not None])
        found = [-1 if wnid is None else classes.wnids[wnid] for wnid in wnids]
    elif all((name.isascii() and name.isdigit()) or not full for name, full in zip(names, filled, strict=True)):
        found = [int(name) if name.isascii() and name.isdigit() else -1 for name in names]
    elif not classes.names_known:
        return list(range(len(names))), True
    else:
        found = []
        for name, full in zip(names, filled, strict=True):
            index = classes.the_one(classes.by_name(name), name)
            if index is None and full:
                raise ValueError(
                    f'the folder "{name}" in "{classes.root}" is named after no known class; rename it to the name or the index of a '
                    "class, or, to number the folders in sorted order, give neither class_names nor a classes.csv"
                    f"{classes.suggestion(name)}"
                )
            found.append(-1 if index is None else index)
    return [classes.check_index(index, name) for index, name in zip(found, names, strict=True)], False


def _split_folder(root: str, split: str | None) -> str:
    """The folder that holds the class folders: ``root``, or a split of it."""
    present = [
        name
        for name in SPLITS
        if os.path.isdir(os.path.join(root, name))
        and any(next(_images_below(folder), None) for folder in _subfolders(os.path.join(root, name)))
    ]
    if split is not None and split not in present:
        raise ValueError(f'"{root}" has no split "{split}" with class folders in it; it has {_few(present) or "none"}.')
    if split is None and not present:
        return root
    return os.path.join(root, split or present[0])


# Many images.


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
            raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
        if operator.index(workers) < 0:
            raise ValueError(
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
            raise ValueError(
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
        >>> for name, colour in (("0_a", "red"), ("0_b", "brown"), ("2_a", "blue")):
        ...     Image.new("RGB", (20, 16), colour).save(f"{folder}/{name}.png")
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
            raise ValueError(
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
                raise ValueError(
                    f'no file name in "{folder}" carries a class ({_few([path.name for path, _ in strays], 3)}); expected names such as '
                    "0012_anything.jpg, n01532829_anything.jpg or house_finch_anything.jpg with class_names given, or one folder for each "
                    "class."
                )
        else:
            raise ValueError(
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
            raise ValueError(f'"{folder}" holds no images; expected files that end in {", ".join(sorted(ENDINGS))}.')
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
            raise ValueError(
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
            raise ValueError(f'there are no images {which} in "{self.root}"; add some, or leave out fewer classes.')
        drawn = _draw(len(files), limit, seed, f'images {which} in "{self.root}"')
        part = ImageCollection([files[i][0] for i in drawn], [files[i][1] for i in drawn], self.class_names, self.root)
        part._unreadable = self._unreadable
        return part


def _class_indices(classes: int | Iterable[int]) -> set[int]:
    if isinstance(classes, (str, bytes)):
        raise TypeError(f'classes is "{classes!r}"; expected class indices, e.g. [12, 558].')
    return {operator.index(index) for index in (classes if isinstance(classes, Iterable) else [classes])}


def _draw(count: int, limit: int | None, seed: int, what: str) -> list[int]:
    """``limit`` of ``count`` positions at random, in order; the caller's random numbers stay as they are."""
    if limit is None:
        return list(range(count))
    if limit < 1:
        raise ValueError(f"limit is {limit}; expected at least 1, or None for all {what}.")
    if limit > count:
        raise ValueError(f"there are {count} {what}, but limit asks for {limit}; lower limit, or add images.")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed)).tolist()
    return sorted(order[:limit])


# Images that come with a package.


class DigitsImages(NamedTuple):
    """
    Scans of handwritten digits.

    Attributes:
        images (Tensor): Shape (N, 1, 8, 8), float32 in [0, 1].
        labels (Tensor): Shape (N,), int64: the digits.
    """

    images: Tensor
    labels: Tensor


def digits_images(
    split: str = "held_out", classes: int | Iterable[int] | None = None, limit: int | None = None, seed: int = 0
) -> DigitsImages:
    r"""
    The scans of handwritten digits that come with scikit-learn: natural images for the model "digits".

    Every fourth scan of each digit is held out; the model "digits" is trained on the others alone. Both parts are by the same writers.

    Args:
        split (str, optional): "held_out" (445 scans), "training" (1352) or "all" (1797). Default: "held_out"
        classes (int or Iterable[int], optional): Digits; None: all. Default: None
        limit (int, optional): How many scans to draw at random, of all the classes together; None: all. Default: None
        seed (int, optional): Which draw. Default: 0

    Returns:
        DigitsImages: The images and their labels, in the order of the data set.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split or class, or there are fewer scans than ``limit``.

    Examples::

        >>> images, labels = digits_images(classes=[3], limit=10)
        >>> images.shape, labels.unique()
        (torch.Size([10, 1, 8, 8]), tensor([3]))
    """
    if split not in ("held_out", "training", "all"):
        raise ValueError(f'split is "{split}"; expected "held_out", "training" or "all".')
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ImportError(
            "the digits come with scikit-learn, which is not installed; run: pip install scikit-learn"
        ) from error
    scans = load_digits()
    images = torch.from_numpy(np.asarray(scans.images / 16, dtype=np.float32)).unsqueeze(1)
    labels = torch.from_numpy(np.asarray(scans.target, dtype=np.int64))
    place = torch.empty_like(labels)
    for digit in range(10):
        same = labels == digit
        place[same] = torch.arange(int(same.sum()))
    held_out = place % 4 == 3
    chosen = {"held_out": held_out, "training": ~held_out, "all": torch.ones_like(held_out)}[split]
    if classes is not None:
        wanted = sorted(_class_indices(classes))
        if not wanted or not set(wanted) <= set(range(10)):
            raise ValueError(f"classes is {wanted}; the digits have the classes 0 to 9.")
        chosen = chosen & torch.isin(labels, torch.tensor(wanted))
    places = chosen.nonzero().flatten()
    places = places[_draw(len(places), limit, seed, f"scans in split {split} of the classes asked for")]
    return DigitsImages(images[places], labels[places])
