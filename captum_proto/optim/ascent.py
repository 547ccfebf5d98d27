"""The optimization itself: images made to please a model, step by step, each on its own."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from tqdm.auto import tqdm

from captum_proto import ops
from captum_proto._utils.checks import check_logits
from captum_proto._utils.errors import InputError
from captum_proto._utils.model import borrowed
from captum_proto._utils.pipeline import Pipeline
from captum_proto._utils.targets import Target, target_mask
from captum_proto.optim.inputs.parametrization import Parametrization
from captum_proto.optim.inputs.pixels import Pixels
from captum_proto.optim.loss.classes import class_probability, class_score, probability_variance
from captum_proto.optim.loss.diversity import Diversity, layer_of, partners_of
from captum_proto.optim.network import Arrangement, arrange, check_arrangement
from captum_proto.optim.random import EVALUATION, START, TRANSFORM, RandomStream
from captum_proto.optim.transforms import EachAffine, RandomAffine, Transform

#: How often the host looks at values that the device has computed. Every look makes a GPU wait.
_LOOK_EVERY = 32
#: Where half-precision gradients start: a logit's gradient by one pixel is often below float16's smallest number.
_FLOAT16_LOSS_SCALE = 1024.0
#: The learning rate at a share of the steps, as a share of what it is at the start.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda share: 1.0,
    "cosine": lambda share: 0.5 * (1 + math.cos(math.pi * share)),
}
#: What is recorded of each step: one term of the warm-up, four of the ascent.
_HISTORY = ("warmup_variance", "loss", "logit", "probability", "high_frequency_loss")


@dataclass(frozen=True)
class AscentSettings:
    """
    Every choice the optimization makes (arXiv:2309.17144, section 3.1). As it stands by default it is plain gradient ascent on the logit.

    Args:
        steps (int): Steps of ascent after the warm-up. The paper: 512.
        lr (float): Adam's constant learning rate, in units of the image range. The paper: 0.05.
        betas (tuple[float, float]): Adam's decay rates.
        eps (float): Adam's denominator term.
        high_frequency_weight (float): λ, at least 0.
        high_frequency_power (int): 1 or 2.
        warmup_steps (int): At most so many steps that even out the class probabilities; 0 for none.
        warmup_tolerance (float): An image's warm-up ends when the variance of its class probabilities is at most this.
        transform (Transform, optional): T, drawn anew for each image and step.
        preprocess_first (bool): Whether the model's preprocessing acts before the transform instead of after it.
        value_range (tuple[float, float]): The valid range of a pixel.
        clamp (bool): Whether each step ends with a projection onto ``value_range``. Of no effect where the parametrization keeps to it.
        parametrization (Parametrization): What is optimized: pixels, or the coefficients of a basis.
        lr_schedule (str): "constant" as in the paper, or "cosine" for a learning rate that falls to zero over the steps of ascent.
        fold_batch_norm (bool): Whether batch normalizations go into the layers before them, in a copy, while images are optimized.
        channels_last (bool, optional): Whether the network gets its images in channels_last; None: where that is faster.
        diversity (Diversity, optional): What pulls prototypes of the same class apart, within a batch.
        diversity_weight (float): How much it counts, at least 0.
    """

    steps: int = 512
    lr: float = 0.05
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    high_frequency_weight: float = 0.0
    high_frequency_power: int = 1
    warmup_steps: int = 0
    warmup_tolerance: float = 0.0
    transform: Transform | None = None
    preprocess_first: bool = False
    value_range: tuple[float, float] = (0.0, 1.0)
    clamp: bool = True
    parametrization: Parametrization = field(default_factory=Pixels)
    lr_schedule: str = "constant"
    fold_batch_norm: bool = True
    channels_last: bool | None = None
    diversity: Diversity | None = None
    diversity_weight: float = 0.0

    def __post_init__(self) -> None:
        for name, least in (("steps", 0), ("warmup_steps", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise InputError(f"{name} is {value!r}; expected a whole number of at least {least}.")
        for name in ("lr", "high_frequency_weight", "warmup_tolerance", "eps", "diversity_weight"):
            value = getattr(self, name)
            if not 0 <= value < float("inf"):
                raise InputError(f"{name} is {value!r}; expected a finite number of at least 0.")
        if self.high_frequency_power not in (1, 2):
            raise InputError(f"high_frequency_power is {self.high_frequency_power!r}; expected 1 or 2.")
        if self.lr_schedule not in SCHEDULES:
            raise InputError(f'lr_schedule is "{self.lr_schedule}"; expected one of {", ".join(SCHEDULES)}.')
        if len(self.value_range) != 2 or not self.value_range[0] < self.value_range[1]:
            raise InputError(f"value_range is {self.value_range}; expected (least, most).")

    def to_json(self) -> dict[str, Any]:
        """The settings as JSON can hold them."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        values["betas"], values["value_range"] = list(self.betas), list(self.value_range)
        values["transform"] = None if self.transform is None else self.transform.settings()
        values["parametrization"] = self.parametrization.settings()
        values["diversity"] = None if self.diversity is None else self.diversity.settings()
        return values


