"""
A run is tasks in a folder: what is finished stays, what is missing is made, and the end is the same however often it was interrupted.

A protocol lists its tasks, makes one at a time, and summarizes all of them from their files. Everything else is done here, once for all
protocols: the record of what the results depend on, which tasks are finished, ``resume`` and ``overwrite``, the lock on the folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import count_as_written, files_discarded, files_written
from captum_proto.runs.contents import RUN, is_intact, is_there, job_of, recorded_of
from captum_proto.runs.files import digest_of, write_sealed
from captum_proto.runs.folder import SETTINGS, TASKS, RunFolder, at_work, is_finished, is_same, read_record
from captum_proto.runs.group import (
    Alone,
    Group,
    Share,
    ShareIsMade,
    ends_after_tasks,
    group_set_up,
    job_name,
    restarted,
    times_restarted,
    wait_until,
)
from captum_proto.runs.joined import JoinedFolder, SharedFolder
from captum_proto.runs.making import Making
from captum_proto.runs.provenance import plain
from captum_proto.runs.snapshots import kept_every

Result = TypeVar("Result")
#: What processes of a group tell each other of a run: the folder is open, the summary is written, and each has been told.
_BEGUN, _FINISHED, _LEFT = "begun", "finished", "left"
#: So many seconds the first process waits at most for the others to hear that all is finished.
_FAREWELL = 30.0


@dataclass(frozen=True)
class Task:
    """
    A part of a run that is finished or not, never half.

    Args:
        name (str): Unique in the run; a path such as ``"0003_3/comparison"``. Its record is ``tasks/NAME.json`` in the run's folder.
        inputs (mapping): What the task is made from beyond the provenance of the run, as JSON can hold it: digests of files, fingerprints.
            A finished task whose inputs have changed is made again. Default: nothing
        needs (tuple[str, ...]): Names of earlier tasks whose results this one reads. Where one of them was made again, so is this one.
            Default: none
        weight (int): How far the progress bar goes on when it is finished. Default: 1
    """

    name: str
    inputs: Mapping[str, Any] = field(default_factory=dict)
    needs: tuple[str, ...] = ()
    weight: int = 1


class Protocol(ABC, Generic[Result]):
    """
    What a command does, apart from folders and interrupts: its tasks, how one is made, and what they come to.

    Everything that can be wrong with what the user gave is found by the constructor or by :meth:`tasks`, before the folder is touched.

    Attributes:
        unit (str): What the progress bar counts; empty for no bar.
    """

    unit: str = ""

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Everything that the results depend on: :func:`~captum_proto.runs.provenance.provenance` makes it."""

    @abstractmethod
    def tasks(self) -> Sequence[Task]:
        """All tasks, each after those that it needs."""

    def begun(self) -> dict[str, Any]:
        """What to record in the settings when the run begins, for the page of an interrupted run. Default: nothing"""
        return {}

    @abstractmethod
    def make(self, task: Task, run: Run) -> None:
        """Make one task: write its files into ``run.folder``."""

    @abstractmethod
    def summarize(self, run: Run) -> Result:
        """Tables, figures and the page, from the files of the tasks; and what the run gives back."""


