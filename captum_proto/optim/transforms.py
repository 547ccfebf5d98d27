"""
Random transforms whose draws belong to the image, not to the batch.

A transform is called with a batch and a :class:`~captum_proto.optim.random.RandomStream`, and takes its numbers from it: each image
gets its own, and gets the same ones whatever else is in the batch. Callables that draw from PyTorch's global generator, such as those
of torchvision, are accepted through :class:`PerImage`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto.optim.random import RandomStream


@runtime_checkable
class Transform(Protocol):
    """Anything that turns a batch (N, C, H, W) into another, differentiably, with numbers from a stream."""

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor: ...

    def settings(self) -> dict[str, Any]:
        """What it is and does, as JSON can hold it."""
        ...


def _pair(value: float | Sequence[float], name: str) -> tuple[float, float]:
    if isinstance(value, (int, float)):
        if value < 0:
            raise ValueError(f"{name} is {value}; a single number must be at least 0 and means (-{name}, {name}).")
        return (-float(value), float(value))
    if len(value) != 2 or value[0] > value[1]:
        raise ValueError(f"{name} is {tuple(value)}; expected (least, most).")
    return (float(value[0]), float(value[1]))


class RandomAffine:
    r"""
    A rotation, scaling and translation drawn anew for every image, with bilinear sampling: the transform of Prototype Generation.

    Conventions are those of ``torchvision.transforms.RandomAffine``: about the centre, degrees clockwise, translation after rotation
    and scaling. Unlike it, every image of the batch has its own draw, and translations are not rounded to whole pixels.

    Args:
        degrees (float or tuple[float, float]): Range of the rotation; a number d means (-d, d).
        translate (tuple[float, float], optional): Greatest horizontal and vertical shift, as fractions of width and height.
            None: no shift. Default: None
        scale (tuple[float, float], optional): Range of the scale factor. None: no scaling. Default: None
        fill (float, optional): Value outside the image. Default: 0

    Raises:
        ValueError: If a range is empty, a fraction is outside [0, 1], or a scale is not positive.

    Examples::

        >>> transform = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))  # the paper's
        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM, step=7)
        >>> transform(torch.rand(1, 3, 224, 224), stream).shape
        torch.Size([1, 3, 224, 224])
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        fill: float = 0.0,
    ) -> None:
        self.degrees = _pair(degrees, "degrees")
        if translate is not None and (len(translate) != 2 or not all(0 <= t <= 1 for t in translate)):
            raise ValueError(
                f"translate is {tuple(translate)}; expected two fractions of the image's size, each from 0 to 1."
            )
        self.translate = (0.0, 0.0) if translate is None else (float(translate[0]), float(translate[1]))
        self.scale = (1.0, 1.0) if scale is None else _pair(tuple(scale), "scale")
        if self.scale[0] <= 0:
            raise ValueError(f"scale is {self.scale}; expected positive factors.")
        self.fill = float(fill)

    def settings(self) -> dict[str, Any]:
        return {
            "name": "RandomAffine",
            "degrees": list(self.degrees),
            "translate": list(self.translate),
            "scale": list(self.scale),
            "fill": self.fill,
        }

    def __repr__(self) -> str:
        return (
            f"RandomAffine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, fill={self.fill:g})"
        )

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        return self.normalized(images, random)

    def normalized(
        self,
        images: Tensor,
        random: RandomStream,
        mean: Sequence[float] | Tensor | None = None,
        std: Sequence[float] | Tensor | None = None,
        channels_last: bool = False,
    ) -> Tensor:
        """
        The transform and the normalisation that follows it, in one operator: ``(self(images, random) - mean) / std``.

        Args:
            images (Tensor): Shape (N, C, H, W), floating point.
            random (RandomStream): Where the draws come from; the same as those of a plain call.
            mean (sequence of float or Tensor, optional): As in :func:`affine`. Default: None
            std (sequence of float or Tensor, optional): As in :func:`affine`. Default: None
            channels_last (bool, optional): As in :func:`affine`. Default: False

        Returns:
            Tensor: Shape and dtype of ``images``.
        """
        return _drawn(images, random, [self], mean, std, channels_last)


