"""Losses add, subtract and scale, select their rows, and see what they asked for."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto.optim import (
    ClassLogit,
    GramDiversity,
    HighFrequency,
    InputOptimization,
    Loss,
    PixelDiversity,
    RandomStream,
    prototype_keys,
)
from captum_proto.optim.loss import Outputs, ProbabilityVariance, Rows, class_score
from captum_proto.optim.random import LOSS


class Fixed(Loss):
    """Known values, which it records."""

    terms = ("fixed",)

    def __init__(self, *values: float, targets: list[tuple[int, ...]] | None = None) -> None:
        self.values, self.targets = values, targets

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return outputs.record("fixed", torch.tensor(self.values))


def outputs_of(output: Any, count: int = 2, targets=None, **layers: Tensor) -> Outputs:
    targets = targets or [()] * count
    rows = Rows(range(count), targets, prototype_keys([3] * count, targets))
    return Outputs(output, layers, rows, step=5)


A, B = Fixed(1.0, 2.0), Fixed(0.5, -4.0)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (A + B, [1.5, -2]),
        (A - B, [0.5, 6]),
        (A + 2 * B, [2, -6]),
        (B * 2.0, [1, -8]),
        (-A, [-1, -2]),
        (A / 4, [0.25, 0.5]),
        (sum([A, B, A]), [2.5, 0]),
        (2 * (A - 3 * B), [-1, 28]),
        (-(A - B) + 0 * B, [-0.5, -6]),
    ],
)
def test_algebra(loss, expected):
    outputs = outputs_of(None)
    assert loss(outputs, torch.zeros(2)).tolist() == expected
    assert loss.terms == ("fixed",)
    assert list(outputs.terms)[:2] in (["fixed"], ["fixed", "fixed#1"])  # a name that is taken gets a number


@pytest.mark.parametrize("make", [lambda: A + 1, lambda: A * B, lambda: 1 / A, lambda: A - 2, lambda: A * "2"])
def test_what_is_no_algebra_of_losses(make):
    with pytest.raises(TypeError):
        make()


def test_a_sum_has_what_its_parts_have():
    gram, logit = GramDiversity("layer3"), ClassLogit([[1, 2], [5], [5]])
    loss = logit + 0.5 * HighFrequency(2) - 3 * gram
    assert loss.layers == ("layer3",)
    assert loss.terms == ("logit", "probability", "high_frequency_loss", "diversity_loss")
    assert loss.targets == [(1, 2), (5,), (5,)]
    assert loss.rows(range(1, 3)).targets == [(5,), (5,)]
    assert loss.rows(range(1, 3)).rows(range(1, 2)).targets == [(5,)]
    assert (HighFrequency() + PixelDiversity()).targets is None
    assert (ClassLogit([1, 1]) - ClassLogit([2, 3])).targets == [(1, 2), (1, 3)]
    assert loss.settings() == {
        "name": "WeightedSum",
        "parts": [
            {"weight": 1, "loss": {"name": "ClassLogit", "target": [[1, 2], [5], [5]]}},
            {"weight": 0.5, "loss": {"name": "HighFrequency", "power": 2}},
            {"weight": -3, "loss": gram.settings()},
        ],
    }
    assert repr(loss) == (
        "1 * ClassLogit([[1, 2], [5], [5]]) + 0.5 * HighFrequency(power=2) + "
        "-3 * GramDiversity('layer3', channel_axis=None)"
    )
    with pytest.raises(ValueError, match="losses of 3 and 2 rows were added"):
        logit + ClassLogit([1, 2])


def test_rows_of_a_class_logit_have_the_values_of_these_rows():
    logits, loss = torch.randn(4, 6, requires_grad=True), ClassLogit([[1, 2], [5], [0], [3, 4]])
    whole = loss(outputs_of(logits, 4), torch.zeros(4))
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[[0, 0, 1, 2, 3, 3], [1, 2, 5, 0, 3, 4]] = True
    assert torch.equal(whole, -class_score(logits, mask))
    part = loss.rows(range(1, 3))
    assert torch.equal(part(outputs_of(logits[1:3]), torch.zeros(2)), whole[1:3])
    with pytest.raises(ValueError, match="target 9 is out of range: the model has 6 classes"):
        ClassLogit([1, 2, 9]).rows(range(2)).check(outputs_of(logits[:2]))


def test_random_numbers_belong_to_the_row_and_the_step():
    outputs = outputs_of(None, targets=[(1,), (2,)])
    expected = RandomStream(prototype_keys([3, 3], [(1,), (2,)]), LOSS, 5)
    assert torch.equal(outputs.random.uniform(4), expected.uniform(4))


def test_rows_without_targets_are_all_partners():
    assert outputs_of(None, 3).partners.tolist() == (~torch.eye(3, dtype=torch.bool)).tolist()
    assert not outputs_of(None, targets=[(1,), (2,)]).partners.any()


def test_layers_that_were_not_asked_for():
    outputs = outputs_of(None, block=torch.rand(2, 3, requires_grad=True), still=torch.rand(2, 3))
    assert outputs["block"].shape == (2, 3)
    with pytest.raises(ValueError, match='layer "stem" was not asked for; put it into the layers of the loss'):
        outputs["stem"]
    with pytest.raises(ValueError, match='what layer "still" returned has no gradient'):
        outputs["still"]


# --- what InputOptimization makes of them ------------------------------------------------------------------------------------------------


def model() -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(144, 5)))


class Answer(Loss):
    """Whatever a function of the outputs and images says."""

    def __init__(self, answer, *layers) -> None:
        self.answer, self.layers = answer, layers

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        return self.answer(outputs, images)


@pytest.mark.parametrize(
    ("loss", "options", "error", "message"),
    [
        (lambda x: x, {}, TypeError, "loss is a function; expected a Loss"),
        (ClassLogit, {}, TypeError, "loss is a type, the class ClassLogit itself; expected a Loss"),
        (
            Answer(lambda o, x: x),
            {},
            ValueError,
            r"loss returned shape \(2, 1, 8, 8\); expected one value for each of the 2",
        ),
        (Answer(lambda o, x: 3), {}, ValueError, "the loss returned a int"),
        (Answer(lambda o, x: x.detach().mean((1, 2, 3))), {}, ValueError, "the loss has no gradient with respect to"),
        (Answer(lambda o, x: o["1"].sum(), "0"), {}, ValueError, 'layer "1" was not asked for'),
        (Answer(lambda o, x: o["9"].sum(), "9"), {}, ValueError, 'there is no layer "9" in Sequential'),
        (ClassLogit([1, 2, 3]), {}, ValueError, "the loss has 3 targets for 2 rows; give one for each row"),
        (ClassLogit([1, 7]), {}, ValueError, "target 7 is out of range"),
        (ClassLogit([1, 2]), {"warmup_steps": 2}, ValueError, "warmup_steps is 2, but warmup is None"),
        (ClassLogit([1, 2]), {"stepz": 2}, TypeError, "stepz"),
        (ClassLogit([1, 2]), {"image_shape": None}, TypeError, "image_shape is missing"),
    ],
)
def test_what_cannot_be_optimized(loss, options, error, message):
    shape = options.pop("image_shape", (1, 8, 8))
    with pytest.raises(error, match=message):
        InputOptimization(model(), loss, **{"steps": 2, **options}).optimize(shape, count=2)


def test_a_layer_given_as_a_module_and_an_output_that_is_no_tensor():
    network = model()
    conv = network[0]
    # The layer is read before the ReLU after it works in place; the batch has no logits.
    loss = Answer(lambda o, x: -o[conv].clamp(max=0).mean((1, 2, 3)), conv)
    result = InputOptimization(lambda x: {"logits": network(x)}, loss, steps=5).optimize((1, 8, 8), count=2)
    assert result.history["loss"].shape == (5, 2)
    assert bool((result.history["loss"] > 0).all())
    assert not conv._forward_hooks


def test_a_warm_up_of_ones_own_and_outputs_of_finished_inputs():
    network = model().double()
    brightness = Answer(lambda o, x: (x.mean((1, 2, 3)) - 0.5).square())
    optimization = InputOptimization(network, ClassLogit([1, 2]), warmup=brightness, warmup_steps=3, steps=2)
    result = optimization.optimize((1, 8, 8), progress=True)
    assert {name: len(values) for name, values in result.history.items()} == {
        "warmup_loss": 3,
        "loss": 2,
        "logit": 2,
        "probability": 2,
    }
    (outputs,) = optimization.outputs(result)
    torch.testing.assert_close(outputs.logits, network(result.images).detach())
    even = InputOptimization(network, HighFrequency(), warmup=ProbabilityVariance(), warmup_steps=2, steps=0)
    assert list(even.optimize((1, 8, 8)).history) == ["warmup_variance", "loss", "high_frequency_loss"]
