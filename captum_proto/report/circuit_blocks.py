"""The block of a circuit: units as pictures of what they respond to, and between them what excites and what inhibits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from captum_proto.report.block import Block, FilePath
from captum_proto.report.blocks import Picture, loaded_picture
from captum_proto.report.context import Context

#: Of the drawing, in its own units: its width, the side of a picture, and from one row of pictures to the next.
_WIDTH, _SIDE, _ROW = 960, 92, 136
#: How thin and how thick an edge is, and how much it bends.
_THIN, _THICK, _BEND = 1.5, 9.0, 0.45


@dataclass(frozen=True)
class Node:
    """
    A unit of a circuit.

    Attributes:
        label (str): What it is called.
        column (int): Which layer of the circuit, from 0 on the left.
        facts (list[str]): What is known of it, each in a word or two.
        pictures (list[str]): The picture made for it, relative to the folder; empty where there is none to show.
    """

    label: str
    column: int
    facts: list[str] = field(default_factory=list)
    pictures: list[FilePath] = field(default_factory=list)


@dataclass(frozen=True)
class Edge:
    """
    A connection of two units.

    Attributes:
        start (int): The place of the earlier unit among the nodes.
        end (int): That of the later one.
        weight (float): Above 0 it excites, below it inhibits; how thick it is drawn goes with its size.
        text (str): For those who point at it, or do not see it.
    """

    start: int
    end: int
    weight: float
    text: str = ""


@dataclass(frozen=True)
class Circuit(Block, kind="circuit"):
    """
    Units of several layers and the connections between them.

    Attributes:
        nodes (list[Node]): From top to bottom of each column.
        edges (list[Edge]): Each from a column to a later one.
        columns (list[str]): The names of the layers.
        caption (str): What is seen.
    """

    style = "circuit.css"

    nodes: list[Node]
    edges: list[Edge]
    columns: list[str]
    caption: str = ""

    def render(self, context: Context) -> dict[str, Any] | None:
        if not self.nodes:
            return None
        rows = [
            [place for place, node in enumerate(self.nodes) if node.column == column]
            for column in range(len(self.columns))
        ]
        most = max(map(len, rows))
        step = (_WIDTH - _SIDE - 40) / max(1, len(self.columns) - 1)
        placed: dict[int, tuple[float, float]] = {}
        for column, inside in enumerate(rows):
            for row, place in enumerate(inside):
                placed[place] = 20 + column * step, 34 + (row + (most - len(inside)) / 2) * _ROW
        shown = []
        for place, node in enumerate(self.nodes):
            left, top = placed[place]
            pictures = (loaded_picture(Picture(path, node.label), context) for path in node.pictures)
            picture = next((each for each in pictures if each is not None), None)
            shown.append({"node": node, "left": round(left, 1), "top": round(top, 1), "picture": picture})
        largest = max((abs(edge.weight) for edge in self.edges), default=0.0) or 1.0
        # The strongest last, on top of the others.
        edges = [self._drawn(edge, placed, largest) for edge in sorted(self.edges, key=lambda each: abs(each.weight))]
        titles = [
            {"name": name, "left": round(20 + column * step + _SIDE / 2, 1)} for column, name in enumerate(self.columns)
        ]
        return {
            "nodes": shown,
            "edges": edges,
            "titles": titles,
            "caption": self.caption,
            "width": _WIDTH,
            "height": 34 + most * _ROW,
            "side": _SIDE,
            "listed": [edge.text for edge in self.edges if edge.text],
        }

    def _drawn(self, edge: Edge, placed: dict[int, tuple[float, float]], largest: float) -> dict[str, Any]:
        (left, top), (right, bottom) = placed[edge.start], placed[edge.end]
        x, y, far_x, far_y = left + _SIDE + 2, top + _SIDE / 2, right - 10, bottom + _SIDE / 2
        bend = _BEND * (far_x - x)
        path = f"M{x:.1f} {y:.1f}C{x + bend:.1f} {y:.1f} {far_x - bend:.1f} {far_y:.1f} {far_x:.1f} {far_y:.1f}"
        return {
            "path": path,
            "excites": edge.weight > 0,
            "width": round(_THIN + (_THICK - _THIN) * abs(edge.weight) / largest, 2),
            "text": edge.text,
            "x": round(far_x, 1),
            "y": round(far_y, 1),
        }


__all__ = ["Circuit", "Edge", "Node"]