@dataclass(frozen=True)
class Step:
    """
    What a callback sees of one step.

    Attributes:
        phase (str): "warmup" or "ascent".
        step (int): From 0, within its phase.
        prototypes (range): Which of the prototypes asked for are in this batch.
        images (Tensor): (N, C, H, W), after the step. May share memory with the optimization: clone what you keep.
        terms (dict[str, Tensor]): The values of ``AscentResult.history`` at this step, each (N,), on the model's device.
    """

    phase: str
    step: int
    prototypes: range
    images: Tensor
    terms: dict[str, Tensor]


#: Called after each step; returning True ends the optimization there.
Callback = Callable[[Step], "bool | None"]


@dataclass
class AscentResult:
    """
    Attributes:
        images (Tensor): (N, C, H, W).
        history (dict[str, Tensor]): "warmup_variance" (W, N); "loss", "logit", "probability" and "high_frequency_loss", each (S, N);
            with diversity also "diversity_loss".
        snapshots (dict[int, Tensor]): Images after so many steps of ascent, (N, C, H, W) on the CPU.
        stopped (bool): Whether a callback ended it.
    """

    images: Tensor
    history: dict[str, Tensor] = field(default_factory=dict)
    snapshots: dict[int, Tensor] = field(default_factory=dict)
    stopped: bool = False


class _Stopped(Exception):
    """A callback has had enough."""


class _Canvas:
    """Images being made: the parameters that an optimizer changes, and the images that they stand for."""

    def __init__(self, settings: AscentSettings, start: tuple[Tensor, tuple[int, ...]]) -> None:
        self._parametrization, self._value_range = settings.parametrization, settings.value_range
        parameters, self._shape = start
        self.parameters = parameters.requires_grad_(True)

    def images(self) -> Tensor:
        """(N, C, H, W), with a gradient into the parameters."""
        return self._parametrization.images(self.parameters, self._shape, self._value_range)  # type: ignore[arg-type]

    @torch.no_grad()
    def look(self) -> Tensor:
        """(N, C, H, W), a copy."""
        images = self.images()
        return images.clone() if images is self.parameters else images


