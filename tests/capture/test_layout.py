"""Outputs whose batch axis holds more than the images: each row goes to its image, or the layer is left out and the reason told."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from networks import seeded
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from captum_proto import PathSimilarity, PrototypeGeneration, capture
from captum_proto.capture import Capture, LayerRecorder
from captum_proto.metrics import pairwise_similarity
from captum_proto.optim import InputOptimization
from captum_proto.optim.loss import GramDiversity, Loss

SHAPE = (3, 8, 8)


class Through(nn.Module):
    """Images rearranged by a function, then a network."""

    def __init__(self, rearrange: Callable[[Tensor], Tensor], network: nn.Module) -> None:
        super().__init__()
        self.rearrange, self.net, self.head = rearrange, network, nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.mean(1).flatten(1)[:, :8])
        self.net(self.rearrange(x))
        return logits


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )


def linear(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, 3))


def crops(x: Tensor) -> list[Tensor]:
    return [x[..., i : i + 6, j : j + 6] for i in (0, 2) for j in (0, 2)]


def windows(x: Tensor) -> Tensor:
    """(N, 3, 8, 8) in four windows of 4 × 4, those of one image together: (4N, 3, 4, 4)."""
    return x.unflatten(2, (2, 4)).unflatten(4, (2, 4)).movedim((2, 4), (1, 2)).reshape(-1, 3, 4, 4)


def steps_first(x: Tensor) -> Tensor:
    """An image is a sequence of its rows of pixels, time first: (8N, 24)."""
    return x.transpose(1, 2).flatten(2).transpose(0, 1).reshape(-1, 24)


REARRANGED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[], nn.Module]]] = {
    "views one after the other": (lambda x: torch.cat([x, x.flip(3)]), convolutional),
    "views side by side": (lambda x: torch.stack([x, x.flip(3)], 1).flatten(0, 1), convolutional),
    "a view twice": (lambda x: torch.cat([x, x]), convolutional),
    "nearly the same view twice": (lambda x: torch.cat([x, x + 1e-3, x]), convolutional),
    "three views": (lambda x: torch.cat([x, x.flip(3), 1 - x]), convolutional),
    "crops one after the other": (lambda x: torch.cat(crops(x)), convolutional),
    "crops side by side": (lambda x: torch.stack(crops(x), 1).flatten(0, 1), convolutional),
    "windows": (windows, convolutional),
    "windows of views": (lambda x: windows(torch.cat([x, x.flip(3), x.flip(2)])), convolutional),
    "views of windows": (lambda x: torch.stack([windows(x), windows(x).flip(3)], 1).flatten(0, 1), convolutional),
    "time first": (steps_first, lambda: linear(24)),
    "time second": (lambda x: x.transpose(1, 2).flatten(2).flatten(0, 1), lambda: linear(24)),
    "time first, not flattened": (lambda x: x[:, 0].transpose(0, 1), lambda: linear(8)),
    "an axis in the middle": (lambda x: torch.cat([x, x.flip(3)]).flatten(2).transpose(0, 1), lambda: linear(64)),
    "the last axis": (lambda x: steps_first(x).t(), nn.Tanh),
    "single numbers": (lambda x: torch.cat([x, x.flip(3)]).mean((1, 2, 3)) * torch.ones(()), nn.Tanh),
}


class Sequences(nn.Module):
    """An LSTM with time first, what follows it flattened, and a packed sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.after, self.packed = nn.LSTM(24, 4, num_layers=2), nn.Linear(4, 3), nn.LSTM(24, 4)
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        output, (hidden, _) = self.lstm(steps_first(x).view(8, len(x), 24))
        self.after(output.flatten(0, 1))
        self.packed(pack_padded_sequence(output.new_ones(()) * steps_first(x).view(8, len(x), 24), [8] * len(x)))
        logits: Tensor = self.head(hidden[-1])
        return logits


@pytest.fixture(params=[*REARRANGED, "sequences"])
def model(request) -> nn.Module:
    if request.param == "sequences":
        return seeded(Sequences).eval().double()
    rearrange, network = REARRANGED[request.param]
    return seeded(lambda: Through(rearrange, network())).eval().double()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(5, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def assert_same_as_alone(model: nn.Module, images: Tensor, tolerance: float, **options) -> dict[str, Tensor]:
    together = capture(model, images, **options)
    for index, image in enumerate(images):
        alone = capture(model, image.unsqueeze(0), **options)
        assert list(alone) == list(together)
        for name, value in alone.items():
            torch.testing.assert_close(together[name][index], value[0], rtol=0, atol=tolerance, msg=name)
    return together


@pytest.mark.parametrize("plan_on", ["the first image", "a black image"])
def test_each_image_has_what_it_has_alone(model, images, plan_on):
    if plan_on == "a black image":
        images[0] = 0
    together = assert_same_as_alone(model, images, 1e-12)
    assert len(together) >= 2
    assert all(len(value) == len(images) for value in together.values())


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.05), (torch.float16, 0.01)], ids=str
)
def test_rounding_does_not_hide_the_order(model, images, dtype, tolerance):
    assert_same_as_alone(model.to(dtype), images.to(dtype), tolerance)


