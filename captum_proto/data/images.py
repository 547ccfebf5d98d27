"""One image file as a tensor: decoded, resized and cropped as a model's own evaluation does it."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from captum_proto._utils.checks import nearest
from captum_proto._utils.errors import InputError, MissingFileError, UnreadableImageError
from captum_proto._utils.reading import check_regular

#: What Pillow knows, but does not decode by itself: weather data, tables, films, drawings of Windows, programs of PostScript.
_NO_PICTURES = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")
#: No image of more pixels is decoded: 13,377 a side. Pillow's own limit, which holds whatever a program has set Pillow's to.
MOST_PIXELS = 178_956_970
#: What Pillow decodes in Python, byte by byte, and of which it takes seconds to decode as many.
_IN_PYTHON, _MOST_IN_PYTHON = ("BLP", "FITS", "MSP", "QOI", "XPM"), 2**23
#: Photographs that not every Pillow reads: where it does not, they are named as skipped instead of passed over.
_PHOTOGRAPHS = (".avif", ".heic", ".heif", ".jxl")
#: Of EXIF: which side of a stored image was up when a camera took it, 1 for the first row; 2 to 8 are turned or mirrored.
_ORIENTATION, _TURNED = 0x0112, range(2, 9)
INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")
#: Longer side over shorter side: an image beyond this has no center worth cropping, and takes gigabytes to enlarge.
_ELONGATED = 64


@dataclass(frozen=True)
class ImageGeometry:
    r"""
    The shape in which a model takes images, and how its own evaluation resizes them to it.

    Args:
        image_shape (Sequence[int]): (C, H, W) with C = 1 or 3.
        resize_ratio (float, optional): The resized image's side over the crop's, at least 1. Default: 256/224
        interpolation (str, optional): "nearest", "bilinear", "bicubic" or "lanczos". Default: "bilinear"
        exif_orientation (bool, optional): Whether to turn an image as its camera's EXIF orientation says. Default: False, as in
            torchvision's own evaluation

    Raises:
        ValueError: If an argument is out of range.

    Examples::

        >>> ImageGeometry([3, 224, 224], interpolation="bicubic").image_shape
        (3, 224, 224)
    """

    image_shape: Sequence[int]
    resize_ratio: float = 256 / 224
    interpolation: str = "bilinear"
    exif_orientation: bool = False

    def __post_init__(self) -> None:
        shape = tuple(operator.index(side) for side in self.image_shape)
        if len(shape) != 3 or shape[0] not in (1, 3) or min(shape) < 1:
            raise InputError(
                f"image_shape is {shape}; expected (C, H, W) with C = 1 (gray) or 3 (red, green, blue) and positive H and W."
            )
        if not (1 <= self.resize_ratio < math.inf):
            raise InputError(
                f"resize_ratio is {self.resize_ratio}; expected 1 or more: the resized image's shorter side over the crop's, e.g. "
                "256 / 224."
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(
                f'interpolation is "{self.interpolation}"; expected one of {", ".join(INTERPOLATIONS)}'
                f"{nearest(str(self.interpolation), INTERPOLATIONS) or '.'}"
            )
        object.__setattr__(self, "image_shape", shape)


def load_image(
    path: str | os.PathLike[str],
    image_shape: Sequence[int],
    resize_ratio: float = 256 / 224,
    interpolation: str = "bilinear",
    exif_orientation: bool = False,
) -> Tensor:
    r"""
    One image as a model sees it in evaluation: resized, antialiased, and cropped at its center.

    The image is resized until it just covers ``resize_ratio`` times (H, W), then (H, W) are cut from its center: what torchvision's own
    evaluation transforms do, to the last bit. Color becomes gray or gray becomes color as C says; of an animation the first frame is
    taken, of 16 bits the upper 8. As in torchvision's evaluation, a camera's EXIF orientation is not followed unless asked for.

    Args:
        path (str or os.PathLike): The image file, in any format that Pillow reads.
        image_shape (Sequence[int]): (C, H, W) with C = 1 or 3.
        resize_ratio (float, optional): The resized image's side over the crop's, at least 1. Default: 256/224
        interpolation (str, optional): "nearest", "bilinear", "bicubic" or "lanczos". Default: "bilinear"
        exif_orientation (bool, optional): Whether to turn the image as its camera's EXIF orientation says. Default: False

    Returns:
        Tensor: Shape (C, H, W), float32 in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not a whole image, or an argument is out of range.

    Examples::

        >>> import tempfile
        >>> from PIL import Image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Image.new("RGB", (640, 480), "red").save(f"{folder}/red.png")
        ...     image = load_image(f"{folder}/red.png", (3, 224, 224))
        >>> image.shape, image[:, 0, 0].tolist()
        (torch.Size([3, 224, 224]), [1.0, 0.0, 0.0])
    """
    geometry = ImageGeometry(image_shape, resize_ratio, interpolation, exif_orientation)
    if not os.path.isfile(path):
        raise MissingFileError(f'there is no file "{os.fspath(path)}"; give the path of an image.')
    return read_image(os.fspath(path), geometry).image


def is_image_name(name: str) -> bool:
    """Whether a file's name ends as those of images do, in any format that Pillow reads."""
    ending = os.path.splitext(name)[1].lower()
    kind = Image.registered_extensions().get(ending)
    decoded = kind in Image.OPEN and kind not in _NO_PICTURES
    return decoded or kind == "MPO" or ending in _PHOTOGRAPHS  # an MPO is opened as the JPEG that it begins with


