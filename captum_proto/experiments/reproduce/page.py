"""The files of an item, its section of the page, and the page of a run that was interrupted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact
from captum_proto.experiments.compare_groups import compared_page
from captum_proto.experiments.evaluation_page import COMPARISON, evaluation_page
from captum_proto.experiments.generate import generation_page
from captum_proto.experiments.reproduce.items import Item
from captum_proto.experiments.reproduce.stages import CLASSES, StageResults
from captum_proto.experiments.sweep.tables import swept_page
from captum_proto.report.blocks import Curves, Files, Paragraphs, Picture, Pictures, Verdict, Verdicts
from captum_proto.report.figures import save_figure
from captum_proto.report.page import Page, Section
from captum_proto.runs.files import write_json, write_rows, write_text
from captum_proto.runs.folder import RECORDED, REPORT, SETTINGS, TASKS, is_finished, read_settings
from captum_proto.runs.tasks import warnings_of

_VALUES, _MANIFEST, _VERDICT = "values.csv", "manifest.json", "verdict.txt"
_FIGURES = ("figure.png", "figure.svg")
_FILES = [_VALUES, _MANIFEST, _VERDICT, *_FIGURES]
#: Of the page.
TITLE = "Prototype Generation, made again"
#: The page of a part that is not finished, by its command.
_PAGES: dict[str, Callable[[Path], Page]] = {
    "generate": generation_page,
    "evaluate": evaluation_page,
    "sweep": swept_page,
    "compare-groups": compared_page,
}
#: Of what is recorded when a reproduction begins: the folders of the runs that its items are read off.
RUNS = "runs"


def write_item(name: str, item: Item, results: StageResults, provenance: Mapping[str, Any]) -> None:
    """
    Write an item's values, figure, manifest and verdict into its folder.

    Args:
        name (str): Of the item, and of its folder.
        item (Item): What it came to.
        results (StageResults): What it was read off.
        provenance (mapping): What is recorded of the run.
    """
    stage, folder = results.stage, results.folder / name
    write_rows(folder / _VALUES, item.header, item.rows)
    if item.figure is not None:
        for file in _FIGURES:
            save_figure(item.figure, folder / file, overwrite=True)
    comparison = next(iter(results.every), None)
    manifest = {
        "item": name,
        "model": {"name": stage.model, **{key: str(value) for key, value in stage.named.settings.items()}},
        "settings": {
            **provenance,
            "comparison": None if comparison is None else {**comparison.settings, "failures": None},
        },
        "prototypes": results.prototypes(next(iter(stage.labels))).settings,
        "seeds": list(range(stage.settings.seed, stage.settings.seed + stage.stage.count)),
        "versions": provenance["versions"],
        "layers": [] if comparison is None else comparison.layers,
        "images": results.images,
    }
    write_json(folder / _MANIFEST, manifest, overwrite=True)
    lines = [verdict_line(verdict) for verdict in item.verdicts] or [item.title]
    write_text(folder / _VERDICT, "\n".join([*lines, *item.text]), overwrite=True)


def item_section(name: str, item: Item) -> Section:
    """An item's section of the page; paths are relative to its folder."""
    pictures = [] if item.figure is None else [Picture(_FIGURES[0], item.title, small=False)]
    files = _FILES if item.figure is not None else [_VALUES, _MANIFEST, _VERDICT]
    blocks = [Paragraphs(item.text), Verdicts(item.verdicts), *([item.table] if item.table else [])]
    return Section(f"{numbered(name)}, {item.title}", [Pictures(pictures), *blocks, Files(files)], shown=1)


def begin_with_pictures(page: Page) -> None:
    """Begin a page of items with the first figure that there is, which of all items is that of the pictures, and what it shows."""
    drawn = next((section for section in page.sections if any(block.pictures for block in section.of(Pictures))), None)
    if drawn is not None:
        page.lead = [*drawn.of(Pictures)]
        page.legend = [sentence for block in drawn.of(Paragraphs) for sentence in block.text]


def classes_section(results: StageResults) -> Section:
    """The curves over all classes of a stage, to look into; paths are relative to its folder."""
    stage = results.stage
    paths = [f"{stage.class_folder(target)}/{COMPARISON}" for target in stage.labels]
    page, several = f"{CLASSES}/{REPORT}", len(paths) > 1
    together, whose = (f"All {len(paths)} classes together", "all classes") if several else ("One class", "the class")
    return Section(
        f"{stage.model}: every layer",
        [
            Paragraphs([f"{together}; {stage.stage.stem}/{page} has each by itself."]),
            Curves(paths[0], f"Means over all images of {whose}.", paths[1:]),
            Files([page]),
        ],
        shown=1,
    )


def reproduced_page(folder: Path) -> Page:
    """
    What a folder of a reproduction has to show, from the files in it; of an interrupted run, the parts it finished.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.reproduce.Reproduce` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    runs = (settings.get(RECORDED) or {}).get(RUNS, [])
    done = [name for name in runs if (folder / TASKS / f"{name}.json").exists()]
    page = Page(TITLE, settings=settings, failures=warnings_of(folder))
    page.summary = [f"{len(done)} of {len(runs)} parts are there."]
    if not is_finished(folder):
        page.failures.insert(
            0,
            f"The run is not finished: {len(done)} of {len(runs)} parts are there; the same command with --resume goes on.",
        )
    for verdict in sorted(folder.glob(f"*/*/{_VERDICT}")):
        place, name = verdict.parent.relative_to(folder).as_posix(), verdict.parent.name
        drawn = (verdict.parent / _FIGURES[0]).exists()
        figure = [Picture(_FIGURES[0], numbered(name), small=False)] if drawn else []
        try:
            with intact(verdict, "verdict"):
                lines = verdict.read_text(encoding="utf-8").splitlines()
        except InputError as error:
            page.failures.append(f"{numbered(name)} is left out: {error}")
            continue
        blocks = [Paragraphs(lines), Pictures(figure)]
        section = Section(f"{verdict.parent.parent.name}: {numbered(name)}", [*blocks, Files(_FILES)])
        page.sections.append(section.within(place))
    begin_with_pictures(page)
    page.sections += [
        Section(name, [Files([REPORT])]).within(name) for name in done if (folder / name / REPORT).exists()
    ]
    for name in runs:
        if name not in done and (folder / name / SETTINGS).exists():
            part = _PAGES[read_settings(folder / name)["command"]](folder / name).within(name)
            page.failures += [f"{name}: {sentence}" for sentence in part.failures]
            page.sections += [Section(f"{name}: {section.title}", section.blocks) for section in part.sections]
    return page


def numbered(item: str) -> str:
    """An item as the paper calls it: ``Table 1``, ``Figure 4``."""
    return item.replace("table", "Table ").replace("fig", "Figure ")


def verdict_line(verdict: Verdict) -> str:
    """One line: the figure, the paper's value, the difference."""
    line = f"{verdict.name}: {verdict.measured}"
    if verdict.expected:
        line += f"; paper {verdict.expected}"
    return line + (f"; difference {verdict.difference}" if verdict.difference else "")
