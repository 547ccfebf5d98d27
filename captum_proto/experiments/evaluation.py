"""The three-way comparison with controls for some classes of a model, written to a folder class by class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.targets import Group
from captum_proto.attr import Prototypes
from captum_proto.experiments.classes import ClassImages
from captum_proto.experiments.folders import file_stem, labels_of, open_folder, write_text
from captum_proto.metrics.comparison import PathComparison, pooled, summarise, summary_table
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.report.figures import comparison_figure, save_figure
from captum_proto.report.tables import save_summaries

COMPARISON = "comparison.safetensors"


def evaluate_to_folder(
    new_similarity: Callable[[], PathSimilarity],
    prototypes_of: Callable[[Group, Path], Prototypes],
    images_of: Callable[[Group], ClassImages],
    groups: list[Group],
    folder: Path,
    *,
    options: dict[str, Any],
    class_names: Sequence[str] | None = None,
    story: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    say: Callable[[str], None] = print,
) -> dict[Group, PathComparison]:
    """
    Compare prototypes of each class with natural images and controls, and write every value, the table and the figure.

    Args:
        new_similarity (Callable): Makes an unfitted :class:`PathSimilarity`.
        prototypes_of (Callable): The prototypes of a class, given a folder to put new ones into.
        images_of (Callable): The natural images of a class.
        groups (list[Group]): The classes.
        folder (Path): Where to write: one folder for each class, and the table over all of them.
        options (dict): Further arguments of :meth:`PathSimilarity.compare`.
        class_names (sequence of str, optional): For labels and file names. Default: None
        story (dict, optional): What to record as the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to keep classes that an interrupted run finished. Default: False
        say (Callable, optional): Where tables are printed. Default: print

    Returns:
        dict[Group, PathComparison]: By class.
    """
    groups = list(dict.fromkeys(groups))
    labels = dict(zip(groups, labels_of(groups, class_names), strict=True))
    places = {group: folder / file_stem(group, class_names) for group in groups}
    finished = [place / COMPARISON for place in places.values()]
    open_folder(folder, story or {}, overwrite=overwrite, resume=resume, results=finished)
    comparisons: dict[Group, PathComparison] = {}
    for group, place in places.items():
        label, done = labels[group], place / COMPARISON
        if resume and done.exists():
            comparisons[group] = PathComparison.load(done)
            continue
        images = images_of(group)
        similarity = new_similarity().fit(images.same, show_progress=options.get("show_progress", False))
        comparison = similarity.compare(prototypes_of(group, place), images.same, images.other, **options)
        comparison.settings["class"] = label
        comparison.to_csv(place / "scores.csv", overwrite=True)
        save_figure(comparison_figure(comparison, label), place / "curves.png", overwrite=True)
        comparison.save(done, overwrite=True)  # last: its presence says that the class is finished
        comparisons[group] = comparison
        say(f"\n{label}\n{comparison.table()}")
    summaries = {labels[group]: one.summaries() for group, one in comparisons.items()}
    text = "\n\n".join(f"{labels[group]}\n{one.table()}" for group, one in comparisons.items())
    if len(comparisons) > 1:
        over = summarise(list(comparisons.values()))
        summaries["mean over classes"] = over
        text += f"\n\nmean over {len(comparisons)} classes\n{summary_table(over)}"
        say(f"\nmean over {len(comparisons)} classes\n{summary_table(over)}")
        everything = pooled(list(comparisons.values()))
        save_figure(comparison_figure(everything, f"{len(comparisons)} classes"), folder / "curves.png", overwrite=True)
    save_summaries(summaries, folder / "summary.csv", overwrite=True)
    write_text(folder / "summary.txt", text, overwrite=True)
    return comparisons
