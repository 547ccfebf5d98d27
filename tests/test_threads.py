"""Several threads with one model: each gets what it gets alone, and the model comes back as it was."""

from __future__ import annotations

import copy
import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PathSimilarity, PrototypeGeneration, capture, path_similarity
from captum_proto._utils.model import Loan, borrowed, fingerprint
from captum_proto.capture import forward_hooks
from captum_proto.optim import GramDiversity

SHAPE = (3, 8, 8)
QUICK: dict[str, Any] = {"steps": 2, "warmup_steps": 1, "evaluation_draws": 1}


class Slow(nn.Module):
    """Lets others run while it is run; gives the number of passes since it was made, as a buffer that each of them raises."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        before = self.passes.clone()
        time.sleep(0.002)
        self.passes += 1
        return x * (1 + before)


class WithFactor(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, factor: float = 1.0) -> Tensor:
        return self.network(x) * factor


def _tensors(value: Any) -> list[Tensor]:
    """What there is in a result, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [tensor for item in value for tensor in _tensors(item)]
    return _tensors(list(vars(value).values())) if hasattr(value, "__dict__") else []


def _noisy(x: Tensor) -> Tensor:
    time.sleep(0.001)
    return x + 0.1 * torch.rand_like(x)


USES: dict[str, Callable[[nn.Module, Tensor], Any]] = {
    "fit and evaluate": lambda m, x: PathSimilarity(m, batch_size=2).fit(x).evaluate(x, leave_one_out=True),
    "path_similarity": lambda m, x: path_similarity(m, x[:2], x),
    "compare": lambda m, x: PathSimilarity(m).compare(x[:1], x, 1 - x, ascent_steps=1),
    "capture": lambda m, x: capture(m, x, repeat="all"),
    "capture with gradients": lambda m, x: capture(m, x.clone().requires_grad_(), ["network.block"], gradients=True),
    "generate": lambda m, x: PrototypeGeneration(m).generate([0, 1], start=x[:2], **QUICK),
    "generate with a recorded layer": lambda m, x: PrototypeGeneration(m).generate(
        [1, 1], start=x[:2], diversity=GramDiversity("network.block"), **QUICK
    ),
    "generate with a random transform": lambda m, x: PrototypeGeneration(m).generate(
        [0, 1], start=x[:2], transform=_noisy, **QUICK
    ),
    "attribute": lambda m, x: PrototypeGeneration(lambda y: m(y)).attribute(x, 1, steps=2),
}


def at_once(*works: Callable[[], Any]) -> list[Any]:
    """What each gives, or raises, in a thread of its own; all begin together."""
    results: list[Any] = [None] * len(works)
    begin = threading.Barrier(len(works))

    def run(index: int) -> None:
        begin.wait(10)
        try:
            results[index] = works[index]()
        except Exception as error:
            results[index] = error

    threads = [threading.Thread(target=run, args=(index,), daemon=True) for index in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads), "they wait for each other"
    return results


@pytest.fixture
def model(lived_in) -> nn.Module:
    network = seeded(SmallCNN)
    network.block = nn.Sequential(Slow(), network.block)
    return lived_in(WithFactor(network))


def _same(results: list[Any], expected: list[Any]) -> None:
    for result, wanted in zip(results, expected, strict=True):
        if isinstance(result, Exception):
            raise result
        assert len(_tensors(result)) == len(_tensors(wanted)) > 0
        for value, want in zip(_tensors(result), _tensors(wanted), strict=True):
            assert torch.equal(value.nan_to_num(-9.0), want.nan_to_num(-9.0))


@pytest.mark.parametrize("use", USES)
def test_two_threads_get_what_each_gets_alone(model, make_images, untouched, use):
    images = [make_images(4, SHAPE, seed) for seed in range(2)]
    expected = [USES[use](model, x) for x in images]
    with untouched(model):
        _same(at_once(*(lambda x=x: USES[use](model, x) for x in images)), expected)


def test_different_uses_at_once(model, make_images, untouched):
    images = make_images(4, SHAPE)
    expected = [use(model, images) for use in USES.values()]
    with untouched(model):
        _same(at_once(*(lambda use=use: use(model, images) for use in USES.values())), expected)


def test_random_transforms_of_two_models_do_not_draw_from_each_other(model, make_images, untouched):
    images, use = make_images(4, SHAPE), USES["generate with a random transform"]
    models = [model, copy.deepcopy(model)]
    expected = [use(each, images) for each in models]
    with untouched(model):
        _same(at_once(*(lambda each=each: use(each, images) for each in models)), expected)


