"""The results of several models' runs of quality, whose pictures were shown to each other, in one table."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import model_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import whole_file
from captum_proto.experiments.quality.result import RESULTS, QualityResult
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.metrics.quality import QualityRow, QualityTable
from captum_proto.metrics.quality_pairs import pairs_table
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.quality_pairs import quality_pairs_page
from captum_proto.runs.folder import RECORDED, is_finished, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of

_SHEETS, _MODELS = "sheets", "models"


@dataclass(frozen=True)
class QualityPairs(Protocol[QualityResult]):
    """
    The measures of several models' prototypes over all ordered pairs of a model that makes pictures and one that looks at them.

    Args:
        folders (sequence of Path): That :class:`~captum_proto.experiments.quality.Quality` wrote to, at least two: of different models, the
            same classes and the same methods.

    Raises:
        InputError: If they are not.
    """

    folders: Sequence[Path]

    unit = "sheet"

    def provenance(self) -> dict[str, Any]:
        files = {f"results of {model}": folder / RESULTS for model, folder in self._folders.items()}
        return provenance("quality-pairs", {}, files=files)

    def begun(self) -> dict[str, Any]:
        return {_MODELS: list(self._results)}

    def tasks(self) -> list[Task]:
        _ = self._tables
        return [Task(f"{_SHEETS}/{model_stem(model)}", weight=0) for model in self._results]

    def make(self, task: Task, run: Run) -> None:
        for model, folder in self._folders.items():
            if task.name == f"{_SHEETS}/{model_stem(model)}":
                with whole_file(run.folder / sheet_of(model), overwrite=True) as path:
                    shutil.copyfile(folder / f"sheet_{len(self._tables) - 1}.png", path)

    def summarize(self, run: Run) -> QualityResult:
        result = QualityResult(" and ".join(self._results), list(self._results), self._tables)
        result.write(run.folder)
        write_page(_page(result, read_settings(run.folder), run.warnings()), run.folder)
        return result

    @cached_property
    def _results(self) -> dict[str, QualityResult]:
        """By model."""
        found: dict[str, QualityResult] = {}
        for folder in self.folders:
            result = QualityResult.load(folder)
            if result.model in found:
                raise InputError(f'"{folder}" is of {result.model}, as another folder is; give one of each model.')
            found[result.model] = result
        if len(found) < 2:
            raise InputError(
                f"there {'is 1 folder' if found else 'are no folders'}; give those of at least two models."
            )
        return found

    @cached_property
    def _folders(self) -> dict[str, Path]:
        return dict(zip(self._results, self.folders, strict=True))

    @cached_property
    def _tables(self) -> list[QualityTable]:
        """A table for each part of the classes."""
        results = self._results
        if len({model_stem(model) for model in results}) < len(results):
            raise InputError(
                f"models are {list(results)}, of which two would share the names of their files; rename one."
            )
        (model, first), *others = results.items()
        methods = self._methods(model)
        for other, result in others:
            titles = [[table.title for table in each.tables] for each in (first, result)]
            if titles[0] != titles[1]:
                raise InputError(
                    f"{model} has the tables {titles[0]}, {other} {titles[1]}; make both with the same classes."
                )
            for name, options in self._methods(other).items():
                if options != methods.get(name, options):
                    raise InputError(
                        f'the method "{name}" is {methods[name]} for {model} and {options} for {other}; make both with the same arguments.'
                    )
        for model, result in results.items():
            if strangers := [other for other in results if other not in (model, *result.verifiers)]:
                raise InputError(
                    f"the pictures of {model} were not shown to {strangers[0]}; go on with --resume --verifier {strangers[0]}."
                )
        return [
            pairs_table({model: _seen_by(result, place, list(results)) for model, result in results.items()})
            for place in range(len(first.tables))
        ]

    def _methods(self, model: str) -> Mapping[str, Any]:
        """What is recorded of a run's methods."""
        settings = read_settings(self._folders[model])
        return dict((settings.get(RECORDED) or {}).get("methods") or {})


def _seen_by(result: QualityResult, place: int, models: Sequence[str]) -> QualityTable:
    """A table without the figures of verifiers that made no pictures themselves."""
    table = result.tables[place]
    rows = [
        QualityRow(
            row.name,
            row.kind,
            {key: each for key, each in row.figures.items() if each.verifier in ("", *models)},
        )
        for row in table.rows
    ]
    return QualityTable(table.title, table.classes, rows, table.notes)


def sheet_of(model: str) -> str:
    """The file with the sheet of a model's pictures."""
    return f"{_SHEETS}/{model_stem(model)}.png"


def quality_pairs_page_of(folder: Path) -> Page:
    """
    The page of a folder that :class:`QualityPairs` wrote to, from the files in it.

    Raises:
        FileNotFoundError: If the folder holds no results.
        ValueError: If they are damaged.
    """
    if not is_finished(folder) or not (folder / RESULTS).is_file():
        return tasks_page(folder)
    return _page(QualityResult.load(folder), read_settings(folder), warnings_of(folder))


def _page(result: QualityResult, settings: dict[str, Any], warned: Sequence[str]) -> Page:
    sheets = {model: sheet_of(model) for model in result.verifiers}
    return quality_pairs_page(result.tables, result.tests, sheets, settings, warned)


__all__ = ["QualityPairs", "quality_pairs_page_of", "sheet_of"]
