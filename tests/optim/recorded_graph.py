"""A graph for steps on the CPU: it takes down what a step calls, and replays exactly these calls on the same memory."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from captum_proto.optim.step_graph import CapturedCalls, _tensors


class _Recording(CapturedCalls):
    """Keeps each call with its arguments and what it returned."""

    def __init__(self) -> None:
        super().__init__(torch.device("cpu"))
        self.calls: list[tuple[Any, Any, dict[str, Any], list[Tensor]]] = []

    def called(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        result = func(*args, **kwargs)
        self.calls.append((func, args, kwargs, list(_tensors(result))))
        return result


class RecordedGraph:
    """
    As a CUDA graph, it knows nothing of Python: what a call returns goes where it went when it was taken down.

    Attributes:
        replays (int): How often it was replayed.
    """

    def __init__(self) -> None:
        self._calls: list[tuple[Any, Any, dict[str, Any], list[Tensor]]] = []
        self.replays = 0

    def beside(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def capture(self, step: Callable[[], None]) -> None:
        with _Recording() as recording:
            step()
        self._calls = recording.calls

    @torch.no_grad()
    def replay(self) -> None:
        self.replays += 1
        for func, args, kwargs, places in self._calls:
            shared = {value.untyped_storage().data_ptr() for value in _tensors((args, kwargs))}
            for place, value in zip(places, _tensors(func(*args, **kwargs)), strict=True):
                if place.untyped_storage().data_ptr() not in shared:  # else it is a view, or was changed in place
                    place.copy_(value)
