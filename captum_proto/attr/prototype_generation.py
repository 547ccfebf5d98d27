"""Prototype Generation (arXiv:2309.17144): the input that a model sees as most typical of a class."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import torch
from captum._utils.common import _format_additional_forward_args
from captum.attr import Attribution
from captum.log import log_usage
from torch import Tensor, nn
from tqdm.auto import tqdm

from captum_proto._utils.batches import rows_of
from captum_proto._utils.checks import as_int, check_int, plain_int
from captum_proto._utils.documentation import documented_by
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.model import fingerprint, unwrapped
from captum_proto._utils.modes import in_plain_modes
from captum_proto._utils.targets import occurrence_seeds, parse_targets
from captum_proto.attr.prototypes import Prototypes
from captum_proto.attr.settings import GenerationSettings
from captum_proto.optim.input_optimization import InputOptimization
from captum_proto.optim.inputs.parametrization import as_parametrization
from captum_proto.optim.loss import ClassLogit, Loss, ProbabilityVariance
from captum_proto.optim.loss.diversity import check_batches
from captum_proto.optim.memory import RowHalving, try_one_row
from captum_proto.optim.presets import PAPER_TRANSFORM
from captum_proto.optim.random import EVALUATION, RandomStream
from captum_proto.optim.result import Callback, OptimizationResult
from captum_proto.runs.provenance import versions
from captum_proto.runs.snapshots import Snapshot

TensorOrTuple = TypeVar("TensorOrTuple", Tensor, tuple[Tensor, ...])


class PrototypeGeneration(Attribution):
    r"""
    The input that a model sees as most typical of a class, made by gradient ascent under random affine transforms.

    .. math::
        \text{warm-up:} \quad \min_x \operatorname{Var}_k \operatorname{softmax}(h(P(x)))_k
        \qquad \text{then:} \quad \min_x\; -h_c(P(T(x))) + \lambda L_{hf}(x)

    The method of Prototype Generation (arXiv:2309.17144, section 3.1). Whether a prototype can be trusted is measured by
    :class:`captum_proto.PathSimilarity`.

    The model is frozen and in evaluation mode while it is looked at, and comes back exactly as it was, after an error and after an
    interrupt too. Every prototype has its own random numbers, from its seed and its class, and no prototype sees another (unless
    ``diversity`` is asked for): alone or in a batch it is the same optimization. A network's own kernels round differently at different
    batch sizes, though, and in float32 a long ascent amplifies that to other details of the picture; for equal pixels use equal batch
    sizes, or float64. All of this is of a model that treats each image by itself, and the same each time; one that mixes the images of a
    batch, or is random in evaluation mode, is warned of.

    Several threads may use one model, and models in ``torch.compile``, ``DataParallel`` or ``DistributedDataParallel`` are the models in
    them: see :ref:`using_a_model`.

    Args:
        forward_func (Callable): The model, or a function of a batch that returns logits (N, K), such as ``lambda x: model(x)["logits"]``.
            With a single logit, K = 1, the probability of the class is its sigmoid, as in binary cross-entropy.
            The modules that such a function refers to are frozen too, and the first of them tells the device and the dtype. They are
            found in whatever it reaches: closures, globals that its code or that of functions it calls names, attributes, containers,
            partials, methods. If there are none, a warning says so.
        preprocess (Callable, optional): The model's own preprocessing, from images in ``value_range`` to what ``forward_func`` takes; for
            ImageNet models, the normalization. Differentiable; may change the size of the images, not their number. Default: None

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
        >>> generation = PrototypeGeneration(model)
        >>> prototypes = generation.generate(target=[3, 7], image_shape=(1, 8, 8), steps=16)
        >>> prototypes.images.shape
        torch.Size([2, 1, 8, 8])
    """

    def __init__(self, forward_func: Callable[..., Any], preprocess: Callable[[Tensor], Tensor] | None = None) -> None:
        if not callable(forward_func):
            raise InputTypeError(
                f"forward_func is a {type(forward_func).__name__}; expected a module or a function that returns logits."
            )
        if preprocess is not None and not callable(preprocess):
            raise InputTypeError(f"preprocess is a {type(preprocess).__name__}; expected a module, a function or None.")
        super().__init__(forward_func)
        self.preprocess = preprocess

    @log_usage()
    @documented_by(GenerationSettings, "steps … evaluation_draws")
    @in_plain_modes
    def generate(
        self,
        target: Any,
        image_shape: tuple[int, int, int] | None = None,
        additional_forward_args: Any = None,
        *,
        start: Tensor | None = None,
        steps: int = 512,
        lr: float = 0.05,
        high_frequency_weight: float | None = None,
        high_frequency_power: int = 1,
        warmup_steps: int = 64,
        warmup_tolerance: float = 0.0,
        transform: Any = PAPER_TRANSFORM,
        noise: float = 0.0,
        preprocess_first: bool = False,
        value_range: tuple[float, float] = (0.0, 1.0),
        clamp: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        optimizer: str = "adam",
        parametrization: Any = "pixels",
        lr_schedule: str = "constant",
        fold_batch_norm: bool = True,
        channels_last: bool | None = None,
        redirect_relu_steps: int = 0,
        diversity: Any = None,
        diversity_weight: float | None = None,
        class_loss: str = "logit",
        natural_statistics: Any = None,
        natural_statistics_weight: float | None = None,
        match: Any = None,
        match_weight: float | None = None,
        match_exact_weight: float = 0.0,
        match_layers: Any = None,
        regularizer: Any = None,
        autocast: torch.dtype | None = None,
        cuda_graph: bool = False,
        seed: int | Sequence[int] = 0,
        batch_size: int | None = None,
        evaluation_draws: int = 16,
        callback: Callback | None = None,
        snapshot_steps: Iterable[int] = (),
        show_progress: bool = False,
        snapshot: Snapshot | None = None,
    ) -> Prototypes:
        r"""
        Make prototypes, from noise :math:`x_0 \sim U` over the value range unless start images are given.

        Args:
            target (TargetType or nested list): As in Captum: an int for one prototype; a list or 1-D tensor for one class each; a nested
                list for a *superclass* each, whose score is the logsumexp of the logits of its classes. A class named k times gives k
                prototypes, from ``seed``, ``seed + 1``, ….
            image_shape (tuple[int, int, int], optional): (C, H, W) of a prototype, any number of channels; needed unless ``start`` is
                given, or the parametrization knows it, as that of a table does. Default: None
            additional_forward_args (any, optional): Further arguments of ``forward_func``, as in Captum; a tensor with one row for each
                prototype is split with the batch. Default: None
            start (Tensor, optional): Start images (N, C, H, W) in ``value_range``, one for each prototype. None: noise of its own for each.
                Default: None
            steps … evaluation_draws: The fields of :class:`~captum_proto.attr.GenerationSettings`, which documents them.
            seed (int or sequence of int, optional): The first seed, or one for each prototype. Default: 0
            batch_size (int, optional): Prototypes at a time. Default: None, all at once
            callback (Callable, optional): Called with a :class:`~captum_proto.optim.Step` after each step; returning True ends the
                optimization, and the prototypes as they are come back. Default: None
            snapshot_steps (iterable of int, optional): Keep copies of the images after so many steps of ascent. Default: ()
            show_progress (bool, optional): Whether to show a progress bar. Default: False
            snapshot (Snapshot, optional): Where to keep the state of the optimization until this call returns: after the process was
                killed, the same call goes on from there, and makes the same prototypes, bit for bit on the same device. Default: None

        Returns:
            Prototypes: Images in ``value_range`` with their logits, probabilities, history and settings.

        Raises:
            TypeError: If an argument or the model's output is of the wrong type.
            ValueError: If an argument is out of its range, or the model's output is not logits (N, K), or becomes NaN.

        Examples::

            >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
            >>> prototypes = PrototypeGeneration(model).generate([[0, 1], [2]], (1, 8, 8), steps=8, seed=5)
            >>> prototypes.target, prototypes.seeds
            ([(0, 1), (2,)], [5, 5])
            >>> best = PrototypeGeneration(model).generate(3, (1, 8, 8), **{**PRESETS["best"], "steps": 8})
        """
        chosen = {name: value for name, value in locals().items() if name in GenerationSettings.__dataclass_fields__}
        asked = GenerationSettings(**chosen)
        shape = _input_shape(image_shape, start, asked)
        targets = parse_targets(target, expand_to=None if start is None else len(start))
        seeds = occurrence_seeds(targets, seed)
        classes = [list(target) for target in targets]
        settings = asked.resolved(shape, self.forward_func, self.preprocess, classes)
        steps, warmup_steps, evaluation_draws = settings.steps, settings.warmup_steps, settings.evaluation_draws
        if batch_size is not None:
            batch_size = check_int(batch_size, "batch_size", 1, ", or None for all prototypes at once")
        if settings.diversity is not None:
            check_batches(targets, batch_size)
        snapshot_steps = [plain_int(step) for step in snapshot_steps]
        if not all(0 <= step <= steps for step in snapshot_steps):
            raise InputError(
                f"snapshot_steps is {sorted(snapshot_steps)}; expected numbers of steps from 0 to {steps}."
            )
        arguments = _format_additional_forward_args(additional_forward_args) or ()
        objective, logit = settings.objective(classes), ClassLogit(classes)
        parts: list[Prototypes] = []
        with (
            contextlib.nullcontext() if snapshot is None else snapshot.used(),
            tqdm(
                total=len(targets) * (steps + warmup_steps), desc="prototypes", unit="step", disable=not show_progress
            ) as progress,
        ):

            def made(batch: range) -> tuple[Prototypes, OptimizationResult]:
                """The prototypes of one batch."""
                rows = slice(batch.start, batch.stop)
                optimization = InputOptimization(
                    self.forward_func,
                    objective.rows(batch),
                    self.preprocess,
                    settings,
                    warmup=ProbabilityVariance(),
                    additional_forward_args=rows_of(arguments, rows, len(targets)),
                )
                optimization.probed = len(parts) > 0
                result = optimization.optimize(
                    shape,
                    start=None if start is None else start[rows],
                    seed=seeds[rows],
                    numbers=batch,
                    callback=callback,
                    snapshot_steps=snapshot_steps,
                    progress=progress,
                )
                evaluated = _evaluated(optimization, result, logit.rows(batch), evaluation_draws)
                prototypes = Prototypes(
                    images=result.images,
                    target=targets[rows],
                    seeds=seeds[rows],
                    history=result.history,
                    snapshots=result.snapshots,
                    **evaluated,
                )
                return prototypes, result

            halving = RowHalving(self.forward_func, objective, targets, progress)
            try_one = functools.partial(
                try_one_row, self.forward_func, objective, self.preprocess, settings, arguments, shape, len(targets)
            )
            for batch in _batches(len(targets), batch_size):
                for part, result in halving.batch(batch, made, try_one):
                    parts.append(part)
                    if result.stopped:
                        break
                if result.stopped:
                    break
        if snapshot is not None:
            snapshot.clear()
        prototypes = Prototypes.concatenate(parts)
        prototypes.settings = {
            "image_shape": list(shape),
            "start": "noise" if start is None else "given images",
            **settings.to_json(),
            "batch_size": batch_size or len(targets),
            "device": str(prototypes.images.device),
            "model": type(unwrapped(self.forward_func)).__name__,
            "model_fingerprint": fingerprint(self.forward_func) if isinstance(self.forward_func, nn.Module) else None,
            "network": result.network_settings(),
            "preprocess": None if self.preprocess is None else repr(self.preprocess),
            "stopped_by_callback": result.stopped,
            "versions": versions(),
        }
        return prototypes

    @log_usage()
    @in_plain_modes
    def attribute(
        self,
        inputs: TensorOrTuple,
        target: Any = None,
        additional_forward_args: Any = None,
        *,
        warmup_steps: int = 0,
        evaluation_draws: int = 0,
        **options: Any,
    ) -> TensorOrTuple:
        r"""
        Optimize given images for a class, in Captum's signature: :meth:`generate` with start images and no warm-up.

        Args:
            inputs (Tensor or tuple[Tensor]): Start images (N, C, H, W) in ``value_range``, or other inputs as the parametrization has them.
            target (TargetType or nested list): One for all images or one for each, as in :meth:`generate`.
            additional_forward_args (any, optional): As in :meth:`generate`. Default: None
            warmup_steps (int, optional): As in :meth:`generate`, but off: a warm-up would wash the start images out. Default: 0
            evaluation_draws (int, optional): As in :meth:`generate`, but none, since only images are returned. Default: 0
            **options: The other arguments of :meth:`generate`, with the same defaults.

        Returns:
            Tensor or tuple[Tensor]: The optimized images, of the type, dtype and shape of ``inputs``. For logits, history and settings
            as well, call ``generate(target, start=inputs)``.

        Raises:
            TypeError: If ``inputs`` holds more than one tensor, or an argument is of the wrong type.
            ValueError: If ``inputs`` are not images in ``value_range``, or an argument is out of its range.

        Examples::

            >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
            >>> images = torch.rand(4, 1, 8, 8)
            >>> PrototypeGeneration(model).attribute(images, target=3, steps=8).shape
            torch.Size([4, 1, 8, 8])
        """
        if isinstance(inputs, tuple) and len(inputs) != 1:
            raise InputTypeError(
                f"inputs is a tuple of {len(inputs)} tensors; expected one tensor of images (N, C, H, W)."
            )
        images = inputs[0] if isinstance(inputs, tuple) else inputs
        inputs_like = as_parametrization(options.get("parametrization", "pixels"))
        inputs_like.check(images, options.get("value_range", (0.0, 1.0)), "inputs")
        prototypes = self.generate(
            target,
            None,
            additional_forward_args,
            start=images,
            warmup_steps=warmup_steps,
            evaluation_draws=evaluation_draws,
            **options,
        )
        result = prototypes.images.to(images.device, images.dtype)
        return (result,) if isinstance(inputs, tuple) else result


def _input_shape(image_shape: Any, start: Tensor | None, settings: GenerationSettings) -> tuple[int, ...]:
    """The shape of one input: of an image as it was asked for, of another kind of input as its parametrization knows it."""
    parametrization = settings.parametrization
    if start is not None:
        _, *given = parametrization.check(start, settings.value_range, "start").shape
        if image_shape is not None and tuple(image_shape) != tuple(given):
            raise InputError(
                f"image_shape is {tuple(image_shape)}, but start holds images of shape {tuple(given)}; leave one of them out."
            )
        return tuple(given)
    if parametrization.input_shape is not None:
        own: tuple[int, ...] = parametrization.input_shape
        if image_shape is not None and tuple(image_shape) != own:
            raise InputError(f"image_shape is {tuple(image_shape)}, but {parametrization!r} is of {own}; leave it out.")
        return own
    if image_shape is None:
        raise InputTypeError(
            "image_shape is missing; give (C, H, W), for an ImageNet model (3, 224, 224), or start images."
        )
    shape = tuple(image_shape) if isinstance(image_shape, Iterable) else ()
    sides = [as_int(side) or 0 for side in shape]
    if len(sides) != 3 or min(sides) < 1:
        raise InputError(
            f"image_shape is {image_shape!r}; expected three positive numbers (C, H, W), such as (3, 224, 224)."
        )
    channels, height, width = sides
    return channels, height, width


def _evaluated(optimization: InputOptimization, result: OptimizationResult, loss: Loss, draws: int) -> dict[str, Any]:
    """The logit and the probability of finished images, as they are and as expected under the transforms: (N,) each, on the CPU."""
    streams: list[RandomStream | None] = [None]
    if optimization.settings.draws:
        streams += [RandomStream(result.rows.keys, EVALUATION, draw) for draw in range(draws)]
    seen = []
    for outputs in optimization.outputs(result, streams):
        loss(outputs, result.images)
        seen.append(outputs.terms)
    plain, drawn = seen[0], seen[1:] or seen
    values = {"logits": plain["logit"], "probabilities": plain["probability"]}
    values["transformed_logits"] = torch.stack([terms["logit"] for terms in drawn]).mean(0)
    values["transformed_probabilities"] = torch.stack([terms["probability"] for terms in drawn]).mean(0)
    return {name: value.cpu() for name, value in values.items()}


def _batches(total: int, batch_size: int | None) -> list[range]:
    size = batch_size or total
    return [range(begin, min(begin + size, total)) for begin in range(0, total, size)]