class ReadImage(NamedTuple):
    """
    What was read of a file.

    Attributes:
        image (Tensor): Shape (C, H, W), float32 in [0, 1].
        turned (bool): Whether its camera's EXIF orientation says that the stored image is not upright, followed or not.
    """

    image: Tensor
    turned: bool


def read_image(path: str, geometry: ImageGeometry) -> ReadImage:
    """
    A file as a tensor (C, H, W), resized and cropped as the geometry says.

    Raises:
        UnreadableImageError: If there is no such file, or it is not a whole image.
    """
    from torchvision.transforms import InterpolationMode  # rows of tables, which are data too, do without
    from torchvision.transforms.v2 import functional as transforms

    channels, height, width = geometry.image_shape
    image, turned = _decode(path, channels, geometry.exif_orientation)
    tall, wide = round(height * geometry.resize_ratio), round(width * geometry.resize_ratio)
    if tall * image.width >= wide * image.height:
        size = [tall, max(int(tall * image.width / image.height), wide)]
    else:
        size = [max(int(wide * image.height / image.width), tall), wide]
    image = transforms.resize(image, size, interpolation=InterpolationMode(geometry.interpolation), antialias=True)
    image = transforms.center_crop(image, [height, width])
    return ReadImage(transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True), turned)


def whole_image(path: str | os.PathLike[str], size: tuple[int, int]) -> Tensor:
    """
    The whole of an image file in color, resized without regard to its proportions, bilinear and antialiased.

    Args:
        path (str or os.PathLike): The file.
        size (tuple[int, int]): Rows and columns.

    Returns:
        Tensor: (3, H, W), float32 in [0, 1].

    Raises:
        UnreadableImageError: If there is no such file, or it is not a whole image.
    """
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    image, _ = _decode(os.fspath(path), 3, False)
    if (image.height, image.width) != tuple(size):
        image = transforms.resize(image, list(size), interpolation=InterpolationMode.BILINEAR, antialias=True)
    return transforms.to_dtype(transforms.pil_to_tensor(image), torch.float32, scale=True)


