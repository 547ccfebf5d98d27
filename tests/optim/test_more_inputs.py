"""Pyramids, pattern networks, stacks, shared parts, alpha channels, masks and codes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import scipy.integrate
import torch
from networks import seeded
from torch import nn

from captum_proto import PrototypeGeneration
from captum_proto.optim import (
    AlphaImage,
    BlendAlpha,
    ChannelActivation,
    CPPNImage,
    FFTImage,
    InputOptimization,
    LaplacianImage,
    LatentImage,
    MaskedImage,
    MeanAlpha,
    Parametrization,
    PhaseImage,
    PixelImage,
    RandomSpatialJitter,
    RandomStream,
    SharedImage,
    StackImage,
    Transparent,
    prototype_keys,
)
from captum_proto.optim.inputs.cppn import ACTIVATIONS
from captum_proto.optim.random import BACKGROUND, START

SHAPE = (3, 16, 16)


def stream(count: int, kind: int = START, first: int = 0) -> RandomStream:
    return RandomStream(prototype_keys(list(range(first, first + count)), [(1,)] * count), kind)


class Decoder(nn.Module):
    """A generator with what a real one has: batch normalization and dropout, which only evaluation mode makes row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.norm = nn.Linear(6, 3 * 16 * 16), nn.BatchNorm1d(3 * 16 * 16)
        self.drop = nn.Dropout(0.5)

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        return self.drop(self.norm(self.lift(codes))).sigmoid().view(-1, *SHAPE)


def decoder() -> Decoder:
    return seeded(Decoder).double().train()


def network() -> nn.Sequential:
    return seeded(lambda: nn.Sequential(nn.Conv2d(3, 4, 5), nn.Tanh(), nn.Conv2d(4, 4, 3))).double()


MASK = torch.zeros(16, 16, dtype=torch.float64)
MASK[4:12, 2:9] = 1.0
EACH: dict[str, Any] = {
    "laplacian": LaplacianImage(),
    "cppn": CPPNImage(hidden=8, layers=3),
    "alpha": AlphaImage(),
    "alpha pixels": AlphaImage(PixelImage(), "noise"),
    "masked": MaskedImage(FFTImage(), torch.full(SHAPE, 0.3, dtype=torch.float64), MASK),
    "latent": LatentImage(decoder(), (6,)),
    "channels": StackImage([FFTImage(), LaplacianImage()], [1, 2], dim=1),
}


def start_of(basis: Parametrization, count: int, value_range=(0.0, 1.0)) -> tuple[Parametrization, dict[str, Any]]:
    bound = basis.for_images(SHAPE, value_range)
    return bound, bound.start(stream(count), SHAPE)


@pytest.mark.parametrize("basis", EACH.values(), ids=EACH)
def test_a_row_is_what_it_is_alone(basis):
    loss, options = ChannelActivation("2", [2, 0, 3]), {"steps": 6, "transform": RandomSpatialJitter(2)}
    together = InputOptimization(network(), loss, parametrization=basis, **options).optimize(SHAPE, seed=[5, 6, 7])
    for row in range(3):
        alone = InputOptimization(network(), loss.rows(range(row, row + 1)), parametrization=basis, **options)
        torch.testing.assert_close(
            alone.optimize(SHAPE, seed=[5 + row]).images[0], together.images[row], rtol=0, atol=1e-9
        )
    low, high = together.images.min(), together.images.max()
    assert 0 <= float(low) < float(high) <= 1
    before = InputOptimization(network(), loss, parametrization=basis, steps=0).optimize(SHAPE, seed=[5, 6, 7])
    after = InputOptimization(network(), loss, parametrization=basis, steps=12).optimize(SHAPE, seed=[5, 6, 7])
    values = [
        network()(basis.composed(each.images, None))[[0, 1, 2], [2, 0, 3]].mean((1, 2)) for each in (before, after)
    ]
    assert bool((values[1] > values[0]).all())
    assert together.parametrization is not None
    torch.testing.assert_close(together.parametrization.render(together.parameters), together.images)
    json.dumps(basis.settings())
    assert (basis.shape, basis.value_range) == ((), (0.0, 1.0))  # the original is as it was


