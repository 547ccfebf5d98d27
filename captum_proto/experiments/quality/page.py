"""The page of a folder with a comparison of methods, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from captum_proto.experiments.quality.result import RESULTS, QualityResult
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.report.page import Page
from captum_proto.report.views.quality import quality_page
from captum_proto.runs.folder import is_finished, read_settings
from captum_proto.runs.tasks import warnings_of


def compared_methods_page(folder: Path) -> Page:
    """
    What a folder of a comparison of methods has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.quality.Quality` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) or not (folder / RESULTS).is_file():
        return tasks_page(folder)
    result = QualityResult.load(folder)
    return result_page(result, read_settings(folder), warnings_of(folder))


def result_page(result: QualityResult, settings: dict[str, Any], warned: Sequence[str]) -> Page:
    """The page of finished results: see :func:`~captum_proto.report.views.quality.quality_page`."""
    return quality_page(result.tables, result.model, result.verifiers, settings, warned, result.tests)


__all__ = ["compared_methods_page", "result_page"]
