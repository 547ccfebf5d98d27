"""Checks of features and of the classes that their rows are of, for the measures that compare pictures with photographs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target, parse_targets


def checked_features(features: Any, name: str, like: Tensor | None = None) -> Tensor:
    """
    Features (N, D) in float64 on the CPU.

    Args:
        features (Tensor): What was given.
        name (str): What it is called in messages.
        like (Tensor, optional): Other features, which D must be alike with. Default: None

    Raises:
        InputTypeError: If it is no floating-point tensor.
        InputError: If it is of another shape, empty, or not finite.
    """
    if not isinstance(features, Tensor) or not features.is_floating_point():
        got = f"a {features.dtype} tensor" if isinstance(features, Tensor) else f"a {type_name(features)}"
        raise InputTypeError(f"{name} is {got}; expected a float tensor (N, D), the features of each picture.")
    if features.dim() != 2 or not features.numel():
        raise InputError(
            f"{name} has shape {tuple(features.shape)}; expected (N, D), the features of at least one picture."
        )
    if not bool(features.isfinite().all()):
        row = int((~features.isfinite()).any(1).nonzero()[0])
        raise InputError(
            f"{name} holds NaN or infinity in row {row}; expected finite features: check the network and its input."
        )
    if like is not None and features.shape[1] != like.shape[1]:
        raise InputError(
            f"{name} has {features.shape[1]} features of each picture, and those it is compared with have {like.shape[1]}; take both from "
            "the same layer of the same network."
        )
    return features.detach().cpu().double()


def unit_rows(features: Tensor) -> Tensor:
    """Rows as unit vectors, whose dot products are cosines; a row of zeros stays zero: its cosine with anything is 0."""
    return torch.nn.functional.normalize(features, dim=1)


def checked_labels(labels: Any, count: int) -> Tensor:
    """
    The class of each photograph, (N,) int64.

    Raises:
        InputTypeError: If they are not whole numbers.
        InputError: If there are not ``count`` of them.
    """
    found = torch.as_tensor(labels).detach().cpu()
    if found.is_floating_point() or found.dtype == torch.bool or found.dim() != 1:
        raise InputTypeError(
            f"labels is a {found.dtype} tensor of shape {tuple(found.shape)}; expected whole numbers, one for each photograph."
        )
    if len(found) != count:
        raise InputError(f"{len(found)} labels were given for {count} photographs; give one for each.")
    return found.long()


def targets_with_photographs(target: Any, count: int, labels: Tensor) -> list[tuple[Target, Tensor]]:
    """
    The classes of each of ``count`` pictures, and which photographs are of them: (M,) bool.

    Raises:
        TypeError, ValueError: If a target is none, or there is no photograph of it.
    """
    targets = parse_targets(target, count)
    own = {classes: torch.isin(labels, torch.tensor(classes)) for classes in set(targets)}
    missing = sorted(classes for classes, which in own.items() if not bool(which.any()))
    if missing:
        raise InputError(
            f"there are no photographs of the target{'s' if len(missing) > 1 else ''} "
            f"{', '.join(str(list(classes)) for classes in missing[:3])}; give some of each, or leave these pictures out."
        )
    return [(classes, own[classes]) for classes in targets]


def checked_own(own: Any, count: int, photographs: int) -> Tensor:
    """
    Which photograph each picture is itself, -1 for none: (N,) int64.

    Raises:
        InputError: If there are not ``count`` of them, or there is no such photograph.
    """
    if own is None:
        return torch.full((count,), -1)
    places = torch.as_tensor(own).detach().cpu().long()
    if places.shape != (count,) or not bool(((places >= -1) & (places < photographs)).all()):
        raise InputError(
            f"own has shape {tuple(places.shape)} and values from {int(places.min()) if places.numel() else '–'} to "
            f"{int(places.max()) if places.numel() else '–'}; expected ({count},): of each picture the number of the photograph that it is "
            f"itself, 0 to {photographs - 1}, or -1."
        )
    return places


__all__ = ["checked_features", "checked_labels", "checked_own", "targets_with_photographs", "unit_rows"]
