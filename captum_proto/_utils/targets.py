"""What a target means here: a class, one class for each prototype, or a group of classes whose score is the logsumexp of its logits."""

from __future__ import annotations

from collections import Counter
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, InputTypeError

#: The classes of one prototype; a single class is a group of one.
Target = tuple[int, ...]

_EXPECTED = (
    "expected an int, a list or 1-D tensor of ints (one prototype each), or a nested list (a group of classes each)"
)


def _class_index(value: Any) -> int:
    if isinstance(value, Tensor) and value.dim() == 0 and not value.is_floating_point() and value.dtype != torch.bool:
        return int(value)
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputTypeError(f"target {value!r} is a {type(value).__name__}; {_EXPECTED}.")
    return int(value)


def _group(value: Any) -> Target:
    if isinstance(value, Tensor) and value.dim() == 1:
        value = value.tolist()
    if isinstance(value, tuple) and len(value) != 1:
        raise InputTypeError(
            f"target {value!r} is Captum's index into an output of more than two dimensions; the output here is (N, K): for a group "
            f"of classes give a nested list, [{list(value)!r}]."
        )
    if isinstance(value, (list, tuple, range, set, frozenset)):
        if not value:
            raise InputError("target holds an empty group; give each group at least one class.")
        return tuple(sorted({_class_index(v) for v in value}))
    return (_class_index(value),)


def parse_targets(target: Any, expand_to: int | None = None) -> list[Target]:
    """
    The group of classes of each prototype.

    Args:
        target (TargetType or nested list): As in Captum for an output (N, K): an int, a list, a tensor; or a nested list of groups.
        expand_to (int, optional): The number of images the targets are for; a single target serves them all. Default: None

    Returns:
        list[Target]: One for each prototype.

    Raises:
        TypeError: If ``target`` is of another type.
        ValueError: If it is empty, or does not match the number of images.
    """
    if target is None:
        raise InputTypeError(f"target is None; {_EXPECTED}.")
    groups: list[Target]
    if isinstance(target, Tensor):
        if target.is_floating_point() or target.is_complex() or target.dtype == torch.bool or target.dim() > 1:
            raise InputTypeError(f"target is a {target.dtype} tensor of shape {tuple(target.shape)}; {_EXPECTED}.")
        groups = [(int(v),) for v in target.flatten().tolist()]
    elif isinstance(target, np.ndarray):
        return parse_targets(target.tolist(), expand_to)
    elif isinstance(target, (list, range)):
        groups = [_group(v) for v in target]
    else:
        groups = [_group(target)]
    if not groups:
        raise InputError("target is empty; name at least one class.")
    if expand_to is not None and len(groups) != expand_to:
        if len(groups) != 1:
            raise InputError(
                f"{len(groups)} targets were given for {expand_to} images; give one, or one for each image."
            )
        groups = groups * expand_to
    return groups


def occurrence_seeds(groups: list[Target], seed: Any) -> list[int]:
    """
    A seed for each prototype: the k-th prototype of a class gets ``seed + k``, so it is the same one whatever else is asked for.

    Args:
        groups (list[Target]): The classes of each prototype.
        seed (int or sequence of int): The first seed, or one for each prototype, also as a tensor or an array.

    Raises:
        TypeError: If ``seed`` is neither an int nor a sequence of them.
        ValueError: If a sequence of seeds does not match the prototypes.
    """
    if not isinstance(seed, Integral):
        given = seed.tolist() if isinstance(seed, (Tensor, np.ndarray)) else seed
        if not isinstance(given, (list, tuple, range)) or not all(isinstance(one, Integral) for one in given):
            raise InputTypeError(f"seed is {seed!r}; expected an int, or one int for each prototype.")
        seeds = [int(one) for one in given]
        if len(seeds) != len(groups):
            raise InputError(
                f"{len(seeds)} seeds were given for {len(groups)} prototypes; give one int, or one seed for each."
            )
        return seeds
    seen: Counter[Target] = Counter()
    seeds = []
    for group in groups:
        seeds.append(int(seed) + seen[group])
        seen[group] += 1
    return seeds


def target_mask(groups: list[Target], classes: int, device: torch.device) -> Tensor:
    """
    Which classes each prototype is for: (N, K) bool.

    Raises:
        ValueError: If a class is out of range.
    """
    mask = torch.zeros(len(groups), classes, dtype=torch.bool)
    for row, group in zip(mask, groups, strict=True):
        for index in group:
            if not 0 <= index < classes:
                raise InputError(
                    f"target {index} is out of range: the model has {classes} classes, 0 to {classes - 1}."
                )
            row[index] = True
    return mask.to(device)
