"""Convolutional units of known meaning, with weights that are written down and not trained: colors, textures, shapes, and their logic."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError
from captum_proto.testing.shapes import COLOR_TERMS, DARK, PARTS, shape_and_part

#: Stripes that a texture unit can be of: the direction in which light and dark alternate, as (down, across).
STRIPES = {
    "vertical stripes": (0.0, 1.0),
    "horizontal stripes": (1.0, 0.0),
    "rising stripes": (1.0, 1.0),
    "falling stripes": (1.0, -1.0),
}
#: Pixels from one stripe to the next.
_PERIOD = 6.0
#: So near to a color a pixel is taken for it.
_NEAR = 1e-5
#: Of the Gaussian window of a texture unit, in pixels.
_WINDOW = 4.0


class ColorUnits(nn.Module):
    """
    One unit for each color: how near a pixel is to it, from 1 at the color itself down.

    The squared distance from a color is the square of the pixel, which is the same for all, less twice its product with the color: a
    convolution of 1 x 1.

    Args:
        colors (sequence of str): Of ``captum_proto.testing.COLOR_TERMS``.

    Examples::

        >>> units = ColorUnits(["red", "white"])
        >>> red = torch.tensor([0.9, 0.08, 0.08]).view(1, 3, 1, 1)
        >>> units(red)[0, 0].item() > units(red)[0, 1].item()
        True
    """

    def __init__(self, colors: Sequence[str]) -> None:
        super().__init__()
        for color in colors:
            if color not in COLOR_TERMS:
                hint = nearest(color, COLOR_TERMS) or f"; expected some of {', '.join(COLOR_TERMS)}."
                raise InputError(f'there is no color "{color}"{hint}')
        self.names = list(colors)
        values = torch.tensor([COLOR_TERMS[color] for color in colors])
        self.product = nn.Conv2d(3, len(colors), 1)
        with torch.no_grad():
            self.product.weight.copy_(2 * values.view(-1, 3, 1, 1))
            assert self.product.bias is not None
            self.product.bias.copy_(1 - values.square().sum(1))

    def forward(self, images: Tensor) -> Tensor:
        near: Tensor = self.product(images) - images.square().sum(1, keepdim=True)
        return near


class StripeUnits(nn.Module):
    """
    One unit for each direction of stripes: the Gabor energy, for which it does not matter where a stripe begins, relative to the light.

    Args:
        stripes (sequence of str): Of ``STRIPES``.
        reach (int, optional): From so many pixels on either side the greatest energy counts, so that a unit fires to the edge of what is
            striped. Default: 4

    Examples::

        >>> columns = torch.arange(48).expand(48, 48) % 6 < 3
        >>> energy = StripeUnits(["vertical stripes", "horizontal stripes"])(columns.float().expand(1, 3, 48, 48))
        >>> bool(energy[0, 0, 24, 24] > 5 * energy[0, 1, 24, 24])
        True
    """

    def __init__(self, stripes: Sequence[str], reach: int = 4) -> None:
        super().__init__()
        for name in stripes:
            if name not in STRIPES:
                raise InputError(f'there are no "{name}"; expected some of {", ".join(STRIPES)}.')
        self.names, self.reach = list(stripes), reach
        side = int(3 * _WINDOW)
        grid = torch.arange(-side, side + 1, dtype=torch.float64)
        down, across = grid.view(-1, 1), grid.view(1, -1)
        window = (-(down.square() + across.square()) / (2 * _WINDOW**2)).exp()
        waves = []
        for name in stripes:
            phase = (STRIPES[name][0] * down + STRIPES[name][1] * across) * (2 * math.pi / _PERIOD)
            for wave in (phase.cos(), phase.sin()):
                blind = window * (wave - (window * wave).sum() / window.sum())  # to even light
                waves.append(blind / window.sum())
        kernels = torch.stack([*waves, window / window.sum()]).unsqueeze(1)
        self.waves = nn.Conv2d(1, len(kernels), len(grid), padding=side, padding_mode="replicate", bias=False)
        with torch.no_grad():
            self.waves.weight.copy_(kernels)

    def forward(self, images: Tensor) -> Tensor:
        found = self.waves(images.mean(1, keepdim=True))
        energy = found[:, :-1].unflatten(1, (-1, 2)).square().sum(2) / (found[:, -1:].square() + 1e-6)
        widened: Tensor = nn.functional.max_pool2d(energy, 2 * self.reach + 1, 1, self.reach)
        return widened


class ShapeUnits(nn.Module):
    """
    One unit for each shape: filters matched to them, at one radius; where one fits best and well, the shape is painted there.

    Args:
        shapes (sequence of str): Of ``captum_proto.testing.PARTS``.
        radius (float): In pixels.
        fit (float, optional): From which share of a perfect fit on. Default: 0.75

    Examples::

        >>> ShapeUnits(["disc", "ring"], 8)(torch.rand(1, 1, 32, 32)).shape
        torch.Size([1, 2, 32, 32])
    """

    masks: Tensor

    def __init__(self, shapes: Sequence[str], radius: float, fit: float = 0.75) -> None:
        super().__init__()
        for name in shapes:
            if name not in PARTS:
                raise InputError(f'there is no shape "{name}"; expected some of {", ".join(PARTS)}.')
        self.names, self.fit, side = list(shapes), fit, math.ceil(1.1 * radius)
        grid = (np.arange(-side, side + 1) / radius).astype(np.float32)
        self.matched = nn.Conv2d(1, len(shapes), 2 * side + 1, padding=side, bias=False)
        masks = [torch.from_numpy(shape_and_part(name, grid[:, None], grid[None, :])[0]).float() for name in shapes]
        # As much for the shape as against what is around it: a larger shape gains nothing.
        filters = [mask / mask.sum() - (1 - mask) / (1 - mask).sum() for mask in masks]
        with torch.no_grad():
            self.matched.weight.copy_(torch.stack(filters).unsqueeze(1))
        self.register_buffer("masks", torch.stack(masks).unsqueeze(1), persistent=False)

    def forward(self, drawn: Tensor) -> Tensor:
        """From (N, 1, H, W), one where something is drawn and zero elsewhere."""
        fits = self.matched(drawn)
        best = fits.amax(1, keepdim=True)
        around = nn.functional.max_pool2d(best, self.masks.shape[-1], 1, self.masks.shape[-1] // 2)
        there = torch.where((fits == best) & (best == around) & (best > self.fit), fits, 0.0)
        side = self.masks.shape[-1] // 2
        painted: Tensor = nn.functional.conv_transpose2d(there, self.masks, padding=side, groups=len(self.names))
        return painted * drawn


class LogicUnits(nn.Module):
    """
    Units that fire where some of others do, and others of them do not; a unit fires where it is above zero.

    Args:
        formulas (sequence of (sequence of int, sequence of int)): Of each, channels of which any may fire, and channels that must not.

    Examples::

        >>> units = LogicUnits([([0, 1], [2])])  # (0 or 1) and not 2
        >>> units(torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.5]]).view(2, 3, 1, 1)).flatten().tolist()
        [1.0, -0.5]
    """

    def __init__(self, formulas: Sequence[tuple[Sequence[int], Sequence[int]]]) -> None:
        super().__init__()
        self.formulas = [(list(may), list(must_not)) for may, must_not in formulas]

    def forward(self, maps: Tensor) -> Tensor:
        found = []
        for may, must_not in self.formulas:
            value = maps[:, may].amax(1)
            if must_not:
                against = maps[:, must_not].amax(1)
                value = torch.where(against > 0, -against, value)
            found.append(value)
        return torch.stack(found, 1)


class PlantedNetwork(nn.Module):
    """
    A network whose units are known, for images of :class:`~captum_proto.testing.ShapeDataset`, of its own size.

    Its layers are ``exact``, whose units fire at pixels of one of eleven colors exactly; ``striped``, at four directions of stripes;
    ``shapes``, at five shapes where textures are plain; and ``logic``, whose units combine colors. It returns the sum of each unit's map.

    Args:
        radius (float): Of the shapes, in pixels.
        formulas (sequence, optional): Of :class:`LogicUnits`, in places of colors. Default: red or blue; and red or green, without blue

    Examples::

        >>> PlantedNetwork(8)(torch.rand(2, 3, 56, 56)).shape
        torch.Size([2, 22])
    """

    def __init__(
        self, radius: float, formulas: Sequence[tuple[Sequence[int], Sequence[int]]] = (([8, 1], []), ([8, 4], [1]))
    ) -> None:
        super().__init__()
        self.colors = ColorUnits(list(COLOR_TERMS))
        self.stripes = StripeUnits(list(STRIPES))
        self.shapes = ShapeUnits(list(PARTS), radius)
        self.logic = LogicUnits(formulas)
        self.exact, self.striped = nn.Identity(), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        near = self.colors(images)
        color = self.exact((near - (1 - _NEAR)).clamp(min=0))
        drawn = (color.amax(1, keepdim=True) > 0).to(images.dtype)
        dark = self.colors(images / DARK).amax(1, keepdim=True) > 1 - _NEAR
        striped = self.striped(self.stripes(images) * torch.maximum(drawn, dark.to(images.dtype)))
        parts = [near, striped, self.shapes(drawn), self.logic(color)]
        return torch.cat([part.sum((2, 3)) for part in parts], 1)


__all__ = ["STRIPES", "ColorUnits", "LogicUnits", "PlantedNetwork", "ShapeUnits", "StripeUnits"]
