"""Similarities of maps against SciPy and scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from captum_proto.metrics.randomization import MapSimilarity, measures_for


@pytest.fixture(scope="module")
def maps() -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    first = torch.randn(3, 2, 56, 60, generator=random)
    return first, first + torch.randn(3, 2, 56, 60, generator=random)


def test_every_measure_is_that_of_the_library(maps: tuple[torch.Tensor, torch.Tensor]) -> None:
    feature, metrics = pytest.importorskip("skimage.feature"), pytest.importorskip("skimage.metrics")
    first, second = maps
    similarity = MapSimilarity(first)
    for shift, found in ((0, similarity.own(second)), (1, similarity.other(second))):
        for place in range(3):
            a, b = first[place], second[place - shift]
            signed = spearmanr(a.flatten(), b.flatten()).statistic
            unsigned = spearmanr(a.abs().flatten(), b.abs().flatten()).statistic
            assert float(found["spearman"][place]) == pytest.approx(signed, abs=1e-12)
            assert float(found["spearman_abs"][place]) == pytest.approx(unsigned, abs=1e-12)
            pictures = [(m := each.double().abs().sum(0).numpy()) / m.max() for each in (a, b)]
            options = {"data_range": 1.0, "gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
            assert float(found["ssim"][place]) == pytest.approx(metrics.structural_similarity(*pictures, **options))
            histograms = [feature.hog(picture, pixels_per_cell=(16, 16)) for picture in pictures]
            assert float(found["hog"][place]) == pytest.approx(spearmanr(*histograms).statistic, abs=1e-12)


def test_a_map_is_exactly_like_itself(maps: tuple[torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("skimage")
    assert all(bool((values == 1).all()) for values in MapSimilarity(maps[0]).own(maps[0]).values())


def test_constant_maps_have_no_similarity(maps: tuple[torch.Tensor, torch.Tensor]) -> None:
    pytest.importorskip("skimage")
    first, second = maps[0].clone(), maps[1].clone()
    first[0], second[1] = 0.0, 0.5
    second[2, 0, 0, 0] = math.nan
    for values in MapSimilarity(first).own(second).values():
        assert values.isnan().all()
    ties = MapSimilarity(torch.tensor([[0.0, 0.0, 1.0, 2.0]]), "spearman").own(torch.tensor([[0.0, 3.0, 3.0, 4.0]]))
    assert float(ties["spearman"]) == pytest.approx(spearmanr([0, 0, 1, 2], [0, 3, 3, 4]).statistic)


def test_several_maps_of_an_input_are_ranked_together() -> None:
    a, b = torch.randn(2, 5), torch.randn(2, 7)
    together = MapSimilarity((a, b), "spearman").own((b[:, :5], torch.cat([a, b[:, 5:]], 1)))["spearman"]
    expected = spearmanr(np.r_[a[0], b[0]], np.r_[b[0, :5], a[0], b[0, 5:]]).statistic
    assert float(together[0]) == pytest.approx(expected)


def test_bad_input_is_a_sentence() -> None:
    small = torch.rand(2, 1, 8, 8)
    assert measures_for((8, 8)) == ("spearman_abs", "spearman")
    assert measures_for((20, 99)) == ("spearman_abs", "spearman", "ssim")
    with pytest.raises(ValueError, match='there is no similarity "spearmn"; did you mean "spearman'):
        MapSimilarity(small, ["spearmn"])
    with pytest.raises(ValueError, match="similarity is empty"):
        MapSimilarity(small, [])
    with pytest.raises(ValueError, match=r"maps of 8 by 8; ssim looks at no less than 11 pixels a side"):
        MapSimilarity(small, ["ssim"])
    with pytest.raises(ValueError, match=r"shape \(2, 64\); hog looks at maps \(N, C, H, W\)"):
        MapSimilarity(small.flatten(1), ["hog"])
    with pytest.raises(ValueError, match=r"returned shape \(2, 1, 8, 7\), and \(2, 1, 8, 8\) before"):
        MapSimilarity(small, "spearman").own(small[..., :7])
    alone = MapSimilarity(small[:1], "spearman")
    assert bool(alone.other(small[:1])["spearman"].isnan().all())
