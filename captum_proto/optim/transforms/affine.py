"""Random rotations, scalings and shifts, drawn for each image by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto import ops
from captum_proto._utils.checks import nearest, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.ops.double import double
from captum_proto.optim.random import RandomStream


def _pair(value: float | Sequence[float], name: str) -> tuple[float, float]:
    scalar: Any = value
    value = scalar.item() if getattr(value, "ndim", None) == 0 else value  # NumPy's and torch's numbers
    if isinstance(value, (int, float)):
        if value < 0:
            raise InputError(f"{name} is {value}; a single number must be at least 0 and means (-{name}, {name}).")
        return (-float(value), float(value))
    if len(value) != 2 or value[0] > value[1]:
        raise InputError(f"{name} is {tuple(value)}; expected (least, most).")
    return (float(value[0]), float(value[1]))


#: What an image may go on with instead of a number: its mirror image, or its nearest pixel.
CONTINUATIONS = ("reflect", "replicate")


def as_fill(fill: Any) -> float | str:
    """
    What is outside of an image: a number, or one of :data:`CONTINUATIONS`.

    Raises:
        ValueError: If it is another text.
        TypeError: If it is neither a number nor a text.
    """
    if isinstance(fill, str):
        if fill not in CONTINUATIONS:
            hint = nearest(fill, CONTINUATIONS) or f"; expected a number, or one of {', '.join(CONTINUATIONS)}."
            raise InputError(f'fill is "{fill}"{hint}')
        return fill
    try:
        return float(fill)
    except (TypeError, ValueError) as error:
        expected = f"a number, or one of {', '.join(CONTINUATIONS)}"
        raise InputTypeError(f"fill is a {type_name(fill)}; expected {expected}.") from error


class RandomAffine:
    r"""
    A rotation, scaling and translation drawn anew for every image, with bilinear sampling: the transform of Prototype Generation.

    Conventions are those of ``torchvision.transforms.RandomAffine``: about the center, degrees clockwise, translation after rotation
    and scaling. Unlike it, every image of the batch has its own draw, and translations are not rounded to whole pixels.

    Args:
        degrees (float or tuple[float, float]): Range of the rotation; a number d means (-d, d).
        translate (tuple[float, float], optional): Greatest horizontal and vertical shift, as fractions of width and height.
            None: no shift. Default: None
        scale (tuple[float, float], optional): Range of the scale factor. None: no scaling. Default: None
        fill (float or str, optional): Value outside the image; or what the image goes on with: "reflect", its mirror image, or
            "replicate", its nearest pixel. Black corners are nothing that a network has seen in a photograph. Default: 0

    Raises:
        ValueError: If a range is empty, a fraction is outside [0, 1], a scale is not positive, or ``fill`` is an unknown text.

    Examples::

        >>> transform = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))  # the paper's
        >>> stream = RandomStream(prototype_keys([0], [(12,)]), TRANSFORM, step=7)
        >>> transform(torch.rand(1, 3, 224, 224), stream).shape
        torch.Size([1, 3, 224, 224])
        >>> mirrored = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3), fill="reflect")  # without its black corners
        >>> bool((mirrored(torch.ones(1, 3, 224, 224), stream) > 0.999).all())
        True
    """

    def __init__(
        self,
        degrees: float | Sequence[float],
        translate: Sequence[float] | None = None,
        scale: Sequence[float] | None = None,
        fill: float | str = 0.0,
    ) -> None:
        self.degrees = _pair(degrees, "degrees")
        if translate is not None and (len(translate) != 2 or not all(0 <= t <= 1 for t in translate)):
            raise InputError(
                f"translate is {tuple(translate)}; expected two fractions of the image's size, each from 0 to 1."
            )
        self.translate = (0.0, 0.0) if translate is None else (float(translate[0]), float(translate[1]))
        self.scale = (1.0, 1.0) if scale is None else _pair(tuple(scale), "scale")
        if self.scale[0] <= 0:
            raise InputError(f"scale is {self.scale}; expected positive factors.")
        self.fill = as_fill(fill)

    def settings(self) -> dict[str, Any]:
        return {
            "name": "RandomAffine",
            "degrees": list(self.degrees),
            "translate": list(self.translate),
            "scale": list(self.scale),
            "fill": self.fill,
        }

    def __repr__(self) -> str:
        fill = repr(self.fill) if isinstance(self.fill, str) else f"{self.fill:g}"
        return f"RandomAffine(degrees={self.degrees}, translate={self.translate}, scale={self.scale}, fill={fill})"

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
        The transform and the normalization that follows it, in one operator: ``(self(images, random) - mean) / std``.

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
    low = tuple((t.degrees[0], -t.translate[0], -t.translate[1], t.scale[0]) for t in transforms)
    high = tuple((t.degrees[1], t.translate[0], t.translate[1], t.scale[1]) for t in transforms)
    size, dtype = _size(images), sampling_dtype(images)

    def make(unit: Tensor) -> Tensor:
        least, most = (torch.tensor(ends, dtype=unit.dtype, device=unit.device) for ends in (low, high))
        if len(transforms) > 1:  # of several steps, one after the other
            least, most = (ends.repeat(len(unit) // len(transforms), 1) for ends in (least, most))
        angle, horizontal, vertical, scale = (least + (most - least) * unit).unbind(1)
        return affine_matrix(angle, torch.stack([horizontal, vertical], 1), scale, *size).to(dtype)

    # Always four draws, so that one range does not shift the draws of another.
    matrix = random.ahead(4, ("RandomAffine", low, high, size, dtype), make)
    return sampled(images, matrix, transforms[0].fill, mean=mean, std=std, channels_last=channels_last)


def _size(images: Tensor) -> tuple[int, int]:
    return images.shape[-2], images.shape[-1]


class EachAffine:
    """
    A random affine transform of its own for each image: what lets several protocols be optimized as one batch.

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
        fills = sorted({transform.fill for transform in self.transforms}, key=str)
        if len(fills) != 1:
            raise InputError(f"transforms have the fills {fills}; expected at least one transform, all with the same.")

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
            raise InputError(
                f"there are {len(images)} images and {len(self.transforms)} transforms; give one for each."
            )
        return _drawn(images, random, self.transforms, mean, std, channels_last)


