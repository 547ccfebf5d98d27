"""The images to which units respond most: all units of all layers in one streaming pass, and their exact quantiles in a second."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.checks import as_int, check_int, nearest
from captum_proto._utils.errors import InputError, InputTypeError, StateError
from captum_proto._utils.halving import Halving
from captum_proto._utils.model import unwrapped
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, LayerSelection, channel_axis, channels_first, warn_of_layers
from captum_proto.data.numbered import NumberedImages
from captum_proto.features.example_state import ExampleSettings, ExampleState, LayerState
from captum_proto.features.examples import Examples, LayerExamples
from captum_proto.features.receptive_field import FieldFinder, flat_place

_POOLS = ("max", "mean", "position")


class TopExamples:
    r"""
    The images of a data set to which each unit of some layers responds most.

    Images stream through the model once; for each unit the k best are kept, exactly, with the k lowest and a random sample as controls. A
    second pass, sometimes a third, finds exact quantiles of all activations, thresholds of which network dissection is made (0.995; Bau et
    al. 2017, and 0.99; MILAN, Hernandez et al. 2022). Nothing but these states is in memory, whatever the number of images. As units and
    positions are counted in :mod:`captum_proto.capture`: a unit is a channel, and its positions are those of the map, or tokens.

    Args:
        forward_func (nn.Module): The model. It comes back as it was.
        layers (LayerSelection): Names, patterns or modules, "leaf" or "all", as in :func:`~captum_proto.capture.select_layers`.
        k (int, optional): Images of each unit; MILAN takes 15. Default: 15
        pool (str, optional): What an image scores: "max", the highest activation of the map, "mean", that of all of it, or "position", the
            activation at one position. Default: "max"
        preprocess (Callable, optional): From images to what the model takes. Default: None
        position (sequence of int, optional): Of ``pool="position"``, such as (3, 3). None: each position has its own examples (spatially
            aware; Hilton et al. 2020). Default: None
        channel_axis (int or dict[str, int], optional): Which axis of a layer's output (N, ...) holds the units, for all or by layer.
            Default: None, told by the layer
        quantiles (sequence of float, optional): Of all activations of a unit; () for none, and a single pass. Default: (0.99, 0.995)
        seed (int, optional): Of the random sample. Default: 0
        receptive_fields (bool, optional): Whether to find the part of an image that each position sees, for
            :meth:`LayerExamples.crops`. Default: True
        additional_forward_args (any, optional): Further arguments of the model, as in Captum. Default: None
        memory (int, optional): How many bytes a pass for quantiles may take, for each layer. Default: 256 MiB

    Raises:
        ValueError: If an argument is out of its range.
        TypeError: If ``forward_func`` is no module.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, stride=2), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
        >>> images = torch.rand(40, 3, 16, 16)
        >>> examples = TopExamples(model, ["1", "2"], k=5).fit(images)
        >>> examples["2"].scores.shape, examples["2"].indices.shape, examples["2"].positions.shape
        (torch.Size([4, 5]), torch.Size([4, 5]), torch.Size([4, 5, 2]))
        >>> [crop.shape[1] <= 7 for crop in examples["2"].crops(images, unit=3, count=2)]
        [True, True]
    """

    def __init__(
        self,
        forward_func: nn.Module,
        layers: LayerSelection,
        k: int = 15,
        pool: str = "max",
        preprocess: Callable[[Tensor], Tensor] | None = None,
        *,
        position: Sequence[int] | int | None = None,
        channel_axis: int | dict[str, int] | None = None,
        quantiles: Sequence[float] = (0.99, 0.995),
        seed: int = 0,
        receptive_fields: bool = True,
        additional_forward_args: Any = None,
        memory: int = 2**28,
    ) -> None:
        if not isinstance(forward_func, nn.Module):
            raise InputTypeError(
                f"forward_func is a {type(forward_func).__name__}; expected a torch.nn.Module, whose layers can be watched."
            )
        if pool not in _POOLS:
            raise InputError(f'pool is "{pool}"{nearest(str(pool), _POOLS) or "; expected max, mean or position."}')
        if position is not None and pool != "position":
            raise InputError(f'position is {position}, but pool is "{pool}"; give pool="position" with it.')
        for each in quantiles:
            if not 0 <= each <= 1:
                raise InputError(f"quantiles holds {each}; a quantile is between 0 and 1, such as 0.99.")
        self.forward_func = unwrapped(forward_func)
        self.layers, self.preprocess = layers, preprocess
        self.channel_axis, self.receptive_fields = channel_axis, receptive_fields
        self.additional_forward_args = additional_forward_args
        self._pipeline = Pipeline(
            forward_func, preprocess, _format_additional_forward_args(additional_forward_args) or ()
        )
        single = as_int(position)
        places = None if position is None else (single,) if single is not None else tuple(map(int, position))  # type: ignore[arg-type]
        self.settings = ExampleSettings(
            check_int(k, "k", 1),
            pool,
            places,
            tuple(map(float, quantiles)),
            check_int(seed, "seed", 0),
            check_int(memory, "memory", 1),
        )
        self._plan: Capture | None = None
        self._axes: list[int] = []

    def fit(
        self,
        images: Any,
        batch_size: int = 32,
        *,
        first: int = 0,
        distributed: bool = False,
        show_progress: bool = False,
    ) -> Examples:
        r"""
        Go through images and find the examples of all units.

        Args:
            images (Tensor, Dataset, DataLoader, Collection or iterable): (N, C, H, W), or batches of such; see
                :class:`~captum_proto.data.numbered.NumberedImages`. They are gone through twice or three times, once without quantiles.
            batch_size (int, optional): Images at a time, where they do not come in batches. Default: 32
            first (int, optional): The number of the first of them, where they are a part of a data set. Default: 0
            distributed (bool, optional): Whether ``images`` are the part of this process, and the examples to be those of all processes of
                ``torch.distributed``; all call this together. Default: False
            show_progress (bool, optional): Whether to show a progress bar. Default: False

        Returns:
            Examples: With the tensors on the CPU.

        Raises:
            ValueError: If there are fewer images than k, an activation is NaN, a layer does not exist, or a generator is given that lasts
                for a single pass where quantiles need a second.
        """
        numbered = NumberedImages(images, check_int(batch_size, "batch_size", 1))
        if numbered.once and self.settings.quantiles:
            raise InputError(
                "images is a generator, which lasts for one pass, and quantiles need a second; give a list, a DataLoader or a tensor, or "
                "quantiles=()."
            )
        if not distributed and numbered.count is not None:
            self._check_count(numbered.count)
        state = self.start()
        while not state.finished:
            self.update(state, numbered, first=first, show_progress=show_progress)
            if distributed:
                state.gather()
            state.end_pass()
        return self.result(state)

    @in_plain_modes
    def units(self, image_shape: Sequence[int]) -> dict[str, int]:
        """
        How many units each layer has, told from a small pass of random values.

        Args:
            image_shape (sequence of int): (C, H, W) of the images to come.

        Raises:
            ValueError: If there is no such layer, or no such position in it.
        """
        random = torch.Generator().manual_seed(0)
        image = torch.rand(1, *image_shape, generator=random).to(self._pipeline.device, self._pipeline.image_dtype)
        plan = self._planned(image)
        self._positions(plan)
        return {
            output.name: output.shape[axis - 1] if axis > 0 else output.shape[axis]
            for output, axis in zip(plan.outputs, self._axes, strict=True)
        }

    def start(self) -> ExampleState:
        """A state that has seen no images, for :meth:`update`."""
        return ExampleState(self.settings)

    @in_plain_modes
    def update(
        self, state: ExampleState, images: Any, batch_size: int = 32, *, first: int = 0, show_progress: bool = False
    ) -> None:
        """
        Give a state images: all of them, or a part. When all have come, once in each pass, :meth:`ExampleState.end_pass` ends the pass.

        Args:
            state (ExampleState): Of :meth:`start`, or of :meth:`ExampleState.part` in a later pass.
            images, batch_size, first, show_progress: As in :meth:`fit`.

        Raises:
            ValueError: As :meth:`fit`.
        """
        moved, halving = False, Halving(self._pipeline.device)
        for batch, numbers in self._batches(NumberedImages(images, batch_size), first, show_progress, state.passes):
            plan = self._planned(batch)
            if not state.passes:
                state.begin(self._positions(plan), tuple(batch.shape[1:]))
            elif list(state.layers) != plan.names:
                raise InputError("the state is of other layers; go on with the model and the layers it was begun with.")
            if not moved:
                state.to(self._pipeline.device)
                moved = True
            state.take(numbers)
            self._look(plan, state, batch, numbers, halving)

    @in_plain_modes
    def result(self, state: ExampleState) -> Examples:
        """
        The examples that a state has found.

        Args:
            state (ExampleState): After its last pass.

        Returns:
            Examples: With the tensors on the CPU.

        Raises:
            RuntimeError: If a pass is missing.
            ValueError: If there were fewer images than k.
        """
        if not state.finished:
            raise StateError(
                f"{state.passes} passes have ended, and not everything is known; give the state the images again, and end that pass."
            )
        self._check_count(len(state.numbers))
        finder = None
        if self.receptive_fields and self.settings.pool == "max":
            finder = FieldFinder(
                self.forward_func,
                self.layers,
                state.image_shape,
                self.preprocess,
                self.additional_forward_args,
                self.channel_axis,
            )
        layers = {name: self._result_of(name, inner, state, finder) for name, inner in state.states.items()}
        settings = {name: value for name, value in asdict(self.settings).items() if name != "memory"}
        settings = {name: list(value) if isinstance(value, tuple) else value for name, value in settings.items()}
        return Examples(layers, len(state.numbers), settings)

    def _check_count(self, count: int) -> None:
        if count < self.settings.k:
            raise InputError(
                f"k is {self.settings.k}, but there are {count} images; give k at most {count}, or more images."
            )

    def _batches(
        self, numbered: NumberedImages, first: int, show_progress: bool, passes: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        with tqdm(total=numbered.count, desc=f"pass {passes + 1}", unit="image", disable=not show_progress) as progress:
            for batch, numbers in numbered.batches():
                yield batch.to(self._pipeline.device, self._pipeline.image_dtype), numbers + first
                progress.update(len(batch))

    def _planned(self, batch: Tensor) -> Capture:
        """What to read, planned for images of this size."""
        if self._plan is None or self._plan.image_shape != tuple(batch.shape[1:]):
            self._plan = Capture(self.forward_func, self._pipeline, batch[:1], self.layers)
            self._axes = [self._axis(self._plan, index) for index in range(len(self._plan.outputs))]
            warn_of_layers(self._plan, batch)
        return self._plan

    def _axis(self, plan: Capture, index: int) -> int:
        output, given = plan.outputs[index], self.channel_axis
        axis = given.get(output.name) if isinstance(given, dict) else given
        return channel_axis(plan.modules[output.layer], (1, *output.shape)) if axis is None else axis

    def _positions(self, plan: Capture) -> dict[str, tuple[int, ...]]:
        found: dict[str, tuple[int, ...]] = {}
        place = self.settings.position
        for output, axis in zip(plan.outputs, self._axes, strict=True):
            if not output.shape:
                raise InputError(
                    f'layer "{output.name}" returns one number for each image; choose a layer that has units.'
                )
            shape = tuple(channels_first(torch.empty((1, *output.shape), device="meta"), axis).shape[2:])
            if (
                place is not None
                and shape
                and (
                    len(place) != len(shape) or any(not 0 <= at < count for at, count in zip(place, shape, strict=True))
                )
            ):
                raise InputError(
                    f'position is {place}, but layer "{output.name}" has {" x ".join(map(str, shape))} positions, counted from 0.'
                )
            found[output.name] = shape
        return found

    def _look(self, plan: Capture, state: ExampleState, batch: Tensor, numbers: Tensor, halving: Halving) -> None:
        """Run the model on a batch, and give each layer's activations to its state."""
        place = self.settings.position

        def take(index: int, output: Tensor, rows: slice) -> Iterator[Callable[[], None]]:
            name = plan.names[index]
            shape, inner = state.layers[name], state.states[name]
            values = channels_first(output, self._axes[index])
            values = values.flatten(2) if values.dim() > 2 else values.unsqueeze(2)
            if state.passes:
                yield lambda: inner.later_pass(values)
                return
            where = None if place is None else flat_place(place, shape) if shape else 0
            try:
                yield from inner.steps_of_first_pass(values, numbers[rows], where)
            except InputError as error:
                raise InputError(f'layer "{name}" {error}') from error

        plan.run_in_parts(batch, halving, take)

    def _result_of(
        self, name: str, inner: LayerState, state: ExampleState, finder: FieldFinder | None
    ) -> LayerExamples:
        assert inner.range is not None
        shape, units = state.layers[name], len(inner.range[0])
        top, lowest, sample = (part.compute() for part in (inner.top, inner.lowest, inner.sample))
        each = self.settings.pool == "position" and self.settings.position is None and shape

        def shaped(values: Tensor) -> Tensor:
            return (values.reshape(units, *shape, -1) if each else values).cpu()

        def places(payload: Tensor | None) -> Tensor | None:
            if payload is None or not shape:
                return None
            return torch.stack(torch.unravel_index(payload.cpu(), shape), -1)

        return LayerExamples(
            layer=name,
            count=len(state.numbers),
            image_shape=state.image_shape,
            scores=shaped(top[0]),
            indices=shaped(top[1]),
            lowest_scores=shaped(lowest[0]),
            lowest_indices=shaped(lowest[1]),
            random_scores=shaped(sample[0]),
            random_indices=sample[1].cpu(),
            levels=list(self.settings.quantiles),
            quantiles=torch.empty(units, 0, dtype=torch.float64)
            if inner.quantiles is None
            else inner.quantiles.compute().cpu(),
            lowest_value=inner.range[0].cpu(),
            highest_value=inner.range[1].cpu(),
            **{count: value.cpu() for count, value in inner.counts.items()},
            positions=places(top[2]),
            lowest_positions=places(lowest[2]),
            random_positions=places(sample[2]),
            boxes=None if finder is None or not shape else finder.all_boxes(name),
            shape=shape,
        )


__all__ = ["TopExamples"]
