"""The page of a comparison of methods: the sheet of pictures, the tables, what tests say, and what has to be read with them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from matplotlib.figure import Figure

from captum_proto.metrics.quality import FEATURES, MEASURES, METHOD, PATH, RECOGNITION, QualityTable
from captum_proto.metrics.quality_tests import (
    QualityTest,
    beaten_on,
    cells_of_tests,
    power_note,
    powerless,
    quality_tests,
    verdicts,
)
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.figures import picture_sheet
from captum_proto.report.page import Page, Section
from captum_proto.runs.folder import RECORDED

_Class = TypeVar("_Class")
#: The side of a picture on the sheet, in pixels.
_SIDE = 128
#: What the tests are.
_TESTED = (
    "Paired by class: McNemar's exact test where each class has one picture that is right or wrong, else Wilcoxon's signed-rank test; p "
    "after Holm's correction over all tests of the method."
)
#: What methods optimize, and what they do not.
_OPTIMIZED = (
    "Methods raise the output of {} for the class: own top-1, own top-5 and own p are what they optimize, and tell no more than that they "
    "did. Path similarity is measured in the same network; a method optimizes it only if its arguments match activations. Verifiers had no "
    "part in the pictures: these are the measures to judge by."
)
#: What has to be said where networks are of one family.
FAMILY = "Networks of one family share their design and training images, so they agree more than those of several families would."
#: The measures that are seen at once; the others unfold.
_BRIEF = {
    *("own_top1", "top1", "relative", "kid", "retrieval", "naming", "coverage_1"),
    *("spearman", "above_mean", "l1_below", "sorted_median", "nearest"),
}
_HEADINGS = {
    RECOGNITION: "Is it recognized?",
    FEATURES: "Is it like photographs in a network's features?",
    PATH: "Is it processed like natural images?",
}


def shown_on_sheet(classes: Sequence[_Class], columns: int) -> list[_Class]:
    """
    The classes that a sheet shows: all, or where there are so many that nothing would be seen, some that are evenly spaced.

    Args:
        classes (sequence): In their order.
        columns (int): Of the sheet.

    Examples::

        >>> shown_on_sheet(range(100), 4)[:4]
        [0, 8, 16, 25]
    """
    most = max(8, 3 * columns)
    if len(classes) <= most:
        return list(classes)
    return [classes[place * len(classes) // most] for place in range(most)]


def quality_sheet(rows: Mapping[str, Iterable[np.ndarray | None]], names: Sequence[str]) -> Figure:
    """
    A row for each class, a column for each method, always in the same order.

    Args:
        rows (mapping[str, iterable]): By the label of the class, a picture of each method as
            :func:`~captum_proto.report.figures.to_display` gives it, or None.
        names (sequence of str): Of the methods.

    Returns:
        Figure: To be saved with :func:`~captum_proto.report.figures.save_figure`.
    """
    cells = [
        [("" if number else name, picture) for name, picture in zip(names, pictures, strict=True)]
        for number, pictures in enumerate(rows.values())
    ]
    return picture_sheet(cells, _SIDE, labels=list(rows))


def quality_page(
    tables: Sequence[QualityTable],
    model: str,
    verifiers: Sequence[str],
    settings: dict[str, Any],
    failures: Sequence[str] = (),
    tested: Sequence[Sequence[QualityTest]] | None = None,
) -> Page:
    """
    What the page of a comparison of methods says.

    Args:
        tables (sequence of QualityTable): One for each part of the classes.
        model (str): That the pictures were made with.
        verifiers (sequence of str): Other networks that they were shown to.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing
        tested (sequence, optional): The tests of each table. Default: None, they are made here

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    tested = [quality_tests(table) for table in tables] if tested is None else tested
    methods = [row.name for row in tables[0].rows if row.kind == METHOD]
    page = Page(f"Quality of prototypes of {model}", settings=settings, failures=list(failures))
    named = [f" ({table.title})" if len(tables) > 1 else "" for table in tables]
    shown = "; ".join(
        f"{len(table.classes)} {_classes(table)}{title}" for table, title in zip(tables, named, strict=True)
    )
    page.summary = [
        f"Pictures of {shown} by {len(methods)} {'method' if len(methods) == 1 else 'methods'}, each beside controls and natural images: "
        "each was computed to raise the network's output for its class.",
        *(sentence for table, tests in zip(tables, tested, strict=True) for sentence in told(table, tests)),
    ]
    page.lead = [Pictures([Picture("sheet_0.png", _caption(tables[0]), small=False)])]
    page.legend = [
        "A row for a class, a column for each method and control; natural images at the end. "
        f"“Own” is {model}, the network that the pictures were made with"
        + (f"; verifiers, which had no part in it: {', '.join(verifiers)}." if verifiers else ".")
    ]
    page.trust = trusted(tables[-1], tested[-1], verifiers)
    for number, (table, tests) in enumerate(zip(tables, tested, strict=True)):
        page.sections.append(_section(number, table, tests, alone=len(tables) == 1))
    optimized = [_OPTIMIZED.format(model), *([FAMILY] if verifiers else [])]
    page.sections.append(Section("What the columns mean", [Paragraphs([*optimized, *meanings(tables)])]))
    if made := (settings.get(RECORDED) or {}).get("methods"):
        rows = [[name, _arguments(values)] for name, values in made.items()]
        page.sections.append(Section("Methods", [Table(["method", "arguments of generate"], rows)]))
    page.sections.append(Section("Files", [Files(["quality.csv", "tests.csv", "quality.txt", "quality.json"])]))
    return page


