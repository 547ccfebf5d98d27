"""How well several people agree who put the same things into categories: kappa, with its bootstrap interval."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.errors import InputError
from captum_proto.stats.intervals import Estimate


def rater_agreement(
    ratings: Sequence[Sequence[Hashable]], confidence: float = 0.95, resamples: int = 1999, seed: int = 0
) -> Estimate:
    r"""
    The agreement of people beyond what chance gives: Cohen's kappa of two, Fleiss' kappa of more.

    .. math::
        \kappa = \frac{\bar P - P_e}{1 - P_e}

    :math:`\bar P` is the share of pairs of people that agree on an item, the mean over items, and :math:`P_e` the share that would
    agree if each drew categories at random: at each person's own rates for two people (Cohen, 1960), at the rates of all of them for more
    (Fleiss, 1971). The interval is of the bootstrap over items, percentiles.

    Args:
        ratings (sequence of sequence): N items, each with the categories that the same R people gave it, in the same order; R at least 2.
        confidence (float, optional): Of the interval, between 0 and 1. Default: 0.95
        resamples (int, optional): Of the bootstrap. Default: 1999
        seed (int, optional): Of the bootstrap. Default: 0

    Returns:
        Estimate: At most 1; 0 is what chance gives. NaN where all people gave one and the same category to all items, which chance
        would as well. There is no interval (NaN) for a single item.

    Raises:
        ValueError: If there are no items, fewer than two people, or not as many for each item.

    Examples::

        >>> kappa = rater_agreement([("cat", "cat"), ("cat", "dog"), ("dog", "dog"), ("dog", "dog")])
        >>> round(kappa.value, 3)
        0.5
    """
    if not ratings:
        raise InputError("there are no ratings; give at least one item.")
    people = {len(row) for row in ratings}
    if len(people) != 1 or min(people) < 2:
        raise InputError(
            f"the items have {' and '.join(map(str, sorted(people)))} ratings; expected those of the same two people or more for each."
        )
    if not 0 < confidence < 1:
        raise InputError(f"confidence is {confidence}; expected between 0 and 1, such as 0.95.")
    if resamples < 1:
        raise InputError(f"resamples is {resamples}; expected at least 1, such as 1999.")
    places: dict[Hashable, int] = {}
    codes = np.array([[places.setdefault(each, len(places)) for each in row] for row in ratings])
    one_hot = np.eye(len(places))[codes]  # (items, people, categories)
    value = float(_kappa(one_hot, np.full((1, len(codes)), 1 / len(codes)))[0])
    if len(codes) == 1 or math.isnan(value):
        return Estimate(value, math.nan, math.nan)
    random = np.random.default_rng(seed)
    drawn = random.multinomial(len(codes), np.full(len(codes), 1 / len(codes)), size=resamples) / len(codes)
    found = _kappa(one_hot, drawn)
    low, high = np.nanpercentile(found, [50 * (1 - confidence), 50 * (1 + confidence)])
    return Estimate(value, float(low), float(high))


def _kappa(one_hot: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Kappa of each row of weights of the items, which sum to 1."""
    people = one_hot.shape[1]
    counts = one_hot.sum(1)
    agree = weights @ ((counts**2).sum(1) - people) / (people * (people - 1))
    if people == 2:
        first, second = (weights @ one_hot[:, person] for person in (0, 1))
        by_chance = (first * second).sum(1)
    else:
        by_chance = ((weights @ counts / people) ** 2).sum(1)
    chance_is_all = by_chance > 1 - 1e-12
    found: NDArray[np.float64] = np.where(
        chance_is_all, np.nan, (agree - by_chance) / np.where(chance_is_all, 1, 1 - by_chance)
    )
    return found


__all__ = ["rater_agreement"]
