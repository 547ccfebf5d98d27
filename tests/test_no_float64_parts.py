"""On a device without float64, the parts of which a call uses one each: inputs, transforms, losses, operators."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from entry_points import LAYER, SHAPE, differences
from networks import SmallCNN, seeded
from no_float64 import DEVICE, ROUNDING, NoFloat64
from torch import Tensor, nn
from torchvision.transforms import v2

from captum_proto import PathSimilarity, PrototypeGeneration, ops, optim
from captum_proto.attr import LayerActivationPath
from captum_proto.concept import soft_wpmi
from captum_proto.concept.color_names import color_names
from captum_proto.concept.word_scores import rank_reorder
from captum_proto.data import Categorical, Continuous, TableColumns
from captum_proto.edit import project_out
from captum_proto.features import SemanticDictionary, TopExamples
from captum_proto.metrics import NearestClass, SortedSimilarity, object_agreement
from captum_proto.metrics.direction_agreement import agreement
from captum_proto.metrics.template_match import mask_contrast, template_correlation
from captum_proto.optim import InputOptimization, TabularInput, TextInput, loss, visualize

Part = Callable[[nn.Module, Tensor], Any]
TURN = optim.RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(6, 3 * 8 * 8)

    def forward(self, codes: Tensor) -> Tensor:
        return self.lift(codes).sigmoid().view(-1, *SHAPE)


def _latent(model: nn.Module, images: Tensor) -> Any:
    decoder = seeded(Decoder).eval().to(images.device)
    given = optim.LatentImage(decoder, (6,), mean=0.1, bound=2.0)
    return visualize(model, loss.ChannelActivation(LAYER, [0, 1]), SHAPE, steps=2, parametrization=given).images


def _table(model: nn.Module, images: Tensor) -> Any:
    columns = TableColumns([Continuous("a", 0.0, 9.0, 4.0, 2.0, whole=True), Categorical("b", ["x", "y", "z"])])
    net = seeded(lambda: nn.Linear(columns.width, 3)).to(images.device)
    made = PrototypeGeneration(net).generate([0, 2], parametrization=TabularInput(columns), steps=3)
    return [made.images, made.logits]


def _texts(method: str) -> Part:
    def run(model: nn.Module, images: Tensor) -> Any:
        net = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3))).to(images.device)
        texts = TextInput(random(5, 4), 3, list("abcde"), method, fixed={1: "c"})
        made = PrototypeGeneration(net).generate([0, 2], parametrization=texts, steps=3)
        return [made.images, made.logits]

    return run


def _input(given: Callable[[Tensor], Any]) -> Part:
    return lambda model, images: (
        visualize(
            model, loss.ChannelActivation(LAYER, [0, 1]), SHAPE, steps=2, parametrization=given(images), transform=None
        ).images
    )


INPUTS: dict[str, Part] = {
    "coarse to fine": _input(lambda x: optim.FFTImage(coarse_to_fine=0.5)),
    "phase": _input(lambda x: optim.PhaseImage()),
    "measured": _input(lambda x: optim.PhaseImage.measured(x)),
    "maco": _input(lambda x: optim.MACOImage(random(3, 8, 5))),
    "laplacian": _input(lambda x: optim.LaplacianImage()),
    "cppn": _input(lambda x: optim.CPPNImage(hidden=6, layers=3)),
    "stacked": _input(lambda x: optim.StackImage([optim.FFTImage(), optim.PixelImage()])),
    "shared": _input(lambda x: optim.SharedImage(optim.FFTImage(), ["a", "a"], divisors=(4, 2))),
    "alpha": _input(lambda x: optim.AlphaImage(optim.FFTImage())),
    "alpha on noise": _input(lambda x: optim.AlphaImage(optim.FFTImage(), "noise")),
    "masked": _input(lambda x: optim.MaskedImage(optim.FFTImage(), x[0], (x[0, 0] > 0.5).float())),
    "latent": _latent,
    "table": _table,
    "nearest token": _texts("nearest"),
    "gumbel": _texts("gumbel"),
}


def _transform(transform: Any, size: int = 8) -> Part:
    def run(model: nn.Module, images: Tensor) -> Any:
        made = PrototypeGeneration(model).generate([1, 2], SHAPE, steps=2, warmup_steps=0, transform=transform)
        return [made.images, made.transformed_logits]

    return run


TRANSFORMS: dict[str, Part] = {
    "affine": _transform(TURN),
    "mirrored": _transform(optim.RandomAffine(30, fill="reflect")),
    "choice": _transform(optim.RandomChoiceAffine(range(-10, 11), (0.9, 1.0, 1.1), 4, "replicate")),
    "composed": _transform([optim.RandomAffine(10), optim.Pad(2), optim.RandomCrop(8), optim.GaussianNoise(0.1)]),
    "each": _transform(optim.EachAffine([optim.RandomAffine(30), TURN])),
    "jitter": _transform(optim.RandomSpatialJitter(3)),
    "part": _transform(optim.RandomResizedCrop((0.5, 1.0))),
    "part of a size": _transform(optim.RandomResizedCrop((0.5, 0.8), output=6)),
    "symmetries": _transform([optim.RandomHorizontalFlip(), optim.RandomRoll(0.3)]),
    "smoothing": _transform(optim.GaussianSmoothing(3, 1.0)),
    "torchvision": _transform(v2.RandomHorizontalFlip(1.0)),
}


def _loss(made: Callable[[nn.Module, Tensor], Any]) -> Part:
    return lambda model, images: InputOptimization(model, made(model, images), steps=2).optimize(SHAPE, count=2).images


LOSSES: dict[str, Part] = {
    "neuron": _loss(lambda m, x: loss.NeuronActivation(LAYER, [1, 2])),
    "direction": _loss(lambda m, x: loss.Direction(LAYER, random(2, 6), power=2.0)),
    "direction in float64": _loss(lambda m, x: loss.Direction(LAYER, random(2, 6).double())),
    "tensor direction": _loss(lambda m, x: loss.TensorDirection(LAYER, random(2, 6, 8, 8), power=1.0)),
    "weights": _loss(lambda m, x: loss.ActivationWeights(LAYER, random(2, 6))),
    "style": _loss(lambda m, x: loss.ClassLogit([1, 2]) + loss.Style(LAYER, random(2, 6, 8, 8))),
    "penalties": _loss(
        lambda m, x: (
            loss.CrossEntropy([1, 2])
            + loss.TotalVariation()
            + loss.L1()
            + loss.L2()
            + loss.Blur()
            + loss.BoundaryComplexity(2)
            + loss.ImagePrior()
            + 0.1 * loss.HighFrequency(2)
        )
    ),
    "pixels apart": _loss(lambda m, x: loss.ClassLogit([1, 1]) + loss.PixelDiversity()),
    "gram": _loss(lambda m, x: loss.ClassLogit([1, 1]) + loss.GramDiversity(LAYER)),
    "interpolation": _loss(lambda m, x: loss.Interaction(LAYER, 0, LAYER, 1, [[0.2, 0.8], [1.0, 0.0]])),
    "facet": _loss(
        lambda m, x: loss.FacetLoss(LAYER, random(2, 6), "stem.0", random(2, 6, seed=1), torch.tensor(0.5).to(x))
    ),
    "feature distance": _loss(lambda m, x: loss.ClassLogit([1, 2]) + loss.FeatureDistance(LAYER, x[:2])),
    "deep inversion": _loss(lambda m, x: loss.CrossEntropy([1, 2]) + loss.FeatureDistribution(m)),
    "natural statistics": _loss(
        lambda m, x: loss.ClassLogit([1, 2]) + loss.NaturalStatistics.measured(m, x, transform=TURN)
    ),
    "matched": _loss(
        lambda m, x: loss.MatchActivations(loss.NaturalActivations.measured(m, {1: x, 2: 1 - x}, [LAYER]), [1, 2])
    ),
}


def _transformed_by_hand(model: nn.Module, images: Tensor) -> Tensor:
    angle, scale = torch.tensor([30.0, -60.0]).to(images), torch.tensor([1.2, 0.8]).to(images)
    return optim.affine(images[:2], angle, torch.full((2, 2), 0.1).to(images), scale, "reflect")


def _kernel_without(model: nn.Module, images: Tensor) -> Tensor:
    before = model.block.weight
    with torch.no_grad(), project_out(model, None, random(6).to(images), kernel="block"):
        assert not torch.equal(model.block.weight.cpu(), before.clone().cpu() + 1)
        return model(images.clone())


def _counted(model: nn.Module, images: Tensor) -> list[Tensor]:
    counts = torch.zeros(3, 4, dtype=torch.int64).to(images.device)
    labels = torch.arange(64).remainder(4).short().view(1, 1, 8, 8).expand(8, -1, -1, -1).contiguous().to(images.device)
    hits = ops.unit_concept_counts(counts, images, torch.full((3,), 0.5).to(images), labels)
    return [hits, counts]


def _streamed(model: nn.Module, images: Tensor) -> list[Tensor]:
    sums = torch.zeros(images[0].numel(), dtype=torch.float64)
    ops.accumulate(sums, images.flatten(1))
    scores = torch.full((3, 2), -torch.inf).to(images)
    indices, payload = (torch.full((3, 2), 2**63 - 1).to(images.device) for _ in range(2))
    best, where, mean = ops.unit_summary(images)
    new = torch.arange(8, device=best.device).unsqueeze(1).expand(-1, 3)
    ops.top_k(scores, indices, payload, *(each.to(images.device) for each in (best, new, where)))
    return [sums, best, where, mean, scores, indices, payload]


def _ranked(model: nn.Module, images: Tensor) -> list[Tensor]:
    rows = images.flatten(1)
    return [
        ops.rank(rows),
        ops.rank((rows * 100).int()),
        ops.spearman(rows, rows[0]),
        ops.spearman(rows, ops.SpearmanReference(rows.flip(0))),
        *ops.path_distance(rows, rows.mean(0)),
    ]


def _differentiated(model: nn.Module, images: Tensor) -> list[Tensor]:
    x = images.clone().requires_grad_()
    turn = torch.tensor([[0.8, 0.3, 0.1], [-0.3, 0.9, -0.2]]).to(images).expand(8, 2, 3)
    value = ops.high_frequency_loss(x, 2) + ops.affine_sample(x, turn, std=[0.5]).square().sum((1, 2, 3))
    return [value.detach(), *torch.autograd.grad(value.sum(), x)]


def _left_out(model: nn.Module, images: Tensor) -> list[Any]:
    """Some of the images are of the reference and some are not, by all measures."""
    others = torch.cat([images[:2], 1 - images[2:]])
    path = PathSimilarity(model, measures=("spearman", "l1", "pearson")).fit(images)
    ordered = SortedSimilarity(model).fit(images)
    return [each.evaluate(others, leave_one_out=True) for each in (path, ordered)]


def _nearest(measure: str) -> Part:
    def run(model: nn.Module, images: Tensor) -> Any:
        kind: Any = PathSimilarity if measure == "spearman" else SortedSimilarity
        similarities = {name: kind(model).fit(each) for name, each in (("a", images), ("b", 1 - images))}
        return NearestClass(similarities).evaluate(images, "a", leave_one_out=True).values

    return run


SPECIAL: dict[str, Part] = {
    "affine": _transformed_by_hand,
    "kernel": _kernel_without,
    "counts": _counted,
    "streams": _streamed,
    "ranks": _ranked,
    "derivatives": _differentiated,
    "left out": _left_out,
    "nearest by ranks": _nearest("spearman"),
    "nearest by sorted activations": _nearest("sorted"),
    "quantiles": lambda m, x: TopExamples(m, [LAYER, "head"], k=2, pool="mean", quantiles=(0.1, 0.9)).fit(x, 3)[LAYER],
    "basis": lambda m, x: (
        SemanticDictionary(m, LAYER, basis=random(3, 6).to(x)).interpret(x[0], top=2, steps=1).components
    ),
    "exact path": lambda m, x: LayerActivationPath(m, "stem.1").attribute(x[:2], 1, method="exact"),
    "template": lambda m, x: template_correlation(x, x[0, :, 2:5, 2:6]),
    "contrast": lambda m, x: mask_contrast(x, x[0, 0, :3, :3] > x[0, 0, :3, :3].mean()),
    "agreement": lambda m, x: agreement(x.flatten(1), torch.tensor([[0, 1], [2, 3]]).to(x.device)),
    "objects": lambda m, x: object_agreement(x, (x[:, 0] > 0.5).long(), ["sky", "saw"], quantile=0.9, skip=["sky"]),
    "words": lambda m, x: [
        f(x[:, 0, 0], x[:, 0, 1], **k) for f, k in ((soft_wpmi, {"top_k": 3}), (rank_reorder, {"top_fraction": 0.5}))
    ],
    "colors": lambda m, x: color_names(x[0]),
}
#: What stays on the device: the rest is moved to the CPU, and is what it is there.
THERE = ("input: ", "transform: ", "loss: ", "call: affine", "call: derivatives")
PARTS = {
    f"{kind}: {name}": part
    for kind, parts in (("input", INPUTS), ("transform", TRANSFORMS), ("loss", LOSSES), ("call", SPECIAL))
    for name, part in parts.items()
}


@pytest.mark.parametrize("name", PARTS)
def test_a_part_without_float64(name: str, make_images: Callable[..., Tensor]) -> None:
    images, part = make_images(8, SHAPE), PARTS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = part(seeded(SmallCNN).eval(), images)
        with NoFloat64():
            found = part(seeded(SmallCNN).eval().to(DEVICE), images.to(DEVICE))
            assert differences(found, expected, ROUNDING if name.startswith(THERE) else 0.0) == ""
