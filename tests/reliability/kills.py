"""Processes that are killed or asked to terminate at any moment, and what is left of their results and snapshots."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from faults import Fault, Seen, write
from small_run import Numbers, Pictures, differences, in_a_child, killed, lost, resumed, whole

from captum_proto.runs.contents import SNAPSHOTS
from captum_proto.runs.tasks import Protocol, carry_out

SEED = 20261130
#: How often a process is killed in each way: a small run, and one of optimizations.
SMALL, LONG = 60, 25
#: Steps between snapshots.
EVERY = 4


def family(scratch: Path) -> Iterator[Fault]:
    torch.set_num_threads(1)  # a forked process has no threads but its own
    small, pictures = Numbers(), Pictures()
    names: list[tuple[str, Protocol[Any], int, int]] = [
        ("a process is killed (SIGKILL) at a random time, while it writes", small, signal.SIGKILL, SMALL),
        ("a process is asked to terminate (SIGTERM) at a random time, while it writes", small, signal.SIGTERM, SMALL),
        ("a process is killed (SIGKILL) in the middle of an optimization", pictures, signal.SIGKILL, LONG),
        ("a process is asked to terminate (SIGTERM) in the middle of an optimization", pictures, signal.SIGTERM, LONG),
    ]
    for name, protocol, number, tries in names:
        expected = whole(protocol, scratch)
        yield at_random_times(name, protocol, number, tries, scratch, expected)
    yield damaged_snapshots(scratch, whole(pictures, scratch))


def at_random_times(
    name: str, protocol: Protocol[Any], number: int, tries: int, scratch: Path, expected: dict[str, bytes]
) -> Fault:
    """Kill a run, and the run that goes on with it, again and again until it has come to its end."""
    folder, said, seen, losses, injected = scratch / "out", scratch / "said", Seen(), 0, 0
    chance = random.Random(SEED + number)

    def run() -> None:
        carry_out(protocol, folder, resume=True, snapshot_every=EVERY)

    begin = time.perf_counter()
    in_a_child(run, said)
    length = time.perf_counter() - begin
    shutil.rmtree(folder)
    while injected < tries:
        ended = killed(run, said, chance.uniform(0, length), number)
        if ended != 0:
            injected += 1
            seen.add(ended, said.read_text(errors="replace"), folder)
            losses += lost(folder) if folder.exists() else 0
        if ended == 0 or injected == tries or chance.random() < 0.2:
            losses += resumed(protocol, folder, expected, snapshot_every=EVERY)
            shutil.rmtree(folder)
    return Fault(name, injected, losses, str(seen))


def damaged_snapshots(scratch: Path, expected: dict[str, bytes]) -> Fault:
    """Flip a bit of a snapshot, or cut it short: the optimization begins anew, and the results are the same."""
    folder, said, seen, losses, injected = scratch / "out", scratch / "said", Seen(), 0, 0
    chance = random.Random(SEED)

    def run() -> None:
        warnings.simplefilter("always")
        carry_out(Pictures(), folder, resume=True, snapshot_every=EVERY)

    while injected < LONG:
        killed(run, said, chance.uniform(0.1, 1.0), signal.SIGKILL)
        for path in sorted(folder.glob(f"{SNAPSHOTS}/*/*.safetensors"))[:1]:
            data = bytearray(path.read_bytes())
            if injected % 3:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                path.write_bytes(data)
            else:
                path.write_bytes(data[: chance.randrange(len(data))])
            ended = in_a_child(run, said)
            seen.add(ended, said.read_text(errors="replace"), folder)
            injected += 1
            losses += differences(expected, folder)
        if folder.exists():
            shutil.rmtree(folder)
    return Fault("a bit of a snapshot flips, or it is cut short", injected, losses, str(seen))


if __name__ == "__main__":
    os.environ["CAPTUM_PROTO_FSYNC"] = "0"
    write(family)
