"""The pointing game: is an attribution map highest on the object?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from captum.log import log_usage
from scipy.ndimage import distance_transform_edt
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.tables import between, percent
from captum_proto.stats.intervals import Estimate, proportion


@dataclass
class PointingGame:
    """
    How often maps point to the object.

    Attributes:
        hits (Tensor): (N,), bool: whether the highest value of each map is on the object, or no further from it than the tolerance.
        accuracy (Estimate): The share of hits, with Wilson's 95 % interval.
        chance (float): The share of all positions that would be hits: what a random point reaches.
        center (Estimate): The share for the middle of each image, where photographers have objects, with its interval.
        by_class (dict[int, Estimate]): The share of hits of each class; empty where classes were not given.
    """

    hits: Tensor
    accuracy: Estimate
    chance: float
    center: Estimate
    by_class: dict[int, Estimate]

    @property
    def class_mean(self) -> float:
        """The mean of the classes' accuracies, as the paper reports it; of all maps where classes were not given."""
        shares = [share.value for share in self.by_class.values()] or [self.accuracy.value]
        return sum(shares) / len(shares)

    def __str__(self) -> str:
        told = [
            f"{name} {percent(share.value)} ({between((share.low, share.high), percent)})"
            for name, share in (("hits", self.accuracy), ("the middle of the image", self.center))
        ]
        return f"{told[0]}; {told[1]}; a random point {percent(self.chance)}"


@log_usage()
def pointing_game(
    attributions: Tensor,
    objects: Tensor,
    tolerance: float = 15.0,
    labels: Sequence[int] | Tensor | None = None,
) -> PointingGame:
    r"""
    Play the pointing game of Zhang et al., "Top-Down Neural Attention by Excitation Backprop" (IJCV 2018, section 4.1).

    Args:
        attributions (Tensor): (N, C, H, W), summed over channels, or (N, H, W), as large as the images, such as those of
            :class:`~captum_proto.attr.grad_cam.GradCam`. A map that is constant or holds a NaN points nowhere; of several highest values,
            the first in the order of rows counts.
        objects (Tensor): (N, H, W) bool, where the object is; or boxes (N, 4), of columns and rows ``(left, top, right, bottom)`` in
            pixels, the last two not included.
        tolerance (float, optional): How many pixels beside the object still count. Default: 15, the paper's
        labels (sequence of int, optional): A class of each, for accuracies by class. Default: None

    Returns:
        PointingGame: With intervals, and what a random point and the middle of the image reach.

    Raises:
        TypeError: If a tensor is of another type.
        ValueError: If shapes do not match, or an image has no object.

    Examples::

        >>> maps = torch.zeros(2, 1, 32, 32)
        >>> maps[:, 0, 4, 6] = 1.0
        >>> game = pointing_game(maps, torch.tensor([[0, 0, 8, 8], [20, 20, 32, 32]]), tolerance=0)
        >>> game.hits.tolist(), game.accuracy.value
        ([True, False], 0.5)
    """
    if not isinstance(attributions, Tensor) or attributions.dim() not in (3, 4) or not attributions.is_floating_point():
        raise InputTypeError("attributions are no maps; expected a floating-point tensor (N, C, H, W) or (N, H, W).")
    maps = (attributions.sum(1) if attributions.dim() == 4 else attributions).detach().cpu()
    masks = _masks(objects, maps)
    if not tolerance >= 0:
        raise InputError(f"tolerance is {tolerance}; expected a number of pixels, at least 0.")
    given = None if labels is None else torch.as_tensor(labels).reshape(-1).tolist()
    if given is not None and len(given) != len(maps):
        raise InputError(f"there are {len(given)} labels for {len(maps)} maps; give one for each.")
    count, height, width = maps.shape
    near = torch.stack([_near(mask, tolerance) for mask in masks])
    flat = maps.flatten(1)
    points = ~flat.isnan().any(1) & (flat.amax(1) > flat.amin(1))
    hits = near.flatten(1)[torch.arange(count), flat.nan_to_num().argmax(1)] & points
    middle = near[:, height // 2, width // 2]
    by_class = {}
    for label in sorted(set(given or [])):
        mine = hits[torch.tensor([each == label for each in given or []])]
        by_class[label] = proportion(int(mine.sum()), len(mine))
    return PointingGame(
        hits,
        proportion(int(hits.sum()), count),
        float(near.double().mean()),
        proportion(int(middle.sum()), count),
        by_class,
    )


def _masks(objects: Tensor, maps: Tensor) -> Tensor:
    """(N, H, W) bool."""
    count, height, width = maps.shape
    if not isinstance(objects, Tensor) or tuple(objects.shape) not in ((count, 4), (count, height, width)):
        shape = f"shape {tuple(objects.shape)}" if isinstance(objects, Tensor) else f"type {type(objects).__name__}"
        raise InputError(
            f"objects has {shape}; for maps (N, H, W) = {tuple(maps.shape)} expected masks of that shape, or boxes (N, 4)."
        )
    if tuple(objects.shape) == (count, height, width) and objects.dtype == torch.bool:
        masks = objects.cpu()
    elif objects.dim() == 2:
        left, top, right, bottom = objects.cpu().T[:, :, None, None]
        rows, columns = torch.arange(height)[None, :, None], torch.arange(width)[None, None]
        masks = (columns >= left) & (columns < right) & (rows >= top) & (rows < bottom)
    else:
        raise InputTypeError(
            f"objects has dtype {objects.dtype}; expected masks of torch.bool: compare with a threshold."
        )
    empty = (~masks.flatten(1).any(1)).nonzero().flatten().tolist()
    if empty:
        raise InputError(f"image {empty[0]} has no object to point to; leave it out.")
    return masks


def _near(mask: Tensor, tolerance: float) -> Tensor:
    """Where a point is on the object, or no further from one of its pixels than the tolerance."""
    return torch.from_numpy(distance_transform_edt(~mask.numpy()) <= tolerance)


__all__ = ["PointingGame", "pointing_game"]
