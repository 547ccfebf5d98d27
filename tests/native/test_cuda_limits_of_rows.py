"""The limits between the ways of sorting rows on a GPU: as the environment sets them, and what the sweep makes of times."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cuda_harness import COMPILER

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"

#: The limits that a process reads, printed.
PROGRAM = r"""
#include "cuda_on_host.h"
#include "cuda/plan.cuh"
#include <cstdio>
int main() {
  const auto& limits = captum_proto::plan();
  std::printf("%d %d %d %lld", limits.longest_short_row, limits.shortest_histogram_row, limits.shortest_parted_row,
              static_cast<long long>(limits.chunk_values));
}
"""


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
def test_limits_come_from_the_environment(tmp_path: Path) -> None:
    assert COMPILER is not None
    source, program = tmp_path / "limits.cpp", tmp_path / "limits"
    source.write_text(PROGRAM)
    folders = [f"-I{ROOT / 'csrc'}", f"-I{Path(__file__).parent}"]
    subprocess.run([*COMPILER, "-std=c++17", *folders, str(source), "-o", str(program)], check=True)

    def read(**variables: str) -> list[int]:
        environment = {name: value for name, value in os.environ.items() if "CAPTUM_PROTO" not in name}
        environment |= {f"CAPTUM_PROTO_CUDA_{name}": value for name, value in variables.items()}
        return list(map(int, subprocess.check_output([str(program)], env=environment, text=True).split()))

    own = read()
    assert own == [2048, 16384, 2049, 2**25]
    assert read(SHORT_ROW="512", HISTOGRAM_ROW="0", PARTED_ROW="9000", CHUNK_VALUES="4096") == [512, 0, 9000, 4096]
    # A block has no room for longer rows, and there is no chunk of nothing.
    assert read(SHORT_ROW="100000", CHUNK_VALUES="-5") == [2048, 16384, 2049, 1]
    assert read(SHORT_ROW="many", HISTOGRAM_ROW="12 rows", CHUNK_VALUES="") == own


#: The benchmarks are scripts that import each other: the sweep is asked in a process of its own.
JUDGED = """
import sys
sys.path.insert(0, {folder!r})
from cuda_sweep import SWEEPS, judged
assert judged("short rows", {{0: {{64: 3.0, 512: 3.0, 2048: 3.0}}, 2048: {{64: 1.0, 512: 2.0, 2048: 4.0}}}}) == (
    "short rows win at lengths 64 to 512")
assert judged("histograms", {{0: {{4096: 3.0, 65536: 1.0}}, 2**30: {{4096: 2.0, 65536: 2.0}}}}) == "histograms win at lengths 65536"
assert judged("histograms", {{0: {{4096: 3.0}}, 2**30: {{4096: 2.0}}}}) == "histograms win at no length that was tried"
assert judged("parts", {{0: {{4096: 3.0, 65536: 1.0}}, 2**30: {{4096: 2.0, 65536: 2.0}}}}) == "parts win at lengths 65536"
assert judged("chunks", {{1: {{9: 5.0}}, 2: {{9: 3.05}}, 4: {{9: 3.0}}, 8: {{9: 3.02}}}}) == (
    "chunks of 4 values are fastest, and of 2 within 3 % of them")
print(*(variable for variable, *_ in SWEEPS.values()))
"""


@pytest.mark.skipif(not BENCHMARKS.exists(), reason="needs the source tree")
def test_what_a_sweep_says_of_its_limit() -> None:
    program = JUDGED.format(folder=str(BENCHMARKS))
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    source = (ROOT / "csrc" / "cuda" / "plan.cuh").read_text()
    for variable in result.stdout.split():
        assert f'"{variable}"' in source
