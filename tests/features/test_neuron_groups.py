"""Neuron groups: planted factors found again, and attributions that sum to the total."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from captum.attr import LayerGradientXActivation
from sklearn.decomposition import NMF

from captum_proto.features import NeuronGroups, NeuronGroupsResult
from captum_proto.testing import QuadrantNetwork, quadrant_pictures


def test_planted_groups_are_found_and_their_attributions_sum_to_the_total() -> None:
    network, (pictures, textures) = QuadrantNetwork(), quadrant_pictures(3, seed=1)
    for images in (pictures[0], pictures):  # one image, and several that share the groups
        found = NeuronGroups(network, "features", n_groups=4).interpret(images, target=1, draw=False)
        likeness = found.channel_factors @ network.factors.T
        assert bool((likeness.amax(1) > 0.99).all())
        planted = likeness.argmax(1)
        assert sorted(planted.tolist()) == [0, 1, 2, 3]
        assert found.error < 1e-5
        for number in range(len(found.images)):
            active = found.spatial_factors[number].argmax(0)
            assert torch.equal(planted[active], textures[number])
        torch.testing.assert_close(found.residual, torch.zeros(len(found.images)), rtol=0, atol=1e-5)
        torch.testing.assert_close(found.attributions.sum(1), found.totals, rtol=0, atol=1e-5)
        torch.testing.assert_close(found.totals, network(found.images).detach()[:, 1], rtol=0, atol=1e-5)
        # Of each group alone: sums over its quadrant, in closed form.
        maps = network.features(found.images).detach() * network.head.weight.detach()[1].view(1, 8, 1, 1) / 64
        for group, texture in enumerate(planted.tolist()):
            own = maps[:, 2 * texture : 2 * texture + 2].sum((1, 2, 3))
            torch.testing.assert_close(found.attributions[:, group], own, rtol=0, atol=1e-5)
        assert found.shuffled_error > 0.05


def test_groups_are_sorted_by_the_column_of_their_peak_and_scaled_by_a_percentile() -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    found = NeuronGroups(network, "features", n_groups=4).interpret(pictures, draw=False)
    columns = found.spatial_factors[0].amax(1).argmax(1)
    assert columns.tolist() == sorted(columns.tolist())
    expected = np.percentile(found.spatial_factors.abs().numpy(), 99)
    torch.testing.assert_close(found.display * float(expected), found.spatial_factors)
    torch.testing.assert_close(found.channel_factors.norm(dim=1), torch.ones(4))
    assert found.attributions is None


@pytest.mark.parametrize("factorize", ["activations", "gradients", "attributions"])
def test_groups_and_residual_are_the_linear_attribution(factorize: str, make_cnn, untouched) -> None:
    model, images = make_cnn(), torch.rand(2, 3, 12, 12)
    groups = NeuronGroups(model, "block", n_groups=3, factorize=factorize)
    with untouched(model):
        found = groups.interpret(images, target=[1, 2], contrast=0, draw=False)

    def score(batch: torch.Tensor) -> torch.Tensor:
        logits = model(batch)
        return logits[range(2), [1, 2]] - logits[:, 0]

    total = LayerGradientXActivation(score, model.block).attribute(images).detach().sum((1, 2, 3))
    torch.testing.assert_close(found.totals, total, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.attributions.sum(1) + found.residual, total, rtol=1e-4, atol=1e-5)
    # By hand: of each group what it holds of a, of g, or of a * g.
    values = model.block(model.stem(images).relu()).detach()
    gradients = LayerGradientXActivation(score, model.block, multiply_by_inputs=False).attribute(images).detach()
    weights = {"activations": gradients, "gradients": values, "attributions": torch.ones_like(values)}[factorize]
    parts = torch.einsum("nkyx,kc,ncyx->nk", found.spatial_factors, found.channel_factors, weights)
    torch.testing.assert_close(found.attributions, parts, rtol=1e-4, atol=1e-5)
    assert 0 < found.error < 1


def test_what_is_signed_is_factorized_as_its_two_parts(make_cnn) -> None:
    model, images = make_cnn(), torch.rand(1, 3, 12, 12)
    values = model.stem(images).detach()
    rows = values.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    assert rows.min() < 0 < rows.max()
    found = NeuronGroups(model, "stem", n_groups=6).interpret(images, draw=False)
    assert float(found.channel_factors.min()) >= 0
    stacked = np.concatenate([rows.clip(min=0), (-rows).clip(min=0)])
    factors = NMF(6, init="nndsvda", max_iter=2000, tol=1e-6, random_state=0)
    left = factors.fit_transform(stacked)
    rebuilt = (left[: len(rows)] - left[len(rows) :]) @ factors.components_
    own = torch.einsum("nkyx,kc->nyxc", found.spatial_factors, found.channel_factors).reshape(-1, 6).numpy()
    np.testing.assert_allclose(own, rebuilt, rtol=1e-4, atol=1e-5)
    assert found.error == pytest.approx(np.linalg.norm(rows - rebuilt) / np.linalg.norm(rows), rel=1e-6)


def test_a_groups_icon_is_of_its_texture() -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    found = NeuronGroups(network, "features", n_groups=4).interpret(pictures, picture_size=16, steps=24, transform=None)
    answers = network.features(found.icons).mean((2, 3)) @ found.channel_factors.T
    assert torch.equal(answers.argmax(0), torch.arange(4))


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    found = NeuronGroups(network, "features", n_groups=2).interpret(pictures, target=0, picture_size=8, steps=1)
    found.save(tmp_path / "groups.safetensors")
    loaded = NeuronGroupsResult.load(tmp_path / "groups.safetensors")
    assert vars(loaded).keys() == vars(found).keys()
    for name, value in vars(found).items():
        assert torch.equal(getattr(loaded, name), value) if isinstance(value, torch.Tensor) else True, name
    assert (loaded.error, loaded.shuffled_error, loaded.settings) == (found.error, found.shuffled_error, found.settings)


def test_bad_input_gets_a_sentence(make_cnn) -> None:
    model, images = make_cnn(), torch.rand(1, 3, 12, 12)
    for call, words in [
        (
            lambda: NeuronGroups(model, "block", n_groups=7).interpret(images),
            "n_groups is 7, but.*6 channels at 144 positions.*at most 6",
        ),
        (lambda: NeuronGroups(model, "block", n_groups=0), "n_groups is 0"),
        (lambda: NeuronGroups(model, "block", factorize="gradient"), 'did you mean "gradients"'),
        (lambda: NeuronGroups(model, "block", factorize="gradients").interpret(images), "given without target"),
        (lambda: NeuronGroups(model, "block").interpret(images, contrast=1), "contrast was given without target"),
        (lambda: NeuronGroups(model, "block").interpret(images, target=9), "target 9 is out of range"),
        (lambda: NeuronGroups(model, "head").interpret(images), "no positions"),
        (lambda: NeuronGroups(model, "blok"), 'no layer "blok"'),
        (lambda: NeuronGroups(model, "block").interpret(images[:, :1]), "does not take images"),
    ]:
        with pytest.raises((ValueError, TypeError), match=words) as raised:
            call()
        assert type(raised.value).__module__ == "captum_proto._utils.errors"


def test_a_layer_that_returns_zeros_has_no_groups() -> None:
    network = QuadrantNetwork()
    with pytest.raises(ValueError, match="0 everywhere, so there are no groups"):
        NeuronGroups(network, "features", n_groups=2).interpret(torch.zeros(3, 32, 32))


def test_a_group_that_is_left_empty_has_a_gray_icon() -> None:
    network, (pictures, _) = QuadrantNetwork(), quadrant_pictures()
    groups = NeuronGroups(network, "features", n_groups=2)
    found = groups.interpret(pictures, draw=False)
    found.channel_factors[1] = 0
    icons = groups.draw(found, 8, steps=1).images
    assert bool((icons[1] == 0.5).all())
    assert bool((icons[0] != 0.5).any())
