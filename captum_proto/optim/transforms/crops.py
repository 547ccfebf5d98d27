"""Whole-pixel shifts and parts of images, drawn for each image by itself: what needs no resampling is not resampled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto.optim.random import RandomStream
from captum_proto.optim.transforms.affine import affine_matrix, sampled, sampling_dtype
from captum_proto.optim.transforms.base import check_mode, framed


def _size(size: Any, name: str = "size") -> tuple[int, int]:
    """(height, width) from two numbers, or from one for both."""
    sides = [as_int(side) for side in (size if isinstance(size, (list, tuple)) else (size, size))]
    if len(sides) != 2 or any(side is None or side < 1 for side in sides):
        raise InputError(f"{name} is {size!r}; expected a positive number of pixels, or (height, width).")
    return sides[0], sides[1]  # type: ignore[return-value]  # looked at above


def _check_room(images: Tensor, size: tuple[int, int], name: str) -> tuple[int, int]:
    """By how much images are larger than a part of them."""
    height, width = images.shape[-2:]
    if size[0] > height or size[1] > width:
        raise InputError(
            f"{name} is to cut {size[0]} x {size[1]} pixels from images of {height} x {width}; take fewer, or pad the images before."
        )
    return height - size[0], width - size[1]


def _parts(images: Tensor, top: Tensor, left: Tensor, size: tuple[int, int]) -> Tensor:
    """From each image (C, H, W) the part of a size at its own place, whole pixels; without asking the device where that is."""
    rows = top.unsqueeze(1) + torch.arange(size[0], device=top.device)
    columns = left.unsqueeze(1) + torch.arange(size[1], device=left.device)
    places = (rows.unsqueeze(2) * images.shape[-1] + columns.unsqueeze(1)).flatten(1).to(images.device)
    channels = images.shape[1]
    # No pixel is taken twice, so the gradient is moved back and nothing is added up in an order of chance.
    taken = images.flatten(2).gather(2, places.unsqueeze(1).expand(-1, channels, -1))
    return taken.view(len(images), channels, *size)


def _drawn(random: RandomStream, most: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Two whole numbers for each image, from 0 to ``most`` inclusive."""

    def make(unit: Tensor) -> Tensor:
        counts = torch.tensor(most, dtype=unit.dtype, device=unit.device) + 1
        return (unit * counts).long()

    vertical, horizontal = random.ahead(2, ("places", most), make).unbind(1)
    return vertical, horizontal


class RandomSpatialJitter:
    """
    A shift by whole pixels, drawn for each image, of which no pixel is computed anew.

    Args:
        pixels (int): Shifts are from ``-pixels`` to ``pixels``, in each direction for itself.
        mode (str, optional): What comes in from outside: "reflect", "replicate", "circular" or "constant", as in :class:`Pad`.
            Default: "reflect"
        fill (float, optional): Its value, in mode "constant". Default: 0.5

    Raises:
        ValueError: If ``pixels`` is negative, there is no such mode, or an image is too small for it.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomSpatialJitter(8)(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(self, pixels: int, mode: str = "reflect", fill: float = 0.5) -> None:
        self.pixels, self.mode, self.fill = check_int(pixels, "pixels", 0), check_mode(mode), float(fill)

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"name": "RandomSpatialJitter", "pixels": self.pixels, "mode": self.mode}
        return settings | ({"fill": self.fill} if self.mode == "constant" else {})

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        top, left = _drawn(random, (2 * self.pixels, 2 * self.pixels))
        padded = framed(images, self.pixels, self.mode, self.fill)
        return _parts(padded, top, left, (images.shape[-2], images.shape[-1]))


class RandomCrop:
    """
    A part of a given size, at a place drawn for each image: the jitter of Lucid, which makes images smaller.

    Args:
        size (int or tuple[int, int]): Of the part: one number, or (height, width).

    Raises:
        ValueError: If it is not positive, or larger than an image.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomCrop(24)(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 24, 24])
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _size(size)

    def settings(self) -> dict[str, Any]:
        return {"name": "RandomCrop", "size": list(self.size)}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        return _parts(images, *_drawn(random, _check_room(images, self.size, "RandomCrop")), self.size)


