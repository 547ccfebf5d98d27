"""Objectives of units and directions against Lucid's formulae, written out here, and their bad input."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from captum.attr import NeuronGradient
from networks import seeded
from torch import Tensor, nn

from captum_proto.optim import (
    ActivationInterpolation,
    ActivationWeights,
    Alignment,
    AngledNeuronDirection,
    ChannelActivation,
    DeepDream,
    Direction,
    FacetLoss,
    GramDiversity,
    HeadActivation,
    HighFrequency,
    InputOptimization,
    Interaction,
    LayerActivation,
    Loss,
    NeuronActivation,
    NeuronDirection,
    RandomAffine,
    Style,
    TensorDirection,
    random_directions,
    visualize,
    weight_grid,
)
from captum_proto.optim.loss import Outputs, Rows, middle
from captum_proto.optim.random import prototype_keys

N, C, H, W = 3, 5, 6, 7


def outputs_of(count: int = N, **layers: Tensor) -> Outputs:
    targets: list[tuple[int, ...]] = [()] * count
    return Outputs(None, layers, Rows(range(count), targets, prototype_keys([0] * count, targets)))


@pytest.fixture
def maps() -> Tensor:
    return torch.randn(N, C, H, W, dtype=torch.float64, requires_grad=True)


def lucid(values: Tensor) -> np.ndarray:
    """As TensorFlow has them: (N, H, W, C)."""
    return values.detach().permute(0, 2, 3, 1).numpy()


V = np.random.default_rng(0).normal(size=(N, C))
T = np.random.default_rng(1).normal(size=(N, 4, 4, C))
U = np.random.default_rng(2).normal(size=(N, H, W, C))


def cossim(x: np.ndarray, y: np.ndarray, power: float) -> np.ndarray:
    """Lucid's ``_dot_cossim``, of the last axis."""
    dot = (x * y).sum(-1)
    if power == 0:
        return dot
    norms = np.sqrt((x**2).sum(-1)) * np.sqrt((y**2).sum(-1))
    return dot * np.maximum(0.1, dot / norms) ** power


def by_row(value: Callable[[np.ndarray, int], float]) -> Callable[[np.ndarray], list[float]]:
    return lambda a: [float(value(a[row], row)) for row in range(N)]


def tensor_of(values: np.ndarray) -> Tensor:
    return torch.from_numpy(np.moveaxis(values, -1, 1).copy())


