"""From images to a model's output: preprocessing, dtype, autocast, the model."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.batches import rows_of
from captum_proto._utils.checks import callers_level
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import check_values, device_of, dtype_of


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

    Raises:
        InputError: If a parameter or buffer of the model has no values, or ``autocast`` is another dtype.
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        preprocess: Callable[[Tensor], Tensor] | None = None,
        additional_forward_args: tuple[Any, ...] = (),
        autocast: torch.dtype | None = None,
    ) -> None:
        check_values(forward_func)
        if autocast not in (None, torch.bfloat16, torch.float16):
            raise InputError(f"autocast is {autocast!r}; expected torch.bfloat16, torch.float16 or None.")
        if autocast is not None and device_of(forward_func).type == "cpu" and not _has_arithmetic(autocast):
            warnings.warn(
                f"this CPU has no {str(autocast).removeprefix('torch.')} arithmetic and emulates it, many times slower than float32; leave "
                "autocast out here.",
                stacklevel=callers_level(),
            )
        self.forward_func = forward_func
        self.preprocess = preprocess
        self.additional_forward_args = additional_forward_args
        self.autocast = autocast
        self.device = device_of(forward_func)
        self.dtype = dtype_of(forward_func)
        #: Images are optimized and read in float32 unless the model itself is double.
        self.image_dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        #: Whether the network gets its images with channels side by side.
        self.channels_last = False

    def with_network(self, forward_func: Callable[..., Any], channels_last: bool) -> Pipeline:
        """The same pipeline around another network."""
        other = copy.copy(self)
        other.forward_func, other.channels_last = forward_func, channels_last
        return other

    def of_rows(self, rows: slice, total: int) -> Pipeline:
        """The same for some rows of a batch: a further argument with one row for each of the batch goes with them."""
        other = copy.copy(self)
        other.additional_forward_args = rows_of(self.additional_forward_args, rows, total)
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
            raise InputError(
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
