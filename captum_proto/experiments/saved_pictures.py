"""What networks make of prototypes as their 8-bit pictures hold them: the one they were made with, and others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target
from captum_proto.attr import Prototypes
from captum_proto.metrics import as_saved, classes_in, recognition, recognized
from captum_proto.metrics.recognition import Recognition
from captum_proto.metrics.verifier import check_verifiers
from captum_proto.models import NamedModel


def saved_recognition(named: NamedModel, prototypes: Prototypes) -> dict[str, list[Any]] | None:
    """
    What a model makes of prototypes as their 8-bit pictures hold them, without transforms.

    Args:
        named (NamedModel): The model.
        prototypes (Prototypes): At least one.

    Returns:
        dict, optional: Of each prototype "top1" and "top5", whether the model has its class first or among its first five, and "p", its
        probability. None where pictures do not hold all of an image, because it has neither one channel nor three, or the model has no
        finite logits for one.
    """
    pictures = _pictures(prototypes)
    if pictures is None:
        return None
    low, high = _range(prototypes)
    pipeline = Pipeline(named.model, named.preprocess)
    rows = []
    for images in torch.split(pictures * (high - low) + low, 16):
        with torch.no_grad(), borrowed(named.model):
            rows.append(pipeline(images.to(pipeline.device, pipeline.image_dtype)).cpu())
    logits = torch.cat(rows)
    if not bool(logits.isfinite().all()):
        return None
    return _by_picture(recognized(logits, [list(target) for target in prototypes.target]))


def verified_recognition(
    named: NamedModel, prototypes: Prototypes, verifiers: Sequence[NamedModel]
) -> dict[str, dict[str, Any]]:
    """
    What other networks make of prototypes as their 8-bit pictures hold them, resized to their own size.

    Args:
        named (NamedModel): The model that they were made with.
        prototypes (Prototypes): At least one.
        verifiers (sequence of NamedModel): The other networks.

    Returns:
        dict: By the name of a network, as :func:`saved_recognition` has it, and under "chance" what a network gets that ranks classes at
        random. Empty where pictures do not hold all of an image.
    """
    pictures = _pictures(prototypes)
    if pictures is None:
        return {}
    found = {}
    for verifier, classes in verifier_classes(named, prototypes.target, verifiers):
        seen = recognition(pictures.float(), [list(each) for each in prototypes.target], verifier, classes=classes)
        found[verifier.name] = {**_by_picture(seen), "chance": seen.chance}
    return found


def verifier_classes(
    named: NamedModel, targets: Sequence[Target], verifiers: Sequence[NamedModel]
) -> list[tuple[NamedModel, Mapping[int, int]]]:
    """
    Each verifier with its class by the model's.

    Args:
        named (NamedModel): The model.
        targets (sequence of Target): The classes that are needed.
        verifiers (sequence of NamedModel): Other networks.

    Raises:
        ValueError: If one is the model itself, takes other images, or lacks a class.
    """
    check_verifiers(named, verifiers)
    needed = [list(target) for target in targets]
    return [(verifier, classes_in(verifier, named.class_names, needed)) for verifier in verifiers]


def _range(prototypes: Prototypes) -> tuple[float, float]:
    low, high = prototypes.settings.get("value_range", (0.0, 1.0))
    return float(low), float(high)


def _pictures(prototypes: Prototypes) -> Tensor | None:
    """The prototypes as their files hold them, in [0, 1], where these hold them at all."""
    if prototypes.images.shape[1] not in (1, 3):
        return None
    low, high = _range(prototypes)
    return as_saved((prototypes.images.detach() - low) / (high - low))


def _by_picture(found: Recognition) -> dict[str, list[Any]]:
    p = [round(value, 6) for value in found.probability.tolist()]
    return {"top1": found.top1.tolist(), "top5": found.top5.tolist(), "p": p}


__all__ = ["saved_recognition", "verified_recognition", "verifier_classes"]
