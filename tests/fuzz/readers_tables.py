"""Readers of tables and texts that people write: classes, labels, answers, sweeps."""

from __future__ import annotations

from pathlib import Path

from PIL import Image
from target import Reader

from captum_proto._utils.class_names import file_stem, labels_of, parse_classes
from captum_proto._utils.errors import InputError
from captum_proto.cli.describe import read_words
from captum_proto.cli.sweep import assignments, read_toml
from captum_proto.data import ImageCollection
from captum_proto.data.class_tables import read_table
from captum_proto.experiments.blind.answers import read_answers
from captum_proto.experiments.blind.classes import ClassList, read_synonyms
from captum_proto.experiments.sweep import Sweep, sweep_from_tables

_CELLS = (b"index", b"wnid", b"name", b"\n", b",", b'"', b"n01532829", b"\0", b"\xff", b"9" * 5000, b"\xef\xbb\xbf")
_SWEEP = b"""model = ["digits"]
target = ["3", "0-4"]
seeds = "0-4"
device = "cpu"
[fixed]
steps = 16
transform = "none"
[grid]
lr = [0.05, 0.1]
"""


def _words(folder: Path) -> list[bytes]:
    return [b"a dog\na cat\n", "naïve\n\u202egnp.exe\n".encode(), b"\xff\xfe\n", b""]


def collection(path: Path) -> object:
    """A folder of images beside which the table lies."""
    for name in ("0_a.png", "n01532829_b.png"):
        if not (path.parent / name).exists():
            Image.new("L", (4, 4)).save(path.parent / name)
    return ImageCollection.discover(path.parent).labels


def named(path: Path) -> object:
    """What is written as classes: names and ranges, by line."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise InputError("no text") from error
    names = [f"class {place}" for place in range(10)] if len(lines) % 2 else lines
    targets = parse_classes(lines[:3], names)
    return labels_of(list(dict.fromkeys(targets)), names), [file_stem(target, names) for target in targets]


def sweep(path: Path) -> object:
    """As the command does it, with the entries that the command line has too."""
    arguments, _ = sweep_from_tables(read_toml(path), ("seeds", "device"))
    return Sweep(**{"models": ["m"], "targets": ["a"], "seeds": [0], **arguments}).combinations()


def assigned(path: Path) -> object:
    return assignments(path.read_bytes().decode("utf-8", "replace").split("\n"), "--grid")


READERS = [
    Reader(
        "a table of classes",
        "classes.csv",
        lambda _: [
            b"index,wnid,name\n0,n01532829,ash\n1,n01532830,birch\n",
            b"n01532829 ash\nn01532830 birch\n",
            b"\0",
        ],
        lambda path: read_table(str(path)),
        _CELLS,
    ),
    Reader(
        "a folder of images with a table of classes",
        "classes.csv",
        lambda _: [b"index,wnid,name\n0,n01532829,ash\n1,n01532830,birch\n"],
        collection,
        _CELLS,
    ),
    Reader("names and ranges of classes", "classes.txt", lambda _: [b"0-4\n3,5\nash\n", b"class 3\n0\n"], named),
    Reader(
        "a list of class names",
        "names.csv",
        lambda _: [b"name,group,index\nash,tree,0\nowl,bird,1\n"],
        ClassList.read,
        _CELLS,
    ),
    Reader("a list of class names, one a line", "names.txt", lambda _: [b"ash\nowl\n"], ClassList.read),
    Reader(
        "answers to a blind test",
        "ann.csv",
        lambda _: [b"form,number,answer,person\nabc,1,ash,Ann\nabc,2,?,Ann\n", b"form;number;answer\nabc;2;owl\n"],
        lambda path: read_answers(path, "abc", 5),
        _CELLS,
    ),
    Reader("synonyms", "synonyms.csv", lambda _: [b"answer,class\npoodle,dog\n"], read_synonyms, _CELLS),
    Reader("a list of words", "words.txt", _words, read_words),
    Reader(
        "a sweep file", "sweep.toml", lambda _: [_SWEEP], sweep, (b"[", b"]", b"=", b'"""', b"nan", b"1e999", b"../")
    ),
    Reader("a grid on the command line", "grid.txt", lambda _: [b"lr=[0.05, 0.1]\nsteps=[1]\n"], assigned),
]
