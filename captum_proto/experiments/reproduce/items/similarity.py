"""Figures 2, 4, 5 and 8 and Table 1: path similarity of prototypes, natural images and controls, over all classes of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from captum_proto._utils.tables import number, percent
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.reproduce.items.registry import Item, beside_paper, item
from captum_proto.experiments.reproduce.stages import StageResults
from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME, condition_label, pooled
from captum_proto.report.blocks import Verdict
from captum_proto.report.figures import points_figure
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.report.views.path_criteria import NO_DATA, PROTOTYPE, as_high
from captum_proto.report.views.path_similarity import conclusion
from captum_proto.stats.intervals import interval, spread, spreads
from captum_proto.stats.judgments import Order

#: Resamples of the classes behind an interval; of few classes there are not so many different ones.
_RESAMPLES, _RESAMPLES_OF_FEW = 2000, 200

#: A figure of a condition over some of the classes, given by their places.
_Reading = Callable[[NDArray[np.int_], str], float]


@item("fig2")
def figure_2(results: StageResults) -> Item:
    """Both measures, layer by layer."""
    header, rows = _layer_rows(results)
    return Item(
        "path similarity of all of these pictures",
        header=header,
        rows=rows,
        figure=comparison_figure(pooled(results.every), measures=("spearman", "l1")),
        text=conclusion(results.every),
    )


@item("table1")
def table_1(results: StageResults) -> Item:
    """The mean Spearman correlation of each condition."""
    made = Item("mean Spearman correlation", header=["class", "condition", "mean Spearman over layers"])
    points: dict[str, list[float]] = {}
    for condition in results.every[0].conditions:
        summaries = [comparison.summary(condition) for comparison in results.every]
        values = [summary.spearman for summary in summaries]
        points[condition_label(condition)] = values
        over_layers = float(np.nanmean([summary.spearman_over_layers for summary in summaries]))
        mean = float(np.nanmean(values))
        made.verdicts.append(
            beside_paper(
                f"mean Spearman, {condition_label(condition)}",
                f"{number(mean)} ± {number(spread(values))} over {_classes(len(values))}, ± {number(over_layers)} over layers"
                + _interval_words(interval(values)),
                mean,
                paper.VALUES.get(("table1", condition, results.stage.model)),
            )
        )
        labels = results.stage.labels.values()
        made.rows += [[label, condition, value] for label, value in zip(labels, values, strict=True)]
    made.figure = points_figure(points, "mean Spearman over layers, a point for each class")
    made.text = conclusion(results.every)
    return made


@item("fig4")
def figure_4(results: StageResults) -> Item:
    """L1 distance, layer by layer, and in how many layers assertion (1) holds."""
    comparisons = results.every
    header, rows = _layer_rows(results)
    made = Item(
        "L1 distance, layer by layer",
        header=header,
        rows=rows,
        figure=comparison_figure(pooled(comparisons), measures=("l1",)),
    )
    _add_shares(
        made, results, "fig4", {"layers with D ≤ D_I": lambda chosen, name: _share_nearer(comparisons, chosen, name)}
    )
    return made


@item("fig5")
def figure_5(results: StageResults) -> Item:
    """Spearman correlation, layer by layer, and in how many layers assertion (2) holds: against the mean, against every image."""
    comparisons = results.every
    header, rows = _layer_rows(results)

    def above_every(chosen: NDArray[np.int_], condition: str) -> float:
        return float(np.mean([comparisons[i].summary(condition).spearman_above_every for i in chosen]))

    readings: dict[str, _Reading] = {
        "layers with SS ≥ SS_I": lambda chosen, condition: _share_above(comparisons, chosen, condition),
        "layers with SS ≥ every I": above_every,
    }
    made = Item(
        "Spearman correlation, layer by layer",
        header=header,
        rows=rows,
        figure=comparison_figure(pooled(comparisons), measures=("spearman",)),
    )
    _add_shares(made, results, "fig5", readings)
    return made


@item("fig8")
def figure_8(results: StageResults) -> Item:
    """Both measures, normalized between same and other classes."""
    header, rows = _layer_rows(results)
    made = Item("both measures, normalized between same and other classes", header=header, rows=rows)
    for name, curve, ends in (
        ("normalized Spearman", PathComparison.normalized_spearman, "1 same class, 0 other classes"),
        ("normalized L1", PathComparison.normalized_l1, "0 same class, 1 other classes"),
    ):
        values = [float(np.nanmedian(curve(comparison, "prototype").numpy())) for comparison in results.every]
        made.verdicts.append(
            Verdict(
                f"{name}, median over layers ({ends})",
                f"{number(float(np.mean(values)), 2)} ± {number(spread(values), 2)} over {_classes(len(values))}"
                + _interval_words(interval(values), 2),
            )
        )
    made.figure = comparison_figure(pooled(results.every), measures=("spearman-normalized", "l1-normalized"))
    return made


def _layer_rows(results: StageResults) -> tuple[list[str], list[list[Any]]]:
    """Every value behind the curves: class, condition, layer, mean over images and spread."""
    header = ["class", "condition", "index", "layer", "images", "spearman", "spearman_sd", "l1", "l1_sd"]
    rows: list[list[Any]] = []
    for label, comparison in zip(results.stage.labels.values(), results.every, strict=True):
        for condition in comparison.conditions:
            columns = zip(
                comparison.mean_spearman(condition).tolist(),
                spreads(comparison.spearman[condition]).tolist(),
                comparison.mean_l1(condition).tolist(),
                spreads(comparison.l1[condition]).tolist(),
                strict=True,
            )
            images = len(comparison.spearman[condition])
            for index, (layer, values) in enumerate(zip(comparison.layers, columns, strict=True)):
                rows.append([label, condition, index, layer, images, *map(repr, values)])
    return header, rows


def _add_shares(made: Item, results: StageResults, name: str, readings: dict[str, _Reading]) -> None:
    """In how many layers an assertion holds: of prototypes with an interval and the paper's value, of each control, and what that says."""
    comparisons = results.every
    everyone = np.arange(len(comparisons))
    for reading, share in readings.items():
        shares = {
            condition: share(everyone, condition)
            for condition in comparisons[0].conditions
            if condition not in (SAME, OTHER)
        }
        ends = _over_classes(len(comparisons), share)
        span = f", 95 % over classes {percent(ends[0])} to {percent(ends[1])}" if not math.isnan(ends[0]) else ""
        measured = f"{percent(shares[PROTOTYPE])} of {len(comparisons[0].layers)}{span}"
        published = paper.VALUES.get((name, reading, results.stage.model))
        made.verdicts.append(beside_paper(reading, measured, shares[PROTOTYPE], published, points=True))
        made.verdicts += [
            Verdict(f"{reading}: {condition_label(condition)}", percent(value))
            for condition, value in shares.items()
            if condition != PROTOTYPE
        ]
        made.text += shares_beside_controls(reading, shares, ends)


