"""What a layer makes of images is what a hook sees, its channels in front, and pooled as asked."""

from __future__ import annotations

import pytest
import torch
from networks import SmallCNN
from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.models import LayerActivations, NamedModel, PooledFeatures, load_model


class Tokens(nn.Module):
    """Patches as tokens: (N, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 5, 4, stride=4)
        self.norm = nn.LayerNorm(5)
        self.head = nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.patches(x).flatten(2).transpose(1, 2))
        logits: Tensor = self.head(tokens.mean(1))
        return logits


def test_it_is_what_the_layer_returns_in_batches_of_any_size(make_cnn, make_images, untouched):
    model: SmallCNN = make_cnn()
    images = make_images(5)
    with torch.no_grad():
        expected = model.stem(images * 2)
    with untouched(model):
        found = LayerActivations(model, "stem", lambda x: x * 2, batch_size=2)(images)
    assert torch.allclose(found, expected.flatten(2), atol=1e-6)
    assert not found.requires_grad


def test_calls_of_a_layer_are_told_apart(make_cnn, make_images):
    model, images = make_cnn(), make_images(3)
    with torch.no_grad():
        first = model.stem(images).relu().flatten(2)
    assert torch.allclose(LayerActivations(model, "relu#0")(images), first, atol=1e-6)
    assert not torch.allclose(LayerActivations(model, "relu")(images), first, atol=1e-2)


def test_tokens_are_positions(make_images):
    model, images = Tokens().eval(), make_images(3)
    values = LayerActivations(model, "norm")(images)
    assert values.shape == (3, 5, 9)
    assert torch.allclose(PooledFeatures(model, "norm")(images), values.mean(-1))
    assert torch.allclose(PooledFeatures(model, "norm", pool="max")(images), values.amax(-1))
    by_token = LayerActivations(model, "norm", channel_axis=1)(images)
    assert torch.equal(by_token, values.movedim(1, 2))


def test_without_a_layer_it_is_what_the_last_linear_layer_takes_in(make_cnn, make_images):
    model, images = make_cnn(), make_images(3)
    embed = PooledFeatures(model)
    assert embed(images).shape == (3, 6 * 16)
    assert embed.settings()["layer"] == "dropout"


def test_a_named_model_brings_its_preprocessing_and_its_size():
    digits = load_model("digits", pretrained=False)
    images = torch.rand(2, 1, 16, 16)
    found = PooledFeatures(digits)(images)
    half = nn.functional.interpolate(images, size=(8, 8), mode="bilinear", antialias=True)
    assert torch.allclose(found, PooledFeatures(digits)(half), atol=1e-5)
    shifted = NamedModel("digits", digits.model, lambda x: x + 1, digits.image_shape)
    assert not torch.allclose(PooledFeatures(shifted)(half), PooledFeatures(digits)(half))


def test_bad_input_gets_a_sentence(make_cnn, make_images):
    model = make_cnn()
    with pytest.raises(InputError, match='there is no layer "sten" in SmallCNN; did you mean "stem"'):
        LayerActivations(model, "sten")
    with pytest.raises(InputError, match='pool is "mean_"'):
        PooledFeatures(model, "stem", pool="mean_")
    with pytest.raises(InputError, match="has no linear layer after others"):
        PooledFeatures(model.stem)(make_images(1))
    with pytest.raises(InputError, match=r'"relu#7" is not among what "relu" returned'):
        LayerActivations(model, "relu#7")(make_images(1))
