"""
How OpenMP's threads wait, on an idle machine and beside busy processes: why the command line sets it.

A step of the demonstration (one prototype of EfficientNet-Lite0, preset "best") in a process of its own for each way to wait, since
OpenMP reads it once; the ways alternate within rounds. Needs the extra ``[demo]``.

``python benchmarks/waiting_threads.py``
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys

from harness import text_table

WAYS: dict[str, dict[str, str]] = {
    "OpenMP's own": {},
    "GOMP_SPINCOUNT=3000": {"GOMP_SPINCOUNT": "3000"},
    "OMP_WAIT_POLICY=PASSIVE": {"OMP_WAIT_POLICY": "PASSIVE"},
}
#: Prints the seconds of a step.
STEPS = """
import time
from captum_proto import PRESETS, PrototypeGeneration
from captum_proto.models import load_model
named = load_model("efficientnet-lite0")
generation = PrototypeGeneration(named.model, named.preprocess)
def seconds(steps):
    begin = time.perf_counter()
    generation.generate(558, named.image_shape, **{**PRESETS["best"], "steps": steps, "evaluation_draws": 0})
    return time.perf_counter() - begin
seconds(3)
print(seconds(30) / 30)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 1, 2], help="busy processes beside")
    args = parser.parse_args()
    given = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    rows = []
    for busy in args.busy:
        others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(busy)]
        try:
            seconds: dict[str, list[float]] = {way: [] for way in WAYS}
            for _ in range(args.rounds):
                for way, settings in WAYS.items():
                    command = [sys.executable, "-c", STEPS]
                    shown = subprocess.run(
                        command, env={**given, **settings}, capture_output=True, text=True, check=True
                    )
                    seconds[way].append(float(shown.stdout))
        finally:
            for other in others:
                other.kill()
                other.wait()
        for way, times in seconds.items():
            ratios = [theirs / own for theirs, own in zip(times, seconds["OpenMP's own"], strict=True)]
            spread = f"{1e3 * min(times):.0f} to {1e3 * max(times):.0f}"
            rows.append(
                [str(busy), way, f"{1e3 * statistics.median(times):.0f}", spread, f"{statistics.median(ratios):.2f}"]
            )
    print(f"{os.cpu_count()} cores")
    print(text_table(["busy processes", "way to wait", "ms a step", "from to", "of OpenMP's own"], rows))


if __name__ == "__main__":
    main()
