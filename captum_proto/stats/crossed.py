"""The mean of a table whose rows and columns are both drawn at random, such as seeds and images: its interval, and its test."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import Estimate


@dataclass(frozen=True)
class CrossedMean:
    """
    A mean over rows and columns, and how far it may be off.

    Attributes:
        value (float): The mean; NaN where there are no values.
        error (float): Its standard error; 0 where all values are equal, NaN where there is a single one.
        freedom (float): Degrees of freedom of the error.
    """

    value: float
    error: float
    freedom: float

    def estimate(self, confidence: float = 0.95) -> Estimate:
        """
        The mean with its interval, by Student's t.

        Args:
            confidence (float, optional): Between 0 and 1. Default: 0.95

        Raises:
            ValueError: If ``confidence`` is out of its range.
        """
        if not 0 < confidence < 1:
            raise InputError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95.")
        if self.error == 0 or math.isnan(self.error):
            return Estimate(self.value, self.value + self.error, self.value + self.error)
        half = float(stats.t.ppf((1 + confidence) / 2, self.freedom)) * self.error
        return Estimate(self.value, self.value - half, self.value + half)

    def p_value(self, expected: float = 0.0) -> float:
        """
        How often chance alone would take the mean at least so far from what is expected, on either side.

        Args:
            expected (float, optional): The mean under the hypothesis. Default: 0.0

        Returns:
            float: Two-sided, by Student's t; 0 or 1 where all values are equal, NaN where there is a single one.
        """
        if math.isnan(self.error):
            return math.nan
        if self.error == 0:
            return float(self.value == expected)
        return float(2 * stats.t.sf(abs(self.value - expected) / self.error, self.freedom))


def crossed_mean(values: ArrayLike) -> CrossedMean:
    r"""
    The mean of values that share rows and columns, where neither the rows nor the columns are all there are.

    The values of a row have something in common, and so have those of a column: with S rows and N columns, the mean has the variance

    .. math::
        \frac{\mathrm{MS}_{rows} + \mathrm{MS}_{columns} - \mathrm{MS}_{rest}}{S N}

    of the analysis of variance with two crossed random factors (Searle, Casella and McCulloch, "Variance Components", 1992, section 4.5),
    and Satterthwaite's degrees of freedom (Biometrics Bulletin 1946). It is taken to be no smaller than that of either factor alone. Of a
    single row, or a single column, this is the usual standard error over the other factor, and speaks of that row alone.

    Args:
        values (array-like): (S, N), such as seeds and images; NaN are left out, and so are rows and columns without a value.

    Returns:
        CrossedMean: The mean of all values.

    Raises:
        ValueError: If ``values`` is not a table.

    Examples::

        >>> mean = crossed_mean([[0.2, 0.4, 0.3], [0.3, 0.5, 0.4]])
        >>> f"{mean.value:.2f}, p {mean.p_value():.3f}"
        '0.35, p 0.021'
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2:
        raise InputError(f"values have shape {table.shape}; expected rows and columns, (S, N).")
    there = ~np.isnan(table)
    table = table[there.any(1)][:, there.any(0)]
    there = ~np.isnan(table)
    count = int(there.sum())
    if not count:
        return CrossedMean(math.nan, math.nan, math.nan)
    low, high = float(np.nanmin(table)), float(np.nanmax(table))
    if count == 1 or low == high:
        return CrossedMean(low, math.nan if count == 1 else 0.0, math.nan if count == 1 else math.inf)
    mean = float(np.nansum(table) / count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no row or column is without a value here
        of_rows, of_columns = np.nanmean(table, 1) - mean, np.nanmean(table, 0) - mean
    rows = _mean_square(of_rows, there.sum(1))
    columns = _mean_square(of_columns, there.sum(0))
    if rows is None or columns is None:
        alone, freedom = (columns, table.shape[1] - 1) if rows is None else (rows, table.shape[0] - 1)
        return CrossedMean(mean, math.sqrt((alone or 0.0) / count), float(freedom))
    freedoms = [table.shape[0] - 1.0, table.shape[1] - 1.0]
    left = max(1.0, count - 1 - sum(freedoms))
    rest = float(np.nansum((table - mean - of_rows[:, None] - of_columns[None]) ** 2) / left)
    total = rows + columns - rest
    if total < max(rows, columns):  # what chance made negative of a component
        larger = int(columns > rows)
        return CrossedMean(mean, math.sqrt(max(rows, columns) / count), freedoms[larger])
    freedom = total**2 / (rows**2 / freedoms[0] + columns**2 / freedoms[1] + rest**2 / left)
    return CrossedMean(mean, math.sqrt(total / count), freedom)


def _mean_square(effects: NDArray[np.float64], counts: NDArray[np.int64]) -> float | None:
    """Between the levels of a factor; None of a single one."""
    return float((counts * effects**2).sum() / (len(effects) - 1)) if len(effects) > 1 else None


__all__ = ["CrossedMean", "crossed_mean"]
