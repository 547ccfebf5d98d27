"""A pass ends after the last layer that a loss looks at, and nothing else is changed by that."""

from __future__ import annotations

import pytest
import torch
import torchvision
from networks import seeded
from torch import Tensor, nn

from captum_proto.capture import LayerRecorder
from captum_proto.optim import (
    ChannelActivation,
    ClassLogit,
    FeatureDistance,
    InputOptimization,
    Loss,
    Outputs,
    ProbabilityVariance,
    RandomAffine,
)


class Counting(nn.Module):
    """Counts its calls on the way."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x


@pytest.fixture
def model() -> nn.Sequential:
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1)]
    return seeded(lambda: nn.Sequential(*layers, nn.Flatten(), Counting(), nn.Linear(8, 4))).eval()


def calls_of(model: nn.Module, loss: Loss, **choices: object) -> int:
    """How often the end of the network ran in ten steps more than in two."""
    counts = []
    for steps in (2, 10):
        counter = next(module for module in model.modules() if isinstance(module, Counting))
        before = counter.calls
        InputOptimization(model, loss, fold_batch_norm=False, channels_last=False, steps=steps, **choices).optimize(
            (3, 12, 12), count=None if loss.targets else 2
        )
        counts.append(counter.calls - before)
    return counts[1] - counts[0]


class Sometimes(Loss):
    """Looks at a layer, and at the output at step 5."""

    layers = ("3",)

    def __init__(self) -> None:
        self.step = -1
        self.seen: list[Tensor] = []

    def __call__(self, outputs: Outputs, images: Tensor) -> Tensor:
        self.step += 1
        if self.step == 5:
            self.seen += [images.detach().clone(), outputs.logits]
        value = -outputs["3"].flatten(1).mean(1)
        return value - outputs.logits[:, 1] if self.step == 5 else value


def test_the_rest_of_the_network_does_not_run(model):
    assert calls_of(model, ChannelActivation("3", [0, 1])) == 0
    assert calls_of(model, ChannelActivation("7", [0, 1])) == 8  # the last layer there is


def test_it_runs_where_its_output_is_looked_at(model):
    assert calls_of(model, ChannelActivation("3", [0, 1]) + ClassLogit([0, 1])) == 8
    assert calls_of(model, ClassLogit([0, 1])) == 8


def test_no_pass_is_made_twice_for_an_output_that_the_check_looked_at_too(model):
    passes: list[int] = []
    model[0].register_forward_hook(lambda *_: passes.append(1))
    counts = []
    for steps in (1, 2, 5):
        passes.clear()
        loss = ClassLogit([0, 1]) + ChannelActivation("3", [0, 1])
        InputOptimization(model, loss, fold_batch_norm=False, channels_last=False, steps=steps).optimize((3, 12, 12))
        counts.append(len(passes))
    assert counts == [counts[0], counts[0] + 1, counts[0] + 4]


def test_pictures_are_the_same_to_the_last_bit(model, monkeypatch):
    def made() -> tuple[Tensor, Tensor]:
        loss = ChannelActivation("3", [0, 1, 5]) + 0.5 * ChannelActivation("0", [2, 3, 4])
        settings = {"transform": RandomAffine(20), "steps": 6, "redirect_relu_steps": 4}
        result = InputOptimization(model, loss, **settings).optimize((3, 12, 12))
        return result.images, result.history["loss"]

    early = made()
    monkeypatch.setattr(LayerRecorder, "may_end_early", property(lambda self: False))
    for one, other in zip(early, made(), strict=True):
        assert torch.equal(one, other)


def test_a_residual_network_ends_in_the_middle_of_a_block(monkeypatch):
    model = torchvision.models.resnet18(weights=None).eval()

    def made(layer: str) -> Tensor:
        return InputOptimization(model, ChannelActivation(layer, [1, 2]), steps=3).optimize((3, 32, 32)).images

    names = ["layer2.0.conv1", "layer1.0.relu#0", "layer1.0.relu"]
    early = [made(name) for name in names]
    ran: list[int] = []
    handle = model.fc.register_forward_hook(lambda *_: ran.append(1))
    InputOptimization(model, ChannelActivation("layer1.0.relu", 0), steps=9, fold_batch_norm=False).optimize(
        (3, 32, 32)
    )
    handle.remove()
    assert len(ran) >= 9  # a layer that is called twice: which call is the last is known at the end alone
    monkeypatch.setattr(LayerRecorder, "may_end_early", property(lambda self: False))
    for name, images in zip(names, early, strict=True):
        assert torch.equal(images, made(name)), name


def test_a_loss_that_looks_at_the_output_later_gets_it_with_its_gradient(model, monkeypatch):
    model.double()  # the gradient of that step goes through the network twice, and is rounded otherwise
    early = Sometimes()
    images = InputOptimization(model, early, steps=8).optimize((3, 12, 12)).images
    shown, logits = early.seen
    torch.testing.assert_close(logits.detach(), model(shown).detach())
    monkeypatch.setattr(LayerRecorder, "may_end_early", property(lambda self: False))
    whole = InputOptimization(model, Sometimes(), steps=8).optimize((3, 12, 12)).images
    torch.testing.assert_close(images, whole, rtol=0, atol=1e-9)


def test_a_warm_up_that_looks_at_the_output_has_it(model):
    optimization = InputOptimization(
        model, ChannelActivation("3", [0, 1]), warmup=ProbabilityVariance(), warmup_steps=3, steps=3
    )
    history = optimization.optimize((3, 12, 12)).history
    assert len(history["warmup_variance"]) == 3
    assert bool(history["activation"].isfinite().all())


def test_images_beside_end_early_too(model):
    beside = torch.rand(2, 3, 12, 12)
    assert calls_of(model, ChannelActivation("3", [0, 1]) + FeatureDistance("0", beside)) == 0


def test_wrapped_models_run_to_their_end(model):
    parallel = nn.DataParallel(model)
    assert calls_of(parallel, ChannelActivation("3", [0, 1])) == 8


def test_a_checkpointed_part_has_its_gradients(monkeypatch):
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.part = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Conv2d(4, 4, 3))
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = torch.utils.checkpoint.checkpoint(self.part, x, use_reentrant=False)
            return self.head(x.mean((2, 3)))

    model = seeded(Checkpointed).eval()

    def made() -> Tensor:
        return InputOptimization(model, ChannelActivation("part.1", [0, 3]), steps=4).optimize((3, 9, 9)).images

    early = made()
    monkeypatch.setattr(LayerRecorder, "may_end_early", property(lambda self: False))
    assert torch.equal(early, made())


def test_a_model_that_catches_its_failures_does_not_catch_the_end(model):
    class Careful(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.caught = 0

        def forward(self, x: Tensor) -> Tensor:
            try:
                return self.model(x)
            except Exception:
                self.caught += 1
                raise

    careful = Careful()
    assert calls_of(careful, ChannelActivation("model.3", [0, 1])) == 0
    assert careful.caught == 0
