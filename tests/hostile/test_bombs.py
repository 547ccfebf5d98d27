"""Files of a few kilobytes that ask for terabytes, for hours or for code to be run: each is refused in one sentence, at once."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import Prototypes
from captum_proto._utils.class_names import parse_classes
from captum_proto._utils.errors import CaptumProtoError, InputError, UnreadableImageError
from captum_proto._utils.files import load_tensors, sha256
from captum_proto._utils.reading import parse_json
from captum_proto.cli.sweep import assignments, read_toml
from captum_proto.concept import CocoDataset, ConceptFolder, PackedMasks
from captum_proto.data import load_image
from captum_proto.data.class_tables import read_table
from captum_proto.experiments.blind.answers import read_answers
from captum_proto.experiments.blind.classes import ClassList
from captum_proto.experiments.blind.key import BlindKey
from captum_proto.experiments.visualize.units import read_directions
from captum_proto.models.checkpoints import read_state
from captum_proto.optim.inputs.maco import MACOImage
from captum_proto.report.page import Page
from captum_proto.runs.folder import read_record, read_settings
from captum_proto.testing import ShapeDataset

DEEP = "[" * 100_000
DIGITS = "9" * 5000


def png(width: int, height: int) -> bytes:
    """A picture in black of so many pixels, in as few bytes as PNG has for it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def gif(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("P", (2, 2)).save(buffer, format="GIF")
    content = bytearray(buffer.getvalue())
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (2, 2)).save(buffer, format="BMP")
    content = bytearray(buffer.getvalue())
    content[18:26] = struct.pack("<ii", width, height)
    return bytes(content)


def tiff(width: int, height: int) -> bytes:
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 4, height),
        (279, 4, 9),
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)


def webp(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, format="WEBP", lossless=True)
    content = bytearray(buffer.getvalue())
    at = content.index(b"VP8L") + 9
    content[at : at + 4] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    return bytes(content)


PICTURES = {
    "png": png(60_000, 60_000),
    "png-of-the-largest-sides": png(2**31 - 1, 2**31 - 1),
    "gif": gif(65_535, 65_535),
    "bmp": bmp(100_000, 100_000),
    "tiff": tiff(100_000, 100_000),
    "webp": webp(16_000, 16_000),
    "ppm": b"P6 100000 100000 255\n\0",
    "qoi": b"qoif" + struct.pack(">II", 9_000, 9_000) + b"\x03\0" + bytes(20),
}


