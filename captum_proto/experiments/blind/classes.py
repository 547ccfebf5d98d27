"""Tables that people write: the names of classes and their groups, spellings that stand for a class, and which class a picture is of."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from captum_proto._utils import reading
from captum_proto._utils.errors import InputError, MissingFileError

#: What a spreadsheet may put between the cells of a table.
_SEPARATORS = (",", ";", "\t")
#: No table that people write is larger, in bytes.
_MOST = 2**26


@dataclass(frozen=True)
class ClassList:
    """
    The names of classes, and the group of each as far as there are groups.

    Args:
        names (list[str]): Each once.
        groups (dict[str, str]): By name.
    """

    names: list[str]
    groups: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> ClassList:
        """
        A file of names: CSV with the columns name and, if there are groups, group; or a name a line, whatever follows a comma its synonyms.

        Names that several classes share need a column index: they are told apart by it, as in "crane (134)".

        Raises:
            MissingFileError: If there is no such file.
            InputError: If it has no names, or a name twice.
        """
        if path.suffix.lower() == ".csv":
            rows = [
                row for row in read_table(path, ["name"], ["group", "index"], "the names of classes") if row["name"]
            ]
            names = told_apart([(as_shown(row["name"]), row["index"]) for row in rows])
            groups = {name: row["group"] for name, row in zip(names, rows, strict=True) if row["group"]}
        else:
            lines = read_text(path, "the names of classes").splitlines()
            names, groups = [as_shown(line) for line in lines if line.strip()], {}
        if not names:
            raise InputError(f'"{path}" holds no names; expected one a line, or CSV with the columns name and group.')
        twice = next((name for name, count in Counter(names).items() if count > 1), None)
        if twice is not None:
            raise InputError(f'"{path}" has the name "{twice}" twice; give each class a name of its own.')
        return cls(names, groups)


def as_shown(name: str) -> str:
    """A name as people read it: "great white shark", where a table has "great_white_shark"."""
    return " ".join(name.replace("_", " ").split())


def told_apart(names: Sequence[tuple[str, str]]) -> list[str]:
    """Names of classes, each with its index behind it where several classes share it and the index is known."""
    count = Counter(name for name, _ in names)
    return [f"{name} ({index})" if index and count[name] > 1 else name for name, index in names]


def read_text(path: Path, what: str) -> str:
    """
    The text in a file.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not text.
    """
    if not path.is_file():
        found = f'"{path}" is a folder' if path.is_dir() else f'there is no file "{path}"'
        raise MissingFileError(f"{found}; give a file that holds {what}.")
    try:
        return reading.read_text(path, "utf-8-sig", _MOST)
    except ValueError as error:
        raise InputError(f'"{path}" is not text in UTF-8 ({error}); save it as CSV in UTF-8.') from error


def read_table(path: Path, required: Sequence[str], optional: Sequence[str], what: str) -> list[dict[str, str]]:
    """
    The rows of a table with a first line that names its columns, separated by commas, semicolons or tabs.

    Args:
        path (Path): The file.
        required (sequence of str): Columns that it must have.
        optional (sequence of str): Columns that it may have; others are passed over.
        what (str): What it is to hold, for messages.

    Returns:
        list[dict[str, str]]: Each with the required and the optional columns, without space around the cells, and ``line``, the number of
        its line; lines without any content are left out.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it is not text, or lacks a column.
    """
    text = read_text(path, what)
    first = text.partition("\n")[0]
    separator = max(_SEPARATORS, key=first.count)
    reader = csv.reader(text.splitlines(keepends=True), delimiter=separator)
    try:
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise InputError(f'"{path}" is no table ({error}); save it as CSV in UTF-8.') from error
    columns = [column.strip().casefold() for column in (lines[0][1] if lines else [])]
    missing = [column for column in required if column not in columns]
    if missing:
        found = ", ".join(filter(None, columns)) or "of an empty file"
        raise InputError(
            f'"{path}" has the columns {found}; expected {" and ".join(required)}, in a first line that says so, as {what} have.'
        )
    rows = []
    for line, cells in lines[1:]:
        row = {column: cell.strip() for column, cell in zip(columns, cells, strict=False)}
        if any(row.values()):
            rows.append({name: row.get(name, "") for name in (*required, *optional)} | {"line": str(line)})
    return rows


def read_synonyms(path: Path) -> dict[str, str]:
    """
    Spellings that were looked at, each with the name of the class that it stands for: CSV with the columns answer and class.

    Lines without a class are passed over, so that the ``unmatched.csv`` of an earlier scoring can be filled in and given.
    """
    rows = read_table(path, ["answer", "class"], [], "spellings and what they stand for")
    return {row["answer"]: row["class"] for row in rows if row["answer"] and row["class"]}


__all__ = ["ClassList", "read_synonyms", "read_table", "read_text"]
