"""Non-negative factorization of a matrix that may have negative entries: parts with positive loadings, present to either sign."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray

from captum_proto._utils.errors import MissingPackageError


def one_sided_nmf(
    rows: NDArray[np.float64], count: int, max_iter: int = 2000, tol: float = 1e-6, what: str = "factors"
) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
    r"""
    One-sided non-negative matrix factorization: :math:`A \approx U V` with :math:`V \ge 0`, and U of either sign where A is.

    The positive and the negative part of the rows are put beneath each other, and factorized together by scikit-learn; U is the difference
    of the two halves. Of Voss et al., "Visualizing Weights" (Distill 2021). Without negative entries it is plain NMF.

    Args:
        rows (NDArray): (N, D), of which not all are 0.
        count (int): How many factors, at most N and D.
        max_iter (int, optional): Default: 2000
        tol (float, optional): At what relative change it ends. Default: 1e-6
        what (str, optional): What is found by it, for the message where scikit-learn is missing. Default: "factors"

    Returns:
        tuple[NDArray, NDArray, float]: U, (N, count); V, (count, D); and the relative error :math:`\|A - UV\| / \|A\|`.

    Raises:
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> import numpy as np
        >>> given = np.outer([1.0, -2.0, 0.0], [0.0, 3.0, 1.0])
        >>> factors, parts, error = one_sided_nmf(given, 1)
        >>> bool((parts >= 0).all()), round(float(error), 3)
        (True, 0.0)
    """
    try:
        from sklearn.decomposition import NMF
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise MissingPackageError(
            f"{what} are found by scikit-learn, which is not installed; install it with: pip install scikit-learn"
        ) from error
    signed = bool((rows < 0).any())
    halves = np.concatenate([rows.clip(min=0), (-rows).clip(min=0)]) if signed else rows
    model = NMF(count, init="nndsvda", max_iter=max_iter, tol=tol, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # how good it is, the error says
        factors, parts = model.fit_transform(halves), model.components_
    if signed:
        factors = factors[: len(rows)] - factors[len(rows) :]
    return factors, parts, float(np.linalg.norm(rows - factors @ parts) / np.linalg.norm(rows))


__all__ = ["one_sided_nmf"]
