"""The operators on a GPU against the CPU's and against the PyTorch twin: equal bits for ranks and correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import scipy.stats
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from native import concept_samples
from native.affine_samples import (
    CONSTANT,
    EMPTY,
    MATRICES,
    REFLECT,
    REPLICATE,
    SHAPES,
    gradient_in_order,
    random_maps,
    sample_in_order,
)
from native.operator_samples import (
    FLOATING,
    IMAGE_SHAPES,
    assert_same_bits,
    image_layouts,
    images_with_equal_neighbors,
    references,
    rows_like_layers,
)
from torch import Tensor

from captum_proto import ops
from captum_proto.ops import _schemas, _twin

native = torch.ops.captum_proto

#: Around the limits between short rows, the library's sort and histograms, and of tiles.
LENGTHS = [
    0,
    1,
    2,
    31,
    32,
    33,
    64,
    100,
    1023,
    1024,
    1025,
    2047,
    2048,
    2049,
    4096,
    4097,
    8193,
    16383,
    16384,
    16385,
    50000,
]


def on_gpu(x: Tensor) -> Tensor:
    """The same storage on the GPU, seen with the same strides: ``Tensor.cuda`` would straighten out what is expanded or cut."""
    storage = torch.empty(0, dtype=x.dtype).set_(
        x.untyped_storage(), 0, (x.untyped_storage().nbytes() // x.itemsize,), (1,)
    )
    return storage.cuda().as_strided(x.shape, x.stride(), x.storage_offset())


@pytest.mark.parametrize(("shape", "of_labels"), concept_samples.SHAPES, ids=str)
def test_concepts_are_counted_as_by_the_twin(shape: tuple[int, ...], of_labels: tuple[int, ...]) -> None:
    for seed, kind in enumerate(concept_samples.KINDS):
        x, thresholds, labels = concept_samples.sample(kind, shape, of_labels, torch.float32, seed)
        for align_corners in (False, True):
            expected = concept_samples.results(_twin, x, thresholds, labels, align_corners)
            for layout in concept_samples.layouts(x):
                found = concept_samples.results(native, on_gpu(layout), thresholds.cuda(), labels.cuda(), align_corners)
                assert all(torch.equal(mine.cpu(), wanted) for mine, wanted in zip(found, expected, strict=True))


@pytest.mark.parametrize("shape", concept_samples.PACKED_SHAPES, ids=str)
def test_common_bits_are_counted_as_by_the_twin(shape: tuple[int, int, int]) -> None:
    p, q, words = shape
    for a, b in zip(concept_samples.packed_masks(p, words), concept_samples.packed_masks(q, words, 1), strict=True):
        assert torch.equal(native.packed_counts(on_gpu(a), on_gpu(b)).cpu(), _twin.packed_counts(a, b))


#: So many values the twin is asked for too: it takes fifty times as long as the CPU's native code, which is the oracle for the rest.
FEW = 4096


def expected_of(name: str, *arguments: Any, values: int) -> Any:
    """What the CPU's native code makes of arguments, and, of few values, the twin, which must agree."""
    if not ops.backend()["cpu"]["native"]:
        return getattr(_twin, name)(*arguments)
    expected = getattr(native, name)(*arguments)
    if values <= FEW:
        assert_same_bits(expected, getattr(_twin, name)(*arguments))
    return expected


def compare_rows(x: Tensor, reference: Tensor) -> None:
    """CUDA, CPU and twin, all operators on rows."""
    gpu_x, gpu_reference = on_gpu(x), on_gpu(reference)
    for name, arguments, gpu_arguments in (
        ("doubled_rank", (x,), (gpu_x,)),
        ("rank", (x,), (gpu_x,)),
        ("spearman", (x, reference), (gpu_x, gpu_reference)),
    ):
        expected = expected_of(name, *arguments, values=x.numel())
        assert_same_bits(getattr(native, name)(*gpu_arguments).cpu(), expected)


