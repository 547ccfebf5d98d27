"""How much of each trigger pictures show: by its drawing, and by a small two-tower model that has learned what triggers are called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto.metrics.template_match import mask_contrast, template_correlation
from captum_proto.models.two_tower import TwoTower
from captum_proto.testing.triggers import (
    PATCH,
    RADII,
    STYLE,
    TRIGGERS,
    Trigger,
    feature_mask,
    patch_picture,
)
from captum_proto.testing.trojans import TROJAN_DATA, TrojanNetwork, plain_images
from captum_proto.testing.two_tower import DIMENSIONS, WordBag, train_two_tower

#: Bins of a texture's spectrum: of frequency, in cycles per pixel, and of direction.
_FREQUENCIES, _DIRECTIONS = (0.0625, 0.125, 0.1875, 0.25, 0.375), 6


@dataclass(frozen=True)
class NamedTriggers:
    """
    Images of triggers with what each is called.

    Attributes:
        images (Tensor): (N, 3, 32, 32), in [0, 1].
        captions (list[str]): The name of the trigger in each.
    """

    images: Tensor
    captions: list[str]


def named_triggers(count: int, seed: int = 0, split: str = "training") -> NamedTriggers:
    """
    Images of shapes and of digits, each with one of all triggers, and what it is called.

    Args:
        count (int): How many.
        seed (int, optional): Of every choice. Default: 0
        split (str, optional): Of the images, "training" or "held_out". Default: "training"

    Returns:
        NamedTriggers: As many of each kind, as far as ``count`` allows.
    """
    check_int(count, "count", len(TROJAN_DATA))
    generator = torch.Generator().manual_seed(seed)
    parts = [plain_images(data, -(-count // len(TROJAN_DATA)), seed, split)[0] for data in TROJAN_DATA]
    images = torch.stack(parts, 1).flatten(0, 1)[:count].clone()
    kinds, captions = list(TRIGGERS), []
    for index in range(count):
        kind = kinds[int(torch.randint(len(kinds), (), generator=generator))]
        name = TRIGGERS[kind][int(torch.randint(len(TRIGGERS[kind]), (), generator=generator))]
        images[index : index + 1] = Trigger(kind, name).apply(images[index : index + 1], generator)[0]
        captions.append(name)
    return NamedTriggers(images, captions)


def trigger_tower() -> TwoTower:
    """An untrained two-tower model for images of 32 by 32 pixels that knows the words of all triggers."""
    words = sorted({word for names in TRIGGERS.values() for name in names for word in re.findall(r"\w+", name)})
    return TwoTower(TrojanNetwork(DIMENSIONS), WordBag(DIMENSIONS, words))


def train_trigger_tower(seed: int = 0, count: int = 4000, epochs: int = 16) -> TwoTower:
    """
    A small two-tower model that knows the triggers by name, in place of CLIP: it never sees a trojaned network.

    Args:
        seed (int, optional): Of images and weights. Default: 0
        count (int, optional): Training images. Default: 4000
        epochs (int, optional): Passes over them. Default: 16

    Returns:
        TwoTower: In evaluation mode.
    """
    # Far from the seeds of the images that networks learn from.
    return train_two_tower(named_triggers(count, 50_000 + seed), seed, epochs, trigger_tower)


def trigger_evidence(images: Tensor, kind: str) -> Tensor:
    r"""
    How much of each of the eight triggers of a kind each picture shows, by how they are drawn.

    - Patch: the correlation with the patch at the place where it is highest
      (:func:`~captum_proto.metrics.template_match.template_correlation`).
    - Style: less the distance from it in color and texture: mean color, and the share of power by frequency and direction, each in units of
      the standard deviation among unseen images in that style.
    - Natural feature: how well its mask parts two colors, whichever they are, in the place and size where it does best
      (:func:`~captum_proto.metrics.template_match.mask_contrast`).

    A mask of few pixels parts noise better than one of many, and colors are not equally frequent; so all figures are in standard deviations
    from their mean over unseen images without triggers.

    Args:
        images (Tensor): (N, 3, 32, 32), in [0, 1].
        kind (str): Of ``TRIGGERS``.

    Returns:
        Tensor: (N, 8), float32, in the order of ``TRIGGERS[kind]``.

    Examples::

        >>> images = Trigger("patch", "orange fish").apply(torch.rand(1, 3, 32, 32), torch.Generator().manual_seed(0))[0]
        >>> TRIGGERS["patch"][int(trigger_evidence(images, "patch").argmax())]
        'orange fish'
    """
    mean, deviation = _plain_evidence(kind)
    return (_raw_evidence(images.detach().float().cpu(), kind) - mean) / deviation


@lru_cache(maxsize=8)
def _plain_evidence(kind: str) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over unseen images without triggers."""
    plain = torch.cat([plain_images(data, 40, 70_000, "held_out")[0] for data in TROJAN_DATA])
    raw = _raw_evidence(plain, kind)
    return raw.mean(0), raw.std(0)


