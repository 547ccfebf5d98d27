"""Runs of every protocol whose classes are called by names that would be HTML, a template or a command somewhere else."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
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
#: Names of layers, in which PyTorch allows everything but a dot: HTML, a path, what a terminal would obey, and two long ones, the same to
#: a file system that knows no case.
HOSTILE_LAYERS = (
    "<img src=x onerror=\"document['title']='OWNED'\">",
    "/tmp/evil\n\x00\x1b[2J\u202e\"'><script>document['title']='OWNED'<!--",
    "x" * 300,
    "X" * 300,
)
#: Of a method, a network or a condition, in which everything is allowed.
HOSTILE_NAME = "../../" + HOSTILE[0] + "\n\x00\x1b[2J" + "n" * 300


@contextmanager
def hostile_names(**others: Any) -> Iterator[None]:
    """For the length of a ``with`` block the protocols' classes have these names, and other constants of :mod:`protocols` these values."""

    def square(figure: Figure, path: Path, **_: Any) -> None:
        Image.new("L", (4, 4), zlib.crc32(Path(path).name.encode()) % 256).save(path, format="png")

    with ExitStack() as stack:
        for name, value in {"NAMES": HOSTILE, **others}.items():
            stack.enter_context(patch.object(protocols, name, value))
        stack.enter_context(patch.object(Figure, "savefig", square))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        yield


def carried_out(command: str, folder: Path, **others: Any) -> Path:
    """The folder of a run of a protocol under hostile names."""
    with hostile_names(**others):
        carry_out(protocols.PROTOCOLS[command](folder), folder / "run")
    return folder / "run"
