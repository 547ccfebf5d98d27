"""The simulated scheduler against closed forms."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def scheduler() -> ModuleType:
    """Benchmarks are scripts, not a package."""
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "scheduler.py"
    spec = importlib.util.spec_from_file_location("scheduler", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for the names in their annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("tasks", "workers"), [(12, 1), (12, 4), (13, 4), (3, 8)])
def test_equal_tasks_take_as_many_rounds_as_it_needs(scheduler: ModuleType, tasks: int, workers: int) -> None:
    found = scheduler.simulate([2.0] * tasks, scheduler.Workers(workers, start=5.0), summary=3.0)
    assert found.seconds == pytest.approx(5 + 2 * math.ceil(tasks / workers) + 3)
    assert found.efficiency == pytest.approx(2 * tasks / (workers * found.seconds))


@pytest.mark.parametrize("workers", [1, 2, 7, 40])
def test_no_list_is_worse_than_grahams_bound(scheduler: ModuleType, workers: int) -> None:
    tasks = np.random.default_rng(0).exponential(1.0, 200).tolist()
    seconds = scheduler.simulate(tasks, scheduler.Workers(workers)).seconds
    assert max(sum(tasks) / workers, max(tasks)) <= seconds + 1e-9
    assert seconds <= sum(tasks) / workers + (1 - 1 / workers) * max(tasks) + 1e-9


def test_a_file_server_that_is_always_busy_sets_the_time(scheduler: ModuleType) -> None:
    found = scheduler.simulate([1.0] * 1000, scheduler.Workers(1000), writing=0.1)
    assert found.seconds == pytest.approx(1 + 1000 * 0.1)


def test_one_slow_worker_of_one_takes_as_many_times_as_long(scheduler: ModuleType) -> None:
    found = scheduler.simulate([1.0] * 10, scheduler.Workers(1, slow=1.0, slowness=3.0))
    assert found.seconds == pytest.approx(30)
    assert found.efficiency == pytest.approx(1 / 3)


def test_work_that_dies_with_its_worker_is_begun_again(scheduler: ModuleType) -> None:
    """Exponential lives: a task of t seconds takes (exp(t / life) - 1) * life in the mean, restarts at no cost."""
    life, task = 100.0, 60.0
    seconds = [
        scheduler.simulate([task] * 50, scheduler.Workers(1, failures=3600 / life), seed=seed).seconds / 50
        for seed in range(200)
    ]
    expected = (math.exp(task / life) - 1) * life
    assert np.mean(seconds) == pytest.approx(expected, abs=4 * np.std(seconds) / math.sqrt(len(seconds)))


def test_a_dead_worker_costs_what_it_was_in(scheduler: ModuleType) -> None:
    undisturbed = scheduler.simulate([10.0] * 400, scheduler.Workers(4))
    disturbed = scheduler.simulate([10.0] * 400, scheduler.Workers(4, failures=12.0), seed=1)
    assert disturbed.failures > 0
    assert disturbed.lost <= 10.0 * disturbed.failures
    assert undisturbed.seconds < disturbed.seconds
    # Four workers share what was lost; at the end they wait for one task at most, and for one that it was begun again for.
    assert disturbed.seconds <= undisturbed.seconds + disturbed.lost / 4 + 2 * 10.0 + 1e-9


def test_a_task_that_outlives_every_worker_is_said(scheduler: ModuleType) -> None:
    with pytest.raises(ValueError, match="none would finish"):
        scheduler.simulate([7200.0 * 20], scheduler.Workers(1, failures=1.0))
