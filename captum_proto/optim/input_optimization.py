"""The engine: inputs made to minimize a loss, step by step, each on its own."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from captum._utils.common import _format_additional_forward_args
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto._utils.checks import callers_level
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import occurrence_seeds
from captum_proto.optim.forward import ForwardPass
from captum_proto.optim.loss.objective import Loss, Outputs, Rows
from captum_proto.optim.network import check_arrangement
from captum_proto.optim.random import START, TRANSFORM, RandomStream, prototype_keys
from captum_proto.optim.result import Callback, OptimizationResult, Step
from captum_proto.optim.settings import SCHEDULES, OptimizationSettings

#: How often the host looks at values that the device has computed. Every look makes a GPU wait.
_LOOK_EVERY = 32
#: Where half-precision gradients start: a logit's gradient by one pixel is often below float16's smallest number.
_FLOAT16_LOSS_SCALE = 1024.0


class InputOptimization:
    r"""
    The optimization of inputs: parameters are rendered, transformed, preprocessed and shown to the model, and take a step down a loss.

    Rows of a batch do not see each other: losses are summed, so each row's gradient is its own. With a diversity loss, and only then, a row
    sees where the others of its target stand, as constants. The model is frozen and in evaluation mode for the duration, and comes back
    exactly as it was.

    Args:
        forward_func (Callable): The model, or a function of a batch that refers to it.
        loss (Loss): What is minimized, one value a row: see :class:`~captum_proto.optim.Loss`.
        preprocess (Callable, optional): From inputs in their range to what ``forward_func`` takes. Default: None
        settings (OptimizationSettings, optional): Every other choice. Default: those of :class:`~captum_proto.optim.OptimizationSettings`
        warmup (Loss, optional): What the warm-up minimizes, without the transform, where ``warmup_steps`` are asked for. Default: None
        additional_forward_args (any, optional): Further arguments of ``forward_func``, as in Captum. Default: None
        **choices: Fields of :class:`~captum_proto.optim.OptimizationSettings` that differ from ``settings``: ``steps=64``.

    Raises:
        TypeError: If ``loss`` is no loss.
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
            raise InputTypeError(f"loss is a {type(loss).__name__}; expected a Loss, such as ClassLogit(3).")
        self.settings = replace(settings or OptimizationSettings(), **choices)
        if warmup is None and self.settings.warmup_steps:
            raise InputError(
                f"warmup_steps is {self.settings.warmup_steps}, but warmup is None; give the loss that the warm-up minimizes."
            )
        self.loss, self.warmup = loss, warmup
        arguments = _format_additional_forward_args(additional_forward_args) or ()
        self.pipeline = Pipeline(forward_func, preprocess, arguments, self.settings.autocast)
        #: Whether the model's output was looked at for all that may be wrong with it; later ones only for what costs nothing.
        self.looked = False

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

        Returns:
            OptimizationResult: Images and history.

        Raises:
            TypeError: If the model's output is of another type than the loss needs, or there is no shape.
            ValueError: If the loss cannot be optimized, turns into NaN on the way, or the numbers of rows differ.
        """
        if start is None and image_shape is None:
            raise InputTypeError("image_shape is missing; give (C, H, W), or start images.")
        shape = tuple(image_shape if start is None else start.shape[1:])  # type: ignore[arg-type]  # one of them is there
        targets = self._targets(count if start is None else len(start))
        keys = prototype_keys(occurrence_seeds(targets, seed), targets).to(self.pipeline.device)
        rows = Rows(numbers or range(len(targets)), targets, keys)
        with _graph_allowed(), contextlib.ExitStack() as stack:
            if isinstance(progress, bool):
                total = len(targets) * (self.settings.steps + self.settings.warmup_steps)
                progress = stack.enter_context(tqdm(total=total, desc="inputs", unit="step", disable=not progress))
            run = _Run(self, rows, callback, frozenset(snapshot_steps), progress)
            stack.enter_context(borrowed(self.pipeline.forward_func))
            stack.enter_context(run.forward.recorder.recording())
            return run.optimize(shape, start)

    def _targets(self, count: int | None) -> list[tuple[int, ...]]:
        if self.loss.targets is None:
            return [()] * (1 if count is None else count)
        if count is not None and count != len(self.loss.targets):
            raise InputError(f"the loss has {len(self.loss.targets)} targets for {count} rows; give one for each row.")
        return self.loss.targets

    def outputs(self, result: OptimizationResult, streams: Iterable[RandomStream | None] = (None,)) -> list[Outputs]:
        """
        What the model as it came makes of finished inputs, without gradients.

        Args:
            result (OptimizationResult): Of :meth:`optimize`.
            streams (iterable of RandomStream or None, optional): One for each pass: the numbers of its transform, or None for no transform.
                Default: one pass without transform

        Returns:
            list[Outputs]: One for each pass.

        Warns:
            UserWarning: If the network, as it was arranged for speed, sees the inputs otherwise.
        """
        forward, made = ForwardPass(self.pipeline, self.settings, result.rows), []
        with torch.no_grad(), borrowed(self.pipeline.forward_func):
            for random in streams:
                made.append(forward(result.images, random, closely=not self.looked))
                self.looked = True
                if (
                    random is None
                    and result.arrangement.folded
                    and not check_arrangement(result.arrangement, self.pipeline, result.images, made[-1].output)
                ):
                    warnings.warn(
                        "with its batch normalizations folded the network sees the finished prototypes otherwise than it does without; "
                        "make them again with fold_batch_norm=False.",
                        stacklevel=callers_level(),
                    )
        return made


@dataclass(frozen=True)
class _Phase:
    """One loss, minimized for some steps by an optimizer of its own."""

    name: str
    loss: Loss
    steps: int
    unit: str = "step"  # what a step is called in a message
    total: str | None = "loss"  # the name under which the loss itself is recorded
    transformed: bool = False
    schedule: Callable[[float], float] = SCHEDULES["constant"]
    tolerance: float = 0.0  # a row rests from when the first of what is recorded is at most this
    snapshot_steps: frozenset[int] = frozenset()

    @property
    def recorded(self) -> list[str]:
        """What is recorded of it, as far as it is known before."""
        return [*([] if self.total is None else [self.total]), *self.loss.terms]


class _Stopped(Exception):
    """A callback ended the optimization."""


class _Run:
    """The optimization of one batch."""

    def __init__(
        self,
        optimization: InputOptimization,
        rows: Rows,
        callback: Callback | None,
        snapshot_steps: frozenset[int],
        progress: tqdm[Any],
    ) -> None:
        self.optimization, self.settings, self.rows = optimization, optimization.settings, rows
        self.callback, self.snapshot_steps, self.progress = callback, snapshot_steps, progress
        losses = [loss for loss in (optimization.loss, optimization.warmup) if loss is not None]
        layers = [layer for loss in losses for layer in loss.layers]
        self.pipeline = optimization.pipeline
        self.forward = ForwardPass(self.pipeline, self.settings, rows, layers, arranged=True)
        half = torch.float16 in (self.pipeline.autocast, self.pipeline.dtype)
        scale = torch.full((len(rows.keys),), _FLOAT16_LOSS_SCALE, device=self.pipeline.device)
        self.loss_scale = scale if half else None
        self.inputs = self.settings.parametrization
        self.parameters: dict[str, Tensor] = {}

    def optimize(self, shape: tuple[int, ...], start: Tensor | None) -> OptimizationResult:
        self.inputs = self.settings.parametrization.for_images(shape, self.settings.value_range)
        self._start(shape, start)
        result = OptimizationResult(self._look(), self.rows, self.forward.arrangement)
        phases = self._phases()
        result.history = {name: torch.empty(0, len(self.rows.keys)) for phase in phases for name in phase.recorded}
        try:
            for phase in phases:
                self._minimize(phase, result)
        except _Stopped:
            result.stopped = True
        result.images, result.arrangement = self._look(), self.forward.arrangement
        self._check_images(result.images)
        return result

    def _phases(self) -> list[_Phase]:
        settings, warmup = self.settings, self.optimization.warmup
        main = _Phase(
            "ascent",
            self.optimization.loss,
            settings.steps,
            transformed=settings.transform is not None,
            schedule=SCHEDULES[settings.lr_schedule],
            snapshot_steps=self.snapshot_steps,
        )
        if warmup is None:
            return [main]
        total = None if warmup.terms else "warmup_loss"
        tolerance = settings.warmup_tolerance
        return [_Phase("warmup", warmup, settings.warmup_steps, "warm-up step", total, tolerance=tolerance), main]

    def _start(self, shape: tuple[int, ...], start: Tensor | None) -> None:
        device, dtype = self.pipeline.device, self.pipeline.image_dtype
        if start is None:
            parameters = self.inputs.start(RandomStream(self.rows.keys, START), shape)
        else:
            parameters = self.inputs.parameters_of(start.detach().to(device, dtype))
        self.parameters = {
            name: value.detach().to(device, dtype, copy=True).contiguous().requires_grad_(True)
            for name, value in parameters.items()
        }

    @torch.no_grad()
    def _look(self) -> Tensor:
        """(N, ...), sharing no memory with the parameters."""
        images = self.inputs.render(self.parameters)
        held = {value.untyped_storage().data_ptr() for value in self.parameters.values()}
        return images.clone() if images.untyped_storage().data_ptr() in held else images

    def _minimize(self, phase: _Phase, result: OptimizationResult) -> None:
        settings = self.settings
        history: dict[str, list[Tensor]] = {name: [] for name in phase.recorded}
        losses: list[Tensor] = []
        active: Tensor | None = None
        optimizer = torch.optim.Adam(
            list(self.parameters.values()),
            lr=settings.lr,
            betas=settings.betas,
            eps=settings.eps,
            fused=self.pipeline.device.type in ("cpu", "cuda"),
        )
        if 0 in phase.snapshot_steps:
            result.snapshots[0] = self._look().cpu()
        try:
            for step in range(phase.steps):
                optimizer.param_groups[0]["lr"] = settings.lr * phase.schedule(step / phase.steps)
                gradients, loss, terms = self._evaluate(phase, step)
                losses.append(loss)
                for name, values in terms.items():
                    history.setdefault(name, []).append(values)
                if phase.tolerance > 0:
                    going = next(iter(terms.values())) > phase.tolerance
                    active = going if active is None else active & going
                    if not bool(active.any()):
                        break
                self._update(optimizer, gradients, active)
                if step + 1 in phase.snapshot_steps:
                    result.snapshots[step + 1] = self._look().cpu()
                if step % _LOOK_EVERY == 0:
                    self._check_finite(losses, phase.unit)
                self._after_step(phase.name, step, terms)
            self._check_finite(losses, phase.unit)
        finally:
            result.history |= {name: _stack(values, len(self.rows.keys)) for name, values in history.items()}

    def _evaluate(self, phase: _Phase, step: int) -> tuple[list[Tensor], Tensor, dict[str, Tensor]]:
        """The gradient of each parameter, the loss, and what is recorded. What else there was is gone before the next step."""
        images = self.inputs.render(self.parameters)
        random = RandomStream(self.rows.keys, TRANSFORM, step) if phase.transformed else None
        outputs = self.forward(images, random, step, closely=not self.optimization.looked)
        if step == 0:
            self.optimization.loss.check(outputs)
        loss = phase.loss(outputs, images)
        if step == 0:
            _check_loss(loss, len(images))
        self.optimization.looked = True
        terms = outputs.terms if phase.total is None else {phase.total: loss.detach(), **outputs.terms}
        return self._gradients(loss), loss.detach(), terms

    def _gradients(self, loss: Tensor) -> list[Tensor]:
        parameters = list(self.parameters.values())
        if self.loss_scale is None:
            return list(torch.autograd.grad(loss.sum(), parameters, materialize_grads=True))
        gradients = torch.autograd.grad((loss * self.loss_scale).sum(), parameters, materialize_grads=True)
        return [gradient / _per_row(self.loss_scale, gradient) for gradient in gradients]

    @torch.no_grad()
    def _update(self, optimizer: torch.optim.Adam, gradients: list[Tensor], active: Tensor | None) -> None:
        """One step of Adam, for the ``active`` rows; a row whose scaled gradient overflowed waits for a smaller scale."""
        parameters = list(self.parameters.values())
        if self.loss_scale is not None:
            finite = torch.stack([gradient.isfinite().flatten(1).all(1) for gradient in gradients]).all(0)
            self.loss_scale = torch.where(finite, self.loss_scale, self.loss_scale / 2)
            gradients = [torch.where(_per_row(finite, gradient), gradient, 0) for gradient in gradients]
            active = finite if active is None else active & finite
        before = [] if active is None else [values.clone() for values in parameters]
        for values, gradient in zip(parameters, gradients, strict=True):
            # Adam's fused kernel walks through memory, and takes for granted that gradients lie as parameters do.
            values.grad = gradient.contiguous()
        optimizer.step()
        for values in parameters:
            values.grad = None
        if self.settings.clamp:
            self.inputs.project(self.parameters)
        if active is not None:
            for values, old in zip(parameters, before, strict=True):
                values.copy_(torch.where(_per_row(active, values), values, old))

    def _after_step(self, phase: str, step: int, terms: dict[str, Tensor]) -> None:
        self.progress.update(len(self.rows.keys))
        if step % _LOOK_EVERY == 0 and "probability" in terms:
            self.progress.set_postfix_str(f"p {float(terms['probability'].mean()):.3f}", refresh=False)
        if self.callback is not None and self.callback(Step(phase, step, self.rows.numbers, self._look(), terms)):
            raise _Stopped

    def _check_finite(self, losses: list[Tensor], unit: str) -> None:
        if not losses:
            return
        recent = torch.stack(losses[-_LOOK_EVERY - 1 :])
        bad = (~recent.isfinite()).nonzero()
        if len(bad):
            step = len(losses) - len(recent) + int(bad[0, 0])
            raise InputError(
                f"the model returned NaN or infinity for {self._named(int(bad[0, 1]))} at {unit} {step}; check its weights, lower lr, or "
                "leave out autocast."
            )

    def _check_images(self, images: Tensor) -> None:
        bad = (~images.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise InputError(
                f"the model's gradient turned {self._named(int(bad[0, 0]))} into NaN or infinity; check its weights, lower lr, or leave "
                "out autocast."
            )

    def _named(self, row: int) -> str:
        target = self.rows.targets[row]
        return f"prototype {self.rows.numbers[row]}" + (f" (target {list(target)})" if target else "")


def _check_loss(loss: Any, rows: int) -> None:
    if not isinstance(loss, Tensor) or loss.shape != (rows,):
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else f"a {type(loss).__name__}"
        raise InputError(f"the loss returned {got}; expected one value for each of the {rows} rows: ({rows},).")
    if not loss.requires_grad:
        raise InputError(
            "the loss has no gradient with respect to the images; leave torch.no_grad and .detach() out of it."
        )


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    """One value for each row, so shaped that it meets all of the row's parameters."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _stack(history: list[Tensor], rows: int) -> Tensor:
    return torch.stack(history).cpu() if history else torch.empty(0, rows)


@contextlib.contextmanager
def _graph_allowed() -> Iterator[None]:
    """Gradients even inside the caller's ``no_grad`` or ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


__all__ = ["InputOptimization"]
