"""Every choice of a generation, declared once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from captum_proto._utils.checks import check_int
from captum_proto._utils.errors import InputError
from captum_proto.optim.loss import ClassLogit, HighFrequency, Loss, as_diversity
from captum_proto.optim.loss.regularizer import default_high_frequency_weight
from captum_proto.optim.presets import PAPER_TRANSFORM
from captum_proto.optim.settings import TRANSFORMS, OptimizationSettings


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
            150.528, which is 1000 at 3×224×224 and the same pull on each pixel at other sizes. Default: None
        high_frequency_power (int, optional): Whether neighbors' differences count as they are (1) or squared (2); the paper leaves it
            open. Default: 1
        warmup_steps (int, optional): Steps of warm-up, at most; 0 for none. The paper leaves it open. Default: 64
        warmup_tolerance (float, optional): Variance of the class probabilities at which an image's warm-up ends early. Default: 0.0, never
        transform (Transform or Callable, optional): Random transform T of each image at each step. Callables without a stream of their own,
            such as torchvision's, are applied image by image; None for no transform. Default: the paper's
            ``RandomAffine(180, translate=(.5, .5), scale=(.7, 1.3))``
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
        autocast (torch.dtype, optional): Mixed precision: torch.bfloat16 or torch.float16, whose gradients are scaled. Fast
            where the device has arithmetic of that type, and very slow on CPUs that have not. Default: None
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
    evaluation_draws: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("high_frequency_weight", "diversity_weight"):
            if getattr(self, name) is not None:
                self._check_finite(name)
        self._set("evaluation_draws", check_int(self.evaluation_draws, "evaluation_draws", 0))
        if self.high_frequency_power not in (1, 2):
            raise InputError(f"high_frequency_power is {self.high_frequency_power!r}; expected 1 or 2.")
        self._set("high_frequency_power", int(self.high_frequency_power))
        if self.diversity is None and self.diversity_weight is not None:
            raise InputError(
                f"diversity_weight is {self.diversity_weight}, but diversity is None; name one, or leave both out."
            )

    def resolved(self, image_shape: tuple[int, int, int], forward_func: Callable[..., Any]) -> GenerationSettings:
        """With every None that stands for a value replaced by it: the weights, and the diversity's layer found in the model."""
        weight, diversity = self.high_frequency_weight, as_diversity(self.diversity, forward_func)
        diversity_weight = self.diversity_weight
        if diversity is not None and diversity_weight is None:
            diversity_weight = diversity.default_weight
        return replace(
            self,
            high_frequency_weight=default_high_frequency_weight(image_shape) if weight is None else weight,
            diversity=diversity,
            diversity_weight=diversity_weight,
        )

    def objective(self, target: Any) -> Loss:
        """What the ascent minimizes for these targets, one row for each; of settings whose None are resolved."""
        objective = ClassLogit(target) + self.high_frequency_weight * HighFrequency(self.high_frequency_power)
        return objective if self.diversity is None else objective + self.diversity_weight * self.diversity
