"""Colors that vary together as those of natural images do, and the way from planes of numbers to pixels and back."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from captum_proto._utils.constants import beside

#: How the colors of ImageNet's pixels vary together, a square root of their covariance: of Olah, Mordvintsev and Schubert, "Feature
#: Visualization", Distill 2017. The longest column is scaled to one.
_COLOR_CORRELATION = ((0.26, 0.09, 0.02), (0.27, 0.00, -0.05), (0.27, -0.09, 0.03))
#: How near the ends of the value range a given image may come: at the ends themselves the sigmoid's argument is infinite.
_MARGIN = 1e-3


def mixed(planes: Tensor, decorrelate: bool, inverse: bool = False) -> Tensor:
    """Decorrelated planes (N, 3, H, W) to colors, or back; other numbers of channels as they are."""
    if planes.shape[1] != 3 or not decorrelate:
        return planes
    colors = beside(_color_matrix(inverse), planes)
    return torch.einsum("ij,njhw->nihw", colors, planes)


@functools.cache
def _color_matrix(inverse: bool) -> Tensor:
    with torch.inference_mode(False):
        colors = torch.tensor(_COLOR_CORRELATION, dtype=torch.float64)
        colors = colors / colors.norm(dim=0).max()
        return colors.inverse() if inverse else colors


def squeezed(planes: Tensor, value_range: tuple[float, float], decorrelate: bool) -> Tensor:
    """Images (N, C, H, W) within the value range from planes of any numbers: their colors mixed, then a sigmoid."""
    low, high = value_range
    return low + (high - low) * mixed(planes, decorrelate).sigmoid()


def planes_of(images: Tensor, value_range: tuple[float, float], decorrelate: bool) -> Tensor:
    """What images (N, C, H, W) are before their colors are mixed and squeezed into the value range."""
    low, high = value_range
    unit = ((images - low) / (high - low)).clamp(_MARGIN, 1 - _MARGIN)
    return mixed(unit.logit(), decorrelate, inverse=True)


__all__ = ["mixed", "planes_of", "squeezed"]
