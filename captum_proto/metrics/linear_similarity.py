"""The cosine and Pearson's correlation of rows with a reference, in double precision."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captum_proto.ops.double import double


def cosine_and_pearson(rows: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    r"""
    The cosine of the angle between each row and a reference, and their linear correlation.

    .. math::
        \cos(x, m) = \frac{\langle x, m \rangle}{\lVert x \rVert \lVert m \rVert}
        \qquad r(x, m) = \cos(x - \bar x, m - \bar m)

    Args:
        rows (Tensor): (N, D), floating point.
        reference (Tensor): (D,), one for all rows, or (N, D), row against row.

    Returns:
        tuple[Tensor, Tensor]: Cosine and Pearson's correlation, each (N,), float64, in [-1, 1]. The cosine is NaN where a row or the
        reference is zero throughout, the correlation where one is constant; both where one holds a NaN.

    Examples::

        >>> cosine, pearson = cosine_and_pearson(torch.tensor([[1.0, 2.0], [2.0, 1.0]]), torch.tensor([1.0, 2.0]))
        >>> [round(value, 3) for value in cosine.tolist()], [round(value, 3) for value in pearson.tolist()]
        ([1.0, 0.8], [1.0, -1.0])
    """
    x, m = double(rows), double(reference)
    cosine = _cosine(x, m)
    if not x.shape[1]:
        return cosine, cosine.clone()
    # A mean of equal values need not be that value to the last bit, so a constant is told by its values.
    constant = (x.amin(1) == x.amax(1)) | (m.amin(-1) == m.amax(-1))
    pearson = _cosine(x - x.mean(1, keepdim=True), m - m.mean(-1, keepdim=True))
    return cosine, torch.where(constant, math.nan, pearson)


def _cosine(x: Tensor, m: Tensor) -> Tensor:
    # Scaled by the largest value first, so that no square overflows or vanishes.
    x, m = (values / _largest(values) for values in (x, m))
    lengths = x.square().sum(1).sqrt() * m.square().sum(-1).sqrt()
    products = (x @ m) if m.dim() == 1 else (x * m).sum(1)
    return torch.where(lengths == 0, math.nan, (products / lengths).clamp(-1.0, 1.0))


def _largest(values: Tensor) -> Tensor:
    if not values.shape[-1]:
        return values.new_ones(())
    largest = values.abs().amax(-1, keepdim=True)
    return torch.where(largest == 0, 1.0, largest)


__all__ = ["cosine_and_pearson"]
