"""What layers return during an optimization: with gradients, as they returned it, and nothing left behind."""

from __future__ import annotations

import copy
import gc
import weakref
from pathlib import Path

import pytest
import torch
from networks import seeded
from torch import Tensor, nn

import captum_proto
from captum_proto.capture import LayerRecorder, capture, find_layer, find_output


class Twice(nn.Module):
    """A layer that runs twice, one that returns a tuple, one that returns a dict, one that never runs, one that loses the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.relu, self.lstm, self.named = nn.ReLU(inplace=True), nn.LSTM(4, 3, batch_first=True), Named()
        self.never, self.flat = nn.ReLU(), nn.Flatten(0)

    def forward(self, x: Tensor) -> Tensor:
        self.flat(x)
        x = self.relu(x - 0.5)
        x = self.relu(self.named(x * 2)["deep"]["x"] - 0.5)
        return self.lstm(x)[0].sum((1, 2))


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, object]:
        return {"deep": {"x": x}, "shallow": x[:1]}


@pytest.fixture(scope="module")
def twice() -> nn.Module:
    return seeded(Twice).double()


def test_outputs_have_the_gradients_of_what_the_layer_returned(make_cnn, make_images):
    """``block`` is followed by an in-place sum and an in-place ReLU."""
    model, images = make_cnn(dtype=torch.float64), make_images(2).double().requires_grad_()
    recorder = LayerRecorder(model, ["block", model.stem, "block"])
    with recorder.recording():
        model(images)
        taken = recorder.take(2)
    assert set(taken) == {"block", model.stem}
    stem = model.stem(images)
    block = model.block(stem.relu())
    for value, expected in ((taken["block"], block), (taken[model.stem], stem)):
        assert torch.equal(value, expected)
        weights = torch.randn_like(value)
        (gradient,) = torch.autograd.grad((value * weights).sum(), images, retain_graph=True)
        torch.testing.assert_close(
            gradient, torch.autograd.grad((expected * weights).sum(), images, retain_graph=True)[0]
        )


@pytest.mark.parametrize("name", ["relu", "relu#0", "relu#1", "lstm[0]", "named[deep][x]"])
def test_names_are_those_of_capture(twice, name):
    x = torch.rand(3, 5, 4, dtype=torch.float64)
    recorder = LayerRecorder(twice, [name])
    with recorder.recording():
        for _ in range(2):  # calls are counted within a pass
            recorder.clear()
            twice(x)
            taken = recorder.take(3)[name]
    outputs = capture(twice, x, repeat="all" if "#" in name else "last")
    assert torch.equal(taken, outputs[name.removesuffix("#0")])


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (
            "never",
            'layer "never" returned nothing, for it did not run; expected a tensor with one entry for each of the 2',
        ),
        ("relu#2", 'layer "relu#2" returned nothing, for it did not run'),
        ("flat", r"returned shape \(40,\)"),
        ("lstm", 'layer "lstm" returned a tuple'),
        ("lstm[7]", "returned nothing"),
        ("named", "returned a dict"),
        ("named[shallow]", r"returned shape \(1, 5, 4\)"),
    ],
)
def test_what_is_no_output_of_each_image_is_refused(twice, layer, message):
    recorder = LayerRecorder(twice, [layer])
    with recorder.recording():
        twice(torch.rand(2, 5, 4, dtype=torch.float64))
        with pytest.raises(ValueError, match=message) as caught:
            recorder.take(2)
    assert str(caught.value).endswith("choose another layer.")


def test_layers_that_are_not_there_are_refused(twice):
    with pytest.raises(ValueError, match='no layer "relo" in Twice; did you mean "relu"'):
        LayerRecorder(twice, ["relo#1"])
    with pytest.raises(ValueError, match="is not part of the model"):
        LayerRecorder(twice, [nn.ReLU()])
    with pytest.raises(ValueError, match="refers to no module"):
        LayerRecorder(torch.sum, ["relu"])
    assert find_layer(twice, twice) == ("", twice)
    assert find_output(lambda x: twice(x), "lstm[1][0]") == ("lstm[1][0]", twice.lstm, None, ("1", "0"))


def test_a_copy_of_the_network_records_too_and_holds_on_to_nothing(make_cnn, make_images):
    model, images = make_cnn(), make_images(2)
    recorder = LayerRecorder(model, ["block"])
    with recorder.recording():
        other = copy.deepcopy(model)
        with torch.no_grad():
            other.block.weight.zero_()
        other(images)
        copied = recorder.take(2)["block"]
    assert torch.equal(copied, model.block.bias.view(1, -1, 1, 1).expand_as(copied))
    gone = weakref.ref(recorder), weakref.ref(model)
    del recorder, model
    gc.collect()
    assert [ref() for ref in gone] == [None, None]


def test_what_goes_into_a_layer_is_recorded_before_the_layer_works_in_place(twice):
    x = torch.rand(3, 5, 4, dtype=torch.float64)
    recorder = LayerRecorder(twice, ["relu@input", "relu#0@input", "lstm@input"])
    with recorder.recording():
        twice(x)
        taken = recorder.take(3)
    assert torch.equal(taken["relu#0@input"], x - 0.5)
    assert torch.equal(taken["relu@input"], 2 * (x - 0.5).relu() - 0.5)
    assert torch.equal(taken["lstm@input"], (2 * (x - 0.5).relu() - 0.5).relu())
    with pytest.raises(ValueError, match=r'layer "lstm\[0\]@input" is no input of a layer; leave the brackets out'):
        LayerRecorder(twice, ["lstm[0]@input"])
    with pytest.raises(ValueError, match='no layer "relo" in Twice; did you mean "relu"'):
        LayerRecorder(twice, ["relo@input"])


def test_gradients_of_one_layer_by_another_pass_layers_that_work_in_place_and_outputs_in_tuples(twice):
    x = torch.rand(3, 5, 4, dtype=torch.float64, requires_grad=True)
    names = ["relu#0", "named[deep][x]", "lstm[0]"]
    recorder = LayerRecorder(twice, names)
    plain = twice(x)
    with recorder.recording():
        assert torch.equal(twice(x), plain)
        taken = recorder.take_with_sources(3)
    value, sources = taken["lstm[0]"][0][1].sum(), {name: source for name, (_, source) in taken.items()}
    first = (x.detach() - 0.5).relu().requires_grad_()
    second = (first * 2).detach().requires_grad_()
    (by_second,) = torch.autograd.grad(twice.lstm((second - 0.5).relu())[0][1].sum(), second)
    (by_first,) = torch.autograd.grad(twice.lstm((first * 2 - 0.5).relu())[0][1].sum(), first)
    torch.testing.assert_close(sources["named[deep][x]"].gradient(value), by_second)
    torch.testing.assert_close(sources["relu#0"].gradient(value), by_first)
    assert sources["lstm[0]"].gradient(taken["relu#0"][0].sum()) is None
    assert not bool(by_first[[0, 2]].any())


def test_hooks_come_off_and_nothing_is_kept(make_cnn, make_images, untouched):
    model = make_cnn()
    recorder = LayerRecorder(model, ["block", "stem.0"])

    def interrupted() -> None:
        with recorder.recording():
            model(make_images(1))
            raise KeyboardInterrupt

    with untouched(model), pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(ValueError, match="did not run"):
        recorder.take(1)


def test_capture_gives_gradients_when_asked_for(make_cnn, make_images):
    model, images = make_cnn(dtype=torch.float64), make_images(2).double().requires_grad_()
    block = capture(model, images, "block", gradients=True)["block"]
    (gradient,) = torch.autograd.grad(block.square().sum(), images)
    expected = torch.autograd.grad(model.block(model.stem(images).relu()).square().sum(), images)[0]
    torch.testing.assert_close(gradient, expected)
    assert not capture(model, images, "block")["block"].requires_grad


def test_no_other_module_of_the_package_hangs_hooks():
    package = Path(captum_proto.__file__).parent
    hanging = [path for path in package.rglob("*.py") if "register_forward" in path.read_text(encoding="utf-8")]
    assert [path.relative_to(package).as_posix() for path in hanging] == ["capture/hooks.py"]
