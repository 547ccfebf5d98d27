"""
A device without float64, on a machine that has none: as Apple's MPS is, its tensors on the CPU.

A tensor of the device is a wrapper around a tensor of the CPU on which its operations are run. To Python it is on ``mps:0``. To
PyTorch's C++ it is on ``meta``, as FakeTensor's are: autograd's engine asks the device of each tensor for its guard and its queue, and of
the devices without float64 none has a guard in a build for the CPU. The mode, which has to be active, takes ``meta`` for the device too: it
is what C++ asks for where it makes a tensor "on the device of that one".

As on MPS, TypeError is raised wherever a tensor of the device would be float64 or complex128, and conversions are made where a tensor
comes from: float64 may be copied to the device as float32, but not out of it from float32. A tensor of the CPU may not meet one of the
device, unless it has no dimensions, is copied, or is an index.
"""

from __future__ import annotations

import functools
import threading
import weakref
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np
import torch
from torch import Tensor
from torch._C import DispatchKey, DispatchKeySet
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map, tree_map_only

DEVICE = torch.device("mps:0")
#: How far what is optimized there may be from what is optimized on the CPU, relative to the largest value: sums of the penalty and places
#: of samples are rounded to float32, convolutions see another memory format and Adam is not fused: some roundings of 6e-8 a step.
ROUNDING = 1e-5
_IN_CPP = torch.device("meta")
_REFUSED = (torch.float64, torch.complex128)
aten = torch.ops.aten
#: From one device to another.
_COPIES = (aten.copy_.default, aten.copy.default, aten._to_copy.default, aten._foreach_copy_.default)
#: Take indices from the CPU; what they are indices of has to be on the device.
_INDEXING = (
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put_.default,
    aten.index_put.default,
    aten._index_put_impl_.default,
    aten._unsafe_index_put.default,
)


class DeviceTensor(Tensor):
    """A tensor of the device; ``held`` is that of the CPU which it is made of."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor, requires_grad: bool = False) -> DeviceTensor:
        if held.dtype in _REFUSED:
            kind = str(held.dtype).removeprefix("torch.")
            raise TypeError(
                f"Cannot convert a MPS Tensor to {kind} dtype as the MPS framework doesn't support {kind}. Please use float32 instead."
            )
        made: DeviceTensor = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=_IN_CPP,
            requires_grad=requires_grad,
        )
        made.held = held
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return dispatched(func, args, kwargs or {})

    device = property(lambda self: DEVICE)  # type: ignore[assignment]
    is_meta = property(lambda self: False)  # type: ignore[assignment]
    is_mps = property(lambda self: True)  # type: ignore[assignment]

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """As of any tensor; where it is already, it stays: C++ knows of ``meta`` alone."""
        return super().to(*tree_map(_for_cpp, args), **tree_map(_for_cpp, kwargs))

    def new_tensor(self, data: Any, dtype: torch.dtype | None = None, device: Any = None, **kwargs: Any) -> Tensor:
        return torch.tensor(data, dtype=dtype or self.dtype, device=device or DEVICE, **kwargs)

    def __getitem__(self, index: Any) -> Tensor:
        return super().__getitem__(_with_values(index))

    def __setitem__(self, index: Any, value: Any) -> None:
        super().__setitem__(_with_values(index), value)

    @property
    def data(self) -> Tensor:
        return self.detach()

    @data.setter
    def data(self, value: DeviceTensor) -> None:
        Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.held = value.held

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def data_ptr(self) -> int:
        return self.held.data_ptr()

    def untyped_storage(self) -> torch.UntypedStorage:
        return self.held.untyped_storage()

    def numpy(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError(
            f"can't convert {DEVICE} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory first."
        )

    __array__ = numpy  # type: ignore[assignment]

    def __repr__(self, *args: Any, **kwargs: Any) -> str:
        return f"DeviceTensor({self.held!r})"


def _is_ours(value: Any) -> bool:
    if isinstance(value, str) and value.partition(":")[0] in (DEVICE.type, _IN_CPP.type):
        value = torch.device(value)
    return isinstance(value, torch.device) and value.type in (DEVICE.type, _IN_CPP.type)


def _is_really_meta(flat: Sequence[Any]) -> bool:
    """Whether ``meta`` is meant: for float64, which no tensor of the device leads to. With values of the device it is refused later."""
    named = [each for each in flat if isinstance(each, torch.device)]
    # What comes out is of the type that is named, or else of that of what goes in.
    types = [each for each in flat if isinstance(each, torch.dtype)]
    types = types or [each.dtype for each in flat if isinstance(each, Tensor)]
    wide = any(each in _REFUSED for each in types)
    return wide and named == [_IN_CPP] and not any(isinstance(each, DeviceTensor) for each in flat)


def _for_cpp(value: Any) -> Any:
    return _IN_CPP if _is_ours(value) else value


def _with_values(index: Any) -> Any:
    """Lists as tensors of the CPU: C++ would make them on ``meta``, unseen and without values."""
    if isinstance(index, tuple):
        return tuple(map(_with_values, index))
    return torch.tensor(index) if isinstance(index, (list, range, np.ndarray)) else index


class DeviceGenerator(torch.Generator):
    """A generator of the device."""

    device = property(lambda self: DEVICE)  # type: ignore[assignment]

    def __init__(self) -> None:
        _generators.add(self)


#: PyTorch hands on what a generator is in C++, without its class in Python.
_generators: weakref.WeakSet[DeviceGenerator] = weakref.WeakSet()
_active = threading.local()


class NoFloat64(TorchDispatchMode):
    """PyTorch with the device, for the length of a block."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        flat, _ = tree_flatten((args, kwargs or {}))
        ours = any(isinstance(each, DeviceTensor) or _is_ours(each) for each in flat)
        if not ours or _is_really_meta(flat):
            return func(*args, **(kwargs or {}))
        with self:  # what the operation is made of are operations of the device as well
            return dispatched(func, args, kwargs or {})

    def __enter__(self) -> NoFloat64:
        if not getattr(_active, "depth", 0):
            # torch.tensor makes a tensor of the CPU first, and then an operation copies it; else it asks the device for memory unseen.
            self._lifted = torch._C._only_lift_cpu_tensors()
            torch._C._set_only_lift_cpu_tensors(True)
        _active.depth = getattr(_active, "depth", 0) + 1
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        _active.depth -= 1
        if not _active.depth:
            torch._C._set_only_lift_cpu_tensors(self._lifted)


