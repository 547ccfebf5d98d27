"""The tasks of a run, made one after the other: by one process, or by several of which each takes the next that nobody has taken."""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from captum_proto._utils.files import files_written
from captum_proto.runs.contents import SNAPSHOTS, TASKS, remove_empty, task_records
from captum_proto.runs.folder import note_again, noted_warnings
from captum_proto.runs.group import Alone, Claims, wait_until
from captum_proto.runs.snapshots import of_task

if TYPE_CHECKING:
    from captum_proto.runs.tasks import Protocol, Run, Task

#: With which a process ends that was asked to.
_TERMINATED = 128 + signal.SIGTERM


class Making:
    """
    The tasks of a run that are not finished yet, for one of the processes at work on it.

    Args:
        protocol (Protocol): That makes them.
        run (Run): Whose they are.
        claims (Claims): Which this process may make.
    """

    def __init__(self, protocol: Protocol[Any], run: Run, claims: Claims) -> None:
        self._protocol, self._run, self._claims = protocol, run, claims
        self._left = dict(enumerate(run.tasks))
        self._place = {task.name: index for index, task in enumerate(run.tasks)}
        self._partly = not claims.looks_at_all
        self._finished: set[str] = set()
        #: Tasks recorded before this process began: their files are read. Those of tasks that are recorded later were written just now.
        self._recorded_before = {
            path.relative_to(run.folder / TASKS).as_posix().removesuffix(".json") for path in task_records(run.folder)
        }
        #: Tasks that others have claimed.
        self._of_others: set[str] = set()
        self._shown: set[str] = set()
        self._visible = run.show_progress and bool(protocol.unit)
        check_order(run.tasks)

    def make(self) -> int:
        """
        Make what is missing, and wait for what others make.

        Returns:
            int: How many tasks are finished then: all, unless the claims are such that nobody waits.
        """
        total = sum(task.weight for task in self._run.tasks)
        unit = self._protocol.unit or "it"
        with (
            tqdm(total=total, unit=unit, smoothing=0.05, disable=not self._visible) as progress,
            _ending_between_tasks(alone=isinstance(self._claims, Alone)) as stopping,
        ):

            def look() -> bool:
                while self._go_through(progress, stopping):
                    pass
                return not self._left or not self._claims.waits or (self._partly and self._claims.all_are_made())

            def check() -> None:
                stopping.check()
                self._claims.check()

            wait_until(look, check)
        if self._claims.waits and not self._partly:
            self._claims.say_all_are_made()
        return len(self._run.tasks if self._claims.waits else self._finished)

    def _go_through(self, progress: Any, stopping: _Stopping) -> bool:
        """Go through the tasks once, in their order; returns whether any was found finished or made."""
        went_on, unknown = False, len(self._run.tasks)
        for index in range(self._claims.free_from(), len(self._run.tasks)):
            if index not in self._left:
                continue
            task = self._left[index]
            # Not before, since by what it reads a task is known to be finished or out of date.
            found = self._found(task) if all(map(self._is_known, task.needs)) else None
            if found is None:
                unknown = min(unknown, index)
                continue
            if found:
                self._take_up(task, progress)
            else:
                stopping.check()
                self._claims.check()
                if not self._claims.claim(task.name):
                    self._of_others.add(task.name)
                    continue
                if self._partly:
                    self._claims.say_free_from(min(unknown, index + 1))
                with stopping.later():
                    self._make(task, index)
            self._finished.add(task.name)
            del self._left[index]
            progress.update(task.weight)
            went_on = True
            if self._partly and not found:
                return True  # meanwhile others have gone on
        if self._partly:
            self._claims.say_free_from(unknown)
        return went_on

    def _is_known(self, name: str) -> bool:
        """Whether a task that another one reads is finished, as this process knows, or finds where it does not look at all of them."""
        wanted = [name]
        while wanted:
            task = self._run.tasks[self._place[wanted[-1]]]
            if task.name in self._finished:
                wanted.pop()
            elif not self._partly:
                return False
            elif missing := [need for need in task.needs if need not in self._finished]:
                wanted += missing  # by these it is known whether the task is out of date
            elif self._found(task):
                self._finished.add(task.name)
                self._left.pop(self._place[task.name], None)
            else:
                return False
        return True

    def _found(self, task: Task) -> bool | None:
        """Whether a task is finished; None while another process finds that out."""
        if not self._run.finished(task, unread=True):
            return False
        if task.name not in self._recorded_before:
            return True
        return self._claims.found_intact(task.name, lambda: self._run.finished(task), lambda: self._run.forget(task))

    def _make(self, task: Task, index: int) -> None:
        snapshot = of_task(self._run.folder / SNAPSHOTS / task.name)
        with files_written() as written, noted_warnings(self._shown) as warned, snapshot.used():
            self._protocol.make(task, self._run)
        self._run.finish(task, index, written, warned)
        snapshot.clear()
        remove_empty(snapshot.folder.parent, self._run.folder)

    def _take_up(self, task: Task, progress: Any) -> None:
        """A task that this process has not made."""
        warned = (self._run.record(task.name) or {"warnings": []})["warnings"]
        note_again(warned)
        if task.name not in self._of_others:
            if self._visible:
                progress.initial += task.weight  # the time left is that of what is left to do
            return
        for text in warned:  # that another process made just now, and showed to nobody
            if text not in self._shown:
                self._shown.add(text)
                warnings.warn(text, stacklevel=2)


def check_order(tasks: Sequence[Task]) -> None:
    """
    See that each task comes after those that it needs: else several processes would wait for each other.

    Raises:
        ValueError: If one does not; the protocol has to be mended.
    """
    seen: set[str] = set()
    for task in tasks:
        if missing := [name for name in task.needs if name not in seen]:
            raise ValueError(f'task "{task.name}" needs "{missing[0]}", which does not come before it')
        seen.add(task.name)


@dataclass
class _Stopping:
    """Whether the process was asked to end, and whether it may do so at once."""

    asked: bool = False
    in_task: bool = False

    def check(self) -> None:
        if self.asked:
            raise SystemExit(_TERMINATED)

    @contextmanager
    def later(self) -> Iterator[None]:
        self.in_task = True
        try:
            yield
        finally:
            self.in_task = False

    def ask(self, *_: Any) -> None:
        again, self.asked = self.asked, True
        if again or not self.in_task:
            raise SystemExit(_TERMINATED)


@contextmanager
def _ending_between_tasks(alone: bool) -> Iterator[_Stopping]:
    """
    Let a process of several end only when the task it is in is recorded, if it is asked to (SIGTERM).

    When one process dies, ``torchrun`` asks the others to end, and gives them half a minute: what they are about to finish is not lost.
    """
    stopping = _Stopping()
    if alone or threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = signal.signal(signal.SIGTERM, stopping.ask)
    try:
        yield stopping
    finally:
        signal.signal(signal.SIGTERM, before)


__all__ = ["Making", "check_order"]
