"""
Cycles of generate and evaluate with faults drawn at random, for as long as asked: does anything grow?

``python tests/reliability/soak.py SCRATCH TABLE [--seconds 1200]``. After every fifth cycle the process's memory, open files, threads and
the hooks of the model are noted; every finished run is verified. Samples go to docs/results/soak.csv.
"""

from __future__ import annotations

import csv
import errno
import gc
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch
from faults import Fault, write
from networks import SmallCNN, seeded
from scipy import stats
from torch import nn

from captum_proto import PathSimilarity
from captum_proto._utils import files
from captum_proto._utils.errors import CaptumProtoError
from captum_proto.experiments.generate import Generate
from captum_proto.models import NamedModel
from captum_proto.runs.tasks import carry_out
from captum_proto.runs.verify import verify

SEED = 18
#: What is said of a cycle to which nothing happened.
NOTHING = "nothing"
SHAPE = (3, 8, 8)
SAMPLES = Path(__file__).resolve().parents[2] / "docs" / "results" / "soak.csv"
#: So many forward passes and files a cycle has at least.
PASSES, FILES = 20, 8
OPTIONS: dict[str, Any] = {"steps": 4, "warmup_steps": 1, "evaluation_draws": 1}
#: What a child process does until it is killed: the same run, into a folder of its own.
_CHILD = (
    "import sys, torch; torch.set_num_threads(1); sys.path[:0] = {paths!r}; import soak, pathlib; "
    "print('begun', flush=True); soak.cycle(soak.named_model(), pathlib.Path({folder!r}), count=200)"
)


class Trap(nn.Module):
    """Lets everything pass, but raises what is set after so many passes."""

    def __init__(self) -> None:
        super().__init__()
        self.error: type[BaseException] | None = None
        self.passes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.error is not None:
            self.passes -= 1
            if self.passes < 0:
                error, self.error = self.error, None
                raise error("injected")
        return x


def named_model() -> NamedModel:
    """A small network, the same each time, with a trap in it."""
    model: Any = seeded(SmallCNN).eval()
    model.dropout = Trap()
    return NamedModel("small", model, None, SHAPE)


def cycle(named: NamedModel, folder: Path, count: int = 4, resume: bool = False) -> Any:
    """Prototypes in a run folder, and their path similarity."""
    protocol = Generate(named, [(number % 5,) for number in range(count)], dict(OPTIONS), seed=0, batch_size=2)
    made = carry_out(protocol, folder, resume=resume, show_progress=False)
    images = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))
    scores = PathSimilarity(named.model).fit(images).evaluate(made.images)
    return made.images.clone(), scores.spearman.clone()


def wrong_files(folder: Path) -> int:
    """How many files of a run are missing, or other than its records say."""
    wrong = 0
    for record in (folder / "tasks").rglob("*.json"):
        for name, known in json.loads(record.read_text(encoding="utf-8")).get("files", {}).items():
            path = folder / name
            there = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == known["sha256"]
            wrong += not there
    return wrong


def _interrupted(named: NamedModel, folder: Path) -> str:
    trap: Any = named.model.dropout
    trap.error, trap.passes = KeyboardInterrupt, _drawn(folder, PASSES)
    try:
        return _said(lambda: cycle(named, folder))
    finally:
        trap.error = None


