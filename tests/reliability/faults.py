"""What a family of faults reports: what went wrong, how often, what was lost, and what the user saw."""

from __future__ import annotations

import collections
import csv
import dataclasses
import re
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Fault:
    """
    A kind of fault, injected on purpose.

    Attributes:
        name (str): What goes wrong, as a stranger understands it: ``"a worker is killed (SIGKILL)"``.
        injected (int): How often it was.
        lost (int): Results that were finished before the fault and are missing, unreadable or other than those of a run without a fault.
        seen (str): What the user sees: the exit code and the sentence, or that the run goes on.
    """

    name: str
    injected: int
    lost: int
    seen: str


class Seen:
    """
    What users saw, counted: how processes ended, and what they printed, cut by one rule for all.

    Of what was printed the last line that begins with ``error:`` or ``terminated`` counts, as the command line prints it; else the last
    warning; else, where a process failed, the last line, such as the one below a traceback. What stands in quotation marks is left out, for
    it names files; of a line, 300 letters.
    """

    def __init__(self) -> None:
        self.counts: collections.Counter[str] = collections.Counter()

    def add(self, code: int, text: str, folder: Path) -> None:
        """Note how a process ended and what it printed."""
        printed = [line for line in text.replace(str(folder), "DIR").splitlines() if line.strip()]
        lines = [line for line in printed if line.startswith(("error:", "terminated"))]
        warned = [line.partition("Warning: ")[2] for line in printed if "Warning: " in line]
        failed = printed[-1:] if code not in (0, -signal.SIGKILL) else []
        sentence = re.sub(r'"[^"]*"', '"…"', next((each[-1] for each in (lines, warned, failed) if each), ""))
        sentence = sentence if len(sentence) <= _LONGEST else f"{sentence[:_LONGEST]}…"
        ended = "goes on" if code == 0 else f"exit code {code}" if code > 0 else f"killed by signal {-code}"
        self.counts[f"{ended}{': ' if sentence else ''}{sentence}"] += 1

    def __str__(self) -> str:
        shown = [f"{text} ({count}×)" for text, count in self.counts.most_common(_KINDS)]
        more = len(self.counts) - len(shown)
        return "; ".join(shown) + (f"; {more} more" if more > 0 else "")


#: Of a line that is shown, in letters; and how many kinds of endings are.
_LONGEST, _KINDS = 300, 3
COLUMNS = [field.name for field in dataclasses.fields(Fault)]


def write(family: Callable[[Path], Iterable[Fault]]) -> None:
    """
    Inject the faults of a family and write them as CSV: what ``python tests/reliability/FAMILY.py SCRATCH TABLE`` does.

    Args:
        family (Callable): Of a folder that is its own; yields each kind of fault when it is done with it.
    """
    scratch, table = map(Path, sys.argv[1:])
    scratch.mkdir(parents=True, exist_ok=True)
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for fault in family(scratch):
            # What a file of strangers says may hold anything; where it was says nothing to a reader.
            seen = "".join(
                letter if letter.isprintable() else ascii(letter)[1:-1]
                for letter in fault.seen.replace(str(scratch), "…")
            )
            fault = dataclasses.replace(fault, seen=seen)
            writer.writerow(dataclasses.astuple(fault))
            file.flush()
            print(f"{fault.name}: {fault.injected} injected, {fault.lost} lost; {fault.seen}", flush=True)


def read(table: Path) -> list[Fault]:
    """What :func:`write` wrote."""
    with table.open(newline="", encoding="utf-8") as file:
        rows = [dict(row) for row in csv.DictReader(file)]
    return [Fault(row["name"], int(row["injected"]), int(row["lost"]), row["seen"]) for row in rows]
