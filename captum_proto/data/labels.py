"""Which class a file or a folder of images is of."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

from captum_proto._utils.checks import nearest
from captum_proto._utils.class_names import NumberedClasses, number_in
from captum_proto._utils.errors import InputError, MissingFileError, NotAFolderError
from captum_proto._utils.reading import whole_number
from captum_proto._utils.spellings import normalized
from captum_proto.data.class_tables import imagenet_wnids, read_classes, read_synsets, read_table
from captum_proto.data.images import is_image_name

#: Subfolders that hold a split of a data set, the preferred one first.
SPLITS = ("val", "validation", "test", "train")
#: ImageNet's identifier of a class, the WordNet identifier of its synset.
_WNID = re.compile(r"(?:^|[_\-. ])(n\d{8})(?=$|[_\-. ])")
#: How a table of classes is given.
_TABLE = (
    "put a classes.csv with the columns index,wnid,name beside the images, or pass such a table with --class-table FILE (in Python: "
    "class_table)"
)
_LEADING_INDEX = re.compile(r"(\d+)[_\-. ]+(?=\S)")


#: Whether links out of a folder of images are followed where nothing else is said.
_followed: ContextVar[bool] = ContextVar("captum_proto links followed", default=False)
#: Why an image or a folder of them is left out.
LEADS_OUT = "it is a link that leads out of the folder; follow_links=True or captum-proto --follow-links follows it"


@contextmanager
def following_links(followed: bool) -> Iterator[None]:
    """
    Say for the length of a ``with`` block whether links that lead out of a folder of images are followed where nothing else is said.

    Args:
        followed (bool): Whether they are.
    """
    token = _followed.set(followed)
    try:
        yield
    finally:
        _followed.reset(token)


class Links:
    """
    The links in a folder of images, and whether they may be followed.

    A folder that someone else packed may hold a link to anything that its reader may read: pictures of a home folder would come to stand
    in a page of results. So a link is followed where it leads to a place within the folder, and out of it only if that is asked for.

    Args:
        root (str): The folder.
        followed (bool, optional): Whether links out of it are followed. Default: None, as
            :func:`following_links` says, and else they are not
    """

    def __init__(self, root: str, followed: bool | None = None) -> None:
        self.followed = _followed.get() if followed is None else followed
        self._root = Path(os.path.realpath(root))

    def lead_out(self, path: str) -> bool:
        """Whether a path is a link that leads out of the folder and is not to be followed. One that leads nowhere at all is not."""
        if self.followed or not os.path.islink(path):
            return False
        target = os.path.realpath(path)
        return os.path.exists(target) and not Path(target).is_relative_to(self._root)


class LabeledFiles(NamedTuple):
    """
    Image files and the classes they are of.

    Attributes:
        files (list[tuple[str, int]]): Path and class index of each, ordered by class and path.
        class_names (list[str], optional): Names of all classes, where they are known.
        strays (list[tuple[Path, str]]): Images of no known class, each with the reason.
    """

    files: list[tuple[str, int]]
    class_names: list[str] | None
    strays: list[tuple[Path, str]]


def label_files(
    folder: str,
    class_names: Sequence[str] | None,
    wnids: Sequence[str] | None,
    split: str | None,
    class_table: str | None = None,
    follow_links: bool | None = None,
) -> LabeledFiles:
    """
    Find the images in a folder and the class of each, as :meth:`ImageCollection.discover` describes it.

    Raises:
        InputError: If there are no images, or it is not clear which classes they are of.
    """
    links = Links(folder, follow_links)
    top = _split_folder(folder, split, links)
    beside = [top, folder] if top != folder else [folder]
    if top == folder and os.path.basename(os.path.abspath(folder)) in SPLITS:
        beside.append(os.path.dirname(os.path.abspath(folder)))
    classes = _Classes(beside, class_names, wnids, folder, class_table)
    names = classes.model_names or classes.table_names
    outside: list[str] = []
    subfolders = _subfolders(top, links, outside)
    images_of = [list(images_below(subfolder, links, outside)) for subfolder in subfolders]
    loose = [entry.path for entry in _visible(top) if _is_image(entry.name) and _is_file(entry)]
    outside += [path for path in loose if links.lead_out(path)]
    loose = [path for path in loose if not links.lead_out(path)]
    filled = [bool(images) for images in images_of]
    if any(filled) and not (loose and _only_files_are_labeled(subfolders, filled, loose, classes)):
        labels, by_order = _classes_of_folders(subfolders, filled, classes)
        labeled = [(label, path) for label, images in zip(labels, images_of, strict=True) for path in images]
        strays = [(Path(path), "it lies beside the class folders, not in one") for path in loose]
        names = [os.path.basename(subfolder) for subfolder in subfolders] if by_order else names
    elif loose:
        found = list(zip(_classes_of_files(loose, classes), loose, strict=True))
        labeled = [(label, path) for label, path in found if label is not None]
        strays = [(Path(path), "its name carries no class") for label, path in found if label is None]
        deeper = [path for images in images_of for path in images]
        strays += [(Path(path), "it lies in a folder that no class is called after") for path in deeper]
        if not labeled:
            raise InputError(
                f'no file name in "{folder}" carries a class ({few([path.name for path, _ in strays], 3)}); expected names such as '
                "0012_anything.jpg, n01532829_anything.jpg or house_finch_anything.jpg with class_names given, or one folder for each "
                "class."
            )
    elif outside:
        raise InputError(
            f'"{folder}" holds no images of its own, but {len(outside)} links that lead out of it, such as '
            f'"{os.path.basename(outside[0])}"; if you trust them, pass follow_links=True (captum-proto --follow-links COMMAND).'
        )
    else:
        raise InputError(
            f'"{folder}" holds no images; expected one folder for each class, or files named by class, that end in .jpeg, .png or as any '
            "other format that Pillow reads."
        )
    strays += [(Path(path), LEADS_OUT) for path in outside]
    return LabeledFiles([(path, label) for label, path in sorted(labeled)], names, strays)


def existing_folder(root: str | os.PathLike[str]) -> str:
    """
    The path of a folder of images, as text.

    Raises:
        MissingFileError: If there is no such folder.
        NotAFolderError: If it is a file.
    """
    folder = os.fspath(root)
    if not os.path.exists(folder):
        raise MissingFileError(f'there is no folder "{folder}"; give the folder that holds the images.')
    if not os.path.isdir(folder):
        raise NotAFolderError(f'"{folder}" is a file; give the folder that holds the images.')
    return folder


def images_below(folder: str, links: Links | None = None, outside: list[str] | None = None) -> Iterator[str]:
    """
    The image files in a folder and in the folders within it, but for hidden ones, in a fixed order.

    Args:
        folder (str): Where to look. Folders within it that are links are passed over.
        links (Links, optional): Of the folder that the images are given as. Default: None, the links of ``folder``
        outside (list[str], optional): Grows by those that are links out of that folder, and are left out. Default: None
    """
    links = Links(folder) if links is None else links
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (os.path.join(parent, name) for name in sorted(files) if _is_image(name)):
            if not links.lead_out(path):
                yield path
            elif outside is not None:
                outside.append(path)


def few(items: Iterable[Any], limit: int = 10) -> str:
    """The first items, for a message, and how many there are in all."""
    shown = [str(item) for item in items]
    more = f", ... ({len(shown)} in all)" if len(shown) > limit else ""
    return ", ".join(shown[:limit]) + more


def _is_image(name: str) -> bool:
    return not name.startswith(".") and is_image_name(name)


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a file, or a link that leads nowhere: reading says so, and it is counted as skipped."""
    return (entry.is_symlink() and not os.path.exists(entry.path)) or entry.is_file()


