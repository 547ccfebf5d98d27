"""Diversity against the same written by hand, and who sees whom."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto.experiments.generate import Generate
from captum_proto.metrics.pairwise import pairwise_similarity
from captum_proto.models import NamedModel
from captum_proto.optim import Diversity, GramDiversity, PixelDiversity, RandomAffine, partners_of
from captum_proto.optim.loss.diversity import as_diversity, check_batches
from captum_proto.runs.tasks import carry_out

SHAPE = (3, 12, 12)
#: No transforms, no high-frequency loss: a few steps of ascent in which only the logit and diversity pull.
PLAIN: dict[str, Any] = {
    "steps": 5,
    "warmup_steps": 0,
    "transform": None,
    "high_frequency_weight": 0.0,
    "evaluation_draws": 0,
}


def gram_cosine(one: Tensor, other: Tensor) -> Tensor:
    """Of two features (C, P), as the formula has it."""
    a, b = one @ one.T, other @ other.T
    return (a * b).sum() / (a.norm() * b.norm())


def absolute(one: Tensor, other: Tensor) -> Tensor:
    return -(one - other).abs().mean()


def by_hand(features: list[Tensor], targets: list[tuple[int, ...]], measure, i: int) -> Tensor:
    """Image i's loss: the mean over the others of its class, which stand still."""
    others = [j for j in range(len(targets)) if j != i and targets[j] == targets[i]]
    terms = [measure(features[i], features[j].detach()) for j in others]
    return torch.stack(terms).mean() if terms else features[i].sum() * 0


TARGETS = [(1,), (2,), (1,), (0, 3), (1,), (2,)]


@pytest.mark.parametrize(
    ("diversity", "shape", "as_features", "measure"),
    [
        (PixelDiversity(), (2, 3, 4), lambda x: x, absolute),
        (GramDiversity("x"), (4, 3, 5), lambda x: x.flatten(1), gram_cosine),
        (GramDiversity("x"), (7, 4), lambda tokens: tokens.T, gram_cosine),
        (GramDiversity("x"), (6,), lambda x: x[:, None], gram_cosine),
        (GramDiversity("x", channel_axis=-1), (3, 5, 4), lambda x: x.movedim(-1, 0).flatten(1), gram_cosine),
    ],
    ids=["pixels", "channels first", "tokens", "features", "channels last"],
)
def test_losses_and_their_gradients(diversity, shape, as_features, measure):
    values = torch.randn(len(TARGETS), *shape, dtype=torch.float64, requires_grad=True)
    losses = diversity.loss(values, partners_of(TARGETS))
    (gradient,) = torch.autograd.grad(losses.sum(), values)
    features = [as_features(one) for one in values]
    expected = torch.stack([by_hand(features, TARGETS, measure, i) for i in range(len(TARGETS))])
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected.sum(), values)[0])
    assert losses[3] == 0  # the only one of its class
    assert not gradient[3].any()
    assert gradient[0].any()


def test_gram_matrices_of_large_and_of_half_precision_activations():
    features = 1e15 * torch.rand(3, 4, 5, 5)  # their squares' squares are beyond float32
    losses = GramDiversity("x").loss(features, partners_of([(0,)] * 3))
    torch.testing.assert_close(losses, GramDiversity("x").loss(features / 1e15, partners_of([(0,)] * 3)))
    half = torch.rand(2, 40, 30, 30).half() * 100
    assert GramDiversity("x").loss(half, partners_of([(0,)] * 2)).dtype == torch.float32
    assert 0 < float(GramDiversity("x").loss(half, partners_of([(0,)] * 2))[0]) < 1


def watched_block(model: nn.Module, x: Tensor) -> Tensor:
    """What ``SmallCNN.block`` returns, before an in-place sum and an in-place ReLU change it."""
    return model.block(nn.functional.relu(model.stem(x)))