@dataclass(frozen=True)
class Run:
    """
    A protocol at work in its folder.

    Attributes:
        folder (Path): Where results are.
        provenance (dict): What is recorded of the run.
        tasks (list[Task]): All tasks.
        show_progress (bool): Whether to show progress bars.
    """

    opened: RunFolder
    tasks: list[Task]
    show_progress: bool = False

    @property
    def folder(self) -> Path:
        return self.opened.folder

    @property
    def provenance(self) -> dict[str, Any]:
        return self.opened.provenance

    def note(self, values: Mapping[str, Any]) -> None:
        """Add to what the settings record beside the provenance."""
        self.opened.write_settings({**self.opened.recorded, **values})

    def record(self, name: str) -> dict[str, Any] | None:
        """What is recorded of a finished task; None for one that is not finished."""
        return read_record(self.folder / TASKS / f"{name}.json")

    def finished(self, task: Task, unread: bool = False) -> bool:
        """
        Whether a task is done, with the inputs it has now, and its files are all there and not altered.

        Args:
            task (Task): Which.
            unread (bool, optional): Whether files of the right size will do, and need not be read. Default: False
        """
        found = self.record(task.name)
        if found is None or found["inputs"] != plain(task.inputs) or found["needs"] != self._needs(task):
            return False
        holds = is_there if unread else is_intact
        return all(holds(self.folder / path, file) for path, file in found["files"].items())

    def forget(self, task: Task) -> None:
        """Make a task unfinished."""
        (self.folder / TASKS / f"{task.name}.json").unlink(missing_ok=True)

    def warnings(self) -> list[str]:
        """What was warned of while the tasks were made, whichever process made them, each message once."""
        return warnings_of(self.folder)

    def finish(self, task: Task, index: int, paths: Iterable[Path], warned: Sequence[str] = ()) -> None:
        """Record a task as done, with the digests of the files it wrote; this is the last that is written of it."""
        root = self.folder.resolve()
        resolved = {path.resolve() for path in paths} - {
            root / SETTINGS
        }  # in which a part of the run is recorded when it begins
        inside = sorted(path for path in resolved if path.is_relative_to(root) and path.is_file())
        files = {path.relative_to(root).as_posix(): recorded_of(path) for path in inside}
        content = {
            "task": task.name,
            "index": index,
            "inputs": plain(task.inputs),
            "needs": self._needs(task),
            "files": files,
            "warnings": list(warned),
            RUN: digest_of(self.provenance),
        }
        write_sealed(self.folder / TASKS / f"{task.name}.json", content, indent=1)

    def _needs(self, task: Task) -> dict[str, str]:
        """The digest of what is recorded of each task that this one reads."""
        return {name: digest_of(self.record(name)) for name in task.needs}


def records_of(folder: Path) -> list[dict[str, Any]]:
    """What is recorded of the tasks that are finished in a folder, in their order: the name, the files, what was warned of."""
    found = map(read_record, (folder / TASKS).rglob("*.json"))
    return sorted((record for record in found if record is not None), key=lambda record: int(record["index"]))


def warnings_of(folder: Path) -> list[str]:
    """What was warned of while the tasks that are finished in a folder were made, in their order, each message once."""
    return list(dict.fromkeys(text for record in records_of(folder) for text in record["warnings"]))


def carry_out(
    protocol: Protocol[Result],
    folder: Path,
    *,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    share: Share | None = None,
    snapshot_every: int | None = None,
) -> Result:
    """
    Run a protocol in a folder.

    Where the default group of ``torch.distributed`` has several processes, all call this together, and each makes tasks that nobody else
    has taken. The first locks the folder, summarizes and shows progress; all return the same. Under ``torchrun --max-restarts``, a group
    that is begun again goes on with what there is.

    A task of another protocol may do so in a folder below its own, with ``resume=True``: the inner run is then a part of the outer one,
    and a task that was interrupted goes on with what the inner run had finished.

    Args:
        protocol (Protocol): What to do.
        folder (Path): Where to write.
        overwrite (bool, optional): Whether the results of an earlier run in ``folder`` may be replaced; they go before this run begins.
            Default: False
        resume (bool, optional): Whether to go on with what an interrupted run with the same provenance left in ``folder``. A folder in
            which there is nothing yet is begun. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False
        share (Share, optional): Which part of the tasks to make, where several jobs that are no group work in the folder; then, without a
            share, ``resume=True`` makes what is left, and summarizes. Default: None, all
        snapshot_every (int, optional): After how many steps of an optimization to keep its state beside the results until the task is
            finished, 0 for never: a run that is killed goes on from there when it is resumed. Default: None, never, or in a part of another
            run as that has it

    Returns:
        What the protocol's ``summarize`` gives.

    Raises:
        OccupiedError: If ``folder`` holds files and the run may neither overwrite nor resume, or another process works in it. What a run
            left of which no task is finished does not count.
        InputError: If it is to be resumed but was made with other settings, or holds the results of another command.
        WriteError: If it cannot be written to.
        OtherProcessError: If another process of the group failed.
        ShareIsMade: If ``share`` is given, at the end.
    """
    group = None if at_work() is not None else group_set_up()  # a task, and what runs within it, is one process's
    with kept_every(snapshot_every):
        if share is not None:
            return _make_share(protocol, folder, share, overwrite, group)
        if group is None:
            return _carry_out(protocol, folder, overwrite, resume, show_progress)
        try:
            return _carry_out_together(protocol, folder, overwrite, resume, show_progress, group)
        except BaseException as error:
            if not isinstance(error, ShareIsMade):
                group.fail(error)
            raise


