"""ADE20K (Zhou et al., arXiv:1608.05442), in the two layouts in which its authors publish it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels
from captum_proto.concept.folder import files_digest
from captum_proto.data.images import decoded, label_map, whole_image

_OBJECTS, _SCENES, _INDEX = "objectInfo150.txt", "sceneCategories.txt", "index_ade20k.mat"
_OBJECT, _PART, _SCENE = "object", "part", "scene"


class ADE20K(ConceptDataset):
    """
    ADE20K: objects, their parts, and scenes.

    Two layouts are read. That of the scene parsing benchmark (``ADEChallengeData2016``) has ``images/SPLIT/NAME.jpg``,
    ``annotations/SPLIT/NAME.png`` with the numbers of 150 objects, ``objectInfo150.txt`` and ``sceneCategories.txt``. That of the full data
    set (``ADE20K_2016_07_26``) has ``index_ade20k.mat`` with the names of all objects and scenes, and beside each image ``NAME_seg.png``,
    ``NAME_parts_1.png`` and so on, whose pixels are objects and parts, coded as 256 · (red // 10) + green. Of synonyms the first is the
    name; a name that several numbers have is one concept.

    Args:
        folder (str or Path): Of either layout.
        split (str, optional): "training" or "validation". Default: "validation"

    Raises:
        FileNotFoundError: If there is no such folder, or what belongs to it is missing.
        ValueError: If a list in it is damaged.
    """

    def __init__(self, folder: str | os.PathLike[str], split: str = "validation") -> None:
        self.folder, self.where = Path(folder), f'"{os.fspath(folder)}"'
        self._full = (self.folder / _INDEX).is_file()
        if not self._full and not (self.folder / _OBJECTS).is_file():
            raise MissingFileError(
                f"{self.where} holds neither {_OBJECTS}, as ADEChallengeData2016 does, nor {_INDEX}, as the full data set does."
            )
        root = self.folder / "images" / split
        self._images = sorted(root.rglob("*.jpg"))
        if not self._images:
            raise MissingFileError(
                f'{self.where} has no images in "images/{split}"; expected the split "training" or "validation".'
            )
        names, scenes = self._of_full() if self._full else self._of_challenge()
        self._scene = {image.stem: scenes[image.stem] for image in self._images if image.stem in scenes}
        found: dict[Concept, int] = {}
        self._coded: dict[str, NDArray[np.int16]] = {}
        for category in (_OBJECT, _PART) if self._full else (_OBJECT,):
            coded = np.zeros(len(names) + 1, dtype=np.int16)
            for number, name in enumerate(names, 1):
                coded[number] = found.setdefault(Concept(name, category), len(found) + 1)
            self._coded[category] = coded
        self._scene_label = {
            name: found.setdefault(Concept(name, _SCENE), len(found) + 1) for name in sorted(set(self._scene.values()))
        }
        self.concepts = list(found)
        self._check_concepts()

    def _of_challenge(self) -> tuple[list[str], dict[str, str]]:
        """The names of objects, by number from 1 on, and the scene of each image."""
        with intact(self.folder / _OBJECTS, "list of objects"):
            lines = (self.folder / _OBJECTS).read_text(encoding="utf-8").splitlines()[1:]
            rows = {int(line.split("\t")[0]): line.rstrip().split("\t")[-1] for line in lines if line.strip()}
            names = [_first(rows[number]) for number in range(1, len(rows) + 1)]
        path, scenes = self.folder / _SCENES, dict[str, str]()
        if path.is_file():
            with intact(path, "list of scenes"):
                scenes = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
        return names, scenes

    def _of_full(self) -> tuple[list[str], dict[str, str]]:
        with intact(self.folder / _INDEX, "index"):
            index: Any = loadmat(self.folder / _INDEX, simplify_cells=True)["index"]
            files, scenes = ([str(each) for each in np.atleast_1d(index[key])] for key in ("filename", "scene"))
            names = [_first(str(each)) for each in np.atleast_1d(index["objectnames"])]
            return names, {Path(file).stem: scene for file, scene in zip(files, scenes, strict=True)}

    def __len__(self) -> int:
        return len(self._images)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return whole_image(self._images[index], size)

    def labels(self, index: int) -> Labels:
        image = self._images[index]
        scene = self._scene.get(image.stem)
        found = Labels(whole=[] if scene is None else [self._scene_label[scene]])
        for category, path in self._maps_of(image):
            numbers, coded = _ten_by_ten(path) if self._full else label_map(path), self._coded[category]
            if int(numbers.max(initial=0)) >= len(coded):
                raise InputError(
                    f"{path.name} of {self.where} has the object {numbers.max()}; there are {len(coded) - 1} of them."
                )
            found.maps.append(coded[numbers])
        return found

    def _maps_of(self, image: Path) -> list[tuple[str, Path]]:
        """The label maps of an image, each with its category."""
        if not self._full:
            inside = image.relative_to(self.folder / "images").with_suffix(".png")
            return [(_OBJECT, self.folder / "annotations" / inside)]
        parts = sorted(image.parent.glob(f"{image.stem}_parts_*.png"))
        return [(_OBJECT, image.with_name(f"{image.stem}_seg.png")), *((_PART, path) for path in parts)]

    def name(self, index: int) -> str:
        return self._images[index].name

    def digest(self) -> str:
        lists = [self.folder / name for name in (_OBJECTS, _SCENES, _INDEX) if (self.folder / name).is_file()]
        maps = [path for image in self._images for _, path in self._maps_of(image)]
        return files_digest(lists, [*self._images, *maps])


def _first(names: str) -> str:
    """Of names that mean the same, the first."""
    return names.split(",")[0].strip()


def _ten_by_ten(path: Path) -> NDArray[np.int64]:
    """The numbers of objects in a map of the full data set."""
    with decoded(path) as file:
        values = np.asarray(file.convert("RGB")).astype(np.int64)
    return values[:, :, 0] // 10 * 256 + values[:, :, 1]


__all__ = ["ADE20K"]
