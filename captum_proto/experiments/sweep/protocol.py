"""A sweep carried out: every combination for every model, class and seed."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from tqdm.auto import tqdm

from captum_proto._utils.class_names import file_stem, labels_of, model_stem, parse_classes
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import whole_file
from captum_proto._utils.model import fingerprint
from captum_proto._utils.targets import Target
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.data.natural import NaturalImages
from captum_proto.experiments.options import generation_options
from captum_proto.experiments.sweep.grid import Combination, Sweep, _measured, _without_measured
from captum_proto.experiments.sweep.results import Cell, MadeRow, SweepResult, _only, _page, _write
from captum_proto.metrics import PathComparison, PathSimilarity
from captum_proto.metrics.comparison import OTHER, SAME
from captum_proto.models import NamedModel
from captum_proto.optim import EachAffine, PhaseImage, RandomAffine
from captum_proto.report.figures import to_display
from captum_proto.report.html import write_page
from captum_proto.runs.folder import open_folder

#: How many photographs of other classes the magnitudes of a ``PhaseImage`` are measured on.
MEASURED_IMAGES = 90


def sweep_to_folder(
    sweep: Sweep,
    folder: Path,
    *,
    open_model: Callable[[str], NamedModel],
    natural: Callable[[NamedModel], NaturalImages] | None = None,
    new_similarity: Callable[[NamedModel], PathSimilarity] | None = None,
    comparison_options: Mapping[str, Any] | None = None,
    batch_size: int = 8,
    story: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
    say: Callable[[str], None] = print,
) -> SweepResult:
    """
    Make every prototype of a sweep, compare them with natural images, and write tables, pictures and a figure.

    Prototypes whose settings differ in their affine transform, class or seed alone are optimized as one batch. Each finished batch is on
    disk at once, and a sweep that was stopped, however it was stopped, does only what is missing.

    Args:
        sweep (Sweep): What to make.
        folder (Path): Where to write.
        open_model (Callable): A model by its name.
        natural (Callable, optional): The natural images for a model. Default: None, prototypes are not compared
        new_similarity (Callable, optional): An unfitted :class:`~captum_proto.PathSimilarity` for a model. Default: over all layers
        comparison_options (mapping, optional): Further arguments of :meth:`~captum_proto.PathSimilarity.compare`. Default: None
        batch_size (int, optional): Prototypes at a time. Default: 8
        story (mapping, optional): What else to record in the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to go on with what an interrupted sweep left in ``folder``. Default: False
        show_progress (bool, optional): Whether to show a progress bar, with the time left. Default: False
        say (Callable, optional): Where tables are printed. Default: print

    Returns:
        SweepResult: Everything.

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.runs.folder.open_folder`; and if ``batch_size`` is less than 1, or a
            class is unknown.
    """
    if batch_size < 1:
        raise InputError(f"batch_size is {batch_size}; expected at least 1.")
    parts = [folder / name for name in ("prototypes", "scores", "pictures", "curves")]
    asked = {**(story or {}), "sweep": sweep.to_json(), "batch_size": batch_size}
    open_folder(folder, asked, overwrite=overwrite, resume=resume, results=parts)
    result = SweepResult(sweep, [])
    combinations = sweep.combinations()
    total = len(combinations) * len(sweep.models) * len(sweep.targets) * len(sweep.seeds)
    with tqdm(total=total, desc="sweep", unit="prototype", smoothing=0.05, disable=not show_progress) as progress:
        for model in sweep.models:
            named = open_model(model)
            groups = parse_classes(sweep.targets, named.class_names)
            if len(set(groups)) < len(groups):
                raise InputError(f"targets are {sweep.targets}, which name a class twice; leave one out.")
            images = None if natural is None else natural(named)
            stem = model_stem(model)
            rows = _generate(sweep, named, groups, images, folder / "prototypes" / stem, batch_size, progress)
            result.made[model] = [row for row, _ in rows]
            labels = dict(zip(groups, labels_of(groups, named.class_names), strict=True))
            labels |= {
                group: sweep.names[t] for group, t in zip(groups, sweep.targets, strict=True) if t in sweep.names
            }
            for group in groups:
                mine = [(row, prototype) for row, prototype in rows if row.group == group]
                for row, prototype in mine:
                    place = folder / "pictures" / stem / file_stem(group, named.class_names)
                    _save_picture(prototype, place / f"{row.combination:03d}_seed{row.seed}.png")
                result.stems[model, labels[group]] = file_stem(group, named.class_names)
                comparison = None
                if images is not None:
                    place = folder / "scores" / stem / f"{file_stem(group, named.class_names)}.safetensors"
                    comparison = _compare(
                        named, [p for _, p in mine], group, images, place, new_similarity, comparison_options or {}
                    )
                    result.comparisons[model, labels[group]] = comparison
                    result.rows[model, labels[group]] = [(row.combination, row.seed) for row, _ in mine]
                result.cells += [
                    _cell(model, labels[group], row, prototype, comparison, index)
                    for index, (row, prototype) in enumerate(mine)
                ]
            if images is not None:
                result.skipped += [f"{path}: {reason}" for path, reason in images.skipped]
    _write(result, folder)
    write_page(_page(result, folder, asked), folder)
    say(result.table())
    return result


def _generate(
    sweep: Sweep,
    named: NamedModel,
    groups: list[Target],
    images: NaturalImages | None,
    folder: Path,
    batch_size: int,
    progress: tqdm[Any],
) -> list[tuple[MadeRow, Prototypes]]:
    """Every prototype of one model, in batches of those that differ in no more than their affine transform, class and seed."""
    batches: dict[str, list[MadeRow]] = {}
    options: dict[tuple[int, Target], dict[str, Any]] = {}
    for (index, combination), group in itertools.product(enumerate(sweep.combinations()), groups):
        options[index, group] = made = _options(combination, group, images)
        batches.setdefault(_key(made), []).extend(MadeRow(index, group, seed) for seed in sweep.seeds)
    generation = PrototypeGeneration(named.model, named.preprocess)
    weights = fingerprint(named.model)
    finished = []
    number_of_batch = 0
    for rows in batches.values():
        for begin in range(0, len(rows), batch_size):
            batch = rows[begin : begin + batch_size]
            path = folder / f"{number_of_batch:05d}.safetensors"
            number_of_batch += 1
            if path.exists():
                part = Prototypes.load(path)
                if part.settings.get("model_fingerprint") not in (None, weights):
                    raise InputError(
                        f'the prototypes in "{path}" were made with other weights than those of "{named.name}"; choose another folder, '
                        "or pass --overwrite."
                    )
                if not progress.disable:
                    progress.initial += len(batch)  # the time left is that of what is left to do
                progress.update(len(batch))
            else:
                each = [options[row.combination, row.group] for row in batch]
                part = generation.generate(
                    [list(row.group) for row in batch],
                    named.image_shape,
                    seed=[row.seed for row in batch],
                    **{**each[0], "transform": _common([one["transform"] for one in each])},
                )
                part.save(path, overwrite=True)
                progress.update(len(batch))
            finished += [(row, _row_of(part, i)) for i, row in enumerate(batch)]
    return finished


def _options(combination: Combination, group: Target, images: NaturalImages | None) -> dict[str, Any]:
    options = generation_options(_without_measured(combination.values))
    if _measured(combination.values):
        if images is None:
            raise InputError(
                f'"{combination.name}" has measured magnitudes, but there are no images to measure; give --images.'
            )
        options["parametrization"] = PhaseImage.measured(images.elsewhere(group, MEASURED_IMAGES))
    return options


def _key(options: Mapping[str, Any]) -> str:
    """What has to be equal within a batch."""
    plain = {
        name: value.settings() if hasattr(value, "settings") else str(value)
        for name, value in options.items()
        if name != "transform"
    }
    transform = options["transform"]
    shape = transform.fill if type(transform) is RandomAffine else None if transform is None else transform.settings()
    return json.dumps([plain, type(transform).__name__, shape], sort_keys=True)


def _common(transforms: list[Any]) -> Any:
    if all(type(transform) is RandomAffine for transform in transforms):
        return EachAffine(transforms)
    return transforms[0]


def _row_of(prototypes: Prototypes, row: int) -> Prototypes:
    """One prototype, without what is recorded of each step."""
    values = ("images", "logits", "probabilities", "transformed_logits", "transformed_probabilities")
    return Prototypes(
        **{name: getattr(prototypes, name)[row : row + 1] for name in values},
        target=[prototypes.target[row]],
        seeds=[prototypes.seeds[row]],
        settings=prototypes.settings,
    )


def _compare(
    named: NamedModel,
    prototypes: list[Prototypes],
    group: Target,
    images: NaturalImages,
    path: Path,
    new_similarity: Callable[[NamedModel], PathSimilarity] | None,
    options: Mapping[str, Any],
) -> PathComparison:
    if path.exists():
        return PathComparison.load(path)
    natural = images.of(group)
    similarity = (
        PathSimilarity(named.model, preprocess=named.preprocess) if new_similarity is None else new_similarity(named)
    )
    similarity.fit(natural.same)
    everything = torch.cat([one.images for one in prototypes])
    target = [list(group)] * len(prototypes)
    comparison = similarity.compare(everything, natural.same, natural.other, target=target, **options)
    comparison.save(path, overwrite=True)
    return comparison


def _save_picture(prototype: Prototypes, path: Path) -> None:
    if not path.exists():
        value_range = tuple(prototype.settings.get("value_range", (0.0, 1.0)))
        with whole_file(path) as temporary:
            Image.fromarray(to_display(prototype.images[0], value_range)).save(temporary, format="png")


def _cell(
    model: str, target: str, row: MadeRow, prototype: Prototypes, comparison: PathComparison | None, index: int
) -> Cell:
    cell = Cell(
        combination=row.combination,
        model=model,
        target=target,
        seed=row.seed,
        logit=float(prototype.logits[0]),
        probability=float(prototype.probabilities[0]),
        transformed_logit=float(prototype.transformed_logits[0]),
        transformed_probability=float(prototype.transformed_probabilities[0]),
    )
    if comparison is None:
        return cell
    summary = _only(comparison, [index]).summary("prototype")
    return replace(
        cell,
        spearman=summary.spearman,
        spearman_above_mean=summary.spearman_above_mean,
        spearman_above_every=summary.spearman_above_every,
        l1_below_mean=summary.l1_below_mean,
        same_spearman=comparison.summary(SAME).spearman,
        other_spearman=comparison.summary(OTHER).spearman,
    )
