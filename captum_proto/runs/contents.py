"""What is in the folder of a run: what the run wrote, which of it is finished, and what may be done with it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from captum_proto._utils.durable import PARTIAL, aside_of
from captum_proto._utils.errors import InputError, OccupiedError
from captum_proto._utils.files import sha256
from captum_proto._utils.reading import parse_json, read_json
from captum_proto.runs.files import digest_of, unsealed

#: A lock or a journal that is a link is none of ours: it would be written through to a file of others.
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
#: What a run's results depend on, and what it recorded beside.
SETTINGS = "settings.json"
#: In the settings: what the run is about to make, and, when it is finished, what came of it and which files its summary wrote.
RECORDED, SUMMARY = "recorded", "summary_files"
#: In the settings: the folders of runs that are parts of this one, such as the generation of one class's prototypes in an evaluation.
PARTS = "parts"
#: In the record of a task: the digest of the provenance of the run that it belongs to.
RUN = "run"
#: In the settings: the command line, as far as it says what is made.
ARGUMENTS = "arguments"
#: The folder of the tasks' records: which are finished, from what, with which files.
TASKS = "tasks"
#: Made from the results: the description of the page, and the page.
PAGE, REPORT = "page.json", "report.html"
#: Every file of a finished run, with its size and its digest; the last that a run writes.
MANIFEST = "checksums.json"
#: The states of optimizations that were not finished, from which a resumed run goes on.
SNAPSHOTS = ".snapshots"
#: Held by the process at work.
LOCK = ".lock"
#: While a run is at work and after it was interrupted: a line with the name of each file that it was about to write. Of several processes
#: each has its own, whose name begins so: lines that two machines append to one file of a network's file system may run into each other.
JOURNAL = ".unfinished"
#: In a line of it, in place of a file's name: a part that another process than the first has begun, and whose restarts go on with the run.
PART, JOB = "part", "job"
#: The folder of claims, where jobs make shares of one run, and how the name of each ends.
CLAIMS, CLAIM = ".claims", ".claim"


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
        dict[str, Any]: The settings of the run that is there, with what it keeps account of for itself; None if there is none that counts;
        nothing in it if they are lost, and the records of the tasks tell to which run they belong.

    Raises:
        OccupiedError: If the folder is a file, or holds files that may neither be overwritten nor resumed.
        InputError: If it holds the results of another command.
    """
    if folder.exists() and not folder.is_dir():
        raise OccupiedError(f'"{folder}" is a file; choose a folder with --out.')
    files = (path for path in folder.rglob("*") if not path.is_dir())
    if not folder.is_dir() or not any(map(_counts, files)) or nothing_finished(folder):
        return None
    settings_there = has_settings(folder)
    if resume and is_recoverable(folder, part=part):
        return {}
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
    return {name: value for name, value in settings.items() if name not in (SUMMARY, PARTS, ARGUMENTS)}


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
        settings, whole = unsealed(read_json(aside_of(folder / SETTINGS)))
        if whole is False or (whole is None and _records_are_sealed(folder)):
            raise ValueError("it was altered")
        recorded = settings.get(RECORDED)
        if recorded is not None and not isinstance(recorded, dict):
            raise ValueError(f"{RECORDED} is {recorded!r}")
    except (OSError, ValueError, AttributeError) as error:
        raise OccupiedError(
            f'"{folder}" holds no readable {SETTINGS}, so it cannot be resumed; choose another.'
        ) from error
    return dict(settings)


def _records_are_sealed(folder: Path) -> bool:
    """Whether a version wrote a run that seals its settings too: where these have no seal, it was lost, by a letter of its name."""
    return any(RUN in record for path in task_records(folder) if (record := read_record(path)) is not None)


def has_settings(folder: Path) -> bool:
    """Whether a run wrote settings to a folder, readable or not."""
    return aside_of(folder / SETTINGS).exists()


def is_recoverable(folder: Path, provenance: dict[str, Any] | None = None, part: bool = False) -> bool:
    """
    Whether the settings in a folder are lost, and the records of its tasks all tell to which run they belong.

    Args:
        folder (Path): Of a run.
        provenance (dict, optional): What the run is to depend on; None: whatever it is. Default: None
        part (bool, optional): Whether it is a part of another run, which has nothing to lose where no task is finished. Default: False
    """
    with suppress(OccupiedError):
        all_settings(folder)
        return False
    records = [record for path in task_records(folder) if (record := read_record(path)) is not None]
    runs = {record.get(RUN) for record in records}
    if not runs:
        return part and has_settings(folder)
    return len(runs) == 1 and None not in runs and (provenance is None or runs == {digest_of(provenance)})


def parts_of_records(folder: Path) -> set[str]:
    """The folders of the parts of a run whose settings are lost, as far as its finished tasks tell."""
    records = [record for path in task_records(folder) if (record := read_record(path)) is not None]
    found = {Path(name).parent for record in records for name in record["files"] if Path(name).name == SETTINGS}
    return {part.as_posix() for part in found if not any(above in found for above in part.parents)}


