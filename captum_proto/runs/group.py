"""Processes that carry out one run together: who makes which task, who waits for what, and what becomes of all when one fails."""

from __future__ import annotations

import json
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import distributed

from captum_proto._utils.errors import CaptumProtoError, InputError, StateError
from captum_proto._utils.termination import Terminated
from captum_proto.runs.contents import CLAIM, CLAIMS
from captum_proto.runs.line import line_of_group, reachable

#: How long a process that waits sleeps before it looks again, in seconds: at first, and at most.
_SOON, _LATER = 0.01, 0.5
#: What a share of a job array looks like.
_SHARE = re.compile(r"(\d+)/(\d+)")
#: Whether processes other than the first have nothing to do after the tasks, as on the command line.
_tasks_only: ContextVar[bool] = ContextVar("captum_proto tasks only", default=False)


class ShareIsMade(Exception):
    """
    This process has made its part of the tasks; what they come to is another's to say.

    Args:
        finished (int): How many tasks of the run are finished.
        count (int): How many there are.
    """

    def __init__(self, finished: int, count: int) -> None:
        super().__init__(finished, count)
        self.finished, self.count = finished, count

    def __str__(self) -> str:
        return f"{self.finished} of {self.count} tasks are finished"


class OtherProcessError(StateError):
    """Another process of the group failed, and this one ended for that reason."""


class Claims(ABC):
    """Which tasks a process may make."""

    #: Whether a process that finds nothing to make waits for those who make the rest.
    waits = True

    @abstractmethod
    def claim(self, task: str) -> bool:
        """Take a task, if nobody has."""

    @property
    def looks_at_all(self) -> bool:
        """Whether this process looks at tasks that others have made, also where none of its own reads them."""
        return True

    def free_from(self) -> int:
        """The place in the list of tasks before which, as others have found, none is left to take."""
        return 0

    def say_free_from(self, index: int) -> None:  # noqa: B027  # where there are no others
        """Tell the others that no task is left to take before this place in the list."""

    def all_are_made(self) -> bool:
        """Whether a process that looks at all tasks has found all of them finished."""
        return False

    def say_all_are_made(self) -> None:  # noqa: B027  # where there are no others
        """Tell the others that all tasks are finished."""

    def found_intact(self, task: str, read: Callable[[], bool], forget: Callable[[], None]) -> bool | None:
        """
        Whether a task that is recorded was finished before, and nothing has altered its files since.

        Args:
            task (str): Its name.
            read (Callable): Reads the files to see that.
            forget (Callable): Makes the task unfinished.

        Returns:
            bool, optional: None if another process reads them just now.
        """
        return read()

    def check(self) -> None:  # noqa: B027  # where there are no others, they cannot fail
        """See that the others are well, before a task and while waiting."""


class Alone(Claims):
    """One process makes all tasks."""

    def claim(self, task: str) -> bool:
        return True