def test_scores_are_the_same_for_any_batch_size(model, images):
    one_by_one, together = (
        PathSimilarity(model, batch_size=size).fit(images).evaluate(images.flip(0), leave_one_out=True)
        for size in (1, 5)
    )
    torch.testing.assert_close(together.l1, one_by_one.l1, rtol=1e-9, atol=1e-12)
    # Of a layer with a single value or equal ones an image's ranks say nothing, and rounding decides on the rest.
    assert int(((together.spearman - one_by_one.spearman).abs() > 1e-9).sum()) == 0


def test_outputs_in_tuples_and_calls_of_their_own():
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> dict[str, object]:
            return {"views": (torch.cat([x, -x]), x), "time": x.flatten(2).movedim(2, 0).flatten(0, 1)}

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pair, self.relu = Pair(), nn.ReLU(inplace=True)

        def forward(self, x: Tensor) -> Tensor:
            views = self.relu(self.pair(x)["views"][0])
            return self.relu(self.pair(views - 0.1)["time"]).view(-1, 2, len(x), 3).sum((0, 1))

    images = torch.rand(3, 3, 4, 4, dtype=torch.float64)
    for alias in ("value", "reference"):
        together = assert_same_as_alone(Twice(), images, 1e-12, repeat="all", alias=alias)
        assert {name: tuple(value.shape[1:]) for name, value in together.items()} == {
            "pair[views][0]": (2, 3, 4, 4),
            "pair[views][1]": (3, 4, 4),
            "pair[time]": (16, 3),
            "relu": (2, 3, 4, 4),
            "pair#1[views][0]": (4, 3, 4, 4),
            "pair#1[views][1]": (2, 3, 4, 4),
            "pair#1[time]": (32, 3),
            "relu#1": (32, 3),
        }


@pytest.mark.parametrize("rearranged", ["views one after the other", "views side by side"])
def test_a_dead_layer_has_the_order_of_its_neighbors(rearranged, images):
    """All three images on which the order is found give zeros; an image that comes later does not."""
    rearrange, _ = REARRANGED[rearranged]
    network = nn.Sequential(nn.Flatten(), nn.Linear(192, 4, bias=False), nn.Threshold(30.0, 0.0), nn.Identity())
    model = seeded(lambda: Through(rearrange, network)).double()
    assert capture(model, images)["net.2"].abs().max() == 0
    bright = 100 * images
    plan = Capture(model, model, images)
    seen: dict[str, Tensor] = {}
    plan.run(bright, lambda index, output: seen.update({plan.names[index]: output.clone()}))
    assert seen["net.2"].abs().max() > 0
    for index, image in enumerate(bright):
        expected = network(rearrange(image.unsqueeze(0))).detach()
        torch.testing.assert_close(seen["net.2"][index], expected)
        torch.testing.assert_close(seen["net.3"][index], expected)


def shuffled(x: Tensor) -> Tensor:
    """Rows of views in an order that is neither."""
    rows = torch.cat([x, x.flip(3)])
    return rows[torch.arange(len(rows)).flip(0)]


LEFT_OUT = {
    "an order of its own": (
        shuffled,
        "for several images its rows are not, in any order, the 2 that it gives for each",
    ),
    "pairs of images": (lambda x: torch.cat([x, x.flip(0) * 2 + x]), "are not, in any order, the 2"),
    "as many as there is to see": (lambda x: x[0, 0, : 2 + int(10 * x[0].mean()) % 3].repeat(len(x), 1), "not, in any"),
    "constants": (lambda x: x.new_ones(2 * len(x), 3), "three images give the same 2 rows each, so whose is whose"),
}


@pytest.mark.parametrize("what", LEFT_OUT)
def test_rows_that_cannot_be_told_apart_are_left_out(images, what):
    rearrange, reason = LEFT_OUT[what]
    model = seeded(lambda: Through(rearrange, nn.Identity())).double()
    plan = Capture(model, model, images)
    assert plan.names == ["head"]
    assert reason in plan.skipped["net"]
    assert PathSimilarity(model).fit(images).reference.skipped == plan.skipped
    with pytest.raises(ValueError, match="none of the 1 layers gave a floating-point tensor per image"):
        capture(model, images, "net")


def test_another_shape_than_planned_is_refused(images):
    model = Through(lambda x: x[x[:, 0, 0, 0] > 0.5].flatten(2), nn.Identity()).double()
    images[:, 0, 0, 0] = 1
    plan = Capture(model, model, images)
    images[3, 0, 0, 0] = 0
    with pytest.raises(
        ValueError, match=r'layer "net" returned shape \(4, 3, 64\) for 5 images, where one of the planned'
    ):
        plan.stream(images, lambda index, rows: None)


