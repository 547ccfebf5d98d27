"""Where the channels of a layer's output are: in front of the positions, as convolutions have them, or behind, as transformers have."""

from __future__ import annotations

from torch import Tensor, nn

from captum_proto._utils.checks import plain_int
from captum_proto._utils.errors import InputError

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


def channel_axis(module: nn.Module, shape: tuple[int, ...]) -> int:
    """
    Which axis of a layer's output holds its channels.

    A convolution's, a batch normalization's or a pooling's channels come after the batch, a linear layer's, an attention's or a layer
    normalization's last; a block has them where the layers in it have theirs. Where nothing tells, (N, T, C) is taken for tokens and
    anything with more axes for maps (N, C, H, W).

    Args:
        module (nn.Module): The layer.
        shape (tuple[int, ...]): Of its output, (N, ...).

    Returns:
        int: 1, or the last axis.

    Examples::

        >>> channel_axis(torch.nn.Linear(8, 4), (2, 7, 4)), channel_axis(torch.nn.Conv1d(8, 4, 1), (2, 4, 7))
        (2, 1)
    """
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
    return last if last == 2 else 1


def channels_first(values: Tensor, axis: int | None = None) -> Tensor:
    """
    A layer's output with its channels in front of its positions.

    Args:
        values (Tensor): (N, ...).
        axis (int, optional): Which axis holds the channels. Default: None, 1

    Returns:
        Tensor: (N, C, *positions), a view.

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


__all__ = ["channel_axis", "channels_first"]
