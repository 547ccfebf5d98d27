"""Losses of class logits: what a prototype is of, and how unequal the classes are."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.targets import class_probabilities, outcomes, parse_targets, target_mask
from captum_proto.optim.loss.objective import Loss, Outputs


def class_score(logits: Tensor, mask: Tensor) -> Tensor:
    r"""
    The score of each prototype's classes: the logit of a single class, the logsumexp of the logits of a superclass.

    Args:
        logits (Tensor): Shape (N, K).
        mask (Tensor): Shape (N, K), bool: the classes of each prototype.

    Returns:
        Tensor: Shape (N,). For a superclass it is the logarithm of what it would have in an unnormalized softmax, so its
        probability is the sum of its classes' probabilities.
    """
    return logits.masked_fill(~mask, float("-inf")).logsumexp(dim=1)


def class_probability(logits: Tensor, mask: Tensor) -> Tensor:
    """The softmax probability of each prototype's classes together, of a network with a single logit the sigmoid: shape (N,)."""
    return (class_probabilities(logits) * mask).sum(dim=1)


def probability_variance(logits: Tensor) -> Tensor:
    r"""
    The warm-up loss of Prototype Generation (arXiv:2309.17144, section 3.1): how unequal the class probabilities are.

    .. math::
        L_{pv}(x) = \operatorname{Var}_k \operatorname{softmax}(h(x))_k

    Args:
        logits (Tensor): Shape (N, K). A single logit is compared with the class's absence, whose logit is 0.

    Returns:
        Tensor: Shape (N,): the population variance over classes, 0 where all are equally likely and at most (K - 1) / K².
    """
    return outcomes(logits).softmax(dim=1).var(dim=1, correction=0)


class ClassLogit(Loss):
    r"""
    The logit of a class, or the logsumexp of the logits of a superclass, negated: what is maximized is the logit.

    .. math::
        L(x) = -\log \sum_{k \in c} \exp h_k(x)

    The first term of Prototype Generation (arXiv:2309.17144, section 3.1). It records "logit" and "probability": the softmax of all
    logits, or the sigmoid where the model has a single one.

    Args:
        target (TargetType or nested list): As in Captum: an int for one row; a list or 1-D tensor for one class each; a nested list for a
            superclass each.

    Raises:
        TypeError, ValueError: If ``target`` is of another type, or empty.

    Examples::

        >>> loss = ClassLogit([3, [5, 7]])
        >>> loss.targets
        [(3,), (5, 7)]
        >>> objective = loss + 10.0 * HighFrequency()
    """

    terms = ("logit", "probability")
    of_classes = True

    def __init__(self, target: Any) -> None:
        self._all = parse_targets(target)
        self._rows = range(len(self._all))
        self.targets = self._all
        self._mask: Tensor | None = None

    def rows(self, rows: range) -> ClassLogit:
        part = copy.copy(self)
        part._rows, part._mask = self._rows[rows.start : rows.stop], None
        part.targets = self._all[part._rows.start : part._rows.stop]
        return part

    def check(self, outputs: Outputs) -> None:
        """Raise ValueError if a class is out of range, of these rows or of any other that were asked for."""
        self._mask_for(outputs.logits)

    def _mask_for(self, logits: Tensor) -> Tensor:
        if self._mask is None or self._mask.shape[1] != logits.shape[1] or self._mask.device != logits.device:
            mask = target_mask(self._all, logits.shape[1], logits.device)
            self._mask = mask[self._rows.start : self._rows.stop]
        return self._mask

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        logits = outputs.logits
        mask = self._mask_for(logits)
        score = outputs.record("logit", class_score(logits, mask))
        with torch.no_grad():
            outputs.record("probability", class_probability(logits, mask))
        return -score

    def settings(self) -> dict[str, Any]:
        return {"name": "ClassLogit", "target": [list(target) for target in self.targets or ()]}

    def __repr__(self) -> str:
        return f"ClassLogit({self.settings()['target']})"


class CrossEntropy(ClassLogit):
    r"""
    The cross entropy of a class, or of a superclass: minus the logarithm of its probability.

    .. math::
        L(x) = -\log \sum_{k \in c} p_k(x)

    What DeepInversion (arXiv:1912.08795) has of the class. Other logits count too: where the class is certain there is nothing left to
    gain, while a logit can always rise. It records "logit" and "probability", as :class:`ClassLogit` does.

    Args:
        target (TargetType or nested list): As in :class:`ClassLogit`.

    Raises:
        TypeError, ValueError: If ``target`` is of another type, or empty.

    Examples::

        >>> objective = CrossEntropy([3, [5, 7]]) + 0.1 * TotalVariation()
    """

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outcomes(outputs.logits).logsumexp(dim=1) + super().__call__(outputs, images)

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "name": "CrossEntropy"}

    def __repr__(self) -> str:
        return f"CrossEntropy({self.settings()['target']})"


class ProbabilityVariance(Loss):
    r"""
    The squared coefficient of variation of the class probabilities: the warm-up of Prototype Generation (arXiv:2309.17144, section 3.1).

    .. math::
        L(x) = K^2 \operatorname{Var}_k \operatorname{softmax}(h(x))_k

    Among a thousand classes the variance is below Adam's eps. Divided by the squared mean it has the same minimizer, and a gradient that
    Adam can feel. It records the variance itself, "warmup_variance".
    """

    terms = ("warmup_variance",)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        logits = outcomes(outputs.logits)
        variance = outputs.record("warmup_variance", probability_variance(logits))
        return variance * logits.shape[1] ** 2

    def __repr__(self) -> str:
        return "ProbabilityVariance()"


__all__ = [
    "ClassLogit",
    "CrossEntropy",
    "ProbabilityVariance",
    "class_probability",
    "class_score",
    "probability_variance",
]
