"""
Where each image of a batch is in what a layer returns.

Shapes tell which axis grows with the batch. Where that axis holds more than the images, such as windows, crops, views or steps of a
sequence, shapes do not tell whose row is whose: windows of one image usually lie together, while ``torch.cat([x, x.flip(3)])`` and
sequences with time first have a row of every image, then the next row of every image. Then values tell: different images are shown to
the model one by one and together, and the order is the one in which both say the same.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.halving import few_have_to_fit
from captum_proto._utils.model import borrowed
from captum_proto.capture.hooks import hooked, in_numbers, tensors_in
from captum_proto.ops.double import double, exact_device

#: One tensor that a model's layers return in a pass: the layer, which call of it, and the keys from there.
Key = tuple[str, int, tuple[Any, ...]]

#: By how many random projections the rows of an output are known.
_PROJECTIONS = 4
#: An order is the right one if, so read, images together differ from images alone by less than this share of what they differ by.
_SHARE = 0.25
#: Images that differ by less than so many roundings look alike.
_ROUNDINGS = 32


@dataclass(frozen=True)
class Layout:
    """
    How a layer's output holds the images of a batch.

    Attributes:
        shape (tuple[int, ...]): Of one image, batch axis left out; what shares that axis comes first.
        batch_axis (int): Where the batch is.
        dtype (torch.dtype): Of the tensor.
        outer (int): Into how many blocks, each with rows of every image, the batch axis is parted: 1 where all rows of an image lie
            together.
    """

    shape: tuple[int, ...]
    batch_axis: int
    dtype: torch.dtype
    outer: int = 1

    def images(self, value: Tensor, batch: int) -> Tensor:
        """The tensor in its own shape, batch first: (N, …). What shares the batch axis, as windows do in Swin, goes to its image."""
        if self.batch_axis:
            value = value.movedim(self.batch_axis, 0)
        if self.outer > 1:
            value = value.reshape(self.outer, batch, -1, *value.shape[1:]).movedim(1, 0)
        return value.reshape(batch, *self.shape)

    def rows(self, value: Tensor, batch: int) -> Tensor:
        """The tensor as one flat row per image: (N, D)."""
        return self.images(value, batch).reshape(batch, -1)


def find_layouts(
    model: Callable[..., Any],
    forward: Callable[[Tensor], Any],
    image: Tensor,
    modules: Mapping[str, nn.Module],
    watching: Callable[..., contextlib.AbstractContextManager[None]] = hooked,
) -> dict[Key, Layout | str]:
    """
    How each output of some layers holds the images of a batch.

    Args:
        model (Callable): Frozen for the duration.
        forward (Callable): Runs it on a batch of images.
        image (Tensor): One image, (1, ...), of the size to come.
        modules (mapping[str, nn.Module]): The layers by name.
        watching (Callable, optional): Another way of watching them than :func:`hooked`, with its arguments. Default: that one

    Returns:
        dict[Key, Layout or str]: In the order in which the layers return. A string is the reason why an output does not hold images.
    """

    def watch(images: Tensor, read: Callable[[Key, Any], Any]) -> dict[Key, Any]:
        seen: dict[Key, Any] = {}

        def on_return(name: str, call: int, value: Any) -> None:
            for path, leaf in tensors_in(value):
                seen[name, call, path] = read((name, call, path), leaf)

        with few_have_to_fit(image.device), torch.no_grad(), borrowed(model), watching(modules, on_return):
            forward(images.clone())  # the model may work in place
        return seen

    def outline(_key: Key, leaf: Any) -> Any:
        leaf = in_numbers(leaf)
        return leaf.to("meta") if isinstance(leaf, Tensor) else leaf  # without storage: only its shape and dtype matter

    alone, doubled = watch(image, outline), watch(torch.cat([image, image]), outline)
    found = {key: _by_shape(single, doubled.get(key)) for key, single in alone.items()}
    shared = {
        key: layout
        for key, layout in found.items()
        if isinstance(layout, Layout) and alone[key].shape[layout.batch_axis] > 1
    }
    if shared:
        longest = max(math.prod(layout.shape[1:]) for layout in shared.values())
        random = torch.Generator().manual_seed(0)
        directions = torch.randn(longest, _PROJECTIONS, dtype=torch.float64, generator=random)
        directions = directions.to(exact_device(image.device))

        def rows(key: Key, leaf: Any) -> Tensor | None:
            layout = shared.get(key)
            return _projected(in_numbers(leaf), layout, directions) if layout and isinstance(leaf, Tensor) else None

        images = _different_images(image)
        one_by_one = [watch(each, rows) for each in torch.split(images, 1)]
        together = watch(images, rows)
        orders = {
            key: _orders([seen.get(key) for seen in one_by_one], together.get(key), layout)
            for key, layout in shared.items()
        }
        found |= _by_values(shared, orders)
    return found


def _by_shape(single: Any, double: Any) -> Layout | str:
    """What the shapes of an output for one image and for two say."""
    if not isinstance(single, Tensor) or not isinstance(double, Tensor):
        return f"a {type(single).__name__}, no tensor"
    if not single.is_floating_point():
        return f"{single.dtype} is not floating point"
    axis = _batch_axis(single.shape, double.shape)
    if axis is None:
        return f"shape {tuple(single.shape)} has no batch axis"
    # Several windows of one image may share the batch axis; what is left of it belongs to the image.
    windows = single.shape[axis : axis + 1] if single.shape[axis] > 1 else ()
    return Layout((*windows, *single.shape[:axis], *single.shape[axis + 1 :]), axis, single.dtype)


def _batch_axis(single: torch.Size, double: torch.Size) -> int | None:
    """The axis that doubled when the batch did."""
    if len(single) != len(double):
        return None
    changed = [axis for axis, (a, b) in enumerate(zip(single, double, strict=True)) if a != b]
    return changed[0] if len(changed) == 1 and double[changed[0]] == 2 * single[changed[0]] else None


def _different_images(image: Tensor) -> Tensor:
    """The image, its values in another order and darker, and noise in its range: three that few layers take for the same."""
    random = torch.Generator().manual_seed(0)  # one of its own: the caller's random numbers stay as they are
    values = image.flatten()
    others = [values[torch.randperm(len(values), generator=random).to(image.device)] for _ in range(2)]
    if image.is_floating_point():
        low, high = min(float(image.min()), 0.0), max(float(image.max()), 1.0)
        noise = low + (high - low) * torch.rand(len(values), dtype=torch.float64, generator=random)
        others = [low + (others[0] - low) / 2, noise.to(image.device, image.dtype)]
    return torch.cat([image, *(other.view_as(image) for other in others)])


def _projected(value: Tensor, layout: Layout, directions: Tensor) -> Tensor | None:
    """What each row of an output is known by, (rows, projections) in float64: whole activations need not be kept."""
    length = math.prod(layout.shape[1:])
    if value.dim() != len(layout.shape) or value.numel() != value.shape[layout.batch_axis] * length:
        return None  # another shape than for the image given
    rows = double(value.movedim(layout.batch_axis, 0).reshape(-1, length)).nan_to_num(0.0, 0.0, 0.0)
    return rows @ directions[:length].to(rows.device)


def _orders(one_by_one: list[Tensor | None], together: Tensor | None, layout: Layout) -> list[int]:
    """The numbers of blocks with which rows of images together are those of the images one by one; several where these look alike."""
    known = [rows for rows in one_by_one if rows is not None]
    count, parts = len(one_by_one), layout.shape[0]
    if len(known) < count or any(len(rows) != parts for rows in known) or together is None:
        return []
    if len(together) != count * parts:
        return []
    alone = torch.stack(known)
    differ, scale = _size(alone - alone.roll(1, 0)), _size(alone)
    possible = [outer for outer in range(1, parts + 1) if parts % outer == 0]
    if differ <= _ROUNDINGS * torch.finfo(layout.dtype).eps * scale:
        return possible
    reading = (
        together.reshape(outer, count, -1, _PROJECTIONS).movedim(1, 0).reshape(alone.shape) for outer in possible
    )
    return [outer for outer, read in zip(possible, reading, strict=True) if _size(read - alone) <= _SHARE * differ]


def _size(values: Tensor) -> float:
    return float(values.square().mean().sqrt())


def _by_values(shared: Mapping[Key, Layout], orders: Mapping[Key, list[int]]) -> dict[Key, Layout | str]:
    """
    Layouts with the order that values say.

    A layer that gives the same for all images, as a dead one, says nothing. Order changes from layer to layer only where something in
    between rearranges the rows, so it has that of the nearest layer that says one, of as many rows.
    """
    keys = list(shared)
    told = {place: orders[key][0] for place, key in enumerate(keys) if len(orders[key]) == 1}
    found: dict[Key, Layout | str] = {}
    for place, key in enumerate(keys):
        layout, possible = shared[key], orders[key]
        near = [other for other in told if shared[keys[other]].shape[0] == layout.shape[0] and told[other] in possible]
        if near:
            outer = told[min(near, key=lambda other: abs(other - place))]
            found[key] = Layout(layout.shape, layout.batch_axis, layout.dtype, outer)
        elif possible:
            found[key] = f"three images give the same {layout.shape[0]} rows each, so whose is whose cannot be told"
        else:
            found[key] = (
                f"for several images its rows are not, in any order, the {layout.shape[0]} that it gives for each image alone"
            )
    return found


__all__ = ["Key", "Layout", "find_layouts"]
