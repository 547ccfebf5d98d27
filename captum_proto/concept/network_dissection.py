"""Network dissection: with which labeled concept the firing of each unit agrees (Bau et al., arXiv:1704.05796)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import unwrapped
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import LayerSelection
from captum_proto.concept.dataset import ConceptDataset
from captum_proto.concept.dissection_passes import DissectionPasses
from captum_proto.concept.dissection_result import DENOMINATORS, Dissection


class NetworkDissection:
    r"""
    Label each unit of some layers with the concept at which it fires.

    A unit fires where its map, enlarged bilinearly to the size of label maps, is above its threshold: the value that a share ``quantile``
    of all its activations on the data set exceed, found exactly. Of a unit u and a concept c,

    .. math::
        \mathrm{IoU}_{u,c} = \frac{|M_u \cap L_c|}{|M_u \cup L_c|}

    over all pixels of all images. Beside it stand its ceiling, and what it is if images have the labels of other images, with a p-value
    for each unit and concept: an intersection over union of 0.04 may be much for a rare concept and less than chance for a frequent one.

    Args:
        forward_func (nn.Module): The model. It comes back as it was.
        layers (LayerSelection): Names, patterns or modules, as in :func:`~captum_proto.capture.select_layers`: whose outputs are maps.
        quantile (float, optional): The share of activations at which a unit fires, before maps are enlarged. Default: 0.005
        iou_threshold (float, optional): Above which a unit is a detector. Default: 0.04
        preprocess (Callable, optional): From images in [0, 1] to what the model takes. Default: None
        size (tuple[int, int], optional): Rows and columns at which masks and labels are compared. Default: (112, 112)
        align_corners (bool, optional): How maps are enlarged: see :func:`captum_proto.ops.unit_concept_counts`. Default: False
        denominator (str, optional): Of which images a unit's firing counts in the union: "category", those with any label of the concept's
            category, as in NetDissect-Lite and the CVPR paper, since elsewhere nobody looked for it; or "global", all. Default: "category"
        draws (int, optional): How often images get the labels of others, within their batch, to see what chance gives; 0 for never, at
            least 3 for p-values. Default: 20
        seed (int, optional): Of the order in which images go by, which says which are in a batch. Default: 0
        channel_axis (int, optional): Which axis of a layer's output (N, ...) holds the units. Default: None, told by the layer
        memory (int, optional): How many bytes a pass for quantiles may take, for each layer. Default: 256 MiB

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If ``forward_func`` is no module.

    Examples::

        >>> from captum_proto.testing import ShapeDataset
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=4), torch.nn.ReLU())
        >>> dissection = NetworkDissection(model, ["1"], size=(56, 56), draws=3).interpret(ShapeDataset(40, size=56), (56, 56))
        >>> dissection["1"].iou.shape, len(dissection["1"].labels())
        (torch.Size([4, 32]), 4)
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection,
        quantile: float = 0.005,
        iou_threshold: float = 0.04,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        size: tuple[int, int] = (112, 112),
        align_corners: bool = False,
        denominator: str = "category",
        draws: int = 20,
        seed: int = 0,
        channel_axis: int | None = None,
        memory: int = 2**28,
    ) -> None:
        if not isinstance(forward_func, nn.Module):
            raise InputTypeError(
                f"forward_func is a {type(forward_func).__name__}; expected a torch.nn.Module, whose layers can be watched."
            )
        for name, value in (("quantile", quantile), ("iou_threshold", iou_threshold)):
            if not 0 <= value < 1:
                raise InputError(
                    f"{name} is {value}; expected a share from 0 to below 1, such as {0.005 if name == 'quantile' else 0.04}."
                )
        if denominator not in DENOMINATORS:
            hint = nearest(str(denominator), DENOMINATORS) or f"; expected {' or '.join(DENOMINATORS)}."
            raise InputError(f'denominator is "{denominator}"{hint}')
        self.forward_func, self.layers = unwrapped(forward_func), layers
        self.quantile, self.iou_threshold = float(quantile), float(iou_threshold)
        self.size = (check_int(size[0], "size", 1), check_int(size[1], "size", 1))
        self.align_corners, self.denominator = bool(align_corners), denominator
        self.draws, self.memory = check_int(draws, "draws", 0), check_int(memory, "memory", 1)
        self.seed, self.channel_axis = check_int(seed, "seed", 0), channel_axis
        self._pipeline = Pipeline(forward_func, preprocess)

    @in_plain_modes
    def interpret(
        self,
        dataset: ConceptDataset,
        image_size: tuple[int, int],
        batch_size: int = 32,
        *,
        show_progress: bool = False,
    ) -> Dissection:
        """
        Go through a data set: once or twice for the units' thresholds, once for the counts.

        Args:
            dataset (ConceptDataset): Images and their labels.
            image_size (tuple[int, int]): Rows and columns at which the model takes images.
            batch_size (int, optional): Images at a time; a draw of chance shifts labels within a batch. Default: 32
            show_progress (bool, optional): Whether to show progress bars. Default: False

        Returns:
            Dissection: With the tensors on the CPU.

        Raises:
            ValueError: If a layer has no map, an activation is NaN, or a label is of no concept.
        """
        passes = self.passes(dataset, image_size, batch_size)
        passes.check_draws()
        thresholds = passes.thresholds(show_progress)
        return passes.result(thresholds, passes.count(thresholds, passes.batches, show_progress=show_progress))

    @in_plain_modes
    def thresholds(
        self,
        dataset: ConceptDataset,
        image_size: tuple[int, int],
        batch_size: int = 32,
        *,
        show_progress: bool = False,
    ) -> dict[str, Tensor]:
        """
        The activation above which each unit fires, and nothing else: what :func:`~captum_proto.concept.pack_units` needs.

        Args:
            dataset, image_size, batch_size, show_progress: As in :meth:`interpret`; labels are not read.

        Returns:
            dict[str, Tensor]: (U,) in float64 on the CPU, by layer.

        Raises:
            ValueError: If a layer has no map, or an activation is NaN.
        """
        found = self.passes(dataset, image_size, batch_size).thresholds(show_progress)
        return {name: levels.cpu() for name, levels in found.items()}

    @in_plain_modes
    def passes(self, dataset: ConceptDataset, image_size: tuple[int, int], batch_size: int = 32) -> DissectionPasses:
        """
        The passes over a data set that :meth:`interpret` makes, one by one: for several processes that share the images.

        Args:
            dataset, image_size, batch_size: As in :meth:`interpret`.

        Raises:
            ValueError: If there are no images, or a layer has no map.
        """
        return DissectionPasses(
            self.forward_func,
            self._pipeline,
            self.layers,
            dataset,
            image_size,
            batch_size,
            channel_axis=self.channel_axis,
            memory=self.memory,
            settings=self.settings(),
        )

    def settings(self) -> dict[str, Any]:
        """What the counts depend on, as JSON can hold it."""
        names = ("quantile", "iou_threshold", "align_corners", "denominator", "draws", "seed")
        return {**{name: getattr(self, name) for name in names}, "size": list(self.size)}


__all__ = ["NetworkDissection"]
