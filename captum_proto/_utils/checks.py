"""Checks of what the user and the user's model hand over. Each failure is one sentence: what was given, what is expected, what to do."""

from __future__ import annotations

import difflib
import operator
import sys
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError

#: Names that were others once, so that an error can say so.
RENAMED = {
    "grey": "gray",
    "feature visualisation": "feature_visualization",
    "feature-visualisation": "feature_visualization",
    "feature visualization": "feature_visualization",
    "feature-visualization": "feature_visualization",
    "mean image": "mean_image",
    "same class": "same_class",
    "other class": "other_class",
    "other image": "other_image",
    "own image": "own_image",
}
_PACKAGES = ("captum_proto", "captum")


def nearest(name: str, known: Iterable[str]) -> str:
    """``; did you mean "…"?`` with the nearest of ``known``, or what a name is called now; or nothing."""
    known = list(known)
    if RENAMED.get(name) in known:
        return f'; it is called "{RENAMED[name]}" now.'
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f'; did you mean "{matches[0]}"?' if matches else ""


def type_name(value: Any) -> str:
    """What a value is, for a message: the name of its type, and of a class, which stands where an object of it is expected, its own too."""
    return f"type, the class {value.__name__} itself" if isinstance(value, type) else type(value).__name__


def callers_level() -> int:
    """The ``stacklevel`` with which a warning points to the line outside Captum and this package that led to it."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PACKAGES:
        frame, level = frame.f_back, level + 1
    return level


def as_int(value: Any) -> int | None:
    """
    A whole number as Python's, be it Python's, NumPy's, or a tensor or an array of no dimension; None for anything else, booleans too.
    """
    if isinstance(value, bool) or getattr(value, "ndim", None) or getattr(value, "dtype", None) == torch.bool:
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def plain_int(value: Any) -> Any:
    """Whole numbers as Python's, anything else as it is."""
    number = as_int(value)
    return value if number is None else number


def check_int(value: Any, name: str, least: int, otherwise: str = "") -> int:
    """
    A whole number of at least ``least``.

    Args:
        value (any): As :func:`as_int` takes it.
        name (str): What it is called.
        least (int): The smallest that is allowed.
        otherwise (str, optional): What else may be given, for the message: ``", or None for all"``. Default: nothing

    Raises:
        InputError: If it is none, or too small.
    """
    number = as_int(value)
    if number is None or number < least:
        raise InputError(
            f"{name} is {value}; expected {'' if number is not None else 'a whole number of '}at least {least}{otherwise}."
        )
    return number


def check_logits(output: Any, batch: int) -> Tensor:
    """
    The model's output as logits (N, K).

    Raises:
        TypeError: If it is of another type than a floating-point tensor.
        ValueError: If it is not of shape (N, K), holds a NaN, or holds probabilities.
    """
    if not isinstance(output, Tensor):
        hint = ""
        if isinstance(output, dict):
            hint = f" with keys {list(output)[:5]}; wrap it, e.g. lambda x: model(x)[{next(iter(output), 'logits')!r}]"
        raise InputTypeError(
            f"the model returned a {type(output).__name__}{hint}; expected a tensor of logits of shape (N, K)."
        )
    if output.dim() != 2 or output.shape[0] != batch:
        raise InputError(
            f"the model returned shape {tuple(output.shape)} for {batch} images; expected logits of shape ({batch}, K): one row per "
            "image, one column per class."
        )
    if not output.is_floating_point():
        raise InputTypeError(f"the model returned {output.dtype}; expected floating-point logits.")
    values = output.detach().float()
    if bool(values.isnan().any()):
        rows = values.isnan().any(1).nonzero().flatten().tolist()
        raise InputError(
            f"the model returned NaN for image {rows[0]} of the batch; check its weights, its preprocessing and autocast."
        )
    if (
        output.shape[1] > 1
        and bool(((values >= 0) & (values <= 1)).all())
        and bool(((values.sum(1) - 1).abs() < 1e-3).all())
    ):
        raise InputError(
            "the model returned probabilities (rows between 0 and 1 that sum to 1); expected logits: leave out its final softmax."
        )
    return output


