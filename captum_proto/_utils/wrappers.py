"""Models in a wrapper: what ``torch.compile``, ``DataParallel`` and ``DistributedDataParallel`` have put around a module, and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel

#: The name under which ``torch.compile(module)`` holds the module. Its class is not asked for: importing the compiler takes seconds.
COMPILED = "_orig_mod"


def inner_name(module: Any) -> str | None:
    """Under which name a wrapper holds its module; None of what is no wrapper."""
    if isinstance(module, (DataParallel, DistributedDataParallel)):
        return "module"
    return COMPILED if isinstance(module, nn.Module) and COMPILED in vars(module).get("_modules", ()) else None


def unwrapped(value: Any) -> Any:
    """The module in all its wrappers; anything else as it is."""
    while (name := inner_name(value)) is not None:
        value = getattr(value, name)
    return value


def plain_names(model: nn.Module) -> Callable[[str], str]:
    """A function from a dotted name of a module, parameter or buffer to its name in the model without wrappers."""
    wrapped = [
        f"{name}.{inner}".removeprefix(".")
        for name, module in model.named_modules(remove_duplicate=False)
        if (inner := inner_name(module)) is not None
    ]

    def plain(name: str) -> str:
        for prefix in reversed(wrapped):  # the innermost first
            if name == prefix or name.startswith(f"{prefix}."):
                name = (prefix.rpartition(".")[0] + name[len(prefix) :]).removeprefix(".")
        return name

    return plain


def named_modules(model: nn.Module, remove_duplicate: bool = True) -> Iterator[tuple[str, nn.Module]]:
    """As ``model.named_modules()`` of the model without wrappers."""
    plain = plain_names(model)
    for name, module in model.named_modules(remove_duplicate=remove_duplicate):
        if inner_name(module) is None:
            yield plain(name), module
