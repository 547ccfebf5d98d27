"""How much of a picture looks like a template, wherever in it that is: the correlation at the best place."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.ops.double import double

#: A window whose variance is below this is flat, and has no correlation with anything.
_FLAT = 1e-6


def template_correlation(images: Tensor, template: Tensor) -> Tensor:
    r"""
    The correlation of a template with each window of an image, at the place where it is highest.

    .. math::
        \max_p \; \operatorname{corr}\bigl(x[p : p + (h, w)],\; t\bigr)

    Pearson's, over all pixels and channels of a window (normalized cross-correlation): neither brightness nor contrast of the window
    counts. It does not look for the template turned or in other sizes.

    Args:
        images (Tensor): (N, C, H, W).
        template (Tensor): (C, h, w), not larger, and not of one value.

    Returns:
        Tensor: (N,), in [-1, 1]; 0 where every window is flat.

    Raises:
        ValueError: If the shapes do not fit, or the template is flat.

    Examples::

        >>> template = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
        >>> images = torch.zeros(2, 1, 6, 6)
        >>> images[0, :, 2:4, 3:5] = 0.5 * template + 0.2
        >>> template_correlation(images, template)
        tensor([1., 0.])
    """
    _check(images, template.shape[-2:], template.dim() == 3 and template.shape[0] == images.shape[1])
    centered = double(template) - double(template).mean()
    norm = centered.square().sum()
    if float(norm) / template.numel() < _FLAT:
        raise InputError("the template has one value everywhere; expected a pattern.")
    values = _centered(images)
    box = torch.ones_like(centered[0])
    spread = _sums(values.square(), box).sum(1) - _sums(values, box).sum(1).square() / template.numel()
    product = _sums(values, centered).sum(1)
    flat = spread / template.numel() < _FLAT
    correlation = torch.where(flat, 0.0, product / (spread.clamp(min=1e-12) * norm).sqrt())
    return correlation.flatten(1).amax(1).clamp(-1, 1).float()


def mask_contrast(images: Tensor, mask: Tensor) -> Tensor:
    r"""
    How well a window of an image falls into a mask and what is around it, of two colors, at the best place.

    The share of the variance of a window's colors that goes when each pixel is compared with the mean of its side of the mask: 1 where
    the mask has one color and what is around it another, whichever these are. Of images with one channel it is the square of
    :func:`template_correlation` with the mask.

    Args:
        images (Tensor): (N, C, H, W).
        mask (Tensor): (h, w), bool, not larger, with pixels in it and around it.

    Returns:
        Tensor: (N,), in [0, 1]; 0 where every window is flat.

    Raises:
        ValueError: If the mask is too large, empty or full.

    Examples::

        >>> mask = torch.tensor([[False, True], [True, False]])
        >>> images = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(0))
        >>> images[0, :, 2:4, 3:5] = torch.where(mask, torch.tensor([0.9, 0.1, 0.5]).view(3, 1, 1), 0.3)
        >>> mask_contrast(images, mask)
        tensor([1.])
    """
    _check(images, mask.shape, mask.dim() == 2 and mask.dtype == torch.bool)
    count, inside = mask.numel(), int(mask.sum())
    if inside in (0, count):
        raise InputError(f"the mask has {inside} of {count} pixels; expected some in it and some around it.")
    channels = images.shape[1]
    values, weights = _centered(images), double(mask)
    box = torch.ones_like(weights)
    total, squares, masked = _sums(values, box), _sums(values.square(), box), _sums(values, weights)
    spread = (squares - total.square() / count).sum(1)
    between = (masked.square() / inside + (total - masked).square() / (count - inside) - total.square() / count).sum(1)
    flat = spread / (count * channels) < _FLAT
    share = torch.where(flat, 0.0, between / spread.clamp(min=1e-12))
    return share.flatten(1).amax(1).clamp(0, 1).float()


def _centered(images: Tensor) -> Tensor:
    """Images less the mean of each: that changes no correlation and keeps sums small."""
    values = double(images)
    return values - values.mean((1, 2, 3), keepdim=True)


def _sums(values: Tensor, weights: Tensor) -> Tensor:
    """
    Of each window of each channel the sum of its pixels by weights, (h, w) or (C, h, w).

    It is made by Fourier transforms, to which large windows are no more work than small ones.
    """
    height, width = values.shape[-2:]
    product = torch.fft.rfft2(values) * torch.fft.rfft2(weights, s=(height, width)).conj()
    # The transform goes around the border; windows that end inside do not.
    around = torch.fft.irfft2(product, s=(height, width))
    return around[..., : height - weights.shape[-2] + 1, : width - weights.shape[-1] + 1]


def _check(images: Tensor, size: torch.Size | tuple[int, ...], fits: bool) -> None:
    if images.dim() != 4 or not fits or size[0] > images.shape[2] or size[1] > images.shape[3]:
        raise InputError(
            f"a template of {tuple(size)} pixels does not fit images of shape {tuple(images.shape)}; expected (N, C, H, W), as many "
            "channels, and no larger sides."
        )


__all__ = ["mask_contrast", "template_correlation"]
