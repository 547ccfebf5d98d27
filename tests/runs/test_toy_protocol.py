"""A new protocol and its view are one class and one function: everything else is there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from captum_proto.report.blocks import Paragraphs, Table
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.runs.files import write_json
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out


@dataclass(frozen=True)
class MeanBrightness(Protocol[dict[str, float]]):
    """The mean of some images, each a task."""

    images: dict[str, torch.Tensor]

    def provenance(self):
        return provenance("mean-brightness", {"images": sorted(self.images)})

    def tasks(self) -> Sequence[Task]:
        return [Task(name, {"sum": float(image.sum())}) for name, image in self.images.items()]

    def make(self, task: Task, run: Run) -> None:
        write_json(run.folder / f"{task.name}.json", float(self.images[task.name].mean()), overwrite=True)

    def summarize(self, run: Run) -> dict[str, float]:
        means = {task.name: json.loads((run.folder / f"{task.name}.json").read_text()) for task in run.tasks}
        write_page(brightness_page(means), run.folder)
        return means


def brightness_page(means: dict[str, float]) -> Page:
    rows = [[name, f"{mean:.2f}"] for name, mean in means.items()]
    return Page(
        "Brightness", sections=[Section("Means", [Paragraphs(["Of each image."]), Table(["image", "mean"], rows)])]
    )


IMAGES = {"dark": torch.zeros(1, 4, 4), "light": torch.full((1, 4, 4), 0.75)}


def test_it_resumes_records_and_shows(tmp_path: Path, monkeypatch) -> None:
    made, make = [], MeanBrightness.make

    def interrupted(self, task: Task, run: Run) -> None:
        made.append(task.name)
        if made == ["dark", "light"]:
            raise KeyboardInterrupt
        make(self, task, run)

    monkeypatch.setattr(MeanBrightness, "make", interrupted)
    with pytest.raises(KeyboardInterrupt):
        carry_out(MeanBrightness(IMAGES), tmp_path)
    with pytest.raises(FileExistsError, match="not empty"):
        carry_out(MeanBrightness(IMAGES), tmp_path)
    assert carry_out(MeanBrightness(IMAGES), tmp_path, resume=True) == {"dark": 0.0, "light": 0.75}
    assert made == ["dark", "light", "light"]
    assert '<td class="figure">0.75</td>' in (tmp_path / "report.html").read_text()
    assert json.loads((tmp_path / "settings.json").read_text())["command"] == "mean-brightness"
    brighter = {**IMAGES, "dark": torch.ones(1, 4, 4)}  # the input of one task has changed: that one is made again
    assert carry_out(MeanBrightness(brighter), tmp_path, resume=True) == {"dark": 1.0, "light": 0.75}
    assert made == ["dark", "light", "light", "dark"]
