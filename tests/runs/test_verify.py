"""What is wrong in a folder is found, and the command that is named makes just that again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from protocols import PROTOCOLS
from test_folder import Words, files

from captum_proto.cli import main
from captum_proto.cli.recorded import recorded_arguments
from captum_proto.runs.contents import MANIFEST, SETTINGS
from captum_proto.runs.folder import begun_by, read_settings
from captum_proto.runs.tasks import carry_out
from captum_proto.runs.verify import ALTERED, MISSING, TRUNCATED, Verification, verify

INNER = Words({"x": "ex", "y": "why"})


def whole(made: list[str] | None = None, inner: list[str] | None = None) -> Words:
    """A run with a part."""
    part = Words(INNER.words, made=[] if inner is None else inner)
    return Words({"a": "one", "b": "two", "c": "three"}, within={"b": part}, made=[] if made is None else made)


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in files(folder)}


def flip(path: Path, place: int) -> None:
    """Flip a bit of a file."""
    data = bytearray(path.read_bytes())
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)


def names(found: Verification, what: str) -> list[str]:
    return [problem.path for problem in found.problems if problem.what == what]


def test_a_whole_folder(tmp_path: Path) -> None:
    carry_out(whole(), tmp_path / "out")
    found = verify(tmp_path / "out")
    assert found.whole
    assert found.checked == len(files(tmp_path / "out"))
    (tmp_path / "out" / "mine.txt").touch()
    found = verify(tmp_path / "out")
    assert (found.whole, found.unexpected) == (True, ["mine.txt"])


#: What is damaged, and which tasks are made again for it: of the run, of its part.
DAMAGED: dict[str, tuple[list[str], list[str]]] = {
    "a.txt": (["a"], []),
    "all/text.txt": ([], []),
    "tasks/c.json": (["c"], []),
    MANIFEST: ([], []),
    SETTINGS: ([], []),
    "parts/b/x.txt": (["b"], ["x"]),
    "parts/b/tasks/y.json": (["b"], ["y"]),
    f"parts/b/{SETTINGS}": (["b"], []),
    f"parts/b/{MANIFEST}": (["b"], []),
    "parts/b/all/text.txt": (["b"], []),
}


@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("what", [MISSING, TRUNCATED, ALTERED])
def test_what_is_damaged_is_found_and_made_again_and_nothing_else(name: str, what: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    carry_out(whole(), out)
    expected, path = contents(out), out / name
    data = path.read_bytes()
    if what == MISSING:
        path.unlink()
    else:
        path.write_bytes(data[:-2] if what == TRUNCATED else data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    damaged = contents(out)
    found = verify(out)
    assert not found.whole
    if not (
        what == MISSING and Path(name).name == MANIFEST
    ):  # of which nothing is known but that the run is not finished
        assert name in [problem.path for problem in found.problems]
    if what != TRUNCATED or not name.endswith(
        ".json"
    ):  # of JSON that says itself what it is, nobody knows how long it was
        assert name in names(found, what) or found.unfinished
    assert contents(out) == damaged  # verify reads alone
    made: list[str] = []
    inner: list[str] = []
    carry_out(whole(made, inner), out, resume=True)
    assert (made, inner) == DAMAGED[name]
    assert contents(out) == expected
    assert verify(out).whole


def test_every_bit_of_every_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    carry_out(Words({"a": "one", "b": "two"}), out)
    missed = []
    for name in files(out):
        path = out / name
        data = path.read_bytes()
        for place in range(0, 8 * len(data), 31):
            flip(path, place)
            found = verify(out)
            if found.whole or name not in [problem.path for problem in found.problems]:
                missed.append((name, place))
            path.write_bytes(data)
    assert missed == []


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        carry_out(Words({"a": "one", "b": "two"}, stop="b"), out)
    (out / ".b.txt.abc.partial").touch()
    found = verify(out)
    assert (found.whole, found.unfinished, found.problems, found.unexpected) == (False, ["."], [], [])
    assert ".b.txt.abc.partial" in found.left
    flip(out / "tasks" / "a.json", 40)
    assert names(verify(out), ALTERED) == ["tasks/a.json"]


def test_the_settings_of_an_interrupted_run_are_lost_and_its_tasks_are_not(tmp_path: Path) -> None:
    carry_out(Words({"a": "one", "b": "two"}), tmp_path / "whole")
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        carry_out(Words({"a": "one", "b": "two"}, stop="b"), out)
    (out / SETTINGS).write_text("{")
    assert names(verify(out), ALTERED) == [SETTINGS]
    with pytest.raises(FileExistsError, match=r"no readable settings\.json"):  # of another run
        carry_out(Words({"a": "one", "c": "two"}), out, resume=True)
    made: list[str] = []
    carry_out(Words({"a": "one", "b": "two"}, made=made), out, resume=True)
    assert made == ["b"]
    assert contents(out) == contents(tmp_path / "whole")


def test_settings_whose_digest_lost_its_name_are_altered(tmp_path: Path) -> None:
    """One bit of the word: without it they would be settings of an earlier version, with one that nobody knows."""
    made: list[str] = []
    carry_out(Words({"a": "one", "b": "two"}), tmp_path)
    before = (tmp_path / SETTINGS).read_bytes()
    (tmp_path / SETTINGS).write_bytes(before.replace(b'"sha256": ', b'"sha2u6": '))
    assert not verify(tmp_path).whole
    carry_out(Words({"a": "one", "b": "two"}, made=made), tmp_path, resume=True)
    assert made == []
    assert (tmp_path / SETTINGS).read_bytes() == before
    assert verify(tmp_path).whole


def test_names_do_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    carry_out(Words({"a": "one"}), out)
    (tmp_path / "secret.txt").write_text("of others")
    content = json.loads((out / MANIFEST).read_text())
    content["files"]["../secret.txt"] = {"bytes": 1, "sha256": "0"}
    (out / MANIFEST).write_text(json.dumps(content))
    assert "../secret.txt" not in [problem.path for problem in verify(out).problems]


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    (tmp_path / "x.txt").touch()
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        verify(tmp_path / "nowhere")
    with pytest.raises(NotADirectoryError, match="is a file"):
        verify(tmp_path / "x.txt")
    with pytest.raises(FileNotFoundError, match=r"holds neither settings\.json nor tasks nor checksums\.json"):
        verify(tmp_path)


@pytest.mark.parametrize("name", ["generate", "evaluate", "sweep", "compare-groups"])
@pytest.mark.filterwarnings("ignore")
def test_protocols_with_parts(name: str, tmp_path: Path) -> None:
    """A file of each kind in each folder of a run is damaged, and all of it is as it was after one resume."""
    out = tmp_path / "out"
    carry_out(PROTOCOLS[name](tmp_path / "inputs"), out)
    expected = contents(out)
    assert verify(out).whole
    named = [path for path in sorted(expected) if Path(path).name != MANIFEST and "tasks/" not in path]
    damaged = named[::2]  # not what says what they were
    for path in damaged:
        flip(out / path, 4 * len(expected[path]))
    assert {problem.path for problem in verify(out).problems} >= set(damaged)
    carry_out(PROTOCOLS[name](tmp_path / "inputs"), out, resume=True)
    assert contents(out) == expected


def command(out: Path, *more: str) -> list[str]:
    given = ["generate", "--model", "digits", "--target", "3", "--count", "2", "--batch-size", "1", "--steps", "3"]
    return [*given, "--warmup-steps", "1", "--out", str(out), "--no-progress", *more]


def test_the_command_that_is_named_makes_it_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "a folder"
    assert main(command(out)) == 0
    expected = contents(out)
    assert main(["verify", str(out)]) == 0
    assert f"{out}: whole; {len(expected)} files are as written" in capsys.readouterr().out
    flip(out / "batches" / "00001.safetensors", 9000)
    (out / "prototypes.png").unlink()
    kept = (out / "tasks" / "batches" / "00000.json").stat().st_mtime_ns
    assert main(["verify", str(out)]) == 1
    said = capsys.readouterr()
    assert "altered: batches/00001.safetensors (task batches/00001)" in said.out
    assert "missing: prototypes.png" in said.out
    assert '" is not whole: 1 file altered, 1 file missing; to make again just that, run: captum-proto gen' in said.err
    import shlex

    named = shlex.split(said.err.partition("run: captum-proto ")[2].strip())
    assert main(named) == 0
    assert contents(out) == expected
    assert (out / "tasks" / "batches" / "00000.json").stat().st_mtime_ns == kept
    assert main(["verify", str(out)]) == 0


def test_the_command_line_is_recorded_beside_what_results_depend_on(tmp_path: Path) -> None:
    """Two folders of the same command are equal, whatever they are called and however often they were begun."""
    assert main(command(tmp_path / "one", "--snapshot-every", "2")) == 0
    assert main(command(tmp_path / "two", "--over")) == 0
    assert main(command(tmp_path / "two", "--res")) == 0
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert "arguments" not in read_settings(tmp_path / "one")
    shutil.rmtree(tmp_path / "two")


def test_arguments_without_what_changes_no_result() -> None:
    from captum_proto.cli import _parser

    def kept(*given: str) -> list[str]:
        return recorded_arguments(_parser(), "generate", ["generate", *given])

    assert kept("--out", "x", "--target", "3", "--resume") == ["generate", "--target", "3"]
    assert kept("--out=x", "--over", "--snapshot-every", "9", "--lr=0.1", "--no-prog") == ["generate", "--lr=0.1"]
    assert kept("--ou", "x", "--steps", "4") == ["generate", "--steps", "4"]


def test_a_part_and_a_program_record_no_command_line(tmp_path: Path) -> None:
    with begun_by(["words"]):
        carry_out(whole(), tmp_path / "out")
    assert verify(tmp_path / "out").to_resume() == ["captum-proto", "words", "--out", str(tmp_path / "out"), "--resume"]
    assert "arguments" not in json.loads((tmp_path / "out" / "parts" / "b" / SETTINGS).read_text())
    carry_out(whole(), tmp_path / "program")
    assert verify(tmp_path / "program").to_resume() is None


def test_a_folder_of_an_earlier_version_can_be_resumed(tmp_path: Path) -> None:
    """Which has neither seals nor a manifest."""
    made: list[str] = []
    carry_out(Words({"a": "one", "b": "two"}), tmp_path)
    (tmp_path / MANIFEST).unlink()
    for path in [tmp_path / SETTINGS, tmp_path / "tasks" / "a.json", tmp_path / "tasks" / "b.json"]:
        content: dict[str, Any] = json.loads(path.read_text())
        path.write_text(json.dumps({n: v for n, v in content.items() if n not in ("sha256", "run")}))
    carry_out(Words({"a": "one", "b": "two"}, made=made), tmp_path, resume=True)
    assert made == []
    assert verify(tmp_path).whole
