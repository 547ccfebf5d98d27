"""Hooks on the layers of a model, for the length of a block: the only place of the package that hangs any."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.scripted import check_readable

#: Called with the module, its positional arguments and what it returned. What it returns, if anything, takes the place of that.
Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]
#: Called with the module, its positional and its named arguments, before it runs.
InputHook = Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]


@contextlib.contextmanager
def forward_hooks(
    hooks: Iterable[tuple[nn.Module, Hook]], before: Iterable[tuple[nn.Module, InputHook]] = ()
) -> Iterator[None]:
    """
    Hang each hook on its module for the length of the block; they come off in every case. Passes of other threads they do not see.

    Raises:
        InputError: If a module was made by ``torch.jit``. A scripted one takes no hooks, a traced one takes them and never calls them.
    """
    handles, thread = [], threading.get_ident()

    def of_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            return hook(*arguments) if threading.get_ident() == thread else None

        return call

    try:
        for module, hook in hooks:
            check_readable(module)
            handles.append(module.register_forward_hook(of_this_thread(hook)))
        for module, input_hook in before:
            check_readable(module)
            handles.append(module.register_forward_pre_hook(of_this_thread(input_hook), with_kwargs=True))
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


def in_numbers(value: Any) -> Any:
    """A tensor as the numbers that it stands for: a quantized one dequantized, which is exact. Anything else as it is."""
    return value.dequantize() if isinstance(value, Tensor) and value.is_quantized else value


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
