"""What goes into a layer, also into the output projection of an attention that uses its weights without running it."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import modules_of, unwrapped
from captum_proto.capture.hooks import Hook, InputHook
from captum_proto.capture.selection import find_layer

#: Of what goes into a layer instead of what comes out: ``"blocks.0.attn.proj@input"``.
INPUT = "@input"
#: Attentions that use the weights of their output projection without running it, by the names of classes, and what it is called.
_PROJECTIONS = {"MultiheadAttention": "out_proj", "ShiftedWindowAttention": "proj"}
#: How far apart two ways of computing an attention may be, relative to the largest value.
_TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 1e-1, torch.float16: 2e-2}


def split(layer: Any) -> tuple[Any, bool]:
    """A layer's name without ``@input``, and whether it had it."""
    if isinstance(layer, str) and layer.endswith(INPUT):
        return layer.removesuffix(INPUT), True
    return layer, False


def attention_of(forward_func: Callable[..., Any], name: str) -> nn.Module | None:
    """The attention whose output projection a dotted name is, if it uses its weights without running it."""
    owner_name, _, last = name.rpartition(".")
    owner: nn.Module | None
    if owner_name:
        owner = find_layer(forward_func, owner_name)[1]
    else:  # a part of the model itself, or of one that a function refers to
        models = map(unwrapped, modules_of(forward_func))
        owner = next((model for model in models if last in dict(model.named_children())), None)
    names = () if owner is None else (kind.__name__ for kind in type(owner).__mro__)
    return owner if any(_PROJECTIONS.get(kind) == last for kind in names) else None


def before_projection(keep: Callable[[Tensor], None]) -> tuple[InputHook, Hook]:
    """
    Hooks on an attention that hand on what its heads return, side by side, before the output projection.

    The attention is run once more on the same input, by a copy that has the identity for its output projection: the heads' outputs, with
    their gradients. That the projection makes the attention's own output of them is looked at in the first pass.
    """
    seen: list[Tensor] = []
    looked = False

    def before(module: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        heads = _without_projection(module)(*arguments, **named)
        seen[:] = [heads[0] if isinstance(heads, tuple) else heads]
        keep(seen[0])

    def after(module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> None:
        nonlocal looked
        heads, output = seen.pop(), output[0] if isinstance(output, tuple) else output
        if looked or not heads.numel():
            return
        looked = True
        projection = getattr(module, _projection_of(module))
        with torch.no_grad():
            again = nn.functional.linear(heads, projection.weight, projection.bias)
            tolerance = _TOLERANCE.get(output.dtype, 1e-3) * output.abs().max().clamp(min=1e-3)
            if again.shape != output.shape or bool((again - output).abs().max() > tolerance):
                raise InputError(
                    f"what goes into the output projection of the {type(module).__name__} cannot be told: it makes something else of its "
                    "heads; choose the attention itself as the layer."
                )

    return before, after


def _projection_of(module: nn.Module) -> str:
    return next(_PROJECTIONS[kind.__name__] for kind in type(module).__mro__ if kind.__name__ in _PROJECTIONS)


def _without_projection(module: nn.Module) -> nn.Module:
    """The module with the identity for its output projection; it shares everything else, and the module itself stays as it is."""
    name = _projection_of(module)
    projection = copy.copy(getattr(module, name))
    weight = projection.weight
    identity = torch.eye(len(weight), weight.shape[1], dtype=weight.dtype, device=weight.device)
    projection._parameters = {
        "weight": nn.Parameter(identity, requires_grad=False),
        "bias": None
        if projection.bias is None
        else nn.Parameter(torch.zeros_like(projection.bias), requires_grad=False),
    }
    twin = copy.copy(module)
    twin._modules = {**module._modules, name: projection}
    twin._forward_hooks, twin._forward_pre_hooks = OrderedDict(), OrderedDict()
    return twin


__all__ = ["INPUT", "attention_of", "before_projection", "split"]
