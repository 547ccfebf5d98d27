"""JSON, tables and text, each written whole or not at all; JSON also with a seal, by which it is seen whether it was altered."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.files import ESCAPED, JSON_ESCAPED, whole_file

#: The last entry of sealed JSON: the digest of all others.
SEAL = "sha256"


def write_json(path: Path, value: Any, overwrite: bool = False, indent: int = 2) -> None:
    """A value as readable JSON."""
    with whole_file(path, overwrite) as temporary:
        temporary.write_bytes(_written(value, indent))


def write_sealed(path: Path, content: Mapping[str, Any], indent: int = 2) -> None:
    """An object as readable JSON, in place of a file that is there, with the digest of its own content as the last entry."""
    plain = json.loads(json.dumps(content))  # numbers that are names of entries are texts from here on
    write_json(path, {**plain, SEAL: digest_of(plain)}, overwrite=True, indent=indent)


def digest_of(content: Any) -> str:
    """The SHA-256 of a value as JSON can hold it, in hexadecimal: the same however its entries are ordered."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def unsealed(content: dict[str, Any]) -> tuple[dict[str, Any], bool | None]:
    """
    What sealed JSON holds, and whether it is what was sealed; None where there is no seal, as earlier versions wrote none.

    Args:
        content (dict): As it was read.
    """
    held = {name: value for name, value in content.items() if name != SEAL}
    return held, content[SEAL] == digest_of(held) if SEAL in content else None


def is_sealed(path: Path) -> bool:
    """Whether a file is to the last byte what :func:`write_sealed` wrote."""
    try:
        data = path.read_bytes()
        content = json.loads(data)
        return unsealed(content)[1] is True and any(data == _written(content, indent) for indent in (1, 2))
    except (OSError, ValueError, AttributeError):
        return False


def _written(value: Any, indent: int) -> bytes:
    text: str = json.dumps(value, indent=indent, ensure_ascii=False) + "\n"
    return text.encode("utf-8", JSON_ESCAPED)


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
