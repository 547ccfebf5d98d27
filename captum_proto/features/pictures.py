"""Pictures of units and directions of a layer, each made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError
from captum_proto.capture import Layer
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss import ChannelActivation, Direction

#: How pictures are made where nothing else is asked for: many of them, so with fewer steps than a single one would get.
STEPS, BATCH = 128, 32


class UnitPictures:
    """
    Pictures of a layer's channels, or of directions in it, made when they are first asked for.

    Args:
        forward_func, layer, preprocess, channel_axis: As in :class:`~captum_proto.features.SemanticDictionary`.
        directions (Tensor, optional): (K, C), where units are directions. Default: None, they are channels
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None,
        channel_axis: int | None = None,
        directions: Tensor | None = None,
    ) -> None:
        self._model = forward_func, preprocess
        self._layer, self._channel_axis, self._directions = layer, channel_axis, directions
        self._made: dict[tuple[int, str], tuple[Tensor, float, int]] = {}

    def of(self, units: Sequence[int], image_shape: tuple[int, int, int], **choices: Any) -> Visualizations:
        """
        Pictures of units, in their order.

        Args:
            units (sequence of int): Channels, or rows of the directions.
            image_shape (tuple[int, int, int]): (C, H, W) of a picture.
            **choices: Of :func:`~captum_proto.optim.visualize`. Default: 128 steps, 32 at a time
        """
        if not units:
            raise InputError("there is no unit to draw; give at least one.")
        choices = {"steps": STEPS, "batch_size": BATCH, **choices}
        key = repr((image_shape, sorted((name, repr(value)) for name, value in choices.items())))
        missing = [unit for unit in dict.fromkeys(units) if (unit, key) not in self._made]
        settings: dict[str, Any] = {}
        if missing:
            made = visualize(self._model[0], self._loss(missing), image_shape, self._model[1], **choices)
            settings = made.settings
            for row, unit in enumerate(missing):
                self._made[unit, key] = made.images[row].cpu(), float(made.activations[row]), made.seeds[row]
        images, activations, seeds = zip(*(self._made[unit, key] for unit in units), strict=True)
        return Visualizations(
            torch.stack(images), torch.tensor(activations), list(seeds), {**settings, "units": list(units)}
        )

    def _loss(self, units: Sequence[int]) -> ChannelActivation | Direction:
        if self._directions is None:
            return ChannelActivation(self._layer, list(units), self._channel_axis)
        return Direction(self._layer, self._directions[list(units)], channel_axis=self._channel_axis)


__all__ = ["BATCH", "STEPS", "UnitPictures"]
