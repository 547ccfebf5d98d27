"""Prototypes of a model's classes, written to a folder batch by batch, so that an interrupted run goes on where it was."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from captum_proto._utils.class_names import file_stem, label_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import whole_file
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target, occurrence_seeds
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.models import NamedModel
from captum_proto.optim.loss.diversity import Diversity, as_diversity, check_batches
from captum_proto.report.blocks import Files, Picture, Pictures, Table
from captum_proto.report.figures import save_figure, to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.prototypes import prototype_sheet
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, warnings_of

PROTOTYPES = "prototypes.safetensors"
BATCHES = "batches"
#: Of what is recorded: of each prototype the label of its class and the beginning of its file's name; and what was warned of.
_LABELS, _STEMS, WARNINGS = "labels", "file_stems", "warnings"


@dataclass(frozen=True)
class Generate(Protocol[Prototypes]):
    """
    Prototypes of a model's classes: a PNG of each, a sheet of all, everything as safetensors, and the page.

    Args:
        named (NamedModel): The model and its preprocessing.
        targets (sequence of Target): The classes of each prototype.
        options (mapping): Further arguments of :meth:`PrototypeGeneration.generate`. Default: its own
        seed (int): The first seed of each class. Default: 0
        batch_size (int): Prototypes at a time; each finished batch is on disk at once. Default: 8
        page (bool): Whether to write the page; False where the prototypes are part of a greater one. Default: True

    Raises:
        InputError: If ``batch_size`` is less than 1, or parts prototypes that are to differ from each other.
    """

    named: NamedModel
    targets: Sequence[Target]
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    batch_size: int = 8
    page: bool = True

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise InputError(f"batch_size is {self.batch_size}; expected at least 1.")
        if (
            self._diversity() is not None
        ):  # each batch is made by itself, so only here can it be seen that a class is parted
            check_batches(list(self.targets), self.batch_size)

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
        _write_pictures(batch, run.folder, self.named.class_names)
        batch.save(run.folder / f"{task.name}.safetensors", overwrite=True)

    def summarize(self, run: Run) -> Prototypes:
        prototypes = Prototypes.concatenate(
            [Prototypes.load(run.folder / f"{task.name}.safetensors") for task in run.tasks]
        )
        _write_all(prototypes, run.folder, self.named.class_names)
        run.note({**prototypes.settings, WARNINGS: run.warnings()})
        if self.page:
            write_page(generation_page(run.folder), run.folder)
        return prototypes

    def _seeds(self) -> list[int]:
        return occurrence_seeds(list(self.targets), self.seed)

    def _diversity(self) -> Diversity | None:
        return as_diversity(self.options.get("diversity"), self.named.model)


def rehearse(named: NamedModel, targets: Sequence[Target], options: Mapping[str, Any]) -> None:
    """
    See that prototypes can be made, before anything takes time or is removed: the same call, in which no step is taken.

    Args:
        named (NamedModel): The model.
        targets (sequence of Target): The classes.
        options (mapping): Further arguments of :meth:`PrototypeGeneration.generate`.

    Raises:
        InputError, InputTypeError: As :meth:`PrototypeGeneration.generate`: a class or an option is out of its range.
    """
    count = 1 if options.get("diversity") is None else 2  # diversity is between two of a class
    without_steps = {
        name: value
        for name, value in options.items()
        if name not in ("callback", "snapshot_steps") and not (name in ("steps", "warmup_steps") and value > 0)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to warn of comes again
        PrototypeGeneration(named.model, named.preprocess).generate(
            [list(target) for target in dict.fromkeys(targets) for _ in range(count)],
            named.image_shape,
            **{"steps": 0, "warmup_steps": 0, **without_steps, "batch_size": 8, "evaluation_draws": 0},
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


def write_prototypes(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    """A PNG of each prototype at its own size, a sheet of all, and the safetensors file."""
    _write_pictures(prototypes, folder, class_names)
    _write_all(prototypes, folder, class_names)


def _write_pictures(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    for index, target in enumerate(prototypes.target):
        path = folder / _picture_name(file_stem(target, class_names), prototypes.seeds[index])
        _write_picture(prototypes, index, path)


def _write_all(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
    prototypes.save(folder / PROTOTYPES, overwrite=True)
    labels = [label_of(target, class_names) for target in prototypes.target]
    save_figure(prototype_sheet(prototypes, labels, value_range), folder / "prototypes.png", overwrite=True)


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
    labels = _of_each(recorded.get(_LABELS), prototypes, lambda group: _label_there(folder, group))
    blocks = [
        Pictures(prototype_pictures(prototypes, folder, labels, recorded.get(_STEMS))),
        _logit_table(prototypes, labels),
        Files([name for name in (PROTOTYPES, "prototypes.png", SETTINGS) if (folder / name).exists()]),
    ]
    page.sections = [Section("Prototypes", blocks)]
    page.summary = _generation_summary(prototypes)
    return page


def prototype_pictures(
    prototypes: Prototypes, folder: Path, labels: Sequence[str], stems: Sequence[str] | None = None
) -> list[Picture]:
    """
    The pictures of prototypes in a folder, with captions; one that is not there yet is written.

    Args:
        prototypes (Prototypes): The prototypes.
        folder (Path): Where :func:`write_prototypes` wrote them.
        labels (sequence of str): What the class of each is called.
        stems (sequence of str, optional): How each file's name begins. Default: what is there, else the class's index

    Returns:
        list[Picture]: One for each prototype, with a path relative to ``folder``.
    """
    pictures = []
    names = _of_each(stems, prototypes, lambda group: _stem_there(folder, group))
    for index, (label, stem) in enumerate(zip(labels, names, strict=False)):
        path = _picture_name(stem, prototypes.seeds[index])
        if not (folder / path).exists():
            _write_picture(prototypes, index, folder / path)
        pictures.append(Picture(path, f"{label}, seed {prototypes.seeds[index]}: {_probabilities(prototypes, index)}"))
    return pictures


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


def _of_each(recorded: Sequence[str] | None, prototypes: Prototypes, otherwise: Callable[[Target], str]) -> list[str]:
    """What was recorded for each prototype, or a word made from its classes where an older run recorded nothing."""
    if recorded is not None and len(recorded) >= len(prototypes):
        return list(recorded)[: len(prototypes)]  # batches finish in order
    return [otherwise(group) for group in prototypes.target]


def _stem_there(folder: Path, group: Target) -> str:
    """How the names of a class's pictures begin, as far as its index tells."""
    stem = file_stem(group, None)
    there = sorted(path.name for path in folder.glob(f"{stem}*_seed*.png") if path.name[len(stem)] == "_")
    return there[0].rpartition("_seed")[0] if there and len(group) == 1 else stem


