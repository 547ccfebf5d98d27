"""What a layer returns, changed on its way to the rest of the network."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from captum_proto._utils.errors import InputError
from captum_proto.capture.hooks import forward_hooks, in_numbers
from captum_proto.capture.selection import Layer, find_output


@contextlib.contextmanager
def changed_output(
    forward_func: Callable[..., Any], layer: Layer, change: Callable[[Tensor], Tensor | None]
) -> Iterator[None]:
    """
    Let what a layer returns go on changed, for one forward pass within the block.

    Args:
        forward_func (Callable): The model, or a function that refers to it.
        layer (str or nn.Module): As :func:`capture` names it. Without ``#k``, every call of the layer in a pass.
        change (Callable): From what the layer returned, dequantized, to what the rest of the network gets in its place; None leaves it as
            it is.

    Raises:
        ValueError: If the model has no such layer, or what it returns is quantized and was to be changed.

    Examples::

        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
        >>> with changed_output(model, "0", torch.zeros_like):
        ...     model(torch.randn(1, 4))
        tensor([[0., 0., 0.]])
    """
    _, module, call, path = find_output(forward_func, layer)
    calls = -1

    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: Any) -> Any:
        nonlocal calls
        calls += 1
        return _at(output, path, change) if call in (None, calls) else None

    with forward_hooks([(module, hook)]):
        yield


def _at(value: Any, path: tuple[str, ...], change: Callable[[Tensor], Tensor | None]) -> Any:
    """A value with the tensor that keys lead to changed, in containers like those it came in; None where nothing is."""
    if not path:
        if not isinstance(value, Tensor):
            return None
        changed = change(in_numbers(value))
        if changed is not None and value.is_quantized:
            raise InputError(
                f"the layer returns {value.dtype} numbers, which cannot be changed without rounding; give the model as it was before "
                "quantization."
            )
        return changed
    key, *rest = path
    if isinstance(value, Mapping):
        found = next((name for name in value if str(name) == key), None)
        changed = None if found is None else _at(value[found], tuple(rest), change)
        return None if changed is None else type(value)({**value, found: changed})  # type: ignore[call-arg]
    if isinstance(value, (tuple, list)) and key.isdigit() and int(key) < len(value):
        changed = _at(value[int(key)], tuple(rest), change)
        if changed is None:
            return None
        items = [changed if index == int(key) else item for index, item in enumerate(value)]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return None


__all__ = ["changed_output"]
