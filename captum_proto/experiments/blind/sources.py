"""The pictures of a blind test: where they are, which class each is of, and how it was made."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import model_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.spellings import ClassSpellings, normalized
from captum_proto.data import ImageCollection
from captum_proto.data.class_tables import read_table as read_class_table
from captum_proto.data.images import is_image_name
from captum_proto.data.labels import existing_folder, images_below
from captum_proto.experiments.blind.classes import ClassList, as_shown, read_table, told_apart
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings

#: A table of classes that may lie beside images.
_TABLE = "classes.csv"
#: What pictures are called whose method nothing tells.
PROTOTYPE, PICTURE = "prototype", "picture"
_WNID = re.compile(r"n\d{8}")
#: What a file's name has around the words for its class: an index before them, a seed or a count behind them.
_BEFORE, _BEHIND = re.compile(r"^\d+(?=$|[_\-. ])"), re.compile(r"([_\-. ]seed)?[_\-. ]*\d+$")


@dataclass(frozen=True)
class Source:
    """
    A picture, as it was found.

    Args:
        path (Path): The file.
        label (str): The name of its class; empty where it is of none.
        method (str): How it was made.
        choices (tuple[str, ...]): What may be answered to this picture, its class among them. Default: none, all names of the form
    """

    path: Path
    label: str
    method: str
    choices: tuple[str, ...] = ()


def find_sources(
    folder: Path, *, labels: Path | None = None, class_table: Path | None = None, by_method: bool = False
) -> list[Source]:
    """
    The pictures in a folder: what a run of generate, evaluate or quality wrote, or any images whose folders or names tell classes.

    Args:
        folder (Path): Of a run, or of images: a folder for each class, or files named by class.
        labels (Path, optional): A table that says which class each picture is of, instead: CSV with the columns picture, a path within the
            folder, and class, and method where there are several. Pictures that it does not name are left out. Default: None
        class_table (Path, optional): Which class a wnid or an index in the names of images is. Default: None, a classes.csv beside them
            if there is one
        by_method (bool, optional): Whether the folders in ``folder`` are methods, with images by class in each. Default: False

    Returns:
        list[Source]: Every picture with its class and method.

    Raises:
        MissingFileError, NotAFolderError: If there is no such folder or table.
        InputError: If there are no pictures, or nothing says which class they are of.
    """
    existing_folder(folder)
    if labels is not None:
        return _listed(folder, labels)
    if by_method:
        if (folder / SETTINGS).is_file():
            raise InputError(f'"{folder}" is a run, which tells its methods itself; leave --by-method out.')
        methods = sorted(each for each in folder.iterdir() if each.is_dir() and any(images_below(str(each))))
        if not methods:
            raise InputError(f'"{folder}" holds no folders with images; expected one for each method.')
        return [one for each in methods for one in _images_by_class(each, each.name, class_table)]
    if not (folder / SETTINGS).is_file():
        return _images_by_class(folder, PICTURE, class_table)
    settings = read_settings(folder)
    command = settings.get("command")
    if command == "visualize":
        raise InputError(
            f'"{folder}" holds pictures of units, and nothing says what they are to be called; give a table of this with --labels FILE.'
        )
    if command not in _OF_RUNS:
        raise InputError(
            f'"{folder}" holds the results of captum-proto {command}; give a run of {", ".join(_OF_RUNS)}, a folder of images, or '
            "a table of the pictures with --labels FILE."
        )
    found = _OF_RUNS[str(command)](folder, settings)
    if not found:
        raise InputError(f'no picture in "{folder}" is finished yet; go on with captum-proto {command} --resume.')
    return found


def included_sources(folder: Path, method: str, classes: ClassList, class_table: Path | None = None) -> list[Source]:
    """
    Pictures to mix in under a name of their own: images by class, or of no class, such as noise.

    Args:
        folder (Path): A folder for each class, or files that may be named by class.
        method (str): What they are called.
        classes (ClassList): The classes that the names of loose files are looked up in.
        class_table (Path, optional): Which class a wnid or an index in their names is. Default: None

    Returns:
        list[Source]: Loose files whose names are of no class have none.
    """
    existing_folder(folder)
    if _in_folders(folder):
        return _images_by_class(folder, method, class_table)
    spellings = ClassSpellings(classes.names)
    found = _images_by_class(folder, method, class_table)
    return [one if spellings.find(one.label) else replace(one, label="") for one in found]


def with_names_of(sources: Sequence[Source], names: Sequence[str], where: str) -> list[Source]:
    """
    The same pictures, their classes called as in a list of names.

    Raises:
        InputError: If a class is not in the list, or two classes of the list share its name.
    """
    spellings = ClassSpellings(names)
    called: dict[str, str] = {"": ""}
    for label in dict.fromkeys(one.label for one in sources if one.label):
        found = spellings.find(label)
        if len(found) > 1 and as_shown(label) in names:
            found = (list(names).index(as_shown(label)),)
        if len(found) != 1:
            near = spellings.nearest(label, 1)
            hint = f'did you mean "{near[0]}"?' if near else "add it, or rename the pictures."
            why = "is the name of several classes" if found else "is not there"
            raise InputError(f'there are pictures of "{label}", which {why} in {where}; {hint}')
        called[label] = spellings.names[found[0]]
    return [replace(one, label=called[one.label]) for one in sources]


def different_names(labels: Iterable[str]) -> list[str]:
    """The names of classes without those that another one stands for as well: "goldfish" beside "goldfish, Carassius auratus"."""
    found: dict[str, str] = {}
    for label in sorted(dict.fromkeys(map(as_shown, labels)), key=lambda label: (-label.count(","), label)):
        if label and normalized(label) not in found:
            for spelling in (label, *label.split(",")):
                found.setdefault(normalized(spelling), label)
    return list(dict.fromkeys(found.values()))


def _listed(folder: Path, labels: Path) -> list[Source]:
    found = []
    for row in read_table(labels, ["picture", "class"], ["method"], "which class each picture is of"):
        path = folder / row["picture"]
        if not row["picture"] or not path.is_file():
            raise InputError(
                f'"{labels}", line {row["line"]}: there is no picture "{path}"; give paths within "{folder}".'
            )
        found.append(Source(path, row["class"], row["method"] or PICTURE))
    if not found:
        raise InputError(f'"{labels}" names no picture; expected a line for each.')
    return found


def _of_generate(folder: Path, settings: Mapping[str, Any]) -> list[Source]:
    recorded = settings.get(RECORDED) or {}
    targets, seeds = settings.get("target") or [], settings.get("seeds") or []
    stems, labels = recorded.get("file_stems") or [], recorded.get("labels") or []
    return _prototypes(folder, list(zip(map(str, targets), labels, stems, seeds, strict=False)))


def _prototypes(folder: Path, rows: Sequence[tuple[str, str, str, int]]) -> list[Source]:
    """Those of the prototypes that are finished; where several classes have one name, with their indices."""
    targets: dict[str, set[str]] = {}
    for target, label, _, _ in rows:
        targets.setdefault(label, set()).add(target)
    found = []
    for target, label, stem, seed in rows:
        path = folder / f"{stem}_seed{seed}.png"
        if path.is_file():
            name = label if len(targets[label]) == 1 else f"{label} ({target.strip('[]')})"
            found.append(Source(path, name, PROTOTYPE))
    return found


def _of_evaluate(folder: Path, settings: Mapping[str, Any]) -> list[Source]:
    """The prototypes of each class, and the pictures of further methods in folders of their names."""
    found = []
    for stem, label in ((settings.get(RECORDED) or {}).get("classes") or {}).items():
        for place in sorted(each for each in (folder / stem).glob("*") if each.is_dir()):
            method = PROTOTYPE if place.name == "prototypes" else place.name
            found += [Source(path, str(label), method) for path in sorted(place.glob(f"{stem}_seed*.png"))]
    return found


def _of_quality(folder: Path, settings: Mapping[str, Any]) -> list[Source]:
    """The pictures of each method in a folder of its name; which class a file is of follows from its name."""
    recorded = settings.get(RECORDED) or {}
    labels = {_slug(str(label)): str(label) for label in recorded.get("classes") or ()}
    methods = {model_stem(str(name).replace(" ", "-")): str(name) for name in recorded.get("methods") or ()}
    found = []
    for place in sorted(each for each in (folder / "pictures").glob("*") if each.is_dir()):
        for path in sorted(place.glob("*_seed*.png")):
            stem = path.stem.rpartition("_seed")[0]
            several = _slug("classes " + " ".join(str(int(number)) for number in re.findall(r"\d+", stem)))
            label = labels.get(stem.partition("_")[2]) or labels.get(several) or _words_of_file(path.stem)
            found.append(Source(path, label, methods.get(place.name, place.name)))
    return found


def _slug(label: str) -> str:
    """What names of files call a class, but for its index."""
    return re.sub(r"[^0-9A-Za-z]+", "-", label).strip("-").lower()


#: By command: the pictures of its run.
_OF_RUNS = {"generate": _of_generate, "evaluate": _of_evaluate, "quality": _of_quality}


def _in_folders(folder: Path) -> bool:
    return any(each.is_dir() and any(images_below(str(each))) for each in folder.iterdir())


def _images_by_class(folder: Path, method: str, class_table: Path | None) -> list[Source]:
    """Images with the names of their classes: by a table, else as the folder that holds each is called, else as its file is."""
    beside = folder / _TABLE
    if class_table is not None or beside.is_file():
        table = str(class_table or beside)
        images = ImageCollection.discover(folder, class_table=table)
        named = sorted(read_class_table(table)[1].items())
        names = dict(
            zip([index for index, _ in named], told_apart([(name, str(index)) for index, name in named]), strict=True)
        )
        missing = next((index for index in images.labels if index not in names), None)
        if missing is not None:
            raise InputError(
                f'"{table}" has no name for class {missing}, of which there are images in "{folder}"; add it.'
            )
        return [Source(path, names[index], method) for path, index in zip(images.paths, images.labels, strict=True)]
    if _in_folders(folder):
        found = list(_by_folder(folder, method))
    else:
        paths = sorted(each for each in folder.iterdir() if is_image_name(each.name) and not each.name.startswith("."))
        found = [Source(path, _words_of_file(path.stem), method) for path in paths]
    if not found:
        raise InputError(
            f'"{folder}" holds no images; expected a folder for each class, or files named by class, that end in .png or .jpeg.'
        )
    wnid = next((one.label for one in found if _WNID.match(one.label)), None)
    if wnid is not None:
        raise InputError(
            f'"{folder}" names classes by wnid ({wnid}), which nobody would type; give their names with --class-table FILE.'
        )
    return found


def _by_folder(folder: Path, method: str) -> Iterator[Source]:
    for place in sorted(each for each in folder.iterdir() if each.is_dir() and not each.name.startswith(".")):
        for path in images_below(os.fspath(place)):
            yield Source(Path(path), _words_of_folder(place.name), method)


def _words_of_folder(name: str) -> str:
    """The name of a class in that of its folder, with or without an index before it: "0012_house-finch", "house_finch", "7"."""
    return _words(re.sub(r"^\d{4,}_(?=.)", "", name)) or name


def _words_of_file(stem: str) -> str:
    """The name of a class in that of a file, between an index and a seed or a count; the index where there is nothing else."""
    if wnid := _WNID.search(stem):
        return wnid[0]
    number = _BEFORE.match(stem)
    return _words(_BEHIND.sub("", _BEFORE.sub("", stem))) or (str(int(number[0])) if number else stem)


def _words(name: str) -> str:
    words = re.sub(r"[_\s]+", " ", name).strip(" -.")
    # As this package writes names into those of files.
    return words.replace("-", " ") if re.fullmatch(r"[a-z0-9-]+", words) else words


__all__ = ["PICTURE", "PROTOTYPE", "Source", "different_names", "find_sources", "included_sources", "with_names_of"]