def dispatched(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """An operation of which a tensor of the device is an argument, or the device itself."""
    if not getattr(_active, "depth", 0):
        raise RuntimeError("a tensor of the device without float64 is used where the mode NoFloat64 is not active.")
    if func.namespace == "captum_proto":
        # The kernel that the dispatcher has for a device of which it knows nothing else.
        return func.redispatch(DispatchKeySet(DispatchKey.MPS), *args, **kwargs)
    if _is_composite(func):
        return func.decompose(*args, **kwargs)
    flat, _ = tree_flatten((args, kwargs))
    tensors = [each for each in flat if isinstance(each, Tensor)]
    if any(each.is_meta for each in tensors):
        raise RuntimeError(f"{func} was given a tensor without values, which was made where the mode does not see it.")
    _refuse_mixed(func, tensors, args)
    if func is aten._fused_sdp_choice.default:
        return 0  # PyTorch's own attention, of operations that any device has
    named = [each for each in flat if isinstance(each, torch.device)]
    here = _is_ours(named[0]) if named else any(isinstance(each, DeviceTensor) for each in tensors)
    if here:
        _refuse_generator(kwargs)
    if func is aten._to_copy.default and not here:
        _refuse_wide(kwargs.get("dtype"))
    if func in (aten.copy_.default, aten.copy.default) and isinstance(args[1], DeviceTensor):
        _refuse_wide(args[0].dtype)
        here = isinstance(args[0], DeviceTensor)
    with _disable_current_modes():
        inner_args, inner_kwargs = tree_map(_inner, (args, kwargs))
        found = func(*inner_args, **inner_kwargs)
    if not here:
        return args[0] if func is aten.copy_.default else found
    known = {id(inner): outer for inner, outer in zip(tree_flatten((inner_args, inner_kwargs))[0], flat, strict=True)}
    outer = tree_map_only(Tensor, lambda each: known[id(each)] if id(each) in known else DeviceTensor(each), found)
    return return_and_correct_aliasing(func, args, kwargs, outer) if _has_aliases(func) else outer


@functools.cache
def _is_composite(func: Any) -> bool:
    """Whether an operation is made of others, which then come one by one."""
    return torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), DispatchKey.CompositeImplicitAutograd)


@functools.cache
def _has_aliases(func: Any) -> bool:
    """Whether an operation changes its arguments, or returns views of them."""
    return any(each.alias_info is not None for each in (*func._schema.arguments, *func._schema.returns))


def _inner(value: Any) -> Any:
    if isinstance(value, DeviceTensor):
        return value.held
    if isinstance(value, torch.device) and _is_ours(value):
        return torch.device("cpu")
    return value


def _refuse_wide(dtype: torch.dtype | None) -> None:
    if dtype in _REFUSED:
        raise TypeError(
            f"a MPS Tensor is converted where it is, and MPS has no {dtype}; copy it with .cpu() before converting it."
        )


def _refuse_mixed(func: Any, tensors: list[Tensor], args: tuple[Any, ...]) -> None:
    if not any(isinstance(each, DeviceTensor) for each in tensors) or func in _COPIES:
        return
    others = [each for each in tensors if not isinstance(each, DeviceTensor) and each.dim() > 0]
    if func in _INDEXING and isinstance(args[0], DeviceTensor):
        others = [each for each in others if all(each is not index for index in args[1])]
    if others:
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {DEVICE} and cpu! (in {func})"
        )


def _refuse_generator(kwargs: dict[str, Any]) -> None:
    generator = kwargs.get("generator")
    if generator is not None and generator._cdata not in {each._cdata for each in _generators}:
        raise RuntimeError(f"Expected a '{DEVICE.type}' device type for generator but found 'cpu'")
