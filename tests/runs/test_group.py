"""A run by several processes: the files of one, whoever makes which task, and whoever dies."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from protocols import PROTOCOLS
from together import BUG, FAILED, SHARED, Steps, begin, end, kill, made, makers, snapshot, supervise

from captum_proto._utils.errors import InputError
from captum_proto.runs.contents import JOURNAL, LOCK
from captum_proto.runs.group import tasks_only
from captum_proto.runs.line import SILENT
from captum_proto.runs.making import check_order
from captum_proto.runs.tasks import Run, Task, carry_out

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here"),
    pytest.mark.skipif(not torch.distributed.is_available(), reason="needs torch.distributed"),
    pytest.mark.filterwarnings("ignore"),
]
Snapshot = dict[str, bytes]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """A forked process has no threads but its own, and those of PyTorch would be waited for."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The files of :class:`Steps` by one process."""
    folder = tmp_path_factory.mktemp("alone")
    carry_out(Steps(folder / "log"), folder / "out")
    return snapshot(folder / "out")


@pytest.mark.parametrize("size", [2, 3, 4])
def test_several_processes_write_the_files_of_one(size: int, alone: Snapshot, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"

    def act(rank: int) -> None:
        text = carry_out(Steps(log, seconds=0.1), out)
        (tmp_path / f"returned-{rank}").write_text(text)

    assert end(begin(size, act, tmp_path / "store")) == [0] * size
    assert snapshot(out) == alone
    assert set(made(log).values()) == {1}
    assert len(makers(log)) == size  # each made some
    returned = {path.read_bytes() for path in tmp_path.glob("returned-*")}
    assert {text.rstrip(b"\n") for text in returned} == {
        alone["all.txt"].rstrip(b"\n")
    }  # not the first alone returns it


@pytest.mark.parametrize(
    "name", ["generate", "examples", "compare-groups", "sweep", "dissect", "evaluate-chunks", "atlas"]
)
def test_protocols_by_three_processes(name: str, tmp_path: Path) -> None:
    """Of the others, every one is carried out by several in tests/reliability/processes.py."""
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    carry_out(PROTOCOLS[name](inputs), tmp_path / "alone")

    def act(rank: int) -> None:
        with tasks_only():  # as on the command line
            carry_out(PROTOCOLS[name](inputs), tmp_path / "out")

    assert end(begin(3, act, tmp_path / "store")) == [0, SHARED, SHARED]
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "alone")


