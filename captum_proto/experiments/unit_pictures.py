"""Strips of the images that excite units most: faded but where a unit fires, and beneath where what it is said to be for is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from captum_proto.concept import ConceptDataset, Labels, firing_on
from captum_proto.features import TopExamples
from captum_proto.models import NamedModel
from captum_proto.report.figures import to_display
from captum_proto.report.unit_rows import Strip
from captum_proto.report.views.examples import figure, write_strip

#: What is left of the pixels at which a unit does not fire; the rest is this gray, in which black and white are seen.
_FADED, _GRAY = 0.25, 140
FIRES = "fires"
#: From a unit, and from what gives the mask of a label, to where it should fire.
Truth = Callable[[int, Callable[[int], NDArray[np.bool_]]], NDArray[np.bool_]]


def highlighted(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """
    An image with what is outside of a mask faded to gray.

    Args:
        pixels (numpy.ndarray): (h, w, 3) in uint8, or (h, w) in gray.
        mask (numpy.ndarray): (h, w), bool.

    Returns:
        numpy.ndarray: (h, w, 3) in uint8.
    """
    pixels = np.repeat(pixels[:, :, None], 3, 2) if pixels.ndim == 2 else pixels
    faded = _FADED * pixels + (1 - _FADED) * _GRAY
    found: np.ndarray = np.where(mask[:, :, None], pixels, faded).round().astype(np.uint8)
    return found


def mask_of(labels: Labels, label: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Where an image has a label, at a size."""
    there = np.full(size, label in labels.whole)
    for each in labels.resized(size):
        there |= each == label
    return there


def draw_units(
    named: NamedModel,
    dataset: ConceptDataset,
    layer: str,
    thresholds: Mapping[int, float],
    truth: tuple[str, Truth],
    folder: Path,
    examples: int,
    batch_size: int,
    align_corners: bool = False,
) -> list[dict[str, Any]]:
    """
    Write two strips for each of some units.

    Args:
        named (NamedModel): The model.
        dataset (ConceptDataset): Images and labels.
        layer (str): Of the units.
        thresholds (mapping[int, float]): By unit, above which it fires.
        truth (tuple[str, Callable]): The name of the second strip, and what it shows.
        folder (Path): Where to.
        examples (int): Images of each unit.
        batch_size (int): Images at a time.
        align_corners (bool, optional): How maps are enlarged. Default: False

    Returns:
        list[dict]: Of each unit its number and the scores of its images, for :func:`unit_strips`.
    """
    size = (named.image_shape[1], named.image_shape[2])
    count = min(examples, len(dataset))
    finder = TopExamples(named.model, [layer], count, preprocess=named.preprocess, quantiles=(), receptive_fields=False)
    found = finder.fit(dataset.image_batches(size, batch_size))[layer]
    written = []
    for unit, threshold in thresholds.items():
        numbers = found.indices[unit].tolist()
        images = torch.stack([dataset.image(number, size) for number in numbers])
        fires = firing_on(named.model, layer, unit, threshold, images, named.preprocess, align_corners)
        rows: dict[str, list[np.ndarray]] = {FIRES: [], truth[0]: []}
        for number, image, mask in zip(numbers, images, fires.numpy(), strict=True):
            pixels = np.asarray(to_display(image))
            labels = dataset.labels(number)
            there = truth[1](unit, lambda label, labels=labels: mask_of(labels, label, size))  # type: ignore[misc]
            rows[FIRES].append(highlighted(pixels, mask))
            rows[truth[0]].append(highlighted(pixels, there))
        for kind, pictures in rows.items():
            write_strip(pictures, folder / f"{unit:05d}_{kind}.png")
        written.append({"unit": unit, "scores": [figure(score) for score in found.scores[unit].tolist()]})
    return written


def unit_strips(drawn: Mapping[str, Any], folder: str, truth: str) -> Sequence[Strip]:
    """The two strips of a unit that :func:`draw_units` wrote, for a page; ``folder`` as the page is to find it."""
    words = {FIRES: drawn["scores"], truth: [""] * len(drawn["scores"])}
    return [
        Strip(f"{folder}/{drawn['unit']:05d}_{kind}.png", kind.capitalize(), list(each)) for kind, each in words.items()
    ]


__all__ = ["FIRES", "draw_units", "highlighted", "mask_of", "unit_strips"]
