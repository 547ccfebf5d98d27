"""A classifier with all that is needed to show it images."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torchvision import models as zoo

from captum_proto._utils.errors import InputError, MissingPackageError
from captum_proto._utils.files import sha256
from captum_proto._utils.model import device_of, fingerprint
from captum_proto.models.checkpoints import load_state, read_state


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
        resize_ratio (float): The resized image's side over the crop's in the model's own evaluation, for
            :meth:`captum_proto.data.ImageCollection.batches`.
        interpolation (str): How that evaluation resizes.
    """

    name: str
    model: nn.Module
    preprocess: Callable[[Tensor], Tensor] | None
    image_shape: tuple[int, int, int]
    class_names: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    resize_ratio: float = 256 / 224
    interpolation: str = "bilinear"

    def provenance(self) -> dict[str, Any]:
        """What to record of the model with a result: its name and settings, its device, and the fingerprint of its weights."""
        settings = {name: str(value) for name, value in self.settings.items()}
        return {
            "name": self.name,
            **settings,
            "device": str(device_of(self.model)),
            "fingerprint": fingerprint(self.model),
        }

    def logits(self, images: Tensor) -> Tensor:
        r"""
        The model's logits of images, preprocessing included.

        Args:
            images (Tensor): Shape (N, C, H, W), in [0, 1], on the model's device.

        Returns:
            Tensor: Shape (N, K).

        Examples::

            >>> digits = load_model("digits", pretrained=False)
            >>> digits.logits(torch.rand(2, *digits.image_shape)).shape
            torch.Size([2, 10])
        """
        output: Tensor = self.model(images if self.preprocess is None else self.preprocess(images))
        return output


@dataclass(frozen=True)
class _Request:
    """What the caller of :func:`load_model` asked for."""

    name: str
    checkpoint: Path | None
    pretrained: bool
    download: bool
    seed: int
    num_classes: int | None
    image_shape: tuple[int, int, int] | None

    @property
    def random(self) -> str:
        return f"random (seed {self.seed})"

    def refuse(self, **arguments: Any) -> None:
        """Raise for arguments that mean nothing to this model."""
        for argument, value in arguments.items():
            if value is not None:
                raise InputError(f'{argument} is {value}, but "{self.name}" has its own; leave {argument} out.')


def _load_checkpoint(model: nn.Module, request: _Request, path: Path, can_resize: bool) -> str:
    """Weights of the caller's file into the model; returns what to call them."""
    load_state(model, read_state(path), str(path), request.name, can_resize)
    return f"{path} (sha256 {sha256(path)})"


def _module(name: str, package: str, what: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingPackageError(
            f"{what} needs the package {package}, which is not installed; run: pip install {package}"
        ) from error


def _warn_of_random_weights(request: _Request) -> None:
    warnings.warn(
        f'"{request.name}" has {request.random} weights, for nothing was downloaded; pass download=True or checkpoint=FILE, or '
        "pretrained=False if that is what you want.",
        stacklevel=4,
    )


def _imagenet_names(count: int) -> list[str] | None:
    """The names of ImageNet's 1000 classes, which come with torchvision."""
    return list(zoo.ResNet18_Weights.DEFAULT.meta["categories"]) if count == 1000 else None


def _image_shape(shape: Iterable[int]) -> tuple[int, int, int]:
    sides = tuple(int(side) for side in shape)
    if len(sides) != 3 or min(sides) < 1:
        raise InputError(f"image_shape is {sides}; expected (C, H, W), all of them positive.")
    return sides[0], sides[1], sides[2]
