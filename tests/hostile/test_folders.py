"""What a run of others left in a folder cannot make a new run remove, read or write anything outside of it, or go on for ever."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captum_proto._utils.class_names import file_stem, model_stem
from captum_proto._utils.errors import CaptumProtoError, InputError, OccupiedError
from captum_proto._utils.files import one_line
from captum_proto.cli import main
from captum_proto.concept import Broden, CocoDataset, ConceptFolder
from captum_proto.data import ImageCollection
from captum_proto.experiments.sweep.plan import ModelPlan, Point
from captum_proto.report.context import Context
from captum_proto.runs.contents import nothing_finished, parts_of, recorded_files
from captum_proto.runs.folder import RunFolder

#: Names that would lead out of a folder, or break what shows them.
NAMES = [
    "../outside.txt",
    "../../outside.txt",
    "a/../../outside.txt",
    "/etc/hostname",
    "C:\\Windows\\win.ini",
    "..\\outside.txt",
    "\0",
    "a\nb",
    "n" * 300,
    "\udcff",
    "CON",
    "\x1b[2J",
    "\u202egnp.exe",
    "<script>alert(1)</script>",
    ".",
    "..",
    "",
    "./.",
    "out/inner.txt",
    "itself/a",
]
RECORD = {"task": "a", "index": 0, "inputs": {}, "needs": {}, "warnings": []}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of a run, and outside of it what must stay."""
    (tmp_path / "outside.txt").write_text("kept")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inner.txt").write_text("kept")
    (tmp_path / "run" / "tasks").mkdir(parents=True)
    return tmp_path / "run"


def is_kept(folder: Path) -> bool:
    outside = [folder.parent / "outside.txt", folder.parent / "elsewhere" / "inner.txt"]
    return all(path.read_text() == "kept" for path in outside) and Path("/etc/hostname").exists() == _HOST


_HOST = Path("/etc/hostname").exists()


def described(folder: Path, **more: object) -> None:
    (folder / "settings.json").write_text(json.dumps({"command": "generate", "recorded": {}, **more}))


def begun_anew(folder: Path) -> None:
    with RunFolder(folder, {"command": "generate"}, overwrite=True) as opened:
        opened.write_settings({})


@pytest.mark.parametrize("name", NAMES)
def test_names_that_a_run_recorded(name: str, folder: Path) -> None:
    """As files of a task, of the summary, of what was begun, and as parts: with --overwrite they go, if they lie in the folder."""
    (folder / "tasks" / "a.json").write_text(json.dumps({**RECORD, "files": {name: {"bytes": 1}}}))
    (folder / ".unfinished").write_text(json.dumps(name) + "\n")
    described(folder, parts=[name, name], summary_files=[name])
    inside = [path.resolve() for path in [*recorded_files(folder), *parts_of(folder)]]
    assert all(path.is_relative_to(folder) and path != folder for path in inside)
    nothing_finished(folder)
    begun_anew(folder)
    assert is_kept(folder)
    assert sorted(path.name for path in folder.iterdir()) == ["settings.json"]


@pytest.mark.parametrize("value", [7, "text", {"a": 1}, [7, None, {}], [["a"]], True])
def test_lists_that_are_none(value: object, folder: Path) -> None:
    described(folder, parts=value, summary_files=value)
    (folder / "results.csv").write_text("mine")
    begun_anew(folder)
    assert (folder / "results.csv").exists()
    described(folder, parts=value, summary_files=value)
    with RunFolder(folder, {"command": "generate"}, resume=True) as opened:
        opened.write_settings({})


def test_parts_in_a_circle_or_without_end(folder: Path) -> None:
    """A part that is the folder itself, and thirty folders of which each names all below: 2³⁰ ways to the last."""
    deep = folder
    names = []
    for place in range(30):
        names = [*(f"{name}" for name in names), "/".join(["d"] * (place + 1))]
    for place in range(30):
        deep.mkdir(exist_ok=True)
        described(deep, parts=[".", "..", "d/..", *names[: 30 - place]])
        deep = deep / "d"
    assert nothing_finished(folder)
    begun_anew(folder)
    assert is_kept(folder)
    assert not (folder / "d" / "settings.json").exists()


@pytest.mark.skipif(os.name == "nt", reason="links of POSIX")
@pytest.mark.parametrize("link", ["out", "tasks", "prototypes/deep", "settings.json", "a.png"])
def test_a_link_that_leads_out_of_a_run(link: str, folder: Path) -> None:
    target = folder.parent / ("outside.txt" if "." in link else "elsewhere")
    described(folder, parts=["out"], summary_files=["out/inner.txt", "a.png", "prototypes/deep/inner.txt"])
    (folder / "tasks" / "b.json").write_text(json.dumps({**RECORD, "files": {"out/inner.txt": {"bytes": 4}}}))
    if link == "tasks":
        (folder / "tasks" / "b.json").unlink()
        (folder / "tasks").rmdir()
    if link == "settings.json":
        (folder / link).unlink()
    (folder / link).parent.mkdir(exist_ok=True)
    (folder / link).symlink_to(target)
    for choice in ("overwrite", "resume"):
        with pytest.raises(CaptumProtoError) as error, RunFolder(folder, {"command": "generate"}, **{choice: True}):  # type: ignore[arg-type]
            pass
        assert (
            choice == "resume"
            or link == "settings.json"
            or f'holds a link that leads out of it, "{link}"' in str(error.value)
        )
    assert is_kept(folder)
    assert (folder / link).is_symlink()


