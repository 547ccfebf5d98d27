"""Optimizations that are killed: what ends them, and what they have to come to all the same."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captum_proto.optim import InputOptimization, Snapshot
from captum_proto.optim.result import OptimizationResult, Step


class Killed(BaseException):
    """What ends an optimization in place of SIGKILL: nothing handles it."""


def killed_after(steps: int) -> Callable[[Step], None]:
    left = iter(range(steps - 1))

    def callback(step: Step) -> None:
        if next(left, None) is None:
            raise Killed

    return callback


def same(one: OptimizationResult, other: OptimizationResult) -> None:
    """See that two results are equal in every value."""
    assert torch.equal(one.images, other.images)
    assert list(one.history) == list(other.history)
    assert [name for name in one.history if not torch.equal(one.history[name], other.history[name])] == []
    assert {n: torch.equal(v, other.parameters[n]) for n, v in one.parameters.items()} == dict.fromkeys(
        one.parameters, True
    )
    assert one.snapshots.keys() == other.snapshots.keys()
    assert all(torch.equal(images, other.snapshots[step]) for step, images in one.snapshots.items())


def check(
    make: Callable[[], InputOptimization], folder: Path, kills: tuple[int, ...], every: int = 3, **how: Any
) -> None:
    """Kill an optimization again and again, and see that in the end it is as if nothing had happened, and that no step was made twice."""
    how = {"image_shape": None, "count": 2, "seed": 3, **how}
    whole: list[Step] = []
    expected = make().optimize(**how, callback=lambda step: whole.append(step))
    for kill in kills:
        with pytest.raises(Killed):
            make().optimize(**how, callback=killed_after(kill), snapshot=Snapshot(folder, every))
    seen: list[Step] = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*this CPU has no .* arithmetic")
        found = make().optimize(**how, callback=lambda step: seen.append(step), snapshot=Snapshot(folder, every))
    assert len(seen) < len(whole)
    assert [(step.phase, step.step) for step in seen] == [(step.phase, step.step) for step in whole[-len(seen) :]]
    same(expected, found)
    assert not folder.exists()
