"""A model on loan: frozen and in evaluation mode while we look at it, and given back exactly as it was."""

from __future__ import annotations

import contextlib
import copy
import functools
import hashlib
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn


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
    Freeze a model for the duration of the block: evaluation mode, no gradients into its parameters.

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


def fingerprint(model: nn.Module) -> str:
    """A digest of a model's weights and buffers: equal for equal weights, on any device."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, Tensor):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor_bytes(tensor))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor) -> bytes:
    """A tensor's values as bytes, whatever its dtype, device or strides."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _has_arithmetic(dtype: torch.dtype) -> bool:
    """Whether this CPU's convolutions and matrix products have instructions for a half-precision type."""
    if not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        return True  # nobody to ask
    bfloat16 = dtype == torch.bfloat16
    known = torch.ops.mkldnn._is_mkldnn_bf16_supported if bfloat16 else torch.ops.mkldnn._is_mkldnn_fp16_supported
    return bool(known())


class Pipeline:
    """
    Images in, whatever the model returns out: preprocessing, the cast to the model's dtype, autocast, the model itself.

    Args:
        forward_func (Callable): The model, or a function of a preprocessed batch.
        preprocess (Callable, optional): From images in the user's range to the model's input. Default: None
        additional_forward_args (tuple, optional): Further arguments of ``forward_func``. Default: ()
        autocast (torch.dtype, optional): bfloat16 or float16 for mixed precision. Default: None
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        preprocess: Callable[[Tensor], Tensor] | None = None,
        additional_forward_args: tuple[Any, ...] = (),
        autocast: torch.dtype | None = None,
    ) -> None:
        if autocast not in (None, torch.bfloat16, torch.float16):
            raise ValueError(f"autocast is {autocast!r}; expected torch.bfloat16, torch.float16 or None.")
        if autocast is not None and device_of(forward_func).type == "cpu" and not _has_arithmetic(autocast):
            warnings.warn(
                f"this CPU has no {str(autocast).removeprefix('torch.')} arithmetic and emulates it, many times slower than float32; leave "
                "autocast out here.",
                stacklevel=4,
            )
        self.forward_func = forward_func
        self.preprocess = preprocess
        self.additional_forward_args = additional_forward_args
        self.autocast = autocast
        self.device = device_of(forward_func)
        self.dtype = dtype_of(forward_func)
        #: Images are optimised and read in float32 unless the model itself is double.
        self.image_dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        #: Whether the network gets its images with channels side by side.
        self.channels_last = False

    def with_network(self, forward_func: Callable[..., Any], channels_last: bool) -> Pipeline:
        """The same pipeline around another network."""
        other = copy.copy(self)
        other.forward_func, other.channels_last = forward_func, channels_last
        return other

    @property
    def normalization(self) -> tuple[list[float], list[float]] | None:
        """Mean and standard deviation of each channel, if that is all the preprocessing there is."""
        preprocess: Any = self.preprocess
        kind = type(preprocess)  # told by name: the package works where torchvision does not
        if kind.__name__ != "Normalize" or not kind.__module__.startswith("torchvision.transforms."):
            return None
        mean, std = (
            torch.as_tensor(value, dtype=torch.float64).flatten().tolist()
            for value in (preprocess.mean, preprocess.std)
        )
        return mean, std

    def prepare(self, images: Tensor) -> Tensor:
        """The user's preprocessing, with the one thing it may not do checked. It and the model may work in place: they get a copy."""
        images = images.clone()
        if self.preprocess is None:
            return images
        prepared = self.preprocess(images)
        if not isinstance(prepared, Tensor) or prepared.dim() == 0 or prepared.shape[0] != images.shape[0]:
            got = f"shape {tuple(prepared.shape)}" if isinstance(prepared, Tensor) else f"a {type(prepared).__name__}"
            raise ValueError(
                f"preprocess turned a batch of shape {tuple(images.shape)} into {got}; it must return a tensor with one entry for "
                f"each of the {images.shape[0]} images."
            )
        return prepared

    def run(self, prepared: Tensor) -> Any:
        """The model on a prepared batch."""
        prepared = prepared.to(self.dtype)
        if self.channels_last and prepared.dim() == 4:
            prepared = prepared.contiguous(memory_format=torch.channels_last)
        # Without autocast of our own, none: the caller's would change the result, and the settings would not say so.
        with torch.autocast(prepared.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            return self.forward_func(prepared, *self.additional_forward_args)

    def __call__(self, images: Tensor) -> Any:
        return self.run(self.prepare(images))
