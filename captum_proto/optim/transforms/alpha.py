"""Images with an alpha channel, laid over a background or without it."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream

#: Backgrounds that have a name.
BACKGROUNDS = ("natural", "noise")


def _with_alpha(images: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Colors (N, C, H, W) and alpha (N, 1, H, W)."""
    if images.dim() != 4 or images.shape[1] not in (2, 4):
        raise InputError(
            f"{name} got images of shape {tuple(images.shape)}; expected (N, C, H, W) with colors and alpha, 4 channels or 2: AlphaImage "
            "makes them, and lays them over its background by itself before any transform."
        )
    return images[:, :-1], images[:, -1:]


class BlendAlpha:
    """
    Images with an alpha channel laid over a background, which is drawn for each image and step.

    Args:
        background (str, float or Tensor, optional): "natural": noise with the spectrum of natural images, as Lucid has it; "noise": uniform
            in each pixel; a number: of that value; a tensor (C, H, W): that image. Default: "natural"
        value_range (tuple[float, float], optional): Of the background's values. Default: (0, 1)

    Raises:
        ValueError: If there is no such background, or images have no alpha channel.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> BlendAlpha()(torch.rand(1, 4, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self, background: str | float | Tensor = "natural", value_range: tuple[float, float] = (0.0, 1.0)
    ) -> None:
        known = background in BACKGROUNDS if isinstance(background, str) else True
        if not known or (isinstance(background, Tensor) and background.dim() != 3):
            got = f"of shape {tuple(background.shape)}" if isinstance(background, Tensor) else repr(background)
            raise InputError(
                f"background is {got}; expected {' or '.join(map(repr, BACKGROUNDS))}, a number, or an image (C, H, W)."
            )
        self.background = background.detach() if isinstance(background, Tensor) else background
        self.value_range = value_range

    def settings(self) -> dict[str, Any]:
        background = self.background
        if isinstance(background, Tensor):
            content = background.cpu().double().contiguous().numpy().tobytes()
            background = f"sha256:{hashlib.sha256(content).hexdigest()}"
        return {"name": "BlendAlpha", "background": background, "value_range": list(self.value_range)}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        colors, alpha = _with_alpha(images, "BlendAlpha")
        return alpha * colors + (1 - alpha) * self._behind(colors, random)

    def _behind(self, colors: Tensor, random: RandomStream | None) -> Tensor:
        """A background that fits (N, C, H, W). Without random numbers, the middle of the range in place of noise."""
        low, high = self.value_range
        if isinstance(self.background, Tensor):
            if self.background.shape != colors.shape[1:]:
                raise InputError(
                    f"background has shape {tuple(self.background.shape)}; expected that of an image, {tuple(colors.shape[1:])}."
                )
            return beside(self.background, colors)
        if not isinstance(self.background, str):
            return colors.new_full((), float(self.background))
        if random is None:
            return colors.new_full((), (low + high) / 2)
        size = colors.shape[1:]
        if self.background == "noise":
            return random.uniform(math.prod(size), low, high).view(-1, *size).to(colors)
        return low + (high - low) * _natural(random, size).to(colors)


def _natural(random: RandomStream, size: torch.Size) -> Tensor:
    """Noise (N, C, H, W) in [0, 1] whose amplitudes fall with frequency as those of natural images do."""
    height, width = size[-2:]
    white = random.normal(math.prod(size)).view(-1, *size)
    vertical, horizontal = (
        torch.fft.fftfreq(height, device=white.device),
        torch.fft.rfftfreq(width, device=white.device),
    )
    frequency = (vertical.unsqueeze(1).square() + horizontal.square()).sqrt().clamp(min=1 / max(height, width))
    planes = torch.fft.irfft2(torch.fft.rfft2(white) / frequency, s=(height, width))
    return (planes / planes.std(dim=(-2, -1), keepdim=True).clamp(min=1e-12)).sigmoid()


class IgnoreAlpha:
    """
    The colors of images without their alpha channel.

    Raises:
        ValueError: If images have no alpha channel.

    Examples::

        >>> IgnoreAlpha()(torch.rand(1, 4, 32, 32), None).shape
        torch.Size([1, 3, 32, 32])
    """

    def settings(self) -> dict[str, Any]:
        return {"name": "IgnoreAlpha"}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        return _with_alpha(images, "IgnoreAlpha")[0]


__all__ = ["BACKGROUNDS", "BlendAlpha", "IgnoreAlpha"]
