"""Hooks on the layers of a model, for the length of a block: the only place of the package that hangs any."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import nn

#: Called with the module, its positional arguments and what it returned; what it gives other than None goes on in place of that.
Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]


@contextlib.contextmanager
def forward_hooks(hooks: Iterable[tuple[nn.Module, Hook]]) -> Iterator[None]:
    """Hang each hook on its module for the length of the block; they come off in every case. Passes of other threads they do not see."""
    handles, thread = [], threading.get_ident()

    def of_this_thread(hook: Hook) -> Hook:
        def call(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
            return hook(module, inputs, output) if threading.get_ident() == thread else None

        return call

    try:
        for module, hook in hooks:
            handles.append(module.register_forward_hook(of_this_thread(hook)))
        yield
    finally:
        for handle in handles:
            handle.remove()


def hooked(
    modules: Mapping[str, nn.Module], on_return: Callable[[str, int, Any], None]
) -> contextlib.AbstractContextManager[None]:
    """Call ``on_return(name, call, value)`` whenever one of ``modules`` returns, ``call`` counting from 0 for each of them."""
    calls = dict.fromkeys(modules, 0)

    def hook_of(name: str) -> Hook:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            calls[name] += 1
            on_return(name, calls[name] - 1, output)

        return hook

    return forward_hooks((module, hook_of(name)) for name, module in modules.items())


def tensors_in(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """The leaves of nested tuples, lists and dicts, with the keys that lead to them."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from tensors_in(item, (*path, key))
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from tensors_in(item, (*path, index))
    else:
        yield path, value
