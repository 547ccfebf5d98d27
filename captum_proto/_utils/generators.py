"""PyTorch's global generators, to oneself and put back afterwards."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import torch

_lock = threading.RLock()


@contextlib.contextmanager
def own_generators(device: torch.device) -> Iterator[None]:
    """
    PyTorch's global generators of the CPU and of a device for the length of a block, as they were afterwards.

    All threads share them: two that seed, draw and put back at once would draw from each other's stream. Whoever uses a model in the block
    takes its turn with the model first, as an optimization does; else two threads may wait for each other.
    """
    with _lock, torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
