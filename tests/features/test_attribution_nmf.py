"""Features of attributions: planted directions are found, contributions add up, and edits take away just what they should."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.decomposition import NMF
from torch import Tensor

from captum_proto.attr import LayerActivationPath
from captum_proto.edit import project_out
from captum_proto.features import AttributionNMF
from captum_proto.testing import PlantedValues, planted_observations


@pytest.fixture(scope="module")
def planted() -> tuple[PlantedValues, Tensor, Tensor]:
    network, seen = PlantedValues(), planted_observations(48)
    return network, seen, LayerActivationPath(network, "features").attribute(seen, n_steps=2)


def test_planted_directions_are_found(planted: tuple[PlantedValues, Tensor, Tensor]) -> None:
    network, _, attributions = planted
    nmf = AttributionNMF(4).fit(attributions)
    assert float((nmf.directions @ network.directions.T).amax(0).min()) > 0.99
    assert nmf.error < 1e-3


@pytest.mark.parametrize("kernel", ["reader", None])
def test_an_edit_removes_one_objects_part_of_the_value_and_leaves_the_others(
    planted: tuple[PlantedValues, Tensor, Tensor], kernel: str | None
) -> None:
    network, seen, attributions = planted
    nmf = AttributionNMF(4).fit(attributions)
    saw = nmf.directions[(nmf.directions @ network.directions[1]).argmax()]
    before, path = network(seen), LayerActivationPath(network, "features")
    with project_out(network, None if kernel else "features", saw, kernel=kernel):
        # What the value is made of is read behind the edit: at the kernel's output, one channel an object.
        after, left = network(seen), LayerActivationPath(network, "reader").attribute(seen, n_steps=2)
    whole = LayerActivationPath(network, "reader").attribute(seen, n_steps=2)
    assert not left[:, 1].any()
    assert bool(whole[:, 1].any())
    others = [0, 2, 3]
    assert float((left[:, others] - whole[:, others]).abs().max()) < 1e-6
    parts = whole.sum((2, 3))
    assert torch.allclose(after, before - parts[:, 1], atol=1e-6)
    assert torch.equal(network(seen), before)
    assert torch.equal(path.attribute(seen, n_steps=2), attributions)


def test_contributions_and_what_is_left_add_up_to_the_attributions() -> None:
    values = torch.randn(6, 5, 4, 4, generator=torch.Generator().manual_seed(0))
    nmf = AttributionNMF(3).fit(values)
    found = nmf.transform(values)
    assert torch.allclose(found.values.sum(1) + found.residual, values.sum(1), atol=1e-5)
    assert torch.allclose(found.totals, found.values.sum((2, 3)))
    assert float(found.display.abs().flatten(1).amax(1).median()) == pytest.approx(1.0)


def test_it_is_scikit_learns_factorization_of_both_signs() -> None:
    values = torch.randn(4, 6, 3, 3, generator=torch.Generator().manual_seed(1))
    rows = values.permute(0, 2, 3, 1).reshape(-1, 6).double().numpy()
    model = NMF(2, init="nndsvda", max_iter=500, tol=1e-4, random_state=0)
    model.fit(np.concatenate([rows.clip(min=0), (-rows).clip(min=0)]))
    expected = torch.from_numpy(model.components_).float()
    expected = expected / expected.norm(dim=1, keepdim=True)
    found = AttributionNMF(2).fit(values).directions
    assert torch.allclose((found @ expected.T).amax(1), torch.ones(2), atol=1e-5)


def test_features_carry_over_to_attributions_they_were_not_found_in(
    planted: tuple[PlantedValues, Tensor, Tensor],
) -> None:
    _, _, attributions = planted
    nmf = AttributionNMF(4).fit(attributions[:24])
    assert nmf.missed(attributions[24:]) < 1e-2
    noise = torch.randn(8, 6, 4, 4, generator=torch.Generator().manual_seed(2))
    assert nmf.missed(noise) > 0.3


def test_saved_and_loaded(tmp_path: Path, planted: tuple[PlantedValues, Tensor, Tensor]) -> None:
    nmf = AttributionNMF(4).fit(planted[2])
    nmf.save(tmp_path / "features.safetensors")
    loaded = AttributionNMF.load(tmp_path / "features.safetensors")
    assert torch.equal(loaded.directions, nmf.directions)
    assert loaded.error == nmf.error
    assert torch.equal(loaded.transform(planted[2]).values, nmf.transform(planted[2]).values)
    with pytest.raises(FileExistsError):
        nmf.save(tmp_path / "features.safetensors")


def test_given_directions() -> None:
    nmf = AttributionNMF.of(torch.tensor([[2.0, 0.0], [0.0, 3.0]]))
    assert torch.equal(nmf.directions, torch.eye(2))
    values = torch.randn(2, 2, 3, 3)
    assert torch.allclose(nmf.transform(values).values, values, atol=1e-5)
    with pytest.raises(ValueError, match="at least 0"):
        AttributionNMF.of(-torch.eye(2))


def test_bad_input() -> None:
    with pytest.raises(RuntimeError, match="call fit"):
        AttributionNMF().transform(torch.randn(1, 9, 2, 2))
    with pytest.raises(ValueError, match="3 channels"):
        AttributionNMF(4).fit(torch.randn(2, 3, 4, 4))
    with pytest.raises(ValueError, match="0 everywhere"):
        AttributionNMF(2).fit(torch.zeros(2, 3, 4, 4))
    with pytest.raises(TypeError, match="floating-point"):
        AttributionNMF(2).fit(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match="finite"):
        AttributionNMF(2).fit(torch.full((2, 3, 4, 4), float("nan")))
    with pytest.raises(ValueError, match="4 channels"):
        AttributionNMF.of(torch.eye(3)).transform(torch.randn(1, 4, 2, 2))
