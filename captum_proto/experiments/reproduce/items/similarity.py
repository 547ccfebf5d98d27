"""Figures 2, 4, 5 and 8 and Table 1: path similarity of prototypes, natural images and controls, over all classes of a stage."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats

from captum_proto._utils.tables import number, percent
from captum_proto.experiments.reproduce import paper
from captum_proto.experiments.reproduce.items.registry import Item, beside_paper, item
from captum_proto.experiments.reproduce.stages import StageResults
from captum_proto.metrics import DATA_FREE, PathComparison
from captum_proto.metrics.comparison import OTHER, SAME, condition_label, pooled
from captum_proto.report.blocks import Verdict
from captum_proto.report.figures import points_figure
from captum_proto.report.views.layer_curves import comparison_figure
from captum_proto.stats.intervals import interval, spread, spreads

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
        text=[_best_control(results.every)],
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
                f"{mean:.3f} ± {number(spread(values))} over {len(values)} classes, ± {over_layers:.3f} over layers"
                + _interval_words(interval(values)),
                mean,
                paper.VALUES.get(("table1", condition, results.stage.model)),
            )
        )
        labels = results.stage.labels.values()
        made.rows += [[label, condition, value] for label, value in zip(labels, values, strict=True)]
    made.figure = points_figure(points, "mean Spearman over layers, a point for each class")
    made.text = [_best_control(results.every)]
    return made


@item("fig4")
def figure_4(results: StageResults) -> Item:
    """L1 distance, layer by layer, and in how many layers assertion (1) holds."""
    comparisons = results.every
    header, rows = _layer_rows(results)
    return Item(
        "L1 distance, layer by layer",
        verdicts=_share_verdicts(
            results, "fig4", {"layers with D ≤ D_I": lambda chosen, name: _share_nearer(comparisons, chosen, name)}
        ),
        header=header,
        rows=rows,
        figure=comparison_figure(pooled(comparisons), measures=("l1",)),
        text=[
            "A gray square knows nothing of the class: where it passes as well, this criterion alone proves nothing."
        ],
    )


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
    return Item(
        "Spearman correlation, layer by layer",
        verdicts=_share_verdicts(results, "fig5", readings),
        header=header,
        rows=rows,
        figure=comparison_figure(pooled(comparisons), measures=("spearman",)),
    )


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
                f"{np.mean(values):.2f} ± {number(spread(values), 2)} over {len(values)} classes"
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


def _share_verdicts(results: StageResults, name: str, readings: dict[str, _Reading]) -> list[Verdict]:
    """In how many layers an assertion holds: of prototypes with an interval and the paper's value, and of each control."""
    comparisons = results.every
    everyone = np.arange(len(comparisons))
    verdicts = []
    for reading, share in readings.items():
        ours = share(everyone, "prototype")
        low, high = _over_classes(len(comparisons), share)
        span = f", 95 % over classes {percent(low)} to {percent(high)}" if not math.isnan(low) else ""
        measured = f"{percent(ours)} of {len(comparisons[0].layers)}{span}"
        published = paper.VALUES.get((name, reading, results.stage.model))
        verdicts.append(beside_paper(reading, measured, ours, published, points=True))
        verdicts += [
            Verdict(f"{reading}: {condition_label(condition)}", percent(share(everyone, condition)))
            for condition in comparisons[0].conditions
            if condition not in ("prototype", SAME, OTHER)
        ]
    return verdicts


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


def _best_control(comparisons: Sequence[PathComparison]) -> str:
    """Whether prototypes are above what knows no data, as a sentence."""
    means = {
        condition: float(np.mean([comparison.summary(condition).spearman for comparison in comparisons]))
        for condition in comparisons[0].conditions
    }
    free = {condition: value for condition, value in means.items() if condition in DATA_FREE}
    best = max(free, key=lambda condition: free[condition])
    words = "above" if means["prototype"] > free[best] else "not above"
    return (
        f"Prototypes are {words} every picture that knows no data: the best of those is {condition_label(best)}, with a mean Spearman of "
        f"{free[best]:.3f} against {means['prototype']:.3f}. The mean image, which knows the data, has "
        f"{means.get('mean_image', math.nan):.3f}."
    )
