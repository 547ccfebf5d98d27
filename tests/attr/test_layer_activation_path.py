"""Integrated gradients in activation space: against hand sums, closed forms, and the planted value network."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from captum_proto.attr import LayerActivationPath
from captum_proto.testing import PlantedValues, ScrollerAgent, planted_observations


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [
        nn.Conv2d(2, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(24, 5),
    ]
    return nn.Sequential(*layers).double().eval()


@pytest.fixture(scope="module")
def inputs() -> Tensor:
    return torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_it_is_the_right_riemann_sum_of_gradients_along_the_path(network: nn.Module, inputs: Tensor) -> None:
    found = LayerActivationPath(network, "1").attribute(inputs, target=[1, 2, 3], n_steps=10)
    activations = network[:2](inputs).detach()
    expected = torch.zeros_like(activations)
    for step in range(1, 11):
        point = (activations * step / 10).requires_grad_()
        network[2:](point)[torch.arange(3), [1, 2, 3]].sum().backward()
        expected += activations * point.grad / 10
    assert torch.allclose(found, expected, atol=1e-12)


def test_exact_attributions_are_complete_where_sums_are_not(network: nn.Module, inputs: Tensor) -> None:
    path = LayerActivationPath(network, "1")
    exact, summed = path.account(inputs, 1, method="exact"), path.account(inputs, 1, n_steps=10, tolerance=9.0)
    assert float(exact.completeness_error.max()) < 1e-7
    assert float(summed.completeness_error.max()) > 1e-4
    fine = path.account(inputs, 1, n_steps=1000, method="riemann_middle")
    assert torch.allclose(exact.values, fine.values, atol=1e-3 * float(fine.values.abs().max()))


def test_the_value_of_an_agent_is_accounted_for_within_a_hundred_thousandth() -> None:
    torch.manual_seed(2)
    agent = ScrollerAgent().double().eval()
    frames = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    # What comes after the hidden layer's inputs is small enough for every bend to be found.
    found = LayerActivationPath(lambda x: agent(x)[1], "places").account(frames, method="exact")
    assert float(found.completeness_error.max()) < 1e-5
    assert bool((found.baselines != found.scores).all())


def test_planted_values_are_attributed_to_the_objects_they_are_of() -> None:
    network, seen = PlantedValues(), planted_observations(24)
    found = LayerActivationPath(network, "features").account(seen, n_steps=3)
    assert float(found.delta.abs().max()) < 1e-5 * float(found.scores.abs().max())
    sizes = seen[:, [5, 1, 2, 3]].amax((2, 3))
    worth = torch.tensor([1.0, -0.75, -0.5, -0.25])
    assert torch.allclose(found.values[:, :4].sum((2, 3)), sizes * worth, atol=1e-6)
    assert not found.values[:, 4:].any()


def test_a_superclass_and_a_delta(network: nn.Module, inputs: Tensor) -> None:
    values, delta = LayerActivationPath(network, "3").attribute(
        inputs, target=[[0, 1]], n_steps=200, method="riemann_middle", return_convergence_delta=True
    )
    score = network(inputs)[:, :2].logsumexp(1)
    nothing = network[-1].bias[:2].logsumexp(0)
    assert torch.allclose(values.flatten(1).sum(1) - delta, (score - nothing).detach(), atol=1e-9)
    assert float(delta.abs().max()) < 1e-4


def test_an_account_that_is_incomplete_is_warned_of(network: nn.Module, inputs: Tensor) -> None:
    with pytest.warns(UserWarning, match='give more n_steps, or method="exact"'):
        LayerActivationPath(network, "1").attribute(inputs, target=0, n_steps=2, tolerance=1e-6)


def test_the_model_comes_back_as_it_was(network: nn.Module, inputs: Tensor) -> None:
    model = copy.deepcopy(network).train()
    model[0].weight.requires_grad_(False)
    LayerActivationPath(model, "1").attribute(inputs, target=0)
    assert model.training
    assert not model[0].weight.requires_grad
    assert model[2].weight.requires_grad
    assert model[2].weight.grad is None
    assert not model[1]._forward_hooks


@pytest.mark.parametrize(
    ("layer", "given", "message"),
    [
        ("9", {}, "9"),
        ("1", {"target": 0, "method": "riemman_right"}, "riemann_right"),
        ("1", {"target": 0, "n_steps": 0}, "n_steps is 0"),
        ("1", {"target": 7}, "7"),
        ("1", {}, "expected one value for each"),
    ],
)
def test_bad_input(network: nn.Module, inputs: Tensor, layer: str, given: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LayerActivationPath(network, layer).attribute(inputs, **given)  # type: ignore[arg-type]


def test_a_layer_that_is_called_twice_has_to_be_named_with_its_call(inputs: Tensor) -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.relu = nn.ReLU()
            self.head = nn.Linear(128, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu(self.relu(x) - 0.5).flatten(1))

    model = Twice().double()
    with pytest.raises(ValueError, match="name one call"):
        LayerActivationPath(model, "relu").attribute(inputs)
    assert LayerActivationPath(model, "relu#0").attribute(inputs, n_steps=50).shape == inputs.shape


def test_a_layer_that_the_score_does_not_depend_on(inputs: Tensor) -> None:
    class Beside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.head = nn.ReLU(), nn.Linear(128, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.unused(x)
            return self.head(x.flatten(1))

    with pytest.raises(ValueError, match="does not depend on"):
        LayerActivationPath(Beside().double(), "unused").attribute(inputs)
