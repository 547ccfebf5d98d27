"""Networks that put images and texts into one space, as CLIP does: what is asked of them, and how to make one of two functions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import check_images, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import borrowed, device_of, dtype_of


class ImageTextEncoder(Protocol):
    """
    Two functions into one space, in which an image is near the texts that describe it by the cosine.

    :class:`TwoTower` makes one of an image network and a function of texts, such as those of CLIP.
    """

    def image(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W), before preprocessing, as (N, D)."""

    def text(self, texts: Sequence[str]) -> Tensor:
        """N texts as (N, D)."""


class TwoTower(nn.Module):
    """
    An image network and a text function into one space, and a model like any other: called on images it gives their embeddings.

    So every objective looks into it, and top examples are found in it, as in a classifier: its layers are named from ``image_tower`` on.

    Args:
        image_tower (nn.Module): From preprocessed images (N, C, H, W) to (N, D): CLIP's ``visual``.
        text_tower (Callable): From a list of N texts to (N, D), tokenizer included; a module, or a function that calls one.
        preprocess (Callable, optional): From images in [0, 1] to what ``image_tower`` takes. Default: None

    Examples::

        >>> words = {"red": [1.0, 0.0, 0.0], "green": [0.0, 1.0, 0.0]}
        >>> mean_color = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
        >>> tower = TwoTower(mean_color, lambda texts: torch.tensor([words[text] for text in texts]))
        >>> red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(1, 3, 8, 8)
        >>> tower.image(red) @ tower.text(["red", "green"]).T
        tensor([[1., 0.]])
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: Callable[[Sequence[str]], Tensor],
        preprocess: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.image_tower, self.text_tower, self.preprocess = image_tower, text_tower, preprocess

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings (N, D) of images, with gradients."""
        embedded: Tensor = self.image_tower(images if self.preprocess is None else self.preprocess(images))
        return embedded

    def image(self, images: Tensor) -> Tensor:
        """
        Embeddings of images, the network in evaluation mode and without gradients.

        Args:
            images (Tensor): (N, C, H, W), in [0, 1].

        Returns:
            Tensor: (N, D).
        """
        check_images(images, None)
        with torch.no_grad(), borrowed(self):
            return checked_embedding(self(images.to(device_of(self), dtype_of(self))), len(images), "the image tower")

    def text(self, texts: Sequence[str]) -> Tensor:
        """
        Embeddings of texts, in evaluation mode and without gradients.

        Args:
            texts (sequence of str): N texts.

        Returns:
            Tensor: (N, D).
        """
        given = list(texts) if not isinstance(texts, str) else [texts]
        if not given or not all(isinstance(text, str) for text in given):
            raise InputTypeError(f"texts are {texts!r}; expected at least one text, each a str.")
        with torch.no_grad(), borrowed(self):
            return checked_embedding(self.text_tower(given), len(given), "the text tower")


def checked_embedding(value: object, count: int, name: str) -> Tensor:
    """
    What a tower returned, as embeddings.

    Raises:
        TypeError, ValueError: If it is no float tensor (N, D), or not finite.
    """
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise InputTypeError(f"{name} returned a {type_name(value)}; expected a float tensor (N, D).")
    if value.dim() != 2 or len(value) != count:
        raise InputError(
            f"{name} returned shape {tuple(value.shape)} for {count} inputs; expected ({count}, D), one row for each."
        )
    if not bool(value.isfinite().all()):
        raise InputError(f"{name} returned NaN or infinity; check its weights and what it was given.")
    return value


__all__ = ["ImageTextEncoder", "TwoTower", "checked_embedding"]
