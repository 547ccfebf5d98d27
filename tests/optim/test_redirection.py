"""Activation functions that are off: rows that get no gradient are turned on, and no other row notices."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn
from torch.nn import functional

from captum_proto.capture import redirected_activations
from captum_proto.optim import ChannelActivation, ClassLogit, HighFrequency, InputOptimization, RandomAffine, visualize

SHAPE = (3, 8, 8)


def lucid_redirected(x: Tensor, gradient: Tensor, plain: Tensor, low: float = 0.0, high: float = math.inf) -> Tensor:
    """What Lucid's ``redirected_relu_grad`` and ``redirected_relu6_grad`` give back, written out value by value."""
    back = plain.clone()
    for row in range(len(x)):
        if bool((plain[row] != 0).any()):
            continue
        for index in range(x[row].numel()):
            value, slope = float(x[row].flatten()[index]), float(gradient[row].flatten()[index])
            pushes_lower, pushes_higher = value < low and slope > 0, value > high and slope < 0
            back[row].view(-1)[index] = 0.0 if pushes_lower or pushes_higher else slope
    return back


@pytest.mark.parametrize(
    ("function", "high"),
    [
        (functional.relu, math.inf),
        (torch.relu, math.inf),
        (Tensor.relu, math.inf),
        (nn.ReLU(), math.inf),
        (lambda x: nn.ReLU(inplace=True)(x * 1), math.inf),
        (lambda x: (x * 1).relu_(), math.inf),
        (lambda x: functional.relu(x * 1, inplace=True), math.inf),
        (nn.ReLU6(), 6.0),
        (lambda x: nn.ReLU6(inplace=True)(x * 1), 6.0),
        (functional.relu6, 6.0),
    ],
)
def test_gradients_are_those_of_lucids_formulae(function: Callable[[Tensor], Tensor], high: float) -> None:
    x = 10 * torch.randn(6, 4, 5, dtype=torch.float64)
    x[[1, 3]] = -x[[1, 3]].abs()  # off everywhere
    if high < math.inf:
        x[4] = torch.where(x[4] > 0, 6 + x[4], x[4])  # off on either side
    x.requires_grad_(True)
    gradient = torch.randn_like(x)
    output = function(x)
    (plain,) = torch.autograd.grad(output, x, gradient)
    with redirected_activations(6):
        again = function(x)
    (redirected,) = torch.autograd.grad(again, x, gradient)
    assert torch.equal(again, output)
    assert torch.equal(redirected, lucid_redirected(x.detach(), gradient, plain, 0.0, high))
    assert not torch.equal(redirected, plain)
    rows = (redirected != plain).flatten(1).any(1).tolist()
    assert rows == [False, True, False, True, high < math.inf, False]


@pytest.mark.parametrize(
    "function", [nn.GELU(), nn.GELU("tanh"), functional.silu, nn.SiLU(inplace=False), nn.Hardswish()]
)
def test_smooth_activation_functions_that_have_underflown_are_turned_on_too(
    function: Callable[[Tensor], Tensor],
) -> None:
    x = torch.tensor([[-4000.0, -3000.0], [-4000.0, -1.0]], requires_grad=True)
    gradient = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]])
    (plain,) = torch.autograd.grad(function(x), x, gradient)
    with redirected_activations(2):
        (redirected,) = torch.autograd.grad(function(x), x, gradient)
    assert plain[0].tolist() == [0, 0]
    assert redirected[0].tolist() == [-1, 0]  # up from below, and no further down
    assert torch.equal(redirected[1], plain[1])


def test_what_is_no_activation_function_keeps_its_gradient() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    for function in (torch.sigmoid, lambda v: functional.hardtanh(v, -1.0, 1.0), lambda v: v.clamp(min=0.1), torch.abs):
        (plain,) = torch.autograd.grad(function(x).sum(), x)
        with redirected_activations(2):
            assert torch.equal(torch.autograd.grad(function(x).sum(), x)[0], plain)


# --- in an optimization ----------------------------------------------------------------------------------------------------------------


class OffInTheDark(nn.Module):
    """Units that fire where a picture is bright, after a network's usual layers; the classes are means of them."""

    def __init__(self, activation: Callable[[], nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.activation, self.head = activation(), nn.Linear(4, 3)
        with torch.no_grad():
            self.conv.weight.abs_()
            self.conv.bias.fill_(-1.0)
            self.head.weight.abs_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.activation(self.norm(self.conv(x))).mean((2, 3)))


def start() -> Tensor:
    """Rows 0 and 2 are so dark that no unit fires, row 1 is not."""
    images = torch.full((3, *SHAPE), 0.05)
    images[1] = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) * 0.5 + 0.5
    return images


@pytest.mark.parametrize("activation", [nn.ReLU, lambda: nn.ReLU(inplace=True), nn.ReLU6])
@pytest.mark.parametrize(
    "loss",
    [ChannelActivation("activation", [1, 2, 3]), ClassLogit([0, 1, 2]), ClassLogit([0, 1, 2]) + 0.1 * HighFrequency()],
)
def test_dead_rows_are_rescued_and_the_others_are_the_same_to_the_bit(activation, loss, untouched) -> None:
    model = seeded(lambda: OffInTheDark(activation)).train()
    options = {"steps": 20, "lr": 0.05, "transform": RandomAffine(5)}
    with pytest.warns(UserWarning, match="exactly zero in all 20 steps"):
        without = InputOptimization(model, loss, **options).optimize(start=start())
    with untouched(model), warnings.catch_warnings():
        warnings.simplefilter("error")
        rescued = InputOptimization(model, loss, **options, redirect_relu_steps=16).optimize(start=start())
    assert rescued.arrangement.folded == without.arrangement.folded == 1
    assert torch.equal(rescued.images[1], without.images[1])
    assert all(torch.equal(rescued.history[name][:, 1], values[:, 1]) for name, values in without.history.items())
    name = loss.terms[0]
    first, last = rescued.history[name][0], rescued.history[name][-1]
    assert bool((last[[0, 2]] > first[[0, 2]] + 0.01).all())
    assert torch.equal(without.history[name][0], first)
    zero = rescued.history["zero_gradient"]
    assert bool(zero[0, [0, 2]].all())
    assert not bool(zero[-1].any())
    assert not bool(zero[:, 1].any())


