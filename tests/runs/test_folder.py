"""The folder of a run: what is its own, what is another's, and what of it goes when it is overwritten."""

from __future__ import annotations

import errno
import json
import os
import tempfile
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from captum_proto import ops
from captum_proto.runs.files import write_text
from captum_proto.runs.folder import MANIFEST, SETTINGS, RunFolder, noted_warnings, read_settings
from captum_proto.runs.provenance import check_same, plain, provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out, warnings_of


@dataclass(frozen=True)
class Words(Protocol[str]):
    """A file for each word, and all of them in one; a word may come with a warning, or be a run of its own."""

    words: dict[str, str]
    warned: dict[str, str] = field(default_factory=dict)
    within: dict[str, Words] = field(default_factory=dict)
    stop: str = ""
    made: list[str] = field(default_factory=list)
    command: str = "words"

    def provenance(self) -> dict[str, Any]:
        return provenance(self.command, {"words": sorted(self.words)})

    def tasks(self) -> list[Task]:
        return [Task(name, {"word": word}) for name, word in self.words.items()]

    def make(self, task: Task, run: Run) -> None:
        if task.name == self.stop:
            raise KeyboardInterrupt
        self.made.append(task.name)
        if task.name in self.warned:
            warnings.warn(self.warned[task.name], stacklevel=1)
        if task.name in self.within:
            carry_out(self.within[task.name], run.folder / "parts" / task.name, resume=True)
        write_text(run.folder / f"{task.name}.txt", self.words[task.name], overwrite=True)

    def summarize(self, run: Run) -> str:
        text = " ".join((run.folder / f"{task.name}.txt").read_text().strip() for task in run.tasks)
        write_text(run.folder / "all" / "text.txt", text, overwrite=True)
        run.note({"warnings": run.warnings()})
        return text


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_folder_that_holds_anything_is_left_alone_unless_asked(tmp_path: Path) -> None:
    protocol = Words({"a": "one", "b": "two"})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").touch()
    with pytest.raises(FileExistsError, match=r'out" is not empty; choose another folder, or pass --overwrite or'):
        carry_out(protocol, tmp_path / "out")
    with pytest.raises(FileExistsError, match=r"holds no readable settings\.json, so it cannot be resumed"):
        carry_out(protocol, tmp_path / "out", resume=True)
    with pytest.raises(FileExistsError, match=r'mine\.txt" is a file; choose a folder'):
        carry_out(protocol, tmp_path / "out" / "mine.txt")
    assert files(tmp_path / "out") == ["mine.txt"]
    assert carry_out(protocol, tmp_path / "out", overwrite=True) == "one two"
    assert carry_out(protocol, tmp_path / "begun", resume=True) == "one two"  # nothing is there yet


def test_what_a_run_recorded_goes_when_it_is_overwritten_and_nothing_else(tmp_path: Path) -> None:
    carry_out(Words({"a": "one", "b": "two"}), tmp_path)
    (tmp_path / "all" / "mine.txt").touch()
    carry_out(Words({"c": "three"}), tmp_path, overwrite=True)
    assert files(tmp_path) == ["all/mine.txt", "all/text.txt", "c.txt", MANIFEST, SETTINGS, "tasks/c.json"]
    record = json.loads((tmp_path / "tasks" / "c.json").read_text())
    (tmp_path.parent / "outside.txt").touch()
    record["files"]["../outside.txt"] = record["files"]["c.txt"]  # whatever a record may say
    (tmp_path / "tasks" / "c.json").write_text(json.dumps(record))
    carry_out(Words({"a": "one"}), tmp_path, overwrite=True)
    assert files(tmp_path) == ["a.txt", "all/mine.txt", "all/text.txt", MANIFEST, SETTINGS, "tasks/a.json"]
    assert (tmp_path.parent / "outside.txt").exists()


@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_a_folder_of_another_command_is_left_alone(tmp_path: Path, way: str) -> None:
    carry_out(Words({"a": "one"}), tmp_path)
    before = {name: (tmp_path / name).read_bytes() for name in files(tmp_path)}
    with pytest.raises(
        ValueError, match="holds the results of captum-proto words, not of others; choose another folder"
    ):
        carry_out(Words({"a": "one"}, command="others"), tmp_path, **{way: True})
    assert {name: (tmp_path / name).read_bytes() for name in files(tmp_path)} == before