@pytest.mark.parametrize("basis", EACH.values(), ids=EACH)
def test_gradients_go_back_through_the_jacobian(basis):
    """What an optimization in parameters follows is J^T g, with g the gradient by the pixels."""
    bound, parameters = start_of(basis, 1)
    parameters = {name: (value + 0.1).requires_grad_(True) for name, value in parameters.items()}
    images = bound.render(parameters)
    by_pixel = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    gradients = torch.autograd.grad((images * by_pixel).sum(), list(parameters.values()))
    step = 1e-6
    for (name, value), gradient in zip(parameters.items(), gradients, strict=True):
        direction = torch.randn(value.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        moved = [bound.render(parameters | {name: (value + sign * step * direction).detach()}) for sign in (1, -1)]
        along = ((moved[0] - moved[1]) / (2 * step) * by_pixel).sum().detach()
        assert float((gradient * direction).sum()) == pytest.approx(along.item(), rel=1e-5, abs=1e-6)


# --- pyramids ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 23), (4, 5, 6), (3, 1, 1)])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-2.0, 3.0)])
def test_a_pyramid_holds_given_images(shape, value_range):
    low, high = value_range
    images = low + (high - low) * (0.05 + 0.9 * torch.rand(2, *shape, dtype=torch.float64))
    pyramid = LaplacianImage(power=0.5).for_images(shape, value_range)
    torch.testing.assert_close(pyramid.render(pyramid.parameters_of(images)), images, rtol=0, atol=1e-9)


def test_layers_of_a_pyramid_are_enlarged_and_added():
    pyramid = LaplacianImage((1, 4), power=2.0, decorrelate=False).for_images((1, 8, 8), (0.0, 1.0))
    parameters = pyramid.start(stream(2), (1, 8, 8))
    assert {name: tuple(value.shape) for name, value in parameters.items()} == {
        "scale_4": (2, 1, 2, 2),
        "scale_1": (2, 1, 8, 8),
    }
    planes = pyramid.render(parameters).logit()
    # Between the centers of four pixels, bilinear: written out for the rows and then for the columns.
    weights = np.array([1, 1, 0.875, 0.625, 0.375, 0.125, 0, 0])
    mix = np.stack([weights, 1 - weights], 1)
    coarse = np.einsum("yi,ncij,xj->ncyx", mix, parameters["scale_4"].numpy(), mix)
    np.testing.assert_allclose(planes.numpy(), coarse + parameters["scale_1"].numpy() / 16, atol=1e-12)


# --- pattern networks ----------------------------------------------------------------------------------------------------------------


def by_numpy(parameters: dict[str, torch.Tensor], row: int, height: int, width: int, layers: int) -> np.ndarray:
    half = np.sqrt(3) / max(height, width)
    image = np.empty((3, height, width))
    for y, x in np.ndindex(height, width):
        h = np.array([(2 * x + 1 - width) * half, (2 * y + 1 - height) * half])
        for layer in range(layers):
            h = parameters[f"weight_{layer}"][row].numpy() @ h + parameters[f"bias_{layer}"][row, :, 0].numpy()
            h = np.concatenate([np.arctan(h) / 0.67, np.arctan(h) ** 2 / 0.6])
        last = parameters[f"weight_{layers}"][row].numpy() @ h + parameters[f"bias_{layers}"][row, :, 0].numpy()
        image[:, y, x] = 1 / (1 + np.exp(-last))
    return image


def test_a_pattern_network_is_a_function_of_the_place():
    cppn = CPPNImage(hidden=5, layers=2).for_images((3, 6, 9), (0.0, 1.0))
    parameters = cppn.start(stream(2), (3, 6, 9))
    assert bool((cppn.render(parameters) == 0.5).all())  # gray at the start
    parameters["weight_2"] = torch.randn(parameters["weight_2"].shape, dtype=torch.float64)
    for row in range(2):
        np.testing.assert_allclose(cppn.render(parameters)[row].numpy(), by_numpy(parameters, row, 6, 9, 2), atol=1e-12)


def test_a_pattern_renders_at_any_size():
    result = InputOptimization(
        network(), ChannelActivation("2", [1, 3]), parametrization=CPPNImage(hidden=8, layers=3), steps=30, lr=0.01
    ).optimize(SHAPE)
    assert result.parametrization is not None
    large = result.parametrization.for_images((3, 96, 96), (0.0, 1.0)).render(result.parameters)
    small = torch.nn.functional.avg_pool2d(large, 6)
    spread = float(result.images.std())
    assert spread > 0.1  # a picture, not gray
    assert float((small - result.images).square().mean().sqrt()) < 0.1 * spread


@pytest.mark.parametrize("name", [name for name in ACTIVATIONS if name not in ("tanh", "composite")])
def test_activations_keep_mean_and_spread(name):
    def moment(power: int, channel: int) -> float:
        def weighted(x: float) -> float:
            value = ACTIVATIONS[name](torch.tensor([[x]], dtype=torch.float64))[0, channel]
            return float(value) ** power * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)

        return scipy.integrate.quad(weighted, -8, 8, limit=200, points=[0])[0]

    for channel in range(ACTIVATIONS[name](torch.zeros(1, 1)).shape[1]):
        assert moment(1, channel) == pytest.approx(0, abs=0.03)
        assert moment(2, channel) == pytest.approx(1, abs=0.06)


