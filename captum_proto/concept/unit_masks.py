"""Where the units of a layer fire, as masks of one bit a pixel."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, Layer, channel_axis, channels_first
from captum_proto.concept.dataset import Concept, ConceptDataset, digest_of
from captum_proto.concept.packed import PackedMasks, packed
from captum_proto.ops.firing import firing

#: The category that units stand in, where masks of concepts have theirs.
UNIT = "unit"


@in_plain_modes
def pack_units(
    forward_func: nn.Module,
    layer: Layer,
    thresholds: Tensor,
    dataset: ConceptDataset,
    image_size: tuple[int, int],
    folder: str | os.PathLike[str],
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    size: tuple[int, int] = (112, 112),
    align_corners: bool = False,
    batch_size: int = 32,
    overwrite: bool = False,
    show_progress: bool = False,
) -> PackedMasks:
    """
    Write where each unit of a layer fires on each image, in one pass.

    Args:
        forward_func (nn.Module): The model. It comes back as it was.
        layer (str or nn.Module): Whose output is a map (N, U, h, w).
        thresholds (Tensor): (U,): above it a unit fires, such as a :class:`~captum_proto.concept.LayerDissection` has them.
        dataset (ConceptDataset): Whose images.
        image_size (tuple[int, int]): Rows and columns at which the model takes them.
        folder (str or Path): Where to.
        preprocess (Callable, optional): From images in [0, 1] to what the model takes. Default: None
        size (tuple[int, int], optional): Of the masks. Default: (112, 112)
        align_corners (bool, optional): As in :func:`captum_proto.ops.unit_concept_counts`, whose pixels these are. Default: False
        batch_size (int, optional): Images at a time. Default: 32
        overwrite (bool, optional): Whether masks that are there may be replaced. Default: False
        show_progress (bool, optional): Whether to show a progress bar. Default: False

    Returns:
        PackedMasks: Unit u has label u + 1.

    Raises:
        ValueError: If the layer has no map, or thresholds are of other units.
    """
    check_int(batch_size, "batch_size", 1)
    pipeline = Pipeline(forward_func, preprocess)

    def images(first: int) -> Tensor:
        last = min(first + batch_size, len(dataset))
        shown = torch.stack([dataset.image(index, image_size) for index in range(first, last)])
        return shown.to(pipeline.device, pipeline.image_dtype)

    plan = Capture(forward_func, pipeline, images(0)[:1], [layer])
    output = plan.outputs[-1]
    axis = channel_axis(plan.modules[output.layer], (1, *output.shape))
    shape = channels_first(torch.empty((1, *output.shape), device="meta"), axis).shape[1:]
    if len(shape) != 3 or thresholds.shape != (shape[0],):
        raise InputError(
            f'layer "{output.name}" returns shape (N, {", ".join(map(str, shape))}), and thresholds have shape {tuple(thresholds.shape)}; '
            "expected a map (N, U, h, w) and (U,)."
        )

    def each() -> Iterator[tuple[NDArray[np.int16], NDArray[np.uint64]]]:
        halving = Halving(pipeline.device)

        def maps_of(given: Tensor) -> Tensor:
            kept: list[Tensor] = []
            plan.run(given, lambda _, value: kept.append(channels_first(value, axis).detach().cpu().clone()))
            return kept[-1]

        for first in range(0, len(dataset), batch_size):
            for maps in itertools.chain.from_iterable(halving.of(images(first), maps_of)):
                fires = firing(maps, thresholds.cpu().double(), size, align_corners)
                there = fires.flatten(1).any(1).nonzero().flatten()
                yield (there + 1).numpy().astype(np.int16), packed(fires[there].numpy())

    units = [Concept(f"unit {unit}", UNIT) for unit in range(shape[0])]
    digest = digest_of(
        [dataset.digest(), output.name, thresholds.tolist(), list(image_size), list(size), align_corners]
    )
    return PackedMasks.write(each(), len(dataset), units, digest, folder, size, overwrite, show_progress)


__all__ = ["pack_units"]
