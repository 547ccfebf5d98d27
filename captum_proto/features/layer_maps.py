"""What a layer returns for images, as maps: its channels in front of rows and columns."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import check_images
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.model import borrowed, modules_of
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, Layer, changed_output, channel_axis, channels_first, find_output
from captum_proto.capture.selection import layer_of


@dataclass(frozen=True)
class MapLayout:
    """
    How a layer's output is read as maps.

    Attributes:
        channel_axis (int): Which axis holds the channels.
        prefix (int): So many tokens at the beginning belong to no position: the class token of a vision transformer.
        shape (tuple[int, int]): Rows and columns.
    """

    channel_axis: int
    prefix: int
    shape: tuple[int, int]

    def maps(self, values: Tensor) -> Tensor:
        """What the layer returned (N, ...) as (N, C, H, W)."""
        values = channels_first(values, self.channel_axis)
        if values.dim() == 3:
            values = values[:, :, self.prefix :].reshape(*values.shape[:2], *self.shape)
        return values

    def returned(self, maps: Tensor, like: Tensor) -> Tensor:
        """Maps (N, C, H, W) as the layer returns them; what belongs to no position is that of ``like``."""
        values = channels_first(like, self.channel_axis).clone()
        if values.dim() == 3:
            values[:, :, self.prefix :] = maps.flatten(2)
        else:
            values = maps
        return values.movedim(1, self.channel_axis)


class MappedLayer:
    """
    A layer whose output has positions in rows and columns, in the model it belongs to.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module): As :func:`~captum_proto.capture.capture` names it. Without ``#k``, the last call of a pass.
        preprocess (Callable, optional): From images in their range to what ``forward_func`` takes. Default: None
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Attributes:
        name (str): Of the layer.
        module (nn.Module): The layer.
        call (int, optional): Which call of it was asked for; None: the last.
        pipeline (Pipeline): From images to the model's output.

    Raises:
        ValueError: If the model has no such layer.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        self.forward_func, self.channel_axis = forward_func, channel_axis
        self.name, self.module, self.call, self.path = find_output(forward_func, layer)
        self.pipeline = Pipeline(forward_func, preprocess)

    def images(self, images: Any) -> Tensor:
        """Images (N, C, H, W) as the model takes them before preprocessing, one (C, H, W) as a batch of one."""
        if isinstance(images, Tensor) and images.dim() == 3:
            images = images.unsqueeze(0)
        return check_images(images).detach().to(self.pipeline.device, self.pipeline.image_dtype)

    def returned(self, images: Tensor) -> tuple[Tensor, str]:
        """What the layer returns for images in its last call, without gradient, and the name of just that call."""
        parts = Halving(self.pipeline.device).whole(len(images), lambda rows: self._returned(images[rows]))
        return torch.cat([value for value, _ in parts]), parts[0][1]

    def _returned(self, images: Tensor) -> tuple[Tensor, str]:
        kept: list[Tensor] = []
        recording = changed_output(
            self.forward_func, self.name or self.module, lambda value: kept.append(value.clone())
        )
        with borrowed(self.forward_func), torch.no_grad(), recording:
            self.run(images)
        if not kept:
            raise InputError(
                f'"{self.name}" returned no tensor in a forward pass, or did not run; expected a layer that returns one for each image.'
            )
        value, last = kept[-1], len(kept) - 1
        if value.dim() < 2 or len(value) != len(images):
            raise InputError(
                f'"{self.name}" returned shape {tuple(value.shape)} for {len(images)} images; expected one entry for each of them: choose '
                "another layer."
            )
        return value, self._call_name(last)

    def _call_name(self, last: int) -> str:
        if self.call is not None or not last:
            return self.name
        layer = layer_of(self.name, self.call, self.path)
        return f"{layer}#{last}{self.name.removeprefix(layer)}"

    def run(self, images: Tensor) -> Any:
        """The model's output; of images that it does not take, a sentence."""
        try:
            return self.pipeline(images)
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the model does not take images of shape {tuple(images.shape[1:])} ({reason}); give them in the shape it was made for."
            ) from error

    def layout(self, value: Tensor, images: Tensor) -> MapLayout:
        """
        How what the layer returned is read as maps.

        Raises:
            InputError: If it has no positions in rows and columns; says which layer has.
        """
        axis = channel_axis(self.module, tuple(value.shape)) if self.channel_axis is None else self.channel_axis
        positions = tuple(channels_first(value, axis).shape[2:])
        if len(positions) == 2:
            return MapLayout(axis, 0, (positions[0], positions[1]))
        if len(positions) == 1:
            for prefix in (0, 1):
                side = math.isqrt(positions[0] - prefix)
                if side > 1 and side * side == positions[0] - prefix:
                    return MapLayout(axis, prefix, (side, side))
        raise InputError(
            f'"{self.name}" returns shape {tuple(value.shape)}, which has no positions in rows and columns; {self._which_has(images)}'
        )

    def _which_has(self, images: Tensor) -> str:
        for owner in modules_of(self.forward_func):
            shapes = {output.name: output.shape for output in Capture(owner, self.pipeline, images[:1]).outputs}
            with_maps = [name for name, shape in shapes.items() if len(shape) == 3 and min(shape[1:]) > 1]
            if with_maps:
                returns = ", ".join(map(str, ("N", *shapes[with_maps[-1]])))
                return f'choose a layer that has, such as "{with_maps[-1]}", which returns ({returns}).'
        return "no layer of this model has them."

    def maps(self, images: Tensor) -> tuple[Tensor, MapLayout]:
        """What the layer returns for images as maps (N, C, H, W), without gradient."""
        value, _ = self.returned(images)
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise InputError(
                f'"{self.name}" returned {value.dtype} values that are not all finite; expected finite floating-point numbers.'
            )
        layout = self.layout(value, images)
        return layout.maps(value), layout


__all__ = ["MapLayout", "MappedLayer"]
