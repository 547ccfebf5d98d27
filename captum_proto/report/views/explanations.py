"""Formulas of units: pictures of the best, how much better they are than one concept and than chance, all units in a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from captum_proto._utils.tables import number, p_text, percent
from captum_proto.concept import ExplainedLayer
from captum_proto.concept.formula import OPERATORS
from captum_proto.report.blocks import Files, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.report.views.dissection import LEVEL

#: So many units are seen at once.
_LEADING = 4


def beyond_chance(layer: ExplainedLayer) -> int:
    """How many units have a formula that is better than those of searches by chance."""
    return int((layer.q_values < LEVEL).sum())


def agreement_figure(layers: Sequence[ExplainedLayer]) -> Figure:
    """By layer, how the intersections over union of units are spread: of one concept, of formulas, and of formulas by chance."""
    figure = Figure(figsize=(max(5.0, 3.2 * len(layers)), 3.2), layout="constrained")
    each = figure.subplots(1, len(layers), sharey=True, squeeze=False)[0]
    for axes, layer in zip(each, layers, strict=True):
        kinds = [("one concept", np.array([found.best[0][1] for found in layer.explanations]), "-")]
        kinds += [(f"formulas of at most {layer.length}", layer.iou, "-")] if layer.length > 1 else []
        kinds += [("the same search by chance", layer.chance.ravel(), "--")] if layer.draws else []
        for name, values, line in kinds:
            if len(values):
                axes.ecdf(values, complementary=True, label=name, linestyle=line)
        axes.set_title(layer.layer, fontsize="medium")
        axes.set_xlabel("IoU")
        axes.set_xlim(left=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    each[0].set_ylabel("share of units above")
    each[0].legend(fontsize="small", frameon=False)
    return figure


def explained_unit(layer: ExplainedLayer, unit: int, strips: Sequence[Strip]) -> Unit:
    """A unit with what is known of it."""
    place = layer.of_unit(unit)
    each = layer.explanations[place]
    single, alone = each.best[0]
    facts = [f"IoU {number(each.iou)}; of one concept, {single.text(layer.concepts)}, {number(alone)}"]
    if layer.draws:
        facts[0] += f"; by chance {number(float(layer.chance[:, place].mean()))}"
    if layer.draws >= 3:
        facts.append(f"q {p_text(float(layer.q_values[place]))}")
    if each.bound is not None:
        facts.append(
            "proved: no formula is better"
            if each.proved
            else f"a formula of at most {number(each.bound)} is not ruled out"
        )
    true = f"{percent(each.together / each.fired)} of where it fires; it fires at {percent(each.together / max(1, each.area))} of that"
    facts.append(f"true at {true}")
    return Unit(f"{layer.layer}, unit {unit}: {each.formula.text(layer.concepts)}", facts, list(strips))


def explanations_page(
    layers: Sequence[ExplainedLayer],
    units: Mapping[str, Sequence[Unit]],
    model: str,
    concepts: str,
    settings: dict[str, Any],
    failures: Sequence[str] = (),
) -> Page:
    """
    What the page says.

    Args:
        layers (sequence of ExplainedLayer): What was found.
        units (mapping[str, sequence of Unit]): By layer, the units that have pictures.
        model (str): Its name.
        concepts (str): Where the labels are from.
        settings (dict): What is recorded of the run.
        failures (sequence of str, optional): What was warned of. Default: nothing

    Returns:
        Page: Its paths are relative to the folder of the run.
    """
    page = Page(f"Formulas of concepts for units of {model}", settings=settings, failures=list(failures))
    explained = sum(len(layer.explanations) for layer in layers)
    beyond = sum(map(beyond_chance, layers))
    length = max(layer.length for layer in layers)
    page.lead = [UnitRows([unit for found in units.values() for unit in found][:_LEADING])]
    page.summary = [
        f"Units of the network, and the images on which they fire most, faded where they do not. Of each of {explained} units in "
        f"{len(layers)} {'layer' if len(layers) == 1 else 'layers'} the formula of at most {length} of {len(layers[0].concepts)} concepts "
        f"from {concepts} is known that agrees best with where it fires.",
    ]
    for layer in layers:
        if not layer.explanations:
            page.summary.append(f"{layer.layer}: none of its {layer.units} units fires.")
            continue
        single = float(np.mean([each.best[0][1] for each in layer.explanations]))
        words = f"{layer.layer}: on average over units, IoU {number(single)} with one concept"
        words += f", {number(float(layer.iou.mean()))} with a formula"
        if layer.draws:
            words += f", and {number(float(layer.chance.mean()))} with a formula where images have the labels of others"
        silent = layer.units - len(layer.explanations)
        page.summary.append(
            f"{words}."
            + (f" {silent} of {layer.units} units {'fires' if silent == 1 else 'fire'} nowhere." if silent else "")
        )
    page.legend = [
        "First row: where the unit fires. Second row: the same images, faded where its formula is not true. IoU: of the pixels at which "
        "the unit fires or the formula is true, the share at which both hold, over all images."
    ]
    drawn = all(layer.draws >= 3 for layer in layers)
    least = max((1 + layer.draws * len(layer.explanations) for layer in layers), default=1)
    if not explained:
        page.trust = "Not known: no unit fires anywhere."
    elif not drawn:
        page.trust = (
            "Not known: a search over so many formulas finds one that agrees a little with anything; at least 3 draws of chance say how "
            "much: give --draws."
        )
    elif not beyond and 1 / least > LEVEL / 2:
        page.trust = (
            f"Not known: with {layers[0].draws} draws of chance over so few units no formula can be told from chance after correction; "
            "give more --draws."
        )
    elif not beyond:
        page.trust = (
            "No: no formula agrees with its unit better than what the same search finds where images have the labels of others, after "
            "correction over all units."
        )
    else:
        page.trust = (
            f"Of {beyond} of {explained} units ({percent(beyond / explained)}), yes: their formula agrees with them better than what the "
            f"same search finds where images have the labels of others, at a false-discovery rate of {LEVEL:g}. That a longer formula "
            "agrees better is no news by itself: by chance it does, too. And it says where a unit fires, not what the network uses it for."
        )
    picture = Picture("agreement.png", "Which share of the units has a formula of at least such an IoU.", small=False)
    page.sections.append(Section("How well formulas agree", [Pictures([picture])]))
    for layer in layers:
        page.sections.append(
            Section(layer.layer, [UnitRows(list(units.get(layer.layer, []))), units_table(layer)], shown=1)
        )
    page.sections.append(Section("What formulas are made of", [_made_of(layers)]))
    page.sections.append(Section("Files", [Files(["formulas.csv", "settings.json"])]))
    return page


def units_table(layer: ExplainedLayer) -> Table:
    """All units of a layer."""
    caption = (
        "IoU: the pixels at which the unit fires and the formula is true, over those of either; its IoU: of the best single concept; by "
        "chance: the mean of the best formulas where images have the labels of others; q: of at least such an agreement by chance, after "
        "Benjamini and Hochberg over all units of the layer."
    )
    return Table(*layer.cells(), caption, sortable=True)


def _made_of(layers: Sequence[ExplainedLayer]) -> Table:
    categories = list(dict.fromkeys(concept.category for concept in layers[0].concepts))
    rows = []
    for layer in layers:
        used = Counter(
            layer.concepts[label - 1].category for each in layer.explanations for label in each.formula.labels()
        )
        operators = layer.operators()
        rows.append(
            [
                layer.layer,
                *(str(operators[name]) for name in OPERATORS),
                *(str(used[category]) for category in categories),
            ]
        )
    caption = "How often each operator, and a concept of each category, occurs in the formulas of all units."
    return Table(["layer", *OPERATORS.values(), *categories], rows, caption)


__all__ = ["agreement_figure", "beyond_chance", "explained_unit", "explanations_page", "units_table"]
