"""Models that torch.compile, DataParallel or DistributedDataParallel hold are the models in them: names, scores, weights, pictures."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from captum_proto import PathSimilarity, PrototypeGeneration, capture, path_similarity
from captum_proto._utils.model import fingerprint, named_modules, unwrapped
from captum_proto.capture import find_layer, select_layers
from captum_proto.metrics import pairwise_similarity
from captum_proto.models.checkpoints import load_state
from captum_proto.optim import GramDiversity

SHAPE = (3, 8, 8)
QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "evaluation_draws": 1}


@pytest.fixture(scope="module", autouse=True)
def _one_process(tmp_path_factory) -> Iterator[None]:
    """A process group of this process alone, which DistributedDataParallel needs."""
    file = tmp_path_factory.mktemp("group") / "file"
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


def _compiled(module: nn.Module) -> Any:
    return torch.compile(module, backend="aot_eager")


def _in_place(module: nn.Module) -> nn.Module:
    module.compile(backend="aot_eager")
    return module


def _part(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[SmallCNN], nn.Module]:
    def wrapped(model: SmallCNN) -> nn.Module:
        model.stem = wrap(model.stem)  # type: ignore[assignment]
        model.block = wrap(model.block)  # type: ignore[assignment]
        return model

    return wrapped


class CompiledMethod(SmallCNN):
    @torch.compile(backend="aot_eager")
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x)


def _compiled_method(model: SmallCNN) -> nn.Module:
    model.__class__ = CompiledMethod
    return model


def _compiled_attribute(model: SmallCNN) -> nn.Module:
    model.block.forward = torch.compile(model.block.forward, backend="aot_eager")  # type: ignore[method-assign]
    return model


WRAPPERS: dict[str, Callable[[Any], Any]] = {
    "compiled": _compiled,
    "compiled in place": _in_place,
    "DataParallel": nn.DataParallel,
    "DistributedDataParallel": DistributedDataParallel,
    "compiled DistributedDataParallel": lambda m: _compiled(DistributedDataParallel(m)),
    "DistributedDataParallel of compiled": lambda m: DistributedDataParallel(_compiled(m)),
    "compiled parts": _part(_compiled),
    "parts compiled in place": _part(_in_place),
    "DataParallel parts": _part(nn.DataParallel),
    "DistributedDataParallel parts": _part(DistributedDataParallel),
    "compiled with compiled parts": lambda m: _compiled(_part(_compiled)(m)),
    "a compiled method": _compiled_method,
    "a compiled attribute": _compiled_attribute,
}


@pytest.fixture
def plain() -> nn.Module:
    return seeded(SmallCNN).train()


@pytest.fixture(params=WRAPPERS)
def wrapped(request, plain) -> Iterator[Any]:
    """A wrapped copy; at the end nothing was compiled, and the copy is in training mode and works as before."""
    model = WRAPPERS[request.param](copy.deepcopy(plain))
    before = {id(module): dict(vars(module)) for module in model.modules()}
    counters = torch._dynamo.utils.counters["frames"]  # type: ignore[attr-defined]
    compiled = dict(counters)
    yield model
    assert dict(counters) == compiled
    assert torch._dynamo.eval_frame._stance.stance == "default"  # type: ignore[attr-defined]
    assert all(module.training for module in model.modules())
    assert {id(module): vars(module) for module in model.modules()} == before


def test_layers_and_what_they_return_are_the_plain_models(plain, wrapped, make_images):
    images = make_images(4, SHAPE)
    for layers in (None, "leaf", "stem*", ["head", "relu"]):
        expected, captured = capture(plain, images, layers), capture(wrapped, images, layers)
        assert list(captured) == list(expected)
        assert all(torch.equal(captured[name], value) for name, value in expected.items())
    assert [name for name, _ in named_modules(wrapped)] == [name for name, _ in plain.named_modules()]
    for remove_duplicate in (True, False):
        names = [name for name, _ in named_modules(wrapped, remove_duplicate)]
        assert names == [name for name, _ in plain.named_modules(remove_duplicate=remove_duplicate)]


def test_scores_and_saved_references_are_the_plain_models(plain, wrapped, make_images, tmp_path: Path):
    images = make_images(4, SHAPE)
    fitted = PathSimilarity(plain).fit(images)
    fitted.save(tmp_path / "reference.safetensors")
    expected = fitted.evaluate(images, leave_one_out=True)
    assert fingerprint(wrapped) == fingerprint(plain)
    for similarity in (
        PathSimilarity(wrapped).load(tmp_path / "reference.safetensors"),
        PathSimilarity(wrapped).fit(images),
    ):
        scores = similarity.evaluate(images, leave_one_out=True)
        assert scores.layers == expected.layers
        assert torch.equal(scores.spearman, expected.spearman)
        assert torch.equal(scores.l1, expected.l1)
    similarity.save(tmp_path / "other.safetensors")
    PathSimilarity(plain).load(tmp_path / "other.safetensors")
    path_similarity(wrapped, images, fitted.reference)
    gram, wanted = (pairwise_similarity(images, model, "block").gram["block"] for model in (wrapped, plain))
    assert torch.equal(gram, wanted)


@pytest.mark.parametrize("through", ["itself", "a function"])
def test_prototypes_are_the_plain_models(plain, wrapped, through):
    def generate(model: Any) -> Any:
        function = model if through == "itself" else lambda x: model(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return PrototypeGeneration(function).generate([1, 1], SHAPE, diversity=GramDiversity("block"), **QUICK)

    expected, made = generate(plain), generate(wrapped)
    assert torch.equal(made.images, expected.images)
    assert torch.equal(made.logits, expected.logits)
    settings = [{k: v for k, v in each.settings.items() if k != "diversity"} for each in (made, expected)]
    settings[0]["model"] = settings[0]["model"].replace("CompiledMethod", "SmallCNN")
    assert settings[0] == settings[1]
    assert expected.settings["network"]["folded_batch_norms"] == (through == "itself")


def test_layers_are_also_found_by_the_wrappers_names_and_objects(wrapped):
    for name, module in wrapped.named_modules():
        if unwrapped(module) is not unwrapped(wrapped):
            assert list(select_layers(wrapped, name).values()) == [unwrapped(module)]
            assert list(select_layers(wrapped, module).values()) == [unwrapped(module)]
        assert find_layer(wrapped, module)[1] is unwrapped(module)
    assert list(select_layers(wrapped, {"it": wrapped}).values()) == [unwrapped(wrapped)]
    with pytest.raises(ValueError, match=r'no layer "blok" in \w+; did you mean "block"'):
        select_layers(wrapped, "blok")


def test_a_child_that_is_called_module_keeps_its_name():
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = seeded(SmallCNN)

        def forward(self, x: Tensor) -> Tensor:
            return self.module(x)

    for model in (Outer(), nn.DataParallel(Outer()), _compiled(nn.DataParallel(Outer()))):
        assert list(select_layers(model, ["module", "module.head"])) == ["module", "module.head"]
        assert fingerprint(model) == fingerprint(Outer())


def test_a_compiled_function_is_run_as_it_was(plain):
    compiled = dict(torch._dynamo.utils.counters["frames"])  # type: ignore[attr-defined]
    for function in (torch.compile(lambda x: plain(x), backend="aot_eager"), _compiled(plain).forward):
        made, expected = (PrototypeGeneration(f).generate(1, SHAPE, **QUICK) for f in (function, lambda x: plain(x)))
        assert torch.equal(made.images, expected.images)
    assert dict(torch._dynamo.utils.counters["frames"]) == compiled  # type: ignore[attr-defined]


def test_a_checkpoint_goes_into_a_wrapped_model(plain):
    for wrap in (_compiled, nn.DataParallel, lambda m: _compiled(nn.DataParallel(m))):
        model = wrap(seeded(SmallCNN, 1))
        load_state(model, plain.state_dict(), "file", "model", can_resize=False)
        assert fingerprint(model) == fingerprint(plain)


def test_compiled_code_is_compiled_again_after(plain, make_images):
    model = torch.compile(plain.eval(), backend="eager")
    images = make_images(2, SHAPE)
    torch._dynamo.reset()
    try:
        model(images)
        compiled = dict(torch._dynamo.utils.counters["frames"])  # type: ignore[attr-defined]
        assert compiled["ok"]
        with torch._dynamo.config.patch(error_on_recompile=True):  # type: ignore[attr-defined]
            PathSimilarity(model).fit(images).evaluate(images)
            PrototypeGeneration(model).generate(1, SHAPE, **QUICK)
            model(images)
        assert dict(torch._dynamo.utils.counters["frames"]) == compiled  # type: ignore[attr-defined]
    finally:
        torch._dynamo.reset()
