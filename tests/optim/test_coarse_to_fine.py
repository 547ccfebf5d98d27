"""Frequencies that open while an optimization goes on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.experiments.options import generation_options
from captum_proto.optim import (
    AlphaImage,
    ChannelActivation,
    FFTImage,
    HighFrequency,
    InputOptimization,
    MaskedImage,
    Parametrization,
    PhaseImage,
    PixelImage,
    RandomAffine,
    RandomStream,
    SharedImage,
    StackImage,
    prototype_keys,
)
from captum_proto.optim.random import START

SHAPE = (3, 24, 16)
SPECTRAL: list[type[Any]] = [FFTImage, PhaseImage]


def started(parametrization: Parametrization, count: int = 2) -> tuple[Parametrization, dict[str, Tensor]]:
    made = parametrization.for_images(SHAPE, (0.0, 1.0))
    return made, made.start(RandomStream(prototype_keys(list(range(count)), [(1,)] * count), START), SHAPE)


def spectrum_of(images: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Of the planes before colors and sigmoid: each frequency in cycles a pixel, and its magnitude."""
    magnitudes = np.abs(np.fft.fft2(images.logit().numpy())).mean((0, 1))
    return np.hypot(np.fft.fftfreq(24)[:, None], np.fft.fftfreq(16)[None]), magnitudes


@pytest.mark.parametrize("kind", SPECTRAL)
def test_frequencies_open_from_the_lowest_on_and_then_all_are_what_they_are_without(kind):
    made, parameters = started(kind(decorrelate=False, coarse_to_fine=0.5))
    plain, _ = started(kind(decorrelate=False))
    whole = plain.render(parameters)
    _, full = spectrum_of(whole)
    open_at = []
    for progress in (0.0, 0.1, 0.2, 0.3, 0.4, 0.49):
        frequency, magnitude = spectrum_of(made.at(progress).render(parameters))
        share = magnitude / np.maximum(full, 1e-9)
        seen = (share > 1e-6) & (full > 1e-6)
        open_at.append(int(seen.sum()))
        reach = frequency[seen].max()
        assert bool((magnitude[frequency > reach + 1e-9] < 1e-6).all())  # nothing above what is open
        assert np.allclose(
            share[(frequency <= reach / 2) & seen], 1, atol=1e-6
        )  # an octave below it all is as it stays
    assert open_at == sorted(open_at)
    assert open_at[0] < 0.1 * full.size
    for progress in (0.5, 0.7, 1.0):
        assert torch.equal(made.at(progress).render(parameters), whole)
    assert torch.equal(made.render(parameters), whole)


@pytest.mark.parametrize("kind", SPECTRAL)
def test_what_is_not_open_has_no_gradient_and_does_not_move(kind):
    made, parameters = started(kind(coarse_to_fine=1.0))
    (name,) = parameters
    values = parameters[name].requires_grad_()
    (gradient,) = torch.autograd.grad(made.at(0.0).render({name: values}).square().sum(), values)
    moved = gradient.reshape(2, 3, 24, 9, -1).abs().sum((0, 1, 4)) > 0
    frequency = np.hypot(np.fft.fftfreq(24)[:, None], np.fft.rfftfreq(16)[None]) * 24
    assert bool(moved[torch.from_numpy(frequency >= 4)].logical_not().all())
    assert bool(moved[1, 0])
    assert bool(moved[0, 1])


@pytest.mark.parametrize(
    "wrap",
    [
        AlphaImage,
        lambda inner: MaskedImage(inner, torch.full(SHAPE, 0.5), torch.ones(SHAPE[1:])),
        lambda inner: StackImage([inner, PixelImage()]),
        lambda inner: SharedImage(inner, ["a", "b"]),
    ],
    ids=["AlphaImage", "MaskedImage", "StackImage", "SharedImage"],
)
def test_what_holds_a_parametrization_opens_with_it(wrap):
    made, parameters = started(wrap(FFTImage(sd=1.0, coarse_to_fine=0.5)))
    plain, _ = started(wrap(FFTImage(sd=1.0)))
    assert not torch.allclose(made.at(0.0).render(parameters)[:1], plain.render(parameters)[:1], atol=1e-3)
    for shown in (made.at(0.5), made):
        assert torch.equal(shown.render(parameters), plain.render(parameters))


