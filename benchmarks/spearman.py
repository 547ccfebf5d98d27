"""
Claim: ``ops.spearman`` equals ``scipy.stats.spearmanr`` and is much faster, on the largest layer of a ResNet after its ReLU.

Correctness is checked in the same run: SciPy to 1e-12 on every row, the PyTorch twin bit for bit. The floor is ``numpy.sort`` of the values
alone, on one core. ``python benchmarks/spearman.py [--rows 100] [--length 802816] [--repeats 5]``
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.stats
import torch

from captum_proto import ops
from captum_proto._utils.tables import text_table
from captum_proto._utils.versions import versions
from captum_proto.ops import _twin


def seconds(function: Callable[[], object]) -> float:
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--length", type=int, default=802_816)
    parser.add_argument(
        "--repeats", type=int, default=5, help="of the fast ones; SciPy and the twin run once over all rows"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "spearman.json")
    args = parser.parse_args()

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(args.rows, args.length, generator=generator).relu()
    y = (x[0] + torch.randn(args.length, generator=generator)).relu()
    reference = ops.SpearmanReference(y)
    values = x.numel()

    native: list[float] = []
    floor: list[float] = []
    for _ in range(args.repeats):  # alternating, so that both see the same machine
        native.append(seconds(lambda: ops.spearman(x, reference)))
        floor.append(seconds(lambda: [np.sort(row) for row in x[:10].numpy()]) * args.rows / 10)
    result = ops.spearman(x, reference)

    expected: list[float] = []
    scipy_seconds = seconds(
        lambda: expected.extend(scipy.stats.spearmanr(row.numpy(), y.numpy()).statistic for row in x)
    )
    twin: list[torch.Tensor] = []
    twin_seconds = seconds(lambda: twin.append(_twin.spearman(x, reference.doubled_ranks)))
    error = float(np.abs(result.numpy() - np.array(expected)).max())
    if not error <= 1e-12 or not torch.equal(result, twin[0]):
        raise SystemExit(f"wrong: {error:.1e} from SciPy, equal to the twin: {torch.equal(result, twin[0])}")

    times = {
        "ops.spearman" + ("" if ops.backend()["cpu"]["native"] else " (twin)"): native,
        "scipy.stats.spearmanr": [scipy_seconds],
        "PyTorch twin": [twin_seconds],
        "numpy.sort, values alone, one core": floor,
    }
    median = {name: statistics.median(t) for name, t in times.items()}
    ours = next(iter(median.values()))
    rows = [
        [
            name,
            f"{median[name]:.3f}",
            f"{min(t):.3f} to {max(t):.3f}",
            f"{values / median[name] / 1e6:.1f}",
            f"{median[name] / ours:.2f}",
        ]
        for name, t in times.items()
    ]
    print(f"{args.rows} x {args.length} float32 after a ReLU, {torch.get_num_threads()} threads")
    print(text_table(["", "median s", "range s", "M values/s", "x ours"], rows))
    print(f"largest difference from SciPy {error:.1e}; equal to the twin bit for bit")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    report = {
        "claim": "spearman",
        "rows": args.rows,
        "length": args.length,
        "dtype": "float32, after a ReLU",
        "seconds": times,
        "error": error,
        "bytes": x.numel() * x.element_size(),
        "hardware": {"machine": platform.machine(), "cores": os.cpu_count(), "threads": torch.get_num_threads()},
        "native": {key: str(value) for key, value in ops.backend()["cpu"].items()},
        "versions": versions(),
    }
    args.out.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
