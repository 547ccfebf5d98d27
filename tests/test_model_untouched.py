"""Whatever the library does with a model, and however it ends, the model comes back as it was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

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
