"""Losses of the images alone, which keep them from what a network likes and no camera sees."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.errors import InputError
from captum_proto.optim.loss.objective import Loss, Outputs


def default_high_frequency_weight(image_shape: tuple[int, ...] | torch.Size) -> float:
    """
    λ where none is given: the same pull on each pixel at every size of image.

    The loss is a mean over the image, so the pull on one pixel falls with their number. This is the pull of a weight of 1000 at
    3 × 224 × 224, where prototypes of ImageNet networks are clean and still show what they are of.
    """
    channels, height, width = image_shape
    return channels * height * width / 150.528


class HighFrequency(Loss):
    r"""
    Mean difference between neighboring pixels: the high-frequency loss of Prototype Generation (arXiv:2309.17144, section 3.1).

    .. math::
        L_{hf}(x) = \operatorname{mean}|x_{c,i+1,j} - x_{c,i,j}|^{power} + \operatorname{mean}|x_{c,i,j+1} - x_{c,i,j}|^{power}

    Of the images themselves, not of what the transform makes of them. It records "high_frequency_loss". See
    :func:`captum_proto.ops.high_frequency_loss`.

    Args:
        power (int, optional): 1 for absolute differences, 2 for squared ones. Default: 1

    Raises:
        ValueError: If ``power`` is neither 1 nor 2.

    Examples::

        >>> objective = ClassLogit([3, 7]) + default_high_frequency_weight((3, 224, 224)) * HighFrequency()
    """

    terms = ("high_frequency_loss",)

    def __init__(self, power: int = 1) -> None:
        if power not in (1, 2):
            raise InputError(f"power is {power!r}; expected 1 or 2.")
        self.power = power

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs.record("high_frequency_loss", ops.high_frequency_loss(images, self.power))

    def settings(self) -> dict[str, Any]:
        return {"name": "HighFrequency", "power": self.power}

    def __repr__(self) -> str:
        return f"HighFrequency(power={self.power})"


__all__ = ["HighFrequency", "default_high_frequency_weight"]
