"""Jobs that make shares of one run and know of each other by its folder alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from together import SHARED, Steps, begin, end, kill, made, snapshot

from captum_proto._utils.errors import InputError, OccupiedError
from captum_proto.runs.contents import CLAIMS
from captum_proto.runs.group import Share, ShareIsMade
from captum_proto.runs.tasks import carry_out

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked here"),
    pytest.mark.filterwarnings("ignore"),
]


def in_another_process(act: Callable[[], object]) -> int:
    """The id of a process that does something, and ends with 7 when its share is made."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            act()
            code = 0
        except ShareIsMade:
            code = SHARED
        finally:
            os._exit(code)
    return child


@pytest.fixture
def alone(tmp_path: Path) -> dict[str, bytes]:
    carry_out(Steps(tmp_path / "log"), tmp_path / "alone")
    (tmp_path / "log").unlink()
    return snapshot(tmp_path / "alone")


def test_jobs_one_after_the_other(alone: dict[str, bytes], tmp_path: Path) -> None:
    """The first makes all, as it cannot know whether another will ever begin."""
    steps, out = Steps(tmp_path / "log"), tmp_path / "out"
    for number in (3, 1):
        with pytest.raises(ShareIsMade) as share:
            carry_out(steps, out, share=Share(number, 3))
        assert (share.value.finished, share.value.count) == (10, 10)
    assert not (out / "all.txt").exists()
    carry_out(steps, out, resume=True)
    assert snapshot(out) == alone
    assert set(made(tmp_path / "log").values()) == {1}


def test_jobs_side_by_side(alone: dict[str, bytes], tmp_path: Path) -> None:
    steps, out = Steps(tmp_path / "log", seconds=0.1), tmp_path / "out"
    jobs = [
        in_another_process(lambda number=number: carry_out(steps, out, share=Share(number, 3))) for number in (1, 2, 3)
    ]
    assert end(jobs) == [SHARED] * 3
    assert set(made(tmp_path / "log").values()) == {1}
    carry_out(steps, out, resume=True)
    assert snapshot(out) == alone


@pytest.mark.parametrize("count", [2, 5])
def test_a_killed_job_costs_its_task(alone: dict[str, bytes], tmp_path: Path, count: int) -> None:
    """Until its share is begun again, or there are other shares, or the run is ended, its task is nobody's."""
    log, out = tmp_path / "log", tmp_path / "out"
    dying = Steps(log, act={"003": kill})
    assert end([in_another_process(lambda: carry_out(dying, out, share=Share(1, 2)))]) == [-signal.SIGKILL]
    with pytest.raises(ShareIsMade) as share:
        carry_out(Steps(log), out, share=Share(2, 2))
    assert share.value.finished == 8  # 005 needs the task that the dead one has taken
    with pytest.raises(ShareIsMade) as share:
        carry_out(Steps(log), out, share=Share(1, count))
    assert share.value.finished == 10
    carry_out(Steps(log), out, resume=True)
    assert snapshot(out) == alone
    assert {name for name, times in made(log).items() if times > 1} == {"003"}


def test_what_keeps_others_out(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    job = in_another_process(lambda: carry_out(Steps(log, seconds=1, count=2), out, share=Share(1, 2)))
    while not log.exists():
        time.sleep(0.01)
    with pytest.raises(OccupiedError, match="another process is at work"):
        carry_out(Steps(log, count=2), out, resume=True)
    with pytest.raises(InputError, match=r"word = 'step', now it is 'other'"):
        carry_out(Steps(log, count=2, word="other"), out, share=Share(2, 2))
    assert end([job]) == [SHARED]
    with pytest.raises(InputError, match="--overwrite would remove what other shares make; remove the folder first"):
        carry_out(Steps(log, count=2), out, share=Share(2, 2), overwrite=True)
    assert (out / CLAIMS / "2").is_dir()
    carry_out(Steps(log, count=2, word="other"), out, overwrite=True)
    assert not (out / CLAIMS).exists()


def test_a_share_is_no_part_of_a_group(tmp_path: Path) -> None:
    def act(rank: int) -> None:
        with pytest.raises(InputError, match="one of 2 processes of a group; give one or the other"):
            carry_out(Steps(tmp_path / "log"), tmp_path / "out", share=Share(1, 2))

    assert end(begin(2, act, tmp_path / "store")) == [0, 0]


def test_what_is_a_share() -> None:
    assert Share.parse("2/8") == Share(2, 8)
    for text in ("0/8", "9/8", "2", "a/b", "-1/8"):
        with pytest.raises(InputError, match="expected a number and how many there are, from 1/8 to 8/8"):
            Share.parse(text)
