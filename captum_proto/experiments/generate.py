"""Prototypes of a model's classes, written to a folder batch by batch, so that an interrupted run goes on where it was."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import file_stem, label_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target, occurrence_seeds
from captum_proto.attr import GenerationSettings, PrototypeGeneration, Prototypes
from captum_proto.experiments.saved_pictures import saved_recognition, verified_recognition, verifier_classes
from captum_proto.models import NamedModel
from captum_proto.optim import InputOptimization
from captum_proto.optim.loss import ProbabilityVariance
from captum_proto.optim.loss.diversity import Diversity, as_diversity, check_batches
from captum_proto.report.blocks import Files, Pictures
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.first_screen import gallery, legend, scored
from captum_proto.report.views.prototypes import (
    PROTOTYPES,
    images_matched,
    labels_of_pictures,
    logit_table,
    prototype_pictures,
    saved_blocks,
    unmeasured_trust,
    what_prototypes_are,
    write_pictures,
    write_sheet,
)
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of

BATCHES = "batches"
_SETTINGS = {field.name for field in fields(GenerationSettings)}
#: Of what is recorded: of each prototype the label of its class and the beginning of its file's name; what was warned of; and what the
#: model makes of the pictures as they were saved;
#: by the name of each other network that was asked, what that makes of them.
_LABELS, _STEMS, WARNINGS, SAVED, VERIFIED = "labels", "file_stems", "warnings", "as_saved", "verified"


@dataclass(frozen=True)
class Generate(Protocol[Prototypes]):
    """
    Prototypes of a model's classes: a PNG of each, a sheet of all, everything as safetensors, and the page.

    Args:
        named (NamedModel): The model and its preprocessing.
        targets (sequence of Target): The classes of each prototype.
        options (mapping): Further arguments of :meth:`~captum_proto.PrototypeGeneration.generate`. Default: its own
        seed (int): The first seed of each class. Default: 0
        batch_size (int): Prototypes at a time; each finished batch is on disk at once. Default: 8
        page (bool): Whether to write the page; False where the prototypes are part of a greater one. Default: True
        verifiers (sequence of NamedModel): Other networks that the pictures are shown to. Default: none

    Raises:
        InputError: If ``batch_size`` is less than 1, or parts prototypes that are to differ from each other; or a verifier is the model
            itself, takes other images, or lacks a class.
    """

    named: NamedModel
    targets: Sequence[Target]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 8
    page: bool = True
    verifiers: Sequence[NamedModel] = ()

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected at least 1.")
        if (
            self._diversity() is not None
        ):  # each batch is made by itself, so only here can it be seen that a class is parted
            check_batches(list(self.targets), self.batch_size)
        verifier_classes(self.named, self.targets, self.verifiers)

    def provenance(self) -> dict[str, Any]:
        return provenance(
            "generate",
            {
                "model": self.named.provenance(),
                "target": self.targets,
                "seeds": self._seeds(),
                "batch_size": self.batch_size,
                "image_shape": self.named.image_shape,
                "options": {**self.options, "diversity": self._diversity()},
                **recorded_verifiers(self.verifiers),
            },
        )

    def tasks(self) -> list[Task]:
        rehearse(self.named, self.targets, self.options)
        begins = range(0, len(self.targets), self.batch_size)
        return [
            Task(f"{BATCHES}/{begin:05d}", weight=len(self.targets[begin : begin + self.batch_size]))
            for begin in begins
        ]

    def begun(self) -> dict[str, Any]:
        return {
            _LABELS: [label_of(target, self.named.class_names) for target in self.targets],
            _STEMS: [file_stem(target, self.named.class_names) for target in self.targets],
        }

    def make(self, task: Task, run: Run) -> None:
        begin = int(task.name.rpartition("/")[2])
        rows = slice(begin, begin + self.batch_size)
        batch = PrototypeGeneration(self.named.model, self.named.preprocess).generate(
            [list(target) for target in self.targets[rows]],
            self.named.image_shape,
            seed=self._seeds()[rows],
            show_progress=run.show_progress,
            **self.options,
        )
        write_pictures(batch, run.folder, self.named.class_names)
        batch.save(run.folder / f"{task.name}.safetensors", overwrite=True)

    def summarize(self, run: Run) -> Prototypes:
        prototypes = Prototypes.concatenate(
            [Prototypes.load(run.folder / f"{task.name}.safetensors") for task in run.tasks]
        )
        write_sheet(prototypes, run.folder, self.named.class_names)
        run.note(
            {
                **prototypes.settings,
                SAVED: saved_recognition(self.named, prototypes),
                VERIFIED: verified_recognition(self.named, prototypes, self.verifiers),
                WARNINGS: run.warnings(),
            }
        )
        if self.page:
            write_page(generation_page(run.folder), run.folder)
        return prototypes

    def _seeds(self) -> list[int]:
        return occurrence_seeds(list(self.targets), self.seed)

    def _diversity(self) -> Diversity | None:
        return as_diversity(self.options.get("diversity"), self.named.model)


def recorded_verifiers(verifiers: Sequence[NamedModel]) -> dict[str, Any]:
    """What a run's provenance holds of the networks that its pictures are shown to; nothing where there are none."""
    return {"verifiers": [verifier.provenance() for verifier in verifiers]} if verifiers else {}


