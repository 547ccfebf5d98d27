"""
Fuzz the readers of the package: ``python tests/fuzz/run.py --seconds 60 [GROUP | READER …]``, each reader for so many seconds.

A READER is called as in the list that ``--list`` prints, a GROUP is what stands before its "/". What is broken is kept as a file below the
folder that ``--out`` names, and listed at the end; the exit code is then 1. With the package atheris installed, libFuzzer goes by what
lines of Python a file reaches; without, files are changed at random.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from catalog import GROUPS, readers

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("readers", nargs="*", metavar="READER", help="default: all")
    parser.add_argument("--seconds", type=float, default=60, help="for each reader (default: 60)")
    parser.add_argument("--seed", type=int, default=0, help="of what is tried (default: 0)")
    parser.add_argument("--out", type=Path, help="where to keep what is broken (default: a new folder)")
    parser.add_argument("--list", action="store_true", help="print the readers and leave")
    args = parser.parse_args()
    known = {f"{group}/{place}": reader.name for group in GROUPS for place, reader in enumerate(readers(group))}
    asked = [
        name for name in known if not args.readers or name in args.readers or name.partition("/")[0] in args.readers
    ]
    if args.list:
        print("\n".join(f"{name:16} {known[name]}" for name in asked))
        return 0
    out = args.out or Path(tempfile.mkdtemp(prefix="fuzz-"))
    broken, executions = 0, 0
    for group in dict.fromkeys(name.partition("/")[0] for name in asked):
        places = [name.partition("/")[2] for name in asked if name.startswith(f"{group}/")]
        begin(group, places, out, args.seconds, args.seed)
        for place in places:
            name, result = f"{group}/{place}", result_of(out / f"{group}_{place}")
            executions += result["executions"]
            broken += len(result["findings"])
            print(f"{name:16} {known[name]:45} {line(result)}", flush=True)
            for where, said in result["findings"].items():
                print(f"    {where}: {said}", flush=True)
    print(f"{executions:,} executions, {broken} findings; {out}")
    return bool(broken)


def begin(group: str, places: list[str], out: Path, seconds: float, seed: int) -> None:
    """Fuzz some readers of a group in a process of their own."""
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(HERE / "loop.py"), group, str(out), str(seconds), str(seed), *places]
    limit = 900 + len(places) * (seconds + 120)
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=limit, check=False)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)


def result_of(folder: Path) -> dict[str, Any]:
    """What came of a reader that was fuzzed."""
    path, log = folder / "result.json", (folder / "log.txt").read_text(errors="replace")
    found: dict[str, Any] = {"executions": 0, "read": 0, "refused": 0, "broken": 0, "findings": {}}
    if path.exists():
        found |= json.loads(path.read_text())
    if code := int((folder / "code.txt").read_text()):
        found["findings"][f"exit code {code}"] = log.strip()[-300:]
    reached = [int(each) for each in re.findall(r" cov: (\d+)", log)]
    found["coverage"] = (reached[0], reached[-1]) if reached else None
    return found


def line(result: dict[str, Any]) -> str:
    counts = f"{result['executions']:8,} executions: {result['read']:,} read, "
    counts += f"{result['refused']:,} refused, {result.get('broken', 0):,} broken"
    reached = result.get("coverage")
    return counts + (f"; {reached[0]:,} → {reached[1]:,} edges reached" if reached else "")


if __name__ == "__main__":
    sys.exit(main())
