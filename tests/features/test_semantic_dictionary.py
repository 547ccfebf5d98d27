"""The semantic dictionary of planted pictures, of any basis, and what it is told wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from captum.attr import LayerGradientXActivation
from networks import seeded
from sklearn.decomposition import PCA
from torch import nn

from captum_proto.features import SemanticDictionary, SemanticDictionaryResult
from captum_proto.testing import QuadrantNetwork, quadrant_pictures


def test_the_planted_channel_is_the_first_at_every_position() -> None:
    network, (pictures, textures) = QuadrantNetwork(), quadrant_pictures(4, seed=3)
    dictionary = SemanticDictionary(network, "features")
    for picture, texture in zip(pictures, textures, strict=True):
        found = dictionary.interpret(picture, target=1, top=2, draw=False)
        assert torch.equal(found.units[0], 2 * texture)
        assert torch.equal(found.units[1], 2 * texture + 1)
        torch.testing.assert_close(found.components[0], 2 * found.components[1])
        torch.testing.assert_close(found.explained, torch.ones(8, 8))  # no other channel is active
        # The logit is linear in the map, so attributions are known and sum to it.
        weights = network.head.weight.detach()[1]
        torch.testing.assert_close(found.attributions, found.components * weights[found.units] / 64)
        assert float(found.spatial.sum()) == pytest.approx(float(network(picture[None])[0, 1].detach()), abs=1e-6)
        assert found.settings["total_attribution"] == pytest.approx(found.settings["score"], abs=1e-6)
        assert float(found.components[0][found.start]) == float(found.components.max())


def test_attributions_are_captums_where_the_units_are(make_cnn, untouched) -> None:
    model, image = make_cnn(), torch.rand(3, 12, 12)
    with untouched(model):
        found = SemanticDictionary(model, "block").interpret(image, target=3, top=6, draw=False)
    expected = LayerGradientXActivation(model, model.block).attribute(image[None], 3)[0].detach()
    values = model.block(model.stem(image[None]).relu())[0].detach()
    torch.testing.assert_close(found.components, values.sort(dim=0, descending=True, stable=True)[0])
    torch.testing.assert_close(found.attributions, expected.gather(0, found.units))
    torch.testing.assert_close(found.spatial, expected.sum(0))
    torch.testing.assert_close(found.shares.sum(0), torch.ones(12, 12))  # all six channels are shown
    torch.testing.assert_close(found.residual, torch.zeros(12, 12))


def test_components_are_coordinates_in_the_basis(make_cnn) -> None:
    model, image = make_cnn(), torch.rand(3, 12, 12)
    values = model.stem(image[None])[0].detach()
    rows = values.flatten(1).T
    plain = SemanticDictionary(model, "stem").interpret(image, target=0, top=6, draw=False)
    # A basis of all channels: the vector is the sum of its components, and the attributions lose nothing.
    whole = torch.randn(6, 6)
    found = SemanticDictionary(model, "stem", whole).interpret(image, target=0, top=6, draw=False)
    by_unit = torch.zeros(6, 12, 12).scatter(0, found.units, found.components)
    torch.testing.assert_close(torch.einsum("kyx,kc->cyx", by_unit, whole), values, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(found.spatial, plain.spatial, rtol=1e-3, atol=1e-5)
    # scikit-learn's own directions: orthonormal, so a component is a projection, and the rest is the residual.
    directions = torch.from_numpy(PCA(2, random_state=0).fit(rows.numpy()).components_)
    found = SemanticDictionary(model, "stem", directions).interpret(image, target=0, top=2, draw=False)
    by_unit = torch.zeros(2, 12, 12).scatter(0, found.units, found.components)
    torch.testing.assert_close(by_unit.flatten(1).T, rows @ directions.T, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.spatial + found.residual, plain.spatial, rtol=1e-4, atol=1e-5)
    assert float(found.residual.abs().max()) > 1e-4


def test_a_units_picture_is_of_that_unit_and_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures(2)
    dictionary = SemanticDictionary(network, "features")
    choices = {"picture_size": 16, "steps": 24, "transform": None}
    found = dictionary.interpret(pictures[0], top=2, **choices)
    assert found.drawn == list(range(8))
    assert found.pictures.shape == (8, 3, 16, 16)
    answers = network.features(found.pictures).mean((2, 3))
    torch.testing.assert_close(answers.diagonal(), found.picture_activations, rtol=1e-4, atol=1e-5)
    # Of all pictures, a unit's own activates it most, but for its partner's, which is of the same texture.
    assert torch.equal(answers.argmax(0) // 2, torch.arange(8) // 2)
    assert found.silent_pictures == []
    assert replace(found, picture_activations=torch.tensor([1.0, 0.0, -1.0])).silent_pictures == [1, 2]
    entry = found.position(0, 7)[0]
    assert (entry.unit, entry.picture) == (2, found.drawn.index(2))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr("captum_proto.features.pictures.visualize", refuse)
    again = dictionary.interpret(pictures[1], top=1, **choices)
    assert again.drawn == [0, 2, 4, 6]
    torch.testing.assert_close(again.pictures, found.pictures[::2])
    with pytest.raises(AssertionError, match="drawn again"):
        dictionary.interpret(pictures[1], top=1, **{**choices, "steps": 25})


def test_examples_go_with_their_units() -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    scores, indices = torch.rand(8, 3), torch.arange(24).view(8, 3)
    examples = {"features": SimpleNamespace(scores=scores, indices=indices)}
    found = SemanticDictionary(network, "features").interpret(pictures[0], top=1, examples=examples, draw=False)
    assert found.drawn == [0, 2, 4, 6]
    assert torch.equal(found.examples, indices[::2])
    assert torch.equal(found.example_scores, scores[::2])
    assert found.pictures is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    found = SemanticDictionary(network, "features").interpret(
        pictures[0], target=[[0, 1]], top=2, picture_size=8, steps=1
    )
    found.save(tmp_path / "one.safetensors")
    loaded = SemanticDictionaryResult.load(tmp_path / "one.safetensors")
    assert vars(loaded).keys() == vars(found).keys()
    for name, value in vars(found).items():
        assert torch.equal(getattr(loaded, name), value) if isinstance(value, torch.Tensor) else True, name
    assert (loaded.drawn, loaded.settings) == (found.drawn, found.settings)
    replace(found, pictures=found.pictures[:1]).save(tmp_path / "damaged.safetensors")
    with pytest.raises(ValueError, match="damaged"):
        SemanticDictionaryResult.load(tmp_path / "damaged.safetensors")


def test_a_position_where_nothing_is_active_has_no_shares() -> None:
    model = nn.Sequential(seeded(lambda: nn.Conv2d(3, 4, 3, bias=False)), nn.ReLU()).eval()
    image = torch.zeros(3, 8, 8)
    image[:, :4] = torch.rand(3, 4, 8)
    found = SemanticDictionary(model, "1").interpret(image, draw=False)
    assert bool(found.explained[5].isnan().all())
    assert bool((found.magnitudes[5] == 0).all())
    assert found.start[0] < 4
    nothing = SemanticDictionary(model, "1").interpret(torch.zeros(3, 8, 8))
    assert nothing.occurring == []
    assert nothing.pictures is None


def test_bad_input_gets_a_sentence(make_cnn) -> None:
    model, image = make_cnn(), torch.rand(3, 12, 12)
    dictionary = SemanticDictionary(model, "block")
    found = dictionary.interpret(image, draw=False)
    examples = {"block": SimpleNamespace(scores=torch.rand(2, 3), indices=torch.zeros(2, 3).long())}
    for call, words in [
        (lambda: dictionary.interpret(image, top=7), 'top is 7, but "block" has 6 channels'),
        (lambda: dictionary.interpret(image, top=0), "top is 0; expected at least 1"),
        (lambda: dictionary.interpret(image, target=5), "target 5 is out of range"),
        (lambda: dictionary.interpret(image, contrast=5), "contrast was given without target"),
        (lambda: dictionary.interpret(torch.rand(2, 3, 12, 12)), "image is a batch of 2"),
        (lambda: dictionary.interpret(image[:1]), "does not take images of shape"),
        (lambda: dictionary.interpret(2 * image), "ranges over"),
        (lambda: dictionary.interpret(image, picture_size=0), "picture_size is 0"),
        (lambda: SemanticDictionary(model, "head").interpret(image), "no positions in rows and columns; choose"),
        (
            lambda: SemanticDictionary(model, "block", torch.rand(2, 5)).interpret(image),
            r"shape \(2, 5\); expected \(K, 6\)",
        ),
        (lambda: SemanticDictionary(model, "block", torch.rand(7, 6)), "depend on each other"),
        (lambda: SemanticDictionary(model, "block", torch.rand(6)), r"shape \(6,\); expected \(K, C\)"),
        (lambda: SemanticDictionary(model, "block", "pca"), 'basis is "pca"; expected "channels" or a matrix'),
        (lambda: SemanticDictionary(model, "block", torch.eye(6).long()), "basis is of torch.int64"),
        (lambda: found.position(12, 0), r"position \(12, 0\) is outside the map, which has 12 rows"),
        (lambda: found.position(-1, 0), "outside the map"),
        (lambda: dictionary.interpret(image, examples={}), 'examples hold nothing of "block"'),
        (lambda: dictionary.interpret(image, examples=examples), "examples are of 2 units"),
        (lambda: dictionary.interpret(image, top=2, steps=-1), "steps"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words) as raised:
            call()
        assert type(raised.value).__module__ == "captum_proto._utils.errors"
