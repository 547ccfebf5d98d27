"""The page of a circuit, from the files of its folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from captum_proto._utils.files import whole_file
from captum_proto._utils.reading import read_json
from captum_proto._utils.tables import number, percent
from captum_proto.circuits import Connection, ExpandedWeights, UnitMatches, WeightFactors, drawn
from captum_proto.experiments.circuit.stimuli import StimulusResponses
from captum_proto.experiments.tasks_page import tasks_page
from captum_proto.features import Examples
from captum_proto.report.block import Block
from captum_proto.report.blocks import Files, Gallery, Paragraphs, Picture, Pictures, Shown, Verdicts
from captum_proto.report.figures import save_figure, to_display
from captum_proto.report.page import Page, Section
from captum_proto.report.unit_rows import Strip, Unit, UnitRows
from captum_proto.report.views.circuit import (
    UnitChecks,
    circuit_block,
    connections_table,
    matches_table,
    orientation_figure,
)
from captum_proto.report.views.examples import figure as score_words
from captum_proto.runs.files import write_rows
from captum_proto.runs.folder import is_finished, read_settings
from captum_proto.runs.tasks import warnings_of

#: Files and folders of a run.
INCOMING, OUTGOING, CONNECTIONS = "incoming.safetensors", "outgoing.safetensors", "connections.csv"
STIMULI, EXAMPLES, PICTURES, CHECKS = "stimuli", "examples.safetensors", "pictures", "checks"
CLUSTERS, ICONS, MATCHES, FACTORS, STRIPS = "clusters", "icons", "matches.safetensors", "factors", "strips"
#: At least so large is a picture of weights shown, in pixels.
_KERNEL = 96


def write_connections(folder: Path) -> None:
    """All connections of the units as CSV, and the pictures and figures that a page needs beside the files of tasks."""
    settings = read_settings(folder)
    units, count = list(dict.fromkeys(settings["units"])), int(settings["connections"])
    incoming = ExpandedWeights.load(folder / INCOMING)
    outgoing = ExpandedWeights.load(folder / OUTGOING) if (folder / OUTGOING).exists() else None
    responses = StimulusResponses.load(folder / STIMULI)

    def rows() -> Iterator[list[Any]]:
        for unit in units:
            for each in incoming.strongest(unit, len(incoming.from_units)):
                yield [incoming.from_layer, each.from_unit, incoming.to_layer, unit, *_figures(each)]
            for each in () if outgoing is None else outgoing.strongest_from(unit, len(outgoing.to_units)):
                yield [outgoing.from_layer, unit, outgoing.to_layer, each.to_unit, *_figures(each)]  # type: ignore[union-attr]

    header = ["from_layer", "from_unit", "to_layer", "to_unit", "norm", "share", "excitation", "inhibition"]
    write_rows(folder / CONNECTIONS, header, rows())
    for unit in units:
        weights = incoming.of(unit)
        strongest = incoming.strongest(unit, count)
        limit = max(
            (float(weights[incoming.from_units.index(each.from_unit)].abs().max()) for each in strongest), default=0.0
        )
        for each in strongest:
            kernel = drawn(weights[incoming.from_units.index(each.from_unit)], limit)
            _write(kernel, folder / f"kernels/{unit:05d}_{each.from_unit:05d}.png")
        path = folder / FACTORS / f"{unit:05d}.safetensors"
        if path.exists():
            for name, picture in zip(("excitation", "inhibition"), WeightFactors.load(path).pictures(), strict=True):
                _write(picture, folder / f"kernels/{unit:05d}_{name}.png")
        checks = _checks(folder, unit)
        if checks is not None:
            tuning = responses.best(unit)[1]
            save_figure(orientation_figure(checks, tuning), folder / f"figures/{unit:05d}.png", overwrite=True)


def _figures(each: Connection) -> list[str]:
    return [repr(value) for value in (each.norm, each.share, each.excitation, each.inhibition)]


def _write(picture: Tensor, path: Path) -> None:
    """A small picture, each of its pixels a square."""
    pixels = to_display(picture)
    multiple = max(1, -(-_KERNEL // max(pixels.shape[:2])))
    with whole_file(path, overwrite=True) as temporary:
        Image.fromarray(pixels.repeat(multiple, 0).repeat(multiple, 1)).save(temporary, format="png")


def _checks(folder: Path, unit: int) -> UnitChecks | None:
    path = folder / CHECKS / f"{unit:05d}.json"
    return UnitChecks.from_json(read_json(path)) if path.exists() else None


def circuit_page(folder: Path) -> Page:
    """
    What a folder of circuits has to show, from the files in it; of an interrupted run, what its finished tasks wrote.

    Args:
        folder (Path): That :class:`~captum_proto.experiments.circuit.TraceCircuit` wrote to.

    Raises:
        FileExistsError: If the folder holds no readable settings.
        ValueError: If the results are damaged.
    """
    if not is_finished(folder) and not (folder / CONNECTIONS).is_file():
        return tasks_page(folder)
    settings = read_settings(folder)
    units = list(dict.fromkeys(settings["units"]))
    incoming = ExpandedWeights.load(folder / INCOMING)
    outgoing = ExpandedWeights.load(folder / OUTGOING) if (folder / OUTGOING).exists() else None
    found = [checks for unit in units if (checks := _checks(folder, unit)) is not None]
    model = (settings.get("model") or {}).get("name", "a model")
    named = f"unit {units[0]}" if len(units) == 1 else f"{len(units)} units"
    page = Page(
        f"How {named} of “{incoming.to_layer}” in {model} is computed", settings=settings, failures=warnings_of(folder)
    )
    if len(units) > 1:
        page.title = page.title.replace(" is computed", " are computed")
    blocks = {unit: _diagram(folder, unit, incoming, outgoing, int(settings["connections"])) for unit in units}
    page.lead = [blocks[units[0]]]
    page.summary = _summary(incoming, outgoing, found)
    page.trust = _trust(found)
    page.legend = [
        "The checks ask whether a unit detects curves. A unit that detects something else fails them, and its circuit is to be read with "
        "that in mind: the weights are what they are, but no story of them was put to the test."
    ]
    for unit in units:
        page.sections += _sections(folder, unit, incoming, outgoing, blocks[unit], unit == units[0])
    if (folder / MATCHES).exists():
        page.sections.append(_matches(folder, units))
    if incoming.at_border:
        page.failures.append(
            f"The receptive field of {incoming.weights.shape[2]} × {incoming.weights.shape[3]} positions reaches the border of the map of "
            f"“{incoming.from_layer}”, which has {incoming.from_shape[0]} × {incoming.from_shape[1]}: weights beyond it are not known."
        )
    if settings.get("images") is None:
        page.left_out.append(
            "No images were given, so there are neither examples nor clusters among them: give --images."
        )
    if outgoing is None:
        page.left_out.append(
            "No later layer was given, so nothing is known of what the unit leads to: give --to-layer."
        )
    page.sections.append(Section("Files", [Files([CONNECTIONS, "settings.json"])]))
    return page


def _summary(incoming: ExpandedWeights, outgoing: ExpandedWeights | None, found: list[UnitChecks]) -> list[str]:
    height, width = incoming.weights.shape[2:]
    summary = [
        f"What a unit of “{incoming.to_layer}” is computed from: the {len(incoming.from_units)} units of “{incoming.from_layer}”, by "
        f"weights at {height} × {width} positions, with everything between made linear"
        + ("." if outgoing is None else f"; and which units of “{outgoing.to_layer}” it leads to.")
    ]
    for checks in found:
        summary.append(
            f"Unit {checks.unit}: of curves, {checks.appearance} of radius {checks.radius:g} pixels at {checks.orientation:g}° raise it "
            f"most; {checks.passed} of the six checks of a curve detector are met, {checks.failed} are not, "
            f"{len(checks.verdicts) - checks.passed - checks.failed} are not known."
        )
    return summary


def _trust(found: list[UnitChecks]) -> str:
    if not found:
        return "Not known: no check is finished."
    whole = [checks.unit for checks in found if checks.passed == len(checks.verdicts)]
    if len(whole) == len(found):
        return "Yes, as a curve detector: all six checks are met, each beside its control."
    most = max(found, key=lambda checks: checks.passed)
    failed = [verdict.name.lower() for verdict in most.verdicts if verdict.passed is False]
    unknown = [verdict.name.lower() for verdict in most.verdicts if verdict.passed is None]
    reasons = [f"not met: {', '.join(failed)}"] if failed else []
    reasons += [f"not known: {', '.join(unknown)}"] if unknown else []
    first = f"{len(whole)} of {len(found)} units meet all six checks of a curve detector. " if len(found) > 1 else ""
    return f"{first}Not as a curve detector without reserve: of unit {most.unit}, {'; '.join(reasons)}."


def _diagram(folder: Path, unit: int, incoming: ExpandedWeights, outgoing: ExpandedWeights | None, count: int) -> Block:
    layers = [incoming.from_layer, incoming.to_layer] + ([outgoing.to_layer] if outgoing is not None else [])
    files = {1: 0, 0: 1, 2: 2}  # columns, by the order in which pictures were made
    after = [] if outgoing is None else _there(outgoing.strongest_from(unit, count))
    before = _there(incoming.strongest(unit, count))
    wanted = [(0, each.from_unit) for each in before] + [(1, unit)] + [(2, each.to_unit) for each in after]
    paths = {(column, each): f"{PICTURES}/{files[column]}_{each:05d}.png" for column, each in wanted}
    there = {key: path for key, path in paths.items() if (folder / path).exists()}
    return circuit_block(layers, unit, before, after, there)


def _there(connections: list[Connection]) -> list[Connection]:
    """Those that are not nothing but for rounding."""
    return [each for each in connections if each.norm > 1e-4 * connections[0].norm]


def _sections(
    folder: Path, unit: int, incoming: ExpandedWeights, outgoing: ExpandedWeights | None, diagram: Block, first: bool
) -> list[Section]:
    settings = read_settings(folder)
    count = int(settings["connections"])
    checks = _checks(folder, unit)
    sections = [] if first else [Section(f"Unit {unit}: its circuit", [diagram])]
    if checks is not None:
        picture = Picture(
            f"figures/{unit:05d}.png",
            "Left: the response to curves by orientation and radius. Right: what each kind of evidence says of the orientation, and the "
            "controls, dotted.",
            small=False,
        )
        sections.append(Section(f"Unit {unit}: six checks", [Verdicts(checks.verdicts), Pictures([picture])]))
    sections.append(Section(f"Unit {unit}: examples", _examples(folder, unit)))
    before = incoming.strongest(unit, count)
    shown = [
        Shown(
            f"kernels/{unit:05d}_{each.from_unit:05d}.png",
            f"from unit {each.from_unit}",
            [f"length {number(each.norm)}"],
            f"Weights from unit {each.from_unit} by position",
        )
        for each in before
    ]
    blocks: list[Block] = [
        Paragraphs(
            ["Weights by position in the receptive field: red excites, blue inhibits, white is zero; all on one scale."]
        ),
        Gallery(shown),
        connections_table(before, incoming.from_layer, True),
    ]
    if outgoing is not None:
        blocks.append(connections_table(outgoing.strongest_from(unit, count), outgoing.to_layer, False))
    sections.append(Section(f"Unit {unit}: weights", [*blocks, *_factors(folder, unit), *_icons(folder, unit)]))
    return sections


def _examples(folder: Path, unit: int) -> list[Block]:
    if not (folder / EXAMPLES).exists():
        return []
    layer = next(iter(Examples.load(folder / EXAMPLES).layers.values()))
    shown = int(read_settings(folder)["shown"])
    strips = []
    for which, label in (("top", "Most"), ("random", "Random")):
        scores = layer.chosen(unit, which)[0][:shown]
        strips.append(Strip(f"{STRIPS}/{unit:05d}_{which}.png", label, [score_words(score) for score in scores]))
    silence = layer.silence(unit)
    blocks: list[Block] = [UnitRows([Unit(f"Unit {unit}", [silence] if silence else [], strips)])]
    path = folder / CLUSTERS / f"{unit:05d}.json"
    if path.exists():
        found = read_json(path)
        blocks += _kinds(found, unit, layer.scores.shape[1], shown)
    return blocks


def _kinds(found: dict[str, Any], unit: int, k: int, shown: int) -> list[Block]:
    """Whether top examples are of several kinds, beside what random images give."""
    chance = found["by_chance"]
    at_least = (1 + sum(count >= found["count"] for count in chance)) / (1 + len(chance))
    kinds = "one kind" if found["count"] == 1 else f"{found['count']} kinds"
    text = (
        f"By the gap statistic its {k} top examples are of {kinds}, by what the other units of the layer say of them in the principal "
        f"dimensions that hold {percent(found['share'])} of their differences. As many random images are of "
        f"{sum(chance) / len(chance):.1f} kinds on average, and of at least as many in p = {at_least:.2g} of such draws."
    )
    if found["count"] == 1:
        return [Paragraphs([text])]
    rows = []
    for label in range(found["count"]):
        size = found["labels"].count(label)
        rows.append(
            Strip(f"{STRIPS}/{unit:05d}_kind{label}.png", f"Kind {label + 1}: {size} of {k}", [""] * min(size, shown))
        )
    return [Paragraphs([text]), UnitRows([Unit("Kinds of examples", [], rows)])]


def _factors(folder: Path, unit: int) -> list[Block]:
    path = folder / FACTORS / f"{unit:05d}.safetensors"
    if not path.exists():
        return []
    factors = WeightFactors.load(path)
    named = ("orange", "blue", "green", "pink", "yellow")
    listed = [
        f"{named[place]}: units {', '.join(map(str, factors.strongest(place)))}"
        for place in range(len(factors.spatial))
    ]
    text = (
        f"The weights in {len(factors.spatial)} factors (one-sided non-negative factorization), each a color, and the earlier units "
        f"that it is most of: {'; '.join(listed)}. They leave {percent(factors.error)} of the weights’ length unexplained; of "
        f"weights in a random order, {percent(factors.shuffled_error)}."
    )
    shown = [
        Shown(f"kernels/{unit:05d}_{name}.png", name, [], f"Where factors are {name}, by position")
        for name in ("excitation", "inhibition")
    ]
    return [Paragraphs([text]), Gallery(shown)]


def _icons(folder: Path, unit: int) -> list[Block]:
    path = f"{ICONS}/{unit:05d}.png"
    if not (folder / path).exists():
        return []
    caption = (
        "What excites the unit at each position of its receptive field: pictures computed to go in the direction of its weights there, "
        "fainter where these are small. Of a large field, every few positions."
    )
    return [Pictures([Picture(path, caption, small=False)])]


def _matches(folder: Path, units: list[int]) -> Section:
    matches = UnitMatches.load(folder / MATCHES)
    again = len(matches.found())
    share = again / len(matches.best)
    pairs = (matches.best >= 0).sum().item()
    text = (
        f"Units of the layer that “{matches.settings.get('layer')}” of {matches.settings.get('model')} has again: {again} of "
        f"{len(matches.best)} ({percent(share)}) correlate with their best match more than chance allows, at a false-discovery rate of "
        f"0.05; the mean best correlation is {number(float(torch.nanmean(matches.scores)))}, and by chance "
        f"{number(float(torch.nanmean(matches.null)))}."
        + ("" if pairs == len(matches.best) else f" {len(matches.best) - pairs} are the same on all images.")
    )
    return Section("In another network", [Paragraphs([text]), matches_table(matches, units)])


__all__ = [
    "CHECKS",
    "CLUSTERS",
    "CONNECTIONS",
    "EXAMPLES",
    "ICONS",
    "INCOMING",
    "MATCHES",
    "OUTGOING",
    "PICTURES",
    "STIMULI",
    "STRIPS",
    "circuit_page",
    "write_connections",
]
