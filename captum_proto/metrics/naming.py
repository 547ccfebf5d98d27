"""Blind naming by a network: which superclass a picture is taken for, by the network's logits or by its features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_logits
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.tables import between, percent, text_table
from captum_proto._utils.targets import Target, class_probabilities, class_set, parse_targets, target_mask
from captum_proto.metrics.feature_checks import checked_features, checked_labels, checked_own, unit_rows
from captum_proto.stats.intervals import Estimate, proportion

#: Values nearer than this are tied.
_TIED = 1e-12


@dataclass(frozen=True)
class Naming:
    """
    Which superclass pictures were taken for.

    Attributes:
        names (list[str]): The superclasses.
        truth (Tensor): (N,), int64: the number of the superclass that each picture is of.
        named (Tensor): (N,), int64: the one that it was taken for; -1 where several are tied, which is never right.
        scores (Tensor): (N, S), float64: what decided, the probability of each superclass or the mean cosine with its photographs.
        confidence (float): Of the interval.
    """

    names: list[str]
    truth: Tensor
    named: Tensor
    scores: Tensor
    confidence: float = 0.95

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> Tensor:
        """(N,), bool: whether each picture was named as what it is."""
        return self.truth == self.named

    @property
    def accuracy(self) -> Estimate:
        """The share of pictures that were named as what they are, with Wilson's interval."""
        return proportion(int(self.right.sum()), len(self), self.confidence)

    @property
    def chance(self) -> float:
        """The accuracy of naming at random: one over the number of superclasses."""
        return 1 / len(self.names)

    @property
    def confusion(self) -> Tensor:
        """(S, S), int64: how many pictures of the superclass of the row were taken for that of the column; ties are in none."""
        size, told = len(self.names), self.named >= 0
        places = self.truth[told] * size + self.named[told]
        return torch.bincount(places, minlength=size * size).view(size, size)

    def table(self) -> str:
        """A row for each superclass that has pictures: how many, how many were right, and what they were taken for most; as text."""
        rows = []
        for number, name in enumerate(self.names):
            of = self.truth == number
            if not bool(of.any()):
                continue
            share = proportion(int(self.right[of].sum()), int(of.sum()), self.confidence)
            wrong = self.confusion[number].clone()
            wrong[number] = 0
            instead = self.names[int(wrong.argmax())] if int(wrong.max()) else "–"
            rows.append(
                [name, str(int(of.sum())), percent(share.value), between((share.low, share.high), percent), instead]
            )
        mean = self.accuracy
        rows.append(["all", str(len(self)), percent(mean.value), between((mean.low, mean.high), percent), "–"])
        rows.append(["chance", "–", percent(self.chance), "–", "–"])
        return text_table(["superclass", "pictures", "right", "interval", "most often taken for"], rows)


