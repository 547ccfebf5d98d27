"""The transforms of feature visualization."""

from __future__ import annotations

from captum_proto.optim.transforms.affine import RandomChoiceAffine
from captum_proto.optim.transforms.base import Pad, SameSize


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
