"""
The table of faults in docs/reliability.rst: ``python tests/reliability/run.py [FAMILY …]``, or ``make reliability``.

A family is a file beside this one that ends in ``write(…)``; each runs in a process of its own, one after the other. What was measured is
in docs/results/reliability.csv, where the rows of a family take the place of its earlier ones, and readable in reliability.txt.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from faults import COLUMNS, Fault, read

HERE = Path(__file__).resolve().parent
RESULTS = HERE.parents[1] / "docs" / "results"
#: In the order of the table; all there are.
FAMILIES: tuple[str, ...] = ("processes", "disk", "kills", "memory", "threads", "readers", "kernels", "soak")
#: What is the matter with a family that takes longer, in seconds.
LIMIT = 3600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("families", nargs="*", choices=[*FAMILIES, []], help="default: all")
    asked = parser.parse_args().families or FAMILIES
    table = RESULTS / "reliability.csv"
    failed = []
    for family in asked:
        begun = time.monotonic()
        print(f"{family} …", flush=True)
        with tempfile.TemporaryDirectory() as scratch:
            own = Path(scratch) / "faults.csv"
            command = [sys.executable, str(HERE / f"{family}.py"), str(Path(scratch) / "runs"), str(own)]
            try:
                if subprocess.run(command, cwd=HERE, timeout=LIMIT).returncode:
                    failed.append(family)
                    continue
            except subprocess.TimeoutExpired:
                print(f"{family} takes longer than {LIMIT} s", flush=True)
                failed.append(family)
                continue
            _record(table, {**_recorded(table), family: read(own)})  # others may have written theirs meanwhile
        print(f"{family}: {time.monotonic() - begun:.0f} s", flush=True)
    rows = _recorded(table)
    lost = sum(fault.lost for faults in rows.values() for fault in faults)
    injected = sum(fault.injected for faults in rows.values() for fault in faults)
    print(
        f"{injected:,} faults in the table, {lost} results lost" + (f"; failed: {', '.join(failed)}" if failed else "")
    )
    return bool(failed or lost)


def _recorded(table: Path) -> dict[str, list[Fault]]:
    found: dict[str, list[Fault]] = {}
    if table.exists():
        with table.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                fault = Fault(row["name"], int(row["injected"]), int(row["lost"]), row["seen"])
                found.setdefault(row["family"], []).append(fault)
    return {family: found[family] for family in FAMILIES if family in found}


def _record(table: Path, rows: dict[str, list[Fault]]) -> None:
    ordered = [(family, fault) for family in FAMILIES for fault in rows.get(family, ())]
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["family", *COLUMNS])
        writer.writerows([family, *dataclasses.astuple(fault)] for family, fault in ordered)
    width = max((len(fault.name) for _, fault in ordered), default=0)
    lines = [f"{'fault':{width}}  injected  lost  what the user saw"]
    lines += [f"{fault.name:{width}}  {fault.injected:8,}  {fault.lost:4}  {fault.seen}" for _, fault in ordered]
    total = sum(fault.injected for _, fault in ordered)
    lines.append(f"{'all':{width}}  {total:8,}  {sum(fault.lost for _, fault in ordered):4}")
    table.with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
