"""The page of methods compared over several models: how well the pictures of each are recognized by the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from captum_proto.metrics.quality import METHOD, QualityTable
from captum_proto.metrics.quality_tests import QualityTest
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures
from captum_proto.report.page import Page, Section
from captum_proto.report.views.quality import FAMILY, meanings, measure_blocks, told, trusted


def quality_pairs_page(
    tables: Sequence[QualityTable],
    tested: Sequence[Sequence[QualityTest]],
    sheets: Mapping[str, str],
    settings: dict[str, Any],
    failures: Sequence[str] = (),
) -> Page:
    """
    What the page says.

    Args:
        tables (sequence of QualityTable): Over all pairs: see :func:`~captum_proto.metrics.quality_pairs.pairs_table`.
        tested (sequence): The tests of each.
        sheets (mapping[str, str]): By model, the file with its sheet of pictures.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    models = list(sheets)
    methods = [row.name for row in tables[0].rows if row.kind == METHOD]
    page = Page(f"Quality of prototypes over {len(models)} models", settings=settings, failures=list(failures))
    page.summary = [
        f"Pictures by {len(methods)} {'method' if len(methods) == 1 else 'methods'}, made with each of {', '.join(models)} and shown to "
        "the others. A class counts once, whichever model its pictures were made with and whoever looks at them.",
        *(sentence for table, tests in zip(tables, tested, strict=True) for sentence in told(table, tests)),
    ]
    page.lead = [Pictures([Picture(file, f"Made with {model}.", small=False) for model, file in sheets.items()])]
    page.legend = [
        "A row for a class, a column for each method and control; natural images at the end. “a → b”: made with a, shown to b. “All "
        "pairs”: of each class all pictures, whichever model they were made with and whichever other one looks."
    ]
    page.trust = trusted(tables[-1], tested[-1], models)
    for table, tests in zip(tables, tested, strict=True):
        title = "Every measure" if len(tables) == 1 else table.title
        page.sections.append(Section(title, measure_blocks(table, tests)))
    page.sections.append(Section("What the columns mean", [Paragraphs([FAMILY, *meanings(tables)])]))
    page.sections.append(Section("Files", [Files(["quality.csv", "tests.csv", "quality.txt", "quality.json"])]))
    return page


__all__ = ["quality_pairs_page"]
