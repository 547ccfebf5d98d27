"""What a layer sees where in an image: the units that are most active at each position, with pictures of what they respond to."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.checks import as_int, check_int
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.files import alike, intact, load_tensors, save_tensors
from captum_proto._utils.modes import in_plain_modes
from captum_proto.capture import Layer
from captum_proto.features.attribution import UnitAttribution
from captum_proto.features.layer_maps import MappedLayer
from captum_proto.features.pictures import UnitPictures
from captum_proto.ops.double import double
from captum_proto.optim import Visualizations


@dataclass(frozen=True)
class Entry:
    """
    One unit at one position.

    Attributes:
        unit (int): A channel, or a row of the basis.
        activation (float): Its component there.
        share (float): Of the sum of all components' sizes there.
        attribution (float, optional): To the target. Default: None, none was given
        picture (int, optional): Its row in ``pictures``. Default: None, it has none
    """

    unit: int
    activation: float
    share: float
    attribution: float | None = None
    picture: int | None = None


@dataclass
class SemanticDictionaryResult:
    """
    The most active units at every position of an image.

    Attributes:
        image (Tensor): (C, H, W), in [0, 1].
        units (Tensor): (top, Y, X), int64: channels, or rows of the basis, by how active they are, the most active first.
        components (Tensor): (top, Y, X): their activations, or coordinates in the basis.
        shares (Tensor): (top, Y, X): of the sum of all components' sizes at the position.
        magnitudes (Tensor): (Y, X): the length of the activation vector.
        attributions (Tensor, optional): (top, Y, X), to the target. Default: None
        spatial (Tensor, optional): (Y, X): the attribution of all components together. Default: None
        residual (Tensor, optional): (Y, X): the attribution of what the basis does not span. Default: None
        drawn (list[int]): The units that have a picture, in the order of ``pictures``.
        pictures (Tensor, optional): (D, C, h, w), in [0, 1]. Default: None
        picture_activations (Tensor, optional): (D,): the mean activation of each unit by its picture. Default: None
        examples (Tensor, optional): (D, k), int64: which images of a data set activate each drawn unit most. Default: None
        example_scores (Tensor, optional): (D, k): how much. Default: None
        settings (dict): Layer, target, score and every choice, as JSON can hold it.
    """

    image: Tensor
    units: Tensor
    components: Tensor
    shares: Tensor
    magnitudes: Tensor
    attributions: Tensor | None = None
    spatial: Tensor | None = None
    residual: Tensor | None = None
    drawn: list[int] = field(default_factory=list)
    pictures: Tensor | None = None
    picture_activations: Tensor | None = None
    examples: Tensor | None = None
    example_scores: Tensor | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def start(self) -> tuple[int, int]:
        """Row and column of the position with the largest component: where to begin to look."""
        most = int(self.components[0].flatten().argmax())
        return most // self.components.shape[2], most % self.components.shape[2]

    @property
    def occurring(self) -> list[int]:
        """The units that are among the most active somewhere, and active there: those to draw."""
        return sorted(set(self.units[self.components > 0].tolist()))

    @property
    def silent_pictures(self) -> list[int]:
        """The rows of ``pictures`` whose unit is not active by them: no picture of it was found."""
        if self.picture_activations is None:
            return []
        found: list[int] = (self.picture_activations <= 0).nonzero().flatten().tolist()
        return found

    @property
    def explained(self) -> Tensor:
        """(Y, X): the share of the sizes of all components that the shown ones make up; NaN where nothing is active."""
        return self.shares.sum(0)

    def position(self, row: int, column: int) -> list[Entry]:
        """
        What is most active at a position.

        Args:
            row, column (int): From 0.

        Returns:
            list[Entry]: The most active unit first.

        Raises:
            ValueError: If the position is outside the map.
        """
        rows, columns = self.components.shape[1:]
        at = as_int(row), as_int(column)
        if at[0] is None or at[1] is None or not (0 <= at[0] < rows and 0 <= at[1] < columns):
            raise InputError(
                f"position ({row}, {column}) is outside the map, which has {rows} rows and {columns} columns, both counted from 0."
            )
        places = {unit: number for number, unit in enumerate(self.drawn)}
        return [
            Entry(
                int(self.units[i, at[0], at[1]]),
                float(self.components[i, at[0], at[1]]),
                float(self.shares[i, at[0], at[1]]),
                None if self.attributions is None else float(self.attributions[i, at[0], at[1]]),
                places.get(int(self.units[i, at[0], at[1]])),
            )
            for i in range(len(self.units))
        ]

    def with_pictures(self, pictures: Visualizations, drawn: list[int]) -> SemanticDictionaryResult:
        """The same with the pictures of units, in their order."""
        return replace(
            self, drawn=list(drawn), pictures=pictures.images.cpu(), picture_activations=pictures.activations.cpu()
        )

    def save(self, path: str | os.PathLike[str], overwrite: bool = False) -> None:
        """
        Write everything to one safetensors file.

        Raises:
            FileExistsError: If the file exists and ``overwrite`` is False.
        """
        tensors = {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}
        save_tensors(path, _KIND, tensors, {"drawn": self.drawn, "settings": self.settings}, overwrite)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> SemanticDictionaryResult:
        """
        Read what :meth:`save` wrote, onto the CPU.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is damaged or holds something else.
        """
        tensors, metadata = load_tensors(path, _KIND)
        with intact(path, f"{_KIND} file"):
            loaded = cls(
                **tensors, drawn=[int(unit) for unit in metadata["drawn"]], settings=dict(metadata["settings"])
            )
            alike("units", len(loaded.units), len(loaded.components), len(loaded.shares))
            if loaded.pictures is not None:
                alike("pictures", len(loaded.pictures), len(loaded.drawn))
            loaded.position(*loaded.start)
        return loaded


_KIND = "semantic dictionary"


class SemanticDictionary:
    r"""
    For every position of an image, the units of a layer that are most active there, with what each responds to and what it contributes.

    Of Olah et al., "The Building Blocks of Interpretability" (Distill 2018): the activation vector at a position is read as a sum of
    components, the largest named by pictures that activate their unit, and by images of a data set that do. Components are the
    activations of channels, or coordinates in any basis: with rows :math:`b_k`, those :math:`s` with
    :math:`a_p \approx \sum_k s_k b_k` in least squares. A component's attribution is
    :math:`s_k\, b_k \cdot \partial h_t / \partial a_p`, by Captum's :class:`~captum.attr.LayerGradientXActivation`; over all components,
    and what the basis leaves, it sums to the total.

    Args:
        forward_func (Callable): The model, or a function or object that refers to it.
        layer (str or nn.Module): With positions: as :func:`~captum_proto.capture.capture` names it.
        basis (str or Tensor, optional): "channels", or directions (K, C) with K at most C, independent of each other: the ``components_``
            of scikit-learn's NMF or PCA. Default: "channels"
        preprocess (Callable, optional): From images in [0, 1] to what ``forward_func`` takes. Default: None
        channel_axis (int, optional): Which axis of the layer's output holds its channels. Default: None, told from the layer

    Raises:
        ValueError: If the model has no such layer, or ``basis`` is no basis.

    Examples::

        >>> from captum_proto.features import SemanticDictionary
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Flatten(), torch.nn.Linear(8 * 36, 5)).eval()
        >>> dictionary = SemanticDictionary(model, "0")
        >>> found = dictionary.interpret(torch.rand(3, 8, 8), target=2, top=3, steps=2)
        >>> found.units.shape, len(found.position(*found.start)), found.pictures.shape[1:]
        (torch.Size([3, 6, 6]), 3, torch.Size([3, 8, 8]))
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        layer: Layer,
        basis: str | Tensor = "channels",
        preprocess: Callable[[Tensor], Tensor] | None = None,
        channel_axis: int | None = None,
    ) -> None:
        self._attribution = UnitAttribution(forward_func, layer, preprocess, channel_axis)
        self._mapped: MappedLayer = self._attribution.layer
        self._basis = _checked_basis(basis)
        self.pictures = UnitPictures(forward_func, layer, preprocess, channel_axis, self._basis)

    @in_plain_modes
    def interpret(
        self,
        image: Tensor,
        target: Any = None,
        top: int = 4,
        *,
        contrast: Any = None,
        examples: Any = None,
        draw: bool = True,
        picture_size: int | None = None,
        **choices: Any,
    ) -> SemanticDictionaryResult:
        """
        Read an image.

        Args:
            image (Tensor): (C, H, W), or a batch of one, in [0, 1].
            target (int or list, optional): A class, or the classes of a superclass in a nested list, to attribute. Default: None
            top (int, optional): So many units of each position. Default: 4
            contrast (int or list, optional): As in :meth:`UnitAttribution.attribute`. Default: None
            examples (Examples, optional): Of :meth:`TopExamples.fit` with this layer, or whatever gives under its name ``scores`` and
                ``indices`` (U, k); for channels alone. Default: None
            draw (bool, optional): Whether to make pictures of the units that occur; one that was drawn before is not drawn again.
                Default: True
            picture_size (int, optional): The side of a picture, in pixels. Default: None, that of the image
            **choices: Of :func:`~captum_proto.optim.visualize`, such as ``steps``. Default: 128 steps, 32 pictures at a time

        Returns:
            SemanticDictionaryResult: With the units at each position.

        Raises:
            ValueError: If ``top`` is more than there are units, a class is out of range, the layer has no positions, or the model does not
                take the image.
        """
        images = self._mapped.images(image)
        if len(images) != 1:
            raise InputError(f"image is a batch of {len(images)}; give one image, or a batch of one.")
        count = check_int(top, "top", 1)
        gradients: Tensor | None = None
        settings: dict[str, Any] = {"layer": self._mapped.name, "basis": "channels" if self._basis is None else "given"}
        if target is None:
            if contrast is not None:
                raise InputError("contrast was given without target; give both, or neither.")
            activations = self._mapped.maps(images)[0][0]
        else:
            found = self._attribution.attribute(images, target, contrast=contrast)
            activations, gradients = found.activations[0], found.gradients[0]
            settings |= {
                "target": target,
                "contrast": contrast,
                "score": float(found.scores[0]),
                "total_attribution": float(found.totals[0]),
            }
        components, attributions = _in_basis(activations, gradients, self._basis)
        if count > len(components):
            what = "channels" if self._basis is None else "directions in the basis"
            raise InputError(
                f'top is {count}, but "{self._mapped.name}" has {len(components)} {what}; give at most as many.'
            )
        order = components.sort(dim=0, descending=True, stable=True).indices[:count]
        sizes = components.abs().sum(0)
        result = SemanticDictionaryResult(
            images[0].cpu(),
            order.cpu(),
            components.gather(0, order).cpu(),
            (components.abs().gather(0, order) / sizes).cpu(),
            activations.norm(dim=0).cpu(),
            settings=settings,
        )
        if gradients is not None and attributions is not None:
            result.attributions = attributions.gather(0, order).cpu()
            result.spatial = attributions.sum(0).cpu()
            result.residual = ((activations * gradients).sum(0) - attributions.sum(0)).cpu()
        if draw and result.occurring:
            side = check_int(picture_size, "picture_size", 1) if picture_size is not None else None
            shape = (images.shape[1], side or images.shape[2], side or images.shape[3])
            result = result.with_pictures(self.pictures.of(result.occurring, shape, **choices), result.occurring)
        return result if examples is None else self.with_examples(result, examples)

    def with_examples(self, result: SemanticDictionaryResult, examples: Any) -> SemanticDictionaryResult:
        """
        A result with the numbers of the images of a data set that activate each unit most.

        Args:
            result (SemanticDictionaryResult): Of this dictionary.
            examples (Examples): As in :meth:`interpret`.

        Raises:
            ValueError: If they are not of this layer, or the units are directions.
        """
        if self._basis is not None:
            raise InputError("examples are of channels, but the units are directions of a basis; leave examples out.")
        units = result.drawn or result.occurring
        try:
            of_layer = examples[self._mapped.name]
        except KeyError as error:
            raise InputError(f'examples hold nothing of "{self._mapped.name}"; collect them for this layer.') from error
        if units and len(of_layer.indices) <= max(units):
            raise InputError(
                f'examples are of {len(of_layer.indices)} units, but "{self._mapped.name}" has at least {max(units) + 1}; collect them '
                "for this layer."
            )
        return replace(
            result,
            drawn=list(units),
            examples=of_layer.indices[units].cpu(),
            example_scores=of_layer.scores[units].cpu(),
        )


