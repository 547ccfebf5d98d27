"""Noise that belongs to the image and the step, not to the batch."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream


class GaussianNoise:
    """
    Gaussian noise added to each value, drawn for each image by itself: what rests on single pixels does not survive it.

    Unlike ``torchvision.transforms.v2.GaussianNoise`` it draws from the image's own stream, and does not clip. Of Fel et al., "Unlocking
    Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization" (arXiv:2306.06805), who add it to random crops.
    The setting ``noise`` of an optimization adds it after the transform, whatever that is.

    Args:
        sd (float): Standard deviation, in units of the values that it is added to; at least 0.

    Raises:
        ValueError: If ``sd`` is negative, infinite or no number.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> noisy = GaussianNoise(0.1)(torch.zeros(1, 3, 32, 32), stream)
        >>> bool((noisy.std() - 0.1).abs() < 0.01)
        True
        >>> transform = Compose([RandomAffine(20, fill="reflect"), GaussianNoise(0.05)])
    """

    def __init__(self, sd: float) -> None:
        self.sd = float(sd)
        if not 0 <= self.sd < float("inf"):
            raise InputError(f"sd is {sd}; expected a standard deviation of at least 0.")

    def settings(self) -> dict[str, Any]:
        return {"name": "GaussianNoise", "sd": self.sd}

    def __repr__(self) -> str:
        return f"GaussianNoise({self.sd:g})"

    def drawn(self, images: Tensor, random: RandomStream) -> Tensor:
        """The noise for images (N, …), of their shape, dtype and device."""
        return (self.sd * random.normal(images[0].numel())).view(images.shape).to(images)

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        return images + self.drawn(images, random)


__all__ = ["GaussianNoise"]
