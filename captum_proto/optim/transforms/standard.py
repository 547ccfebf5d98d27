"""The transforms of feature visualization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream
from captum_proto.optim.transforms.affine import RandomChoiceAffine
from captum_proto.optim.transforms.base import Pad, SameSize


class RandomScale(RandomChoiceAffine):
    """
    A scale chosen for each image from a list, about the center; the image keeps its size.

    Args:
        scales (sequence of float): Positive factors.
        fill (float or str, optional): As in :class:`RandomAffine`. Default: 0

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomScale([1, 0.975, 1.025, 0.95, 1.05])(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, scales: Sequence[float], fill: float | str = 0.0) -> None:
        super().__init__(scales=scales, fill=fill)

    def settings(self) -> dict[str, Any]:
        return {"name": "RandomScale", "scales": self.scales, "fill": self.fill}


class RandomRotation(RandomChoiceAffine):
    """
    An angle chosen for each image from a list, about the center.

    Args:
        degrees (sequence of float): Clockwise.
        fill (float or str, optional): As in :class:`RandomAffine`. Default: 0

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomRotation(range(-10, 11))(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, degrees: Sequence[float], fill: float | str = 0.0) -> None:
        super().__init__(degrees=degrees, fill=fill)

    def settings(self) -> dict[str, Any]:
        return {"name": "RandomRotation", "degrees": self.degrees, "fill": self.fill}


class GaussianSmoothing:
    """
    A Gaussian blur, the same for every image and step, by torchvision; beyond the border is the image's mirror image.

    Args:
        kernel_size (int): Its width in pixels, odd.
        sigma (float): Its standard deviation in pixels.

    Raises:
        ValueError: If ``kernel_size`` is even or ``sigma`` is not positive, or an image is too small.

    Examples::

        >>> GaussianSmoothing(5, 1.0)(torch.rand(1, 3, 32, 32), None).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, kernel_size: int, sigma: float) -> None:
        self.kernel_size, self.sigma = check_int(kernel_size, "kernel_size", 1), float(sigma)
        if self.kernel_size % 2 == 0 or not self.sigma > 0:
            raise InputError(
                f"kernel_size is {kernel_size} and sigma is {sigma}; expected an odd number of pixels, and a positive sigma."
            )

    def settings(self) -> dict[str, Any]:
        return {"name": "GaussianSmoothing", "kernel_size": self.kernel_size, "sigma": self.sigma}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        if self.kernel_size // 2 >= min(images.shape[-2:]):
            raise InputError(
                f"kernel_size is {self.kernel_size} and images are {images.shape[-2]} x {images.shape[-1]}; take a smaller kernel."
            )
        from torchvision.transforms.v2 import (
            functional,  # where it is needed: the package works where torchvision does not
        )

        return functional.gaussian_blur(images, [self.kernel_size] * 2, [self.sigma] * 2)


def feature_visualization_transform(size: int = 224) -> SameSize:
    """
    The standard transforms of feature visualization: Olah, Mordvintsev and Schubert (Distill 2017), with Lucid's and Lucent's values.

    At 224 pixels: a gray frame of 12 pixels, a shift of up to 7, a scale of 0.9 to 1.1, a rotation of up to 10 degrees, a shift of up
    to 3. Unlike Lucent's, each image has its own draws, and what the network sees is cut to the image's own size.

    Args:
        size (int, optional): The shorter side of the images; frame and shifts go with it. Default: 224

    Examples::

        >>> transform = feature_visualization_transform()
        >>> transform(torch.rand(1, 3, 224, 224), RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)).shape
        torch.Size([1, 3, 224, 224])
    """

    def pixels(at_224: int) -> int:
        return max(1, round(at_224 * size / 224))

    return SameSize(
        [
            Pad(pixels(12), fill=0.5),
            RandomChoiceAffine(jitter=pixels(8)),
            RandomChoiceAffine(scales=[1 + (i - 5) / 50 for i in range(11)]),
            RandomChoiceAffine(degrees=[*range(-10, 11), *[0] * 5]),
            RandomChoiceAffine(jitter=pixels(4)),
        ]
    )
