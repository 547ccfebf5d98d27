"""Data sets with annotations as COCO has them (Lin et al., arXiv:1405.0312): polygons or run lengths, boxes left out, captions."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_json
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels
from captum_proto.concept.folder import files_digest, inside
from captum_proto.data.images import MOST_PIXELS, whole_image

#: How many sides of its image a point of a polygon may lie away: lines are followed pixel by pixel.
_FAR = 8


class CocoDataset(ConceptDataset):
    """
    Images whose objects are outlined as in COCO.

    Each category of the annotations is a concept. Of instances of one concept that overlap, pixels count once; of different concepts, each
    has its pixels, in a map of its own where they overlap. Outlines are filled by pycocotools.

    Args:
        images (str or Path): The folder of images.
        annotations (str or Path): The JSON file with "images", "annotations" and "categories".
        captions (str or Path, optional): A JSON file with captions of the same images. Default: None
        category (str, optional): That the concepts are of. Default: "object"; "supercategory": that which COCO groups them by

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If one is damaged, or pycocotools is not installed.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        annotations: str | os.PathLike[str],
        captions: str | os.PathLike[str] | None = None,
        category: str = "object",
    ) -> None:
        self.folder, self.where = Path(images), f'"{os.fspath(annotations)}"'
        self._lists = [Path(path) for path in (annotations, captions) if path is not None]
        content = _read(self._lists[0])
        with intact(self._lists[0], "list of annotations"):
            self.concepts = [
                Concept(
                    str(each["name"]),
                    str(each.get("supercategory", "object")) if category == "supercategory" else category,
                )
                for each in content["categories"]
            ]
            label = {int(each["id"]): place for place, each in enumerate(content["categories"], 1)}
            self._images = [dict(each) for each in content["images"]]
            self._shapes = [_shape(each) for each in self._images]
            place = {int(each["id"]): index for index, each in enumerate(self._images)}
            self._outlines: list[list[tuple[int, Any]]] = [[] for _ in self._images]
            for each in content["annotations"]:
                for name, known, what in (("image_id", place, "image"), ("category_id", label, "category")):
                    if int(each[name]) not in known:
                        raise InputError(
                            f"{self.where} has an annotation of {what} {each[name]}, which it does not list."
                        )
                self._outlines[place[int(each["image_id"])]].append(
                    (label[int(each["category_id"])], each["segmentation"])
                )
        self._check_concepts()
        self._captions: list[list[str]] = [[] for _ in self._images]
        if captions is not None:
            with intact(self._lists[1], "list of captions"):
                for each in _read(self._lists[1])["annotations"]:
                    if int(each["image_id"]) in place:
                        self._captions[place[int(each["image_id"])]].append(str(each["caption"]))
        self._filled = _filler()

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return whole_image(self._path(index), size)

    def labels(self, index: int) -> Labels:
        shape = self._shapes[index]
        maps: list[NDArray[np.int16]] = []
        for label, outline in self._outlines[index]:
            with intact(self._lists[0], "list of annotations"):
                mask = self._filled(checked_outline(outline, shape), shape)
            if mask.shape != shape:
                raise InputError(
                    f"{self.name(index)} of {self.where} has a mask of {mask.shape[0]} x {mask.shape[1]} pixels, and is "
                    f"{shape[0]} x {shape[1]}."
                )
            free = next((each for each in maps if not (mask & (each > 0) & (each != label)).any()), None)
            if free is None:
                free = np.zeros(shape, dtype=np.int16)
                maps.append(free)
            free[mask] = label
        return Labels(maps, captions=list(self._captions[index]))

    def name(self, index: int) -> str:
        return str(self._images[index]["file_name"])

    def digest(self) -> str:
        return files_digest(self._lists, [self._path(index) for index in range(len(self))])

    def _path(self, index: int) -> Path:
        return inside(self.folder, self._images[index]["file_name"], self.where)


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise MissingFileError(f'there is no file "{path}"; give a JSON file as COCO has them.')
    with intact(path, "list of annotations"):
        content: dict[str, Any] = read_json(path)
        return content


def _shape(described: dict[str, Any]) -> tuple[int, int]:
    if "file_name" not in described:
        raise ValueError(f"an image without a file_name: {described}"[:200])
    shape = int(described["height"]), int(described["width"])
    if min(shape) < 1 or shape[0] * shape[1] > MOST_PIXELS:
        raise ValueError(f"an image of {shape[0]} x {shape[1]} pixels")
    return shape


def checked_outline(outline: Any, shape: tuple[int, int]) -> Any:
    """
    An outline, seen to be one that pycocotools fills in bounded time: its own code trusts what it is given.

    Args:
        outline: Polygons, run lengths as numbers, or as COCO packs them.
        shape (tuple[int, int]): Of the image.

    Raises:
        TypeError, ValueError: If it is none, or is of another image.
    """
    if isinstance(outline, list):
        far = _FAR * max(shape)
        for polygon in outline:
            if not isinstance(polygon, list) or len(polygon) < 6 or len(polygon) % 2:
                raise ValueError("a polygon is no list of three points or more, two numbers each")
            if not all(isinstance(at, (int, float)) and -far <= at <= far for at in polygon):
                raise ValueError(
                    f"a polygon has a point further than {far} pixels away, or something that is no number"
                )
        return outline
    if not isinstance(outline, dict) or [int(side) for side in outline["size"]] != list(shape):
        raise ValueError(f"a mask is not of the {shape[0]} x {shape[1]} pixels of its image")
    counts = outline["counts"]
    if isinstance(counts, list):
        if not all(isinstance(run, int) and run >= 0 for run in counts) or sum(counts) != shape[0] * shape[1]:
            raise ValueError("the run lengths of a mask do not add up to its pixels")
    elif not isinstance(counts, str) or not counts.isascii() or "\0" in counts:
        raise ValueError("the run lengths of a mask are neither numbers nor packed by COCO")
    return {"size": list(shape), "counts": counts}


def _filler() -> Any:
    """A function that fills an outline: polygons, run lengths as numbers, or as COCO packs them."""
    try:
        masks = importlib.import_module("pycocotools.mask")
    except ImportError as error:
        raise InputError("outlines as COCO has them need pycocotools; install it: pip install pycocotools") from error

    def filled(outline: Any, shape: tuple[int, int]) -> NDArray[np.bool_]:
        if isinstance(outline, list):
            if not outline:
                return np.zeros(shape, dtype=bool)
            packed = masks.merge(masks.frPyObjects(outline, *shape))
        else:
            packed = masks.frPyObjects(outline, *shape) if isinstance(outline["counts"], list) else outline
        mask: NDArray[np.bool_] = masks.decode(packed).astype(bool)
        return mask

    return filled


__all__ = ["CocoDataset"]
