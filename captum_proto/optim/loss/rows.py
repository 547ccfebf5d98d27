"""How far rows of a table are from natural ones: what keeps an ascent from values that no row has together."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_inputs
from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import image_digest
from captum_proto.optim.loss.objective import Loss, Outputs


class RowDistance(Loss):
    r"""
    The squared Mahalanobis distance of a row from natural rows, per feature.

    .. math::
        L_i = \tfrac1F (x_i - \mu)^\top (\Sigma + \rho I)^{-1} (x_i - \mu)

    It knows the mean and the covariance of natural rows of all classes together, and no class: what it says of a class is nothing. Of rows
    like those that it was made from it is about 1 on average. It records "row_distance".

    Args:
        rows (Tensor): Encoded natural rows (N, F), of all classes, at least two.
        ridge (float, optional): :math:`\rho`, positive: of one-hot features the covariance alone has no inverse. Default: 0.1

    Raises:
        TypeError, ValueError: If ``rows`` are no such rows, or ``ridge`` is not positive.

    Examples::

        >>> loss = ClassLogit([0, 1]) + 1.0 * RowDistance(torch.randn(100, 4))
    """

    terms = ("row_distance",)

    def __init__(self, rows: Tensor, ridge: float = 0.1) -> None:
        rows = check_inputs(rows, "rows").detach().cpu().double()
        if rows.dim() != 2 or len(rows) < 2:
            raise InputError(f"rows has shape {tuple(rows.shape)}; expected (N, F), at least two rows.")
        if not ridge > 0:
            raise InputError(f"ridge is {ridge}; expected a positive number.")
        self.ridge, self.count = float(ridge), len(rows)
        self.mean = rows.mean(0)
        covariance = torch.cov(rows.T).view(rows.shape[1], rows.shape[1])
        self.precision = torch.linalg.inv(covariance + self.ridge * torch.eye(rows.shape[1], dtype=rows.dtype))
        self._digest = image_digest(torch.cat([self.mean[None], self.precision]))

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs.record("row_distance", self.distance(images))

    def distance(self, rows: Tensor) -> Tensor:
        """Of encoded rows (N, F): (N,)."""
        if rows.dim() != 2 or rows.shape[1] != len(self.mean):
            raise InputError(
                f"inputs have shape {tuple(rows.shape)}, and the natural rows have {len(self.mean)} features; give rows of one table."
            )
        apart = rows - beside(self.mean, rows)
        return (apart @ beside(self.precision, rows) * apart).sum(1) / len(self.mean)

    def settings(self) -> dict[str, Any]:
        return {"name": "RowDistance", "rows": self.count, "ridge": self.ridge, "digest": self._digest}

    def __repr__(self) -> str:
        return f"RowDistance({self.count} rows, ridge={self.ridge:g})"


__all__ = ["RowDistance"]
