"""However a forward function holds its model, the model is found: frozen, in evaluation mode, on its own device and in its own dtype."""

from __future__ import annotations

import collections
import dataclasses
import functools
import sys
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import PrototypeGeneration
from captum_proto._utils.model import Loan, borrowed, device_of, dtype_of, modules_of
from captum_proto.optim import HighFrequency, InputOptimization
from captum_proto.optim.loss import ClassLogit

SHAPE = (3, 8, 8)
MODEL: nn.Module = seeded(SmallCNN).double().train()
HOLDER = types.SimpleNamespace(inner=types.SimpleNamespace(model=MODEL))
REGISTRY: dict[str, Any] = {"models": [{"first": (1, MODEL)}]}
ALIVE = weakref.WeakValueDictionary({"model": MODEL})


def logits(x: Tensor) -> Tensor:
    return MODEL(x)


def scaled(x: Tensor) -> Tensor:
    def inner(y: Tensor) -> Tensor:
        return logits(y) * 2

    return inner(x)


class Attribute:
    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x)

    def method(self, x: Tensor) -> Tensor:
        return self(x)


class Slots:
    __slots__ = ("__model", "empty")

    def __init__(self, model: Any) -> None:
        self.__model = model

    def __call__(self, x: Tensor) -> Tensor:
        return self.__model(x)


@dataclasses.dataclass(slots=True)
class Data:
    model: Any

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x)


class InClass:
    models = (MODEL,)

    def __call__(self, x: Tensor) -> Tensor:
        return self.models[0](x)


class ThroughBase(InClass):
    pass


class UsesGlobal:
    def __call__(self, x: Tensor) -> Tensor:
        return self.helper(x)

    @staticmethod
    def helper(x: Tensor) -> Tensor:
        return scaled(x)


class Property:
    @property
    def model(self) -> Any:
        return REGISTRY["models"][0]["first"][1]

    def __call__(self, x: Tensor) -> Tensor:
        return self.model(x)


