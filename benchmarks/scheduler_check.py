"""
Claim: the simulated scheduler says how long a run on many workers takes, stragglers and deaths included.

Real runs in one folder, by real processes that claim tasks as the jobs of an array do, are timed beside what scheduler.py says of
them. The tasks sleep, so that many more workers than cores can be at work at once; some workers sleep longer than others, and some are
killed (SIGKILL) at random moments and begun again. What a task costs beside its work is measured with one worker and given to the
simulation. Which task meets a slow worker, or a death, is chance in both, so that the simulation gives a range there.
``python benchmarks/scheduler_check.py [--quick]``
"""

from __future__ import annotations

import heapq
import os
import signal
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from harness import ROOT, Report, parser, text_table
from scheduler import Workers, simulate

from captum_proto.runs.files import write_text
from captum_proto.runs.group import Share, ShareIsMade
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

#: How many drawings of slow workers and deaths stand for what may happen.
DRAWS = 1000
TABLE = ROOT / "docs" / "results" / "scheduler_check.txt"


@dataclass(frozen=True)
class Sleeps(Protocol[None]):
    """Tasks that take so many seconds, and leave a file."""

    seconds: tuple[float, ...]
    slowness: float = 1.0

    def provenance(self) -> dict[str, Any]:
        return {"command": "sleeps", "seconds": list(self.seconds)}

    def tasks(self) -> list[Task]:
        return [Task(f"{number:05d}") for number in range(len(self.seconds))]

    def make(self, task: Task, run: Run) -> None:
        time.sleep(self.seconds[int(task.name)] * self.slowness)
        write_text(run.folder / "made" / f"{task.name}.txt", "made\n", overwrite=True)

    def summarize(self, run: Run) -> None:
        """Nothing."""


def begun(number: int, workers: Workers, seconds: tuple[float, ...], slowness: float, folder: Path) -> int:
    """A process that takes tasks until none is left; its number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        warnings.simplefilter("ignore")
        carry_out(Sleeps(seconds, slowness), folder, share=Share(number + 1, workers.count), resume=True)
    except ShareIsMade:
        code = 0
    finally:
        os._exit(code)


def timed(seconds: tuple[float, ...], workers: Workers, seed: int, folder: Path) -> tuple[float, int]:
    """
    A real run.

    Returns:
        tuple[float, int]: Seconds from its begin to the end of its last task, and how many workers were killed.
    """
    random = np.random.default_rng(seed)
    slowness = np.where(random.random(workers.count) < workers.slow, workers.slowness, 1.0).tolist()
    life = 3600.0 / workers.failures if workers.failures else float("inf")
    begin = time.time()
    at_work = {begun(number, workers, seconds, slowness[number], folder): number for number in range(workers.count)}
    #: What is due when: a worker dies (its process), or another takes its place (its number).
    due: list[tuple[float, bool, int]] = [(begin + float(random.exponential(life)), True, child) for child in at_work]
    heapq.heapify(due)
    killed = 0
    while at_work or any(not dies for _, dies, _ in due):
        child, status = os.waitpid(-1, os.WNOHANG) if at_work else (0, 0)
        if child and (number := at_work.pop(child, None)) is not None:
            if os.WIFSIGNALED(status):
                heapq.heappush(due, (time.time() + workers.start, False, number))
            elif status:
                raise SystemExit(f"a worker ended with {os.waitstatus_to_exitcode(status)}")
            continue
        while due and due[0][0] <= time.time():
            _, dies, which = heapq.heappop(due)
            if dies and which in at_work:
                os.kill(which, signal.SIGKILL)
                killed += 1
            elif not dies:
                child = begun(which, workers, seconds, slowness[which], folder)
                at_work[child] = which
                heapq.heappush(due, (time.time() + float(random.exponential(life)), True, child))
        time.sleep(0.01)
    made = [path.stat().st_mtime for path in (folder / "made").iterdir()]
    if len(made) != len(seconds):
        raise SystemExit(f"{len(made)} of {len(seconds)} tasks were made")
    return max(made) - begin, killed


def cost_of_a_task(scratch: Path) -> float:
    """Seconds that a task takes one worker beside its work."""
    taken = [timed((0.0,) * count, Workers(1), 0, scratch / str(count))[0] for count in (20, 220)]
    return (taken[1] - taken[0]) / 200


def row(
    name: str, seconds: Sequence[float], workers: Workers, cost: float, rounds: int, scratch: Path
) -> dict[str, Any]:
    """A case: the real runs, and what the simulation says of as many drawings as it takes to know their spread."""
    tasks = tuple(seconds)
    runs = [timed(tasks, workers, seed, scratch / f"{name}-{seed}") for seed in range(rounds)]
    loaded = [each + cost for each in tasks]
    said = sorted(simulate(loaded, workers, seed=seed).seconds for seed in range(DRAWS))
    return {
        "name": name,
        "tasks": len(tasks),
        "workers": workers.count,
        "sum_of_work": sum(tasks),
        "runs": [took for took, _ in runs],
        "killed": [killed for _, killed in runs],
        "simulated": statistics.median(said),
        "simulated_range": [said[int(0.025 * DRAWS)], said[int(0.975 * DRAWS) - 1]],
        "ratio": statistics.mean(took for took, _ in runs) / statistics.mean(said),
    }


def main() -> int:
    args = parser(__doc__).parse_args()
    report = Report(
        "scheduler_check",
        "The simulated scheduler beside real runs of many processes in one folder",
        "python benchmarks/scheduler_check.py",
        args.out,
    )
    random = np.random.default_rng(0)
    rounds, share = (1, 0.2) if args.quick else (4, 1.0)

    def tasks(count: int, mean: float) -> list[float]:
        return random.gamma(4.0, mean * share / 4.0, count).tolist()

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        cost = cost_of_a_task(scratch)
        cases = [
            row("8 workers", tasks(80, 4.0), Workers(8), cost, rounds, scratch),
            row("64 workers", tasks(512, 8.0), Workers(64), cost, rounds, scratch),
            row("64, of which an eighth are slow", tasks(512, 8.0), Workers(64, slow=0.125), cost, rounds, scratch),
            row(
                "64, which live two minutes",
                tasks(512, 8.0),
                Workers(64, start=5.0 * share, failures=30 / share),
                cost,
                rounds,
                scratch,
            ),
        ]
    report.record["seconds_of_a_task_beside_its_work"] = cost
    report.record["runs"] = cases
    header = ["", "tasks", "killed", "s in a run", "median of simulated", "95 % of them", "mean run / mean simulated"]
    rows = [
        [
            case["name"],
            str(case["tasks"]),
            ", ".join(map(str, case["killed"])),
            ", ".join(f"{took:.1f}" for took in case["runs"]),
            f"{case['simulated']:.1f}",
            "{:.1f} to {:.1f}".format(*case["simulated_range"]),
            f"{case['ratio']:.2f}",
        ]
        for case in cases
    ]
    report.record["table"] = {"header": header, "rows": rows}
    report.write()
    text = f"a task costs {1000 * cost:.1f} ms beside its work\n\n{text_table(header, rows)}"
    print(text)
    if not args.quick:
        TABLE.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
