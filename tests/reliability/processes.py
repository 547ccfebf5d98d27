"""Faults of a run by several processes: workers that are killed, stop, fail or never start, and jobs of an array."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from faults import Fault, Seen, write
from matplotlib.figure import Figure
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runs"))
import torchrun
from protocols import PROTOCOLS
from together import FAILED, SHARED, Steps, begin, end, kill, made, snapshot, supervise

from captum_proto._utils.errors import InputError
from captum_proto.runs.folder import TASKS
from captum_proto.runs.group import Share, ShareIsMade
from captum_proto.runs.tasks import carry_out

SEED = 16
#: Of the toy run: how many tasks, and how long one takes.
COUNT, SECONDS = 12, 0.02
#: How often each fault is injected that costs a fraction of a second, and one that costs more.
OFTEN, SELDOM = 40, 10
Files = dict[str, bytes]


class Scene:
    """
    A folder for each run, and what a run without a fault writes.

    Args:
        scratch (Path): Where to make them.
    """

    def __init__(self, scratch: Path) -> None:
        self._scratch, self._runs = scratch, 0
        self.random = random.Random(SEED)
        self.expected = self.of(lambda log, out: carry_out(Steps(log, COUNT), out))

    def folder(self) -> Path:
        self._runs += 1
        folder = self._scratch / f"{self._runs:04d}"
        folder.mkdir(parents=True)
        return folder

    def of(self, run: Callable[[Path, Path], object]) -> Files:
        folder = self.folder()
        run(folder / "log", folder / "out")
        return snapshot(folder / "out")


def records(out: Path) -> dict[str, int]:
    """The tasks that are finished, those of parts as well, and when each was."""
    found = [path for tasks in out.rglob(TASKS) for path in tasks.rglob("*.json")]
    return {path.relative_to(out).as_posix(): path.stat().st_mtime_ns for path in found}


def lost(out: Path, before: dict[str, int], expected: Files) -> int:
    """Of what was finished before the fault, how much is gone or was made again; and how many files are other than without a fault."""
    now, files = records(out), snapshot(out)
    again = sum(now.get(name) != when for name, when in before.items())
    return again + sum(files.get(name) != content for name, content in expected.items()) + len(files.keys() - expected)


def note(seen: Seen, codes: list[int], folder: Path, generation: int = 0, said: str = "said") -> None:
    """Note how the processes of a group ended, and the errors of which those of them ended that ended of one."""
    for rank, code in enumerate(codes):
        path = folder / said / f"{generation}-{rank}.txt"
        seen.add(code, path.read_text() if path.exists() else "", folder)


def killed_workers(scene: Scene, name: str, whom: Callable[[list[int]], list[int]], often: int) -> Fault:
    """Processes killed at a random moment, wherever they are; what torchrun does then is done here."""
    injected = gone = 0
    seen = Seen()
    while injected < often:
        size, folder = scene.random.randint(2, 4), scene.folder()
        (folder / "said").mkdir()
        delay = scene.random.uniform(0, 1.5 * COUNT * SECONDS / size + 0.1)
        before: dict[str, int] = {}

        def strike(children: list[int], delay: float = delay, folder: Path = folder, before: Any = before) -> None:
            while not (folder / "log").exists():
                time.sleep(0.001)
            time.sleep(delay)
            before |= records(folder / "out")
            for child in whom(children):
                os.kill(child, signal.SIGKILL)

        steps = Steps(folder / "log", COUNT, SECONDS)
        generations = supervise(
            size, lambda rank, steps=steps, folder=folder: carry_out(steps, folder / "out") and None,
            folder / "store", fault=strike, said=folder / "said",
        )  # fmt: skip
        hits = generations[0].count(-signal.SIGKILL)
        injected += hits
        missing = lost(folder / "out", before, scene.expected) + any(generations[-1])
        if missing:
            print(f"  {folder}: {missing} lost, {generations}", flush=True)
        gone += missing
        if hits:
            for generation, codes in enumerate(generations):
                note(seen, codes, folder, generation)
    return Fault(name, injected, gone, str(seen))


def in_a_task(scene: Scene, name: str, act: Callable[[], None], often: int) -> Fault:
    """What happens in a random task of a random process, and then not again."""
    injected = gone = 0
    seen = Seen()
    while injected < often:
        size, folder = scene.random.randint(2, 4), scene.folder()
        task = f"{scene.random.randrange(COUNT):03d}"
        (folder / "said").mkdir()

        def once(folder: Path = folder) -> None:
            if not (folder / "happened").exists():
                (folder / "happened").touch()
                act()

        steps = Steps(folder / "log", COUNT, SECONDS, act={task: once})

        def run(rank: int, steps: Steps = steps, folder: Path = folder) -> None:
            carry_out(steps, folder / "out", resume=(folder / "happened").exists())

        ended = end(begin(size, run, folder / "store", said=folder / "said"))
        before = records(folder / "out")
        note(seen, ended, folder)
        gone += any(code not in (FAILED, 70) for code in ended)
        again = end(begin(scene.random.randint(1, 4), run, folder / "again"))
        gone += lost(folder / "out", before, scene.expected) + any(again)
        gone += sum(times > 1 for begun, times in made(folder / "log").items() if begun != task)
        injected += 1
    return Fault(name, injected, gone, str(seen))


def asked_to_end(scene: Scene) -> Fault:
    injected = gone = 0
    seen = Seen()
    while injected < SELDOM:
        size, folder = scene.random.randint(2, 4), scene.folder()
        (folder / "said").mkdir()
        steps = Steps(folder / "log", COUNT, 0.1)
        children = begin(
            size, lambda rank, steps=steps, folder=folder: carry_out(steps, folder / "out") and None, folder / "s",
            said=folder / "said",
        )  # fmt: skip
        while not (folder / "log").exists():
            time.sleep(0.001)
        time.sleep(scene.random.uniform(0, 0.2))
        for child in children:
            os.kill(child, signal.SIGTERM)
        note(seen, end(children), folder)
        before = records(folder / "out")
        carry_out(steps, folder / "out", resume=True)
        gone += lost(folder / "out", before, scene.expected)
        gone += sum(times > 1 for times in made(folder / "log").values())  # each finished the task it was in
        injected += 1
    return Fault("all processes are asked to end (SIGTERM)", injected, gone, str(seen))


def other_sizes(scene: Scene) -> Fault:
    """All are killed; another number of processes goes on, down to one."""
    injected = gone = 0
    seen = Seen()
    while injected < SELDOM * 2:
        first, then, folder = scene.random.randint(1, 4), scene.random.randint(1, 4), scene.folder()
        (folder / "said").mkdir()
        steps = Steps(folder / "log", COUNT, SECONDS)

        def run(rank: int, resume: bool = False, steps: Steps = steps, folder: Path = folder) -> None:
            carry_out(steps, folder / "out", resume=resume)

        children = begin(first, run, folder / "store")
        while not (folder / "log").exists():
            time.sleep(0.001)
        time.sleep(scene.random.uniform(0, COUNT * SECONDS / first))
        for child in children:
            os.kill(child, signal.SIGKILL)
        ended = end(children)
        before = records(folder / "out")
        again = end(begin(then, lambda rank, run=run: run(rank, True), folder / "again", said=folder / "said"))
        note(seen, ended, folder, said="none")
        note(seen, again, folder)
        injected += -signal.SIGKILL in ended
        gone += lost(folder / "out", before, scene.expected) + any(again)
    return Fault("all processes are killed; from 1 to 4 others go on", injected, gone, str(seen))


def never_starts(scene: Scene) -> Fault:
    injected = gone = 0
    seen = Seen()
    while injected < SELDOM // 2:
        folder = scene.folder()
        (folder / "said").mkdir()
        missing = scene.random.randrange(3)
        steps = Steps(folder / "log", COUNT)
        children = begin(
            3, lambda rank, steps=steps, folder=folder: carry_out(steps, folder / "out") and None, folder / "store",
            seconds=1, said=folder / "said", absent=[missing],
        )  # fmt: skip
        codes = end(children)
        gone += 0 in codes
        for code, rank in zip(codes, [rank for rank in range(3) if rank != missing], strict=True):
            seen.add(code, (folder / "said" / f"0-{rank}.txt").read_text(), folder)
        gone += (folder / "out").exists()
        injected += 1
    return Fault("a process never starts", injected, gone, str(seen))


def killed_jobs(scene: Scene) -> Fault:
    """Of a job array, each job killed at a random moment; then the array again, and the run that ends it."""
    injected = gone = 0
    seen = Seen()
    while injected < OFTEN:
        count, folder = scene.random.randint(2, 4), scene.folder()

        def job(number: int, count: int = count, folder: Path = folder) -> int:
            child = os.fork()
            if child == 0:
                code = 70
                try:
                    carry_out(Steps(folder / "log", COUNT, SECONDS), folder / "out", share=Share(number, count))
                except ShareIsMade as made:
                    code = SHARED
                    (folder / f"said-{number}").write_text(f"{type(made).__name__}: {made}")
                finally:
                    os._exit(code)
            return child

        jobs = [job(number) for number in range(1, count + 1)]
        time.sleep(scene.random.uniform(0.02, 0.3))
        for child in jobs:
            os.kill(child, signal.SIGKILL)
        ended = end(jobs)
        injected += ended.count(-signal.SIGKILL)
        before = records(folder / "out")
        again = end([job(number) for number in range(1, count + 1)])
        for number, (first, second) in enumerate(zip(ended, again, strict=True), 1):
            path = folder / f"said-{number}"
            text = path.read_text() if path.exists() else ""
            seen.add(first, text if first == SHARED else "", folder)
            seen.add(second, text, folder)
        gone += any(code != SHARED for code in again)
        carry_out(Steps(folder / "log", COUNT), folder / "out", resume=True)
        gone += lost(folder / "out", before, scene.expected)
    return Fault("a job of an array is killed", injected, gone, str(seen))


def every_protocol(scene: Scene, inputs: Path) -> Fault:
    """Each protocol by two processes, one of which is killed just before a random task of its own is recorded."""
    injected = gone = 0
    seen = Seen()
    inputs.mkdir()
    for name, make in PROTOCOLS.items():
        expected = scene.of(lambda log, out, make=make: carry_out(make(inputs), out))
        folder = scene.folder()
        call = scene.random.randrange(
            max(1, len(list((scene._scratch / f"{scene._runs - 1:04d}").rglob("tasks/**/*.json"))) // 3)
        )

        def run(rank: int, make: Any = make, folder: Path = folder, call: int = call) -> None:
            with killed_at(call, folder / "killed"):
                carry_out(make(inputs), folder / "out")

        (folder / "said").mkdir()
        generations = supervise(2, run, folder / "store", said=folder / "said")
        for generation, codes in enumerate(generations):
            note(seen, codes, folder, generation)
        hits = generations[0].count(-signal.SIGKILL)
        injected += hits
        missing = lost(folder / "out", {}, expected) + any(generations[-1]) + (not hits)
        gone += missing
        if missing:
            print(f"  {name}: {generations}", flush=True)
    return Fault(f"a worker is killed in each of {len(PROTOCOLS)} protocols", injected, gone, str(seen))


@contextmanager
def killed_at(call: int, happened: Path) -> Iterator[None]:
    """Kill the first process that comes to the end of its ``call``-th task, parts of tasks included, or of any later one."""
    from captum_proto.runs.tasks import Run

    finish, calls = Run.finish, iter(range(10_000))

    def watched(self: Run, *args: Any) -> None:
        if next(calls) >= call and not happened.exists():
            happened.touch()
            kill()
        finish(self, *args)

    Run.finish = watched  # type: ignore[method-assign]
    try:
        yield
    finally:
        Run.finish = finish  # type: ignore[method-assign]


def _dark() -> None:
    raise InputError("the picture is too dark; give a lighter one.")


def _bug() -> None:
    raise KeyError("a bug")


def _square(figure: Figure, path: Path, **_: Any) -> None:
    """In place of matplotlib's figures, which would take nearly all the time."""
    titles = str([axes.get_title() for axes in figure.axes])
    Image.new("L", (4, 4), zlib.crc32(titles.encode()) % 256).save(path, format="png")


def processes(scratch: Path) -> Iterator[Fault]:
    """The family."""
    torch.set_num_threads(1)  # a forked process has no threads but its own
    warnings.simplefilter("ignore")
    Figure.savefig = _square  # type: ignore[method-assign, assignment]
    scene = Scene(scratch)
    pick = scene.random
    yield killed_workers(
        scene, "a worker is killed (SIGKILL), at a random moment", lambda all_: [pick.choice(all_)], 2 * OFTEN
    )
    yield killed_workers(scene, "the first process is killed (SIGKILL)", lambda all_: all_[:1], OFTEN)
    yield killed_workers(scene, "all processes but one are killed at once", lambda all_: all_[1:], OFTEN)
    yield in_a_task(scene, "an error of the user's in one process", _dark, 2 * SELDOM)
    yield in_a_task(scene, "a bug in one process", _bug, SELDOM)
    yield asked_to_end(scene)
    yield other_sizes(scene)
    yield never_starts(scene)
    yield killed_jobs(scene)
    yield every_protocol(scene, scratch / "inputs")
    yield from torchrun.faults(scratch / "torchrun")


if __name__ == "__main__":
    write(processes)
