"""
A run is tasks in a folder: what is finished stays, what is missing is made, and the end is the same however often it was interrupted.

A protocol lists its tasks, makes one at a time, and summarizes all of them from their files. Everything else is done here, once for all
protocols: the record of what the results depend on, which tasks are finished, ``resume`` and ``overwrite``, the lock on the folder.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from tqdm.auto import tqdm

from captum_proto._utils.files import count_as_written, files_written
from captum_proto.runs.contents import RUN, SNAPSHOTS, is_intact, recorded_of, remove_empty
from captum_proto.runs.files import digest_of, write_sealed
from captum_proto.runs.folder import SETTINGS, TASKS, RunFolder, note_again, noted_warnings, read_record
from captum_proto.runs.provenance import plain
from captum_proto.runs.snapshots import kept_every, of_task

Result = TypeVar("Result")


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

    def finished(self, task: Task) -> bool:
        """Whether a task is done, with the inputs it has now, and its files are all there and not altered."""
        found = self.record(task.name)
        if found is None or found["inputs"] != plain(task.inputs) or found["needs"] != self._needs(task):
            return False
        return all(is_intact(self.folder / path, file) for path, file in found["files"].items())

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
    snapshot_every: int | None = None,
) -> Result:
    """
    Run a protocol in a folder.

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
    """
    provenance = plain(protocol.provenance())
    tasks = list(protocol.tasks())  # before the folder is touched: bad input is found here
    with kept_every(snapshot_every), RunFolder(folder, provenance, overwrite=overwrite, resume=resume) as opened:
        opened.write_settings(protocol.begun())
        run = Run(opened, tasks, show_progress)
        _make_missing(protocol, run)
        with files_written() as written:
            result = protocol.summarize(run)
        opened.write_settings(opened.recorded, written)
        opened.write_manifest()
        count_as_written(opened.files())
    return result


def _make_missing(protocol: Protocol[Any], run: Run) -> None:
    """Make every task that is not finished, in their order."""
    total = sum(task.weight for task in run.tasks)
    visible = run.show_progress and bool(protocol.unit)
    shown: set[str] = set()
    with tqdm(total=total, unit=protocol.unit or "it", smoothing=0.05, disable=not visible) as progress:
        for index, task in enumerate(run.tasks):
            if run.finished(task):
                note_again((run.record(task.name) or {"warnings": []})["warnings"])
                if visible:
                    progress.initial += task.weight  # the time left is that of what is left to do
            else:
                snapshot = of_task(run.folder / SNAPSHOTS / task.name)
                with files_written() as written, noted_warnings(shown) as warned, snapshot.used():
                    protocol.make(task, run)
                run.finish(task, index, written, warned)
                snapshot.clear()
                remove_empty(snapshot.folder.parent, run.folder)
            progress.update(task.weight)


__all__ = ["Protocol", "Run", "Task", "carry_out", "records_of", "warnings_of"]
