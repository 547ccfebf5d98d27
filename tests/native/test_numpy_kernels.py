"""
The CPU kernels on NumPy arrays that Hypothesis makes up, against SciPy and Python's integers: through a module that pybind11 makes of
them, as a program for each of so many arrays would take minutes. PyTorch takes no part.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

ROOT = Path(__file__).resolve().parents[2]
COMPILER = shutil.which(os.environ.get("CXX", "c++"))

pybind11 = pytest.importorskip("pybind11")
pytestmark = pytest.mark.skipif(COMPILER is None or os.name == "nt", reason="no C++ compiler that is called as GCC is")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    source = Path(__file__).with_name("numpy_kernels.cpp")
    built = tmp_path_factory.mktemp("kernels") / f"numpy_kernels{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = ["-std=c++17", "-O0", "-Wall", "-Wextra", "-ffp-contract=off", "-shared", "-fPIC", "-fvisibility=hidden"]
    includes = [f"-I{ROOT / 'csrc'}", f"-isystem{pybind11.get_include()}", f"-isystem{sysconfig.get_path('include')}"]
    undefined = ["-undefined", "dynamic_lookup"] if sysconfig.get_platform().startswith("macosx") else []
    assert COMPILER is not None
    command = [COMPILER, *flags, *includes, *undefined, str(source), "-o", str(built)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    specification = importlib.util.spec_from_file_location("numpy_kernels", built)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


#: Few different values, so that many tie: both zeros, subnormal numbers, infinities, neighbors.
AWKWARD = [0.0, -0.0, 1.0, -1.0, 1e-45, -1e-45, 1e-40, float("inf"), float("-inf"), 1.0000001, 3e38]


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, int] | None = None) -> npt.NDArray[Any]:
    """Rows of float32 or float64, as they lie in memory: whole, every other value, turned around, transposed."""
    count, size = shape or draw(st.tuples(st.integers(1, 4), st.integers(1, 200)))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    layout = draw(st.sampled_from(["whole", "every other", "turned around", "transposed"]))
    width = 32 if dtype == np.float32 else 64
    values = st.one_of(st.sampled_from(AWKWARD), st.floats(allow_nan=False, width=width))
    held = (size, count) if layout == "transposed" else (count, 2 * size if layout == "every other" else size)
    x = draw(hnp.arrays(dtype, held, elements=values.map(dtype), fill=st.just(dtype(0))))
    return {"whole": x, "every other": x[:, ::2], "turned around": x[::-1, ::-1], "transposed": x.T}[layout]


@given(arrays())
@settings(max_examples=150, deadline=None)
def test_ranks_are_those_of_scipy(kernels: ModuleType, x: npt.NDArray[Any]) -> None:
    np.testing.assert_array_equal(kernels.doubled_rank(x), 2 * scipy.stats.rankdata(x, axis=-1))


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_spearman_is_that_of_exact_integers(kernels: ModuleType, data: st.DataObject) -> None:
    shape = data.draw(st.tuples(st.integers(1, 3), st.integers(2, 200)))
    x, reference = data.draw(arrays(shape)), data.draw(arrays(shape))
    q = (2 * scipy.stats.rankdata(reference, axis=-1)).astype(np.int32)
    u = (2 * scipy.stats.rankdata(x, axis=-1)).astype(np.int64) - (shape[1] + 1)
    v = q.astype(np.int64) - (shape[1] + 1)
    with np.errstate(invalid="ignore"):
        expected = (u * v).sum(1) / np.sqrt((u * u).sum(1).astype(float) * (v * v).sum(1).astype(float))
    np.testing.assert_array_equal(kernels.spearman(x, q), expected)


@given(
    hnp.arrays(np.int64, st.tuples(st.integers(1, 20), st.just(9))),
    hnp.arrays(np.int64, st.tuples(st.integers(1, 40), st.just(9))),
)
@settings(max_examples=100, deadline=None)
def test_counts_of_common_bits_are_those_of_pythons_integers(
    kernels: ModuleType, a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]
) -> None:
    words = np.iinfo(np.uint64).max
    expected = [[sum((int(p) & int(q) & words).bit_count() for p, q in zip(x, y, strict=True)) for y in b] for x in a]
    np.testing.assert_array_equal(kernels.packed_counts(a, b), expected)


def test_what_does_not_fit_is_refused(kernels: ModuleType) -> None:
    with pytest.raises(TypeError):
        kernels.doubled_rank(np.zeros((2, 3), np.int32))
    with pytest.raises(ValueError, match="a reference for each row"):
        kernels.spearman(np.zeros((2, 3)), np.zeros((2, 4), np.int32))
