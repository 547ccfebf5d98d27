"""Whether a picture finds photographs of its class among those of all classes, in another network's features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, number, text_table
from captum_proto._utils.targets import Target
from captum_proto.metrics.feature_checks import (
    checked_features,
    checked_labels,
    checked_own,
    targets_with_photographs,
    unit_rows,
)
from captum_proto.stats.intervals import Estimate
from captum_proto.stats.shares import mean_share

#: Cosines nearer than this are tied: equal features need not have equal cosines to the last bit.
_TIED = 1e-12
#: Pictures that are compared with all photographs at a time.
_AT_A_TIME = 64


@dataclass(frozen=True)
class Retrieval:
    """
    The rank of the first photograph of a picture's class, among photographs of all classes.

    Attributes:
        target (list[tuple[int, ...]]): The classes of each picture.
        rank (Tensor): (N,), float64, from 1: the photograph most similar to the picture is of its class.
        chance_rank (Tensor): (N,), the rank expected of photographs in random order, exact.
        reciprocal (Tensor): (N,), one over the rank; expected over the orders of tied photographs.
        chance_reciprocal (Tensor): (N,), that expected of photographs in random order, exact.
        photographs (int): How many, of all classes.
        confidence (float): Of all intervals.
    """

    target: list[Target]
    rank: Tensor
    chance_rank: Tensor
    reciprocal: Tensor
    chance_reciprocal: Tensor
    photographs: int
    confidence: float = 0.95

    def __len__(self) -> int:
        return len(self.rank)

    @property
    def median_rank(self) -> Estimate:
        """The median rank, with its exact interval by order statistics; NaN where there are too few pictures for an end."""
        ranks = self.rank.numpy()
        found: Any = stats.quantile_test(ranks, q=0, p=0.5).confidence_interval(self.confidence)
        return Estimate(float(self.rank.quantile(0.5)), float(found.low), float(found.high))

    @property
    def mean_reciprocal_rank(self) -> Estimate:
        """The mean of one over the rank, 1 where each picture's nearest photograph is of its class, with its interval."""
        return mean_share(self.reciprocal.numpy(), self.confidence)

    @property
    def chance(self) -> dict[str, float]:
        """What photographs in random order give, on average: the mean "rank", and the mean "reciprocal" rank."""
        return {"rank": float(self.chance_rank.mean()), "reciprocal": float(self.chance_reciprocal.mean())}

    def table(self) -> str:
        """Median rank and mean reciprocal rank with their intervals, and what random order gives on average, as text."""
        rows = [
            [name, number(mean.value), between((mean.low, mean.high)), number(self.chance[key])]
            for name, key, mean in (
                ("median rank", "rank", self.median_rank),
                ("mean reciprocal rank", "reciprocal", self.mean_reciprocal_rank),
            )
        ]
        return text_table(["measure", "value", "interval", "random order"], rows)


def retrieval(
    features: Tensor,
    target: Any,
    natural: Tensor,
    labels: Any,
    *,
    own: Any = None,
    confidence: float = 0.95,
) -> Retrieval:
    r"""
    The rank of the first photograph of a picture's class, when photographs of all classes are ordered by their cosine with the picture.

    With ties, the rank is the mean over all orders of the tied photographs: where t are tied, g are before them and r of them are of the
    class, :math:`g + (t + 1) / (r + 1)`. So a picture that tells nothing, such as one with features of zero, gets the rank of chance:
    with M photographs of which R are of the class, :math:`(M + 1) / (R + 1)`.

    Args:
        features (Tensor): (N, D), of pictures in a network that did not make them, such as
            :func:`~captum_proto.metrics.verifier_features` gives.
        target (TargetType or nested list): A class, or one for each picture, or of each a superclass as a list of classes.
        natural (Tensor): (M, D), of photographs of all classes.
        labels (Tensor or sequence of int): (M,), the class of each photograph.
        own (Tensor or sequence of int, optional): (N,), of each picture the number of the photograph that it is itself, which is left out,
            or -1: so photographs of the same classes give the ceiling. Default: None, no picture is a photograph
        confidence (float, optional): Of the intervals. Default: 0.95

    Returns:
        Retrieval: By picture, with chance beside it.

    Raises:
        TypeError, ValueError: If features are not such tensors, or there is no photograph of a target.

    Examples::

        >>> photographs = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> found = retrieval(torch.tensor([[1.0, 0.1], [1.0, 0.0]]), [0, 1], photographs, [0, 0, 1, 1])
        >>> found.rank.tolist(), round(found.chance["rank"], 3)
        ([1.0, 3.0], 1.667)
    """
    photographs = checked_features(natural, "natural")
    pictures = checked_features(features, "features", like=photographs)
    classes = checked_labels(labels, len(photographs))
    targets = targets_with_photographs(target, len(pictures), classes)
    places = checked_own(own, len(pictures), len(photographs))
    units = unit_rows(photographs)
    cosines = (row for block in torch.split(unit_rows(pictures), _AT_A_TIME) for row in block @ units.T)
    rows = []
    for row, (mine, (which, relevant), place) in enumerate(zip(cosines, targets, places.tolist(), strict=True)):
        others = torch.arange(len(photographs)) != place
        values, wanted = mine[others], relevant[others]
        if not bool(wanted.any()):
            raise InputError(
                f"picture {row} is the only photograph of its target {list(which)}; give another, or leave it out."
            )
        best = values[wanted].max()
        before = int((values > best + _TIED).sum())
        tied = (values >= best - _TIED) & (values <= best + _TIED)
        size, own_tied = int(tied.sum()), int((tied & wanted).sum())
        total, own_total = len(values), int(wanted.sum())
        rows.append(
            [
                before + _expected_rank(size, own_tied),
                _expected_rank(total, own_total),
                _expected_reciprocal(size, own_tied, before),
                _expected_reciprocal(total, own_total),
            ]
        )
    rank, chance_rank, reciprocal, chance_reciprocal = torch.tensor(rows, dtype=torch.float64).T
    names = [which for which, _ in targets]
    return Retrieval(names, rank, chance_rank, reciprocal, chance_reciprocal, len(photographs), confidence)


def _expected_rank(count: int, wanted: int) -> float:
    """Of the first of so many that are wanted, in a random order of all."""
    return (count + 1) / (wanted + 1)


def _expected_reciprocal(count: int, wanted: int, before: int = 0) -> float:
    """Of one over this rank, with others before all of them."""
    ranks = torch.arange(1, count - wanted + 2, dtype=torch.float64)
    # Of the chance of each rank: that of the first, and what each has of the one before it.
    steps = (count - wanted - ranks[1:] + 2) / (count - ranks[1:] + 1)
    chances = torch.cat([torch.tensor([wanted / count], dtype=torch.float64), steps]).cumprod(0)
    return float((chances / (before + ranks)).sum())


__all__ = ["Retrieval", "retrieval"]
