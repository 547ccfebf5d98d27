"""The images that excite a unit most, and where on them it fires: what descriptions of the unit are of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, Layer, channel_axis, channels_first
from captum_proto.features import LayerExamples
from captum_proto.ops.firing import firing


@dataclass(frozen=True)
class Exemplars:
    """
    What excites a unit.

    Attributes:
        unit (int): Its channel.
        images (Tensor): (k, C, H, W) in [0, 1], the most exciting first.
        masks (Tensor): (k, H, W), bool: where the unit fires.
    """

    unit: int
    images: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.images)


def firing_on(
    forward_func: nn.Module,
    layer: Layer,
    unit: int,
    threshold: float,
    images: Tensor,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    align_corners: bool = False,
) -> Tensor:
    """
    Where a unit fires on some images, at their size.

    Args:
        forward_func (nn.Module): The model. It comes back as it was.
        layer (str or nn.Module): Whose output is a map.
        unit (int): Its channel.
        threshold (float): Above which it fires.
        images (Tensor): (N, C, H, W) in [0, 1].
        preprocess (Callable, optional): From images to what the model takes. Default: None
        align_corners (bool, optional): As in :func:`captum_proto.ops.unit_concept_counts`. Default: False

    Returns:
        Tensor: (N, H, W), bool.

    Raises:
        ValueError: If the layer has no map or no such unit.
    """
    pipeline = Pipeline(forward_func, preprocess)
    given = images.to(pipeline.device, pipeline.image_dtype)
    plan = Capture(forward_func, pipeline, given[:1], [layer])
    output = plan.outputs[-1]
    axis = channel_axis(plan.modules[output.layer], (1, *output.shape))

    def maps_of(rows: slice) -> Tensor:
        kept: list[Tensor] = []
        plan.run(given[rows], lambda _, value: kept.append(channels_first(value, axis).detach().clone()))
        return kept[-1]

    maps = torch.cat(Halving(pipeline.device).whole(len(given), maps_of))
    if maps.dim() != 4 or not 0 <= unit < maps.shape[1]:
        raise InputError(
            f'layer "{output.name}" returns shape (N, {", ".join(map(str, maps.shape[1:]))}); expected a map with a unit {unit}.'
        )
    limits = torch.full((len(images),), float(threshold), dtype=torch.float64)
    return firing(maps[:, unit].cpu(), limits, (images.shape[2], images.shape[3]), align_corners)


def exemplars_of(
    forward_func: nn.Module,
    examples: LayerExamples,
    unit: int,
    image_of: Callable[[int], Tensor],
    quantile: float = 0.99,
    preprocess: Callable[[Tensor], Tensor] | None = None,
) -> Exemplars:
    """
    The exemplars of a unit, as MILAN has them: its top images, each with the part at which it is above a quantile of its activations.

    Args:
        forward_func (nn.Module): The model.
        examples (LayerExamples): Of the layer, from :class:`~captum_proto.features.TopExamples` with this quantile.
        unit (int): Its channel.
        image_of (Callable): From the number of an image to the image (C, H, W).
        quantile (float, optional): Of which level the unit fires. Default: 0.99
        preprocess (Callable, optional): From images to what the model takes. Default: None

    Raises:
        ValueError: If the examples were made without this quantile, or there is no such unit.
    """
    if quantile not in examples.levels:
        raise InputError(
            f"the examples have the quantiles {list(examples.levels)}, and not {quantile}; make them with quantiles=({quantile},)."
        )
    if not 0 <= unit < examples.units:
        raise InputError(
            f'layer "{examples.layer}" has {examples.units} units, numbered from 0; there is no unit {unit}.'
        )
    images = torch.stack([image_of(number) for number in examples.indices[unit].tolist()])
    threshold = float(examples.quantiles[unit, examples.levels.index(quantile)])
    return Exemplars(unit, images, firing_on(forward_func, examples.layer, unit, threshold, images, preprocess))


__all__ = ["Exemplars", "exemplars_of", "firing_on"]
