"""The terms of the objective, one value per prototype."""

from __future__ import annotations

from torch import Tensor


def class_score(logits: Tensor, mask: Tensor) -> Tensor:
    r"""
    The score of each prototype's classes: the logit of a single class, the logsumexp of the logits of a group.

    Args:
        logits (Tensor): Shape (N, K).
        mask (Tensor): Shape (N, K), bool: the classes of each prototype.

    Returns:
        Tensor: Shape (N,). For a group it is the logarithm of what the group would have in an unnormalized softmax, so its
        probability is the sum of its classes' probabilities.
    """
    return logits.masked_fill(~mask, float("-inf")).logsumexp(dim=1)


def class_probability(logits: Tensor, mask: Tensor) -> Tensor:
    """The softmax probability of each prototype's classes together: shape (N,)."""
    return (logits.softmax(dim=1) * mask).sum(dim=1)


def probability_variance(logits: Tensor) -> Tensor:
    r"""
    The warm-up loss of Prototype Generation (arXiv:2309.17144, section 3.1): how unequal the class probabilities are.

    .. math::
        L_{pv}(x) = \operatorname{Var}_k \operatorname{softmax}(h(x))_k

    Args:
        logits (Tensor): Shape (N, K).

    Returns:
        Tensor: Shape (N,): the population variance over classes, 0 where all are equally likely and at most (K - 1) / K².
    """
    return logits.softmax(dim=1).var(dim=1, correction=0)


__all__ = ["class_probability", "class_score", "probability_variance"]
