"""Tables that say which class a wnid, WordNet's identifier of a synset, stands for, and what classes are called."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path

from captum_proto._utils.errors import InputError, MissingFileError
from captum_proto._utils.files import intact
from captum_proto._utils.reading import check_regular, table_rows, whole_number

#: A wnid alone.
_WNID = re.compile(r"n\d{8}")
#: No table of classes is larger, in bytes.
_MOST = 2**26


def read_table(path: str) -> tuple[dict[str, int], dict[int, str]]:
    """
    A table of classes of either kind: a classes.csv, or one that comes with ImageNet.

    Returns:
        tuple[dict[str, int], dict[int, str]]: The index of each wnid, and the name of each index, as far as the table has them.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is neither.
    """
    if not Path(path).is_file():
        raise MissingFileError(
            f'there is no table of classes "{path}"; give a file with the columns index, wnid and name.'
        )
    first = _text(path).partition("\n")[0].split(maxsplit=1)
    if first and _WNID.fullmatch(first[0]):
        return read_synsets(path), {}
    return read_classes(path)


def read_classes(path: str) -> tuple[dict[str, int], dict[int, str]]:
    """A classes.csv: the index of each wnid, and the name of each index."""
    wnids: dict[str, int] = {}
    names: dict[int, str] = {}
    text = _text(path)
    with intact(path, "table of classes"):
        columns, rows = table_rows(text)
    if "index" not in columns or not {"wnid", "name"} & set(columns):
        found = ", ".join(sorted(set(columns))) or "of an empty file"
        raise InputError(
            f'"{path}" has the columns {found}; expected index, wnid and name, in a first line that says so.'
        )
    for line, row in rows:
        index = whole_number(row["index"])
        if index is None:
            raise InputError(
                f'"{path}", line {line}: index is "{row["index"]}"; expected the number of a class, from 0.'
            )
        if row.get("wnid") and wnids.setdefault(row["wnid"], index) != index:
            raise InputError(f'"{path}" gives {row["wnid"]} two indices; keep one of the lines.')
        if row.get("name"):
            names[index] = row["name"]
    return wnids, names


def read_synsets(path: str) -> dict[str, int]:
    """The tables that come with ImageNet: a wnid at the start of each line, in the order of the classes."""
    wnids = [line.split(maxsplit=1)[0] for line in _text(path).splitlines() if line.strip()]
    return {wnid: index for index, wnid in enumerate(wnids)}


def _text(path: str) -> str:
    with intact(path, "table of classes"):
        check_regular(path, _MOST)
        return Path(path).read_text(encoding="utf-8-sig", errors="replace")


@cache
def imagenet_wnids() -> tuple[str, ...]:
    """The wnids of ImageNet's 1000 classes (ILSVRC 2012), in the order of the classes, which is the sorted one."""
    return tuple((resources.files("captum_proto.data") / "imagenet_wnids.txt").read_text(encoding="ascii").split())
