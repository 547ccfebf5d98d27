"""Pairwise similarity against NumPy and SciPy, pair by pair."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto import capture
from captum_proto.metrics import pairwise_similarity
from captum_proto.metrics.pairwise import diversity_table


def test_every_pair_in_both_spaces(make_cnn, make_images, untouched):
    model, images = make_cnn(), make_images(4)

    def preprocess(x: Tensor) -> Tensor:
        return (x - 0.4) / 0.2

    with untouched(model):
        result = pairwise_similarity(images, model, ["stem", "block", "head"], preprocess)
    assert list(result.gram) == ["stem", "block", "head"]
    outputs = capture(model, images, ["stem", "block", "head"], preprocess=preprocess)
    pixels = images.double().flatten(1).numpy()
    for i in range(4):
        for j in range(4):
            assert float(result.difference[i, j]) == pytest.approx(np.abs(pixels[i] - pixels[j]).mean())
            assert float(result.correlation[i, j]) == pytest.approx(np.corrcoef(pixels[i], pixels[j])[0, 1])
            for name, values in result.gram.items():
                a, b = (outputs[name][k].double().numpy() for k in (i, j))
                a, b = a.reshape(len(a), -1), b.reshape(len(b), -1)  # a row for each channel
                g, h = a @ a.T, b @ b.T
                assert float(values[i, j]) == pytest.approx((g * h).sum() / np.linalg.norm(g) / np.linalg.norm(h))
    assert all(
        values.dtype == torch.float64 for values in (result.difference, result.correlation, *result.gram.values())
    )
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    summary = result.summary()
    assert list(summary) == ["pixel difference", "pixel correlation", "Gram stem", "Gram block", "Gram head"]
    assert summary["Gram block"] == pytest.approx(np.mean([float(result.gram["block"][pair]) for pair in pairs]))
    assert summary["pixel difference"] == pytest.approx(np.mean([float(result.difference[pair]) for pair in pairs]))
    assert f"{summary['Gram block']:.3f}" in result.table()
    assert "two of them" in diversity_table({"two of them": result})


def test_gram_matrices_do_not_care_where_things_are():
    model = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.Tanh(), nn.Flatten())
    image = torch.rand(1, 1, 6, 6)
    result = pairwise_similarity(torch.cat([image, image.roll((2, 3), (2, 3))]), model, "1")
    assert float(result.gram["1"][0, 1]) == pytest.approx(1, abs=1e-6)
    assert float(result.correlation[0, 1]) < 0.9
    assert float(result.difference[0, 1]) > 0.05


def test_channels_of_tokens_come_last():
    model = seeded(lambda: nn.Sequential(nn.Flatten(2), nn.Linear(16, 5)))  # (N, 3 tokens, 5 channels)
    images = torch.rand(2, 3, 4, 4)
    tokens = capture(model, images, "1")["1"].double()
    for axis, grams in ((None, tokens.mT @ tokens), (1, tokens @ tokens.mT)):
        result = pairwise_similarity(images, model, "1", channel_axis=axis)
        expected = (grams[0] * grams[1]).sum() / (grams[0].norm() * grams[1].norm())
        torch.testing.assert_close(result.gram["1"][0, 1], expected)


def test_pixels_alone_and_what_makes_no_sense(make_cnn, make_images):
    images = make_images(2)
    assert pairwise_similarity(images).gram == {}
    assert pairwise_similarity(images - 5, value_range=None).summary() == pytest.approx(
        pairwise_similarity(images).summary(), abs=1e-5
    )
    with pytest.raises(ValueError, match="layers were given without a model"):
        pairwise_similarity(images, layers="block")
    with pytest.raises(ValueError, match="expected \\[0, 1\\]"):
        pairwise_similarity(images * 3)
    with pytest.raises(ValueError, match='no layer "blok"'):
        pairwise_similarity(images, make_cnn(), "blok")
    with pytest.raises(ValueError, match="there is one image, and no pair"):
        pairwise_similarity(images[:1]).summary()
    constant = pairwise_similarity(torch.stack([images[0], torch.full_like(images[0], 0.5)]))
    assert bool(constant.correlation[0, 1].isnan())
    assert np.isnan(constant.summary()["pixel correlation"])