class Hidden(nn.Module):
    """Registers nothing: what it calls is in a plain list."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.models = [model]

    def forward(self, x: Tensor) -> Tensor:
        return self.models[0](x)


class HiddenGlobal(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return logits(x)


def decorated(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    @functools.wraps(function)
    def wrapper(x: Tensor) -> Tensor:
        return function(x)

    return wrapper


def of_local_import(x: Tensor) -> Tensor:
    import module_with_a_model  # the import within the function is what is tested

    return module_with_a_model.part.net(x)


def _thread_local(model: nn.Module) -> Any:
    local = threading.local()
    local.model = model
    return lambda x: local.model(x)


HELD: dict[str, Callable[[nn.Module], Callable[[Tensor], Any]]] = {
    "a global": lambda model: lambda x: MODEL(x),
    "a function of a global": lambda model: lambda x: logits(x),
    "a function in a function": lambda model: scaled,
    "a global's attributes": lambda model: lambda x: HOLDER.inner.model(x),
    "containers in a global": lambda model: lambda x: REGISTRY["models"][0]["first"][1](x),
    "weak values": lambda model: lambda x: ALIVE["model"](x),
    "a module of Python's": lambda model: lambda x: sys.modules[__name__] and HOLDER.inner.model(x),
    "an import in the function": lambda model: of_local_import,
    "a default": lambda model: lambda x, m=model: m(x),
    "a keyword default": lambda model: lambda x, *, m=[model]: m[0](x),
    "a closure over a dict": lambda model: (lambda held: lambda x: held["m"](x))({"m": model}),
    "a closure over a deque": lambda model: (lambda held: lambda x: held[0](x))(collections.deque([model])),
    "a closure over a function": lambda model: (lambda inner: lambda x: inner(x))(lambda x: model(x)),
    "a comprehension": lambda model: lambda x: next(m(x) for m in [model]),
    "an object": Attribute,
    "an object in an object": lambda model: Attribute(Attribute([model][0])),
    "a method": lambda model: Attribute(model).method,
    "a method of the model's": lambda model: model.forward,
    "its call": lambda model: model.__call__,
    "a method of a list": lambda model: functools.partial(lambda pop, x: pop(0)(x), [model].__getitem__),
    "slots": Slots,
    "a dataclass": Data,
    "a class attribute": lambda model: InClass(),
    "a base class": lambda model: ThroughBase(),
    "a method of a global": lambda model: UsesGlobal(),
    "a property": lambda model: Property(),
    "a partial": lambda model: functools.partial(lambda m, x: m(x), model),
    "a partial's keyword": lambda model: functools.partial(lambda x, m: m["it"](x), m={"it": model}),
    "a weak reference": lambda model: (lambda reference: lambda x: reference()(x))(weakref.ref(model)),
    "a proxy": lambda model: (lambda proxy: lambda x: proxy(x))(weakref.proxy(model)),
    "functools.cache": lambda model: functools.lru_cache(lambda x: model(x)),
    "a decorator": lambda model: decorated(lambda x: model(x)),
    "torch.no_grad": lambda model: torch.enable_grad()(lambda x: model(x)),
    "torch.compile": lambda model: torch.compile(lambda x: model(x), backend="eager"),
    "a thread's own": _thread_local,
}


@pytest.fixture(autouse=True)
def _module_with_a_model(monkeypatch):
    outer, part = types.ModuleType("module_with_a_model"), types.ModuleType("module_with_a_model.part")
    outer.part, part.net = part, MODEL  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, outer.__name__, outer)


@pytest.mark.parametrize("held", HELD)
def test_a_model_is_found_and_frozen_however_it_is_held(held, untouched, recwarn):
    function = HELD[held](MODEL)
    assert modules_of(function) == [MODEL]
    assert dtype_of(function) == torch.float64
    with borrowed(function):
        assert not any(module.training for module in MODEL.modules())
        assert not any(parameter.requires_grad for parameter in MODEL.parameters())
    with untouched(MODEL):
        made = PrototypeGeneration(function).generate(1, SHAPE, steps=2, warmup_steps=1, evaluation_draws=0)
    options = {"steps": 2, "warmup_steps": 1, "evaluation_draws": 0, "fold_batch_norm": False}
    factor = 2 if held in ("a function in a function", "a method of a global") else 1
    expected = PrototypeGeneration(lambda x: MODEL(x) * factor).generate(1, SHAPE, **options)
    assert torch.equal(made.images, expected.images)  # of a function nothing is folded
    assert not [warning for warning in recwarn if "no torch.nn.Module" in str(warning.message)]


@pytest.mark.parametrize("make", [Hidden, lambda model: HiddenGlobal()])
def test_what_a_module_uses_without_registering_it_is_frozen_too(make, untouched):
    module = make(MODEL)
    assert modules_of(module) == [module, MODEL]
    assert dtype_of(module) == torch.float64
    with borrowed(module):
        assert not any(part.training for part in MODEL.modules())
    with untouched(MODEL):
        PrototypeGeneration(module).generate(1, SHAPE, steps=2, warmup_steps=0, evaluation_draws=0)


def test_the_nearest_module_comes_first_and_those_within_another_not_at_all():
    near, far = nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))
    holder = {"deep": {"deeper": [far]}}
    assert modules_of(lambda x: near(holder["deep"]["deeper"][0](x))) == [near, far]
    assert modules_of(lambda x: far[0](far(x))) == [far]


def test_other_packages_and_large_containers_are_not_searched():
    calls = []

    class Lazy(dict):  # type: ignore[type-arg]
        def values(self):
            calls.append("values")
            return super().values()

        def __getattr__(self, name):
            calls.append(name)
            raise AttributeError(name)

    images, lazy = list(range(1_000_000)), Lazy(model=MODEL)
    assert modules_of(lambda x: lazy["model"](x[: len(images)])) == [MODEL]
    assert [name for name in calls if not name.startswith("__")] == []  # no code of the user's is run
    for function in (torch.relu, torch.nn.functional.interpolate, nn.Linear, sorted, threading.Thread):
        assert modules_of(function) == []


def test_a_dead_reference_is_none():
    model = nn.Linear(2, 2)
    proxy, reference = weakref.proxy(model), weakref.ref(model)
    functions = [lambda x: proxy(x), lambda x: reference()(x)]
    assert [modules_of(function) for function in functions] == [[model], [model]]
    del model
    assert [modules_of(function) for function in functions] == [[], []]


def test_where_none_is_found_a_warning_says_what_it_means_and_what_to_pass():
    weights = torch.rand(192, 5)
    pure = lambda x: x.flatten(1) @ weights  # noqa: E731
    said = r"no torch.nn.Module was found in forward_func, a function: .* float32 on the CPU.*pass the module, or a function"
    options = {"steps": 2, "warmup_steps": 0}
    with pytest.warns(UserWarning, match=said) as caught:
        made = PrototypeGeneration(pure).generate(1, SHAPE, **options)
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.warns(UserWarning, match=said):
        InputOptimization(pure, ClassLogit(1) + HighFrequency(), **options)
    assert made.images.dtype == torch.float32
    assert device_of(pure) == torch.device("cpu")
    assert Loan(pure).modules == []
