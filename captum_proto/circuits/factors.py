"""A unit's weights in few factors: groups of earlier units with the same spatial pattern, each drawn as a color."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto.circuits.weights import ExpandedWeights
from captum_proto.stats.factorization import one_sided_nmf

_KIND = "weight factors"
#: The color of each factor, told apart by all kinds of eyes, from where it adds nothing, white, to its full size.
COLORS = torch.tensor([[0.84, 0.37, 0.0], [0.0, 0.45, 0.70], [0.0, 0.62, 0.45], [0.80, 0.47, 0.65], [0.90, 0.62, 0.0]])


@dataclass(frozen=True)
class WeightFactors:
    r"""
    A unit's expanded weights as a sum of few factors: :math:`W_i(\delta) \approx \sum_k c_{k,i} s_k(\delta)`.

    Attributes:
        spatial (Tensor): (K, h, w), where each factor excites and, where negative, inhibits.
        channels (Tensor): (K, I), at least 0 and of unit length: how much of each factor the earlier units are.
        error (float): The norm of what is left, as a share of that of the weights.
        shuffled_error (float): The same of weights whose entries were put in a random order: what so many factors explain of anything.
        unit (int): Of the later layer.
        from_units (list[int]): I channels of the earlier layer.
    """

    spatial: Tensor
    channels: Tensor
    error: float
    shuffled_error: float
    unit: int
    from_units: list[int]

    def strongest(self, factor: int, count: int = 4) -> list[int]:
        """
        The earlier units that a factor is most of, the first the most.

        Args:
            factor (int): Which.
            count (int, optional): How many, at most. Default: 4

        Raises:
            ValueError: If there is no such factor.
        """
        if not 0 <= factor < len(self.channels):
            raise InputError(f"factor is {factor}; there are {len(self.channels)}, counted from 0.")
        order = self.channels[factor].argsort(descending=True, stable=True)[: check_int(count, "count", 1)]
        return [self.from_units[place] for place in order.tolist()]

    def pictures(self) -> tuple[Tensor, Tensor]:
        """
        The factors as colors: where they excite, and where they inhibit, each (3, h, w) in [0, 1], white at zero and on the same scale.

        Raises:
            ValueError: If there are more factors than colors.
        """
        if len(self.spatial) > len(COLORS):
            raise InputError(
                f"there are {len(self.spatial)} factors, and {len(COLORS)} colors to show them; take fewer."
            )
        most = float(self.spatial.abs().max()) or 1.0
        colors = COLORS[: len(self.spatial)]
        found = []
        for sign in (1.0, -1.0):
            amounts = (sign * self.spatial).clamp(min=0) / most
            absorbed = torch.einsum("kyx,kc->cyx", amounts, 1 - colors)
            found.append((1 - absorbed).clamp(0, 1))
        return found[0], found[1]

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        described = {name: getattr(self, name) for name in ("error", "shuffled_error", "unit", "from_units")}
        save_tensors(path, _KIND, {"spatial": self.spatial, "channels": self.channels}, described, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> WeightFactors:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, _KIND):
            loaded = cls(
                tensors["spatial"],
                tensors["channels"],
                float(metadata["error"]),
                float(metadata["shuffled_error"]),
                int(metadata["unit"]),
                list(metadata["from_units"]),
            )
            alike("factors", len(loaded.spatial), len(loaded.channels))
            alike("earlier units", loaded.channels.shape[1], len(loaded.from_units))
            return loaded


def weight_factors(expanded: ExpandedWeights, unit: int, n_factors: int = 3) -> WeightFactors:
    r"""
    Factorize a unit's expanded weights by one-sided NMF: earlier units in positive amounts, spatial patterns of either sign.

    Of Voss et al., "Visualizing Weights" (Distill 2021): the positive and the negative part of the weights, beside each other, share their
    channel factors. Needs scikit-learn.

    Args:
        expanded (ExpandedWeights): Of the unit.
        unit (int): Of the later layer.
        n_factors (int, optional): K. Default: 3

    Returns:
        WeightFactors: The largest factor first.

    Raises:
        ValueError: If there are fewer earlier units or positions than factors, or all weights are 0.
        ImportError: If scikit-learn is not installed.

    Examples::

        >>> from captum_proto.circuits import expanded_weights
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> factors = weight_factors(expanded_weights(model, "0", "2", (3, 16, 16)), unit=1, n_factors=2)
        >>> factors.spatial.shape, factors.channels.shape, factors.error < 1
        (torch.Size([2, 3, 3]), torch.Size([2, 8]), True)
    """
    weights, count = expanded.of(unit), check_int(n_factors, "n_factors", 1)
    width, height, across = weights.shape
    if count > min(width, height * across):
        raise InputError(
            f"n_factors is {count}, but there are {width} earlier units at {height * across} positions; give at most "
            f"{min(width, height * across)}."
        )
    rows = weights.flatten(1).T.double().numpy()
    if not rows.any():
        raise InputError(f"the weights of unit {unit} are 0 everywhere, so there are no factors; choose another unit.")
    spatial, channels, error = one_sided_nmf(rows, count)
    lengths = np.linalg.norm(channels, axis=1)
    channels, spatial = channels / np.where(lengths > 0, lengths, 1.0)[:, None], spatial * lengths
    shuffled = np.random.default_rng(0).permutation(rows.ravel()).reshape(rows.shape)
    order = np.argsort(-np.linalg.norm(spatial, axis=0), kind="stable")
    maps = torch.from_numpy(spatial[:, order].T.copy()).float().view(count, height, across)
    return WeightFactors(
        maps,
        torch.from_numpy(channels[order].copy()).float(),
        error,
        one_sided_nmf(shuffled, count)[2],
        int(unit),
        expanded.from_units,
    )


__all__ = ["COLORS", "WeightFactors", "weight_factors"]