WRAPPED: dict[str, Callable[[nn.Module], Any]] = {
    "DataParallel": nn.DataParallel,
    "torch.compile": lambda m: torch.compile(m, backend="eager"),
    "a function": lambda m: lambda x: m(x),
    "another module around a part": lambda m: WithFactor(m.network),
    "a module that does not register it": lambda m: _Unregistered(m),
}


class _Unregistered(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.networks = [network]

    def forward(self, x: Tensor) -> Tensor:
        return self.networks[0](x)


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_two_models_that_share_modules(model, make_images, untouched, wrapped):
    images = [make_images(4, SHAPE, seed) for seed in range(2)]
    other = WRAPPED[wrapped](model)
    works = [
        lambda: PathSimilarity(model, ["network.*"]).fit(images[0]).evaluate(images[1]),
        lambda: PrototypeGeneration(other).generate([0, 1], start=images[1][:2], **QUICK),
    ]
    expected = [work() for work in works]
    with untouched(model):
        _same(at_once(*works), expected)


def test_one_similarity_for_several_threads(model, make_images):
    images = make_images(6, SHAPE)
    similarity = PathSimilarity(model, ["network"], batch_size=1)
    similarity.layers = {"whole": model}
    similarity.fit(images)
    works = [lambda f=f: similarity.evaluate(images, f) for f in (1.0, 3.0, 5.0)]
    _same(at_once(*works), [work() for work in works])


@pytest.mark.parametrize("waiting", ["a callback", "a loader"])
def test_what_waits_for_another_thread_between_passes_does_not_wait_for_ever(model, make_images, waiting):
    images = make_images(4, SHAPE)
    expected = capture(model, images)

    def elsewhere() -> None:
        _same(at_once(lambda: capture(model, images)), [expected])

    def loader() -> Any:
        for image in images:
            elsewhere()
            yield image.unsqueeze(0)

    if waiting == "a loader":
        similarities = [PathSimilarity(model).fit(batches) for batches in (loader(), images.split(1))]
        _same([similarities[0].evaluate(images)], [similarities[1].evaluate(images)])
    else:
        calls = []
        PrototypeGeneration(model).generate(1, SHAPE, callback=lambda step: calls.append(elsewhere()), **QUICK)
        assert len(calls) == 3


def test_a_thread_that_would_wait_for_ever_is_told():
    models = [nn.Linear(2, 2), nn.Linear(2, 2)]
    both = threading.Barrier(2)

    def crossed(first: nn.Module, second: nn.Module) -> str:
        with borrowed(first):
            both.wait(10)
            with borrowed(second):
                return "done"

    told = at_once(lambda: crossed(*models), lambda: crossed(*reversed(models)))
    assert sorted(type(result).__name__ for result in told) == ["StateError", "str"]
    assert "two threads each use a model and wait" in str(next(result for result in told if result != "done"))
    assert at_once(lambda: crossed_alone(models))[0] == "done"
    assert all(model.training and model.weight.requires_grad for model in models)


def crossed_alone(models: list[nn.Module]) -> str:
    with borrowed(models[0]), borrowed(models[1]), borrowed(models[0]):  # a thread does not wait for itself
        return "done"


def test_other_models_do_not_wait():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    with borrowed(first):
        assert at_once(lambda: crossed_alone([second, second])) == ["done"]


def test_flags_come_back_when_the_last_use_ends():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    model[1].training = False
    first, second = Loan(model).frozen(), Loan(model[0]).frozen()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert (model.training, model[0].training, model[0].weight.requires_grad) == (True, False, False)
    second.__exit__(None, None, None)
    assert (model[0].training, model[0].weight.requires_grad, model[1].training) == (True, True, False)


def test_a_model_in_use_can_be_copied_and_pickled(model):
    before = fingerprint(model)
    model = seeded(SmallCNN)
    with borrowed(model):
        copies = [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    copies += [copy.deepcopy(model), pickle.loads(pickle.dumps(model))]
    assert {fingerprint(made) for made in copies} == {fingerprint(model)} != {before}


def test_a_copied_loan_is_of_the_copied_model():
    loan, entered = copy.deepcopy(Loan(nn.Sequential(nn.Linear(2, 2)))), threading.Event()

    def enter() -> None:
        with borrowed(loan.modules[1]):
            entered.set()

    thread = threading.Thread(target=enter, daemon=True)
    with loan.turn():
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    thread.join(10)


def test_hooks_do_not_hear_the_passes_of_other_threads():
    model, heard = nn.Linear(2, 2), []
    with forward_hooks([(model, lambda *_: heard.append(threading.get_ident()))]):
        at_once(lambda: model(torch.zeros(1, 2)))
        assert heard == []
        model(torch.zeros(1, 2))
    assert heard == [threading.get_ident()]
