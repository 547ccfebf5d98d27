"""The three-way comparison with controls for some classes of a model, written to a folder part by part."""

from __future__ import annotations

import typing
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from captum_proto._utils.batches import Images
from captum_proto._utils.checks import check_images
from captum_proto._utils.class_names import file_stem, labels_of, model_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.data.natural import ClassImages
from captum_proto.data.unseen import Unseen
from captum_proto.experiments.class_chunks import REFERENCE, SUMS, ClassChunks, is_shared_out, tasks_of
from captum_proto.experiments.generate import (
    SAVED,
    VERIFIED,
    WARNINGS,
    Generate,
    check_made_with,
    generation_page,
    recorded_verifiers,
    rehearse,
)
from captum_proto.experiments.saved_pictures import saved_recognition, verified_recognition, verifier_classes
from captum_proto.metrics import CONTROLS
from captum_proto.metrics.comparison import (
    OTHER,
    SAME,
    PathComparison,
    pooled,
    save_summaries,
    summarize,
    summary_table,
)
from captum_proto.metrics.controls import check_controls
from captum_proto.metrics.path_scores import PathScores
from captum_proto.metrics.path_similarity import PathSimilarity
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Picture, Pictures, Verdicts
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.first_screen import Scored, gallery, legend, scored, trust
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.report.views.path_similarity import (
    NOTATION,
    comparison_failures,
    comparison_table,
    conclusion,
    criteria,
    layers_left_out,
)
from captum_proto.report.views.prototypes import (
    PROTOTYPES,
    prototype_pictures,
    saved_blocks,
    what_prototypes_are,
    write_prototypes,
)
from captum_proto.runs.files import write_text
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out, warnings_of

COMPARISON = "comparison.safetensors"
#: The tasks of each class: its prototypes, pictures of other methods under their own names, and the comparison of all these.
_PICTURES, _COMPARE = "prototypes", "comparison"
#: Of what is recorded of the run: the folder and the label of each class. Of what is recorded with a class: what failed.
_CLASSES, _FAILURES = "classes", "failures"


class ImageSource(typing.Protocol):
    """Where an evaluation gets natural images from: :class:`~captum_proto.data.natural.NaturalImages`, or the like."""

    def of(self, target: Target) -> ClassImages:
        """Images of a class, and of others."""

    def settings(self) -> dict[str, Any]:
        """What a result depends on, as JSON can hold it."""

    def afresh(self, *, batch_size: int = ..., workers: int = ...) -> ImageSource:
        """The same images, with nothing known yet of files that cannot be read."""


