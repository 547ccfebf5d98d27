"""Targets as Captum has them, and superclasses: several classes whose score is the logsumexp of their logits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.checks import as_int
from captum_proto._utils.errors import InputError, InputTypeError

#: The classes of one prototype: one, or those of a superclass.
Target = tuple[int, ...]

_EXPECTED = "expected an int, a list or 1-D tensor of ints (one prototype each), or a nested list (a superclass each)"


def _class_index(value: Any) -> int:
    index = as_int(value)
    if index is None:
        raise InputTypeError(f"target {value!r} is a {type(value).__name__}; {_EXPECTED}.")
    return index


def class_set(classes: Any) -> Target:
    """
    The classes of one prototype.

    Args:
        classes (int or iterable of int): A class, or those of a superclass; of Python, NumPy or PyTorch.

    Raises:
        TypeError: If it is of another type.
        ValueError: If it is empty.
    """
    return _target(list(classes) if as_int(classes) is None and isinstance(classes, Iterable) else classes)


def _target(value: Any) -> Target:
    if isinstance(value, (Tensor, np.ndarray)) and value.ndim == 1:
        value = value.tolist()
    if isinstance(value, tuple) and len(value) != 1:
        raise InputTypeError(
            f"target {value!r} is Captum's index into an output of more than two dimensions; the output here is (N, K): for a "
            f"superclass give a nested list, [{list(value)!r}]."
        )
    if isinstance(value, (list, tuple, range, set, frozenset)):
        if not value:
            raise InputError("target holds an empty superclass; give each at least one class.")
        return tuple(sorted({_class_index(v) for v in value}))
    return (_class_index(value),)


def parse_targets(target: Any, expand_to: int | None = None) -> list[Target]:
    """
    The classes of each prototype.

    Args:
        target (TargetType or nested list): As in Captum for an output (N, K): an int, a list, a tensor; or a nested list of superclasses.
        expand_to (int, optional): The number of images the targets are for; a single target serves them all. Default: None

    Returns:
        list[Target]: One for each prototype.

    Raises:
        TypeError: If ``target`` is of another type.
        ValueError: If it is empty, or does not match the number of images.
    """
    if target is None:
        raise InputTypeError(f"target is None; {_EXPECTED}.")
    targets: list[Target]
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool or target.dim() > 1:
            raise InputTypeError(f"target is a {target.dtype} tensor of shape {tuple(target.shape)}; {_EXPECTED}.")
        targets = [(int(v),) for v in target.flatten().tolist()]
    elif isinstance(target, np.ndarray):
        return parse_targets(target.tolist(), expand_to)
    elif isinstance(target, (list, range)):
        targets = [_target(v) for v in target]
    else:
        targets = [_target(target)]
    if not targets:
        raise InputError("target is empty; name at least one class.")
    if expand_to is not None and len(targets) != expand_to:
        if len(targets) != 1:
            raise InputError(
                f"{len(targets)} targets were given for {expand_to} images; give one, or one for each image."
            )
        targets = targets * expand_to
    return targets


def occurrence_seeds(targets: list[Target], seed: Any) -> list[int]:
    """
    A seed for each prototype: the k-th prototype of a class gets ``seed + k``, so it is the same one whatever else is asked for.

    Args:
        targets (list[Target]): The classes of each prototype.
        seed (int or sequence of int): The first seed, or one for each prototype, also as a tensor or an array.

    Raises:
        TypeError: If ``seed`` is neither an int nor a sequence of them.
        ValueError: If a sequence of seeds does not match the prototypes.
    """
    first = as_int(seed)
    if first is None:
        given = seed.tolist() if isinstance(seed, (Tensor, np.ndarray)) else seed
        each = [as_int(value) for value in given] if isinstance(given, (list, tuple, range)) else [None]
        seeds = [value for value in each if value is not None]
        if len(seeds) < len(each):
            raise InputTypeError(f"seed is {seed!r}; expected an int, or one int for each prototype.")
        if len(seeds) != len(targets):
            raise InputError(
                f"{len(seeds)} seeds were given for {len(targets)} prototypes; give one int, or one seed for each."
            )
        return seeds
    seen: Counter[Target] = Counter()
    seeds = []
    for target in targets:
        seeds.append(first + seen[target])
        seen[target] += 1
    return seeds


def target_mask(targets: list[Target], classes: int, device: torch.device) -> Tensor:
    """
    Which classes each prototype is for: (N, K) bool.

    Raises:
        ValueError: If a class is out of range.
    """
    mask = torch.zeros(len(targets), classes, dtype=torch.bool)
    for row, target in zip(mask, targets, strict=True):
        for index in target:
            if not 0 <= index < classes:
                raise InputError(
                    f"target {index} is out of range: the model has {classes} classes, 0 to {classes - 1}."
                )
            row[index] = True
    return mask.to(device)


def outcomes(logits: Tensor) -> Tensor:
    """
    The logits of outcomes of which one is the case, (N, K): those of the classes; of a network with one, that and its absence.

    A single logit is that of binary cross-entropy: the class's absence has the logit 0, so that its softmax is the sigmoid.
    """
    return logits if logits.shape[1] != 1 else torch.nn.functional.pad(logits, (0, 1))


def class_probabilities(logits: Tensor) -> Tensor:
    """The probability of each class, (N, K): the softmax of the logits; of a single logit the sigmoid."""
    return outcomes(logits).softmax(1)[:, : logits.shape[1]]
