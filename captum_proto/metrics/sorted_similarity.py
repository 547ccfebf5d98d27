"""Sorted path similarity: whether an image's activations are distributed as those of natural images, wherever in the picture they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from captum_proto._utils.checks import plain_int
from captum_proto._utils.errors import InputError
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, channel_axes, channel_axis
from captum_proto.metrics.fitting import Add
from captum_proto.metrics.layer_similarity import LayerSimilarity
from captum_proto.metrics.reference import ActivationSums
from captum_proto.metrics.sorted_comparison import SortedComparison
from captum_proto.metrics.sorted_reference import SortedReference, SortedSums


@dataclass
class SortedScores:
    r"""
    How far images are from a reference by sorted path similarity, in every layer.

    Attributes:
        layers (list[str]): L names, in the order in which the layers return.
        distance (Tensor): (N, L), float64 on the CPU, at least 0; 1 is the mean of natural images, each
            against the others. NaN in layers that are the same for all natural images.
        left_out (Tensor): (N,), bool on the CPU: which images were part of the reference and left out of the mean they were compared with.
    """

    layers: list[str]
    distance: Tensor
    left_out: Tensor

    def __len__(self) -> int:
        return len(self.distance)


class SortedSimilarity(LayerSimilarity[SortedReference, SortedScores, SortedComparison]):
    r"""
    Whether the activations of each channel are distributed in an image as they are in natural images of a class, layer by layer.

    .. math::
        W_{lc}(x) = \frac{1}{P} \sum_{j=1}^{P} \bigl( a_{lc(j)}(x) - q_{lc}(j) \bigr)^2
        \qquad q_{lc}(j) = \frac{1}{n} \sum_{I \in \mathbb{I}} a_{lc(j)}(I)
        \qquad D_l(x) = \frac{\sum_c W_{lc}(x)}{\operatorname{mean}_{I \in \mathbb{I}} \sum_c W^{-I}_{lc}(I)}

    where :math:`a_{lc(1)} \le \ldots \le a_{lc(P)}` are the activations of channel c of layer l, sorted over its P positions.
    :math:`W_{lc}` is the squared 2-Wasserstein distance between them and the distribution whose quantile function is the mean of those of
    the n natural images (their Wasserstein barycenter); :math:`W^{-I}` is the same with the mean of the images other than I. So a layer's
    distance is the mean over its channels in units of the layer: 1 is what natural images have on average. Channels are not scaled one by
    one, by their own variance: one that natural images nearly leave silent would outweigh all others. Where a layer has no positions,
    (N, C), W is the squared difference from the mean.

    Path similarity compares a picture with a mean *position by position*, and the nearest thing to a mean is a blur: the mean image itself
    beats natural images by it. What is sorted has no positions: pictures shuffled, mirrored or moved score alike as far as the layer does
    not see the difference, and a blur lacks the extremes of every channel. Matching sorted activations is an objective of VITAL
    (arXiv:2503.22399, section 3); a picture that was optimized for it is not judged by it.

    Images stream through, and a reference takes 8 bytes for each activation of one image (64 MB for 8 million), as it does in
    :class:`PathSimilarity`, whose way of treating models and calls of layers is the same.

    Args:
        forward_func (nn.Module): The model; layers are found in it by name.
        layers (LayerSelection, optional): As in :class:`PathSimilarity`. Default: None, every module but the root
        preprocess (Callable, optional): From images in ``value_range`` to the model's input. Default: None
        repeat (str, optional): Which call of a layer counts that runs several times per pass: "last", "first" or "all". Default: "last"
        alias (str, optional): "value" for what each layer returned, "reference" for what later in-place layers made of it. Default: "value"
        value_range (tuple[float, float], optional): The range images must lie in; None for any, and for inputs that are no images, such
            as rows of a table (N, F) or embedded tokens (N, L, D). Default: (0, 1)
        batch_size (int, optional): Images at a time, where a tensor is given. Default: 32
        channel_axis (int or mapping[str, int], optional): Which axis of a layer's output (N, ...) holds its channels, for all layers or by
            name; all other axes are positions. A reference that is loaded keeps its own. Default: None, told from the layers

    Examples::

        >>> model = torchvision.models.resnet18()
        >>> similarity = SortedSimilarity(model, layers="layer?")
        >>> similarity = similarity.fit(torch.rand(8, 3, 64, 64))
        >>> similarity.evaluate(torch.rand(2, 3, 64, 64)).distance.shape
        torch.Size([2, 4])
    """

    _reference_type: ClassVar[type[ActivationSums]] = SortedReference
    _scores_type: ClassVar[type[Any]] = SortedScores
    _measures = ("distance",)

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection = None,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        repeat: str = "last",
        alias: str = "value",
        value_range: tuple[float, float] | None = (0.0, 1.0),
        batch_size: int = 32,
        channel_axis: int | Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(forward_func, layers, preprocess, repeat, alias, value_range, batch_size)
        self.channel_axis = channel_axis

    def _collecting(
        self, plan: Capture, pipeline: Pipeline, batch: Tensor
    ) -> tuple[Callable[[], list[Add]], Callable[[dict[str, Any]], SortedReference]]:
        shapes = [output.shape for output in plan.outputs]
        axes = self._axes(plan, pipeline, batch[:1].to(pipeline.device, pipeline.image_dtype))
        sums = SortedSums(shapes, axes)
        return sums.batch, lambda known: SortedReference(
            sums=sums.sums.totals(), squares=sums.squares.totals(), axes=axes, **known
        )

    def _axes(self, plan: Capture, pipeline: Pipeline, image: Tensor) -> list[int]:
        """Which axis of each layer's output holds its channels, counted from the end."""
        given = self.channel_axis
        if isinstance(given, Mapping):
            unknown = [name for name in given if name not in plan.names]
            if unknown:
                raise InputError(
                    f'channel_axis names layer "{unknown[0]}", which is not read; name some of "{plan.names[0]}" … "{plan.names[-1]}".'
                )
        modules = [plan.modules[output.layer] for output in plan.outputs]
        told = channel_axes(self.forward_func, pipeline, image, list(dict.fromkeys(modules)))
        axes = []
        for output, module in zip(plan.outputs, modules, strict=True):
            dims = max(1, len(output.shape)) + 1  # with the batch
            axis = given.get(output.name) if isinstance(given, Mapping) else given
            if axis is not None:
                number = plain_int(axis)
                if not isinstance(number, int) or not -dims < number < dims or number % dims == 0:
                    shape = ", ".join(map(str, output.shape))
                    raise InputError(
                        f'channel_axis is {axis} for layer "{output.name}", whose output has shape (N, {shape}); '
                        f"expected 1 to {dims - 1}, or -1 for the last."
                    )
                axes.append(number % dims - dims)
                continue
            place = told[module].get((output.call, output.path))
            if place is not None and place[0] != output.batch_axis:
                # Counted from the end, where neither the batch, moved to the front, nor windows, which come second, make a difference.
                axes.append(place[0] + (place[0] < output.batch_axis) - place[1])
            else:
                axes.append(channel_axis(module, (1, *(output.shape or (1,)))) - dims)
        return axes

    def _measure(self, reference: SortedReference, index: int, rows: Tensor, leave_one_out: bool) -> tuple[Tensor, ...]:
        return (reference.distance(index, rows, leave_one_out),)

    def _scores(self, values: dict[str, Tensor], left_out: Tensor) -> SortedScores:
        return SortedScores(self.reference.layers, values["distance"], left_out)

    def _comparison(self, values: dict[str, dict[str, Tensor]], settings: dict[str, Any]) -> SortedComparison:
        return SortedComparison(self.reference.layers, values["distance"], settings)


__all__ = ["SortedScores", "SortedSimilarity"]
