"""What is asked of a model before it is used."""

from __future__ import annotations

import functools

import pytest
import torch
from networks import SmallCNN, seeded
from torch import nn

from captum_proto._utils.files import tensor_bytes
from captum_proto._utils.model import borrowed, device_of, dtype_of, fingerprint, modules_of
from captum_proto._utils.pipeline import Pipeline


def test_device_and_dtype_are_those_of_the_first_floating_tensor():
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("count", torch.zeros(1, dtype=torch.int64))
            self.register_buffer("mean", torch.zeros(1, dtype=torch.float64))

        def forward(self, x):
            return x

    assert dtype_of(Mixed()) == torch.float64
    assert dtype_of(nn.ReLU()) == dtype_of(lambda x: x) == torch.float32
    assert device_of(Mixed()) == device_of(lambda x: x) == torch.device("cpu")
    assert device_of(Mixed().to("meta")) == torch.device("meta")
    assert device_of(nn.ReLU(), "meta") == torch.device("meta")


def test_the_fingerprint_is_of_every_weight_and_buffer():
    def model() -> nn.Module:
        return seeded(SmallCNN)

    assert fingerprint(model()) == fingerprint(model().train()) == fingerprint(model().requires_grad_(False))
    prints = {fingerprint(model())}
    for name in model().state_dict():
        changed = model()
        with torch.no_grad():
            changed.state_dict()[name].view(-1)[0] += 1
        prints.add(fingerprint(changed))
    prints.add(fingerprint(model().double()))
    renamed = model()
    renamed.other = renamed.head
    del renamed.head
    prints.add(fingerprint(renamed))
    assert len(prints) == 1 + len(model().state_dict()) + 2
    assert fingerprint(nn.ReLU()) == fingerprint(nn.ReLU())


@pytest.mark.filterwarnings("ignore")  # PyTorch moves its quantization elsewhere
def test_the_fingerprint_is_of_quantized_weights_too():
    def quantized(weight: float, bias: float) -> nn.Module:
        linear = nn.Linear(2, 2)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor([[0.0, 1.0], [0.5, weight]]))
            linear.bias.fill_(bias)
        return torch.ao.quantization.quantize_dynamic(nn.Sequential(linear), {nn.Linear})

    assert fingerprint(quantized(1, 0)) == fingerprint(quantized(1, 0))
    assert len({fingerprint(quantized(*numbers)) for numbers in ((1, 0), (-1, 0), (1, 1))}) == 3
    # The same whole numbers in another scale.
    single, double = (
        torch.quantize_per_tensor(torch.tensor([0.0, scale]), scale, 0, torch.qint8) for scale in (1.0, 2.0)
    )
    holders = []
    for values in (single, double):
        holder = nn.Module()
        holder.register_buffer("weight", values)
        holders.append(holder)
    assert fingerprint(holders[0]) != fingerprint(holders[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool])
def test_bytes_are_of_the_values_alone(dtype):
    x = torch.tensor([[1, 0, 1], [0, 0, 1]]).to(dtype)
    assert tensor_bytes(x) == tensor_bytes(x.t().contiguous().t()) == tensor_bytes(torch.stack([x, x])[1])
    assert len(tensor_bytes(x)) == 6 * x.element_size()
    assert tensor_bytes(x[0, 0]) == tensor_bytes(x[0, 2])
    assert tensor_bytes(x[:0]) == b""


def test_a_pipeline_prepares_casts_and_runs():
    seen = []

    def model(x, *rest):
        seen.append((x.dtype, rest))
        return x.flatten(1)

    images = torch.full((2, 1, 2, 2), 0.5)
    output = Pipeline(model, lambda x: x * 2, (3, "a"))(images)
    assert torch.equal(output, torch.ones(2, 4))
    assert seen == [(torch.float32, (3, "a"))]
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).to(torch.bfloat16)
    assert Pipeline(linear)(images).dtype == torch.bfloat16
    assert Pipeline(linear).image_dtype == torch.float32
    assert Pipeline(linear.double()).image_dtype == torch.float64
    assert Pipeline(linear.float(), autocast=torch.bfloat16)(images).dtype == torch.bfloat16


def test_a_pipeline_gives_its_images_away_as_copies():
    images = torch.rand(2, 1, 2, 2)
    before = images.clone()
    for preprocess in (None, lambda x: x, lambda x: x.mul_(2), lambda x: x.view(x.shape)):
        Pipeline(lambda x: x.zero_(), preprocess)(images)
        assert torch.equal(images, before)


def test_the_modules_of_a_function_are_found_and_frozen():
    model = seeded(SmallCNN).double().train()

    class Method:
        pass

    functions = [
        lambda x: {"logits": model(x)}["logits"],
        model.forward,
        functools.partial(model),
        functools.partial(torch.add, 1),
    ]
    assert [modules_of(function) for function in functions] == [[model], [model], [model], []]
    assert modules_of(torch.relu) == modules_of(Method) == []
    assert dtype_of(functions[0]) == torch.float64
    with borrowed(functions[0]):
        assert not model.training
        assert not any(p.requires_grad for p in model.parameters())
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_the_callers_autocast_stays_outside():
    model = nn.Linear(8, 4)
    images = torch.rand(2, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert model(images).dtype == torch.bfloat16
        assert Pipeline(model)(images).dtype == torch.float32
        with borrowed(model):  # as always where a pipeline runs; else the caller's casted weights are reused
            assert Pipeline(model, autocast=torch.float16)(images).dtype == torch.float16


@pytest.mark.parametrize("supported", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_emulated_half_precision_is_warned_of(dtype, supported, monkeypatch, recwarn):
    name = "_is_mkldnn_bf16_supported" if dtype == torch.bfloat16 else "_is_mkldnn_fp16_supported"
    monkeypatch.setattr(torch.ops.mkldnn, name, lambda: supported)
    Pipeline(torch.nn.Linear(2, 2), autocast=dtype)
    said = [str(warning.message) for warning in recwarn]
    assert any("emulates it" in text and str(dtype).removeprefix("torch.") in text for text in said) is not supported
    recwarn.clear()
    Pipeline(torch.nn.Linear(2, 2))
    assert not recwarn.list
