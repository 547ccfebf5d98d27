"""
The CPU kernels under sanitizers, fuzzed: ``python tests/reliability/kernels.py SCRATCH TABLE``.

With Clang, libFuzzer chooses shapes and bits by the branches that they reach; else a driver of our own chooses at random. A result that is
not the naive one, and whatever AddressSanitizer or UndefinedBehaviorSanitizer sees, ends the program and counts as lost.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from faults import Fault, write

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "fuzz" / "kernels.cpp"
#: So long is fuzzed, from this seed.
SECONDS, SEED = 120, 16
_FLAGS = [
    "-std=c++17",
    "-O1",
    "-g1",
    "-ffp-contract=off",
    "-pthread",
    f"-I{ROOT / 'csrc'}",
    "-fno-sanitize-recover=all",
]
#: So that rows of a few thousand values are long ones.
_FLAGS.append("-DCAPTUM_PROTO_NEAR_CACHE_BYTES=4096")
#: What the first byte chooses, in kernels.cpp.
KINDS = 16


def kernels(scratch: Path) -> Iterator[Fault]:
    clang, other = shutil.which("clang++"), shutil.which(os.environ.get("CXX", "c++"))
    program = scratch / "kernels"
    if clang is not None:
        made = _run([clang, *_FLAGS, "-fsanitize=fuzzer,address,undefined", str(SOURCE), "-o", str(program)], 900)
        command = [str(program), f"-max_total_time={SECONDS}", f"-seed={SEED}", "-max_len=2048", "-print_final_stats=1"]
        name = "kernels on shapes and bits that libFuzzer chooses, under ASan and UBSan"
    elif other is not None:
        flags = [*_FLAGS, "-DCAPTUM_PROTO_OWN_DRIVER", "-fsanitize=address,undefined"]
        made = _run([other, *flags, str(SOURCE), "-o", str(program)], 900)
        command = [str(program), str(SECONDS), str(SEED)]
        name = "kernels on shapes and bits at random, under ASan and UBSan"
    else:
        yield Fault("kernels under sanitizers: there is no C++ compiler here", 0, 0, "nothing was tried")
        return
    if made.returncode:
        raise RuntimeError(made.stderr[-3000:])
    done = _run(command, SECONDS + 300)
    said = done.stdout + done.stderr
    executions = re.search(r"number_of_executed_units: (\d+)|(\d+) executions", said)
    reached = re.findall(r" cov: (\d+)", said)
    seen = f"exit code {done.returncode}, {int(executions[1] or executions[2]) if executions else 0:,} executions"
    seen += f", {int(reached[0]):,} → {int(reached[-1]):,} edges reached" if reached else ""
    wrong = re.search(r"FAILED: .*|ERROR: AddressSanitizer.*|runtime error: .*", said)
    yield Fault(name, KINDS, int(done.returncode != 0), seen + (f": {wrong[0]}" if wrong else ""))


def _run(command: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    cwd = Path(command[0]).parent if Path(command[0]).name == "kernels" else None
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=seconds, check=False, cwd=cwd
    )


if __name__ == "__main__":
    write(kernels)