@pytest.mark.parametrize("layer", [None, "block", "stem.0"])
def test_an_ascent_equals_the_method_written_by_hand(make_cnn, make_images, layer):
    model = make_cnn(dtype=torch.float64)
    targets, weight, lr = [(1,), (2,), (1,), (1,)], 4.0, 0.03
    start = make_images(4).double()
    diversity = PixelDiversity() if layer is None else GramDiversity(layer)
    x = start.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([x], lr=lr)
    history = []
    for _ in range(PLAIN["steps"]):
        logits = model(x)
        if layer is None:
            features, measure = list(x), absolute
        else:
            outputs = watched_block(model, x) if layer == "block" else model.stem[0](x)
            features, measure = [one.flatten(1) for one in outputs], gram_cosine
        terms = torch.stack([by_hand(features, targets, measure, i) for i in range(4)])
        scores = torch.stack([logits[i, target[0]] for i, target in enumerate(targets)])
        history.append(terms.detach())
        optimizer.zero_grad()
        (weight * terms - scores).sum().backward()
        optimizer.step()
        with torch.no_grad():
            x.clamp_(0, 1)
    prototypes = PrototypeGeneration(model).generate(
        [list(target) for target in targets], start=start, lr=lr, diversity=diversity, diversity_weight=weight, **PLAIN
    )
    torch.testing.assert_close(prototypes.images, x.detach(), rtol=0, atol=1e-9)
    torch.testing.assert_close(prototypes.history["diversity_loss"], torch.stack(history), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(
        prototypes.history["loss"], weight * prototypes.history["diversity_loss"] - prototypes.history["logit"]
    )
    # The batch normalization is folded into the layer before it, unless that is the layer we look at.
    assert prototypes.settings["network"]["folded_batch_norms"] == (0 if layer == "stem.0" else 1)
    # The second is alone of its class: it does not see the others.
    alone = PrototypeGeneration(model).generate([2], start=start[1:2], lr=lr, **PLAIN)
    torch.testing.assert_close(prototypes.images[1:2], alone.images, rtol=0, atol=1e-9)
    assert "diversity_loss" not in alone.history


def test_only_prototypes_of_one_class_see_each_other(make_cnn):
    generation = PrototypeGeneration(make_cnn(dtype=torch.float64))
    options = {**PLAIN, "diversity": "gram:block", "warmup_steps": 2, "transform": RandomAffine(30)}
    together = generation.generate([1, 1, [2, 3], 4], SHAPE, **options)
    parts = generation.generate([1, 1, [2, 3], 4], SHAPE, batch_size=2, **options)
    torch.testing.assert_close(together.images, parts.images, rtol=0, atol=1e-9)
    apart = generation.generate([1, 1], SHAPE, **{**options, "diversity": None})
    assert not torch.allclose(together.images[:2], apart.images, atol=1e-3)


@pytest.mark.parametrize("channels_last", [False, True])
def test_it_lowers_what_it_is_meant_to_lower(make_cnn, channels_last):
    model = make_cnn()
    options = {**PLAIN, "steps": 30, "channels_last": channels_last}
    measured = {}
    for diversity in (None, "pixels", "gram:block"):
        made = PrototypeGeneration(model).generate([1] * 3, SHAPE, diversity=diversity, **options)
        assert made.settings["network"]["channels_last"] is channels_last
        measured[diversity] = pairwise_similarity(made.images, model, "block").summary()
    assert measured["gram:block"]["Gram block"] < measured[None]["Gram block"] - 0.1
    assert measured["gram:block"]["Gram block"] < measured["pixels"]["Gram block"] - 0.1
    assert measured["pixels"]["pixel difference"] > measured[None]["pixel difference"] + 0.05


def test_what_the_user_may_give(make_cnn):
    model = make_cnn()
    generation = PrototypeGeneration(model)
    named = generation.generate([1, 1], SHAPE, diversity="gram:block", **PLAIN)
    assert named.settings["diversity"] == {"name": "GramDiversity", "layer": "block", "channel_axis": None}
    assert named.settings["diversity_weight"] == GramDiversity.default_weight
    for same in (GramDiversity("block"), GramDiversity(model.block)):
        other = generation.generate([1, 1], SHAPE, diversity=same, **PLAIN)
        assert torch.equal(other.images, named.images)
        assert other.settings == named.settings
    function = PrototypeGeneration(lambda x: model(x)).generate([1, 1], SHAPE, diversity="gram:block", **PLAIN)
    torch.testing.assert_close(function.images, named.images, rtol=0, atol=1e-3)
    nothing = generation.generate([1, 1], SHAPE, diversity="gram:block", diversity_weight=0, **PLAIN)
    torch.testing.assert_close(nothing.images, generation.generate([1, 1], SHAPE, **PLAIN).images, rtol=0, atol=1e-5)
    assert generation.generate([1, 1], SHAPE, **PLAIN).settings["diversity"] is None

    class Brightness(Diversity):
        default_weight = 2.0

        def loss(self, values: Tensor, partners: Tensor) -> Tensor:
            mean = values.flatten(1).mean(1)
            return -((mean[:, None] - mean.detach()).square() * partners).sum(1)

    own = generation.generate([1, 1], SHAPE, diversity=Brightness(), **PLAIN)
    assert (own.settings["diversity"], own.settings["diversity_weight"]) == ({"name": "Brightness"}, 2.0)


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_batches_may_not_part_a_class(batch_size):
    together = [(1,), (1,), (2,), (2,), (3,)]
    if batch_size == 2:
        check_batches(together, batch_size)
    else:
        target = 1 if batch_size == 1 else 2
        with pytest.raises(ValueError, match=rf"batch_size {batch_size} parts the 2 prototypes of target \[{target}\]"):
            check_batches(together, batch_size)
    check_batches(together, None)


def test_what_makes_no_sense_is_refused(make_cnn, untouched):
    class Two(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, x

    class Sum(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum(0)

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cnn, self.two, self.never, self.sum = make_cnn(), Two(), nn.ReLU(), Sum()

        def forward(self, x: Tensor) -> Tensor:
            self.sum(x)
            return self.cnn(self.two(x)[0])

    model = Odd()
    generation = PrototypeGeneration(model)

    def refused(error: type[Exception], message: str, target: Any = (1, 1), **options: Any) -> None:
        with untouched(model), pytest.raises(error, match=message) as caught:
            generation.generate(list(target), SHAPE, **{**PLAIN, **options})
        assert "\n" not in str(caught.value)

    refused(ValueError, r'diversity is "pixel"; did you mean "pixels"\? expected', diversity="pixel")
    refused(ValueError, 'diversity is "gram"; expected "pixels" or "gram:LAYER"', diversity="gram")
    refused(TypeError, "diversity is a int; expected", diversity=3)
    refused(TypeError, "diversity is a type, the class PixelDiversity itself; expected", diversity=PixelDiversity)
    refused(ValueError, 'no layer "cnn.blok" in Odd; did you mean "cnn.block"', diversity="gram:cnn.blok")
    refused(ValueError, r'layer "cnn.\*" stands for \d+ layers', diversity="gram:cnn.*")
    refused(ValueError, "returned nothing, for it did not run; expected", diversity="gram:never")
    refused(
        ValueError,
        r"returned shape \(3, .* has no batch axis\); expected a tensor with one entry",
        diversity="gram:sum",
    )
    refused(ValueError, "returned a tuple; expected a tensor", diversity="gram:two")
    refused(ValueError, "is not part of the model", diversity=GramDiversity(nn.ReLU()))
    refused(ValueError, "no channels on axis 7", diversity=GramDiversity("cnn.block", channel_axis=7))
    refused(ValueError, "no class is asked for more than once", target=(1, 2), diversity="pixels")
    refused(ValueError, "diversity_weight is 3.0, but diversity is None", diversity_weight=3.0)
    refused(ValueError, "diversity_weight is -1; expected a finite", diversity="pixels", diversity_weight=-1)
    refused(ValueError, "batch_size 1 parts", diversity="pixels", batch_size=1)
    with pytest.raises(TypeError, match="layer is a int"):
        GramDiversity(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="refers to no module"):
        as_diversity("gram:block", torch.sum)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_the_model_comes_back_as_it_was(make_cnn, lived_in, untouched, error):
    model, hung = lived_in(make_cnn()), []
    model.block.register_forward_pre_hook(  # the probe of the model runs without gradients, and without this hook
        lambda *_: hung.append(len(model.block._forward_hooks)) if torch.is_grad_enabled() else None
    )

    def callback(step):
        assert not model.block._forward_hooks  # they hang while the model is run, and then no other thread has it
        if step.step == 2:
            raise error("enough")

    with untouched(model), pytest.raises(error, match="enough"):
        PrototypeGeneration(model).generate([1, 1], SHAPE, diversity="gram:block", callback=callback, **PLAIN)
    assert set(hung) == {1}
    with untouched(model):
        PrototypeGeneration(model).generate([1, 1], SHAPE, diversity="gram:block", **PLAIN)


def test_a_folder_records_it_and_resumes_only_with_the_same(make_cnn, tmp_path: Path):
    named = NamedModel("small", make_cnn(), None, SHAPE)

    def run(batch_size: int = 2, resume: bool = False, **options: Any) -> Prototypes:
        protocol = Generate(named, [(1,), (1,)], {**PLAIN, **options}, batch_size=batch_size)
        return carry_out(protocol, tmp_path / "out", resume=resume)

    with pytest.raises(ValueError, match="batch_size 1 parts the 2 prototypes"):
        run(batch_size=1, diversity="pixels")
    assert not (tmp_path / "out").exists()
    made = run(diversity=GramDiversity(named.model.block))
    settings = json.loads((tmp_path / "out" / "settings.json").read_text())
    assert settings["options"]["diversity"] == made.settings["diversity"] == GramDiversity("block").settings()
    assert torch.equal(run(resume=True, diversity="gram:block").images, made.images)
    for other in ({"diversity": "pixels"}, {}, {"diversity": "gram:block", "diversity_weight": 1.0}):
        with pytest.raises(ValueError, match="was made with options"):
            run(resume=True, **other)


def test_the_command_line(tmp_path: Path):
    pytest.importorskip("sklearn")
    from captum_proto.cli import main

    command = ["generate", "--model", "digits", "--random-weights", "--target", "3", "--count", "2", "--steps", "2"]
    command += ["--warmup-steps", "0", "--no-progress", "--diversity", "gram:relu2", "--diversity-weight", "2.5"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    settings = Prototypes.load(tmp_path / "out" / "prototypes.safetensors").settings
    assert settings["diversity"] == GramDiversity("relu2").settings()
    assert settings["diversity_weight"] == 2.5
    assert main([*command, "--batch-size", "1", "--out", str(tmp_path / "parted")]) == 1


def test_seeds_still_part_prototypes_of_equal_starts():
    """Two equal images have no direction in which to part: the term is finite there, and its gradient too."""
    model = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
    start = torch.full((2, 3, 2, 2), 0.5)
    for diversity in ("pixels", "gram:0"):
        made = PrototypeGeneration(model).generate([1, 1], start=start, diversity=diversity, **PLAIN)
        assert bool(made.images.isfinite().all())
