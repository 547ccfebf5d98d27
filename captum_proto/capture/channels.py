"""Where the channels of a layer's output are: in front of the positions, as convolutions have them, or behind, as transformers have."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import plain_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed, modules_of
from captum_proto._utils.scripted import is_scripted
from captum_proto.capture.hooks import Hook, forward_hooks, tensors_in

#: Modules whose features are the last axis, and modules whose features are the one after the batch.
_LAST = (nn.Linear, nn.RMSNorm, nn.Embedding, nn.MultiheadAttention)
_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)

#: One tensor that a module returns in a pass: which call of the module, and the keys from there.
Place = tuple[int, tuple[Any, ...]]


def channel_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """
    Which axis of a layer's output holds its channels.

    A convolution's, a batch normalization's or a pooling's channels come after the batch, a linear layer's, an attention's or a layer
    normalization's last; a block has them where the layers in it have theirs. Where nothing tells, (N, T, C) is taken for tokens and
    anything with more axes for maps (N, C, H, W); a pass through the network tells more: see :func:`channel_axes`.

    Args:
        module (nn.Module): The layer.
        shape (tuple[int, ...]): Of its output, (N, ...).

    Returns:
        int: 1, or the last axis.

    Examples::

        >>> channel_axis(torch.nn.Linear(8, 4), (2, 7, 4)), channel_axis(torch.nn.Conv1d(8, 4, 1), (2, 4, 7))
        (2, 1)
    """
    told = _told(module, shape)
    last = len(shape) - 1
    return told if told is not None else last if last <= 2 else 1


def _told(module: nn.Module, shape: Sequence[int]) -> int | None:
    """The channel axis as far as a module and the modules in it tell; None where they do not, or contradict each other."""
    last = len(shape) - 1
    if last <= 1:
        return last
    front = back = False
    for part in module.modules():
        if isinstance(part, _FIRST):
            width = getattr(
                part, "out_channels", getattr(part, "num_features", getattr(part, "num_channels", shape[1]))
            )
            front |= width == shape[1]
        elif isinstance(part, nn.LayerNorm):
            back |= part.normalized_shape == (shape[-1],) and "2d" not in type(part).__name__.lower()
        elif isinstance(part, _LAST):
            width = getattr(part, "out_features", getattr(part, "embed_dim", getattr(part, "embedding_dim", shape[-1])))
            back |= width == shape[-1]
    if front != back:
        return 1 if front else last
    return None


def channel_axes(
    model: Callable[..., Any], forward: Callable[[Tensor], Any], image: Tensor, modules: Sequence[nn.Module]
) -> dict[nn.Module, dict[Place, tuple[int, int]]]:
    """
    Which axis of what some layers return holds their channels, told from where their inputs come from.

    An activation function, a dropout or a permutation has no width of its own: one that follows a 1-d convolution has its channels where
    that has, one in a Swin or ConvNeXt block where the linear layer before it has them. A container has those of the layer whose output it
    returns.

    Args:
        model (Callable): Frozen for the duration.
        forward (Callable): Runs it on a batch of images.
        image (Tensor): One image, (1, ...).
        modules (sequence of nn.Module): Layers of the model.

    Returns:
        dict[nn.Module, dict[tuple, tuple[int, int]]]: For each layer, by call and keys, the axis and how many axes there are, as far as it
            could be told.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv1d(2, 4, 3), torch.nn.ReLU())
        >>> channel_axes(model, model, torch.rand(1, 2, 9), [model[1]])
        {ReLU(): {(0, ()): (1, 3)}}
    """
    wanted: dict[nn.Module, dict[Place, tuple[int, int]]] = {module: {} for module in modules}
    known: dict[int, tuple[int | None, Tensor]] = {}  # with the tensor, so that its address is not given to another
    calls: dict[nn.Module, int] = {}
    previous: list[Tensor] = []

    def axis_of(module: nn.Module, inputs: tuple[Any, ...], value: Tensor) -> int | None:
        if id(value) in known:  # a container that returns its last child's output, or a layer that works in place
            return known[id(value)][0]
        source = inputs[0] if inputs and isinstance(inputs[0], Tensor) else None
        before = source if source is not None and id(source) in known else previous[0] if previous else None
        axis = None if before is None else known[id(before)][0]
        dims = getattr(module, "dims", None)  # torchvision's Permute
        if dims is not None and axis is not None and source is before and len(dims) == value.dim():
            return [dim % value.dim() for dim in dims].index(axis)
        told = _told(module, tuple(value.shape))
        if told is None and before is not None and before.shape == value.shape:
            return axis
        return told

    def watch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        call = calls[module] = calls.get(module, -1) + 1
        for path, value in tensors_in(output):
            if isinstance(value, Tensor):
                axis = axis_of(module, inputs, value)
                known[id(value)] = axis, value
                previous[:] = [value]
                if axis is not None and module in wanted:
                    wanted[module][call, path] = axis, value.dim()

    everything = (module for owner in modules_of(model) for module in owner.modules())
    hooks: dict[nn.Module, Hook] = {module: watch for module in everything if not is_scripted(module)}
    with torch.no_grad(), borrowed(model), forward_hooks(hooks.items()):
        forward(image.clone())  # the model may work in place
    return wanted


def channels_first(values: Tensor, axis: int | None = None) -> Tensor:
    """
    A layer's output with its channels in front of its positions.

    Args:
        values (Tensor): (N, ...).
        axis (int, optional): Which axis holds the channels. Default: None, 1

    Returns:
        Tensor: ``(N, C, *positions)``, a view.

    Raises:
        ValueError: If there is no such axis, or it is the batch's.

    Examples::

        >>> channels_first(torch.zeros(2, 50, 768), -1).shape
        torch.Size([2, 768, 50])
    """
    number = 1 if axis is None else plain_int(axis)
    if not -values.dim() < number < values.dim() or number % values.dim() == 0:
        raise InputError(
            f"channel_axis is {axis} for an output of shape {tuple(values.shape)}; expected 1 to {values.dim() - 1}, or -1 for the last."
        )
    return values.movedim(number, 1)


__all__ = ["channel_axes", "channel_axis", "channels_first"]
