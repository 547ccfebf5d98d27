"""Penalties against formulas written out with NumPy and SciPy, and what they do to pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import seeded
from scipy import ndimage
from torch import nn

from captum_proto.optim import (
    L1,
    L2,
    Blur,
    BoundaryComplexity,
    ChannelActivation,
    InputOptimization,
    MeanAlpha,
    Outputs,
    TotalVariation,
    Transparent,
    prototype_keys,
)
from captum_proto.optim.loss import Rows


def outputs_of(count: int, **layers: torch.Tensor) -> Outputs:
    return Outputs(None, layers, Rows(range(count), [()] * count, prototype_keys(list(range(count)), [()] * count)))


def images_of(count: int, height: int = 9, width: int = 7, channels: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, height, width, generator=generator, dtype=torch.float64)


def mean_over_what_there_is(plane: np.ndarray, size: int) -> np.ndarray:
    """A weighted mean over size x size pixels, the outermost counting half, over those that lie within the image."""
    kernel = np.full((size, size), 0.5)
    kernel[1:-1, 1:-1] = 1
    return ndimage.correlate(plane, kernel, mode="constant") / ndimage.correlate(
        np.ones_like(plane), kernel, mode="constant"
    )


def boundary(image: np.ndarray, width: int, constant: float) -> float:
    total = 0.0
    for plane in image:
        blurred = mean_over_what_there_is(plane, 5)
        for y, x in np.ndindex(plane.shape):
            if min(y, x, plane.shape[0] - 1 - y, plane.shape[1] - 1 - x) < width:
                total += (blurred[y, x] - plane[y, x]) ** 2 + 0.8 * (plane[y, x] - constant) ** 2
    return total


FORMULAS = [
    (L1(), lambda x: np.abs(x - 0.5).sum()),
    (L1(0.2), lambda x: np.abs(x - 0.2).sum()),
    (L2(0.3, epsilon=0.01), lambda x: np.sqrt(0.01 + ((x - 0.3) ** 2).sum())),
    (TotalVariation(), lambda x: np.abs(np.diff(x, axis=1)).sum() + np.abs(np.diff(x, axis=2)).sum()),
    (Blur(), lambda x: 0.5 * sum(((plane - mean_over_what_there_is(plane, 3)) ** 2).sum() for plane in x)),
    (BoundaryComplexity(2, 0.4), lambda x: boundary(x, 2, 0.4)),
    (BoundaryComplexity(20), lambda x: boundary(x, 20, 0.5)),
]


@pytest.mark.parametrize(("loss", "formula"), FORMULAS, ids=lambda each: getattr(each, "terms", ("",))[0])
def test_penalties_are_their_formulas_row_by_row(loss, formula):
    images = images_of(4).requires_grad_(True)
    outputs = outputs_of(4)
    values = loss(outputs, images)
    np.testing.assert_allclose(
        values.detach().numpy(), [formula(image) for image in images.detach().numpy()], rtol=1e-12
    )
    assert torch.equal(outputs.terms[loss.terms[0]], values.detach())
    assert not outputs.used  # a penalty of images needs nothing of the model
    (gradient,) = torch.autograd.grad(values[1], images)
    assert float(gradient[1].abs().sum()) > 0
    assert float(gradient[[0, 2, 3]].abs().sum()) == 0
    # The same of a layer.
    of_layer = type(loss)(**{name: value for name, value in loss.settings().items() if name != "name"}, layer="conv")
    torch.testing.assert_close(of_layer(outputs_of(4, conv=images), images[:, :1]), values)
    assert of_layer.settings() == loss.settings() | {"layer": "conv"}


def test_closed_forms_of_torch():
    images = images_of(2).requires_grad_(True)
    l1, l2 = (nn.L1Loss(reduction="sum"), nn.MSELoss(reduction="sum"))
    gray = torch.full_like(images, 0.5)
    torch.testing.assert_close(L1()(outputs_of(2), images).sum(), l1(images, gray))
    torch.testing.assert_close(L2(epsilon=1e-12)(outputs_of(1), images[:1]).square(), l2(images[:1], gray[:1])[None])
    # A step down the blur penalty goes straight to the blurred image: the blurred one counts as constant.
    (gradient,) = torch.autograd.grad(Blur()(outputs_of(2), images).sum(), images)
    blurred = np.stack([[mean_over_what_there_is(plane, 3) for plane in image] for image in images.detach().numpy()])
    np.testing.assert_allclose((images - gradient).detach().numpy(), blurred, atol=1e-12)
    flat = torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    for loss in (L1(), TotalVariation(), Blur(), BoundaryComplexity(3)):
        assert float(loss(outputs_of(1), flat)) == pytest.approx(0, abs=1e-12)


def high_frequency_share(images: torch.Tensor) -> float:
    """How much of the power is above a quarter of the sampling rate."""
    power = np.abs(np.fft.fft2((images - images.mean((2, 3), keepdim=True)).numpy())) ** 2
    frequency = np.hypot(np.fft.fftfreq(images.shape[2])[:, None], np.fft.fftfreq(images.shape[3])[None])
    return float(power[..., frequency > 0.25].sum() / power.sum())


@pytest.mark.parametrize(("penalty", "weight"), [(TotalVariation(), 0.003), (Blur(), 0.01)])
def test_penalties_take_high_frequencies_out_of_pictures(penalty, weight):
    model = seeded(lambda: nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 6, 5))).double()
    shares, activations = {}, {}
    for name, loss in {"with": weight * penalty, "without": 0 * penalty}.items():
        result = InputOptimization(model, ChannelActivation("2", range(6)) + loss, steps=40).optimize((3, 20, 20))
        shares[name] = high_frequency_share(result.images)
        activations[name] = result.history["activation"][[0, -1]]
    assert shares["with"] < 0.7 * shares["without"]
    # Still pictures of the channels, not gray.
    assert bool((activations["with"][1] > activations["with"][0]).all())


def test_transparency():
    images = images_of(3, channels=4)
    alpha = images[:, 3].mean((1, 2))
    torch.testing.assert_close(MeanAlpha()(outputs_of(3), images), alpha)
    values = torch.rand(3, 2, 5, 5, dtype=torch.float64, requires_grad=True)
    objective = ChannelActivation("conv", [1, 0, 1])
    outputs = outputs_of(3, conv=values)
    torch.testing.assert_close(
        Transparent(objective)(outputs, images), (1 - alpha) * -values[[0, 1, 2], [1, 0, 1]].mean((1, 2))
    )
    assert set(outputs.terms) == {"activation", "mean_alpha"}
    part = Transparent(objective).rows(range(1, 3))
    assert part.targets == [(0,), (1,)]
    assert part.settings()["objective"]["channels"] == [0, 1]


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: L2(epsilon=0.0), "epsilon is 0.0; expected a positive number"),
        (lambda: BoundaryComplexity(0), "width is 0"),
        (
            lambda: TotalVariation("fc")(outputs_of(2, fc=torch.rand(2, 5, requires_grad=True)), images_of(2)),
            r"TotalVariation got values of shape \(2, 5\)",
        ),
        (
            lambda: MeanAlpha()(outputs_of(2), images_of(2)),
            "without an alpha channel; choose the parametrization AlphaImage",
        ),
    ],
)
def test_bad_input_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