#: What is maximized, by Lucid's formulae: of one image (H, W, C) and the number of its row.
FORMULAE: list[tuple[Loss, Callable[[np.ndarray, int], float]]] = [
    (LayerActivation("a"), lambda a, i: a.mean()),
    (DeepDream("a"), lambda a, i: (a**2).mean()),
    (ChannelActivation("a", [4, 0, 2]), lambda a, i: a[..., [4, 0, 2][i]].mean()),
    (NeuronActivation("a", [4, 0, 2]), lambda a, i: a[H // 2, W // 2, [4, 0, 2][i]]),
    (NeuronActivation("a", 1, [(0, 0), (5, 6), (2, 3)]), lambda a, i: a[[0, 5, 2][i], [0, 6, 3][i], 1]),
    (NeuronActivation("a", [0, 1, 2], (5, 1)), lambda a, i: a[5, 1, i]),
    (Direction("a", torch.from_numpy(V)), lambda a, i: (a @ V[i]).mean()),
    (Direction("a", torch.from_numpy(V), power=2), lambda a, i: cossim(a, V[i], 2).mean()),
    (NeuronDirection("a", torch.from_numpy(V)), lambda a, i: a[3, 3] @ V[i]),
    (NeuronDirection("a", torch.from_numpy(V), 1.5, position=(1, 6)), lambda a, i: cossim(a[1, 6], V[i], 1.5)),
    (NeuronDirection("a", torch.from_numpy(V[0]), position=[(0, 0), (1, 1), (2, 2)]), lambda a, i: a[i, i] @ V[0]),
    (AngledNeuronDirection("a", torch.from_numpy(V)), lambda a, i: cossim(a[3, 3], V[i], 4)),
    (TensorDirection("a", tensor_of(T)), lambda a, i: cossim(a[1:5, 1:5], T[i], 0).mean()),
    (TensorDirection("a", tensor_of(T), power=1), lambda a, i: cossim(a[1:5, 1:5], T[i], 1).mean()),
    (
        TensorDirection("a", tensor_of(T), power=2, per_position=False),
        lambda a, i: cossim(a[1:5, 1:5].ravel(), T[i].ravel(), 2) / 16,
    ),
    (Interaction("a", 1, "b", 2, [[1, 0], [0.5, -2], [0, 3]]), lambda a, i: 0.0),
    (ActivationWeights("a", torch.from_numpy(V)), lambda a, i: (a * V[i]).mean()),
    (ActivationWeights("a", tensor_of(U)), lambda a, i: (a * U[i]).mean()),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "formula"), FORMULAE, ids=[type(loss).__name__ for loss, _ in FORMULAE])
def test_values_are_those_of_lucids_formulae(maps: Tensor, loss: Loss, formula: Callable[..., float]) -> None:
    other = torch.randn(N, C, 3, 3, dtype=torch.float64, requires_grad=True)
    outputs = outputs_of(a=maps, b=other)
    loss.check(outputs)
    expected = [formula(a, i) for i, a in enumerate(lucid(maps))]
    if isinstance(loss, Interaction):
        means = lucid(maps)[..., 1].mean((1, 2)), lucid(other)[..., 2].mean((1, 2))
        expected = (means[0] * [1, 0.5, 0] + means[1] * [0, -2, 3]).tolist()
    value = loss(outputs, torch.zeros(N))
    np.testing.assert_allclose(-value.detach().numpy(), expected, rtol=1e-5)
    # The channels' axis last, as transformers have it: the same.
    loss = copy.copy(loss)
    loss.channel_axis = -1
    behind = outputs_of(a=maps.permute(0, 2, 3, 1), b=other.permute(0, 2, 3, 1))
    if isinstance(loss, TensorDirection):
        loss = TensorDirection("a", loss.tensor.permute(0, 2, 3, 1), loss.power, -1, loss.per_position)
    torch.testing.assert_close(loss(behind, torch.zeros(N)), value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("loss", "formula"), FORMULAE, ids=[type(loss).__name__ for loss, _ in FORMULAE])
def test_rows_of_a_loss_have_the_values_of_these_rows(maps: Tensor, loss: Loss, formula: Callable[..., float]) -> None:
    other = torch.randn(N, C, 3, 3, dtype=torch.float64, requires_grad=True)
    whole = loss(outputs_of(a=maps, b=other), torch.zeros(N))
    part = loss.rows(range(1, 3))
    torch.testing.assert_close(
        part(outputs_of(2, a=maps[1:], b=other[1:]), torch.zeros(2)), whole[1:], rtol=1e-12, atol=1e-12
    )
    if loss.targets is not None and len(loss.targets) == N:
        assert part.targets == loss.targets[1:]
        assert part.settings() != loss.settings()
    assert part.settings().keys() == loss.settings().keys()
    assert type(part) in (type(loss), Interaction)


def test_the_way_from_one_channel_to_another() -> None:
    """Lucid's ``channel_interpolate``: (1 - w) of the first and w of the second, w in equal steps over the batch."""
    a, b = (
        torch.randn(6, C, H, W, dtype=torch.float64, requires_grad=True),
        torch.randn(6, C, requires_grad=True).double(),
    )
    loss = ActivationInterpolation("a", 3, "b", 1)
    share = np.arange(6) / 5
    expected = (1 - share) * lucid(a)[..., 3].mean((1, 2)) + share * b.detach().numpy()[:, 1]
    np.testing.assert_allclose(-loss(outputs_of(6, a=a, b=b), torch.zeros(6)).detach().numpy(), expected, rtol=1e-6)
    assert loss.targets == [(3, 1)] * 6
    assert loss.unit(0) == '1 × channel 3 of layer "a" + 0 × channel 1 of layer "b"'


def test_alignment_is_lucids_and_every_gradient_is_a_rows_own() -> None:
    values = torch.randn(7, C, 2, 2, dtype=torch.float64, requires_grad=True)
    total = sum(
        (values[i] - values[i + d]).square().mean() / 2.0**d for d in (1, 2, 3, 4) for i in range(7 - d)
    )  # Lucid's, minimized
    loss = Alignment("a")(outputs_of(7, a=values), torch.zeros(7))
    torch.testing.assert_close(loss.sum(), 2 * total)  # each pair is seen from both sides
    (gradient,) = torch.autograd.grad(loss.sum(), values, retain_graph=True)
    torch.testing.assert_close(gradient, torch.autograd.grad(total, values)[0])
    (alone,) = torch.autograd.grad(loss[3], values)
    torch.testing.assert_close(alone[3], gradient[3])
    assert not bool(alone[[0, 1, 2, 4, 5, 6]].any())


def test_style_is_that_of_gatys_with_means() -> None:
    values, painting = (
        torch.randn(2, C, H, W, dtype=torch.float64, requires_grad=True),
        torch.randn(1, C, 9, 4).double(),
    )

    def gram(image: Tensor) -> np.ndarray:
        features = image.detach().numpy().reshape(C, -1)
        return features @ features.T / features.shape[1]

    for power in (1, 2):
        expected = [(np.abs(gram(each) - gram(painting[0])) ** power).mean() for each in values]
        loss = Style("a", painting, power=power)
        np.testing.assert_allclose(loss(outputs_of(2, a=values), torch.zeros(2)).detach().numpy(), expected, rtol=1e-10)
    assert loss.targets is None
    two = Style("a", torch.cat([painting, 2 * painting]))
    assert len(two.targets or []) == 2
    torch.testing.assert_close(two.rows(range(1, 2)).reference, 2 * painting)


def test_a_facet_is_what_its_formula_says_of_a_network_with_a_layer_that_works_in_place() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 6, 3), nn.ReLU(inplace=True)
    ).double().eval()  # fmt: skip
    v, w = torch.randn(2, 6, dtype=torch.float64), torch.randn(2, 4, dtype=torch.float64)
    strength = [0.5, 2.0]
    loss = FacetLoss("3", v, "2", w, strength)
    start = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    result = InputOptimization(model, loss, steps=1, fold_batch_norm=False).optimize(start=start)
    images = start.clone().requires_grad_()
    g = model[2](model[1](model[0](images)).clone())
    f = torch.einsum("nchw,nc->nhw", model[3](g), v).mean((1, 2))
    slope = torch.autograd.grad(f.sum(), g, retain_graph=True)[0]
    facet = torch.einsum("nchw,nc->n", g * slope.clamp(min=0), w)
    torch.testing.assert_close(result.history["facet"][0], facet.detach())
    torch.testing.assert_close(result.history["activation"][0], f.detach())
    expected = -(f + torch.tensor(strength) * facet)
    torch.testing.assert_close(result.history["loss"][0], expected.detach())
    # The step is against the gradient with the slope as a constant.
    constant = torch.einsum("nchw,nc->n", g * slope.detach().clamp(min=0), w)
    (gradient,) = torch.autograd.grad(-(f + torch.tensor(strength) * constant).sum(), images)
    adam = 0.05 * gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(result.images, (start - adam).clamp(0, 1), rtol=0, atol=1e-9)
    pictures = visualize(model, loss, (3, 8, 8), steps=3)
    assert pictures.activations.shape == (2,)
    alone = FacetLoss("3", v, "2", w, strength, alone=True)
    torch.testing.assert_close(
        InputOptimization(model, alone, steps=1).optimize(start=start).history["loss"][0],
        -torch.tensor(strength) * facet.detach(),
    )
    with pytest.raises(ValueError, match='does not depend on layer "3"; give a layer that the network runs before'):
        InputOptimization(model, FacetLoss("2", w, "3", v), steps=1).optimize(start=start)


