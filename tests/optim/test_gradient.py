"""Models without a gradient, in part or at all: what is said of them, and that it is said of no others."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from captum_proto import PrototypeGeneration, Prototypes
from captum_proto._utils.errors import InputError
from captum_proto.cli import main
from captum_proto.optim import InputOptimization
from captum_proto.optim.loss import ClassLogit, HighFrequency
from captum_proto.optim.presets import PAPER_TRANSFORM
from captum_proto.report.page import Page

SHAPE = (3, 8, 8)
PLAIN: dict[str, Any] = {"transform": None, "warmup_steps": 0, "evaluation_draws": 0}


class Then(nn.Module):
    """A network, and a function before, inside and after it."""

    def __init__(self, inside: Callable = torch.relu, before: Callable = torch.clone, after: Callable = torch.clone):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4 * 36, 3)
        self.before, self.inside, self.after = before, inside, after

    def forward(self, x: Tensor) -> Tensor:
        x = self.inside(self.first(self.before(x)))
        return self.after(self.last(x.flatten(1)))


def dead() -> Then:
    model = Then()
    nn.init.constant_(model.first.bias, -100.0)
    return model


def zero_head() -> Then:
    model = Then()
    nn.init.zeros_(model.last.weight)
    return model


def rounded(images: Tensor) -> Tensor:
    return (images * 255).round() / 255


def warned(recorded: list[warnings.WarningMessage]) -> list[str]:
    return [str(one.message) for one in recorded if "gradient" in str(one.message)]


@pytest.mark.parametrize("high_frequency_weight", [0.0, None])
@pytest.mark.parametrize(
    ("model", "preprocess", "words"),
    [
        (Then, rounded, "in the operation Round: rounding or quantization"),
        (lambda: Then(before=rounded), None, "in the operation Round: rounding or quantization"),
        (lambda: Then(inside=torch.sign), None, "in the operation Sign: rounding or quantization"),
        (dead, None, "in the operation Relu: units that are off"),
        (lambda: Then(inside=lambda x: x.clamp(5, 6)), None, "in the operation Clamp: units that are off, or at their limit"),
        (lambda: Then(inside=lambda x: torch.sigmoid(x + 1000)), None, "in the operation Sigmoid: saturated values"),
        (zero_head, None, "in the operation Addmm: weights or factors of zero"),
    ],
)  # fmt: skip
def test_rows_that_do_not_move_are_named_with_the_cause(model, preprocess, words, high_frequency_weight) -> None:
    generation = PrototypeGeneration(model(), preprocess)
    with pytest.warns(
        UserWarning, match=r"exactly zero in all 6 steps for prototype 0 \(target \[1\]\), prototype 1 "
    ) as recorded:
        prototypes = generation.generate([1, 2], SHAPE, steps=6, high_frequency_weight=high_frequency_weight, **PLAIN)
    (message,) = warned(recorded)
    assert words in message
    assert torch.equal(prototypes.history["zero_gradient"], torch.ones(6, 2))
    moved = not torch.equal(prototypes.images, generation.generate([1, 2], SHAPE, steps=0, **PLAIN).images)
    assert moved == (high_frequency_weight is None)  # regularizers move what the model does not, and hide it


def test_only_the_rows_that_rest_are_named_and_the_result_knows_which(tmp_path: Path) -> None:
    class BrightOnly(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(x.mean((1, 2, 3)) - 0.5)[:, None] * torch.ones(3)

    start = torch.stack([torch.full(SHAPE, 0.1), torch.full(SHAPE, 0.9), torch.full(SHAPE, 0.2)])
    generation = PrototypeGeneration(BrightOnly())
    options = {**PLAIN, "start": start, "steps": 4, "high_frequency_weight": 0.0}
    with pytest.warns(
        UserWarning, match=r"for prototype 0 \(target \[0\]\), prototype 2 \(target \[0\]\): .*Relu"
    ) as recorded:
        prototypes = generation.generate(0, **options)
    assert len(warned(recorded)) == 1
    expected = torch.tensor([[1.0, 0.0, 1.0]] * 4)
    assert torch.equal(prototypes.history["zero_gradient"], expected)
    with pytest.warns(UserWarning, match="exactly zero"):
        # A batch in which all move has nothing to record, and goes with the others all the same.
        parts = generation.generate(0, batch_size=1, **options)
    assert torch.equal(parts.history["zero_gradient"], expected)
    parts.save(tmp_path / "prototypes.safetensors")
    assert torch.equal(Prototypes.load(tmp_path / "prototypes.safetensors").history["zero_gradient"], expected)


def test_a_few_steps_without_gradient_are_recorded_and_no_more() -> None:
    calls = []

    def off_at_first(images: Tensor) -> Tensor:
        calls.append(len(images))
        return images * (len(calls) > 4)

    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        history = (
            PrototypeGeneration(Then(), off_at_first)
            .generate(1, SHAPE, steps=12, fold_batch_norm=False, channels_last=False, **PLAIN)
            .history
        )
    assert not warned(recorded)
    assert 0 < int(history["zero_gradient"].sum()) < 6


def test_nothing_is_said_of_what_moves_or_does_not_look_at_the_model(make_cnn) -> None:
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        history = PrototypeGeneration(make_cnn()).generate([0, 1], SHAPE, steps=4, warmup_steps=2).history
        alone = InputOptimization(make_cnn(), HighFrequency(), steps=4).optimize(SHAPE).history
    assert not warned(recorded)
    assert "zero_gradient" not in {**history, **alone}


# --- no gradient at all --------------------------------------------------------------------------------------------------------------


def dynamically_quantized() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Then(), {nn.Linear})


def quantized() -> nn.Module:
    stubs = torch.ao.quantization.QuantStub(), torch.ao.quantization.DeQuantStub()
    model = nn.Sequential(stubs[0], nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3), stubs[1]).eval()
    model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
    torch.ao.quantization.prepare(model, inplace=True)(torch.rand(2, *SHAPE))
    return torch.ao.quantization.convert(model)


def another_graph() -> Callable[[Tensor], Tensor]:
    model, factor = Then(), torch.ones(3, requires_grad=True)
    return lambda images: model(images.detach()) * factor


@pytest.mark.filterwarnings("ignore")  # PyTorch's own of quantization
@pytest.mark.parametrize("transform", [None, PAPER_TRANSFORM])  # whose operator makes zeros of no gradient at all
@pytest.mark.parametrize("warmup_steps", [0, 2])
@pytest.mark.parametrize(
    "make",
    [
        dynamically_quantized,
        quantized,
        another_graph,
        lambda: torch.no_grad()(Then()),
        lambda: torch.inference_mode()(Then()),
        lambda: Then(after=torch.detach),
        lambda: Then(before=torch.detach),
    ],
)
def test_a_model_without_a_graph_is_refused_with_what_to_leave_out(make, warmup_steps: int, transform) -> None:
    words = (
        "has no gradient with respect to the images; leave torch.no_grad, .detach(), rounding and quantized layers out"
    )
    if make in (dynamically_quantized, quantized):  # of which it can be said which layer it is
        words = "is quantized, and PyTorch has no gradient through quantized kernels; give the model as it was before quantization"
    with pytest.raises(InputError) as caught:
        PrototypeGeneration(make()).generate(1, SHAPE, steps=2, warmup_steps=warmup_steps, transform=transform)
    assert words in str(caught.value)


class Checkpointed(nn.Module):
    def __init__(self, use_reentrant: bool) -> None:
        super().__init__()
        self.network, self.use_reentrant = Then(), use_reentrant

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.network, x, use_reentrant=self.use_reentrant)


@pytest.mark.parametrize("warmup_steps", [0, 2])
def test_checkpoints_by_reentrance_are_refused_with_what_to_do_and_others_work(warmup_steps: int) -> None:
    options = {"steps": 2, "warmup_steps": warmup_steps}
    with pytest.raises(InputError, match="call it with use_reentrant=False"):
        PrototypeGeneration(Checkpointed(True)).generate(1, SHAPE, **options)
    with pytest.raises(InputError, match="call it with use_reentrant=False"):
        InputOptimization(Checkpointed(True), ClassLogit(1), steps=2).optimize(SHAPE)
    model = Checkpointed(False)
    expected = PrototypeGeneration(model.network).generate(1, SHAPE, **options)
    assert torch.allclose(PrototypeGeneration(model).generate(1, SHAPE, **options).images, expected.images, atol=1e-5)


# --- the command ---------------------------------------------------------------------------------------------------------------------

FACTORY = """
import torch

class Rounding(torch.nn.Module):
    def forward(self, images):
        return (images * 255).round() / 255

def factory():
    model = torch.nn.Sequential(Rounding(), torch.nn.Flatten(), torch.nn.Linear(192, 3))
    model.image_shape = (3, 8, 8)
    return model
"""


def test_the_command_keeps_what_was_said(tmp_path: Path) -> None:
    (tmp_path / "rounding.py").write_text(FACTORY)
    line = ["generate", "--model", f"{tmp_path}/rounding.py:factory", "--target", "1", "--out", str(tmp_path / "out")]
    with pytest.warns(UserWarning, match="exactly zero"):
        assert main([*line, "--steps", "3", "--warmup-steps", "0", "--no-progress"]) == 0
    (sentence,) = json.loads((tmp_path / "out" / "settings.json").read_text())["recorded"]["warnings"]
    assert "exactly zero in all 3 steps for prototype 0 (target [1])" in sentence
    assert sentence in Page.load(tmp_path / "out").failures
