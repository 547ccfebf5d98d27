"""The page of an activation atlas: the map, how far to trust it, two classes, and what the patch that they suggest does."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.class_names import label_of, labels_of
from captum_proto._utils.files import load_tensors, whole_file
from captum_proto._utils.reading import read_json
from captum_proto.experiments.atlas.settings import AtlasSettings
from captum_proto.features.activation_atlas import ActivationAtlas, PatchTrial, neighbors_kept
from captum_proto.features.activation_atlas.grid import AtlasLevel
from captum_proto.models import NamedModel
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.figures import to_display
from captum_proto.report.html import write_page
from captum_proto.report.page import Page, Section
from captum_proto.report.views.atlas import AtlasMap, AtlasSheet, around, atlas_cells, write_examples, write_sheet
from captum_proto.runs.folder import SETTINGS
from captum_proto.runs.tasks import Run
from captum_proto.stats.intervals import mean_estimate, proportion


def write_atlas_page(
    atlas: ActivationAtlas,
    pair: ActivationAtlas | None,
    named: NamedModel,
    layer: str,
    settings: AtlasSettings,
    images: Iterable[tuple[Tensor, Tensor]],
    run: Run,
) -> None:
    """
    Sheets, tables and the page, from an atlas whose cells are drawn.

    Args:
        atlas (ActivationAtlas): Of the layer.
        pair (ActivationAtlas, optional): Of two classes.
        named (NamedModel): The model.
        layer (str): The layer.
        settings (AtlasSettings): What was chosen.
        images (iterable of tuple[Tensor, Tensor]): The images again, in the same order, with their numbers, for examples.
        run (Run): Where to write.
    """
    atlases = [("", atlas), *([("pair/", pair)] if pair is not None else [])]
    wanted = {
        prefix: [level.nearest(each.result.vectors, settings.examples) for level in each.result.levels]
        for prefix, each in atlases
        if settings.examples
    }
    places = _write_examples(atlases, wanted, images, run.folder)
    maps = {prefix: _map(prefix, each, named, layer, wanted, places, run.folder) for prefix, each in atlases}
    trust, figures = _trust(atlas, settings)
    vectors = atlas.result.vectors
    name = f"{layer} of {named.name}"
    page = Page(f"Activation atlas: {name}", settings=run.provenance | {"images": len(run.provenance["images"])})
    page.failures = run.warnings()
    page.lead = [maps[""]]
    page.summary = [
        f"What the layer {layer} knows: {len(vectors)} activation vectors of {len(set(vectors.images.tolist()))} images, laid out so that "
        "vectors of near directions lie near each other; each picture was computed to excite the layer as the vectors in its cell do on "
        "average.",
        *(level.note() for level in atlas.result.levels),
    ]
    page.trust = trust
    page.sections = [Section("How far to trust it", [figures])]
    if pair is not None:
        page.sections.append(_pair_section(pair, maps["pair/"], named, run.folder))
    files = ["atlas.safetensors", "vectors.safetensors", SETTINGS]
    files += [sheet.path for each in maps.values() for sheet in each.levels]
    page.sections.append(Section("Files", [Files([path for path in files if (run.folder / path).exists()])]))
    write_page(page, run.folder)


def _map(
    prefix: str,
    atlas: ActivationAtlas,
    named: NamedModel,
    layer: str,
    wanted: dict[str, list[list[Tensor]]],
    places: dict[tuple[str, int], int],
    folder: Path,
) -> AtlasMap:
    result, sheets = atlas.result, []
    labels = labels_of(result.vectors.targets, named.class_names)
    for number, level in enumerate(result.levels):
        path = f"{prefix}atlas_{level.size:03d}.png"
        write_sheet(level, folder / path)
        near = wanted[prefix][number] if prefix in wanted else []
        examples = [[places[prefix, at] for at in cell.tolist() if (prefix, at) in places] for cell in near]
        sheets.append(AtlasSheet(level.size, path, level.note(), atlas_cells(level, result.vectors, labels, examples)))
    sides = result.settings["layout"].get("between")
    left, right = [label_of(tuple(side), named.class_names) for side in sides] if sides else ["", ""]
    title = f"{layer}, from {left} to {right}" if sides else f"{layer} of {named.name}"
    shown = ["examples.png"] if places else []
    return AtlasMap(title, sheets, shown, f"speaks for {left}" if sides else "", f"speaks for {right}" if sides else "")


def _write_examples(
    atlases: list[tuple[str, ActivationAtlas]],
    wanted: dict[str, list[list[Tensor]]],
    images: Iterable[tuple[Tensor, Tensor]],
    folder: Path,
) -> dict[tuple[str, int], int]:
    """Cut out the examples of all cells in one pass over the images; where each is on the sheet, by atlas and vector."""
    asked: dict[int, list[tuple[str, int]]] = {}
    positions: dict[tuple[str, int], list[int]] = {}
    sizes: list[int] = []
    for prefix, atlas in atlases:
        vectors = atlas.result.vectors
        if not prefix:
            sizes = list(vectors.settings["sizes"])
        for cells in wanted.get(prefix, []):
            for at in sorted(set(torch.cat(cells).tolist())):
                if (prefix, at) not in positions:
                    positions[prefix, at] = vectors.positions[at].tolist()
                    asked.setdefault(int(vectors.images[at]), []).append((prefix, at))
    if not asked:
        return {}
    crops: list[Tensor] = []
    places: dict[tuple[str, int], int] = {}
    known: dict[tuple[int, ...], int] = {}
    last = max(asked)
    for batch, numbers in images:
        for image, number in zip(batch, numbers.tolist(), strict=True):
            for key in asked.get(number, []):
                same = (number, *positions[key])
                if same not in known:
                    known[same] = len(crops)
                    crops.append(around(image, positions[key], sizes))
                places[key] = known[same]
        if int(numbers[-1]) >= last:
            break
    write_examples(crops, folder / "examples.png")
    return places


def _trust(atlas: ActivationAtlas, settings: AtlasSettings) -> tuple[str, Table]:
    """Whether near is near and pictures show what they are to, in a sentence and a table."""
    result = atlas.result
    assert result.coordinates is not None
    kept, chance = neighbors_kept(result.vectors.vectors, result.coordinates, seed=settings.seed)
    near = mean_estimate(kept.numpy(), seed=settings.seed)
    rows = [
        [
            "nearest 10 vectors that are nearest on the map too",
            f"{near.value:.1%} [{near.low:.1%}, {near.high:.1%}]",
            f"{chance:.1%} on a map at random",
        ]
    ]
    finest = ""
    for level in result.levels:
        alike = atlas.agreement(level, settings.whiten, settings.regularization)
        own, others = alike.diagonal(), _off_diagonal(alike)
        best = proportion(int((alike.argmax(1) == torch.arange(len(level))).sum()), len(level))
        rows.append(
            [
                f"pictures, {level.size} × {level.size}, that excite their own cell's direction most",
                f"{best.value:.1%} [{best.low:.1%}, {best.high:.1%}]",
                f"{1 / len(level):.1%} by chance",
            ]
        )
        mean = mean_estimate(own.numpy(), seed=settings.seed)
        rows.append(
            [
                f"cosine of pictures, {level.size} × {level.size}, with their cell's direction",
                f"{mean.value:.2f} [{mean.low:.2f}, {mean.high:.2f}]",
                f"{float(others.mean()):.2f} with other cells'" if len(others) else "–",
            ]
        )
        finest = (
            f"{best.value:.0%} of the pictures of the finest level excite the layer most in their own cell's direction"
        )
    sentence = (
        f"The map keeps {near.value:.0%} of each vector's nearest neighbors ({chance:.1%} by chance), so distances beyond a neighborhood "
        f"mean little; {finest} ({1 / len(result.levels[-1]):.1%} by chance). A label is a contribution to first order, not an effect."
    )
    return sentence, Table(
        ["figure", "measured [95 % interval]", "control"], rows, "What the map and its pictures are worth."
    )


def _off_diagonal(values: Tensor) -> Tensor:
    return values[~torch.eye(len(values), dtype=torch.bool)]


def _pair_section(pair: ActivationAtlas, shown: AtlasMap, named: NamedModel, folder: Path) -> Section:
    """The atlas of two classes and the patch that it suggests."""
    first, second = (tuple(side) for side in pair.result.settings["layout"]["between"])
    names = [label_of(target, named.class_names) for target in (first, second)]
    text = (
        f"{len(pair.result.vectors)} vectors that speak for {names[0]} or {names[1]}; from left to right, by how much more they contribute "
        f"to {names[1]}."
    )
    blocks: list[Any] = [Paragraphs([text]), shown]
    found = read_json(folder / "pair/patch.json")
    if "failure" in found:
        blocks.append(Paragraphs([f"The patch that this atlas suggests was not tried: {found['failure']}"]))
        return Section(f"{names[0]} and {names[1]}", blocks)
    patch = load_tensors(folder / "pair/patch.safetensors", "patch")[0]["patch"]
    with whole_file(folder / "pair/patch.png", overwrite=True) as temporary:
        Image.fromarray(to_display(patch)).save(temporary, format="png")
    blocks += [
        Pictures([Picture("pair/patch.png", f"The patch: the cell that most favors {names[1]} over {names[0]}.")]),
        patch_table(found, names[0], names[1], pair.result.levels[-1]),
    ]
    return Section(f"{names[0]} and {names[1]}", blocks)


def patch_table(found: dict[str, Any], first: str, second: str, level: AtlasLevel) -> Table:
    """How many images the patch and its controls turn, each share with its interval."""
    settings = found["settings"]
    row, column = divmod(int(level.cells[found["cell"]]), level.size)
    rows = []
    for each in found["trials"]:
        trial = PatchTrial(each["name"], each["flips"], each["away"])
        shares = [trial.estimate, trial.estimate_away]
        told = [f"{share.value:.1%} [{share.low:.1%}, {share.high:.1%}]" for share in shares]
        rows.append([trial.name, str(settings["patches"][trial.name]), str(len(trial.flips)), *told])
    return Table(
        ["patch", "patches", "trials", f"then taken for {second} [95 % interval]", f"no longer taken for {first}"],
        rows,
        f"The picture of the cell in row {row + 1}, column {column + 1}, pasted into {settings['images']} images that the model takes for "
        f"{first}: {settings['size']:.0%} of the image's side, {', '.join(settings['corners'])}. Controls are of the same size on the same "
        "images: pictures of other cells of this atlas, and the patch's own pixels in random order. Trials of several patches on one image "
        "are not independent, so the intervals of controls are too narrow.",
    )


__all__ = ["patch_table", "write_atlas_page"]
