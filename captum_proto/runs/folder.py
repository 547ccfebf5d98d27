"""The folder of a run: nothing is overwritten unless asked, nothing is mixed with another run, one process at a time."""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from pathlib import Path
from types import TracebackType
from typing import Any

from captum_proto._utils.errors import CaptumProtoError, InputError, OccupiedError
from captum_proto._utils.files import PARTIAL, file_error
from captum_proto.runs.files import write_json

try:
    import fcntl
except ImportError:  # Windows has no such locks: there nobody watches over two runs in one folder
    _LOCKS = False
else:
    _LOCKS = True

#: What a run's results depend on, and what it recorded beside.
SETTINGS = "settings.json"
#: In the settings: what the run is about to make, and, when it is finished, what came of it and which files its summary wrote.
RECORDED, SUMMARY = "recorded", "summary_files"
#: In the settings: the folders of runs that are parts of this one, such as the generation of one class's prototypes in an evaluation.
PARTS = "parts"
#: The folder of the tasks' records: which are finished, from what, with which files.
TASKS = "tasks"
#: Made from the results: the description of the page, and the page.
PAGE, REPORT = "page.json", "report.html"
_LOCK = ".lock"
#: The run that is at work, if one is: what is begun within its folder is a part of it.
_at_work: ContextVar[RunFolder | None] = ContextVar("captum_proto run at work", default=None)
#: The list that :func:`noted_warnings` fills, if it does.
_noted: ContextVar[list[str] | None] = ContextVar("captum_proto warnings noted", default=None)


class RunFolder:
    """
    A folder that a run has to itself, for the length of a ``with`` block.

    A run that begins in a folder below, while this one is at work, is a part of it: it is recorded as such in the settings, so that a
    later run that overwrites this one removes the results of its parts too, finished or not.

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

    def __enter__(self) -> RunFolder:
        self._check()
        if (whole := _at_work.get()) is not None:
            whole.add_part(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self.folder / _LOCK)
        except OSError as error:
            raise file_error(error, self.folder, "cannot be made or written to") from error
        if self._lock is None:
            raise OccupiedError(
                f'another process is at work in "{self.folder}"; wait until it has finished, or choose another folder.'
            )
        try:
            self._check()  # again: another process may have had it in between
            for left in self.folder.rglob(f".*{PARTIAL}"):  # by a process that was killed while it wrote
                left.unlink(missing_ok=True)
            for name in (PAGE, REPORT):  # of an earlier state; this run writes its own when it is finished
                (self.folder / name).unlink(missing_ok=True)
            if not self.resume:
                _remove_results(self.folder)
        except BaseException as error:
            self._unlock()
            if isinstance(error, OSError) and not isinstance(error, CaptumProtoError):
                raise file_error(error, self.folder, "cannot be written to") from error
            raise
        self._token = _at_work.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._token is not None:
            _at_work.reset(self._token)
        self._unlock()

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
        return [self.folder / SETTINGS, *_records(self.folder), *_recorded_files(self.folder)]

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
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise OccupiedError(f'"{folder}" is a file; choose a folder with --out.')
        if not folder.is_dir() or not any(_counts(path) for path in folder.iterdir()):
            return
        if self.resume and _at_work.get() is not None and not (folder / SETTINGS).exists():
            return  # a part of a run, which is not begun yet
        if not (self.overwrite or self.resume):
            raise OccupiedError(f'"{folder}" is not empty; choose another folder, or pass --overwrite or --resume.')
        if not self.resume and not (folder / SETTINGS).exists():
            return
        found = _read_settings(folder)
        before, now = found.get("command"), self.provenance.get("command")
        if before and now and before != now:
            raise InputError(
                f'"{folder}" holds the results of captum-proto {before}, not of {now}; choose another folder.'
            )
        if self.resume:
            found.pop(RECORDED, None)
            self._summary_files = found.pop(SUMMARY, None)
            self._parts = set(found.pop(PARTS, ()))
            _check_same(folder, found, self.provenance)

    def _unlock(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                (self.folder / _LOCK).unlink()
            os.close(self._lock)
            self._lock = None


def _remove_results(root: Path) -> None:
    """Remove what a run recorded as its own, and its parts: nothing else in the folder is touched."""
    if (root / SETTINGS).exists():
        with suppress(OccupiedError):
            for name in _read_settings(root).get(PARTS) or ():
                if (root / name).resolve().is_relative_to(root.resolve()):
                    _remove_results(root / name)
                    _remove_empty(root / name, root)
    for path in _recorded_files(root):
        path.unlink(missing_ok=True)
        _remove_empty(path.parent, root)
    if (root / TASKS).is_dir():
        shutil.rmtree(root / TASKS)
    for name in (SETTINGS, PAGE, REPORT):
        (root / name).unlink(missing_ok=True)


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, up to the root, as long as nothing is left in them."""
    while folder != root and folder.is_relative_to(root):
        with suppress(OSError):  # others' files are in it, or it is gone
            folder.rmdir()
        folder = folder.parent


