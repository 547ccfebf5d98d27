"""Sanity checks: maps as the network forgets, which method notices, and the controls that say what that is worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from captum_proto._utils.tables import number
from captum_proto.metrics.randomization import PrototypeRandomization, SanityTable, SanityVerdict
from captum_proto.metrics.randomization.table import EDGES, PROTOTYPES
from captum_proto.metrics.randomization.verdict import HEADER, cells
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.figures import to_display
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.report.views.examples import write_strip

CURVES = "curves.png"
#: So many random networks are seen with their prototypes.
_RANDOM = 3
#: Values of a map above this share of all are shown as white.
_WHITE = 0.99
#: What the measures are called on a page, and what they look at.
_NAMES = {
    "spearman": "rank correlation of the maps with their signs",
    "spearman_abs": "rank correlation of their absolute values",
    "ssim": "structural similarity of the maps as pictures",
    "hog": "rank correlation of their histograms of oriented gradients",
    "class": "probability of the prototype's class in the network as it is",
    "path": "path similarity of the prototype in the network as it is",
}
_EXPLAINED = (
    "left at the end: of the way from chance (maps of different inputs) to no change (an edge detector), the share that remains when all "
    "layers are random; left on the way: the mean over all stages. Each with its 95 % interval over images and random networks. p: of that "
    "share being {margin:g}, after Holm's correction for all methods of the measure and both shares. A method passes where both are below "
    "{margin:g} by more than chance, and fails where one is above; else the data do not decide. undefined: maps that are constant, as "
    "Grad-CAM's are where nothing speaks for the class."
)


def write_maps(images: Tensor, maps: Tensor, folder: Path) -> None:
    """
    A strip for each image: the image, and its maps as stage after stage is randomized.

    Args:
        images (Tensor): (N, C, H, W) in [0, 1].
        maps (Tensor): (N, K + 1, H, W): at each stage.
        folder (Path): Where to.
    """
    for place, (image, values) in enumerate(zip(images, maps, strict=True)):
        write_strip([to_display(image), *map(_map_picture, values)], folder / f"{place}.png")


def _map_picture(values: Tensor) -> np.ndarray:
    magnitude = values.abs()
    high = float(torch.quantile(magnitude.flatten(), _WHITE)) or float(magnitude.max()) or 1.0
    return to_display((magnitude / high)[None])


def write_prototypes(found: PrototypeRandomization, folder: Path) -> None:
    """
    A strip of the network's prototypes, and one of those of each random network, of which the first three are drawn.

    Args:
        found (PrototypeRandomization): The pictures.
        folder (Path): Where to.
    """
    rows = [found.pictures[0, 0], *found.pictures[:_RANDOM, -1]]
    for place, pictures in enumerate(rows):
        write_strip([to_display(picture) for picture in pictures], folder / f"{place}.png")


def _words(stages: Sequence[str]) -> list[str]:
    """Beneath the pictures of a strip: where each stage ends, seen from the output."""
    return ["image", "trained", *(stage.rpartition(" … ")[2].rpartition(".")[2] for stage in stages[1:])]


def _rows_of_maps(table: SanityTable, folders: Mapping[str, str], place: int) -> list[Unit]:
    """Of each method the verdict and a strip of an image."""
    told = {verdict.method: verdict for verdict in (table.of_measure(table.measures[0]) if table.judged else [])}
    units = []
    for name, folder in folders.items():
        facts = ["a control, which knows no network"] if name == EDGES else []
        if name in told:
            left = told[name].last.share.value, told[name].along.share.value
            facts = [told[name].word, f"{number(left[0], 2)} left at the end, {number(left[1], 2)} on the way"]
        units.append(Unit(name, facts, [Strip(f"{folder}/{place}.png", "random down to", _words(table.edges.stages))]))
    return units


def _leading(table: SanityTable, units: Sequence[Unit]) -> list[Unit]:
    """What is seen at once: the edge detector, prototypes, and of what passes and what fails the first."""
    words = {verdict.method: verdict.word for verdict in (table.of_measure(table.measures[0]) if table.judged else [])}
    first = {word: name for name, word in reversed(words.items())}
    named = {EDGES, PROTOTYPES, *(first[word] for word in ("passes", "fails") if word in first)}
    shown = [unit for unit in units if unit.name in named]
    return [replace(unit, strips=unit.strips[:2]) for unit in shown] if len(shown) > 2 else list(units[:4])


def _prototype_unit(table: SanityTable, labels: Sequence[str], folder: str) -> Unit:
    found = [verdict for verdict in table.verdicts() if verdict.method == PROTOTYPES]
    facts = [f"{verdict.measure}: {verdict.word}, {number(verdict.last.share.value, 2)} left" for verdict in found]
    seeds = table.prototypes.result.settings["seeds"][:_RANDOM] if table.prototypes is not None else []
    names = ["the network itself", *(f"random network {seed}" for seed in seeds)]
    return Unit(PROTOTYPES, facts, [Strip(f"{folder}/{i}.png", name, list(labels)) for i, name in enumerate(names)])


def curves_figure(table: SanityTable) -> Figure:
    """By measure, the mean similarity of each method at each stage, with 95 % intervals over images and seeds."""
    figure = Figure(figsize=(max(5.5, 4.2 * len(table.measures)), 4.0), layout="constrained")
    each = figure.subplots(1, len(table.measures), sharey=True, squeeze=False)[0]
    for axes, measure in zip(each, table.measures, strict=True):
        shown = {**table.results, EDGES: table.edges}
        for place, (name, result) in enumerate(shown.items()):
            means = [result.mean(measure, stage).estimate() for stage in range(len(result.stages))]
            x = np.arange(len(means)) + 0.04 * (place - len(shown) / 2)
            values = np.array([[mean.value, mean.low, mean.high] for mean in means]).T
            errors = np.nan_to_num(np.abs(values[1:] - values[0]))
            style = {"color": "black", "linestyle": "--"} if name == EDGES else {}
            axes.errorbar(
                x, values[0], errors, label=name, marker="o", markersize=3, linewidth=1, elinewidth=0.6, **style
            )
        axes.set_title(measure, fontsize="medium")
        axes.set_xticks(range(len(table.edges.stages)), _words(table.edges.stages)[1:], rotation=40, ha="right")
        axes.tick_params(labelsize="small")
        axes.set_ylim(top=1.05)
        axes.axhline(0, color="#bbbbbb", linewidth=0.6)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    each[0].set_ylabel("similarity to the map before")
    handles, labels = each[0].get_legend_handles_labels()
    figure.legend(handles, labels, fontsize="small", frameon=False, loc="outside lower center", ncols=4)
    return figure


def verdicts_table(found: Sequence[SanityVerdict], published: Mapping[str, str], margin: float) -> Table:
    """Verdicts beside those of the paper."""
    header, rows = list(HEADER), [cells(verdict) for verdict in found]
    shown = ["method", "left at the end", "left on the way", "p", "verdict"]
    if any(verdict.method in published for verdict in found):
        header, shown = [*header, "published"], [*shown, "published"]
        rows = [[*row, published.get(verdict.method, "–")] for row, verdict in zip(rows, found, strict=True)]
    if len({verdict.measure for verdict in found}) > 1:
        shown.insert(1, "measure")
    return Table(header, rows, _EXPLAINED.format(margin=margin), brief=[header.index(name) for name in shown])


def sanity_check_page(
    table: SanityTable,
    model: str,
    labels: Sequence[str],
    folders: Mapping[str, str],
    settings: dict[str, Any],
    failures: Sequence[str] = (),
) -> Page:
    """
    What the page of sanity checks says.

    Args:
        table (SanityTable): What was found.
        model (str): Its name.
        labels (sequence of str): What the classes of the prototypes are called.
        folders (mapping[str, str]): By method, the edge detector and prototypes among them, where its strips are.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    page = Page(f"Sanity checks of explanations of {model}", settings=settings, failures=list(failures))
    networks, _, images = table.edges.similarity[table.measures[0]].shape
    of_maps = {name: folder for name, folder in folders.items() if name != PROTOTYPES}
    units = _rows_of_maps(table, of_maps, 0)
    if table.prototypes is not None:
        units.append(_prototype_unit(table, labels, folders[PROTOTYPES]))
    page.lead = [UnitRows(_leading(table, units))]
    page.summary = [
        "Maps that are to explain what the network sees, first of the network as it is, then with more and more of its layers random. "
        "An explanation of what it has learned has to change: an edge detector, which knows no network, does not.",
        f"{images} images, {networks} random {'network' if networks == 1 else 'networks'}, "
        f"{len(table.edges.stages) - 1} stages, {table.edges.settings.get('order', '')}.",
    ]
    page.legend = [
        "From left to right: the image; the map of the network as it was trained; the maps when all layers from the output down to the "
        "named one are random. Brighter: a larger absolute value. Left: the share of the similarity that remains; 1 for the edge detector, "
        "0 for maps of different images."
        if table.edges.settings.get("order") == "cascading"
        else "From left to right: the image; the map of the network as it was trained; the maps as layers are random, each named by the "
        "last of its stage. Brighter: a larger absolute value."
    ]
    page.trust = _trust(table)
    sections: list[Section] = []
    if table.judged:
        mine = [verdict for verdict in table.verdicts() if verdict.method == PROTOTYPES]
        first, *others = table.measures
        beside = [*table.of_measure(first), *mine]
        note = f"Attributions by {_NAMES[first]}"
        note += f"; prototypes by {_NAMES['class']}, and by {_NAMES['path']}." if mine else "."
        sections.append(
            Section("Side by side", [verdicts_table(beside, table.published, table.margin), Paragraphs([note])])
        )
        for measure in others:
            if found := table.of_measure(measure):
                sections.append(
                    Section(f"By {_NAMES[measure]}", [verdicts_table(found, table.published, table.margin)])
                )
    else:
        page.left_out.append("Verdicts: layers were randomized one by one, so that no stage has all of them.")
    if table.prototypes is not None:
        sections.append(_prototypes(table.prototypes, labels))
    page.sections = sections
    page.sections.append(Section("Maps of all methods", [UnitRows(units)]))
    page.sections.append(Section("Maps of another image", [UnitRows(_rows_of_maps(table, of_maps, 1))]))
    page.sections.append(
        Section("Stage by stage", [Pictures([Picture(CURVES, "Mean similarities with 95 % intervals.", small=False)])])
    )
    caption = (
        "What is known of each control, and whether it is so. A table whose controls are not as they must be says nothing: the edge "
        "detector has to be 1 at each stage, every method where no layer is randomized, and the gradient of a linear model with random "
        "weights has to be chance, whose standard deviation is 1 / sqrt(d - 1)."
    )
    controls = Table(["control", "measure", "must be", "is", "as it must"], table.control_rows(), caption)
    page.sections.append(Section("Controls", [controls]))
    files = ["verdicts.csv", "similarities.csv", "verdicts.txt", "settings.json"]
    page.sections.append(Section("Files", [Files(files)]))
    return page


