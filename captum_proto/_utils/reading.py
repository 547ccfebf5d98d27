"""
Files that others wrote, read in bounded time and memory: what is wrong with them is a ``ValueError``, whatever they hold.

Parsers raise other things too on files that were made to break them: a ``RecursionError`` on brackets in brackets, ``csv.Error`` on a cell
of a megabyte. Here these are errors of the content like any other, which callers put into a sentence with the name of the file.
"""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: No text that the package reads is larger, in bytes: COCO's annotations, the largest there are, have about 470 MB.
MOST_TEXT = 2**30
#: No more digits of a number that counts something.
_DIGITS = 18
#: What the data of a NumPy file or an archive may take beyond the file itself: headers, and tables of contents.
_SLACK = 2**20


def check_regular(path: str | os.PathLike[str], most: int | None = None) -> None:
    """
    See that a path is a file that ends: no pipe that nobody writes to, and no device.

    Args:
        path (str or os.PathLike): The file; links are followed.
        most (int, optional): How many bytes it may have. Default: None, any number

    Raises:
        OSError: If there is none.
        ValueError: If it is something else, is larger, or has a name that no file can have.
    """
    found = os.stat(path)
    if stat.S_ISDIR(found.st_mode):
        raise ValueError("it is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is a pipe, a socket or a device, not a file")
    if most is not None and found.st_size > most:
        raise ValueError(f"it has {found.st_size:,} bytes, and at most {most:,} are read")


def read_text(path: str | os.PathLike[str], encoding: str = "utf-8", most: int = MOST_TEXT) -> str:
    """
    The text in a file.

    Args:
        path (str or os.PathLike): The file.
        encoding (str, optional): Of the text. Default: "utf-8"
        most (int, optional): How many bytes it may have. Default: 2³⁰

    Raises:
        OSError: If there is none, or it cannot be read.
        ValueError: If it is no such text.
    """
    check_regular(path, most)
    return Path(path).read_text(encoding=encoding)


def parse_json(text: str | bytes) -> Any:
    """
    What JSON says.

    Raises:
        ValueError: If it is none, or brackets are nested by the thousand.

    Examples::

        >>> parse_json('{"layer": "conv1"}')
        {'layer': 'conv1'}
        >>> parse_json("[" * 100000)
        Traceback (most recent call last):
        ValueError: its brackets are nested too deeply
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def read_json(path: str | os.PathLike[str], most: int = MOST_TEXT) -> Any:
    """
    What a file of JSON says.

    Raises:
        OSError: If there is none, or it cannot be read.
        ValueError: If it is no JSON, brackets are nested by the thousand, or it has more bytes than ``most``.
    """
    return parse_json(read_text(path, most=most))


def table_rows(text: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """
    A table whose first line names its columns.

    Returns:
        tuple[list[str], list[tuple[int, dict[str, str]]]]: The columns; and of each row the number of its line and its cells by column,
        missing ones empty, surplus ones left out. Lines without any cell are passed over.

    Raises:
        ValueError: As :func:`csv_rows`.
    """
    reader = csv.reader(io.StringIO(text, newline=""))
    found: list[tuple[int, dict[str, str]]] = []
    try:
        columns = next(reader, [])
        for cells in reader:
            if cells:
                padded = cells + [""] * (len(columns) - len(cells))
                found.append((reader.line_num, dict(zip(columns, padded, strict=False))))
    except csv.Error as error:
        raise ValueError(f"it is no CSV: {error}") from error
    return columns, found


def whole_number(text: str) -> int | None:
    """
    The number that decimal digits stand for; None for anything else, and for more digits than count anything.

    Examples::

        >>> whole_number("12"), whole_number("-1"), whole_number("9" * 5000)
        (12, None, None)
    """
    counts = text.isascii() and text.isdigit() and len(text.lstrip("0")) <= _DIGITS
    return int(text) if counts else None


def check_archive(path: str | os.PathLike[str]) -> None:
    """
    See that what is in a zip archive takes no more than the archive itself: PyTorch and NumPy store arrays as they are.

    A few kilobytes that unpack to terabytes are no checkpoint. A file that is no archive passes.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is a damaged archive, or unpacks to more.
    """
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(each.file_size for each in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"it is a damaged archive: {error}") from error
    size = os.stat(path).st_size
    if unpacked > size + _SLACK:
        raise ValueError(f"it has {size:,} bytes and would unpack to {unpacked:,}, which no saved tensors do")


def read_array(path: str | os.PathLike[str]) -> NDArray[Any]:
    """
    The array in a ``.npy`` file of NumPy, which is never one of Python objects.

    Raises:
        OSError: If there is none, or it cannot be read.
        ValueError: If it is damaged, holds several arrays or objects, or is shorter than it says: no memory is taken on its word.
    """
    check_regular(path)
    with open(path, "rb") as file:
        if file.read(6) != b"\x93NUMPY":
            raise ValueError("it is no array as NumPy saves one in a .npy file")
    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array(mapped)
    except (OSError, ValueError):
        raise
    except Exception as error:  # on damaged headers NumPy's parser raises nearly anything
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error


__all__ = [
    "MOST_TEXT",
    "check_archive",
    "check_regular",
    "parse_json",
    "read_array",
    "read_json",
    "read_text",
    "table_rows",
    "whole_number",
]
