"""A few features that a layer's attributions are made of, shared by many inputs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto.stats.factorization import one_sided_nmf, relative_error, signed_factors

_KIND = "features of attributions"


@dataclass
class FeatureAttributions:
    """
    Attributions by feature instead of by channel.

    Attributes:
        values (Tensor): (N, K, H, W): what each feature contributes at each position. Those of all features and the residual sum to the
            attributions that were given.
        residual (Tensor): (N, H, W): what no feature holds.
    """

    values: Tensor
    residual: Tensor

    @property
    def totals(self) -> Tensor:
        """(N, K): what each feature contributes in all."""
        return self.values.sum((2, 3))

    @property
    def display(self) -> Tensor:
        """(N, K, H, W): over the median of the inputs' largest sizes, for use as opacity, as the article scales them."""
        largest = self.values.abs().flatten(1).amax(1)
        return self.values / largest.median().clamp(min=torch.finfo(self.values.dtype).tiny)


class AttributionNMF:
    r"""
    Features of a layer: the directions that its attributions for many inputs are made of.

    .. math::
        \max(A, 0) \approx S^+ C, \qquad \max(-A, 0) \approx S^- C, \qquad S = S^+ - S^-

    for attributions A of every input and position, in rows of channels, with C of at least 0: what counts is what matters for the
    decision, not what is merely active (Hilton et al., "Understanding RL Vision", Distill 2020, whose number of features is the default).
    Features are sorted by how much they contribute, the largest first. By scikit-learn.

    Args:
        n_features (int, optional): K. Default: 8
        max_iter (int, optional): Of the factorization. Default: 500
        tol (float, optional): At what relative change it ends. Default: 1e-4

    Attributes:
        directions (Tensor): (K, C), of length 1 each, once fitted: what :func:`~captum_proto.edit.project_out` takes.
        error (float): What the features miss of the attributions they were fitted to, over their size.

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> from captum_proto.features import AttributionNMF
        >>> planted = torch.eye(4)[:2]  # two features, each a channel
        >>> attributions = torch.einsum("nkhw,kc->nchw", torch.randn(10, 2, 3, 3), planted)
        >>> nmf = AttributionNMF(2).fit(attributions)
        >>> bool((nmf.directions @ planted.T).amax(0).min() > 0.99)
        True
        >>> nmf.transform(attributions).values.shape
        torch.Size([10, 2, 3, 3])
    """

    def __init__(self, n_features: int = 8, max_iter: int = 500, tol: float = 1e-4) -> None:
        self.n_features = check_int(n_features, "n_features", 1)
        self.max_iter, self.tol = check_int(max_iter, "max_iter", 1), float(tol)
        self.error = float("nan")
        self._directions: Tensor | None = None

    @property
    def directions(self) -> Tensor:
        """(K, C), of length 1 each."""
        if self._directions is None:
            raise StateError("these features were not fitted yet; call fit with attributions first.")
        return self._directions

    @classmethod
    def of(cls, directions: Tensor, max_iter: int = 500, tol: float = 1e-4) -> AttributionNMF:
        """
        Features that are given instead of found, such as random ones for a control.

        Args:
            directions (Tensor): (K, C), of at least 0.
            max_iter (int, optional): Of the factorization. Default: 500
            tol (float, optional): At what relative change it ends. Default: 1e-4

        Returns:
            AttributionNMF: As if fitted.

        Raises:
            ValueError: If they are no matrix, or not all at least 0 and finite.
        """
        if not isinstance(directions, Tensor) or directions.dim() != 2 or not directions.is_floating_point():
            raise InputTypeError(f"directions are a {type_name(directions)}; expected a floating-point tensor (K, C).")
        if not bool(directions.isfinite().all()) or float(directions.min()) < 0:
            raise InputError(
                "directions hold negative entries, or some that are not finite; expected entries of at least 0."
            )
        found = cls(len(directions), max_iter, tol)
        found._directions = torch.nn.functional.normalize(directions.detach().float().cpu(), dim=1)
        return found

    def fit(self, attributions: Tensor) -> AttributionNMF:
        """
        Find features.

        Args:
            attributions (Tensor): (N, C, H, W), of many inputs.

        Returns:
            AttributionNMF: Itself.

        Raises:
            ValueError: If there are fewer channels or positions than features, or nothing but zeros.
        """
        rows = _rows(attributions)
        if self.n_features > min(rows.shape):
            raise InputError(
                f"{self.n_features} features were asked for, of {rows.shape[1]} channels at {rows.shape[0]} positions; expected no more of "
                "them than of either."
            )
        used = rows[(rows != 0).any(1)]
        if not len(used):
            raise InputError(
                "the attributions are 0 everywhere, so there are no features; choose another layer or output."
            )
        factors, components, self.error = one_sided_nmf(used, self.n_features, self.max_iter, self.tol)
        lengths = np.linalg.norm(components, axis=1)
        strength = np.abs(factors).sum(0) * lengths
        order = np.argsort(-strength, kind="stable")
        self._directions = torch.from_numpy((components / np.where(lengths > 0, lengths, 1.0)[:, None])[order]).float()
        return self

    def transform(self, attributions: Tensor) -> FeatureAttributions:
        """
        Attributions by feature.

        Args:
            attributions (Tensor): (N, C, H, W), of any inputs.

        Returns:
            FeatureAttributions: Of each input, with what the features miss.

        Raises:
            ValueError: If there are not as many channels as the features have.
            RuntimeError: Before :meth:`fit`.
        """
        directions, rows = self.directions.double().numpy(), _rows(attributions)
        if rows.shape[1] != directions.shape[1]:
            raise InputError(
                f"the attributions have {rows.shape[1]} channels, the features {directions.shape[1]}; give those of the layer they are of."
            )
        alive = np.linalg.norm(directions, axis=1) > 0
        factors = np.zeros((len(rows), len(directions)))
        used = (rows != 0).any(1)
        if used.any() and alive.any():
            factors[np.ix_(used, alive)] = signed_factors(rows[used], directions[alive], self.max_iter, self.tol)
        # A direction's entries sum to more than 1: what a feature contributes is what it adds to the attributions of all channels.
        contributed = factors * directions.sum(1)
        shape = (len(attributions), *attributions.shape[2:])
        values = torch.from_numpy(contributed).float().view(*shape, -1).permute(0, 3, 1, 2).contiguous()
        residual = torch.from_numpy(rows.sum(1) - contributed.sum(1)).float().view(shape)
        return FeatureAttributions(values, residual)

    def missed(self, attributions: Tensor) -> float:
        """What the features miss of attributions, over their size: of inputs they were not fitted to, how well they carry over."""
        rows = _rows(attributions)
        directions = self.directions.double().numpy()
        return relative_error(rows, signed_factors(rows, directions, self.max_iter, self.tol), directions)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write the features to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        described = {"error": self.error, "max_iter": self.max_iter, "tol": self.tol}
        save_tensors(path, _KIND, {"directions": self.directions}, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> AttributionNMF:
        """
        Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            directions = tensors["directions"]
            found = cls(len(directions), int(metadata["max_iter"]), float(metadata["tol"]))
            found.error, found._directions = float(metadata["error"]), directions
        return found


def _rows(attributions: Any) -> np.ndarray[Any, np.dtype[np.float64]]:
    """(M, C): a row for each position."""
    if not isinstance(attributions, Tensor) or attributions.dim() != 4 or not attributions.is_floating_point():
        given = tuple(attributions.shape) if isinstance(attributions, Tensor) else type_name(attributions)
        raise InputTypeError(f"attributions are {given}; expected a floating-point tensor (N, C, H, W).")
    values = attributions.detach().cpu().double()
    if not len(values) or not bool(values.isfinite().all()):
        raise InputError("attributions are none, or not all finite; expected finite ones of at least one input.")
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]).numpy()


__all__ = ["AttributionNMF", "FeatureAttributions"]
