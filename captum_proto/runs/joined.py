"""The folder of a run in which another process is the first: what this one adds to it, without removing or settling anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from captum_proto.runs.contents import (
    ARGUMENTS,
    PART,
    PARTS,
    RECORDED,
    SETTINGS,
    SUMMARY,
    all_settings,
    check_free,
    names_of_parts,
    note_line,
)
from captum_proto.runs.folder import RunFolder
from captum_proto.runs.provenance import check_same


class JoinedFolder(RunFolder):
    """
    The folder of a run that the first process of a group has opened, for another process of it.

    Only the first locks the folder, empties it and writes the settings. The others write results; what they are about to write, and the
    parts that they begin, each notes in a journal of its own, for the first to take up.

    Args:
        folder (Path): Where the run writes.
        provenance (dict): What its results depend on, as JSON can hold it.
        process (str): What tells this process from the others.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any], process: str) -> None:
        super().__init__(folder, provenance, resume=True)
        self._process = f".{process}"
        self.in_group = True

    def __enter__(self) -> JoinedFolder:
        self._open()
        self._begin_work()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end_work()
        self._unlock()

    def write_settings(self, recorded: Mapping[str, Any], summary_files: Iterable[Path] | None = None) -> None:
        """Nothing: the first process writes them."""
        self.recorded = dict(recorded)

    def _open(self) -> None:
        self._parts = names_of_parts(all_settings(self.folder))

    def _record_part(self, name: str) -> None:
        note_line(self.folder, {PART: name}, self._process)


class SharedFolder(JoinedFolder):
    """
    The folder of a run of which several jobs make shares, that know of each other by what is in it.

    Whoever comes first writes the settings; if two do so at once, they write the same. The lock is one that all of them have, and that
    keeps out who would overwrite the run or end it.

    Args:
        folder (Path): Where the run writes.
        provenance (dict): What its results depend on, as JSON can hold it.
        process (str): What tells this job from the others.
        begun (mapping): What to record in the settings if this job is the one that comes first.

    Raises:
        OccupiedError: If the folder holds files of others, or a process that makes no share is at work.
        InputError: If it holds a run with other settings.
    """

    def __init__(self, folder: Path, provenance: dict[str, Any], process: str, begun: Mapping[str, Any]) -> None:
        super().__init__(folder, provenance, process)
        self._begun = begun

    def _open(self) -> None:
        check_free(self.folder, self.provenance.get("command"), resume=True)
        self._take_lock(shared=True)
        try:
            self._check_links()
            self._note_arguments()
            if not (self.folder / SETTINGS).exists():
                RunFolder.write_settings(self, self._begun)
            found = all_settings(self.folder)
            for name in (RECORDED, SUMMARY, ARGUMENTS):
                found.pop(name, None)
            self._parts = names_of_parts(found)
            found.pop(PARTS, None)
            check_same(self.folder, found, self.provenance)
        except BaseException:
            self._unlock()
            raise


__all__ = ["JoinedFolder", "SharedFolder"]