# --- stacks and shared parts ---------------------------------------------------------------------------------------------------------


def test_each_row_of_a_stack_is_what_it_is_alone_under_its_own():
    parts = [PixelImage(), FFTImage(), CPPNImage(hidden=8, layers=2), LaplacianImage()]
    loss = ChannelActivation("2", [1, 1, 2, 2, 0])
    together = InputOptimization(network(), loss, parametrization=StackImage(parts, [1, 2, 1, 1]), steps=6).optimize(
        SHAPE, seed=[3] * 5
    )
    for row, part in enumerate([parts[0], parts[1], parts[1], parts[2], parts[3]]):
        alone = InputOptimization(network(), loss.rows(range(row, row + 1)), parametrization=part, steps=6)
        torch.testing.assert_close(alone.optimize(SHAPE, seed=3).images[0], together.images[row], rtol=0, atol=1e-9)


def test_a_stack_starts_from_given_images():
    images = 0.1 + 0.8 * torch.rand(2, *SHAPE, dtype=torch.float64)
    for stack in (StackImage([FFTImage(), PixelImage()]), StackImage([FFTImage(), PixelImage()], [1, 2], dim=1)):
        bound = stack.for_images(SHAPE, (0.0, 1.0))
        torch.testing.assert_close(bound.render(bound.parameters_of(images)), images, rtol=0, atol=1e-9)


