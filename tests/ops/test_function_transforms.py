"""Transforms of torch.func and forward-mode differentiation: right where an operator can be transformed, refused where a model is run."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration, ops

TURN = torch.tensor([[0.8, 0.3, 0.1], [-0.3, 0.9, -0.2]], dtype=torch.float64).expand(2, 2, 3)
OPERATORS: dict[str, Callable[[Tensor], Tensor]] = {
    "high_frequency_loss": lambda x: ops.high_frequency_loss(x, power=2),
    "absolute": ops.high_frequency_loss,
    "affine_sample": lambda x: ops.affine_sample(x, TURN, mean=[0.5], std=[0.25]),
    "reflect": lambda x: ops.affine_sample(x, TURN, fill="reflect"),
}


@pytest.fixture(params=OPERATORS.values(), ids=OPERATORS)
def operator(request: pytest.FixtureRequest) -> Callable[[Tensor], Tensor]:
    return request.param


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def gradient(operator: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """By the operator's own derivative."""
    x = images.clone().requires_grad_()
    return torch.autograd.grad(operator(x).square().sum(), x)[0]


def test_gradients(operator: Callable[[Tensor], Tensor], images: Tensor) -> None:
    found = torch.func.grad(lambda x: operator(x).square().sum())(images)
    torch.testing.assert_close(found, gradient(operator, images))


def test_gradients_of_several_at_once(operator: Callable[[Tensor], Tensor], images: Tensor) -> None:
    several = torch.stack([images, images.flip(3), images * 0.5])
    found = torch.func.vmap(torch.func.grad(lambda x: operator(x).square().sum()))(several)
    torch.testing.assert_close(found, torch.stack([gradient(operator, each) for each in several]))


def test_vectorized(operator: Callable[[Tensor], Tensor], images: Tensor) -> None:
    several = torch.stack([images, images.flip(2)])
    torch.testing.assert_close(torch.func.vmap(operator)(several), torch.stack([operator(each) for each in several]))


@pytest.mark.parametrize("name", ["high_frequency_loss", "absolute"])
def test_tangents(name: str, images: Tensor) -> None:
    """Both ways to differentiate forward, against a difference; an operator that has no tangent would give 0."""
    operator = OPERATORS[name]
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    step = 1e-7
    expected = (operator(images + step * direction) - operator(images - step * direction)) / (2 * step)
    _, found = torch.func.jvp(operator, (images,), (direction,))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    with torch.autograd.forward_ad.dual_level():
        dual = operator(torch.autograd.forward_ad.make_dual(images, direction))
        tangent = torch.autograd.forward_ad.unpack_dual(dual).tangent
    torch.testing.assert_close(tangent, found)


@pytest.mark.parametrize("name", ["affine_sample", "reflect"])
def test_what_has_no_tangent_says_so(name: str, images: Tensor) -> None:
    """PyTorch's sampler cannot be differentiated forward."""
    with pytest.raises(NotImplementedError, match="forward AD"):
        torch.func.jvp(OPERATORS[name], (images,), (images,))
    with torch.autograd.forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward AD"):
        OPERATORS[name](torch.autograd.forward_ad.make_dual(images, images))


def test_second_derivatives_within_a_transform() -> None:
    x = torch.rand(1, 1, 3, 3, dtype=torch.float64)
    found = torch.func.hessian(lambda x: ops.high_frequency_loss(x, power=2).sum())(x).reshape(9, 9)
    assert found.abs().sum() > 0
    torch.testing.assert_close(found, found.T)


@pytest.mark.parametrize("name", ["rank", "spearman", "path_distance"])
def test_ranks_are_vectorized(name: str) -> None:
    rows = torch.randn(3, 4, 50)
    mean = torch.randn(50)
    reference = ops.SpearmanReference(mean)
    operators: dict[str, Callable[[Tensor], Tensor]] = {
        "rank": ops.rank,
        "spearman": lambda x: ops.spearman(x, reference),
        "path_distance": lambda x: torch.stack(ops.path_distance(x, mean, reference)),
    }
    found = torch.func.vmap(operators[name])(rows)
    assert torch.equal(found, torch.stack([operators[name](each) for each in rows]))


def test_what_runs_a_model_says_that_it_cannot_be_transformed() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    images = torch.rand(4, 1, 4, 4)
    similarity = PathSimilarity(model).fit(images)
    uses: list[Callable[[Tensor], Tensor]] = [
        lambda x: similarity.evaluate(x).spearman.sum(),
        lambda x: PrototypeGeneration(model).attribute(x, target=1, steps=2).sum(),
    ]
    for use in uses:
        with pytest.raises(RuntimeError, match=r"cannot be transformed by torch\.func .* call it outside"):
            torch.func.grad(use)(images)
