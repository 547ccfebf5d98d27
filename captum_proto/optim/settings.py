"""Every choice that an optimization makes, its objective aside."""

from __future__ import annotations

import math
import types
from collections.abc import Callable
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import as_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto.optim.inputs.parametrization import PARAMETRIZATIONS, as_parametrization
from captum_proto.optim.optimizers import OPTIMIZERS
from captum_proto.optim.transforms import Transform, as_transform

#: The learning rate at a share of the steps, as a share of what it is at the start.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
}


#: The transforms that have a name.
TRANSFORMS = ("paper", "feature_visualization", "none")


@dataclass(frozen=True, kw_only=True)
class OptimizationSettings:
    """
    Every choice that an optimization makes, its objective aside. As it stands by default it is plain gradient ascent in pixels.

    Args:
        steps (int): Steps of the main objective, after the warm-up.
        lr (float): The optimizer's learning rate, for an image in pixels in units of its range.
        betas (tuple[float, float]): The optimizer's decay rates.
        eps (float): The optimizer's denominator term.
        optimizer (str): "adam", or "nadam", Adam with Nesterov's momentum (Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016
            workshop; :class:`torch.optim.NAdam` with its own ``momentum_decay``).
        warmup_steps (int): At most so many steps of the warm-up's objective; 0 for none.
        warmup_tolerance (float): A row's warm-up ends when what the warm-up records is at most this; 0 for never.
        transform (Transform or Callable, optional): T, drawn anew for each row and step.
        noise (float): Standard deviation of the Gaussian noise that is added after the transform, in its units, drawn anew for each row and
            step; 0 for none: see :class:`~captum_proto.optim.GaussianNoise`.
        preprocess_first (bool): Whether the model's preprocessing acts before the transform instead of after it.
        value_range (tuple[float, float]): The valid range of an input's values.
        clamp (bool): Whether each step ends with the parametrization's projection: for pixels, onto ``value_range``. Of no effect where the
            parametrization keeps to it.
        parametrization (Parametrization or str): What is optimized: pixels, or the coefficients of a basis.
        lr_schedule (str): "constant", or "cosine" for a learning rate that falls to zero over the steps of the main objective.
        fold_batch_norm (bool): Whether batch normalizations go into the layers before them, in a copy, while inputs are optimized.
        channels_last (bool, optional): Whether the network gets its images in channels_last; None: where that is faster.
        redirect_relu_steps (int): In so many first steps of the main objective, rows that a network's activation functions give no gradient
            at all get one that turns units on: see :func:`~captum_proto.capture.redirected_activations`. 0 for never.
        autocast (torch.dtype, optional): torch.bfloat16 or torch.float16 for mixed precision; gradients of float16 are scaled.
        cuda_graph (bool): Whether on a GPU one step is captured as a CUDA graph and replayed in place of the others, which saves the host
            the telling. After a few steps one is captured, and two are both taken and replayed: the rest is replayed if both ways lead to
            the same bits. Where they do not, and where a step cannot be captured, all steps are taken one by one, with the same result:
            what records the network says why. What changes only later on, such as a number that a loss counts up in Python and acts on
            after a hundred steps, is not seen. Off by default: no GPU was at hand to measure what it saves.

    A field's metadata says what an option of the command line needs to know beside its type and documentation: ``choices``, the names that
    it takes, ``metavar``, what its help calls the value, and ``type``, what makes the value of a text.

    Raises:
        TypeError, ValueError: If a value is out of its range.
    """

    steps: int = 512
    lr: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    optimizer: str = field(default="adam", metadata={"choices": tuple(OPTIMIZERS)})
    warmup_steps: int = 0
    warmup_tolerance: float = 0.0
    transform: Transform | None = field(default=None, metadata={"choices": TRANSFORMS})
    noise: float = 0.0
    preprocess_first: bool = False
    value_range: tuple[float, float] = (0.0, 1.0)
    clamp: bool = True
    parametrization: Any = field(default="pixels", metadata={"choices": tuple(PARAMETRIZATIONS)})
    lr_schedule: str = field(default="constant", metadata={"choices": tuple(SCHEDULES)})
    fold_batch_norm: bool = True
    channels_last: bool | None = None
    redirect_relu_steps: int = 0
    autocast: torch.dtype | None = field(default=None, metadata={"choices": ("bfloat16", "float16", "none")})
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        for name in ("steps", "warmup_steps", "redirect_relu_steps"):
            value = getattr(self, name)
            number = as_int(value)
            if number is None or number < 0:
                raise InputError(f"{name} is {value!r}; expected a whole number of at least 0.")
            self._set(name, number)
        self._check_types()
        self._check_finite("lr", "warmup_tolerance", "eps", "noise")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas is {self.betas!r}; expected two numbers, each at least 0 and less than 1.")
        for name, known in (("lr_schedule", SCHEDULES), ("optimizer", OPTIMIZERS)):
            if getattr(self, name) not in known:
                raise InputError(f'{name} is "{getattr(self, name)}"; expected one of {", ".join(known)}.')
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise InputError(f"value_range is {self.value_range}; expected (least, most).")
        # What may be given in several ways is kept in one. PyTorch's optimizers refuse a whole number beside a fraction.
        self._set("betas", tuple(float(beta) for beta in self.betas))
        self._set("value_range", tuple(float(bound) for bound in self.value_range))
        self._set("transform", None if self.transform is None else as_transform(self.transform))
        self._set("parametrization", as_parametrization(self.parametrization))

    @property
    def draws(self) -> bool:
        """Whether the model sees inputs by random numbers: under a transform, or with noise."""
        return self.transform is not None or self.noise > 0

    def _check_types(self) -> None:
        """See that fields hold what they are declared to hold; those that may be given in several ways are checked where they are read."""
        for name, hint in get_type_hints(type(self)).items():
            kinds = get_args(hint) if get_origin(hint) is types.UnionType else (hint,)
            value = getattr(self, name)
            if value is None and type(None) in kinds:
                continue
            for kind in _KINDS.keys() & set(kinds):
                holds, expected = _KINDS[kind]
                if not holds(value):
                    otherwise = ", or None" if type(None) in kinds else ""
                    raise InputTypeError(f"{name} is {value!r}; expected {expected}{otherwise}.")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_finite(self, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} is {value!r}; expected a finite number of at least 0.")
            if not isinstance(value, (int, float)):  # NumPy's and torch's numbers cannot be recorded
                self._set(name, float(value))

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        return {name: _plain(getattr(self, name)) for name in self.__dataclass_fields__}


def _is_number(value: Any) -> bool:
    if isinstance(value, (Tensor, np.ndarray)):
        return value.ndim == 0 and _is_number(value.item())
    return isinstance(value, Real) and not isinstance(value, bool)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, (tuple, list, Tensor, np.ndarray)) and all(_is_number(part) for part in value)


#: By the type that a field is declared with: whether a value is of it, and what is expected, in words.
_KINDS: dict[Any, tuple[Callable[[Any], bool], str]] = {
    float: (_is_number, "a number"),
    int: (lambda value: as_int(value) is not None, "a whole number"),
    bool: (
        lambda value: isinstance(value, (bool, np.bool_)) or (_is_number(value) and value in (0, 1)),
        "True or False",
    ),
    str: (lambda value: isinstance(value, str), "a text"),
    tuple[float, float]: (_are_numbers, "two numbers"),
}


def _plain(value: Any) -> Any:
    if hasattr(value, "settings"):
        return value.settings()
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    return list(value) if isinstance(value, tuple) else value


__all__ = ["SCHEDULES", "TRANSFORMS", "OptimizationSettings"]
