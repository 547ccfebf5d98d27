"""Parametrizations of images: pixels and the Fourier basis."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
import torch
from torch import nn

from captum_proto import PrototypeGeneration
from captum_proto.optim import FFTImage, Parametrization, PhaseImage, PixelImage, RandomStream, prototype_keys
from captum_proto.optim.inputs.parametrization import as_parametrization
from captum_proto.optim.random import START


def stream(count: int) -> RandomStream:
    return RandomStream(prototype_keys(list(range(count)), [(1,)] * count), START)


def noise(basis: Parametrization, random: RandomStream, shape, value_range=(0.0, 1.0)) -> dict[str, torch.Tensor]:
    """Random parameters of images."""
    return basis.for_images(shape, value_range).start(random, shape)


def rendered(basis: Parametrization, parameters, shape, value_range=(0.0, 1.0)) -> torch.Tensor:
    """The images that parameters stand for."""
    return basis.for_images(shape, value_range).render(parameters)


def by_numpy(parameters: torch.Tensor, height: int, width: int, decay_power: float) -> np.ndarray:
    """The images of Olah et al., from NumPy's Fourier transform: of one channel, so without colors."""
    z = parameters[..., 0].numpy() + 1j * parameters[..., 1].numpy()
    f = np.sqrt(np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2)
    planes = np.fft.irfft2(z / np.maximum(f, 1 / max(height, width)) ** decay_power, s=(height, width), norm="ortho")
    return 1 / (1 + np.exp(-planes / 4))


@pytest.mark.parametrize(("height", "width"), [(8, 8), (7, 9), (6, 5), (1, 4), (5, 1)])
@pytest.mark.parametrize("decay_power", [1.0, 1.5])
def test_fourier_images_are_numpys(height, width, decay_power):
    basis = FFTImage(decay_power, sd=1.0)
    parameters = noise(basis, stream(3), (1, height, width))
    images = rendered(basis, parameters, (1, height, width))
    np.testing.assert_allclose(
        images.numpy(), by_numpy(parameters["coefficients"], height, width, decay_power), atol=1e-12
    )


def test_fourier_colors_vary_together_as_those_of_natural_images():
    basis = FFTImage(sd=1.0)
    images = rendered(basis, noise(basis, stream(8), (3, 32, 32)), (3, 32, 32))
    plain = FFTImage(sd=1.0, decorrelate=False)
    gray = rendered(plain, noise(plain, stream(8), (3, 32, 32)), (3, 32, 32))

    def correlation(x):
        return np.corrcoef(x.logit().transpose(0, 1).flatten(1).numpy())

    # The covariance of the mixed channels is C C^T, with C of Olah et al.
    c = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    expected = c @ c.T / np.sqrt(np.outer(np.diag(c @ c.T), np.diag(c @ c.T)))
    np.testing.assert_allclose(correlation(images), expected, atol=0.06)
    np.testing.assert_allclose(correlation(gray), np.eye(3), atol=0.25)


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 7), (4, 8, 6), (3, 1, 1)])
@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-2.0, 3.0)])
def test_parameters_of_given_images_give_these_images(shape, value_range):
    low, high = value_range
    images = low + (high - low) * (0.05 + 0.9 * torch.rand(2, *shape, dtype=torch.float64))
    for parametrization in (FFTImage(), PixelImage()):
        bound = parametrization.for_images(shape, value_range)
        torch.testing.assert_close(bound.render(bound.parameters_of(images)), images, atol=1e-9, rtol=0)
        assert (parametrization.shape, parametrization.value_range) == ((), (0.0, 1.0))  # the original is as it was


def test_images_at_the_ends_of_the_range_come_back_nearly():
    images = torch.tensor([0.0, 1.0]).repeat(32).view(1, 1, 8, 8)
    basis = FFTImage().for_images((1, 8, 8), (0.0, 1.0))
    back = basis.render(basis.parameters_of(images))
    torch.testing.assert_close(back, images, atol=2e-3, rtol=0)


