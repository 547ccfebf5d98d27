"""A small run with a part, what it comes to, and processes in which it meets its faults."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from captum_proto import PrototypeGeneration
from captum_proto._utils import termination
from captum_proto._utils.errors import CaptumProtoError
from captum_proto._utils.files import save_tensors
from captum_proto.runs.contents import MANIFEST
from captum_proto.runs.files import write_json, write_text
from captum_proto.runs.provenance import provenance
from captum_proto.runs.tasks import Protocol, Run, Task, carry_out
from captum_proto.runs.verify import verify

Contents = dict[str, bytes]


@dataclass(frozen=True)
class Numbers(Protocol[float]):
    """Tensors, text and JSON for each of some numbers; the second is a run of its own, where it is not one itself."""

    count: int = 3
    part: bool = False

    def provenance(self) -> dict[str, Any]:
        return provenance("numbers", {"count": self.count, "part": self.part})

    def tasks(self) -> list[Task]:
        return [Task(f"each/{number}") for number in range(self.count)]

    def make(self, task: Task, run: Run) -> None:
        number = int(task.name[5:])
        values = torch.arange(300.0) * number
        save_tensors(run.folder / "values" / f"{number}.safetensors", "numbers", {"values": values}, {}, overwrite=True)
        write_text(run.folder / f"{number}.txt", f"number {number}\n" * 40, overwrite=True)
        if number == 1 and not self.part:
            carry_out(Numbers(2, part=True), run.folder / "part", resume=True)

    def summarize(self, run: Run) -> float:
        texts = [(run.folder / f"{number}.txt").read_text() for number in range(self.count)]
        write_json(run.folder / "summary.json", [len(text) for text in texts], overwrite=True)
        run.note({"sum": sum(map(len, texts))})
        return float(sum(map(len, texts)))


@dataclass(frozen=True)
class Pictures(Protocol[None]):
    """Prototypes of some classes, each a task, with enough steps to be killed in."""

    steps: int = 40
    count: int = 2

    def provenance(self) -> dict[str, Any]:
        return provenance("pictures", {"steps": self.steps, "count": self.count})

    def tasks(self) -> list[Task]:
        return [Task(str(number)) for number in range(self.count)]

    def make(self, task: Task, run: Run) -> None:
        with torch.random.fork_rng([]):
            torch.manual_seed(0)
            layers = [
                nn.Conv2d(3, 8, 5),
                nn.BatchNorm2d(8),
                nn.ReLU(),
                nn.Conv2d(8, 8, 5),
                nn.Flatten(),
                nn.Linear(4608, 3),
            ]
            network = nn.Sequential(*layers).eval()
        options = {"steps": self.steps, "warmup_steps": 8, "image_shape": (3, 32, 32), "optimizer": "nadam"}
        made = PrototypeGeneration(network).generate(int(task.name), **options)
        made.save(run.folder / f"{task.name}.safetensors", overwrite=True)

    def summarize(self, run: Run) -> None:
        return None


def contents(folder: Path) -> Contents:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(protocol: Protocol[Any], scratch: Path) -> Contents:
    """What a run without a fault leaves."""
    folder = scratch / "whole"
    carry_out(protocol, folder)
    found = contents(folder)
    shutil.rmtree(folder)
    return found


def differences(expected: Contents, folder: Path) -> int:
    """How many files are other than those of a run without a fault."""
    found = contents(folder)
    return sum(expected.get(name) != found.get(name) for name in {*expected, *found})


def lost(folder: Path) -> int:
    """How many files that were recorded as finished are not what was recorded: what a fault may never cause."""
    if not (folder / "tasks").exists():
        return 0
    return sum(bool(problem.task) for problem in verify(folder).problems)


def in_a_child(act: Callable[[], None], said: Path) -> int:
    """Do something in a process of its own, as the command line does: what it says is in a file, its exit code comes back."""
    child = begun(act, said)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def begun(act: Callable[[], None], said: Path) -> int:
    """The number of a process that does something."""
    child = os.fork()
    if child:
        return child
    code = 70
    try:
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        try:
            with termination.taken():
                act()
            code = 0
        except termination.Terminated:
            print("terminated; what was finished is on disk, --resume goes on from there", flush=True)
            code = termination.EXIT_CODE
        except CaptumProtoError as error:
            print(f"error: {error}", flush=True)
            code = 1
        except BaseException:
            traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def killed(act: Callable[[], None], said: Path, after: float, number: int) -> int:
    """The exit code of a process that gets a signal after some seconds, if it has not ended by then."""
    child = begun(act, said)
    time.sleep(after)
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def resumed(protocol: Protocol[Any], folder: Path, expected: Contents, **how: Any) -> int:
    """How many files are other than without a fault once a run was resumed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        carry_out(protocol, folder, resume=True, **how)
    assert (folder / MANIFEST).exists()
    return differences(expected, folder)
