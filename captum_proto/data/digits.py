"""The scans of handwritten digits that come with scikit-learn."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch

from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto.data.collection import LabeledImages, TensorCollection


def digits_collection(split: str = "held_out") -> TensorCollection:
    r"""
    The scans of handwritten digits that come with scikit-learn: natural images for the model "digits".

    Every fourth scan of each digit is held out; the model "digits" is trained on the others alone. Both parts are by the same writers.

    Args:
        split (str, optional): "held_out" (445 scans), "training" (1352) or "all" (1797). Default: "held_out"

    Returns:
        TensorCollection: Images of shape (1, 8, 8), in the order of the data set.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split.

    Examples::

        >>> scans = digits_collection()
        >>> len(scans), scans.of(3, limit=2).labels
        (445, [3, 3])
    """
    if split not in ("held_out", "training", "all"):
        raise InputError(f'split is "{split}"; expected "held_out", "training" or "all".')
    images, labels = _scans()
    place = torch.empty_like(labels)
    for digit in range(10):
        same = labels == digit
        place[same] = torch.arange(int(same.sum()))
    held_out = place % 4 == 3
    chosen = {"held_out": held_out, "training": ~held_out, "all": torch.ones_like(held_out)}[split]
    return TensorCollection(images[chosen], labels[chosen], name="digits")


def digits_images(
    split: str = "held_out", classes: int | Iterable[int] | None = None, limit: int | None = None, seed: int = 0
) -> LabeledImages:
    r"""
    The scans of :func:`digits_collection`, or a part of them, as tensors.

    Args:
        split (str, optional): "held_out" (445 scans), "training" (1352) or "all" (1797). Default: "held_out"
        classes (int or Iterable[int], optional): Digits; None: all. Default: None
        limit (int, optional): How many scans to draw at random, of all the classes together; None: all. Default: None
        seed (int, optional): Which draw. Default: 0

    Returns:
        LabeledImages: The images, (N, 1, 8, 8) in [0, 1], and their labels, in the order of the data set.

    Raises:
        ImportError: If scikit-learn is not installed.
        ValueError: If there is no such split or class, or there are fewer scans than ``limit``.

    Examples::

        >>> images, labels = digits_images(classes=[3], limit=10)
        >>> images.shape, labels.unique()
        (torch.Size([10, 1, 8, 8]), tensor([3]))
    """
    scans = digits_collection(split)
    return scans.of(scans.classes if classes is None else classes, limit, seed).labeled


def _scans() -> LabeledImages:
    """All scans, in the order of the data set."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise MissingPackageError(
            "the digits come with scikit-learn, which is not installed; run: pip install scikit-learn"
        ) from error
    scans = load_digits()
    images = torch.from_numpy(np.asarray(scans.images / 16, dtype=np.float32)).unsqueeze(1)
    return LabeledImages(images, torch.from_numpy(np.asarray(scans.target, dtype=np.int64)))