def _records(root: Path) -> list[Path]:
    return sorted((root / TASKS).rglob("*.json"))


def _recorded_files(root: Path) -> list[Path]:
    """The files in a folder that a run recorded as its own, in the records of its tasks and as written by its summary."""
    names: set[str] = set()
    for path in _records(root):
        if (record := read_record(path)) is not None:
            names |= set(record["files"])
    if (root / SETTINGS).exists():
        with suppress(OccupiedError):
            names |= set(_read_settings(root).get(SUMMARY) or ())
    return [root / name for name in sorted(names) if (root / name).resolve().is_relative_to(root.resolve())]


def read_record(path: Path) -> dict[str, Any] | None:
    """What is recorded of a finished task; None where there is no record, or a damaged one: then the task is not finished."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    kinds = {"index": int, "inputs": dict, "needs": dict, "files": dict, "warnings": list}
    whole = isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in kinds.items())
    if not whole or not all(isinstance(file, dict) and "bytes" in file for file in record["files"].values()):
        return None
    return dict(record)


def _counts(path: Path) -> bool:
    """Whether a file makes a folder one that is not empty: not the lock, and not what was being written when a process was killed."""
    return path.name != _LOCK and not path.name.endswith(PARTIAL)


def _locked(path: Path) -> int | None:
    """An open file that this process alone has locked, until it ends, however it ends; None if another has it."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
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


def _check_same(folder: Path, found: dict[str, Any], asked: dict[str, Any]) -> None:
    """See that a run was made with the settings that are asked for."""
    different = sorted(name for name in asked.keys() | found.keys() if asked.get(name) != found.get(name))
    if different:
        name, before, now = _innermost(different[0], found.get(different[0]), asked.get(different[0]))
        raise InputError(
            f'"{folder}" was made with {name} = {before!r}, now it is {now!r}; resume with the same settings, or choose another folder.'
        )


def _innermost(name: str, before: Any, now: Any) -> tuple[str, Any, Any]:
    """The first entry in which two settings differ, and its path."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return _innermost(f"{name}.{key}", before.get(key), now.get(key))
    return name, before, now


def read_settings(folder: Path) -> dict[str, Any]:
    """
    The settings a run wrote to its folder: its provenance, and what is recorded beside.

    Raises:
        OccupiedError: If there are none: no command wrote this folder.
    """
    settings = _read_settings(folder)
    return {name: value for name, value in settings.items() if name not in (SUMMARY, PARTS)}


def is_finished(folder: Path) -> bool:
    """
    Whether the run in a folder came to its end, once at least.

    Raises:
        OccupiedError: If there is none: no command wrote this folder.
    """
    return SUMMARY in _read_settings(folder)


def _read_settings(folder: Path) -> dict[str, Any]:
    """With what the run keeps account of for itself."""
    try:
        settings = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        recorded = settings.get(RECORDED)
        if recorded is not None and not isinstance(recorded, dict):
            raise ValueError(f"{RECORDED} is {recorded!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise OccupiedError(
            f'"{folder}" holds no readable {SETTINGS}, so it cannot be resumed; choose another.'
        ) from error
    return dict(settings)


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
        if text not in noted:
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
    "is_finished",
    "note_again",
    "noted_warnings",
    "read_record",
    "read_settings",
]
