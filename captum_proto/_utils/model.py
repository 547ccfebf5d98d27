"""Freezing a model for the length of a block, and telling its modules, its device, its dtype and its weights."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensor
from torch.nn.parameter import is_lazy

from captum_proto._utils.errors import InputError
from captum_proto._utils.files import tensor_bytes


def modules_of(forward_func: Callable[..., Any]) -> list[nn.Module]:
    """
    The modules that a forward function is made of.

    A module itself; the module of a bound method; those a :func:`functools.partial` holds; and those a Python function refers to, as in
    ``lambda x: model(x)["logits"]``. What a function reaches through other objects is not found.
    """
    if isinstance(forward_func, nn.Module):
        return [forward_func]
    if isinstance(forward_func, functools.partial):
        held = [forward_func.func, *forward_func.args, *forward_func.keywords.values()]
        return [module for value in held if callable(value) for module in modules_of(value)]
    if isinstance(getattr(forward_func, "__self__", None), nn.Module):
        return [forward_func.__self__]  # type: ignore[attr-defined]
    if inspect.isfunction(forward_func):
        variables = inspect.getclosurevars(forward_func)
        found = {**variables.globals, **variables.nonlocals}.values()
        return [value for value in found if isinstance(value, nn.Module)]
    return []


@contextlib.contextmanager
def borrowed(forward_func: Callable[..., Any]) -> Iterator[None]:
    """
    Freeze a model for the length of a block: evaluation mode, no gradients into its parameters.

    Flags are set and restored module by module and parameter by parameter, not through ``eval()`` and ``train()``: models override
    those, and a model may hold a mixture of both modes. Of a plain function, the modules it refers to are frozen; gradients are asked
    for with respect to the images only, so nothing reaches any weight's ``.grad`` either way.
    """
    owners = modules_of(forward_func)
    training = [(module, module.training) for owner in owners for module in owner.modules()]
    # Parameters made under inference_mode record no gradient anyway, and PyTorch would not let us give them their flag back.
    parameters = [p for owner in owners for p in owner.parameters()]
    trainable = [p for p in parameters if p.requires_grad and not p.is_inference()]
    try:
        for module, _ in training:
            module.training = False
        for parameter in trainable:
            parameter.requires_grad_(False)
        yield
    finally:
        for module, mode in training:
            module.training = mode
        for parameter in trainable:
            parameter.requires_grad_(True)


def _tensors_of(forward_func: Callable[..., Any]) -> Iterator[Tensor]:
    for module in modules_of(forward_func):
        yield from module.parameters()
        yield from module.buffers()


def device_of(forward_func: Callable[..., Any], default: torch.device | str = "cpu") -> torch.device:
    """The device of the first parameter or buffer, else ``default``."""
    for tensor in _tensors_of(forward_func):
        return tensor.device
    return torch.device(default)


def dtype_of(forward_func: Callable[..., Any]) -> torch.dtype:
    """The floating dtype the model computes in: that of its first floating parameter or buffer, else float32."""
    for tensor in _tensors_of(forward_func):
        if tensor.is_floating_point():
            return tensor.dtype
    return torch.float32


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
    """A digest of a model's weights and buffers: equal for equal weights, on any device."""
    check_values(model)
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()