class Ascent:
    """
    The optimization of one batch of images. Images do not see each other: losses are summed, so each gradient is its own. With diversity,
    and only then, an image sees where the others of its class stand, as constants: its gradient is still that of its own loss.

    Args:
        pipeline (Pipeline): From images to logits.
        groups (list[Target]): The classes of every prototype asked for: a class out of range shows before the first batch is made.
        keys (Tensor): Shape (N,), of :func:`~captum_proto.optim.prototype_keys`: each image's random numbers.
        settings (AscentSettings): Every choice.
        prototypes (range, optional): Which of them this batch is. Default: all
        callback (Callable, optional): Sees each :class:`Step`. Default: None
        snapshot_steps (iterable of int, optional): After how many steps to keep a copy. Default: ()
        progress (tqdm, optional): A bar to advance. Default: None
    """

    def __init__(
        self,
        pipeline: Pipeline,
        groups: list[Target],
        keys: Tensor,
        settings: AscentSettings,
        *,
        prototypes: range | None = None,
        callback: Callback | None = None,
        snapshot_steps: Iterable[int] = (),
        progress: tqdm[Any] | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.groups = groups
        self.keys = keys.to(pipeline.device)
        self.settings = settings
        self.prototypes = range(len(groups)) if prototypes is None else prototypes
        self.callback = callback
        self.snapshot_steps = frozenset(snapshot_steps)
        self.progress = progress
        #: How the network was run, once it was.
        self.arrangement = Arrangement(pipeline.forward_func)
        self._network: Pipeline | None = pipeline
        self._mask: Tensor | None = None
        half = torch.float16 in (pipeline.autocast, pipeline.dtype)
        self._loss_scale = torch.full((len(keys),), _FLOAT16_LOSS_SCALE, device=pipeline.device) if half else None
        mine = groups[self.prototypes.start : self.prototypes.stop]
        self._partners = None if settings.diversity is None else partners_of(mine, pipeline.device)
        #: What the layer that diversity looks at returned in the last pass, if there is one.
        self._watched: list[Any] = []

    def run(self, start: Tensor | tuple[int, int, int]) -> AscentResult:
        """
        Optimize from images (N, C, H, W), or from noise, of the shape (C, H, W) of an image.

        Raises:
            ValueError: If the model's output cannot be optimized, or turns into NaN on the way.
            TypeError: If the model's output is no tensor.
        """
        with _graph_allowed(), borrowed(self.pipeline.forward_func), self._watching():
            canvas = _Canvas(self.settings, self._start(start))
            images = canvas.look()
            self._network = None
            result = AscentResult(images, {name: torch.empty(0, len(images)) for name in _HISTORY})
            try:
                self._warm_up(canvas, result)
                self._ascend(canvas, result)
            except _Stopped:
                result.stopped = True
            result.images = canvas.look()
            self._check_images(result.images)
        return result

    @contextlib.contextmanager
    def _watching(self) -> Iterator[None]:
        """
        Keep what the layer that diversity looks at returns, for the length of the block.

        The network that runs may be a copy, made with this hook in it; folding leaves a layer that is being watched as it is. The output
        is copied at once: an in-place layer may come next.
        """
        layer = None if self.settings.diversity is None else self.settings.diversity.layer
        if layer is None:
            yield
            return

        watched = self._watched  # not self: the copy of the network would hold on to it, and it to the copy

        def keep(_module: Any, _inputs: Any, output: Any) -> None:
            watched[:] = [output.clone() if isinstance(output, Tensor) else output]

        handle = layer_of(self.pipeline.forward_func, layer)[1].register_forward_hook(keep)
        try:
            yield
        finally:
            handle.remove()
            watched.clear()

    def _diversity_loss(self, diversity: Diversity, images: Tensor) -> Tensor:
        """(N,), of the images or of the layer's output for them."""
        values: Any = images
        if diversity.layer is not None:
            values = self._watched.pop() if self._watched else None
            if not isinstance(values, Tensor) or values.dim() < 2 or len(values) != len(images):
                got = f"shape {tuple(values.shape)}" if isinstance(values, Tensor) else f"a {type(values).__name__}"
                got = "nothing, for it did not run" if values is None else got
                raise InputError(
                    f"the layer of {diversity!r} returned {got}; expected a tensor with one entry for each of the {len(images)} images: "
                    "choose another layer."
                )
        assert self._partners is not None  # with diversity there are
        return diversity.loss(values, self._partners)

    def _start(self, start: Tensor | tuple[int, int, int]) -> tuple[Tensor, tuple[int, ...]]:
        """Parameters to start from, and the shape of an image."""
        value_range, parametrization = self.settings.value_range, self.settings.parametrization
        device, dtype = self.pipeline.device, self.pipeline.image_dtype
        if isinstance(start, Tensor):
            images = start.detach().to(device, dtype)
            parameters, shape = parametrization.parameters(images, value_range), tuple(start.shape[1:])
        else:
            parameters, shape = parametrization.noise(RandomStream(self.keys, START), start, value_range), start
        return parameters.detach().to(device, dtype, copy=True).contiguous(), shape

    def evaluate(self, images: Tensor, draws: int) -> dict[str, Tensor]:
        """
        The logit and probability of finished images: as they are, and as expected under the transforms.

        Args:
            images (Tensor): Shape (N, C, H, W).
            draws (int): How many draws of the transform stand for the expectation.

        Returns:
            dict[str, Tensor]: "logits", "probabilities", "transformed_logits", "transformed_probabilities", each (N,) on the CPU.
        """
        with torch.no_grad(), borrowed(self.pipeline.forward_func):
            self._network = self.pipeline  # as it came, whatever the optimization made of it
            logits = self._logits(images, None)
            mask = self._mask_for(logits)
            values = {"logits": class_score(logits, mask), "probabilities": class_probability(logits, mask)}
            for name in ("logits", "probabilities"):
                values[f"transformed_{name}"] = values[name]
            if self.arrangement.folded and not check_arrangement(self.arrangement, self.pipeline, images, logits):
                warnings.warn(
                    "with its batch normalizations folded the network sees the finished prototypes otherwise than it does without; make "
                    "them again with fold_batch_norm=False.",
                    stacklevel=2,
                )
            if self.settings.transform is not None and draws > 0:
                drawn = [self._logits(images, RandomStream(self.keys, EVALUATION, draw)) for draw in range(draws)]
                values["transformed_logits"] = torch.stack([class_score(one, mask) for one in drawn]).mean(0)
                values["transformed_probabilities"] = torch.stack([class_probability(one, mask) for one in drawn]).mean(
                    0
                )
        return {name: value.cpu() for name, value in values.items()}

    def _logits(self, images: Tensor, random: RandomStream | None) -> Tensor:
        """Logits (N, K) in at least float32, through the transform if there are draws for it."""
        transform = self.settings.transform if random is not None else None
        if transform is None:
            prepared = self.pipeline.prepare(images)
        elif self.settings.preprocess_first:
            prepared = transform(self.pipeline.prepare(images), random)  # type: ignore[arg-type]
        else:
            prepared = self._warped_and_prepared(images, transform, random)  # type: ignore[arg-type]
        if self._network is None:  # the first step shows whether the network may be arranged otherwise
            settings = self.settings
            self.arrangement = arrange(
                self.pipeline, prepared.detach(), settings.fold_batch_norm, settings.channels_last
            )
            self._network = self.arrangement.applied_to(self.pipeline)
        output = self._network.run(prepared)
        if (
            self._mask is None
        ):  # the first batch is looked at closely; later ones only for what they cost nothing to show
            output = check_logits(output, images.shape[0])
        if torch.is_grad_enabled() and not output.requires_grad:
            raise InputError(
                "the model's output has no gradient with respect to the images; leave torch.no_grad, .detach() and rounding out of the "
                "model, its preprocessing and the transform."
            )
        return output if output.dtype == torch.float64 else output.float()

    def _warped_and_prepared(self, images: Tensor, transform: Transform, random: RandomStream) -> Tensor:
        """T, then the model's preprocessing: in one operator if they are an affine map and a normalization."""
        normalization = self.pipeline.normalization
        if (type(transform) is RandomAffine or type(transform) is EachAffine) and normalization is not None:
            channels_last = self._network is not None and self._network.channels_last
            return transform.normalized(images, random, *normalization, channels_last=channels_last)
        return self.pipeline.prepare(transform(images, random))

    def _mask_for(self, logits: Tensor) -> Tensor:
        if self._mask is None:
            self._mask = target_mask(self.groups, logits.shape[1], logits.device)[
                self.prototypes.start : self.prototypes.stop
            ]
        return self._mask

    def _warm_up(self, canvas: _Canvas, result: AscentResult) -> None:
        settings = self.settings
        history: list[Tensor] = []
        parameters = canvas.parameters
        active = torch.ones(len(parameters), dtype=torch.bool, device=parameters.device)
        optimizer = self._optimizer(parameters)
        try:
            for step in range(settings.warmup_steps):
                logits = self._logits(canvas.images(), None)
                self._mask_for(logits)
                variance = probability_variance(logits)
                # Among a thousand classes the variance is below Adam's eps. Divided by the squared mean it is the squared coefficient
                # of variation: the same minimizer, and a gradient that Adam can feel.
                gradient = self._gradient(variance * logits.shape[1] ** 2, parameters)
                history.append(variance.detach())
                if settings.warmup_tolerance > 0:
                    active = active & (variance.detach() > settings.warmup_tolerance)
                    if not bool(active.any()):
                        break
                self._update(optimizer, parameters, gradient, active if settings.warmup_tolerance > 0 else None)
                if step % _LOOK_EVERY == 0:
                    self._check_finite(history, "warm-up step")
                self._after_step("warmup", step, canvas, {"warmup_variance": variance.detach()})
            self._check_finite(history, "warm-up step")
        finally:
            result.history["warmup_variance"] = _stack(history, len(parameters))

    def _ascend(self, canvas: _Canvas, result: AscentResult) -> None:
        settings = self.settings
        names = _HISTORY[1:] if settings.diversity is None else (*_HISTORY[1:], "diversity_loss")
        history: dict[str, list[Tensor]] = {name: [] for name in names}
        optimizer = self._optimizer(canvas.parameters)
        schedule = SCHEDULES[settings.lr_schedule]
        if 0 in self.snapshot_steps:
            result.snapshots[0] = canvas.look().cpu()
        try:
            for step in range(settings.steps):
                optimizer.param_groups[0]["lr"] = settings.lr * schedule(step / settings.steps)
                images = canvas.images()
                logits = self._logits(images, RandomStream(self.keys, TRANSFORM, step))
                mask = self._mask_for(logits)
                score = class_score(logits, mask)
                high_frequency = ops.high_frequency_loss(images, settings.high_frequency_power)
                loss = settings.high_frequency_weight * high_frequency - score
                diversity = []
                if settings.diversity is not None:
                    diversity.append(self._diversity_loss(settings.diversity, images))
                    loss = loss + settings.diversity_weight * diversity[0]
                gradient = self._gradient(loss, canvas.parameters)
                self._update(optimizer, canvas.parameters, gradient, None)
                with torch.no_grad():
                    values = (loss, score, class_probability(logits, mask), high_frequency, *diversity)
                terms = {name: value.detach() for name, value in zip(history, values, strict=True)}
                for name, value in terms.items():
                    history[name].append(value)
                if step + 1 in self.snapshot_steps:
                    result.snapshots[step + 1] = canvas.look().cpu()
                if step % _LOOK_EVERY == 0:
                    self._check_finite(history["loss"], "step")
                self._after_step("ascent", step, canvas, terms)
            self._check_finite(history["loss"], "step")
        finally:
            result.history |= {name: _stack(values, len(canvas.parameters)) for name, values in history.items()}

    def _optimizer(self, parameters: Tensor) -> torch.optim.Adam:
        return torch.optim.Adam(
            [parameters],
            lr=self.settings.lr,
            betas=self.settings.betas,
            eps=self.settings.eps,
            fused=parameters.device.type in ("cpu", "cuda"),
        )

    def _gradient(self, loss: Tensor, parameters: Tensor) -> Tensor:
        if self._loss_scale is None:
            return torch.autograd.grad(loss.sum(), parameters)[0]
        scale = _per_image(self._loss_scale, parameters)
        return torch.autograd.grad((loss * self._loss_scale).sum(), parameters)[0] / scale

    @torch.no_grad()
    def _update(self, optimizer: torch.optim.Adam, parameters: Tensor, gradient: Tensor, active: Tensor | None) -> None:
        """One step of Adam, for the ``active`` images; an image whose scaled gradient overflowed waits for a smaller scale."""
        if self._loss_scale is not None:
            finite = gradient.isfinite().flatten(1).all(1)
            self._loss_scale = torch.where(finite, self._loss_scale, self._loss_scale / 2)
            gradient = torch.where(_per_image(finite, gradient), gradient, 0)
            active = finite if active is None else active & finite
        before = parameters if active is None else parameters.clone()
        # Adam's fused kernel walks through memory, and takes for granted that gradients lie as parameters do.
        parameters.grad = gradient.contiguous()
        optimizer.step()
        parameters.grad = None
        if self.settings.clamp and isinstance(self.settings.parametrization, Pixels):
            parameters.clamp_(*self.settings.value_range)
        if active is not None:
            parameters.copy_(torch.where(_per_image(active, parameters), parameters, before))

    def _after_step(self, phase: str, step: int, canvas: _Canvas, terms: dict[str, Tensor]) -> None:
        if self.progress is not None:
            self.progress.update(len(self.keys))
            if step % _LOOK_EVERY == 0 and "probability" in terms:
                self.progress.set_postfix_str(f"p {float(terms['probability'].mean()):.3f}", refresh=False)
        if self.callback is not None and self.callback(Step(phase, step, self.prototypes, canvas.look(), terms)):
            raise _Stopped

    def _check_finite(self, history: list[Tensor], unit: str) -> None:
        if not history:
            return
        recent = torch.stack(history[-_LOOK_EVERY - 1 :])
        bad = (~recent.isfinite()).nonzero()
        if len(bad):
            step = len(history) - len(recent) + int(bad[0, 0])
            which = int(bad[0, 1])
            raise InputError(
                f"the model returned NaN or infinity for {self._named(which)} at {unit} {step}; check its weights, lower lr, or leave "
                "out autocast."
            )

    def _check_images(self, images: Tensor) -> None:
        bad = (~images.isfinite()).flatten(1).any(1).nonzero()
        if len(bad):
            raise InputError(
                f"the model's gradient turned {self._named(int(bad[0, 0]))} into NaN or infinity; check its weights, lower lr, or leave "
                "out autocast."
            )

    def _named(self, which: int) -> str:
        prototype = self.prototypes[which]
        return f"prototype {prototype} (target {list(self.groups[prototype])})"


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    """One value for each image, so shaped that it meets all of the image's parameters."""
    return values.view(-1, *[1] * (like.dim() - 1))


def _stack(history: list[Tensor], images: int) -> Tensor:
    return torch.stack(history).cpu() if history else torch.empty(0, images)


@contextlib.contextmanager
def _graph_allowed() -> Iterator[None]:
    """Gradients even inside the caller's ``no_grad`` or ``inference_mode``."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def default_high_frequency_weight(image_shape: tuple[int, int, int] | torch.Size) -> float:
    """
    λ where none is given: the same pull on each pixel at every size of image.

    The loss is a mean over the image, so the pull on one pixel falls with their number. This is the pull of a weight of 1000 at
    3 × 224 × 224, where prototypes of ImageNet networks are clean and still show what they are of.
    """
    channels, height, width = image_shape
    return channels * height * width / 150.528
