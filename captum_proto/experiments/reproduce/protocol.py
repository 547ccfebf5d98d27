"""The paper's tables and figures, made again with the controls that it leaves out (arXiv:2309.17144)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import file_stem, model_stem
from captum_proto.attr import Prototypes
from captum_proto.experiments.evaluate import COMPARISON
from captum_proto.experiments.reproduce.items import ITEMS, Item, _Making
from captum_proto.experiments.reproduce.stages import Stage, _carry_out, _plain, _Run, _stage_story
from captum_proto.models import NamedModel
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Curves, Page, Picture, Section, Table, Verdict
from captum_proto.runs.files import write_json, write_rows, write_text
from captum_proto.runs.folder import open_folder
from captum_proto.runs.provenance import versions


def reproduce_to_folder(
    stages: Sequence[Stage],
    folder: Path,
    *,
    open_model: Callable[[str], NamedModel],
    items: Sequence[str] = ITEMS,
    groups: Mapping[str, Mapping[str, Path]] | None = None,
    seed: int = 0,
    batch_size: int = 8,
    image_batch: int = 32,
    workers: int = 2,
    story: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> list[Verdict]:
    """
    Make the paper's tables and figures again.

    Args:
        stages (sequence of Stage): The models, each with its classes and natural images.
        folder (Path): Where to write: a folder for each model, in it one for each item.
        open_model (Callable): A model by its name.
        items (sequence of str, optional): Of :data:`ITEMS`. Default: all
        groups (mapping, optional): For "table2" and "table3", the folder of each group of images by its name. Default: None
        seed (int, optional): Of everything random. Default: 0
        batch_size (int, optional): Prototypes at a time. Default: 8
        image_batch (int, optional): Natural images at a time. Default: 32
        workers (int, optional): Threads that read images. Default: 2
        story (mapping, optional): What else to record in the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to go on with what an interrupted run left. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False
        say (Callable, optional): Where verdicts are printed. Default: print

    Returns:
        list[Verdict]: One line for each figure, over all models.

    Raises:
        ValueError: If an item is unknown, or a class has fewer images than are asked for.
        FileExistsError: As :func:`~captum_proto.runs.folder.open_folder`.
    """
    asked = {**(story or {}), "items": list(items), "stages": [_stage_story(stage) for stage in stages], "seed": seed}
    places = [folder / model_stem(stage.model) for stage in stages]
    open_folder(folder, asked, overwrite=overwrite, resume=resume, results=places)
    page = Page("Prototype Generation, made again", settings=asked)
    lines: list[Verdict] = []
    for stage, place in zip(stages, places, strict=True):
        named = open_model(stage.model)
        weights = str(named.settings.get("weights", ""))
        title = f"{stage.model}: "
        random = ""
        if weights.startswith("random"):
            random = f"{stage.model} has random weights: what is made shows that the protocol runs, and nothing about the paper."
            page.failures.append(random)
            say(random)
        run = _carry_out(
            stage,
            named,
            place,
            seed=seed,
            batch_size=batch_size,
            image_batch=image_batch,
            workers=workers,
            resume=resume,
            show_progress=show_progress,
        )
        made = _Making(run, seed, batch_size, image_batch, workers, resume, show_progress, groups or {})
        for name in items:
            item = made.item(name)
            if item is None:
                page.failures.append(f"{title}{name}: {made.why_not(name)}")
                continue
            item.text += [random] if random else []
            section = _write(item, run, place / name, asked)
            _beneath(section, f"{place.name}/{name}")
            section.title = f"{title}{numbered(item.name)}, {item.title}"
            page.sections.append(section)
            for verdict in item.verdicts:
                lines.append(verdict)
                say(f"{stage.model}, {name}, {verdict_line(verdict)}")
        if run.comparisons:
            page.sections.append(_classes_section(run, place))
        for comparison in run.every():
            page.failures += comparison.settings.get("failures", [])
    page.failures = list(dict.fromkeys(page.failures))
    models = "one model" if len(stages) == 1 else f"{len(stages)} models"
    page.summary = [f"{len(lines)} figures over {models}; the paper's value, where it has one, stands beside each."]
    write_page(page, folder)
    return lines


def numbered(item: str) -> str:
    """An item as the paper calls it: ``Table 1``, ``Figure 4``."""
    return item.replace("table", "Table ").replace("fig", "Figure ")


def verdict_line(verdict: Verdict) -> str:
    """One line: the figure, the paper's value, the difference."""
    line = f"{verdict.name}: {verdict.measured}"
    if verdict.expected:
        line += f"; paper {verdict.expected}"
    return line + (f"; difference {verdict.difference}" if verdict.difference else "")


def _write(item: Item, run: _Run, folder: Path, asked: Mapping[str, Any]) -> Section:
    """An item's values, figure, manifest and verdict, and its section of the page."""
    files = ["values.csv", "manifest.json", "verdict.txt"]
    write_rows(folder / "values.csv", item.header, item.rows)
    section = Section(item.title, text=list(item.text), verdicts=item.verdicts, pictures=list(item.pictures))
    if item.figure is not None:
        for ending in ("png", "svg"):
            save_figure(item.figure, folder / f"figure.{ending}", overwrite=True)
        files += ["figure.png", "figure.svg"]
        section.pictures.insert(0, Picture("figure.png", item.title, small=False))
    first = run.every()[0] if run.comparisons else None
    manifest = {
        "item": item.name,
        "model": {"name": run.model, **_plain(run.named.settings)},
        "settings": {**asked, "comparison": None if first is None else {**first.settings, "failures": None}},
        "prototypes": _prototype_settings(run),
        "seeds": list(range(asked["seed"], asked["seed"] + run.stage.count)),
        "versions": versions(),
        "layers": [] if first is None else first.layers,
        "images": run.images,
    }
    write_json(folder / "manifest.json", manifest, overwrite=True)
    lines = [verdict_line(verdict) for verdict in item.verdicts] or [item.title]
    write_text(folder / "verdict.txt", "\n".join([*lines, *item.text]), overwrite=True)
    section.files = files
    if item.name == "table4":
        section.tables = [Table(item.header, item.rows[:10], "The first ten protocols.")]
    return section


def _prototype_settings(run: _Run) -> dict[str, Any]:
    group = next(iter(run.labels))
    return Prototypes.load(run.place(group) / "prototypes" / "prototypes.safetensors").settings


def _beneath(section: Section, folder: str) -> None:
    """Paths of a section's files, as seen from above."""
    section.files = [f"{folder}/{file}" for file in section.files]
    section.pictures = [Picture(f"{folder}/{one.path}", one.caption, one.small) for one in section.pictures]


def _classes_section(run: _Run, place: Path) -> Section:
    """The curves over all classes, to look into."""
    stems = [f"{place.name}/classes/{file_stem(group, run.named.class_names)}/{COMPARISON}" for group in run.labels]
    return Section(
        f"{run.model}: every layer",
        text=[f"All {len(stems)} classes together; {place.name}/classes/report.html has each by itself."],
        curves=[Curves(stems[0], "Means over all images of all classes.", stems[1:])],
        files=[f"{place.name}/classes/report.html"],
    )
