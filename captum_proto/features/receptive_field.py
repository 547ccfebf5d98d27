"""Which pixels a unit sees: the box of those with a gradient, for one position or for all positions of a layer."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.halving import Halving
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import (
    Capture,
    Layer,
    LayerSelection,
    channel_axis,
    channels_first,
    find_layer,
    gradients_told,
)
from captum_proto.features.transparent import Transparent
from captum_proto.ops.double import double, exact_device

#: So many positions along an axis are looked at one by one; of more, some, and what they say of the others is checked.
_FEW = 8
#: So many positions of a layer whose boxes follow no rule are looked at one by one.
_MOST = 1024
#: Passes with other random images, where activation functions cannot be made transparent.
_IMAGES = 8


class Box(NamedTuple):
    """
    A part of an image: rows ``top`` to ``bottom`` and columns ``left`` to ``right``, without the last ones.

    Attributes:
        top (int): The first row.
        left (int): The first column.
        bottom (int): The row after the last.
        right (int): The column after the last.
    """

    top: int
    left: int
    bottom: int
    right: int


@in_plain_modes
def receptive_field(
    forward_func: nn.Module,
    layer: Layer,
    image_shape: Sequence[int],
    position: Sequence[int] | int | None = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    additional_forward_args: Any = None,
) -> Box:
    r"""
    The pixels that the units of a layer at one position depend on: the smallest box around all that have a gradient, clipped at the border.

    Nothing is known of architectures: gradients of all channels tell, through a network made transparent (:mod:`.transparent`), so that
    neither an inactive unit nor a lost maximum hides what is connected. Where all of an image matters, as after attention, a
    squeeze-and-excitation or a normalization over positions, the box is the whole image.

    Args:
        forward_func (nn.Module): The model. It comes back as it was.
        layer (str or nn.Module): A layer of it.
        image_shape (sequence of int): (C, H, W) of the images before preprocessing.
        position (sequence of int, optional): Of the unit, (i, j) for a map. Default: None, the middle, ``n // 2`` along each axis
        preprocess (Callable, optional): From images to what the model takes. Default: None
        additional_forward_args (any, optional): Further arguments of the model, as in Captum. Default: None

    Returns:
        Box: (top, left, bottom, right). Empty, at 0, for a unit that depends on no pixel.

    Raises:
        ValueError: If there is no such layer, or no such position in it.

    Examples::

        >>> network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, stride=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2))
        >>> receptive_field(network, "2", (3, 32, 32), (0, 1))
        Box(top=0, left=4, bottom=5, right=9)
    """
    finder = FieldFinder(forward_func, layer, image_shape, preprocess, additional_forward_args)
    (name,) = finder.names
    place = _checked(position, finder.positions[name], name)
    return Box(*finder.boxes(name, [place])[0].tolist())


class FieldFinder:
    """
    The receptive fields of layers.

    Args:
        forward_func, layers, image_shape, preprocess, additional_forward_args: As in :func:`receptive_field`, for several layers.
        batch_size (int, optional): Positions looked at in a pass. Default: 8

    Attributes:
        names (list[str]): Of the layers.
        positions (dict[str, tuple[int, ...]]): By layer, how many positions there are along each axis; () for a layer without.
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection,
        image_shape: Sequence[int],
        preprocess: Callable[[Tensor], Tensor] | None = None,
        additional_forward_args: Any = None,
        channel_axes: int | dict[str, int] | None = None,
        batch_size: int = 8,
    ) -> None:
        arguments = (
            additional_forward_args if isinstance(additional_forward_args, tuple) else (additional_forward_args,)
        )
        pipeline = Pipeline(forward_func, preprocess, () if additional_forward_args is None else arguments)
        self.image_shape = tuple(check_int(side, "a side of image_shape", 1) for side in image_shape)
        if len(self.image_shape) != 3:
            raise InputError(f"image_shape is {self.image_shape}; expected (C, H, W).")
        random = torch.Generator().manual_seed(0)
        self._images = torch.rand(_IMAGES, *self.image_shape, dtype=torch.float64, generator=random)
        self._images = self._images.to(exact_device(pipeline.device))
        self._pipeline, self._batch_size = pipeline, batch_size
        self._plan = Capture(forward_func, pipeline, self._images[:1].to(pipeline.device, pipeline.image_dtype), layers)
        self._axes: dict[str, int] = {}
        self.positions: dict[str, tuple[int, ...]] = {}
        for output in self._plan.outputs:
            shape = (1, *output.shape)
            axis = channel_axes.get(output.name) if isinstance(channel_axes, dict) else channel_axes
            if axis is None:
                axis = channel_axis(find_layer(forward_func, output.layer)[1], shape)
            self._axes[output.name] = axis
            self.positions[output.name] = tuple(channels_first(torch.empty(shape, device="meta"), axis).shape[2:])
        self.names = self._plan.names
        self._transparent = not any(isinstance(module, torch.jit.ScriptModule) for module in forward_func.modules())
        self._halving = Halving(self._pipeline.device, "position")

    def boxes(self, name: str, places: Sequence[tuple[int, ...]]) -> Tensor:
        """The boxes of some positions of a layer, (len(places), 4), each from its own gradient."""
        found = []
        for begin in range(0, len(places), self._batch_size):
            found.append(self._boxes(name, places[begin : begin + self._batch_size]))
        return torch.cat(found)

    def all_boxes(self, name: str) -> Tensor | None:
        """
        The boxes of all positions of a layer, ``(*positions, 4)`` in int32.

        Along each axis of a map, boxes usually move on by as many pixels as a step of the network: a few gradients tell it, and further
        ones check it. Where they do not agree, each position has its own gradient.

        Returns:
            Tensor: None where they follow no rule and there are more than a thousand positions.
        """
        positions = self.positions[name]
        height, width = self.image_shape[1:]
        whole = torch.tensor([0, 0, height, width], dtype=torch.int32)
        if len(positions) == 2:
            boxes = self._by_axis(name)
            if boxes is not None:
                return boxes
        places = list(itertools.product(*map(range, positions)))
        sample = [places[round(n * (len(places) - 1) / _FEW)] for n in range(_FEW + 1)]
        if bool((self.boxes(name, list(dict.fromkeys(sample))) == whole).all()):
            return whole.expand(*positions, 4).clone()
        if len(places) > _MOST:
            return None
        return self.boxes(name, places).to(torch.int32).view(*positions, 4)

    def _by_axis(self, name: str) -> Tensor | None:
        """The boxes of a map where rows of an image depend on the row of a position alone, and columns on its column."""
        rows, columns = self.positions[name]
        if not rows * columns:
            return None
        sides = self._sides(name, [_probes(rows), _probes(columns)])
        if sides is None and max(rows, columns) <= _MOST // 4:  # as where steps are fractions of a pixel
            sides = self._sides(name, [list(range(rows)), list(range(columns))])
        if sides is None:
            return None
        tall, wide = sides
        return torch.stack(
            [
                tall[:, None, 0].expand(rows, columns),
                wide[None, :, 0].expand(rows, columns),
                tall[:, None, 1].expand(rows, columns),
                wide[None, :, 1].expand(rows, columns),
            ],
            dim=-1,
        ).to(torch.int32)

    def _sides(self, name: str, probes: list[list[int]]) -> list[Tensor] | None:
        """First and last pixel of each row and of each column, from some of them; None where they follow no rule."""
        # Row and column go up together; further ones, apart from each other, check that they are independent.
        count = max(map(len, probes))
        places = [(probes[0][min(n, len(probes[0]) - 1)], probes[1][min(n, len(probes[1]) - 1)]) for n in range(count)]
        places += [(probes[0][0], probes[1][-1]), (probes[0][-1], probes[1][len(probes[1]) // 2])]
        found = self.boxes(name, places).tolist()
        sides = []
        for axis, extent in enumerate(self.positions[name]):
            measured: dict[int, tuple[int, int]] = {}
            for place, box in zip(places, found, strict=True):
                if measured.setdefault(place[axis], (box[axis], box[axis + 2])) != (box[axis], box[axis + 2]):
                    return None
            side = _ends(measured, extent, self.image_shape[1 + axis])
            if side is None or any(side[place].tolist() != list(ends) for place, ends in measured.items()):
                return None
            sides.append(side)
        return sides

    def _boxes(self, name: str, places: Sequence[tuple[int, ...]]) -> Tensor:
        """The boxes of some positions, from one pass."""
        if self._transparent:
            try:
                seen = self._all_gradients(name, places, self._images[:1], Transparent)
                if bool(seen.isfinite().all()):
                    return _around(seen != 0)
            except (RuntimeError, TypeError, ValueError) as error:
                if is_out_of_memory(error):
                    raise
                # Code of its own that takes no float64, or none of what stands for an activation function: then as it is.
                self._transparent = False
        seen = torch.zeros(len(places), *self.image_shape, dtype=torch.bool, device=self._images.device)
        for image in torch.split(self._images.to(self._pipeline.device, self._pipeline.image_dtype), 1):
            reached = self._all_gradients(name, places, image, nullcontext) != 0  # NaN too
            seen |= reached.to(seen.device)
        return _around(seen)

    def _all_gradients(
        self, name: str, places: Sequence[tuple[int, ...]], image: Tensor, mode: Callable[[], Any]
    ) -> Tensor:
        """As :meth:`_gradients`, of as many positions at a time as fit into memory."""
        parts = self._halving.whole(len(places), lambda rows: self._gradients(name, list(places)[rows], image, mode))
        return torch.cat(parts)

    def _gradients(
        self, name: str, places: Sequence[tuple[int, ...]], image: Tensor, mode: Callable[[], Any]
    ) -> Tensor:
        """The gradient of all channels at each position, with respect to an image, (len(places), C, H, W)."""
        plan, kept = self._plan, []
        wanted = plan.names.index(name)
        images = image.expand(len(places), *image.shape[1:]).clone().requires_grad_()

        def forward(batch: Tensor) -> Any:
            with mode():
                if mode is Transparent:
                    pipeline = self._pipeline
                    return pipeline.forward_func(pipeline.prepare(batch), *pipeline.additional_forward_args)
                return self._pipeline(batch)

        def keep(index: int, output: Tensor) -> None:
            if index == wanted:
                kept.append(channels_first(output, self._axes[name]).clone())

        with gradients_told(self._pipeline.forward_func):
            plan.with_forward(forward).run(images, keep, gradients=True)
        flat = [flat_place(place, self.positions[name]) for place in places]
        values = torch.stack([kept[-1][row].unsqueeze(1).flatten(1)[:, at] for row, at in enumerate(flat)])
        random = torch.Generator().manual_seed(1)
        # Of different size, so that no two channels cancel each other out as those of a layer normalization would.
        weights = 0.5 + torch.rand(values.shape[1], dtype=torch.float64, generator=random)
        weights = weights.to(exact_device(values.device))
        with torch.enable_grad():
            total = (double(values) * weights).sum()
        if not total.requires_grad:
            return torch.zeros_like(images)
        (gradient,) = torch.autograd.grad(total, images, allow_unused=True)
        return torch.zeros_like(images) if gradient is None else gradient


def flat_place(position: Sequence[int], positions: Sequence[int]) -> int:
    """Where a position is among the flattened ones."""
    return sum(place * math.prod(positions[axis + 1 :]) for axis, place in enumerate(position))


def _probes(count: int) -> list[int]:
    """Positions along an axis: both ends, the middle and between, each with its neighbor."""
    if count <= _FEW:
        return list(range(count))
    return sorted({0, 1, count // 3, count // 2, count // 2 + 1, 3 * count // 4, count - 2, count - 1})


def _ends(measured: dict[int, tuple[int, int]], count: int, extent: int) -> Tensor | None:
    """
    First pixel and the one after the last of each position along an axis, (count, 2); None where they follow no rule.

    Args:
        measured (dict[int, tuple[int, int]]): Of some positions.
        count (int): How many positions there are.
        extent (int): How many pixels: what would lie beyond is clipped.
    """
    if len(measured) == count:
        return torch.tensor([measured[place] for place in range(count)])
    lows = {place: low for place, (low, _) in measured.items() if low > 0}
    highs = {place: high for place, (_, high) in measured.items() if high < extent}
    steps = {
        (second - first) / (b - a)
        for ends in (lows, highs)
        for (a, first), (b, second) in itertools.combinations(sorted(ends.items()), 2)
    }
    if len(steps) > 1 or any(step != int(step) for step in steps):
        return None
    # Where a single end is inside the image, its neighbor's is not: it moves by more than the image goes on.
    step = int(*steps) if steps else extent
    place = torch.arange(count)
    found = torch.tensor([0, extent]).repeat(count, 1)
    if lows:
        last = max(lows)
        found[:, 0] = (lows[last] - step * (last - place)).clamp(min=0)
    if highs:
        first = min(highs)
        found[:, 1] = (highs[first] + step * (place - first)).clamp(max=extent)
    return found


def _around(seen: Tensor) -> Tensor:
    """The smallest box around what is true, (N, 4), of (N, C, H, W); all 0 where nothing is."""
    boxes = torch.zeros(len(seen), 4, dtype=torch.int64)
    for side, axes in ((0, (1, 3)), (1, (1, 2))):
        there = seen.any(axes[1]).any(axes[0]).cpu()
        found = there.any(1)
        boxes[found, side] = there[found].int().argmax(1)
        boxes[found, side + 2] = there.shape[1] - there[found].flip(1).int().argmax(1)
    return boxes


def _checked(position: Sequence[int] | int | None, positions: tuple[int, ...], name: str) -> tuple[int, ...]:
    """A position of a layer; negative ones count from the end."""
    if position is None:
        return tuple(count // 2 for count in positions)
    single = as_int(position)
    given = (single,) if single is not None else tuple(map(int, position))  # type: ignore[arg-type]
    if len(given) != len(positions) or any(
        not -count <= place < count for place, count in zip(given, positions, strict=False)
    ):
        shape = " x ".join(map(str, positions)) or "no"
        raise InputError(
            f'position is {given}, but layer "{name}" has {shape} positions; give '
            + (
                f"{len(positions)} numbers, each less than the number of positions."
                if math.prod(positions) and positions
                else "none."
            )
        )
    return tuple(place % count for place, count in zip(given, positions, strict=True))


__all__ = ["Box", "FieldFinder", "flat_place", "receptive_field"]
