"""Directions of a layer's activation space: its channels, random ones, principal components and factors of non-negative factorization."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingPackageError


def random_frame(size: int, count: int, generator: torch.Generator) -> Tensor:
    """
    Orthonormal directions, each uniform on the sphere: what the channels are if they are nothing special.

    Args:
        size (int): Channels of the layer.
        count (int): Directions, at most as many.
        generator (torch.Generator): Of the draw.

    Returns:
        Tensor: (count, size), float64.

    Examples::

        >>> frame = random_frame(8, 3, torch.Generator().manual_seed(0))
        >>> torch.allclose(frame @ frame.T, torch.eye(3, dtype=torch.float64))
        True
    """
    _check_count(count, size)
    normal = torch.randn(size, count, dtype=torch.float64, generator=generator)
    orthogonal, upper = torch.linalg.qr(normal)
    # With the signs of the diagonal the frame is uniform (Mezzadri, "How to generate random matrices from the classical compact groups").
    return (orthogonal * upper.diagonal().sign()).T.contiguous()


def whitening(activations: Tensor, floor: float = 1e-6) -> Tensor:
    """
    The symmetric matrix that makes activations uncorrelated, each of variance 1: the inverse square root of their covariance.

    Args:
        activations (Tensor): (N, C), at least two.
        floor (float, optional): Variances below this share of the largest are taken for it, so that noise is not blown up. Default: 1e-6

    Returns:
        Tensor: (C, C), float64. A direction z of the whitened space is ``z @ whitening`` in the layer's own.
    """
    values = _checked(activations)
    variances, axes = torch.linalg.eigh(torch.cov(values.T).view(values.shape[1], values.shape[1]))
    scale = variances.clamp(min=floor * float(variances[-1].clamp(min=1e-30))).rsqrt()
    matrix: Tensor = (axes * scale) @ axes.T
    return matrix


def principal_directions(activations: Tensor, count: int) -> Tensor:
    r"""
    The principal components of activations, each pointed to where its projections have the longer tail.

    Components have no sign of their own. A unit is read by what excites it most, so of the two directions the one with positive skewness is
    taken, by which few images stand out.

    Args:
        activations (Tensor): (N, C), at least two.
        count (int): How many, at most the lesser of N and C.

    Returns:
        Tensor: (count, C), float64, orthonormal, in descending order of variance.

    Raises:
        ValueError: If more are asked for than there are.
        ImportError: If scikit-learn is not installed.
    """
    values = _checked(activations)
    _check_count(count, min(values.shape))
    pca = _scikit_learn().PCA(count, svd_solver="full").fit(values.numpy())
    components = torch.from_numpy(pca.components_).double()
    projections = (values - values.mean(0)) @ components.T
    skewed = (projections**3).sum(0) < 0
    return torch.where(skewed.unsqueeze(1), -components, components)


def nonnegative_directions(activations: Tensor, count: int, seed: int = 0) -> Tensor:
    r"""
    The factors of a non-negative matrix factorization of activations, as unit vectors.

    Where activations are negative too, as before a ReLU, their positive and their negative parts are factorized side by side, and a factor
    is the one less the other.

    Args:
        activations (Tensor): (N, C).
        count (int): How many, at most the lesser of N and C.
        seed (int, optional): Of the factorization. Default: 0

    Returns:
        Tensor: (found, C), float64: ``count`` of them, less those that are zero.

    Raises:
        ValueError: If more are asked for than there are, or activations are zero everywhere.
        ImportError: If scikit-learn is not installed.
    """
    values = _checked(activations)
    _check_count(count, min(values.shape))
    split = bool((values < 0).any())
    parts = torch.cat([values.clamp(min=0), (-values).clamp(min=0)], 1) if split else values
    if not bool((parts > 0).any()):
        raise InputError("activations are zero everywhere, so there is nothing to factorize; choose another layer.")
    nmf = _scikit_learn().NMF(count, init="nndsvda", random_state=seed, max_iter=400, tol=1e-3)
    nmf.fit(parts.float().numpy())
    factors = torch.from_numpy(nmf.components_).double()
    if split:
        factors = factors[:, : values.shape[1]] - factors[:, values.shape[1] :]
    lengths = factors.norm(dim=1)
    return torch.nn.functional.normalize(factors[lengths > 0], dim=1)


def _check_count(count: int, most: int) -> None:
    if check_int(count, "count", 1) > most:
        raise InputError(f"{count} directions were asked for, but there are {most} at most; ask for fewer.")


def _checked(activations: Tensor) -> Tensor:
    if activations.dim() != 2 or len(activations) < 2 or not bool(activations.isfinite().all()):
        raise InputError(f"activations have shape {tuple(activations.shape)}; expected (N, C), N at least 2, finite.")
    return activations.detach().cpu().double()


def _scikit_learn() -> Any:
    try:
        from sklearn import decomposition
    except ImportError as error:
        raise MissingPackageError(
            "principal and non-negative directions need scikit-learn; install it with pip install scikit-learn."
        ) from error
    return decomposition


__all__ = ["nonnegative_directions", "principal_directions", "random_frame", "whitening"]