class TwoWays(nn.Module):
    """A way that is off in the dark, and one that never is."""

    def __init__(self) -> None:
        super().__init__()
        self.off, self.on = OffInTheDark(), nn.Conv2d(3, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.off(x) + functional.softplus(self.on(x)).mean((2, 3)) * (x.mean((1, 2, 3)) < 0.2)[:, None]


def test_a_row_that_gets_a_gradient_by_another_way_is_left_alone() -> None:
    """Row 0 moves by the way that is on, though all of the other is off; row 2 is between, and gets nothing from either."""
    model, images = seeded(TwoWays), start()
    images[2] = 0.25
    with torch.no_grad():
        model.off.conv.bias.fill_(-3.0)
    loss, options = ClassLogit([0, 1, 2]), {"steps": 4, "lr": 0.01}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        without = InputOptimization(model, loss, **options).optimize(start=images)
        redirected = InputOptimization(model, loss, **options, redirect_relu_steps=4).optimize(start=images)
    assert without.history["zero_gradient"][0].tolist() == [0, 1, 1]
    assert torch.equal(redirected.images[0], without.images[0])
    assert not torch.equal(redirected.images[2], without.images[2])


def test_steps_after_the_first_are_not_redirected_and_none_are_by_default() -> None:
    model, loss = seeded(OffInTheDark), ChannelActivation("activation", [1, 2, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        runs = {
            steps: InputOptimization(model, loss, steps=8, lr=1e-4, redirect_relu_steps=steps, clamp=False).optimize(
                start=start()
            )
            for steps in (0, 1, 3, 8)
        }
        plain = InputOptimization(model, loss, steps=8, lr=1e-4, clamp=False).optimize(start=start())
    assert torch.equal(plain.images, runs[0].images)
    assert torch.equal(runs[0].images[[0, 2]], start()[[0, 2]])
    # A learning rate too low to be rescued: the further steps are redirected, the further it goes; Adam's momentum goes on without.
    moved = {steps: float((run.images - start())[0].mean()) for steps, run in runs.items()}
    assert 0 < moved[1] < moved[3] < moved[8]
    assert torch.equal(runs[8].images[1], plain.images[1])


def test_pictures_are_made_with_sixteen_redirected_steps() -> None:
    model = seeded(OffInTheDark).eval()
    with torch.no_grad():
        model.conv.bias.fill_(-1.6)  # off for gray noise
    pictures = visualize(model, ChannelActivation("activation", [0, 1]), SHAPE, steps=30, transform=None)
    assert pictures.settings["redirect_relu_steps"] == 16
    assert bool((pictures.activations > 0).all())
    with pytest.warns(
        UserWarning, match='channel 0 of layer "activation", channel 1 of layer "activation" never fired: '
    ):
        dead = visualize(
            model, ChannelActivation("activation", [0, 1]), SHAPE, steps=30, transform=None, redirect_relu_steps=0
        )
    assert dead.activations.tolist() == [0, 0]


def test_a_unit_that_cannot_fire_is_named() -> None:
    model = seeded(OffInTheDark).eval()
    with torch.no_grad():
        model.conv.bias[2] = -1000.0
    with pytest.warns(UserWarning, match="never fired") as recorded:
        visualize(model, ChannelActivation("activation", [0, 2]), SHAPE, steps=20)
    (message,) = [str(one.message) for one in recorded]
    assert message.startswith(
        'channel 2 of layer "activation" never fired: the gradient through the model was exactly zero in all 20 steps'
    )
    assert 'for prototype 1 (channel 2 of layer "activation"): ' in message
    assert "what the start, redirected activation functions and the regularizers made of it" in message
    assert "in the operation Relu" in message


def test_a_unit_without_a_gradient_that_is_active_is_not_called_off() -> None:
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU6())
    with torch.no_grad():
        model[0].bias.fill_(100.0)
        model[0].weight.fill_(0.0)
    with pytest.warns(
        UserWarning,
        match=r"^the gradient through the model was exactly zero in all 3 steps for prototype 0 \(channel 1 of",
    ):
        InputOptimization(model, ChannelActivation("1", 1), steps=3).optimize(SHAPE)


def test_deep_in_a_network_that_is_dead_from_its_first_layer() -> None:
    model = seeded(SmallCNN).eval()
    with torch.no_grad():
        model.stem[0].bias.fill_(-5.0)
        model.block.bias.fill_(-0.1)
    loss = ChannelActivation("relu", [0, 3])
    result = InputOptimization(model, loss, steps=40, lr=1.0, clamp=False, redirect_relu_steps=40).optimize(SHAPE)
    assert bool(result.history["zero_gradient"][0].all())
    assert bool((result.history["activation"][-1] > 0).all())
