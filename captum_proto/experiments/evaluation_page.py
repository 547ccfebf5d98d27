"""What a folder of comparisons has to show: the mean over classes, and each class."""

from __future__ import annotations

from pathlib import Path

from captum_proto.attr import Prototypes
from captum_proto.experiments.generate import SAVED, VERIFIED, generation_page
from captum_proto.metrics.comparison import PathComparison
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Picture, Pictures, Verdicts
from captum_proto.report.page import Page, Section
from captum_proto.report.views.first_screen import Scored, gallery, legend, scored, trust
from captum_proto.report.views.path_similarity import (
    NOTATION,
    comparison_failures,
    comparison_table,
    conclusion,
    criteria,
    layers_left_out,
)
from captum_proto.report.views.prototypes import PROTOTYPES, prototype_pictures, saved_blocks, what_prototypes_are
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.tasks import warnings_of

#: In the folder of each class: the comparison, and the folder of its prototypes.
COMPARISON, PICTURES = "comparison.safetensors", "prototypes"
#: Of what is recorded of the run: the folder and the label of each class. Of what is recorded with a class: what failed.
CLASSES, FAILURES = "classes", "failures"


def evaluation_page(folder: Path) -> Page:
    """
    What a folder of comparisons has to show, from the files in it; of an interrupted run, the classes it finished.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.evaluate.Evaluate` wrote to.

    Returns:
        Page: The mean over classes first, then a section for each. Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    name = (settings.get("model") or {}).get("name")
    page = Page(f"Path similarity of {name}" if name else "Path similarity", settings=settings)
    page.failures = warnings_of(folder)
    there = sorted(path.parent.name for path in folder.glob(f"*/{COMPARISON}"))
    # A run of the first version did not record its classes: those that are finished are all that is known of it.
    asked: dict[str, str | None] = (settings.get(RECORDED) or {}).get(CLASSES) or dict.fromkeys(there)
    comparisons: dict[str, PathComparison] = {}
    for stem, label in asked.items():
        if stem in there:
            try:
                comparisons[stem] = PathComparison.load(folder / stem / COMPARISON)
            except (OSError, ValueError, KeyError) as error:
                page.failures.append(f"{label or stem}: the comparison cannot be read: {error}")
    finished = (folder / "summary.csv").exists() and all(stem in there for stem in asked)
    if not finished:
        page.failures.insert(
            0,
            f"The run is not finished: {len(comparisons)} of {len(asked) if RECORDED in settings else 'an unknown number of'} classes are "
            "there; the same command with --resume goes on.",
        )
    pictures: dict[str, list[Scored]] = {}
    for stem, comparison in comparisons.items():
        label = asked[stem] or comparison.settings.get("class", stem)
        page.failures += comparison.settings.get(FAILURES, [])
        pictures[stem] = _pictures(folder, stem, label, comparison, page.failures)
        shown = [one.picture for one in pictures[stem]]
        page.sections.append(_class_section(folder, stem, label, comparison, shown, alone=len(comparisons) == 1))
    for stem, label in asked.items():
        if stem not in there and (folder / stem / PICTURES / SETTINGS).exists():
            for section in generation_page(folder / stem / PICTURES).within(f"{stem}/{PICTURES}").sections:
                page.sections.append(Section(f"{label or stem}: not compared yet", section.blocks))
    named = {
        asked[stem] or comparison.settings.get("class", stem): comparison for stem, comparison in comparisons.items()
    }
    page.failures = list(dict.fromkeys([*page.failures, *comparison_failures(named)]))
    # Of all layers some have nothing to compare; one that was asked for by name has failed.
    asked_for = (settings.get("similarity") or {}).get("layers") not in (None, "all", "leaf")
    missing = page.failures if asked_for else page.left_out
    missing += layers_left_out(named)
    every = list(comparisons.values())
    if not every:
        page.summary = ["No class is finished yet."]
        return page
    found = [one for of_class in pictures.values() for one in of_class]
    # Of several classes the first of each: all of a class are in its section.
    first = found if len(every) == 1 else [of_class[0] for of_class in pictures.values() if of_class]
    page.lead, page.legend = [gallery(first)] if first else [], legend(first, every)
    page.summary = [what_prototypes_are(len(found), len(every)), *conclusion(every)]
    page.trust = trust(every)
    if len(every) > 1:
        paths = [f"{stem}/{COMPARISON}" for stem in comparisons]
        files = ["summary.csv", "summary.txt", "curves.png", SETTINGS] if finished else [SETTINGS]
        blocks = [
            Verdicts(criteria(every)),
            Paragraphs([NOTATION]),
            Curves(paths[0], f"Means over all images of {len(every)} classes.", paths[1:]),
            comparison_table(every),
            Files(files),
        ]
        page.sections.insert(0, Section(f"Mean over {len(every)} classes", blocks, shown=1))
    return page


def _pictures(folder: Path, stem: str, label: str, comparison: PathComparison, failures: list[str]) -> list[Scored]:
    """The prototypes of a class and what is known of each; paths are relative to the folder of all classes."""
    path = folder / stem / PICTURES / PROTOTYPES
    if not path.exists():
        return []
    try:
        prototypes = Prototypes.load(path)
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{label}: the prototypes cannot be read: {error}")
        return []
    labels = [label] * len(prototypes)
    shown = Pictures(prototype_pictures(prototypes, path.parent, labels)).within(f"{stem}/{PICTURES}").pictures
    return scored(shown, labels, prototypes, comparison)


def _class_section(
    folder: Path, stem: str, label: str, comparison: PathComparison, pictures: list[Picture], alone: bool
) -> Section:
    """One class: what is to be thought of its prototypes, and what unfolds, the pictures, the criteria, the curves and the table."""
    files = ("scores.csv", "curves.png", COMPARISON, f"{PICTURES}/{PROTOTYPES}")
    verdicts, shown = Verdicts(criteria([comparison])), Pictures(pictures)
    # Of a single class the top of the page says what is to be thought of it.
    begin: list[Block] = [verdicts, Paragraphs([NOTATION]), shown]
    if not alone:
        begin = [Paragraphs([trust([comparison])]), shown, Paragraphs(conclusion([comparison])), verdicts]
    made = folder / stem / PICTURES
    recorded = (read_settings(made).get(RECORDED) if (made / SETTINGS).exists() else comparison.settings) or {}
    blocks = [
        *saved_blocks(recorded.get(SAVED), recorded.get(VERIFIED)),
        Curves(f"{stem}/{COMPARISON}"),
        comparison_table([comparison]),
        Files([f"{stem}/{file}" for file in files if (folder / stem / file).exists()]),
    ]
    return Section(label, [*begin, *blocks], shown=1)
