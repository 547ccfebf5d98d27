"""The folder of a run: nothing is overwritten unless asked, nothing is mixed with another run, one process at a time."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Any

from captum_proto._utils.errors import CaptumProtoError, OccupiedError
from captum_proto._utils.files import PARTIAL, file_error, files_foretold
from captum_proto.ops import SlowPathWarning
from captum_proto.runs.contents import (
    JOURNAL,
    LOCK,
    PAGE,
    PARTS,
    RECORDED,
    REPORT,
    SETTINGS,
    SUMMARY,
    TASKS,
    check_free,
    is_finished,
    link_out_of,
    nothing_finished,
    read_record,
    read_settings,
    recorded_files,
    remove_empty,
    remove_results,
    task_records,
)
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import check_same

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody watches over two runs in one folder
    _LOCKS = False
else:
    _LOCKS = True

#: A lock or a journal that is a link is none of ours: it would be written through to a file of others.
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
#: The run that is at work, if one is: what is begun within its folder is a part of it.
_at_work: ContextVar[RunFolder | None] = ContextVar("captum_proto run at work", default=None)
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

    Raises:
        OccupiedError: If it holds files, and the run may neither overwrite nor resume; or another process has it.
        InputError: If it is to be resumed but was made with other settings, or holds the results of another command.
        WriteError: If it cannot be made or written to.
    """

    def __init__(
        self, folder: Path, provenance: dict[str, Any], *, overwrite: bool = False, resume: bool = False
    ) -> None:
        self.folder = folder
        self.provenance: dict[str, Any] = json.loads(json.dumps(provenance))
        self.overwrite, self.resume = overwrite, resume
        self.recorded: dict[str, Any] = {}
        self._summary_files: list[str] | None = None
        self._parts: set[str] = set()
        self._lock: int | None = None
        self._token: Token[RunFolder | None] | None = None
        self._above = folder
        self._closing = ExitStack()

    def __enter__(self) -> RunFolder:
        self._check()
        if (whole := _at_work.get()) is not None:
            whole.add_part(self.folder)
        while not self._above.exists() and self._above != self._above.parent:
            self._above = self._above.parent
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder / LOCK)
        except OSError as error:
            raise file_error(error, self.folder, "cannot be made or written to") from error
        if self._lock is None:
            raise OccupiedError(
                f'another process is at work in "{self.folder}"; wait until it has finished, or choose another folder.'
            )
        try:
            self._check()  # again: another process may have had it in between
            if (link := link_out_of(self.folder)) is not None:
                raise OccupiedError(
                    f'"{self.folder}" holds a link that leads out of it, "{link.relative_to(self.folder)}", and a run writes into its own '
                    "folder alone; remove the link, or choose another folder."
                )
            for left in self.folder.rglob(f".*{PARTIAL}"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
            for name in (PAGE, REPORT):  # of an earlier state; this run writes its own when it is finished
                (self.folder / name).unlink(missing_ok=True)
            if not self.resume or nothing_finished(self.folder):
                remove_results(self.folder)
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError) and not isinstance(error, CaptumProtoError):
                raise file_error(error, self.folder, "cannot be written to") from error
            raise
        self._token = _at_work.set(self)
        self._closing.enter_context(files_foretold(self._note_begun))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing.close()
        if self._token is not None:
            _at_work.reset(self._token)
        try:
            if kind is None:
                (self.folder / JOURNAL).unlink(missing_ok=True)
            elif issubclass(kind, Exception) and nothing_finished(self.folder):  # not one that the user has interrupted
                remove_results(self.folder)
        finally:
            self._unlock()
        if kind is not None and not (self.folder / SETTINGS).exists():
            remove_empty(self.folder, self._above)

    def _note_begun(self, path: Path) -> None:
        """Note a file of this run before it is written: a task that is never finished has no record that could name it."""
        root, path = self.folder.resolve(), path.resolve()
        if not path.is_relative_to(root):
            return
        name = path.relative_to(root)
        if name.parts[0] not in (SETTINGS, TASKS, PAGE, REPORT):
            handle = os.open(root / JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_APPEND | _NO_LINKS, 0o666)
            with open(handle, "a", encoding="ascii") as journal:
                journal.write(json.dumps(name.as_posix()) + "\n")

    def add_part(self, folder: Path) -> None:
        """Record that a run in a folder below is a part of this one."""
        root, path = self.folder.resolve(), folder.resolve()
        if path == root or not path.is_relative_to(root):
            return
        name = path.relative_to(root).as_posix()
        if name not in self._parts:
            self._parts.add(name)
            self.write_settings(self.recorded)

    def files(self) -> list[Path]:
        """Every file of the run, whichever process wrote it: settings, records of tasks, what these name, and the parts' files."""
        return [self.folder / SETTINGS, *task_records(self.folder), *recorded_files(self.folder)]

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
        if self._parts:
            content[PARTS] = sorted(self._parts)
        write_json(self.folder / SETTINGS, content, overwrite=True)

    def _check(self) -> None:
        """See that the folder may be used, without changing anything."""
        part = _at_work.get() is not None
        command = self.provenance.get("command")
        found = check_free(self.folder, command, overwrite=self.overwrite, resume=self.resume, part=part)
        if found is not None and self.resume:
            found.pop(RECORDED, None)
            self._summary_files = found.pop(SUMMARY, None)
            parts = found.pop(PARTS, ())
            self._parts = {part for part in parts if isinstance(part, str)} if isinstance(parts, list) else set()
            check_same(self.folder, found, self.provenance)

    def _unlock(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                (self.folder / LOCK).unlink()
            os.close(self._lock)
            self._lock = None


def _locked(path: Path) -> int | None:
    """An open file that this process alone has locked, until it ends, however it ends; None if another has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINKS, 0o666)
        if not _LOCKS:
            return handle
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        # Whoever had it before may have removed the file after this process opened it: a lock on that one would keep nobody out.
        with suppress(OSError):
            if os.fstat(handle).st_ino == os.stat(path).st_ino:
                return handle
        os.close(handle)


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
        # What is said once in a process, and of an installation, is no part of any task.
        if text not in noted and not issubclass(category, SlowPathWarning):
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
    "PAGE",
    "PARTS",
    "RECORDED",
    "REPORT",
    "SETTINGS",
    "TASKS",
    "RunFolder",
    "check_free",
    "is_finished",
    "note_again",
    "noted_warnings",
    "read_record",
    "read_settings",
]
