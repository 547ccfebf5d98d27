"""
What all benchmarks share: runs that alternate, so that everyone meets the same machine; ratios; one JSON file per claim.

A benchmark is a list of cases. A case has contenders: ours, peers that users have today, and floors that no program can beat. In every
round each contender runs once, in an order that turns around from round to round, and ratios are taken within rounds. Ratios are what
a claim is about: seconds belong to a machine.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

import torch  # noqa: E402

from captum_proto import ops  # noqa: E402
from captum_proto._utils.tables import text_table  # noqa: E402
from captum_proto.runs.provenance import versions  # noqa: E402

RESULTS = Path(__file__).parent / "results"
_PEERS = ("torch-lucent", "kornia", "torchmetrics", "pandas")


@dataclass
class Contender:
    """
    One who runs in a case.

    Args:
        name (str): As the table shows it.
        run (Callable): One run of the work.
        share (float): What part of the work one run does; its time is divided by it. For those who would take minutes.
        every (int): Runs in every ``every``-th round only.
    """

    name: str
    run: Callable[[], Any]
    share: float = 1.0
    every: int = 1


@dataclass
class Goal:
    """``slow`` takes at least ``least`` times as long as ``fast``; with ``most``, at most so many times."""

    slow: str
    fast: str
    least: float | None = None
    most: float | None = None


@dataclass
class Case:
    """
    One line of a claim.

    Args:
        name (str): What is measured.
        contenders (list[Contender]): The first is ours.
        goals (list[Goal]): What is claimed of their ratios.
        values (int): How many values one run works on, for a rate.
        bytes (int): How many bytes no program can avoid moving; 0 where that says nothing.
        rounds (int): How often all run.
        note (str): What a reader has to know.
    """

    name: str
    contenders: list[Contender]
    goals: list[Goal] = field(default_factory=list)
    values: int = 0
    bytes: int = 0
    rounds: int = 7
    note: str = ""


def synchronize() -> None:
    """Wait until the GPU, if one is in use, has done what it was given."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def seconds(run: Callable[[], Any]) -> float:
    """How long one run takes."""
    synchronize()
    begin = time.perf_counter()
    run()
    synchronize()
    return time.perf_counter() - begin


def measure(case: Case) -> dict[str, list[float | None]]:
    """Seconds of every contender in every round; None where it did not run."""
    for contender in case.contenders:
        if contender.every == 1:
            contender.run()  # warm up; those who run seldom are slow enough not to need it
    times: dict[str, list[float | None]] = {contender.name: [] for contender in case.contenders}
    for index in range(case.rounds):
        for contender in case.contenders if index % 2 == 0 else case.contenders[::-1]:
            due = index % contender.every == 0
            times[contender.name].append(seconds(contender.run) / contender.share if due else None)
    gc.collect()
    return times


def _there(times: Iterable[float | None]) -> list[float]:
    return [t for t in times if t is not None]


def ratio(times: dict[str, list[float | None]], slow: str, fast: str) -> list[float]:
    """How many times as long ``slow`` took as ``fast``, in each round in which both ran."""
    return [a / b for a, b in zip(times[slow], times[fast], strict=True) if a is not None and b is not None]


def judged(goal: Goal, times: dict[str, list[float | None]]) -> dict[str, Any]:
    """A goal with what was measured: the median of the rounds' ratios."""
    ratios = ratio(times, goal.slow, goal.fast)
    value = statistics.median(ratios)
    met = (goal.least is None or value >= goal.least) and (goal.most is None or value <= goal.most)
    bound = f"at least {goal.least:.3g}" if goal.least is not None else f"at most {goal.most:.3g}"
    return {
        "goal": f"{goal.slow} / {goal.fast}: {bound} x",
        "measured": value,
        "least_measured": min(ratios),
        "most_measured": max(ratios),
        "met": met,
    }


def hardware() -> dict[str, Any]:
    """The machine, in words that tell nothing of its owner."""
    record = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
    }
    if torch.cuda.is_available():
        record["gpu"] = torch.cuda.get_device_name()
    return record


def _processor() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def all_versions() -> dict[str, str]:
    """Our versions and the peers'."""
    found = versions()
    for package in _PEERS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


class Report:
    """
    The results of one claim: printed as they come, and written to one JSON file.

    Args:
        claim (str): The name of the file.
        title (str): The claim in a sentence.
        command (str): How to get these figures.
        out (Path, optional): Where to write. Default: ``benchmarks/results/<claim>.json``
    """

    def __init__(self, claim: str, title: str, command: str, out: Path | None = None) -> None:
        self.out = RESULTS / f"{claim}.json" if out is None else out
        self.record: dict[str, Any] = {
            "claim": claim,
            "title": title,
            "command": command,
            "hardware": hardware(),
            "versions": all_versions(),
            "native": {key: str(value) for key, value in ops.backend()["cpu"].items()},
            "cases": [],
        }
        print(f"\n{title}\n")

    def run(self, cases: Iterable[Case]) -> None:
        """Measure cases and add them."""
        for case in cases:
            self.add(case, measure(case))

    def add(self, case: Case, times: dict[str, list[float | None]], **facts: Any) -> None:
        """Print and keep what was measured of a case, and write the file."""
        ours = case.contenders[0].name
        rows = []
        for name, values in times.items():
            there = _there(values)
            median = statistics.median(there)
            beside = statistics.median(ratio(times, name, ours))
            rate = f"{case.values / median / 1e6:.1f}" if case.values else ""
            spread = f"{1e3 * min(there):.3g} to {1e3 * max(there):.3g}"
            rows.append([name, f"{1e3 * median:.4g}", spread, rate, f"{beside:.2f}"])
        print(f"{case.name}{': ' + case.note if case.note else ''}")
        print(text_table(["", "median ms", "range ms", "M values/s" if case.values else "", "x ours"], rows))
        goals = [judged(goal, times) for goal in case.goals if goal.slow in times and goal.fast in times]
        for goal in goals:
            print(f"  {'met' if goal['met'] else 'MISSED'}: {goal['goal']}, measured {goal['measured']:.2f}")
        print(flush=True)
        self.record["cases"].append(
            {
                "name": case.name,
                "note": case.note,
                "ours": ours,
                "values": case.values,
                "bytes": case.bytes,
                "seconds": times,
                "goals": goals,
                **facts,
            }
        )
        self.write()

    def write(self) -> None:
        """Write what there is so far."""
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self.out.write_text(json.dumps(self.record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def parser(doc: str | None) -> argparse.ArgumentParser:
    """The options all benchmarks have."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="smaller inputs and fewer rounds, for a first look")
    made.add_argument("--out", type=Path, help="the JSON file to write (default: benchmarks/results/)")
    return made


def peer(module: str) -> Any:
    """A peer's module, or None with a word that it is not there."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(f"{module} is not here and left out ({error}); `pip install captum_proto[bench]` brings it.")
        return None


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """With so many threads of PyTorch."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