def _checked_basis(basis: Any) -> Tensor | None:
    """Directions (K, C), or None for channels."""
    if isinstance(basis, str):
        if basis != "channels":
            raise InputError(
                f'basis is "{basis}"; expected "channels" or a matrix (K, C), such as the components_ of an NMF or a PCA.'
            )
        return None
    matrix = torch.as_tensor(basis).detach()
    if not matrix.is_floating_point():
        raise InputTypeError(f"basis is of {matrix.dtype}; expected floating-point numbers.")
    if matrix.dim() != 2 or not bool(matrix.isfinite().all()):
        raise InputError(f"basis has shape {tuple(matrix.shape)}; expected (K, C), finite: one row for each direction.")
    if int(torch.linalg.matrix_rank(double(matrix))) < len(matrix):
        raise InputError(
            f"basis has {len(matrix)} directions of {matrix.shape[1]} channels that depend on each other; expected independent ones."
        )
    return matrix


def _in_basis(activations: Tensor, gradients: Tensor | None, basis: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Components (K, Y, X) of activations (C, Y, X), and their attributions."""
    if basis is None:
        return activations, None if gradients is None else activations * gradients
    if basis.shape[1] != len(activations):
        raise InputError(
            f"basis has shape {tuple(basis.shape)}; expected (K, {len(activations)}), for the layer has {len(activations)} channels."
        )
    matrix = basis.to(activations)
    components = torch.linalg.lstsq(double(matrix.T), double(activations.flatten(1))).solution.to(activations)
    components = components.unflatten(1, activations.shape[1:])
    if gradients is None:
        return components, None
    return components, components * torch.einsum("kc,cyx->kyx", matrix, gradients)


__all__ = ["Entry", "SemanticDictionary", "SemanticDictionaryResult"]
