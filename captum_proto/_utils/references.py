"""What a function refers to, directly and through whatever holds it: how the modules of a forward function are found."""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import sys
import types
import weakref
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

#: How many objects are looked at, modules not counted, and how many entries of a container: a forward function may hold a whole data set.
_OBJECTS, _ENTRIES = 10_000, 1_000
#: Packages whose own code and classes refer to no model of the user's.
_FOREIGN = frozenset({*sys.stdlib_module_names, "torch", "torchvision", "numpy", "captum", "captum_proto"})
#: What refers to nothing, as such containers do that are empty, and most attributes of a module are one or the other.
_LEAVES = (
    str,
    bytes,
    int,
    float,
    complex,
    type(None),
    Tensor,
    np.ndarray,
    np.generic,
    torch.dtype,
    torch.device,
    PurePath,
)
_COMMON_LEAVES = frozenset({str, int, float, bool, type(None), Tensor, nn.Parameter})
_SIZED = frozenset({dict, OrderedDict, list, tuple, set})
_CONTAINERS: tuple[Any, ...] = (list, tuple, set, frozenset, deque)


def reachable(root: Any) -> Iterator[Any]:
    """
    An object, and all that it reaches: what a function's code names in closures and globals, attributes, slots, containers, partials,
    methods, classes and weak references, the nearest first. No function of the user's is called.
    """
    root = _behind(root)
    seen, others = {id(root)}, 0
    queue = deque([root])
    alive = []  # so that no address is given to another object
    while queue:
        value = queue.popleft()
        alive.append(value)
        yield value
        for held in map(_behind, _held_by(value)):
            kind = type(held)
            if kind in _COMMON_LEAVES or id(held) in seen or (kind in _SIZED and not held) or isinstance(held, _LEAVES):
                continue
            is_module = isinstance(held, nn.Module)
            others += not is_module
            if is_module or others <= _OBJECTS:
                seen.add(id(held))
                queue.append(held)


def modules_of(forward_func: Callable[..., Any]) -> list[nn.Module]:
    """The modules that a forward function is made of: see :func:`each_module`."""
    return list(each_module(forward_func))


def each_module(forward_func: Callable[..., Any]) -> Iterator[nn.Module]:
    """
    The modules that a forward function is made of, the nearest first; of modules within modules, the outer one.

    A module is one. Of anything else, those that :func:`reachable` finds, as in ``lambda x: logits(x)`` with ``logits`` a function of a
    model, or an object that keeps it in a dictionary. Beside a module come those that it uses without having registered them.
    """
    inside: set[int] = set()
    for value in reachable(forward_func):
        if isinstance(value, nn.Module) and id(value) not in inside:
            yield value
            inside.update(id(module) for module in value.modules())


def _behind(value: Any) -> Any:
    """What a weak reference or a proxy stands for; of anything else, itself."""
    if type(value) in weakref.ProxyTypes:
        try:
            return value.__repr__.__self__  # a method of what it stands for
        except ReferenceError:
            return None
    return value() if isinstance(value, weakref.ref) else value


def _held_by(value: Any) -> Iterator[Any]:
    if inspect.isfunction(value):
        yield from _named_in(value)
        yield from value.__defaults__ or ()
        yield from (value.__kwdefaults__ or {}).values()
        yield from vars(value).values()  # __wrapped__, and what torch.compile was given
    elif isinstance(value, type):
        if not _is_foreign(value):
            yield from vars(value).values()
            yield from value.__bases__
    elif isinstance(value, torch.jit.ScriptModule):
        yield from value.children()  # it also keeps methods of the module that it was made from, which it does not run
    elif not isinstance(value, types.ModuleType):
        if isinstance(value, nn.Module):
            yield from value.children()
        elif isinstance(value, (types.MethodType, types.BuiltinMethodType, types.MethodWrapperType)):
            yield value.__self__
            yield getattr(value, "__func__", None)
        elif isinstance(value, (staticmethod, classmethod)):
            yield value.__func__
        elif isinstance(value, property):
            yield value.fget
        elif isinstance(value, functools.partial):
            yield from (value.func, *value.args, *value.keywords.values())
        elif isinstance(value, dict):
            yield from list(itertools.islice(dict.values(value), _ENTRIES))
        elif kind := next((kind for kind in _CONTAINERS if isinstance(value, kind)), None):
            yield from list(itertools.islice(kind.__iter__(value), _ENTRIES))
        yield from _attributes(value)
        yield type(value)


def _attributes(value: Any) -> Iterator[Any]:
    """The values of an object's attributes and slots; of a module, without its registers of children, parameters and buffers."""
    attributes = getattr(value, "__dict__", None)
    if isinstance(attributes, dict):
        registers = ("_modules", "_parameters", "_buffers") if isinstance(value, nn.Module) else ()
        yield from [held for name, held in list(attributes.items()) if name not in registers]
    for kind in type(value).__mro__:
        if "__slots__" in vars(kind):
            slots = [slot for slot in vars(kind).values() if isinstance(slot, types.MemberDescriptorType)]
            for slot in slots:
                with contextlib.suppress(AttributeError):  # it is empty
                    yield slot.__get__(value)


def _named_in(function: types.FunctionType) -> Iterator[Any]:
    """What the code of a function names: in its closure, in its globals, and in Python modules that are among these."""
    names, looked_into = list(dict.fromkeys(_names(function.__code__))), set[int]()
    for cell in function.__closure__ or ():
        with contextlib.suppress(ValueError):  # it has no value yet
            yield from _through_modules(cell.cell_contents, names, looked_into)
    if not _is_foreign(function):
        for name in names:  # one that is imported inside the function is that of a module
            yield from _through_modules(function.__globals__.get(name, sys.modules.get(name)), names, looked_into)


def _through_modules(value: Any, names: Iterable[str], seen: set[int]) -> Iterator[Any]:
    """A value itself; of a Python module, what it has under these names, once."""
    value = _behind(value)
    if not isinstance(value, types.ModuleType):
        yield value
    elif id(value) not in seen and value.__name__.partition(".")[0] not in _FOREIGN:
        seen.add(id(value))
        for name in names:
            yield from _through_modules(vars(value).get(name), names, seen)


def _names(code: types.CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant)


def _is_foreign(definition: Any) -> bool:
    return str(getattr(definition, "__module__", "")).partition(".")[0] in _FOREIGN
