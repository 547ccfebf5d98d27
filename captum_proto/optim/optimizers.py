"""The optimizers of inputs, by name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

#: Each works element by element: what it does to a row does not depend on the others.
OPTIMIZERS: dict[str, type[torch.optim.Optimizer]] = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam}


def optimizer_of(
    parameters: Iterable[Tensor], name: str, lr: float, betas: tuple[float, float], eps: float
) -> torch.optim.Optimizer:
    """
    An optimizer of PyTorch's, with its fused kernel where it has one.

    Args:
        parameters (iterable of Tensor): What it is to change, on one device.
        name (str): Of :data:`OPTIMIZERS`.
        lr (float): Its learning rate.
        betas (tuple[float, float]): Its decay rates.
        eps (float): Its denominator term.
    """
    values = list(parameters)
    options: dict[str, Any] = {"fused": values[0].device.type in ("cpu", "cuda")} if name == "adam" else {}
    return OPTIMIZERS[name](values, lr=lr, betas=betas, eps=eps, **options)  # type: ignore[call-arg]  # both have these


__all__ = ["OPTIMIZERS", "optimizer_of"]