def test_no_further_pass_where_the_batch_has_an_axis_of_its_own(make_cnn, make_images):
    model, images = make_cnn(), make_images(2)
    counts = []
    handle = model.head.register_forward_hook(lambda *_: counts.append(1))
    Capture(model, model, images)
    handle.remove()
    assert len(counts) == 2


def test_a_model_that_works_on_its_input_in_place(images):
    model = nn.Sequential(Through(lambda x: torch.cat([x.sub_(0.5), x.flip(3)]), nn.ReLU(inplace=True))).double()
    given = images.clone()
    assert Capture(model, model, images).outputs[0].outer == 1
    assert {output.name: output.outer for output in Capture(model, model, images).outputs}["0.net"] == 2
    assert torch.equal(images, given)


def test_the_global_generators_stay(images):
    model = seeded(lambda: Through(steps_first, linear(24))).double()
    before = torch.get_rng_state()
    Capture(model, model, images)
    assert torch.equal(torch.get_rng_state(), before)


# --- generation ------------------------------------------------------------------------------------------------------------------------


def test_a_recorder_reads_as_capture_does(model, images):
    names = list(capture(model, images))
    recorder = LayerRecorder(model, names)
    assert not recorder.planned
    with recorder.recording():
        recorder.plan(model, images[:1])
        model(images)
        if any(value.dim() < 2 for value in capture(model, images).values()):
            with pytest.raises(ValueError, match="expected a tensor with one entry"):
                recorder.take(5)
            return
        taken = recorder.take(5)
    for name, value in capture(model, images).items():
        assert torch.equal(taken[name], value), name


@pytest.mark.parametrize(
    "count", [1, 3, 8], ids=lambda count: f"{count} rows"
)  # eight steps in time: the axes are alike
def test_an_objective_sees_each_rows_own(count):
    class Sum(Loss):
        layers = ("lstm[0]", "after")
        seen: tuple[int, ...] = ()

        def __call__(self, outputs, images):
            self.seen = tuple(outputs["lstm[0]"].shape), tuple(outputs["after"].shape)
            return outputs["lstm[0]"].sum((1, 2)) + outputs["after"].square().sum((1, 2))

    model, loss = seeded(Sequences).double(), Sum()
    optimization = InputOptimization(model, loss, steps=3)
    together = optimization.optimize(SHAPE, count=count, seed=list(range(count)))
    assert loss.seen == ((count, 8, 4), (count, 8, 3))
    for seed in range(count):
        alone = InputOptimization(model, Sum(), steps=3).optimize(SHAPE, count=1, seed=seed)
        torch.testing.assert_close(together.images[seed], alone.images[0], rtol=0, atol=1e-9)


def test_diversity_of_views_one_after_the_other():
    rearrange, network = REARRANGED["views one after the other"]

    class TestTime(Through):
        def forward(self, x: Tensor) -> Tensor:
            return self.net(self.rearrange(x)).view(2, len(x), -1).mean(0)

    model = seeded(lambda: TestTime(rearrange, network())).double()
    options = {"steps": 2, "warmup_steps": 0, "evaluation_draws": 0, "transform": None}
    diversity = GramDiversity("net.0", channel_axis=2)  # (N, views, channels, height, width)
    made = PrototypeGeneration(model).generate([1, 1], SHAPE, diversity=diversity, **options)
    plain = PrototypeGeneration(model).generate([1, 1], SHAPE, **options)
    assert not torch.equal(made.images, plain.images)
    outputs = capture(model, plain.images, "net.0")["net.0"]
    assert outputs.shape == (2, 2, 6, 6, 6)
    start = PrototypeGeneration(model).generate(
        [1, 1], SHAPE, diversity=diversity, **{**options, "snapshot_steps": [0]}
    )
    expected = pairwise_similarity(start.snapshots[0], model, "net.0", channel_axis=2, value_range=None).gram["net.0"]
    torch.testing.assert_close(
        start.history["diversity_loss"][0], expected[0, 1].float().expand(2), rtol=1e-4, atol=1e-5, check_dtype=False
    )


def test_further_arguments_of_each_row_come_along():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

        def forward(self, x: Tensor, shift: Tensor) -> Tensor:
            return self.head(self.layer(x + shift.view(-1, 1, 1, 1)).mean((2, 3)))

    made = PrototypeGeneration(seeded(Shifted)).generate(
        [1, 1, 1],
        SHAPE,
        torch.tensor([0.0, 0.1, 0.2]),
        diversity="gram:layer",
        steps=2,
        warmup_steps=0,
        evaluation_draws=0,
    )
    assert made.images.shape == (3, *SHAPE)
