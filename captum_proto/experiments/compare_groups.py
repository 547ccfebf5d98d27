"""Groups of images of one class beside each other, and the prototypes of the classes of interest (arXiv:2309.17144, section 4)."""

from __future__ import annotations

import csv
import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.batches import image_batches
from captum_proto._utils.checks import check_logits
from captum_proto._utils.class_names import file_stem, label_of
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import load_tensors, save_tensors, tensor_bytes, whole_file
from captum_proto._utils.model import borrowed, fingerprint
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.data import ImageCollection
from captum_proto.metrics.group_comparison import SubgroupComparison, classes_of_interest, compare_groups
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures
from captum_proto.report.figures import save_figure
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.group_comparison import comparison_sections, conclusion, groups_figure
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.folder import open_folder
from captum_proto.runs.provenance import versions

COMPARISON, IMAGES, MANIFEST, PROTOTYPES = "comparison.json", "images.csv", "manifest.json", "prototypes"
_KIND = "logits of a group"


@dataclass(frozen=True)
class GroupLogits:
    """
    What the model returned for the images of one group.

    Attributes:
        logits (Tensor): (N, K), on the CPU.
        files (list[str]): N paths, or "image 0", … of a tensor.
        digests (list[str]): N SHA-256 digests, of the files or of the tensors' values.
        skipped (list[tuple[str, str]]): Files that could not be read, each with the reason.
    """

    logits: Tensor
    files: list[str]
    digests: list[str]
    skipped: list[tuple[str, str]]


