"""Folders of whole runs, of every protocol: any of their files replaced, and the page made again."""

from __future__ import annotations

import functools
import shutil
import sys
import tempfile
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from PIL import Image
from target import Reader

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "runs")]
from protocols import PROTOCOLS  # noqa: E402

from captum_proto.experiments.report import report_on  # noqa: E402
from captum_proto.runs.tasks import carry_out  # noqa: E402

#: Readers are tried on files of these endings; pictures have readers of their own.
_ENDINGS = (".json", ".csv", ".safetensors", ".txt")
#: Longer files than this are no seeds.
_LONGEST = 2**15


@functools.cache
def made(command: str) -> Path:
    """The folder of a small run, made once a process."""
    inputs = Path(tempfile.mkdtemp(prefix="fuzz-runs-"))

    def square(figure: Figure, path: Path, **_: Any) -> None:
        Image.new("L", (4, 4), zlib.crc32(path.name.encode()) % 256).save(path, format="png")

    drawn, Figure.savefig = Figure.savefig, square  # matplotlib takes nearly all the time
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            carry_out(PROTOCOLS[command](inputs), inputs / "run")
    finally:
        Figure.savefig = drawn
    return inputs / "run"


def files_of(command: str) -> list[str]:
    """What may be replaced, by its place in this list: the first byte of what the fuzzer gives."""
    folder = made(command)
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in _ENDINGS and path.stat().st_size <= _LONGEST]
    return [path.relative_to(folder).as_posix() for path in paths][:256]


def _seeds(command: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        run = made(command)
        return [bytes([place]) + (run / name).read_bytes() for place, name in enumerate(files_of(command))]

    return seeds


def _read(command: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        data, names = path.read_bytes() or b"\0", files_of(command)
        copy = path.parent / "run"
        if not copy.exists():
            shutil.copytree(made(command), copy)
        name = names[data[0] % len(names)]
        (copy / name).write_bytes(data[1:])
        if name != "page.json":
            (copy / "page.json").unlink(missing_ok=True)  # it would be read in place of the results
        try:
            return report_on(copy)
        finally:
            shutil.copyfile(made(command) / name, copy / name)

    return read


READERS = [
    Reader(
        f"a run of {command}",
        "data",
        _seeds(command),
        _read(command),
        (b'"../secret.png"', b"null", b"[]", b"{}", b"1e999"),
    )
    for command in PROTOCOLS
]
