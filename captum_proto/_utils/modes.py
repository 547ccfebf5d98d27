"""PyTorch's modes that a caller is in, left for the length of a call: results do not depend on where a function is called."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

Function = TypeVar("Function", bound=Callable[..., Any])


@contextlib.contextmanager
def plain_modes() -> Iterator[None]:
    """No ``inference_mode``, gradients as ever, and no autocast: what the caller is in would change results, and nothing would say so."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in ("cpu", "cuda"):
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_plain_modes(function: Function) -> Function:
    """A function that is called in :func:`plain_modes`; tensors from ``inference_mode`` come to it as copies that may have gradients."""

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        with plain_modes():
            return function(*map(_plain, arguments), **{name: _plain(value) for name, value in named.items()})

    return call  # type: ignore[return-value]  # it has its signature


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone() if value.is_inference() else value
    if type(value) in (list, tuple):
        return type(value)(map(_plain, value)) if any(map(_has_inference, value)) else value
    if type(value) is dict:
        return (
            {name: _plain(each) for name, each in value.items()} if any(map(_has_inference, value.values())) else value
        )
    return value


def _has_inference(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.is_inference()
    if type(value) is dict:
        value = value.values()
    elif type(value) not in (list, tuple):
        return False
    return any(map(_has_inference, value))


__all__ = ["in_plain_modes", "plain_modes"]
