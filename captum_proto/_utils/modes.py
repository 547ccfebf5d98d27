"""PyTorch's modes that a caller is in, left for the length of a call: results do not depend on where a function is called."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor

from captum_proto._utils.errors import StateError

Function = TypeVar("Function", bound=Callable[..., Any])
#: PyTorch's own question, which has no public name; where it has none at all, transforms end in PyTorch's own errors, as they come.
_transforms_active: Callable[[], bool] = getattr(torch._C, "_are_functorch_transforms_active", lambda: False)

#: Devices of which a caller may be in autocast.
_WITH_AUTOCAST = ("cpu", "cuda", "mps", "xpu")


@contextlib.contextmanager
def plain_modes() -> Iterator[None]:
    """No ``inference_mode``, gradients as ever, and no autocast: what the caller is in would change results, and nothing would say so."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for device in _WITH_AUTOCAST:
            if torch.is_autocast_enabled(device):
                stack.enter_context(torch.autocast(device, enabled=False))
        yield


def in_plain_modes(function: Function) -> Function:
    """
    A function that is called in :func:`plain_modes`; tensors from ``inference_mode`` come to it as copies that may have gradients.

    Called within a transform of ``torch.func`` it raises StateError: it decides by the values of images, which a transform hides.
    """

    @functools.wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        if _transforms_active():
            raise StateError(
                f"{function.__qualname__} cannot be transformed by torch.func (vmap, grad, jvp), as it decides by the values of images; "
                "call it outside of the transform, with all images in one batch."
            )
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