@dataclass(frozen=True)
class Evaluate(Protocol[dict[Target, PathComparison]]):
    """
    Prototypes of each class, compared with natural images and controls: every value, the table, the figure, and the page.

    Each class has a folder, with a run of :class:`~captum_proto.experiments.generate.Generate` for its prototypes.

    Args:
        named (NamedModel): The model and its preprocessing.
        targets (sequence of Target): The classes; one that is named twice is evaluated once.
        images (ImageSource): Natural images of the classes, and of others.
        options (mapping): Further arguments of :meth:`~captum_proto.PrototypeGeneration.generate`. Default: its own
        count (int): Prototypes of each class. Default: 2
        seed (int): The first seed of each class. Default: 0
        batch_size (int): Prototypes at a time. Default: 8
        prototypes (Path, optional): A file with prototypes of the classes, instead of generating them. Default: None
        similarity (mapping): Further arguments of :class:`PathSimilarity`. Default: its own
        comparison (mapping): Further arguments of :meth:`PathSimilarity.compare <captum_proto.PathSimilarity.compare>`. Default: its own
        further (mapping): Other methods' pictures of each class to score as well: by the name of the condition, the arguments of
            :meth:`~captum_proto.PrototypeGeneration.generate` that make them. Default: none
        page (bool): Whether to write the page; False where the evaluation is part of something greater. Default: True
        verifiers (sequence of NamedModel): Other networks that the prototypes are shown to. Default: none
        chunk (int): Images in a task, of a class that has more, or is compared with more: its sums are added within a chunk first, and then
            in the order of chunks, whichever process made them. A class of fewer images is one task. Default: 512
    """

    named: NamedModel
    targets: Sequence[Target]
    images: ImageSource
    options: Mapping[str, Any] = field(default_factory=dict)
    count: int = 2
    seed: int = 0
    batch_size: int = 8
    prototypes: Path | None = None
    similarity: Mapping[str, Any] = field(default_factory=dict)
    comparison: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    page: bool = True
    verifiers: Sequence[NamedModel] = ()
    chunk: int = 512

    def provenance(self) -> dict[str, Any]:
        generated = {"options": self.options, "count": self.count, "batch_size": self.batch_size}
        return provenance(
            "evaluate",
            {
                "model": self.named.provenance(),
                "target": list(dict.fromkeys(self.targets)),
                "images": self.images,
                "image_shape": self.named.image_shape,
                "seed": self.seed,
                **(generated if self.prototypes is None or self.further else {}),
                "similarity": self.similarity,
                "comparison": self.comparison,
                "further": self.further,
                "chunk": self.chunk,
                **recorded_verifiers(self.verifiers),
            },
            files={"prototypes": self.prototypes},
        )

    def tasks(self) -> list[Task]:
        self._check()
        tasks, images = list[Task](), self.images.afresh()
        for stem, target in self._stems().items():
            pictures = [f"{stem}/{name}" for name in (_PICTURES, *self.further)]
            chunks = list[Task]()
            if is_shared_out(images, target, self.chunk):
                # By what the prototypes were made to match they cannot be judged, so it has to be known.
                chunks = tasks_of(images, target, stem, self.chunk, pictures[:1])
            needs = (*pictures, *(task.name for task in chunks))
            tasks += [*map(Task, pictures), *chunks, Task(f"{stem}/{_COMPARE}", needs=needs)]
        return tasks

    def begun(self) -> dict[str, Any]:
        return {_CLASSES: {stem: self._labels()[target] for stem, target in self._stems().items()}}

    def make(self, task: Task, run: Run) -> None:
        stem, _, part = task.name.partition("/")
        kind, _, first = part.partition("/")
        target = self._stems()[stem]
        if part == _COMPARE:
            self._compare(target, run.folder / stem, run.show_progress)
        elif kind in (SUMS, REFERENCE, SAME, OTHER):
            chunks = self._chunks(target, run.folder / stem)
            assert chunks is not None  # else it is no task
            chunks.make(kind, int(first)) if first else chunks.add_up()
        elif part == _PICTURES and self.prototypes is not None:
            given = Prototypes.load(self.prototypes).of(target)
            write_prototypes(given, run.folder / task.name, self.named.class_names)
        else:
            generation = self._generation(target, self.options if part == _PICTURES else self.further[part])
            carry_out(generation, run.folder / task.name, resume=True, show_progress=run.show_progress)

    def summarize(self, run: Run) -> dict[Target, PathComparison]:
        comparisons = {
            target: PathComparison.load(run.folder / stem / COMPARISON) for stem, target in self._stems().items()
        }
        labels = self._labels()
        summaries = {labels[target]: comparison.summaries() for target, comparison in comparisons.items()}
        every = list(comparisons.values())
        if len(every) > 1:
            summaries["mean over classes"] = summarize(every)
            figure = comparison_figure(pooled(every), f"{len(every)} classes")
            save_figure(figure, run.folder / "curves.png", overwrite=True)
        save_summaries(summaries, run.folder / "summary.csv", overwrite=True)
        tables = comparison_tables(comparisons, self.named.class_names)
        write_text(run.folder / "summary.txt", "\n\n".join(tables), overwrite=True)
        run.note({WARNINGS: run.warnings()})
        if self.page:
            write_page(evaluation_page(run.folder), run.folder)
        return comparisons

    def _compare(self, target: Target, folder: Path, show_progress: bool) -> None:
        """The comparison of one class, from the pictures in its folder."""
        label = self._labels()[target]
        pictures = Prototypes.load(folder / _PICTURES / PROTOTYPES)
        same: Images | PathScores
        other: Images | PathScores
        if (chunks := self._chunks(target, folder)) is not None:
            same, other, skipped, seen = chunks.scores()
            similarity = self._similarity().with_reference(chunks.reference())
            told = _told(pictures, label, *seen)
        else:
            images = self.images.afresh().of(target)
            same, told = _unseen(images.same, pictures, label)
            other, skipped = images.other, None
            similarity = self._similarity().fit(same, show_progress=show_progress)
        comparison = similarity.compare(
            pictures,
            same,
            other,
            further={name: Prototypes.load(folder / name / PROTOTYPES).images for name in self.further},
            show_progress=show_progress,
            **self.comparison,
        )
        comparison.settings["class"] = label
        comparison.settings[_FAILURES] = [*(images.failures() if skipped is None else skipped), *told]
        if self.prototypes is not None:  # of those that are generated, their own run records it
            comparison.settings[SAVED] = saved_recognition(self.named, pictures)
            comparison.settings[VERIFIED] = verified_recognition(self.named, pictures, self.verifiers)
        comparison.to_csv(folder / "scores.csv", overwrite=True)
        save_figure(comparison_figure(comparison, label), folder / "curves.png", overwrite=True)
        comparison.save(folder / COMPARISON, overwrite=True)

    def _similarity(self) -> PathSimilarity:
        return PathSimilarity(self.named.model, preprocess=self.named.preprocess, **self.similarity)

    def _chunks(self, target: Target, folder: Path) -> ClassChunks | None:
        """The natural images of a class where they are shared out."""
        images = self.images.afresh()
        if not is_shared_out(images, target, self.chunk):
            return None
        return ClassChunks(
            images,
            target,
            self._labels()[target],
            Prototypes.load(folder / _PICTURES / PROTOTYPES).seen_images,
            self._similarity,
            self.comparison.get("leave_one_out", True),
            self.chunk,
            folder,
        )

    def _generation(self, target: Target, options: Mapping[str, Any]) -> Generate:
        targets = [target] * self.count
        return Generate(
            self.named,
            targets,
            options,
            seed=self.seed,
            batch_size=self.batch_size,
            page=False,
            verifiers=self.verifiers,
        )

    def _check(self) -> None:
        """See that everything can be made, as far as that can be seen before anything takes time."""
        verifier_classes(self.named, self.targets, self.verifiers)
        controls = check_controls(self.comparison.get("controls", CONTROLS))
        for name in self.further:
            if model_stem(name) != name:
                raise InputError(
                    f"further has {name!r:.80}, which cannot be the name of a folder; "
                    'choose one of letters, digits, "-", "_" and ".".'
                )
        taken = {_PICTURES, _COMPARE, SUMS, REFERENCE, "prototype", SAME, OTHER, *controls} & self.further.keys()
        if taken:
            raise InputError(
                f'further has "{min(taken)}", which the comparison calls something of its own; choose another name.'
            )
        for name in ("count", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}; expected at least 1.")
        control_count = self.comparison.get("control_count")
        if control_count is not None and control_count < 1:
            raise InputError(
                f"control_count is {control_count}; expected at least 1, or None for as many as prototypes."
            )
        made = list(self.further.values())
        if self.prototypes is None:
            made.append(self.options)
        for options in made:
            rehearse(self.named, self.targets, options)
            for target in self.targets:
                self._generation(target, options)
        images = self.images.afresh(
            batch_size=1, workers=0
        )  # to read no more than is needed to see that there are some
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to warn of comes again
            for target in dict.fromkeys(self.targets):
                of_target = images.of(target)
                same = _first(of_target.same, 2)
                if len(same) < 2:
                    raise InputError(
                        f"there is {len(same)} image of {self._labels()[target]}; path similarity needs at least two."
                    )
                _first(of_target.other, 1)
            similarity = self._similarity()
            similarity.fit(same)  # are there such layers?
        if self.prototypes is not None:
            check_made_with(self.prototypes, self.named)
            given = Prototypes.load(self.prototypes)
            check_images(given.images, similarity.value_range, "prototypes")
            for target in self.targets:
                mine = given.of(target)
                similarity.evaluate(mine.images)
                _unseen(images.of(target).same, mine, self._labels()[target])

    def _stems(self) -> dict[str, Target]:
        """The folder of each class."""
        return {file_stem(target, self.named.class_names): target for target in dict.fromkeys(self.targets)}

    def _labels(self) -> dict[Target, str]:
        targets = list(dict.fromkeys(self.targets))
        return dict(zip(targets, labels_of(targets, self.named.class_names), strict=True))


