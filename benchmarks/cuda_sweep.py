"""
Where on this GPU the ways of sorting rows cross, for the limits that ``Plan`` of ``csrc/kernels/cuda/row_plan.cuh`` holds.

The limits are read once a process (see ``csrc/cuda/plan.cuh``), so each setting is a process of its own, which times Spearman's
correlation of rows of several lengths.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

#: Values in all rows together, whatever their length.
_VALUES = 2**24
NEVER = 2**30

#: What is compared: a variable, the limits that it is set to, the lengths of rows and their dtype.
SWEEPS: dict[str, tuple[str, list[int], list[int], str]] = {
    "short rows": ("CAPTUM_PROTO_CUDA_SHORT_ROW", [0, 2048], [64, 128, 256, 512, 1024, 1536, 2048], "float32"),
    "histograms": (
        "CAPTUM_PROTO_CUDA_HISTOGRAM_ROW",
        [0, NEVER],
        [4096, 8192, 16384, 32768, 65536, 131072],
        "bfloat16",
    ),
    "parts": (
        "CAPTUM_PROTO_CUDA_PARTED_ROW",
        [0, NEVER],
        [2304, 4096, 8192, 16384, 50176, 200704, 802816],
        "float32",
    ),
    "parts of one row": (
        "CAPTUM_PROTO_CUDA_PARTED_ROW",
        [0, NEVER],
        [4096, 16384, 50176, 200704, 802816],
        "float32",
    ),
    "parts of float64": (
        "CAPTUM_PROTO_CUDA_PARTED_ROW",
        [0, NEVER],
        [4096, 16384, 50176, 200704, 802816],
        "float64",
    ),
    "chunks": ("CAPTUM_PROTO_CUDA_CHUNK_VALUES", [2**22, 2**23, 2**24, 2**25, 2**26], [50176, 802816], "float32"),
}

#: Run in a process of its own: prints milliseconds for each length.
_TIMES = """
import json, sys, torch
sys.path.insert(0, {here!r})
from harness import ops
values, lengths, dtype = json.loads(sys.argv[1])
assert ops.backend()["cuda"]["native"], ops.backend()["cuda"]["reason"]
found = {{}}
for length in lengths:
    x = torch.randn(max(1, values // length), length, device="cuda").relu_().to(getattr(torch, dtype))
    reference = torch.ops.captum_proto.doubled_rank(torch.randn(1, length, device="cuda"))[0]
    times = []
    for _ in range(6):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        torch.ops.captum_proto.spearman(x, reference)
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    found[length] = sorted(times[1:])[2]
print(json.dumps(found))
"""


def times_with(variable: str, limit: int, lengths: list[int], dtype: str, one_row: bool = False) -> dict[int, float]:
    """Milliseconds for rows of each length, or for one, with a limit."""
    values = 1 if one_row else 4 * _VALUES if variable.endswith("CHUNK_VALUES") else _VALUES
    command = [sys.executable, "-c", _TIMES.format(here=str(HERE)), json.dumps([values, lengths, dtype])]
    environment = os.environ | {variable: str(limit)}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if result.returncode:
        raise SystemExit(f"{variable}={limit} ended with {result.returncode}:\n{result.stderr[-2000:]}")
    return {int(length): float(time) for length, time in json.loads(result.stdout.splitlines()[-1]).items()}


def judged(name: str, times: dict[int, dict[int, float]]) -> str:
    """What a sweep says of its limit, in a sentence; ``times`` by limit and length."""
    if name == "chunks":
        total = {limit: sum(each.values()) for limit, each in times.items()}
        best = min(total, key=total.__getitem__)
        near = min(limit for limit in total if total[limit] <= 1.03 * total[best])
        return f"chunks of {best} values are fastest, and of {near} within 3 % of them"
    low, high = sorted(times)
    # Short rows are sorted in a block up to the limit, histograms and parts are taken from it on: the other way round.
    special, other = (times[high], times[low]) if name == "short rows" else (times[low], times[high])
    wins = sorted(length for length in special if special[length] <= other[length])
    if not wins:
        return f"{name} win at no length that was tried"
    bounds = f"{wins[0]} to {wins[-1]}" if len(wins) > 1 else f"{wins[0]}"
    return f"{name} win at lengths {bounds}"


def swept() -> list[dict[str, Any]]:
    """Runs all sweeps, prints what they find, and returns it."""
    found = []
    for name, (variable, limits, lengths, dtype) in SWEEPS.items():
        one_row = name.endswith("one row")
        times = {limit: times_with(variable, limit, lengths, dtype, one_row) for limit in limits}
        print(f"{name} ({dtype}), milliseconds by length, {variable}:")
        for limit, each in times.items():
            print(f"  {limit:>12}: " + "  ".join(f"{length}: {time:.3f}" for length, time in each.items()))
        print(f"  {judged(name, times)}", flush=True)
        found.append({"sweep": name, "variable": variable, "dtype": dtype, "milliseconds": times})
    return found


__all__ = ["SWEEPS", "judged", "swept"]