@pytest.mark.parametrize("kind", PICTURES)
@pytest.mark.parametrize("limit", [Image.MAX_IMAGE_PIXELS, None], ids=["as-it-is", "without-Pillow's-limit"])
def test_a_picture_of_billions_of_pixels(
    kind: str, limit: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused before its pixels have memory, whatever a program has set Pillow's own limit to."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    path = tmp_path / "a.png"
    path.write_bytes(PICTURES[kind])
    tracemalloc.start()
    try:
        with pytest.raises(UnreadableImageError) as error:
            load_image(path, (3, 8, 8))
        assert tracemalloc.get_traced_memory()[1] < 2**26
    finally:
        tracemalloc.stop()
    assert str(error.value).count("\n") == 0


def test_a_picture_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript, by whatever name the file goes."""
    from PIL import EpsImagePlugin

    def called(*_: object, **__: object) -> None:
        raise AssertionError("Ghostscript is called")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", called)
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(path) as image:  # without this package's own look at it
        assert image.format == "EPS"
    with pytest.raises(UnreadableImageError, match="not an image that Pillow can read"):
        load_image(path, (3, 8, 8))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with names are of POSIX")
def test_a_pipe_that_nobody_writes_to_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "0_a.png")
    with pytest.raises(InputError, match="a pipe"):
        sha256(tmp_path / "0_a.png")
    with pytest.raises(CaptumProtoError):
        load_image(tmp_path / "0_a.png", (3, 8, 8))


def readers_of_json(folder: Path) -> dict[str, Callable[[], object]]:
    (folder / "images").mkdir(exist_ok=True)
    return {
        "page.json": lambda: Page.load(folder),
        "settings.json": lambda: read_settings(folder),
        "blind_key.json": lambda: BlindKey.load(folder / "blind_key.json"),
        "concepts.json": lambda: ConceptFolder(folder),
        "coco.json": lambda: CocoDataset(folder / "images", folder / "coco.json"),
        "masks.json": lambda: PackedMasks(folder),
    }


@pytest.mark.parametrize(
    "content",
    [
        DEEP,
        '{"a":' * 100_000,
        DIGITS,
        json.dumps({"format": 3, "version": 1})[:-1] + f', "size": [{DIGITS}, 1]}}',
        "\0",
        "1e999",
        '"\\ud800"',
    ],
    ids=["brackets", "braces", "digits", "digits-inside", "nul", "infinity", "half-a-letter"],
)
@pytest.mark.parametrize(
    "name", ["page.json", "settings.json", "blind_key.json", "concepts.json", "coco.json", "masks.json"]
)
def test_json_that_breaks_parsers(name: str, content: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(CaptumProtoError) as error:
        print(readers_of_json(tmp_path)[name]())
    if not (name == "settings.json" and "digits-inside" in content):
        assert str(error.value).count("\n") == 0
        assert len(str(error.value)) < 1000


def test_a_record_of_brackets_is_that_of_a_task_that_is_not_finished(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(DEEP)
    assert read_record(tmp_path / "a.json") is None


def test_what_json_means_by_itself_stays() -> None:
    assert parse_json('{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}


@pytest.mark.parametrize(
    "content",
    [
        f"a = {DEEP}",
        f"a = {DIGITS}",
        "a = 1\n" * 2,
        "\0",
        "x" * 2**21,
        "a" + ".a" * 100_000 + " = 1",
        "a" + ".a" * 1000 + " = 1\n[a",
    ],
    ids=["brackets", "digits", "twice", "nul", "megabytes", "dots", "fewer-dots"],
)
def test_toml_that_breaks_parsers(content: str, tmp_path: Path) -> None:
    (tmp_path / "sweep.toml").write_text(content)
    with pytest.raises(InputError, match=r"sweep\.toml\" is not TOML"):
        read_toml(tmp_path / "sweep.toml")


@pytest.mark.parametrize(
    "content", [DEEP, DIGITS, "\0", "{a" + ".a" * 100_000 + " = 1}"], ids=["brackets", "digits", "nul", "dots"]
)
def test_a_grid_that_breaks_parsers(content: str) -> None:
    with pytest.raises(InputError, match="which cannot be read"):
        assignments([f"lr={content}"], "--grid")


TABLES = {
    "a cell without an end": 'index,name\n0,"' + "x" * 200_000,
    "a number of 5,000 digits": f"index,name\n{DIGITS},ash\n",
    "a thousand columns too many": "index,name\n" + "0," * 1000 + "\n",
    "nothing": "",
    "a line of zero bytes": "index,name\n\0,\0\n",
}


@pytest.mark.parametrize("kind", [kind for kind in TABLES if "columns" not in kind])
def test_tables_that_break_parsers(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(TABLES[kind])
    with pytest.raises(InputError):
        read_table(str(path))
    path.write_text(
        TABLES[kind].replace("index,name", "form,number,answer").replace("\n0", "\nabc,0").replace("\n9", "\nabc,9")
    )
    with pytest.raises(InputError):
        read_answers(path, "abc", 5)


def test_more_cells_than_columns_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text("index,name\n3,ash,birch,cedar\n4\n")
    assert read_table(str(tmp_path / "classes.csv")) == ({}, {3: "ash"})


def test_a_list_of_a_hundred_thousand_names_takes_no_hour(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"name {place}" for place in range(100_000)))
    assert len(ClassList.read(path).names) == 100_000
    path.write_text(path.read_text() + "\nname 7")
    with pytest.raises(InputError, match='has the name "name 7" twice'):
        ClassList.read(path)


@pytest.mark.parametrize("text", ["0-99999999999", DIGITS, f"3-{DIGITS}", "5-1000005"])
def test_a_superclass_of_all_numbers(text: str) -> None:
    with pytest.raises(InputError, match=r"superclass of .* classes; expected at most|stands for no class"):
        parse_classes([text], None)


# Tensors.


def zip_bomb(path: Path, template: bytes) -> None:
    """The archive of a checkpoint in which each tensor's file unpacks to 128 MiB."""
    with (
        zipfile.ZipFile(io.BytesIO(template)) as given,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as made,
    ):
        for name in given.namelist():
            if "/data/" in name:
                with made.open(name, "w") as file:
                    for _ in range(2**7):
                        file.write(bytes(2**20))
            else:
                made.writestr(name, given.read(name))


def test_a_checkpoint_that_unpacks_to_a_hundred_times_its_size(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(4)}, buffer)
    zip_bomb(tmp_path / "a.pt", buffer.getvalue())
    assert (tmp_path / "a.pt").stat().st_size < 2**21
    with pytest.raises(InputError, match=r"would unpack to 134,\d\d\d,\d\d\d, which no saved tensors do"):
        read_state(tmp_path / "a.pt")


def test_a_checkpoint_that_holds_itself(tmp_path: Path) -> None:
    content: dict[str, object] = {}
    content["model"] = content
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(InputError, match="holds the keys model and no state dict"):
        read_state(tmp_path / "a.pt")