def check_images(images: Any, value_range: tuple[float, float] | None = (0.0, 1.0), name: str = "images") -> Tensor:
    """
    A batch of images (N, C, H, W), floating point, finite and inside ``value_range``.

    Raises:
        TypeError: If it is of another type than a floating-point tensor.
        ValueError: If its rank, its values or its size are not those of a batch of images.
    """
    if not isinstance(images, Tensor):
        raise InputTypeError(f"{name} is a {type(images).__name__}; expected a float tensor of shape (N, C, H, W).")
    if images.dim() != 4:
        hint = " Add the batch axis with .unsqueeze(0)." if images.dim() == 3 else ""
        raise InputError(f"{name} has shape {tuple(images.shape)}; expected (N, C, H, W).{hint}")
    if images.numel() == 0:
        raise InputError(f"{name} has shape {tuple(images.shape)}, which holds no image; give at least one.")
    if not images.is_floating_point():
        raise InputTypeError(f"{name} has dtype {images.dtype}; expected floating point: for bytes, .float() / 255.")
    if not bool(images.isfinite().all()):
        where = (~images.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"{name} holds NaN or infinity in image {where[0]}; expected finite values.")
    if value_range is not None:
        low, high = float(images.min()), float(images.max())
        slack = 1e-3 * (value_range[1] - value_range[0])  # antialiased resizing overshoots by a rounding
        if low < value_range[0] - slack or high > value_range[1] + slack:
            raise InputError(
                f"{name} ranges over [{low:.4g}, {high:.4g}]; expected [{value_range[0]:g}, {value_range[1]:g}]: give images before "
                "normalization and leave the rest to preprocess, or set value_range."
            )
    return images


def check_images_or_inputs(inputs: Any, value_range: tuple[float, float] | None, name: str) -> Tensor:
    """
    A batch of images; where no range is asked for also one of inputs of another kind, which have another rank: see :func:`check_inputs`.

    Raises:
        TypeError, ValueError: As :func:`check_images` and :func:`check_inputs`.
    """
    if value_range is None and isinstance(inputs, Tensor) and inputs.dim() != 4:
        return check_inputs(inputs, name)
    return check_images(inputs, value_range, name)


def check_inputs(inputs: Any, name: str = "inputs") -> Tensor:
    """
    A batch of inputs of any kind (N, ...), floating point and finite: images, rows of a table (N, F), embedded tokens (N, L, D).

    Raises:
        TypeError: If it is of another type than a floating-point tensor.
        ValueError: If it is no batch, or its values are not finite.
    """
    if not isinstance(inputs, Tensor):
        raise InputTypeError(f"{name} is a {type(inputs).__name__}; expected a float tensor of shape (N, ...).")
    if inputs.dim() < 2 or inputs.numel() == 0:
        raise InputError(f"{name} has shape {tuple(inputs.shape)}; expected (N, ...), at least one input.")
    if not inputs.is_floating_point():
        raise InputTypeError(f"{name} has dtype {inputs.dtype}; expected floating point.")
    if not bool(inputs.isfinite().all()):
        where = (~inputs.isfinite()).flatten(1).any(1).nonzero().flatten().tolist()
        raise InputError(f"{name} holds NaN or infinity in row {where[0]}; expected finite values.")
    return inputs


def check_device(device: str | torch.device) -> torch.device:
    """
    A device that is there.

    Raises:
        ValueError: If the name is unknown, or names a device that this machine does not have.
    """
    try:
        parsed = torch.device(device)
    except RuntimeError as error:
        raise InputError(f'device "{device}" is unknown; expected e.g. "cpu", "cuda" or "cuda:1".') from error
    if parsed.type == "cuda":
        if not torch.cuda.is_available():
            raise InputError(
                f'device "{device}" was asked for, but PyTorch {torch.__version__} sees no CUDA device here; use "cpu".'
            )
        if parsed.index is not None and parsed.index >= torch.cuda.device_count():
            raise InputError(
                f'device "{device}" was asked for, but there are only {torch.cuda.device_count()} CUDA devices.'
            )
    else:
        try:
            torch.empty(0, device=parsed)
        except (
            RuntimeError,
            AssertionError,
            ImportError,
        ) as error:  # what a build without it raises, or a machine without it
            raise InputError(
                f'device "{device}" was asked for, but PyTorch {torch.__version__} has none here; use "cpu".'
            ) from error
    return parsed
