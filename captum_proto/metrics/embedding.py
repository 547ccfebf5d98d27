"""Images in the features of another network, checked: what similarities between images are computed from."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from captum_proto._utils.batches import Images, image_batches
from captum_proto._utils.checks import type_name
from captum_proto._utils.errors import InputError, InputTypeError

#: From images (N, C, H, W) to features (N, D), such as :class:`~captum_proto.models.PooledFeatures`.
Embedding = Callable[[Tensor], Tensor]


def embedded(images: Images, embed: Embedding, batch_size: int = 32, name: str = "images") -> Tensor:
    """
    Images as unit vectors in the space of an embedding: their dot products are cosines.

    Args:
        images (Tensor or iterable): (N, C, H, W), or batches of them.
        embed (Callable): From images to (N, D).
        batch_size (int, optional): Images at a time. Default: 32
        name (str, optional): What the images are called in messages. Default: "images"

    Returns:
        Tensor: (N, D), float64, on the CPU. What the embedding gives as zero stays zero: its cosine with anything is 0.

    Raises:
        TypeError, ValueError: If the embedding returns something else than (N, D), or NaN.

    Examples::

        >>> embedded(torch.ones(2, 1, 2, 2), lambda images: images.flatten(1))
        tensor([[0.5000, 0.5000, 0.5000, 0.5000],
                [0.5000, 0.5000, 0.5000, 0.5000]], dtype=torch.float64)
    """
    if not callable(embed):
        raise InputTypeError(
            f"embed is a {type_name(embed)}; expected a function from images (N, C, H, W) to features (N, D)."
        )
    parts = []
    for batch in image_batches(images, batch_size, None, name):
        with torch.no_grad():
            features = embed(batch)
        if not isinstance(features, Tensor) or not features.is_floating_point():
            got = f"a {features.dtype} tensor" if isinstance(features, Tensor) else f"a {type_name(features)}"
            raise InputTypeError(f"embed returned {got}; expected a float tensor (N, D), one row for each image.")
        if features.dim() != 2 or len(features) != len(batch) or not features.shape[1]:
            raise InputError(
                f"embed returned shape {tuple(features.shape)} for {len(batch)} images; expected ({len(batch)}, D), one row for each image."
            )
        if not bool(features.isfinite().all()):
            row = int((~features.isfinite()).any(1).nonzero()[0])
            raise InputError(
                f"embed returned NaN or infinity for image {row} of a batch of {name}; check its weights and preprocessing."
            )
        parts.append(features.detach().cpu().double())
    return torch.nn.functional.normalize(torch.cat(parts), dim=1)


__all__ = ["Embedding", "embedded"]
