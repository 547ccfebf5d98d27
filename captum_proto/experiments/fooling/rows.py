"""What path similarity says of the prototypes of one class on one network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy import stats

from captum_proto.metrics import PathComparison
from captum_proto.metrics.comparison import OTHER, SAME

#: What the rows of the classifier itself are called.
HONEST = "honest"
#: What those of the control are called that was fine-tuned without a slingshot.
FINE_TUNED = "fine_tuned"


@dataclass(frozen=True)
class Row:
    """
    What path similarity says of the prototypes of one class on one network.

    Attributes:
        network (str): "honest", or what was planted.
        seed (int): Of prototypes and detector, and of the network where it is trained.
        target (str): The class.
        spearman (float): Mean over layers of the prototypes' Spearman correlation with the mean natural activations.
        same (float): The same, of natural images of the class.
        other (float): The same, of natural images of other classes.
        normalized (float): (spearman - other) / (same - other): 1 as the class, 0 as other classes; NaN where both are equal.
        median_normalized (float): The median over layers of the same, layer by layer.
        above_other (float): Share of the images of other classes that are below the prototypes.
        above_mean (float): Share of layers in which assertion (2) holds, against the mean over images of the class.
        below_mean (float): Share of layers in which assertion (1) holds.
        all_layers (float): ``normalized``, with the layers of detector and decoy.
        flagged (bool): Whether ``normalized`` is below the threshold.
    """

    network: str
    seed: int
    target: str
    spearman: float
    same: float
    other: float
    normalized: float
    median_normalized: float
    above_other: float
    above_mean: float
    below_mean: float
    all_layers: float
    flagged: bool


def judge(
    comparison: PathComparison, network: str, seed: int, target: str, threshold: float, inner: str | None = None
) -> Row:
    """
    What path similarity says of one class's prototypes, and whether it flags them.

    Args:
        comparison (PathComparison): Of the prototypes with natural images.
        network (str): For the row.
        seed (int): For the row.
        target (str): For the row.
        threshold (float): Prototypes are flagged whose normalized Spearman correlation is below this.
        inner (str, optional): Look only at layers whose names begin with this and a dot. Default: None, all

    Returns:
        Row: One row of the table.
    """
    all_layers = _normalized(comparison)[3]
    if inner is not None:
        comparison = inner_layers(comparison, inner)
    spearman, same, other, normalized = _normalized(comparison)
    by_image = comparison.spearman[OTHER][:, ~comparison.dead].nanmean(1)
    prototype = comparison.summary("prototype")
    return Row(
        network=network,
        seed=seed,
        target=target,
        spearman=spearman,
        same=same,
        other=other,
        normalized=normalized,
        median_normalized=prototype.normalized_spearman,
        above_other=float((by_image < spearman).double().mean()),
        above_mean=prototype.spearman_above_mean,
        below_mean=prototype.l1_below_mean,
        all_layers=all_layers,
        flagged=bool(normalized < threshold),
    )


def _normalized(comparison: PathComparison) -> tuple[float, float, float, float]:
    spearman, same, other = (comparison.summary(condition).spearman for condition in ("prototype", SAME, OTHER))
    return spearman, same, other, (spearman - other) / (same - other) if same != other else math.nan


def inner_layers(comparison: PathComparison, inner: str) -> PathComparison:
    """Of the layers alone whose names begin with ``inner`` and a dot."""
    chosen = torch.tensor([name.startswith(f"{inner}.") for name in comparison.layers])
    return PathComparison(
        [name for name in comparison.layers if name.startswith(f"{inner}.")],
        {condition: values[:, chosen] for condition, values in comparison.spearman.items()},
        {condition: values[:, chosen] for condition, values in comparison.l1.items()},
        comparison.settings,
    )


def separation(rows: Sequence[Row], network: str) -> float:
    """
    The chance that a fooled network's prototype has a lower normalized Spearman correlation than an honest one: the AUC.

    Args:
        rows (sequence of Row): Of all networks; those whose correlation is NaN are left out.
        network (str): The fooled one.

    Returns:
        float: 0 to 1, equal values counting as half; NaN if either network has no rows.
    """
    honest, fooled = (
        [row.normalized for row in rows if row.network == name and not math.isnan(row.normalized)]
        for name in (HONEST, network)
    )
    if not honest or not fooled:
        return math.nan
    return float(stats.mannwhitneyu(honest, fooled, method="asymptotic").statistic) / (len(honest) * len(fooled))


def mean_of(rows: Sequence[Row], column: str) -> float:
    """The mean of a column over the rows that have a value of it; NaN if none has."""
    values = [value for value in (getattr(row, column) for row in rows) if not math.isnan(value)]
    return float(sum(values) / len(values)) if values else math.nan


__all__ = ["FINE_TUNED", "HONEST", "Row", "inner_layers", "judge", "mean_of", "separation"]
