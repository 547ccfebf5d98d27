"""How alike images of one class are: in their pixels, and in what the layers of a model make of them."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from captum.log import log_usage
from torch import Tensor, nn

from captum_proto._utils.checks import check_images
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import device_of, dtype_of
from captum_proto._utils.tables import number, text_table
from captum_proto.capture import LayerSelection, capture


@dataclass
class PairwiseSimilarity:
    r"""
    Every pair of images, compared in pixels and in layers.

    Attributes:
        difference (Tensor): (N, N), the mean absolute difference of pixels, in units of pixel values; 0 for equal images.
        correlation (Tensor): (N, N), Pearson's correlation of pixels over all channels, in [-1, 1]; NaN for a constant image.
        gram (dict[str, Tensor]): By layer, (N, N), the cosine of the angle between the Gram matrices of what the layer returned, in
            [0, 1]: 1 where all channels fire, alone and together, in the same proportions, wherever in the picture. NaN for a layer
            that returned only zeros.

        All float64 on the CPU, symmetric.
    """

    difference: Tensor
    correlation: Tensor
    gram: dict[str, Tensor] = field(default_factory=dict)

    def summary(self) -> dict[str, float]:
        """
        The mean over pairs of different images of each measure: "pixel difference", "pixel correlation", "Gram LAYER".

        Raises:
            ValueError: If there is only one image.
        """
        measures = {"pixel difference": self.difference, "pixel correlation": self.correlation}
        measures |= {f"Gram {layer}": values for layer, values in self.gram.items()}
        count = len(self.difference)
        if count < 2:
            raise InputError("there is one image, and no pair; give at least two.")
        pairs = torch.triu(torch.ones(count, count, dtype=torch.bool), diagonal=1)
        return {name: float(values[pairs].nanmean()) for name, values in measures.items()}

    def table(self) -> str:
        """The summary as text."""
        return text_table(["measure", "mean over pairs"], [[name, number(v)] for name, v in self.summary().items()])


@log_usage()
def pairwise_similarity(
    images: Tensor,
    model: nn.Module | None = None,
    layers: LayerSelection = None,
    preprocess: Callable[[Tensor], Tensor] | None = None,
    *,
    channel_axis: int | None = None,
    value_range: tuple[float, float] | None = (0.0, 1.0),
) -> PairwiseSimilarity:
    r"""
    How alike images are, in two spaces: pixels, and Gram matrices of a model's layers.

    Prototypes that differ in their pixels may all show the same thing, and prototypes that show different things may all be red. So the
    diversity of prototypes (arXiv:2309.17144, appendix C) is measured in both. The images are taken as they are, without transforms.

    .. math::
        \cos(x, y) = \frac{\langle G(x), G(y) \rangle}{\lVert G(x) \rVert \lVert G(y) \rVert}
        \qquad G(x)_{ab} = \sum_p A_{ap}(x)\, A_{bp}(x)

    with A the output of a layer, a and b its channels and p its positions.

    Args:
        images (Tensor): Shape (N, C, H, W), in ``value_range``: the prototypes of one class.
        model (nn.Module, optional): Whose layers are looked at. It comes back as it was. None: pixels alone. Default: None
        layers (LayerSelection, optional): Dotted names, patterns or modules. Every one of them that returns (N, C, …) or (N, D) is
            compared. None, with a model: all. Default: None
        preprocess (Callable, optional): From images to the model's input. Default: None
        channel_axis (int, optional): Where the channels are in the layers' outputs. None: the second axis, but the last of (N, tokens,
            channels). Set it where windows or views of an image share the batch axis: the output is then (N, windows, …). Default: None
        value_range (tuple[float, float], optional): The range images must lie in; None for any. Default: (0, 1)

    Returns:
        PairwiseSimilarity: (N, N) for each measure.

    Raises:
        TypeError: If ``images`` is not a float tensor.
        ValueError: If they are not images in ``value_range``, or a layer is not there, or layers were given without a model.

    Examples::

        >>> images = torch.tensor([0.0, 0.25, 1.0]).view(3, 1, 1, 1) * torch.eye(8)
        >>> similarity = pairwise_similarity(images)
        >>> similarity.difference[0]
        tensor([0.0000, 0.0312, 0.1250], dtype=torch.float64)
    """
    check_images(images, value_range)
    if model is None and layers is not None:
        raise InputError("layers were given without a model; pass the model they belong to.")
    pixels = images.detach().cpu().double().flatten(1)
    difference = torch.stack([(pixels - row).abs().mean(1) for row in pixels])
    gram: dict[str, Tensor] = {}
    if model is not None:
        dtype = torch.float64 if dtype_of(model) == torch.float64 else torch.float32
        batch = images.detach().to(device_of(model), dtype)
        outputs = capture(model, batch, layers, preprocess=preprocess)
        gram = {name: _gram_cosine(output.cpu().double(), channel_axis) for name, output in outputs.items()}
    return PairwiseSimilarity(difference, torch.corrcoef(pixels).view(len(images), len(images)), gram)


def _gram_cosine(outputs: Tensor, channel_axis: int | None) -> Tensor:
    """(N, N), from a layer's outputs (N, ...), without forming a Gram matrix: <AAᵀ, BBᵀ> = ‖AᵀB‖²."""
    axis = operator.index(channel_axis) if channel_axis is not None else 2 if outputs.dim() == 3 else 1
    features = outputs.movedim(axis, 1).reshape(len(outputs), outputs.shape[axis], -1)
    products = torch.stack([torch.stack([(a.T @ b).square().sum() for b in features]) for a in features])
    lengths = products.diagonal().sqrt()
    return products / (lengths[:, None] * lengths[None, :])


def diversity_table(measured: dict[str, Any]) -> str:
    """Summaries of several sets of prototypes beside each other, as text: one row for each name."""
    summaries = {name: similarity.summary() for name, similarity in measured.items()}
    header = ["prototypes", *next(iter(summaries.values()))]
    return text_table(
        header, [[name, *(number(value) for value in means.values())] for name, means in summaries.items()]
    )


__all__ = ["PairwiseSimilarity", "diversity_table", "pairwise_similarity"]
