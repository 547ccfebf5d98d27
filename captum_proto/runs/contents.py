"""What is in the folder of a run: what the run wrote, which of it is finished, and what may be done with it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError, OccupiedError
from captum_proto._utils.files import PARTIAL
from captum_proto._utils.reading import parse_json, read_json

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
#: Held by the process at work.
LOCK = ".lock"
#: While a run is at work and after it was interrupted: a line with the name of each file that it was about to write.
JOURNAL = ".unfinished"


def check_free(
    folder: Path, command: str | None, *, overwrite: bool = False, resume: bool = False, part: bool = False
) -> dict[str, Any] | None:
    """
    See that a run may begin in a folder, as far as that can be seen without its settings.

    Args:
        folder (Path): Where it is to write.
        command (str, optional): What is run.
        overwrite (bool, optional): Whether the results of an earlier run may be replaced. Default: False
        resume (bool, optional): Whether they are to be kept. Default: False
        part (bool, optional): Whether the run is a part of another, for which the folder may be begun. Default: False

    Returns:
        dict[str, Any]: The settings of the run that is there, with what it keeps account of for itself; None if there is none that counts.

    Raises:
        OccupiedError: If the folder is a file, or holds files that may neither be overwritten nor resumed.
        InputError: If it holds the results of another command.
    """
    if folder.exists() and not folder.is_dir():
        raise OccupiedError(f'"{folder}" is a file; choose a folder with --out.')
    if not folder.is_dir() or not any(_counts(path) for path in folder.iterdir()) or nothing_finished(folder):
        return None
    settings_there = (folder / SETTINGS).exists()
    if resume and part and not settings_there:
        return None
    if not (overwrite or resume):
        raise OccupiedError(f'"{folder}" is not empty; choose another folder, or pass --overwrite or --resume.')
    if not resume and not settings_there:
        return None
    found = all_settings(folder)
    before = found.get("command")
    if before and command and before != command:
        raise InputError(
            f'"{folder}" holds the results of captum-proto {before}, not of {command}; choose another folder.'
        )
    return found


def read_settings(folder: Path) -> dict[str, Any]:
    """
    The settings a run wrote to its folder: its provenance, and what is recorded beside.

    Raises:
        OccupiedError: If there are none: no command wrote this folder.
    """
    settings = all_settings(folder)
    return {name: value for name, value in settings.items() if name not in (SUMMARY, PARTS)}


def is_finished(folder: Path) -> bool:
    """
    Whether the run in a folder came to its end, once at least.

    Raises:
        OccupiedError: If there is none: no command wrote this folder.
    """
    return SUMMARY in all_settings(folder)


def all_settings(folder: Path) -> dict[str, Any]:
    """With what the run keeps account of for itself."""
    try:
        settings = read_json(folder / SETTINGS)
        recorded = settings.get(RECORDED)
        if recorded is not None and not isinstance(recorded, dict):
            raise ValueError(f"{RECORDED} is {recorded!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise OccupiedError(
            f'"{folder}" holds no readable {SETTINGS}, so it cannot be resumed; choose another.'
        ) from error
    return dict(settings)


def remove_results(root: Path) -> None:
    """Remove what a run recorded as its own, and its parts: nothing else in the folder is touched, and nothing outside of it."""
    for part in parts_of(root):
        remove_results(part)
        (part / LOCK).unlink(missing_ok=True)  # of a process that was killed
        remove_empty(part, root)
    for path in [*recorded_files(root), *_begun_files(root)]:
        if path.is_symlink() or not path.is_dir():  # a folder is no file that a run wrote, whatever its record says
            path.unlink(missing_ok=True)
        remove_empty(path.parent, root)
    if (root / TASKS).is_symlink():
        (root / TASKS).unlink()
    elif (root / TASKS).is_dir():
        shutil.rmtree(root / TASKS)
    for name in (SETTINGS, PAGE, REPORT, JOURNAL):
        (root / name).unlink(missing_ok=True)


def parts_of(root: Path) -> list[Path]:
    """The folders of a run's parts: each lies below its own, whatever the settings say, so that no part is a part of itself."""
    if not (root / SETTINGS).exists():
        return []
    try:
        names = all_settings(root).get(PARTS)
    except OccupiedError:
        return []
    return [path for path in _within(root, names) if path.is_dir()]


