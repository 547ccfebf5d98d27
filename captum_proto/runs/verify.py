"""Whether a run's folder holds what the run wrote, to the last byte; and if not, what is wrong and which tasks are to be made again."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from captum_proto._utils.durable import PARTIAL
from captum_proto._utils.errors import MissingFileError, NotAFolderError, OccupiedError
from captum_proto._utils.files import sha256
from captum_proto.runs.contents import (
    ARGUMENTS,
    JOURNAL,
    LOCK,
    MANIFEST,
    PAGE,
    PARTS,
    REPORT,
    SETTINGS,
    SNAPSHOTS,
    SUMMARY,
    TASKS,
    all_settings,
    begun_files,
    has_settings,
    parts_of_records,
    read_record,
    task_records,
)
from captum_proto.runs.files import is_sealed, unsealed

#: What may be wrong with a file.
MISSING, TRUNCATED, ALTERED = "missing", "truncated", "altered"


@dataclass(frozen=True)
class Problem:
    """
    A file of a run that is not what the run wrote.

    Attributes:
        path (str): In the run's folder.
        what (str): "missing", "truncated" (shorter than it was) or "altered".
        task (str): Which task is made again for it, that of a part with the part's folder before its name; empty for what is made from all
            tasks together.
    """

    path: str
    what: str
    task: str = ""


@dataclass
class Verification:
    """
    What was found in a run's folder.

    Attributes:
        folder (Path): Which.
        command (str): Of captum-proto, that wrote it; empty where its settings are lost.
        checked (int): How many files are what they were.
        problems (list[Problem]): Those that are not.
        unfinished (list[str]): The folders of runs that did not come to their end: the run's own is ".", those of its parts are named.
        unexpected (list[str]): Files that no run wrote; a folder is whole with them too.
        left (list[str]): What a run that was interrupted left: it goes when the run is resumed.
        arguments (list[str], optional): The command line that began the run, without its folder; None where a program began it.
    """

    folder: Path
    command: str = ""
    checked: int = 0
    problems: list[Problem] = field(default_factory=list)
    unfinished: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    arguments: list[str] | None = None

    @property
    def whole(self) -> bool:
        """Whether the run is finished and every file of it is what it was."""
        return not self.problems and not self.unfinished

    @property
    def tasks(self) -> list[str]:
        """The tasks that are made again when the run is resumed, those of its parts with the part's folder."""
        return sorted({problem.task for problem in self.problems if problem.task})

    def to_resume(self) -> list[str] | None:
        """The command line that makes again what is not as it was, and nothing else; None where none is recorded."""
        if self.arguments is None:
            return None
        return ["captum-proto", *self.arguments, "--out", str(self.folder), "--resume"]


def verify(folder: Path) -> Verification:
    """
    Compare a run's folder, the parts of the run included, with what the run recorded of each file that it wrote.

    Every file is read. Settings and the records of tasks hold their own digests, the records those of the tasks' files, and the manifest
    those of all else.

    Args:
        folder (Path): That a command or :func:`~captum_proto.runs.tasks.carry_out` wrote to.

    Returns:
        Verification: What is missing, truncated, altered or unexpected.

    Raises:
        MissingFileError: If there is no such folder, or no run wrote it.
        NotAFolderError: If it is a file.

    Examples::

        >>> from captum_proto.runs.verify import verify
        >>> verify(Path("dogs")).whole  # doctest: +SKIP
        True
    """
    if not folder.exists():
        raise MissingFileError(f'there is no folder "{folder}"; give one that a captum-proto command wrote to.')
    if not folder.is_dir():
        raise NotAFolderError(f'"{folder}" is a file; give the folder that a captum-proto command wrote to.')
    if not has_settings(folder) and not task_records(folder) and not (folder / MANIFEST).exists():
        raise MissingFileError(
            f'"{folder}" holds neither {SETTINGS} nor {TASKS} nor {MANIFEST}; give a folder that a captum-proto command wrote to.'
        )
    found = Verification(folder)
    known = _Known(found)
    known.look_at(folder)
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name in known.names:
            continue
        left = name in known.left or _is_left(path.relative_to(folder))
        (found.left if left else found.unexpected).append(name)
    found.problems.sort(key=lambda problem: problem.path)
    with suppress(OccupiedError):
        settings = all_settings(folder)
        found.command, found.arguments = str(settings.get("command", "")), settings.get(ARGUMENTS)
    return found


