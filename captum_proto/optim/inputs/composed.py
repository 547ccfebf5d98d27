"""Images of which the model sees more, or less, than is optimized: with an alpha channel, or within a given image."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.constants import beside
from captum_proto._utils.errors import InputError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.parts import checked, part_of, under
from captum_proto.optim.inputs.spectral import FFTImage
from captum_proto.optim.random import RandomStream
from captum_proto.optim.transforms import BlendAlpha


class AlphaImage(Parametrization):
    """
    Images with an alpha channel, which the model sees over a background that is drawn anew at each step.

    What the model needs becomes opaque, for behind it anything may be; with :class:`~captum_proto.optim.MeanAlpha` or
    :class:`~captum_proto.optim.Transparent` what it does not need becomes clear. The images that come back have one channel more than the
    model takes, as PNG has it; their colors count where they are opaque. Of Mordvintsev, Pezzotti, Schubert and Olah, "Differentiable
    Image Parameterizations" (Distill 2018).

    The background is laid behind before any transform. A finished picture is judged over the middle of the value range.

    Args:
        parametrization (Parametrization, optional): Of the colors, and of the alpha channel by itself. Default: :class:`FFTImage`
        background (str, float or Tensor, optional): As in :class:`BlendAlpha`: "natural", "noise", a number, or an image.
            Default: "natural"

    Raises:
        TypeError, ValueError: If it is none, or images have neither one channel nor three.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> loss = Transparent(ChannelActivation("0", [1, 2]))
        >>> result = InputOptimization(model, loss, parametrization=AlphaImage(), steps=2).optimize((3, 16, 16))
        >>> result.images.shape
        torch.Size([2, 4, 16, 16])
    """

    draws = True

    def __init__(
        self, parametrization: Parametrization | None = None, background: str | float | Tensor = "natural"
    ) -> None:
        self.colors = checked(FFTImage() if parametrization is None else parametrization)
        self.alpha = self.colors
        self.background = background
        self.blend = BlendAlpha(background)
        if self.colors.draws:
            raise InputError("AlphaImage cannot hold another AlphaImage; one alpha channel is all there is.")

    def settings(self) -> dict[str, Any]:
        background = self.blend.settings()["background"]
        return {"name": "AlphaImage", "parametrization": self.colors.settings(), "background": background}

    def __repr__(self) -> str:
        return f"AlphaImage({self.colors!r}, background={self.background!r})"

    def for_images(self, shape: tuple[int, ...], value_range: tuple[float, float]) -> AlphaImage:
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise InputError(
                f"AlphaImage adds the alpha channel itself to images of 1 or 3 channels, and the image shape is {tuple(shape)}; give the "
                "shape that the model takes, without alpha, and start images without alpha."
            )
        made = super().for_images(shape, value_range)
        made.colors = self.colors.for_images(shape, value_range)
        made.alpha = self.alpha.for_images((1, *shape[1:]), (0.0, 1.0))
        made.blend = BlendAlpha(self.background, value_range)
        return made

    @property
    def changes_until(self) -> float:
        return max(self.colors.changes_until, self.alpha.changes_until)

    def at(self, progress: float) -> AlphaImage:
        made = copy.copy(self)
        made.colors, made.alpha = self.colors.at(progress), self.alpha.at(progress)
        return made

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        colors = self.colors.start(random, shape)
        return under("colors", colors) | under("alpha", self.alpha.start(random, (1, *shape[1:])))

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """Of given images (N, C, H, W) without alpha, half transparent everywhere."""
        alpha = self.alpha.parameters_of(torch.full_like(images[:, :1], 0.5))
        return under("colors", self.colors.parameters_of(images)) | under("alpha", alpha)

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        colors, alpha = (
            self.colors.render(part_of("colors", parameters)),
            self.alpha.render(part_of("alpha", parameters)),
        )
        return torch.cat([colors, alpha], 1)

    def composed(self, inputs: Tensor, random: RandomStream | None) -> Tensor:
        return self.blend(inputs, random)

    def project(self, parameters: dict[str, Tensor]) -> None:
        self.colors.project(part_of("colors", parameters))
        self.alpha.project(part_of("alpha", parameters))


class MaskedImage(Parametrization):
    """
    A part of a given image is optimized, the rest stays.

    Args:
        parametrization (Parametrization): Of the part.
        image (Tensor): (C, H, W): what is there outside of it.
        mask (Tensor): (H, W) or (C, H, W), from 0, the image, to 1, what is optimized.

    Raises:
        TypeError, ValueError: If shapes do not fit, the mask leaves [0, 1], or the image is not as large as those to be made.

    Examples::

        >>> mask = torch.zeros(16, 16)
        >>> mask[4:8, 4:8] = 1
        >>> patch = MaskedImage(PixelImage(), torch.rand(3, 16, 16), mask)
        >>> patch.settings()["name"]
        'MaskedImage'
    """

    def __init__(self, parametrization: Parametrization, image: Tensor, mask: Tensor) -> None:
        self.inner = checked(parametrization)
        fits = image.dim() == 3 and tuple(mask.shape) in (tuple(image.shape), tuple(image.shape[1:]))
        if not fits or not bool(((mask >= 0) & (mask <= 1)).all()) or self.inner.draws:
            raise InputError(
                f"image has shape {tuple(image.shape)} and mask {tuple(mask.shape)}; expected (C, H, W) and (H, W) or (C, H, W), the mask "
                "from 0 to 1, and a parametrization without alpha channel."
            )
        self.image, self.mask = image.detach().clone(), mask.detach().to(image.dtype, copy=True)

    def settings(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for tensor in (self.image, self.mask):
            digest.update(tensor.cpu().double().contiguous().numpy().tobytes())
        return {
            "name": "MaskedImage",
            "parametrization": self.inner.settings(),
            "image_and_mask": f"sha256:{digest.hexdigest()}",
        }

    def __repr__(self) -> str:
        return f"MaskedImage({self.inner!r}, image={tuple(self.image.shape)}, mask={tuple(self.mask.shape)})"

    def for_images(self, shape: tuple[int, ...], value_range: tuple[float, float]) -> MaskedImage:
        if tuple(shape) != tuple(self.image.shape):
            raise InputError(
                f"MaskedImage has an image of shape {tuple(self.image.shape)}, and {tuple(shape)} are to be made; give one of this shape."
            )
        made = super().for_images(shape, value_range)
        made.inner = self.inner.for_images(shape, value_range)
        return made

    @property
    def changes_until(self) -> float:
        return self.inner.changes_until

    def at(self, progress: float) -> MaskedImage:
        made = copy.copy(self)
        made.inner = self.inner.at(progress)
        return made

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        return self.inner.start(random, shape)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        """Of given images, of which only the part is kept."""
        return self.inner.parameters_of(images)

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        inside = self.inner.render(parameters)
        mask = beside(self.mask, inside)
        return mask * inside + (1 - mask) * beside(self.image, inside)

    def project(self, parameters: dict[str, Tensor]) -> None:
        self.inner.project(parameters)


__all__ = ["AlphaImage", "MaskedImage"]