def network() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 22 * 14, 5))
    ).double()


@pytest.mark.parametrize("kind", SPECTRAL)
def test_alone_is_in_a_batch_and_the_steps_are_those_of_what_is_shown(kind):
    options: dict[str, Any] = {
        "steps": 8,
        "lr": 0.1,
        "warmup_steps": 2,
        "high_frequency_weight": 0.0,
        "evaluation_draws": 0,
    }
    options |= {"transform": RandomAffine(20, fill="reflect"), "noise": 0.02, "optimizer": "nadam"}
    generation = PrototypeGeneration(network())
    made = generation.generate([1, 2, 1], SHAPE, **options, parametrization=kind(coarse_to_fine=0.5))
    for row, (target, seed) in enumerate(((1, 0), (2, 0), (1, 1))):
        alone = generation.generate(target, SHAPE, seed=seed, **options, parametrization=kind(coarse_to_fine=0.5))
        torch.testing.assert_close(alone.images, made.images[row : row + 1], rtol=0, atol=1e-9)
    plain = generation.generate([1, 2, 1], SHAPE, **options, parametrization=kind())
    assert not torch.allclose(made.images, plain.images, atol=1e-3)
    assert made.settings["parametrization"] == {**plain.settings["parametrization"], "coarse_to_fine": 0.5}
    assert "coarse_to_fine" not in json.dumps(plain.settings)


def test_the_high_frequencies_of_phases_stay_where_they_started_until_they_open():
    model, kind = network(), PhaseImage(coarse_to_fine=1.0)
    snapshots = (
        PrototypeGeneration(model)
        .generate(
            1, SHAPE, steps=4, warmup_steps=0, transform=None, parametrization=kind, snapshot_steps=(0, 1), lr=0.3
        )
        .snapshots
    )
    before, after = (kind.for_images(SHAPE, (0.0, 1.0)).parameters_of(snapshots[step])["phases"] for step in (0, 1))
    difference = torch.polar(torch.ones_like(before), before - after).sub(1).abs().amax((0, 1))
    closed = torch.from_numpy(np.hypot(np.fft.fftfreq(24)[:, None], np.fft.rfftfreq(16)[None]) * 24 >= 4)
    assert float(difference[closed].max()) < 0.02  # as far as an image within its range tells its phases
    assert float(difference[~closed].max()) > 0.1


def test_a_sweep_and_a_file_may_name_it():
    made = generation_options({"parametrization": {"name": "phase", "contrast": 0.7, "coarse_to_fine": 0.25}})
    assert made["parametrization"].settings()["coarse_to_fine"] == 0.25
    assert repr(made["parametrization"]).endswith("coarse_to_fine=0.25)")
    measured = PhaseImage.measured(torch.rand(3, 3, 8, 8), coarse_to_fine=0.5)
    assert measured.settings()["coarse_to_fine"] == 0.5


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
@pytest.mark.parametrize("kind", SPECTRAL)
def test_what_is_no_share_is_told_in_a_sentence(kind, value):
    with pytest.raises(ValueError, match=r"coarse_to_fine is .*; expected a share of the steps, from 0 to 1"):
        kind(coarse_to_fine=value)


