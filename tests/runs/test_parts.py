"""A run within a task of another run is a part of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from captum_proto.runs.files import write_text
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out


@dataclass(frozen=True)
class Inner(Protocol[None]):
    def provenance(self) -> dict[str, Any]:
        return {"command": "inner"}

    def tasks(self) -> list[Task]:
        return [Task("only")]

    def make(self, task: Task, run: Run) -> None:
        write_text(run.folder / "result.txt", "made", overwrite=True)

    def summarize(self, run: Run) -> None:
        return None


@dataclass(frozen=True)
class Outer(Protocol[None]):
    made: list[str]
    stop_at: str = ""

    def provenance(self) -> dict[str, Any]:
        return {"command": "outer"}

    def tasks(self) -> list[Task]:
        return [Task("first"), Task("second"), Task("third")]

    def make(self, task: Task, run: Run) -> None:
        if task.name == self.stop_at:
            raise KeyboardInterrupt
        self.made.append(task.name)
        carry_out(Inner(), run.folder / task.name, resume=True)

    def summarize(self, run: Run) -> None:
        return None


def test_a_task_with_a_part_stays_finished_when_another_part_begins(tmp_path: Path) -> None:
    made: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        carry_out(Outer(made, stop_at="third"), tmp_path)
    carry_out(Outer(made), tmp_path, resume=True)
    assert made == ["first", "second", "third"]
