"""From which depth of a network on an image is processed like natural images of its class (arXiv:2306.04719)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike
from scipy import ndimage
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import number, text_table
from captum_proto.stats.intervals import spread

if TYPE_CHECKING:
    from captum_proto.metrics.comparison import PathComparison

#: The window with which the paper smooths curves of means (arXiv:2309.17144, section 4).
WINDOW = 10


def smooth(curve: Tensor, window: int) -> Tensor:
    """A curve over layers as the paper plots it: a moving mean by ``scipy.ndimage.convolve``, the ends repeated by reflection."""
    values = np.asarray(curve, dtype=np.float64)
    return torch.from_numpy(ndimage.convolve(values, np.full(window, 1 / window), mode="reflect"))


def depth_above_half(curve: Tensor | ArrayLike, window: int = 1) -> float:
    r"""
    The depth from which on a normalized curve stays above one half: nearer to same-class than to other-class images.

    Geirhos et al. ("Don't trust your eyes: on the (un)reliability of feature visualizations", arXiv:2306.04719, section 4) find that
    feature visualizations are processed like natural images only in the last third of the layers.

    Args:
        curve (Tensor or array-like): (L,), a normalized similarity by layer: 1 as the same class, 0 as other classes. NaN where a layer has
            none; such layers are left out before the curve is smoothed, and neither begin nor end a stretch. They keep their place: depth
            is counted in all L layers.
        window (int, optional): Over how many layers the curve is smoothed, as by :func:`smooth`. 1 is the raw curve. Default: 1

    Returns:
        float: The share of layers before that depth, in [0, 1]: 0 where the curve is above one half throughout, 1 where it is not in the
        last layer. NaN where no layer has a value.

    Raises:
        ValueError: If the curve has no layers or more than one axis, or the window is smaller than 1.

    Examples::

        >>> depth_above_half([0.2, 0.7, 0.4, 0.9, 0.8, 1.1])
        0.5
    """
    values = np.asarray(curve, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise InputError(
            f"the curve has shape {values.shape}; expected (L,), one value for each of at least one layer."
        )
    window = check_int(window, "window", 1)
    (defined,) = np.nonzero(~np.isnan(values))
    if not len(defined):
        return math.nan
    known = values[defined] if window == 1 else smooth(torch.from_numpy(values[defined]), window).numpy()
    (below,) = np.nonzero(known <= 0.5)
    if not len(below):
        return 0.0
    first = int(below[-1]) + 1
    return float(defined[first]) / len(values) if first < len(defined) else 1.0


@dataclass(frozen=True)
class DepthSummary:
    r"""
    From which depth on one condition is processed like natural images of the class.

    Attributes:
        condition (str): "prototype", "same_class", "other_class", or a control.
        smoothed (float): :func:`depth_above_half` of the smoothed curve of normalized Spearman similarity: 0 from the first layer on, 1
            nowhere.
        raw (float): The same of the raw curve, which a single layer below one half makes deep.
        classes (int): Over how many classes the row is a mean.
        smoothed_over_classes (float): Standard deviation of ``smoothed`` over classes; NaN for a single one.
    """

    condition: str
    smoothed: float
    raw: float
    classes: int = 1
    smoothed_over_classes: float = math.nan


def summarize_depths(comparisons: Sequence[PathComparison], window: int = WINDOW) -> list[DepthSummary]:
    r"""
    The depths of several classes' comparisons: every figure the mean over those classes that have one.

    Args:
        comparisons (sequence of PathComparison): One for each class, with the same conditions.
        window (int, optional): Over how many layers curves are smoothed. Default: 10

    Returns:
        list[DepthSummary]: One row for each condition.

    Raises:
        ValueError: If there are no comparisons, or their conditions differ.
    """
    if not comparisons:
        raise InputError("there are no comparisons to summarize; give at least one.")
    if any(other.conditions != comparisons[0].conditions for other in comparisons):
        raise InputError("the comparisons differ in their conditions; summarize those made with the same controls.")
    rows = []
    for each in zip(*(comparison.depths(window) for comparison in comparisons), strict=True):
        smoothed, raw = [row.smoothed for row in each], [row.raw for row in each]
        rows.append(DepthSummary(each[0].condition, _mean(smoothed), _mean(raw), len(each), spread(smoothed)))
    return rows


def depth_table(summaries: Sequence[DepthSummary]) -> str:
    """Rows of depths as aligned text."""
    header = ["condition", "depth (smoothed)", "± classes", "depth (raw)"]
    return text_table(
        header,
        [
            [
                row.condition.replace("_", " "),
                *(number(v, 2) for v in (row.smoothed, row.smoothed_over_classes, row.raw)),
            ]
            for row in summaries
        ],
    )


def _mean(values: Sequence[float]) -> float:
    finite = [value for value in values if not math.isnan(value)]
    return sum(finite) / len(finite) if finite else math.nan


__all__ = ["WINDOW", "DepthSummary", "depth_above_half", "depth_table", "smooth", "summarize_depths"]