def link_out_of(root: Path) -> Path | None:
    """A link in a folder, or in one below, that leads out of it: a run would write there. None if there is none."""
    inside = root.resolve()
    for parent, folders, files in os.walk(root):
        for name in [*folders, *files]:
            path = Path(parent, name)
            if path.is_symlink():
                try:
                    leads_out = not path.resolve().is_relative_to(inside)
                except (OSError, RuntimeError):  # to itself
                    leads_out = True
                if leads_out:
                    return path
    return None


def nothing_finished(root: Path) -> bool:
    """Whether a folder holds what a run left of which no task is finished, nor one of its parts, and nothing else."""
    own = _left_unfinished(root)
    return own is not None and all(path in own or not _counts(path) for path in root.rglob("*") if not path.is_dir())


def _left_unfinished(root: Path, seen: set[Path] | None = None) -> set[Path] | None:
    """The files of a run of which no task is finished; None if one is, or if no run was begun. ``seen``: parts that were looked at."""
    seen = set() if seen is None else seen
    if not (root / SETTINGS).exists() or task_records(root):
        return None
    try:
        settings = all_settings(root)
    except OccupiedError:
        return None
    if RECORDED not in settings or SUMMARY in settings:
        return None
    own = {*(root / name for name in (SETTINGS, PAGE, REPORT, JOURNAL)), *_begun_files(root)}
    for part in parts_of(root):
        if part not in seen and (part / SETTINGS).exists():
            seen.add(part)
            left = _left_unfinished(part, seen)
            if left is None:
                return None
            own |= left
    return own


def remove_empty(folder: Path, root: Path) -> None:
    """Remove a folder and those above it, up to the root, as long as nothing is left in them."""
    while folder != root and folder.is_relative_to(root):
        with suppress(OSError):  # others' files are in it, or it is gone
            folder.rmdir()
        folder = folder.parent


def task_records(root: Path) -> list[Path]:
    return sorted((root / TASKS).rglob("*.json"))


def read_record(path: Path) -> dict[str, Any] | None:
    """What is recorded of a finished task; None where there is no record, or a damaged one: then the task is not finished."""
    try:
        record = read_json(path)
    except (OSError, ValueError):
        return None
    kinds = {"task": str, "index": int, "inputs": dict, "needs": dict, "files": dict, "warnings": list}
    whole = isinstance(record, dict) and all(isinstance(record.get(name), kind) for name, kind in kinds.items())
    if not whole or not all(isinstance(file, dict) and "bytes" in file for file in record["files"].values()):
        return None
    return dict(record)


def recorded_files(root: Path) -> list[Path]:
    """The files in a folder that a run recorded as its own, in the records of its tasks and as written by its summary."""
    names: set[str] = set()
    for path in task_records(root):
        if (record := read_record(path)) is not None:
            names |= set(record["files"])
    found = _within(root, names)
    if (root / SETTINGS).exists():
        with suppress(OccupiedError):
            found += _within(root, all_settings(root).get(SUMMARY))
    return sorted(set(found))


def _begun_files(root: Path) -> list[Path]:
    """The files that a run which was interrupted was about to write, or has written."""
    names: set[str] = set()
    with suppress(OSError):
        for line in (root / JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):  # the line at which the process was killed
                names.add(str(parse_json(line)))
    return _within(root, names)


def _within(root: Path, names: Any) -> list[Path]:
    """Of what should be names of files, those that lie below the folder, themselves and what they lead to; a damaged list has none."""
    if not isinstance(names, (list, set)):
        return []
    inside, found = root.resolve(), set[Path]()
    for name in names:
        with suppress(OSError, ValueError, RuntimeError, TypeError):  # a name that no file can have, a link to itself
            path = root / name
            place = path.parent.resolve() / path.name  # a link goes, not what it leads to
            if place != inside and ".." not in path.parts and place.is_relative_to(inside):
                target = path.resolve()
                if target != inside and target.is_relative_to(inside):
                    with suppress(FileNotFoundError, NotADirectoryError):
                        path.lstat()
                    found.add(path)
    return sorted(found)


def _counts(path: Path) -> bool:
    """Whether a file makes a folder one that is not empty: not the lock, and not what was being written when a process was killed."""
    return path.name not in (LOCK, JOURNAL) and not path.name.endswith(PARTIAL)
