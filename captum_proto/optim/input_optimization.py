"""The engine: inputs made to minimize a loss, step by step, each on its own."""

from __future__ import annotations

import contextlib
import copy
import operator
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import callers_level, plain_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import check_modules
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import occurrence_seeds
from captum_proto.optim.descent import Descent
from captum_proto.optim.forward import ForwardPass
from captum_proto.optim.loss.objective import Loss, Outputs, Rows
from captum_proto.optim.network import check_arrangement
from captum_proto.optim.random import RandomStream, prototype_keys
from captum_proto.optim.result import Callback, OptimizationResult
from captum_proto.optim.settings import OptimizationSettings
from captum_proto.runs.snapshots import Snapshot, next_place


class InputOptimization:
    r"""
    The optimization of inputs: parameters are rendered, transformed, preprocessed and shown to the model, and take a step down a loss.

    Rows of a batch do not see each other: losses are summed, so each row's gradient is its own. With a diversity loss, and only then, a row
    sees where the others of its target stand, as constants. The model is frozen and in evaluation mode for the duration, and comes back
    exactly as it was.

    Args:
        forward_func (Callable): The model, or a function or object that refers to it, as in
            :class:`~captum_proto.PrototypeGeneration`.
        loss (Loss): What is minimized, one value a row: see :class:`~captum_proto.optim.Loss`.
        preprocess (Callable, optional): From inputs in their range to what ``forward_func`` takes. Default: None
        settings (OptimizationSettings, optional): Every other choice. Default: those of :class:`~captum_proto.optim.OptimizationSettings`
        warmup (Loss, optional): What the warm-up minimizes, without the transform, where ``warmup_steps`` are asked for. Default: None
        additional_forward_args (any, optional): Further arguments of ``forward_func``, as in Captum. Default: None
        **choices: Fields of :class:`~captum_proto.optim.OptimizationSettings` that differ from ``settings``: ``steps=64``.

    Raises:
        TypeError: If ``loss`` is not a loss.
        ValueError: If a setting is out of its range, or the model has no layer of a name.

    Examples::

        >>> class MeanChannel(Loss):
        ...     layers = ("0",)
        ...     def __init__(self, channel):
        ...         self.channel = channel
        ...     def __call__(self, outputs, images):
        ...         return -outputs["0"][:, self.channel].mean((1, 2))
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10))
        >>> optimization = InputOptimization(model, MeanChannel(2) + 0.5 * HighFrequency(), steps=8, transform=RandomAffine(20))
        >>> result = optimization.optimize((1, 8, 8), count=3, seed=5)
        >>> result.images.shape, sorted(result.history)
        (torch.Size([3, 1, 8, 8]), ['high_frequency_loss', 'loss'])
    """

    def __init__(
        self,
        forward_func: Callable[..., Any],
        loss: Loss,
        preprocess: Callable[[Tensor], Tensor] | None = None,
        settings: OptimizationSettings | None = None,
        *,
        warmup: Loss | None = None,
        additional_forward_args: Any = None,
        **choices: Any,
    ) -> None:
        if not isinstance(loss, Loss):
            raise InputTypeError(f"loss is a {type_name(loss)}; expected a Loss, such as ClassLogit(3).")
        self.settings = replace(settings or OptimizationSettings(), **choices)
        if warmup is None and self.settings.warmup_steps:
            raise InputError(
                f"warmup_steps is {self.settings.warmup_steps}, but warmup is None; give the loss that the warm-up minimizes."
            )
        check_modules(forward_func)
        self.loss, self.warmup = loss, warmup
        arguments = _format_additional_forward_args(additional_forward_args) or ()
        self.pipeline = Pipeline(forward_func, preprocess, arguments, self.settings.autocast)
        #: Whether the model's output was looked at for all that may be wrong with it; later ones only for what costs nothing.
        self.looked = False
        #: Whether it was seen if the model treats each image by itself, and the same each time; it is warned of once.
        self.probed = False

    @in_plain_modes
    def optimize(
        self,
        image_shape: tuple[int, ...] | None = None,
        *,
        start: Tensor | None = None,
        count: int | None = None,
        seed: int | Sequence[int] = 0,
        numbers: range | None = None,
        callback: Callback | None = None,
        snapshot_steps: Iterable[int] = (),
        progress: tqdm[Any] | bool = False,
        snapshot: Snapshot | None = None,
    ) -> OptimizationResult:
        r"""
        Optimize one batch, from noise unless start images are given.

        Args:
            image_shape (tuple[int, ...], optional): Of one input: (C, H, W) for an image. Needed unless ``start`` is given. Default: None
            start (Tensor, optional): Start images (N, C, H, W) in ``value_range``. Default: None
            count (int, optional): How many rows. Default: None, as many as the loss has targets or as there are start images, else 1
            seed (int or sequence of int, optional): The first seed, or one for each row. With one, the k-th row of equal targets gets
                ``seed + k``: it is the same whatever else is asked for. Default: 0
            numbers (range, optional): Which of all the prototypes asked for these rows are, for callbacks and messages. Default: from 0
            callback (Callable, optional): Called with a :class:`Step` after each step; returning True ends the optimization, and the images
                as they are come back. Default: None
            snapshot_steps (iterable of int, optional): Keep copies after so many steps of the main objective. Default: ()
            progress (bool or tqdm, optional): Whether to show a progress bar, or one to advance. Default: False
            snapshot (Snapshot, optional): Where to keep the state of the optimization until it is done: after the process was killed, the
                same call goes on from there, and ends in the same images. Its callback sees no step that was made before. Default: None

        Returns:
            OptimizationResult: Images and history.

        Raises:
            TypeError: If the model's output is of another type than the loss needs, or there is no shape.
            ValueError: If the loss cannot be optimized, turns into NaN on the way, or the numbers of rows differ.
        """
        if start is None and image_shape is None:
            raise InputTypeError("image_shape is missing; give (C, H, W), or start images.")
        shape = tuple(map(operator.index, image_shape if start is None else start.shape[1:]))  # type: ignore[arg-type]  # one is there
        targets = self._targets(plain_int(count) if start is None else len(start))
        keys = prototype_keys(occurrence_seeds(targets, seed), targets).to(self.pipeline.device)
        rows = Rows(numbers or range(len(targets)), targets, keys)
        with _graph_allowed(), contextlib.ExitStack() as stack:
            if snapshot is not None:
                stack.enter_context(snapshot.used())
            if isinstance(progress, bool):
                total = len(targets) * (self.settings.steps + self.settings.warmup_steps)
                progress = stack.enter_context(tqdm(total=total, desc="inputs", unit="step", disable=not progress))
            descent = Descent(
                self.pipeline,
                self.settings,
                self.loss,
                self.warmup,
                rows,
                callback=callback,
                snapshot_steps=frozenset(plain_int(step) for step in snapshot_steps),
                progress=progress,
                looked=self.looked,
                probed=self.probed,
                place=next_place(),
            )
            stack.enter_context(descent.forward.loan.frozen())
            result = descent.run(shape, start)
        if snapshot is not None:
            snapshot.clear()
        self.looked, self.probed = descent.looked, True
        return result

    def _targets(self, count: int | None) -> list[tuple[int, ...]]:
        if self.loss.targets is None:
            return [()] * (1 if count is None else count)
        if count is not None and count != len(self.loss.targets):
            raise InputError(f"the loss has {len(self.loss.targets)} targets for {count} rows; give one for each row.")
        return self.loss.targets

    @in_plain_modes
    def outputs(self, result: OptimizationResult, streams: Iterable[RandomStream | None] = (None,)) -> list[Outputs]:
        """
        What the model as it came makes of finished inputs: without gradients, unless the loss takes some between layers.

        Args:
            result (OptimizationResult): Of :meth:`optimize`.
            streams (iterable of RandomStream or None, optional): One for each pass: the numbers of its transform, or None for no transform.
                Default: one pass without transform

        Returns:
            list[Outputs]: One for each pass.

        Warns:
            UserWarning: If the network, as it was arranged for speed, sees the inputs otherwise.
        """
        between, images = self.loss.between_layers, result.images
        forward = ForwardPass(self.pipeline, self.settings, result.rows, self.loss.layers)
        inputs = result.parametrization or self.settings.parametrization
        made = []
        if between:
            images = images.detach().requires_grad_(True)
        with _graph_allowed() if between else torch.no_grad(), forward.loan.frozen():
            for random in streams:
                with forward.turn():
                    seen = inputs.composed(images, copy.copy(random))
                    made.append(forward(seen, random, closely=not self.looked))
                self.looked = True
                if (
                    random is None
                    and result.arrangement.copied
                    and not check_arrangement(result.arrangement, self.pipeline, seen.detach(), made[-1].output)
                ):
                    warnings.warn(
                        "with its batch normalizations and paddings folded the network sees the finished prototypes otherwise than "
                        "without; make them again with fold_batch_norm=False.",
                        stacklevel=callers_level(),
                    )
        return made


@contextlib.contextmanager
def _graph_allowed() -> Iterator[None]:
    """Gradients even inside the caller's ``no_grad`` or ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


__all__ = ["InputOptimization"]
