"""The folder of a run: nothing is overwritten unless asked, nothing is mixed with another run, one process at a time."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Any

from captum_proto._utils.durable import step_back
from captum_proto._utils.errors import CaptumProtoError, OccupiedError
from captum_proto._utils.files import file_error, files_foretold
from captum_proto.ops import SlowPathWarning
from captum_proto.runs.contents import (
    ARGUMENTS,
    JOB,
    JOURNAL,
    LOCK,
    MANIFEST,
    PAGE,
    PARTS,
    RECORDED,
    REPORT,
    SETTINGS,
    SNAPSHOTS,
    SUMMARY,
    TASKS,
    all_settings,
    check_free,
    is_finished,
    is_recoverable,
    job_of,
    link_out_of,
    names_of_parts,
    note_line,
    nothing_finished,
    parts_noted,
    parts_of,
    parts_of_records,
    read_record,
    read_settings,
    recorded_files,
    recorded_of,
    remove_empty,
    remove_notes,
    remove_results,
    task_records,
)
from captum_proto.runs.files import write_sealed
from captum_proto.runs.lock import FolderLock
from captum_proto.runs.provenance import check_same
from captum_proto.runs.snapshots import SnapshotWarning

#: So many seconds a process of a group waits for one that has the folder still: a host that was cut off ends its processes with a delay.
PATIENCE = 600.0

#: The run that is at work, if one is: what is begun within its folder is a part of it.
_at_work: ContextVar[RunFolder | None] = ContextVar("captum_proto run at work", default=None)
#: What the command line was given, as far as it says what is made, if it is at work.
_arguments: ContextVar[list[str] | None] = ContextVar("captum_proto command line", default=None)
#: The list that :func:`noted_warnings` fills, if it does.
_noted: ContextVar[list[str] | None] = ContextVar("captum_proto warnings noted", default=None)


class RunFolder:
    """
    A folder that a run has to itself, for the length of a ``with`` block.

    A run that begins in a folder below, while this one is at work, is a part of it: it is recorded as such in the settings, so that a
    later run that overwrites this one removes the results of its parts too, finished or not.

    Where no task of an earlier run is finished, there is nothing to lose and nothing to go on with: a folder that holds nothing else is as
    good as an empty one. A run that fails before its first task is finished leaves none.

    Args:
        folder (Path): Where the run writes.
        provenance (dict): What its results depend on, as JSON can hold it.
        overwrite (bool, optional): Whether the results of an earlier run may be replaced: the files that it recorded go. Default: False
        resume (bool, optional): Whether to keep them, if they are of the same provenance. Default: False
        job (str, optional): What the group of processes is called of which this one is the first, if it is one: what a job of this name
            left is gone on with after a restart. Default: None, this process is alone

    Raises:
        OccupiedError: If it holds files, and the run may neither overwrite nor resume; or another process has it.
        InputError: If it is to be resumed but was made with other settings, or holds the results of another command.
        WriteError: If it cannot be made or written to.
    """

    #: How the name of this process's journal ends: that of the only one, or the first, does not.
    _process: str = ""

    def __init__(
        self,
        folder: Path,
        provenance: dict[str, Any],
        *,
        overwrite: bool = False,
        resume: bool = False,
        job: str | None = None,
    ) -> None:
        self.folder = folder
        self.provenance: dict[str, Any] = json.loads(json.dumps(provenance))
        self.overwrite, self.resume = overwrite, resume
        self.job = job
        #: Whether other processes work on the run as well, or on the one of which it is a part.
        self.in_group = job is not None
        self.recorded: dict[str, Any] = {}
        self._summary_files: list[str] | None = None
        self._parts: set[str] = set()
        self._arguments: list[str] | None = None
        self._lock: FolderLock | None = None
        self._token: Token[RunFolder | None] | None = None
        self._above = folder
        self._closing = ExitStack()

    def __enter__(self) -> RunFolder:
        self._check()
        if (whole := at_work()) is not None:
            whole.add_part(self.folder)
            self.in_group |= whole.in_group
        else:
            self._note_arguments()
        while not self._above.exists() and self._above != self._above.parent:
            self._above = self._above.parent
        self._take_lock(patience=PATIENCE if self.in_group and self._goes_on() else 0)
        try:
            self._check()  # again: another process may have had it in between
            self._check_links()
            step_back(self.folder)  # from where a process was killed while it wrote
            for name in (PAGE, REPORT, MANIFEST):  # of an earlier state; this run writes its own when it is finished
                (self.folder / name).unlink(missing_ok=True)
            if not self.resume or nothing_finished(self.folder):
                remove_results(self.folder)
            if self.job is not None:
                note_line(self.folder, {JOB: self.job})
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError) and not isinstance(error, CaptumProtoError):
                raise file_error(error, self.folder, "cannot be written to") from error
            raise
        self._begin_work()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_work()
        try:
            if kind is None:
                parts = parts_of(self.folder)  # before the journals go that tell of some
                try:
                    remove_notes(self.folder)
                except OSError as gone_wrong:
                    raise file_error(gone_wrong, self.folder / JOURNAL, "cannot be removed") from gone_wrong
                for part in parts:  # whose lock could not be removed when they ended
                    with suppress(OSError):
                        (part / LOCK).unlink(missing_ok=True)
                shutil.rmtree(self.folder / SNAPSHOTS, ignore_errors=True)
            # Not of one that the user has interrupted, nor where others may be writing still.
            elif issubclass(kind, Exception) and self.job is None and nothing_finished(self.folder):
                remove_results(self.folder)
        finally:
            self._unlock()
        if kind is not None and not (self.folder / SETTINGS).exists():
            remove_empty(self.folder, self._above)

    def _note_arguments(self) -> None:
        if self._arguments is None:  # else the run goes on, and they are those with which it began
            self._arguments = _arguments.get()

    def _begin_work(self) -> None:
        self._token = _at_work.set(self)
        self._closing.enter_context(files_foretold(self._note_begun))

    def _end_work(self) -> None:
        self._closing.close()
        if self._token is not None:
            _at_work.reset(self._token)

    def _note_begun(self, path: Path) -> None:
        """Note a file of this run before it is written: a task that is never finished has no record that could name it."""
        root, path = self.folder.resolve(), path.resolve()
        if not path.is_relative_to(root):
            return
        name = path.relative_to(root)
        if name.parts[0] not in (SETTINGS, TASKS, PAGE, REPORT, MANIFEST):
            note_line(root, name.as_posix(), self._process)

    def add_part(self, folder: Path) -> None:
        """Record that a run in a folder below is a part of this one."""
        root, path = self.folder.resolve(), folder.resolve()
        if path == root or not path.is_relative_to(root):
            return
        name = path.relative_to(root).as_posix()
        if name not in self._parts:
            self._parts.add(name)
            self._record_part(name)

    def _record_part(self, name: str) -> None:
        self.write_settings(self.recorded)

    def files(self) -> list[Path]:
        """Every file of the run, whichever process wrote it: settings, records of tasks, what these name, and the parts' files."""
        own = [self.folder / SETTINGS, self.folder / MANIFEST, *task_records(self.folder)]
        return [*own, *recorded_files(self.folder)]

    def write_manifest(self) -> None:
        """Write down, when all else is written, every file that no task's record names, the records themselves among them."""
        summary = [self.folder / name for name in self._summary_files or ()]
        paths = [self.folder / SETTINGS, *task_records(self.folder), *summary]
        files = {path.relative_to(self.folder).as_posix(): recorded_of(path) for path in paths}
        write_sealed(self.folder / MANIFEST, {"files": files})

    def write_settings(self, recorded: Mapping[str, Any], summary_files: Iterable[Path] | None = None) -> None:
        """
        Write what the results depend on, and what is recorded beside.

        Args:
            recorded (mapping): As JSON can hold it.
            summary_files (iterable of Path, optional): When the run is finished, what its summary wrote. Default: None
        """
        self.recorded = dict(recorded)
        content = {**self.provenance, RECORDED: self.recorded}
        if summary_files is not None:
            root = self.folder.resolve()
            paths = {path.resolve() for path in summary_files}
            self._summary_files = sorted(
                path.relative_to(root).as_posix() for path in paths if path.is_relative_to(root)
            )
        if self._summary_files is not None:  # of this run, or of the earlier one that it goes on with
            content[SUMMARY] = self._summary_files
        if parts := self._parts | parts_noted(self.folder):
            content[PARTS] = sorted(parts)
        if self._arguments is not None:
            content[ARGUMENTS] = self._arguments
        write_sealed(self.folder / SETTINGS, content)

    def _check(self) -> None:
        """See that the folder may be used, without changing anything."""
        part = at_work() is not None
        command = self.provenance.get("command")
        found = check_free(self.folder, command, overwrite=self.overwrite, resume=self.resume, part=part)
        if found == {}:
            if not is_recoverable(self.folder, self.provenance, part):
                all_settings(self.folder)  # raises
            self._parts = parts_of_records(self.folder)
        elif found is not None and self.resume:
            self._arguments = found.pop(ARGUMENTS, self._arguments)
            found.pop(RECORDED, None)
            self._summary_files = found.pop(SUMMARY, None)
            self._parts = names_of_parts(found)
            found.pop(PARTS, None)
            check_same(self.folder, found, self.provenance)

    def _check_links(self) -> None:
        if (link := link_out_of(self.folder)) is not None:
            raise OccupiedError(
                f'"{self.folder}" holds a link that leads out of it, "{link.relative_to(self.folder)}", and a run writes into its own '
                "folder alone; remove the link, or choose another folder."
            )

    def _goes_on(self) -> bool:
        """Whether an earlier process of the same group may have the folder still."""
        return self.job is None or job_of(self.folder) == self.job

    def _take_lock(self, shared: bool = False, patience: float = 0) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Of the folder above a missing lock was said.
            self._lock = FolderLock(self.folder / LOCK, shared=shared, patience=patience, quiet=at_work() is not None)
        except OSError as error:
            raise file_error(error, self.folder, "cannot be made or written to") from error
        if not self._lock.held:
            raise OccupiedError(
                f'another process is at work in "{self.folder}"; wait until it has finished, or choose another folder.'
            )

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def is_same(folder: Path, provenance: dict[str, Any]) -> bool:
    """Whether the run in a folder has these settings; False where there is none."""
    try:
        found = all_settings(folder)
    except OccupiedError:
        return False
    beside = (RECORDED, SUMMARY, PARTS, ARGUMENTS)
    return {name: value for name, value in found.items() if name not in beside} == provenance


