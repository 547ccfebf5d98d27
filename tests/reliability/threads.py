"""Faults where several threads use one model: ``python tests/reliability/threads.py SCRATCH TABLE``."""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from entry_points import ENTRIES, SHAPE, differences
from faults import Fault, write
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import ops

SEED = 17
NAMES = (
    "PrototypeGeneration.generate",
    "PathSimilarity.fit",
    "PathSimilarity.evaluate",
    "capture",
    "TopExamples",
    "verifier_logits",
)


class Unlucky(nn.Module):
    """Raises in passes of threads that are marked, at a pass that is drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[int, tuple[int, type[BaseException]]] = {}

    def forward(self, x: Tensor) -> Tensor:
        me = threading.get_ident()
        if me in self.left:
            count, error = self.left[me]
            self.left[me] = count - 1, error
            if count <= 1:
                del self.left[me]
                raise error("injected")
        return x


def _model() -> Any:
    model = seeded(SmallCNN).eval()
    model.dropout = Unlucky()
    return model.train()


def _state(model: nn.Module) -> list[Any]:
    modules = [(len(each._forward_hooks), len(each._forward_pre_hooks), each.training) for each in model.modules()]
    return [modules, [each.requires_grad for each in model.parameters()], [each.tolist() for each in model.buffers()]]


def _at_once(
    model: Any, draw: random.Random, images: Tensor, expected: dict[str, Any], error: type[BaseException]
) -> tuple[int, int]:
    """Six threads, of which two fail: how many faults came, and how many of the others' results are not as they are alone."""
    names, lost, injected = [draw.choice(NAMES) for _ in range(6)], [], []

    def run(place: int, name: str, at: int) -> None:
        if place < 2:
            model.dropout.left[threading.get_ident()] = at, error
        try:
            found = ENTRIES[name](model, images)
        except error as caught:
            injected.append(str(caught))
            return
        if differences(found, expected[name]):
            lost.append(name)

    threads = [threading.Thread(target=run, args=(place, name, draw.randint(1, 4))) for place, name in enumerate(names)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    model.dropout.left.clear()
    return len(injected), len(lost) + sum(thread.is_alive() for thread in threads)


def family(_scratch: Path) -> Iterator[Fault]:
    warnings.simplefilter("ignore")
    draw = random.Random(SEED)
    images = torch.rand(6, *SHAPE, generator=torch.Generator().manual_seed(SEED))
    model = _model()
    before, expected = _state(model), {name: ENTRIES[name](model, images) for name in NAMES}
    for error, name in (
        (RuntimeError, "an exception in a forward pass"),
        (KeyboardInterrupt, "an interrupt in a forward pass"),
    ):
        injected = lost = 0
        while injected < 60:
            came, gone = _at_once(model, draw, images, expected, error)
            injected, lost = injected + came, lost + gone + (_state(model) != before)
        yield Fault(
            f"{name}, while other threads use the model",
            injected,
            lost,
            f"{error.__name__}: injected; the others go on",
        )

    injected = lost = 0
    for _ in range(20):
        stop = threading.Event()

        def busy(stop: threading.Event = stop) -> None:
            while not stop.is_set():
                ENTRIES["PathSimilarity.evaluate"](model, images)

        thread = threading.Thread(target=busy)
        thread.start()
        time.sleep(draw.random() * 0.05)
        child = os.fork()
        if child == 0:  # a model of its own: that of the parent may be in a thread that is not here
            torch.set_num_threads(1)
            same = torch.equal(ops.rank(images.flatten(1)), ops.rank(images.flatten(1).clone()))
            os._exit(0 if same else 1)
        injected, lost = injected + 1, lost + _failed(child)
        stop.set()
        thread.join()
        lost += bool(
            differences(ENTRIES["PathSimilarity.evaluate"](model, images), expected["PathSimilarity.evaluate"])
        )
    yield Fault(
        "the process forks while a thread is in a forward pass", injected, lost, "nothing: operators work in the child"
    )


def _failed(child: int) -> bool:
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) != 0
        time.sleep(0.1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return True


if __name__ == "__main__":
    write(family)
