"""Universality: whether the units of one network are found again in another, by what they respond to on the same images."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import false_discovery_control
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors

_KIND = "unit matches"


@dataclass(frozen=True)
class UnitMatches:
    """
    For each unit of one network, the unit of another that responds most alike.

    Attributes:
        correlations (Tensor): (A, B), Pearson's, over images; NaN where a unit is the same on all of them.
        best (Tensor): (A,), the unit of the other network of greatest correlation; -1 where the unit is the same on all images.
        scores (Tensor): (A,), that correlation.
        null (Tensor): (D, A), the greatest correlations with the images of the other network in a random order, D times.
        p_values (Tensor): (A,), how often the null is as great: against the best of all B units, so that their number is accounted for.
        q_values (Tensor): (A,), after Benjamini and Hochberg over all A units.
        assigned (Tensor): (A,), the unit of the other network where each is given to one at most, for the greatest sum; -1 for none.
        images (int): How many images there were.
        settings (dict): What was compared, as JSON can hold it.
    """

    correlations: Tensor
    best: Tensor
    scores: Tensor
    null: Tensor
    p_values: Tensor
    q_values: Tensor
    assigned: Tensor
    images: int
    settings: dict[str, Any] = field(default_factory=dict)

    def found(self, level: float = 0.05) -> list[int]:
        """The units that are found again, at a false-discovery rate."""
        return [unit for unit, q in enumerate(self.q_values.tolist()) if q <= level]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        save_tensors(path, _KIND, tensors, {"images": self.images, "settings": self.settings}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> UnitMatches:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, _KIND):
            loaded = cls(**tensors, images=int(metadata["images"]), settings=dict(metadata["settings"]))
            alike("units", len(loaded.correlations), len(loaded.best), len(loaded.scores), loaded.null.shape[1])
            return loaded


def match_units(
    first: Tensor, second: Tensor, draws: int = 200, seed: int = 0, settings: dict[str, Any] | None = None
) -> UnitMatches:
    r"""
    Match the units of two networks by the correlation of their activations over the same images.

    Convergent learning as Li et al. (2016) measure it; Olah et al., "Zoom In" (Distill 2020), claim it of features. How high the best of
    many correlations is by chance is found by giving one network's images to the other in a random order, which leaves everything else as
    it is: whole images are exchanged, with all of their positions.

    Args:
        first (Tensor): (N, A) or (N, A, P): what A units of one network make of N images, at P positions, such as
            :class:`~captum_proto.models.LayerActivations` or :class:`~captum_proto.models.PooledFeatures` give.
        second (Tensor): (N, B) or (N, B, P): of the other network, of the same images and as many positions.
        draws (int, optional): D, random orders. A p-value is at least 1 / (D + 1). Default: 200
        seed (int, optional): Of these. Default: 0
        settings (dict, optional): To keep with the result. Default: None

    Returns:
        UnitMatches: On the CPU.

    Raises:
        ValueError: If the numbers of images or positions differ, there are fewer than three images, or a value is not finite.

    Examples::

        >>> first = torch.randn(60, 4, generator=torch.Generator().manual_seed(0))
        >>> matches = match_units(first, first[:, [2, 0, 3, 1]])
        >>> matches.best.tolist(), matches.found()
        ([1, 3, 0, 2], [0, 1, 2, 3])
    """
    a, b = (_checked(values, name) for values, name in ((first, "first"), (second, "second")))
    if len(a) != len(b) or a.shape[2] != b.shape[2]:
        raise InputError(
            f"first is of {len(a)} images at {a.shape[2]} positions and second of {len(b)} at {b.shape[2]}; give what both networks make "
            "of the same images, pooled to as many positions."
        )
    if len(a) < 3:
        raise InputError(f"there are {len(a)} images; a correlation needs at least 3.")
    count = check_int(draws, "draws", 1)
    a, b = _standardized(a), _standardized(b)
    correlations = _correlations(a, b)
    best, scores = _best(correlations)
    generator = torch.Generator().manual_seed(check_int(seed, "seed", 0))
    null = torch.stack(
        [_best(_correlations(a, b[torch.randperm(len(b), generator=generator)]))[1] for _ in range(count)]
    )
    known = best >= 0
    # As great but for rounding: the order in which a sum is taken is no news.
    at_least = (null >= scores - 1e-9).sum(0)
    p_values = torch.where(known, (1 + at_least).double() / (1 + count), torch.nan)
    q_values = torch.full_like(p_values, torch.nan)
    if bool(known.any()):
        q_values[known] = torch.from_numpy(false_discovery_control(p_values[known].numpy()))
    return UnitMatches(
        correlations.float(),
        best,
        scores.float(),
        null.float(),
        p_values,
        q_values,
        _assigned(correlations),
        len(a),
        dict(settings or {}),
    )


def _checked(values: Tensor, name: str) -> Tensor:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise InputTypeError(
            f"{name} is a {type(values).__name__}; expected a floating-point tensor (N, C) or (N, C, P)."
        )
    values = values.detach().cpu().double()
    values = values.unsqueeze(2) if values.dim() == 2 else values
    if values.dim() != 3 or not values.numel():
        raise InputError(f"{name} has shape {tuple(values.shape)}; expected (N, C) or (N, C, P).")
    if not bool(values.isfinite().all()):
        raise InputError(f"{name} holds NaN or infinity; expected finite activations.")
    return values


def _standardized(values: Tensor) -> Tensor:
    """Each unit with mean 0 and length 1 over images and positions; NaN where it is the same everywhere."""
    centered = values - values.mean((0, 2), keepdim=True)
    length = centered.square().sum((0, 2), keepdim=True).sqrt()
    still = (values == values[:1, :, :1]).all(2, keepdim=True).all(0, keepdim=True)
    return centered / torch.where(still, torch.nan, length)


def _correlations(a: Tensor, b: Tensor) -> Tensor:
    return a.transpose(1, 2).flatten(0, 1).T @ b.transpose(1, 2).flatten(0, 1)


def _best(correlations: Tensor) -> tuple[Tensor, Tensor]:
    """The greatest of each row and where it is; -1 and NaN where there is none."""
    scores, best = correlations.nan_to_num(-math.inf).max(1)
    known = scores > -math.inf
    return torch.where(known, best, -1), torch.where(known, scores, torch.nan)


def _assigned(correlations: Tensor) -> Tensor:
    """One partner at most for each unit, by the Hungarian method."""
    found = torch.full((len(correlations),), -1)
    values = np.nan_to_num(correlations.numpy(), nan=-2.0)
    for row, column in zip(*linear_sum_assignment(values, maximize=True), strict=True):
        if not math.isnan(float(correlations[row, column])):
            found[row] = int(column)
    return found


__all__ = ["UnitMatches", "match_units"]
