"""Which measure tells the prototypes of fooled networks from honest ones: the area under the ROC curve of each."""

from __future__ import annotations

import math
from collections.abc import Sequence

from captum_proto._utils.tables import number
from captum_proto.experiments.fooling.rows import HONEST
from captum_proto.experiments.fooling.scores import MEASURES, PROTOTYPE, Score
from captum_proto.stats.intervals import Estimate
from captum_proto.stats.judgments import Order, order_by_interval
from captum_proto.stats.separation import area_under_curve


def separating_area(
    scores: Sequence[Score], measure: str, network: str, picture: str = PROTOTYPE, confidence: float = 0.95
) -> Estimate:
    """
    The chance that a measure finds a picture of a fooled network more suspicious than a prototype of the honest one: its AUC.

    Args:
        scores (sequence of Score): Of all networks; NaN is left out.
        measure (str): Of :data:`~captum_proto.experiments.fooling.scores.MEASURES`.
        network (str): The fooled one.
        picture (str, optional): "prototype", or "planted" for what was planted in it. Default: "prototype"
        confidence (float, optional): Of the interval, which takes pictures for independent of each other. Default: 0.95

    Returns:
        Estimate: In [0, 1], equal values counting as half; NaN where either side has no value.
    """
    sign = MEASURES[measure].suspicious
    fooled, honest = (
        [
            sign * value
            for value in (getattr(score, measure) for score in scores if (score.network, score.picture) == side)
            if not math.isnan(value)
        ]
        for side in ((network, picture), (HONEST, PROTOTYPE))
    )
    if not fooled or not honest:
        return Estimate(math.nan, math.nan, math.nan)
    return area_under_curve(fooled, honest, confidence)


def noticed(scores: Sequence[Score], networks: Sequence[str]) -> dict[str, dict[str, Order]]:
    """
    By fooled network and measure, whether its prototypes are more suspicious than honest ones, beyond chance.

    The intervals are at a confidence of 95 % for all networks and measures together (Bonferroni).

    Args:
        scores (sequence of Score): Of all networks.
        networks (sequence of str): The fooled ones.

    Returns:
        dict: ABOVE where the measure notices, BELOW where it finds the fooled prototypes the *less* suspicious ones, CHANCE or EQUAL
        where the interval holds one half, UNKNOWN where there is nothing to compare.
    """
    confidence = 1 - 0.05 / max(1, len(networks) * len(MEASURES))
    return {
        network: {
            measure: order_by_interval(_beyond_half(separating_area(scores, measure, network, confidence=confidence)))
            for measure in MEASURES
        }
        for network in networks
    }


def sentences(scores: Sequence[Score], networks: Sequence[str]) -> list[str]:
    """Of each fooled network, which measures notice it, which do not, and which are misled."""
    told = []
    for network, orders in noticed(scores, networks).items():
        parts = []
        for found, words in (
            ((Order.ABOVE,), "more suspicious than honest prototypes by"),
            ((Order.CHANCE, Order.EQUAL), "not told from them, beyond chance, by"),
            ((Order.BELOW,), "less suspicious than they by"),
        ):
            labels = [MEASURES[measure].label for measure, order in orders.items() if order in found]
            parts += [f"{words} {', '.join(labels)}"] if labels else []
        if parts:
            told.append(f"{network}: {'; '.join(parts)}.")
    return told


def area_rows(
    scores: Sequence[Score], networks: Sequence[str], picture: str = PROTOTYPE
) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the table: a measure each, a column for each fooled network that has such pictures."""
    shown = [name for name in networks if any((s.network, s.picture) == (name, picture) for s in scores)]
    rows = []
    for measure, facts in MEASURES.items():
        areas = [separating_area(scores, measure, name, picture) for name in shown]
        rows.append([facts.label, *("–" if math.isnan(a.value) else _with_interval(a) for a in areas)])
    return ["AUC", *shown], rows


def mean_rows(scores: Sequence[Score], networks: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """The header and the rows of the means over prototypes: a measure each, a column for each network."""
    rows = []
    for measure, facts in MEASURES.items():
        cells = [facts.label]
        for name in networks:
            values = [getattr(s, measure) for s in scores if (s.network, s.picture) == (name, PROTOTYPE)]
            there = [value for value in values if not math.isnan(value)]
            cells.append(number(sum(there) / len(there), 2) if there else "–")
        rows.append(cells)
    return ["mean", *networks], rows


def _beyond_half(area: Estimate) -> Estimate:
    return Estimate(area.value - 0.5, area.low - 0.5, area.high - 0.5)


def _with_interval(area: Estimate) -> str:
    return f"{number(area.value, 2)} [{number(area.low, 2)}, {number(area.high, 2)}]"


__all__ = ["area_rows", "mean_rows", "noticed", "sentences", "separating_area"]
