"""The optimization against the same optimization written by hand, one image at a time."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto.attr import GenerationSettings
from captum_proto.optim import (
    ClassLogit,
    InputOptimization,
    OptimizationSettings,
    ProbabilityVariance,
    RandomAffine,
    RandomStream,
    prototype_keys,
)
from captum_proto.optim.random import EVALUATION, TRANSFORM


class Jitter:
    """A transform of four lines, differentiable everywhere, with numbers from the stream."""

    def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
        gain, shift = random.uniform(2, 0.5, 1.5).unbind(1)
        return images.roll(1, 3) * gain.view(-1, 1, 1, 1) + (shift - 1).view(-1, 1, 1, 1)

    def settings(self) -> dict[str, Any]:
        return {"name": "Jitter"}


def double_linear(classes: int = 4, pixels: int = 18) -> nn.Module:
    return seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(pixels, 8), nn.Tanh(), nn.Linear(8, classes))).double()


def plain_settings(**choices: Any) -> GenerationSettings:
    """Gradient ascent on the logit, and what is asked for beside."""
    return GenerationSettings(**{"warmup_steps": 0, "high_frequency_weight": 0.0, "transform": None, **choices})


def by_hand(model, preprocess, target, key, start, s: GenerationSettings) -> tuple[Tensor, dict[str, list[float]]]:
    """The method as the paper writes it, for one image: an optimizer from PyTorch, losses spelled out."""
    x = start.clone().requires_grad_(True)
    history: dict[str, list[float]] = {"warmup_variance": [], "loss": [], "logit": [], "probability": []}

    def take_step(optimizer, loss):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if s.clamp:
            with torch.no_grad():
                x.clamp_(*s.value_range)

    classes = model(preprocess(x)).shape[1]
    # The library scales the variance by K² so that Adam feels it; scaling Adam's eps the other way is the same.
    kind = {"adam": torch.optim.Adam, "nadam": torch.optim.NAdam}[s.optimizer]
    optimizer = kind([x], lr=s.lr, betas=s.betas, eps=s.eps / classes**2, foreach=False)
    for _ in range(s.warmup_steps):
        probabilities = model(preprocess(x)).softmax(1)
        variance = ((probabilities - 1 / classes) ** 2).mean()
        history["warmup_variance"].append(variance.item())
        take_step(optimizer, variance)
    optimizer = kind([x], lr=s.lr, betas=s.betas, eps=s.eps, foreach=False)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=s.steps)
    for step in range(s.steps):
        random = RandomStream(key, TRANSFORM, step)
        seen = preprocess(x) if s.preprocess_first else x
        seen = seen if s.transform is None else s.transform(seen, random)
        seen = seen + s.noise * random.normal(x.numel()).view(x.shape) if s.noise else seen
        logits = model(seen if s.preprocess_first else preprocess(seen))
        score = torch.log(torch.exp(logits[0, list(target)]).sum())
        vertical = (x[:, :, 1:] - x[:, :, :-1]).abs() ** s.high_frequency_power
        horizontal = (x[:, :, :, 1:] - x[:, :, :, :-1]).abs() ** s.high_frequency_power
        loss = s.high_frequency_weight * (vertical.mean() + horizontal.mean()) - score
        history["loss"].append(loss.item())
        history["logit"].append(score.item())
        history["probability"].append(logits.softmax(1)[0, list(target)].sum().item())
        take_step(optimizer, loss)
        if s.lr_schedule == "cosine":
            schedule.step()
    return x.detach(), history


def optimization_of(model, targets, settings: GenerationSettings, preprocess=None) -> InputOptimization:
    """What :class:`PrototypeGeneration` makes of its settings for one batch."""
    objective = settings.objective([list(target) for target in targets])
    return InputOptimization(model, objective, preprocess, settings, warmup=ProbabilityVariance())


CHOICES = {
    "plain": {},
    "transformed": {"transform": Jitter()},
    "preprocessed first": {"transform": Jitter(), "preprocess_first": True},
    "affine": {"transform": RandomAffine(180, (0.5, 0.5), (0.7, 1.3), 0.5)},
    "absolute differences": {"high_frequency_weight": 3.0},
    "squared differences": {"high_frequency_weight": 3.0, "high_frequency_power": 2},
    "warm-up": {"warmup_steps": 7},
    "other Adam": {"lr": 0.2, "betas": (0.5, 0.9), "eps": 1e-3, "warmup_steps": 3},
    "unclamped": {"clamp": False, "lr": 0.3},
    "cosine": {"lr_schedule": "cosine", "lr": 0.2, "warmup_steps": 2},
    "Nesterov": {"optimizer": "nadam", "lr": 0.2, "warmup_steps": 3, "eps": 1e-4},
    "Nesterov and cosine": {"optimizer": "nadam", "lr": 0.3, "betas": (0.5, 0.9), "lr_schedule": "cosine"},
    "noise": {"noise": 0.1, "warmup_steps": 2},
    "noise after the transform": {"noise": 0.1, "transform": Jitter()},
    "noise in the model's range": {"noise": 0.1, "transform": Jitter(), "preprocess_first": True},
    "another range": {"value_range": (-1.0, 2.5), "lr": 0.5},
    "everything": {
        "transform": Jitter(),
        "high_frequency_weight": 1.5,
        "warmup_steps": 5,
        "value_range": (0.0, 2.0),
        "preprocess_first": True,
    },
}


@pytest.mark.parametrize("choice", CHOICES)
def test_equals_the_method_written_by_hand(choice):
    model, settings = double_linear(), plain_settings(steps=9, **CHOICES[choice])
    targets = [(2,), (0, 3), (1,)]
    keys = prototype_keys([5, 5, 6], targets)
    start = torch.rand(3, 2, 3, 3, dtype=torch.float64)

    def preprocess(x: Tensor) -> Tensor:
        return (x - 0.3) / 0.6

    optimization = optimization_of(model, targets, settings, preprocess)
    result = optimization.optimize(start=start, seed=[5, 5, 6])
    assert torch.equal(result.rows.keys, keys)
    for i, target in enumerate(targets):
        image, history = by_hand(model, preprocess, target, keys[i : i + 1], start[i : i + 1], settings)
        torch.testing.assert_close(result.images[i : i + 1], image, rtol=0, atol=1e-9)
        for name, values in history.items():
            np.testing.assert_allclose(result.history[name][:, i].numpy(), values, rtol=1e-9, atol=1e-12, err_msg=name)
    assert not torch.equal(result.images, start)
    if settings.clamp:
        low, high = settings.value_range
        assert float(result.images.min()) >= low
        assert float(result.images.max()) <= high
    elif choice == "unclamped":
        assert float(result.images.max()) > 1


def run(model=None, targets=((1,), (2,)), callback=None, snapshot_steps=(), start=None, seed=0, **choices):
    model = double_linear() if model is None else model
    targets = list(targets)
    if start is None:
        start = torch.rand(len(targets), 2, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    optimization = optimization_of(model, targets, plain_settings(**choices))
    result = optimization.optimize(
        start=start, seed=[seed] * len(targets), callback=callback, snapshot_steps=snapshot_steps
    )
    return optimization, result


def test_history_tells_what_each_step_saw():
    model, images, steps = double_linear(), [], []

    def callback(step):
        images.append(step.images.clone())
        steps.append(step)

    start = torch.rand(2, 2, 3, 3, dtype=torch.float64)
    jitter = Jitter()
    _, result = run(
        model, start=start, callback=callback, steps=6, warmup_steps=4, high_frequency_weight=2.0, transform=jitter
    )
    assert {name: tuple(value.shape) for name, value in result.history.items()} == {
        "warmup_variance": (4, 2),
        "loss": (6, 2),
        "logit": (6, 2),
        "probability": (6, 2),
        "high_frequency_loss": (6, 2),
    }
    assert [(s.phase, s.step) for s in steps] == [("warmup", i) for i in range(4)] + [("ascent", i) for i in range(6)]
    assert all(s.prototypes == range(2) for s in steps)
    seen = [start, *images[:-1]]  # what a step saw is what the one before it left
    for i in range(4):
        variance = model(seen[i]).softmax(1).var(1, correction=0)
        torch.testing.assert_close(result.history["warmup_variance"][i], variance.detach())
        assert torch.equal(steps[i].terms["warmup_variance"], result.history["warmup_variance"][i])
    for i in range(6):
        x = seen[4 + i]
        logits = model(jitter(x, RandomStream(result.rows.keys, TRANSFORM, i))).detach()
        classes = torch.tensor([1, 2])
        torch.testing.assert_close(result.history["logit"][i], logits.gather(1, classes[:, None])[:, 0])
        torch.testing.assert_close(
            result.history["probability"][i], logits.softmax(1).gather(1, classes[:, None])[:, 0]
        )
        rough = x.diff(dim=2).abs().mean((1, 2, 3)) + x.diff(dim=3).abs().mean((1, 2, 3))
        torch.testing.assert_close(result.history["high_frequency_loss"][i], rough)
        torch.testing.assert_close(result.history["loss"][i], 2 * rough - result.history["logit"][i])
        assert set(steps[4 + i].terms) == {"loss", "logit", "probability", "high_frequency_loss"}
    assert torch.equal(images[-1], result.images)


def test_snapshots_are_copies_after_so_many_steps():
    images = {}

    def callback(step):
        if step.phase == "ascent":
            images[step.step + 1] = step.images.clone()
        else:
            images[0] = step.images.clone()

    _, result = run(callback=callback, snapshot_steps=(0, 2, 5, 99), steps=5, warmup_steps=2)
    assert list(result.snapshots) == [0, 2, 5]
    for step, snapshot in result.snapshots.items():
        assert torch.equal(snapshot, images[step])
    assert torch.equal(result.snapshots[5], result.images)
    assert result.snapshots[5].data_ptr() != result.images.data_ptr()


@pytest.mark.parametrize("answer", [True, np.True_, torch.tensor(True)], ids=["bool", "NumPy", "tensor"])
@pytest.mark.parametrize(("phase", "at"), [("warmup", 0), ("warmup", 2), ("ascent", 0), ("ascent", 3)])
def test_a_callback_ends_it(answer, phase, at):
    kept = []

    def callback(step):
        kept.append(step.images.clone())
        return answer if (step.phase, step.step) == (phase, at) else False

    _, result = run(callback=callback, steps=6, warmup_steps=3)
    assert result.stopped
    assert torch.equal(result.images, kept[-1])
    assert len(result.history["warmup_variance"]) == (at + 1 if phase == "warmup" else 3)
    assert len(result.history["loss"]) == (0 if phase == "warmup" else at + 1)
    assert result.history["loss"].shape[1] == 2


@pytest.mark.parametrize("answer", [None, False, np.False_, torch.tensor(False), 0])
def test_any_other_answer_goes_on(answer):
    _, result = run(callback=lambda step: answer, steps=3)
    assert not result.stopped
    assert len(result.history["loss"]) == 3


class GrayIsEven(nn.Module):
    """Logits of ten classes that are equal where every pixel is a half."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.register_buffer("weight", torch.randn(18, 10, dtype=torch.float64, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(1) - 0.5) @ self.weight


