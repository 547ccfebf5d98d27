"""The images to which units respond most and least, and a random sample: results, their file, and the parts of images that count."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from captum_proto._utils.checks import as_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import intact, load_tensors, save_tensors
from captum_proto.data.numbered import NumberedImages
from captum_proto.features.receptive_field import Box
from captum_proto.stats.intervals import Estimate
from captum_proto.stats.random_sample import random_keys

_KIND = "top examples"
#: What can be asked for of a unit.
_WHICH = ("top", "lowest", "random")


@dataclass
class LayerExamples:
    r"""
    The images to which the units of a layer respond most and least, and a random sample of images as control.

    With ``pool="position"`` and no position given, each unit is one at each position: instead of (U,), shapes begin with (U, \*positions).

    Attributes:
        layer (str): Its name.
        count (int): How many images there were.
        image_shape (tuple[int, ...]): (C, H, W).
        scores (Tensor): (U, k), the best first; float32, of float64 models float64.
        indices (Tensor): (U, k) in int64, the numbers of the images in the order given; of equal scores the smaller number first.
        lowest_scores (Tensor): (U, k), the lowest first.
        lowest_indices (Tensor): (U, k).
        random_scores (Tensor): (U, k), of the images of the sample.
        random_indices (Tensor): (k,), the same for all units of all layers.
        levels (list[float]): Which quantiles.
        quantiles (Tensor): (U, Q) in float64, of all activations at all positions of all images.
        highest_value (Tensor): (U,), of all these activations.
        lowest_value (Tensor): (U,).
        firing_images (Tensor): (U,) in int64, on how many images the unit is above 0 somewhere.
        firing_positions (Tensor): (U,) in int64, at how many positions of all images.
        firing_squares (Tensor): (U,) in int64, the squares of each image's number of positions, summed.
        positions (Tensor, optional): (U, k, P) in int64, where in the map a top score is; of maxima alone, and the first of several.
        lowest_positions (Tensor, optional): (U, k, P).
        random_positions (Tensor, optional): (U, k, P).
        boxes (Tensor, optional): (\*positions, 4) in int32, the receptive field of each position: top, left, bottom, right.
        shape (tuple[int, ...]): How many positions there are along each axis; () for a layer without.
    """

    layer: str
    count: int
    image_shape: tuple[int, ...]
    scores: Tensor
    indices: Tensor
    lowest_scores: Tensor
    lowest_indices: Tensor
    random_scores: Tensor
    random_indices: Tensor
    levels: list[float]
    quantiles: Tensor
    highest_value: Tensor
    lowest_value: Tensor
    firing_images: Tensor
    firing_positions: Tensor
    firing_squares: Tensor
    positions: Tensor | None = None
    lowest_positions: Tensor | None = None
    random_positions: Tensor | None = None
    boxes: Tensor | None = None
    shape: tuple[int, ...] = ()

    @property
    def units(self) -> int:
        """How many units the layer has."""
        return len(self.highest_value)

    @property
    def silent(self) -> list[int]:
        """The units that say nothing of these images: never above 0, or everywhere the same."""
        still = (self.highest_value <= 0) | (self.highest_value == self.lowest_value)
        found: list[int] = still.nonzero().flatten().tolist()
        return found

    def silence(self, unit: int) -> str:
        """Why a unit has no examples worth a look, in a sentence; empty where it has some."""
        number = self._unit(unit)
        if number not in self.silent:
            return ""
        what = "never fires" if float(self.highest_value[number]) <= 0 else "is everywhere the same"
        return (
            f'Unit {number} of layer "{self.layer}" {what} on these {self.count} images: its activation is between '
            f"{float(self.lowest_value[number]):.4g} and {float(self.highest_value[number]):.4g}."
        )

    def firing(self, unit: int) -> Estimate:
        """
        The share of positions at which a unit is above 0: the mean over images, with its 95 % interval by Student's t.

        Images are independent of each other, positions of an image are not.
        """
        number, positions = self._unit(unit), math.prod(self.shape)
        total, squares = int(self.firing_positions[number]), int(self.firing_squares[number])
        share = total / (self.count * positions)
        if self.count < 2:
            return Estimate(share, math.nan, math.nan)
        # From sums of integers, so that no rounding depends on the order of images.
        variance = max(0, self.count * squares - total * total) / (self.count * (self.count - 1)) / positions**2
        half = float(stats.t.ppf(0.975, self.count - 1)) * math.sqrt(variance / self.count)
        return Estimate(share, share - half, share + half)

    def crops(self, images: Any, unit: int, which: str = "top", count: int | None = None) -> list[Tensor]:
        """
        The parts of images to which a unit responds: the receptive field of the position of each score.

        Args:
            images (Tensor, Dataset, DataLoader, Collection or iterable): Those that were gone through; see
                :class:`~captum_proto.data.numbered.NumberedImages`.
            unit (int): Which unit.
            which (str, optional): "top", "lowest" or "random". Default: "top"
            count (int, optional): How many, the first ones. Default: None, k

        Returns:
            list[Tensor]: (C, h, w) each: whole images where no position or no receptive field is known.

        Raises:
            ValueError: If there is no such unit or image.
        """
        _, numbers, boxes = self.chosen(unit, which)
        wanted = slice(count)
        found = NumberedImages(images).at(numbers[wanted])
        return [
            image[:, box.top : box.bottom, box.left : box.right]
            for image, box in zip(found, boxes[wanted], strict=True)
        ]

    def chosen(self, unit: int, which: str = "top") -> tuple[list[float], list[int], list[Box]]:
        """
        The examples of a unit.

        Args:
            unit (int): Which unit.
            which (str, optional): "top", "lowest" or "random". Default: "top"

        Returns:
            tuple[list[float], list[int], list[Box]]: The score of each, the number of its image, and the part of it that the unit saw:
            all of it where no position or no receptive field is known.

        Raises:
            ValueError: If there is no such unit, or each position has its own.
        """
        number = self._unit(unit)
        if which not in _WHICH:
            raise InputError(f'which is "{which}"{nearest(str(which), _WHICH) or "; expected top, lowest or random."}')
        if self.scores.dim() > 2:
            raise InputError(
                f'layer "{self.layer}" has examples for each position; take those of one from scores and indices, or use mosaic().'
            )
        before = "" if which == "top" else f"{which}_"
        scores, positions = getattr(self, f"{before}scores")[number], getattr(self, f"{before}positions")
        numbers = self.random_indices if which == "random" else getattr(self, f"{before}indices")[number]
        boxes = [self._box(None if positions is None else positions[number, i].tolist()) for i in range(len(scores))]
        return scores.tolist(), numbers.tolist(), boxes

    def places(self, unit: int, which: str = "top") -> list[tuple[int, ...] | None]:
        """Where in the map each score of :meth:`chosen` is; None where it is of no one position."""
        scores, _, _ = self.chosen(unit, which)
        positions: Tensor | None = getattr(self, "positions" if which == "top" else f"{which}_positions")
        return [None] * len(scores) if positions is None else list(map(tuple, positions[unit].tolist()))

    def mosaic(self, unit: int, reuse: int | None = None, share: float = 0.1) -> Tensor:
        r"""
        For each position of a map, an image to which a unit responds there: examples that also show where in an image it looks.

        Positions choose in the order of their scores, and no image is chosen more than ``reuse`` times, so that a single one does not fill
        the map. The spatially aware examples of Hilton et al. (Understanding RL Vision, 2020).

        Args:
            unit (int): Which unit.
            reuse (int, optional): How often an image may be chosen. Default: None, ``ceil(positions / (images * share))``
            share (float, optional): Which share of the images is enough to fill the map. Default: 0.1

        Returns:
            Tensor: (\*positions) in int64, the number of an image for each. A position all of whose k images are used up takes the one that
            is used least.

        Raises:
            ValueError: If examples were not found for each position.
        """
        number = self._unit(unit)
        if self.scores.dim() < 3:
            raise InputError(
                f'layer "{self.layer}" has no examples for each position; fit with pool="position" and no position for them.'
            )
        scores, indices = self.scores[number].flatten(0, -2), self.indices[number].flatten(0, -2)
        limit = math.ceil(len(scores) / max(1, self.count * share)) if reuse is None else reuse
        used: dict[int, int] = {}
        chosen = torch.empty(len(scores), dtype=torch.int64)
        for place in scores[:, 0].argsort(descending=True, stable=True).tolist():
            candidates = indices[place].tolist()
            free = [image for image in candidates if used.get(image, 0) < limit]
            image = free[0] if free else min(candidates, key=lambda each: used[each])
            used[image] = used.get(image, 0) + 1
            chosen[place] = image
        return chosen.view(self.shape)

    def _box(self, position: Sequence[int] | None) -> Box:
        whole = Box(0, 0, *self.image_shape[-2:])
        if position is None or self.boxes is None:
            return whole
        box = Box(*self.boxes[tuple(position)].tolist())
        return box if box.bottom > box.top and box.right > box.left else whole

    def _unit(self, unit: int) -> int:
        number = as_int(unit)
        if number is None or not 0 <= number < self.units:
            raise InputError(f'unit is {unit}; layer "{self.layer}" has units 0 to {self.units - 1}.')
        return number


_TENSORS = [each.name for each in fields(LayerExamples) if "Tensor" in str(each.type)]


@dataclass
class Examples:
    """
    Examples of the units of some layers.

    Attributes:
        layers (dict[str, LayerExamples]): By name; ``examples["layer3"]`` is short for ``examples.layers["layer3"]``.
        count (int): How many images there were.
        settings (dict): What they are of, as JSON can hold it.
    """

    layers: dict[str, LayerExamples]
    count: int
    settings: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, layer: str) -> LayerExamples:
        if layer not in self.layers:
            raise InputError(
                f'there are no examples of layer "{layer}"{nearest(str(layer), self.layers) or f"; there are some of {len(self)} others."}'
            )
        return self.layers[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    def merge(self, other: Examples) -> Examples:
        """
        The examples of the images of both, as if all had been gone through at once.

        Args:
            other (Examples): Of other images, of the same model and made with the same settings: fitted with ``first`` so that no number
                stands for two images.

        Returns:
            Examples: The same, whichever of the two comes first.

        Raises:
            ValueError: If they hold quantiles, which of parts say nothing of the whole, are of other layers or settings, or an image is in
                both.
        """
        if self.settings != other.settings or list(self) != list(other):
            raise InputError("the examples were made with other settings or of other layers; fit both in the same way.")
        if self.settings.get("quantiles"):
            raise InputError(
                "quantiles of two parts do not tell those of both; fit the parts with quantiles=(), or merge their states after each pass "
                "(TopExamples.update, ExampleState.merge)."
            )
        layers = {name: _merged(mine, other[name], self.settings["seed"]) for name, mine in self.layers.items()}
        return Examples(layers, self.count + other.count, self.settings)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file, the settings as JSON in its header.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors: dict[str, Tensor] = {}
        described = []
        for number, (name, layer) in enumerate(self.layers.items()):
            values = {each: getattr(layer, each) for each in _TENSORS}
            tensors |= {f"{number}.{each}": value for each, value in values.items() if value is not None}
            described.append({"layer": name, "shape": list(layer.shape), "image_shape": list(layer.image_shape)})
        metadata = {"layers": described, "count": self.count, "settings": self.settings}
        save_tensors(path, _KIND, tensors, metadata, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Examples:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            layers = {}
            for number, given in enumerate(metadata["layers"]):
                layers[given["layer"]] = LayerExamples(
                    layer=given["layer"],
                    count=int(metadata["count"]),
                    image_shape=tuple(given["image_shape"]),
                    levels=list(metadata["settings"]["quantiles"]),
                    shape=tuple(given["shape"]),
                    **{each: tensors[f"{number}.{each}"] for each in _TENSORS if f"{number}.{each}" in tensors},
                )
            return cls(layers, int(metadata["count"]), dict(metadata["settings"]))


def _merged(mine: LayerExamples, other: LayerExamples, seed: int) -> LayerExamples:
    count, k = mine.count + other.count, mine.scores.shape[-1]
    values = vars(mine) | {"count": count}
    for before, largest in (("", True), ("lowest_", False)):
        names = [f"{before}{each}" for each in ("scores", "indices", "positions")]
        joined = {name: _joined(mine, other, name, mine.scores.dim() - 1) for name in names}
        scores, indices = joined[names[0]], joined[names[1]]
        assert scores is not None
        assert indices is not None
        twice = indices.sort(-1).values.diff(dim=-1) == 0
        if bool(twice.any()):
            raise InputError(
                f"image {int(indices.sort(-1).values[..., 1:][twice][0])} is in both; fit the parts with first=, so that each image has a "
                "number of its own."
            )
        # By number, then, without changing that among equals, by score.
        order = indices.argsort(-1)
        order = order.gather(-1, scores.gather(-1, order).argsort(stable=True, dim=-1, descending=largest))[..., :k]
        for name, value in joined.items():
            if value is not None:
                index = (
                    order if value.dim() == order.dim() else order.unsqueeze(-1).expand(*order.shape, value.shape[-1])
                )
                values[name] = value.gather(order.dim() - 1, index)
    drawn = torch.cat([mine.random_indices, other.random_indices])
    chosen = random_keys(drawn, seed).argsort(stable=True)[:k]
    chosen = chosen[drawn[chosen].argsort()]
    values["random_indices"] = drawn[chosen]
    for name in ("random_scores", "random_positions"):
        value = _joined(mine, other, name, mine.scores.dim() - 1)
        values[name] = None if value is None else value.index_select(mine.scores.dim() - 1, chosen)
    values["highest_value"] = torch.maximum(mine.highest_value, other.highest_value)
    values["lowest_value"] = torch.minimum(mine.lowest_value, other.lowest_value)
    for name in ("firing_images", "firing_positions", "firing_squares"):
        values[name] = getattr(mine, name) + getattr(other, name)
    return LayerExamples(**values)


def _joined(mine: LayerExamples, other: LayerExamples, name: str, axis: int) -> Tensor | None:
    first, second = getattr(mine, name), getattr(other, name)
    return None if first is None else torch.cat([first, second], axis)


__all__ = ["Examples", "LayerExamples"]