def label_map(path: str | os.PathLike[str]) -> NDArray[np.int64]:
    """
    The numbers in a label map: an image of one channel as they are; one in color as red + 256 · green, as in Broden.

    Args:
        path (str or os.PathLike): A file without losses, such as PNG.

    Returns:
        ndarray: (h, w), int64.

    Raises:
        UnreadableImageError: If there is no such file, or it is not a whole image of numbers.
    """
    with decoded(path) as file:
        mode, values = file.mode, np.asarray(file)
    if mode in ("L", "P", "1") or mode.startswith("I"):
        return values.astype(np.int64)
    if mode in ("RGB", "RGBA"):
        return values[:, :, 0].astype(np.int64) + 256 * values[:, :, 1].astype(np.int64)
    raise UnreadableImageError(os.fspath(path), f"pixels of mode {mode}, which are no labels")


@cache
def _decoded_formats() -> list[str]:
    """What Pillow decodes by itself, by its names, the usual ones first."""
    Image.preinit()
    Image.init()
    return [kind for kind in Image.ID if kind not in _NO_PICTURES]


@contextmanager
def decoded(path: str | os.PathLike[str]) -> Iterator[Image.Image]:
    """
    An image file of anyone, decoded, for the length of a ``with`` block in which it is made into something else.

    What a file holds says what it is, not what it is called: so what Pillow would give to another program, as PostScript to Ghostscript, is
    no image here by whatever name. How many pixels it has is known before they are decoded.

    Raises:
        UnreadableImageError: If there is no such file, it is no file that ends, or not a whole image of at most 179 million pixels; in
            place of whatever the block raises on it too.
    """
    name = os.fspath(path)
    try:
        check_regular(path)
        with Image.open(path, formats=_decoded_formats()) as file:
            limit = _MOST_IN_PYTHON if file.format in _IN_PYTHON else MOST_PIXELS
            if file.width * file.height > limit:
                raise ValueError(
                    f"{file.width} x {file.height} pixels, and of {file.format} at most {limit:,} are decoded"
                )
            file.load()
            yield file
    except UnreadableImageError:
        raise
    except UnidentifiedImageError as error:
        raise UnreadableImageError(name, "not an image that Pillow can read") from error
    except Exception as error:
        # On damaged files Pillow's decoders raise nearly anything.
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise UnreadableImageError(name, reason.rstrip(".")) from error


def pixel_size(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """How wide and how high the image in a file is, as it says itself; None where it cannot be read."""
    try:
        check_regular(path)
        with Image.open(path, formats=_decoded_formats()) as file:
            return file.size
    except Exception:  # reading it says why
        return None


def _decode(path: str, channels: int, exif_orientation: bool) -> tuple[Image.Image, bool]:
    """The first frame of a file, decoded in full, as 8-bit gray or RGB, and whether its EXIF orientation says that it is not upright."""
    with decoded(path) as file:
        turned = _is_turned(file)
        upright = ImageOps.exif_transpose(file) if turned and exif_orientation else file
        image = _eight_bits(upright, path).convert("L" if channels == 1 else "RGB")
    if max(image.size) > _ELONGATED * min(image.size):
        raise UnreadableImageError(path, f"{image.width} x {image.height} pixels, too elongated to crop the center")
    return image, turned


def _is_turned(image: Image.Image) -> bool:
    """Whether an image that is decoded has an EXIF orientation that turns or mirrors it. Pillow turns a TIFF itself."""
    try:
        return image.getexif().get(_ORIENTATION) in _TURNED
    # Which error depends on where the bytes are damaged: Pillow's reader of EXIF checks few of them before it computes with them.
    except Exception:
        return False  # the image itself is none the worse for it


def _eight_bits(image: Image.Image, path: str) -> Image.Image:
    """An image whose conversion to gray or RGB loses no more than it must."""
    if image.mode.startswith("I"):
        # Pillow cuts 16 bits off at 255 where it should scale them.
        values = np.asarray(image)
        if values.size and (values.min() < 0 or values.max() > 65535):
            raise UnreadableImageError(
                path, f"integers from {values.min()} to {values.max()}, which have no known white"
            )
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.mode == "F":
        raise UnreadableImageError(path, "floating-point values, which have no known white")
    if image.mode == "P" and "transparency" in image.info:
        return image.convert("RGBA")
    return image