def test_the_warm_up_evens_the_probabilities_out():
    model = GrayIsEven()
    _, result = run(model, targets=[(0,)] * 4, steps=0, warmup_steps=60)
    variance = result.history["warmup_variance"]
    assert bool((variance[-1] < variance[0] / 20).all())
    expected = model(result.images).softmax(1).var(1, correction=0).detach()
    assert bool((expected < variance[0] / 20).all())


def test_each_image_ends_its_warm_up_by_itself():
    model = GrayIsEven()
    targets = [(i,) for i in range(5)]
    # From nearly even to far from it.
    start = 0.5 + torch.linspace(0.05, 1, 5).view(5, 1, 1, 1) * (torch.rand(5, 2, 3, 3) - 0.5)
    settings = plain_settings(steps=0, warmup_steps=200, warmup_tolerance=2e-5)
    together = optimization_of(model, targets, settings).optimize(start=start)
    lengths = []
    for i in range(5):
        alone = optimization_of(model, targets[i : i + 1], settings).optimize(start=start[i : i + 1])
        torch.testing.assert_close(together.images[i : i + 1], alone.images, rtol=0, atol=1e-12)
        variance = alone.history["warmup_variance"][:, 0]
        lengths.append(len(variance))
        assert float(variance[-1]) <= 2e-5 < float(variance[:-1].min())
        # Once even, it rests: in the batch its variance stays where it was.
        torch.testing.assert_close(
            together.history["warmup_variance"][len(variance) - 1 :, i],
            variance[-1].expand(len(together.history["warmup_variance"]) - len(variance) + 1),
            rtol=1e-6,
            atol=0,
        )
    assert len(together.history["warmup_variance"]) == max(lengths) < 200
    assert min(lengths) < max(lengths)