@pytest.mark.skipif(not hasattr(os, "O_NOFOLLOW"), reason="links of POSIX")
@pytest.mark.parametrize("name", [".lock", ".unfinished"])
def test_a_lock_or_a_journal_that_is_a_link(name: str, folder: Path) -> None:
    """The one would be made, the other written, wherever the link leads."""
    described(folder)
    (folder / name).symlink_to(folder.parent / "made.txt")
    with pytest.raises(CaptumProtoError):
        begun_anew(folder)
    assert not (folder.parent / "made.txt").exists()


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("a\nb", "CON", "\udcff")])
def test_files_that_a_page_names(name: str, folder: Path) -> None:
    context = Context(folder, [])
    assert context.file(name) in (None, folder)
    assert context.file(name) is None or name in (".", "", "./.")


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/etc/hostname", "C:\\x.png", "\0", "a/../../outside.txt", 7, None, []]
)
def test_files_that_data_sets_name(name: object, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    concepts = {"concepts": [{"name": "dog", "category": "object"}], "images": [{"image": name}]}
    (tmp_path / "concepts.json").write_text(json.dumps(concepts))
    with pytest.raises(InputError, match=r"which is not in it"):
        ConceptFolder(tmp_path)
    pytest.importorskip("pycocotools")
    coco = {
        "images": [{"id": 1, "file_name": name, "height": 4, "width": 4}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    with pytest.raises(InputError, match=r"which is not in it"):
        CocoDataset(tmp_path / "images", tmp_path / "coco.json").image(0, (4, 4))
    if isinstance(name, str) and "\0" not in name:
        (tmp_path / "index.csv").write_text(f"image,split,ih,iw,sh,sw,scene\n{name},train,4,4,4,4,1\n")
        (tmp_path / "label.csv").write_text("number,name,category\n1,street,scene(1)\n")
        with pytest.raises(InputError, match=r"which is not in it"):
            Broden(tmp_path).image(0, (4, 4))


TEXTS = st.one_of(st.sampled_from([name for name in NAMES if name]), st.text(min_size=1, max_size=400))


@given(text=TEXTS, seed=st.integers(0, 2**31))
@settings(max_examples=200, deadline=None)
def test_names_of_files_from_names_of_anything(text: str, seed: int) -> None:
    """Of classes, models and combinations: one part of a path, of letters that every file system takes, of no more than 255 bytes."""
    class_stem, stem = file_stem((3,), ["", "", "", text]), model_stem(text)
    plan = ModelPlan(text, {}, None, {(3,): text}, {(3,): class_stem}, [])
    for path in (plan.picture(Point(0, (3,), seed)), plan.batch_name(0), plan.scores_name((3,)), plan.curves(0, (3,))):
        assert not Path(path).is_absolute()
        assert ".." not in Path(path).parts
        assert "\0" not in path
        assert "\n" not in path
    for part in (class_stem, stem):
        assert "/" not in part
        assert "\\" not in part
        assert part not in (".", "..", "")
        assert len(os.fsencode(part)) <= 200


@given(text=st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_a_sentence_is_one_line(text: str) -> None:
    shown = one_line(text)
    assert len(shown.splitlines()) <= 1
    assert not any(ord(letter) < 32 or letter in "\u202e\u2066\u200f\x7f\x9b" for letter in shown)


def test_an_error_in_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(tmp_path / "a\x1b]0;owned\x07\nb")]) == 1
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert "\x1b" not in printed
    assert "\\x1b]0;owned\\x07\\nb" in printed


@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\0", codec="utf-8"), min_size=1, max_size=60), min_size=1, max_size=4
    )
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_folders_of_any_names(names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    root = tmp_path_factory.mktemp("names")
    for name in names:
        if name not in (".", "..") and len(os.fsencode(name)) < 250:
            (root / name).mkdir(exist_ok=True)
            (root / name / "a.png").touch()
    with contextlib.suppress(InputError):
        assert all(path.is_relative_to(root) for path in ImageCollection.discover(root).paths)


def test_a_folder_in_use_is_said(folder: Path) -> None:
    described(folder)
    with RunFolder(folder, {"command": "generate"}, overwrite=True), pytest.raises(OccupiedError):
        RunFolder(folder, {"command": "sweep"}).__enter__()


def test_a_run_that_goes_on_removes_no_lock_outside(folder: Path) -> None:
    """That of a part which is none."""
    parts = ["..", "../elsewhere", 3, ["a"]]
    (folder / "settings.json").write_text(json.dumps({"command": "c", "recorded": {}, "parts": parts}))
    (folder / "tasks" / "a.json").write_text(json.dumps({**RECORD, "files": {}}))
    locks = [folder.parent / ".lock", folder.parent / "elsewhere" / ".lock"]
    for lock in locks:
        lock.touch()
    with RunFolder(folder, {"command": "c"}, resume=True):
        pass
    assert all(lock.exists() for lock in locks)