def test_what_a_checkpoint_says_of_versions_is_looked_at(tmp_path: Path) -> None:
    state = torch.nn.Linear(1, 1).state_dict()
    state._metadata = {"": {"version": "1"}, 7: {}, "a": 7, "b": {"version": 2}}
    torch.save(state, tmp_path / "a.pt")
    assert read_state(tmp_path / "a.pt")._metadata == {"b": {"version": 2}}


@pytest.mark.parametrize(
    "header",
    [
        b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}',
        b'{"a":{"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,4]}}',
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}',
        b'{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}',
        b'{"__metadata__":{"captum_proto":' + json.dumps(DEEP).encode() + b"}}",
        b'{"__metadata__":{"captum_proto":' + json.dumps(DIGITS).encode() + b"}}",
        DEEP.encode(),
    ],
    ids=["terabytes", "overflow", "backwards", "no-such-type", "brackets", "digits", "brackets-all-over"],
)
def test_tensors_that_claim_more_than_there_is(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for length in (len(header), 2**40, 2**64 - 1):
        path.write_bytes(struct.pack("<Q", length) + header + bytes(4))
        for read in (
            lambda: Prototypes.load(path),
            lambda: read_state(path),
            lambda: load_tensors(path, "x"),
            lambda: read_directions(path),
        ):
            with pytest.raises(InputError, match=r"a\.safetensors") as error:
                read()
            assert str(error.value).count("\n") == 0


@pytest.mark.parametrize(
    "shape", ["(1099511627776,)", "(4294967296, 4294967296, 4294967296)", "(-1,)", "(1e9,)", "((),)"]
)
def test_an_array_that_claims_more_than_there_is(shape: str, tmp_path: Path) -> None:
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".encode()
    path = tmp_path / "a.npy"
    path.write_bytes(b"\x93NUMPY\x01\0" + struct.pack("<H", len(header)) + header + bytes(16))
    for read in (read_directions, MACOImage.load):
        with pytest.raises(InputError, match=r"a\.npy"):
            read(path)


def test_no_array_is_an_archive_or_a_pickle(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.savez_compressed(file, a=np.zeros(10**6))
    with pytest.raises(InputError, match="no array as NumPy saves one"):
        read_directions(path)
    path.write_bytes(pickle.dumps([1.0]))
    with pytest.raises(InputError, match="no array as NumPy saves one"):
        MACOImage.load(path)


@pytest.mark.parametrize(
    "outline",
    [
        [[0, 0, 1e12, 0, 0, 1e12]],
        [[0, 0, float("nan"), 0, 0, 3]],
        [[0, 0]],
        {"size": [4, 4], "counts": [2**31, 5]},
        {"size": [100_000, 100_000], "counts": "09"},
        {"size": [4, 4], "counts": "\0" * 9},
        {"size": [4], "counts": []},
        "text",
    ],
)
def test_an_outline_of_a_billion_pixels(outline: object, tmp_path: Path) -> None:
    pytest.importorskip("pycocotools")
    whole = {
        "images": [{"id": 1, "file_name": "a.png", "height": 4, "width": 4}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 1, "segmentation": outline}],
    }
    (tmp_path / "coco.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r"coco\.json\" is damaged"):
        CocoDataset(tmp_path, tmp_path / "coco.json").labels(0)
    del whole["images"][0]["file_name"]
    (tmp_path / "coco.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match="an image without a file_name"):
        CocoDataset(tmp_path, tmp_path / "coco.json")
    whole["images"][0] |= {"file_name": "a.png", "height": 10**9}
    (tmp_path / "coco.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match=r"an image of 1000000000 x 4 pixels"):
        CocoDataset(tmp_path, tmp_path / "coco.json")


def test_masks_that_do_not_fit_what_is_said_of_them(tmp_path: Path) -> None:
    """Found by the fuzzer: a label beyond the concepts ended in an IndexError, later."""
    PackedMasks.pack(ShapeDataset(3), tmp_path, (8, 8))
    whole, described = (
        np.fromfile(tmp_path / "masks.places", dtype=np.int64),
        json.loads((tmp_path / "masks.json").read_text()),
    )
    for place, value in ((-1, 1000), (-1, 0), (-1, -5), (0, 3), (1, 10**6), (3, 0)):
        changed = whole.copy()
        changed[place] = value
        changed.tofile(tmp_path / "masks.places")
        with pytest.raises(InputError, match=r"masks\.places (has labels from|does not say which)"):
            PackedMasks(tmp_path)
    whole.tofile(tmp_path / "masks.places")
    for changes in (
        {"size": [10**9, 10**9]},
        {"size": [0, 8]},
        {"concepts": []},
        {"size": [float("inf"), 8]},
        {"images": -1},
    ):
        (tmp_path / "masks.json").write_text(json.dumps(described | changes))
        with pytest.raises(InputError):
            PackedMasks(tmp_path)