def at_work() -> RunFolder | None:
    """The run in which this process makes a task just now, if it does."""
    return _at_work.get()


@contextmanager
def begun_by(arguments: list[str]) -> Iterator[None]:
    """
    Record with the runs of the block, beside what their results depend on, which command line made them.

    Args:
        arguments (list[str]): Without what does not say what is made: the folder, whether to resume.
    """
    token = _arguments.set(arguments)
    try:
        yield
    finally:
        _arguments.reset(token)


@contextmanager
def noted_warnings(shown: set[str] | None = None) -> Iterator[list[str]]:
    """
    Collect what is warned of in the block, each message once, in a list that grows.

    Args:
        shown (set[str], optional): Messages that were shown before and need not be again; grows. Default: None, none was
    """
    noted: list[str] = []
    shown = set() if shown is None else shown
    show = warnings.showwarning
    token = _noted.set(noted)

    def note(message: Warning | str, category: type[Warning], *rest: Any, **named: Any) -> None:
        text = str(message)
        # What is said once in a process, and of an installation or of what an earlier process left, is no part of any task.
        if text not in noted and not issubclass(category, (SlowPathWarning, SnapshotWarning)):
            noted.append(text)
        if text not in shown:
            shown.add(text)
            show(message, category, *rest, **named)

    with warnings.catch_warnings():
        # What Python has shown before is noted all the same: a task's record may not depend on what its process did before it.
        warnings.simplefilter("always", append=True)
        warnings.showwarning = note
        try:
            yield noted
        finally:
            _noted.reset(token)


def note_again(messages: Iterable[str]) -> None:
    """Tell :func:`noted_warnings` of what was warned of by an earlier process, in a part of what is made now."""
    if (noted := _noted.get()) is not None:
        noted += [text for text in dict.fromkeys(messages) if text not in noted]


__all__ = [
    "MANIFEST",
    "PAGE",
    "PARTS",
    "RECORDED",
    "REPORT",
    "SETTINGS",
    "TASKS",
    "RunFolder",
    "at_work",
    "begun_by",
    "check_free",
    "is_finished",
    "is_same",
    "note_again",
    "noted_warnings",
    "read_record",
    "read_settings",
]
