"""Prototypes of rows of a table: their values beside the mean row, who else gives them their class, and controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure

from captum_proto._utils.tables import number, percent
from captum_proto.report.blocks import Block, Curves, Files, Paragraphs, Picture, Pictures, Table
from captum_proto.report.page import Page, Section
from captum_proto.report.views.conditions import (
    PROTOTYPE,
    InputsResult,
    against,
    beside_natural,
    condition_table,
    verdict,
)
from captum_proto.stats.conditions import condition_estimate

ROWS = "prototypes.csv"
#: What each measure is called, in the order of the table.
_MEASURES = {
    "judged": "gradient boosting gives the class",
    "judge_p": "its p",
    "pipeline": "the pipeline gives the class",
    "rule": "the planted rule gives the class",
    "p": "p of the network",
    "spearman": "path similarity",
}
_SHARES = ("judged", "pipeline", "rule")
_BOUNDED = (*_SHARES, "judge_p", "p")
#: So many prototypes of a class are shown as rows of a table, and so many columns in a figure.
_SHOWN, _MOST_FEATURES = 2, 32


class TabularResult(InputsResult):
    """Prototypes of rows of a table, with mean rows and columns of each network, and what was measured of them."""

    def conditions(self) -> Table:
        """The measures of each condition."""
        there = {name: shown for name, shown in _MEASURES.items() if any(name in each.values for each in self.measured)}
        over = "networks" if len(self.networks) > 1 else "classes"
        caption = (
            f"Means with 95 % intervals over {over}. Gradient boosting was trained on the rows of the network, and saw no prototype. Path"
            " similarity: the mean Spearman correlation of the network's layers with those of natural rows of the class. Class mean: of "
            "the training rows of the class, all of which it knows. Random row: a natural row of any class. Random start: where ascents "
            "begin."
        )
        return condition_table(self.measured, there, _SHARES, _BOUNDED, caption)


def columns_figure(shown: Mapping[str, Any]) -> Figure:
    """For each class, where its prototypes are in each column, in scaled units, beside its mean row and 90 % of its rows."""
    names = shown["features"][:_MOST_FEATURES]
    classes = shown["classes"]
    figure = Figure(figsize=(2.2 + 2.6 * len(classes), 1.2 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots(1, len(classes), sharey=True, squeeze=False)[0]
    places = range(len(names))
    for axis, each in zip(axes, classes, strict=True):
        low, high = each["low"][: len(names)], each["high"][: len(names)]
        widths = [top - bottom for bottom, top in zip(low, high, strict=True)]
        axis.barh(places, widths, left=low, height=0.6, color="#DDDDDD", label="90 % of its rows")
        axis.plot(each["mean"][: len(names)], places, "D", color="#E69F00", markersize=5, label="class mean")
        for i, row in enumerate(each["encoded"]):
            axis.plot(
                row[: len(names)],
                places,
                "o",
                color="#D55E00",
                markersize=4,
                alpha=0.7,
                label=None if i else "prototypes",
            )
        axis.axvline(0, color="#999999", linewidth=0.8)
        axis.set_title(each["name"], fontsize="medium")
        axis.set_xlabel("scaled value")
    axes[0].set_yticks(list(places), [_short(name) for name in names], fontsize="small")
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize="small")
    return figure


def _short(name: str) -> str:
    return name if len(name) <= 34 else name[:33] + "…"


def tabular_page(result: TabularResult, settings: Mapping[str, Any], warned: Sequence[str]) -> Page:
    """
    The page of a run.

    Args:
        result (TabularResult): Of all networks.
        settings (mapping): Recorded with the run.
        warned (sequence of str): What was warned of.
    """
    first, name = result.networks[0], (settings.get("model") or {}).get("name", "a table")
    page = Page(f"Prototypes of rows: {name}", settings=dict(settings), failures=list(warned))
    page.lead = [rows_table(first)]
    page.summary = [_what(result, first), *_surrogate(first)]
    page.trust = _trust(result)
    figure = Picture(
        "networks/00.png",
        "The prototypes of the first network in each column, in scaled units: gray, where 90 % of the training rows of the class are. A "
        "feature of a category is 1 where a row has it.",
        small=False,
    )
    page.sections = [
        Section("Who gives them their class", [result.conditions(), Paragraphs(_networks(result))]),
        Section("Columns", [Pictures([figure])]),
        Section("Path similarity", _curves(result)),
        Section("Files", [Files([ROWS, "networks/00.safetensors", "settings.json"])]),
    ]
    return page


def rows_table(network: Mapping[str, Any]) -> Table:
    """Each column of the table: the prototypes of each class, and its mean row."""
    header, columns = ["column"], []
    for each in network["classes"]:
        for row, seed, p in list(zip(each["rows"], each["seeds"], each["p"], strict=True))[:_SHOWN]:
            header.append(f"{each['name']}: prototype, seed {seed} (p {number(p, 2)})")
            columns.append(row)
        header.append(f"{each['name']}: mean row")
        columns.append(each["mean_row"])
    names = [column["name"] for column in network["columns"]]
    caption = (
        f"Prototypes of the first network, the first {_SHOWN} of each class, in the table's own units, beside the mean training row of the "
        "class (its most frequent category). p: the network's probability of the class."
    )
    return Table(header, [[name, *(column[name] for column in columns)] for name in names], caption)


def _what(result: TabularResult, first: Mapping[str, Any]) -> str:
    count = sum(len(each["rows"]) for network in result.networks for each in network["classes"])
    several = f"{len(result.networks)} networks" if len(result.networks) > 1 else "one network"
    return (
        f"{count} prototypes of {len(first['classes'])} classes, of {several}: each row was computed, step by step, to raise the network's "
        "probability of the class named above it: an attempt to show what it finds typical of that class."
    )


def _surrogate(network: Mapping[str, Any]) -> list[str]:
    settings = network["settings"]
    if "surrogate_of" not in settings:
        return []
    return [
        f"The network is a differentiable surrogate of {settings['surrogate_of']}, which gives no gradient: these are prototypes of the "
        f"surrogate. Both give the same class to {percent(settings['agreement'])} of the rows that were held out from its training, and to "
        f"{percent(settings['agreement_natural'])} of natural rows."
    ]


def _networks(result: TabularResult) -> list[str]:
    accuracy = [network["settings"]["accuracy"] for network in result.networks]
    judges = [network["settings"]["judge_accuracy"] for network in result.networks]
    return [
        f"On {result.networks[0]['settings']['natural']} natural rows that neither was trained on, networks are right in "
        f"{percent(sum(accuracy) / len(accuracy))} and gradient boosting in {percent(sum(judges) / len(judges))} of cases, on average over "
        f"{len(accuracy)} {'network' if len(accuracy) == 1 else 'networks'}."
    ]


def _trust(result: TabularResult) -> str:
    found = condition_estimate(result.measured, PROTOTYPE, "judged", share=True)
    path = condition_estimate(result.measured, PROTOTYPE, "spearman")
    if math.isnan(found.value):
        return ""
    rule = condition_estimate(result.measured, PROTOTYPE, "rule")
    planted = (
        ""
        if math.isnan(rule.value)
        else f" The planted rule, which is known, gives {percent(rule.value)} of them their class."
    )
    random, mean = (against(result.measured, control, "judged", True) for control in ("random row", "class mean"))
    return (
        f"{verdict(result.measured)}: gradient boosting, which has nothing to do with the network, gives the class to "
        f"{percent(found.value)} of the prototypes, {random}, and {mean}, which knows the rows of the "
        f"class.{planted} Path similarity {number(path.value)}: "
        f"{against(result.measured, 'random row', 'spearman', False)}. "
        f"{beside_natural(result.measured)}"
    )


def _curves(result: TabularResult) -> list[Block]:
    if not result.comparisons:
        return []
    caption = "Of the first network, over all classes; the layers are few, and hardly smoothed."
    return [Curves(result.comparisons[0], caption, result.comparisons[1:])]


__all__ = ["ROWS", "TabularResult", "columns_figure", "rows_table", "tabular_page"]