def _exception(named: NamedModel, folder: Path) -> str:
    left = [_drawn(folder, PASSES)]

    def fail(*_: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("injected into a hook")

    with named.model.block.register_forward_hook(fail):  # type: ignore[operator,union-attr]
        return _said(lambda: cycle(named, folder))


def _nan(named: NamedModel, folder: Path) -> str:
    weight = named.model.block.weight  # type: ignore[union-attr]
    kept = weight.detach().clone()  # type: ignore[operator,union-attr]
    with torch.no_grad():
        weight[0, 0, 0, 0] = float("nan")  # type: ignore[index,operator]
    try:
        return _said(lambda: cycle(named, folder))
    finally:
        with torch.no_grad():
            weight.copy_(kept)  # type: ignore[operator,union-attr]
        shutil.rmtree(folder, ignore_errors=True)  # a run of other weights is none to go on with


def _disk_full(named: NamedModel, folder: Path) -> str:
    """From the n-th file on, there is no room for another."""
    original, left = files.put_in_place, [_drawn(folder, FILES)]

    def full(*given: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(*given)

    files.put_in_place = full
    try:
        return _said(lambda: cycle(named, folder))
    finally:
        files.put_in_place = original


def _drawn(folder: Path, below: int) -> int:
    """When in a cycle a fault comes: by the name of its folder, so that the next soak has it at the same place."""
    return random.Random(folder.name).randrange(below)


def _killed(_: NamedModel, folder: Path) -> str:
    here = Path(__file__).resolve()
    program = _CHILD.format(paths=[str(here.parent), str(here.parents[1]), str(here.parents[2])], folder=str(folder))
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        child.stdout.readline()
        time.sleep(random.Random(folder.name).random())
        child.send_signal(signal.SIGKILL)
        child.wait()
    wrong = wrong_files(folder)
    shutil.rmtree(folder, ignore_errors=True)
    return "killed; what was finished is readable" if not wrong else f"{wrong} finished files are not as recorded"


def _said(call: Callable[[], Any]) -> str:
    try:
        call()
    except (CaptumProtoError, KeyboardInterrupt, RuntimeError, OSError) as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return NOTHING


FAULTS: dict[str, Callable[[NamedModel, Path], str]] = {
    "an interrupt in a forward pass": _interrupted,
    "an exception in a hook of the user's": _exception,
    "NaN in the weights": _nan,
    "the disk is full": _disk_full,
    "a process of the run is killed (SIGKILL)": _killed,
}


def _sample(model: nn.Module, cycles: int, begun: float) -> dict[str, float]:
    gc.collect()
    status = Path("/proc/self/status").read_text()
    held = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon"))
    return {
        "seconds": round(time.monotonic() - begun, 1),
        "cycles": cycles,
        "memory_kib": held,
        "open_files": len(os.listdir("/proc/self/fd")),
        "threads": threading.active_count(),
        "hooks": sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules()),
    }


def family(scratch: Path, seconds: float = 1200.0) -> Iterator[Fault]:
    warnings.simplefilter("ignore")
    draw, named, begun = random.Random(SEED), named_model(), time.monotonic()
    expected = cycle(named, scratch / "alone")
    counts, lost, seen = dict.fromkeys(FAULTS, 0), dict.fromkeys(FAULTS, 0), dict.fromkeys(FAULTS, "")
    samples: list[dict[str, float]] = []
    cycles = 0
    while time.monotonic() - begun < seconds:
        folder = scratch / f"run-{cycles}"
        # A child takes seconds to begin, the others milliseconds.
        kind = draw.choices(list(FAULTS), [4, 4, 4, 4, 1])[0]
        said = FAULTS[kind](named, folder)
        if said != NOTHING:  # else the cycle ended before the fault came
            seen[kind] = said
            counts[kind] += 1
        lost[kind] += wrong_files(folder) + ("not as recorded" in seen[kind])
        try:
            again = cycle(named, folder, resume=True)
        except CaptumProtoError as error:
            lost[kind], seen[kind] = lost[kind] + 1, f"it cannot go on: {error}"
        else:
            lost[kind] += not all(torch.equal(one, other) for one, other in zip(again, expected, strict=True))
            lost[kind] += len(verify(folder).problems)
        shutil.rmtree(folder, ignore_errors=True)
        cycles += 1
        if cycles % 5 == 0:
            samples.append(_sample(named.model, cycles, begun))
    SAMPLES.parent.mkdir(parents=True, exist_ok=True)
    with SAMPLES.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(_sample(named.model, 0, begun)))
        writer.writeheader()
        writer.writerows(samples)
    for kind in FAULTS:
        if counts[kind]:
            yield Fault(f"{kind}, in cycles of generate and evaluate", counts[kind], lost[kind], seen[kind])
    yield _growth(samples)


def _growth(samples: list[dict[str, float]]) -> Fault:
    """Whether anything grows after a warm-up of a third: memory by the interval of its slope, the rest by their last value."""
    settled = samples[len(samples) // 3 :]
    if len(settled) < 3:
        return Fault("growth over the soak", 0, 0, "too short to tell")
    at, held = (np.array([float(each[name]) for each in settled]) for name in ("cycles", "memory_kib"))
    # The median of the slopes between any two samples: a heap grows in steps, after which a line through all of them would rise for ever.
    slope, _, low, high = stats.theilslopes(held, at)
    grown = [name for name in ("open_files", "threads", "hooks") if float(settled[-1][name]) > float(settled[0][name])]
    # Less than a KiB a cycle is what an allocator's heap makes of itself.
    grown += ["memory"] if low > 1 else []
    said = f"memory {held[0]:,.0f} → {held[-1]:,.0f} KiB in {at[-1] - at[0]:.0f} cycles, median slope {slope:+.2f} KiB a cycle "
    said += f"(95 %: {low:+.2f} to {high:+.2f}); "
    said += ", ".join(
        f"{name} {float(settled[0][name]):.0f} → {float(settled[-1][name]):.0f}"
        for name in ("open_files", "threads", "hooks")
    )
    return Fault("growth over the soak", 0, len(grown), said)


if __name__ == "__main__":
    limit = 1200.0
    if "--seconds" in sys.argv:
        place = sys.argv.index("--seconds")
        limit = float(sys.argv[place + 1])
        del sys.argv[place : place + 2]
    write(lambda scratch: family(scratch, limit))
