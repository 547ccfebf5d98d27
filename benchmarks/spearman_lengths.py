"""
Claim: what a value costs in ``ops.spearman`` hardly depends on the length of its row, from a thousand values to ten million, on an idle
machine and beside a process that streams through memory.

Rows beyond the near cache are parted by their leading bits before they are sorted; without that the time of a value rises where rows no
longer fit the part of a shared cache that neighbors leave. The peer is SciPy. ``python benchmarks/spearman_lengths.py [--quick]`` writes
the picture of docs/performance.md too.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import scipy.stats
import torch
from harness import ROOT, Case, Contender, Goal, Report, measure, parser, threads
from torch import Tensor

from captum_proto import ops

LENGTHS = (1000, 4096, 16_384, 65_536, 131_072, 262_144, 401_408, 802_816, 3_000_000, 10_000_000)
SHORT, LONG = 65_536, 802_816
KINDS = ("dense", "after a ReLU")
OURS, SCIPY = "ops.spearman", "scipy.stats.spearmanr"
PICTURE = ROOT / "docs" / "images" / "spearman_lengths.png"
STREAM = """
import numpy
source = numpy.ones(1 << 26)
target = numpy.zeros_like(source)
print("streaming", flush=True)
while True:
    numpy.copyto(target, source)
"""


@contextlib.contextmanager
def streaming_neighbor() -> Iterator[None]:
    """Another process that copies half a gigabyte to another half, over and over."""
    process = subprocess.Popen([sys.executable, "-c", STREAM], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.wait()


def values(kind: str, rows: int, length: int) -> tuple[Tensor, Tensor]:
    """Rows and what they are compared with."""
    generator = torch.Generator().manual_seed(length)
    x, y = torch.randn(rows, length, generator=generator), torch.randn(length, generator=generator)
    return (x.relu(), y.relu()) if kind == KINDS[1] else (x, y)


def check(x: Tensor, y: Tensor, reference: ops.SpearmanReference) -> None:
    """The first row against SciPy."""
    ours = float(ops.spearman(x[:1], reference))
    theirs = scipy.stats.spearmanr(x[0].numpy(), y.numpy()).statistic
    if abs(ours - theirs) > 1e-12:
        raise SystemExit(f"wrong: {ours} where SciPy has {theirs}")


def one_length(kind: str, length: int, state: str, count: int, rounds: int) -> Case:
    """Rows of one length, some three million values of them."""
    x, y = values(kind, max(1, 3_000_000 // length), length)
    reference = ops.SpearmanReference(y)
    check(x, y, reference)
    share = 1 / len(x)
    row = x[0].numpy()
    contenders = [
        Contender(OURS, lambda: ops.spearman(x, reference)),
        Contender(SCIPY, lambda: scipy.stats.spearmanr(row, y.numpy()), share, every=rounds if length > LONG else 2),
    ]
    goals = [Goal(SCIPY, OURS, least=100 if state == "idle" else 60)] if length == LONG and count > 1 else []
    return Case(f"{length} values, {kind}, {count} threads, {state}", contenders, goals, x.numel(), x.nbytes, rounds)


def cliff(kind: str, state: str, count: int, rounds: int) -> Case:
    """Long rows beside rows that fit the near cache: as many values, in the same rounds."""
    short, y_short = values(kind, 4 * LONG // SHORT, SHORT)
    long, y_long = values(kind, 4, LONG)
    short_reference, long_reference = ops.SpearmanReference(y_short), ops.SpearmanReference(y_long)
    names = [f"rows of {length}" for length in (LONG, SHORT)]
    contenders = [
        Contender(names[0], lambda: ops.spearman(long, long_reference)),
        Contender(names[1], lambda: ops.spearman(short, short_reference), short.numel() / long.numel()),
    ]
    name = f"{LONG} values a row beside {SHORT}, {kind}, {count} threads, {state}"
    return Case(name, contenders, [Goal(*names, most=1.6)], long.numel(), long.nbytes, 3 * rounds)


def draw(cases: list[dict[str, Any]], path: Path) -> None:
    """Values in a second by length: a curve for each number of threads and state, a panel for each kind of row."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(KINDS), figsize=(10, 4), sharex=True, sharey=True, layout="constrained")
    for panel, kind in zip(panels, KINDS, strict=True):
        curves: dict[tuple[str, str, str], list[tuple[int, float]]] = {}
        for case in cases:
            if "length" not in case or case["kind"] != kind:
                continue
            for name, times in case["seconds"].items():
                there = [t for t in times if t is not None]
                key = (name, f"{case['threads']} thread{'s' * (case['threads'] > 1)}", case["state"])
                if name == SCIPY and case["threads"] > 1:
                    continue
                rate = case["values"] / statistics.median(there)
                curves.setdefault(key, []).append((case["length"], rate))
        for (name, by, state), points in sorted(curves.items()):
            lengths, rates = zip(*sorted(points), strict=True)
            color = "0.5" if name == SCIPY else "C0" if by.startswith("1") else "C1"
            label = f"{name}{'' if name == SCIPY else ', ' + by}, {state}"
            panel.loglog(
                lengths, rates, color=color, linestyle="-" if state == "idle" else "--", marker=".", label=label
            )
        panel.set_title(kind)
        panel.set_xlabel("values in a row")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("values in a second")
    panels[1].legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--picture", type=Path, default=PICTURE, help="default: docs/images/spearman_lengths.png")
    args = arguments.parse_args()
    lengths = LENGTHS[::3] if args.quick else LENGTHS
    rounds = 3 if args.quick else 5
    report = Report(
        "spearman_lengths",
        "A value costs as much in a long row as in a short one, and beside a neighbor that streams through memory",
        "python benchmarks/spearman_lengths.py",
        args.out,
    )
    for state, neighbor in (("idle", contextlib.nullcontext), ("beside a stream", streaming_neighbor)):
        for count in sorted({1, torch.get_num_threads()}):
            for kind in KINDS:
                with threads(count), neighbor():
                    for length in lengths:
                        case = one_length(kind, length, state, count, rounds)
                        report.add(case, measure(case), length=length, kind=kind, threads=count, state=state)
                    case = cliff(kind, state, count, rounds)
                    report.add(case, measure(case))
    draw(json.loads(report.out.read_text(encoding="utf-8"))["cases"], args.picture)


if __name__ == "__main__":
    main()
