"""The three-way comparison with controls for some classes of a model, written to a folder class by class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.batches import Images
from captum_proto._utils.class_names import file_stem, labels_of
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.data.natural import ClassImages
from captum_proto.experiments.generate import PROTOTYPES, prototype_pictures, write_prototypes
from captum_proto.metrics.comparison import PathComparison, pooled, save_summaries, summarize, summary_table
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Pictures, Verdicts
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.report.views.path_similarity import (
    NOTATION,
    comparison_failures,
    comparison_table,
    conclusion,
    criteria,
)
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.folder import RECORDED, SETTINGS, noted_warnings, open_folder, read_settings

COMPARISON = "comparison.safetensors"
_PICTURES = "prototypes"
#: Of what is recorded of the run: the folder and the label of each class. Of what is recorded with a class: what failed.
_CLASSES, _FAILURES = "classes", "failures"


def evaluate_to_folder(
    new_similarity: Callable[[], PathSimilarity],
    prototypes_of: Callable[[Target, Path], Prototypes],
    images_of: Callable[[Target], ClassImages],
    groups: list[Target],
    folder: Path,
    *,
    options: dict[str, Any],
    further_of: Callable[[Target, Path], Mapping[str, Images]] | None = None,
    class_names: Sequence[str] | None = None,
    story: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> dict[Target, PathComparison]:
    """
    Compare prototypes of each class with natural images and controls, and write every value, the table, the figure, and the page.

    Args:
        new_similarity (Callable): Makes an unfitted :class:`PathSimilarity`.
        prototypes_of (Callable): The prototypes of a class, given a folder to put new ones into.
        images_of (Callable): The natural images of a class.
        groups (list[Target]): The classes.
        folder (Path): Where to write: one folder for each class, and the table over all of them.
        options (dict): Further arguments of :meth:`PathSimilarity.compare`.
        further_of (Callable, optional): Other groups of images for a class, by name, given its folder. Default: None
        class_names (sequence of str, optional): For labels and file names. Default: None
        story (dict, optional): What to record as the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to keep classes that an interrupted run finished. Default: False
        say (Callable, optional): Where tables are printed. Default: print

    Returns:
        dict[Target, PathComparison]: By class.
    """
    groups = list(dict.fromkeys(groups))
    labels = dict(zip(groups, labels_of(groups, class_names), strict=True))
    places = {group: folder / file_stem(group, class_names) for group in groups}
    finished = [place / COMPARISON for place in places.values()]
    open_folder(folder, story or {}, overwrite=overwrite, resume=resume, results=finished)
    classes = {place.name: labels[group] for group, place in places.items()}
    write_json(folder / SETTINGS, {**(story or {}), RECORDED: {_CLASSES: classes}}, overwrite=True)
    comparisons: dict[Target, PathComparison] = {}
    for group, place in places.items():
        label, done = labels[group], place / COMPARISON
        if resume and done.exists():
            comparisons[group] = PathComparison.load(done)
            continue
        pictures = place / _PICTURES
        (pictures / PROTOTYPES).unlink(missing_ok=True)
        with noted_warnings() as warned:
            images = images_of(group)
            similarity = new_similarity().fit(images.same, show_progress=options.get("show_progress", False))
            prototypes = prototypes_of(group, place)
            further = None if further_of is None else further_of(group, place)
            comparison = similarity.compare(prototypes, images.same, images.other, further=further, **options)
        if isinstance(prototypes, Prototypes) and not (pictures / PROTOTYPES).exists():
            write_prototypes(prototypes, pictures, class_names)
        comparison.settings["class"] = label
        comparison.settings[_FAILURES] = [*warned, *images.failures()]
        comparison.to_csv(place / "scores.csv", overwrite=True)
        save_figure(comparison_figure(comparison, label), place / "curves.png", overwrite=True)
        comparison.save(done, overwrite=True)  # last: its presence says that the class is finished
        comparisons[group] = comparison
        say(f"\n{label}\n{comparison.table()}")
    summaries = {labels[group]: one.summaries() for group, one in comparisons.items()}
    text = "\n\n".join(f"{labels[group]}\n{one.table()}" for group, one in comparisons.items())
    if len(comparisons) > 1:
        over = summarize(list(comparisons.values()))
        summaries["mean over classes"] = over
        text += f"\n\nmean over {len(comparisons)} classes\n{summary_table(over)}"
        say(f"\nmean over {len(comparisons)} classes\n{summary_table(over)}")
        everything = pooled(list(comparisons.values()))
        save_figure(comparison_figure(everything, f"{len(comparisons)} classes"), folder / "curves.png", overwrite=True)
    save_summaries(summaries, folder / "summary.csv", overwrite=True)
    write_text(folder / "summary.txt", text, overwrite=True)
    write_page(evaluation_page(folder), folder)
    return comparisons


def evaluation_page(folder: Path) -> Page:
    """
    What a folder of comparisons has to show, from the files in it; of an interrupted run, the classes it finished.

    Args:
        folder (Path): That :func:`evaluate_to_folder` wrote to.

    Returns:
        Page: The mean over classes first, then a section for each. Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    name = (settings.get("model") or {}).get("name")
    page = Page(f"Path similarity of {name}" if name else "Path similarity", settings=settings)
    there = sorted(path.parent.name for path in folder.glob(f"*/{COMPARISON}"))
    # An older run did not record its classes: those that are finished are all that is known of it.
    asked: dict[str, str | None] = (settings.get(RECORDED) or {}).get(_CLASSES) or dict.fromkeys(there)
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
    for stem, comparison in comparisons.items():
        label = asked[stem] or comparison.settings.get("class", stem)
        page.failures += comparison.settings.get(_FAILURES, [])
        notation = [NOTATION] if len(comparisons) == 1 else []  # of several classes, the mean over them begins with it
        page.sections.append(_class_section(folder, stem, label, comparison, notation, page.failures))
    named = {asked[stem] or one.settings.get("class", stem): one for stem, one in comparisons.items()}
    page.failures = list(dict.fromkeys([*page.failures, *comparison_failures(named)]))
    every = list(comparisons.values())
    if not every:
        page.summary = ["No class is finished yet."]
        return page
    page.summary = conclusion(every)
    if len(every) > 1:
        paths = [f"{stem}/{COMPARISON}" for stem in comparisons]
        files = ["summary.csv", "summary.txt", "curves.png", SETTINGS] if finished else [SETTINGS]
        blocks = [
            Paragraphs([NOTATION]),
            Verdicts(criteria(every)),
            Curves(paths[0], f"Means over all images of {len(every)} classes.", paths[1:]),
            comparison_table(every),
            Files(files),
        ]
        page.sections.insert(0, Section(f"Mean over {len(every)} classes", blocks))
    return page


def _class_section(
    folder: Path, stem: str, label: str, comparison: PathComparison, notation: list[str], failures: list[str]
) -> Section:
    """One class: its prototypes, the criteria, the curves and the table."""
    files = ("scores.csv", "curves.png", COMPARISON, f"{_PICTURES}/{PROTOTYPES}")
    path = folder / stem / _PICTURES / PROTOTYPES
    pictures: list[Block] = []
    if path.exists():
        try:
            prototypes = Prototypes.load(path)
        except (OSError, ValueError, KeyError) as error:
            failures.append(f"{label}: the prototypes cannot be read: {error}")
        else:
            shown = Pictures(prototype_pictures(prototypes, path.parent, [label] * len(prototypes)))
            pictures.append(shown.within(_PICTURES))
    blocks = [
        Paragraphs([*conclusion([comparison]), *notation]),
        *pictures,
        Verdicts(criteria([comparison])),
        Curves(COMPARISON),
        comparison_table([comparison]),
        Files([file for file in files if (folder / stem / file).exists()]),
    ]
    return Section(label, blocks).within(stem)
