"""What PyTorch cannot differentiate or let anyone look into: quantized layers, and modules of ``torch.jit``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import modules_of, named_modules
from captum_proto._utils.scripted import is_scripted, kind_of
from captum_proto.capture.hooks import Hook, forward_hooks

#: Where the classes of quantized layers are. They are told by name: importing them takes long, and most models have none.
_QUANTIZED = ("torch.ao.nn.quantized.", "torch.ao.nn.intrinsic.quantized.", "torch.ao.nn.sparse.quantized.")
#: Quantized weights whose inputs and outputs are floating-point numbers.
_DYNAMIC = tuple(f"{room}dynamic." for room in _QUANTIZED)
#: What in these rooms is no such layer: references of quantized ones and sums that are not converted yet, which compute in floating
#: point; and where quantized layers keep their weights.
_REFERENCES = "torch.ao.nn.quantized.reference."
_NO_LAYERS = ("FloatFunctional", "FXFloatFunctional", "LinearPackedParams", "PackedParameter")


def quantized_layers(forward_func: Callable[..., Any]) -> Iterator[tuple[str, nn.Module]]:
    """The layers of a model that compute with integers, by name."""
    for owner in modules_of(forward_func):
        for name, module in named_modules(owner):
            if _is_quantized(module):
                yield name, module


def check_weights(forward_func: Callable[..., Any], purpose: str) -> None:
    """
    See that a model's weights are parameters, all of them.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        purpose (str): What they are wanted for, as the end of "...".

    Raises:
        InputError: If a layer is quantized, of ``torch.jit``, or has weights in float8.
    """
    for name, module in quantized_layers(forward_func):
        raise InputError(
            f"{_named(name, module)} is quantized, and its weights are no parameters, so they cannot be {purpose}; give the model as it "
            "was before quantization."
        )
    for owner in modules_of(forward_func):
        for name, module in named_modules(owner):
            if is_scripted(module):
                raise InputError(
                    f"{_named(name, module)} was made by torch.jit, which may have put its weights into its code, so they cannot be "
                    f"{purpose}; give the model that it was made from."
                )
        for name, parameter in owner.named_parameters():
            if parameter.is_floating_point() and parameter.dtype.itemsize == 1:
                raise InputError(
                    f'"{name}" of the model is {parameter.dtype}, in which numbers are only kept, so it cannot be {purpose}; give '
                    "the model with weights in float32."
                )


def check_differentiable(forward_func: Callable[..., Any]) -> None:
    """
    See that no layer of a model takes or gives quantized tensors, through which there is no gradient.

    Where one branch is quantized and another is not, PyTorch gives the gradient of the other alone, without a word.

    Raises:
        InputError: If one does.
    """
    for name, module in quantized_layers(forward_func):
        if not _is_dynamic(module):
            raise _refusal(name, module)
    for owner in modules_of(forward_func):
        for name, module in named_modules(owner):
            if is_scripted(module) and _runs_quantized(module):
                raise _refusal(name, module)


@contextlib.contextmanager
def gradients_told(forward_func: Callable[..., Any]) -> Iterator[None]:
    """
    Have gradients that cannot be had refused, for the length of a block.

    A layer with quantized weights alone (``quantize_dynamic``) is fine as long as no gradient is asked for through it: what it returns is
    then bound to raise.

    Args:
        forward_func (Callable): The model, or a function that refers to it.

    Raises:
        InputError: If a layer takes or gives quantized tensors; in a backward pass, if it goes through quantized weights.
    """
    check_differentiable(forward_func)
    with forward_hooks((module, _bound(_refusal(name, module))) for name, module in quantized_layers(forward_func)):
        yield


class _NoGradient(torch.autograd.Function):
    """What a layer returned, whose gradient is an error."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, source: Tensor, error: InputError) -> Tensor:
        ctx.error = error
        return value.clone()  # no view: what comes next may work in place

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise ctx.error


def _bound(error: InputError) -> Hook:
    def hook(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        sources = [each for each in inputs if isinstance(each, Tensor) and each.requires_grad]
        return _with(output, sources[0], error) if sources and torch.is_grad_enabled() else None

    return hook


def _with(value: Any, source: Tensor, error: InputError) -> Any:
    """A value with all floating-point tensors in it bound to raise: a recurrent layer returns a tuple."""
    if isinstance(value, Tensor):
        # Whatever it says: PyTorch has it require a gradient, and leaves that out when it comes to it.
        return _NoGradient.apply(value, source, error) if value.is_floating_point() else value
    if type(value) in (tuple, list):
        return type(value)(_with(item, source, error) for item in value)
    return value


def _refusal(name: str, module: nn.Module) -> InputError:
    return InputError(
        f"{_named(name, module)} is quantized, and PyTorch has no gradient through quantized kernels; give the model as it was before "
        "quantization."
    )


def _named(name: str, module: nn.Module) -> str:
    return f'layer "{name}" ({kind_of(module)}) of the model' if name else f"the model ({kind_of(module)})"


def _is_quantized(module: nn.Module) -> bool:
    kind = type(module)
    return (
        f"{kind.__module__}.".startswith(_QUANTIZED)
        and not f"{kind.__module__}.".startswith(_REFERENCES)
        and kind.__name__ not in _NO_LAYERS
    )


def _is_dynamic(module: nn.Module) -> bool:
    return f"{type(module).__module__}.".startswith(_DYNAMIC)


def _runs_quantized(module: nn.Module) -> bool:
    try:
        return "quantized::" in str(module.inlined_graph)
    except RuntimeError:  # a part that has no forward of its own
        return False


__all__ = ["check_differentiable", "check_weights", "gradients_told", "quantized_layers"]
