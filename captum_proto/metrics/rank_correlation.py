"""Spearman's correlation of every row with every one of several references, all ranked once."""

from __future__ import annotations

import torch
from torch import Tensor

#: How many positions of a layer are compared at once with all classes, in float64.
_COLUMNS = 2**15


def rank_correlations(ranks: Tensor, references: Tensor) -> Tensor:
    r"""
    Spearman's correlation of each row with each of several references, from ranks that were made once: a product of centered ranks.

    Args:
        ranks (Tensor): (N, D), int32: doubled ranks, as :class:`~captum_proto.ops.SpearmanReference` has them; 0 where a row holds a NaN.
        references (Tensor): (K, D), int32, the same.

    Returns:
        Tensor: (N, K), float64, in [-1, 1], as :func:`captum_proto.ops.spearman` up to rounding. NaN where a row or its reference is
        constant or holds a NaN.

    Examples::

        >>> x, y = torch.randn(3, 50), torch.randn(2, 50)
        >>> pairs = rank_correlations(ops.SpearmanReference(x).doubled_ranks, ops.SpearmanReference(y).doubled_ranks)
        >>> torch.allclose(pairs[:, 1], ops.spearman(x, y[1]))
        True
    """
    if not ranks.shape[1]:
        return torch.full((len(ranks), len(references)), torch.nan, dtype=torch.float64, device=ranks.device)
    center = ranks.shape[1] + 1
    products = torch.zeros(len(ranks), len(references), dtype=torch.float64, device=ranks.device)
    own, others = products.new_zeros(len(ranks)), products.new_zeros(len(references))
    for a, b in zip(torch.split(ranks, _COLUMNS, 1), torch.split(references, _COLUMNS, 1), strict=True):
        # References that lie in a file come to the rows' device by the column.
        u, q = (a - center).to(torch.float64), (b.to(a.device) - center).to(torch.float64)
        products += u @ q.T
        own += u.square().sum(1)
        others += q.square().sum(1)
    lengths = (own[:, None] * others[None, :]).sqrt()  # one root, so that a row with itself is exactly 1
    missing = (ranks[:, :1] == 0) | (references[:, :1].to(ranks.device) == 0).T | (lengths == 0)
    return torch.where(missing, torch.nan, (products / lengths).clamp(-1.0, 1.0))


__all__ = ["rank_correlations"]