def _drawn(
    images: Tensor,
    random: RandomStream,
    transforms: Sequence[RandomAffine],
    mean: Sequence[float] | Tensor | None,
    std: Sequence[float] | Tensor | None,
    channels_last: bool,
) -> Tensor:
    """Each image by its own draw, from the ranges of its own transform or from those of the one there is."""
    unit = random.uniform(4)  # always four, so that one range does not shift the draws of another
    low = [(t.degrees[0], -t.translate[0], -t.translate[1], t.scale[0]) for t in transforms]
    high = [(t.degrees[1], t.translate[0], t.translate[1], t.scale[1]) for t in transforms]
    least, most = (torch.tensor(ends, dtype=unit.dtype, device=unit.device) for ends in (low, high))
    angle, horizontal, vertical, scale = (least + (most - least) * unit).unbind(1)
    return affine(
        images,
        angle=angle,
        translate=torch.stack([horizontal, vertical], 1),
        scale=scale,
        fill=transforms[0].fill,
        mean=mean,
        std=std,
        channels_last=channels_last,
    )


class EachAffine:
    """
    A random affine transform of its own for each image: what lets several protocols be optimised as one batch.

    Each image draws what it would draw alone under its transform.

    Args:
        transforms (sequence of RandomAffine): One for each image of a batch, all with the same fill.

    Raises:
        ValueError: If there are none, or their fills differ.

    Examples::

        >>> transform = EachAffine([RandomAffine(30), RandomAffine(180, scale=(0.7, 1.3))])
        >>> stream = RandomStream(prototype_keys([0, 0], [(12,), (12,)]), TRANSFORM)
        >>> transform(torch.rand(2, 3, 32, 32), stream).shape
        torch.Size([2, 3, 32, 32])
    """

    def __init__(self, transforms: Sequence[RandomAffine]) -> None:
        self.transforms = list(transforms)
        fills = sorted({transform.fill for transform in self.transforms})
        if len(fills) != 1:
            raise ValueError(f"transforms have the fills {fills}; expected at least one transform, all with the same.")

    def settings(self) -> dict[str, Any]:
        return {"name": "EachAffine", "transforms": [transform.settings() for transform in self.transforms]}

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        return self.normalized(images, random)

    def normalized(
        self,
        images: Tensor,
        random: RandomStream,
        mean: Sequence[float] | Tensor | None = None,
        std: Sequence[float] | Tensor | None = None,
        channels_last: bool = False,
    ) -> Tensor:
        """As :meth:`RandomAffine.normalized`."""
        if len(images) != len(self.transforms):
            raise ValueError(
                f"there are {len(images)} images and {len(self.transforms)} transforms; give one for each."
            )
        return _drawn(images, random, self.transforms, mean, std, channels_last)


class Pad:
    """
    A frame around the image.

    Args:
        pixels (int): Its width on every side.
        fill (float, optional): Its value. Default: 0.5

    Raises:
        ValueError: If ``pixels`` is negative.

    Examples::

        >>> Pad(12)(torch.rand(1, 3, 224, 224), None).shape
        torch.Size([1, 3, 248, 248])
    """

    def __init__(self, pixels: int, fill: float = 0.5) -> None:
        if pixels < 0:
            raise ValueError(f"pixels is {pixels}; expected at least 0.")
        self.pixels, self.fill = int(pixels), float(fill)

    def settings(self) -> dict[str, Any]:
        return {"name": "Pad", "pixels": self.pixels, "fill": self.fill}

    def __call__(self, images: Tensor, random: RandomStream | None) -> Tensor:
        return torch.nn.functional.pad(images, [self.pixels] * 4, value=self.fill)


