"""What a layer of a network makes of images: its activations with channels in front, and these pooled over positions."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import resize

from captum_proto._utils.checks import check_images, check_int, nearest
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import fingerprint
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, Layer, channel_axis, channels_first, find_layer, find_output
from captum_proto.models.named import NamedModel

#: Ways to make one number of a channel's values at all positions.
POOLS = ("max", "mean")


def pooled(values: Tensor, pool: str) -> Tensor:
    """
    The largest or the mean value over positions.

    Args:
        values (Tensor): (..., P).
        pool (str): "max" or "mean".

    Returns:
        Tensor: (...).

    Raises:
        ValueError: If ``pool`` is something else.
    """
    if pool not in POOLS:
        raise InputError(f'pool is "{pool}"{nearest(str(pool), POOLS) or "; expected one of max, mean."}')
    return values.amax(-1) if pool == "max" else values.mean(-1)


class LayerActivations:
    """
    A function from images to what one layer returns, channels in front of positions.

    Args:
        model (NamedModel or nn.Module): A model, with its preprocessing where it is named. It is frozen and in evaluation mode for each
            call, and comes back as it was.
        layer (str or nn.Module, optional): As :func:`~captum_proto.capture.capture` names it. Default: None, what the last linear layer
            takes in, the features that the classes are told by
        preprocess (Callable, optional): From images in [0, 1] to the model's input. Default: None, the named model's own
        image_shape (tuple[int, int, int], optional): Images of another height and width are resized to it, antialiased. Default: None, the
            named model's own; of another model, images are taken as they are
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer
        batch_size (int, optional): Images at a time. Default: 32

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU())
        >>> LayerActivations(model, "1")(torch.rand(2, 3, 12, 12)).shape
        torch.Size([2, 8, 64])
    """

    def __init__(
        self,
        model: NamedModel | nn.Module,
        layer: Layer | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        image_shape: tuple[int, int, int] | None = None,
        channel_axis: int | None = None,
        batch_size: int = 32,
    ) -> None:
        named = model if isinstance(model, NamedModel) else None
        self.model: nn.Module = named.model if named else model  # type: ignore[assignment]  # it is one of the two
        self.name = named.name if named else type(model).__name__
        self.preprocess = named.preprocess if named and preprocess is None else preprocess
        self.image_shape = named.image_shape if named and image_shape is None else image_shape
        self.channel_axis, self.batch_size = channel_axis, check_int(batch_size, "batch_size", 1)
        self._pipeline = Pipeline(self.model, self.preprocess)
        self._layer = layer if layer is None else find_output(self.model, layer)[0]
        self._plan: Capture | None = None

    def layer_for(self, images: Tensor) -> str:
        """The name of the layer; where none was asked for, a pass over the first image tells which it is."""
        if self._layer is None:
            self._layer = _before_last_linear(self.model, self._pipeline, self._sized(images[:1]))
        return self._layer

    def __call__(self, images: Tensor) -> Tensor:
        """
        The layer's activations.

        Args:
            images (Tensor): (N, C, H, W), before preprocessing.

        Returns:
            Tensor: (N, C, P), float32 or float64, on the CPU, P being 1 where the layer has no positions.

        Raises:
            ValueError: If the layer does not run, or gives no floating-point tensor per image.
        """
        return self.with_output(images)[0]

    @in_plain_modes
    def with_output(self, images: Tensor) -> tuple[Tensor, list[Any]]:
        """
        The layer's activations and what the model returned, from the same pass.

        Args:
            images (Tensor): (N, C, H, W), before preprocessing.

        Returns:
            tuple[Tensor, list]: The activations, as a call gives them, and the model's output of each batch, where the model left it.

        Raises:
            ValueError: If the layer does not run, or gives no floating-point tensor per image.
        """
        check_images(images, None)
        halving = Halving(self._pipeline.device)
        parts: list[tuple[Tensor, Any]] = []
        for batch in torch.split(images.detach(), self.batch_size):
            parts += halving.of(batch, self._of_part)
        return torch.cat([units for units, _ in parts]), [output for _, output in parts]

    def _of_part(self, images: Tensor) -> tuple[Tensor, Any]:
        sized = self._sized(images)
        plan, name = self._planned(sized), self.layer_for(sized)
        module, found = find_output(self.model, name)[1], list[Tensor]()

        def keep(index: int, value: Tensor) -> None:
            if plan.names[index] != _captured(name):
                return
            axis = channel_axis(module, tuple(value.shape)) if self.channel_axis is None else self.channel_axis
            units = channels_first(value, axis).detach()
            units = units if units.dtype == torch.float64 else units.float()
            found.append(units.reshape(*units.shape[:2], -1).cpu().clone())

        output = plan.run(sized, keep)
        return torch.cat(found), output

    def settings(self) -> dict[str, Any]:
        """What it is, as JSON can hold it."""
        return {"model": self.name, "fingerprint": fingerprint(self.model), "layer": self._layer}

    def _sized(self, images: Tensor) -> Tensor:
        images = images.to(self._pipeline.device, self._pipeline.image_dtype)
        if self.image_shape is None or tuple(images.shape[-2:]) == tuple(self.image_shape[-2:]):
            return images
        resized: Tensor = resize(images, list(self.image_shape[-2:]), antialias=True)
        return resized

    def _planned(self, sized: Tensor) -> Capture:
        """The plan for images of this size, made when the first of them comes."""
        if self._plan is None or self._plan.image_shape != tuple(sized.shape[1:]):
            name = self.layer_for(sized)
            layer, module = find_layer(self.model, find_output(self.model, name)[1])
            self._plan = Capture(self.model, self._pipeline, sized, {layer: module}, "all" if "#" in name else "last")
            if _captured(name) not in self._plan.names:
                raise InputError(f'layer "{name}" is not among what "{layer}" returned: {", ".join(self._plan.names)}.')
        return self._plan


class PooledFeatures(LayerActivations):
    """
    A function from images to a layer's channels pooled over positions: an embedding by which images are alike or not.

    Args:
        model, layer, preprocess, image_shape, channel_axis, batch_size: As in :class:`LayerActivations`.
        pool (str, optional): "mean" or "max" over positions. Default: "mean"

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(512, 10))
        >>> embed = PooledFeatures(model, "1")
        >>> embed(torch.rand(2, 3, 12, 12)).shape
        torch.Size([2, 8])
    """

    def __init__(
        self,
        model: NamedModel | nn.Module,
        layer: Layer | None = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        pool: str = "mean",
        **choices: Any,
    ) -> None:
        super().__init__(model, layer, preprocess, **choices)
        self.pool = pool
        pooled(torch.zeros(1), pool)

    @in_plain_modes
    def with_output(self, images: Tensor) -> tuple[Tensor, list[Any]]:
        activations, outputs = super().with_output(images)
        return pooled(activations, self.pool), outputs

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "pool": self.pool}


def _captured(name: str) -> str:
    """The name of an output where all calls of a layer are kept: the first has no number."""
    return re.sub(r"#0(?=\[|$)", "", name)


def _before_last_linear(model: nn.Module, forward: Callable[[Tensor], Any], image: Tensor) -> str:
    """The leaf that returns before the last linear layer runs."""
    plan = Capture(model, forward, image, "leaf")
    linear = [
        place for place, output in enumerate(plan.outputs) if isinstance(find_layer(model, output.layer)[1], nn.Linear)
    ]
    if not linear or not linear[-1]:
        raise InputError(
            f"{type(model).__name__} has no linear layer after others, so nothing tells which features to take; name a layer, e.g. "
            f'"{plan.names[-1]}".'
        )
    return plan.names[linear[-1] - 1]


__all__ = ["POOLS", "LayerActivations", "PooledFeatures", "pooled"]
