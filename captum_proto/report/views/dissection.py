"""What network dissection found: units with the images they fire on, detectors by category, all units in a table, and what to trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from captum_proto._utils.tables import number, p_text, percent
from captum_proto.concept import Dissection, LayerDissection, UnitLabel
from captum_proto.report.blocks import Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows

#: A corrected p-value below this counts as more than chance.
LEVEL = 0.05
#: So many units are seen at once.
_LEADING = 4


def beyond_chance(layer: LayerDissection) -> int:
    """How many units agree with their concept by more than chance."""
    return sum(label.q_value < LEVEL for label in layer.labels())


def draws_needed(layer: LayerDissection) -> int:
    """How many draws it takes until a unit's best agreement can be significant: if each unit agrees with one concept, after correction."""
    return -(-int(len(layer.concepts) / LEVEL) // max(1, layer.units))


def detectors_figure(dissection: Dissection) -> Figure:
    """By layer and category, how many different concepts have a detector."""
    categories = next(iter(dissection.layers.values())).categories
    figure = Figure(figsize=(max(5.0, 1.2 * len(dissection.layers) + 2), 3.2), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / max(1, len(categories))
    for place, category in enumerate(categories):
        counts = [layer.unique_detectors()[category] for layer in dissection.layers.values()]
        axes.bar(np.arange(len(counts)) + (place - (len(categories) - 1) / 2) * width, counts, width, label=category)
    axes.set_xticks(np.arange(len(dissection.layers)), list(dissection.layers))
    axes.set_ylabel("different concepts with a detector")
    axes.legend(fontsize="small", ncols=2, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def unit_of(label: UnitLabel, layer: LayerDissection, strips: Sequence[Strip]) -> Unit:
    """A unit with what is known of it."""
    facts = [
        f"{label.concept}: IoU {number(label.iou)}, by chance {number(label.chance)}, at most {number(label.ceiling)}",
        f"q {p_text(label.q_value)}" if label.q_value == label.q_value else "no draws of chance were made",
    ]
    others = [layer.label(label.unit, category) for category in layer.categories if category != label.concept.category]
    better = sorted((other for other in others if other.iou > 0), key=lambda other: -other.iou)[:2]
    if better:
        facts.append("then " + ", ".join(f"{other.concept} {number(other.iou)}" for other in better))
    return Unit(f"{layer.layer}, unit {label.unit}: {label.concept.name}", facts, list(strips))


def units_table(layer: LayerDissection) -> Table:
    """All units of a layer."""
    caption = (
        "IoU: the pixels at which the unit fires and the concept is, over those of either; at most: what their frequencies allow; by "
        "chance: the mean where images have the labels of others; q: of at least such an agreement by chance, after Benjamini and Hochberg "
        "over all units and concepts of the layer."
    )
    return Table(*layer.cells(), caption, sortable=True)


def dissection_page(
    dissection: Dissection,
    units: Mapping[str, Sequence[Unit]],
    model: str,
    concepts: str,
    settings: dict[str, Any],
    failures: Sequence[str] = (),
) -> Page:
    """
    What the page says.

    Args:
        dissection (Dissection): What was found.
        units (mapping[str, sequence of Unit]): By layer, the units that have pictures.
        model (str): Its name.
        concepts (str): Where the labels are from.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    page = Page(f"Concepts at which units of {model} fire", settings=settings, failures=list(failures))
    layers = dissection.layers
    total = sum(layer.units for layer in layers.values())
    beyond = sum(map(beyond_chance, layers.values()))
    drawn = all(layer.draws >= 3 for layer in layers.values())
    first = next(iter(layers.values()))
    page.lead = [UnitRows([unit for found in units.values() for unit in found][:_LEADING])]
    page.summary = [
        f"Units of the network, and the images on which they fire most, faded where they do not. Of each of {total} units in {len(layers)} "
        f"{'layer' if len(layers) == 1 else 'layers'} the concept is known with which its firing agrees best, of {len(first.concepts)} "
        f"from {concepts}, over {dissection.images} images.",
    ]
    for name, layer in layers.items():
        detectors = {label.unit for labels in layer.detectors().values() for label in labels}
        page.summary.append(
            f"{name}: {len(detectors)} of {layer.units} units detect a concept (IoU above {number(layer.threshold, 2)}), "
            f"{layer.unique_detectors()['all']} different ones; {beyond_chance(layer)} agree with theirs by more than chance."
        )
    page.legend = [
        "First row: where the unit fires. Second row: the same images, faded where its concept is not. IoU: of the pixels at which the "
        "unit fires or the concept is, the share at which both hold, over all images."
    ]
    needed = max(map(draws_needed, layers.values()))
    few = [layer for layer in layers.values() if layer.draws < draws_needed(layer)]
    if not drawn:
        page.trust = "Not known: without draws nothing says how well a unit would agree with some concept by chance."
    elif not beyond and few:
        page.trust = (
            f"Not known: with {first.draws} draws of chance over so few units no agreement can be told from chance after correction; give "
            f"--draws {needed}."
        )
    elif not beyond:
        page.trust = (
            "No: no unit agrees with its concept better than it would if images had the labels of others, after correction over all units "
            "and concepts."
        )
    else:
        page.trust = (
            f"Of {beyond} of {total} units ({percent(beyond / total)}), yes: they agree with their concept better than they would if "
            f"images had the labels of others, at a false-discovery rate of {LEVEL:g}. That a unit fires at a concept does not say "
            "that the network uses it so, nor that it fires at nothing else: see at which share of the concept, and what comes next."
        )
    page.sections.append(
        Section("Detectors", [Pictures([Picture("detectors.png", "Different concepts with a detector.", small=False)])])
    )
    for name, layer in layers.items():
        page.sections.append(Section(name, [UnitRows(list(units.get(name, []))), units_table(layer)], shown=1))
    page.sections.append(Section("By category", [_by_category(dissection), Paragraphs([_denominator(first)])]))
    page.sections.append(Section("Files", [Files(["units.csv", "dissection.safetensors", "settings.json"])]))
    return page


def _by_category(dissection: Dissection) -> Table:
    first = next(iter(dissection.layers.values()))
    rows = []
    for name, layer in dissection.layers.items():
        detectors, unique = layer.detectors(), layer.unique_detectors()
        counts = [f"{unique[category]} ({len(detectors[category])})" for category in layer.categories]
        rows.append([name, str(layer.units), str(unique["all"]), *counts])
    caption = "Different concepts with a detector, and in brackets how many units detect one; a unit may be in several categories."
    return Table(["layer", "units", "all", *first.categories], rows, caption)


def _denominator(layer: LayerDissection) -> str:
    if layer.denominator == "category":
        return "A unit's firing counts in the union on images with any label of the concept's category: elsewhere nobody looked for it."
    return "A unit's firing counts in the union on all images, those that nobody looked for the concept on among them."


__all__ = [
    "LEVEL",
    "beyond_chance",
    "detectors_figure",
    "dissection_page",
    "draws_needed",
    "unit_of",
    "units_table",
]
