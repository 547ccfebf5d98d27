"""Models that mix the images of a batch, or are random: noticed, with what follows and what to do; and no others."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from captum_proto import PathSimilarity, PrototypeGeneration
from captum_proto._utils.pipeline import Pipeline
from captum_proto.capture import Capture, warn_of_layers, warn_of_outputs
from captum_proto.optim import InputOptimization
from captum_proto.optim.loss import ClassLogit

SHAPE = (3, 12, 12)
FEW: dict[str, Any] = {"steps": 3, "warmup_steps": 0, "evaluation_draws": 0}


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def network(*middle: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), *middle, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 5)
    ).eval()


def noisy(x: Tensor) -> Tensor:
    return x + 0.1 * torch.randn_like(x)


MIXING = {
    "batch norm without statistics": lambda: network(nn.BatchNorm2d(6, track_running_stats=False)),
    "functional batch norm": lambda: network(Function(lambda x: F.batch_norm(x, None, None, training=True))),
    "centered over the batch": lambda: network(Function(lambda x: x - x.mean())),
    "centered by position": lambda: network(Function(lambda x: x - x.mean(0))),
    "scaled by the largest": lambda: network(Function(lambda x: x / x.abs().max())),
}
RANDOM = {
    "dropout that stays on": lambda: network(Function(lambda x: F.dropout(x, 0.5))),
    "noise": lambda: network(Function(noisy)),
}


def said(recorded: list[warnings.WarningMessage]) -> list[str]:
    return [text for one in recorded if "mixes" in (text := str(one.message)) or "random" in text]


def listen(run: Callable[[], Any]) -> list[str]:
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        run()
    return said(recorded)


# --- path similarity -----------------------------------------------------------------------------------------------------------------


def scores(model: nn.Module, images: Tensor, batch_size: int) -> Tensor:
    return PathSimilarity(model.double(), batch_size=batch_size).fit(images).evaluate(images).l1


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MIXING)
def test_scores_of_the_models_that_are_warned_of_do_depend_on_the_batch(name: str, make_images) -> None:
    images = make_images(6)
    plain = network()
    assert torch.allclose(scores(plain, images, 1), scores(plain, images, 6), rtol=1e-9)
    model = MIXING[name]()
    assert not torch.allclose(scores(model, images, 1), scores(model, images, 6), rtol=1e-3)


@pytest.mark.parametrize("name", MIXING)
def test_path_similarity_names_the_first_layer_that_mixes(name: str, make_images) -> None:
    similarity = PathSimilarity(MIXING[name]())
    (message,) = listen(lambda: similarity.fit(make_images(4)))
    assert 'what layer "1" (a ' in message
    assert "mixes the images of a batch, so scores depend on which images come together" in message
    assert ("BatchNorm2d without running statistics" in message) == (name == "batch norm without statistics")
    assert not listen(lambda: similarity.evaluate(make_images(4)))  # it was said


@pytest.mark.parametrize("name", MIXING)
def test_one_image_at_a_time_is_not_warned_of_until_there_are_more(name: str, make_images) -> None:
    similarity = PathSimilarity(MIXING[name](), batch_size=1)
    assert not listen(lambda: similarity.fit(make_images(4)).evaluate(make_images(2)))
    assert len(listen(lambda: similarity.evaluate([make_images(2)]))) == 1


@pytest.mark.parametrize("name", MIXING)
def test_a_loaded_reference_is_as_good_a_reason_to_look(name: str, make_images, tmp_path) -> None:
    model = MIXING[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PathSimilarity(model).fit(make_images(4)).save(tmp_path / "reference.safetensors")
    similarity = PathSimilarity(model).load(tmp_path / "reference.safetensors")
    assert len(listen(lambda: similarity.evaluate(make_images(2)))) == 1


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("name", RANDOM)
def test_path_similarity_names_the_first_layer_that_is_random(name: str, batch_size: int, make_images) -> None:
    messages = listen(lambda: PathSimilarity(RANDOM[name](), batch_size=batch_size).fit(make_images(4)))
    assert len(messages) == 1
    assert 'what layer "1" (a Function) returns is random, so scores are not reproducible; switch' in messages[0]


@pytest.mark.parametrize(("preprocess", "word"), [(noisy, "random"), (lambda x: x - x.mean(0), "mixes")])
def test_preprocessing_may_do_so_too(preprocess, word: str, make_images) -> None:
    (message,) = listen(lambda: PathSimilarity(network(), preprocess=preprocess).fit(make_images(4)))
    assert word in message
    (message,) = listen(lambda: PrototypeGeneration(network(), preprocess).generate([0, 1], SHAPE, **FEW))
    assert f"the model or its preprocessing {'is ' * (word == 'random')}{word}" in message


# --- generation ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIXING)
def test_prototypes_that_depend_on_each_other_are_warned_of(name: str) -> None:
    generation = PrototypeGeneration(MIXING[name]().double())
    (message,) = listen(lambda: generation.generate([1, 2, 3, 4], SHAPE, batch_size=2, **FEW))  # once for two batches
    assert "so a prototype depends on those that are made with it" in message
    assert "batch_size=1" in message
    found = ' of a batch (layer "1", a BatchNorm2d without running statistics), so' in message
    assert found == (name == "batch norm without statistics")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        together = generation.generate([1, 2], SHAPE, **FEW).images
    alone = []
    assert not listen(lambda: alone.append(generation.generate([1, 2], SHAPE, batch_size=1, **FEW).images))
    assert not torch.allclose(together, alone[0])


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("name", RANDOM)
def test_a_random_model_is_warned_of(name: str, count: int) -> None:
    words = "the model or its preprocessing is random, so equal seeds do not give equal prototypes; switch its randomness off"
    (message,) = listen(lambda: PrototypeGeneration(RANDOM[name]()).generate([1] * count, SHAPE, **FEW))
    assert words in message
    optimization = InputOptimization(RANDOM[name](), ClassLogit([1] * count), steps=2)
    (message,) = listen(lambda: optimization.optimize(SHAPE))
    assert words in message
    assert not listen(lambda: optimization.optimize(SHAPE))


# --- nothing else changes ------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [network, *MIXING.values(), *RANDOM.values()])
def test_looking_changes_no_result(make, make_images, monkeypatch: pytest.MonkeyPatch) -> None:
    model, images = make(), make_images(4)

    def results() -> list[Tensor]:
        torch.manual_seed(3)
        similarity = PathSimilarity(model).fit(images).evaluate(images)
        return [similarity.l1, PrototypeGeneration(model).generate([0, 1], SHAPE, **FEW).images]

    looked = results()
    for user, look in (("metrics.fitting", "warn_of_layers"), ("optim.descent", "warn_of_outputs")):
        monkeypatch.setattr(sys.modules[f"captum_proto.{user}"], look, lambda *_: None)
    assert all(torch.equal(a, b) for a, b in zip(looked, results(), strict=True))


def test_the_model_and_all_generators_are_left_alone(lived_in, untouched, make_cnn, make_images) -> None:
    model = lived_in(make_cnn())
    with untouched(model):
        assert not listen(lambda: PathSimilarity(model).fit(make_images(4)))
        assert not listen(lambda: PrototypeGeneration(model).generate([0, 1], SHAPE, **FEW))


def test_further_arguments_come_as_they_are() -> None:
    model = network()

    def conditioned(images: Tensor, offset: Tensor, factor: Tensor) -> Tensor:
        assert len(offset) == len(images)
        return model(images) * factor + offset[:, None]

    arguments = (torch.arange(3.0), torch.ones(5))
    assert not listen(lambda: PrototypeGeneration(conditioned).generate([0, 1, 2], SHAPE, arguments, **FEW))


def test_a_batch_of_a_fixed_size_stays_one() -> None:
    model = network()

    def fixed(images: Tensor) -> Tensor:
        return model(images.reshape(2, *SHAPE))

    assert not listen(lambda: PrototypeGeneration(fixed).generate([0, 1], SHAPE, **FEW))


def as_dtype(dtype: torch.dtype) -> Callable[[nn.Module], nn.Module]:
    return lambda model: model.to(dtype)


def small_transformer(name: str) -> nn.Module:
    models = pytest.importorskip("torchvision").models
    if name == "vit":
        return models.VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10)
    block = {"block": models.swin_transformer.SwinTransformerBlockV2} if name == "swin_v2" else {}
    return models.SwinTransformer([4, 4], 24, [2, 2], [2, 2], [4, 4], num_classes=10, **block)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "vit", "swin", "swin_v2"])
@pytest.mark.parametrize(
    "prepare",
    [
        as_dtype(torch.float32),
        as_dtype(torch.bfloat16),
        lambda m: m.to(memory_format=torch.channels_last),
    ],
    ids=["float32", "bfloat16", "channels_last"],
)
def test_models_that_people_use_are_not_warned_of(name: str, prepare: Callable[[nn.Module], nn.Module]) -> None:
    models = pytest.importorskip("torchvision").models
    model = small_transformer(name) if name in ("vit", "swin", "swin_v2") else models.get_model(name, weights=None)
    pipeline = Pipeline(prepare(model.eval()))
    images = torch.rand(3, 3, 32, 32) * torch.tensor([0.3, 1.0, 0.6])[:, None, None, None]
    images = images.to(pipeline.image_dtype)
    plan = Capture(model, pipeline, images)
    assert not listen(lambda: (warn_of_layers(plan, images), warn_of_outputs(pipeline, images)))