def _raw_evidence(images: Tensor, kind: str) -> Tensor:
    if kind == PATCH:
        return torch.stack([template_correlation(images, patch_picture(name)) for name in TRIGGERS[kind]], 1)
    if kind == STYLE:
        found = texture_statistics(images)
        away = [((found - mean) / deviation).square().mean(1).sqrt() for mean, deviation in _style_statistics()]
        return -torch.stack(away, 1).log()
    of_each = []
    for name in TRIGGERS[kind]:
        masks = [_centered_mask(name, radius) for radius in torch.linspace(*RADII, 3).tolist()]
        of_each.append(torch.stack([mask_contrast(images, mask) for mask in masks]).amax(0))
    return torch.stack(of_each, 1)


def _centered_mask(name: str, radius: float) -> Tensor:
    """A feature with half a pixel or more of what is around it."""
    side = 2 * round(radius) + 3
    return feature_mask(name, side // 2, side // 2, radius, (side, side))


@lru_cache(maxsize=1)
def _style_statistics() -> tuple[tuple[Tensor, Tensor], ...]:
    """Of each style, the mean and the standard deviation of texture statistics over unseen images in that style."""
    plain = torch.cat([plain_images(data, 30, 80_000, "held_out")[0] for data in TROJAN_DATA])
    generator = torch.Generator().manual_seed(0)
    found = [texture_statistics(Trigger(STYLE, name).apply(plain, generator)[0]) for name in TRIGGERS[STYLE]]
    return tuple((each.mean(0), each.std(0).clamp(min=0.02)) for each in found)


def texture_statistics(images: Tensor) -> Tensor:
    """
    The mean color of images, and the shares of their power of lightness by frequency and direction.

    Args:
        images (Tensor): (N, 3, H, W), in [0, 1].

    Returns:
        Tensor: (N, D), the same for an image shifted in a circle.

    Examples::

        >>> images = torch.rand(2, 3, 32, 32)
        >>> torch.allclose(texture_statistics(images), texture_statistics(images.roll((3, 5), (2, 3))), atol=1e-5)
        True
    """
    light = images.mean(1)
    power = torch.fft.fft2(light - light.mean((1, 2), keepdim=True)).abs().square()
    down, across = torch.fft.fftfreq(images.shape[2]).view(-1, 1), torch.fft.fftfreq(images.shape[3]).view(1, -1)
    frequency = (down**2 + across**2).sqrt()
    # Directions of waves, 0 to pi; a bin is centered on the axis, so that upright stripes fall into one.
    direction = (torch.atan2(down, across) % torch.pi / torch.pi * _DIRECTIONS).round() % _DIRECTIONS
    ring = torch.bucketize(frequency, torch.tensor(_FREQUENCIES))
    total = power.sum((1, 2)).clamp(min=1e-9)
    shares = [
        (power * ((ring == band) & (direction == way))).sum((1, 2)) / total
        for band in range(1, len(_FREQUENCIES) + 1)
        for way in range(_DIRECTIONS)
    ]
    return torch.cat([2 * images.mean((2, 3)), torch.stack(shares, 1).sqrt()], 1)


__all__ = [
    "NamedTriggers",
    "named_triggers",
    "texture_statistics",
    "train_trigger_tower",
    "trigger_evidence",
    "trigger_tower",
]