def _visible(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith((".", "__"))), key=lambda e: e.name)


def _subfolders(folder: str, links: Links, outside: list[str] | None = None) -> list[str]:
    """
    The folders in a folder, but for links that lead nowhere, back to it or to a folder above it: these hold no class.

    ``outside`` grows by those that are links out of the folder that the images are given as, and are left out.
    """
    here = Path(os.path.realpath(folder))

    def holds_a_class(entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return entry.is_dir()
        return os.path.isdir(entry.path) and not here.is_relative_to(os.path.realpath(entry.path))

    found = [entry.path for entry in _visible(folder) if holds_a_class(entry)]
    if outside is not None:
        outside += [path for path in found if links.lead_out(path)]
    return [path for path in found if not links.lead_out(path)]


def _split_folder(root: str, split: str | None, links: Links) -> str:
    """The folder that holds the class folders: ``root``, or a split of it."""
    present = [
        name
        for name in SPLITS
        if os.path.isdir(os.path.join(root, name))
        and not links.lead_out(os.path.join(root, name))
        and any(next(images_below(folder, links), None) for folder in _subfolders(os.path.join(root, name), links))
    ]
    if split is not None and split not in present:
        raise InputError(f'"{root}" has no split "{split}" with class folders in it; it has {few(present) or "none"}.')
    if split is None and not present:
        return root
    return os.path.join(root, split or present[0])


class _Classes:
    """The classes' names and wnids: those of the model, and those in tables that lie beside the images."""

    def __init__(
        self,
        folders: Sequence[str],
        class_names: Sequence[str] | None,
        wnids: Sequence[str] | None,
        root: str,
        class_table: str | None = None,
    ) -> None:
        self.root = root
        self.model_names = None if class_names is None else [str(name) for name in class_names]
        self.wnids: dict[str, int] = {}
        self.source = "wnids"
        table_names: dict[int, str] = {}
        if wnids is not None:
            self.wnids = {wnid: index for index, wnid in enumerate(wnids)}
            if len(self.wnids) != len(wnids):
                raise InputError(
                    "wnids holds a wnid twice; expected one wnid for each class, in the order of the classes."
                )
        if class_table is not None:
            found, table_names = read_table(class_table)
            if not self.wnids:
                self.wnids, self.source = found, class_table
        for folder in folders if class_table is None else ():
            table = os.path.join(folder, "classes.csv")
            if os.path.isfile(table):
                found, table_names = read_classes(table)
                if not self.wnids:
                    self.wnids, self.source = found, table
                break
            for name in ("LOC_synset_mapping.txt", "synset_words.txt"):
                table = os.path.join(folder, name)
                if not self.wnids and os.path.isfile(table):
                    self.wnids, self.source = read_synsets(table), table
        self.table_names: list[str] | None = None
        if table_names and sorted(table_names) == list(range(len(table_names))):
            self.table_names = [table_names[index] for index in range(len(table_names))]
        self._index_of: dict[str, set[int]] = {}
        self._add_names(dict(enumerate(self.model_names or ())))
        self._add_names(table_names)
        self.numbers = NumberedClasses(self.model_names or self.table_names or ())

    def _add_names(self, names: dict[int, str]) -> None:
        new: dict[str, set[int]] = {}
        for index, name in names.items():
            for spelling in {normalized(name), *(normalized(part) for part in name.split(","))} - {""}:
                new.setdefault(spelling, set()).add(index)
        for spelling, indices in new.items():
            self._index_of.setdefault(spelling, indices)

    @property
    def names_known(self) -> bool:
        return bool(self._index_of)

    def by_name(self, name: str) -> set[int]:
        """The classes of this name; several classes may share a name."""
        return self._index_of.get(normalized(name), set())

    def by_first_words(self, text: str) -> set[int]:
        """The classes whose name ``text`` begins with; of several names the longest. Digits alone do not count as a name."""
        words = normalized(text).split(" ")
        for count in range(len(words), 0, -1):
            name = " ".join(words[:count])
            if (found := self.by_name(name)) and any(letter.isalpha() for letter in name):
                return found
        return set()

    def only(self, indices: set[int], where: str) -> int | None:
        """The only one of some classes, or None where there are none."""
        if len(indices) > 1:
            raise InputError(
                f'"{where}" in "{self.root}" names the classes {few(sorted(indices))} alike; use the index of the class for its name.'
            )
        return next(iter(indices), None)

    def suggestion(self, name: str) -> str:
        return nearest(normalized(name), self._index_of) or "."

    def check_index(self, index: int, where: str) -> int:
        """The index, if the model has so many classes."""
        count = None if self.model_names is None else len(self.model_names)
        if count is not None and index >= count:
            raise InputError(
                f'"{where}" in "{self.root}" stands for class {index}, but the model has {count} classes, 0 to {count - 1}; rename it, or '
                "use the model that these images are for."
            )
        return index

    def by_number(self, number: int, where: str) -> int:
        """The class that a number stands for: the one of that name where classes are named by numbers, else the one of that index."""
        try:
            return self.numbers.index_of(number)
        except InputError as error:
            raise InputError(f'"{where}" in "{self.root}" cannot be told: {error}') from error

    def complete_wnids(self, found: Iterable[str]) -> None:
        """Give each wnid that was found an index, from a table, the sorted order or ImageNet's; raise where none says it."""
        present = sorted(set(found))
        if not self.wnids:
            expected = 1000 if self.model_names is None else len(self.model_names)
            if len(present) == expected:
                self.wnids, self.source = {wnid: index for index, wnid in enumerate(present)}, "the sorted wnids"
            elif expected == 1000 and self.model_names is not None:
                self.wnids = {wnid: index for index, wnid in enumerate(imagenet_wnids())}
                self.source = "the list of ImageNet's 1000 classes"
        unknown = [wnid for wnid in present if wnid not in self.wnids]
        if unknown and self.wnids:
            raise InputError(
                f'"{self.root}" names {few(unknown, 5)}, which {self.source} does not list; remove them, or {_TABLE}.'
            )
        if unknown:
            count = "" if self.model_names is None else f" of the model's {len(self.model_names)} classes"
            raise InputError(
                f'"{self.root}" names {len(present)}{count} by wnid ({few(present, 3)}), and nothing says which class is which; '
                f"{_TABLE}."
            )


class _FileName(NamedTuple):
    """What the name of an image file says of its class: a number at its start, a wnid, words."""

    stem: str
    number: int | None
    wnid: str | None
    words: str

    @classmethod
    def parse(cls, path: str) -> _FileName:
        stem = os.path.splitext(os.path.basename(path))[0]
        lead, wnid = _LEADING_INDEX.match(stem), _WNID.search(stem)
        if wnid is not None and lead is not None and lead.end() != wnid.start(1):
            lead = None  # a number elsewhere than right before the wnid is any number, not a class
        return cls(
            stem,
            None if lead is None else whole_number(lead[1]),
            None if wnid is None else wnid[1],
            stem if lead is None else stem[lead.end() :],
        )


def _classes_of_files(paths: list[str], classes: _Classes) -> list[int | None]:
    """The class of each file of a flat folder, from its name; None where the name carries none."""
    names = [_FileName.parse(path) for path in paths]
    # A wnid that follows an index needs no table: the index says which class it is.
    if needed := [name.wnid for name in names if name.wnid is not None and name.number is None]:
        classes.complete_wnids(needed)
    labels: list[int | None] = []
    for name in names:
        if name.wnid is None:
            others = classes.by_first_words(name.words)
        else:
            others = {classes.wnids[name.wnid]} if name.wnid in classes.wnids else set()
        number = None if name.number is None else classes.by_number(name.number, name.stem)
        if number is not None and others and number not in others:
            raise InputError(
                f'"{name.stem}" in "{classes.root}" is class {number} by its number and class {few(sorted(others))} by its name; '
                "rename it, or correct the table of classes."
            )
        index = number if number is not None else classes.only(others, name.stem)
        labels.append(None if index is None else classes.check_index(index, name.stem))
    return labels


def _only_files_are_labeled(
    folders: Sequence[str], filled: Sequence[bool], files: Sequence[str], classes: _Classes
) -> bool:
    """Whether the names of files in a folder carry classes, and those of the folders beside them do not."""
    of_folders = [os.path.basename(folder) for folder, full in zip(folders, filled, strict=True) if full]
    if any(_WNID.match(name) or number_in(name) is not None or classes.by_name(name) for name in of_folders):
        return False
    names = [_FileName.parse(path) for path in files]
    return any(name.number is not None or name.wnid or classes.by_first_words(name.words) for name in names)


def _classes_of_folders(folders: list[str], filled: Sequence[bool], classes: _Classes) -> tuple[list[int], bool]:
    """The class of each folder, and whether the sorted order alone says so."""
    names = [os.path.basename(folder) for folder in folders]
    wnids = [match[1] if (match := _WNID.match(name)) else None for name in names]
    if all(wnid is not None or not full for wnid, full in zip(wnids, filled, strict=True)):
        classes.complete_wnids([wnid for wnid in wnids if wnid is not None])
        found = [-1 if wnid is None else classes.wnids[wnid] for wnid in wnids]
    elif all(number_in(name) is not None or not full for name, full in zip(names, filled, strict=True)):
        numbers = [number_in(name) if full else None for name, full in zip(names, filled, strict=True)]
        found = [
            -1 if number is None else classes.by_number(number, name)
            for number, name in zip(numbers, names, strict=True)
        ]
    elif not classes.names_known:
        return list(range(len(names))), True
    else:
        found = []
        for name, full in zip(names, filled, strict=True):
            index = classes.only(classes.by_name(name), name)
            if index is None and full:
                raise InputError(
                    f'the folder "{name}" in "{classes.root}" is named after no known class; rename it to the name or the index of a '
                    "class, or, to number the folders in sorted order, give neither class_names nor a classes.csv"
                    f"{classes.suggestion(name)}"
                )
            found.append(-1 if index is None else index)
    return [classes.check_index(index, name) for index, name in zip(found, names, strict=True)], False