class Group(Claims):
    r"""
    The default group of ``torch.distributed``: what its processes tell each other of one run. All make it together.

    A task belongs to whoever first writes its rank beside it in the group's store: the one by which the processes have found each other. So
    whoever is free makes the next task, and neither a slow process nor a late one keeps tasks from the others, as fixed shares would. This
    is no lock: it ends with the group, which ``torchrun`` ends when a process dies, to begin another; then the task of the dead one is
    anybody's. Nor does it bind while the group lasts: each process gives signs of life, and of one that gives none for a minute, on a
    host that is cut off, others take the task. A lock or a claim in the folder would outlast its owner, and nobody could tell a dead one on
    another machine from a slow one. Nothing hangs on a claim but time: should two make a task, both write the same bytes, each file whole.

    The first process looks at every task, since it reports and summarizes. The others, where they have nothing to do but to make tasks,
    begin to look for one at the place before which others have found none: else each of a thousand processes would look at a million
    tasks. What a process on a host that is cut off had taken is then taken by the first.

    Nobody waits in a collective operation, which would run into its time limit: who waits looks at files and at the store, however long it
    takes. The one exception is at the beginning, where the first gives the others a name for what they say in the store: there may be words
    in it of a group before.
    """

    def __init__(self) -> None:
        from torch.distributed.distributed_c10d import PrefixStore  # which a PyTorch without torch.distributed lacks

        self._line = line_of_group()
        self._line.runs += 1
        self.rank, self.size = distributed.get_rank(), distributed.get_world_size()
        self._of_run: Any = PrefixStore(str(self._line.runs), self._line.store)

    @property
    def first(self) -> bool:
        """Whether this is the process that opens the folder, summarizes and reports."""
        return self.rank == 0

    def claim(self, task: str) -> bool:
        mine = str(self.rank)
        with reachable():
            owner = self._of_run.compare_set(f"task/{task}", "", mine).decode()
            if owner != mine and self._line.is_silent(int(owner)):
                owner = self._of_run.compare_set(f"task/{task}", owner, mine).decode()
        return owner == mine

    @property
    def looks_at_all(self) -> bool:
        return self.first or not ends_after_tasks()

    def free_from(self) -> int:
        if self.looks_at_all:
            return 0
        with reachable():
            return int(self._of_run.get("free")) if self._of_run.check(["free"]) else 0

    def say_free_from(self, index: int) -> None:
        # Two may say it at once, and the lower number may be the last: then some tasks are looked at in vain.
        with reachable():
            self._of_run.set("free", str(index))

    def all_are_made(self) -> bool:
        with reachable():
            return bool(self._of_run.check(["made"]))

    def say_all_are_made(self) -> None:
        self.announce("made")

    def found_intact(self, task: str, read: Callable[[], bool], forget: Callable[[], None]) -> bool | None:
        """One process reads for all: else each of a thousand would read what all of them have made."""
        with reachable():
            if self._of_run.check([f"read/{task}"]):
                return True  # what was altered is forgotten, and what is recorded now is new
        if not self.claim(f"reading/{task}"):
            return None
        intact = read()
        if not intact:
            forget()
        self.announce(f"read/{task}")
        return intact

    def check(self) -> None:
        """
        See that no other process has failed, nor the first been lost.

        Raises:
            OtherProcessError: If one has; says what it said.
            StateError: If the others cannot be reached.
        """
        with reachable():
            if not self._line.store.check(["failure"]):
                if not self.first and self._line.is_silent(0):
                    raise StateError(
                        "the first process has given no sign of life for long; what was finished is on disk, --resume goes on from there."
                    )
                return
            failure = json.loads(self._line.store.get("failure"))
        if failure["rank"] != self.rank:
            raise OtherProcessError(f"process {failure['rank']} of {self.size} failed: {failure['said']}")

    def announce(self, word: str) -> None:
        """Tell the others of something that has happened in this run."""
        with reachable():
            self._of_run.set(word, "1")

    def wait_for(self, word: str) -> None:
        """
        Wait until another process has told of something.

        Raises:
            OtherProcessError: If one fails before.
        """

        def told() -> bool:
            with reachable():
                return bool(self._of_run.check([word]))

        wait_until(told, self.check)

    def wait_for_all(self, word: str, seconds: float) -> None:
        """Wait until every process that lives has come here, but not for ever: where the first keeps the store, it has to end last."""
        with reachable():
            here = self._of_run.add(word, 1)
            end = time.monotonic() + seconds
            while here + sum(map(self._line.is_silent, range(self.size))) < self.size and time.monotonic() < end:
                time.sleep(_SOON)
                here = self._of_run.add(word, 0)

    def fail(self, error: BaseException) -> bool:
        """
        Tell the others that this process fails, so that they end.

        Args:
            error (BaseException): Of which it fails.

        Returns:
            bool: Whether it is the first to fail, whose error is the one to be shown.
        """
        if isinstance(error, OtherProcessError):
            return False
        if getattr(error, "_captum_proto_first", None) is None:
            said = str(error) if isinstance(error, CaptumProtoError) else repr(error)
            if isinstance(error, (SystemExit, KeyboardInterrupt, Terminated)):
                said = "it was asked to end."
            try:
                first = self._line.store.add("failures", 1) == 1
                if first:
                    self._line.store.set("failure", json.dumps({"rank": self.rank, "said": said}))
            except RuntimeError:  # the store is gone, and with it whoever could have been told
                first = True
            error._captum_proto_first = first  # type: ignore[attr-defined]
        return bool(error._captum_proto_first)  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Share(Claims):
    """
    One of several jobs that make a run together and know of each other by its folder alone, as those of a job array.

    A job takes a task by making a file that must not be there yet. What it took when it was killed, the same share takes again; the run
    without shares makes whatever is left. A job does not wait: another may not have begun.

    Args:
        number (int): Which, from 1.
        count (int): Of how many.
        folder (Path): Of the run.
    """

    number: int
    count: int
    folder: Path = Path()
    waits = False

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Share:
        """
        The share that a text such as ``"2/8"`` means.

        Raises:
            ValueError: If it means none.
        """
        found = _SHARE.fullmatch(text)
        if found is None or not 1 <= int(found[1]) <= int(found[2]):
            raise InputError(f'share is "{text}"; expected a number and how many there are, from 1/8 to 8/8.')
        return cls(int(found[1]), int(found[2]))

    def claim(self, task: str) -> bool:
        path = self.folder / CLAIMS / str(self.count) / f"{task}{CLAIM}"
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        except FileExistsError:
            return path.read_text(encoding="ascii") == str(self.number)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(str(self.number))
        return True


def group_set_up() -> Group | None:
    """What this process can say to the others of the default group, for a new run; None if there are no others."""
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() < 2:
        return None
    return Group()


def job_name() -> str:
    """What a restarted group can be known by: the name that torchrun gives the job."""
    return os.environ.get("TORCHELASTIC_RUN_ID", "")


def times_restarted() -> int:
    """How often torchrun has begun the group anew after a fault."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def restarted(job: str | None) -> bool:
    """Whether a job that left its name in a folder is this one, begun again after a fault."""
    # Without a name of its own, a job is called "none", as the one of yesterday was.
    return job is not None and job == job_name() and (job not in ("", "none") or times_restarted() > 0)


def wait_until(done: Callable[[], bool], check: Callable[[], None]) -> None:
    """Wait until something is the case, and see meanwhile that it still can be."""
    pause = _SOON
    while not done():
        check()
        time.sleep(pause)
        pause = min(1.5 * pause, _LATER)


@contextmanager
def tasks_only() -> Iterator[None]:
    """Let every process but the first end a run in the block with :class:`ShareIsMade`, as it has nobody to report to."""
    token = _tasks_only.set(True)
    try:
        yield
    finally:
        _tasks_only.reset(token)


def ends_after_tasks() -> bool:
    """Whether the block of :func:`tasks_only` is entered."""
    return _tasks_only.get()


__all__ = [
    "Alone",
    "Claims",
    "Group",
    "OtherProcessError",
    "Share",
    "ShareIsMade",
    "ends_after_tasks",
    "group_set_up",
    "job_name",
    "restarted",
    "tasks_only",
    "times_restarted",
    "wait_until",
]