class _Known:
    """The files that a run and its parts recorded, each looked at once: in the innermost of them."""

    def __init__(self, found: Verification) -> None:
        self.found = found
        self.names: set[str] = set()
        #: What is made again, or goes, when the run is resumed.
        self.left: set[str] = set()

    def look_at(self, folder: Path) -> None:
        """Look at the files of the run in a folder, those of its parts first."""
        settings = _settings_of(folder)
        parts = parts_of_records(folder) if settings is None else set(settings.get(PARTS) or ())
        for part in sorted(parts):
            if (folder / part).resolve().is_relative_to(folder.resolve()) and (folder / part).is_dir():
                self.look_at(folder / part)
        listed = _manifest_of(folder)
        if listed is None or (folder / JOURNAL).exists():
            self.found.unfinished.append(folder.relative_to(self.found.folder).as_posix())
            self.left |= {path.relative_to(self.found.folder).as_posix() for path in begun_files(folder)}
        self._look_at_sealed(folder, SETTINGS, listed)
        if (folder / MANIFEST).exists():
            self._look_at_sealed(folder, MANIFEST, None)
        records = {*task_records(folder), *(folder / name for name in listed or () if name.startswith(f"{TASKS}/"))}
        for path in sorted(records):
            self._look_at_task(folder, path.relative_to(folder).as_posix(), listed)
        for name, recorded in (listed or dict.fromkeys((settings or {}).get(SUMMARY) or ())).items():
            self._look(folder, name, recorded, "")

    def _look_at_sealed(self, folder: Path, name: str, listed: dict[str, Any] | None, task: str = "") -> None:
        """Look at a file that holds its own digest, by what the manifest says of it if it says anything."""
        path = folder / name
        if listed is not None and name in listed:
            self._look(folder, name, listed[name], task)
            return
        shown = path.relative_to(self.found.folder).as_posix()
        self.names.add(shown)
        if is_sealed(path):
            self.found.checked += 1
        else:
            self.found.problems.append(Problem(shown, ALTERED if path.exists() else MISSING, task))

    def _look_at_task(self, folder: Path, name: str, listed: dict[str, Any] | None) -> None:
        """Look at the record of a task, and at the files that it names."""
        path = folder / name
        part = folder.relative_to(self.found.folder)
        task = (part / Path(name).relative_to(TASKS).with_suffix("")).as_posix()
        self._look_at_sealed(folder, name, listed, task)
        record = read_record(path)
        if record is not None:
            for of_task, recorded in record["files"].items():
                self._look(folder, of_task, recorded, task)
        elif (record := read_record(path, altered=True)) is not None:  # whatever it says of them, they are made again
            self.left |= {
                (folder / of_task).relative_to(self.found.folder).as_posix()
                for of_task in record["files"]
                if (folder / of_task).exists()
            }

    def _look(self, folder: Path, name: str, recorded: Any, task: str) -> None:
        path = folder / name
        if not path.resolve().is_relative_to(self.found.folder.resolve()):
            return
        shown = path.relative_to(self.found.folder).as_posix()
        if shown in self.names:
            return
        self.names.add(shown)
        if not path.is_file():
            self.found.problems.append(Problem(shown, MISSING, task))
        elif recorded is not None and path.stat().st_size < recorded["bytes"]:
            self.found.problems.append(Problem(shown, TRUNCATED, task))
        elif recorded is not None and sha256(path) != recorded.get("sha256"):
            self.found.problems.append(Problem(shown, ALTERED, task))
        else:
            self.found.checked += 1


def _settings_of(folder: Path) -> dict[str, Any] | None:
    try:
        return all_settings(folder)
    except OccupiedError:
        return None


def _manifest_of(folder: Path) -> dict[str, Any] | None:
    """What the manifest in a folder lists; None where there is none, or a damaged one."""
    try:
        content, whole = unsealed(json.loads((folder / MANIFEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None
    return dict(content["files"]) if whole else None


def _is_left(path: Path) -> bool:
    """Whether a file is what an interrupted run leaves: lock, journal, snapshots, the page of what there is, and what it was writing."""
    return path.name in (LOCK, JOURNAL, PAGE, REPORT) or path.name.endswith(PARTIAL) or SNAPSHOTS in path.parts


__all__ = ["Problem", "Verification", "verify"]