def shares_beside_controls(reading: str, shares: Mapping[str, float], ends: tuple[float, float]) -> list[str]:
    """
    What the shares of layers say of an assertion: whether prototypes are above what knows no data.

    Args:
        reading (str): The assertion.
        shares (mapping[str, float]): Of layers in which it holds, by condition.
        ends (tuple[float, float]): The interval of the prototypes' share; NaN for none.

    Returns:
        list[str]: Sentences.
    """
    own, controls = shares[PROTOTYPE], [condition for condition in NO_DATA if condition in shares]

    def listed(conditions: Sequence[str]) -> str:
        return ", ".join(f"{NO_DATA[condition]} ({percent(shares[condition])})" for condition in conditions)

    if not controls:
        return [f"{reading}: no control that knows no data was run, so it is not known what this is worth."]
    if math.isnan(own):
        return [f"{reading}: no layer in which it could be measured."]
    if own == 0 and not any(shares[condition] > 0 for condition in controls):
        return [f"{reading}: in no layer, neither for prototypes nor for pictures that know no data."]
    reaching = as_high(shares, controls, share=True)
    # Only what lies below the prototypes can be in doubt; what the interval holds may be above them by chance.
    near = [condition for condition in controls if ends[0] <= shares[condition] < own]
    text = []
    if reaching:
        text.append(
            f"{reading}: these know no data and do as well as prototypes ({percent(own)}) or better, so that this alone proves nothing: "
            f"{listed(reaching)}."
        )
    if near:
        text.append(f"{reading}: these know no data and are lower by no more than may be chance: {listed(near)}.")
    if not reaching and not near:
        order = Order.UNTESTED if math.isnan(ends[0]) else Order.ABOVE
        text.append(
            f"{reading}: prototypes are above every picture that knows no data; {order.told('that is more than chance', '')}."
        )
    return text


def _share_nearer(comparisons: Sequence[PathComparison], chosen: NDArray[np.int_], condition: str) -> float:
    """The share of layers in which the mean L1 over classes is at most that of same-class images, as the paper counts them."""
    ours, natural = (torch.stack([comparisons[i].mean_l1(name) for i in chosen]).mean(0) for name in (condition, SAME))
    return float((ours <= natural).double().mean())


def _share_above(comparisons: Sequence[PathComparison], chosen: NDArray[np.int_], condition: str) -> float:
    """The share of layers in which the mean Spearman over classes is at least that of same-class images; dead layers are left out."""
    ours, natural = (
        torch.stack([comparisons[i].mean_spearman(name) for i in chosen]).nanmean(0) for name in (condition, SAME)
    )
    living = ~natural.isnan()
    return float((ours >= natural)[living].double().mean()) if bool(living.any()) else math.nan


def _over_classes(classes: int, share: _Reading) -> tuple[float, float]:
    """The bootstrap interval over classes of the prototypes' share, 95 %; NaN for a single class."""
    if classes < 2:
        return math.nan, math.nan
    found = stats.bootstrap(
        (np.arange(classes),),
        lambda chosen: share(chosen, "prototype"),
        vectorized=False,
        n_resamples=_RESAMPLES if classes > 3 else _RESAMPLES_OF_FEW,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def _interval_words(ends: tuple[float, float] | None, digits: int = 3) -> str:
    return "" if ends is None else f", 95 % interval {ends[0]:.{digits}f} to {ends[1]:.{digits}f}"


def _classes(count: int) -> str:
    return "1 class" if count == 1 else f"{count} classes"