def rehearse(named: NamedModel, targets: Sequence[Target], options: Mapping[str, Any]) -> None:
    """
    See that prototypes can be made, before anything takes time or is removed: the same call without a step, and one step for one class.

    Args:
        named (NamedModel): The model.
        targets (sequence of Target): The classes.
        options (mapping): Further arguments of :meth:`~captum_proto.PrototypeGeneration.generate`.

    Raises:
        InputError, InputTypeError: As :meth:`~captum_proto.PrototypeGeneration.generate`: a class or an option is out of its range, or the
            model gives no gradient.
    """
    count = 1 if options.get("diversity") is None else 2  # diversity is between two of a class
    without_steps = {
        name: value
        for name, value in options.items()
        if name not in ("callback", "snapshot_steps")
        and not (name in ("steps", "warmup_steps") and isinstance(value, int) and value > 0 and value is not True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to warn of comes again
        PrototypeGeneration(named.model, named.preprocess).generate(
            [list(target) for target in dict.fromkeys(targets) for _ in range(count)],
            named.image_shape,
            **{"steps": 0, "warmup_steps": 0, **without_steps, "batch_size": 8, "evaluation_draws": 0},
        )
        chosen = {name: value for name, value in options.items() if name in _SETTINGS}
        chosen |= {name: min(1, chosen[name]) for name in ("steps", "warmup_steps") if name in chosen}
        settings = GenerationSettings(**{"steps": 1, "warmup_steps": 1, **chosen})
        classes = [list(targets[0])] * count
        settings = settings.resolved(named.image_shape, named.model, named.preprocess, classes)
        objective = settings.objective(classes)
        InputOptimization(named.model, objective, named.preprocess, settings, warmup=ProbabilityVariance()).optimize(
            tuple(named.image_shape)
        )


def check_made_with(path: Path, named: NamedModel) -> None:
    """
    See that prototypes in a file were made with a model, as far as they know.

    Raises:
        MissingFileError: If there is no such file.
        InputError: If it holds something else, or they were made with another model or other weights.
    """
    if Prototypes.load(path).settings.get("model_fingerprint") not in (None, fingerprint(named.model)):
        raise InputError(
            f'the prototypes in "{path}" were made with another model or other weights; generate them with this one.'
        )


def generation_page(folder: Path) -> Page:
    """
    What a folder of prototypes has to show, from the files in it; of an interrupted run, the batches it finished.

    Args:
        folder (Path): That :class:`Generate` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    recorded = settings.get(RECORDED) or {}
    failures = list(recorded.get(WARNINGS) or warnings_of(folder))
    prototypes = _found(folder, failures)
    asked = len(settings.get("target", []))
    name = (settings.get("model") or {}).get("name")
    page = Page(f"Prototypes of {name}" if name else "Prototypes", settings=settings, failures=failures)
    if prototypes is None or len(prototypes) < asked:
        there = 0 if prototypes is None else len(prototypes)
        page.failures.insert(
            0,
            f"The run is not finished: {there} of {asked} prototypes are there; the same command with --resume goes on.",
        )
    if prototypes is None:
        page.summary = ["No prototype is finished yet."]
        return page
    labels = labels_of_pictures(prototypes, folder, recorded.get(_LABELS))
    pictures = scored(prototype_pictures(prototypes, folder, labels, recorded.get(_STEMS)), labels, prototypes)
    page.lead, page.legend = [gallery(pictures)], legend(pictures)
    blocks = [
        Pictures([one.picture for one in pictures]),
        *saved_blocks(recorded.get(SAVED), recorded.get(VERIFIED)),
        logit_table(prototypes, labels),
        Files([name for name in (PROTOTYPES, "prototypes.png", SETTINGS) if (folder / name).exists()]),
    ]
    page.sections = [Section("Prototypes", blocks, shown=0)]
    page.summary = [what_prototypes_are(len(prototypes), len(set(prototypes.target))), *images_matched(prototypes)]
    page.trust = unmeasured_trust(prototypes)
    return page


def _found(folder: Path, failures: list[str]) -> Prototypes | None:
    """All prototypes, or those of the finished batches, or None."""
    finished = folder / PROTOTYPES
    paths = [finished] if finished.exists() else sorted((folder / BATCHES).glob("*.safetensors"))
    parts = []
    for path in paths:
        try:
            parts.append(Prototypes.load(path))
        except (OSError, ValueError, KeyError) as error:
            failures.append(f"Prototypes cannot be read: {error}")
    return Prototypes.concatenate(parts) if parts else None
