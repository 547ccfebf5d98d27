"""
The CPU kernels by themselves, under AddressSanitizer and UndefinedBehaviorSanitizer, and under ThreadSanitizer: against naive
implementations, inside ``cpu_kernels.cpp``, and against SciPy. PyTorch takes no part; how the operators wrap the kernels is tested in
``tests/ops``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "tests" / "native" / "cpu_kernels.cpp"
COMPILER = shutil.which(os.environ.get("CXX", "c++"))

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

#: What kernels are compiled with.
FLAGS_OF_VARIANTS: dict[str, list[str]] = {
    "this processor's": [],
    "a model's": ["-DCAPTUM_PROTO_NO_AVX2", "-DCAPTUM_PROTO_AVX512_MODEL", f"-I{SOURCE.parent}"],
}
#: How they are run: the variant, and what of the processor they may use. AVX-512 runs as it is where the processor has it, and everywhere
#: on a model of its instructions in plain C++.
VARIANTS = {
    "best for this processor": ("this processor's", ""),
    "AVX2 at most": ("this processor's", "avx2"),
    "plain C++": ("this processor's", "default"),
    "AVX-512 by a model": ("a model's", ""),
}
#: So that rows of a few thousand values are long ones.
LITTLE_CACHE = "-DCAPTUM_PROTO_NEAR_CACHE_BYTES=4096"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
# Unoptimized: sanitizers watch the source's every step, and compilation is quick.
FLAGS = [
    "-std=c++17",
    "-O0",
    "-g1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffp-contract=off",
    "-pthread",
    f"-I{ROOT / 'csrc'}",
]


def compile_kernels(program: Path, flags: list[str], sanitizers: list[str] = SANITIZERS) -> Path:
    assert COMPILER is not None
    command = [COMPILER, *FLAGS, LITTLE_CACHE, *sanitizers, *flags, str(SOURCE), "-o", str(program)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return program


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Path]]]:
    folder = tmp_path_factory.mktemp("cpu_kernels")
    trial = folder / "trial.cpp"
    trial.write_text("int main() {}")
    if (
        COMPILER
        and subprocess.run([COMPILER, *SANITIZERS, str(trial), "-o", str(folder / "trial")], check=False).returncode
    ):
        pytest.skip("the compiler has no sanitizers")
    with ThreadPoolExecutor(max_workers=2) as executor:
        yield {
            name: executor.submit(compile_kernels, folder / f"kernels{i}", flags)
            for i, (name, flags) in enumerate(FLAGS_OF_VARIANTS.items())
        }


class Program(NamedTuple):
    path: Path
    capability: str = ""  # at most, as PyTorch's variable names it


@pytest.fixture(params=list(VARIANTS))
def program(request: pytest.FixtureRequest, programs: dict[str, Future[Path]]) -> Program:
    flags, capability = VARIANTS[request.param]
    return Program(programs[flags].result(), capability)


def output_of(program: Program, *arguments: object, data: bytes = b"") -> bytes:
    environment = os.environ | {"ATEN_CPU_CAPABILITY": program.capability}
    command = [program.path, *map(str, arguments)]
    # A thread that waits for ever is a mistake too, and is to be told; the longest call takes a minute.
    result = subprocess.run(command, input=data, capture_output=True, check=False, env=environment, timeout=900)
    assert result.returncode == 0, (result.stdout + result.stderr)[-4000:].decode(errors="replace")
    return result.stdout


def test_kernels_agree_with_naive_implementations_and_sanitizers_stay_silent(program: Program) -> None:
    assert b" 0 failures" in output_of(program, "check", 0)


def test_kernels_run_with_what_they_are_allowed_to_use(programs: dict[str, Future[Path]]) -> None:
    levels = ["default", "avx2", "avx512"]

    def level(variant: str, capability: str) -> int:
        output = output_of(Program(programs[variant].result(), capability), "capability").decode().strip()
        return levels.index(output)

    best = level("this processor's", "")
    assert level("this processor's", "avx512") == best
    assert level("this processor's", "avx2") == min(best, levels.index("avx2"))
    assert level("this processor's", "default") == 0
    assert level("a model's", "") == levels.index("avx512")


def test_workers_at_one_row_do_not_race(tmp_path: Path) -> None:
    sanitizer = ["-fsanitize=thread", "-O1"]
    # GCC takes the undefined operands in its own headers of AVX-512 for a mistake, where it optimizes; Clang does not know the flag.
    in_headers = ["-Wno-unknown-warning-option", "-Wno-maybe-uninitialized"]
    trial = tmp_path / "trial.cpp"
    trial.write_text("int main() {}")
    program = tmp_path / "trial"
    assert COMPILER is not None
    if (
        subprocess.run([COMPILER, *sanitizer, str(trial), "-o", str(program)], check=False).returncode
        or subprocess.run([program], check=False).returncode
    ):
        pytest.skip("the compiler has no ThreadSanitizer that runs here")
    compile_kernels(tmp_path / "kernels", in_headers, sanitizer)
    assert b" 0 failures" in output_of(Program(tmp_path / "kernels"), "check", 1)


def bfloat16_bits(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint16]:
    """float32 values cut down to bfloat16: their upper halves."""
    return (values.view(np.uint32) >> 16).astype(np.uint16)


def rows(kind: str, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    if kind == "after a ReLU":
        x = np.maximum(x, np.float32(0))
    elif kind == "ties":
        x = np.round(2 * x)  # zeros of both signs among them
    elif kind == "infinities":
        x[x > 1] = np.inf
        x[x < -1] = -np.inf
    return x


@pytest.mark.parametrize("size", [1, 2, 64, 65, 3000])
@pytest.mark.parametrize("kind", ["dense", "after a ReLU", "ties", "infinities"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_ranks_are_those_of_scipy(program: Program, dtype: str, kind: str, size: int) -> None:
    x = rows(kind, (3, size))
    if dtype == "bfloat16":
        bits = bfloat16_bits(x)
        data, values = bits.tobytes(), (bits.astype(np.uint32) << 16).view(np.float32)
    else:
        values = x.astype(dtype)
        data = values.tobytes()
    ranks = np.frombuffer(output_of(program, "rank", dtype, 3, size, data=data), np.int32).reshape(3, size)
    np.testing.assert_array_equal(ranks, 2 * scipy.stats.rankdata(values, axis=-1))


@pytest.mark.parametrize("kind", ["dense", "after a ReLU", "ties"])
def test_spearman_is_that_of_scipy(program: Program, kind: str) -> None:
    x, reference = rows(kind, (3, 3000)), np.random.default_rng(1).integers(0, 500, 3000)
    x[1] += reference / 300
    ranks = (2 * scipy.stats.rankdata(reference)).astype(np.int32)
    rho = np.frombuffer(output_of(program, "spearman", "float32", 3, 3000, data=x.tobytes() + ranks.tobytes()))
    expected = [scipy.stats.spearmanr(row, reference).statistic for row in x]
    np.testing.assert_allclose(rho, expected, rtol=1e-12, atol=1e-14)
