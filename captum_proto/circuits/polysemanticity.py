"""Polysemanticity: whether the images to which a unit responds most fall into several kinds."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, MissingPackageError


@dataclass(frozen=True)
class Clusters:
    r"""
    How many clusters some points fall into, by the gap statistic.

    Attributes:
        count (int): The number of clusters that was chosen: the least k with :math:`\mathrm{gap}(k) \ge \mathrm{gap}(k + 1) - s_{k+1}`.
        labels (list[int]): The cluster of each point, from 0, the largest first.
        gaps (list[float]): Of 1, 2, … clusters.
        errors (list[float]): s, the standard error of each, by which simulation is uncertain.
        share (float): Of the variance of the points, what is in the dimensions that were looked at.
    """

    count: int
    labels: list[int]
    gaps: list[float]
    errors: list[float]
    share: float = 1.0

    @property
    def sizes(self) -> list[int]:
        """How many points each cluster has."""
        return [self.labels.count(label) for label in range(self.count)]


def gap_statistic(points: ArrayLike, max_clusters: int = 6, draws: int = 20, seed: int = 0) -> Clusters:
    r"""
    How many clusters points fall into: the gap statistic of Tibshirani, Walther and Hastie (2001).

    .. math::
        \mathrm{gap}(k) = \frac{1}{B} \sum_b \log W_k^{(b)} - \log W_k

    with W the sum of squares within the k clusters of k-means, and that of B sets of as many points which are spread evenly in a box along
    the principal axes (their reference b). The least k is chosen whose gap is at least the next one's, less its standard error: 1 where
    nothing speaks for clusters. Needs scikit-learn.

    Args:
        points (array-like): (N, D), finite, at least three.
        max_clusters (int, optional): The largest number that is tried, less than N. Default: 6
        draws (int, optional): B. Default: 20
        seed (int, optional): Of the reference and of k-means. Default: 0

    Returns:
        Clusters: Where points are all equal, one.

    Raises:
        ValueError: If there are too few points, or one is not finite.
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> random = np.random.default_rng(0)
        >>> two = np.concatenate([random.normal(size=(20, 2)), random.normal(size=(20, 2)) + 9])
        >>> gap_statistic(two).count, gap_statistic(two[:20]).count
        (2, 1)
    """
    values = np.asarray(points, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 3 or not values.shape[1]:
        raise InputError(f"points have shape {values.shape}; expected (N, D), at least three of them.")
    if not np.isfinite(values).all():
        raise InputError("points hold NaN or infinity; expected finite numbers.")
    most = min(check_int(max_clusters, "max_clusters", 1), len(values) - 1)
    count, random = check_int(draws, "draws", 2), np.random.default_rng(check_int(seed, "seed", 0))
    centered = values - values.mean(0)
    if not centered.any():
        return Clusters(1, [0] * len(values), [0.0], [0.0])
    axes = np.linalg.svd(centered, full_matrices=False)[2]
    turned = centered @ axes.T
    low, high = turned.min(0), turned.max(0)
    logs, labels = _within(turned, most, seed)
    null = np.stack([_within(random.uniform(low, high, turned.shape), most, seed)[0] for _ in range(count)])
    gaps = null.mean(0) - logs
    errors = null.std(0) * math.sqrt(1 + 1 / count)
    chosen = next((k for k in range(most - 1) if gaps[k] >= gaps[k + 1] - errors[k + 1]), most - 1)
    return Clusters(chosen + 1, _ordered(labels[chosen]), gaps.tolist(), errors.tolist())


def example_clusters(
    features: ArrayLike, dimensions: int = 4, max_clusters: int = 6, draws: int = 20, seed: int = 0
) -> Clusters:
    """
    How many kinds of images a unit's top examples are: clusters among their features, in few principal dimensions.

    In hundreds of dimensions distances between few points are all alike, so that clusters would not be seen; the first principal components
    of the examples, each row of unit length before, keep what they differ in most. What different images give by chance is to be read
    beside it, from as many images drawn at random.

    Args:
        features (array-like): (N, D): of each example, such as what a later layer makes of the part that the unit saw.
        dimensions (int, optional): Principal components that are looked at, at most a quarter of N. Default: 4
        max_clusters, draws, seed: As in :func:`gap_statistic`.

    Returns:
        Clusters: With the share of the variance that lies in these dimensions.

    Raises:
        ValueError: As :func:`gap_statistic`.

    Examples::

        >>> random = np.random.default_rng(0)
        >>> eyes, wheels = random.normal(size=(2, 1, 64))
        >>> examples = np.concatenate([eyes + random.normal(size=(15, 64)) / 4, wheels + random.normal(size=(15, 64)) / 4])
        >>> example_clusters(examples).sizes
        [15, 15]
    """
    values = np.asarray(features, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 3 or not np.isfinite(values).all():
        raise InputError(
            f"features have shape {values.shape}; expected (N, D), at least three of them, and finite numbers."
        )
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    values = values / np.where(lengths > 0, lengths, 1.0)
    centered = values - values.mean(0)
    left, sizes, _ = np.linalg.svd(centered, full_matrices=False)
    kept = max(1, min(check_int(dimensions, "dimensions", 1), len(values) // 4, len(sizes)))
    total = float((sizes**2).sum())
    found = gap_statistic(left[:, :kept] * sizes[:kept], max_clusters, draws, seed)
    share = float((sizes[:kept] ** 2).sum()) / total if total else 1.0
    return Clusters(found.count, found.labels, found.gaps, found.errors, share)


def _within(points: NDArray[np.float64], most: int, seed: int) -> tuple[NDArray[np.float64], list[NDArray[Any]]]:
    """The logarithm of the sum of squares within 1 to so many clusters, and the clusters."""
    try:
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning
    except ImportError as error:
        raise MissingPackageError(
            "clusters are found by scikit-learn, which is not installed; install it with: pip install scikit-learn"
        ) from error
    logs, labels = [], []
    different = len(np.unique(points, axis=0))
    for count in range(1, most + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # of points that are nearly equal
            made = KMeans(min(count, different), n_init=3, random_state=seed).fit(points)
        logs.append(math.log(max(float(made.inertia_), 1e-300)))
        labels.append(made.labels_)
    return np.array(logs), labels


def _ordered(labels: NDArray[Any]) -> list[int]:
    """Clusters counted from the largest."""
    names, sizes = np.unique(labels, return_counts=True)
    order = {int(name): place for place, name in enumerate(names[np.argsort(-sizes, kind="stable")])}
    return [order[int(label)] for label in labels]


__all__ = ["Clusters", "example_clusters", "gap_statistic"]
