"""A model that is used: borrowed, and its modules, its device, its dtype and its weights told."""

from __future__ import annotations

import contextlib
import hashlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.parameter import is_lazy

from captum_proto._utils.borrowing import Loan, borrowed
from captum_proto._utils.checks import callers_level, type_name
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import tensor_bytes
from captum_proto._utils.memory import is_out_of_memory
from captum_proto._utils.references import each_module, modules_of
from captum_proto._utils.wrappers import named_modules, plain_names, unwrapped

#: What PyTorch's layers compute in.
_COMPUTED = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def check_modules(forward_func: Callable[..., Any]) -> None:
    """
    See that a forward function is made of a module.

    Warns:
        UserWarning: If none is found. A function of the images alone is fine, so it is no error.
    """
    if next(each_module(forward_func), None) is None:
        warnings.warn(
            f"no torch.nn.Module was found in forward_func, a {type_name(forward_func)}: it is called in float32 on the CPU, and a model "
            "in it is neither frozen nor in evaluation mode; if there is one, pass the module, or a function or object that refers to it.",
            stacklevel=callers_level(),
        )


def _tensors_of(forward_func: Callable[..., Any]) -> Iterator[Tensor]:
    for module in each_module(forward_func):
        yield from module.parameters()
        yield from module.buffers()


def device_of(forward_func: Callable[..., Any], default: torch.device | str = "cpu") -> torch.device:
    """The device of the first parameter or buffer, else ``default``."""
    for tensor in _tensors_of(forward_func):
        return tensor.device
    return torch.device(default)


def dtype_of(forward_func: Callable[..., Any]) -> torch.dtype:
    """
    The floating dtype the model computes in: that of its first floating parameter or buffer, else float32.

    Float8 is none: weights are kept in it, and turned into another one to compute.
    """
    for tensor in _tensors_of(forward_func):
        if tensor.dtype in _COMPUTED:
            return tensor.dtype
    return torch.float32


@contextlib.contextmanager
def dtype_told(forward_func: Callable[..., Any], inputs: Any) -> Iterator[None]:
    """
    Run a model as it is on inputs as they are, and tell where their dtypes do not fit.

    Args:
        forward_func (Callable): The model.
        inputs (Tensor or tuple[Tensor, ...]): What it is run on within the block.

    Raises:
        InputError: If it fails on inputs of another floating dtype than its weights have.
    """
    try:
        yield
    except RuntimeError as error:
        given = {each.dtype for each in _given(inputs) if each.is_floating_point()}
        expected = dtype_of(forward_func)
        if is_out_of_memory(error) or given <= {expected}:
            raise
        raise InputError(
            f"the model, whose weights are {_word(expected)}, cannot be run on inputs that are {' and '.join(sorted(map(_word, given)))} "
            f"({' '.join(str(error).split())[:160]}); give them in its dtype: inputs.to({expected})."
        ) from error


def _given(inputs: Any) -> list[Tensor]:
    """The tensors among some inputs: one, or several in a tuple."""
    return [each for each in (inputs if isinstance(inputs, tuple) else (inputs,)) if isinstance(each, Tensor)]


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def check_values(forward_func: Callable[..., Any]) -> None:
    """
    See that every parameter and buffer of a model has values.

    Raises:
        InputError: If one is on the meta device, is fake, or was not initialized yet.
    """
    for module in modules_of(forward_func):
        for name, tensor in (*module.named_parameters(), *module.named_buffers()):
            if is_lazy(tensor):
                why = "it is not initialized yet; run the model on a batch before, from which its lazy layers take their shapes"
            elif isinstance(tensor, FakeTensor):
                why = "it is a fake tensor; make the model outside of FakeTensorMode"
            elif tensor.is_meta:
                why = 'it is on the meta device; give it memory with model.to_empty(device="cpu") and load the weights before'
            else:
                continue
            raise InputError(f'"{name}" of the model has no values, for {why}.')


def fingerprint(model: nn.Module) -> str:
    """A digest of a model's weights and buffers: equal for equal weights, on any device and in any wrapper."""
    check_values(model)
    digest, plain = hashlib.blake2b(digest_size=16), plain_names(model)
    with Loan(model).turn():  # in another thread's pass its buffers are that thread's
        state = {plain(name): tensor for name, tensor in model.state_dict().items()}
    for key, value in sorted(state.items()):
        for name, tensor in _tensors_in(key, value):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor.dequantize() if tensor.is_quantized else tensor))
    return digest.hexdigest()


def _tensors_in(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors in an entry of a state: quantized layers keep weight and bias together in a tuple."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, (tuple, list)):
        for index, part in enumerate(value):
            yield from _tensors_in(f"{name}[{index}]", part)


__all__ = [
    "Loan",
    "borrowed",
    "check_modules",
    "device_of",
    "dtype_of",
    "dtype_told",
    "fingerprint",
    "modules_of",
    "named_modules",
    "plain_names",
    "unwrapped",
]
