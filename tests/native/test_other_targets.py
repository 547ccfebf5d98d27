"""
The CPU kernels for machines that are not at hand: compiled by the Clang of the package ``ziglang``, which brings what it needs for each,
and run where that can be, ARM64's in ``qemu-aarch64``. Skipped where there is no ``ziglang``.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "native" / "cpu_kernels.cpp"

pytest.importorskip("ziglang", reason="needs `pip install ziglang`, a compiler for other machines")


def compile_for(target: str, *arguments: object) -> None:
    flags = ["-target", target, "-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-ffp-contract=off", "-pthread"]
    command = [sys.executable, "-m", "ziglang", "c++", *flags, f"-I{ROOT / 'csrc'}", str(SOURCE), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def emulator(machine: str) -> list[str] | None:
    """What a program for a machine is started with here; None if it cannot be."""
    if sys.platform == "linux" and platform.machine() == machine:
        return []
    found = shutil.which(f"qemu-{machine}") or shutil.which(f"qemu-{machine}-static")
    return [found] if found else None


@pytest.mark.slow
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_kernels_for_musl_compile_and_rank_as_scipy_does(machine: str, tmp_path: Path) -> None:
    program = tmp_path / "kernels"
    compile_for(f"{machine}-linux-musl", "-static", "-o", program)
    start = emulator(machine)
    if start is None:
        pytest.skip(f"compiled, and not run: there is no qemu-{machine}")
    generator = np.random.default_rng(0)
    for size in (1, 65, 3000):
        x = np.maximum(np.round(generator.standard_normal((3, size)), 2), 0).astype(np.float32)
        reference = (2 * scipy.stats.rankdata(generator.standard_normal(size))).astype(np.int32)
        for dtype in ("float32", "float64", "float16"):
            ranks = output_of([*start, program, "rank", dtype, 3, size], x.astype(dtype).tobytes())
            expected = 2 * scipy.stats.rankdata(x.astype(dtype), axis=-1)
            np.testing.assert_array_equal(np.frombuffer(ranks, np.int32).reshape(3, size), expected)
        rho = output_of([*start, program, "spearman", "float32", 3, size], x.tobytes() + reference.tobytes())
        if size > 1:
            expected = [scipy.stats.spearmanr(row, reference).statistic for row in x]
            np.testing.assert_allclose(np.frombuffer(rho), expected, rtol=1e-12, atol=1e-14)


def output_of(command: list[object], data: bytes) -> bytes:
    result = subprocess.run([str(word) for word in command], input=data, capture_output=True, check=False)
    assert result.returncode == 0, result.stderr.decode(errors="replace")
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("target", ["aarch64-macos", "aarch64-linux-gnu"])
def test_kernels_compile_for_machines_that_cannot_be_had(target: str, tmp_path: Path) -> None:
    compile_for(target, "-c", "-o", tmp_path / "kernels.o")