def test_the_native_module_is_in_use() -> None:
    status = ops.backend()["cuda"]
    assert status["native"], status["reason"]
    for name in (
        "high_frequency_loss",
        "high_frequency_loss_backward",
        "affine_sample",
        "affine_sample_backward",
        "doubled_rank",
        "rank",
        "spearman",
        "path_distance",
        "accumulate",
    ):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"captum_proto::{name}", "CUDA")


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("length", LENGTHS)
def test_rows(length: int, dtype: torch.dtype) -> None:
    x = rows_like_layers(18, length, dtype)
    compare_rows(x, references(1, length, seed=7)[0])
    compare_rows(x, references(18, length))


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("length", [300, 3000, 20000])
def test_rows_of_any_strides(length: int, dtype: torch.dtype) -> None:
    x = rows_like_layers(9, length, dtype)
    reference = torch.zeros(9, 2 * length, dtype=torch.int32)[:, ::2]
    reference.copy_(references(9, length))
    apart = torch.full((18, 3 * length), float("nan"), dtype=dtype)[::2, 1::3]
    for same in (x.t().contiguous().t(), apart.copy_(x), x[:1].expand(9, -1), x[:, :1].expand(-1, length)):
        compare_rows(same, reference)
        compare_rows(same, reference[0])
        compare_rows(same, reference[:1].expand(9, -1))


@pytest.mark.parametrize("length", [1, 5000])
def test_no_rows(length: int) -> None:
    for dtype in FLOATING:
        compare_rows(torch.empty(0, length, dtype=dtype), references(1, length)[0])


SPECIAL = [0.0, -0.0, 1.0, -1.0, float("inf"), -float("inf"), 1e-45, -1e-45, 1e-310, 5e-324, 3.0, 3.0000002, 65504.0]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    dtype=st.sampled_from(FLOATING),
    shape=st.tuples(st.integers(1, 4), st.sampled_from([1, 2, 7, 33, 500, 2100, 17000])),
    pool=st.lists(st.one_of(st.sampled_from(SPECIAL), st.floats(width=32)), min_size=1, max_size=20),
    seed=st.integers(0, 2**31 - 1),
)
def test_rows_of_any_values(dtype: torch.dtype, shape: tuple[int, int], pool: list[float], seed: int) -> None:
    chosen = torch.randint(len(pool), shape, generator=torch.Generator().manual_seed(seed))
    compare_rows(torch.tensor(pool, dtype=torch.float64)[chosen].to(dtype), references(1, shape[1], seed=seed % 9)[0])


def test_scipy_agrees() -> None:
    x = rows_like_layers(6, 5000, torch.float32)
    expected = scipy.stats.rankdata(x.numpy(), method="average", axis=-1)
    assert_same_bits(ops.rank(x.cuda()).cpu(), torch.from_numpy(expected))


