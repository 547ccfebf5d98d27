"""The page of what a layer sees in one image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import number, percent, typographic
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.features import SemanticDictionaryResult
from captum_proto.report.blocks import Block, Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.positions import Positions
from captum_proto.report.views.dictionary import position_table
from captum_proto.runs.folder import RECORDED, SETTINGS, read_settings
from captum_proto.runs.tasks import warnings_of

#: Files of the folder: results, figures, and what was measured; and the folder of what tasks write.
DICTIONARY, GROUPS, GRID, EXAMPLES = "dictionary.safetensors", "groups.safetensors", "grid.safetensors", "examples.png"
MAPS, CONTROLS, NUMBERS = "attribution.png", "controls.png", "numbers.json"
PARTS = "parts"


def dictionary_page(folder: Path) -> Page:
    """
    What a folder has to show, from the files in it; of an interrupted run, what its tasks have finished.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.dictionary.Dictionary` wrote to.

    Returns:
        Page: Paths are relative to ``folder``.

    Raises:
        FileExistsError: If the folder holds no readable settings.
    """
    if not (folder / DICTIONARY).exists() or not (folder / CONTROLS).exists():
        return tasks_page(folder)
    settings = read_settings(folder)
    recorded = settings.get(RECORDED) or {}
    found = SemanticDictionaryResult.load(folder / DICTIONARY)
    numbers: dict[str, Any] = read_json(folder / NUMBERS)
    layer, file = settings.get("layer", ""), (settings.get("image") or {}).get("file", "the image")
    model, score_of = (settings.get("model") or {}).get("name", "the model"), recorded.get("score_of", "the score")
    rows, columns = found.components.shape[1:]
    examples = [EXAMPLES] if (folder / EXAMPLES).exists() else []
    page = Page(f"What “{layer}” of {model} sees in {file}", settings=settings, failures=warnings_of(folder))
    page.lead = [Positions(DICTIONARY, examples, target=score_of)]
    if found.silent_pictures:
        units = ", ".join(str(found.drawn[row]) for row in found.silent_pictures)
        page.failures.append(
            f"No picture was found that activates these channels, those shown do not: {units}; try more steps."
        )
    photographs = ", and by images that do" if examples else ""
    page.summary = [
        f"At each of {rows} × {columns} positions, the {len(found.units)} channels of the layer that are most active there: named by a "
        f"picture that was computed to activate the channel{photographs}; with what each adds to {score_of}.",
        f"The layer's positions see more of the image than the cell that stands for them. {len(found.drawn)} of the channels are among "
        "the most active somewhere.",
        "Attribution is the gradient of the score with respect to an activation, times the activation: what the score would change by if "
        "the network were linear from there on.",
    ]
    page.trust = _trust(numbers, len(found.units), score_of)
    maps = Picture(MAPS, "Orange: for; blue: against, each map to its own scale.", small=False)
    page.sections = [
        Section("Figures and their controls", _tables(numbers, settings, score_of)),
        Section("Where the score comes from", [_attribution(numbers, score_of), Pictures([maps])]),
    ]
    if (folder / "groups.png").exists():
        page.sections.append(Section("Neuron groups", _groups(numbers, score_of)))
    if (folder / "grid.png").exists():
        caption = (
            "Each cell: a picture computed to make the middle of the layer point where the image makes this position point. Its area goes "
            "with the length of the activation vector."
        )
        if "grid_cosine" in recorded:
            caption += f" The cosine of the angle between the two is {_value(recorded['grid_cosine'])} on average; 1 is the same direction."
        page.sections.append(
            Section("The image as the layer sees it", [Pictures([Picture("grid.png", caption, small=False)])])
        )
    by_chance = (
        "Pictures of channels and of directions that were drawn by chance: if they look as those above do, the pictures alone say "
        "little."
    )
    page.sections.append(Section("Pictures by chance", [Pictures([Picture(CONTROLS, by_chance, small=False)])]))
    page.sections.append(Section("All positions", [position_table(found)], shown=0))
    names = (DICTIONARY, GROUPS, GRID, NUMBERS, SETTINGS)
    page.sections.append(Section("Files", [Files([name for name in names if (folder / name).exists()])]))
    if not examples:
        page.left_out = [
            "Images of a data set that activate these channels were not asked for; --images DIR shows them."
        ]
    return page


def _trust(numbers: dict[str, Any], top: int, score_of: str) -> str:
    image = numbers["image"]
    own, by_chance = image["mean_explained"], image["mean_explained_by_chance"]
    word = "Hardly" if own < 1.25 * by_chance else "In part"
    return (
        f"{word}: the {top} channels shown make up {percent(own)} of what is active at a position, on average; the {top} largest of as "
        f"many axes drawn at random make up {percent(by_chance)}. The linear attributions sum to {_value(image['total'])}, where "
        f"{score_of} is {_value(image['score'])}."
    )


def _tables(numbers: dict[str, Any], settings: dict[str, Any], score_of: str) -> list[Block]:
    top, groups = settings.get("top", ""), settings.get("groups", 0)
    header = ["", f"share of the top {top}", "of random axes", "attributions", "score"]
    header += ["groups' error", "shuffled", "no group's"] if groups else []
    rows = []
    for name, label in (("image", "the image"), ("noise", "noise in its place")):
        found = numbers[name]
        row = [label, found["explained"], found["explained_by_chance"], _value(found["total"]), _value(found["score"])]
        row += (
            [number(found["error"], 3), number(found["shuffled_error"], 3), _value(found["residual"])] if groups else []
        )
        rows.append(row)
    caption = (
        f"Share of the top {top}: of the sizes of all activations at a position, the mean over positions and the middle nine tenths of "
        "them; beside it, the same with the axes of the layer turned at random. Attributions: their sum over the layer, beside the score, "
        f"{score_of}."
    )
    if groups:
        caption += (
            f" Groups' error: what {groups} groups leave of the activations, in lengths; shuffled: the same where each channel's positions "
            "are shuffled, so that no channels go together. No group's: the part of the attributions that no group holds."
        )
    return [Table(header, rows, caption)]


def _attribution(numbers: dict[str, Any], score_of: str) -> Block:
    return Paragraphs(
        [
            f"Left: the linear attribution of {score_of}, which sums to {_value(numbers['image']['total'])} of "
            f"{_value(numbers['image']['score'])}. Right: the mean gradient along a path from a layer that returns zeros, which sums to "
            f"{_value(numbers['path_total'])}, where the score changes by {_value(numbers['path_difference'])}."
        ]
    )


def _groups(numbers: dict[str, Any], score_of: str) -> list[Block]:
    image = numbers["image"]
    text = (
        "Channels that are active together, by non-negative matrix factorization, from left to right in the image. The figure beneath each "
        f"number is the group's part of {score_of}; with the {_value(image['residual'])} that no group holds, they sum to "
        f"{_value(image['total'])}."
    )
    caption = (
        "Above: the image where the group is active, in blue where the layer points the opposite way; below: a picture computed to move "
        "the layer in the group's direction."
    )
    return [Paragraphs([text]), Pictures([Picture("groups.png", caption, small=False)])]


def _value(value: float | None) -> str:
    return "–" if value is None else typographic(number(value, 3))


__all__ = ["CONTROLS", "DICTIONARY", "EXAMPLES", "GRID", "GROUPS", "MAPS", "NUMBERS", "PARTS", "dictionary_page"]
