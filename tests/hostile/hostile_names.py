"""Runs of every protocol whose classes are called by names that would be HTML, a template or a command somewhere else."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import protocols
from matplotlib.figure import Figure
from PIL import Image

from captum_proto.runs.tasks import carry_out

#: Names of classes, which are names of folders too. A browser that took one for HTML would call itself OWNED, or ask hostile.invalid.
HOSTILE = [
    "<img src=x onerror=\"document.title='OWNED'\">",
    "\"'><script>document.title='OWNED'<!--",
    "{{7*191}} ${7*191} \u202eevil\u2066 <link rel=stylesheet href=\\\\hostile.invalid\\x> </style></title></textarea>".replace(
        "/", "\u2044"
    ),
]


@contextmanager
def hostile_names() -> Iterator[None]:
    """For the length of a ``with`` block the protocols' classes have these names."""

    def square(figure: Figure, path: Path, **_: Any) -> None:
        Image.new("L", (4, 4), zlib.crc32(Path(path).name.encode()) % 256).save(path, format="png")

    with patch.object(protocols, "NAMES", HOSTILE), patch.object(Figure, "savefig", square), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def carried_out(command: str, folder: Path) -> Path:
    """The folder of a run of a protocol under hostile names."""
    with hostile_names():
        carry_out(protocols.PROTOCOLS[command](folder), folder / "run")
    return folder / "run"
