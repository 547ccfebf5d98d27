"""The mean sorted activations of natural images of a class, channel by channel, as a state that can be summed, saved and loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from captum_proto._utils.files import alike
from captum_proto.capture import channels_first
from captum_proto.metrics.layer_moments import LayerMoments
from captum_proto.metrics.reference import ActivationSums
from captum_proto.ops.double import double, exact

#: How many values are compared at once: memory stays flat however many images come in a batch.
_VALUES = 2**22
#: A layer is the same for all images if they are apart by less than this share of its mean square: what rounding in float32 makes of it.
_CONSTANT = 1e-12


def by_channel(rows: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """
    A layer's rows with channels in front of all positions.

    Args:
        rows (Tensor): (N, D).
        shape (tuple[int, ...]): Of one image's output.
        axis (int): Which axis of it holds the channels, counted from the end: -1 for tokens (T, C), -3 for maps (C, H, W).

    Returns:
        Tensor: (N, C, P); P is 1 where there are no positions.
    """
    values = rows.reshape(len(rows), *(shape or (1,)))
    return channels_first(values, axis).unsqueeze(-1).flatten(2)


@dataclass
class SortedReference(ActivationSums):
    r"""
    Sums of every layer's sorted activations over natural images: all that sorted path similarity needs to know of them.

    8 bytes for each activation of one image, whatever the number of images.

    Attributes:
        layers, pixel_sum, shapes, digests, model, repeat, alias, skipped: As in :class:`~captum_proto.PathReference`.
        sums (list[Tensor]): For each layer (C · P,), float64: of every channel the sorted activations over positions, least first.
        squares (list[Tensor]): For each layer (C,), float64: of every channel the mean square over positions.
        axes (list[int]): For each layer which axis of its output holds the channels, counted from the end.
    """

    squares: list[Tensor] = field(kw_only=True)
    axes: list[int] = field(kw_only=True)
    _natural: dict[int, float] = field(default_factory=dict, repr=False, init=False)

    _kind: ClassVar[str] = "sorted path reference"
    _common: ClassVar[tuple[str, ...]] = (*ActivationSums._common, "axes")
    _summed: ClassVar[tuple[str, ...]] = ("sums", "squares")
    _described: ClassVar[tuple[str, ...]] = (*ActivationSums._described, "axes")

    @property
    def without(self) -> float:
        """
        By how much the squared distance of one of the images grows when it is left out of the mean: from the mean of the others it is
        n/(n - 1) times as far as from the mean of all.
        """
        return (self.count / (self.count - 1)) ** 2

    def channels(self, layer: int) -> int:
        """How many channels a layer has."""
        return (self.shapes[layer] or (1,))[self.axes[layer]]

    def quantiles(self, layer: int) -> Tensor:
        """A layer's mean quantile function: the mean sorted activations of each channel, (C, P) in float64."""
        channels = self.channels(layer)
        return (self.sums[layer] / self.count).view(channels, len(self.sums[layer]) // max(1, channels))

    def natural_distance(self, layer: int) -> float:
        r"""
        The mean of the natural images' own squared distances, each from the mean of the *others*; 0 where all images are alike but for
        rounding.

        It comes from the sums alone: :math:`\bigl(\tfrac{n}{n - 1}\bigr)^2 \operatorname{mean}_{c,j} \bigl( \operatorname{mean}_I
        a_{c(j)}(I)^2 - q_c(j)^2 \bigr)`.
        """
        if layer not in self._natural:
            square = float(self.squares[layer].mean()) / self.count
            apart = square - float(self.quantiles(layer).square().mean())
            self._natural[layer] = self.without * apart if apart > _CONSTANT * square else 0.0
        return self._natural[layer]

    def sort(self, layer: int, x: Tensor) -> Tensor:
        """The rows of a layer's output (N, D) sorted by channel, (N, C · P)."""
        return by_channel(x, self.shapes[layer], self.axes[layer]).sort(-1).values.flatten(1)

    def squared_distance(self, layer: int, x: Tensor, leave_one_out: bool = False) -> Tensor:
        """
        The squared 2-Wasserstein distance of each row's activations from the mean quantile function, the mean over channels.

        Args:
            layer (int): Index of the layer.
            x (Tensor): (N, C · P), sorted, as :meth:`sort` gives it.
            leave_one_out (bool, optional): Whether the rows are part of the sums, and compared with the mean of the *others*.
                Default: False

        Returns:
            Tensor: (N,), float64, in the square of the activations' unit.
        """
        x = exact(x)
        self._move(layer, x.device)
        mean = self.sums[layer] / self.count
        found = [
            (rows.to(torch.float64) - mean).square().mean(1)
            for rows in torch.split(x, max(1, _VALUES // max(1, x.shape[1])))
        ]
        return torch.cat(found) * (self.without if leave_one_out else 1.0)

    def distance(self, layer: int, x: Tensor, leave_one_out: bool = False) -> Tensor:
        """The same of a layer's own output (N, D), in units of :meth:`natural_distance`: (N,), NaN where that is zero."""
        unit = self.natural_distance(layer)
        parts = torch.split(x, max(1, _VALUES // max(1, x.shape[1])))
        squared = torch.cat([self.squared_distance(layer, self.sort(layer, rows), leave_one_out) for rows in parts])
        return squared / unit if unit else torch.full_like(squared, torch.nan)

    def is_alike(self, layer: int, other: int) -> bool:
        """Whether two layers have equal sums, as a container and its last child."""
        return self.axes[layer] == self.axes[other] and super().is_alike(layer, other)

    def _check(self) -> None:
        alike("layers", len(self.layers), len(self.axes))
        for index, name in enumerate(self.layers):
            alike(f"channels of {name}", len(self.squares[index]), self.channels(index))


class SortedSums:
    """
    The sums of a :class:`SortedReference`, batch by batch.

    Args:
        shapes (list[tuple[int, ...]]): For each layer the shape of one image's output.
        axes (list[int]): For each layer which axis of it holds the channels, counted from the end.
    """

    def __init__(self, shapes: list[tuple[int, ...]], axes: list[int]) -> None:
        self.shapes, self.axes = shapes, axes
        self.sums = LayerMoments(len(shapes), self._sorted, self._like)
        self.squares = LayerMoments(len(shapes), self._squared, self._like)

    def batch(self) -> list[Callable[[int, Tensor], None]]:
        """What to call, one after the other, with each layer's index and its output for one further batch."""
        return [self.sums.batch(), self.squares.batch()]

    def _sorted(self, index: int, rows: Tensor) -> Tensor:
        return by_channel(rows, self.shapes[index], self.axes[index]).sort(-1).values.flatten(1)

    def _squared(self, index: int, rows: Tensor) -> Tensor:
        return double(by_channel(rows, self.shapes[index], self.axes[index])).square().mean(-1)

    def _like(self, index: int, other: int) -> bool:
        return (self.shapes[index], self.axes[index]) == (self.shapes[other], self.axes[other])


__all__ = ["SortedReference", "SortedSums", "by_channel"]
