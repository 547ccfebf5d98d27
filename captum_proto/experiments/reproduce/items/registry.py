"""Tables and figures by name: each is a function that registers itself, and says what it is read off."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.experiments.reproduce.paper import Published
from captum_proto.experiments.reproduce.stages import OpenStage, StageResults
from captum_proto.report.blocks import Table, Verdict
from captum_proto.runs.tasks import Protocol


@dataclass
class Item:
    """
    What a table or figure came to.

    Attributes:
        title (str): What it shows.
        verdicts (list[Verdict]): The paper's value beside ours.
        header (list[str]): Of its values.
        rows (list[list]): Every value.
        figure (Figure, optional): Of them.
        text (list[str]): What else is to be said.
        table (Table, optional): Of the values, those that the page shows.
    """

    title: str
    verdicts: list[Verdict] = field(default_factory=list)
    header: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)
    figure: Figure | None = None
    text: list[str] = field(default_factory=list)
    table: Table | None = None


def _no_runs(stage: OpenStage) -> Mapping[str, Protocol[Any]]:
    return {}


def lacks_nothing(stage: OpenStage) -> str:
    """For an item that can always be made."""
    return ""


def lacks_images(stage: OpenStage) -> str:
    """For an item that is read off the comparison with natural images."""
    if stage.natural is not None:
        return ""
    return "not made, since it compares prototypes with natural images of their classes; pass --images DIR."


@dataclass(frozen=True)
class Recipe:
    """
    How an item is made.

    Attributes:
        make (Callable): The item, from the results of a stage.
        runs (Callable): The runs that it is read off beside those of the classes: by their folders below that of the model.
        lacks (Callable): A sentence on what is missing to make it; empty if nothing is.
    """

    make: Callable[[StageResults], Item]
    runs: Callable[[OpenStage], Mapping[str, Protocol[Any]]]
    lacks: Callable[[OpenStage], str]


#: By name, in the order of the page.
RECIPES: dict[str, Recipe] = {}


def item(
    name: str,
    *,
    runs: Callable[[OpenStage], Mapping[str, Protocol[Any]]] = _no_runs,
    lacks: Callable[[OpenStage], str] = lacks_images,
) -> Callable[[Callable[[StageResults], Item]], Callable[[StageResults], Item]]:
    """
    Register the decorated function as what makes an item.

    Args:
        name (str): Of the item, such as "fig1" or "table4".
        runs (Callable, optional): As in :class:`Recipe`. Default: none but those of the classes
        lacks (Callable, optional): As in :class:`Recipe`. Default: :func:`lacks_images`

    Examples::

        >>> @item("fig3", lacks=lacks_nothing)
        ... def figure_3(results):
        ...     return Item("the seeds", header=["seed"], rows=[[results.stage.settings.seed]])
    """

    def register(make: Callable[[StageResults], Item]) -> Callable[[StageResults], Item]:
        RECIPES[name] = Recipe(make, runs, lacks)
        return make

    return register


def check_items(items: Iterable[str]) -> list[str]:
    """
    Names of items, each once.

    Raises:
        InputError: If there is no such item, saying which name is near.
    """
    names = list(items)
    for name in names:
        if name not in RECIPES:
            raise InputError(
                f'there is no item "{name}"{nearest(name, RECIPES) or "; expected some of " + ", ".join(RECIPES) + "."}'
            )
    return list(dict.fromkeys(names))


def beside_paper(name: str, measured: str, value: float, published: Published | None, points: bool = False) -> Verdict:
    """
    A figure beside the paper's.

    Args:
        name (str): Of the figure.
        measured (str): Ours, as it is to be read.
        value (float): Ours.
        published (Published, optional): The paper's, if it has one.
        points (bool, optional): Whether the difference is in points of per cent. Default: False
    """
    if published is None:
        return Verdict(name, measured)
    difference = value - published.value
    if math.isnan(difference):
        return Verdict(name, measured, published.text)
    return Verdict(
        name, measured, published.text, f"{100 * difference:+.1f} points" if points else f"{difference:+.3f}"
    )


__all__ = ["RECIPES", "Item", "Recipe", "beside_paper", "check_items", "item", "lacks_images", "lacks_nothing"]
