"""Every choice of a generation, declared once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from captum_proto._utils.checks import check_int, type_name
from captum_proto._utils.errors import InputError, InputTypeError
from captum_proto._utils.targets import parse_targets
from captum_proto.optim.loss import (
    ClassLogit,
    CrossEntropy,
    HighFrequency,
    Loss,
    MatchActivations,
    NaturalActivations,
    NaturalStatistics,
    as_diversity,
    deep_inversion_regularizer,
)
from captum_proto.optim.loss.regularizer import default_high_frequency_weight
from captum_proto.optim.presets import PAPER_TRANSFORM
from captum_proto.optim.settings import TRANSFORMS, OptimizationSettings

#: What the ascent goes up of a class, by name. With "none" logit and probability are recorded all the same.
CLASS_LOSSES: dict[str, Callable[[Any], Loss]] = {
    "logit": ClassLogit,
    "cross_entropy": CrossEntropy,
    "none": lambda target: 0.0 * ClassLogit(target),
}
#: Losses that have a name.
RUNNING, DEEP_INVERSION = "running", "deep_inversion"
#: What fields that have to do with natural images may hold: names, types, and both in words.
_NATURAL: tuple[tuple[str, tuple[Any, ...], str], ...] = (
    ("natural_statistics", (RUNNING, NaturalStatistics), f'"{RUNNING}" or NaturalStatistics'),
    ("match", (NaturalActivations, Mapping), "NaturalActivations, or natural images by class"),
    ("regularizer", (DEEP_INVERSION, Loss), f'"{DEEP_INVERSION}" or a Loss'),
)


@dataclass(frozen=True, kw_only=True)
class GenerationSettings(OptimizationSettings):
    r"""
    Every choice of :meth:`PrototypeGeneration.generate <captum_proto.PrototypeGeneration.generate>` but what is generated.

    Its fields are generate's keyword arguments, the options of ``captum-proto generate``, what a sweep may name, and what is recorded with
    prototypes.

    Args:
        steps (int, optional): Steps of ascent after the warm-up; the paper's: 512. Default: 512
        lr (float, optional): Learning rate of the optimizer, in units of pixel values; the paper's: 0.05. Default: 0.05
        high_frequency_weight (float, optional): Weight λ of the high-frequency loss, at least 0; the paper leaves it open. None: C·H·W /
            150.528, which is 1000 at 3×224×224 and the same pull on each pixel at other sizes, and nothing where inputs are no images.
            Default: None
        high_frequency_power (int, optional): Whether neighbors' differences count as they are (1) or squared (2); the paper leaves it
            open. Default: 1
        warmup_steps (int, optional): Steps of warm-up, at most; 0 for none. The paper leaves it open. Default: 64
        warmup_tolerance (float, optional): Variance of the class probabilities at which an image's warm-up ends early. Default: 0.0, never
        transform (Transform or Callable, optional): Random transform T of each image at each step. Callables without a stream of their own,
            such as torchvision's, are applied image by image; None for no transform. Default: the paper's
            ``RandomAffine(180, translate=(.5, .5), scale=(.7, 1.3))``, which inputs that are no images go without
        noise (float, optional): Standard deviation of Gaussian noise added after T, drawn anew for each image at each step; see
            :class:`~captum_proto.optim.GaussianNoise`. Default: 0.0, none
        preprocess_first (bool, optional): Whether preprocessing acts before T; the fill of T, and the noise, are then in the model's
            input range. Default: False, as in the paper
        value_range (tuple[float, float], optional): The valid range of a pixel. Default: (0, 1)
        clamp (bool, optional): Whether each step ends with a projection onto ``value_range``; the paper leaves it open. Default: True
        betas (tuple[float, float], optional): Decay rates of the optimizer. Default: (0.9, 0.999)
        eps (float, optional): Denominator term of the optimizer. Default: 1e-8
        optimizer (str, optional): "adam", as in the paper, or "nadam", Adam with Nesterov's momentum (Dozat, ICLR 2016 workshop;
            :class:`torch.optim.NAdam` with its own ``momentum_decay``). Default: "adam"
        parametrization (str or Parametrization, optional): What is optimized: pixels, Fourier coefficients or phases. "pixels", as in the
            paper; "fourier", the coefficients of :class:`~captum_proto.optim.FFTImage`, with which images change at all scales at once
            and far fewer steps do; or "phase", the phases alone of :class:`~captum_proto.optim.PhaseImage`, whose magnitudes stay those
            of a power law; "laplacian", a pyramid of resolutions (:class:`~captum_proto.optim.LaplacianImage`); "cppn", the weights of a
            network that draws (:class:`~captum_proto.optim.CPPNImage`), at an ``lr`` of about 0.005. Default: "pixels"
        lr_schedule (str, optional): Course of the learning rate: "constant", as in the paper, or "cosine", down to zero over the
            ascent. Default: "constant"
        fold_batch_norm (bool, optional): Whether batch normalizations go into the layers before them while images are optimized. In a
            copy of the model, and only if its logits stay the same up to rounding. Default: True
        channels_last (bool, optional): Whether the model gets its images in channels_last while they are optimized. None: if it has
            two-dimensional convolutions, and is on a CPU or computes in half precision. Default: None
        redirect_relu_steps (int, optional): In so many first steps of the ascent, prototypes to which the model's activation functions give
            no gradient at all get one that turns units on; Lucid has 16. Default: 0, never
        diversity (str or Diversity, optional): What pulls the prototypes of a class apart during the ascent. "pixels": their mean
            absolute difference (:class:`~captum_proto.optim.PixelDiversity`, as in the paper's appendix C). "gram:LAYER": the
            similarity of their Gram matrices in a layer (:class:`~captum_proto.optim.GramDiversity`), which does vary the pictures.
            The one case in which prototypes see each other, and they must be in one batch. Default: None
        diversity_weight (float, optional): Weight of the diversity beside the logit, at least 0. None: 10 for pixels in (0, 1), 30 for
            Gram matrices. Default: None
        class_loss (str, optional): What of the class the ascent goes up: "logit", as in the paper; "cross_entropy", the logarithm of its
            probability, as in DeepInversion; or "none", where natural images say all (``match``), as in VITAL. Default: "logit"
        natural_statistics (str or NaturalStatistics, optional): Whether pictures are to have the statistics of natural images: "running",
            those that the model's batch normalizations remember, which needs no data; or what
            :meth:`NaturalStatistics.measured <captum_proto.optim.NaturalStatistics.measured>` found in images. Default: None
        natural_statistics_weight (float, optional): Its weight beside the logit, at least 0. None: 1. Default: None
        match (NaturalActivations or mapping, optional): What natural images of each target are like, to be matched in some layers: see
            :class:`~captum_proto.optim.MatchActivations`. Natural images by class, ``{3: images_of_3}``, are measured first. A prototype
            that has seen natural images is told by its settings: how many, and their digests. Default: None
        match_weight (float, optional): Its weight beside the logit, at least 0. None: 1. Default: None
        match_exact_weight (float, optional): How much the mean activation at each position counts in it, beside the distribution of each
            channel, at least 0. Default: 0.0, not at all
        match_layers (str or sequence of str, optional): In which layers natural images by class are measured: names, or patterns as in
            :func:`~captum_proto.capture.select_layers`. Default: None, one for each resolution of maps, at most five
        regularizer (str or Loss, optional): What else is minimized: any loss, with its weight in it; or "deep_inversion", the
            regularizers of :func:`~captum_proto.optim.deep_inversion_regularizer`. Default: None
        autocast (torch.dtype, optional): Mixed precision: torch.bfloat16 or torch.float16, whose gradients are scaled. Fast
            where the device has arithmetic of that type, and very slow on CPUs that have not. Default: None
        cuda_graph (bool, optional): Whether on a GPU one step is captured as a CUDA graph and replayed in place of the others, where that
            is shown to give the same bits: see :class:`~captum_proto.optim.OptimizationSettings`. Default: False
        evaluation_draws (int, optional): Draws of T for the expected logit and probability of the finished prototypes. Default: 16

    Raises:
        TypeError, ValueError: If a value is of the wrong type or out of its range.

    Examples::

        >>> GenerationSettings(steps=64, lr=0.1).to_json()["steps"]
        64
    """

    high_frequency_weight: float | None = field(default=None, metadata={"metavar": "λ"})
    high_frequency_power: int = field(default=1, metadata={"choices": (1, 2)})
    warmup_steps: int = 64
    transform: Any = field(default=PAPER_TRANSFORM, metadata={"choices": TRANSFORMS})
    diversity: Any = field(default=None, metadata={"metavar": "pixels|gram:LAYER"})
    diversity_weight: float | None = None
    class_loss: str = field(default="logit", metadata={"choices": tuple(CLASS_LOSSES)})
    natural_statistics: Any = field(default=None, metadata={"choices": (RUNNING, "none")})
    natural_statistics_weight: float | None = None
    match: Any = field(default=None, metadata={"metavar": "FILE", "type": Path})
    match_weight: float | None = None
    match_exact_weight: float = 0.0
    match_layers: Any = field(default=None, metadata={"metavar": "NAME,…", "type": lambda text: text.split(",")})
    regularizer: Any = field(default=None, metadata={"choices": (DEEP_INVERSION, "none")})
    evaluation_draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in (
            "high_frequency_weight",
            "diversity_weight",
            "natural_statistics_weight",
            "match_weight",
            "match_exact_weight",
        ):
            if getattr(self, name) is not None:
                self._check_finite(name)
        layers = [self.match_layers] if isinstance(self.match_layers, str) else self.match_layers
        if layers is not None:
            if not isinstance(layers, (list, tuple)) or not layers or not all(isinstance(each, str) for each in layers):
                raise InputTypeError(f"match_layers is {self.match_layers!r}; expected names or patterns of layers.")
            self._set("match_layers", list(layers))
        self._set("evaluation_draws", check_int(self.evaluation_draws, "evaluation_draws", 0))
        if self.high_frequency_power not in (1, 2):
            raise InputError(f"high_frequency_power is {self.high_frequency_power!r}; expected 1 or 2.")
        self._set("high_frequency_power", int(self.high_frequency_power))
        if self.class_loss not in CLASS_LOSSES:
            raise InputError(f'class_loss is "{self.class_loss}"; expected one of {", ".join(CLASS_LOSSES)}.')
        for name in ("diversity", "natural_statistics"):
            weight = getattr(self, f"{name}_weight")
            if getattr(self, name) is None and weight is not None:
                raise InputError(f"{name}_weight is {weight}, but {name} is None; name one, or leave both out.")
        for name, kinds, expected in _NATURAL:
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and value in kinds) and not _is_of(value, kinds):
                raise InputTypeError(f"{name} is {_shown(value)}; expected {expected}, or None.")

    def resolved(
        self,
        image_shape: tuple[int, ...],
        forward_func: Callable[..., Any],
        preprocess: Callable[[Tensor], Tensor] | None = None,
        target: Any = None,
    ) -> GenerationSettings:
        """
        With all replaced that stands for something else: a None for a weight, a name for a loss, natural images for what is measured.

        Args:
            image_shape (tuple[int, ...]): Of a prototype.
            forward_func (Callable): The model.
            preprocess (Callable, optional): Its preprocessing. Default: None
            target (TargetType or nested list, optional): Of what is measured on natural images, only what is of these classes is kept.
                Default: None, all

        Raises:
            ValueError: If the model has not what a loss looks at, or natural images are needed and missing.
        """
        weight, transform = self.high_frequency_weight, self.transform
        diversity = as_diversity(self.diversity, forward_func)
        if not self.parametrization.of_images:
            if weight:
                raise InputError(
                    f"high_frequency_weight is {weight:g}, but {self.parametrization!r} is of no images, which alone have neighboring "
                    "pixels; leave it out."
                )
            weight, transform = 0.0, None if transform is PAPER_TRANSFORM else transform
        diversity_weight = self.diversity_weight
        if diversity is not None and diversity_weight is None:
            diversity_weight = diversity.default_weight
        statistics, regularizer, match = self.natural_statistics, self.regularizer, self.match
        if statistics == RUNNING:
            statistics = NaturalStatistics(forward_func, image_shape=image_shape, preprocess=preprocess)
        if isinstance(regularizer, str):
            regularizer = deep_inversion_regularizer(forward_func, image_shape, preprocess)
        nothing = self.class_loss == "none" and statistics is None and regularizer is None
        if match is None and (self.match_weight is not None or nothing):
            reason = 'class_loss is "none"' if self.match_weight is None else f"match_weight is {self.match_weight}"
            raise InputError(
                f"{reason}, but match is None: such prototypes need natural images of their classes; give them by class, match={{3: "
                "images_of_3}, on the command line --natural-images, or choose a preset that needs none."
            )
        if isinstance(match, Mapping):
            match = NaturalActivations.measured(
                forward_func, match, self.match_layers, preprocess, value_range=self.value_range
            )
        if match is not None and target is not None:
            match = match.of(parse_targets(target))
        return replace(
            self,
            transform=transform,
            high_frequency_weight=default_high_frequency_weight(image_shape) if weight is None else weight,
            diversity=diversity,
            diversity_weight=diversity_weight,
            natural_statistics=statistics,
            natural_statistics_weight=_weight_of(statistics, self.natural_statistics_weight),
            match=match,
            match_weight=_weight_of(match, self.match_weight),
            regularizer=regularizer,
        )

    def objective(self, target: Any) -> Loss:
        """What the ascent minimizes for these targets, one row for each; of settings whose None are resolved."""
        objective = CLASS_LOSSES[self.class_loss](target)
        if self.parametrization.of_images:
            objective = objective + self.high_frequency_weight * HighFrequency(self.high_frequency_power)
        if self.diversity is not None:
            objective = objective + self.diversity_weight * self.diversity
        if self.natural_statistics is not None:
            objective = objective + self.natural_statistics_weight * self.natural_statistics
        if self.match is not None:
            objective = objective + self.match_weight * MatchActivations(
                self.match, target, exact_weight=self.match_exact_weight
            )
        return objective if self.regularizer is None else objective + self.regularizer


def _weight_of(loss: Any, weight: float | None) -> float | None:
    return 1.0 if loss is not None and weight is None else weight


def _is_of(value: Any, kinds: tuple[Any, ...]) -> bool:
    if isinstance(value, Mapping):
        images = all(isinstance(each, Iterable) and not isinstance(each, (str, bytes)) for each in value.values())
        return Mapping in kinds and images and len(value) > 0
    return isinstance(value, tuple(kind for kind in kinds if isinstance(kind, type)))


def _shown(value: Any) -> str:
    """A value in a sentence: a mapping of images would not end."""
    text = repr(value)
    return text if len(text) <= 80 else f"a {type_name(value)}"