def test_normal_draws_are_normal_and_belong_to_their_prototype():
    draws = stream(4).normal(20_000)
    for row in draws:
        assert scipy.stats.kstest(row.numpy(), "norm").pvalue > 1e-4
    assert torch.equal(stream(1).normal(100), draws[:1, :100])
    assert bool(draws.isfinite().all())


def test_an_ascent_in_the_fourier_basis_stays_in_range_and_climbs():
    tiny = (3, 16, 16)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5)).double()
    generation = PrototypeGeneration(model)
    made = generation.generate(
        [1, 2],
        tiny,
        steps=30,
        warmup_steps=2,
        parametrization="fourier",
        value_range=(-1.0, 2.0),
        snapshot_steps=[0, 30],
    )
    assert made.images.shape == (2, *tiny)
    assert -1 <= float(made.images.min()) < float(made.images.max()) <= 2
    assert bool((made.history["logit"][-1] > made.history["logit"][0]).all())
    assert torch.equal(made.snapshots[30], made.images)
    assert made.settings["parametrization"] == FFTImage().settings()
    alone = generation.generate(
        [2], tiny, steps=30, warmup_steps=2, parametrization=FFTImage(), value_range=(-1.0, 2.0)
    )
    torch.testing.assert_close(alone.images[0], made.images[1], atol=1e-9, rtol=0)


def test_an_ascent_in_the_fourier_basis_starts_from_given_images():
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double()
    start = 0.1 + 0.8 * torch.rand(1, 3, 4, 4, dtype=torch.float64)
    made = PrototypeGeneration(model).generate(0, start=start, steps=0, warmup_steps=0, parametrization="fourier")
    torch.testing.assert_close(made.images, start, atol=1e-9, rtol=0)


def test_one_step_in_the_fourier_basis_is_adams_on_the_coefficients():
    torch.manual_seed(0)
    model, basis, shape = nn.Sequential(nn.Flatten(), nn.Linear(48, 2)).double(), FFTImage(sd=0.5), (3, 4, 4)
    made = PrototypeGeneration(model).generate(
        [1], shape, steps=2, warmup_steps=0, parametrization=basis, transform=None, high_frequency_weight=0.0, seed=3
    )
    parameters = noise(basis, RandomStream(prototype_keys([3], [(1,)]), START), shape)
    optimizer = torch.optim.Adam([parameters["coefficients"].requires_grad_()], lr=0.05)
    for _ in range(2):
        optimizer.zero_grad()
        (-model(rendered(basis, parameters, shape))[:, 1].sum()).backward()
        optimizer.step()
    torch.testing.assert_close(made.images, rendered(basis, parameters, shape).detach(), atol=1e-9, rtol=0)


def test_parametrizations_by_name_and_refusals():
    assert isinstance(as_parametrization("pixels"), PixelImage)
    assert isinstance(as_parametrization("fourier"), Parametrization)
    with pytest.raises(ValueError, match='parametrization is "wavelet"; expected one of pixels, fourier'):
        as_parametrization("wavelet")
    with pytest.raises(TypeError, match="parametrization is a int"):
        as_parametrization(3)
    with pytest.raises(TypeError, match="parametrization is a type, the class FFTImage itself; expected"):
        as_parametrization(FFTImage)
    with pytest.raises(ValueError, match="sd is 0"):
        FFTImage(sd=0)


# --- phases alone ----------------------------------------------------------------------------------------------------------------------


def magnitudes_of(images: torch.Tensor) -> np.ndarray:
    """The magnitudes of an image's planes before the sigmoid, of one channel."""
    return np.abs(np.fft.rfft2(images.logit().numpy(), norm="ortho"))


