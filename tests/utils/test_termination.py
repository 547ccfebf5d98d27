"""A process that is asked to terminate ends soon, and never in the middle of a file."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from captum_proto._utils import termination
from captum_proto._utils.files import whole_file
from captum_proto._utils.termination import Terminated, postponed, taken

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")


def ask() -> None:
    signal.raise_signal(signal.SIGTERM)


def test_it_ends_at_once_where_nothing_is_to_be_whole() -> None:
    after = []

    def work() -> None:
        with taken():
            ask()
            after.append("on")

    with pytest.raises(Terminated):
        work()
    assert after == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert not termination.asked()


def test_the_file_that_is_written_is_finished_and_the_next_is_not_begun(tmp_path: Path) -> None:
    def work() -> None:
        for name in ("a", "b"):
            with whole_file(tmp_path / name) as temporary:
                temporary.write_text("half")
                ask()
                temporary.write_text("whole")

    with pytest.raises(Terminated), taken():
        work()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "whole")]


def test_blocks_within_blocks_end_with_the_outermost() -> None:
    reached = []

    def work() -> None:
        with taken():
            with postponed():
                with postponed():
                    ask()
                    reached.append("inner")
                reached.append("outer")
            reached.append("on")

    with pytest.raises(Terminated):
        work()
    assert reached == ["inner", "outer"]


def test_what_python_drops_comes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a finalizer is printed and forgotten."""

    class Finalized:
        def __del__(self) -> None:
            ask()

    def work() -> None:
        with taken():
            made = Finalized()
            del made
            assert termination.asked()
            with whole_file(tmp_path / "x") as temporary:
                temporary.write_text("x")

    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    with pytest.raises(Terminated):
        work()
    assert (tmp_path / "x").read_text() == "x"


def test_the_handler_of_a_program_stays() -> None:
    asked = []
    before = signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    try:
        with taken():
            ask()
        assert asked == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_write_on(tmp_path: Path) -> None:
    def write() -> None:
        with taken(), whole_file(tmp_path / "x") as temporary:
            temporary.write_text("x")

    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "x").read_text() == "x"
    assert termination._depth == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here")
def test_a_forked_process_ends_as_any_other() -> None:
    """The main process is not ended by what its children are asked, nor do they run its code after it."""
    with taken():
        reads, writes = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(writes, b"ready")
                for _ in range(100):
                    time.sleep(0.05)
            finally:
                os._exit(70)
        assert os.read(reads, 5) == b"ready"
        os.kill(child, signal.SIGTERM)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM
    assert not termination.asked()
