"""The photographs that come with scikit-image: natural images that are at hand without a download."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch
from torch import Tensor

from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto.data.collection import TensorCollection
from captum_proto.data.images import ImageGeometry, decoded

#: Files of the package itself: others it would download.
_FILES = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "chelsea.png",
    "clock_motion.png",
    "coffee.png",
    "coins.png",
    "grass.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "moon.png",
    "motorcycle_left.png",
    "page.png",
    "retina.jpg",
    "rocket.jpg",
    "text.png",
)
#: Left, top, right and bottom as shares of the photograph: all of it, and its quarters.
_PARTS = ((0, 0, 1, 1), (0, 0, 0.5, 0.5), (0.5, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0.5, 0.5, 1, 1))


def photographs(geometry: ImageGeometry) -> TensorCollection:
    """
    The photographs that are part of scikit-image's package, each whole and in quarters: people, animals, things and textures.

    Args:
        geometry (ImageGeometry): The shape of the images: each part is resized to just cover it, and cropped at its center.

    Returns:
        TensorCollection: Five images of each photograph, labeled with its number in the order of the files' names.

    Raises:
        MissingPackageError: If scikit-image is not installed.
        InputError: If it brings none of these photographs.

    Examples::

        >>> images = photographs(ImageGeometry((3, 64, 64)))
        >>> len(images) % 5, images.labeled.images.shape[1:]
        (0, torch.Size([3, 64, 64]))
    """
    found = importlib.util.find_spec("skimage")
    if found is None or found.origin is None:
        raise MissingPackageError(
            "photographs need the package scikit-image, which is not installed; run: pip install scikit-image"
        )
    folder = Path(found.origin).parent / "data"
    paths = [folder / name for name in _FILES if (folder / name).is_file()]
    if not paths:
        raise InputError(f'scikit-image brings none of {", ".join(_FILES[:3])} and others in "{folder}"; update it.')
    images = torch.stack([part for path in paths for part in _parts(path, geometry)])
    return TensorCollection(images, torch.arange(len(paths)).repeat_interleave(len(_PARTS)), name="photographs")


def _parts(path: Path, geometry: ImageGeometry) -> list[Tensor]:
    from torchvision.transforms.v2 import functional as transforms

    channels, height, width = geometry.image_shape
    with decoded(path) as file:
        image = file.convert("L" if channels == 1 else "RGB")
    parts = []
    wide, tall = image.size
    for left, top, right, bottom in _PARTS:
        part = image.crop((round(left * wide), round(top * tall), round(right * wide), round(bottom * tall)))
        scale = max(height / part.height, width / part.width)
        size = [max(height, round(part.height * scale)), max(width, round(part.width * scale))]
        part = transforms.center_crop(transforms.resize(part, size, antialias=True), [height, width])
        parts.append(transforms.to_dtype(transforms.pil_to_tensor(part), torch.float32, scale=True))
    return parts


__all__ = ["photographs"]
