"""A circuit: which units a unit is computed from and leads to, the six checks of it, its tuning, its kinds of examples."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from captum_proto._utils.tables import number, percent
from captum_proto.circuits import Connection, Tuning, UnitMatches
from captum_proto.report.blocks import Table, Verdict
from captum_proto.report.circuit_blocks import Circuit, Edge, Node

#: Degrees from one mark of an axis to the next.
_MARK = 45


@dataclass(frozen=True)
class UnitChecks:
    """
    What the six checks found of a unit.

    Attributes:
        unit (int): Its channel.
        verdicts (list[Verdict]): One for each check.
        appearance (str): How the curves look that raise it most.
        orientation (float): That of the curve that raises it most, in degrees.
        radius (float): Of that curve, in pixels.
        curves (dict[str, list[float]]): By name, what figures are drawn from: a value for each orientation.
    """

    unit: int
    verdicts: list[Verdict]
    appearance: str
    orientation: float
    radius: float
    curves: dict[str, list[float]] = field(default_factory=dict)

    @property
    def passed(self) -> int:
        """How many of them are met."""
        return sum(verdict.passed is True for verdict in self.verdicts)

    @property
    def failed(self) -> int:
        """How many of them are not met."""
        return sum(verdict.passed is False for verdict in self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> UnitChecks:
        """What :meth:`to_json` gave."""
        return UnitChecks(**{**content, "verdicts": [Verdict(**each) for each in content["verdicts"]]})


def circuit_block(
    layers: Sequence[str],
    unit: int,
    incoming: Sequence[Connection],
    outgoing: Sequence[Connection],
    pictures: Mapping[tuple[int, int], str],
) -> Circuit:
    """
    The diagram of a unit: earlier units on the left, later ones on the right.

    Args:
        layers (sequence of str): The earlier layer, the unit's own, and the later one where there is one.
        unit (int): Whose circuit it is.
        incoming (sequence of Connection): To it.
        outgoing (sequence of Connection): From it.
        pictures (mapping[tuple[int, int], str]): By column and unit, the path of its picture.

    Returns:
        Circuit: Weights are sums over positions, so that an edge says what is left of excitation and inhibition.
    """

    def node(column: int, channel: int, facts: list[str]) -> Node:
        path = pictures.get((column, channel))
        return Node(f"unit {channel}", column, facts, [path] if path else [])

    nodes = [node(0, each.from_unit, [f"{percent(each.share)} of weights"]) for each in incoming]
    own = len(nodes)
    nodes.append(node(1, unit, []))
    nodes += [node(2, each.to_unit, [f"{percent(each.share)} of weights"]) for each in outgoing]
    edges = [Edge(place, own, _signed(each), _words(each)) for place, each in enumerate(incoming)]
    edges += [Edge(own, own + 1 + place, _signed(each), _words(each)) for place, each in enumerate(outgoing)]
    caption = (
        "Each unit by a picture computed to activate it. Edges are the strongest connections by the length of their weights; which sign "
        "they have is that of the sum over positions. Beneath a unit: of all squared weights to or from the unit in the middle, its share."
    )
    return Circuit(nodes, edges, list(layers), caption)


def _signed(connection: Connection) -> float:
    """The length of the weights, with the sign of their sum."""
    return math.copysign(connection.norm, connection.net or 1.0)


def _words(connection: Connection) -> str:
    kind = "excites" if connection.net >= 0 else "inhibits"
    return f"unit {connection.from_unit} {kind} unit {connection.to_unit}, length {number(connection.norm)}"


def connections_table(connections: Sequence[Connection], other: str, incoming: bool) -> Table:
    """
    Connections of a unit, the strongest first.

    Args:
        connections (sequence of Connection): Of one unit.
        other (str): The layer at the other end.
        incoming (bool): Whether they lead to the unit.
    """
    rows = [
        [
            str(each.from_unit if incoming else each.to_unit),
            number(each.norm),
            percent(each.share),
            number(each.excitation),
            number(each.inhibition),
            number(each.net),
        ]
        for each in connections
    ]
    caption = (
        f"{'From' if incoming else 'To'} units of {other}. Length: the root of the sum of squares over positions; share: of all squared "
        f"weights {'to' if incoming else 'from'} the unit; excitation and inhibition: the sums of positive and of negative weights."
    )
    return Table(["unit", "length", "share", "excitation", "inhibition", "together"], rows, caption)


def orientation_figure(checks: UnitChecks, tuning: Tuning) -> Figure:
    """Left, the response to curves of each radius by orientation; right, what each kind of evidence says of the orientation."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    angles = tuning.orientations
    for value, curve in zip(tuning.values, tuning.raised[0].tolist(), strict=True):
        left.plot(angles, curve, label=f"radius {value:g}")
    left.set_title(f"response to {checks.appearance}", fontsize="medium")
    left.set_ylabel("activation above gray")
    own = np.asarray(checks.curves.get("stimuli", [1.0]), dtype=float)
    for name, values in checks.curves.items():
        if not values or not np.isfinite(values).any():
            continue
        found = np.asarray(values, dtype=float)
        if name == "examples turned":  # turned by so much, they have that orientation more
            found = np.roll(found, round(checks.orientation / (360 / len(found))))
        # What is put back is in the unit's own measure; other evidence has one of its own.
        most = float(np.nanmax(own if name.startswith("put back") else found))
        control = "control" in name
        right.plot(
            angles,
            found / most if most > 0 else found,
            label=name,
            linestyle=":" if control else "-",
            linewidth=1 if control else 1.6,
        )
    right.set_title("as a share of the maximum", fontsize="medium")
    right.set_ylim(-0.6, 1.15)
    for axes in (left, right):
        axes.axvline(checks.orientation, color="0.6", linewidth=0.8)
        axes.set_xticks(range(0, 361, _MARK))
        axes.set_xlabel("orientation (degrees)")
        axes.margins(x=0)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    left.legend(fontsize="small", frameon=False)
    right.legend(fontsize="small", frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def matches_table(matches: UnitMatches, units: Sequence[int]) -> Table:
    """The best matches of some units in another network."""
    rows = []
    for unit in units:
        best = int(matches.best[unit])
        by_chance = matches.null[:, unit]
        rows.append(
            [
                str(unit),
                "–" if best < 0 else str(best),
                number(float(matches.scores[unit])),
                f"{number(float(by_chance.mean()))} to {number(float(by_chance.max()))}",
                f"{float(matches.p_values[unit]):.3g}",
                f"{float(matches.q_values[unit]):.3g}",
            ]
        )
    caption = (
        f"Best: the unit of the other network whose activation over {matches.images} images correlates most. By chance: mean and maximum "
        "of the best correlations with its images in a random order; q: p after Benjamini and Hochberg over all units of the layer."
    )
    return Table(["unit", "best", "correlation", "by chance", "p", "q"], rows, caption)


__all__ = ["UnitChecks", "circuit_block", "connections_table", "matches_table", "orientation_figure"]