def comparison_tables(comparisons: Mapping[Target, PathComparison], class_names: Sequence[str] | None) -> list[str]:
    """The table of each class under its label, and that over all classes if there are several."""
    targets = list(comparisons)
    tables = [
        f"{label}\n{comparisons[target].table()}"
        for target, label in zip(targets, labels_of(targets, class_names), strict=True)
    ]
    if len(targets) > 1:
        over = summary_table(summarize(list(comparisons.values())))
        tables.append(f"mean over {len(targets)} classes\n{over}")
    return tables


def files_skipped(comparisons: Mapping[Target, PathComparison]) -> list[str]:
    """A sentence for each image file that could not be read, in the comparison of any class."""
    return list(dict.fromkeys(text for comparison in comparisons.values() for text in comparison.settings[_FAILURES]))


def _unseen(images: Images, prototypes: Prototypes, label: str) -> tuple[Images, list[str]]:
    """Natural images without those that prototypes were made to match, and what is to be told of it."""
    if not prototypes.seen_images:
        return images, []
    unseen = Unseen(images, prototypes.seen_images)
    left = sum(len(batch) for batch in unseen)
    if left < 2:
        raise InputError(
            f"the prototypes of {label} were made to match {unseen.left_out} of its {unseen.count} images, and can be judged only by "
            "others, of which there must be two; give images that they have not seen."
        )
    told = _told(prototypes, label, unseen.left_out, unseen.count)
    return (unseen if unseen.left_out else images), told


