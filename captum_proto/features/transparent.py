"""
A network whose every connection shows in its gradients, for the length of a block: to find what a unit depends on, not how much.

A ReLU that is off, a pixel that is not the maximum of its window, a saturated gate or two weights that cancel out hide from a gradient what
they connect. Here activation functions let everything through, maxima are means, weights are equal where they are not zero, and all is
computed in float64, so that a far corner of a deep network does not vanish.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from captum_proto._utils.activation_functions import IDENTITIES
from captum_proto._utils.mean_pool import ADAPTIVE_POOLS, MAX_POOLS, mean_pool
from captum_proto.ops.double import double, exact, exact_device

#: By name, as functions of ``torch``, ``torch.nn.functional`` and tensors share theirs; with an underscore behind it where in place.
_ACTIVATIONS = IDENTITIES | {"dropout", "hardshrink", "logsigmoid"}
_GATES = frozenset(("sigmoid", "hardsigmoid"))
_NORMALIZATIONS = frozenset(("batch_norm",))
_WEIGHTED = frozenset(
    ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d", "linear")
)
#: Masked entries of attention are some large negative number; so far below the largest, softmax gives nothing in float32.
_MASKED = 80.0


class Transparent(TorchFunctionMode):
    """Replace what hides connections, in every function of PyTorch that is called during the block."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, options = getattr(func, "__name__", ""), kwargs or {}
        plain = name.removesuffix("_")
        if plain in _ACTIVATIONS:
            # In place or not, what comes after may change it, but never what came before.
            return args[0] if name != plain or options.get("inplace") else args[0].clone()
        if plain in _GATES:
            return 0.5 + 0.5 * nn.functional.softsign(double(args[0]))
        args, options = _in_double(name, args), _in_double(name, options)
        if name in _WEIGHTED:
            return _connected(func, *args, **options)
        if name in _NORMALIZATIONS:
            return _scaled(*args, **options)
        if name in MAX_POOLS:
            mean = mean_pool(func, MAX_POOLS[name], *args, **options)
            return (mean, func(*args, **options)[1]) if name.endswith("_with_indices") else mean
        if name in ADAPTIVE_POOLS:
            return ADAPTIVE_POOLS[name](*args[:2])
        if name == "amax":
            return torch.mean(*args, **options)
        if name == "multi_head_attention_forward":
            return _attended(args[0], args[1], args[2], options.get("attn_mask"))
        if name == "softmax":
            values = args[0]
            args = (values.masked_fill(values < values.amax().detach() - _MASKED, -torch.inf), *args[1:])
        return func(*args, **options)


def _in_double(name: str, values: Any) -> Any:
    """Arguments as a function takes them together: all in float64, where that is had, but what it writes to."""
    if name.endswith("_"):  # in place, and __setitem__, __get__ and their kind
        return values
    if isinstance(values, Tensor):
        return double(values) if values.is_floating_point() else exact(values)
    if isinstance(values, dict):
        return {key: value if key == "out" else _in_double(name, value) for key, value in values.items()}
    if isinstance(values, (list, tuple)) and any(isinstance(value, (Tensor, list, tuple)) for value in values):
        inner = [_in_double(name, value) for value in values]
        return tuple(inner) if isinstance(values, tuple) else inner
    return values


def _connected(
    func: Callable[..., Tensor], values: Tensor, weight: Tensor, bias: Tensor | None = None, *rest: Any, **options: Any
) -> Tensor:
    """A layer with positive weights of much the same size where they are not zero, so that no two paths cancel each other out."""
    random = torch.Generator().manual_seed(0)
    there = 0.5 + torch.rand(weight.shape, dtype=torch.float64, generator=random).to(exact_device(weight.device))
    there *= weight != 0
    return func(values, there / there.flatten(1).sum(1).max().clamp(min=1), None, *rest, **options)


def _scaled(
    values: Tensor, mean: Tensor | None, variance: Tensor | None, weight: Tensor | None = None, *_: Any, **__: Any
) -> Tensor:
    """A batch normalization in evaluation mode: a scale for each channel, of which a zero lets nothing through."""
    if weight is None:
        return values.clone()
    return values * double(weight != 0).view(1, -1, *[1] * (values.dim() - 2))


def _attended(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> tuple[Tensor, None]:
    """Attention that looks everywhere it may: (L, N, E) from the same, as PyTorch's own function has it."""
    allowed = torch.ones(len(query), len(key), dtype=torch.float64, device=query.device)
    if mask is not None:
        reached = ~mask if mask.dtype == torch.bool else mask > -_MASKED
        allowed = reached.reshape(-1, len(query), len(key)).any(0).double()
    weights = allowed / allowed.sum(1, keepdim=True).clamp(min=1)
    seen = torch.einsum("ls,sn->ln", weights, (key.mean(2) + value.mean(2)))
    return (query.mean(2) + seen).unsqueeze(2).expand_as(query).clone(), None


__all__ = ["Transparent"]
