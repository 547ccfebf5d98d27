"""How much of a class its prototypes cover: the share of natural images that have one among their nearest neighbors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.tables import between, percent, text_table
from captum_proto._utils.targets import Target
from captum_proto.metrics.feature_checks import checked_features, checked_labels, targets_with_photographs, unit_rows
from captum_proto.stats.intervals import Estimate
from captum_proto.stats.shares import mean_share

#: Distances nearer than this are tied: equal features need not have equal cosines to the last bit.
_TIED = 1e-12


@dataclass(frozen=True)
class TargetCoverage:
    """
    How much of one target its prototypes cover.

    Attributes:
        target (tuple[int, ...]): The class, or those of the superclass.
        prototypes (dict[int, Tensor]): By a number of prototypes, (n,): for each natural image of the target the chance that it is covered
            by so many of them, drawn at random.
        photographs (dict[int, Tensor]): The same with as many other photographs of the target in place of prototypes; without a number
            for which there are too few.
        chance (dict[int, float]): The same with as many photographs of any class.
    """

    target: Target
    prototypes: dict[int, Tensor]
    photographs: dict[int, Tensor]
    chance: dict[int, float]


@dataclass(frozen=True)
class CoverageRow:
    """
    Coverage by a number of prototypes, over targets.

    Attributes:
        count (int): How many prototypes of each target.
        targets (int): How many targets have so many.
        prototypes (Estimate): The mean coverage, with its interval over targets, or over the images where there is one target, by
            :func:`~captum_proto.stats.shares.mean_share`.
        with_photographs (int): How many of these targets have as many photographs and one more.
        photographs (Estimate): The mean coverage by as many photographs of the target, over these alone; NaN where there are none.
        chance (float): That of as many photographs of any class.
    """

    count: int
    targets: int
    prototypes: Estimate
    with_photographs: int
    photographs: Estimate
    chance: float


@dataclass(frozen=True)
class Coverage:
    """
    How much of their classes prototypes cover.

    Attributes:
        targets (list[TargetCoverage]): Of each target.
        k (int): How many nearest neighbors were looked at.
        confidence (float): Of all intervals.
    """

    targets: list[TargetCoverage]
    k: int
    confidence: float = 0.95

    def rows(self) -> list[CoverageRow]:
        """A row for each number of prototypes, over the targets that have so many."""
        rows = []
        for count in sorted({count for each in self.targets for count in each.prototypes}):
            there = [each for each in self.targets if count in each.prototypes]
            ours = [each.prototypes[count] for each in there]
            theirs = [each.photographs[count] for each in there if count in each.photographs]
            chance = sum(each.chance[count] for each in there) / len(there)
            rows.append(CoverageRow(count, len(there), self._mean(ours), len(theirs), self._mean(theirs), chance))
        return rows

    def _mean(self, images: list[Tensor]) -> Estimate:
        if not images:
            return Estimate(math.nan, math.nan, math.nan)
        values = images[0] if len(images) == 1 else torch.stack([each.mean() for each in images])
        return mean_share(values.numpy(), self.confidence)

    def table(self) -> str:
        """The rows as text."""
        rows = [
            [
                str(row.count),
                str(row.targets),
                *(
                    cell
                    for mean in (row.prototypes, row.photographs)
                    for cell in (percent(mean.value), between((mean.low, mean.high), percent))
                ),
                percent(row.chance),
            ]
            for row in self.rows()
        ]
        return text_table(["count", "targets", "prototypes", "interval", "photographs", "interval", "chance"], rows)


def coverage(
    features: Tensor,
    target: Any,
    natural: Tensor,
    labels: Any,
    *,
    k: int = 5,
    counts: Sequence[int] = (1, 2, 4, 8),
    confidence: float = 0.95,
) -> Coverage:
    r"""
    Of a class's natural images, the share that has a prototype among its k nearest neighbors, for several numbers of prototypes.

    After the coverage of Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models" (2020, arXiv:2002.09797), section
    3.2, but among the natural images of *all* classes: a prototype covers an image :math:`x_i` of its class where it is no farther than
    the k-th nearest other natural image of any class,

    .. math::
        \frac{1}{n} \sum_i \bigl[ \min_{p \in P} d(x_i, p) \le d_k(x_i) \bigr]

    with d one less the cosine. That is where fewer than k natural images are nearer than the nearest prototype: where it is among the k
    nearest of prototypes and natural images together. The value for a number m of prototypes is the exact mean over all choices of so many
    from those given: where b of P cover an image, :math:`1 - \binom{P - b}{m} / \binom{P}{m}`. Beside it, in the same way exact, what m
    other photographs of the class in place of prototypes cover (they are no longer among the neighbors then), and m photographs of any
    class.

    Args:
        features (Tensor): (N, D), of prototypes in a network that did not make them.
        target (TargetType or nested list): A class, or one for each prototype, or of each a superclass as a list of classes.
        natural (Tensor): (M, D), of natural images of all classes.
        labels (Tensor or sequence of int): (M,), the class of each natural image.
        k (int, optional): Neighbors that are looked at, fewer than M. Default: 5, as in the paper
        counts (sequence of int, optional): Numbers of prototypes; a target that has fewer is left out of a number. Default: (1, 2, 4, 8)
        confidence (float, optional): Of the intervals. Default: 0.95

    Returns:
        Coverage: By target and number, with both controls.

    Raises:
        TypeError, ValueError: If features are not such tensors, there is no natural image of a target, or k is not fewer than M.

    Examples::

        >>> natural = torch.tensor([[1.0, 0.0], [0.95, 0.05], [0.5, 0.5], [0.0, 1.0], [0.1, 0.9]])
        >>> found = coverage(torch.tensor([[1.0, 0.01]]), 0, natural, [0, 0, 0, 1, 1], k=1, counts=[1])
        >>> found.targets[0].prototypes[1].tolist()
        [1.0, 1.0, 0.0]
    """
    photographs = checked_features(natural, "natural")
    prototypes = checked_features(features, "features", like=photographs)
    classes = checked_labels(labels, len(photographs))
    if check_int(k, "k", 1) >= len(photographs):
        raise InputError(f"k is {k}, but each of {len(photographs)} natural images has {len(photographs) - 1} others.")
    wanted = sorted({check_int(count, "counts", 1) for count in counts})
    targets = targets_with_photographs(target, len(prototypes), classes)
    found = []
    for each in dict.fromkeys(which for which, _ in targets):
        rows = [row for row, (which, _) in enumerate(targets) if which == each]
        relevant = targets[rows[0]][1]
        found.append(_of_target(each, prototypes[rows], photographs, relevant, k, wanted))
    return Coverage(found, k, confidence)


def _of_target(
    target: Target, prototypes: Tensor, photographs: Tensor, relevant: Tensor, k: int, counts: list[int]
) -> TargetCoverage:
    units, mine = unit_rows(photographs), relevant.nonzero().flatten()
    near = units[mine] @ units.T
    near[torch.arange(len(mine)), mine] = -math.inf  # an image is no neighbor of itself
    reach = near.topk(k, dim=1).values[:, -1:] - _TIED
    covering = (units[mine] @ unit_rows(prototypes).T >= reach).sum(1)
    neighbors = (near[:, mine] >= reach).sum(1)
    others = len(photographs) - 1
    return TargetCoverage(
        target,
        {count: _at_least_one(len(prototypes), covering, count) for count in counts if count <= len(prototypes)},
        {count: _at_least_one(len(mine) - 1, neighbors, count) for count in counts if count < len(mine)},
        {count: float(_at_least_one(others, torch.tensor([k]), min(count, others))) for count in counts},
    )


def _at_least_one(total: int, covering: Tensor, drawn: int) -> Tensor:
    """The chance that some of those drawn at random from ``total`` cover: (n,), where ``covering`` of them do."""
    missed = {b: math.comb(total - b, drawn) / math.comb(total, drawn) for b in set(covering.tolist())}
    return torch.tensor([1 - missed[b] for b in covering.tolist()], dtype=torch.float64)


__all__ = ["Coverage", "CoverageRow", "TargetCoverage", "coverage"]