def _classes(table: QualityTable) -> str:
    return "class" if len(table.classes) == 1 else "classes"


def _caption(table: QualityTable) -> str:
    return f"The first picture by each method: {table.title}; of many classes, some that are evenly spaced."


def told(table: QualityTable, tests: Sequence[QualityTest]) -> list[str]:
    """What the tests of a table say, method by method."""
    return [f"{table.title}: {sentence}" for sentence in verdicts(table, tests)]


def _section(number: int, table: QualityTable, tests: Sequence[QualityTest], alone: bool) -> Section:
    blocks: list[Block] = []
    if number:
        blocks.append(Pictures([Picture(f"sheet_{number}.png", _caption(table), small=False)]))
    return Section("Every measure" if alone else table.title, [*blocks, *measure_blocks(table, tests)])


def measure_blocks(table: QualityTable, tests: Sequence[QualityTest]) -> list[Block]:
    """Every measure of a table, a block for each family, what has to be read with them, and the tests of each method."""
    blocks: list[Block] = []
    for family, heading in _HEADINGS.items():
        # In features each verifier has a table: distances in those of several do not compare.
        for verifier in table.verifiers(family) if family == FEATURES else [None]:
            keys = table.columns(family, verifier)
            brief = [place for place, key in enumerate(keys, 1) if key.partition("@")[0] in _BRIEF]
            if keys:
                blocks.append(Paragraphs([f"{heading} 95 % intervals in brackets."]))
                blocks.append(Table(*table.cells(family, verifier), brief=[0, *brief], sortable=True))
    blocks.append(Paragraphs([*table.notes, power_note(tests)]))
    for row in table.rows:
        header, rows = cells_of_tests(table, tests, row.name)
        if rows:
            blocks.append(Table(header, rows, _TESTED))
    return blocks


def trusted(table: QualityTable, tests: Sequence[QualityTest], verifiers: Sequence[str]) -> str:
    """On how many measures each method is better than every control that knows no data, in a sentence."""
    if not verifiers:
        return (
            "Not known, since no other network was shown the pictures: what the network they were made with says of them, noise that was "
            "optimized says as well."
        )
    found = {row.name: beaten_on(table, tests, row.name) for row in table.rows if row.kind == METHOD}
    counts = [f"“{name}” on {len(beaten)} of {count}" for name, (beaten, count) in found.items() if count]
    if not counts:
        return "Not known, since there is no control to compare with."
    if powerless(tests):
        return f"Not known, since over {len(table.classes)} {_classes(table)} no difference can be told from chance."
    return f"Better than every control that knows no data, by more than chance: {', '.join(counts)} measures; of {table.title}."


def _arguments(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def meanings(tables: Sequence[QualityTable]) -> list[str]:
    """A sentence on each measure that some table has."""
    keys = dict.fromkeys(key.partition("@")[0] for table in tables for key in table.columns())
    return [
        f"{MEASURES[name].label.format('verifier')}: {MEASURES[name].meaning}"
        + ("" if MEASURES[name].higher else " Less is better.")
        for name in MEASURES
        if name in keys
    ]


__all__ = ["FAMILY", "meanings", "measure_blocks", "quality_page", "quality_sheet", "shown_on_sheet", "told", "trusted"]