def remove_results(root: Path) -> None:
    """Remove what a run recorded as its own, and its parts: nothing else in the folder is touched, and nothing outside of it."""
    for part in parts_of(root):
        remove_results(part)
        (part / LOCK).unlink(missing_ok=True)  # of a process that was killed
        remove_empty(part, root)
    for path in [*recorded_files(root), *begun_files(root)]:
        if path.is_symlink() or not path.is_dir():  # a folder is no file that a run wrote, whatever its record says
            path.unlink(missing_ok=True)
        remove_empty(path.parent, root)
    for name in (TASKS, SNAPSHOTS):
        _remove_folder(root / name)
    for name in (SETTINGS, PAGE, REPORT, MANIFEST):
        (root / name).unlink(missing_ok=True)
    remove_notes(root)


def remove_notes(root: Path) -> None:
    """Remove what the processes at work on a run noted for those that would go on with it."""
    for path in _journals(root):
        path.unlink(missing_ok=True)
    _remove_folder(root / CLAIMS)


def _remove_folder(folder: Path) -> None:
    """Remove a folder with what is in it; of a link to one, the link alone."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.is_dir():
        shutil.rmtree(folder)


def parts_of(root: Path) -> list[Path]:
    """
    The folders of the parts that a run has begun, whichever process began them: each lies below its own, whatever the settings say, so that
    no part is a part of itself.
    """
    if not has_settings(root):
        return []
    names = parts_noted(root)
    with suppress(OccupiedError):
        names |= names_of_parts(all_settings(root))
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
    if not has_settings(root) or task_records(root) or (root / SNAPSHOTS).exists():
        return None
    try:
        settings = all_settings(root)
    except OccupiedError:
        return None
    if RECORDED not in settings or SUMMARY in settings:
        return None
    own = {*(root / name for name in (SETTINGS, PAGE, REPORT, MANIFEST)), *begun_files(root)}
    for part in parts_of(root):
        if part not in seen and has_settings(part):
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


def read_record(path: Path, altered: bool = False) -> dict[str, Any] | None:
    """
    What is recorded of a finished task; None where there is no record, or a damaged one: then the task is not finished.

    Args:
        path (Path): Of the record.
        altered (bool, optional): Whether one that was altered will do: to know what the task wrote, not whether it is finished.
            Default: False
    """
    try:
        record, sealed = unsealed(read_json(aside_of(path)))
    except (OSError, ValueError, AttributeError):
        return None
    kinds = {"task": str, "index": int, "inputs": dict, "needs": dict, "files": dict, "warnings": list}
    whole = altered or (sealed is not False and record.keys() <= {*kinds, RUN})
    if not whole or not all(isinstance(record.get(name), kind) for name, kind in kinds.items()):
        return None
    if not all(isinstance(file, dict) and "bytes" in file for file in record["files"].values()):
        return None
    return record


def is_there(path: Path, recorded: dict[str, Any]) -> bool:
    """Whether a file is there and as long as was recorded of it."""
    return path.is_file() and path.stat().st_size == recorded["bytes"]


def is_intact(path: Path, recorded: dict[str, Any]) -> bool:
    """Whether a file is there and is what was recorded of it, to the last byte."""
    return is_there(path, recorded) and sha256(path) == recorded.get("sha256")


def recorded_of(path: Path) -> dict[str, Any]:
    """What is recorded of a file."""
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def recorded_files(root: Path) -> list[Path]:
    """The files in a folder that a run recorded as its own, in the records of its tasks and as written by its summary."""
    names: set[str] = set()
    for path in task_records(root):
        if (record := read_record(path, altered=True)) is not None:
            names |= set(record["files"])
    found = _within(root, names)
    if has_settings(root):
        with suppress(OccupiedError):
            found += _within(root, all_settings(root).get(SUMMARY))
    return sorted(set(found))


def names_of_parts(settings: dict[str, Any]) -> set[str]:
    """What settings call the parts of their run, wherever that may lead; nothing where they are damaged."""
    names = settings.get(PARTS)
    return {name for name in names if isinstance(name, str)} if isinstance(names, list) else set()


def parts_noted(root: Path) -> set[str]:
    """Of these, what processes other than the first have noted in their journals."""
    return set(_noted(root, PART))


def job_of(root: Path) -> str | None:
    """The job of several processes that is at work in a folder or was interrupted, if one is."""
    return next(iter(_noted(root, JOB)), None)


def note_line(root: Path, line: str | dict[str, str], process: str = "") -> None:
    """Append a file's name, or something else, to the journal of a process."""
    handle = os.open(root / f"{JOURNAL}{process}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINKS, 0o666)
    with open(handle, "a", encoding="ascii") as journal:
        journal.write(json.dumps(line) + "\n")


def begun_files(root: Path) -> list[Path]:
    """The files that a run which was interrupted was about to write, or has written."""
    return _within(root, {line for line in _journal_lines(root) if isinstance(line, str)})


def _noted(root: Path, kind: str) -> list[str]:
    return [str(line[kind]) for line in _journal_lines(root) if isinstance(line, dict) and kind in line]


def _journals(root: Path) -> list[Path]:
    return sorted(path for path in root.glob(f"{JOURNAL}*") if path.is_file())


def _journal_lines(root: Path) -> Iterator[Any]:
    for path in _journals(root):
        with suppress(OSError):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError):  # the line at which the process was killed
                    yield parse_json(line)


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
    """Whether a file makes a folder one that is not empty: not the lock or a note, nor what was being written when a process was killed."""
    noted = path.name in (LOCK, CLAIMS) or path.name.startswith(JOURNAL)
    return not noted and not path.name.endswith((PARTIAL, CLAIM))