def name_by_logits(logits: Tensor, target: Any, superclasses: Mapping[str, Any], *, confidence: float = 0.95) -> Naming:
    r"""
    Name each picture by the superclass to which a network gives the greatest probability, summed over its classes.

    Args:
        logits (Tensor): (N, K), of a network that did not make the pictures, such as
            :func:`~captum_proto.metrics.verifier_logits` gives.
        target (TargetType or nested list): What each picture is of: classes of one superclass.
        superclasses (mapping[str, iterable of int]): The classes of each, as the network numbers them, at least two; they may not
            overlap. A superclass of one class is one as well.
        confidence (float, optional): Of the interval. Default: 0.95

    Returns:
        Naming: By picture, with accuracy, chance and confusions.

    Raises:
        TypeError, ValueError: If there are fewer than two superclasses, they overlap, or a picture is of none of them.

    Examples::

        >>> logits = torch.tensor([[2.0, 0.0, 1.9, 1.9], [0.0, 3.0, 0.0, 0.0]])
        >>> found = name_by_logits(logits, [2, 0], {"pair": [0, 1], "other": [2, 3]})
        >>> found.right.tolist(), found.chance
        ([True, True], 0.5)
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or not len(logits):
        got = f"shape {tuple(logits.shape)}" if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise InputError(f"logits is {got}; expected a tensor (N, K), one row for each picture.")
    values = check_logits(logits, len(logits)).detach().cpu().double()
    groups = _superclasses(superclasses)
    member = target_mask(list(groups.values()), values.shape[1], values.device)
    scores = class_probabilities(values) @ member.double().T
    return _named(scores, _truth(parse_targets(target, len(values)), groups), list(groups), confidence)


def name_by_features(
    features: Tensor,
    target: Any,
    natural: Tensor,
    labels: Any,
    superclasses: Mapping[str, Any],
    *,
    own: Any = None,
    confidence: float = 0.95,
) -> Naming:
    r"""
    Name each picture by the superclass to whose photographs it is nearest: by their mean cosine in a network's features.

    Args:
        features (Tensor): (N, D), of pictures in a network that did not make them, such as
            :func:`~captum_proto.metrics.verifier_features` gives.
        target (TargetType or nested list): What each picture is of: classes of one superclass.
        natural (Tensor): (M, D), of photographs.
        labels (Tensor or sequence of int): (M,), the class of each; those of no superclass are left out.
        superclasses (mapping[str, iterable of int]): The classes of each, at least two; they may not overlap.
        own (Tensor or sequence of int, optional): (N,), of each picture the number of the photograph that it is itself, which is left out,
            or -1. Default: None, no picture is a photograph
        confidence (float, optional): Of the interval. Default: 0.95

    Returns:
        Naming: By picture, with accuracy, chance and confusions.

    Raises:
        TypeError, ValueError: As :func:`name_by_logits`, and if a superclass has no photographs.

    Examples::

        >>> natural = torch.tensor([[1.0, 0.0], [0.9, 0.2], [0.0, 1.0], [0.3, 1.0]])
        >>> found = name_by_features(torch.tensor([[1.0, 0.3]]), [5], natural, [4, 5, 8, 9], {"a": [4, 5], "b": [8, 9]})
        >>> found.named.tolist(), found.confusion.tolist()
        ([0], [[1, 0], [0, 0]])
    """
    photographs = checked_features(natural, "natural")
    pictures = unit_rows(checked_features(features, "features", like=photographs))
    classes, places = checked_labels(labels, len(photographs)), checked_own(own, len(pictures), len(photographs))
    groups, units = _superclasses(superclasses), unit_rows(photographs)
    member = torch.stack([torch.isin(classes, torch.tensor(each)) for each in groups.values()]).double()  # (S, M)
    sums, counts = pictures @ (member @ units).T, member.sum(1).expand(len(pictures), -1)
    # A picture that is a photograph is left out of its superclass's mean.
    itself = places >= 0
    mine = member[:, places.clamp(min=0)].T * itself[:, None]  # (N, S)
    sums = sums - mine * (pictures * units[places.clamp(min=0)]).sum(1, keepdim=True)
    left = counts - mine
    if not bool((left > 0).all()):
        name = list(groups)[int((left <= 0).any(0).nonzero()[0])]
        raise InputError(
            f'the superclass "{name}" has no photographs beside the picture that is named; give some, or leave it out.'
        )
    return _named(sums / left, _truth(parse_targets(target, len(pictures)), groups), list(groups), confidence)


def _named(scores: Tensor, truth: Tensor, names: list[str], confidence: float) -> Naming:
    best = scores.amax(1, keepdim=True)
    first = scores >= best - _TIED
    named = torch.where(first.sum(1) == 1, scores.argmax(1), -1)
    return Naming(names, truth, named, scores, confidence)


def _superclasses(given: Any) -> dict[str, Target]:
    if not isinstance(given, Mapping):
        raise InputTypeError(
            f"superclasses is a {type(given).__name__}; expected a mapping from names to the classes of each."
        )
    groups = {str(name): class_set(classes) for name, classes in given.items()}
    if len(groups) < 2:
        raise InputError(f"superclasses holds {len(groups)}; expected at least 2 to choose from.")
    home: dict[int, str] = {}
    for name, classes in groups.items():
        for index in classes:
            if index in home:
                raise InputError(
                    f'class {index} is in the superclasses "{home[index]}" and "{name}"; give superclasses that do not overlap.'
                )
            home[index] = name
    return groups


def _truth(targets: list[Target], groups: Mapping[str, Target]) -> Tensor:
    home = {index: number for number, classes in enumerate(groups.values()) for index in classes}
    truth = []
    for row, classes in enumerate(targets):
        found = {home.get(index, -1) for index in classes}
        if len(found) > 1 or -1 in found:
            raise InputError(
                f"picture {row} is of the classes {list(classes)[:4]}, which are not all in one superclass; expected pictures of one of "
                f"{', '.join(list(groups)[:5])}."
            )
        truth.append(found.pop())
    return torch.tensor(truth)


__all__ = ["Naming", "name_by_features", "name_by_logits"]
