"""JSON, tables and text, each written whole or not at all."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.files import ESCAPED, JSON_ESCAPED, whole_file


def write_json(path: Path, value: Any, overwrite: bool = False, indent: int = 2) -> None:
    """A value as readable JSON."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(
            json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8", errors=JSON_ESCAPED
        )


def write_rows(
    path: str | os.PathLike[str], header: Sequence[str], rows: Iterable[Sequence[Any]], overwrite: bool = True
) -> None:
    """A table as CSV, by default in place of one that is there."""
    with (
        whole_file(path, overwrite) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors=ESCAPED) as file,
    ):
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


def write_text(path: Path, text: str, overwrite: bool = False) -> None:
    """Text, ending in a line break."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text.rstrip("\n") + "\n", encoding="utf-8", errors=ESCAPED)