# --- at half the size ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", SPECTRAL)
@pytest.mark.parametrize("size", [(22, 18), (26, 14)])
def test_at_half_the_size_every_second_pixel_of_what_has_no_higher_frequencies_is_shown(kind, size):
    made = kind(decorrelate=False, half_size=0.25).for_images((3, *size), (0.0, 1.0))
    parameters = made.start(RandomStream(prototype_keys([3, 4], [(1,)] * 2), START), (3, *size))
    height, width = size
    rows, columns = height // 2, width // 2
    whole = made.render(parameters)
    planes = torch.fft.fft2(colors_of(whole))
    near = np.abs(np.fft.fftfreq(height) * height)[:, None] < rows / 2
    near = near & (np.abs(np.fft.fftfreq(width) * width)[None] < columns / 2)
    lower = torch.fft.ifft2(planes * torch.from_numpy(near)).real
    shown = made.at(0.24).render(parameters)
    assert shown.shape == (2, 3, rows, columns)
    torch.testing.assert_close(colors_of(shown), lower[..., ::2, ::2], rtol=0, atol=1e-9)
    assert torch.equal(made.at(0.25).render(parameters), whole)


def colors_of(images: Tensor) -> Tensor:
    """What is squeezed into the range of an image."""
    return images.double().logit()


class Seen(nn.Module):
    """A network of any size that remembers the sizes it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.body = seeded(lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU()))
        self.head = seeded(lambda: nn.Linear(6, 5))
        self.sizes: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        self.sizes.append(x.shape[-2])
        return self.head(self.body(x).mean((2, 3)))


def test_the_network_sees_small_pictures_first_and_full_ones_come_back():
    model = Seen().double()
    options: dict[str, Any] = {"steps": 8, "warmup_steps": 2, "evaluation_draws": 2, "lr": 0.1}
    options |= {"transform": RandomAffine(20, fill="reflect"), "fold_batch_norm": False}
    generation, kind = PrototypeGeneration(model), PhaseImage(coarse_to_fine=0.5, half_size=0.5)
    made = generation.generate([1, 2], SHAPE, **options, parametrization=kind, snapshot_steps=(0, 3, 8))
    assert model.sizes.count(12) >= 6
    assert model.sizes[-7:] == [24] * 7  # four steps and what is recorded of what comes back
    assert made.images.shape == (2, *SHAPE)
    assert [snapshot.shape[1:] for snapshot in made.snapshots.values()] == [SHAPE] * 3
    assert torch.equal(made.snapshots[8], made.images)
    alone = generation.generate(2, SHAPE, **options, parametrization=kind)
    torch.testing.assert_close(alone.images, made.images[1:], rtol=0, atol=1e-9)
    assert made.settings["parametrization"]["half_size"] == 0.5
    folded = generation.generate([1, 2], SHAPE, **options | {"fold_batch_norm": True}, parametrization=kind)
    torch.testing.assert_close(folded.images, made.images, rtol=0, atol=1e-6)


def test_losses_of_layers_and_regularizers_take_both_sizes():
    loss = ChannelActivation("body.0", [1, 4]) + 0.1 * HighFrequency()
    optimization = InputOptimization(Seen().double(), loss, steps=6, lr=0.1, parametrization=FFTImage(half_size=0.5))
    result = optimization.optimize(SHAPE)
    assert result.images.shape == (2, *SHAPE)
    assert bool(result.history["loss"].isfinite().all())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: FFTImage(half_size=2.0), "half_size is 2.0; expected a share of the steps"),
        (lambda: FFTImage(half_size=0.5).for_images((3, 3, 8), (0.0, 1.0)), "images are 3 x 8; leave it out"),
        (lambda: StackImage([FFTImage(half_size=0.5)]), r"half_size=0.5\) cannot be a part of another"),
        (lambda: AlphaImage(PhaseImage(half_size=0.5)), "leave half_size out"),
        (
            lambda: PrototypeGeneration(network()).generate(1, SHAPE, steps=2, parametrization=FFTImage(half_size=0.5)),
            "the model does not take pictures of 12 x 8, which half_size shows it at first; leave half_size out",
        ),
    ],
)
def test_what_cannot_be_shown_at_half_the_size_is_told_in_a_sentence(make, sentence):
    with pytest.raises(ValueError, match=sentence):
        make()
