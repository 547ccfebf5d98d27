"""Concept data sets in a folder: one JSON file that lists concepts and images, and beside it images and label maps as PNG."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.errors import InputError, MissingFileError, OccupiedError
from captum_proto._utils.files import intact, sha256, whole_file
from captum_proto._utils.reading import read_json
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels, concepts_json, digest_of
from captum_proto.data.images import label_map, whole_image

LISTED = "concepts.json"
#: What an entry of an image may hold.
_FIELDS = ("image", "maps", "whole", "captions")


class ConceptFolder(ConceptDataset):
    """
    A concept data set in our own format.

    The folder holds ``concepts.json``: ::

        {"concepts": [{"name": "dog", "category": "object"}, {"name": "red", "category": "color"}],
         "images": [{"image": "images/0.png", "maps": ["labels/0.png"], "whole": [2], "captions": ["a dog"]}]}

    A label is the place of its concept in the list, from 1 on; 0 is none. Label maps are PNG of 8 or 16 bits, of one channel, of any size:
    one stands for the whole image, however large that is. ``maps``, ``whole`` and ``captions`` may be left out. Paths are relative to the
    folder. The JSON file is written last, so a folder without one is not finished.

    Args:
        folder (str or Path): With ``concepts.json``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or names what is not there.

    Examples::

        >>> import tempfile
        >>> from captum_proto.testing import ShapeDataset
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_concept_folder(ShapeDataset(3, size=32), folder, (32, 32))
        ...     dataset = ConceptFolder(folder)
        ...     len(dataset), dataset.image(0, (32, 32)).shape
        (3, torch.Size([3, 32, 32]))
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder, self.where = Path(folder), f'"{os.fspath(folder)}"'
        path = self.folder / LISTED
        if not path.is_file():
            held = "is there, but holds no" if self.folder.is_dir() else "is not there, nor its"
            raise MissingFileError(
                f"{self.where} {held} {LISTED}: it is no concept data set, or was not written to its end; write it anew."
            )
        with intact(path, "list of concepts"):
            content = read_json(path)
            self.concepts = [Concept(str(each["name"]), str(each["category"])) for each in content["concepts"]]
            self._entries: list[dict[str, Any]] = [dict(each) for each in content["images"]]
            for entry in self._entries:
                if unknown := [name for name in entry if name not in _FIELDS]:
                    raise InputError(f'an image of {path} has "{unknown[0]}"; expected some of {", ".join(_FIELDS)}.')
                for name in (entry["image"], *entry.get("maps", ())):
                    inside(self.folder, name, self.where)
        self._check_concepts()

    def __len__(self) -> int:
        return len(self._entries)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return whole_image(self.folder / self._entries[index]["image"], size)

    def labels(self, index: int) -> Labels:
        entry = self._entries[index]
        maps = [label_map(self.folder / name) for name in entry.get("maps", ())]
        for each in maps:
            self._check_labels(index, int(each.min(initial=0)), int(each.max(initial=0)), len(self.concepts))
        whole = [int(label) for label in entry.get("whole", ())]
        return Labels(
            [each.astype(np.int16) for each in maps], whole, [str(text) for text in entry.get("captions", ())]
        )

    def name(self, index: int) -> str:
        return str(self._entries[index]["image"])

    def digest(self) -> str:
        return files_digest([self.folder / LISTED], self._files())

    def _files(self) -> list[Path]:
        return [self.folder / name for entry in self._entries for name in (entry["image"], *entry.get("maps", ()))]


def inside(folder: Path, name: Any, where: str) -> Path:
    """
    A file that a list names, which has to lie in the folder of the data set.

    Args:
        folder (Path): Where it has to lie.
        name (str): As the list has it.
        where (str): What the data set is called, for the message.

    Raises:
        InputError: If it is no name of a file, or leads out of the folder.
    """
    parts = PurePosixPath(name) if isinstance(name, str) and "\0" not in name else None
    if parts is None or parts.is_absolute() or ".." in parts.parts or PureWindowsPath(name).drive:
        raise InputError(f'{where} names "{name}", which is not in it; expected paths relative to the folder.')
    return folder / name


def files_digest(lists: Sequence[Path], files: Iterable[Path]) -> str:
    """A SHA-256 sum of the content of some files, and of the names and sizes of many; one that is missing has none."""
    sizes = [[path.name, path.stat().st_size if path.is_file() else -1] for path in files]
    return digest_of([[sha256(path) for path in lists], sizes])


def write_concept_folder(
    dataset: ConceptDataset,
    folder: str | os.PathLike[str],
    size: tuple[int, int],
    overwrite: bool = False,
    show_progress: bool = False,
) -> None:
    """
    Write a concept data set to a folder that :class:`ConceptFolder` reads.

    Args:
        dataset (ConceptDataset): Of any kind.
        folder (str or Path): Where to. A list of concepts that is there goes first, so that a folder half written has none.
        size (tuple[int, int]): Of the images. Label maps keep theirs.
        overwrite (bool, optional): Whether a data set that is there may be replaced. Default: False
        show_progress (bool, optional): Whether to show a progress bar. Default: False

    Raises:
        FileExistsError: If there is one, and ``overwrite`` is False.
        OSError: If it cannot be written.
    """
    out = Path(folder)
    listed = out / LISTED
    if listed.exists() and not overwrite:
        raise OccupiedError(f'"{out}" holds a concept data set; choose another folder or pass overwrite=True.')
    listed.unlink(missing_ok=True)
    images: list[dict[str, Any]] = []
    for index in tqdm(range(len(dataset)), desc="concepts", unit="image", disable=not show_progress):
        labels = dataset.checked_labels(index)
        entry: dict[str, Any] = {"image": f"images/{index:06d}.png"}
        pixels = dataset.image(index, size).mul(255).round().byte().permute(1, 2, 0).numpy()
        _write_png(out / entry["image"], pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        entry["maps"] = [f"labels/{index:06d}_{place}.png" for place in range(len(labels.maps))]
        for name, each in zip(entry["maps"], labels.maps, strict=True):
            _write_png(out / name, each.astype(np.uint16))
        images.append(entry | {"whole": labels.whole, "captions": labels.captions})
    _write_list(listed, dataset.concepts, images)


def _write_png(path: Path, values: Any) -> None:
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(values).save(temporary, format="png")


def _write_list(path: Path, concepts: Sequence[Concept], images: Sequence[dict[str, Any]]) -> None:
    content = {
        "concepts": [dict(zip(("name", "category"), each, strict=True)) for each in concepts_json(concepts)],
        "images": list(images),
    }
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


__all__ = ["LISTED", "ConceptFolder", "files_digest", "write_concept_folder"]
