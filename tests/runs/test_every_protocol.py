"""What holds for every protocol: killed anywhere and resumed, it ends in the same files, and nothing that was finished is made again."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import protocols
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from protocols import PROTOCOLS, WITH_PROTOTYPES, prototypes_file, trees

from captum_proto._utils.errors import CaptumProtoError, InputError
from captum_proto.experiments import report
from captum_proto.models import NamedModel
from captum_proto.report.page import Page
from captum_proto.runs import provenance as recording
from captum_proto.runs.folder import PAGE, REPORT, SETTINGS, TASKS, RunFolder
from captum_proto.runs.tasks import Run, Task, carry_out

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here"),
    pytest.mark.filterwarnings("always"),
]
Snapshot = dict[str, bytes]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A forked process has no threads but its own, and those of PyTorch would be waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def quick_figures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """matplotlib's figures take nearly all the time: a square stands for each. Two of the protocols draw theirs."""

    def square(figure: Figure, path: Path, **_: Any) -> None:
        titles = str([axes.get_title() for axes in figure.axes])
        Image.new("L", (4, 4), zlib.crc32(titles.encode()) % 256).save(path, format="png")

    if not any(name in request.node.name for name in ("[generate", "[compare-groups")):
        monkeypatch.setattr(Figure, "savefig", square)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inputs")


@pytest.fixture(scope="module")
def whole(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[Snapshot, int]]:
    """The files of a protocol that was not interrupted, and how many tasks were finished, those of its parts among them."""
    found: dict[str, tuple[Snapshot, int]] = {}

    def of(name: str) -> tuple[Snapshot, int]:
        if name not in found:
            folder = tmp_path_factory.mktemp("whole") / name
            carry_out(PROTOCOLS[name](inputs), folder)
            found[name] = snapshot(folder), len(finished(folder))
        return found[name]

    return of


def snapshot(folder: Path) -> Snapshot:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def finished(folder: Path) -> dict[str, int]:
    """The records of finished tasks, those of parts as well, and when each was written."""
    records = [path for tasks in folder.rglob(TASKS) for path in tasks.rglob("*.json")]
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in records}


@contextmanager
def at_finish(call: int, act: Callable[[], None], after: bool = False) -> Iterator[None]:
    """Do something before or after a task, the ``call``-th from 0, is recorded as finished."""
    finish, calls = Run.finish, iter(range(1000))

    def watched(self: Run, *args: Any) -> None:
        here = next(calls) == call
        if here and not after:
            act()
        finish(self, *args)
        if here and after:
            act()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "finish", watched)
        yield


def in_another_process(act: Callable[[], None]) -> int:
    """The exit code of a process that does something: 0, 1 after an error of ours, which it prints, -9 if it was killed."""
    child = os.fork()
    if child == 0:
        code = 70
        try:
            act()
            code = 0
        except CaptumProtoError as error:
            print(error, flush=True)
            code = 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


#: At which task each protocol is killed: at the first, right after it is recorded; at one between and at the last, right before.
PLACES: list[tuple[str, str]] = [
    *((name, "between") for name in PROTOCOLS),
    *((name, place) for name in ("generate", "evaluate", "compare-groups") for place in ("first", "last")),
]


