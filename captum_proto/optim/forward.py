"""From inputs to what losses see of them: the transform, the preprocessing, the network, and the layers that were asked for."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from captum_proto._utils.model import Loan
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Layer, LayerRecorder, Source, gradients_told
from captum_proto.optim.loss.objective import Outputs, Rows
from captum_proto.optim.network import Arrangement, arrange
from captum_proto.optim.random import RandomStream, StepStreams
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.optim.transforms import EachAffine, GaussianNoise, RandomAffine


class ForwardPass:
    """
    One batch's way through transform, preprocessing and network, in a :meth:`turn` with the model.

    Args:
        pipeline (Pipeline): The model and its preprocessing.
        settings (OptimizationSettings): Of them the transform, the order, and how the network may be arranged.
        rows (Rows): What the rows of the batch are.
        layers (iterable of str or nn.Module, optional): What is recorded. Default: ()
        arranged (bool, optional): Whether the first pass looks for a faster arrangement of the network. Default: False, as it came

    Attributes:
        arrangement (Arrangement): How the network is run, once it was.
        loan (Loan): Of the model.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        settings: OptimizationSettings,
        rows: Rows,
        layers: Iterable[Layer] = (),
        arranged: bool = False,
    ) -> None:
        self.arrangement = Arrangement(pipeline.forward_func)
        self.loan = Loan(pipeline.forward_func)
        self._run_loan = self.loan  # of what is run: the model, or a copy
        self.recorder = LayerRecorder(pipeline.forward_func, layers)
        self._pipeline, self._settings, self._rows = pipeline, settings, rows
        self._noise = GaussianNoise(settings.noise) if settings.noise else None
        self._network: Pipeline | None = None if arranged else pipeline
        self._planned_shape: tuple[int, ...] = ()
        self._turn = contextlib.ExitStack()
        self._turning = False
        #: Whether a loss looked at the model's output in the passes since it was last set to False; where not, they end before it.
        self.output_wanted = True
        #: Where losses take the random numbers of their steps from; None: each step's by themselves.
        self.draws: StepStreams | None = None

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """
        The model to oneself for a forward pass and its gradients: no other thread's pass, its layers recorded, its buffers kept.

        Raises:
            InputError: If a layer of the model is quantized, so that there are no gradients.
        """
        with contextlib.ExitStack() as self._turn:
            self._turn.enter_context(self.loan.turn())
            self._turn.enter_context(self._run_loan.own_buffers())
            self._turn.enter_context(gradients_told(self._pipeline.forward_func))
            self._turn.enter_context(self.recorder.recording())
            self._turning = True
            try:
                yield
            finally:
                self._turning = False

    def __call__(self, images: Tensor, random: RandomStream | None, step: int = 0, closely: bool = False) -> Outputs:
        """
        Run the model once.

        Args:
            images (Tensor): (N, ...).
            random (RandomStream, optional): Of the transform; None: without it.
            step (int, optional): For losses that draw random numbers. Default: 0
            closely (bool, optional): Whether logits are looked at for all that may be wrong, which makes a GPU wait. Default: False
        """
        same = copy.copy(random)
        prepared = self._prepared(images, random)
        if self._network is None:
            settings = self._settings
            self.arrangement = arrange(
                self._pipeline, prepared.detach(), settings.fold_batch_norm, settings.channels_last
            )
            self._network = self.arrangement.applied_to(self._pipeline)
            if self.arrangement.copied:
                self._run_loan = Loan(self.arrangement.forward_func)
                self._turn.enter_context(self._run_loan.own_buffers())
        if not self.recorder.planned or self._planned_shape not in ((), prepared.shape[1:]):
            # How layers lie is found for one size, and a parametrization may show smaller pictures at first.
            self.recorder.plan(self._run_few, prepared[:1].detach())
            self._planned_shape = prepared.shape[1:]
        output, finish = self._run(self._network, prepared, step)
        layers, sources = self._taken(len(images))
        return Outputs(
            output,
            layers,
            self._rows,
            step,
            closely,
            self.recorder.channel_axis,
            sources,
            lambda other: self._beside(other, same, step),
            finish,
            self.draws,
        )

    def _run(self, network: Pipeline, prepared: Tensor, step: int) -> tuple[Any, Callable[[], Any]]:
        """
        Run a network, where that is all that a loss wants no farther than the layers that are recorded.

        Returns:
            tuple[any, Callable]: Its output, or None; and a function that notes that it is wanted, and gives it.
        """
        self.recorder.clear()

        def whole() -> Any:
            self.output_wanted = True
            kept = network.run(prepared)
            self.recorder.clear()
            return kept

        if step > 0 and not self.output_wanted and self.recorder.may_end_early:
            self.recorder.run_until_recorded(lambda: network.run(prepared))
            return None, whole
        output = network.run(prepared)

        def given() -> Any:
            self.output_wanted = True
            return output

        return output, given

    def _taken(self, batch: int) -> tuple[dict[Layer, Tensor], dict[Layer, Source]]:
        """What the layers returned in the last pass, and where it came from."""
        taken = self.recorder.take_with_sources(batch)
        return {layer: value for layer, (value, _) in taken.items()}, {
            layer: source for layer, (_, source) in taken.items()
        }

    @torch.no_grad()
    def _beside(self, images: Tensor, random: RandomStream | None, step: int) -> Outputs:
        """The same for other images, one for each row, by the same draws of the transform, without gradients."""
        with contextlib.ExitStack() as stack:
            if not self._turning:  # a loss may look at outputs after the pass that made them
                stack.enter_context(self.loan.frozen())
                stack.enter_context(self.turn())
            assert self._network is not None  # there was a pass before
            prepared = self._prepared(images.to(self._pipeline.image_dtype), copy.copy(random))
            output, finish = self._run(self._network, prepared, step)
            layers, _ = self._taken(len(images))
        return Outputs(
            output, layers, self._rows, step, False, self.recorder.channel_axis, finish=finish, draws=self.draws
        )

    def _run_few(self, prepared: Tensor) -> Any:
        """The network as it came, on a few images: an argument with one row for each image of the batch gives them its first row."""
        pipeline = copy.copy(self._pipeline)
        pipeline.additional_forward_args = tuple(
            argument[:1].expand(len(prepared), *argument.shape[1:])
            if isinstance(argument, Tensor) and argument.dim() and len(argument) == len(self._rows.keys)
            else argument
            for argument in pipeline.additional_forward_args
        )
        return pipeline.run(prepared.clone())

    def _prepared(self, images: Tensor, random: RandomStream | None) -> Tensor:
        if random is None:
            return self._preprocessed(images)
        if self._settings.preprocess_first:
            return self._transformed(self._preprocessed(images), random)
        return self._transformed_and_prepared(images, random)

    @cached_property
    def _normalization(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation, if a normalization is all the preprocessing there is, beside the model."""
        normalization = self._pipeline.normalization
        if (
            normalization is None or 0 in normalization[1]
        ):  # by zero the preprocessing refuses to divide, in its own words
            return None
        mean, std = (torch.tensor(each, dtype=self._pipeline.image_dtype) for each in normalization)
        return mean.to(self._pipeline.device), std.to(self._pipeline.device)

    def _preprocessed(self, images: Tensor) -> Tensor:
        """The model's preprocessing; torchvision's normalization without the copies and looks at values that make a GPU wait."""
        normalization = self._normalization
        if normalization is None or images.dtype != self._pipeline.image_dtype or images.dim() != 4:
            return self._pipeline.prepare(images)
        mean, std = normalization
        if len(mean) not in (1, images.shape[1]):
            return self._pipeline.prepare(images)
        return (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)

    def _transformed(self, images: Tensor, random: RandomStream) -> Tensor:
        if self._settings.transform is not None:
            images = self._settings.transform(images, random)
        return images if self._noise is None else self._noise(images, random)

    def _transformed_and_prepared(self, images: Tensor, random: RandomStream) -> Tensor:
        """T, then the model's preprocessing: in one operator if they are an affine map and a normalization."""
        transform, normalization = self._settings.transform, self._normalization
        if not (type(transform) is RandomAffine or type(transform) is EachAffine) or normalization is None:
            return self._preprocessed(self._transformed(images, random))
        channels_last = self._network is not None and self._network.channels_last
        prepared = transform.normalized(images, random, *normalization, channels_last=channels_last)
        if self._noise is None:
            return prepared
        return prepared + self._noise.drawn(prepared, random) / normalization[1].view(-1, 1, 1)
