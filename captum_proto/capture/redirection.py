"""Activation functions that let a gradient through where they are off, so that a unit that nothing turns on can be turned on."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

#: By the name under which PyTorch knows them, modules and functions alike: below what, and above what, an activation function is off.
_OFF: dict[Any, tuple[float, float]] = {
    **dict.fromkeys((F.relu, torch.relu, Tensor.relu), (0.0, math.inf)),
    **dict.fromkeys((torch.relu_, Tensor.relu_), (0.0, math.inf)),
    F.relu6: (0.0, 6.0),
    **dict.fromkeys((F.gelu, F.silu), (0.0, math.inf)),
    F.hardswish: (-3.0, math.inf),
}
_IN_PLACE = (torch.relu_, Tensor.relu_, F.hardtanh_)


class _Redirected(torch.autograd.Function):
    """An activation function whose gradient, where it has none for a row, is the one that is not blocked by its being off."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, function: Callable[[Tensor], Tensor], bounds: tuple[float, float], rows: int
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.function, ctx.bounds, ctx.rows = function, bounds, rows
        return function(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        (x,) = ctx.saved_tensors
        low, high = ctx.bounds
        with torch.enable_grad(), torch._C.DisableTorchFunction():
            inner = x.detach().requires_grad_(True)
            (plain,) = torch.autograd.grad(ctx.function(inner), inner, gradient)
        below, above = x <= low, x >= high
        # A step goes against the gradient: a positive one lowers what is too low already.
        wrong = (below & (gradient > 0)) | (above & (gradient < 0))
        through = torch.where(below | above, gradient.masked_fill(wrong, 0), plain)
        if x.dim() and len(x) % ctx.rows == 0:  # windows of a row lie together
            moved = plain.reshape(ctx.rows, -1).any(1).repeat_interleave(len(x) // ctx.rows)
            through = torch.where(moved.view(-1, *[1] * (x.dim() - 1)), plain, through)
        return through, None, None, None


class _Redirection(TorchFunctionMode):
    """While it is on, activation functions are redirected."""

    def __init__(self, rows: int) -> None:
        super().__init__()
        self.rows = rows

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        bounds = _bounds(func, args, named)
        x = args[0] if args else named.get("input")
        if bounds is None or not isinstance(x, Tensor) or not x.requires_grad:
            return func(*args, **named)
        in_place = func in _IN_PLACE or bool(named.pop("inplace", False))
        rest = args[1:]
        named.pop("input", None)

        def function(value: Tensor) -> Tensor:
            result: Tensor = _OUT_OF_PLACE.get(func, func)(value, *rest, **named)
            return result

        result = _Redirected.apply(x.clone() if in_place else x, function, bounds, self.rows)
        return x.copy_(result) if in_place else result


_OUT_OF_PLACE: dict[Any, Callable[..., Tensor]] = {
    torch.relu_: torch.relu,
    Tensor.relu_: torch.relu,
    F.hardtanh_: F.hardtanh,
}


def _bounds(function: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> tuple[float, float] | None:
    """Below and above what an activation function is off; None where it is none of those that are redirected."""
    if function in (F.hardtanh, F.hardtanh_):  # what ReLU6 is made of
        low = arguments[1] if len(arguments) > 1 else named.get("min_val", -1.0)
        high = arguments[2] if len(arguments) > 2 else named.get("max_val", 1.0)
        return (low, high) if low == 0 else None
    return _OFF.get(function)


@contextlib.contextmanager
def redirected_activations(rows: int) -> Iterator[None]:
    r"""
    Let gradients through activation functions that are off, for rows that get none.

    Where everything that an activation function hands back to a row is exactly zero, what goes back instead is the gradient that came, as
    far as a step against it improves the function's input: it raises one that is too low, or lowers one that is above the 6 of a ReLU6.
    Outputs stay what they are. Of Olah, Mordvintsev and Schubert, "Feature Visualization" (Distill 2017), for ReLU, as Lucid has it: per
    row, and with the sign's filter, neither of which captum.optim has. Here it is for ReLU, ReLU6, GELU, SiLU and Hardswish, modules and
    functions alike. Activation functions written out by hand, or compiled by TorchScript, are not seen.

    Args:
        rows (int): How many images the network is run on.

    Examples::

        >>> x = torch.tensor([[-1.0, -2.0], [-1.0, 3.0]], requires_grad=True)
        >>> from captum_proto.capture import redirected_activations
        >>> with redirected_activations(2):
        ...     y = torch.relu(x)
        >>> torch.autograd.grad((y * torch.tensor([-1.0, 1.0])).sum(), x)[0]
        tensor([[-1.,  0.],
                [ 0.,  1.]])
    """
    with _Redirection(rows):
        yield


__all__ = ["redirected_activations"]
