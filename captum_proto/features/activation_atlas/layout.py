"""Where vectors lie on the plane of an atlas: UMAP, t-SNE, principal components, or a function of the user's."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError, MissingPackageError
from captum_proto.features.activation_atlas.vectors import ROWS

#: A name, or a function from vectors (N, C) to coordinates (N, D).
Method = str | Callable[[Tensor], Any]
METHODS = ("umap", "tsne", "pca")
#: What a method needs, by module and the name that it is installed by.
_PACKAGES = {"umap": {"umap": "umap-learn"}, "tsne": {"openTSNE": "openTSNE"}}
#: How Carter et al. lay atlases out; their notebooks' values are n_neighbors=20 and min_dist=0.01.
UMAP = {"n_neighbors": 50, "min_dist": 0.05, "metric": "cosine"}
#: Up to so many vectors UMAP finds neighbors by all distances, and beyond so many it takes fewer passes than its own 200, or it would
#: take minutes: with a seed it has one thread.
_EXACT, _MANY, _FEWEST_PASSES = 4096, 20_000, 50
TSNE = {"perplexity": 50, "learning_rate": 10.0, "metric": "cosine", "initialization": "pca"}


def lay_out(
    vectors: Tensor,
    method: Method = "umap",
    components: int = 2,
    seed: int = 0,
    reduce: int | None = 50,
    **choices: Any,
) -> Tensor:
    r"""
    Coordinates of vectors, near where vectors point in near directions.

    Args:
        vectors (Tensor): (N, C).
        method (str or Callable, optional): "umap" (umap-learn, with Carter et al.'s n_neighbors 50, min_dist 0.05 and cosine distances),
            "tsne" (openTSNE, perplexity 50, learning rate 10, cosine distances), "pca" (centered principal components, which need
            nothing else installed), or a function from vectors (N, C) to coordinates (N, ``components``). Default: "umap"
        components (int, optional): How many coordinates. Default: 2
        seed (int, optional): Equal vectors and seeds give equal layouts on one machine. Default: 0
        reduce (int, optional): Before UMAP or t-SNE, project onto the so many directions of most energy (principal components that are
            not centered, so that they keep angles); None to lay out vectors as they are, as Carter et al. do, which takes several
            times as long. Default: 50
        **choices: Further arguments of ``umap.UMAP`` or ``openTSNE.TSNE``, or others than these.

    Returns:
        Tensor: (N, ``components``), float64.

    Raises:
        ImportError: If the package is not installed.
        ValueError: If there is no such method, it gives something else, or there are too few vectors.

    Examples::

        >>> lay_out(torch.randn(40, 8), "pca").shape
        torch.Size([40, 2])
    """
    count = check_int(components, "components", 1)
    check_method(method)
    if vectors.dim() != 2 or len(vectors) <= count or not bool(vectors.isfinite().all()):
        raise InputError(
            f"vectors have shape {tuple(vectors.shape)}; expected (N, C), finite, and more than {count} of them for {count} coordinates."
        )
    if callable(method):
        return _checked(method(vectors), len(vectors), count)
    if method == "pca":
        return principal_components(vectors, count, centered=True)
    if reduce is not None and check_int(reduce, "reduce", 1, ", or None for none") < vectors.shape[1]:
        vectors = principal_components(vectors, reduce, centered=False)
    values = np.ascontiguousarray(vectors.float().numpy())
    with _same_number_of_threads():
        found = (_umap if method == "umap" else _tsne)(values, count, check_int(seed, "seed", 0), choices)
    return _checked(found, len(vectors), count)


def check_method(method: Method) -> None:
    """
    See that there is such a way to lay out vectors, and that the package it needs is installed.

    Raises:
        ValueError: If there is none of this name.
        ImportError: If the package is missing.
    """
    if not isinstance(method, str):
        return
    if method not in METHODS:
        raise InputError(
            f'method is "{method}"{nearest(method, METHODS)}; expected "umap", "tsne", "pca" or a function of vectors (N, C).'
        )
    for module, package in _PACKAGES.get(method, {}).items():
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise MissingPackageError(
                f'method is "{method}", but {package} is not installed; run: pip install {package} (or captum_proto[atlas]), or choose '
                'method "pca".'
            ) from error


def principal_components(vectors: Tensor, count: int, centered: bool) -> Tensor:
    """
    Projections onto the directions of most variance, or of most energy: (N, count), float64.

    From the exact eigenvectors of the second moment; of each, the entry of the largest size is positive, so that signs are no accident.
    """
    if count > vectors.shape[1]:
        raise InputError(
            f"{count} coordinates were asked for of vectors with {vectors.shape[1]} entries; ask for fewer."
        )
    middle = vectors.double().mean(0) if centered else torch.zeros(vectors.shape[1], dtype=torch.float64)
    moment = torch.zeros(vectors.shape[1], vectors.shape[1], dtype=torch.float64)
    for rows in torch.split(vectors, ROWS):
        double = rows.double() - middle
        moment.addmm_(double.T, double)
    directions = torch.linalg.eigh(moment).eigenvectors[:, -count:].flip(1)
    directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
    return torch.cat([(rows.double() - middle) @ directions for rows in torch.split(vectors, ROWS)])


def normalize_layout(coordinates: Tensor, percentile: float = 1.0, margin: float = 0.1) -> Tensor:
    r"""
    Coordinates in [0, 1], with outliers drawn in: clipped where they lie beyond percentiles by more than a margin.

    Lucid's and captum.optim's way, apart from the upper margin, which they take from a span that is already widened.

    Args:
        coordinates (Tensor): (N, D), finite.
        percentile (float, optional): From 0 to less than 50: of the lower bound; that of the upper one is 100 less it. Default: 1
        margin (float, optional): As a share of what lies between the percentiles. Default: 0.1

    Returns:
        Tensor: (N, D), float64; each column reaches from 0 to 1. 0.5 in a column whose values are all equal.

    Raises:
        ValueError: If an argument is out of its range.

    Examples::

        >>> normalize_layout(torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]]), percentile=25, margin=0.5).flatten().tolist()
        [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    if not 0 <= percentile < 50 or not 0 <= margin < float("inf"):
        raise InputError(f"percentile is {percentile} and margin {margin}; expected 0 to less than 50, and at least 0.")
    values = _checked(coordinates, len(coordinates), coordinates.shape[1])
    low, high = (
        torch.from_numpy(bound) for bound in np.percentile(values.numpy(), [percentile, 100 - percentile], axis=0)
    )
    span = high - low
    values = values.clamp(low - margin * span, high + margin * span)
    least, most = values.min(0).values, values.max(0).values
    scaled = (values - least) / torch.where(most > least, most - least, 1.0)
    return torch.where(most > least, scaled, 0.5)


def neighbors_kept(
    vectors: Tensor, coordinates: Tensor, count: int = 10, most: int = 1000, seed: int = 0
) -> tuple[Tensor, float]:
    """
    How much of a neighborhood a layout keeps: the share of a vector's nearest others, by cosine, that are its nearest on the plane too.

    Args:
        vectors (Tensor): (N, C).
        coordinates (Tensor): (N, 2).
        count (int, optional): How many neighbors. Default: 10
        most (int, optional): Of so many vectors, drawn at random, among all. Default: 1000
        seed (int, optional): Of the draw. Default: 0

    Returns:
        tuple[Tensor, float]: (M,), a share for each vector looked at; and the share that a random layout keeps.
    """
    number, near = len(vectors), min(count, len(vectors) - 1)
    looked_at = torch.randperm(number, generator=torch.Generator().manual_seed(seed))[:most]
    directions = torch.nn.functional.normalize(vectors.float(), dim=1)
    shares = []
    for rows in torch.split(looked_at, 256):
        alike = directions[rows] @ directions.T
        beside = -torch.cdist(coordinates[rows].float(), coordinates.float())
        for values in (alike, beside):
            values.scatter_(1, rows.unsqueeze(1), float("-inf"))  # not of itself
        first, second = (values.topk(near, dim=1).indices for values in (alike, beside))
        shares.append((first.unsqueeze(2) == second.unsqueeze(1)).any(2).double().mean(1))
    return torch.cat(shares), near / (number - 1)


@contextlib.contextmanager
def _same_number_of_threads() -> Iterator[None]:
    """
    PyTorch works with as many threads afterwards as before.

    Where Numba, which UMAP is written in, shares PyTorch's OpenMP, its first parallel loop sets the number of threads to that of the
    cores, for everybody and for good; sums over activations then end in other bits.
    """
    before = torch.get_num_threads()
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def _umap(values: np.ndarray[Any, Any], components: int, seed: int, choices: dict[str, Any]) -> Any:
    import umap

    # From principal components: a spectral start takes minutes where vectors form many groups of their own.
    options = {**UMAP, "init": "pca", **choices}
    options["n_neighbors"] = min(options["n_neighbors"], len(values) - 1)
    if len(values) > _MANY:
        options.setdefault("n_epochs", max(_FEWEST_PASSES, 200 * _MANY // len(values)))
    if len(values) > _EXACT and isinstance(options["metric"], str):
        options.setdefault("precomputed_knn", _neighbors(values, options["n_neighbors"], options["metric"], seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a seed leaves UMAP one thread is what a seed is for
        return umap.UMAP(n_components=components, random_state=seed, **options).fit_transform(values)


def _neighbors(values: np.ndarray[Any, Any], count: int, metric: str, seed: int) -> tuple[Any, ...]:
    """The nearest neighbors of each vector, as UMAP finds them but on all threads: the search is the same every time, with a seed too."""
    from pynndescent import NNDescent

    search = NNDescent(values, metric=metric, n_neighbors=count, random_state=seed, n_jobs=torch.get_num_threads())
    return (*search.neighbor_graph, search)


def _tsne(values: np.ndarray[Any, Any], components: int, seed: int, choices: dict[str, Any]) -> Any:
    import openTSNE

    options = {**TSNE, **choices}
    options["perplexity"] = min(options["perplexity"], max(1.0, (len(values) - 1) / 3))
    return np.asarray(openTSNE.TSNE(n_components=components, random_state=seed, **options).fit(values))


def _checked(found: Any, rows: int, components: int) -> Tensor:
    """Coordinates as float64 on the CPU."""
    try:
        values = torch.as_tensor(found).detach().cpu().double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputTypeError(
            f"the layout is a {type(found).__name__}; expected an array of shape ({rows}, {components})."
        ) from error
    values = values.unsqueeze(1) if values.dim() == 1 else values
    if values.shape != (rows, components) or not bool(values.isfinite().all()):
        raise InputError(
            f"the layout has shape {tuple(values.shape)}; expected ({rows}, {components}), finite, one row for each vector."
        )
    return values


__all__ = ["METHODS", "Method", "check_method", "lay_out", "neighbors_kept", "normalize_layout", "principal_components"]
