"""Templates in pictures: against scikit-image, NumPy and a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from captum_proto.metrics.template_match import mask_contrast, template_correlation

MASK = torch.tensor([[0, 1, 0], [1, 1, 1], [0, 1, 1]], dtype=torch.bool)


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(3, 3, 9, 12, generator=torch.Generator().manual_seed(0))


def test_one_channel_against_scikit_image(images: torch.Tensor) -> None:
    feature = pytest.importorskip("skimage.feature")
    template = torch.rand(1, 4, 3, generator=torch.Generator().manual_seed(1))
    found = template_correlation(images[:, :1], template)
    expected = [feature.match_template(image[0].numpy(), template[0].numpy()).max() for image in images]
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_colors_against_numpy(images: torch.Tensor) -> None:
    template = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1))
    windows = images.unfold(2, 4, 1).unfold(3, 5, 1).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2).numpy()
    expected = [max(np.corrcoef(window, template.flatten())[0, 1] for window in each) for each in windows]
    np.testing.assert_allclose(template_correlation(images, template).numpy(), expected, atol=1e-5)


def test_the_contrast_of_a_mask_is_a_squared_correlation(images: torch.Tensor) -> None:
    """Of one channel, at every place: whichever of both sides is lighter."""
    windows = images[:, 0].unfold(1, 3, 1).unfold(2, 3, 1).flatten(3).flatten(1, 2).numpy()
    mask = MASK.flatten().numpy().astype(float)
    expected = [max(np.corrcoef(window, mask)[0, 1] ** 2 for window in each) for each in windows]
    np.testing.assert_allclose(mask_contrast(images[:, :1], MASK).numpy(), expected, atol=1e-5)


def test_any_two_colors_will_do(images: torch.Tensor) -> None:
    dark, light = torch.tensor([0.1, 0.5, 0.2]).view(3, 1, 1), torch.tensor([0.9, 0.4, 0.3]).view(3, 1, 1)
    for inside, outside in ((dark, light), (light, dark)):
        images[0, :, 2:5, 6:9] = torch.where(MASK, inside, outside)
        assert float(mask_contrast(images[:1], MASK)) == pytest.approx(1, abs=1e-6)
    assert float(mask_contrast(images[1:2], MASK)) < 0.9


def test_flat_windows_and_what_does_not_fit(images: torch.Tensor) -> None:
    flat = torch.full((1, 3, 9, 12), 0.3)
    assert float(mask_contrast(flat, MASK)) == 0
    assert float(template_correlation(flat, images[0, :, :4, :4])) == 0
    with pytest.raises(ValueError, match="does not fit"):
        template_correlation(images, images[0, :, :9, :4].repeat(1, 2, 1))
    with pytest.raises(ValueError, match="does not fit"):
        template_correlation(images, images[0, :1, :4, :4])
    with pytest.raises(ValueError, match="one value everywhere"):
        template_correlation(images, torch.ones(3, 2, 2))
    with pytest.raises(ValueError, match="some in it and some around it"):
        mask_contrast(images, torch.ones(2, 2, dtype=torch.bool))
