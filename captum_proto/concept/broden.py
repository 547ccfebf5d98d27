"""The Broden data set of network dissection, as its authors publish it (Bau et al., CVPR 2017)."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact
from captum_proto._utils.reading import read_text, table_rows, whole_number
from captum_proto.concept.dataset import Concept, ConceptDataset, Labels
from captum_proto.concept.folder import files_digest, inside
from captum_proto.data.images import label_map, whole_image

#: Columns of index.csv that are no categories.
_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")
#: Red + 256 · green of a pixel.
_MOST_NUMBER = 2**16 - 1


class Broden(ConceptDataset):
    """
    Broden, the broadly and densely labeled data set, or one in its format.

    The folder holds ``index.csv`` with a line for each image: its file, and for each category the files of its label maps, whose pixels
    are red + 256 · green, or the numbers of labels of the whole image, separated by semicolons; ``label.csv`` with the number and name of
    each label and the categories that it has; and ``images``. A number that is used in two categories makes two concepts, as a wheel is an
    object and a part: each is counted where its own category labels it.

    Args:
        folder (str or Path): Such as ``broden1_224``.
        categories (sequence of str, optional): Which to read; images that have none of them are left out, as in the authors' own code.
            Default: None, all
        split (str, optional): "train" or "val". Default: None, both

    Raises:
        FileNotFoundError: If the folder is not there, or has no index.csv or label.csv.
        ValueError: If they are damaged, or there is no such category or split.
    """

    def __init__(
        self, folder: str | os.PathLike[str], categories: Sequence[str] | None = None, split: str | None = None
    ) -> None:
        self.folder, self.where = Path(folder), f'"{os.fspath(folder)}"'
        index, labels = _read(self.folder / "index.csv"), _read(self.folder / "label.csv")
        with intact(self.folder / "label.csv", "list of labels"):
            there = [name for name in (index[0] if index else {}) if name not in _COLUMNS]
            chosen = there if categories is None else list(categories)
            if unknown := [name for name in chosen if name not in there]:
                raise InputError(f'{self.where} has no category "{unknown[0]}"; expected some of {", ".join(there)}.')
            self.concepts, self._label = [], dict[tuple[str, int], int]()
            for row in labels:
                for category in re.findall(r"([^();]+)\(\d+\)", row["category"]):
                    if category in chosen:
                        self.concepts.append(Concept(row["name"], category))
                        number = whole_number(row["number"])
                        if number is None or number > _MOST_NUMBER:
                            raise ValueError(f"the number of a label is {row['number']!r}")
                        self._label[category, number] = len(self.concepts)
        self._check_concepts()
        with intact(self.folder / "index.csv", "list of images"):
            self._rows: list[dict[str, Any]] = []
            for row in index:
                given = {name: [part for part in row[name].split(";") if part] for name in chosen}
                if split in (None, row["split"]) and any(given.values()):
                    self._rows.append({"image": row["image"], "given": given})
        if not self._rows:
            splits = sorted({row["split"] for row in index})
            raise InputError(f"{self.where} has no images of the split {split!r}; it has {splits}.")

    def __len__(self) -> int:
        return len(self._rows)

    def image(self, index: int, size: tuple[int, int]) -> Tensor:
        return whole_image(self._path(self._rows[index]["image"]), size)

    def labels(self, index: int) -> Labels:
        found = Labels()
        for category, parts in self._rows[index]["given"].items():
            coded = self._coded(category)
            for part in parts:
                if part.isdigit():
                    number = whole_number(part)
                    known = number is not None and number < len(coded)
                    found.whole.append(self._told(int(coded[number]) if known else 0, part, index))
                    continue
                numbers = label_map(self._path(part))
                if int(numbers.max(initial=0)) >= len(coded):
                    self._told(0, str(numbers.max()), index)
                maps = coded[numbers]
                if strangers := np.unique(numbers[(maps == 0) & (numbers > 0)]).tolist():
                    self._told(0, str(strangers[0]), index)
                found.maps.append(maps)
        return found

    def _coded(self, category: str) -> Any:
        """(numbers,), int16: the label of each number in a category."""
        most = max((number for name, number in self._label if name == category), default=0)
        coded = np.zeros(most + 1, dtype=np.int16)
        for (name, number), label in self._label.items():
            if name == category:
                coded[number] = label
        return coded

    def _told(self, label: int, number: str, index: int) -> int:
        if label:
            return label
        raise InputError(
            f"{self.name(index)} of {self.where} has the label number {number}, which label.csv does not list for its category; the two do "
            "not belong together."
        )

    def _path(self, name: str) -> Path:
        return inside(self.folder / "images", name, self.where)

    def name(self, index: int) -> str:
        return str(self._rows[index]["image"])

    def digest(self) -> str:
        maps = (part for row in self._rows for parts in row["given"].values() for part in parts if not part.isdigit())
        files = [self._path(name) for name in (*(row["image"] for row in self._rows), *maps)]
        return files_digest([self.folder / "index.csv", self.folder / "label.csv"], files)


def _read(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise MissingFileError(f'there is no "{path}"; give the folder of Broden, such as broden1_224.')
    with intact(path, "table"):
        columns, rows = table_rows(read_text(path))
        return [dict.fromkeys(columns, "") | row for _, row in rows]


__all__ = ["Broden"]
