"""The paper's criteria: what each says of a condition, in each class or image, and how far prototypes are from what others reach."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from captum_proto.metrics.comparison import SAME, ConditionSummary, PathComparison
from captum_proto.stats.intervals import Estimate
from captum_proto.stats.judgments import mean_difference

PROTOTYPE, MEAN_IMAGE = "prototype", "mean_image"
#: Controls that know no data, as a sentence names them.
NO_DATA = {
    "gray": "a gray square",
    "noise": "uniform noise",
    "ascent": "gradient ascent without transforms",
    "feature_visualization": "feature visualization",
}


@dataclass(frozen=True)
class Criterion:
    """
    A criterion that prototypes are held to.

    Attributes:
        name (str): For people.
        value (Callable): A condition's figure.
        holds (Callable, optional): By image and layer, whether the criterion holds; None where the figure is not a share of layers.
    """

    name: str
    value: Callable[[ConditionSummary], float]
    holds: Callable[[PathComparison, str], Tensor] | None = None

    @property
    def share(self) -> bool:
        """Whether the figure is a share of layers."""
        return self.holds is not None


CRITERIA = (
    Criterion("Mean Spearman correlation", lambda row: row.spearman),
    Criterion(
        "Layers with SS ≥ SS_I",
        lambda row: row.spearman_above_mean,
        lambda comparison, condition: comparison.spearman[condition] >= comparison.mean_spearman(SAME),
    ),
    Criterion(
        "Layers with SS ≥ every I",
        lambda row: row.spearman_above_every,
        lambda comparison, condition: (
            comparison.spearman[condition] >= comparison.spearman[SAME].nan_to_num(-math.inf).amax(0)
        ),
    ),
    Criterion(
        "Layers with D ≤ D_I",
        lambda row: row.l1_below_mean,
        lambda comparison, condition: comparison.l1[condition] <= comparison.mean_l1(SAME),
    ),
)


def as_high(values: Mapping[str, float], conditions: Iterable[str], share: bool) -> list[str]:
    """
    Which conditions reach what the prototypes reach; of a criterion that holds in no layer for either, none does.

    Args:
        values (mapping[str, float]): A criterion's figures, by condition.
        conditions (iterable of str): Those to look at; what is not among the figures is left out.
        share (bool): Whether the figure is a share of layers.

    Examples::

        >>> as_high({"prototype": 0.0, "gray": 0.0, "noise": 0.1}, NO_DATA, share=True)
        ['noise']
    """
    own = values[PROTOTYPE]
    return [name for name in conditions if name in values and values[name] >= own and not (share and values[name] == 0)]


def _each(criterion: Criterion, comparisons: Sequence[PathComparison], condition: str) -> list[float]:
    """A condition's figure in each class, or where there is one class, of each image."""
    if len(comparisons) > 1:
        if condition == SAME:
            return [_natural_of(criterion, comparison) for comparison in comparisons]
        return [criterion.value(comparison.summary(condition)) for comparison in comparisons]
    (comparison,) = comparisons
    if criterion.holds is None:
        return list(by_image(comparison, condition).tolist())
    return list(criterion.holds(comparison, condition)[:, ~comparison.dead].double().mean(1).tolist())


def difference_from(criterion: Criterion, comparisons: Sequence[PathComparison], condition: str) -> Estimate:
    """The prototypes' figure less that of a condition: in pairs over classes where there are several, else over images."""
    own, others = (_each(criterion, comparisons, name) for name in (PROTOTYPE, condition))
    return mean_difference(own, others, paired=len(comparisons) > 1)


def natural_figure(criterion: Criterion, comparisons: Sequence[PathComparison]) -> float:
    """What a natural image of the class reaches: the mean over classes."""
    return _mean([_natural_of(criterion, comparison) for comparison in comparisons])


def _natural_of(criterion: Criterion, comparison: PathComparison) -> float:
    if criterion.holds is None:
        return criterion.value(comparison.summary(SAME))
    return float(criterion.holds(comparison, SAME)[:, ~comparison.dead].double().mean())


def by_image(comparison: PathComparison, condition: str) -> Tensor:
    """(N,): each image's mean over the living layers."""
    return comparison.spearman[condition][:, ~comparison.dead].nanmean(1)


def _mean(values: list[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


__all__ = [
    "CRITERIA",
    "MEAN_IMAGE",
    "NO_DATA",
    "PROTOTYPE",
    "Criterion",
    "as_high",
    "by_image",
    "difference_from",
    "natural_figure",
]