def _label_there(folder: Path, group: Target) -> str:
    """What the class is called, as far as the names of its pictures tell."""
    word = _stem_there(folder, group).partition("_")[2] if len(group) == 1 else ""
    return word.replace("-", " ") or label_of(group, None)


def _picture_name(stem: str, seed: int) -> str:
    return f"{stem}_seed{seed}.png"


def _write_picture(prototypes: Prototypes, index: int, path: Path) -> None:
    value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(to_display(prototypes.images[index], value_range)).save(temporary, format="png")


def _probabilities(prototypes: Prototypes, index: int) -> str:
    text = f"p = {float(prototypes.probabilities[index]):.3f}"
    if prototypes.settings.get("transform") is not None:
        text += f", {float(prototypes.transformed_probabilities[index]):.3f} expected under the transforms"
    return text


def _logit_table(prototypes: Prototypes, labels: Sequence[str]) -> Table:
    transformed = prototypes.settings.get("transform") is not None
    header = ["class", "seed", "logit", "p"] + (["logit, transformed", "p, transformed"] if transformed else [])
    names = ["logits", "probabilities"] + (["transformed_logits", "transformed_probabilities"] if transformed else [])
    rows = [
        [
            label,
            str(seed),
            *(f"{float(getattr(prototypes, name)[i]):.{2 if 'logits' in name else 4}f}" for name in names),
        ]
        for i, (label, seed) in enumerate(zip(labels, prototypes.seeds, strict=True))
    ]
    way = "; transformed: the mean under fresh draws of the transforms" if transformed else ""
    return Table(header, rows, f"The class's logit and probability p for the picture as it is{way}.")


def _generation_summary(prototypes: Prototypes) -> list[str]:
    count, classes = len(prototypes), len(set(prototypes.target))
    unsure = int((prototypes.probabilities < 0.5).sum())
    text = [
        f"{count} {'prototype' if count == 1 else 'prototypes'} of {classes} {'class' if classes == 1 else 'classes'}: what the "
        "network sees as most typical of them."
    ]
    if unsure:
        text.append(f"{unsure} of {count} have a class probability below one half as they are.")
    text.append(
        "A high probability is no reason to trust a picture: plain gradient ascent reaches it with noise. Whether the network processes "
        "these as it processes natural images is not measured here; captum-proto evaluate does that, beside controls."
    )
    return text