class RandomChoiceAffine:
    """
    A rotation, a scale and whole-pixel shifts, each chosen anew for every image from a list: the steps of Lucid's transforms.

    Args:
        degrees (sequence of float, optional): Angles, each as likely as the others; one named twice is twice as likely. Default: (0,)
        scales (sequence of float, optional): Factors. Default: (1,)
        jitter (int, optional): Shifts of 0 to ``jitter - 1`` pixels to the right and downwards; 0 for none. Default: 0
        fill (float or str, optional): As in :class:`RandomAffine`. Default: 0

    Raises:
        ValueError: If a list is empty, a factor is not positive, ``jitter`` is negative, or ``fill`` is an unknown text.

    Examples::

        >>> transform = RandomChoiceAffine(degrees=range(-10, 11), jitter=8)
        >>> transform(torch.rand(1, 3, 32, 32), RandomStream(prototype_keys([0], [(12,)]), TRANSFORM)).shape
        torch.Size([1, 3, 32, 32])
    """

    def __init__(
        self,
        degrees: Sequence[float] = (0.0,),
        scales: Sequence[float] = (1.0,),
        jitter: int = 0,
        fill: float | str = 0.0,
    ) -> None:
        self.degrees = [float(angle) for angle in degrees]
        self.scales = [float(scale) for scale in scales]
        self.jitter, self.fill = int(jitter), as_fill(fill)
        if not self.degrees or not self.scales or min(self.scales) <= 0 or self.jitter < 0:
            raise InputError(
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
        height, width = size = _size(images)
        dtype = sampling_dtype(images)

        def make(unit: Tensor) -> Tensor:
            def choice(column: int, values: Sequence[float]) -> Tensor:
                drawn = (unit[:, column] * len(values)).long()
                return torch.tensor(values, dtype=unit.dtype, device=unit.device)[drawn]

            pixels = (unit[:, 2:] * self.jitter).floor()
            sides = torch.tensor((width, height), dtype=unit.dtype, device=unit.device)
            angle, scale = choice(0, self.degrees), choice(1, self.scales)
            return affine_matrix(angle, pixels / sides, scale, height, width).to(dtype)

        name = ("RandomChoiceAffine", tuple(self.degrees), tuple(self.scales), self.jitter, size, dtype)
        return sampled(images, random.ahead(4, name, make), self.fill)


def affine(
    images: Tensor,
    angle: Tensor,
    translate: Tensor,
    scale: Tensor,
    fill: float | str = 0.0,
    *,
    mean: Sequence[float] | Tensor | None = None,
    std: Sequence[float] | Tensor | None = None,
    channels_last: bool = False,
) -> Tensor:
    r"""
    Rotate, scale and shift each image by its own amounts, as ``torchvision.transforms.functional.affine`` does one image.

    Args:
        images (Tensor): Shape (N, C, H, W), floating point. Half types are sampled in float32.
        angle (Tensor): Shape (N,), degrees clockwise about the center.
        translate (Tensor): Shape (N, 2), fractions of width and height.
        scale (Tensor): Shape (N,), positive factors.
        fill (float or str, optional): Value outside the image, or "reflect" or "replicate", as in :func:`captum_proto.ops.affine_sample`.
            Default: 0
        mean (sequence of float or Tensor, optional): Taken from each channel of the result, as ``Normalize`` does: C values, or one for
            all. Default: None
        std (sequence of float or Tensor, optional): What each channel is then divided by: C values, or one for all. Default: None
        channels_last (bool, optional): Memory format of the result: ``torch.channels_last``, or contiguous. Default: False

    Returns:
        Tensor: Shape and dtype of ``images``. Differentiable once, with respect to them alone.
    """
    matrix = affine_matrix(angle, translate, scale, *_size(images))
    return sampled(images, matrix, fill, mean=mean, std=std, channels_last=channels_last)


def affine_matrix(angle: Tensor, translate: Tensor, scale: Tensor, height: int, width: int) -> Tensor:
    """
    The maps of :func:`affine`, as :func:`captum_proto.ops.affine_sample` takes them.

    Args:
        angle (Tensor): Shape (N,), degrees clockwise about the center.
        translate (Tensor): Shape (N, 2), fractions of width and height.
        scale (Tensor): Shape (N,), positive factors.
        height (int): Of the images.
        width (int): Of the images.

    Returns:
        Tensor: Shape (N, 2, 3), float64; on the CPU, if the device of ``angle`` has none.
    """
    radians = double(angle) * (math.pi / 180)
    translate, scale = (values.to(radians.device) for values in (translate, scale))
    cos, sin = radians.cos() / scale, radians.sin() / scale
    # The inverse map, output to input, in the sampler's coordinates: -1 to 1 along each side, so a square in pixels is a rectangle.
    shift_x, shift_y = 2 * translate[:, 0], 2 * translate[:, 1]
    aspect = height / width
    rows = [
        torch.stack([cos, sin * aspect, -cos * shift_x - sin * aspect * shift_y], 1),
        torch.stack([-sin / aspect, cos, sin / aspect * shift_x - cos * shift_y], 1),
    ]
    return torch.stack(rows, 1)


def sampling_dtype(images: Tensor) -> torch.dtype:
    """The dtype in which images of some dtype are sampled."""
    return torch.float32 if images.dtype in (torch.float16, torch.bfloat16) else images.dtype


def sampled(images: Tensor, matrix: Tensor, fill: float | str, **options: Any) -> Tensor:
    """:func:`captum_proto.ops.affine_sample` of images of any floating-point dtype; half types are sampled in float32."""
    wide = images.to(sampling_dtype(images))
    return ops.affine_sample(wide, matrix.to(wide.device, wide.dtype), fill=fill, **options).to(images.dtype)
