"""Disks that fail: each system call that writes, a full disk, a read-only one, one without locks, a clock set back, damaged files."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults import Fault, Seen, write
from small_run import Numbers, contents, differences, in_a_child, lost, resumed, whole

from captum_proto.runs.tasks import carry_out
from captum_proto.runs.verify import verify

HERE = Path(__file__).resolve().parent
#: What fails: how it is called in the table, the function, the error, whether it goes on to fail, and of how many calls each is tried.
CALLS: list[tuple[str, str, int, bool, int]] = [
    ("a write fails: disk full", "write", errno.ENOSPC, False, 1),
    ("the disk is full from a write on", "write", errno.ENOSPC, True, 1),
    ("a write fails: quota exceeded", "write", errno.EDQUOT, True, 2),
    ("a write fails: input/output error", "write", errno.EIO, False, 2),
    ("a file cannot be created: read-only file system", "create", errno.EROFS, True, 2),
    ("a file cannot be created: no space", "create", errno.ENOSPC, False, 1),
    ("a folder cannot be made: no space", "mkdir", errno.ENOSPC, False, 1),
    ("fsync fails: input/output error", "fsync", errno.EIO, False, 1),
    ("fsync fails: disk full, said late", "fsync", errno.ENOSPC, True, 2),
    ("fsync is not there", "fsync", errno.EINVAL, True, 9),
    ("a rename fails: input/output error", "rename", errno.EIO, False, 1),
    ("a rename fails: permission denied", "rename", errno.EACCES, True, 2),
    ("a file system that renames no file over another", "replace", errno.EEXIST, True, 1),
    ("a file cannot be removed: input/output error", "unlink", errno.EIO, False, 1),
    ("a process is killed (SIGKILL) at each system call that writes", "any", 0, False, 1),
    ("a file system without locks", "flock", errno.ENOLCK, True, 1),
]
SEED = 20261130


def family(scratch: Path) -> Iterator[Fault]:
    os.environ["CAPTUM_PROTO_FSYNC"] = "0"  # a disk that is waited for is no other disk, but for those that fail there
    protocol = Numbers()
    expected = whole(protocol, scratch)
    library = ctypes.CDLL(os.environ["LD_PRELOAD"])
    for name, call, code, lasts, each in CALLS:
        os.environ["CAPTUM_PROTO_FSYNC"] = str(int(call == "fsync"))
        yield failing(name, call, code, lasts, each, scratch, library, expected)
    os.environ["CAPTUM_PROTO_FSYNC"] = "0"
    yield damaged(scratch, expected)
    yield clock(scratch, expected)
    if os.geteuid() == 0 and mounted(scratch / "disk", "64k"):
        unmounted(scratch / "disk")
        yield full(scratch, expected)
        yield read_only(scratch, expected)
    else:
        print("a full disk and a read-only one: left out, mounting a file system takes root", flush=True)


def failing(
    name: str, call: str, code: int, lasts: bool, each: int, scratch: Path, library: Any, expected: dict[str, bytes]
) -> Fault:
    """Let each call of a function fail in turn."""
    folder, said, seen, losses, injected = scratch / "out", scratch / "said", Seen(), 0, 0
    count = scratch / "count"

    def run(place: int) -> None:
        library.failing_calls_arm(str(folder).encode(), call.encode(), place, code, lasts)
        try:
            carry_out(Numbers(), folder)
        finally:
            calls = library.failing_calls_count()
            library.failing_calls_arm(b"", b"", 0, 0, 0)
            count.write_text(str(calls))

    in_a_child(lambda: run(0), said)
    total = int(count.read_text())
    shutil.rmtree(folder)
    for place in range(1, total + 1, each):
        ended = in_a_child(lambda place=place: run(place), said)
        seen.add(ended, said.read_text(errors="replace"), folder)
        injected += 1
        losses += lost(folder)
        if ended != 0 or differences(expected, folder):
            losses += resumed(Numbers(), folder, expected)
        shutil.rmtree(folder)
    return Fault(name, injected, losses, str(seen))


def damaged(scratch: Path, expected: dict[str, bytes]) -> Fault:
    """Flip bits, cut files short and remove them in a finished folder: verify has to find each, and a resumed run to mend it."""
    folder, chance, losses, injected = scratch / "out", random.Random(SEED), 0, 0
    unseen = 0
    carry_out(Numbers(), folder)
    for name in sorted(expected):
        for way in ("bit", "bit", "bit", "cut", "gone"):
            path, data = folder / name, bytearray(expected[name])
            if way == "bit":
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
                path.write_bytes(data)
            elif way == "cut":
                path.write_bytes(data[: chance.randrange(len(data))])
            else:
                path.unlink()
            injected += 1
            unseen += verify(folder).whole
            losses += resumed(Numbers(), folder, expected)
    shutil.rmtree(folder)
    seen = f"verify finds {injected - unseen} of {injected} and names the command; --resume makes just these again"
    return Fault("a bit of a finished file flips, or it is cut short or removed", injected, losses + unseen, seen)


def clock(scratch: Path, expected: dict[str, bytes]) -> Fault:
    """Stop a run, set the clock and the times of its files to another day, and go on."""
    folder, said, seen, losses = scratch / "out", scratch / "said", Seen(), 0
    chance, now, tries = random.Random(SEED), time.time, 25

    def run(offset: float) -> None:
        time.time = lambda: now() - offset
        carry_out(Numbers(), folder, resume=True, show_progress=True)

    for _ in range(tries):
        carry_out(Numbers(), folder)
        stems = chance.sample(sorted((folder / "tasks" / "each").glob("*.json")), 2)
        for path in stems:
            path.unlink()
        for path in folder.rglob("*"):
            os.utime(path, times=(now() + chance.uniform(-1e8, 1e8),) * 2)
        ended = in_a_child(lambda: run(chance.uniform(0, 1e8)), said)
        seen.add(ended, said.read_text(errors="replace"), folder)
        losses += differences(expected, folder)
        shutil.rmtree(folder)
    return Fault("the clock is set back, and files are of the future", tries, losses, str(seen))


def mounted(folder: Path, size: str) -> bool:
    """Whether a file system in memory of this size is there now."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True).returncode == 0


