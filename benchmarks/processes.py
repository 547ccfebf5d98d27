"""
Claim: two processes on two cores do the work in little more than half the time of one, and 1, 2, 3 and 4 processes write the same bytes.

``captum-proto generate`` with EfficientNet-Lite0, eight classes one at a time, under ``torchrun`` with one thread a process, in rounds that
turn around. Beside the whole time stands that from the opening of the folder to the last file: what is before it, the start of Python and
PyTorch and the loading of the model, every process does for itself. ``python benchmarks/processes.py [--quick]``
"""

from __future__ import annotations

import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from harness import ROOT, Report, parser, text_table

CLASSES = (12, 558, 669, 1, 207, 340, 701, 985)
COUNTS = (1, 2, 3, 4)


def command(processes: int, steps: int, classes: int, out: Path) -> list[str]:
    job = ["generate", "--model", "efficientnet-lite0", "--batch-size", "1", "--steps", str(steps), "--no-progress"]
    for target in CLASSES[:classes]:
        job += ["--target", str(target)]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [sys.executable, *launch, "-m", "captum_proto", *job, "--device", "cpu", "--out", str(out)]


def digest(folder: Path) -> str:
    """Of all files and their names."""
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()


def one(processes: int, steps: int, classes: int, scratch: Path) -> dict[str, Any]:
    """One run: its seconds in all and from the opening of the folder to the last file, and the digest of what it wrote."""
    out = scratch / "out"
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    given = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    opened: list[float] = []
    with (scratch / "said").open("w") as said:
        begin = time.time()
        job = subprocess.Popen(command(processes, steps, classes, out), env=given, stdout=said, stderr=said)
        while job.poll() is None:
            if not opened and out.is_dir():
                opened.append(time.time())
            time.sleep(0.02)
        seconds = time.time() - begin
    if job.returncode:
        raise SystemExit((scratch / "said").read_text())
    times = [path.stat().st_mtime for path in out.rglob("*") if path.is_file()]
    return {"seconds": seconds, "working": max(times) - opened[0], "digest": digest(out)}


def main() -> int:
    args = parser(__doc__).parse_args()
    report = Report(
        "processes",
        "1, 2, 3 and 4 processes side by side: generate, EfficientNet-Lite0, one class a task",
        "python benchmarks/processes.py",
        args.out,
    )
    steps, classes, rounds = (8, 4, 1) if args.quick else (64, 8, 3)
    runs: dict[int, list[dict[str, Any]]] = {count: [] for count in COUNTS}
    for index in range(rounds):
        for count in COUNTS if index % 2 == 0 else COUNTS[::-1]:
            with tempfile.TemporaryDirectory() as scratch:
                runs[count].append(one(count, steps, classes, Path(scratch)))
    digests = {run["digest"] for found in runs.values() for run in found}
    rows, cores = [], os.cpu_count() or 1
    medians = {
        count: {name: statistics.median(run[name] for run in found) for name in ("seconds", "working")}
        for count, found in runs.items()
    }
    for count in COUNTS:
        faster = {name: medians[1][name] / medians[count][name] for name in ("seconds", "working")}
        usable = min(count, cores)
        rows.append(
            [
                str(count),
                f"{medians[count]['seconds']:.1f}",
                f"{faster['seconds']:.2f}",
                f"{100 * faster['seconds'] / usable:.0f} %",
                f"{medians[count]['working']:.1f}",
                f"{100 * faster['working'] / usable:.0f} %",
            ]
        )
        report.record.setdefault("processes", []).append(
            {
                "processes": count,
                "steps": steps,
                "classes": classes,
                "runs": runs[count],
                "times_as_fast": faster,
                "efficiency": {name: value / usable for name, value in faster.items()},
            }
        )
    report.record["equal_digests"] = len(digests) == 1
    header = ["processes", "s", "x one", f"of {cores} cores", "s at work", "of cores at work"]
    report.record["table"] = {"header": header, "rows": rows}
    report.write()
    print(text_table(header, rows))
    print("equal digests" if len(digests) == 1 else f"DIGESTS DIFFER: {sorted(digests)}")
    return len(digests) != 1


if __name__ == "__main__":
    sys.exit(main())
