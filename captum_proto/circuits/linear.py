"""
The nearest linear network, for the length of a block: what weights between distant layers are read from.

Activation functions let everything through, maxima are means, and gates have fixed values. Of Voss et al., "Visualizing Weights" (Distill
2021), "expanded weights"; what it replaces by what is their choice, as captum.optim has it: ReLU by the identity, max pooling by average
pooling. Batch normalization in evaluation mode is linear as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from captum_proto._utils.activation_functions import IDENTITIES
from captum_proto._utils.errors import InputError
from captum_proto._utils.mean_pool import ADAPTIVE_POOLS, MAX_POOLS, mean_pool

#: Between 0 and 1, as a rule multiplied with something: with the slope at zero, the nearest linear map of one that stands alone.
_GATES = {"sigmoid": 0.25, "hardsigmoid": 1 / 6}
_FROZEN = (*_GATES, "softmax")
_PRODUCTS = frozenset(
    (
        "__matmul__",
        "__mul__",
        "__rmatmul__",
        "__rmul__",
        "addcmul",
        "baddbmm",
        "bmm",
        "conv1d",
        "conv2d",
        "conv3d",
        "einsum",
        "linear",
        "matmul",
        "mm",
        "mul",
        "multiply",
        "multi_head_attention_forward",
        "scaled_dot_product_attention",
    )
)


class GateValues(TorchFunctionMode):
    """
    Keep what gates return in the block: sigmoids, hard sigmoids and softmaxes, in their order.

    Attributes:
        values (list[Tensor]): What they returned.
    """

    def __init__(self) -> None:
        super().__init__()
        self.values: list[Tensor] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if _plain(func) in _FROZEN:
            self.values.append(result.detach().clone())
        return result


class LinearNetwork(TorchFunctionMode):
    """
    Replace what is not linear by its nearest linear map, in every function of PyTorch that is called during the block.

    What has no such map is told by tensors that need a gradient: two that are multiplied with each other make it quadratic, as the gate of
    a squeeze-and-excitation and an attention do. These need the values that their gates have on some image.

    Args:
        gates (sequence of Tensor, optional): What gates return, in their order, of :class:`GateValues`. Default: None
        where (Callable, optional): Says which layer is running, for messages. Default: None

    Raises:
        ValueError: In the block, where two things that depend on the same activations are multiplied.

    Examples::

        >>> with LinearNetwork():
        ...     torch.relu(torch.tensor([-2.0, 3.0]))
        tensor([-2.,  3.])
    """

    def __init__(self, gates: list[Tensor] | None = None, where: Callable[[], str] | None = None) -> None:
        super().__init__()
        self._gates = None if gates is None else iter(gates)
        self._where = where

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name, options = getattr(func, "__name__", ""), kwargs or {}
        plain = _plain(func)
        if plain in IDENTITIES:
            # In place or not, what comes after may change it, but never what came before.
            return args[0] if name != plain or options.get("inplace") else args[0].clone()
        if plain in _FROZEN and self._gates is not None:
            frozen = next(self._gates)
            return args[0].copy_(frozen) if name != plain and not args[0].requires_grad else frozen.clone()
        if plain in _GATES and _depends(args[0]):
            return 0.5 + _GATES[plain] * args[0]
        if name in MAX_POOLS:
            mean = mean_pool(func, MAX_POOLS[name], *args, **options)
            return (mean, func(*args, **options)[1]) if name.endswith("_with_indices") else mean
        if name in ADAPTIVE_POOLS:
            return ADAPTIVE_POOLS[name](*args[:2])
        if name == "amax":
            return args[0].mean(*args[1:], **options)
        if plain in _PRODUCTS and sum(map(_depends, _tensors((args, options)))) > 1:
            at = self._where() if self._where is not None else ""
            raise InputError(
                f"{f'layer {at!r}' if at else 'the network'} multiplies two things that both depend on the earlier layer ({plain}), as a "
                "squeeze-and-excitation and an attention do, which no linear map is near; choose layers without one between them, or give "
                "an image as frozen_at, on which gates keep their values."
            )
        return func(*args, **options)


def _plain(func: Callable[..., Any]) -> str:
    """The name of a function, of one that works in place that of its twin."""
    name: str = getattr(func, "__name__", "")
    return name if name.startswith("__") else name.removesuffix("_")


def _depends(value: Any) -> bool:
    return isinstance(value, Tensor) and value.requires_grad


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [inner for each in value for inner in _tensors(each)] if isinstance(value, (list, tuple)) else []


__all__ = ["GateValues", "LinearNetwork"]
