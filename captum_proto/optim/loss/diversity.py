"""
Terms that pull the prototypes of one class apart: in their pixels, or in what a layer of the model makes of them.

Everywhere else images do not see each other. Here they do, within a class and within a batch, so this is off unless asked for. What an
image sees of the others is where they stand at this step, as constants: each image's gradient remains the gradient of its own loss.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from captum_proto._utils.checks import nearest, plain_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import Target
from captum_proto.capture import Layer, find_output
from captum_proto.optim.loss.objective import Loss, Outputs, partners_of


class Diversity(Loss):
    """
    How alike the prototypes of a target are; a subclass implements :meth:`loss`. It records "diversity_loss".

    Attributes:
        layer (str, nn.Module or None): The layer whose output :meth:`loss` looks at; None for the images themselves.
        default_weight (float): The weight in the objective where none is given, in logits.
    """

    terms = ("diversity_loss",)
    layer: Layer | None = None
    default_weight: float = 1.0

    @property
    def layers(self) -> tuple[Layer, ...]:  # type: ignore[override]
        return () if self.layer is None else (self.layer,)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        values = images if self.layer is None else outputs[self.layer]
        return outputs.record("diversity_loss", self.loss(values, outputs.partners))

    def check_batches(self, targets: Sequence[Target], batch_size: int | None) -> None:
        check_batches(targets, batch_size)

    @abstractmethod
    def loss(self, values: Tensor, partners: Tensor) -> Tensor:
        """
        The lower, the more an image differs from its partners.

        Args:
            values (Tensor): The images (N, C, H, W), or the layer's output (N, ...).
            partners (Tensor): Shape (N, N), bool, symmetric: which images are of the same target. No image is its own partner.

        Returns:
            Tensor: Shape (N,), the mean over each image's partners; 0 for an image without any. Its gradient reaches the image, not the
            partners.
        """


class PixelDiversity(Diversity):
    r"""
    The mean absolute difference of two images' pixels, negated.

    .. math::
        L_i = -\frac{1}{|J_i|} \sum_{j \in J_i} \frac{1}{CHW} \lVert x_i - x_j \rVert_1

    Pixel differences as in Prototype Generation (arXiv:2309.17144, appendix C). They make pixels differ, by noise and by inverted
    colors if need be; whether the network sees different things in them is another matter, for which there is :class:`GramDiversity`.

    Examples::

        >>> images = torch.tensor([0.0, 0.5, 1.0]).view(3, 1, 1, 1).expand(3, 1, 4, 4)
        >>> PixelDiversity().loss(images, partners_of([(5,), (5,), (7,)]))[:2]
        tensor([-0.5000, -0.5000])
    """

    default_weight = 10.0

    def loss(self, values: Tensor, partners: Tensor) -> Tensor:
        flat = values.flatten(1)
        difference = torch.cdist(flat, flat.detach(), p=1) / flat.shape[1]
        return _mean_over(-difference, partners)

    def __repr__(self) -> str:
        return "PixelDiversity()"


class GramDiversity(Diversity):
    r"""
    The cosine similarity of two images' Gram matrices in one layer: how alike their textures and parts are, wherever in the picture.

    .. math::
        L_i = \frac{1}{|J_i|} \sum_{j \in J_i} \frac{\langle G_i, G_j \rangle}{\lVert G_i \rVert \lVert G_j \rVert}
        \qquad G_i = F_i F_i^{\mathsf T}

    with F the layer's output, one row for each channel. The diversity objective of Olah, Mordvintsev and Schubert, "Feature
    Visualization" (Distill 2017), as Lucid has it. The layer is watched in the very pass that gives the logits, under the transform.

    Args:
        layer (str or nn.Module): A dotted name or a module of the model; of its calls in one pass, the last.
        channel_axis (int, optional): Where the channels are in the layer's output. None: the second axis, but the last of (N, tokens,
            channels). Set it where windows or views of an image share the batch axis: the output is then (N, windows, …). Default: None

    Raises:
        TypeError: If ``layer`` is neither a name nor a module.

    Examples::

        >>> features = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).view(3, 2, 1, 1)
        >>> GramDiversity("layer3").loss(features, partners_of([(5,), (5,), (5,)]))
        tensor([0.2500, 0.2500, 0.5000])
    """

    default_weight = 30.0

    def __init__(self, layer: str | nn.Module, channel_axis: int | None = None) -> None:
        if not isinstance(layer, (str, nn.Module)):
            raise InputTypeError(f"layer is a {type(layer).__name__}; expected a dotted name or a module of the model.")
        self.layer = layer
        self.channel_axis = plain_int(channel_axis)

    def loss(self, values: Tensor, partners: Tensor) -> Tensor:
        axis = self.channel_axis
        if axis is None:
            axis = 2 if values.dim() == 3 else 1
        if values.dim() < 2 or not -values.dim() < axis < values.dim() or axis == 0:
            raise InputError(
                f"layer {self.settings()['layer']} returned shape {tuple(values.shape)}, which has no channels on axis {axis}; choose "
                "another layer, or set channel_axis."
            )
        features = values.movedim(axis, 1).flatten(2) if values.dim() > 2 else values.unsqueeze(2)
        features = features if features.dtype == torch.float64 else features.float()
        # Scaled first: of unbounded activations, squares of squares leave float32's range.
        features = nn.functional.normalize(features.flatten(1), dim=1).view_as(features)
        grams = nn.functional.normalize((features @ features.mT).flatten(1), dim=1)
        return _mean_over(grams @ grams.detach().T, partners)

    def settings(self) -> dict[str, Any]:
        layer = self.layer if isinstance(self.layer, str) else type(self.layer).__name__
        return {"name": "GramDiversity", "layer": layer, "channel_axis": self.channel_axis}

    def __repr__(self) -> str:
        return f"GramDiversity({self.settings()['layer']!r}, channel_axis={self.channel_axis})"


def _mean_over(values: Tensor, partners: Tensor) -> Tensor:
    """(N,): the mean over each row's partners, 0 where there are none."""
    return values.masked_fill(~partners, 0).sum(1) / partners.sum(1).clamp(min=1)


