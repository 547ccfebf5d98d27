"""Measures of prototypes beside controls: a mean for each condition, with an interval over what was drawn independently."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from captum_proto.stats.intervals import Estimate, interval
from captum_proto.stats.shares import mean_share

_RESAMPLES = 2000


@dataclass(frozen=True)
class Measured:
    """
    What was measured of one input.

    Attributes:
        unit (str): What was drawn independently: the network, or where there is one the class. Means are over units.
        condition (str): Prototype, or the name of a control.
        target (str): Of which class it is, or is to be.
        values (dict[str, float]): By measure; NaN where there is none.
    """

    unit: str
    condition: str
    target: str
    values: dict[str, float]

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Measured:
        """What ``vars`` gave."""
        values = {name: math.nan if value is None else float(value) for name, value in content["values"].items()}
        return cls(str(content["unit"]), str(content["condition"]), str(content["target"]), values)

    def to_json(self) -> dict[str, Any]:
        """As JSON can hold it."""
        values = {name: None if math.isnan(value) else value for name, value in self.values.items()}
        return {**vars(self), "values": values}


def condition_estimate(measured: Iterable[Measured], condition: str, measure: str, share: bool = False) -> Estimate:
    """
    The mean of a measure over units, with an interval over them; NaN where there are too few.

    Args:
        measured (iterable of Measured): Of all conditions.
        condition (str): Which.
        measure (str): Which.
        share (bool, optional): Whether it lies between 0 and 1, as shares and probabilities do: the interval is then that of
            :func:`~captum_proto.stats.shares.mean_share`; else it is Student's. Default: False

    Examples::

        >>> rows = [Measured(unit, "prototype", "a", {"right": right}) for unit, right in (("0", 1.0), ("0", 0.0), ("1", 1.0))]
        >>> condition_estimate(rows, "prototype", "right").value
        0.75
    """
    by_unit: dict[str, list[float]] = {}
    for each in measured:
        if each.condition == condition and not math.isnan(each.values.get(measure, math.nan)):
            by_unit.setdefault(each.unit, []).append(each.values[measure])
    means = [sum(values) / len(values) for values in by_unit.values()]
    if share and means:
        return mean_share(means, resamples=_RESAMPLES)
    ends = interval(means)
    value = sum(means) / len(means) if means else math.nan
    return Estimate(value, *(ends if ends is not None else (math.nan, math.nan)))


def paired_estimate(
    measured: Sequence[Measured], first: str, second: str, measure: str, share: bool = False
) -> Estimate:
    """
    The mean over units of the difference between two conditions, with Student's interval over the units that have both.

    Args:
        measured (sequence of Measured): Of all conditions.
        first (str): A condition.
        second (str): The one that is subtracted.
        measure (str): Which.
        share (bool, optional): Whether it lies between 0 and 1, so that no difference is beyond 1. Default: False

    Examples::

        >>> rows = [Measured(unit, *rest) for unit in "ab" for rest in (("prototype", "x", {"p": 1.0}), ("gray", "x", {"p": 0.5}))]
        >>> paired_estimate(rows, "prototype", "gray", "p").value
        0.5
    """
    differences = []
    for unit in dict.fromkeys(each.unit for each in measured):
        own = [each for each in measured if each.unit == unit]
        one, other = (condition_estimate(own, condition, measure).value for condition in (first, second))
        if not math.isnan(one) and not math.isnan(other):
            differences.append(one - other)
    ends = interval(differences)
    if share and ends is not None:
        ends = max(ends[0], -1.0), min(ends[1], 1.0)
    value = sum(differences) / len(differences) if differences else math.nan
    return Estimate(value, *(ends if ends is not None else (math.nan, math.nan)))


__all__ = ["Measured", "condition_estimate", "paired_estimate"]
