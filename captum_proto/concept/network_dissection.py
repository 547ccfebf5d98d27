"""Network dissection: with which labeled concept the firing of each unit agrees (Bau et al., arXiv:1704.05796)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import unwrapped
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, channel_axis, channels_first
from captum_proto.concept.dataset import ConceptDataset
from captum_proto.concept.dissection_result import DENOMINATORS, Dissection, LayerDissection
from captum_proto.concept.tally import LabelBatch, Tally, even_batches
from captum_proto.ops.double import exact_device
from captum_proto.stats.quantiles import Quantiles

#: Of a tally: see :meth:`~captum_proto.concept.tally.Tally.steps`.
Step = Callable[[], None]


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
        batches = self._even_batches(dataset, batch_size)
        if self.draws and len(batches[-1]) < 2:
            raise InputError(
                f"batch_size is {batch_size} and there are {len(dataset)} images: a batch of one has no labels of others, which draws of "
                "chance need; give more, or draws=0."
            )
        plan, axes = self._plan(dataset, image_size)
        thresholds = self._thresholds(plan, axes, dataset, batches, image_size, show_progress)
        device = exact_device(self._pipeline.device)
        tallies = {
            name: Tally.empty(len(levels), len(dataset.concepts), len(dataset.categories), self.draws, device)
            for name, levels in thresholds.items()
        }
        areas = torch.zeros(len(dataset.concepts) + 1, dtype=torch.int64)
        halving = Halving(self._pipeline.device)
        for indices, images in self._batches(dataset, batches, image_size, "counting", show_progress):
            labels = LabelBatch.read(dataset, indices, self.size)
            areas += labels.areas
            drawn = next(iter(tallies.values())).drawn(labels.to(device))

            def count(index: int, output: Tensor, rows: slice, drawn: list[LabelBatch] = drawn) -> Iterator[Step]:
                name, maps = plan.names[index], channels_first(output, axes[index])
                given = [labels.rows(rows) for labels in drawn]
                yield from tallies[name].steps(
                    maps, thresholds[name].to(exact_device(maps.device)), given, self.align_corners
                )

            plan.run_in_parts(images, halving, count)
        layers = {
            name: LayerDissection(
                name,
                dataset.concepts,
                dataset.categories,
                thresholds[name].cpu(),
                tally.together[:, :, 1:].cpu(),
                tally.fired.cpu(),
                areas[1:],
                tally.pixels,
                self.denominator,
                self.iou_threshold,
            )
            for name, tally in tallies.items()
        }
        return Dissection(
            layers, len(dataset), self.settings() | {"batch_size": batch_size, "image_size": list(image_size)}
        )

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
        batches = self._even_batches(dataset, batch_size)
        plan, axes = self._plan(dataset, image_size)
        found = self._thresholds(plan, axes, dataset, batches, image_size, show_progress)
        return {name: levels.cpu() for name, levels in found.items()}

    def settings(self) -> dict[str, Any]:
        """What the counts depend on, as JSON can hold it."""
        names = ("quantile", "iou_threshold", "align_corners", "denominator", "draws", "seed")
        return {**{name: getattr(self, name) for name in names}, "size": list(self.size)}

    def _even_batches(self, dataset: ConceptDataset, batch_size: int) -> list[list[int]]:
        check_int(batch_size, "batch_size", 1)
        if not len(dataset):
            raise InputError(f"{dataset.where} has no images.")
        return even_batches(len(dataset), batch_size, self.seed)

    def _plan(self, dataset: ConceptDataset, image_size: tuple[int, int]) -> tuple[Capture, list[int]]:
        """A pass that takes the layers' outputs, and the axis of the units of each."""
        plan = Capture(self.forward_func, self._pipeline, self._images(dataset, [0], image_size), self.layers)
        return plan, [self._axis(plan, index) for index in range(len(plan.outputs))]

    def _axis(self, plan: Capture, index: int) -> int:
        output = plan.outputs[index]
        axis = self.channel_axis
        if axis is None:
            axis = channel_axis(plan.modules[output.layer], (1, *output.shape))
        shape = channels_first(torch.empty((1, *output.shape), device="meta"), axis).shape[1:]
        if len(shape) != 3:
            raise InputError(
                f'layer "{output.name}" returns shape (N, {", ".join(map(str, output.shape))}), which is no map with rows and columns; '
                "choose one whose output is (N, C, H, W)."
            )
        return axis

    def _thresholds(
        self,
        plan: Capture,
        axes: list[int],
        dataset: ConceptDataset,
        batches: list[list[int]],
        image_size: tuple[int, int],
        show_progress: bool,
    ) -> dict[str, Tensor]:
        """(U,) in float64, by layer."""
        states = {name: Quantiles([1 - self.quantile], memory=self.memory) for name in plan.names}

        def take(index: int, output: Tensor, _: slice) -> None:
            name = plan.names[index]
            if not states[name].finished:
                try:
                    states[name].update(channels_first(output, axes[index]).movedim(1, 0))
                except InputError as error:
                    raise InputError(f'layer "{name}": {error}') from error

        halving = Halving(self._pipeline.device)
        while not all(state.finished for state in states.values()):
            for _, images in self._batches(dataset, batches, image_size, "thresholds", show_progress):
                plan.run_in_parts(images, halving, take)
            for state in states.values():
                state.end_pass()
        return {name: state.compute()[:, 0] for name, state in states.items()}

    def _batches(
        self, dataset: ConceptDataset, batches: list[list[int]], size: tuple[int, int], words: str, show_progress: bool
    ) -> Iterator[tuple[list[int], Tensor]]:
        with tqdm(total=len(dataset), desc=words, unit="image", disable=not show_progress) as progress:
            for indices in batches:
                yield indices, self._images(dataset, indices, size)
                progress.update(len(indices))

    def _images(self, dataset: ConceptDataset, indices: list[int], size: tuple[int, int]) -> Tensor:
        images = torch.stack([dataset.image(index, size) for index in indices])
        return images.to(self._pipeline.device, self._pipeline.image_dtype)


__all__ = ["NetworkDissection"]
