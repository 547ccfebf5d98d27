"""The passes of network dissection over a data set, of which processes can share the images: thresholds by quantiles, then counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError, StateError
from captum_proto._utils.halving import Halving
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, channel_axis, channels_first
from captum_proto.concept.dataset import ConceptDataset
from captum_proto.concept.dissection_result import Dissection, LayerDissection
from captum_proto.concept.tally import Counts, LabelBatch, even_batches
from captum_proto.ops.double import exact_device
from captum_proto.stats.quantiles import Quantiles

#: Of a tally: see :meth:`~captum_proto.concept.tally.Tally.steps`.
Step = Callable[[], None]


class DissectionPasses:
    """
    What :meth:`NetworkDissection.interpret <captum_proto.concept.NetworkDissection.interpret>` does, pass by pass, on some of the batches
    at a time: states of parts add up to exactly what one pass would find.

    :meth:`NetworkDissection.passes <captum_proto.concept.NetworkDissection.passes>` makes it.

    Args:
        model (nn.Module): The model.
        pipeline (Pipeline): The model behind its preprocessing.
        layers (LayerSelection): Whose outputs are maps.
        dataset (ConceptDataset): Images and their labels.
        image_size (tuple[int, int]): Rows and columns at which the model takes images.
        batch_size (int): Images at a time.
        channel_axis (int, optional): Which axis of a layer's output holds the units. Default: None, told by the layer
        memory (int): How many bytes a pass for quantiles may take, for each layer.
        settings (mapping): What the counts depend on.

    Attributes:
        batches (list[list[int]]): The images of each batch, in the order in which they go by; of nearly equal size, larger ones first.
        names (list[str]): The layers.

    Raises:
        ValueError: If there are no images, or a layer has no map.

    Examples::

        >>> from captum_proto.concept import NetworkDissection
        >>> from captum_proto.testing import ShapeDataset
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 5, stride=4), torch.nn.ReLU())
        >>> passes = NetworkDissection(model, ["1"], size=(56, 56)).passes(ShapeDataset(40, size=56), (56, 56), 10)
        >>> thresholds = passes.thresholds()
        >>> counts = passes.count(thresholds, passes.batches[:2])
        >>> counts.merge(passes.count(thresholds, passes.batches[2:], first=20))
        >>> passes.result(thresholds, counts)["1"].iou.shape
        torch.Size([4, 32])
    """

    def __init__(
        self,
        model: nn.Module,
        pipeline: Pipeline,
        layers: LayerSelection,
        dataset: ConceptDataset,
        image_size: tuple[int, int],
        batch_size: int,
        *,
        channel_axis: int | None,
        memory: int,
        settings: Mapping[str, Any],
    ) -> None:
        self._pipeline, self._dataset, self._image_size = pipeline, dataset, image_size
        self._batch_size, self._channel_axis, self._memory = (
            check_int(batch_size, "batch_size", 1),
            channel_axis,
            memory,
        )
        self._settings = dict(settings)
        if not len(dataset):
            raise InputError(f"{dataset.where} has no images.")
        self.batches = even_batches(len(dataset), batch_size, self._settings["seed"])
        self._plan = Capture(model, pipeline, self._images([0]), layers)
        self._axes = [self._axis(index) for index in range(len(self._plan.outputs))]
        self.names = list(self._plan.names)

    def check_draws(self) -> None:
        """
        See that each batch has labels of others for draws of chance.

        Raises:
            ValueError: If one has not.
        """
        if self._settings["draws"] and len(self.batches[-1]) < 2:
            raise InputError(
                f"batch_size is {self._batch_size} and there are {len(self._dataset)} images: a batch of one has no labels of others, "
                "which draws of chance need; give more, or draws=0."
            )

    def start(self) -> dict[str, Quantiles]:
        """A state of each layer that has seen nothing: for :meth:`look`, and :func:`end_pass` when all images have come once."""
        return {name: Quantiles([1 - self._settings["quantile"]], memory=self._memory) for name in self.names}

    @in_plain_modes
    def look(
        self, quantiles: Mapping[str, Quantiles], batches: Sequence[Sequence[int]], show_progress: bool = False
    ) -> None:
        """
        Give the activations of some batches to the states of layers; those that are finished stay.

        Args:
            quantiles (mapping[str, Quantiles]): By layer, of the same pass.
            batches (sequence of sequence of int): Some of ``batches``.
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Raises:
            ValueError: If an activation is NaN.
        """

        def take(index: int, output: Tensor, _: slice) -> None:
            name = self.names[index]
            if not quantiles[name].finished:
                with _of_layer(name):
                    quantiles[name].update(channels_first(output, self._axes[index]).movedim(1, 0))

        halving = Halving(self._pipeline.device)
        for state in quantiles.values():
            state.to(exact_device(self._pipeline.device))
        for _, images in self._loaded(batches, "thresholds", show_progress):
            self._plan.run_in_parts(images, halving, take)

    def thresholds(self, show_progress: bool = False) -> dict[str, Tensor]:
        """The activation above which each unit fires, (U,) in float64, by layer: after all passes over all batches."""
        quantiles = self.start()
        self.finish(quantiles, show_progress)
        return thresholds_of(quantiles)

    def finish(self, quantiles: Mapping[str, Quantiles], show_progress: bool = False) -> None:
        """Make what passes are missing, over all batches, until the states of all layers are finished."""
        while not all(state.finished for state in quantiles.values()):
            self.look(quantiles, self.batches, show_progress)
            end_pass(quantiles)

    @in_plain_modes
    def count(
        self,
        thresholds: Mapping[str, Tensor],
        batches: Sequence[Sequence[int]],
        first: int = 0,
        show_progress: bool = False,
    ) -> Counts:
        """
        Count where units fire on some batches, and what is labeled there.

        Args:
            thresholds (mapping[str, Tensor]): (U,) by layer.
            batches (sequence of sequence of int): Consecutive ones of ``batches``.
            first (int, optional): How many images are in the batches before these. Default: 0
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            Counts: To be merged with those of other batches.

        Raises:
            ValueError: If a label is of no concept, or a batch of one has nobody to draw labels from.
        """
        dataset, device = self._dataset, exact_device(self._pipeline.device)
        units = {name: len(thresholds[name]) for name in self.names}
        draws, size = self._settings["draws"], tuple(self._settings["size"])
        counts = Counts.empty(units, len(dataset.concepts), len(dataset.categories), draws, device, first)
        halving = Halving(self._pipeline.device)
        for indices, images in self._loaded(batches, "counting", show_progress):
            labels = LabelBatch.read(dataset, indices, size)
            counts.areas += labels.areas
            drawn = next(iter(counts.tallies.values())).drawn(labels.to(device))

            def count(index: int, output: Tensor, rows: slice, drawn: list[LabelBatch] = drawn) -> Iterator[Step]:
                name, maps = self.names[index], channels_first(output, self._axes[index])
                given = [labels.rows(rows) for labels in drawn]
                levels = thresholds[name].to(exact_device(maps.device))
                yield from counts.tallies[name].steps(maps, levels, given, self._settings["align_corners"])

            self._plan.run_in_parts(images, halving, count)
        return counts

    def result(self, thresholds: Mapping[str, Tensor], counts: Counts) -> Dissection:
        """
        What has been found when all images are counted.

        Args:
            thresholds (mapping[str, Tensor]): (U,) by layer.
            counts (Counts): Of all images.

        Returns:
            Dissection: With the tensors on the CPU.

        Raises:
            RuntimeError: If images are missing, or were counted twice.
        """
        layers, dataset = {}, self._dataset
        for name, tally in counts.tallies.items():
            if tally.images != len(dataset):
                raise StateError(
                    f"{tally.images} images are counted, and {dataset.where} has {len(dataset)}; count each of them once."
                )
            layers[name] = LayerDissection(
                name,
                dataset.concepts,
                dataset.categories,
                thresholds[name].cpu(),
                tally.together[:, :, 1:].cpu(),
                tally.fired.cpu(),
                counts.areas[1:],
                tally.pixels,
                self._settings["denominator"],
                self._settings["iou_threshold"],
            )
        seen_as = {"batch_size": self._batch_size, "image_size": list(self._image_size)}
        return Dissection(layers, len(dataset), {**self._settings, **seen_as})

    def _axis(self, index: int) -> int:
        output, axis = self._plan.outputs[index], self._channel_axis
        if axis is None:
            axis = channel_axis(self._plan.modules[output.layer], (1, *output.shape))
        shape = channels_first(torch.empty((1, *output.shape), device="meta"), axis).shape[1:]
        if len(shape) != 3:
            raise InputError(
                f'layer "{output.name}" returns shape (N, {", ".join(map(str, output.shape))}), which is no map with rows and columns; '
                "choose one whose output is (N, C, H, W)."
            )
        return axis

    def _loaded(
        self, batches: Sequence[Sequence[int]], words: str, show_progress: bool
    ) -> Iterator[tuple[Sequence[int], Tensor]]:
        total = sum(map(len, batches))
        with tqdm(total=total, desc=words, unit="image", disable=not show_progress) as progress:
            for indices in batches:
                yield indices, self._images(indices)
                progress.update(len(indices))

    def _images(self, indices: Sequence[int]) -> Tensor:
        images = torch.stack([self._dataset.image(index, self._image_size) for index in indices])
        return images.to(self._pipeline.device, self._pipeline.image_dtype)


def end_pass(quantiles: Mapping[str, Quantiles]) -> None:
    """
    Say of the states of layers that all images have come once.

    Raises:
        ValueError: If an activation was NaN.
    """
    for name, state in quantiles.items():
        with _of_layer(name):
            state.end_pass()


def thresholds_of(quantiles: Mapping[str, Quantiles]) -> dict[str, Tensor]:
    """The activation above which each unit fires, (U,) in float64, by layer: of states after their last pass."""
    return {name: state.compute()[:, 0] for name, state in quantiles.items()}


@contextmanager
def _of_layer(name: str) -> Iterator[None]:
    """Say of which layer it is what is wrong with its activations."""
    try:
        yield
    except InputError as error:
        raise InputError(f'layer "{name}": {error}') from error


__all__ = ["DissectionPasses", "end_pass", "thresholds_of"]