def _prototypes(found: PrototypeRandomization, labels: Sequence[str]) -> Section:
    result, rows = found.result, []
    for place, label in enumerate(labels):
        row = [label]
        for measure in result.measures:
            values, chance = result.similarity[measure][:, :, place], result.chance[measure][:, :, place]
            mean = values[:, -1].mean()
            row += [number(float(values[0, 0])), number(float(mean)), number(float(chance[:, -1].mean()))]
        rows.append([*row, number(float(found.natural_path[place]))])
    header = ["class"]
    for name in ("p", "path"):
        header += [f"{name}, network itself", f"{name}, random networks", f"{name}, chance"]
    header.append("path, natural images")
    caption = (
        "p: the probability that the network as it is gives the class; by chance, what it gives it in the pictures of the other classes by "
        "the same random network. path: path similarity, the mean over layers; by chance, that of noise."
    )
    return Section("Prototypes", [Table(header, rows, caption, brief=[0, 1, 2, 3])])


def _trust(table: SanityTable) -> str:
    """Which methods can be trusted to show what the network has learned, by the first measure."""
    if not table.judged:
        return ""
    if any(row[-1] == "no" for row in table.control_rows()):
        return "No: a control is not as it must be, see below."
    found = table.of_measure(table.measures[0])
    named = {
        word: [verdict.method for verdict in found if verdict.word == word] for word in ("passes", "fails", "undecided")
    }
    if table.prototypes is not None:
        mine = {verdict.word for verdict in table.verdicts() if verdict.method == PROTOTYPES}
        word = "fails" if "fails" in mine else "undecided" if "undecided" in mine else "passes"
        named[word].append("prototypes")
    told = {
        "passes": "changes with the network",
        "fails": "stays much the same where the network knows nothing any more",
        "undecided": "is not decided by so few images and random networks",
    }
    several = {"changes": "change", "stays": "stay", "is": "are"}
    sentences = []
    for word, names in named.items():
        if names:
            verb, _, rest = told[word].partition(" ")
            sentences.append(f"{_listed(names)} {verb if len(names) == 1 else several[verb]} {rest}")
    return (
        "; ".join(sentences)
        + f" (by the {_NAMES[table.measures[0]]}). To change is needed, and is not enough: noise changes, too."
    )


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


__all__ = ["CURVES", "curves_figure", "sanity_check_page", "verdicts_table", "write_maps", "write_prototypes"]
