"""What a unit looks for at each position of its receptive field, as a picture each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.circuits.weights import ExpandedWeights
from captum_proto.models import NamedModel
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss import Direction

#: How pictures are made where nothing else is asked for: many of them, so with fewer steps than a single one would get.
STEPS, BATCH = 64, 25


def position_icons(
    forward_func: NamedModel | nn.Module,
    expanded: ExpandedWeights,
    unit: int,
    image_shape: tuple[int, int, int],
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    inhibition: bool = False,
    at: Sequence[tuple[int, int]] | None = None,
    **choices: Any,
) -> tuple[Visualizations, list[tuple[int, int]]]:
    r"""
    A picture for each position of a receptive field: what moves the earlier layer in the direction of the weights there.

    For a position :math:`\delta` it maximizes the mean over the earlier layer's positions of :math:`a \cdot W(\delta)`, with the weights
    of one unit. How much a position matters is the length of its weights, ``expanded.of(unit).norm(dim=0)``. Of Voss et al., "Visualizing
    Weights" (Distill 2021). No position has to be in the middle, so a receptive field may be even.

    Args:
        forward_func (NamedModel or nn.Module): The model. It comes back as it was.
        expanded (ExpandedWeights): Of the unit, to all units of the earlier layer.
        unit (int): Of the later layer.
        image_shape (tuple[int, int, int]): (C, H, W) of a picture.
        preprocess (Callable, optional): From images in [0, 1] to what the model takes. Default: None, the named model's own
        inhibition (bool, optional): Whether to show what inhibits the unit in place of what excites it: the opposite direction. Default:
            False
        at (sequence of tuple[int, int], optional): Rows and columns of the receptive field. Default: None, all where a weight is not 0
        **choices: Of :func:`~captum_proto.optim.visualize`. Default: 64 steps, 25 at a time

    Returns:
        tuple[Visualizations, list[tuple[int, int]]]: The pictures, and the position of each.

    Raises:
        ValueError: If a position is not in the receptive field, or has no weight.

    Examples::

        >>> from captum_proto.circuits import expanded_weights
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 6, 3), torch.nn.ReLU(), torch.nn.Conv2d(6, 4, (2, 2)))
        >>> found = expanded_weights(model, "1", "2", (3, 16, 16))
        >>> icons, places = position_icons(model, found, 1, (3, 16, 16), steps=2)
        >>> icons.images.shape, places
        (torch.Size([4, 3, 16, 16]), [(0, 0), (0, 1), (1, 0), (1, 1)])
    """
    named = forward_func if isinstance(forward_func, NamedModel) else None
    weights = expanded.of(unit).float()
    lengths = weights.norm(dim=0)
    if at is None:
        places = [(row, column) for row, column in (lengths > 0).nonzero().tolist()]
    else:
        places = [(int(row), int(column)) for row, column in at]
    height, width = lengths.shape
    for row, column in places:
        if not (0 <= row < height and 0 <= column < width) or not float(lengths[row, column]):
            raise InputError(
                f"there is no weight at ({row}, {column}); the receptive field is {height} x {width}: choose a place in it."
            )
    if not places:
        raise InputError(
            f"the weights of unit {unit} are 0 everywhere, so there is nothing to draw; choose another unit."
        )
    if expanded.from_units != list(range(len(expanded.from_units))):
        raise InputError(
            "the weights are of some of the earlier layer's units; expand them to all, which a direction needs."
        )
    directions = torch.stack([weights[:, row, column] / lengths[row, column] for row, column in places])
    made = visualize(
        named.model if named is not None else forward_func,  # type: ignore[arg-type]  # it is a module
        Direction(expanded.from_layer, -directions if inhibition else directions),
        image_shape,
        preprocess if preprocess is not None or named is None else named.preprocess,
        **{"steps": STEPS, "batch_size": BATCH, **choices},
    )
    return made, places


__all__ = ["BATCH", "STEPS", "position_icons"]
