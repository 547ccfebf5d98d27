"""Pictures of units: attempts, batches, callbacks, snapshots, and files of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from captum_proto.optim import ChannelActivation, PixelImage, Visualizations, visualize
from captum_proto.optim.visualization import visualization_settings

SHAPE = (3, 12, 12)
PLAIN: dict[str, Any] = {"steps": 6, "transform": None, "parametrization": PixelImage(), "lr": 0.1}


@pytest.fixture
def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 4, 3)).double().eval()


def test_a_linear_unit_reaches_its_optimum() -> None:
    """Of a channel's mean over a linear layer, the best picture in [0, 1] is white where the pixel's total weight is positive."""
    model = nn.Conv2d(3, 2, 12, bias=False).double()
    made = visualize(nn.Sequential(model), ChannelActivation("0", [0, 1]), SHAPE, **{**PLAIN, "steps": 60})
    optimum = model.weight.detach().clamp(min=0).flatten(1).sum(1)
    torch.testing.assert_close(made.activations.double(), optimum, rtol=1e-3, atol=0)
    assert bool(((made.images > 0.5) == (model.weight > 0)).double().mean() > 0.999)


@pytest.mark.parametrize("attempts", [1, 2])
def test_each_picture_is_what_it_would_be_alone(network: nn.Module, attempts: int) -> None:
    units = [3, 0, 2, 0, 1]
    whole = visualize(network, ChannelActivation("2", units), SHAPE, attempts=attempts, steps=4)
    parts = visualize(network, ChannelActivation("2", units), SHAPE, attempts=attempts, steps=4, batch_size=2)
    torch.testing.assert_close(parts.images, whole.images)
    assert parts.seeds == whole.seeds
    assert whole.targets == [(unit,) for unit in units]
    alone = visualize(network, ChannelActivation("2", 2), SHAPE, attempts=attempts, steps=4)
    torch.testing.assert_close(alone.images[0], whole.images[2])
    torch.testing.assert_close(alone.history["activation"][:, 0], whole.history["activation"][:, 2])
    assert not torch.equal(whole.images[1], whole.images[3])  # another seed of the same unit


def test_the_best_attempt_is_kept_with_all_that_is_known_of_it(network: nn.Module) -> None:
    loss, options = ChannelActivation("2", [1, 3]), {**PLAIN, "snapshot_steps": [2]}
    best = visualize(network, loss, SHAPE, attempts=3, **options)
    tried = [visualize(network, loss, SHAPE, seed=seed, **options) for seed in range(3)]
    every = torch.stack([one.activations for one in tried], 1)
    torch.testing.assert_close(best.attempts, every)
    torch.testing.assert_close(best.activations, every.amax(1))
    assert best.seeds == every.argmax(1).tolist()
    assert len(set(best.seeds) - {0}) > 0  # else the test shows nothing
    for row, seed in enumerate(best.seeds):
        torch.testing.assert_close(best.images[row], tried[seed].images[row])
        torch.testing.assert_close(best.history["activation"][:, row], tried[seed].history["activation"][:, row])
        torch.testing.assert_close(best.snapshots[2][row], tried[seed].snapshots[2][row])


def test_attempts_of_one_unit_have_seeds_of_their_own(network: nn.Module) -> None:
    twice = visualize(network, ChannelActivation("2", [1, 1]), SHAPE, attempts=3, **PLAIN)
    one = ChannelActivation("2", 1)
    alone = [float(visualize(network, one, SHAPE, seed=seed, **PLAIN).activations) for seed in range(6)]
    assert twice.attempts is not None
    assert sorted(twice.attempts.flatten().tolist()) == pytest.approx(sorted(alone))


def test_a_callback_sees_all_and_ends_all(network: nn.Module) -> None:
    seen: list[tuple[int, range]] = []

    def watch(step: Any) -> bool:
        seen.append((step.step, step.prototypes))
        return len(seen) == 9

    made = visualize(network, ChannelActivation("2", range(4)), SHAPE, batch_size=2, callback=watch, **PLAIN)
    assert [rows for _, rows in seen] == [range(0, 2)] * 6 + [range(2, 4)] * 3
    assert len(made) == 4
    assert made.settings["stopped_by_callback"] is True
    assert made.history["activation"][:, 3].isnan().tolist() == [False] * 3 + [True] * 3
    half = visualize(
        network, ChannelActivation("2", range(4)), SHAPE, batch_size=2, callback=lambda step: step.step == 1, **PLAIN
    )
    assert len(half) == 2


def test_given_images_are_the_start(network: nn.Module) -> None:
    start = torch.rand(2, *SHAPE)
    made = visualize(network, ChannelActivation("2", [0, 1]), SHAPE, start=start, batch_size=1, **{**PLAIN, "steps": 0})
    torch.testing.assert_close(made.images.float(), start)
    with pytest.raises(ValueError, match="start holds 2 images for 3 pictures"):
        visualize(network, ChannelActivation("2", [0, 1, 2]), SHAPE, start=start, **PLAIN)


@pytest.mark.filterwarnings("ignore:.*the gradient through the model was exactly zero")
@pytest.mark.parametrize("steps", [0, 16])
def test_a_unit_that_never_fires_is_known(steps: int) -> None:
    """With its activation function redirected it has a gradient, and never fires all the same."""
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU())
    with torch.no_grad():
        model[0].bias.copy_(torch.tensor([-100.0, 100.0]))
    made = visualize(model, ChannelActivation("1", [0, 1]), SHAPE, **PLAIN, redirect_relu_steps=steps)
    assert made.responds.tolist() == [False, True]
    assert float(made.activations[0]) == 0
    assert Visualizations.concatenate([made, made.of(1)]).responds.tolist() == [False, True, True]


def test_a_unit_whose_weights_have_died_does_not_respond_though_its_mean_is_rounded_otherwise_each_time() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2)).eval()
    with torch.no_grad():
        model[0].weight[0] *= 1e-5
        model[1].bias.copy_(torch.tensor([-2.569, -2.569]))
    made = visualize(model, ChannelActivation("1", [0, 1]), SHAPE, **PLAIN)
    values = made.history["activation"][:, 0]
    assert float(values.max() - values.min()) > 0  # or the test is of nothing
    assert made.responds.tolist() == [False, True]


def test_rows_and_multiples_of_natural_activations(network: nn.Module) -> None:
    made = visualize(network, ChannelActivation("2", range(4)), SHAPE, **PLAIN)
    last = made.of([-1, 0])
    assert last.targets == [(3,), (0,)]
    torch.testing.assert_close(last.images, made.images[[3, 0]])
    torch.testing.assert_close(
        made.relative_to(made.activations.unsqueeze(1) * torch.tensor([[0.25, 0.5]])), torch.full((4,), 2.0)
    )
    for rows, error, words in (
        (4, ValueError, "no picture 4"),
        (["a"], TypeError, "rows is"),
        (1.5, TypeError, "rows"),
    ):
        with pytest.raises(error, match=words):
            made.of(rows)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"expected \(N, K\)"):
        made.relative_to(torch.ones(3, 2))


def test_saved_and_read_back(network: nn.Module, tmp_path: Path) -> None:
    made = visualize(network, ChannelActivation("2", [0, 3]), SHAPE, attempts=2, snapshot_steps=[0, 6], **PLAIN)
    made.save(tmp_path / "a.safetensors")
    read = Visualizations.load(tmp_path / "a.safetensors")
    for name, value in vars(made).items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(getattr(read, name), value), name
        elif name in ("history", "snapshots"):
            assert value.keys() == getattr(read, name).keys()
            assert all(torch.equal(value[key], getattr(read, name)[key]) for key in value), name
        else:
            assert getattr(read, name) == value, name
    with pytest.raises(FileExistsError):
        made.save(tmp_path / "a.safetensors")


def test_the_model_comes_back_as_it_was(make_cnn: Any, lived_in: Any, untouched: Any) -> None:
    model = lived_in(make_cnn())
    with untouched(model):
        visualize(model, ChannelActivation("block", [0, 5]), SHAPE, steps=2, attempts=2)


def test_wrong_numbers(network: nn.Module) -> None:
    loss = ChannelActivation("2", [0, 1])
    for choices, words in (
        ({"attempts": 0}, "attempts is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"count": 3}, "count is 3, but the loss has 2 rows"),
        ({"seed": [1]}, "1 seeds were given for 2"),
        ({"steps": -1}, "steps is -1"),
    ):
        with pytest.raises(ValueError, match=words):
            visualize(network, loss, SHAPE, **choices)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"channel 4 is out of range: layer \"2\" has 4 channels"):
        visualize(network, ChannelActivation("2", 4), SHAPE)
    assert visualization_settings((3, 112, 112)).transform.settings()["transform"]["transforms"][0]["pixels"] == 6  # type: ignore[union-attr]
