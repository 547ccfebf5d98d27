"""Prototypes of a model's classes, written to a folder batch by batch, so that an interrupted run goes on where it was."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch import nn

from captum_proto._utils.files import whole_file
from captum_proto._utils.targets import Group, occurrence_seeds
from captum_proto.attr import PrototypeGeneration, Prototypes
from captum_proto.experiments.folders import RECORDED, SETTINGS, file_stem, label_of, open_folder, write_json
from captum_proto.report.figures import prototype_sheet, save_figure, to_display

PROTOTYPES = "prototypes.safetensors"


def generate_to_folder(
    generation: PrototypeGeneration,
    groups: list[Group],
    image_shape: tuple[int, int, int],
    folder: Path,
    *,
    options: dict[str, Any],
    seed: int = 0,
    batch_size: int = 8,
    class_names: Sequence[str] | None = None,
    story: dict[str, Any] | None = None,
    overwrite: bool = False,
    resume: bool = False,
    show_progress: bool = False,
) -> Prototypes:
    """
    Generate prototypes and write a PNG of each, a sheet of all, everything as safetensors, and the settings.

    Args:
        generation (PrototypeGeneration): The model and its preprocessing.
        groups (list[Group]): The classes of each prototype.
        image_shape (tuple[int, int, int]): (C, H, W).
        folder (Path): Where to write.
        options (dict): Further arguments of :meth:`PrototypeGeneration.generate`.
        seed (int, optional): The first seed of each class. Default: 0
        batch_size (int, optional): Prototypes at a time; each finished batch is on disk at once. Default: 8
        class_names (sequence of str, optional): For file names and labels. Default: None
        story (dict, optional): What else to record in the settings. Default: None
        overwrite (bool, optional): Whether files in ``folder`` may be replaced. Default: False
        resume (bool, optional): Whether to go on with what an interrupted run left in ``folder``. Default: False
        show_progress (bool, optional): Whether to show a progress bar. Default: False

    Returns:
        Prototypes: All of them.

    Raises:
        FileExistsError, ValueError: As :func:`~captum_proto.experiments.folders.open_folder`; and if ``batch_size`` is less than 1.
    """
    seeds = occurrence_seeds(groups, seed)
    transform = options.get("transform")
    asked = {
        **(story or {}),
        "target": [list(group) for group in groups],
        "seeds": seeds,
        "batch_size": batch_size,
        "image_shape": list(image_shape),
        "options": {
            **{name: _plain(value) for name, value in options.items()},
            "transform": None if transform is None else transform.settings(),
        },
    }
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; expected at least 1.")
    finished, batches = folder / PROTOTYPES, folder / "batches"
    open_folder(folder, asked, overwrite=overwrite, resume=resume, results=(finished, batches))
    if resume and finished.exists():
        prototypes = Prototypes.load(finished)
        write_json(folder / SETTINGS, {**asked, RECORDED: prototypes.settings}, overwrite=True)
        return prototypes
    parts = []
    for begin in range(0, len(groups), batch_size):
        rows = slice(begin, begin + batch_size)
        path = batches / f"{begin:05d}.safetensors"
        if resume and path.exists():
            parts.append(Prototypes.load(path))
            continue
        part = generation.generate(
            [list(group) for group in groups[rows]],
            image_shape,
            seed=seeds[rows],
            show_progress=show_progress,
            **options,
        )
        part.save(path, overwrite=True)
        parts.append(part)
    prototypes = Prototypes.concatenate(parts)
    write_prototypes(prototypes, folder, class_names)
    write_json(folder / SETTINGS, {**asked, RECORDED: prototypes.settings}, overwrite=True)
    shutil.rmtree(batches)
    return prototypes


def write_prototypes(prototypes: Prototypes, folder: Path, class_names: Sequence[str] | None) -> None:
    """A PNG of each prototype at its own size, a sheet of all, and the safetensors file."""
    value_range = tuple(prototypes.settings.get("value_range", (0.0, 1.0)))
    prototypes.save(folder / PROTOTYPES, overwrite=True)
    for group, seed, image in zip(prototypes.target, prototypes.seeds, prototypes.images, strict=True):
        path = folder / f"{file_stem(group, class_names)}_seed{seed}.png"
        with whole_file(path, overwrite=True) as temporary:
            Image.fromarray(to_display(image, value_range)).save(temporary, format="png")
    labels = [label_of(group, class_names) for group in prototypes.target]
    save_figure(prototype_sheet(prototypes, labels, value_range), folder / "prototypes.png", overwrite=True)


def _plain(value: Any) -> Any:
    """As JSON can hold it."""
    if isinstance(value, nn.Module) or not isinstance(value, (str, int, float, bool, list, tuple, dict, type(None))):
        return str(value)
    return value
