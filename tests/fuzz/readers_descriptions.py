"""Readers of JSON and of data sets that it describes: pages, settings, records, keys, concepts, masks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from target import Reader

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from test_damaged_files import DESCRIPTIONS

from captum_proto.concept import Broden, CocoDataset, ConceptFolder, PackedMasks
from captum_proto.concept.ade20k import ADE20K
from captum_proto.concept.explained_layer import ExplainedLayer
from captum_proto.experiments.blind.key import BlindKey
from captum_proto.experiments.report import report_on
from captum_proto.report.html import write_report
from captum_proto.runs.contents import nothing_finished, recorded_files
from captum_proto.runs.folder import RunFolder, read_record, read_settings
from captum_proto.runs.tasks import warnings_of
from captum_proto.testing import ShapeDataset

_JSON = (
    b"[",
    b"]",
    b"{",
    b"}",
    b"null",
    b"1e999",
    b"-1",
    b"NaN",
    b'"\\u0000"',
    b'"\\udcff"',
    b'"../secret.png"',
    b"9" * 5000,
)
_BLOCKS = [
    {"kind": "paragraphs", "text": ["<script>x</script>"]},
    {
        "kind": "table",
        "header": ["a", "b"],
        "rows": [["1", "2"]],
        "caption": "c",
        "conditions": True,
        "brief": [0],
        "sortable": True,
    },
    {"kind": "pictures", "pictures": [{"path": "a.png", "caption": "c", "small": False}]},
    {"kind": "gallery", "pictures": [{"path": "a.png", "label": "l", "facts": ["f"], "text": "t"}]},
    {"kind": "verdicts", "verdicts": [{"name": "n", "measured": "m", "expected": "e", "passed": None}]},
    {"kind": "files", "paths": ["a.png", "javascript:x"]},
    {"kind": "curves", "comparison": "a.safetensors", "caption": "c", "more": ["b.safetensors"]},
    {
        "kind": "unit_rows",
        "units": [{"name": "u", "facts": ["f"], "strips": [{"path": "a.png", "label": "l", "words": ["w"]}]}],
    },
    {"kind": "positions", "dictionary": "a.safetensors", "examples": ["a.png"], "unit": "channel", "target": "t"},
    {
        "kind": "circuit",
        "nodes": [{"label": "a", "column": 0, "pictures": ["a.png"]}, {"label": "b", "column": 1}],
        "edges": [{"start": 0, "end": 1, "weight": 0.5, "text": "t"}],
        "columns": ["x", "y"],
    },
]


def pages(folder: Path) -> list[bytes]:
    page = {
        "format": 3,
        "title": "t",
        "summary": ["s"],
        "settings": {"a": {"b": [1, [2]]}},
        "failures": [],
        "trust": "w",
    }
    whole = [{**page, "sections": [{"title": "s", "blocks": [block], "shown": None}]} for block in _BLOCKS]
    lead = {**page, "sections": [], "lead": _BLOCKS[3:4], "legend": ["l"], "left_out": ["o"]}
    return [json.dumps(each).encode() for each in [*whole, lead]]


def shown(path: Path) -> object:
    if not (path.parent / "a.png").exists():
        Image.new("RGB", (3, 3)).save(path.parent / "a.png")
    return write_report(path.parent)


def settings(folder: Path) -> list[bytes]:
    whole = {
        "command": "generate",
        "recorded": {},
        "parts": ["a", ".", "..", "a/b"],
        "summary_files": ["x.csv", "../secret.png", "/secret"],
    }
    return [
        json.dumps(whole).encode(),
        json.dumps({**whole, "command": "sweep", "classes": {"a": [0]}}).encode(),
        b"{}",
    ]


def begun_anew(path: Path) -> object:
    """A run with --overwrite in a folder with these settings."""
    settings = path.read_bytes()
    (path.parent / "a").mkdir(exist_ok=True)
    (path.parent / "a" / "settings.json").write_bytes(settings)
    read_settings(path.parent), nothing_finished(path.parent), recorded_files(path.parent)
    with RunFolder(path.parent, {"command": "generate"}, overwrite=True) as opened:
        opened.write_settings({})
    return opened.files()


def gone_on(path: Path) -> object:
    with RunFolder(path.parent, {"command": "generate"}, resume=True) as opened:
        opened.write_settings({})
    return opened.files()


RECORD = {
    "task": "a",
    "index": 0,
    "inputs": {},
    "needs": {},
    "files": {"x": {"bytes": 1, "sha256": ""}},
    "warnings": ["w"],
}


def records(folder: Path) -> list[bytes]:
    hostile = {**RECORD, "files": {"../secret.png": {"bytes": 1}, "\0": {"bytes": 1}, "a" * 300: {"bytes": 1}}}
    return [json.dumps(each).encode() for each in (RECORD, hostile)]


def recorded(path: Path) -> object:
    read_record(path), recorded_files(path.parents[1]), warnings_of(path.parents[1])
    (path.parents[1] / "settings.json").write_text('{"command": "none", "recorded": {}}')
    return report_on(path.parents[1])


def concepts(folder: Path) -> list[bytes]:
    whole = {
        "concepts": [{"name": "dog", "category": "object"}, {"name": "red", "category": "color"}],
        "images": [
            {"image": "a.png", "maps": ["a.png"], "whole": [2], "captions": ["a dog"]},
            {"image": "../secret.png"},
        ],
    }
    return [json.dumps(whole).encode(), json.dumps({**whole, "images": whole["images"][:1]}).encode()]


def concept_folder(path: Path) -> object:
    if not (path.parent / "a.png").exists():
        Image.new("L", (3, 3), 1).save(path.parent / "a.png")
    found = ConceptFolder(path.parent)
    return [
        (found.image(i, (4, 4)), found.checked_labels(i).counts(len(found.concepts), (4, 4)), found.digest())
        for i in range(len(found))
    ]


def coco(folder: Path) -> list[bytes]:
    outlines = [[[0, 0, 3, 0, 3, 3]], {"size": [4, 4], "counts": [2, 3, 11]}, {"size": [4, 4], "counts": "09"}]
    whole = {
        "images": [
            {"id": 1, "file_name": "a.png", "height": 4, "width": 4},
            {"id": 2, "file_name": "../secret.png", "height": 4, "width": 4},
        ],
        "categories": [{"id": 1, "name": "dog", "supercategory": "animal"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": each} for each in outlines],
    }
    return [json.dumps(whole).encode()]


def coco_folder(path: Path) -> object:
    if not (path.parent / "a.png").exists():
        Image.new("L", (4, 4), 1).save(path.parent / "a.png")
    found = CocoDataset(path.parent, path)
    return [(found.labels(i), found.image(i, (4, 4))) for i in range(len(found))]


def broden(name: str) -> Callable[[Path], object]:
    def read(path: Path) -> object:
        (path.parent / "images").mkdir(exist_ok=True)
        if not (path.parent / "images" / "a.png").exists():
            Image.new("L", (4, 4), 1).save(path.parent / "images" / "a.png")
        other = path.with_name("label.csv" if name == "index.csv" else "index.csv")
        other.write_bytes(_BRODEN[other.name])
        found = Broden(path.parent)
        return [(found.image(i, (4, 4)), found.checked_labels(i), found.digest()) for i in range(len(found))]

    return read


_BRODEN = {
    "index.csv": b"image,split,ih,iw,sh,sw,object,scene\na.png,train,4,4,4,4,a.png,2\n../secret.png,val,4,4,4,4,,2\n",
    "label.csv": b"number,name,category\n1,dog,object(1)\n2,street,scene(2)\n",
}


def ade(path: Path) -> object:
    images, maps = (path.parent / name / "training" for name in ("images", "annotations"))
    for folder, ending in ((images, "jpg"), (maps, "png")):
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / f"a.{ending}").exists():
            Image.new("L", (4, 4), 1).save(folder / f"a.{ending}")
    (path.parent / "sceneCategories.txt").write_text("a street\n")
    found = ADE20K(path.parent, split="training")
    return [(found.image(i, (4, 4)), found.labels(i), found.digest()) for i in range(len(found))]


def masks(part: str) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        PackedMasks.pack(ShapeDataset(3), folder / "packed", (8, 8), overwrite=True)
        return [(folder / "packed" / part).read_bytes()]

    return seeds


def mask_store(path: Path) -> object:
    data = path.read_bytes()
    if not (path.parent / "whole").exists():
        PackedMasks.pack(ShapeDataset(3), path.parent / "whole", (8, 8))
    for name in ("masks.json", "masks.bits", "masks.places"):
        (path.parent / name).write_bytes((path.parent / "whole" / name).read_bytes())
    path.write_bytes(data)
    found = PackedMasks(path.parent)
    several = [list(found.blocks()), found.areas, found.image_counts, found.pixels, len(found)]
    return (
        [(found.of_image(i), found.mask(i, 1)) for i in range(min(found.images, 50))],
        several,
        np.zeros(found.size).sum(),
    )


def keys(folder: Path) -> list[bytes]:
    picture = {
        "number": 1,
        "label": "ash",
        "method": "m",
        "source": "s",
        "sha256": "",
        "picture": "p",
        "choices": ["ash"],
    }
    whole = {
        "kind": "key of a blind test",
        "form": "abc",
        "question": "?",
        "pictures": [picture],
        "names": ["ash"],
        "groups": {},
        "listed": True,
    }
    return [json.dumps(whole).encode()]


def key(path: Path) -> object:
    found = BlindKey.load(path)
    return found.classes(), found.blind_pictures(), found.settings()


def _written(write: Callable[[Path], None]) -> Callable[[Path], list[bytes]]:
    def seeds(folder: Path) -> list[bytes]:
        path = folder / "page.json"
        path.unlink(missing_ok=True)
        write(path)
        return [path.read_bytes()]

    return seeds


READERS = [
    Reader("the description of a page", "page.json", pages, shown, _JSON),
    Reader("settings of a run, with --overwrite", "settings.json", settings, begun_anew, _JSON),
    Reader("settings of a run, with --resume", "settings.json", settings, gone_on, _JSON),
    Reader("settings of a run, for its page", "settings.json", settings, lambda path: report_on(path.parent), _JSON),
    Reader("the record of a task", "tasks/a.json", records, recorded, _JSON),
    Reader("a list of concepts", "concepts.json", concepts, concept_folder, _JSON),
    Reader("annotations as COCO has them", "coco.json", coco, coco_folder, _JSON),
    Reader("the index of Broden", "index.csv", lambda _: [_BRODEN["index.csv"]], broden("index.csv")),
    Reader("the labels of Broden", "label.csv", lambda _: [_BRODEN["label.csv"]], broden("label.csv")),
    Reader(
        "the objects of ADE20K",
        "objectInfo150.txt",
        lambda _: [b"Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t1\t1\t1\tdog, hound\n"],
        ade,
    ),
    Reader("the description of masks", "masks.json", masks("masks.json"), mask_store, _JSON),
    Reader("where masks begin", "masks.places", masks("masks.places"), mask_store),
    Reader("the key of a blind test", "blind_key.json", keys, key, _JSON),
    Reader("an explained layer", "layer.json", lambda _: [b'{"version": 1}'], ExplainedLayer.load, _JSON),
    *(
        Reader(f"saved: {kind}", "page.json", _written(write), load, _JSON)
        for kind, (write, load, _) in DESCRIPTIONS.items()
    ),
]
