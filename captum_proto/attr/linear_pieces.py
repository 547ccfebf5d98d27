"""The integral of a gradient along straight paths on which the function is piecewise linear, from piece to piece."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import callers_level

#: Pieces are divided until they are as short; what is left of them counts with the gradient in their middle.
SHORTEST = 2.0**-24
#: The function may differ from a line by so many roundings of its size, and by such a share of it, before a piece is divided.
ROUNDINGS, SHARE = 64, 1e-9
#: Rounds of dividing all pieces that are not yet known to be linear.
MOST_ROUNDS = 64


def integrate_linear_pieces(
    at: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    ends: Tensor,
    first: Tensor,
    last: Tensor,
    batch_size: int = 256,
) -> Tensor:
    r"""
    :math:`a \odot \int_0^1 \nabla F(\alpha a)\, d\alpha` for each a of a batch, where F is piecewise linear along the path.

    Every piece of a path is looked at in three places. Where the lines through its ends, with the slopes that were found near them, meet in
    between, and the function passes there, it has this one bend; the two gradients are integrated up to it and from it on. Otherwise the
    piece is divided, where they meet or in the middle.

    Args:
        at (Callable): From rows of the batch (M,) and shares :math:`\alpha` (M,) to values of F (M,) and gradients (M, ...).
        ends (Tensor): (N, ...), the ends of the paths.
        first (Tensor): (N,), F at their beginnings.
        last (Tensor): (N,), F at their ends.
        batch_size (int, optional): Places that are looked at at once. Default: 256

    Returns:
        Tensor: (N, ...).

    Warns:
        UserWarning: If paths have so many bends that some pieces are left divided no further.

    Examples::

        >>> bent = lambda rows, shares: ((shares - 0.3).relu(), (shares > 0.3).float()[:, None])  # F(a) = max(0, a - 0.3)
        >>> found = integrate_linear_pieces(bent, torch.ones(1, 1), torch.zeros(1), torch.tensor([0.7]))
        >>> round(float(found), 6)
        0.7
    """
    total = torch.zeros_like(ends)
    rows = torch.arange(len(ends), device=ends.device)
    low, high = (torch.full((len(ends),), value, dtype=torch.float64, device=ends.device) for value in (0.0, 1.0))
    at_low, at_high = first.double(), last.double()
    size = torch.maximum(first.abs(), last.abs()).double()
    slack = max(ROUNDINGS * torch.finfo(ends.dtype).eps, SHARE)

    for number in range(MOST_ROUNDS):
        if not len(rows):
            break
        found: list[tuple[Tensor, ...]] = []
        for part in torch.split(torch.arange(len(rows), device=ends.device), max(1, batch_size // 3)):
            row, width = rows[part], high[part] - low[part]
            shares = torch.cat([low[part] + width / 4, low[part] + width / 2, high[part] - width / 4])
            values, gradients = at(row.repeat(3), shares)
            early, middle, late = values.double().chunk(3)
            early_gradient, _, late_gradient = gradients.chunk(3)
            slopes = [(gradient.double() * ends[row]).flatten(1).sum(1) for gradient in (early_gradient, late_gradient)]
            allowed = slack * torch.maximum(size[row], values.double().abs().view(3, -1).amax(0))
            straight = (early - at_low[part] - slopes[0] * width / 4).abs() <= allowed
            straight &= (at_high[part] - late - slopes[1] * width / 4).abs() <= allowed
            # Where the lines through both ends meet, from the beginning of the piece.
            rise, bend = at_high[part] - at_low[part], slopes[0] - slopes[1]
            level = bend.abs() * width <= allowed
            meet = torch.where(level, width / 2, (rise - slopes[1] * width) / torch.where(level, 1.0, bend))
            on_first = _on_line(at_low[part], slopes[0], torch.minimum(meet, width / 2))
            through = on_first + slopes[1] * (width / 2 - meet).clamp(min=0)
            simple = straight & (meet >= width / 4) & (meet <= 3 * width / 4) & ((through - middle).abs() <= allowed)
            simple &= ~level | ((rise - slopes[0] * width).abs() <= 4 * allowed)
            cut = torch.where(simple, meet, width / 2)
            at_cut = torch.where(simple, _on_line(at_low[part], slopes[0], meet), middle)
            # Two bends may look like one where their lines meet; the function itself does not pass there.
            bent = (simple & ~level).nonzero().flatten()
            if len(bent):
                there = at(row[bent], low[part][bent] + meet[bent])[0].double()
                simple[bent] &= (there - at_cut[bent]).abs() <= allowed[bent]
                at_cut[bent] = there
            settled = simple | (width <= SHORTEST) | torch.full_like(simple, number == MOST_ROUNDS - 1)
            both = _scaled(early_gradient, cut) + _scaled(late_gradient, width - cut)
            total.index_add_(0, row[settled], both[settled].to(total.dtype))
            open_ = ~settled
            found.append((part[open_], cut[open_], at_cut[open_]))
        again, cut, at_cut = (torch.cat(each) for each in zip(*found, strict=True))
        between = low[again] + cut
        rows = rows[again].repeat(2)
        low, high = torch.cat([low[again], between]), torch.cat([between, high[again]])
        at_low, at_high = torch.cat([at_low[again], at_cut]), torch.cat([at_cut, at_high[again]])
        if number == MOST_ROUNDS - 2 and len(rows):
            warnings.warn(
                "some pieces are not linear; their gradients are taken in two places.", stacklevel=callers_level()
            )
    return total * ends


def _on_line(begin: Tensor, slope: Tensor, length: Tensor) -> Tensor:
    """The value on the line through the beginning of a piece."""
    return begin + slope * length


def _scaled(values: Tensor, factors: Tensor) -> Any:
    return values.double() * factors.view(-1, *[1] * (values.dim() - 1))


__all__ = ["integrate_linear_pieces"]
