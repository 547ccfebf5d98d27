"""Non-negative matrix factorization of values with a sign: of their positive and their negative part, with the same components."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.errors import MissingPackageError

Rows = NDArray[np.float64]


def one_sided_nmf(rows: Rows, count: int, max_iter: int = 2000, tol: float = 1e-6) -> tuple[Rows, Rows, float]:
    r"""
    One-sided non-negative matrix factorization: :math:`V \approx S C` with :math:`C \ge 0`, and S of either sign where V is.

    Rows with negative entries are factorized, by scikit-learn, as their positive part above their negative part, and their factors are the
    difference of both, as Voss et al., "Visualizing Weights" (Distill 2021), do with weights and Hilton et al., "Understanding RL Vision"
    (Distill 2020), with attributions. Without negative entries it is plain NMF.

    Args:
        rows (NDArray): (M, C), of which not all are 0.
        count (int): K, how many components, at most M and C.
        max_iter (int, optional): Default: 2000
        tol (float, optional): At what relative change the factorization ends. Default: 1e-6

    Returns:
        tuple[NDArray, NDArray, float]: Factors (M, K), components (K, C) of at least 0, and :math:`|V - S C| / |V|`.

    Raises:
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> rows = np.array([[2.0, 0.0], [0.0, -1.0], [-3.0, 0.0]])
        >>> factors, components, error = one_sided_nmf(rows, 2)
        >>> bool(np.allclose(factors @ components, rows, atol=1e-4)), error < 1e-4
        (True, True)
    """
    nmf = _scikit_learn().NMF(count, init="nndsvda", max_iter=max_iter, tol=tol, random_state=0)
    parts, signed = _parts(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _convergence_warning())  # how good it is, the error says
        factors, components = nmf.fit_transform(parts), nmf.components_
    if signed:
        factors = factors[: len(rows)] - factors[len(rows) :]
    return factors, components, relative_error(rows, factors, components)


def signed_factors(rows: Rows, components: Rows, max_iter: int = 2000, tol: float = 1e-6) -> Rows:
    """
    Factors (M, K) of rows (M, C) for components (K, C) that were found in others.

    Raises:
        ImportError: If scikit-learn is not installed.
    """
    parts, signed = _parts(rows)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", _convergence_warning())
        factors, _, _ = _scikit_learn().non_negative_factorization(
            parts, H=components, n_components=len(components), update_H=False, max_iter=max_iter, tol=tol, init="custom"
        )
    found: Rows = factors[: len(rows)] - factors[len(rows) :] if signed else factors
    return found


def relative_error(rows: Rows, factors: Rows, components: Rows) -> float:
    """What factors and components miss of rows, over their size."""
    return float(np.linalg.norm(rows - factors @ components) / np.linalg.norm(rows))


def _parts(rows: Rows) -> tuple[Rows, bool]:
    signed = bool((rows < 0).any())
    return (np.concatenate([rows.clip(min=0), (-rows).clip(min=0)]) if signed else rows), signed


def _scikit_learn() -> Any:
    try:
        from sklearn import decomposition
    except ImportError as error:
        raise MissingPackageError(
            "non-negative factors are found by scikit-learn, which is not installed; install it with: pip install scikit-learn"
        ) from error
    return decomposition


def _convergence_warning() -> Any:
    from sklearn.exceptions import ConvergenceWarning

    return ConvergenceWarning


__all__ = ["one_sided_nmf", "relative_error", "signed_factors"]
