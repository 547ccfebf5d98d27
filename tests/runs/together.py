"""Several processes that carry out one run: forked here in place of torchrun, with a toy protocol that says which process made what."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed
from tqdm import tqdm

from captum_proto._utils.errors import CaptumProtoError
from captum_proto.runs.files import write_text
from captum_proto.runs.group import ShareIsMade
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out

# tqdm's own lock is one of all processes that are forked from here: of one that is killed while it has it, the others would wait for ever.
tqdm.set_lock(threading.RLock())
tqdm.monitor_interval = 0  # no thread that could have it while this process is forked
#: With which a forked process ends: after an error of ours; after a share; of anything else.
FAILED, SHARED, BUG = 1, 7, 70


@dataclass(frozen=True)
class Steps(Protocol[str]):
    """
    Tasks of which every third reads the two before it, and every fifth has a part; what is made is noted outside of the run.

    Args:
        log (Path): A line for each task that a process begins.
        count (int): Of tasks.
        seconds (float): How long one takes.
        act (mapping): By a task's name, what happens in it, in the process that makes it.
        word (str): What the results depend on.
    """

    log: Path
    count: int = 10
    seconds: float = 0.0
    act: Mapping[str, Callable[[], None]] = field(default_factory=dict)
    word: str = "step"

    unit = "step"

    def provenance(self) -> dict[str, Any]:
        return {"command": "steps", "count": self.count, "word": self.word}

    def tasks(self) -> list[Task]:
        names = [f"{number:03d}" for number in range(self.count)]
        return [
            Task(name, {"number": number}, tuple(names[number - 2 : number]) if number % 3 == 2 else ())
            for number, name in enumerate(names)
        ]

    def begun(self) -> dict[str, Any]:
        return {"begun": True}

    def make(self, task: Task, run: Run) -> None:
        number = int(task.name)
        with self.log.open("a") as log:
            log.write(json.dumps([task.name, os.getpid()]) + "\n")
        text = self.word + "".join((run.folder / f"{name}.txt").read_text() for name in task.needs)
        time.sleep(self.seconds)
        if number % 5 == 0 and self.count > 2:
            carry_out(Steps(self.log.with_suffix(".parts"), 2), run.folder / "parts" / task.name, resume=True)
        write_text(run.folder / f"{task.name}.txt", text, overwrite=True)
        if number % 4 == 0:
            warnings.warn(f"{task.name} is even twice", stacklevel=1)
        if task.name in self.act:
            self.act[task.name]()

    def summarize(self, run: Run) -> str:
        text = " ".join((run.folder / f"{task.name}.txt").read_text() for task in run.tasks)
        write_text(run.folder / "all.txt", text, overwrite=True)
        run.note({"warnings": run.warnings()})
        return text


def made(log: Path) -> Counter[str]:
    """How often each task was begun."""
    return Counter(name for name, _ in map(json.loads, log.read_text().splitlines()))


def makers(log: Path) -> Counter[int]:
    """How many tasks each process began."""
    return Counter(process for _, process in map(json.loads, log.read_text().splitlines()))


def begin(
    size: int,
    act: Callable[[int], None],
    store: Path,
    *,
    generation: int = 0,
    seconds: float = 60,
    said: Path | None = None,
    absent: Sequence[int] = (),
) -> list[int]:
    """
    Fork a group of processes that each do something.

    Args:
        size (int): Of how many.
        act (Callable): Of the rank.
        store (Path): By which they find each other.
        generation (int, optional): How often the group was begun before, as torchrun counts it. Default: 0
        seconds (float, optional): The time limit of the group's collective operations, and of its beginning. Default: 60
        said (Path, optional): A folder in which each process writes of which error it ends, a file ``GENERATION-RANK.txt``. Default: None
        absent (sequence of int, optional): Ranks that never begin. Default: none

    Returns:
        list[int]: Their process ids.
    """
    own = store.with_name(f"{store.name}.{generation}")
    children = []
    for rank in range(size):
        if rank in absent:
            continue
        child = os.fork()
        if child == 0:
            os._exit(_end_of(rank, size, act, own, generation, seconds, said))
        children.append(child)
    return children


def _end_of(
    rank: int, size: int, act: Callable[[int], None], store: Path, generation: int, seconds: float, said: Path | None
) -> int:
    os.environ.update(TORCHELASTIC_RUN_ID="test", TORCHELASTIC_RESTART_COUNT=str(generation))
    error: BaseException | None = None
    code = 0
    try:
        distributed.init_process_group(
            "gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=timedelta(seconds=seconds)
        )
        act(rank)
        distributed.destroy_process_group()
    except CaptumProtoError as found:
        error, code = found, FAILED
    except ShareIsMade as found:
        error, code = found, SHARED
    except SystemExit as found:
        error, code = found, int(found.code or 0)
    except BaseException as found:
        error, code = found, BUG
    if said is not None and error is not None:
        (said / f"{generation}-{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    return code


def end(children: Sequence[int]) -> list[int]:
    """Wait for processes; their exit codes, negative for a signal."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def supervise(
    size: int,
    act: Callable[[int], None],
    store: Path,
    *,
    restarts: int = 3,
    fault: Callable[[list[int]], None] | None = None,
    said: Path | None = None,
) -> list[list[int]]:
    """
    What ``torchrun --max-restarts`` does: when a process dies, ask the others to end, and begin the group again.

    Args:
        size, act, store: As in :func:`begin`.
        restarts (int, optional): How often to begin again at most. Default: 3
        fault (Callable, optional): What happens to the processes of the first group, once. Default: nothing
        said (Path, optional): As in :func:`begin`. Default: None

    Returns:
        list[list[int]]: The exit codes of each generation.
    """
    generations = []
    for generation in range(restarts + 1):
        running = begin(size, act, store, generation=generation, said=said)
        codes: dict[int, int] = {}
        asked: set[int] = set()
        if fault is not None and not generation:
            fault(running)
        while len(codes) < len(running):
            child, status = os.waitpid(-1, 0)
            if child in running:
                codes[child] = os.waitstatus_to_exitcode(status)
                if codes[child]:
                    for other in set(running) - codes.keys() - asked:  # once: a second time ends a process in its task
                        os.kill(other, signal.SIGTERM)
                        asked.add(other)
        generations.append([codes[child] for child in running])
        if not any(generations[-1]):
            break
    return generations


def kill() -> None:
    """End this process as the operating system does when memory is short."""
    os.kill(os.getpid(), signal.SIGKILL)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
