"""Faults of memory: ``python tests/reliability/memory.py SCRATCH TABLE``. What is injected, what was lost, what the user saw."""

from __future__ import annotations

import random
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from entry_points import ENTRIES, SHAPE, differences
from faults import Fault, Seen, write
from networks import SmallCNN, seeded
from torch import Tensor, nn

from captum_proto import memory_budget
from captum_proto._utils.errors import MemoryLimitError
from captum_proto._utils.memory import Gauge
from captum_proto.stats.moments import Moments
from captum_proto.stats.top_k import TopK

#: Of which runs and passes are drawn.
SEED = 16
#: How often a fault is injected, and one that is looked for in few places.
OFTEN, SELDOM = 120, 40
NAMES = (
    "PrototypeGeneration.generate",
    "PathSimilarity.fit",
    "PathSimilarity.evaluate",
    "SortedSimilarity",
    "nearest_class",
    "TopExamples",
    "ActivationAtlas",
    "NetworkDissection",
    "verifier_logits",
)


class Failing(nn.Module):
    """Has no memory for more images than it has room for, or in one pass of several."""

    def __init__(self) -> None:
        super().__init__()
        self.room, self.at, self.passes, self.failed = 10**9, -1, 0, 0

    def forward(self, x: Tensor) -> Tensor:
        self.passes += len(x) > 3
        if len(x) > self.room or (len(x) > 3 and self.passes == self.at):
            self.failed += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return x


def _model() -> Any:
    model = seeded(SmallCNN).double().eval()
    model.dropout = Failing()
    return model


def _state(model: nn.Module) -> list[Any]:
    hooks = [
        (len(module._forward_hooks), len(module._forward_pre_hooks), module.training) for module in model.modules()
    ]
    return [hooks, [each.requires_grad for each in model.parameters()], [each.clone() for each in model.buffers()]]


def _run(name: str, model: nn.Module, images: Tensor, expected: Any) -> tuple[int, str]:
    """Whether something was lost, and the warnings that were printed."""
    before = _state(model)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = ENTRIES[name](model, images)
    after = _state(model)
    intact = before[:2] == after[:2] and all(map(torch.equal, before[2], after[2]))
    printed = "".join(
        warnings.formatwarning(each.message, each.category, each.filename, each.lineno) for each in caught
    )
    return int(not intact or differences(found, expected, 1e-9) != ""), printed


def family(scratch: Path) -> Iterator[Fault]:
    draw, images = (
        random.Random(SEED),
        torch.rand(8, *SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(SEED)),
    )
    expected = {name: ENTRIES[name](_model(), images) for name in NAMES}

    injected, lost, seen = 0, 0, Seen()
    while injected < OFTEN:
        name, model = draw.choice(NAMES), _model()
        model.dropout.at = draw.randint(1, 4)
        gone, printed = _run(name, model, images, expected[name])
        injected, lost = injected + model.dropout.failed, lost + gone
        if model.dropout.failed:
            seen.add(0, printed, scratch)
    yield Fault("no memory in one forward pass, drawn at random", injected, lost, str(seen))

    injected, lost, seen = 0, 0, Seen()
    while injected < OFTEN:
        name, model = draw.choice(NAMES), _model()
        model.dropout.room = draw.choice((3, 4, 5, 7))
        gone, printed = _run(name, model, images, expected[name])
        injected, lost = injected + model.dropout.failed, lost + gone
        if model.dropout.failed:
            seen.add(0, printed, scratch)
    yield Fault("no memory for more than a few images at a time", injected, lost, str(seen))

    for owner, what, names in (
        (Moments, "sums", ("PathSimilarity.fit",)),
        (TopK, "the best examples", ("TopExamples",)),
    ):
        original, injected, lost, seen = owner.update, 0, 0, Seen()
        for number in range(SELDOM):
            calls, before = 0, injected

            def failing(self: Any, *given: Any, at: int = number % 8, original: Any = original, **named: Any) -> Any:
                nonlocal calls, injected
                calls += 1
                if calls - 1 == at:
                    injected += 1
                    raise MemoryError
                return original(self, *given, **named)

            owner.update = failing  # type: ignore[method-assign,assignment]
            try:
                gone, printed = _run(names[0], _model(), images, expected[names[0]])
            finally:
                owner.update = original  # type: ignore[method-assign]
            lost += gone
            if injected > before:
                seen.add(0, printed, scratch)
        yield Fault(f"no memory while layers' outputs are added to {what}", injected, lost, str(seen))

    injected, lost, seen = 0, 0, Seen()
    for _ in range(SELDOM):
        name, model = draw.choice(NAMES), _model()
        before = _state(model)
        try:
            with memory_budget(max(1, Gauge(torch.device("cpu")).held // 2)):
                ENTRIES[name](model, images)
            lost += 1  # it did not notice
        except MemoryLimitError as error:
            seen.add(1, f"error: {error}", scratch)
        injected, lost = injected + 1, lost + (before[:2] != _state(model)[:2])
    yield Fault("a memory budget below what the process holds already", injected, lost, str(seen))


if __name__ == "__main__":
    write(family)
