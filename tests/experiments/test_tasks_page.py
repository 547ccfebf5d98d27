"""The page of a run whose command has none before it is finished: what its tasks recorded, and no more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.report.blocks import Pictures, Table
from captum_proto.runs.folder import RECORDED, SETTINGS, SUMMARY, TASKS


def run_folder(folder: Path, tasks: list[str], **settings: object) -> Path:
    """A folder in which each task wrote a picture and two figures."""
    (folder / SETTINGS).write_text(json.dumps({"command": "fooling", RECORDED: {}, **settings}))
    for index, name in enumerate(tasks):
        for path, content in ((f"{name}.png", ""), (f"{name}.json", json.dumps({"seed": index, "score": 0.123456}))):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        record = folder / TASKS / f"{name}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        files = {path: {"bytes": 1} for path in (f"{name}.json", f"{name}.png")}
        record.write_text(
            json.dumps(
                {
                    "task": name,
                    "index": index,
                    "inputs": {},
                    "needs": {},
                    "files": files,
                    "warnings": [f"{name} is odd"],
                }
            )
        )
    return folder


@pytest.mark.parametrize(
    ("tasks", "settings", "summary", "failure"),
    [
        ([], {}, "Nothing is finished yet.", "The run is not finished: 0 of its tasks are there"),
        (["a/x", "b/y"], {}, "2 tasks are finished.", "The run is not finished: 2 of its tasks are there"),
        (["a/x"], {SUMMARY: []}, "1 task is finished.", "Its own page is gone"),
    ],
)
def test_how_far_a_run_came(
    tasks: list[str], settings: dict[str, object], summary: str, failure: str, tmp_path: Path
) -> None:
    page = tasks_page(run_folder(tmp_path, tasks, **settings))
    assert page.summary == [summary]
    goes_on = "makes it again" if SUMMARY in settings else "goes on"
    assert page.failures == [
        f"{failure}; the same command with --resume {goes_on}.",
        *(f"{name} is odd" for name in tasks),
    ]
    assert [section.title for section in page.sections] == [name[0] for name in tasks]


def test_what_the_files_of_the_tasks_show(tmp_path: Path) -> None:
    (section,) = tasks_page(run_folder(tmp_path, ["a/x", "a/y"])).sections
    assert [picture.path for picture in section.of(Pictures)[0].pictures] == ["a/x.png", "a/y.png"]
    (table,) = section.of(Table)
    assert (table.header, table.rows) == (
        ["file", "seed", "score"],
        [["a/x.json", "0", "0.1235"], ["a/y.json", "1", "0.1235"]],
    )
