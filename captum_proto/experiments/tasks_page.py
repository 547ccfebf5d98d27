"""The page of a run whose command has none before it is finished: what its finished tasks wrote."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any

from captum_proto._utils.reading import read_json
from captum_proto.report.blocks import Block, Curves, Files, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.runs.folder import PARTS, SETTINGS, TASKS, is_finished, read_settings
from captum_proto.runs.tasks import records_of, warnings_of

#: How the names of saved comparisons begin, of which the curves are shown.
_COMPARISON = "comparison"


def tasks_page(folder: Path) -> Page:
    """
    What the finished tasks of a run have to show, from the files that they recorded.

    Args:
        folder (Path): That a run wrote to.

    Returns:
        Page: A section for each folder of tasks: their pictures, curves and figures. Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings, records = read_settings(folder), records_of(folder)
    finished = is_finished(folder)
    state = "Its own page is gone" if finished else f"The run is not finished: {len(records)} of its tasks are there"
    goes_on = "makes it again" if finished else "goes on"
    page = Page(settings.get("command", ""), settings=settings, failures=warnings_of(folder))
    page.failures.insert(0, f"{state}; the same command with --resume {goes_on}.")
    count = "1 task is" if len(records) == 1 else f"{len(records)} tasks are"
    page.summary = [f"{count} finished." if records else "Nothing is finished yet."]
    for place, tasks in groupby(records, key=lambda record: record["task"].rpartition("/")[0]):
        page.sections.append(Section(place or page.title, _blocks(folder, list(tasks))))
    return page


def _blocks(folder: Path, tasks: Sequence[dict[str, Any]]) -> list[Block]:
    """What the files of some tasks have to show, those apart by which a run keeps account of itself."""
    paths = [path for task in tasks for path in task["files"] if not {SETTINGS, TASKS, PARTS} & set(path.split("/"))]
    paths = list(dict.fromkeys(paths))
    pictures = [Picture(path, path, small="seed" in path) for path in paths if path.endswith(".png")]
    tables: dict[tuple[str, ...], list[list[str]]] = {}
    for path in paths:
        if facts := _facts(folder / path):
            tables.setdefault(tuple(facts), []).append([path, *facts.values()])
    compared = [path for path in paths if Path(path).name.startswith(_COMPARISON) and path.endswith(".safetensors")]
    return [
        Pictures(pictures),
        *(Table(["file", *header], rows) for header, rows in tables.items()),
        *(Curves(path, path) for path in compared),
        Files([path for path in paths if not path.endswith(".png")]),
    ]


def _facts(path: Path) -> dict[str, str]:
    """The figures in a JSON file that holds nothing else."""
    found: Any = None
    if path.suffix == ".json":
        with suppress(OSError, ValueError):  # a file that is missing is named where it is linked
            found = read_json(path)
    if not isinstance(found, dict) or any(isinstance(value, (dict, list)) for value in found.values()):
        return {}
    return {name: f"{value:.4g}" if isinstance(value, float) else str(value) for name, value in found.items()}