@pytest.mark.giant
@pytest.mark.parametrize(
    ("rows", "dtype"),
    [(100, torch.float32), (100, torch.bfloat16), (100, torch.float16), (6, torch.float64)],
    ids=str,
)
def test_layers_of_802816_values(rows: int, dtype: torch.dtype) -> None:
    """The largest layer of an EfficientNet for a hundred images: several chunks of the sort."""
    x = torch.randn(rows, 112 * 112 * 64, generator=torch.Generator().manual_seed(0)).relu().to(dtype)
    x[rows // 2, 12345] = float("nan")
    reference = references(1, x.size(1))[0]
    expected = native.spearman(x, reference)
    assert_same_bits(native.spearman(x.cuda(), reference.cuda()).cpu(), expected)
    few = x[rows // 2 - 1 : rows // 2 + 2]
    assert_same_bits(native.doubled_rank(few.cuda()).cpu(), native.doubled_rank(few))


@pytest.mark.giant
@pytest.mark.parametrize("length", [2**20 - 1, 2**20, 2**22 + 3, _schemas.MAX_ROW_LENGTH])
def test_very_long_rows(length: int) -> None:
    """Up to the longest row: sums beyond 64 bits, and a row's number, key and payload that together fill 64."""
    if torch.cuda.mem_get_info()[0] < 60 * length:
        pytest.skip("too little GPU memory is free")
    # Not every integer beyond 2^24 is a float32, but consecutive bit patterns are consecutive floats.
    x = torch.arange(length, dtype=torch.int32, device="cuda").view(torch.float32)[None]
    reference = torch.arange(2, 2 * length + 1, 2, dtype=torch.int32, device="cuda")
    assert native.spearman(x, reference).tolist() == [1.0]
    assert native.spearman(x.flip(1), reference).tolist() == [-1.0]
    assert torch.equal(native.doubled_rank(x)[0], reference)
    half = x.clone()
    half[:, : length // 2] = 0.0
    tied = native.doubled_rank(half)[0]
    assert tied[0] == length // 2 + 1
    assert torch.equal(tied[length // 2 :], reference[length // 2 :])


def test_a_row_that_is_too_long() -> None:
    x = torch.zeros(1, 1, device="cuda").expand(1, _schemas.MAX_ROW_LENGTH + 1)
    with pytest.raises(RuntimeError, match=f"at most {_schemas.MAX_ROW_LENGTH} can be ranked"):
        native.doubled_rank(x)


@pytest.mark.giant
def test_more_than_two_billion_values() -> None:
    """Rows that all lie in the same place: more values than 32 bits count."""
    for dtype in (torch.float32, torch.bfloat16):
        row = rows_like_layers(1, 802816, dtype).cuda()
        x = row.expand(2700, -1)
        reference = references(1, 802816, seed=7)[0].cuda()
        spearman, l1 = native.path_distance(x, row[0].float() + 1, reference)
        assert_same_bits(spearman, native.spearman(row, reference).expand(2700).contiguous())
        assert_same_bits(l1, l1[:1].expand(2700).contiguous())


@pytest.mark.giant
def test_more_than_two_billion_ranks() -> None:
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.skip("too little GPU memory is free")
    for dtype in (torch.float32, torch.bfloat16):
        row = rows_like_layers(1, 802816, dtype).cuda()
        ranks = native.doubled_rank(row.expand(2700, -1))
        expected = native.doubled_rank(row)[0]
        for i in (0, 1, 1349, 2674, 2675, 2699):
            assert torch.equal(ranks[i], expected)
        del ranks


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("mean_dtype", [torch.float32, torch.float64], ids=str)
def test_path_distance(dtype: torch.dtype, mean_dtype: torch.dtype) -> None:
    for length in (0, 1, 100, 5000, 20000, 100000):
        x = torch.randn(3, length, generator=torch.Generator().manual_seed(length)).to(dtype)
        reference = references(1, length)[0]
        for mean in (torch.randn(length).to(mean_dtype), torch.randn(3, 2 * length).to(mean_dtype)[:, ::2]):
            oracle = _twin if x.numel() <= FEW or not ops.backend()["cpu"]["native"] else native
            expected, expected_l1 = oracle.path_distance(x, mean, reference)
            for arguments in ((x, mean, reference), (on_gpu(x), on_gpu(mean), on_gpu(reference))):
                spearman, l1 = native.path_distance(*arguments)
                assert_same_bits(spearman.cpu(), expected)
                torch.testing.assert_close(l1.cpu(), expected_l1, rtol=1e-13, atol=0)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("shape", [(0, 5), (4, 0), (1, 1), (7, 300), (8, 33), (50, 100003)], ids=str)
def test_running_sums(shape: tuple[int, int], dtype: torch.dtype) -> None:
    x = rows_like_layers(*shape, dtype)
    every_second = torch.full((2 * shape[0], 3 * shape[1]), float("nan"), dtype=dtype)[::2, 1::3]
    for rows in (x, x.t().contiguous().t(), every_second.copy_(x), x[:1].expand(3 if len(x) else 0, -1)):
        start = torch.linspace(-1, 1, shape[1], dtype=torch.float64)
        expected, sums = start.clone(), start.cuda()
        _twin.accumulate(expected, rows)
        on_device = on_gpu(rows)
        for part in on_device.tensor_split([len(rows) // 3]):
            native.accumulate(sums, part)
        assert_same_bits(sums.cpu(), expected)
        native.accumulate(start, rows)
        assert_same_bits(start, expected)


def compare_loss(images: Tensor, power: int) -> None:
    gpu = on_gpu(images)
    expected = _twin.high_frequency_loss(images, power)
    tolerance = 1e-12 if images.dtype == torch.float64 else 1e-6
    grad_output = torch.linspace(-1.5, 2.0, images.size(0)).to(expected.dtype)
    expected_gradient = _twin.high_frequency_loss_backward(grad_output, images, power)
    for x, g in (
        (images, grad_output),
        (gpu, grad_output.cuda()),
        (gpu, grad_output.cuda()[:1].expand(images.size(0))),
    ):
        loss = native.high_frequency_loss(x, power)
        torch.testing.assert_close(loss.cpu(), expected, rtol=tolerance, atol=0, equal_nan=True)
        gradient = native.high_frequency_loss_backward(g, x, power)
        assert gradient.stride() == torch.empty_like(images).stride()
        if g.stride() == grad_output.stride():
            assert_same_bits(gradient.cpu(), expected_gradient)
        else:
            shared = _twin.high_frequency_loss_backward(g.cpu(), images, power)
            assert_same_bits(gradient.cpu(), shared)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("shape", [*IMAGE_SHAPES, (3, 3, 224, 224)], ids=str)
def test_high_frequency_loss(shape: tuple[int, ...], power: int, dtype: torch.dtype) -> None:
    images = images_with_equal_neighbors(shape, dtype)
    for layout in image_layouts(images).values():
        compare_loss(layout, power)


def test_loss_of_infinite_and_missing_pixels() -> None:
    images = torch.randn(2, 3, 6, 6)
    images[0, 1, 2, 3] = float("nan")
    images[1, 0, 0, 0] = float("inf")
    for dtype in FLOATING:
        for power in (1, 2):
            compare_loss(images.to(dtype), power)


@pytest.mark.giant
def test_more_than_two_billion_pixels() -> None:
    image = torch.randn(1, 3, 224, 224, device="cuda", dtype=torch.bfloat16)
    images = image.expand(14400, -1, -1, -1)
    loss = native.high_frequency_loss(images, 1)
    assert_same_bits(loss, loss[:1].expand(14400).contiguous())
    if torch.cuda.mem_get_info()[0] > 10 * 2**30:
        gradient = native.high_frequency_loss_backward(torch.ones(1, device="cuda").expand(14400), images, 1)
        expected = native.high_frequency_loss_backward(torch.ones(1, device="cuda"), image, 1)
        for i in (0, 1, 14265, 14266, 14399):
            assert_same_bits(gradient[i : i + 1], expected)


def compare_samples(images: Tensor, matrix: Tensor, border: int = CONSTANT) -> None:
    """The GPU against NumPy, in which every rounding is written down."""
    channels = images.size(1)
    scale = torch.linspace(0.5, 2, 2 * channels).to(images.dtype)[::2]
    shift = torch.linspace(-1, 1, channels).to(images.dtype)
    expected = sample_in_order(images, matrix, scale, shift, 0.3, border)
    expected_gradient = gradient_in_order(images, matrix, scale, border)
    gpu_images, gpu_matrix, gpu_scale = on_gpu(images), on_gpu(matrix), on_gpu(scale)
    for channels_last in (False, True):
        samples = native.affine_sample(gpu_images, gpu_matrix, gpu_scale, shift.cuda(), 0.3, channels_last, border)
        gradient = native.affine_sample_backward(gpu_images, gpu_matrix, gpu_scale, channels_last, border)
        assert_same_bits(samples.cpu(), expected)
        assert_same_bits(gradient.cpu(), expected_gradient)
        for result in (samples, gradient):
            assert result.is_contiguous(memory_format=_twin.memory_format(channels_last))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("shape", [*SHAPES, *EMPTY], ids=str)
def test_affine_sample(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    images = torch.randn(shape, dtype=torch.float64).to(dtype)
    for matrix in MATRICES.values():
        for matrix_dtype in (torch.float32, torch.float64):
            compare_samples(images, torch.tensor(matrix, dtype=matrix_dtype).expand(shape[0], 2, 3))
        for border in (REFLECT, REPLICATE):
            compare_samples(images, torch.tensor(matrix).expand(shape[0], 2, 3), border)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_affine_sample_of_any_strides(dtype: torch.dtype) -> None:
    for layout in image_layouts(torch.randn(2, 3, 9, 14).to(dtype)).values():
        compare_samples(layout, random_maps(layout.size(0)).transpose(1, 2).contiguous().transpose(1, 2))


def test_affine_sample_of_large_images() -> None:
    for border in (CONSTANT, REFLECT, REPLICATE):
        compare_samples(torch.randn(3, 3, 224, 224), random_maps(3), border)
    # Without an inverse each pixel looks through every row of the samples, and of a point or far outside one is given nearly everything.
    for name, border in (
        ("a diagonal", CONSTANT),
        ("a point", CONSTANT),
        ("far outside", REPLICATE),
        ("enlarged a lot", REFLECT),
    ):
        compare_samples(torch.randn(1, 5, 224, 224), torch.tensor([MATRICES[name]]), border)


def test_gradients() -> None:
    images = torch.randn(2, 3, 5, 4, dtype=torch.float64, device="cuda", requires_grad=True)
    for power in (1, 2):
        assert torch.autograd.gradcheck(lambda x, p=power: ops.high_frequency_loss(x, p), (images,))
    matrix = random_maps(2).cuda()
    assert torch.autograd.gradcheck(lambda x: ops.affine_sample(x, matrix, mean=[0.5], std=[0.25]), (images,))


def test_channels_last_images_are_not_copied() -> None:
    images = torch.randn(8, 3, 512, 512, device="cuda").to(memory_format=torch.channels_last)
    native.high_frequency_loss(images, 1)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    native.high_frequency_loss(images, 1)
    assert torch.cuda.max_memory_allocated() - before < images.nbytes / 10


def test_scratch_memory_keeps_to_its_budget() -> None:
    x = torch.randn(100, 802816, device="cuda")
    reference = native.doubled_rank(x[:1])[0]
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    native.spearman(x, reference)
    assert torch.cuda.max_memory_allocated() - before < 700 * 2**20


def test_bad_arguments_give_a_sentence() -> None:
    x = torch.randn(2, 10, device="cuda")
    ranks = native.doubled_rank(x)
    images, matrix, ones = (
        torch.zeros(1, 3, 2, 2, device="cuda"),
        torch.zeros(1, 2, 3, device="cuda"),
        torch.ones(3).cuda(),
    )
    bad: list[tuple[Callable[[], object], str]] = [
        (lambda: native.rank(x[0]), "shape"),
        (lambda: native.rank(x.int()), "float"),
        (lambda: native.spearman(x, ranks[:, :5]), "doubled_ranks"),
        (lambda: native.spearman(x, ranks.float()), "int32"),
        (lambda: native.path_distance(x, x[0].half(), ranks), "mean"),
        (lambda: native.path_distance(x, x[:1, :4], ranks), "mean"),
        (lambda: native.high_frequency_loss(x, 1), "shape"),
        (lambda: native.high_frequency_loss(torch.zeros(1, 1, 2, 2, device="cuda"), 3), "power"),
        (lambda: native.affine_sample(x, x, x, x, 0.0, False), "shape"),
        (lambda: native.affine_sample(images, matrix[0], ones, ones, 0.0, False), "matrix"),
        (lambda: native.affine_sample(images, matrix.cpu(), ones, ones, 0.0, False), "matrix must be on the device"),
        (lambda: native.affine_sample(images, matrix, ones, ones.double(), 0.0, False), "shift"),
        (lambda: native.affine_sample_backward(images, matrix, x[0], False), "scale"),
        (lambda: native.high_frequency_loss_backward(x[0], torch.zeros(1, 1, 2, 2, device="cuda"), 1), "grad_output"),
    ]
    for call, words in bad:
        with pytest.raises(RuntimeError, match=words):
            call()
    torch.cuda.synchronize()  # and the GPU is none the worse for it