def test_a_run_is_resumed_with_the_same_settings_alone(tmp_path: Path) -> None:
    carry_out(Words({"a": "one"}), tmp_path)
    with pytest.raises(
        ValueError, match=r"was made with words = \['a'\], now it is \['a', 'b'\]; resume with the same"
    ):
        carry_out(Words({"a": "one", "b": "two"}), tmp_path, resume=True)


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        ({"steps": 4}, {"steps": 5}, "made with steps = 4, now it is 5; resume"),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, "made with a.b = [1, 2], now it is [1, 3]; resume"),
        # A long list, such as the stages of a reproduction, is looked into.
        (
            {"stages": [{"model": "m" * 99, "steps": 4}, {"steps": 4}]},
            {"stages": [{"model": "m" * 99, "steps": 5}, {"steps": 4}]},
            "made with stages[0].steps = 4, now it is 5; resume",
        ),
        ({"a": 1, "b": 1}, {"a": 2, "b": 2}, "made with a = 1, now it is 2 (b differs too); resume"),
        (
            dict.fromkeys("abcdef", 1),
            dict.fromkeys("abcdef", 2),
            "made with a = 1, now it is 2 (b, c, d and 2 more differ too); resume",
        ),
        (
            {"seeds": [*range(500)]},
            {"seeds": [*range(9)]},
            "497, 498, 499], now it is [0, 1, 2, 3, 4, 5, 6, 7, 8]; resume",
        ),
        ({}, {"limit": 3}, "made with limit = None, now it is 3; resume"),
    ],
)
def test_a_changed_setting_is_named_in_a_short_sentence(before: Any, now: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="choose another folder, or begin anew with --overwrite") as refused:
        check_same(tmp_path, before, now)
    assert said in str(refused.value)
    assert len(str(refused.value).removeprefix(f'"{tmp_path}"')) < 320


def test_what_was_warned_of_is_recorded_whichever_process_made_it(tmp_path: Path) -> None:
    inner = Words({"x": "ex", "y": "why"}, {"x": "x is odd", "y": "y is odd"})
    outer = {"a": "one", "b": "two"}, {"a": "a is odd", "b": "a is odd"}, {"b": inner}
    with pytest.warns(UserWarning, match="odd") as shown:
        carry_out(Words(*outer), tmp_path / "whole")
    assert [str(warning.message) for warning in shown] == ["a is odd", "x is odd", "y is odd"]  # each once
    with pytest.warns(UserWarning, match="x is odd"), pytest.raises(KeyboardInterrupt):
        carry_out(Words(*outer[:2], {"b": Words(inner.words, inner.warned, stop="y")}), tmp_path / "parts")
    with pytest.warns(UserWarning, match="y is odd"):
        carry_out(Words(*outer), tmp_path / "parts", resume=True)
    assert files(tmp_path / "parts") == files(tmp_path / "whole")
    for name in files(tmp_path / "whole"):
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert warnings_of(tmp_path / "parts") == ["a is odd", "x is odd", "y is odd"]


def test_what_an_interrupted_part_left_goes_with_the_run_it_is_a_part_of(tmp_path: Path) -> None:
    inner = Words({"x": "ex", "y": "why"}, stop="y")
    with pytest.raises(KeyboardInterrupt):
        carry_out(Words({"a": "one"}, within={"a": inner}), tmp_path)
    assert "parts/a/x.txt" in files(tmp_path)
    made: list[str] = []
    carry_out(Words({"a": "one"}, within={"a": Words({"x": "other"}, made=made)}), tmp_path, overwrite=True)
    assert made == ["x"]
    assert (tmp_path / "parts" / "a" / "x.txt").read_text() == "other\n"
    assert "parts/a/tasks/y.json" not in files(tmp_path)


def test_a_run_beside_another_is_not_a_part_of_it(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "one", {"command": "words"}) as one:
        one.write_settings({})
        carry_out(Words({"a": "one"}), tmp_path / "two")
    assert read_settings(tmp_path / "one") == {"command": "words", "recorded": {}}