@pytest.mark.parametrize(("height", "width"), [(16, 16), (15, 12), (9, 13)])
def test_phases_leave_the_magnitudes_as_they_are(height, width):
    phases = PhaseImage(decay_power=1.3, contrast=0.6, brightness=0.4)
    images = [
        rendered(phases, noise(phases, stream(5), (1, height, width)), (1, height, width)),
        rendered(
            phases, {"phases": torch.zeros(1, 1, height, width // 2 + 1, dtype=torch.float64)}, (1, height, width)
        ),
    ]
    # Columns that stand for themselves alone have conjugate rows, of which a real image keeps only the symmetric part.
    own = slice(1, (width + 1) // 2)
    for one in images:
        np.testing.assert_allclose(
            magnitudes_of(one)[..., own], magnitudes_of(images[0])[:1, :, :, own].repeat(len(one), 0), rtol=1e-9
        )
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])[:, own]
    slope = np.polyfit(np.log(frequency.ravel()), np.log(magnitudes_of(images[0])[0, 0][:, own].ravel()), 1)[0]
    assert slope == pytest.approx(-1.3, abs=1e-6)


def test_contrast_and_brightness_are_those_of_the_planes():
    phases = PhaseImage(decay_power=1.0, contrast=0.6, brightness=0.4)
    parameters = noise(phases, stream(400), (1, 20, 28))
    planes = rendered(phases, parameters, (1, 20, 28)).logit()
    # Of the columns that stand for themselves alone a random phase keeps half the variance: with phases that suit, it is all there.
    suiting = torch.fft.rfft2(torch.rand(1, 1, 20, 28, dtype=torch.float64)).angle()
    spread = rendered(phases, {"phases": suiting}, (1, 20, 28)).logit().std(correction=0)
    assert float(spread) == pytest.approx(0.6, rel=1e-9)
    means = planes.mean(dim=(1, 2, 3))
    torch.testing.assert_close(means, 0.4 * parameters["phases"][:, 0, 0, 0].cos(), rtol=1e-9, atol=1e-12)
    assert float(means.abs().max()) <= 0.4
    dark = PhaseImage(contrast=0.6)
    assert float(rendered(dark, parameters, (1, 20, 28)).logit().mean(dim=(1, 2, 3)).abs().max()) < 1e-12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("half_size", [0.0, 0.5])
def test_fourier_coefficients_of_a_given_contrast(channels, half_size):
    """However large they grow, the planes deviate by the contrast about means within the brightness; their spectrum is as it was."""
    shape = (channels, 20, 28)
    free = FFTImage(sd=1.0, decorrelate=False, half_size=half_size)
    fixed = FFTImage(sd=1.0, decorrelate=False, contrast=0.6, brightness=0.4, half_size=half_size)
    for scale in (1e-6, 1.0, 50.0):
        parameters = {name: scale * values for name, values in noise(fixed, stream(6), shape).items()}
        planes, plain = ((rendered(each.at(0.0), parameters, shape)).logit() for each in (fixed, free))
        assert planes.shape[-1] == (14 if half_size else 28)
        deviations = (planes - planes.mean((2, 3), keepdim=True)).square().mean((1, 2, 3)).sqrt()
        torch.testing.assert_close(deviations, torch.full_like(deviations, 0.6), rtol=1e-6, atol=0)
        if scale == 1.0:  # else the sigmoid hides what it is compared with
            means = plain.mean((2, 3), keepdim=True)
            torch.testing.assert_close(planes.mean((2, 3), keepdim=True), 0.4 * (means / 0.4).tanh())
            ratio = (planes - planes.mean((2, 3), keepdim=True)) / (plain - means)
            torch.testing.assert_close(ratio, ratio[:, :1, :1, :1].expand_as(ratio))
    dark = FFTImage(sd=1.0, contrast=0.6)
    assert float(rendered(dark, noise(dark, stream(6), shape), shape).logit().mean((2, 3)).abs().max()) < 1e-12


def test_given_images_come_back_with_the_contrast_that_there_is():
    shape, images = (3, 16, 16), 0.3 + 0.4 * torch.rand(2, 3, 16, 16, dtype=torch.float64)
    fixed = FFTImage(contrast=0.6, brightness=2.0, decorrelate=False)
    again = rendered(fixed, fixed.parameters_of(images), shape).logit()
    planes = images.logit()
    torch.testing.assert_close(again.mean((2, 3)), planes.mean((2, 3)))
    a, b = (x - x.mean((2, 3), keepdim=True) for x in (again, planes))
    torch.testing.assert_close(a, b * 0.6 / b.square().mean((1, 2, 3), keepdim=True).sqrt())
    flat = torch.full((1, *shape), 0.5, dtype=torch.float64)
    torch.testing.assert_close(rendered(fixed, fixed.parameters_of(flat), shape), flat)


def test_measured_magnitudes_are_the_mean_over_images():
    images = 0.05 + 0.9 * torch.rand(7, 1, 10, 12, dtype=torch.float64)
    for given in (images, [images[:3], (images[3:],)]):
        measured = PhaseImage.measured(given)
        expected = np.abs(np.fft.rfft2(images.logit().numpy(), norm="ortho")).mean(0)
        np.testing.assert_allclose(measured.magnitudes.numpy(), expected, rtol=1e-9)
    assert PhaseImage.measured(images).settings() == PhaseImage.measured(images).settings()
    assert measured.settings() != PhaseImage.measured(images[:5]).settings()
    of_one = PhaseImage.measured(images[:1])
    again = rendered(of_one, of_one.parameters_of(images[:1]), (1, 10, 12))
    torch.testing.assert_close(again, images[:1])


def test_phases_of_three_colors_are_mixed_as_fourier_coefficients_are():
    images = 0.05 + 0.9 * torch.rand(1, 3, 8, 8, dtype=torch.float64)
    of_one = PhaseImage.measured(images)
    again = rendered(of_one, of_one.parameters_of(images), (3, 8, 8))
    torch.testing.assert_close(again, images)
    plain = PhaseImage.measured(images, decorrelate=False)
    assert not torch.allclose(plain.magnitudes, of_one.magnitudes)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: PhaseImage(contrast=0), "contrast is 0"),
        (lambda: FFTImage(contrast=0), "contrast is 0"),
        (lambda: FFTImage(contrast=1, brightness=-1), "brightness is -1"),
        (lambda: FFTImage(brightness=1), "brightness is 1, but contrast is None"),
        (lambda: PhaseImage(brightness=-1), "brightness is -1"),
        (lambda: PhaseImage(magnitudes=torch.rand(3, 4)), "magnitudes have shape"),
        (lambda: PhaseImage(magnitudes=-torch.ones(1, 4, 3)), "magnitudes have shape"),
        (lambda: PhaseImage.measured([torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 6)]), "images have the shapes"),
        (
            lambda: rendered(
                PhaseImage.measured(torch.rand(2, 1, 4, 4)), {"phases": torch.zeros(1, 1, 8, 5)}, (1, 8, 8)
            ),
            "measure them on images of this size",
        ),
    ],
)
def test_bad_magnitudes_are_refused(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()


def test_an_ascent_in_phases_raises_the_logit_and_keeps_the_magnitudes():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 5), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    ).double()
    phases = PhaseImage(contrast=0.8)
    made = PrototypeGeneration(model).generate(
        1, (1, 16, 16), steps=30, warmup_steps=0, transform=None, parametrization=phases, high_frequency_weight=0.0
    )
    history = made.history["logit"][:, 0]
    assert float(history[-1]) > float(history[0])
    random = RandomStream(prototype_keys([0], [(1,)]), START)
    start = rendered(phases, noise(phases, random, (1, 16, 16)), (1, 16, 16))
    np.testing.assert_allclose(magnitudes_of(made.images)[..., 1:8], magnitudes_of(start)[..., 1:8], rtol=1e-6)
