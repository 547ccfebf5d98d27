"""The color of each pixel by name: labels for images of any kind, which nobody has to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.concept.dataset import Concept, SegmentedImages
from captum_proto.ops.double import double

#: The eleven basic color terms of English (Berlin and Kay, "Basic Color Terms", 1969), each with a typical color in sRGB.
BASIC_COLORS: Mapping[str, tuple[float, float, float]] = {
    "black": (0.04, 0.04, 0.04),
    "blue": (0.1, 0.2, 0.9),
    "brown": (0.45, 0.25, 0.1),
    "gray": (0.5, 0.5, 0.5),
    "green": (0.1, 0.65, 0.15),
    "orange": (1.0, 0.55, 0.05),
    "pink": (1.0, 0.6, 0.75),
    "purple": (0.5, 0.1, 0.65),
    "red": (0.9, 0.08, 0.08),
    "white": (0.97, 0.97, 0.97),
    "yellow": (0.97, 0.9, 0.1),
}
#: From linear sRGB to CIE XYZ (IEC 61966-2-1), and the white of D65.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def lab(image: Tensor) -> Tensor:
    """
    CIE L*a*b* of sRGB under D65, in which distances are about those that people see.

    Args:
        image (Tensor): (..., 3, h, w) in [0, 1].

    Returns:
        Tensor: Of the same shape, float64: lightness from 0 to 100, and a and b.

    Examples::

        >>> lab(torch.ones(3, 1, 1)).flatten().round().abs().tolist()
        [100.0, 0.0, 0.0]
    """
    rgb = double(image)
    linear = torch.where(rgb > 0.04045, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4, rgb / 12.92)
    to_xyz = torch.tensor(_XYZ, dtype=torch.float64, device=rgb.device)
    white = torch.tensor(_WHITE, dtype=torch.float64, device=rgb.device)
    x, y, z = (torch.einsum("ij,...jhw->...ihw", to_xyz, linear) / white.view(3, 1, 1)).unbind(-3)
    fx, fy, fz = (torch.where(t > 0.008856, t.clamp(min=0) ** (1 / 3), 7.787 * t + 16 / 116) for t in (x, y, z))
    return torch.stack([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)], -3)


@lru_cache(maxsize=1)
def _basic() -> Tensor:
    return lab(torch.tensor(list(BASIC_COLORS.values())).T.unsqueeze(2)).squeeze(2).T  # (11, 3)


def color_names(image: Tensor) -> Tensor:
    """
    Of each pixel, which of ``BASIC_COLORS`` is nearest in L*a*b*.

    A rule and no study of how people name colors: borders between names lie halfway between typical colors.

    Args:
        image (Tensor): (3, h, w) in [0, 1].

    Returns:
        Tensor: (h, w), int16: the place of the color plus one.

    Raises:
        ValueError: If the image has no three channels.

    Examples::

        >>> list(BASIC_COLORS)[int(color_names(torch.tensor([0.9, 0.1, 0.1]).view(3, 1, 1))) - 1]
        'red'
    """
    if image.dim() != 3 or image.shape[0] != 3:
        raise InputError(f"the image has shape {tuple(image.shape)}; expected (3, h, w), in red, green and blue.")
    pixels = lab(image).flatten(1).T
    nearest = torch.cdist(pixels, _basic().to(pixels.device)).argmin(1)
    return (nearest + 1).view(image.shape[1:]).to(torch.int16)


def colored_images(images: Sequence[Any], size: tuple[int, int] = (112, 112)) -> SegmentedImages:
    """
    Images whose pixels are labeled by the names of their colors.

    Args:
        images (sequence of str or Tensor): Paths of image files, or images (3, H, W) in [0, 1].
        size (tuple[int, int], optional): At which colors are told. Default: (112, 112)

    Examples::

        >>> dataset = colored_images([torch.rand(3, 32, 32)], (16, 16))
        >>> dataset.categories, len(dataset.concepts), dataset.labels(0).maps[0].shape
        (['color'], 11, (16, 16))
    """
    concepts = [Concept(name, "color") for name in BASIC_COLORS]
    words = "names of basic colors, nearest in L*a*b*"
    return SegmentedImages(images, color_names, concepts, size, words, "the colors of the images")


__all__ = ["BASIC_COLORS", "color_names", "colored_images", "lab"]
