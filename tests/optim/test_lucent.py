"""Our Fourier images and transforms beside those of Lucent 0.1.8, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from captum_proto import PRESETS, PrototypeGeneration
from captum_proto.optim import FFTImage, RandomStream, prototype_keys
from captum_proto.optim.random import START, TRANSFORM

lucent_param = pytest.importorskip("lucent.optvis.param", reason="the extra [bench] brings Lucent")
lucent_transform = pytest.importorskip("lucent.optvis.transform")


def test_equal_coefficients_make_equal_images():
    torch.manual_seed(0)
    (coefficients,), image = lucent_param.image(32, 24, batch=2)
    with torch.no_grad():
        coefficients.mul_(100)  # at the start an image is gray
    ours = FFTImage().for_images((3, 24, 32), (0.0, 1.0)).render({"coefficients": coefficients.detach().cpu()})
    torch.testing.assert_close(ours, image().detach().cpu(), rtol=1e-4, atol=1e-5)


def statistics(images: torch.Tensor) -> np.ndarray:
    """Mean and spread of each color, how colors vary together, and how much there is in three bands of frequency."""
    array = images.detach().cpu().double().numpy()
    colors = array.transpose(1, 0, 2, 3).reshape(3, -1)
    power = np.abs(np.fft.fft2(array - array.mean((2, 3), keepdims=True))) ** 2
    frequency = np.hypot(np.fft.fftfreq(array.shape[2])[:, None], np.fft.fftfreq(array.shape[3])[None])
    bands = [
        power[..., (frequency > low) & (frequency <= high)].mean() for low, high in ((0, 0.06), (0.06, 0.2), (0.2, 0.8))
    ]
    correlation = np.corrcoef(colors)[np.triu_indices(3, 1)]
    return np.concatenate([colors.mean(1), colors.std(1), correlation, np.log(bands)])


def test_the_start_has_equal_statistics():
    torch.manual_seed(0)
    theirs = lucent_param.image(64, batch=64, sd=1.0)[1]()
    basis = FFTImage(sd=1.0).for_images((3, 64, 64), (0.0, 1.0))
    keys = prototype_keys(list(range(64)), [(1,)] * 64)
    ours = basis.render(basis.start(RandomStream(keys, START), (3, 64, 64)))
    np.testing.assert_allclose(statistics(ours), statistics(theirs), atol=0.04)


def test_transforms_treat_images_alike():
    torch.manual_seed(0)
    np.random.seed(0)  # noqa: NPY002  # Lucent's own generator
    image = lucent_param.image(128, batch=1, sd=1.0)[1]().detach()
    compose = lucent_transform.compose(lucent_transform.standard_transforms.copy())
    theirs = []
    for _ in range(64):
        made = compose(image.clone())
        top, left = (made.shape[2] - 128) // 2, (made.shape[3] - 128) // 2
        theirs.append(made[..., top : top + 128, left : left + 128].cpu())
    transform = PRESETS["feature_visualization"]["transform"]
    keys = prototype_keys(list(range(64)), [(1,)] * 64)
    ours = transform(image.cpu().expand(64, -1, -1, -1), RandomStream(keys, TRANSFORM))
    np.testing.assert_allclose(statistics(ours), statistics(torch.cat(theirs)), atol=0.12)


def test_an_ascent_ends_in_images_of_equal_statistics():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 7, stride=2),
        nn.ReLU(),
        nn.Conv2d(16, 16, 5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, 4),
    ).eval()
    count, steps = 12, 48
    np.random.seed(0)  # noqa: NPY002  # Lucent's own generator
    parameters, image = lucent_param.image(48, batch=count)
    compose = lucent_transform.compose(lucent_transform.standard_transforms.copy())
    optimizer = torch.optim.Adam(parameters, lr=5e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        (-model(compose(image()).cpu())[:, 2].sum()).backward()
        optimizer.step()
    transform = PRESETS["feature_visualization"]["transform"].transform  # with the frame, as Lucent's network sees it
    options = {**PRESETS["feature_visualization"], "steps": steps, "transform": transform}
    ours = PrototypeGeneration(model).generate([2] * count, (3, 48, 48), **options)
    with torch.no_grad():
        theirs = image()
        logits, gray = model(theirs.cpu())[:, 2], model(torch.full((1, 3, 48, 48), 0.5))[0, 2]
    assert abs(float(ours.logits.mean() - logits.mean())) < 0.15 * float(logits.mean() - gray)
    spread = np.std([statistics(theirs[i : i + 4]) for i in range(0, count, 4)], axis=0)
    difference = np.abs(statistics(ours.images) - statistics(theirs))
    assert (difference < 4 * spread + 0.06).all(), (difference, spread)