def test_a_neurons_gradient_is_captums(make_cnn) -> None:
    """Adam's first step is lr · g / (|g| + eps)."""
    model, start = make_cnn(dtype=torch.float64), torch.rand(2, 3, 8, 8, dtype=torch.float64)
    gradient = NeuronGradient(model, model.block).attribute(start, (3, 1, 6))
    loss = NeuronActivation("block", [3, 3], position=(1, 6))
    made = InputOptimization(model, loss, steps=1, fold_batch_norm=False, clamp=False).optimize(start=start)
    torch.testing.assert_close(made.images, start + 0.05 * gradient / (gradient.abs() + 1e-8), rtol=0, atol=1e-9)
    recorded = captum.attr.LayerActivation(model, model.block).attribute(start)
    torch.testing.assert_close(made.history["activation"][0], recorded[:, 3, 1, 6].detach())
    whole = InputOptimization(model, LayerActivation("block"), steps=1, fold_batch_norm=False).optimize(start=start)
    torch.testing.assert_close(whole.history["activation"][0], recorded.mean((1, 2, 3)).detach())


def test_a_facet_of_every_channel_is_captums_gradient_times_activation() -> None:
    """Where all weights are positive no slope is cut off."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.Flatten()).double()
    with torch.no_grad():
        model[2].weight.abs_()
    start = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    attribution = captum.attr.LayerGradientXActivation(
        lambda x: model(x).unflatten(1, (6, 16))[:, 5].mean(1), model[1]
    ).attribute(start)
    loss = FacetLoss("2", torch.eye(6)[[5, 5]], "1", torch.ones(4))
    made = InputOptimization(model, loss, steps=1).optimize(start=start)
    torch.testing.assert_close(made.history["facet"][0], attribution.sum((1, 2, 3)).detach(), rtol=1e-6, atol=1e-9)


def test_heads_are_parted() -> None:
    tokens = torch.randn(2, 9, 8, dtype=torch.float64, requires_grad=True)
    loss = HeadActivation("a", [3, 0], heads=4)
    expected = [tokens[0, :, 6:8].square().mean(), tokens[1, :, 0:2].square().mean()]
    torch.testing.assert_close(-loss(outputs_of(2, a=tokens), torch.zeros(2)), torch.stack(expected))


# --- directions at random, the middle, and the grid -----------------------------------------------------------------------------------


def test_random_directions_are_even_on_the_sphere_and_each_has_its_own_seed() -> None:
    many = random_directions(4000, 3, seed=11).double()
    torch.testing.assert_close(many.norm(dim=1), torch.ones(4000, dtype=torch.float64), rtol=0, atol=1e-6)
    # Archimedes: each coordinate of a point on the sphere in three dimensions is uniform between -1 and 1.
    for axis in range(3):
        share = torch.histc(many[:, axis], 8, -1, 1) / 4000
        assert float((share - 1 / 8).abs().max()) < 0.02
    assert torch.equal(random_directions(2, 3, seed=[14, 11]), many[[3, 0]].float())
    with pytest.raises(ValueError, match=r"seed is \[1\]; expected an int, or 2 of them"):
        random_directions(2, 3, seed=[1])
    with pytest.raises(ValueError, match="count is 0; expected at least 1"):
        random_directions(0, 3)


def test_the_middle_of_a_map_is_lucids_and_that_of_tokens_is_in_their_grid() -> None:
    assert middle((6, 7)) == (3, 3)
    assert middle((1,)) == (0,)
    assert [middle((front + 49,), tokens=True) for front in (0, 1, 2, 5)] == [(24,), (25,), (26,), (29,)]
    assert middle((49,)) == (24,)
    assert middle((197,), tokens=True) == (1 + 7 * 14 + 7,)
    assert middle((60,), tokens=True) == (30,)  # no square, and so no grid


def test_a_grid_of_weights_is_every_pair() -> None:
    assert weight_grid([0, 1, 2], [5]).tolist() == [[0, 5], [1, 5], [2, 5]]
    assert len(weight_grid(torch.linspace(-1, 1, 4))) == 16
    for wrong in ([], [math.nan]):
        with pytest.raises(ValueError, match="weights of a grid are missing or not finite"):
            weight_grid(wrong)


# --- bad input ------------------------------------------------------------------------------------------------------------------------


def network() -> nn.Module:
    return seeded(
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 5)
        )
    )


ANY = torch.ones(4)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ChannelActivation("4x", 1), ValueError, r'there is no layer "4x" in Sequential'),
        (lambda: ChannelActivation("0", 4), ValueError, r'channel 4 is out of range: layer "0" has 4 channels, 0 to 3\.'),
        (lambda: ChannelActivation("5", 9), ValueError, r'channel 9 is out of range: layer "5" has 5 channels, 0 to 4\.'),
        (lambda: ChannelActivation("0", -1), ValueError, "channel is -1; expected at least one channel, each from 0"),
        (lambda: ChannelActivation("0", []), ValueError, r"channel is \[\]; expected at least one channel"),
        (lambda: ChannelActivation("0", 1.5), TypeError, r"channel is 1.5 \(float\); expected an int, or one int for each"),
        (lambda: NeuronActivation("0", 4), ValueError, "channel 4 is out of range"),
        (
            lambda: NeuronActivation("0", 1, (2, 6)),
            ValueError,
            r'position \(2, 6\) is outside of the map of layer "0", which has the size 6 × 6; expected 0 to 5, 0 to 5\.',
        ),
        (lambda: NeuronActivation("0", 1, 3), ValueError, r'position is \(3,\) for layer "0", whose map has the size 6 × 6; expected 2'),
        (
            lambda: NeuronActivation("5", 1, (0, 0)),
            ValueError,
            r'position is \(0, 0\) for layer "5", which returns one value for each channel and has no positions; leave position out',
        ),
        (lambda: NeuronActivation("0", 1, (-1, 2)), ValueError, r"position is \(-1, 2\); expected numbers from 0"),
        (lambda: NeuronActivation("0", 1, "middle"), TypeError, "position is 'middle'; expected whole numbers"),
        (lambda: NeuronActivation("0", [1, 2], [(1, 1), (2, 2), (3, 3)]), ValueError, "2 channels and positions, 3 were given"),
        (lambda: Direction("0", torch.ones(5)), ValueError, 'directions have 5 entries; expected 4, one for each channel of layer "0"'),
        (lambda: Direction("0", torch.zeros(4)), ValueError, "none of them zero everywhere"),
        (lambda: Direction("0", torch.ones(4).long()), TypeError, "direction is of torch.int64; expected floating point"),
        (lambda: NeuronDirection("2", torch.ones(6), position=(4, 0)), ValueError, r'of layer "2", which has the size 4 × 4'),
        (lambda: TensorDirection("0", torch.ones(1, 4, 7, 3)), ValueError, r"has shape \(1, 4, 7, 3\) for layer \"0\", which"),
        (lambda: TensorDirection("0", torch.ones(4)), TypeError, r"tensor is \(4,\) of torch.float32; expected floating"),
        (lambda: TensorDirection("0", torch.full((1, 4, 6, 6), math.nan)), ValueError, "tensor holds NaN or infinity"),
        (lambda: ActivationWeights("0", torch.ones(1, 4, 5, 6)), ValueError, r"expected \(N, 4\), one .* or \(N, 4, 6, 6\)"),
        (lambda: ActivationWeights("0", [1, 2]), ValueError, "expected finite floating point numbers"),
        (lambda: Interaction("0", 1, "2", 6, [[1.0, 1.0]]), ValueError, r'channel 6 is out of range: layer "2" has 6 channels'),
        (lambda: Interaction("0", 1, "2", 5, [1.0, 1.0]), ValueError, r"weights have shape \(2,\); expected \(N, 2\)"),
        (lambda: ActivationInterpolation("0", 1, "2", 5, steps=1), ValueError, "steps is 1; expected at least 2"),
        (lambda: Alignment("0", decay=0), ValueError, "decay is 0; expected a positive number"),
        (lambda: Style("0", torch.ones(1, 5, 6, 6)), ValueError, r"reference has shape \(1, 5, 6, 6\) for layer \"0\""),
        (lambda: Style("0", torch.ones(3)), TypeError, "reference is no floating point tensor"),
        (lambda: Style("0", torch.ones(1, 4, 6, 6), power=3), ValueError, "power is 3; expected 1 or 2"),
        (lambda: FacetLoss("2", torch.ones(6), "0", torch.ones(5)), ValueError, "facet_weights have 5 entries; expected 4"),
        (lambda: FacetLoss("2", torch.ones(2, 6), "0", torch.ones(3, 4)), ValueError, "2 directions, 3 facet_weights and strength"),
        (lambda: HeadActivation("0", 2, heads=2), ValueError, "head 2 is out of range: heads is 2, so expected 0 to 1"),
        (lambda: HeadActivation("0", 2, heads=3), ValueError, r'the 4 channels of layer "0" cannot be parted into 3 heads'),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_for_is_said_in_a_sentence(make: Callable[[], Loss], error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        InputOptimization(network(), make(), steps=1).optimize((3, 8, 8))
    assert str(caught.value).count("\n") == 0


def test_a_layer_is_found_by_its_nearest_name(make_cnn) -> None:
    with pytest.raises(ValueError, match='there is no layer "blok" in SmallCNN; did you mean "block"'):
        InputOptimization(make_cnn(), ChannelActivation("blok", 1), steps=1).optimize((3, 8, 8))


def test_rows_that_see_each_other_are_not_parted() -> None:
    loss = ActivationInterpolation("0", 1, "2", 2, steps=4) + Alignment("0")
    with pytest.raises(
        ValueError, match="alignment is between the 4 rows of one batch; pass at least two rows and a batch_size"
    ):
        visualize(network(), loss, (3, 8, 8), batch_size=3, steps=1)
    assert len(visualize(network(), loss, (3, 8, 8), batch_size=4, steps=1)) == 4
    twice = ChannelActivation("0", [1, 1, 2]) + GramDiversity("0")
    with pytest.raises(ValueError, match="batch_size 1 parts the 2 prototypes"):
        visualize(network(), twice, (3, 8, 8), batch_size=1, steps=1)


# --- one batch is many pictures ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "loss",
    [
        ChannelActivation("3", range(64)),
        NeuronActivation("3", range(64), position=(1, 2)),
        Direction("4", random_directions(64, 64), power=2),
    ],
    ids=lambda loss: type(loss).__name__,
)
def test_sixty_four_units_in_one_batch_are_each_what_it_is_alone(loss: Loss) -> None:
    """In float64; the kernels of a convolution may add in another order for another batch."""
    model = nn.Sequential(nn.Conv2d(3, 64, 3), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3), nn.ReLU()).double()
    objective = loss + 0.1 * HighFrequency()
    options: dict[str, Any] = {"steps": 3, "transform": RandomAffine(10), "redirect_relu_steps": 2}
    options["parametrization"] = "fourier"
    together = InputOptimization(model, objective, **options).optimize((3, 8, 8)).images
    for row in range(64) if isinstance(loss, ChannelActivation) else (0, 31, 63):
        alone = InputOptimization(model, objective.rows(range(row, row + 1)), **options).optimize((3, 8, 8)).images
        torch.testing.assert_close(alone[0], together[row], rtol=0, atol=1e-10)
    assert len({tuple(image.flatten().tolist()) for image in together}) == 64
