"""P-values of counts against draws of chance, which units share where each has few of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError


def pooled_p_values(found: Tensor, drawn: Tensor, least: float = 1.0) -> Tensor:
    r"""
    How often chance would give each unit at least what was found.

    Each figure is put in units of the standard deviation of the unit's own draws, about their mean. What chance gives in these units is
    taken from all units' draws of the same column, each about the mean and the deviation of the others of its unit. So with D draws and U
    units a p-value can be as small as 1 / (1 + U D), and with few draws of each unit small ones are possible.

    Args:
        found (Tensor): (U, K), of U units in K columns, such as concepts.
        drawn (Tensor): (D, U, K), at least three draws.
        least (float, optional): The smallest change that a figure can have, which keeps figures that never change from being certain: its
            square is added to variances. Default: 1.0, a count

    Returns:
        Tensor: (U, K), float64.

    Raises:
        ValueError: If there are fewer than three draws, or shapes do not match.

    Examples::

        >>> drawn = torch.randn(20, 50, 1, generator=torch.Generator().manual_seed(0))
        >>> found = torch.zeros(50, 1)
        >>> found[0] = 10.0  # standard deviations
        >>> p = pooled_p_values(found, drawn, least=0.01)
        >>> bool(p[0] < 0.002), bool(p[1] > 0.3)
        (True, True)
    """
    if drawn.dim() != found.dim() + 1 or drawn.shape[1:] != found.shape:
        raise InputError(f"there are draws of shape {tuple(drawn.shape)} for {tuple(found.shape)} figures.")
    if len(drawn) < 3:
        raise InputError(f"there are {len(drawn)} draws; expected at least 3.")
    values, count, smallest = drawn.double(), len(drawn), least**2
    total, squares = values.sum(0), values.square().sum(0)
    others = (total - values) / (count - 1)
    spread = ((squares - values.square()) / (count - 1) - others.square()).clamp(min=0)
    null = (values - others) / (spread * (count - 1) / (count - 2) + smallest).sqrt()
    mean = total / count
    deviation = ((squares / count - mean.square()).clamp(min=0) * count / (count - 1) + smallest).sqrt()
    given = (found.double() - mean) / deviation
    null = null.flatten(0, 1).sort(0).values  # (D · U, K)
    at_least = len(null) - torch.searchsorted(null.T.contiguous(), given.T.contiguous()).T
    return (1 + at_least).double() / (1 + len(null))


__all__ = ["pooled_p_values"]