class CenterCrop:
    """
    The part of a given size at the center; where a pixel is left over, it stays at the bottom and at the right.

    Args:
        size (int or tuple[int, int]): Of the part: one number, or (height, width).

    Raises:
        ValueError: If it is not positive, or larger than an image.

    Examples::

        >>> CenterCrop((20, 24))(torch.rand(1, 3, 32, 32), None).shape
        torch.Size([1, 3, 20, 24])
    """

    def __init__(self, size: int | Sequence[int]) -> None:
        self.size = _size(size)

    def settings(self) -> dict[str, Any]:
        return {"name": "CenterCrop", "size": list(self.size)}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        down, right = _check_room(images, self.size, "CenterCrop")
        return images.narrow(-2, down // 2, self.size[0]).narrow(-1, right // 2, self.size[1])


class RandomResizedCrop:
    """
    A part of a drawn size at a drawn place, resized to the size of the image, or to another; nothing from outside the image is ever seen.

    With ``output``, images may be larger than what the network takes: a canvas of which it sees parts, as in Fel et al., "Unlocking
    Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization" (arXiv:2306.06805), whose parts are of a tenth to a
    half of the side. Wherever there is no transform, as in a warm-up and in what is recorded of finished prototypes, the network gets the
    whole canvas: one that takes a single size needs a ``preprocess`` that begins with ``torchvision.transforms.v2.Resize``, which leaves
    parts of that size alone.

    Args:
        size (tuple[float, float], optional): Least and greatest side of the part, as a fraction of the image's. Default: (0.5, 1.0)
        output (int or tuple[int, int], optional): What parts are resized to, bilinearly and without a filter: one number of pixels, or
            (height, width), no more than the image has. A part is best of less than twice as many pixels. None: the image's own size.
            Default: None

    Raises:
        ValueError: If the fractions are not in (0, 1], the first is greater than the second, or ``output`` is not positive or larger than
            an image.

    Examples::

        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)
        >>> RandomResizedCrop((0.7, 1.0))(torch.rand(1, 3, 32, 32), stream).shape
        torch.Size([1, 3, 32, 32])
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))  # of 8 x 8 pixels, and no others
        >>> generation = PrototypeGeneration(model, preprocess=torchvision.transforms.v2.Resize(8))
        >>> crops = RandomResizedCrop((0.2, 0.5), output=8)
        >>> generation.generate([3], (1, 24, 24), steps=4, transform=crops, noise=0.05).images.shape
        torch.Size([1, 1, 24, 24])
    """

    def __init__(self, size: Sequence[float] = (0.5, 1.0), output: int | Sequence[int] | None = None) -> None:
        if len(size) != 2 or not 0 < size[0] <= size[1] <= 1:
            raise InputError(f"size is {tuple(size)}; expected (least, most), fractions of the image's side in (0, 1].")
        self.size = (float(size[0]), float(size[1]))
        self.output = None if output is None else _size(output, "output")

    def settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {"name": "RandomResizedCrop", "size": list(self.size)}
        return settings if self.output is None else settings | {"output": list(self.output)}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        if self.output is not None:
            return self._resized(images, random, self.output)
        height, width = images.shape[-2:]
        dtype = sampling_dtype(images)

        def make(unit: Tensor) -> Tensor:
            side = self._side(unit)
            # Where the center of the image comes to lie once the part fills its place. Half a pixel at the border is the border's own.
            translate = (2 * unit[:, 1:] - 1) * ((1 / side - 1) / 2).unsqueeze(1)
            pixels = torch.tensor((width, height), dtype=unit.dtype, device=unit.device)
            translate = translate * pixels / (pixels + 2)
            return affine_matrix(torch.zeros_like(side), translate, 1 / side, height + 2, width + 2).to(dtype)

        matrix = random.ahead(3, ("RandomResizedCrop", self.size, height, width, dtype), make)
        return sampled(framed(images, 1, "replicate", 0.0), matrix, 0.0)[..., 1:-1, 1:-1]

    def _side(self, unit: Tensor) -> Tensor:
        """Of each part, as a fraction of the image's."""
        return self.size[0] + (self.size[1] - self.size[0]) * unit[:, 0]

    def _resized(self, images: Tensor, random: RandomStream, output: tuple[int, int]) -> Tensor:
        """The parts, of as many pixels as wanted."""
        height, width = images.shape[-2:]
        dtype = sampling_dtype(images)
        if output[0] > height or output[1] > width:
            raise InputError(
                f"RandomResizedCrop has the output {output[0]} x {output[1]} and images are {height} x {width}; make larger images, or "
                "take a smaller output."
            )

        # What the operator makes is as large as the image; a part fills as much of it as is wanted, from the upper left on.
        def make(unit: Tensor) -> Tensor:
            side = self._side(unit)
            corner = (1 - unit[:, 1:]) * (1 - side).unsqueeze(1)  # left, top, in fractions of the image's sides
            zero = torch.zeros_like(side)
            across, down = side * (width / output[1]), side * (height / output[0])
            rows = [
                torch.stack([across, zero, across + 2 * corner[:, 0] - 1], 1),
                torch.stack([zero, down, down + 2 * corner[:, 1] - 1], 1),
            ]
            return torch.stack(rows, 1).to(dtype)

        matrix = random.ahead(3, ("RandomResizedCrop", self.size, output, height, width, dtype), make)
        return sampled(images, matrix, "replicate")[..., : output[0], : output[1]]


__all__ = ["CenterCrop", "RandomCrop", "RandomResizedCrop", "RandomSpatialJitter"]
