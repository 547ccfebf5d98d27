"""Whatever the library does with a model, and however it ends, the model comes back as it was."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from captum_proto import PathSimilarity, PrototypeGeneration, capture, path_similarity
from captum_proto._utils.model import borrowed

SHAPE = (3, 8, 8)
QUICK: dict[str, Any] = {"steps": 3, "warmup_steps": 2, "evaluation_draws": 2}


class Fuse(nn.Module):
    """Lets everything pass until it is to blow."""

    def __init__(self) -> None:
        super().__init__()
        self.error: type[BaseException] | None = None
        self.passes_left = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.error is not None:
            self.passes_left -= 1
            if self.passes_left <= 0:
                raise self.error("blown")
        return x


@pytest.fixture
def model(make_cnn, lived_in) -> nn.Module:
    return lived_in(nn.Sequential(make_cnn(), Fuse()))


USES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "generate": lambda m, x: PrototypeGeneration(m).generate([0, [1, 2]], SHAPE, batch_size=1, **QUICK),
    "generate without transform": lambda m, x: PrototypeGeneration(m).generate([0], SHAPE, transform=None, **QUICK),
    "generate in bfloat16": lambda m, x: PrototypeGeneration(m).generate([0], SHAPE, autocast=torch.bfloat16, **QUICK),
    "generate with dropout as transform": lambda m, x: PrototypeGeneration(m).generate(
        [0], SHAPE, transform=nn.Dropout(0.5), **QUICK
    ),
    "attribute": lambda m, x: PrototypeGeneration(m).attribute(x, 1, steps=3),
    "capture": lambda m, x: capture(m, x),
    "capture by reference": lambda m, x: capture(m, x, repeat="all", alias="reference"),
    "fit": lambda m, x: PathSimilarity(m).fit(x),
    "evaluate": lambda m, x: PathSimilarity(m, batch_size=2).fit(x).evaluate(x, leave_one_out=True),
    "compare": lambda m, x: PathSimilarity(m).compare(x[:1], x, 1 - x, ascent_steps=2),
    "path_similarity": lambda m, x: path_similarity(m, x[:2], x),
}


@pytest.mark.parametrize("use", USES)
def test_after_success(model, make_images, untouched, use):
    images = make_images(4, SHAPE)
    with untouched(model):
        USES[use](model, images)


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 2, 3])
def test_after_an_error_in_the_forward_pass(model, make_images, untouched, use, error, at):
    images = make_images(4, SHAPE)
    model[1].error, model[1].passes_left = error, at
    with untouched(model), pytest.raises(error, match="blown"):
        USES[use](model, images)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("use", ["generate", "attribute", "capture", "compare"])
def test_inside_other_modes(model, make_images, untouched, use, context):
    images = make_images(4, SHAPE)
    with context(), untouched(model):
        USES[use](model, images)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("phase", ["warmup", "ascent"])
def test_after_an_error_in_a_callback(model, untouched, error, phase):
    def callback(step):
        if (step.phase, step.step) == (phase, 1):
            raise error("enough")

    with untouched(model), pytest.raises(error, match="enough"):
        PrototypeGeneration(model).generate([0], SHAPE, callback=callback, **QUICK)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_preprocessing_or_transform(model, make_images, untouched, error):
    def blow(x):
        raise error("blown")

    with untouched(model):
        with pytest.raises(error, match="blown"):
            PrototypeGeneration(model, preprocess=blow).generate([0], SHAPE, **QUICK)
        with pytest.raises(error, match="blown"):
            PrototypeGeneration(model).generate([0], SHAPE, transform=blow, **QUICK)
        with pytest.raises(error, match="blown"):
            PathSimilarity(model, preprocess=blow).fit(make_images(4, SHAPE))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_error_in_the_users_images(model, make_images, untouched, error):
    def loader():
        yield make_images(2, SHAPE)
        raise error("unplugged")

    similarity = PathSimilarity(model).fit(make_images(4, SHAPE))
    before = similarity.reference
    with untouched(model):
        with pytest.raises(error, match="unplugged"):
            similarity.fit(loader())
        with pytest.raises(error, match="unplugged"):
            similarity.evaluate(loader())
    assert similarity.reference is before


def test_a_model_made_under_inference_mode_comes_back_too(make_cnn, make_images, untouched):
    with torch.inference_mode():
        model = make_cnn()
    with untouched(model):
        PathSimilarity(model).fit(make_images(3, SHAPE)).evaluate(make_images(2, SHAPE))


def test_while_it_is_borrowed_it_is_frozen_and_in_evaluation_mode(model):
    overridden = []
    model.train = lambda mode=True: overridden.append(mode)  # as some models do
    with borrowed(model):
        assert not any(module.training for module in model.modules())
        assert not any(parameter.requires_grad for parameter in model.parameters())
        with borrowed(model):  # a guest of a guest
            pass
        assert not any(module.training for module in model.modules())
    assert overridden == []
    assert any(module.training for module in model.modules())


def test_the_model_is_frozen_during_every_use(make_cnn, make_images):
    states = []

    class Watcher(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            parameters = list(model.parameters())
            states.append((any(m.training for m in model.modules()), any(p.requires_grad for p in parameters)))
            return x

    model = nn.Sequential(make_cnn(), Watcher()).train()
    for use in USES.values():
        states.clear()
        use(model, make_images(4, SHAPE))
        assert set(states) == {(False, False)}


def test_a_function_gets_no_gradients_into_the_weights_it_uses(make_cnn):
    model = make_cnn()
    PrototypeGeneration(lambda x: model(x)).generate([0], SHAPE, **QUICK)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


class Restless(nn.Module):
    """Changes its buffers in evaluation mode too, in one of the ways there are; what it returns depends on how often it did."""

    def __init__(self, change: str, network: nn.Module) -> None:
        super().__init__()
        self.change, self.network = change, network
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("grid", torch.zeros(1, 2))
        self.register_buffer("late", None)
        self.grid_of, self.has_more = (1, 2), False
        self.bare = nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        before = self.passes
        if self.change == "in place":
            before = before.clone()
            self.passes += 1
        elif self.change == "another tensor":
            self.passes = self.passes + 1
        elif self.change == "through data":
            before = before.clone()
            self.passes.data.add_(1)
        elif self.change == "by PyTorch's kernels":
            before = self.mean.sum()
            nn.functional.batch_norm(x, self.mean, self.bare.running_var, training=True)
        elif self.change == "in the backward pass too":
            x = checkpoint(self._counted, x, use_reentrant=False)
        elif self.change == "another size, which it remembers":
            if self.grid_of != tuple(x.shape[1:]):
                self.grid_of, self.grid = tuple(x.shape[1:]), torch.full(x.shape[1:], 0.5)
            x = x * self.grid
        elif self.change == "in the place of none":
            before = torch.zeros(()) if self.late is None else self.late
            self.late = before + 1
        elif self.change == "a further one":
            if not self.has_more:
                self.register_buffer("more", torch.full((), 2.0), persistent=False)
                self.has_more = True
            x = x * self.more
        return self.network(x) * (1 + before)

    def _counted(self, x: Tensor) -> Tensor:
        before = self.passes.clone()
        self.passes += 1
        return x * (1 + before)


CHANGES = (
    "in place",
    "another tensor",
    "through data",
    "by PyTorch's kernels",
    "in the backward pass too",
    "another size, which it remembers",
    "in the place of none",
    "a further one",
)


def _buffers(model: nn.Module) -> dict[str, tuple[int, Any]]:
    named = model.named_buffers(remove_duplicate=False)
    return {name: (id(buffer), buffer.tolist(), buffer._version) for name, buffer in named}


def _values(made: Any) -> list[Tensor]:
    if isinstance(made, PathSimilarity):
        return made.reference.sums
    value = getattr(made, "images", getattr(made, "spearman", made))
    return list(value.values()) if isinstance(value, dict) else [value]


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("use", ["generate", "attribute", "capture by reference", "fit", "evaluate", "compare"])
def test_buffers_that_a_forward_pass_changes_come_back(make_cnn, make_images, lived_in, untouched, change, use):
    model = lived_in(Restless(change, make_cnn()))
    images, before = make_images(4, SHAPE), _buffers(model)
    with untouched(model):
        made = [USES[use](model, images) for _ in range(2)]
    assert _buffers(model) == before
    assert (model.late, model.grid_of, model.has_more) == (None, (1, 2), False)
    for first, second in zip(*map(_values, made), strict=True):
        assert torch.equal(first.nan_to_num(9), second.nan_to_num(9))


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("use", ["generate", "capture", "evaluate"])
def test_buffers_come_back_after_an_error_too(make_cnn, make_images, untouched, use, error):
    fuse = Fuse()
    model = Restless("another tensor", nn.Sequential(make_cnn(), fuse))
    fuse.error, fuse.passes_left, before = error, 2, _buffers(model)
    with untouched(model), pytest.raises(error, match="blown"):
        USES[use](model, make_images(4, SHAPE))
    assert _buffers(model) == before


@pytest.mark.parametrize("change", CHANGES)
def test_every_pass_begins_with_the_buffers_as_they_were(make_cnn, make_images, change):
    model, images = Restless(change, make_cnn()).eval(), make_images(4, SHAPE)
    model.passes += 2
    copies = [copy.deepcopy(model) for _ in range(2)]
    with torch.no_grad():
        assert torch.equal(capture(nn.Sequential(model), images)["0"], copies[0](images))
    batched = [PathSimilarity(model, batch_size=size).fit(images).evaluate(images) for size in (4, 1)]
    assert torch.allclose(batched[0].l1, batched[1].l1, atol=1e-4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as that of folding
        made = PrototypeGeneration(model).generate(1, start=images[:1], **QUICK)
    assert made.settings["network"] == {
        "folded_batch_norms": 1,
        "folded_paddings": 0,
        "channels_last": True,
        "reason": None,
    }
    with torch.no_grad():
        assert torch.allclose(copies[1](made.images)[0, 1], made.logits[0])


def test_buffers_that_two_modules_share_stay_one(make_images):
    class Reader(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * self.count

    class Writer(Reader):
        def forward(self, x: Tensor) -> Tensor:
            self.count += 1
            return x

    writer, reader = Writer(), Reader()
    count = torch.ones(())
    writer.register_buffer("count", count)
    reader.register_buffer("count", count)
    images = make_images(2, SHAPE)
    assert torch.equal(capture(nn.Sequential(writer, reader), images)["1"], images * 2)
    assert writer.count is reader.count is count
    assert float(count) == 1


def test_gradients_can_be_taken_after_the_buffers_are_back(make_images):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(()))

        def forward(self, x: Tensor) -> Tensor:
            self.scale += 1
            return x * self.scale

    images = make_images(2, SHAPE).requires_grad_()
    output = capture(nn.Sequential(Scaled()), images, gradients=True)["0"]
    (gradient,) = torch.autograd.grad(output.sum(), images)
    assert torch.equal(gradient, torch.full_like(images, 2))
