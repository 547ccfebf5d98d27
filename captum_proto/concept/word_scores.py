"""Which words fit a unit, from how images are like texts in a two-tower model (CLIP-Dissect; Oikarinen and Weng, arXiv:2204.10965)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.ops.double import double, exact

#: Added to probabilities before their logarithm.
_LEAST = 1e-7


def soft_wpmi(
    similarity: Tensor,
    activations: Tensor,
    top_k: int = 100,
    scale: float = 10.0,
    weight: float = 1.0,
    belief: tuple[float, float] = (0.998, 0.97),
) -> Tensor:
    r"""
    Soft weighted pointwise mutual information of units and words.

    .. math::
        s_{u,w} = \log p(w \mid u) - \lambda \log \frac{1}{U} \sum_{u'} p(w \mid u'), \qquad
        p(w \mid u) = \prod_{i \le k} \bigl(1 + b_i (P_{x_i, w} - 1)\bigr)

    over the k images :math:`x_i` that excite the unit most, with P the softmax over words of their scaled similarities, and :math:`b_i` how
    sure it is that the i-th is an example of what the unit is for: a word that does not fit the last of them may still be the one.

    Args:
        similarity (Tensor): (N, W), of N images and W words, such as the cosines of a two-tower model.
        activations (Tensor): (N, U), of the same images: a number for each unit, such as the mean over its map.
        top_k (int, optional): k. Default: 100
        scale (float, optional): By which similarities are multiplied. Default: 10
        weight (float, optional): λ, how much a word that fits all units is held against it. Default: 1
        belief (tuple[float, float], optional): b of the first image, and what it falls to linearly after the last. Default: (0.998, 0.97)

    Returns:
        Tensor: (U, W), float64; the greater the better.

    Raises:
        ValueError: If shapes do not match, there are fewer than k images, or a value is not finite.

    Examples::

        >>> similarity = torch.eye(3).repeat(4, 1)  # image i is like word i modulo 3
        >>> soft_wpmi(similarity, similarity, top_k=4).argmax(1)
        tensor([0, 1, 2])
    """
    likeness, order = _checked(similarity, activations, top_k)
    probability = (scale * likeness).softmax(1)
    falls = belief[0] - torch.arange(top_k, dtype=torch.float64, device=order.device) / top_k * (belief[0] - belief[1])
    per_unit = [(1 + falls.unsqueeze(1) * (probability[rows] - 1) + _LEAST).log().sum(0) for rows in order.T]
    return _information(torch.stack(per_unit), weight)


def wpmi(similarity: Tensor, activations: Tensor, top_k: int = 28, scale: float = 2.0, weight: float = 0.6) -> Tensor:
    r"""
    Weighted pointwise mutual information of units and words: :func:`soft_wpmi` without doubt of any image, :math:`b_i = 1`.

    Args:
        similarity, activations, top_k, scale, weight: As there.

    Returns:
        Tensor: (U, W), float64; the greater the better.

    Raises:
        ValueError: As there.
    """
    likeness, order = _checked(similarity, activations, top_k)
    logarithm = ((scale * likeness).softmax(1) + _LEAST).log()
    return _information(torch.stack([logarithm[rows].sum(0) for rows in order.T]), weight)


def rank_reorder(
    similarity: Tensor, activations: Tensor, power: float = 3.0, top_fraction: float = 0.05, scale_power: float = 0.5
) -> Tensor:
    r"""
    How far a unit's highest activations have to move to be in the order of a word's similarities.

    The k images that excite a unit most are put into the order of their similarity to a word, and their activations, sorted, laid beside
    that: the mean of the differences to the power p, relative to what a random order gives, and divided by a power of the mean similarity.

    Args:
        similarity (Tensor): (N, W).
        activations (Tensor): (N, U).
        power (float, optional): p. Default: 3
        top_fraction (float, optional): k as a share of N. Default: 0.05
        scale_power (float, optional): Of the mean similarity. Default: 0.5

    Returns:
        Tensor: (U, W), float64, at most 0; the greater the better. Minus infinity for a word to which the images are not like at all, whose
        mean similarity is not positive. What a random order gives is its exact mean over all orders, where the authors' code draws five.

    Raises:
        ValueError: If shapes do not match, a value is not finite, or fewer than two images are left.
    """
    top_k = int(len(activations) * top_fraction) if activations.dim() == 2 else 0
    if activations.dim() == 2 and top_k < 2:
        raise InputError(
            f"top_fraction is {top_fraction} of {len(activations)} images, {top_k}; expected at least two of them."
        )
    likeness, order = _checked(similarity, activations, top_k)
    found = []
    for unit, rows in enumerate(order.T):
        target = double(activations[rows, unit])  # the highest first
        ascending = target.flip(0)
        given = likeness[rows]
        ranks = given.argsort(dim=0, stable=True).argsort(dim=0, stable=True)
        moved = (target.unsqueeze(1) - ascending[ranks]).abs().pow(power).mean(0)
        random = (target.unsqueeze(0) - target.unsqueeze(1)).abs().pow(power).mean()
        mean = given.mean(0)
        error = moved / random.clamp(min=torch.finfo(torch.float64).tiny) / mean.clamp(min=0).pow(scale_power)
        found.append(torch.where(mean > 0, -error, -math.inf))
    return torch.stack(found) if found else likeness.new_zeros(0, likeness.shape[1])


def _information(log_probability: Tensor, weight: float) -> Tensor:
    """The information of words about units, from log p(w | u)."""
    if not len(log_probability):
        return log_probability
    return log_probability - weight * (log_probability.logsumexp(0) - math.log(len(log_probability)))


def _checked(similarity: Tensor, activations: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Similarities in float64, and (k, U): the numbers of the images that excite each unit most, of equal ones the first."""
    check_int(top_k, "top_k", 1)
    for name, values in (("similarity", similarity), ("activations", activations)):
        if not values.is_floating_point():
            raise InputTypeError(f"{name} has dtype {values.dtype}; expected floating point.")
        if values.dim() != 2:
            raise InputError(f"{name} has shape {tuple(values.shape)}; expected two dimensions, the first of images.")
        if not bool(values.isfinite().all()):
            raise InputError(f"{name} has values that are not finite.")
    if len(similarity) != len(activations):
        raise InputError(f"there are similarities of {len(similarity)} images and activations of {len(activations)}.")
    if top_k > len(activations):
        raise InputError(
            f"top_k is {top_k}, but there are {len(activations)} images; choose a smaller one, or give more."
        )
    order = exact(activations.detach()).sort(dim=0, descending=True, stable=True).indices[:top_k]
    return double(similarity.detach()), order


__all__ = ["rank_reorder", "soft_wpmi", "wpmi"]
