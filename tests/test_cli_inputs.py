"""
What commands are given and where they print: names of files that are not UTF-8, terminals that are not, numbers that look like options,
photographs that are stored turned, natural images of another shape.
"""

from __future__ import annotations

import argparse
import csv
import errno
import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from captum_proto import Prototypes
from captum_proto._utils.files import load_tensors, readable, save_tensors
from captum_proto.cli import COMMANDS, _parser, main
from captum_proto.report.page import Page

FACTORY = """
import torch

def factory():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(16, 3)
    )
    model.image_shape = (1, 8, 8)
    model.class_names = NAMES
    return model
"""
#: Bytes that are not UTF-8, and how they are shown.
BAD, SHOWN = b"\xff\xe9", r"\xff\xe9"
FAST = ["--steps", "2", "--warmup-steps", "0", "--no-progress"]


def generate_one(folder: Path) -> list[str]:
    """A command that makes a prototype of a factory's model in a folder."""
    (folder / "net.py").write_text(FACTORY.replace("NAMES", "None"))
    model = ["--model", f"{folder}/net.py:factory", "--target", "1"]
    return ["generate", *model, *FAST, "--out", str(folder / "out")]


ENCODINGS = ["ascii", "latin-1", "cp1252", "utf-8"]


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """A folder whose own name, and the names in which, are not UTF-8: a model, a flat folder of images, and a folder of each class."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in" + BAD))
    try:
        folder.mkdir()
    except (OSError, UnicodeError):
        pytest.skip("this file system takes no name that is not UTF-8")
    bad = os.fsdecode(BAD)
    (folder / f"net{bad}.py").write_text(FACTORY.replace("NAMES", "None"))
    generator = np.random.default_rng(0)
    for label in range(3):
        for place in range(3):
            pixels = Image.fromarray(generator.integers(0, 256, (10, 12), dtype=np.uint8))
            for path in (f"flat/{label}_{place}{bad}.png", f"tree/c{label}{bad}/{place}{bad}.png"):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                pixels.save(folder / path)
        for path in (f"flat/{label}_{bad}.png", f"tree/c{label}{bad}/broken{bad}.png"):
            (folder / path).write_bytes(b"no picture")
    return folder


Command = Callable[[Path], list[str]]


def evaluate(images: str) -> Command:
    return lambda folder: ["evaluate", "--images", str(folder / images), "--target", "1", "--controls", "gray", *FAST]


def compare(folder: Path) -> list[str]:
    bad = os.fsdecode(BAD)
    groups = [f"--group=g{bad}{label}={folder}/tree/c{label}{bad}" for label in range(2)]
    return ["compare-groups", *groups, "--target", "1", "--resamples", "99", *FAST]


def sweep(folder: Path) -> list[str]:
    settings = ["--set", "steps=2", "--set", "warmup_steps=0", "--controls", "gray", "--no-progress"]
    return ["sweep", "--images", str(folder / "flat"), "--target", "1", *settings]


def fooling(folder: Path) -> list[str]:
    picture = str(folder / f"flat/0_0{os.fsdecode(BAD)}.png")
    given = ["--images", str(folder / "flat"), "--target", "0", "--target", "1", "--seeds", "1", "--picture", picture]
    return ["fooling", *given, "--plant", "face", *FAST]


RUNS: dict[str, Command] = {
    "generate": lambda folder: ["generate", "--target", "1", *FAST],
    "evaluate, flat": evaluate("flat"),
    "evaluate, tree": evaluate("tree"),
    "compare-groups": compare,
    "sweep": sweep,
    "fooling": fooling,
}


@pytest.mark.filterwarnings("ignore:.*images cannot be read")
@pytest.mark.parametrize("name", RUNS)
def test_names_that_are_not_utf8(name: str, inside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = os.fsdecode(BAD)
    out = inside / f"out{bad}"
    command = [*RUNS[name](inside), "--model", f"{inside}/net{bad}.py:factory", "--out", str(out)]
    assert main(command) == 0, capsys.readouterr().err
    before = {path: path.stat().st_mtime_ns for path in (out / "tasks").rglob("*.json")}
    assert main([*command, "--resume"]) == 0, capsys.readouterr().err
    assert {
        path: path.stat().st_mtime_ns for path in (out / "tasks").rglob("*.json")
    } == before  # nothing was made again
    assert main(["report", str(out)]) == 0, capsys.readouterr().err
    settings = json.loads((out / "settings.json").read_text(encoding="utf-8"))
    assert bad in json.dumps(settings, ensure_ascii=False)  # by this name a file is found
    page = (out / "report.html").read_text(encoding="utf-8")
    assert SHOWN in page
    Page.load(out)
    (out / "page.json").unlink()  # from the results alone
    assert main(["report", str(out)]) == 0
    if name == "compare-groups":
        with (out / "images.csv").open(encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        assert [row["file"] for row in rows[:1]] == [readable(str(inside / f"tree/c0{bad}/0{bad}.png"))]
        assert {row["subgroup"] for row in rows} == {f"g{SHOWN}0", f"g{SHOWN}1"}
        manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
        listed = [Path(image["file"]) for group in manifest["images"].values() for image in group["images"]]
        assert len(listed) == 6
        assert all(path.is_file() for path in listed)


def test_tensors_and_checkpoints_under_such_names(inside: Path) -> None:
    path = inside / "x.safetensors"
    save_tensors(path, "thing", {"a": torch.arange(3)}, {"name": str(path)})
    tensors, story = load_tensors(path, "thing")
    assert tensors["a"].tolist() == [0, 1, 2]
    assert story["name"] == str(path)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ValueError, match="is damaged or no safetensors file"):
        load_tensors(path, "thing")
    for content in (b"", b"\xff" * 7, b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged or no safetensors file"):
            load_tensors(path, "thing")


# Terminals.


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], io.BytesIO]:
    def of(encoding: str) -> io.BytesIO:
        shown = io.BytesIO()
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(
                sys, name, io.TextIOWrapper(shown, encoding=encoding, errors="strict", write_through=True)
            )
        return shown

    return of


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "command", ["", *(command.__name__.rpartition(".")[2].replace("_", "-") for command in COMMANDS)]
)
def test_help_on_any_terminal(command: str, encoding: str, terminal: Callable[[str], io.BytesIO]) -> None:
    shown = terminal(encoding)
    with pytest.raises(SystemExit) as end:
        main([*([command] if command else []), "--help"])
    assert end.value.code == 0
    text = shown.getvalue().decode(encoding)
    assert "exit codes: 0 done" in " ".join(text.split())
    if command == "generate":
        assert ("λ" if encoding == "utf-8" else "\\u03bb") in text


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_run_on_any_terminal(encoding: str, tmp_path: Path, terminal: Callable[[str], io.BytesIO]) -> None:
    (tmp_path / "net.py").write_text(FACTORY.replace("NAMES", '["λ", "é", "猫"]'), encoding="utf-8")
    shown = terminal(encoding)
    command = ["generate", "--model", f"{tmp_path}/net.py:factory", *FAST, "--out", str(tmp_path / "out")]
    assert main([*command, "--target", "λ", "--target", "é", "--target", "猫"]) == 0
    lines = shown.getvalue().decode(encoding).splitlines()
    names = [name.encode(encoding, "backslashreplace").decode(encoding) for name in ("λ", "é", "猫")]
    assert [line.partition(",")[0] for line in lines if ", 0: " in line] == names
    assert lines[-1] == f"written: {tmp_path / 'out'}"
    assert json.loads((tmp_path / "out" / "settings.json").read_text(encoding="utf-8"))["recorded"]["labels"] == [
        "λ",
        "é",
        "猫",
    ]
    assert main([*command, "--target", "β", "--out", str(tmp_path / "another")]) == 1
    assert ("β" if encoding == "utf-8" else "\\u03b2") in shown.getvalue().decode(encoding)


@pytest.mark.parametrize(("code", "said"), [(errno.ENOSPC, "standard output cannot be written"), (errno.EPIPE, "")])
def test_output_that_goes_nowhere_is_no_bug(
    code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(code, os.strerror(code))

    command = generate_one(tmp_path)
    monkeypatch.setattr(sys, "stdout", Full())
    assert main(command) == 1
    told = capsys.readouterr().err
    assert said in told
    assert "bug" not in told
    assert len(Prototypes.load(tmp_path / "out" / "prototypes.safetensors")) == 1


# Numbers.


def numeric_options() -> list[tuple[str, str, int]]:
    """Every option of every command that takes numbers: the command, the option, and how many."""
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    return [
        (name, action.option_strings[0], action.nargs if isinstance(action.nargs, int) else 1)
        for name, parser in commands.choices.items()
        for action in parser._actions
        if action.type is float
    ]


@pytest.mark.parametrize(("command", "option", "count"), numeric_options())
@pytest.mark.parametrize("number", ["-1e-3", "-1E+3", "-.5e2", "-2", "-0.5", "-inf"])
def test_a_negative_number_is_a_value(command: str, option: str, count: int, number: str) -> None:
    (commands,) = (action for action in _parser()._actions if isinstance(action, argparse._SubParsersAction))
    parser = commands.choices[command]
    for action in parser._actions:
        action.required = False
    given, unknown = parser.parse_known_args([option, *[number] * count])
    value = getattr(given, option.removeprefix("--").replace("-", "_"))
    assert value in (float(number), [float(number)] * count)
    assert not unknown


@pytest.mark.parametrize("fill", ["reflect", "replicate"])
def test_a_fill_by_name_noise_and_an_optimizer_through_the_whole_command_line(tmp_path: Path, fill: str) -> None:
    assert main([*generate_one(tmp_path), "--fill", fill, "--noise", "0.05", "--optimizer", "nadam"]) == 0
    settings = Prototypes.load(tmp_path / "out" / "prototypes.safetensors").settings
    assert (settings["transform"]["fill"], settings["noise"], settings["optimizer"]) == (fill, 0.05, "nadam")


def test_a_fill_that_has_no_name_is_told_with_those_that_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*generate_one(tmp_path), "--fill", "reflection"])
    assert 'did you mean "reflect"' in capsys.readouterr().err


def test_a_fill_with_an_exponent_through_the_whole_command_line(tmp_path: Path) -> None:
    assert main([*generate_one(tmp_path), "--fill", "-1e-3"]) == 0
    assert Prototypes.load(tmp_path / "out" / "prototypes.safetensors").settings["transform"]["fill"] == -1e-3


# Photographs that are stored turned.


def photographs(folder: Path, orientation: int) -> Path:
    """The same upright photographs, as a camera stores them that was held in some way."""
    generator = np.random.default_rng(0)
    for label in range(3):
        for place in range(3):
            upright = generator.integers(0, 256, (8, 8), dtype=np.uint8)
            exif = Image.Exif()
            exif[0x0112] = orientation
            stored = upright if orientation == 1 else np.rot90(upright, {6: 1, 3: 2, 8: -1}[orientation])
            path = folder / str(label) / f"{place}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(stored).save(path, exif=exif)
    return folder


def scores_of(out: Path) -> bytes:
    found = [*out.rglob("scores.csv"), *out.glob("images.csv"), *out.glob("classes.csv"), *out.glob("fooling.csv")]
    assert found
    rows: list[list[str]] = []
    for path in found:
        with path.open(newline="", encoding="utf-8") as file:
            rows += [
                [cell for name, cell in row.items() if name not in ("file", "sha256")] for row in csv.DictReader(file)
            ]
    return repr(rows).encode()


@pytest.mark.parametrize("name", ["evaluate", "compare-groups", "sweep", "fooling"])
def test_photographs_are_upright_where_that_is_asked_for(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.py").write_text(FACTORY.replace("NAMES", "None"))

    def run(orientation: int, *further: str) -> Path:
        images = photographs(tmp_path / str(orientation), orientation)
        options = {
            "evaluate": ["--images", str(images), "--target", "1", "--controls", "gray", *FAST],
            "compare-groups": [f"--group={g}={images}/{g}" for g in (0, 1)]
            + ["--target=1", "--no-prototypes", "--resamples=99"],
            "sweep": [
                "--images",
                str(images),
                "--target",
                "1",
                "--controls",
                "gray",
                "--set=steps=2",
                "--set=warmup_steps=0",
            ],
            "fooling": ["--images", str(images), "--target=0", "--target=1", "--seeds=1", "--plant=other_image", *FAST],
        }[name]
        out = tmp_path / f"out{orientation}{len(further)}"
        command = [name, "--model", f"{tmp_path}/net.py:factory", *options, *further, "--out", str(out)]
        assert main(command) == 0, capsys.readouterr().err
        return out

    upright, stored, followed = run(1), run(6), run(6, "--exif-orientation")
    assert scores_of(followed) == scores_of(upright) != scores_of(stored)
    noted = [
        any("are stored turned or mirrored" in text for text in Page.load(out).failures)
        for out in (upright, stored, followed)
    ]
    assert noted == (
        [False, True, False] if name != "fooling" else [False] * 3
    )  # there images are read before the run begins
    described = [(out / "settings.json").read_text() for out in (upright, stored, followed)]
    assert ['"exif_orientation": true' in text for text in described] == [False, False, True]


# Natural images of another shape.


@pytest.mark.parametrize("command", ["evaluate", "sweep", "fooling", "reproduce"])
def test_digits_for_a_network_of_another_shape(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("sklearn")
    (tmp_path / "net.py").write_text(FACTORY.replace("NAMES", "None").replace("(1, 8, 8)", "(1, 9, 9)"))
    given = [
        "--model",
        f"{tmp_path}/net.py:factory",
        "--images",
        "digits",
        "--target",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    given += ["--items", "table1", "--limit", "5"] if command == "reproduce" else []
    assert main([command, *given]) == 1
    assert '"digits" are images of shape (1, 8, 8), but image_shape is (1, 9, 9); give' in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
