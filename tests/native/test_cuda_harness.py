"""
The CUDA kernels, executed on the host and compared with the PyTorch twin and with SciPy, to the last bit where that is promised.

What needs a GPU is in tests/cuda. Here the same sources run with every thread in its turn, also under AddressSanitizer with
UndefinedBehaviorSanitizer, and under ThreadSanitizer, which knows what CUDA's barriers order; and nvcc compiles them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from affine_samples import (
    CONSTANT,
    EMPTY,
    MATRICES,
    REFLECT,
    REPLICATE,
    SHAPES,
    random_maps,
)
from comparisons import (
    SCHEDULES,
    WAYS,
    compare_everything,
    compare_loss,
    compare_samples,
    compare_sums,
    exercise_every_kernel,
    is_histogram,
)
from cuda_harness import COMPILER, OWN_LIMIT, Harness
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from operator_samples import (
    FLOATING,
    IMAGE_SHAPES,
    assert_same_bits,
    image_layouts,
    images_with_equal_neighbors,
    references,
    rows_like_layers,
)
from torch import Tensor

from captum_proto.ops import _twin

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("way", WAYS)
def test_ranks_and_correlations_equal_the_twin(plain: Harness, way: str, dtype: torch.dtype) -> None:
    plain.set(**WAYS[way])
    # On the host a histogram takes as long as a row of 65,536 values.
    lengths = [700] if is_histogram(way, dtype) else [0, 1, 2, 3, 31, 32, 33, 64, 100, 255, 257, 513, 1000]
    for schedule, length in zip(SCHEDULES * 5, lengths, strict=False):
        plain.set(schedule=schedule, seed=length)
        compare_everything(plain, rows_like_layers(10, length, dtype), references(1, length)[0])
    compare_everything(plain, rows_like_layers(9, length, dtype, seed=2), references(9, length))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("length", [2047, 2048, 2049, 4095, 4096, 4097, 8192, 12289, 16383, 16384, 20000])
def test_rows_around_the_limits(plain: Harness, length: int, dtype: torch.dtype) -> None:
    plain.set(schedule="shuffled", seed=length)
    compare_everything(plain, rows_like_layers(9, length, dtype), references(1, length)[0])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_ties_that_span_many_tiles(plain: Harness, dtype: torch.dtype) -> None:
    """A group of ties that begins and ends tiles away from where it is read."""
    x = torch.zeros(4, 30000, dtype=dtype)
    x[0, :9000] = 1
    x[1, 4096:8192] = -1
    x[2, ::2] = 1
    x[3, 17] = float("inf")
    plain.set(histogram_row=2**30)
    compare_everything(plain, x, references(1, 30000, seed=7)[0])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_ranks_are_half_the_doubled_ranks(plain: Harness, dtype: torch.dtype) -> None:
    for length in (0, 1, 50, 3000):
        x = rows_like_layers(9, length, dtype)
        assert_same_bits(plain.rank(x), _twin.rank(x))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_a_grid_smaller_than_the_work(plain: Harness, dtype: torch.dtype) -> None:
    for most_blocks in (1, 3):
        exercise_every_kernel(plain, dtype, 4097, most_blocks)


def test_no_rows(plain: Harness) -> None:
    for length in (0, 1, 40, 5000):
        compare_everything(plain, torch.empty(0, length), torch.full((length,), length + 1, dtype=torch.int32))


def test_a_reference_with_nan_or_without_spread_gives_nan(plain: Harness) -> None:
    for length in (5, 3000):
        x = rows_like_layers(3, length, torch.float32)
        for reference in (torch.zeros(length, dtype=torch.int32), torch.full((length,), length + 1, dtype=torch.int32)):
            assert plain.spearman(x, reference).isnan().all()


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_running_sums(plain: Harness, dtype: torch.dtype) -> None:
    """Rows of any scale, so that another order of them would give other bits."""
    for schedule, (rows, length) in zip(
        SCHEDULES * 3, [(0, 5), (4, 0), (1, 1), (7, 300), (8, 33), (9, 1000), (50, 257)], strict=False
    ):
        generator = torch.Generator().manual_seed(rows)
        scales = torch.logspace(-3, 3, rows, dtype=torch.float64)[torch.randperm(rows, generator=generator)]
        x = (torch.randn(rows, length, generator=generator, dtype=torch.float64) * scales[:, None]).to(dtype)
        plain.set(schedule=schedule, seed=rows)
        for layout in [x, *(strided(x) if x.numel() else [])]:
            compare_sums(plain, layout)
    plain.set(most_blocks=2)
    compare_sums(plain, rows_like_layers(9, 1500, dtype))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_one_launch_adds_all_rows(plain: Harness, dtype: torch.dtype) -> None:
    plain.accumulate(torch.zeros(700, dtype=torch.float64), torch.ones(30, 700, dtype=dtype))
    assert plain.launches() == (1, 0)


@pytest.mark.parametrize(("dtype", "sorts"), [(torch.float32, 1), (torch.float64, 2)], ids=str)
def test_long_rows_are_sorted_together(plain: Harness, dtype: torch.dtype, sorts: int) -> None:
    """Those of integers too, which are ranked as float64; in chunks, where all at once would take too much memory."""
    for rows, chunk_rows in ((40, 40), (41, 20), (7, 1)):
        x = rows_like_layers(rows, 2100, dtype)
        plain.set(chunk_values=2100 * chunk_rows, parted_row=2**30)
        assert_same_bits(plain.doubled_rank(x), _twin.doubled_rank(x))
        chunks = -(-rows // chunk_rows)
        assert plain.launches() == (2 * chunks, (sorts if chunk_rows > 1 else 1) * chunks)
    integers = torch.randint(-(2**31), 2**31 - 1, (30, 2500), generator=torch.Generator().manual_seed(0)).double()
    assert_same_bits(plain.rank(integers), _twin.rank(integers))


def strided(x: Tensor) -> list[Tensor]:
    """The same values at other strides."""
    every_second = torch.full((2 * x.size(0), 3 * x.size(1)), float("nan"), dtype=x.dtype)[::2, 1::3]
    return [x.t().contiguous().t(), every_second.copy_(x), x[:1].expand(2, -1), x[:, :1].expand(-1, 50)]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_any_strides(plain: Harness, dtype: torch.dtype) -> None:
    for name, way in WAYS.items():
        plain.set(**way)
        for x in strided(rows_like_layers(3, 300, dtype)):
            rows, length = x.shape
            spread = torch.full((rows, 2 * length), 0, dtype=torch.int32)[:, ::2]
            spread.copy_(references(rows, length))
            compare_everything(plain, x, spread)
            if not is_histogram(name, dtype):
                compare_everything(plain, x, spread[0])
                compare_everything(plain, x, spread[:1].expand(rows, -1))


SPECIAL = [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), 1e-45, -1e-45, 1e-310, 5e-324, 3.0, 3.0000002, 65504.0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    dtype=st.sampled_from(FLOATING),
    way=st.sampled_from(sorted(WAYS)),
    schedule=st.sampled_from(SCHEDULES),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 140)),
    pool=st.lists(st.one_of(st.sampled_from(SPECIAL), st.floats(width=32)), min_size=1, max_size=12),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_values(
    plain: Harness,
    dtype: torch.dtype,
    way: str,
    schedule: str,
    shape: tuple[int, int],
    pool: list[float],
    seed: int,
) -> None:
    x = torch.from_numpy(np.random.default_rng(seed).choice(np.array(pool), shape)).to(dtype)
    plain.set(**WAYS[way], schedule=schedule, seed=seed)
    compare_everything(plain, x, references(1, shape[1], seed=seed % 9)[0])


@pytest.mark.parametrize("length", [50, 5000])
def test_scipy_agrees(plain: Harness, length: int) -> None:
    x = rows_like_layers(9, length, torch.float32)
    plain.set(schedule="shuffled")
    expected = scipy.stats.rankdata(x.numpy(), method="average", axis=-1, nan_policy="propagate")
    np.testing.assert_array_equal(plain.rank(x).numpy(), expected)
    other = rows_like_layers(1, length, torch.float32, seed=7)[0]
    with warnings.catch_warnings(action="ignore", category=scipy.stats.ConstantInputWarning):
        correlations = [scipy.stats.spearmanr(row.numpy(), other.numpy()).statistic for row in x]
    ours = plain.spearman(x, plain.doubled_rank(other[None])[0])
    np.testing.assert_allclose(ours.numpy(), correlations, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
def test_a_layer_of_802816_values(plain: Harness, dtype: torch.dtype) -> None:
    x = rows_like_layers(2, 112 * 112 * 64, torch.float32).to(dtype)
    reference = references(1, x.size(1), seed=7)[0]
    compare_everything(plain, x, reference)


@pytest.mark.slow
def test_sums_beyond_64_bits(plain: Harness) -> None:
    """Above 3 million values the sums no longer fit 64 bits, and the packed row, key and payload fill theirs."""
    x = torch.arange(4_000_000, dtype=torch.float32)[None].repeat(2, 1)
    x[1] = x[1].flip(0)
    reference = torch.arange(2, 2 * x.size(1) + 1, 2, dtype=torch.int32)
    assert plain.spearman(x, reference).tolist() == [1.0, -1.0]


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("mean_dtype", [torch.float32, torch.float64], ids=str)
def test_path_distance(plain: Harness, dtype: torch.dtype, mean_dtype: torch.dtype) -> None:
    for length in (0, 1, 100, 5000, 20000):
        x = torch.randn(3, length, generator=torch.Generator().manual_seed(length)).to(dtype)
        for mean in (torch.randn(length).to(mean_dtype), torch.randn(3, 2 * length).to(mean_dtype)[:, ::2]):
            for schedule in SCHEDULES:
                plain.set(schedule=schedule)
                spearman, l1 = plain.path_distance(x, mean, references(1, length)[0])
                expected, expected_l1 = _twin.path_distance(x, mean, references(1, length)[0])
                assert_same_bits(spearman, expected)
                torch.testing.assert_close(l1, expected_l1, rtol=1e-13, atol=0)
                if schedule == "ascending":
                    first = l1
                assert_same_bits(l1, first)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("shape", IMAGE_SHAPES, ids=str)
def test_high_frequency_loss(plain: Harness, dtype: torch.dtype, power: int, shape: tuple[int, ...]) -> None:
    images = images_with_equal_neighbors(shape, dtype)
    for schedule, layout in zip(SCHEDULES * 3, image_layouts(images).values(), strict=False):
        for farthest in (OWN_LIMIT, 0):
            plain.set(schedule=schedule, farthest=farthest)
            compare_loss(plain, layout, power)


def test_loss_of_infinite_and_missing_pixels(plain: Harness) -> None:
    images = torch.randn(2, 3, 6, 6)
    images[0, 1, 2, 3] = float("nan")
    images[1, 0, 0, 0] = float("inf")
    for dtype in FLOATING:
        for power in (1, 2):
            compare_loss(plain, images.to(dtype), power)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, *EMPTY], ids=str)
@pytest.mark.parametrize("name", MATRICES)
def test_affine_sample(plain: Harness, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = torch.randn(shape, dtype=torch.float64).to(dtype)
    for schedule, matrix_dtype in zip(SCHEDULES, (torch.float64, torch.float32, torch.float64), strict=True):
        plain.set(schedule=schedule)
        compare_samples(plain, images, torch.tensor(MATRICES[name], dtype=matrix_dtype).expand(shape[0], 2, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("border", [REFLECT, REPLICATE])
@pytest.mark.parametrize("name", MATRICES)
def test_affine_sample_of_images_that_go_on(plain: Harness, name: str, border: int, dtype: torch.dtype) -> None:
    for number, shape in enumerate([*SHAPES[:-1], *EMPTY, (1, 1, 9, 40)]):
        plain.set(schedule=SCHEDULES[number % 3])
        images = torch.randn(shape, dtype=torch.float64).to(dtype)
        compare_samples(plain, images, torch.tensor(MATRICES[name]).expand(shape[0], 2, 3), border)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_affine_sample_of_any_strides(plain: Harness, dtype: torch.dtype) -> None:
    for layout in image_layouts(torch.randn(2, 3, 9, 14).to(dtype)).values():
        matrix = random_maps(layout.size(0))
        compare_samples(plain, layout, matrix)
        compare_samples(plain, layout, matrix.transpose(1, 2).contiguous().transpose(1, 2))
        compare_samples(plain, layout, matrix, REFLECT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("border", [CONSTANT, REFLECT, REPLICATE])
@pytest.mark.parametrize("outputs_alone", [0, 64, OWN_LIMIT])
def test_pixels_that_a_block_gathers_together(
    plain: Harness, outputs_alone: int, border: int, dtype: torch.dtype
) -> None:
    """Whoever looks at the outputs, they are added in their order: of all pixels, few, or those to which a map takes nearly all."""
    cases = {"a point": (1, 5, 40, 60)}
    if outputs_alone != OWN_LIMIT:
        cases = {
            "a point": (1, 5, 9, 14),
            "far outside": (2, 1, 9, 14),
            "a diagonal": (2, 3, 7, 20),
            "turned": (1, 4, 7, 9),
        }
        cases |= {
            "enlarged a lot": (1, 1, 270, 2),
            "shrunk a lot": (1, 1, 5, 9),
            "a row": (1, 2, 3, 300),
            "identity": (1, 2, 1, 1),
        }
    for number, (name, shape) in enumerate(cases.items()):
        plain.set(schedule=SCHEDULES[number % 3], seed=number, outputs_alone=outputs_alone)
        images = torch.randn(shape, generator=torch.Generator().manual_seed(number), dtype=torch.float64).to(dtype)
        compare_samples(plain, images, torch.tensor(MATRICES[name]).expand(shape[0], 2, 3), border)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 12), st.integers(1, 30)),
    matrix=st.lists(st.floats(-3, 3) | st.sampled_from([0.0, 1e-6, 1e-12, 50.0]), min_size=6, max_size=6),
    dtype=st.sampled_from([torch.float32, torch.float64]),
    border=st.sampled_from([CONSTANT, REFLECT, REPLICATE]),
)
def test_affine_sample_under_any_map(
    plain: Harness, shape: tuple[int, ...], matrix: list[float], dtype: torch.dtype, border: int
) -> None:
    maps = torch.tensor(matrix, dtype=torch.float64).view(1, 2, 3)
    compare_samples(plain, torch.randn(shape).to(dtype), maps, border)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_no_access_out_of_bounds_and_no_undefined_behavior(address: Harness, dtype: torch.dtype) -> None:
    exercise_every_kernel(address, dtype, 4097)
    address.reset()
    for length in (1, 2048, 2049):
        compare_everything(address, rows_like_layers(3, length, dtype), references(1, length)[0])


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float32, pytest.param(torch.float64, marks=pytest.mark.long)], ids=str
)
def test_no_data_races(thread: Harness, dtype: torch.dtype) -> None:
    exercise_every_kernel(thread, dtype, 70)
    if dtype == torch.float32:
        thread.set(short_row=0)
        compare_everything(thread, rows_like_layers(1, 4100, dtype), references(1, 4100)[0])


# ---- nvcc ---------------------------------------------------------------------------------------------------------------------


def _nvcc_lists(nvcc: str, architecture: str) -> bool:
    known = subprocess.run([nvcc, "--list-gpu-arch"], capture_output=True, text=True, check=False).stdout
    return f"compute_{architecture}" in known.split()


@pytest.mark.slow
@pytest.mark.parametrize(
    "architecture", ["90", *(pytest.param(name, marks=pytest.mark.long) for name in ("75", "80", "89", "100", "120"))]
)
def test_nvcc_compiles_without_spills(architecture: str, tmp_path: Path) -> None:
    nvcc = shutil.which("nvcc")
    if nvcc is None or not _nvcc_lists(nvcc, architecture):
        pytest.skip(f"no nvcc that knows compute_{architecture}")
    from torch.utils.cpp_extension import include_paths

    command = [nvcc, "-std=c++17", "-O3", "-DUSE_CUDA", "-DTORCH_TARGET_VERSION=0x020a000000000000", "-Xptxas", "-v"]
    command += ["-Xcompiler", "-fPIC", "--threads", "2", "-c", *map(str, sorted((ROOT / "csrc" / "cuda").glob("*.cu")))]
    command += ["-I", str(ROOT / "csrc"), *(f"-isystem={path}" for path in include_paths())]
    command += ["-gencode", f"arch=compute_{architecture},code=sm_{architecture}"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    report = result.stderr
    kernels = re.findall(
        rf"Compiling entry function '(\S*)' for 'sm_{architecture}'.*?\n.*?\n.*?(\d+) bytes spill stores", report
    )
    ours = {name: int(spilled) for name, spilled in kernels if "captum_proto" in name}
    assert len(ours) > 40
    assert not any(ours.values()), {name: spilled for name, spilled in ours.items() if spilled}