def remounted(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True, capture_output=True)


def unmounted(folder: Path) -> None:
    subprocess.run(["umount", str(folder)], check=True, capture_output=True)


def full(scratch: Path, expected: dict[str, bytes]) -> Fault:
    """Run on disks that are too small, and go on when there is room."""
    disk, said, seen, losses, injected = scratch / "disk", scratch / "said", Seen(), 0, 0
    for pages in range(2, 40):
        if not mounted(disk, f"{4 * pages}k"):
            continue
        try:
            ended = in_a_child(lambda: carry_out(Numbers(), disk / "out"), said)
            if ended != 0:
                injected += 1
                seen.add(ended, said.read_text(errors="replace"), disk)
                losses += lost(disk / "out")
                remounted(disk, "size=4m")
                losses += resumed(Numbers(), disk / "out", expected)
        finally:
            unmounted(disk)
    return Fault("a full disk (a file system of 8 to 156 KiB)", injected, losses, str(seen))


def read_only(scratch: Path, expected: dict[str, bytes]) -> Fault:
    """Go on with a run on a disk that has become read-only, and once more when it is not."""
    disk, said, seen, losses, tries = scratch / "disk", scratch / "said", Seen(), 0, 10
    for place in range(tries):
        assert mounted(disk, "4m")
        try:
            carry_out(Numbers(), disk / "out")
            (disk / "out" / "tasks" / "each" / f"{place % 3}.json").unlink()
            before = contents(disk)
            remounted(disk, "ro")
            ended = in_a_child(lambda: carry_out(Numbers(), disk / "out", resume=True), said)
            seen.add(ended, said.read_text(errors="replace"), disk)
            losses += contents(disk) != before
            remounted(disk, "rw")
            losses += resumed(Numbers(), disk / "out", expected)
        finally:
            unmounted(disk)
    return Fault("a disk that became read-only", tries, losses, str(seen))


def with_failing_calls() -> None:
    """Begin this program again with the library by which calls fail."""
    library = Path(sys.argv[1]).resolve() / "failing_calls.so"
    library.parent.mkdir(parents=True, exist_ok=True)
    compiler = os.environ.get("CXX", "g++")
    source = HERE / "failing_calls.cpp"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, "LD_PRELOAD": str(library)})


if __name__ == "__main__":
    if "failing_calls" not in os.environ.get("LD_PRELOAD", ""):
        with_failing_calls()
    write(family)