def check_batches(targets: Sequence[Target], batch_size: int | None) -> None:
    """
    See that prototypes that are to differ are made together.

    Raises:
        ValueError: If no class has two prototypes, or ``batch_size`` parts those of a class.
    """
    counts = Counter(targets)
    if max(counts.values(), default=0) < 2:
        raise InputError(
            "diversity is between prototypes of one class, and no class is asked for more than once; name a class several times, or leave "
            "diversity out."
        )
    size = batch_size or len(targets)
    batches: dict[Target, set[int]] = {}
    for index, target in enumerate(targets):
        batches.setdefault(target, set()).add(index // size)
    parted = next((target for target, where in batches.items() if len(where) > 1), None)
    if parted is not None:
        raise InputError(
            f"batch_size {size} parts the {counts[parted]} prototypes of target {list(parted)}, which see each other only within a batch; "
            "pass a larger batch_size, or name each class's prototypes one after the other."
        )


def as_diversity(diversity: Any, forward_func: Callable[..., Any]) -> Diversity | None:
    """
    A :class:`Diversity` from what the user gave, its layer found in the model.

    Args:
        diversity (str, Diversity or None): "pixels", "gram:LAYER" with a dotted name, one of one's own, or None.
        forward_func (Callable): The model.

    Returns:
        Diversity or None: A module given as the layer of a :class:`GramDiversity` has become its name, which settings can hold.

    Raises:
        ValueError: If there is none of this name, or no such layer.
        TypeError: If it is neither.
    """
    if diversity is None:
        return None
    if isinstance(diversity, str):
        kind, _, layer = diversity.partition(":")
        if diversity == "pixels":
            diversity = PixelDiversity()
        elif kind == "gram" and layer:
            diversity = GramDiversity(layer)
        else:
            hint = nearest(kind, ("pixels", "gram")) if kind != "gram" else ""
            raise InputError(f'diversity is "{diversity}"{hint or ";"} expected "pixels" or "gram:LAYER".')
    if isinstance(diversity, type) or not isinstance(diversity, Diversity):
        raise InputTypeError(
            f'diversity is a {type_name(diversity)}; expected "pixels", "gram:LAYER", a Diversity, or None.'
        )
    if diversity.layer is not None:
        name = find_output(forward_func, diversity.layer)[0]
        if type(diversity) is GramDiversity and name:
            return GramDiversity(name, diversity.channel_axis)
    return diversity


__all__ = ["Diversity", "GramDiversity", "PixelDiversity", "as_diversity", "check_batches", "partners_of"]
