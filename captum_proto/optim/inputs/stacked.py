"""Several parametrizations side by side, and images that share a part."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int
from captum_proto._utils.constants import numbers_on
from captum_proto._utils.errors import InputError
from captum_proto.optim.inputs.base import Parametrization
from captum_proto.optim.inputs.colors import mixed
from captum_proto.optim.inputs.parts import checked, part_of, under
from captum_proto.optim.random import RandomStream


class StackImage(Parametrization):
    """
    Several parametrizations beside each other: each of its own rows of the batch, or each of its own channels of every image.

    As captum.optim's class of this name, whose ``dim`` it has. With ``dim=0``, one batch compares parametrizations; each row is what it
    would be alone under its own. With ``dim=1``, color and further channels are written down differently.

    Args:
        parametrizations (sequence of Parametrization): In order.
        sizes (sequence of int, optional): How many rows, or channels, each has. Default: None, one each
        dim (int, optional): 0 for rows, 1 for channels. Default: 0

    Raises:
        ValueError: If there are none, the sizes do not fit, or ``dim`` is neither.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> stack = StackImage([PixelImage(), FFTImage(), CPPNImage(layers=3)])
        >>> loss = ChannelActivation("0", [1, 1, 1])
        >>> InputOptimization(model, loss, parametrization=stack, steps=2).optimize((3, 16, 16)).images.shape
        torch.Size([3, 3, 16, 16])
    """

    def __init__(
        self, parametrizations: Sequence[Parametrization], sizes: Sequence[int] | None = None, dim: int = 0
    ) -> None:
        self.parts = [checked(part) for part in parametrizations]
        self.sizes = [as_int(size) or 0 for size in ([1] * len(self.parts) if sizes is None else sizes)]
        if not self.parts or len(self.sizes) != len(self.parts) or min(self.sizes) < 1:
            raise InputError(
                f"there are {len(self.parts)} parametrizations, and sizes is {sizes}; expected at least one, and a positive size of each."
            )
        if dim not in (0, 1):
            raise InputError(f"dim is {dim!r}; expected 0, rows, or 1, channels.")
        self.dim = dim
        self.draws = any(part.draws for part in self.parts)
        if self.draws:
            raise InputError("StackImage cannot hold an AlphaImage; put the stack into the AlphaImage.")

    def settings(self) -> dict[str, Any]:
        parts = [part.settings() for part in self.parts]
        return {"name": "StackImage", "parametrizations": parts, "sizes": self.sizes, "dim": self.dim}

    def __repr__(self) -> str:
        return f"StackImage({self.parts!r}, sizes={self.sizes}, dim={self.dim})"

    def for_images(self, shape: tuple[int, ...], value_range: tuple[float, float]) -> StackImage:
        made = super().for_images(shape, value_range)
        if self.dim == 1 and sum(self.sizes) != shape[0]:
            raise InputError(
                f"StackImage has parts of {self.sizes} channels, {sum(self.sizes)} in all, and images have {shape[0]}; give as many."
            )
        shapes = [shape if self.dim == 0 else (size, *shape[1:]) for size in self.sizes]
        made.parts = [part.for_images(each, value_range) for part, each in zip(self.parts, shapes, strict=True)]
        return made

    @property
    def changes_until(self) -> float:
        return max(part.changes_until for part in self.parts)

    def at(self, progress: float) -> StackImage:
        made = copy.copy(self)
        made.parts = [part.at(progress) for part in self.parts]
        return made

    def _check_rows(self, count: int) -> None:
        if self.dim == 0 and count != sum(self.sizes):
            raise InputError(
                f"StackImage has parts of {self.sizes} rows, {sum(self.sizes)} in all, and the batch has {count}; give as many."
            )

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        self._check_rows(len(random))
        made: dict[str, Tensor] = {}
        for number, part in enumerate(self.parts):
            # Each row draws what it would under its own part alone; the same numbers in further channels would be the same picture.
            own = copy.copy(random) if self.dim == 0 else random
            made |= under(str(number), part.start(own, part.shape))
        return made

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        rendered, begin = [], 0
        for number, (part, size) in enumerate(zip(self.parts, self.sizes, strict=True)):
            own = part_of(str(number), parameters)
            if self.dim == 0:
                own = {name: value[begin : begin + size] for name, value in own.items()}
                begin += size
            rendered.append(part.render(own))
        return torch.cat(rendered, self.dim)

    def project(self, parameters: dict[str, Tensor]) -> None:
        for number, part in enumerate(self.parts):
            part.project(part_of(str(number), parameters))

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        self._check_rows(len(images))
        channels = [images] * len(self.parts) if self.dim == 0 else torch.split(images, self.sizes, 1)
        made: dict[str, Tensor] = {}
        for number, (part, own) in enumerate(zip(self.parts, channels, strict=True)):
            made |= under(str(number), part.parameters_of(own))
        return made


class SharedImage(Parametrization):
    r"""
    Images that share their coarse structure within a group: what is alike in them stays at its place, what differs is seen side by side.

    .. math::
        x_i = \sigma\Bigl(\sigma^{-1}(y_i) + C \sum_d \operatorname{up}\bigl(\operatorname{mean}_{j \in g(i)} z_{d,j}\bigr)\Bigr)

    with y the images of a parametrization, :math:`z_d` layers of 1/d of the resolution, which a group has in common, and C the color
    correlations of natural images. Of Mordvintsev, Pezzotti, Schubert and Olah, "Differentiable Image Parameterizations" (Distill
    2018), section "Aligned Feature Visualization Interpolation".

    The one parametrization in which rows see each other, and only those of a group: the gradient of a group's shared part is that of all
    its losses. A row that is alone in its group is what it would be alone. A batch must have the rows for which ``groups`` are given.

    Args:
        parametrization (Parametrization): What each image has for itself.
        groups (sequence): One entry for each row; rows with equal entries share.
        divisors (sequence of int, optional): By what the sides of the shared layers are divided. Default: (16, 8, 4)
        sd (float, optional): Standard deviation of the shared layers at the start. Default: 0.01

    Raises:
        TypeError, ValueError: If there is no group, a divisor is less than 1, or a batch has another number of rows.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU())
        >>> shared = SharedImage(FFTImage(), groups=["a", "a", "b", "b"])
        >>> loss = ChannelActivation("0", [0, 1, 0, 1])
        >>> InputOptimization(model, loss, parametrization=shared, steps=2).optimize((3, 16, 16)).images.shape
        torch.Size([4, 3, 16, 16])
    """

    #: How near the ends of the range an image may come before the shared part is added: there the sigmoid's argument is infinite.
    _MARGIN = 1e-3

    def __init__(
        self,
        parametrization: Parametrization,
        groups: Sequence[Hashable],
        divisors: Sequence[int] = (16, 8, 4),
        sd: float = 0.01,
    ) -> None:
        self.inner = checked(parametrization)
        self.divisors = [as_int(divisor) or 0 for divisor in divisors]
        if not len(groups) or not self.divisors or min(self.divisors) < 1 or not sd > 0 or self.inner.draws:
            raise InputError(
                f"groups is {list(groups)}, divisors is {list(divisors)} and sd is {sd}; expected a group for each row, divisors of at "
                "least 1, a positive sd, and a parametrization without alpha channel."
            )
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        self.groups, self.sd = [numbers[group] for group in groups], float(sd)

    def settings(self) -> dict[str, Any]:
        inner = self.inner.settings()
        return {
            "name": "SharedImage",
            "parametrization": inner,
            "groups": self.groups,
            "divisors": self.divisors,
            "sd": self.sd,
        }

    def __repr__(self) -> str:
        return f"SharedImage({self.inner!r}, groups={self.groups}, divisors={self.divisors}, sd={self.sd:g})"

    def for_images(self, shape: tuple[int, ...], value_range: tuple[float, float]) -> SharedImage:
        made = super().for_images(shape, value_range)
        made.inner = self.inner.for_images(shape, value_range)
        return made

    @property
    def changes_until(self) -> float:
        return self.inner.changes_until

    def at(self, progress: float) -> SharedImage:
        made = copy.copy(self)
        made.inner = self.inner.at(progress)
        return made

    def _check_rows(self, count: int) -> None:
        if count != len(self.groups):
            raise InputError(
                f"SharedImage has groups for {len(self.groups)} rows, and the batch has {count}; give one for each row, in one batch."
            )

    def _shared(self, count: int, like: Tensor | RandomStream) -> dict[str, Tensor]:
        self._check_rows(count)
        channels, height, width = self.shape
        made = {}
        for divisor in self.divisors:
            size = (max(1, height // divisor), max(1, width // divisor))
            entries = channels * size[0] * size[1]
            values = like.new_zeros(count, entries) if isinstance(like, Tensor) else self.sd * like.normal(entries)
            made[f"divisor_{divisor}"] = values.view(count, channels, *size)
        return under("shared", made)

    def start(self, random: RandomStream, shape: tuple[int, ...]) -> dict[str, Tensor]:
        own = self.inner.start(random, shape)
        return under("own", own) | self._shared(len(random), random)

    def parameters_of(self, images: Tensor) -> dict[str, Tensor]:
        return under("own", self.inner.parameters_of(images)) | self._shared(len(images), images)

    def render(self, parameters: dict[str, Tensor]) -> Tensor:
        low, high = self.value_range
        unit = (self.inner.render(part_of("own", parameters)) - low) / (high - low)
        planes = unit.clamp(self._MARGIN, 1 - self._MARGIN).logit()
        groups = numbers_on(planes.device, self.groups)
        same = (groups.unsqueeze(1) == groups).to(planes.dtype)
        shares = same / same.sum(1, keepdim=True)
        for layer in part_of("shared", parameters).values():
            common = (shares @ layer.flatten(1)).view_as(layer)
            planes = planes + mixed(torch.nn.functional.interpolate(common, planes.shape[2:], mode="bilinear"), True)
        return low + (high - low) * planes.sigmoid()

    def project(self, parameters: dict[str, Tensor]) -> None:
        self.inner.project(part_of("own", parameters))


__all__ = ["SharedImage", "StackImage"]
