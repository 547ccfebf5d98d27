"""A classifier with all that is needed to show it images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto._utils.model import device_of, fingerprint
from captum_proto.data.images import ImageGeometry


@dataclass
class NamedModel:
    r"""
    A classifier with all that is needed to show it images.

    Attributes:
        name (str): The name it was loaded by.
        model (nn.Module): In evaluation mode; from preprocessed images (N, C, H, W) to logits (N, K).
        preprocess (Callable, optional): From images in [0, 1], (N, C, H, W), to the model's input, or None.
        image_shape (tuple[int, int, int]): (C, H, W) of the images.
        class_names (list[str], optional): K names, or None where they are not known.
        settings (dict[str, Any]): Where the weights come from, under ``"weights"``, and whatever else a result should record. JSON.
        resize_ratio (float): The resized image's side over the crop's in the model's own evaluation.
        interpolation (str): How that evaluation resizes.
        exif_orientation (bool): Whether image files are turned as their cameras' EXIF orientation says; that evaluation does not.
    """

    name: str
    model: nn.Module
    preprocess: Callable[[Tensor], Tensor] | None
    image_shape: tuple[int, int, int]
    class_names: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    resize_ratio: float = 256 / 224
    interpolation: str = "bilinear"
    exif_orientation: bool = False

    def provenance(self) -> dict[str, Any]:
        """What to record of the model with a result: its name and settings, its device, and the fingerprint of its weights."""
        settings = {name: str(value) for name, value in self.settings.items()}
        return {
            "name": self.name,
            **settings,
            "device": str(device_of(self.model)),
            "fingerprint": fingerprint(self.model),
            **({"exif_orientation": True} if self.exif_orientation else {}),
        }

    @property
    def geometry(self) -> ImageGeometry:
        """The shape of the images and how they get it, for :meth:`captum_proto.data.Collection.batches_for`."""
        return ImageGeometry(self.image_shape, self.resize_ratio, self.interpolation, self.exif_orientation)

    def logits(self, images: Tensor) -> Tensor:
        r"""
        The model's logits of images, preprocessing included.

        Args:
            images (Tensor): Shape (N, C, H, W), in [0, 1], on the model's device.

        Returns:
            Tensor: Shape (N, K).

        Examples::

            >>> from captum_proto.models import load_model
            >>> digits = load_model("digits", pretrained=False)
            >>> digits.logits(torch.rand(2, *digits.image_shape)).shape
            torch.Size([2, 10])
        """
        output: Tensor = self.model(images if self.preprocess is None else self.preprocess(images))
        return output


def checked_shape(image_shape: Iterable[int]) -> tuple[int, int, int]:
    """
    An image shape as a tuple (C, H, W).

    Raises:
        InputError: If it is not three positive numbers.
    """
    sides = tuple(int(side) for side in image_shape)
    if len(sides) != 3 or min(sides) < 1:
        raise InputError(f"image_shape is {sides}; expected (C, H, W), all of them positive.")
    return sides[0], sides[1], sides[2]
