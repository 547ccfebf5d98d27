"""The classification models of torchvision."""

from __future__ import annotations

import os
import re
import sys
import urllib.parse
from pathlib import Path
from typing import Any

import torch
import torchvision
from torchvision import models as zoo
from torchvision.transforms.v2 import Normalize

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, WriteError
from captum_proto._utils.files import sha256
from captum_proto.models.checkpoints import load_state, read_state, renamed, with_metadata
from captum_proto.models.named import NamedModel
from captum_proto.models.registry import Request, register


def _architectures() -> list[str]:
    return sorted(zoo.list_models(module=zoo))


def _hash_prefix(url: str) -> str | None:
    match = re.search(r"-([0-9a-f]{8,64})\.\w+$", url)
    return match[1] if match else None


def _official_file(weights: Any, download: bool) -> Path | None:
    """torchvision's own file of some weights, from the cache of ``torch.hub``; fetched into it only if the caller allows that."""
    file_name = os.path.basename(urllib.parse.urlparse(weights.url).path)
    path = Path(torch.hub.get_dir()) / "checkpoints" / file_name
    if path.is_file():
        prefix = _hash_prefix(weights.url)
        if prefix and not sha256(path).startswith(prefix):
            raise InputError(
                f'"{path}" is damaged: its name and its content disagree; delete it and load the model again.'
            )
        return path
    if not download:
        return None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), _hash_prefix(weights.url), progress=sys.stderr.isatty())
    except (OSError, RuntimeError) as error:
        raise WriteError(
            f"{file_name} could not be downloaded ({error}); pass checkpoint=FILE, or pretrained=False for random weights."
        ) from error
    return path


def _as_of_today(architecture: str, state: dict[str, Any]) -> dict[str, Any]:
    """torchvision's published weights under the names that its modules have now, without the heads used in training alone."""
    if architecture in ("googlenet", "inception_v3"):
        heads = ("aux1.", "aux2.", "AuxLogits.")
        kept = {key: value for key, value in state.items() if not key.removeprefix("module.").startswith(heads)}
        state = kept if (metadata := getattr(state, "_metadata", None)) is None else with_metadata(kept, metadata)
    if architecture.startswith("densenet"):
        state = renamed(state, lambda key: re.sub(r"(denselayer\d+\.(?:norm|conv))\.([12])(?=\.|$)", r"\1\2", key))
    return state


@register(
    "torchvision:.*",
    shown="torchvision:NAME",
    names=lambda: [f"torchvision:{architecture}" for architecture in _architectures()],
)
def torchvision_model(request: Request) -> NamedModel:
    """A classification model of torchvision, with the weights of torch.hub's cache unless others are asked for."""
    architecture = request.bare_name
    if architecture not in (known := _architectures()):
        raise InputError(
            f'torchvision {torchvision.__version__} has no classification model "{architecture}"'
            f"{nearest(architecture, known) or '; see captum_proto.models.model_names().'}"
        )
    request.refuse(image_shape=request.image_shape)
    published = zoo.get_model_weights(architecture)
    weights = published.DEFAULT
    path, digest = request.checkpoint, ""
    if path is not None and path.is_file():
        # A published file is known by its hash, and brings the image size and resizing of its own evaluation.
        digest = sha256(path)
        same = (w for w in published if w.meta["categories"] and digest.startswith(_hash_prefix(w.url) or "none"))
        weights = next(same, weights)
    elif path is None and request.pretrained:
        if request.num_classes not in (None, len(weights.meta["categories"])):
            raise InputError(
                f'num_classes is {request.num_classes}, but the published weights of "{request.name}" have '
                f"{len(weights.meta['categories'])} classes; pass a checkpoint, or pretrained=False for random weights."
            )
        path = _official_file(weights, request.download)
    evaluation = weights.transforms()
    side = evaluation.crop_size[0]
    count = request.num_classes or len(weights.meta["categories"])
    options: dict[str, Any] = {"num_classes": count}
    if architecture in ("googlenet", "inception_v3"):
        # transform_input: the published weights expect another normalization and change ImageNet's into it themselves.
        options |= {"aux_logits": False, "transform_input": True, "init_weights": path is None}
    if architecture.startswith("vit_"):
        options["image_size"] = side
    model = zoo.get_model(architecture, weights=None, **options)
    settings: dict[str, Any] = {"weights": request.random}
    if path is not None:
        state = _as_of_today(architecture, read_state(path))
        load_state(model, state, str(path), request.name, can_resize=True)
        settings["weights"] = f"torchvision {weights} ({path.name})"
        if request.checkpoint is not None:
            settings["weights"] = f"{path} (sha256 {digest})"
    elif request.pretrained:
        request.warn_of_random_weights()
    settings |= {"evaluation": str(weights), "torchvision": torchvision.__version__}
    if options.get("transform_input"):
        settings["transform_input"] = True
    return NamedModel(
        request.name,
        model,
        Normalize(evaluation.mean, evaluation.std),
        (3, side, side),
        list(weights.meta["categories"]) if count == len(weights.meta["categories"]) else None,
        settings,
        evaluation.resize_size[0] / side,
        evaluation.interpolation.value,
    )