def coarse(images: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(images, 4).flatten(1)


def test_a_group_shares_its_coarse_structure_and_other_groups_do_not_matter():
    loss, options = ChannelActivation("2", [0, 1, 2, 3]), {"steps": 40, "lr": 0.05}

    def optimized(groups: list[Any], rows: range = range(4)) -> torch.Tensor:
        basis = SharedImage(FFTImage(), groups, divisors=(4,))
        return (
            InputOptimization(network(), loss.rows(rows), parametrization=basis, **options)
            .optimize(SHAPE, seed=[7 + row for row in rows])
            .images
        )

    together = optimized(["a", "a", "b", "c"])
    # Whoever is alone in a group is what it would be alone, and a pair does not see the others.
    torch.testing.assert_close(optimized(["c"], range(3, 4))[0], together[3], rtol=0, atol=1e-9)
    torch.testing.assert_close(optimized([1, 1], range(2)), together[:2], rtol=0, atol=1e-9)
    assert not torch.allclose(optimized(["x", "y"], range(2)), together[:2], atol=1e-2)

    def likeness(images: torch.Tensor) -> float:
        return float(torch.corrcoef(coarse(images[:2]))[0, 1])

    assert likeness(together) > likeness(optimized(["x", "y"], range(2))) + 0.1


def test_the_shared_part_follows_the_gradients_of_all_its_rows():
    bound, parameters = start_of(SharedImage(PixelImage(), [0, 0, 1], divisors=(8,)), 3)
    parameters = {name: value.requires_grad_(True) for name, value in parameters.items()}
    weights = torch.randn(3, *SHAPE, dtype=torch.float64)
    shared = parameters["shared.divisor_8"]
    (gradient,) = torch.autograd.grad((bound.render(parameters) * weights).sum(), shared)
    torch.testing.assert_close(gradient[0], gradient[1])  # so copies that are alike stay alike
    each = [torch.autograd.grad((bound.render(parameters)[row] * weights[row]).sum(), shared)[0] for row in range(3)]
    torch.testing.assert_close(gradient[0], each[0][0] + each[1][0])
    assert float(each[0][2].abs().sum()) == 0


# --- alpha ---------------------------------------------------------------------------------------------------------------------------


def test_the_model_sees_an_alpha_image_over_another_background_at_each_step():
    seen: list[torch.Tensor] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen.append(x.detach().clone())
            return self.inner(x)

    optimization = InputOptimization(
        Watching(),
        ChannelActivation("inner.2", [1, 2]),
        parametrization=AlphaImage(),
        steps=3,
        lr=0.0,
        channels_last=False,
    )
    result = optimization.optimize(SHAPE)
    steps = [one for one in seen if len(one) == 2][-3:]
    assert result.images.shape == (2, 4, 16, 16)
    for step, one in enumerate(steps):
        behind = RandomStream(result.rows.keys, BACKGROUND, step)
        torch.testing.assert_close(one, BlendAlpha()(result.images, behind))
    assert not torch.allclose(steps[0], steps[1], atol=1e-2)
    # A finished picture is judged over gray.
    (outputs,) = optimization.outputs(result)
    gray = BlendAlpha(0.5)(result.images, None)
    expected = network()(gray)[[0, 1], [1, 2]].mean((1, 2))
    torch.testing.assert_close(-optimization.loss(outputs, result.images), expected)


def test_what_the_model_does_not_look_at_becomes_clear():
    """A network that looks at the left half alone: transparency is for the right one."""

    class LeftHalf(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x[:, 0, :, :8] - x[:, 2, :, :8]).mean((1, 2)).unsqueeze(1).unsqueeze(2)

    model = nn.Sequential(LeftHalf(), nn.Identity()).double()
    for loss in (
        Transparent(10 * ChannelActivation("1", [0])),
        10 * ChannelActivation("1", [0]) + MeanAlpha(),
    ):
        result = InputOptimization(model, loss, parametrization=AlphaImage(), steps=60, lr=0.1).optimize(SHAPE)
        alpha = result.images[0, 3]
        assert float(alpha[:, :7].mean()) > float(alpha[:, 9:].mean()) + 0.4
        assert float(alpha[:, 9:].mean()) < 0.35
        assert float(result.history["mean_alpha"][-1]) == pytest.approx(float(alpha.mean()), abs=0.05)


def test_alpha_starts_from_given_images_and_prototypes_can_have_it():
    images = 0.1 + 0.8 * torch.rand(2, *SHAPE, dtype=torch.float64)
    bound = AlphaImage().for_images(SHAPE, (0.0, 1.0))
    back = bound.render(bound.parameters_of(images))
    torch.testing.assert_close(back, torch.cat([images, torch.full_like(images[:, :1], 0.5)], 1))
    model = nn.Sequential(network(), nn.Flatten(), nn.Linear(400, 5).double())
    made = PrototypeGeneration(model).generate(
        [1, 2], SHAPE, steps=3, warmup_steps=1, parametrization=AlphaImage(), high_frequency_weight=0.0
    )
    assert made.images.shape == (2, 4, 16, 16)
    assert bool(made.logits.isfinite().all())


# --- a part of an image --------------------------------------------------------------------------------------------------------------


def test_outside_of_the_mask_a_given_image_stays():
    image = torch.rand(SHAPE, dtype=torch.float64)
    basis = MaskedImage(PixelImage(), image, MASK)
    result = InputOptimization(network(), ChannelActivation("2", [1, 2]), parametrization=basis, steps=5).optimize(
        SHAPE
    )
    inside = MASK.bool()
    assert torch.equal(result.images[0][:, ~inside], image[:, ~inside])
    assert not torch.allclose(result.images[0][:, inside], image[:, inside], atol=0.1)


# --- codes ---------------------------------------------------------------------------------------------------------------------------


def test_a_generator_comes_back_as_it_was_and_its_codes_stay_within_bounds():
    generator = decoder()
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    mean = torch.linspace(-1, 1, 6)
    basis = LatentImage(generator, (6,), mean=mean, bound=torch.full((6,), 0.25), sd=2.0)
    result = InputOptimization(
        network(), ChannelActivation("2", [1, 2, 3]), parametrization=basis, steps=10, lr=0.2
    ).optimize(SHAPE)
    assert generator.training
    assert all(parameter.requires_grad and parameter.grad is None for parameter in generator.parameters())
    assert all(torch.equal(before[name], value) for name, value in generator.state_dict().items())
    codes = result.parameters["codes"]
    assert float((codes - mean).abs().max()) <= 0.25 + 1e-12
    assert float(((codes - mean).abs() > 0.2499).double().mean()) > 0.3  # some are held back by it
    torch.testing.assert_close(result.images, generator.eval()(codes.double()).detach())
    free = LatentImage(generator, (6,), mean=mean, bound=None, sd=2.0)
    wide = InputOptimization(network(), ChannelActivation("2", 1), parametrization=free, steps=10, lr=0.2).optimize(
        SHAPE
    )
    assert float((wide.parameters["codes"] - mean).abs().max()) > 0.3
    unclamped = InputOptimization(
        network(), ChannelActivation("2", 1), parametrization=basis, steps=10, lr=0.2, clamp=False
    )
    assert float((unclamped.optimize(SHAPE).parameters["codes"] - mean).abs().max()) > 0.3


def test_codes_start_where_they_are_told():
    generator, z0 = decoder(), torch.linspace(-1, 1, 6)
    _, parameters = start_of(LatentImage(generator, (6,), z0=z0), 3)
    torch.testing.assert_close(parameters["codes"], z0.double().expand(3, -1))
    _, parameters = start_of(LatentImage(generator, (6,)), 2)
    assert float(parameters["codes"].std()) > 0.1
    other = LatentImage(seeded(Decoder, 1).double(), (6,))
    assert other.settings() != LatentImage(generator, (6,)).settings()
    read_back = LatentImage(generator, (6,), encoder=lambda images: images.flatten(1)[:, :6])
    images = torch.rand(2, *SHAPE, dtype=torch.float64)
    made = InputOptimization(network(), ChannelActivation("2", [1, 2]), parametrization=read_back, steps=0).optimize(
        start=images
    )
    torch.testing.assert_close(made.parameters["codes"], images.flatten(1)[:, :6])


def optimized(basis: Parametrization, count: int = 1, shape: tuple[int, ...] = SHAPE, start: Any = None) -> Any:
    loss = ChannelActivation("2", [1] * count)
    return InputOptimization(network(), loss, parametrization=basis, steps=1).optimize(shape, start=start)


def scaled(codes: torch.Tensor) -> torch.Tensor:
    return 2 * decoder().eval()(codes.double()) - 1


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LaplacianImage(scales=()), "scales is"),
        (lambda: LaplacianImage(scales=(0, 1)), "scales is"),
        (lambda: LaplacianImage(sd=0), "sd is 0"),
        (lambda: optimized(LaplacianImage((32,))), "none of which leaves a pixel of 16 x 16"),
        (lambda: optimized(LaplacianImage((4,)), start=torch.rand(1, *SHAPE)), "no layer of full resolution"),
        (lambda: CPPNImage(hidden=0), "hidden is 0"),
        (lambda: CPPNImage(activation="gelu"), "activation is 'gelu'.* expected one of composite"),
        (lambda: optimized(CPPNImage(), start=torch.rand(1, *SHAPE)), "CPPNImage cannot start from given images"),
        (lambda: StackImage([]), "there are 0 parametrizations"),
        (lambda: StackImage([FFTImage()], dim=2), "dim is 2"),
        (lambda: StackImage([AlphaImage()]), "cannot hold an AlphaImage"),
        (lambda: optimized(StackImage([FFTImage(), PixelImage()]), 3), "2 in all, and the batch has 3"),
        (lambda: optimized(StackImage([FFTImage(), PixelImage()], dim=1)), "2 in all, and images have 3"),
        (lambda: SharedImage(FFTImage(), []), "expected a group for each row"),
        (lambda: optimized(SharedImage(FFTImage(), [0, 0]), 3), "groups for 2 rows, and the batch has 3"),
        (lambda: optimized(AlphaImage(), shape=(4, 16, 16)), "adds the alpha channel itself to images of 1 or 3"),
        (lambda: AlphaImage(background="sky"), "background is 'sky'"),
        (lambda: AlphaImage(AlphaImage()), "cannot hold another"),
        (lambda: MaskedImage(FFTImage(), torch.rand(SHAPE), torch.rand(4, 4)), "image has shape"),
        (lambda: MaskedImage(FFTImage(), torch.rand(SHAPE), 2 * torch.ones(16, 16)), "the mask from 0 to 1"),
        (lambda: optimized(MaskedImage(FFTImage(), torch.rand(3, 8, 8), torch.rand(8, 8))), "has an image of shape"),
        (lambda: LatentImage(decoder(), ()), "code_shape is"),
        (lambda: LatentImage(decoder(), (6,), bound=-1.0), "bound is -1"),
        (lambda: LatentImage(decoder(), (6,), bound=torch.ones(5)), r"bound has shape \(5,\); expected that of a code"),
        (lambda: LatentImage(decoder(), (6,), z0=torch.full((6,), torch.nan)), "z0 is not finite"),
        (lambda: LatentImage(decoder(), (6,), sd=0.0), "sd is 0.0"),
        (lambda: optimized(LatentImage(lambda z: z, (6,))), r"generator returned shape \(1, 6\)"),
        (lambda: optimized(LatentImage(decoder(), (6,)), shape=(3, 8, 8)), r"expected images of shape \(1, 3, 8, 8\)"),
        (lambda: optimized(LatentImage(scaled, (6,))), "generator drew values from -0.* value_range"),
        (lambda: optimized(LatentImage(decoder(), (6,)), start=torch.rand(1, *SHAPE)), "has no encoder"),
        (
            lambda: optimized(LatentImage(decoder(), (6,), encoder=lambda x: x), start=torch.rand(1, *SHAPE)),
            "encoder returned shape",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: StackImage(["fourier"]), "parametrization is a str; expected one, such as FFTImage"),  # type: ignore[list-item]
        (lambda: LatentImage(3, (6,)), "generator is a int"),  # type: ignore[arg-type]
        (lambda: LatentImage(Decoder, (6,)), "generator is a type, the class Decoder itself"),
    ],
)
def test_wrong_types_are_told_in_a_sentence(make, sentence):
    with pytest.raises(TypeError, match=sentence):
        make()


def test_phases_can_be_stacked_with_others():
    images = optimized(StackImage([PhaseImage(), LaplacianImage()]), 2).images
    assert images.shape == (2, *SHAPE)