def test_evaluation_is_the_mean_over_fresh_draws():
    model, jitter = double_linear(), Jitter()
    generation, options = PrototypeGeneration(model), {"steps": 2, "warmup_steps": 0, "transform": jitter}
    values = generation.generate([[1], [0, 2]], (2, 3, 3), evaluation_draws=7, **options)
    keys = prototype_keys(values.seeds, values.target)
    logits = model(values.images).detach()
    score = torch.stack([logits[0, 1], logits[1, [0, 2]].exp().sum().log()])
    torch.testing.assert_close(values.logits, score)
    probabilities = logits.softmax(1)
    torch.testing.assert_close(values.probabilities, torch.stack([probabilities[0, 1], probabilities[1, [0, 2]].sum()]))
    drawn = [model(jitter(values.images, RandomStream(keys, EVALUATION, draw))).detach() for draw in range(7)]
    torch.testing.assert_close(values.transformed_logits[0], torch.stack([each[0, 1] for each in drawn]).mean())
    torch.testing.assert_close(
        values.transformed_probabilities[1],
        torch.stack([each.softmax(1)[1, [0, 2]].sum() for each in drawn]).mean(),
    )
    assert not torch.allclose(values.transformed_logits, values.logits)
    none = generation.generate([[1], [0, 2]], (2, 3, 3), evaluation_draws=0, **options)
    assert torch.equal(none.transformed_logits, none.logits)