@pytest.mark.parametrize("size", [2, 4])
def test_processes_that_only_make_tasks_look_at_few(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each looks at those that it makes, at what these read, and at some in vain: not at all, as the first does."""
    log, out, looked, count = tmp_path / "log", tmp_path / "out", tmp_path / "looked", 60
    carry_out(Steps(tmp_path / "log.alone", count), tmp_path / "alone")
    whole = Run.finished

    def noted(self: Run, task: Task, unread: bool = False) -> bool:
        if self.folder == out:
            with (looked / str(os.getpid())).open("a") as file:
                file.write(f"{task.name}\n")
        return whole(self, task, unread)

    looked.mkdir()
    monkeypatch.setattr(Run, "finished", noted)
    steps = Steps(log, count, seconds=0.05)

    def act(rank: int) -> None:
        with tasks_only():
            carry_out(steps, out)

    first, *others = begin(size, act, tmp_path / "store")
    assert end([first, *others]) == [0] + [SHARED] * (size - 1)
    assert snapshot(out) == snapshot(tmp_path / "alone")
    assert made(log) == {task.name: 1 for task in steps.tasks()}
    by = {int(path.name): path.read_text().split() for path in looked.iterdir()}
    assert set(by[first]) == set(made(log))
    for process in others:
        assert makers(log)[process] >= count // size // 3
        # One that it makes, two that this may read, others in vain; all of them without a word on where to begin.
        assert len(by[process]) <= 10 * makers(log)[process]
        assert size == 2 or len(set(by[process])) < 0.9 * count


def test_a_process_that_waits_long_is_not_timed_out(alone: Snapshot, tmp_path: Path) -> None:
    """The first has nothing to do for longer than the group's time limit."""
    log, out = tmp_path / "log", tmp_path / "out"
    slow = {"009": lambda: time.sleep(5)}
    children = begin(2, lambda rank: carry_out(Steps(log, act=slow), out) and None, tmp_path / "store", seconds=2)
    assert end(children) == [0, 0]
    assert snapshot(out) == alone


@pytest.mark.parametrize("killed", ["000", "004", "009"])
def test_a_killed_process_costs_its_task_and_nothing_else(killed: str, alone: Snapshot, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    first_time = tmp_path / "killed"

    def once() -> None:
        if not first_time.exists():
            first_time.touch()
            kill()

    steps = Steps(log, seconds=0.05, act={killed: once})
    generations = supervise(3, lambda rank: carry_out(steps, out) and None, tmp_path / "store")
    assert sorted(generations[0]).count(-signal.SIGKILL) == 1
    assert set(generations[0]) <= {-signal.SIGKILL, 128 + signal.SIGTERM, FAILED, 0}
    assert generations[1:] == [[0, 0, 0]]
    assert snapshot(out) == alone
    assert {name: times for name, times in made(log).items() if times > 1} == {killed: 2}


def test_a_group_of_another_size_goes_on(alone: Snapshot, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    dying = Steps(log, act={"006": kill})

    def resume(rank: int) -> None:
        carry_out(Steps(log), out, resume=True)

    children = begin(2, lambda rank: carry_out(dying, out) and None, tmp_path / "store")
    os.waitpid(-1, 0)
    for child in children:
        try:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        except (ChildProcessError, ProcessLookupError):
            pass
    assert any(path.name.startswith(JOURNAL) for path in out.iterdir())
    assert not (out / "all.txt").exists()
    before = made(log)
    assert end(begin(3, resume, tmp_path / "again")) == [0, 0, 0]
    assert snapshot(out) == alone
    assert sum((made(log) - before).values()) <= 10 - sum(before.values()) + 2  # those in which two were killed


def test_what_is_finished_is_read_by_one_process_and_what_was_altered_is_made_anew_once(
    alone: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, out, read = tmp_path / "log", tmp_path / "out", tmp_path / "read"
    carry_out(Steps(log), out)
    altered = out / "004.txt"
    altered.write_bytes(altered.read_bytes()[::-1])  # as long as before
    (out / "tasks" / "005.json").unlink()  # which reads it, and has to wait until it is made anew
    whole = Run.finished

    def noted(self: Run, task: Task, unread: bool = False) -> bool:
        if not unread and self.folder == out:  # not of its parts
            with read.open("a") as file:
                file.write(f"{task.name}\n")
            time.sleep(0.02)  # the others come by meanwhile
        return whole(self, task, unread)

    monkeypatch.setattr(Run, "finished", noted)
    before = made(log)
    steps = Steps(log, seconds=0.3)
    assert end(begin(3, lambda rank: carry_out(steps, out, resume=True) and None, tmp_path / "store")) == [0, 0, 0]
    assert snapshot(out) == alone
    assert made(log) - before == Counter({"004": 1, "005": 1})
    assert Counter(read.read_text().split()) == Counter({task.name: 1 for task in steps.tasks() if task.name != "005"})


def test_an_error_of_one_process_ends_all_and_is_said_once(tmp_path: Path) -> None:
    def fail() -> None:
        raise InputError("the picture is too dark; give a lighter one.")

    steps = Steps(tmp_path / "log", seconds=0.05, act={"003": fail})
    said = tmp_path / "said"
    said.mkdir()
    children = begin(3, lambda rank: carry_out(steps, tmp_path / "out") and None, tmp_path / "store", said=said)
    assert end(children) == [FAILED] * 3
    sentences = sorted(path.read_text() for path in said.iterdir())
    assert sentences[0] == "InputError: the picture is too dark; give a lighter one."
    assert all(each.startswith("OtherProcessError: process ") for each in sentences[1:])
    assert all("of 3 failed: the picture is too dark" in each for each in sentences[1:])
    assert len(made(tmp_path / "log")) < 10


def test_a_bug_in_one_process_ends_all(tmp_path: Path) -> None:
    steps = Steps(tmp_path / "log", seconds=0.05, act={"003": lambda: print(1 // 0)})
    children = begin(2, lambda rank: carry_out(steps, tmp_path / "out") and None, tmp_path / "store")
    assert sorted(end(children)) == [FAILED, BUG]


def test_a_process_that_is_asked_to_end_finishes_its_task(alone: Snapshot, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    children = begin(2, lambda rank: carry_out(Steps(log, seconds=1), out) and None, tmp_path / "store")
    while not log.exists() or len(made(log)) < 2:
        time.sleep(0.01)
    for child in children:
        os.kill(child, signal.SIGTERM)
    assert end(children) == [128 + signal.SIGTERM] * 2
    assert len(list((out / "tasks").iterdir())) == 2
    carry_out(Steps(log), out, resume=True)
    assert snapshot(out) == alone
    assert set(made(log).values()) == {1}


def test_a_process_that_never_starts_is_said(tmp_path: Path) -> None:
    said = tmp_path / "said"
    said.mkdir()
    children = begin(
        2, lambda rank: carry_out(Steps(tmp_path / "log"), tmp_path / "out") and None, tmp_path / "store",
        seconds=1, said=said, absent=[1],
    )  # fmt: skip
    assert end(children) == [BUG]  # of torch.distributed, for which the command line has a sentence
    assert "timeout" in (said / "0-0.txt").read_text()
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_not_empty_is_refused_by_all_and_after_a_restart(alone: Snapshot, tmp_path: Path) -> None:
    out = tmp_path / "out"
    carry_out(Steps(tmp_path / "log"), out)
    for generation in range(2):
        children = begin(
            2, lambda rank: carry_out(Steps(tmp_path / "log", word="other"), out), tmp_path / "s", generation=generation
        )
        assert end(children) == [FAILED, FAILED]
    assert snapshot(out) == alone
    assert set(made(tmp_path / "log").values()) == {1}


def test_a_process_that_is_lost_when_all_is_finished_costs_nothing(alone: Snapshot, tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"

    def act(rank: int) -> None:
        carry_out(Steps(log), out)
        if rank and not (tmp_path / "killed").exists():
            (tmp_path / "killed").touch()
            kill()

    generations = supervise(2, act, tmp_path / "store")
    assert [-signal.SIGKILL in codes for codes in generations] == [True, False]
    assert generations[1] == [0, 0]
    assert snapshot(out) == alone
    assert set(made(log).values()) == {1}


def test_a_process_that_is_not_heard_of_loses_its_task(
    alone: Snapshot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a host that is cut off: it is stopped, and nobody ends the group."""
    monkeypatch.setenv(SILENT, "3")
    log, out = tmp_path / "log", tmp_path / "out"
    stop = lambda: os.kill(os.getpid(), signal.SIGSTOP)  # noqa: E731
    stopped = Steps(log, act={f"{number:03d}": stop for number in range(10)})

    def act(rank: int) -> None:
        carry_out(stopped if rank else Steps(log, seconds=0.2), out)

    children = begin(2, act, tmp_path / "store")
    code = end(children[:1])
    os.kill(children[1], signal.SIGKILL)
    end(children[1:])
    assert code == [0]
    assert snapshot(out) == alone
    assert sorted(made(log).values()) == [*[1] * 9, 2]


def test_what_others_noted_goes_when_the_run_is_overwritten(tmp_path: Path) -> None:
    """A part that another process than the first had begun, when all were killed."""
    log, out = tmp_path / "log", tmp_path / "out"

    def wait() -> None:
        (tmp_path / "begun").touch()
        time.sleep(60)

    children = begin(
        2, lambda rank: carry_out(Steps(log, seconds=0.2, act={"005": wait}), out) and None, tmp_path / "s"
    )
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    for child in children:
        os.kill(child, signal.SIGKILL)
    end(children)
    (out / "mine.txt").write_text("not of the run")
    carry_out(Steps(log, word="other", count=1), out, overwrite=True)
    kept = {name for name in snapshot(out) if not name.startswith("parts/000/")}
    assert kept == {"mine.txt", "settings.json", "000.txt", "all.txt", "tasks/000.json", "checksums.json"}


def test_a_second_group_is_told_that_the_folder_is_in_use(tmp_path: Path) -> None:
    out, said = tmp_path / "out", tmp_path / "said"
    said.mkdir()
    (tmp_path / "log").touch()

    def act(rank: int, **options: Any) -> None:
        carry_out(Steps(tmp_path / "log", seconds=0.5), out, **options)

    first = begin(2, act, tmp_path / "first")
    while not (out / LOCK).exists() or len(made(tmp_path / "log")) < 2:
        time.sleep(0.01)
    second = begin(2, lambda rank: act(rank, overwrite=True), tmp_path / "second", said=said, generation=1)
    # It has the name of the first, and might be its restart: which waits for the one before to end, and does not take its folder.
    time.sleep(1)
    before = made(tmp_path / "log")
    assert end(first) == [0, 0]
    assert end(second) == [0, 0]
    assert set(before.values()) == {1}


def test_tasks_are_listed_after_what_they_need() -> None:
    check_order([Task("a"), Task("b", needs=("a",))])
    with pytest.raises(ValueError, match='task "a" needs "b", which does not come before it'):
        check_order([Task("a", needs=("b",)), Task("b")])
