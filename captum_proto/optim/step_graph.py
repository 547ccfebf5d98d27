"""A step of the device, captured once and replayed: what a CUDA graph is, behind two methods."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

#: Operations by which the host asks the device for a value, or hands it one: a graph would hold what the value was.
ASKING = frozenset(
    {
        "_local_scalar_dense",
        "_unique2",
        "equal",
        "is_nonzero",
        "lift_fresh",
        "masked_select",
        "nonzero",
        "unique_consecutive",
        "unique_dim",
    }
)


class NotCapturableError(RuntimeError):
    """A step does what a graph cannot hold."""


class StepGraph(Protocol):
    """What a device was told in one step, to be told again at once, with other values in the same memory."""

    def beside(self) -> contextlib.AbstractContextManager[None]:
        """Where steps before the capture are to be taken, for what they set up to be there in it."""

    def capture(self, step: Callable[[], None]) -> None:
        """
        Take down what a step tells the device.

        Args:
            step (Callable): Tells it the step. Whether the device takes it then is not known.

        Raises:
            RuntimeError: If a graph cannot hold it.
        """

    def replay(self) -> None:
        """Take the step again: the same operations, on the same memory."""


class CapturedCalls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """
    Watches what a step calls while it is captured.

    It refuses what would make the host wait, before a graph that can no longer be ended comes of it; and it keeps all memory that the step
    reads and did not make, for as long as the graph may read it.

    Args:
        device (torch.device): Of the graph.
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._type = device.type
        self._made: dict[int, StorageWeakRef] = {}
        self._read: dict[int, Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = list(_tensors((args, kwargs)))
        name = func._schema.name.removeprefix("aten::")
        here = [value.device.type == self._type for value in given]
        if name in ASKING and any(here):
            raise NotCapturableError(f"the operation {name} makes the host wait for the device")
        result = self.called(func, args, kwargs or {})
        made = list(_tensors(result))
        here += [value.device.type == self._type for value in made]
        if name in ("copy_", "_to_copy", "_copy_from") and not all(here) and any(here):
            raise NotCapturableError("values are copied between the host and the device")
        for value in given:
            key = value.untyped_storage()._cdata
            if key not in self._made or self._made[key].expired():  # type: ignore[no-untyped-call]
                self._read.setdefault(key, value)
        for value in made:
            storage = value.untyped_storage()
            if storage._cdata not in self._read:
                self._made[storage._cdata] = StorageWeakRef(storage)  # type: ignore[no-untyped-call]
        return result

    def called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """What an operation returns."""
        return func(*args, **kwargs)


class CUDAStepGraph:
    """
    A CUDA graph of a step.

    Args:
        device (torch.device): A GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._graph = torch.cuda.CUDAGraph()
        self._calls: CapturedCalls | None = None

    @contextlib.contextmanager
    def beside(self) -> Iterator[None]:
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            yield
        current.wait_stream(self._stream)

    def capture(self, step: Callable[[], None]) -> None:
        calls, current = CapturedCalls(self._device), torch.cuda.current_stream(self._device)
        try:
            # Other threads may go on to use the device meanwhile.
            with torch.cuda.graph(self._graph, stream=self._stream, capture_error_mode="thread_local"), calls:
                step()
        finally:
            torch.cuda.set_stream(current)  # PyTorch stays on the other one where a capture fails
        self._calls = calls

    def replay(self) -> None:
        self._graph.replay()


def graph_for(device: torch.device) -> StepGraph | None:
    """A graph for steps of a device; None where it has none."""
    return CUDAStepGraph(device) if device.type == "cuda" else None


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        yield from _tensors(tuple(value.values()))


__all__ = ["CUDAStepGraph", "CapturedCalls", "NotCapturableError", "StepGraph", "graph_for"]
