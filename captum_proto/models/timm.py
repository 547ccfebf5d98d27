"""The models of timm."""

from __future__ import annotations

import math

from torchvision.transforms.v2 import Normalize

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, WriteError
from captum_proto.data.images import INTERPOLATIONS
from captum_proto.models.named import NamedModel
from captum_proto.models.registry import Request, imagenet_names, register


@register("timm:.*", shown="timm:NAME", foreign=True)
def timm_model(request: Request) -> NamedModel:
    """A model of timm, downloaded only if the caller allows that."""
    timm, data = request.require("timm", "timm"), request.require("timm.data", "timm")
    architecture = request.bare_name
    request.refuse(image_shape=request.image_shape)
    if not timm.is_model(architecture):
        raise InputError(
            f'timm {timm.__version__} has no model "{architecture}"'
            f"{nearest(architecture, timm.list_models()) or '; see timm.list_models().'}"
        )
    options = {} if request.num_classes is None else {"num_classes": request.num_classes}
    fetch = request.checkpoint is None and request.pretrained and request.download
    try:
        model = timm.create_model(architecture, pretrained=fetch, **options)
    except Exception as error:  # whatever the hub, the network or timm's registry raises
        if fetch:
            raise WriteError(
                f'the weights of "{request.name}" could not be had ({error}); pass checkpoint=FILE, or pretrained=False for random weights.'
            ) from error
        raise InputError(f'"{request.name}" cannot be built: {error}.') from error
    if not model.num_classes:
        raise InputError(
            f'"{request.name}" gives features and no classes; pass num_classes with a checkpoint of yours.'
        )
    config = data.resolve_model_data_config(model)
    weights = request.random
    if request.checkpoint is not None:
        weights = request.load_checkpoint(model, request.checkpoint, can_resize=True)
    elif fetch:
        tag = model.pretrained_cfg.get("tag")
        weights = f"timm {model.pretrained_cfg['architecture']}{f'.{tag}' if tag else ''}"
    elif request.pretrained:
        request.warn_of_random_weights()
    subset = data.infer_imagenet_subset(model)
    names = imagenet_names(model.num_classes)
    if names is None and subset is not None:
        names = data.ImageNetInfo(subset).label_descriptions()
    channels, height, width = config["input_size"]
    settings = {"weights": weights, "timm": timm.__version__, "crop_mode": config["crop_mode"]}
    return NamedModel(
        request.name,
        model,
        Normalize(config["mean"], config["std"]),
        (channels, height, width),
        names,
        settings,
        max(1.0, math.floor(min(height, width) / config["crop_pct"]) / min(height, width)),
        config["interpolation"] if config["interpolation"] in INTERPOLATIONS else "bilinear",
    )
