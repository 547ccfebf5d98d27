"""What a layer sees at every position of an image, as a grid of pictures: one for each activation vector."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.modes import in_plain_modes
from captum_proto.capture import Layer
from captum_proto.features.layer_maps import MappedLayer
from captum_proto.features.pictures import BATCH, STEPS
from captum_proto.optim import Visualizations, visualize
from captum_proto.optim.loss import AngledNeuronDirection

_KIND = "activation grid"


@dataclass
class ActivationGridResult:
    """
    A picture of the activation vector at every position of images.

    Attributes:
        images (Tensor): (N, C, H, W), in [0, 1].
        magnitudes (Tensor): (N, Y, X): the length of each activation vector.
        icons (Tensor): (N, Y, X, C, h, w), in [0, 1]; gray where the layer returns zeros.
        cosines (Tensor): (N, Y, X): of the angle between what the layer makes of the icon, in the middle of its map, and the vector that
            it was made for: 1 if the icon shows just that. NaN where the layer returns zeros.
        settings (dict): Every choice, as JSON can hold it.
    """

    images: Tensor
    magnitudes: Tensor
    icons: Tensor
    cosines: Tensor
    settings: dict[str, Any] = field(default_factory=dict)

    def picture(self, number: int = 0, scaled: bool = True) -> Tensor:
        """
        The whole grid as one picture.

        Args:
            number (int, optional): Of which image. Default: 0
            scaled (bool, optional): Whether the area of a cell goes with the length of its activation vector; the longest fills its cell.
                Default: True

        Returns:
            Tensor: (C, Y * h, X * w), in [0, 1], white around smaller cells.

        Raises:
            ValueError: If there is no such image.
        """
        if check_int(number, "number", 0) >= len(self.icons):
            raise InputError(f"number is {number}, but the grid is of {len(self.icons)} images, counted from 0.")
        icons, magnitudes = self.icons[number], self.magnitudes[number]
        rows, columns, _, height, width = icons.shape
        longest = float(magnitudes.max())
        canvas = torch.ones(icons.shape[2], rows * height, columns * width)
        for row in range(rows):
            for column in range(columns):
                share = (float(magnitudes[row, column]) / longest) ** 0.5 if scaled and longest else 1.0
                high, wide = round(height * share), round(width * share)
                if not high or not wide or not float(magnitudes[row, column]):
                    continue
                icon = icons[row, column][None]
                small = (
                    icon
                    if (high, wide) == (height, width)
                    else interpolate(icon, (high, wide), mode="bilinear", antialias=True)
                )
                top, left = row * height + (height - high) // 2, column * width + (width - wide) // 2
                canvas[:, top : top + high, left : left + wide] = small[0]
        return canvas.clamp(0, 1)

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        save_tensors(path, _KIND, tensors, {"settings": self.settings}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> ActivationGridResult:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            loaded = cls(**tensors, settings=dict(metadata["settings"]))
            alike("images", len(loaded.images), len(loaded.magnitudes), len(loaded.icons), len(loaded.cosines))
            alike("positions", loaded.magnitudes[0].numel(), loaded.icons[0, :, :, 0, 0, 0].numel())
        return loaded


class ActivationGrid:
    r"""
    An image as a layer sees it: at every position, a picture of that position's activation vector.

    Of Olah et al., "The Building Blocks of Interpretability" (Distill 2018). The icon of position p maximizes
    :class:`~captum_proto.optim.AngledNeuronDirection` of :math:`v = a_p`: it makes the middle of the layer's map point where the image
    made position p point. The area of a cell goes with :math:`|v|`.

    Args:
        forward_func (Callable): The model, or a function or object that refers to it.
        layer (str or nn.Module): With positions: as :func:`~captum_proto.capture.capture` names it.
        preprocess (Callable, optional): From images in [0, 1] to what ``forward_func`` takes. Default: None
        power (float, optional): How much the angle counts. Default: 4
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the model has no such layer.

    Examples::

        >>> from captum_proto.features import ActivationGrid
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=2), torch.nn.ReLU()).eval()
        >>> grid = ActivationGrid(model, "1").interpret(torch.rand(3, 11, 11), picture_size=9, steps=2)
        >>> grid.icons.shape, grid.picture().shape
        (torch.Size([1, 4, 4, 3, 9, 9]), torch.Size([3, 36, 36]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        power: float = 4.0,
        channel_axis: int | None = None,
    ) -> None:
        self._given, self._power = (forward_func, layer, preprocess, channel_axis), float(power)
        self._mapped = MappedLayer(forward_func, layer, preprocess, channel_axis)

    def vectors(self, images: Tensor) -> Tensor:
        """
        The activation vectors of images.

        Args:
            images (Tensor): (N, C, H, W), or one (C, H, W), in [0, 1].

        Returns:
            Tensor: (N, Y, X, C).

        Raises:
            ValueError: If the layer has no positions, or the model does not take the images.
        """
        return self._mapped.maps(self._mapped.images(images))[0].permute(0, 2, 3, 1).contiguous()

    def draw(self, vectors: Tensor, image_shape: tuple[int, int, int], **choices: Any) -> Visualizations:
        """
        Pictures of some activation vectors.

        Args:
            vectors (Tensor): (M, C), none of them zero.
            image_shape (tuple[int, int, int]): (C, H, W) of a picture.
            **choices: Of :func:`~captum_proto.optim.visualize`. Default: 128 steps, 32 at a time

        Returns:
            Visualizations: In their order; ``activations`` are the cosines of ``cosines``.
        """
        forward_func, layer, preprocess, axis = self._given
        loss = AngledNeuronDirection(layer, vectors.cpu(), self._power, axis)
        choices = {"steps": STEPS, "batch_size": BATCH, **choices}
        made = visualize(forward_func, loss, image_shape, preprocess, **choices)
        made.activations = self._cosines(made.images, vectors)
        return made

    def _cosines(self, pictures: Tensor, vectors: Tensor) -> Tensor:
        found = []
        for begin in range(0, len(pictures), BATCH):
            maps = self._mapped.maps(self._mapped.images(pictures[begin : begin + BATCH]))[0]
            middle = maps[:, :, maps.shape[2] // 2, maps.shape[3] // 2]
            found.append(torch.cosine_similarity(middle, vectors[begin : begin + BATCH].to(middle)).float().cpu())
        return torch.cat(found)

    @in_plain_modes
    def interpret(self, images: Tensor, *, picture_size: int | None = None, **choices: Any) -> ActivationGridResult:
        """
        Draw the grid of each image.

        Args:
            images (Tensor): (N, C, H, W), or one (C, H, W), in [0, 1].
            picture_size (int, optional): The side of an icon, in pixels. Default: None, that of the images
            **choices: Of :func:`~captum_proto.optim.visualize`, such as ``steps``. Default: 128 steps, 32 icons at a time

        Returns:
            ActivationGridResult: With an icon for each position.

        Raises:
            ValueError: If the layer has no positions, or the model does not take the images.
        """
        images = self._mapped.images(images)
        vectors = self.vectors(images)
        side = None if picture_size is None else check_int(picture_size, "picture_size", 1)
        shape = (images.shape[1], side or images.shape[2], side or images.shape[3])
        flat = vectors.flatten(0, 2)
        alive = flat.norm(dim=1).nonzero().flatten()
        if not len(alive):
            raise InputError(
                f'"{self._mapped.name}" returns zeros for these images, so there is nothing to draw; choose another layer.'
            )
        return self.assembled(images, vectors, self.draw(flat[alive], shape, **choices))

    def render(self, images: Tensor, *, picture_size: int | None = None, **choices: Any) -> Tensor:
        """
        The grid of each image as one picture: :meth:`interpret` and :meth:`ActivationGridResult.picture`.

        Args:
            images, picture_size, choices: As in :meth:`interpret`.

        Returns:
            Tensor: (N, C, Y * h, X * w), in [0, 1].
        """
        grid = self.interpret(images, picture_size=picture_size, **choices)
        return torch.stack([grid.picture(number) for number in range(len(grid.icons))])

    def assembled(self, images: Tensor, vectors: Tensor, pictures: Visualizations) -> ActivationGridResult:
        """
        A result from pictures that were drawn in parts.

        Args:
            images (Tensor): (N, C, H, W).
            vectors (Tensor): (N, Y, X, C), of :meth:`vectors`.
            pictures (Visualizations): One for each vector that is not zero, in their order.
        """
        flat = vectors.flatten(0, 2)
        alive = flat.norm(dim=1).nonzero().flatten().cpu()
        icons = torch.full((len(flat), *pictures.images.shape[1:]), 0.5)
        cosines = torch.full((len(flat),), torch.nan)
        icons[alive], cosines[alive] = pictures.images.float().cpu(), pictures.activations.float().cpu()
        shape = vectors.shape[:3]
        settings = {"layer": self._mapped.name, "power": self._power, **pictures.settings}
        return ActivationGridResult(
            images.cpu(),
            vectors.norm(dim=3).float().cpu(),
            icons.view(*shape, *icons.shape[1:]),
            cosines.view(shape),
            settings,
        )


__all__ = ["ActivationGrid", "ActivationGridResult"]
