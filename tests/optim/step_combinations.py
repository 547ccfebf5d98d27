"""Optimizations of every kind, small: what a step is made of, for tests of what a step does on a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import transforms as classic
from torchvision.transforms import v2

from captum_proto import optim
from captum_proto.data import Categorical, Continuous
from captum_proto.optim import InputOptimization, OptimizationResult, RandomAffine, loss

SHAPE = (3, 16, 16)
AFFINE = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))
NORMALIZE = classic.Normalize([0.5, 0.4, 0.3], [0.2, 0.2, 0.3])


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)
    ).eval()  # fmt: skip


def of_rows(inputs: int) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 4)).eval()

    return made


def seeded(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, dtype=dtype, generator=torch.Generator().manual_seed(7))


@dataclass(frozen=True)
class Combination:
    """An optimization of some rows; losses are made of the model, as some measure it."""

    choices: dict[str, Any] = field(default_factory=dict)
    objective: Callable[[nn.Module], loss.Loss] = lambda model: loss.ClassLogit([1, 1, [2, 3]])
    preprocess: Callable[[Tensor], Tensor] | None = NORMALIZE
    make_model: Callable[[], nn.Module] = model
    shape: tuple[int, ...] = SHAPE

    def optimize(self, device: str = "cpu", steps: int = 12, **choices: Any) -> OptimizationResult:
        network = self.make_model()
        objective = self.objective(network)
        count = None if objective.targets is not None else 3
        made = {"steps": steps, "transform": AFFINE, "lr": 0.03, **self.choices, **choices}
        warmup = loss.ProbabilityVariance() if made.get("warmup_steps") else None
        optimization = InputOptimization(network.to(device), objective, self.preprocess, warmup=warmup, **made)
        return optimization.optimize(self.shape, count=count, seed=3)


def units(made: Callable[[nn.Module], loss.Loss]) -> Combination:
    return Combination({"transform": None}, made, None)


def inputs(parametrization: Any, **choices: Any) -> Combination:
    return Combination({"parametrization": parametrization, "noise": 0.02, **choices})


def of_natural(network: nn.Module) -> loss.Loss:
    natural = optim.NaturalActivations.measured(network, {1: seeded(4, *SHAPE), 2: seeded(5, *SHAPE)}, ["1"])
    return loss.ClassLogit([1, 2, 2]) + 10 * loss.MatchActivations(natural, [1, 2, 2])


def randomly_weighted(network: nn.Module) -> loss.Loss:
    class Weighted(loss.Loss):
        """Positions of a layer by weights that are drawn anew in each step: few of them, and as many as there are."""

        layers = ("0",)

        def __call__(self, outputs: Any, images: Tensor) -> Tensor:
            few, many = outputs.random.uniform(8), outputs.random.normal(8 * 14 * 14)
            weights = few.view(-1, 8, 1, 1) + many.view(-1, 8, 14, 14)
            return -(outputs["0"] * weights.to(images)).mean((1, 2, 3))

    return Weighted()


def random_shift(images: Tensor) -> Tensor:
    return images + 0.1 * torch.randn(1, 1, 1, 1, device=images.device)


def latent() -> optim.LatentImage:
    torch.manual_seed(1)
    return optim.LatentImage(nn.Sequential(nn.Linear(4, 768), nn.Sigmoid(), nn.Unflatten(1, SHAPE)), (4,))


COLUMNS = [Continuous("age", 17, 90, center=40, scale=10), Categorical("sex", ["female", "male"])]
TOKENS = ["a", "cat", "dog", "ran", "sat"]


def texts(method: str, **choices: Any) -> Combination:
    parametrization = optim.TextInput(seeded(5, 8), 3, TOKENS, method, **choices)
    return Combination(
        {"parametrization": parametrization, "transform": None},
        lambda model: loss.ClassLogit([1, 1, 2]),
        None,
        of_rows(24),
        (3, 8),
    )


PREPROCESSING = {"none": None, "classic": NORMALIZE, "v2": v2.Normalize([0.5], [0.25])}
CHOICES: dict[str, dict[str, Any]] = {
    "plain": {},
    "warmup": {"warmup_steps": 12},
    "noise": {"noise": 0.05},
    "preprocess_first": {"preprocess_first": True},
    "cosine": {"lr_schedule": "cosine"},
    "nadam": {"optimizer": "nadam"},
    "nadam and cosine": {"optimizer": "nadam", "lr_schedule": "cosine", "noise": 0.05},
    "unclamped": {"clamp": False, "parametrization": optim.FFTImage()},
    "redirected": {"redirect_relu_steps": 4},
}
TRANSFORMS: dict[str, Any] = {
    "choice": optim.RandomChoiceAffine(range(-10, 11), (0.9, 1.0, 1.1), 4, "reflect"),
    "composed": [RandomAffine(10), optim.Pad(2), optim.RandomCrop(16), optim.GaussianNoise(0.1)],
    "each": optim.EachAffine([RandomAffine(30), RandomAffine(180, scale=(0.5, 2.0)), RandomAffine(10)]),
    "jitter": optim.RandomSpatialJitter(3),
    "mirrored": RandomAffine(180, fill="reflect"),
    "part": optim.RandomResizedCrop((0.5, 1.0)),
    "part of a size": optim.RandomResizedCrop((0.5, 0.8), output=16),
    "symmetries": [optim.RandomHorizontalFlip(), optim.RandomRoll()],
    "smoothing": optim.GaussianSmoothing(3, 1.0),
    "feature visualization": optim.feature_visualization_transform(),
    "per image": random_shift,
}
PARAMETRIZATIONS = {
    "fourier": inputs(optim.FFTImage()),
    "phases": inputs(optim.PhaseImage()),
    "maco": inputs(optim.MACOImage(seeded(3, 16, 9) + 1)),
    "laplacian": inputs(optim.LaplacianImage()),
    "cppn": inputs(optim.CPPNImage(hidden=8, layers=3), lr=0.005),
    "latent": inputs(latent()),
    "masked": inputs(optim.MaskedImage(optim.FFTImage(), seeded(*SHAPE), torch.ones(16, 16).tril())),
    "shared": inputs(optim.SharedImage(optim.FFTImage(), [0, 0, 1], divisors=(4,))),
    "stacked": inputs(optim.StackImage([optim.FFTImage(), optim.LaplacianImage()], [1, 2], dim=1)),
    "alpha": inputs(optim.AlphaImage()),
    "alpha over noise": inputs(optim.AlphaImage(optim.PixelImage(), "noise")),
    "table": Combination(
        {"parametrization": optim.TabularInput(COLUMNS), "transform": None},
        lambda model: loss.ClassLogit([1, 1, 2]),
        None,
        of_rows(3),
        (3,),
    ),
    "nearest tokens": texts("nearest"),
    "drawn tokens": texts("gumbel", temperature=(1.0, 1.0)),
    "drawn tokens beside a fixed one": texts("gumbel", temperature=(1.0, 1.0), fixed={1: "sat"}),
    "tokens of a falling temperature": texts("gumbel"),
    "coarse to fine": inputs(optim.FFTImage(coarse_to_fine=0.25)),
    "half the size at first": Combination(
        {"parametrization": optim.FFTImage(half_size=0.25), "transform": None},
        lambda model: loss.ChannelActivation("2", [1, 1, 2]),
        make_model=lambda: model()[:5],
    ),
}
LOSSES = {
    "channel": units(lambda model: loss.ChannelActivation("0", [1, 2])),
    "neuron": units(lambda model: loss.NeuronActivation("0", [1, 2])),
    "layer": units(lambda model: loss.LayerActivation("1")),
    "dream": units(lambda model: loss.DeepDream("1")),
    "direction": units(lambda model: loss.Direction("0", seeded(2, 8, dtype=torch.float64), power=2)),
    "caricature": units(lambda model: loss.TensorDirection("0", seeded(1, 8, 14, 14), power=1)),
    "weights": units(lambda model: loss.ActivationWeights("0", seeded(2, 8, dtype=torch.float64))),
    "style": units(
        lambda model: loss.ClassLogit([1, 2]) + loss.Style("0", seeded(2, 8, 14, 14, dtype=torch.float64) - 0.5)
    ),
    "prior": units(lambda model: loss.ClassLogit([1, 2]) + loss.TotalVariation() + loss.L2() + loss.ImagePrior()),
    "penalties": units(
        lambda model: loss.CrossEntropy([1, 2]) + loss.Blur() + loss.L1() + loss.BoundaryComplexity(width=4)
    ),
    "deep inversion": units(lambda model: loss.ClassLogit([1, 2]) + optim.deep_inversion_regularizer(model)),
    "natural statistics": units(lambda model: loss.ClassLogit([1, 2]) + 0.1 * optim.NaturalStatistics(model)),
    "match": units(of_natural),
    "distance": units(lambda model: loss.ClassLogit([1, 2]) + loss.FeatureDistance("0", seeded(2, *SHAPE))),
    "facet": units(lambda model: loss.FacetLoss("3", torch.eye(8)[2], "0", seeded(2, 8))),
    "interaction": units(lambda model: loss.Interaction("2", 2, "2", 5, optim.weight_grid([1, 2]))),
    "alignment": units(lambda model: loss.ChannelActivation("0", [1, 2, 3]) + 0.1 * loss.Alignment("0")),
    "diversity": units(lambda model: loss.ClassLogit([1, 1, 2]) + 10 * optim.PixelDiversity()),
    "of Gram matrices": units(lambda model: loss.ClassLogit([1, 1, 2]) + 30 * optim.GramDiversity("0")),
    "at random": units(randomly_weighted),
    "high frequency": units(lambda model: loss.ClassLogit([1, 2]) + 10 * loss.HighFrequency()),
}
COMBINATIONS: dict[str, Combination] = {
    **{
        f"{name}, preprocessing {kind}": Combination(choices, preprocess=preprocess)
        for name, choices in CHOICES.items()
        for kind, preprocess in PREPROCESSING.items()
    },
    **{f"transform: {name}": Combination({"transform": transform}) for name, transform in TRANSFORMS.items()},
    **{f"input: {name}": combination for name, combination in PARAMETRIZATIONS.items()},
    **{f"loss: {name}": combination for name, combination in LOSSES.items()},
}