def test_what_a_killed_process_was_writing_is_nothing(tmp_path: Path) -> None:
    for name in (".lock", ".settings.json.abc.partial"):
        (tmp_path / name).touch()
    assert carry_out(Words({"a": "one"}), tmp_path, resume=True) == "one"
    assert not [name for name in files(tmp_path) if name.startswith(".")]


def test_a_task_is_made_again_where_its_file_is_gone_or_torn(tmp_path: Path) -> None:
    made: list[str] = []
    protocol = Words({"a": "one", "b": "two", "c": "three"}, made=made)
    carry_out(protocol, tmp_path)
    (tmp_path / "a.txt").unlink()
    (tmp_path / "b.txt").write_text("tw")
    assert carry_out(protocol, tmp_path, resume=True) == "one two three"
    assert made == ["a", "b", "c", "a", "b"]


def test_a_file_is_recorded_by_its_name_and_digest(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "given.txt").write_text("given")
    (tmp_path / "x" / "given.txt").write_text("given")
    recorded = provenance("words", {"n": 1}, files={"file": tmp_path / "given.txt", "none": None})
    assert recorded["file"]["file"] == "given.txt"
    assert len(recorded["file"]["sha256"]) == 64
    assert recorded["none"] is None
    assert provenance("words", {"n": 1}, files={"file": tmp_path / "x" / "given.txt", "none": None}) == recorded
    with pytest.raises(FileNotFoundError, match=r'there is no file ".*nowhere"; give one that is there'):
        provenance("words", {}, files={"file": tmp_path / "nowhere"})


def test_settings_as_json_can_hold_them(tmp_path: Path) -> None:
    class Affine:
        def settings(self) -> dict[str, Any]:
            return {"degrees": (1, 2)}

    values = {"a": Affine(), 1: [tmp_path, range(2)], "none": None}
    assert plain(values) == {"a": {"degrees": [1, 2]}, "1": [str(tmp_path), [0, 1]], "none": None}


def test_a_warning_is_noted_and_shown_once() -> None:
    def warned_of_twice() -> list[str]:
        with noted_warnings() as noted:
            for _ in range(2):
                warnings.warn("again", stacklevel=1)
        return noted

    show = warnings.showwarning
    with pytest.warns(UserWarning, match="again") as shown:
        assert warned_of_twice() == ["again"]
    assert len(shown) == 1
    assert warnings.showwarning is show


def test_what_is_said_once_in_a_process_is_shown_and_is_no_part_of_a_record() -> None:
    with pytest.warns(ops.SlowPathWarning, match="slow") as shown, noted_warnings() as noted:
        warnings.warn("slow", ops.SlowPathWarning, stacklevel=1)
    assert len(shown) == 1
    assert noted == []


def test_folders_without_files_are_in_nobodys_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full as a file is begun leaves none either."""

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(tempfile, "mkstemp", refuse)
        with pytest.raises(OSError, match="make room"):
            carry_out(Words({"a": "one"}), tmp_path / "full")
    assert not (tmp_path / "full").exists()
    (tmp_path / "left" / "values").mkdir(parents=True)
    assert carry_out(Words({"a": "one"}), tmp_path / "left", resume=True) == "one"


def test_a_journal_that_cannot_be_removed_is_said_and_a_lock_that_is_left_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unlink = Path.unlink

    def refuse(self: Path, missing_ok: bool = False) -> None:
        if self.name == ".unfinished" and self.exists():
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(self, missing_ok)

    protocol = Words({"a": "one"}, within={"a": Words({"x": "ex"})})
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        with pytest.raises(OSError, match=r"\.unfinished\" cannot be removed \(Input/output error\)"):
            carry_out(Words({"a": "one"}), tmp_path / "one")
    carry_out(protocol, tmp_path / "two")
    (tmp_path / "two" / "parts" / "a" / ".lock").touch()
    carry_out(protocol, tmp_path / "two", resume=True)
    assert not (tmp_path / "two" / "parts" / "a" / ".lock").exists()