def _carry_out(
    protocol: Protocol[Result],
    folder: Path,
    overwrite: bool,
    resume: bool,
    show_progress: bool,
    group: Group | None = None,
) -> Result:
    """As the only process, or the first of a group."""
    provenance = plain(protocol.provenance())
    tasks = list(protocol.tasks())  # before the folder is touched: bad input is found here
    job = None if group is None else job_name()
    if group is not None and not resume:
        resume = _goes_on(folder, provenance, overwrite)
    with RunFolder(folder, provenance, overwrite=overwrite, resume=resume, job=job) as opened:
        opened.write_settings(protocol.begun())
        run = Run(opened, tasks, show_progress)
        if group is not None:
            group.announce(_BEGUN)
        Making(protocol, run, group or Alone()).make()
        with files_written() as written:
            result = protocol.summarize(run)
        opened.write_settings(opened.recorded, written)
        opened.write_manifest()
        count_as_written(opened.files())
    return result


def _goes_on(folder: Path, provenance: dict[str, Any], overwrite: bool) -> bool:
    """Whether a group that is begun again goes on with what is in a folder, as the command does not say itself."""
    same = is_same(folder, provenance)
    if restarted(job_of(folder)):
        return same or not overwrite
    # A process may have been lost when all was finished, and before it could end.
    return times_restarted() > 0 and same and is_finished(folder)


def _carry_out_together(
    protocol: Protocol[Result], folder: Path, overwrite: bool, resume: bool, show_progress: bool, group: Group
) -> Result:
    """
    As one of several processes.

    The first opens the folder and summarizes. The others make tasks with it; a result that they are to return as well, they read from the
    files of the tasks as the first did.
    """
    if group.first:
        result = _carry_out(protocol, folder, overwrite, resume, show_progress, group)
        group.announce(_FINISHED)
        group.wait_for_all(_LEFT, _FAREWELL)
        return result
    provenance = plain(protocol.provenance())
    tasks = list(protocol.tasks())
    group.wait_for(_BEGUN)
    wait_until((folder / SETTINGS).exists, group.check)  # a file system on a network may show it later
    with JoinedFolder(folder, provenance, str(group.rank)) as opened:
        run = Run(opened, tasks)
        finished = Making(protocol, run, group).make()
    group.wait_for(_FINISHED)
    group.wait_for_all(_LEFT, 0)
    if ends_after_tasks():
        raise ShareIsMade(finished, len(tasks))
    with files_discarded():
        return protocol.summarize(run)


def _make_share(
    protocol: Protocol[Result], folder: Path, share: Share, overwrite: bool, group: Group | None
) -> NoReturn:
    """As one of several jobs that know of each other by the folder alone."""
    if group is not None:
        raise InputError(
            f"share is {share}, but this is one of {group.size} processes of a group; give one or the other."
        )
    if overwrite:
        raise InputError(
            f"share is {share}, and --overwrite would remove what other shares make; remove the folder first."
        )
    provenance = plain(protocol.provenance())
    tasks = list(protocol.tasks())
    with SharedFolder(folder, provenance, f"{share.number}-of-{share.count}", protocol.begun()) as opened:
        finished = Making(protocol, Run(opened, tasks), replace(share, folder=folder)).make()
    raise ShareIsMade(finished, len(tasks))


__all__ = ["Protocol", "Run", "Task", "carry_out", "records_of", "warnings_of"]