# --- what goes wrong -----------------------------------------------------------------------------------------------------------------


class Failing(nn.Module):
    """A model whose output or gradient spoils at one step."""

    def __init__(self, at: int, spoil, after: bool = True) -> None:
        super().__init__()
        self.inner, self.at, self.spoil, self.calls, self.after = double_linear(), at, spoil, 0, after

    def forward(self, x: Tensor) -> Tensor:
        self.calls += torch.is_grad_enabled()  # without, the model is only looked at
        spoiled = self.calls == self.at or (self.after and self.calls > self.at)
        return self.spoil(self.inner(x)) if spoiled else self.inner(x)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("at", [2, 20, 34, 41, 50])
def test_a_model_that_turns_bad_is_caught_and_the_step_named(value, at):
    def spoil(logits):
        return torch.cat([logits[:1], logits[1:] * value])

    with pytest.raises(ValueError, match=rf"NaN or infinity for prototype 1 \(target \[2\]\) at step {at - 1}; check"):
        run(Failing(at, spoil), steps=50)


def test_a_model_that_turns_bad_in_the_warm_up():
    with pytest.raises(ValueError, match=r"prototype 0 \(target \[1\]\) at warm-up step 4"):
        run(Failing(5, lambda logits: logits * float("nan")), warmup_steps=10, steps=3)


def test_a_gradient_of_nan_is_refused():
    class Kink(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = double_linear()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x + (0 * x).sqrt())  # finite, but its derivative is 0 · ∞

    with pytest.raises(ValueError, match=r"gradient turned prototype 0 \(target \[1\]\) into NaN"):
        run(Kink(), steps=1)


@pytest.mark.parametrize("warmup_steps", [0, 2])
@pytest.mark.parametrize("break_it", [lambda y: y.detach(), lambda y: y.detach().requires_grad_(False)])
def test_a_model_without_gradient_is_told_so(break_it, warmup_steps):
    model = double_linear()
    with pytest.raises(ValueError, match="has no gradient with respect to the images"):
        run(lambda x: break_it(model(x.double())), steps=2, warmup_steps=warmup_steps, high_frequency_weight=1.0)