class RandomChoiceAffine:
    """
    A rotation, a scale and whole-pixel shifts, each chosen anew for every image from a list: the steps of Lucid's transforms.

    Args:
        degrees (sequence of float, optional): Angles, each as likely as the others; one named twice is twice as likely. Default: (0,)
        scales (sequence of float, optional): Factors. Default: (1,)
        jitter (int, optional): Shifts of 0 to ``jitter - 1`` pixels to the right and downwards; 0 for none. Default: 0
        fill (float, optional): Value outside the image. Default: 0

    Raises:
        ValueError: If a list is empty, a factor is not positive, or ``jitter`` is negative.

    Examples::

        >>> transform = RandomChoiceAffine(degrees=range(-10, 11), jitter=8)
        >>> transform(torch.rand(1, 3, 32, 32), RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self, degrees: Sequence[float] = (0.0,), scales: Sequence[float] = (1.0,), jitter: int = 0, fill: float = 0.0
    ) -> None:
        self.degrees = [float(angle) for angle in degrees]
        self.scales = [float(scale) for scale in scales]
        self.jitter, self.fill = int(jitter), float(fill)
        if not self.degrees or not self.scales or min(self.scales) <= 0 or self.jitter < 0:
            raise ValueError(
                f"degrees is {list(degrees)}, scales is {list(scales)} and jitter is {jitter}; expected at least one angle, positive "
                "factors and at least 0 pixels."
            )

    def settings(self) -> dict[str, Any]:
        return {
            "name": "RandomChoiceAffine",
            "degrees": self.degrees,
            "scales": self.scales,
            "jitter": self.jitter,
            "fill": self.fill,
        }

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        unit = random.uniform(4)

        def choice(column: int, values: Sequence[float]) -> Tensor:
            drawn = (unit[:, column] * len(values)).long()
            return torch.tensor(values, dtype=unit.dtype, device=unit.device)[drawn]

        pixels = (unit[:, 2:] * self.jitter).floor()
        size = torch.tensor(images.shape[:-3:-1], dtype=unit.dtype, device=unit.device)  # width, height
        return affine(images, choice(0, self.degrees), pixels / size, choice(1, self.scales), self.fill)


def affine(
    images: Tensor,
    angle: Tensor,
    translate: Tensor,
    scale: Tensor,
    fill: float = 0.0,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    channels_last: bool = False,
) -> Tensor:
    r"""
    Rotate, scale and shift each image by its own amounts, as ``torchvision.transforms.functional.affine`` does one image.

    Args:
        images (Tensor): Shape (N, C, H, W), floating point. Half types are sampled in float32.
        angle (Tensor): Shape (N,), degrees clockwise about the centre.
        translate (Tensor): Shape (N, 2), fractions of width and height.
        scale (Tensor): Shape (N,), positive factors.
        fill (float, optional): Value outside the image. Default: 0
        mean (sequence of float or Tensor, optional): Taken from each channel of the result, as ``Normalize`` does: C values, or one for
            all. Default: None
        std (sequence of float or Tensor, optional): What each channel is then divided by: C values, or one for all. Default: None
        channels_last (bool, optional): Memory format of the result: ``torch.channels_last``, or contiguous. Default: False

    Returns:
        Tensor: Shape and dtype of ``images``. Differentiable once, with respect to them alone.
    """
    height, width = images.shape[-2:]
    radians = angle.to(torch.float64) * (math.pi / 180)
    cos, sin = radians.cos() / scale, radians.sin() / scale
    # The inverse map, output to input, in the sampler's coordinates: -1 to 1 along each side, so a square in pixels is a rectangle.
    shift_x, shift_y = 2 * translate[:, 0], 2 * translate[:, 1]
    aspect = height / width
    rows = [
        torch.stack([cos, sin * aspect, -cos * shift_x - sin * aspect * shift_y], 1),
        torch.stack([-sin / aspect, cos, sin / aspect * shift_x - cos * shift_y], 1),
    ]
    wide = images.float() if images.dtype in (torch.float16, torch.bfloat16) else images
    matrix = torch.stack(rows, 1).to(wide.device, wide.dtype)
    sampled = ops.affine_sample(wide, matrix, mean=mean, std=std, fill=fill, channels_last=channels_last)
    return sampled.to(images.dtype)


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
        seeds = random.integers(1).flatten().tolist()
        cuda = images.device.type == "cuda"
        transformed = []
        with torch.random.fork_rng([images.device] if cuda else []):
            for image, seed in zip(images, seeds, strict=True):
                # Not torch.manual_seed: it would seed every device, and only these are put back.
                torch.default_generator.manual_seed(seed)
                if cuda:
                    torch.cuda.default_generators[images.device.index].manual_seed(seed)
                transformed.append(self.function(image.unsqueeze(0)))
        return torch.cat(transformed)


class SameSize:
    """
    A transform that changes the size of images, and then the cut at their centre that gives them their size again.

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
            raise ValueError(
                f"the transform made {height} x {width} images {images.shape[-2]} x {images.shape[-1]}; expected no smaller ones."
            )
        return images[..., top : top + height, left : left + width]


def feature_visualization_transform(size: int = 224) -> SameSize:
    """
    The standard transforms of feature visualisation: Olah, Mordvintsev and Schubert (Distill 2017), with Lucid's and Lucent's values.

    At 224 pixels: a grey frame of 12 pixels, a shift of up to 7, a scale of 0.9 to 1.1, a rotation of up to 10 degrees, a shift of up
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


def as_transform(transform: Any) -> Transform:
    """
    A :class:`Transform` from what the user gave: itself, a list of them, or a callable of one image batch.

    Raises:
        TypeError: If it cannot be called.
    """
    if isinstance(transform, Transform):
        return transform
    if isinstance(transform, (list, tuple)):
        return Compose(transform)
    if callable(transform):
        return PerImage(transform)
    raise TypeError(
        f"transform is a {type(transform).__name__}; expected a Transform, a callable, a list of them, or None."
    )
