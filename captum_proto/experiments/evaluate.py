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
from captum_proto.experiments.evaluation_page import CLASSES, COMPARISON, FAILURES, PICTURES, evaluation_page
from captum_proto.experiments.generate import (
    SAVED,
    VERIFIED,
    WARNINGS,
    Generate,
    check_made_with,
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
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.report.views.prototypes import (
    PROTOTYPES,
    write_prototypes,
)
from captum_proto.runs.files import write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

#: Of the tasks of each class the last: what compares its prototypes, and pictures of other methods under their own names.
_COMPARE = "comparison"


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
            pictures = [f"{stem}/{name}" for name in (PICTURES, *self.further)]
            chunks = list[Task]()
            if is_shared_out(images, target, self.chunk):
                # By what the prototypes were made to match they cannot be judged, so it has to be known.
                chunks = tasks_of(images, target, stem, self.chunk, pictures[:1])
            needs = (*pictures, *(task.name for task in chunks))
            tasks += [*map(Task, pictures), *chunks, Task(f"{stem}/{_COMPARE}", needs=needs)]
        return tasks

    def begun(self) -> dict[str, Any]:
        return {CLASSES: {stem: self._labels()[target] for stem, target in self._stems().items()}}

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
        elif part == PICTURES and self.prototypes is not None:
            given = Prototypes.load(self.prototypes).of(target)
            write_prototypes(given, run.folder / task.name, self.named.class_names)
        else:
            generation = self._generation(target, self.options if part == PICTURES else self.further[part])
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
        pictures = Prototypes.load(folder / PICTURES / PROTOTYPES)
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
        comparison.settings[FAILURES] = [*(images.failures() if skipped is None else skipped), *told]
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
            Prototypes.load(folder / PICTURES / PROTOTYPES).seen_images,
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
        taken = {PICTURES, _COMPARE, SUMS, REFERENCE, "prototype", SAME, OTHER, *controls} & self.further.keys()
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
    return list(dict.fromkeys(text for comparison in comparisons.values() for text in comparison.settings[FAILURES]))


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