def test_a_transform_without_gradient_is_told_so():
    class Rounding(Jitter):
        def __call__(self, images: Tensor, random: RandomStream) -> Tensor:
            return images.detach().round()

    with pytest.raises(ValueError, match="has no gradient with respect to the images"):
        run(transform=Rounding(), steps=2, warmup_steps=2, high_frequency_weight=1.0)


def test_a_half_precision_gradient_that_overflows_waits_for_a_smaller_scale():
    linear = nn.Linear(8, 2, bias=False).half()
    with torch.no_grad():
        linear.weight.copy_(torch.tensor([[400.0, -400.0] * 4, [0.25, -0.25] * 4]))
    model = nn.Sequential(nn.Flatten(), linear)
    start = torch.full((2, 2, 2, 2), 0.5)
    images = [start]
    result = InputOptimization(model, ClassLogit([0, 1]), steps=20).optimize(
        start=start, callback=lambda step: images.append(step.images.clone())
    )
    pattern = torch.tensor([1.0, 0.0] * 4).view(2, 2, 2)
    assert torch.equal(result.images, pattern.expand(2, -1, -1, -1))
    # Only the row whose gradient overflowed waited, until its own scale was small enough; then it went on without a break.
    moved = torch.tensor(
        [[not torch.equal(new, old) for new, old in zip(b, a, strict=True)] for a, b in pairwise(images)]
    )
    first = moved.int().argmax(0).tolist()
    assert first[0] > first[1] == 0
    for row in range(2):
        assert bool(moved[first[row] : first[row] + 10, row].all())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"steps": -1}, "steps is -1; expected a whole number of at least 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"steps": True}, "steps is True"),
        ({"warmup_steps": -3}, "warmup_steps is -3"),
        ({"lr": -0.1}, "lr is -0.1; expected a finite number of at least 0"),
        ({"lr": float("nan")}, "lr is nan"),
        ({"high_frequency_weight": float("inf")}, "high_frequency_weight is inf"),
        ({"high_frequency_weight": -1}, "high_frequency_weight is -1"),
        ({"warmup_tolerance": -1}, "warmup_tolerance is -1"),
        ({"eps": -1}, "eps is -1"),
        ({"high_frequency_power": 3}, "high_frequency_power is 3; expected 1 or 2"),
        ({"value_range": (1.0, 0.0)}, r"value_range is \(1.0, 0.0\); expected \(least, most\)"),
        ({"value_range": (0.5, 0.5)}, "value_range"),
    ],
)
def test_settings_that_make_no_sense_are_refused(choices, message):
    with pytest.raises(ValueError, match=message):
        plain_settings(**choices)
    if choices.keys() <= OptimizationSettings.__dataclass_fields__.keys():
        with pytest.raises(ValueError, match=message):
            InputOptimization(double_linear(), ClassLogit(0), **choices)


def test_settings_are_json():
    settings = plain_settings(
        transform=RandomAffine(180, (0.5, 0.5)), value_range=(-1, 1), parametrization="fourier", autocast=torch.float16
    )
    recorded = json.loads(json.dumps(settings.to_json()))
    assert recorded["transform"]["degrees"] == [-180.0, 180.0]
    assert recorded["value_range"] == [-1.0, 1.0]
    assert recorded["parametrization"]["name"] == "FFTImage"
    assert recorded["autocast"] == "float16"
    assert set(recorded) == set(GenerationSettings.__dataclass_fields__)
    objective = settings.objective([[1, 2], [3]])
    assert json.loads(json.dumps(objective.settings()))["parts"][0]["loss"] == {
        "name": "ClassLogit",
        "target": [[1, 2], [3]],
    }


def test_the_start_is_not_touched_and_nothing_hangs_on_the_result():
    start = torch.rand(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    before = start.detach().clone()
    _, result = run(start=start, steps=3, snapshot_steps=(1,))
    assert torch.equal(start.detach(), before)
    assert start.grad is None
    tensors = [result.images, *result.history.values(), *result.snapshots.values()]
    assert not any(tensor.requires_grad or tensor.grad_fn is not None or tensor.grad is not None for tensor in tensors)
