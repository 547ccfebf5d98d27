"""
Stages of a check on a machine that is there for minutes: each with a limit of its own, and each one's result written at once.

A stage is a command in a process group of its own, which is killed as a whole at its limit. What it prints goes to a file of its own;
what became of it is appended to ``results.jsonl`` and ``summary.txt`` before the next one begins. So whatever hangs, dies, or takes the
machine away costs no more than its own stage.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

#: The exit status of a stage that cannot be done here, as Automake has it.
NOT_HERE = 77
#: How long a process group has to end by itself before it is killed.
_GRACE_SECONDS = 3.0
#: How often one looks whether to go on waiting.
_POLL_SECONDS = 0.1
_INTERRUPTED = 130
_INTERRUPTION = ("interrupted", "was asked to end")


@dataclass(frozen=True)
class Stage:
    """
    One stage.

    Args:
        name (str): A word; its file is called after it.
        command (sequence of str): What is run.
        seconds (float): Its limit.
        needs (tuple[str, ...]): Stages without whose success there is no sense in it.
        environment (mapping of str): Variables beside those of this process.
    """

    name: str
    command: Sequence[str]
    seconds: float
    needs: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """
    What became of a stage.

    Attributes:
        name (str): The stage.
        outcome (str): "passed", "failed", "timed out", "interrupted", "not here" or "left out".
        reason (str): In words.
        seconds (float): How long it took.
        log (str): The file with what it printed.
    """

    name: str
    outcome: str
    reason: str
    seconds: float
    log: str

    @property
    def is_good(self) -> bool:
        return self.outcome in ("passed", "not here")


def run_stages(stages: Sequence[Stage], folder: Path, total_seconds: float) -> int:
    """
    Run stages one after the other.

    Args:
        stages (sequence of Stage): In their order.
        folder (Path): Where results go; made if it is not there, and files of an earlier run are replaced.
        total_seconds (float): For all of them. The stage that is under way then is ended, and the others are left out.

    Returns:
        int: The exit status: 0 if every stage passed or cannot be done here, 1 if one failed or was left out.

    Raises:
        ValueError: If two stages have the same name, or one needs a stage that does not come before it.
    """
    _check(stages)
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("results.jsonl", "summary.txt"):
        (folder / name).unlink(missing_ok=True)
    end = time.monotonic() + total_seconds
    results: dict[str, Result] = {}
    with _Interruption() as interruption:
        for number, stage in enumerate(stages, 1):
            log = folder / f"{number:02}-{stage.name}.txt"
            missing = [name for name in stage.needs if results[name].outcome != "passed"]
            left = end - time.monotonic()
            if missing:
                result = Result(stage.name, "left out", f"needs {', '.join(missing)}", 0.0, "")
            elif left <= 0:
                result = Result(stage.name, "left out", f"the {total_seconds:g} s for all stages were over", 0.0, "")
            else:
                result = _run(stage, log, min(stage.seconds, left), interruption)
            results[stage.name] = result
            _write(folder, result)
            if result.outcome == "interrupted":
                return _INTERRUPTED
    return 0 if all(result.is_good for result in results.values()) else 1


def _check(stages: Sequence[Stage]) -> None:
    before: set[str] = set()
    for stage in stages:
        if stage.name in before:
            raise ValueError(f'two stages are called "{stage.name}"; give each a name of its own.')
        if unknown := set(stage.needs) - before:
            raise ValueError(f'stage "{stage.name}" needs {sorted(unknown)}, which do not come before it.')
        before.add(stage.name)


def _run(stage: Stage, log: Path, seconds: float, interruption: _Interruption) -> Result:
    begin = time.monotonic()

    def result(outcome: str, reason: str) -> Result:
        return Result(stage.name, outcome, reason, round(time.monotonic() - begin, 2), log.name)

    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                list(stage.command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **stage.environment},
                start_new_session=True,
            )
        except OSError as error:
            return result("failed", f"cannot be started: {error}")
        status = None
        while status is None and not interruption.asked and time.monotonic() - begin < seconds:
            with contextlib.suppress(subprocess.TimeoutExpired):
                status = process.wait(_POLL_SECONDS)
        _end_group(process)
    if status is None:
        return result(*(_INTERRUPTION if interruption.asked else ("timed out", f"took more than {seconds:.0f} s")))
    if status == NOT_HERE:
        return result("not here", _last_line(log))
    if status < 0:
        return result("failed", f"died of {signal.Signals(-status).name}")
    return result("passed" if status == 0 else "failed", "" if status == 0 else f"ended with {status}")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End whatever is left of a process and of those that it started, and wait for it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if not _signal_group(process.pid, number):
            break
        until = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < until:
            process.poll()  # takes the dead leader away, who would still count as one of the group
            if not _signal_group(process.pid, 0):
                break
            time.sleep(0.02)
    process.wait()


def _signal_group(group: int, number: int) -> bool:
    """Whether there is anyone in a process group to send a signal to."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _write(folder: Path, result: Result) -> None:
    line = f"{result.outcome:<10} {result.name:<22} {result.seconds:7.1f} s  {result.reason}".rstrip()
    print(line, flush=True)
    _append(folder / "summary.txt", line)
    _append(folder / "results.jsonl", json.dumps(asdict(result)))


def _append(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")
        file.flush()
        os.fsync(file.fileno())  # the machine may go away


class _Interruption:
    """
    Whether Ctrl-C or SIGTERM has come: it is asked for between waits. An exception could come while a process is being started, and
    leave one that nobody knows.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> _Interruption:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: Any) -> None:
        self.asked = True


__all__ = ["NOT_HERE", "Result", "Stage", "run_stages"]