def _told(prototypes: Prototypes, label: str, left_out: int, count: int) -> list[str]:
    """What is to be told of natural images that prototypes were made to match, of which some were left out."""
    if not prototypes.seen_images:
        return []
    told = f"{label}: the prototypes were made to match {len(prototypes.seen_images)} natural images"
    if left_out:
        return [f"{told}; {left_out} of the {count} images given here are among them and are left out."]
    return [f"{told}; none of the {count} images given here is among them."]


def _first(images: Images, count: int) -> list[Any]:
    """The first images, one at a time as batches of one."""
    return [image.reshape(-1, *image.shape[-3:]) for image in islice(iter(images), count)]


def evaluation_page(folder: Path) -> Page:
    """
    What a folder of comparisons has to show, from the files in it; of an interrupted run, the classes it finished.

    Args:
        folder (Path): That :class:`Evaluate` wrote to.

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
    pictures: dict[str, list[Scored]] = {}
    for stem, comparison in comparisons.items():
        label = asked[stem] or comparison.settings.get("class", stem)
        page.failures += comparison.settings.get(_FAILURES, [])
        pictures[stem] = _pictures(folder, stem, label, comparison, page.failures)
        shown = [one.picture for one in pictures[stem]]
        page.sections.append(_class_section(folder, stem, label, comparison, shown, alone=len(comparisons) == 1))
    for stem, label in asked.items():
        if stem not in there and (folder / stem / _PICTURES / SETTINGS).exists():
            for section in generation_page(folder / stem / _PICTURES).within(f"{stem}/{_PICTURES}").sections:
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
    path = folder / stem / _PICTURES / PROTOTYPES
    if not path.exists():
        return []
    try:
        prototypes = Prototypes.load(path)
    except (OSError, ValueError, KeyError) as error:
        failures.append(f"{label}: the prototypes cannot be read: {error}")
        return []
    labels = [label] * len(prototypes)
    shown = Pictures(prototype_pictures(prototypes, path.parent, labels)).within(f"{stem}/{_PICTURES}").pictures
    return scored(shown, labels, prototypes, comparison)


def _class_section(
    folder: Path, stem: str, label: str, comparison: PathComparison, pictures: list[Picture], alone: bool
) -> Section:
    """One class: what is to be thought of its prototypes, and what unfolds, the pictures, the criteria, the curves and the table."""
    files = ("scores.csv", "curves.png", COMPARISON, f"{_PICTURES}/{PROTOTYPES}")
    verdicts, shown = Verdicts(criteria([comparison])), Pictures(pictures)
    # Of a single class the top of the page says what is to be thought of it.
    begin: list[Block] = [verdicts, Paragraphs([NOTATION]), shown]
    if not alone:
        begin = [Paragraphs([trust([comparison])]), shown, Paragraphs(conclusion([comparison])), verdicts]
    made = folder / stem / _PICTURES
    recorded = (read_settings(made).get(RECORDED) if (made / SETTINGS).exists() else comparison.settings) or {}
    blocks = [
        *saved_blocks(recorded.get(SAVED), recorded.get(VERIFIED)),
        Curves(f"{stem}/{COMPARISON}"),
        comparison_table([comparison]),
        Files([f"{stem}/{file}" for file in files if (folder / stem / file).exists()]),
    ]
    return Section(label, [*begin, *blocks], shown=1)
