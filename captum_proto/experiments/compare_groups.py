"""Subgroups of images of one class beside each other, and the prototypes of the classes of interest (arXiv:2309.17144, section 4)."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.batches import image_batches
from captum_proto._utils.checks import check_logits
from captum_proto._utils.class_names import short_stem
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact
from captum_proto._utils.model import borrowed, fingerprint
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.data import ImageCollection
from captum_proto.experiments.generate import Generate, check_made_with
from captum_proto.experiments.subgroup_images import (
    SubgroupLogits,
    afresh,
    digest_of,
    duplicates,
    list_images,
    source_of,
    write_images,
)
from captum_proto.metrics.group_comparison import SubgroupComparison, classes_of_interest, compare_groups
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Pictures
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page
from captum_proto.report.views.first_screen import Scored, gallery, legend, scored
from captum_proto.report.views.group_comparison import groups_figure, groups_page
from captum_proto.report.views.prototypes import PROTOTYPES, prototype_pictures, write_prototypes
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.folder import RECORDED, read_settings
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out, warnings_of

COMPARISON, IMAGES, MANIFEST = "comparison.json", "images.csv", "manifest.json"
#: The tasks: the logits of each subgroup, the comparison of all, and the prototypes of the classes of interest.
_LOGITS, _COMPARE, _PICTURES = "logits", "comparison", "prototypes"
#: Of what is recorded of the run: the title, and the file name of each subgroup.
_TITLE, _STEMS = "title", "stems"


@dataclass(frozen=True)
class CompareGroups(Protocol[SubgroupComparison]):
    """
    A model's accuracy and probabilities, compared between subgroups of images of a class: every value, tables, figure and page.

    Args:
        named (NamedModel): The model.
        subgroups (mapping[str, ImageCollection or Tensor]): By name, at least two: collections of files, or tensors (N, C, H, W) in [0, 1].
        target (Target): The class that counts as right.
        also (sequence of Target): Further classes of interest. Default: ()
        confidence (float): Of all intervals. Default: 0.95
        resamples (int): Of each bootstrap. Default: 9999
        seed (int): Of each bootstrap. Default: 0
        batch_size (int): Images at a time. Default: 32
        workers (int): Threads that read images ahead. Default: 0
        title (str): Of the page and the figure. Default: from the subgroups and the target
        prototypes (Path or Generate, optional): Prototypes to show beside: a file that holds some of each class of interest, or how to
            make them. Default: None
        page (bool): Whether to write the page; False where the comparison is part of something greater. Default: True

    Warns:
        UserWarning: If an image is in two subgroups, or in one subgroup twice: the tests take images for independent.
    """

    named: NamedModel
    subgroups: Mapping[str, ImageCollection | Tensor]
    target: Target
    also: Sequence[Target] = ()
    confidence: float = 0.95
    resamples: int = 9999
    seed: int = 0
    batch_size: int = 32
    workers: int = 0
    title: str = ""
    prototypes: Path | Generate | None = None
    page: bool = True

    def provenance(self) -> dict[str, Any]:
        given = self.prototypes if isinstance(self.prototypes, Path) else None
        made = self.prototypes.provenance() if isinstance(self.prototypes, Generate) else {}
        return provenance(
            "compare-groups",
            {
                "model": self.named.provenance(),
                "subgroups": {name: source_of(images) for name, images in self.subgroups.items()},
                "classes": self._interest(),
                "confidence": self.confidence,
                "resamples": self.resamples,
                "bootstrap_seed": self.seed,
                "image_batch": self.batch_size,
                "title": self.heading(),
                "generation": {name: made[name] for name in ("target", "seeds", "batch_size", "options") if made}
                or None,
            },
            files={"prototypes": given},
        )

    def tasks(self) -> list[Task]:
        self._check()
        logits = [
            Task(f"{_LOGITS}/{stem}", inputs={"images": digest_of(list_images(self.subgroups[name]))})
            for name, stem in self._stems().items()
        ]
        tasks = [*logits, Task(_COMPARE, needs=tuple(task.name for task in logits))]
        return tasks if self.prototypes is None else [*tasks, Task(_PICTURES)]

    def begun(self) -> dict[str, Any]:
        return {_TITLE: self.heading(), _STEMS: self._stems()}

    def make(self, task: Task, run: Run) -> None:
        folder = run.folder / _PICTURES
        if task.name == _COMPARE:
            self._compare(run)
        elif task.name != _PICTURES:
            name = next(name for name, stem in self._stems().items() if task.name == f"{_LOGITS}/{stem}")
            self._logits_of(name, run.show_progress).save(run.folder / f"{task.name}.safetensors")
        elif isinstance(self.prototypes, Generate):
            carry_out(self.prototypes, folder, resume=True, show_progress=run.show_progress)
        elif self.prototypes is not None:
            given = Prototypes.load(self.prototypes)
            kept = Prototypes.concatenate([given.of(target) for target in self._interest().values()])
            write_prototypes(kept, folder, self.named.class_names)

    def summarize(self, run: Run) -> SubgroupComparison:
        if self.page:
            write_page(compared_page(run.folder), run.folder)
        return SubgroupComparison.load(run.folder / COMPARISON)

    def _compare(self, run: Run) -> None:
        """All figures and tables, from the logits that are in the folder."""
        found = {
            name: SubgroupLogits.load(run.folder / _LOGITS / f"{stem}.safetensors")
            for name, stem in self._stems().items()
        }
        for sentence in duplicates(found):
            warnings.warn(sentence, stacklevel=2)
        comparison = self._figures(
            {name: subgroup.logits for name, subgroup in found.items()},
            {name: len(subgroup.skipped) for name, subgroup in found.items()},
        )
        comparison.settings |= {"model": self.named.name, "model_fingerprint": fingerprint(self.named.model)}
        write_images(found, self._interest(), self.named.class_names, run.folder / IMAGES)
        write_json(run.folder / MANIFEST, _manifest(run.provenance, found), overwrite=True)
        comparison.to_csv(run.folder / "summary.csv", overwrite=True)
        write_text(run.folder / "summary.txt", comparison.table(), overwrite=True)
        figure = groups_figure(comparison, self.heading())
        for ending in ("png", "svg"):
            save_figure(figure, run.folder / f"groups.{ending}", overwrite=True)
        comparison.save(run.folder / COMPARISON, overwrite=True)

    def _figures(self, logits: Mapping[str, Tensor], skipped: Mapping[str, int]) -> SubgroupComparison:
        return compare_groups(
            logits,
            self.target,
            self.also,
            self.named.class_names,
            skipped=skipped,
            confidence=self.confidence,
            resamples=self.resamples,
            seed=self.seed,
        )

    def _logits_of(self, name: str, show_progress: bool) -> SubgroupLogits:
        """The model's logits of a subgroup."""
        images = afresh(self.subgroups[name])
        files = list_images(images)
        rows: list[Tensor] = []
        with tqdm(total=len(files), desc=name, unit="image", disable=not show_progress) as progress:
            for batch in self._batches(images, self.batch_size, self.workers):
                rows.append(self._logits(batch))
                progress.update(len(batch))
        skipped = (
            [(str(file), reason) for file, reason in images.skipped] if isinstance(images, ImageCollection) else []
        )
        lost = dict(skipped)
        read = [(file, digest) for file, digest in files if file not in lost]
        return SubgroupLogits(torch.cat(rows), [file for file, _ in read], [digest for _, digest in read], skipped)

    def _logits(self, batch: Tensor) -> Tensor:
        pipeline = Pipeline(self.named.model, self.named.preprocess)
        with borrowed(self.named.model), torch.no_grad():
            output = check_logits(pipeline(batch.to(pipeline.device, pipeline.image_dtype)), len(batch))
        return output.float().cpu()

    def _batches(self, images: ImageCollection | Tensor, batch_size: int, workers: int) -> Iterable[Tensor]:
        if isinstance(images, Tensor):
            return image_batches(images, batch_size, (0.0, 1.0), "images")
        return images.batches(
            self.named.image_shape,
            batch_size,
            resize_ratio=self.named.resize_ratio,
            interpolation=self.named.interpolation,
            exif_orientation=self.named.exif_orientation,
            workers=workers,
        )

    def _check(self) -> None:
        """See that everything can be made, as far as that can be seen before anything takes time."""
        if len(self.subgroups) < 2:
            count = len(self.subgroups)
            raise InputError(
                f"{count} group{'' if count == 1 else 's'} of images given; expected at least two to compare."
            )
        _check_different(self.subgroups)
        if isinstance(self.prototypes, Path):
            check_made_with(self.prototypes, self.named)
            given = Prototypes.load(self.prototypes)
            for target in self._interest().values():
                given.of(target)
        elif self.prototypes is not None:
            self.prototypes.tasks()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what there is to warn of comes again
            logits = {
                name: self._logits(next(iter(self._batches(afresh(images), 1, 0))))
                for name, images in self.subgroups.items()
            }
            self._figures(logits, {})

    def _interest(self) -> dict[str, Target]:
        return classes_of_interest(self.target, self.also, self.named.class_names)

    def heading(self) -> str:
        """The title, or what stands for it."""
        return self.title or f"{', '.join(self.subgroups)}: {next(iter(self._interest()))}"

    def _stems(self) -> dict[str, str]:
        """A file name for each subgroup, no two alike."""
        return {
            name: f"{place:02d}_" + (short_stem(re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-").lower()) or "group")
            for place, name in enumerate(self.subgroups)
        }


def compared_page(folder: Path) -> Page:
    """
    What a folder with a comparison of subgroups has to show, from the files in it, finished or not.

    Args:
        folder (Path): That :class:`CompareGroups` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        OccupiedError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    recorded = settings.get(RECORDED) or {}
    title = recorded.get(_TITLE) or "Subgroups"
    stems: dict[str, str] = recorded.get(_STEMS) or {}
    failures = warnings_of(folder)
    found: dict[str, SubgroupLogits] = {}
    for name, stem in stems.items():
        path = folder / _LOGITS / f"{stem}.safetensors"
        if path.exists():
            try:
                found[name] = SubgroupLogits.load(path)
            except (OSError, ValueError, KeyError) as error:
                failures.append(f"subgroup {name}: the logits cannot be read: {error}")
    for name, subgroup in found.items():
        failures += [f"subgroup {name}: {path} was skipped: {reason}" for path, reason in subgroup.skipped]
    settings_of_page = {name: value for name, value in settings.items() if name != RECORDED}
    if not (folder / COMPARISON).exists():
        failures.insert(
            0,
            f"The run is not finished: {len(found)} of {len(stems)} subgroups were looked at; the same command with --resume goes on.",
        )
        return Page(title, ["No comparison is finished yet."], [], settings_of_page, failures)
    pictures: list[Scored] = []
    asked = settings.get("generation") or settings.get("prototypes")
    if (folder / _PICTURES / PROTOTYPES).exists():
        try:
            with intact(folder / _PICTURES / PROTOTYPES, "prototypes file of these classes"):
                prototypes = Prototypes.load(folder / _PICTURES / PROTOTYPES)
                names = {tuple(target): name for name, target in settings["classes"].items()}
                labels = [names[target] for target in prototypes.target]
        except InputError as error:
            failures.append(f"the prototypes cannot be read: {error}")
        else:
            shown = Pictures(prototype_pictures(prototypes, folder / _PICTURES, labels)).within(_PICTURES).pictures
            pictures = scored(shown, labels, prototypes)
    elif asked:
        failures.insert(0, "The run is not finished: prototypes are missing; the same command with --resume goes on.")
    page = groups_page(
        SubgroupComparison.load(folder / COMPARISON),
        title,
        settings_of_page,
        pictures=[one.picture for one in pictures],
        lead=[gallery(pictures)] if pictures else [],
        files=[IMAGES, "summary.csv", "summary.txt", COMPARISON, MANIFEST, "groups.svg"],
        failures=failures,
    )
    page.legend = (
        [
            "The small pictures are prototypes: computed to raise the output of the model for each class.",
            *legend(pictures),
        ]
        if pictures
        else []
    )
    return page


def _check_different(subgroups: Mapping[str, ImageCollection | Tensor]) -> None:
    seen: dict[Path, str] = {}
    for name, images in subgroups.items():
        if isinstance(images, ImageCollection):
            place = images.root.resolve()
            if place in seen:
                raise InputError(
                    f'the groups "{seen[place]}" and "{name}" are the same folder, "{images.root}"; give each group a folder of its own.'
                )
            seen[place] = name


def _manifest(settings: Mapping[str, Any], found: Mapping[str, SubgroupLogits]) -> dict[str, Any]:
    """Everything the comparison was made from."""
    return {
        **settings,
        "images": {
            name: {
                "images": [
                    {"file": file, "sha256": digest}
                    for file, digest in zip(subgroup.files, subgroup.digests, strict=True)
                ],
                "skipped": [{"file": file, "reason": reason} for file, reason in subgroup.skipped],
            }
            for name, subgroup in found.items()
        },
    }