def compare_groups_to_folder(
    named: NamedModel,
    groups: Mapping[str, ImageCollection | Tensor],
    target: Target,
    folder: Path,
    *,
    also: Sequence[Target] = (),
    prototypes_of: Callable[[list[Target], Path], Prototypes] | None = None,
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
    batch_size: int = 32,
    workers: int = 0,
    title: str = "",
    story: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> SubgroupComparison:
    """
    Compare a model's accuracy and probabilities between groups of images, and write every value, tables, figure and page.

    Each group's logits are on disk as soon as they are there, and the comparison before the prototypes are made: an interrupted run goes
    on from there.

    Args:
        named (NamedModel): The model.
        groups (mapping[str, ImageCollection or Tensor]): By name, at least two: collections of files, or tensors (N, C, H, W) in [0, 1].
        target (Target): The class that counts as right.
        folder (Path): Where to write.
        also (sequence of Target, optional): Further classes of interest. Default: ()
        prototypes_of (Callable, optional): Prototypes of some classes, given a folder for them; None: none are shown. Default: None
        confidence (float, optional): Of all intervals. Default: 0.95
        resamples (int, optional): Of each bootstrap. Default: 9999
        seed (int, optional): Of each bootstrap. Default: 0
        batch_size (int, optional): Images at a time. Default: 32
        workers (int, optional): Threads that read images ahead. Default: 0
        title (str, optional): Of the page and the figure. Default: from the groups and the target
        story (dict, optional): What else to record in the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to keep what an interrupted run finished. Default: False
        show_progress (bool, optional): Whether to show progress bars. Default: False
        say (Callable, optional): Where the table is printed. Default: print

    Returns:
        SubgroupComparison: Every figure.

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.runs.folder.open_folder`; and if there are fewer than two groups, the
            classes are out of range, or no image of a group can be read.

    Warns:
        UserWarning: If an image is in two groups, or in one group twice: the tests take images for independent.
    """
    if len(groups) < 2:
        raise InputError(
            f"{len(groups)} group{'' if len(groups) == 1 else 's'} of images given; expected at least two to compare."
        )
    _check_different(groups)
    stems = _stems(list(groups))
    interest = classes_of_interest(target, also, named.class_names)
    title = title or f"{', '.join(groups)}: {next(iter(interest))}"
    settings = {
        **(story or {}),
        "groups": list(groups),
        "classes": {name: list(group) for name, group in interest.items()},
        "confidence": confidence,
        "resamples": resamples,
        "bootstrap_seed": seed,
        "model_fingerprint": fingerprint(named.model),
    }
    results = [folder / "logits", folder / PROTOTYPES]
    results += [folder / name for name in (COMPARISON, IMAGES, MANIFEST, "summary.csv", "summary.txt")]
    open_folder(folder, settings, overwrite=overwrite, resume=resume, results=results)
    found: dict[str, GroupLogits] = {}
    for name, images in groups.items():
        found[name] = _logits_of(
            named, name, images, folder / "logits" / f"{stems[name]}.safetensors", batch_size, workers, show_progress
        )
    duplicates = _duplicates(found)
    for sentence in duplicates:
        warnings.warn(sentence, stacklevel=2)
    comparison = compare_groups(
        {name: one.logits for name, one in found.items()},
        target,
        also,
        named.class_names,
        skipped={name: len(one.skipped) for name, one in found.items()},
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    comparison.settings |= {"model": named.name, "model_fingerprint": settings["model_fingerprint"]}
    _write_images(found, interest, named.class_names, folder / IMAGES)
    write_json(folder / MANIFEST, _manifest(settings, found), overwrite=True)
    comparison.to_csv(folder / "summary.csv", overwrite=True)
    comparison.save(folder / COMPARISON, overwrite=True)
    write_text(folder / "summary.txt", comparison.table(), overwrite=True)
    figure = groups_figure(comparison, title)
    for ending in ("png", "svg"):
        save_figure(figure, folder / f"groups.{ending}", overwrite=True)
    say(f"\n{title}\n{comparison.table()}")
    for name, one in found.items():
        if one.skipped:
            say(f"{len(one.skipped)} files of the group {name} were skipped, the first: {': '.join(one.skipped[0])}")
    pictures: list[Picture] = []
    if prototypes_of is not None:
        prototypes = prototypes_of(list(interest.values()), folder / PROTOTYPES)
        pictures = _pictures(prototypes, interest, named.class_names)
    failures = [
        f"group {name}: {path} was skipped: {reason}" for name, one in found.items() for path, reason in one.skipped
    ]
    write_page(groups_page(comparison, title, pictures, settings, duplicates + failures), folder)
    return comparison


def groups_page(
    comparison: SubgroupComparison,
    title: str,
    pictures: Sequence[Picture],
    settings: dict[str, Any],
    failures: Sequence[str],
) -> Page:
    """What the page of a comparison says."""
    files = ["images.csv", "summary.csv", "summary.txt", COMPARISON, MANIFEST, "groups.svg"]
    sections = [*comparison_sections(comparison, "groups.png"), Section("Files", [Files(files)])]
    if pictures:
        text = "What the model sees as most typical of each class: where a hypothesis on the subgroups comes from, or shows."
        sections.insert(2, Section("Prototypes", [Paragraphs([text]), Pictures(list(pictures))]))
    return Page(title, conclusion(comparison), sections, settings, list(failures))


def _check_different(groups: Mapping[str, ImageCollection | Tensor]) -> None:
    seen: dict[Path, str] = {}
    for name, images in groups.items():
        if isinstance(images, ImageCollection):
            place = images.root.resolve()
            if place in seen:
                raise InputError(
                    f'the groups "{seen[place]}" and "{name}" are the same folder, "{images.root}"; give each group a folder of its own.'
                )
            seen[place] = name


def _stems(names: Sequence[str]) -> dict[str, str]:
    """A file name for each group, no two alike."""
    return {
        name: f"{place:02d}_" + (re.sub(r"[^0-9A-Za-z]+", "-", name).strip("-").lower() or "group")
        for place, name in enumerate(names)
    }


def _logits_of(
    named: NamedModel,
    name: str,
    images: ImageCollection | Tensor,
    path: Path,
    batch_size: int,
    workers: int,
    show_progress: bool,
) -> GroupLogits:
    """The model's logits of a group; those that an earlier run left, if its images are still the same."""
    listed = _listed(images)
    listing = hashlib.sha256(repr(listed).encode()).hexdigest()
    if path.exists():
        tensors, kept = load_tensors(path, _KIND)
        if kept["listing"] == listing:
            skipped = [(file, reason) for file, reason in kept["skipped"]]
            return GroupLogits(tensors["logits"], kept["files"], kept["digests"], skipped)
    pipeline = Pipeline(named.model, named.preprocess)
    rows: list[Tensor] = []
    with (
        borrowed(named.model),
        torch.no_grad(),
        tqdm(total=len(listed), desc=name, unit="image", disable=not show_progress) as progress,
    ):
        for batch in _batches(named, images, batch_size, workers):
            output = check_logits(pipeline(batch.to(pipeline.device, pipeline.image_dtype)), len(batch))
            rows.append(output.float().cpu())
            progress.update(len(batch))
    skipped = [(str(file), reason) for file, reason in images.skipped] if isinstance(images, ImageCollection) else []
    lost = dict(skipped)
    read = [one for one in listed if one[0] not in lost]
    result = GroupLogits(torch.cat(rows), [file for file, _ in read], [digest for _, digest in read], skipped)
    record = {"files": result.files, "digests": result.digests, "skipped": skipped, "listing": listing}
    save_tensors(path, _KIND, {"logits": result.logits}, record, overwrite=True)
    return result


def _listed(images: ImageCollection | Tensor) -> list[tuple[str, str]]:
    """The name and the digest of each image."""
    if isinstance(images, Tensor):
        return [(f"image {i}", hashlib.sha256(tensor_bytes(one)).hexdigest()) for i, one in enumerate(images)]
    return [(str(path), _sha256(path)) for path in images.paths]


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _batches(named: NamedModel, images: ImageCollection | Tensor, batch_size: int, workers: int) -> Any:
    if isinstance(images, Tensor):
        return image_batches(images, batch_size, (0.0, 1.0), "images")
    return images.batches(
        named.image_shape,
        batch_size,
        resize_ratio=named.resize_ratio,
        interpolation=named.interpolation,
        workers=workers,
    )


def _duplicates(found: Mapping[str, GroupLogits]) -> list[str]:
    """A sentence for each pair of groups that share images, and for each group that holds one twice."""
    sentences = []
    names = list(found)
    for i, name in enumerate(names):
        twice = len(found[name].digests) - len(set(found[name].digests))
        if twice:
            sentences.append(
                f'{twice} of the {len(found[name].digests)} images of the group "{name}" are copies of others in it, which the intervals '
                "take for further images; remove them."
            )
        for other in names[i + 1 :]:
            shared = set(found[name].digests) & set(found[other].digests)
            if shared:
                first = next(
                    file
                    for file, digest in zip(found[name].files, found[name].digests, strict=True)
                    if digest in shared
                )
                sentences.append(
                    f'the groups "{name}" and "{other}" share {len(shared)} image{"s" if len(shared) > 1 else ""} ({first}'
                    f"{', …' if len(shared) > 1 else ''}), and the tests take them for independent; leave each image in one group."
                )
    return sentences


def _write_images(
    found: Mapping[str, GroupLogits], interest: Mapping[str, Target], class_names: Sequence[str] | None, path: Path
) -> None:
    """Every image: its group, file and digest, what it is taken for, and the logit and probability of each class of interest."""
    header = ["group", "file", "sha256", "prediction", "predicted_class"]
    for name in interest:
        header += [f"logit({name})", f"probability({name})"]
    with whole_file(path, overwrite=True) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for name, group in found.items():
            logits = group.logits.double()
            values = []
            for members in interest.values():
                inside = logits[:, list(members)]
                values.append(inside.logsumexp(1).tolist())
                values.append(logits.softmax(1)[:, list(members)].sum(1).tolist())
            columns = zip(*values, strict=True)
            for place, digest, index, row in zip(
                group.files, group.digests, logits.argmax(1).tolist(), columns, strict=True
            ):
                writer.writerow([name, place, digest, index, label_of((index,), class_names), *map(repr, row)])


def _manifest(settings: dict[str, Any], found: Mapping[str, GroupLogits]) -> dict[str, Any]:
    """Everything the comparison was made from."""
    return {
        **settings,
        "versions": versions(),
        "images": {
            name: {
                "images": [
                    {"file": file, "sha256": digest} for file, digest in zip(one.files, one.digests, strict=True)
                ],
                "skipped": [{"file": file, "reason": reason} for file, reason in one.skipped],
            }
            for name, one in found.items()
        },
    }


def _pictures(
    prototypes: Prototypes, interest: Mapping[str, Target], class_names: Sequence[str] | None
) -> list[Picture]:
    labels = {group: name for name, group in interest.items()}
    pictures = []
    for group, seed, probability in zip(
        prototypes.target, prototypes.seeds, prototypes.probabilities.tolist(), strict=True
    ):
        if group in labels:
            path = f"{PROTOTYPES}/{file_stem(group, class_names)}_seed{seed}.png"
            pictures.append(Picture(path, f"{labels[group]}, seed {seed}: p = {probability:.3f}"))
    return pictures
