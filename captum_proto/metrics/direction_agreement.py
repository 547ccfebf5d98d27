"""How well the images that excite a direction most agree with one another, in another network's features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.ops.double import double, exact


def agreement(vectors: Tensor, sets: Tensor) -> Tensor:
    r"""
    The mean cosine between the images of a set, over all pairs of them.

    .. math::
        \frac{1}{k(k-1)} \sum_{i \ne j} \cos(e_i, e_j) = \frac{\lVert \sum_i u_i \rVert^2 - \sum_i \lVert u_i \rVert^2}{k(k-1)}
        \qquad u_i = \frac{e_i}{\lVert e_i \rVert}

    Args:
        vectors (Tensor): (N, D), each image in the features of a network that was not asked for the sets.
        sets (Tensor): (U, k), int64: the numbers of the images of each set, k at least 2, no number twice in a set.

    Returns:
        Tensor: (U,), float64, in [-1, 1].

    Raises:
        TypeError, ValueError: If the vectors are not finite, or the sets no such numbers.

    Examples::

        >>> agreement(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0, 1], [0, 2]]))
        tensor([1., 0.], dtype=torch.float64)
    """
    units = _unit_vectors(vectors)
    if not isinstance(sets, Tensor) or sets.is_floating_point() or sets.dim() != 2:
        raise InputTypeError(
            "sets is no tensor (U, k) of whole numbers; expected the numbers of the images of each set."
        )
    size = sets.shape[1]
    if size < 2:
        raise InputError(f"sets have {size} image each; expected at least 2, for agreement is between images.")
    if size > len(units):
        raise InputError(f"sets have {size} images each, but there are {len(units)} images; choose a smaller k.")
    if bool((sets < 0).any()) or int(sets.max()) >= len(units):
        raise InputError(
            f"sets hold numbers from {int(sets.min())} to {int(sets.max())}; there are {len(units)} images."
        )
    if bool((sets.sort(1).values.diff(dim=1) == 0).any()):
        raise InputError("an image is twice in a set; expected different images, for each agrees with itself.")
    chosen = units[exact(sets)]
    squares = chosen.square().sum((1, 2))
    agreed: Tensor = (chosen.sum(1).square().sum(1) - squares) / (size * (size - 1))
    return agreed


def expected_agreement(vectors: Tensor) -> float:
    """
    The agreement that is expected of images drawn at random, whatever their number: the mean cosine over all pairs.

    Args:
        vectors (Tensor): (N, D), at least two.

    Returns:
        float: In [-1, 1]. Where each vector is taken less the mean of all, it is near 0.

    Examples::

        >>> expected_agreement(torch.eye(4))
        0.0
    """
    units = _unit_vectors(vectors)
    return float(agreement(units, torch.arange(len(units)).unsqueeze(0)))


def random_sets(count: int, size: int, images: int, seed: int = 0) -> Tensor:
    """
    Sets of images drawn at random: the floor of agreement.

    Args:
        count (int): How many sets.
        size (int): Images in a set, without replacement.
        images (int): Of which they are drawn.
        seed (int, optional): Of the draw. Default: 0

    Returns:
        Tensor: (count, size), int64.

    Raises:
        ValueError: If a set is to be larger than there are images.

    Examples::

        >>> random_sets(2, 3, 3).sort(1).values
        tensor([[0, 1, 2],
                [0, 1, 2]])
    """
    check_int(count, "count", 1)
    _check_size(size, images)
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randperm(images, generator=generator)[:size] for _ in range(count)])


def nearest_sets(vectors: Tensor, size: int) -> Tensor:
    """
    Each image with those most similar to it: about the most that sets of this size can agree, a ceiling that needs no labels.

    Args:
        vectors (Tensor): (N, D).
        size (int): Images in a set, the one itself among them.

    Returns:
        Tensor: (N, size), int64.

    Raises:
        ValueError: If a set is to be larger than there are images.
    """
    units = _unit_vectors(vectors)
    _check_size(size, len(units))
    cosines = units @ units.T
    cosines.fill_diagonal_(2.0)  # an image whose copy is there too is still its own first
    return cosines.topk(size, dim=1).indices


def class_sets(labels: Sequence[int], size: int, seed: int = 0) -> list[Tensor]:
    """
    Images of one class each, drawn at random where a class has more than a set holds.

    Args:
        labels (sequence of int): Of each image.
        size (int): The most that a set holds.
        seed (int, optional): Of the draw. Default: 0

    Returns:
        list[Tensor]: (at most ``size``,), for each class with at least two images; empty where no class has them.

    Examples::

        >>> class_sets([5, 7, 5, 5, 9], size=2)
        [tensor([...])]
    """
    found = torch.as_tensor(list(labels), dtype=torch.int64)
    generator = torch.Generator().manual_seed(seed)
    sets = []
    for label in sorted(set(found.tolist())):
        places = (found == label).nonzero().flatten()
        if len(places) >= 2:
            sets.append(places[torch.randperm(len(places), generator=generator)[:size]])
    return sets


def _check_size(size: int, images: int) -> None:
    if check_int(size, "k", 2) > images:
        raise InputError(f"k is {size}, but there are {images} images; choose a smaller k, or give more images.")


def _unit_vectors(vectors: Tensor) -> Tensor:
    if not isinstance(vectors, Tensor) or not vectors.is_floating_point() or vectors.dim() != 2 or len(vectors) < 2:
        got = f"shape {tuple(vectors.shape)}" if isinstance(vectors, Tensor) else f"a {type(vectors).__name__}"
        raise InputError(f"vectors is {got}; expected a float tensor (N, D), N at least 2.")
    if not bool(vectors.isfinite().all()):
        raise InputError("vectors hold NaN or infinity; expected finite features of each image.")
    return torch.nn.functional.normalize(double(vectors.detach()), dim=1)


__all__ = ["agreement", "class_sets", "expected_agreement", "nearest_sets", "random_sets"]
