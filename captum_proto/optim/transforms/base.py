"""
Random transforms whose draws belong to the image, not to the batch.

A transform is called with a batch and a :class:`~captum_proto.optim.random.RandomStream`, and takes its numbers from it: each image
gets its own, and gets the same ones whatever else is in the batch. Callables that draw from PyTorch's global generator, such as those
of torchvision, are accepted through :class:`PerImage`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int, nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.generators import own_generators
from captum_proto.optim.random import RandomStream


@runtime_checkable
class Transform(Protocol):
    """Anything that turns a batch (N, C, H, W) into another, differentiably, with numbers from a stream."""

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor: ...

    def settings(self) -> dict[str, Any]:
        """What it is and does, as JSON can hold it."""
        ...


#: How a frame is filled, in the words of :func:`torch.nn.functional.pad`.
EDGES = ("constant", "reflect", "replicate", "circular")


def framed(images: Tensor, pixels: int, mode: str, fill: float) -> Tensor:
    """
    Images (N, C, H, W) with a frame of so many pixels around them.

    Raises:
        ValueError: If the frame reflects or repeats more of the image than there is.
    """
    height, width = images.shape[-2:]
    room = {"reflect": (height - 1, width - 1), "circular": (height, width)}.get(mode)
    if room is not None and (pixels > room[0] or pixels > room[1]):
        raise InputError(
            f"a frame of {pixels} pixels is larger than what a {height} x {width} image has for "
            f'mode "{mode}": at most {room[0]} x {room[1]}; take fewer pixels, or the mode "replicate" or "constant".'
        )
    value = fill if mode == "constant" else None
    return torch.nn.functional.pad(images, [pixels] * 4, mode=mode, value=value)


def check_mode(mode: Any) -> str:
    """
    One of :data:`EDGES`.

    Raises:
        ValueError: If it is none.
    """
    if mode not in EDGES:
        raise InputError(f"mode is {mode!r}{nearest(str(mode), EDGES) or ';'} expected one of {', '.join(EDGES)}.")
    return str(mode)


class Pad:
    """
    A frame around the image.

    Args:
        pixels (int): Its width on every side.
        fill (float, optional): Its value, in mode "constant". Default: 0.5
        mode (str, optional): "constant"; or what the image itself continues with: "reflect", its mirror image, "replicate", its border, or
            "circular", its other side. Default: "constant"

    Raises:
        ValueError: If ``pixels`` is negative, there is no such mode, or an image is too small to be reflected or repeated so far.

    Examples::

        >>> Pad(12)(torch.rand(1, 3, 224, 224), None).shape
        torch.Size([1, 3, 248, 248])
        >>> transform = SameSize([Pad(8, mode="reflect"), RandomRotation(range(-5, 6))])  # a rotation brings in the image's mirror image
    """

    def __init__(self, pixels: int, fill: float = 0.5, mode: str = "constant") -> None:
        self.pixels, self.fill, self.mode = check_int(pixels, "pixels", 0), float(fill), check_mode(mode)

    def settings(self) -> dict[str, Any]:
        if self.mode != "constant":
            return {"name": "Pad", "pixels": self.pixels, "mode": self.mode}
        return {"name": "Pad", "pixels": self.pixels, "fill": self.fill}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        return framed(images, self.pixels, self.mode, self.fill)


class Compose:
    """
    Several transforms, one after the other, all drawing from the same stream.

    Args:
        transforms (sequence of Transform): In the order in which they act.

    Examples::

        >>> transform = Compose([RandomAffine(10), RandomAffine(0, scale=(0.9, 1.1))])
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = [as_transform(t) for t in transforms]

    def settings(self) -> dict[str, Any]:
        return {"name": "Compose", "transforms": [t.settings() for t in self.transforms]}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        for transform in self.transforms:
            images = transform(images, random)
        return images


class PerImage:
    """
    A transform of PyTorch's global generator, such as torchvision's, made to draw for each image from that image's own stream.

    The callable is applied image by image with the generator seeded from the stream, and the generator is put back afterwards.

    Args:
        function (Callable): From a batch of one, (1, C, H, W), to another; differentiable.

    Examples::

        >>> from torchvision.transforms import v2
        >>> transform = PerImage(v2.RandomPerspective(p=1.0))
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function

    def settings(self) -> dict[str, Any]:
        return {"name": "PerImage", "function": repr(self.function)}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        seeds = random.seeds()
        cuda = images.device.type == "cuda"
        transformed = []
        with own_generators(images.device):
            for image, seed in zip(images, seeds, strict=True):
                # Not torch.manual_seed: it would seed every device, and only these are put back.
                torch.default_generator.manual_seed(seed)
                if cuda:
                    torch.cuda.default_generators[images.device.index].manual_seed(seed)
                transformed.append(self.function(image.unsqueeze(0)))
        return torch.cat(transformed)


class SameSize:
    """
    A transform that changes the size of images, and then the cut at their center that gives them their size again.

    Args:
        transform (Transform): Its images must not become smaller.

    Examples::

        >>> SameSize(Pad(12))(torch.rand(1, 3, 224, 224), None).shape
        torch.Size([1, 3, 224, 224])
    """

    def __init__(self, transform: Any) -> None:
        self.transform = as_transform(transform)

    def settings(self) -> dict[str, Any]:
        return {"name": "SameSize", "transform": self.transform.settings()}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        height, width = images.shape[-2:]
        images = self.transform(images, random)
        top, left = (images.shape[-2] - height) // 2, (images.shape[-1] - width) // 2
        if top < 0 or left < 0:
            raise InputError(
                f"the transform made {height} x {width} images {images.shape[-2]} x {images.shape[-1]}; expected no smaller ones."
            )
        return images[..., top : top + height, left : left + width]


def as_transform(transform: Any) -> Transform:
    """
    A :class:`Transform` from what the user gave: itself, a list of them, or a callable of one image batch.

    Raises:
        TypeError: If it cannot be called.
    """
    if not isinstance(transform, type):  # a class has whatever methods its objects have
        if isinstance(transform, Transform):
            return transform
        if isinstance(transform, (list, tuple)):
            return Compose(transform)
        if callable(transform):
            return PerImage(transform)
    raise InputTypeError(
        f"transform is a {type_name(transform)}; expected a Transform, a callable, a list of them, or None."
    )
