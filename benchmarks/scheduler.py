"""
A simulation of many workers that take tasks from one folder: how long a run takes, and how much of the workers' time is work.

Workers take tasks in their order, each the next one when it is free, as processes do that share a run's folder. A worker may be slower than
others (a straggler), and may die: the task that it was in is begun anew by whoever is free next, and a new worker takes its place after a
while. What is finished is written to one file server, one after the other. When all tasks are done, one worker summarizes.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Workers:
    """
    Who works.

    Args:
        count (int): How many.
        start (float, optional): Seconds until one that was begun takes its first task. Default: 0
        slow (float, optional): The share of them that are slow. Default: 0
        slowness (float, optional): How many times as long these take. Default: 3
        failures (float, optional): How often in an hour each of them dies, on average. Default: 0
    """

    count: int
    start: float = 0.0
    slow: float = 0.0
    slowness: float = 3.0
    failures: float = 0.0


@dataclass(frozen=True)
class Outcome:
    """
    What came of a run.

    Attributes:
        seconds (float): From its begin to the end of the summary.
        efficiency (float): The share of the workers' time that went into tasks that were finished, had no worker been slow.
        failures (int): Workers that died.
        lost (float): Seconds of work that went with them.
    """

    seconds: float
    efficiency: float
    failures: int
    lost: float


def simulate(
    tasks: Sequence[float], workers: Workers, *, writing: float = 0.0, summary: float = 0.0, seed: int = 0
) -> Outcome:
    """
    Let workers make tasks.

    Args:
        tasks (sequence of float): Seconds that each takes a worker that is not slow, in the order in which they are taken.
        workers (Workers): Who makes them.
        writing (float, optional): Seconds that the file server needs for what a task has finished; nobody else is served then. Default: 0
        summary (float, optional): Seconds of the summary, which one worker makes when all tasks are done. Default: 0
        seed (int, optional): Of who is slow and who dies when. Default: 0

    Returns:
        Outcome: Times in seconds of the simulation.

    Raises:
        ValueError: If a task takes so long that no worker lives to finish it.
    """
    random = np.random.default_rng(seed)
    speed = np.where(random.random(workers.count) < workers.slow, workers.slowness, 1.0).tolist()
    life = 3600.0 / workers.failures if workers.failures else float("inf")
    if max(tasks, default=0.0) > 20 * life:
        raise ValueError(f"a task takes {max(tasks):.0f} s, and a worker lives {life:.0f} s: none would finish it.")

    def death(now: float) -> float:
        return now + float(random.exponential(life)) if workers.failures else float("inf")

    dies = [death(workers.start) for _ in range(workers.count)]
    #: What happens when, to which worker: it asks for a task (None), it has finished one, or it died in one.
    events: list[tuple[float, int, float | None, bool]] = [
        (workers.start, w, None, False) for w in range(workers.count)
    ]
    again: list[float] = []
    idle: list[int] = []
    served, end, lost, failures, begun, done = 0.0, 0.0, 0.0, 0, 0, 0
    while done < len(tasks):
        now, worker, work, died = heapq.heappop(events)
        if work is not None and died:
            failures += 1
            again.append(work)
            dies[worker] = death(now + workers.start)
            heapq.heappush(events, (now + workers.start, worker, None, False))
            if idle:
                heapq.heappush(events, (now, idle.pop(), None, False))
        elif work is not None:
            served = max(served, now) + writing
            end, done = served, done + 1
            heapq.heappush(events, (served, worker, None, False))
        elif again or begun < len(tasks):
            if dies[worker] <= now:  # while it waited: another has taken its place
                dies[worker] = death(now)
            if not again:
                again.append(tasks[begun])
                begun += 1
            work = again.pop()
            finished = now + work * speed[worker]
            alive = finished <= dies[worker]
            lost += 0.0 if alive else dies[worker] - now
            heapq.heappush(events, (finished if alive else dies[worker], worker, work, not alive))
        else:
            idle.append(worker)
    seconds = end + summary
    return Outcome(seconds, sum(tasks) / (workers.count * seconds) if seconds else 1.0, failures, lost)
