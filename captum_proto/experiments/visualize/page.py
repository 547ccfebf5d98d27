"""What a folder of pictures of units has to show, from the files in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from captum_proto._utils.class_names import short_stem
from captum_proto._utils.errors import InputError
from captum_proto.optim import Visualizations
from captum_proto.report.blocks import Files
from captum_proto.report.page import Page, Section
from captum_proto.report.views.visualizations import (
    STRIPS,
    Natural,
    UnitPicture,
    read_natural,
    unit_gallery,
    unit_legend,
    unit_rows,
    unit_table,
    unit_trust,
)
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.tasks import warnings_of

#: The folder of the finished batches, a folder for each layer within.
BATCHES = "batches"
#: The folder of what natural images make of the units, a file for each layer.
NATURAL = "natural"
#: Of what is recorded: of each layer its name, and the labels of its units and the beginnings of their files' names; what was warned of.
LAYERS, WARNINGS = "layers", "warnings"


def stem_of(layer: str) -> str:
    """How the names of the files of a layer begin."""
    return short_stem(re.sub(r"[^\w.-]+", "-", layer).strip("._-")) or "model"


def visualization_page(folder: Path) -> Page:
    """
    What a folder of pictures of units has to show; of an interrupted run, the batches it finished.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.visualize.Visualize` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    settings = read_settings(folder)
    recorded = settings.get(RECORDED) or {}
    layers = recorded.get(LAYERS) or []
    name = (settings.get("model") or {}).get("name")
    page = Page(f"Units of {name}" if name else "Units", settings=settings)
    page.failures = list(recorded.get(WARNINGS) or warnings_of(folder))
    found: dict[str, list[UnitPicture]] = {}
    for number, layer in enumerate(layers):
        if units := pictures_of(folder, number, layer, page.failures):
            found[str(layer["layer"])] = units
            there = (f"{layer['stem']}.safetensors", f"{layer['stem']}.png", SETTINGS)
            files = Files([name for name in there if (folder / name).exists()])
            page.sections.append(
                Section(f"Layer {layer['layer']}", [unit_rows(units), unit_table(units), files], shown=1)
            )
    units = [unit for each in found.values() for unit in each]
    asked = sum(len(layer["labels"]) for layer in layers)
    shown = [number for number in range(len(layers)) if (folder / NATURAL / f"{number:02d}.json").exists()]
    missing = [f"{len(units)} of {asked} pictures are there"] if len(units) < asked else []
    if settings.get("images") is not None and len(shown) < len(layers):
        missing.append(f"natural images of {len(shown)} of {len(layers)} layers")
    if missing:
        page.failures.insert(
            0, f"The run is not finished: {', and '.join(missing)}; the same command with --resume goes on."
        )
    if not units:
        page.summary = ["No picture is finished yet."]
        return page
    page.failures += [sentence for each in units if (sentence := each.silent)]
    page.lead, page.legend = [unit_gallery(_in_turns(found), len(layers) > 1)], unit_legend(units)
    page.summary = [what_pictures_are(len(units), list(found))]
    page.trust = unit_trust(units)
    if settings.get("images") is None:
        page.left_out = [
            "Natural images were not shown to the units: --images DIR does that, and puts those that excite each most beside its picture."
        ]
    elif not any(unit.natural is not None and unit.natural.score is not None for unit in units):
        page.left_out = ["The pictures were not scored: --judge MODEL does that, in the features of another network."]
    return page


def _in_turns(found: Mapping[str, list[UnitPicture]]) -> list[UnitPicture]:
    """Units of all layers, the first of each, then the second of each, as many as a gallery shows; in the order of the layers."""
    each = max(1, 12 // len(found))
    return [unit for units in found.values() for unit in [unit for unit in units if unit.shown][:each]]


def pictures_of(folder: Path, number: int, layer: Mapping[str, Any], failures: list[str]) -> list[UnitPicture]:
    """
    What is known of the units of a layer whose pictures are finished.

    Args:
        folder (Path): Where the files are.
        number (int): Which layer of the run it is.
        layer (mapping): What is recorded of it.
        failures (list[str]): Where to say what cannot be read.
    """
    finished = folder / f"{layer['stem']}.safetensors"
    paths = [finished] if finished.exists() else sorted((folder / BATCHES / f"{number:02d}").glob("*.safetensors"))
    natural: list[Natural | None] = [None] * len(layer["labels"])
    known = folder / NATURAL / f"{number:02d}.json"
    if known.exists():
        try:
            natural = [*read_natural(known)]
        except InputError as error:
            failures.append(f"What natural images make of the units cannot be read: {error}")
    units: list[UnitPicture] = []
    for path in paths:
        first = 0 if path == finished else int(path.stem)
        try:
            made = Visualizations.load(path)
        except (OSError, ValueError) as error:
            failures.append(f"Pictures cannot be read: {error}")
            continue
        values = zip(made.activations.tolist(), made.seeds, made.responds.tolist(), strict=True)
        for place, (activation, seed, responds) in enumerate(values, first):
            stem = str(layer["stems"][place])
            units.append(
                UnitPicture(
                    str(layer["labels"][place]),
                    str(layer["layer"]),
                    stem,
                    activation,
                    seed,
                    responds,
                    natural[place],
                    [name for name in STRIPS if (folder / f"{stem}_{name}.jpg").exists()],
                )
            )
    return units


def what_pictures_are(count: int, layers: list[str]) -> str:
    """What the pictures are, for who was told nothing."""
    each = "the picture" if count == 1 else "each picture"
    where = f"layer {layers[0]}" if len(layers) == 1 else f"{len(layers)} layers"
    return (
        f"{count} {'unit' if count == 1 else 'units'} of {where}: {each} was computed, step by step, to activate one unit of the "
        "network as much as possible: an attempt to show what the unit looks for."
    )


__all__ = [
    "BATCHES",
    "LAYERS",
    "NATURAL",
    "WARNINGS",
    "pictures_of",
    "stem_of",
    "visualization_page",
    "what_pictures_are",
]