@pytest.mark.parametrize(("name", "place"), PLACES)
def test_a_killed_run_goes_on_and_ends_in_the_same_files(
    name: str, place: str, inputs: Path, tmp_path: Path, whole: Callable[[str], tuple[Snapshot, int]]
) -> None:
    _, count = whole(name)
    task, after = {"first": (0, True), "between": (count // 2, False), "last": (count - 1, False)}[place]
    check_killed(name, task, after, inputs, tmp_path / "out", whole(name))


@pytest.mark.skipif("CAPTUM_PROTO_EVERY_KILL" not in os.environ, reason="takes minutes: make test-kills")
@pytest.mark.parametrize("name", PROTOCOLS)
def test_killed_at_every_task(
    name: str, inputs: Path, tmp_path: Path, whole: Callable[[str], tuple[Snapshot, int]]
) -> None:
    _, count = whole(name)
    for task in range(count):
        for after in (False, True):
            check_killed(name, task, after, inputs, tmp_path / f"{task}{'-recorded' if after else ''}", whole(name))


def check_killed(name: str, task: int, after: bool, inputs: Path, out: Path, whole: tuple[Snapshot, int]) -> None:
    """Kill a protocol just before or after a task is recorded, resume it, and see that all is as if nothing had happened."""
    expected, count = whole

    def run_and_die() -> None:
        with at_finish(task, kill, after):
            carry_out(PROTOCOLS[name](inputs), out)

    assert in_another_process(run_and_die) == -signal.SIGKILL
    kept = finished(out)
    assert len(kept) == task + after
    carry_out(PROTOCOLS[name](inputs), out, resume=True)
    now = finished(out)
    assert {record: now[record] for record in kept} == kept  # none of them was made again
    assert len(now) == count
    found = snapshot(out)
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []


@pytest.mark.parametrize("name", PROTOCOLS)
def test_of_a_killed_run_there_is_a_page_and_another_run_may_take_its_place(
    name: str,
    inputs: Path,
    tmp_path: Path,
    whole: Callable[[str], tuple[Snapshot, int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected, count = whole(name)

    def run_and_die() -> None:
        with at_finish(count // 2, kill):
            carry_out(PROTOCOLS[name](inputs), tmp_path)

    assert in_another_process(run_and_die) == -signal.SIGKILL
    report.report_on(tmp_path)
    assert "The run is not finished" in (tmp_path / REPORT).read_text(encoding="utf-8")
    assert Page.load(tmp_path).sections or name == "compare-groups"  # of which a half is no comparison
    (tmp_path / "mine.txt").write_text("not of the run")
    monkeypatch.setattr(recording, "versions", lambda: {"python": "another"})
    with pytest.raises(ValueError, match=r"was made with versions\.captum = .* and \d more differ too\); resume with"):
        carry_out(PROTOCOLS[name](inputs), tmp_path, resume=True)
    with stopped_at_once(name, inputs, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        carry_out(PROTOCOLS[name](inputs), tmp_path, overwrite=True)
    assert snapshot(tmp_path).keys() == {"mine.txt", SETTINGS}  # nor the files of the task at which it was killed
    carry_out(
        PROTOCOLS[name](inputs), tmp_path, overwrite=True
    )  # what the killed run left of its parts is not in the way
    found = snapshot(tmp_path)
    assert found.pop("mine.txt") == b"not of the run"
    assert found.keys() == expected.keys()
    settings = [path for path in found if path.endswith("settings.json")]
    assert [path for path in settings if b"another" not in found[path]] == []


@contextmanager
def stopped_at_once(name: str, inputs: Path, error: BaseException) -> Iterator[None]:
    """The first task of a protocol cannot be made."""

    def stop(self: Any, task: Task, run: Run) -> None:
        raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(PROTOCOLS[name](inputs)), "make", stop)
        yield


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_run_of_which_nothing_is_finished_is_in_nobodys_way(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed, killed = tmp_path / "above" / "failed", tmp_path / "killed"
    with stopped_at_once(name, inputs, InputError("it has no gradient.")), pytest.raises(InputError, match="gradient"):
        carry_out(PROTOCOLS[name](inputs), failed)
    assert not failed.parent.exists()

    def run_and_die() -> None:
        with at_finish(0, kill):
            carry_out(PROTOCOLS[name](inputs), killed)

    assert in_another_process(run_and_die) == -signal.SIGKILL
    assert len(snapshot(killed)) > 1  # the files of the task
    report.report_on(killed)
    assert "The run is not finished" in (killed / REPORT).read_text(encoding="utf-8")
    monkeypatch.setattr(recording, "versions", lambda: {"python": "another"})
    (killed / "mine.txt").write_text("not of the run")
    with pytest.raises(FileExistsError, match=r"killed\" is not empty"):
        carry_out(PROTOCOLS[name](inputs), killed)
    (killed / "mine.txt").unlink()
    for options in ({}, {"resume": True}, {"overwrite": True}):
        with stopped_at_once(name, inputs, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
            carry_out(PROTOCOLS[name](inputs), killed, **options)
        assert snapshot(killed).keys() == {SETTINGS}


@pytest.mark.parametrize(
    "name",
    [
        name
        for name in PROTOCOLS
        if name
        not in (
            "generate-tabular",
            "generate-text",
            "planted-bias",
            "examples",
            "directions",
            "dissect",
            "explain",
            "describe",
            "agent",
            "quality-pairs",
            "blind",
            "blind-scores",
            "planted-trojans",
        )
    ],
)  # which trains its own, and which need none
def test_a_model_without_a_gradient_costs_no_results(
    name: str, inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be seen without a step, and is seen before the results of an earlier run are overwritten."""

    def detached(seed: int = 0) -> NamedModel:
        named = trees(seed)
        named.model[0].register_forward_hook(
            lambda module, arguments, output: output.detach()
        )  # and with it all that follows
        return named

    prototypes_file(inputs)
    command = PROTOCOLS[name](inputs).provenance()["command"]
    monkeypatch.setattr(protocols, "trees", detached)
    settings = {"command": command, "recorded": {}, "summary_files": ["old.png"]}
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    (tmp_path / "old.png").touch()
    before = snapshot(tmp_path)
    with pytest.raises(InputError, match="has no gradient with respect to the images"):
        carry_out(PROTOCOLS[name](inputs), tmp_path, overwrite=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", PROTOCOLS)
def test_what_a_summary_wrote_that_was_interrupted_goes_when_it_is_overwritten(
    name: str, inputs: Path, tmp_path: Path
) -> None:
    protocol = PROTOCOLS[name](inputs)
    summarize = type(protocol).summarize

    def interrupted(self: Any, run: Run) -> None:
        summarize(self, run)
        if self is protocol:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(protocol), "summarize", interrupted)
        with pytest.raises(KeyboardInterrupt):
            carry_out(protocol, tmp_path)
    with stopped_at_once(name, inputs, KeyboardInterrupt()), pytest.raises(KeyboardInterrupt):
        carry_out(PROTOCOLS[name](inputs), tmp_path, overwrite=True)
    assert snapshot(tmp_path).keys() == {SETTINGS}


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_finished_run_whose_page_is_gone_is_not_called_unfinished(
    name: str, inputs: Path, tmp_path: Path, whole: Callable[[str], tuple[Snapshot, int]]
) -> None:
    for path, content in whole(name)[0].items():
        if Path(path).name not in (PAGE, REPORT):
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_bytes(content)
    report.report_on(tmp_path)
    assert "not finished" not in (tmp_path / REPORT).read_text(encoding="utf-8")
    assert Page.load(tmp_path).sections


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_second_process_is_told_that_the_folder_is_in_use(
    name: str, inputs: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    protocol = PROTOCOLS[name](inputs)
    with RunFolder(tmp_path / "out", protocol.provenance()):
        before = snapshot(tmp_path / "out")
        for options in ({"resume": True}, {"overwrite": True}):
            assert in_another_process(lambda given=options: carry_out(protocol, tmp_path / "out", **given)) == 1
            assert f'another process is at work in "{tmp_path / "out"}"; wait until it' in capfd.readouterr().out
        assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("name", PROTOCOLS)
def test_a_full_disk_is_said_in_a_sentence_and_what_was_finished_is_kept(
    name: str, inputs: Path, tmp_path: Path, whole: Callable[[str], tuple[Snapshot, int]], capfd: Any
) -> None:
    """No disk is filled: a limit on the size of files makes the operating system refuse to write, in the middle of a file."""
    resource = pytest.importorskip("resource")
    expected, count = whole(name)

    def run_out_of_room() -> None:
        def fill() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (400, 400))

        with at_finish(count // 2, fill, after=True):
            carry_out(PROTOCOLS[name](inputs), tmp_path / "out")

    assert in_another_process(run_out_of_room) == 1
    said = capfd.readouterr().out
    assert "cannot be written" in said
    assert "File too large" in said
    kept = finished(tmp_path / "out")
    assert len(kept) > count // 2
    assert not list((tmp_path / "out").rglob("*.partial"))
    carry_out(PROTOCOLS[name](inputs), tmp_path / "out", resume=True)
    assert kept.items() <= finished(tmp_path / "out").items()
    assert snapshot(tmp_path / "out") == expected


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "make room, and go on with --resume"),
        (errno.EDQUOT, "make room, and go on with --resume"),
        (errno.EROFS, "choose a folder you may write to"),
    ],
)
def test_a_disk_that_refuses_new_files(code: int, words: str, inputs: Path, tmp_path: Path) -> None:
    """Simulated where a file is begun: neither a full nor a read-only disk can be had in every place where tests run."""
    protocol, out = PROTOCOLS["generate"](inputs), tmp_path / "out"
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: Any, **__: Any) -> None:
            raise OSError(code, os.strerror(code))

        with at_finish(0, lambda: patch.setattr(tempfile, "mkstemp", refuse), after=True):
            with pytest.raises(OSError, match=words) as refused:
                carry_out(protocol, out)
            assert isinstance(refused.value, CaptumProtoError)
            assert str(out) in str(refused.value)
            kept = finished(out)
            with pytest.raises(CaptumProtoError, match=words):
                carry_out(protocol, out, resume=True)
    assert len(kept) == 1
    carry_out(protocol, out, resume=True)
    assert kept.items() <= finished(out).items()


@pytest.mark.skipif(
    os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_a_folder_that_may_not_be_written_to(inputs: Path, tmp_path: Path) -> None:
    protocol = PROTOCOLS["generate"](inputs)
    carry_out(protocol, tmp_path / "out")
    before = snapshot(tmp_path / "out")
    (tmp_path / "out").chmod(0o555)
    try:
        for options in ({"resume": True}, {"overwrite": True}):
            with pytest.raises(CaptumProtoError, match=r'out" cannot be .*Permission denied'):
                carry_out(protocol, tmp_path / "out", **options)
    finally:
        (tmp_path / "out").chmod(0o755)
    assert snapshot(tmp_path / "out") == before


@pytest.mark.parametrize("name", WITH_PROTOTYPES)
def test_a_prototypes_file_that_was_replaced_is_noticed(name: str, tmp_path: Path) -> None:
    given = prototypes_file(tmp_path)
    carry_out(WITH_PROTOTYPES[name](tmp_path), tmp_path / "out")
    before = snapshot(tmp_path / "out")
    carry_out(WITH_PROTOTYPES[name](tmp_path), tmp_path / "out", resume=True)
    given.write_bytes(prototypes_file(tmp_path / "others", seed=7).read_bytes())
    with pytest.raises(
        ValueError, match=r"was made with prototypes\.sha256 = '\w{64}', now it is '\w{64}'; resume with"
    ):
        carry_out(WITH_PROTOTYPES[name](tmp_path), tmp_path / "out", resume=True)
    assert snapshot(tmp_path / "out") == before


def test_what_evaluate_records_does_not_depend_on_what_was_read_before(
    inputs: Path, tmp_path: Path, whole: Callable[[str], tuple[Snapshot, int]]
) -> None:
    """The picture that cannot be read is one of other classes for the first class, and of the class itself for the second."""
    expected, _ = whole("evaluate")
    records = [expected[f"tasks/{stem}/comparison.json"] for stem in ("0000_ash", "0001_birch")]
    assert all(b"broken.png" in record for record in records)
    protocol = PROTOCOLS["evaluate"](inputs)
    carry_out(protocol, tmp_path / "first")
    carry_out(protocol, tmp_path / "second")  # with the same object, which has seen it all
    assert snapshot(tmp_path / "second") == snapshot(tmp_path / "first") == expected
