"""Where the optimum is known: linear and quadratic networks, and what a Fourier parametrization makes of a gradient."""

from __future__ import annotations

import math

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto.optim import (
    START,
    ChannelActivation,
    Direction,
    FFTImage,
    InputOptimization,
    Loss,
    Outputs,
    RandomStream,
    prototype_keys,
    random_directions,
)

SHAPE = (3, 8, 8)


class Linear(nn.Module):
    """Four channels without positions: one w · x each, through a layer of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.units = nn.Linear(math.prod(SHAPE), 4, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.units(x.flatten(1))


@pytest.mark.parametrize(("parametrization", "lr", "share"), [("pixels", 0.1, 0.999), ("fourier", 1.0, 0.9)])
def test_the_optimum_of_a_linear_network_is_the_sign_of_its_weights(
    parametrization: str, lr: float, share: float
) -> None:
    """A sigmoid keeps Fourier coefficients' pixels in their range: those driven the wrong way by their neighbors are slow to come back."""
    model = seeded(Linear).double()
    options = {"steps": 200, "lr": lr, "value_range": (-1.0, 1.0), "parametrization": parametrization}
    images = InputOptimization(model, ChannelActivation("units", range(4)), **options).optimize(SHAPE).images
    assert float(images.abs().max()) <= 1
    best = model.units.weight.abs().sum(1)  # of w · x under |x| <= 1, by Hölder
    reached = model(images).diagonal() / best
    assert bool((reached >= share).all()), reached
    assert bool((reached <= 1 + 1e-12).all())


def test_the_optimum_in_a_direction_is_that_of_its_own_weights() -> None:
    model, directions = seeded(Linear).double(), random_directions(5, 4, seed=2).double()
    images = InputOptimization(
        model, Direction("units", directions), steps=100, lr=0.1, value_range=(-1.0, 1.0)
    ).optimize(SHAPE).images  # fmt: skip
    best = (directions @ model.units.weight).abs().sum(1)
    reached = (model(images) * directions).sum(1) / best
    assert bool((reached >= 0.999).all())


def jacobian(basis: FFTImage, parameters: dict[str, Tensor]) -> Tensor:
    """(1, *image, 1, *coefficients) of one image."""
    return torch.autograd.functional.jacobian(
        lambda z: basis.render({"coefficients": z}), parameters["coefficients"], vectorize=True
    )


@pytest.mark.parametrize("decorrelate", [True, False])
def test_the_gradient_by_coefficients_is_the_jacobians_transpose_times_the_gradient_by_pixels(
    decorrelate: bool,
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 3)).double()
    basis = FFTImage(decorrelate=decorrelate, sd=0.3).for_images(SHAPE, (0.0, 1.0))
    start = basis.start(RandomStream(prototype_keys([3], [()]), START), SHAPE)["coefficients"].double()
    z = start.clone().requires_grad_()
    images = basis.render({"coefficients": z})
    (by_coefficients,) = torch.autograd.grad(model(images)[0, 2].mean(), z)
    pixels = images.detach().requires_grad_()
    (by_pixels,) = torch.autograd.grad(model(pixels)[0, 2].mean(), pixels)
    matrix = jacobian(basis, {"coefficients": start}).reshape(pixels.numel(), z.numel())
    expected = (matrix.T @ by_pixels.flatten()).view_as(z)
    assert float((by_coefficients - expected).norm() / expected.norm()) < 1e-6
    # The same by central differences, which know nothing of derivatives.
    step, some = 1e-5, torch.randperm(z.numel())[:12]
    for index in some.tolist():
        there = torch.zeros(z.numel(), dtype=torch.float64)
        there[index] = step
        ahead, behind = (basis.render({"coefficients": start + sign * there.view_as(z)}) for sign in (1, -1))
        with torch.no_grad():
            slope = float((model(ahead)[0, 2].mean() - model(behind)[0, 2].mean()) / (2 * step))
        assert slope == pytest.approx(float(by_coefficients.flatten()[index]), rel=1e-5, abs=1e-9)


def test_the_engine_steps_against_that_very_gradient() -> None:
    """Adam's first step is lr · g / (|g| + eps)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.Tanh(), nn.Conv2d(5, 4, 3)).double()
    basis = FFTImage(sd=0.3).for_images(SHAPE, (0.0, 1.0))
    start = torch.rand(1, *SHAPE, dtype=torch.float64) * 0.5 + 0.25
    z = basis.parameters_of(start)["coefficients"].requires_grad_()
    (gradient,) = torch.autograd.grad(-model(basis.render({"coefficients": z}))[0, 2].mean(), z)
    expected = basis.render({"coefficients": (z - 0.05 * gradient / (gradient.abs() + 1e-8)).detach()})
    made = InputOptimization(model, ChannelActivation("2", 2), steps=1, parametrization=FFTImage(sd=0.3)).optimize(
        start=start
    )
    torch.testing.assert_close(made.images, expected, rtol=0, atol=1e-9)


class Distance(Loss):
    """A bowl with its lowest point at an image that both parametrizations can show: (x - m)ᵀ A (x - m)."""

    layers = ("bowl",)

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs["bowl"].square().sum(1)


class Bowl(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bowl = nn.Linear(math.prod(SHAPE), math.prod(SHAPE))
        size = math.prod(SHAPE)
        with torch.no_grad():
            rotation = torch.linalg.qr(torch.randn(size, size)).Q
            self.bowl.weight.copy_(torch.linspace(0.7, 1.4, size).sqrt().unsqueeze(1) * rotation)
            self.lowest = torch.rand(size) * 0.6 + 0.2
            self.bowl.bias.copy_(-self.bowl.weight @ self.lowest)

    def forward(self, x: Tensor) -> Tensor:
        return self.bowl(x.flatten(1))


def test_pixels_and_fourier_coefficients_go_to_the_same_minimizer_of_a_quadratic_network() -> None:
    model = seeded(Bowl).double()
    made = {
        name: InputOptimization(
            model, Distance(), steps=steps, lr=lr, parametrization=name, lr_schedule="cosine"
        ).optimize(SHAPE).images[0]
        for name, steps, lr in (("pixels", 200, 0.05), ("fourier", 500, 0.7))
    }  # fmt: skip
    lowest = torch.linalg.solve(model.bowl.weight, -model.bowl.bias).detach().view(SHAPE)
    for name, image in made.items():
        assert float((image - lowest).abs().max()) < 1e-3, name
    assert float((made["pixels"] - made["fourier"]).abs().max()) < 1e-3
