"""What the curves over layers show, whoever draws them: four measures, smoothed as the paper smooths them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from captum_proto.metrics.comparison import OTHER, SAME, PathComparison, smooth

#: The paper's moving averages: of means and of standard deviations, in layers.
MEAN_WINDOW, SPREAD_WINDOW = 10, 5


@dataclass(frozen=True)
class Measure:
    """
    A value of a condition in each layer.

    Attributes:
        key (str): Its name in data.
        title (str): Its name for people.
        label (str): Of its axis.
        values (Callable): (L,), given a comparison and a condition.
        lines (tuple[float, ...]): Values that mean something, drawn across.
        limits (tuple[float, float], optional): Values beyond are drawn at the edge.
        logarithmic (bool): Of the axis.
        natural (bool): Whether same-class and other-class images are shown; else they are what the others are measured by.
        digits (int): Of a value, after the point.
    """

    key: str
    title: str
    label: str
    values: Callable[[PathComparison, str], Tensor]
    lines: tuple[float, ...] = ()
    limits: tuple[float, float] | None = None
    logarithmic: bool = False
    natural: bool = True
    digits: int = 3

    def shows(self, condition: str) -> bool:
        """Whether a condition has a curve of this measure."""
        return self.natural or condition not in (SAME, OTHER)


MEASURES = (
    Measure(
        "spearman",
        "Spearman",
        "Spearman with the mean natural activations",
        lambda comparison, condition: comparison.mean_spearman(condition),
    ),
    Measure(
        "l1",
        "L1",
        "L1 distance, relative to the same class",
        lambda comparison, condition: comparison.mean_l1(condition) / comparison.mean_l1(SAME),
        lines=(1.0,),
        logarithmic=True,
        digits=2,
    ),
    Measure(
        "spearman-normalized",
        "Spearman, normalized",
        "normalized Spearman: 1 same class, 0 other",
        lambda comparison, condition: comparison.normalized_spearman(condition),
        lines=(0.0, 1.0),
        limits=(-1.0, 3.0),
        natural=False,
        digits=2,
    ),
    Measure(
        "l1-normalized",
        "L1, normalized",
        "normalized L1: 0 same class, 1 other",
        lambda comparison, condition: comparison.normalized_l1(condition),
        lines=(0.0, 1.0),
        limits=(-3.0, 3.0),
        natural=False,
        digits=2,
    ),
)


@dataclass(frozen=True)
class Line:
    """
    A curve, ready to be drawn.

    Attributes:
        condition (str): Whose.
        layers (numpy.ndarray): The layers that have a value, counted from 1.
        values (numpy.ndarray): There, smoothed.
        spread (numpy.ndarray, optional): One standard deviation over images, smoothed; of natural images alone.
    """

    condition: str
    layers: np.ndarray
    values: np.ndarray
    spread: np.ndarray | None = None


def line(comparison: PathComparison, condition: str, measure: Measure) -> Line | None:
    """
    A condition's curve of a measure; gaps, where a layer has no value, are bridged so that smoothing does not spread them.

    Args:
        comparison (PathComparison): The scores.
        condition (str): One of its conditions.
        measure (Measure): One of ``MEASURES``.

    Returns:
        Line: The moving mean over 10 layers, fewer where there are few; None where no layer has a value.
    """
    values = measure.values(comparison, condition)
    living = ~values.isnan() & values.isfinite()
    if not bool(living.any()):
        return None
    count = int(living.sum())
    if measure.limits is not None:
        values = values.clamp(*measure.limits)
    spread = None
    if measure.key == "spearman" and condition in (SAME, OTHER):
        band = _over_images(comparison.spearman[condition])[living].nan_to_num(0.0)
        spread = smooth(band, window(SPREAD_WINDOW, count)).numpy()
    return Line(
        condition=condition,
        layers=np.arange(1, len(values) + 1)[living.numpy()],
        values=smooth(values[living], window(MEAN_WINDOW, count)).numpy(),
        spread=spread,
    )


def window(most: int, layers: int) -> int:
    """The paper's window, or about a sixth of the layers where there are few."""
    return max(1, min(most, layers // 6))


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """At most about so many round numbers from ``low`` to ``high``."""
    if not high > low:
        return [low]
    rough = (high - low) / most
    magnitude = 10 ** math.floor(math.log10(rough))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if magnitude * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _over_images(values: Tensor) -> Tensor:
    """(L,): the standard deviation over images; 0 where there is one."""
    mean = values.nanmean(0)
    return ((values - mean).square().nanmean(0)).sqrt()
