"""The affine sampling operator against PyTorch's own grid sampler, against its twin, and against NumPy to the bit."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native.affine_samples import (
    EMPTY,
    FINITE,
    MATRICES,
    SHAPES,
    gradient_in_order,
    random_maps,
    sample_in_order,
    turned,
)
from native.operator_samples import assert_same_bits, image_layouts
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from captum_proto import ops
from captum_proto.ops import _twin
from captum_proto.optim import RandomAffine, RandomStream, prototype_keys
from captum_proto.optim.random import TRANSFORM

native = torch.ops.captum_proto
WIDE = [torch.float32, torch.float64]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
needs_kernels = pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def channel_values(channels: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A scale and a shift for each channel."""
    return torch.linspace(0.5, 2, channels).to(dtype), torch.linspace(-1, 1, channels).to(dtype)


def maps(name: str, n: int) -> Tensor:
    return torch.tensor(MATRICES[name], dtype=torch.float64).expand(n, 2, 3)


def oracle(images: Tensor, matrix: Tensor, mean: list[float], std: list[float], fill: float) -> Tensor:
    """What the operator stands for, in float64."""
    x = images.double()
    grid = torch.nn.functional.affine_grid(matrix.double(), list(x.shape), align_corners=False)
    sampled = torch.nn.functional.grid_sample(
        x - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False
    )
    return transforms.normalize(sampled + fill, mean, std)


@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_equals_grid_sample_and_normalize(shape: tuple[int, ...], name: str, dtype: torch.dtype) -> None:
    matrix = maps(name, shape[0])
    mean, std = [0.1 * c for c in range(shape[1])], [0.5 + 0.1 * c for c in range(shape[1])]
    images = random(shape, dtype).requires_grad_()
    copy = images.detach().double().requires_grad_()
    samples = ops.affine_sample(images, matrix, mean=mean, std=std, fill=0.3)
    expected = oracle(copy, matrix, mean, std, 0.3)
    # The twin's sampler takes coordinates in the images' dtype, the kernels in float64.
    tolerance = 1e-10 if dtype == torch.float64 else 1e-5 if ops.backend()["cpu"]["native"] else 1e-4
    assert samples.dtype == dtype
    torch.testing.assert_close(samples.double(), expected, rtol=0, atol=tolerance)
    given = random(shape, dtype, seed=1)
    (gradient,) = torch.autograd.grad(samples, images, given)
    (expected_gradient,) = torch.autograd.grad(expected, copy, given.double())
    # A pixel that is read often adds up as many terms.
    size = max(1.0, float(expected_gradient.abs().max()))
    torch.testing.assert_close(gradient.double(), expected_gradient, rtol=0, atol=tolerance * size)


@settings(max_examples=150, deadline=None)
@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 6), st.integers(1, 12), st.integers(1, 70)),
    angle=st.floats(-200, 200),
    scale=st.one_of(st.floats(0.6, 1.5), st.floats(0.02, 50)),
    shift=st.tuples(st.floats(-2.5, 2.5), st.floats(-2.5, 2.5)),
    fill=st.sampled_from([0.0, 0.5, -1.25]),
    channels_last=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_any_shape_and_any_turn(
    shape: tuple[int, ...],
    angle: float,
    scale: float,
    shift: tuple[float, float],
    fill: float,
    channels_last: bool,
    seed: int,
) -> None:
    images = random(shape, seed=seed).requires_grad_()
    matrix = torch.tensor(turned(angle, scale, *shift), dtype=torch.float64).expand(shape[0], 2, 3)
    samples = ops.affine_sample(images, matrix, fill=fill, channels_last=channels_last)
    assert samples.shape == shape
    assert samples.is_contiguous(memory_format=_twin.memory_format(channels_last))
    if shape[0] == 0:
        return
    expected = oracle(images, matrix, [0.0] * shape[1], [1.0] * shape[1], fill)
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-10)
    given_gradient = random(shape, seed=seed + 1)
    (gradient,) = torch.autograd.grad(samples, images, given_gradient)
    (expected_gradient,) = torch.autograd.grad(expected, images, given_gradient)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-10)


@needs_kernels
@pytest.mark.parametrize("name", MATRICES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", WIDE, ids=str)
def test_kernels_round_as_written_down(shape: tuple[int, ...], name: str, dtype: torch.dtype) -> None:
    images, matrix = random(shape, dtype), maps(name, shape[0])
    scale, shift = channel_values(shape[1], dtype)
    samples = native.affine_sample(images, matrix, scale, shift, 0.3, False)
    assert_same_bits(samples, sample_in_order(images, matrix, scale, shift, 0.3))
    gradient = native.affine_sample_backward(images, matrix, scale, False)
    assert_same_bits(gradient, gradient_in_order(images, matrix, scale))


@pytest.mark.parametrize("name", [*FINITE, "far outside"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_native_equals_twin(name: str, channels_last: bool) -> None:
    images, matrix = random((2, 5, 13, 22)), maps(name, 2)
    scale, shift = channel_values(5, torch.float64)
    samples = native.affine_sample(images, matrix, scale, shift, 0.3, channels_last)
    expected = _twin.affine_sample(images, matrix, scale, shift, 0.3, channels_last)
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-10)
    gradient = native.affine_sample_backward(images, matrix, scale, channels_last)
    expected_gradient = _twin.affine_sample_backward(images, matrix, scale, channels_last)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-10)
    assert samples.stride() == expected.stride()
    assert gradient.stride() == expected_gradient.stride()


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_every_layout_gives_the_same_bits(channels: int, dtype: torch.dtype) -> None:
    base = random((2, channels, 11, 19), dtype)
    for images in image_layouts(base).values():
        plain = images.clone(memory_format=torch.contiguous_format)
        matrix = random_maps(images.shape[0], seed=channels)
        scale, shift = channel_values(images.shape[1], dtype)
        expected = native.affine_sample(plain, matrix, scale, shift, 0.3, False)
        expected_gradient = native.affine_sample_backward(plain, matrix, scale, False)
        for channels_last in (False, True):
            samples = native.affine_sample(images, matrix, scale, shift, 0.3, channels_last)
            gradient = native.affine_sample_backward(images, matrix, scale, channels_last)
            for result, right in ((samples, expected), (gradient, expected_gradient)):
                assert_same_bits(result, right)
                assert result.is_contiguous(memory_format=_twin.memory_format(channels_last))


def test_the_gradient_lies_as_the_images_do() -> None:
    matrix = random_maps(2)
    for channels_last in (False, True):
        images = random((2, 3, 8, 9)).contiguous(memory_format=_twin.memory_format(channels_last)).requires_grad_()
        ops.affine_sample(images, matrix).sum().backward()
        assert images.grad is not None
        assert images.grad.stride() == images.stride()


def test_matrices_of_any_strides_and_dtypes() -> None:
    images = random((3, 2, 7, 8))
    matrix = random_maps(3).float()
    expected = ops.affine_sample(images, matrix)
    backwards = matrix.flip(0).as_strided((3, 2, 3), matrix.stride()).flip(0)
    spread = torch.zeros(3, 3, 4, dtype=torch.float64).transpose(1, 2)[:, ::2]
    for same in (matrix.double(), matrix.transpose(1, 2).contiguous().transpose(1, 2), backwards, spread.copy_(matrix)):
        assert torch.equal(ops.affine_sample(images, same), expected)
    shared = matrix[:1].expand(3, 2, 3)
    assert torch.equal(ops.affine_sample(images, shared), ops.affine_sample(images, shared.clone()))
    half = matrix.half()
    assert torch.equal(ops.affine_sample(images, half), ops.affine_sample(images, half.float()))


@needs_kernels
def test_identity_changes_nothing() -> None:
    for dtype in WIDE:
        images = random((2, 3, 15, 10), dtype)
        assert torch.equal(ops.affine_sample(images, maps("identity", 2)), images)
        assert torch.equal(ops.affine_sample(images, maps("mirrored", 2)), images.flip(3))


def test_what_comes_from_outside_is_the_fill_and_gives_no_gradient() -> None:
    for name in ("moved outside", "far outside", "infinitely far", "not a number", "infinite"):
        if name not in ("moved outside", "far outside") and not ops.backend()["cpu"]["native"]:
            continue  # grid_sample leaves open what becomes of coordinates that are not finite
        images = random((1, 3, 6, 7)).requires_grad_()
        samples = ops.affine_sample(images, maps(name, 1), mean=MEAN, std=STD, fill=0.5)
        expected = [(0.5 - mean) / std for mean, std in zip(MEAN, STD, strict=True)]
        torch.testing.assert_close(samples, torch.tensor(expected).double().view(1, 3, 1, 1).expand_as(samples))
        samples.sum().backward()
        assert images.grad is not None
        assert not images.grad.any()


@needs_kernels
def test_missing_and_infinite_pixels_stay_where_they_are_read() -> None:
    for bad in (math.nan, math.inf):
        images = torch.zeros(1, 3, 9, 9)
        images[0, 1, 4, 4] = bad
        # The identity reads a pixel, and its right and lower neighbors with weight zero.
        damaged = ~ops.affine_sample(images, maps("identity", 1)).isfinite()
        assert damaged[0, 1].nonzero().tolist() == [[3, 3], [3, 4], [4, 3], [4, 4]]
        assert not damaged[0, ::2].any()
        gradient = native.affine_sample_backward(images, maps("identity", 1), torch.ones(3), False)
        assert (~gradient.isfinite())[0, 1].nonzero().tolist() == [[4, 4], [4, 5], [5, 4], [5, 5]]
        assert gradient[0, ::2].isfinite().all()


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_no_pixels(shape: tuple[int, ...]) -> None:
    images = torch.zeros(shape, requires_grad=True)
    for channels_last in (False, True):
        samples = ops.affine_sample(images, torch.zeros(shape[0], 2, 3), mean=[1.0], channels_last=channels_last)
        assert samples.shape == shape
        (gradient,) = torch.autograd.grad(samples.sum(), images)
        assert gradient.shape == shape


@needs_kernels
@pytest.mark.parametrize("n", [1, 2, 3, 7])
def test_results_do_not_depend_on_threads_or_batch(n: int) -> None:
    images, matrix = random((n, 5, 60, 70), torch.float32), random_maps(n)
    scale, shift = channel_values(5, torch.float32)

    def both(images: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
        return (
            native.affine_sample(images, matrix, scale, shift, 0.3, False),
            native.affine_sample_backward(images, matrix, scale, False),
        )

    threads = torch.get_num_threads()
    try:
        results = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            results.append(both(images, matrix))
    finally:
        torch.set_num_threads(threads)
    for again in [*results[1:], both(images, matrix)]:
        assert torch.equal(again[0], results[0][0])
        assert torch.equal(again[1], results[0][1])
    for i in range(n):
        alone = both(images[i : i + 1], matrix[i : i + 1])
        assert torch.equal(alone[0], results[0][0][i : i + 1])
        assert torch.equal(alone[1], results[0][1][i : i + 1])


def test_the_gradient_is_that_of_the_value() -> None:
    images = random((2, 5, 4, 6)).requires_grad_()
    for name in ("turned", "shrunk", "enlarged", "a diagonal"):
        matrix = maps(name, 2)
        for channels_last in (False, True):

            def sample(x: Tensor, matrix: Tensor = matrix, channels_last: bool = channels_last) -> Tensor:
                return ops.affine_sample(x, matrix, mean=[0.5], std=[0.25], fill=0.3, channels_last=channels_last)

            assert torch.autograd.gradcheck(sample, images)


def test_a_second_derivative_is_refused_in_one_sentence() -> None:
    images = random((1, 1, 4, 4)).requires_grad_()
    samples = ops.affine_sample(images, random_maps(1))
    (gradient,) = torch.autograd.grad(samples.square().sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="affine_sample can be differentiated once; leave out create_graph=True"):
        gradient.sum().backward()


def test_opcheck() -> None:
    scale, shift = channel_values(3, torch.float32)
    images = random((2, 3, 6, 5), torch.float32)
    last = images.contiguous(memory_format=torch.channels_last)
    matrix = random_maps(2).float()
    for channels_last in (False, True):
        for x in (images, last, images[:, :, ::2], images[:0]):
            arguments = (x.detach().requires_grad_(), matrix[: len(x)], scale, shift, 0.3, channels_last)
            results = torch.library.opcheck(native.affine_sample.default, arguments)
            assert set(results.values()) == {"SUCCESS"}
            results = torch.library.opcheck(
                native.affine_sample_backward.default, (x, matrix[: len(x)], scale, channels_last)
            )
            assert set(results.values()) == {"SUCCESS"}


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiles_without_a_graph_break(backend: str) -> None:
    images, matrix = random((2, 3, 9, 9), torch.float32).requires_grad_(), random_maps(2)

    def score(images: Tensor, matrix: Tensor) -> Tensor:
        samples = ops.affine_sample(images * 2, matrix, mean=MEAN, std=STD, fill=0.5, channels_last=True)
        return (samples * 3).square().sum()

    expected = score(images, matrix)
    compiled = torch.compile(score, fullgraph=True, backend=backend)(images, matrix)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, images)[0], torch.autograd.grad(expected, images)[0])


def test_mean_and_std_are_sequences_or_tensors_of_each_channel_or_one() -> None:
    images, matrix = random((2, 3, 5, 6)), random_maps(2)
    expected = ops.affine_sample(images, matrix, mean=[0.5] * 3, std=(2.0, 2.0, 2.0))
    for mean, std in (([0.5], [2.0]), (torch.tensor([0.5]), torch.full((3,), 2.0)), ((0.5,), torch.tensor([2.0]))):
        assert torch.equal(ops.affine_sample(images, matrix, mean=mean, std=std), expected)
    plain = ops.affine_sample(images, matrix)
    torch.testing.assert_close(ops.affine_sample(images, matrix, mean=[0.5]), plain - 0.5)
    torch.testing.assert_close(ops.affine_sample(images, matrix, std=[2.0]), plain / 2)


def test_the_random_transform_normalizes_in_the_same_operator() -> None:
    def stream() -> RandomStream:
        return RandomStream(prototype_keys([0, 1], [(1,)] * 2), TRANSFORM, 0)

    transform = RandomAffine(180, translate=(0.5, 0.5), scale=(0.7, 1.3), fill=0.5)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        images = random((2, 3, 12, 10)).to(dtype)
        expected = transforms.normalize(transform(images.double(), stream()), MEAN, STD)
        for channels_last in (False, True):
            samples = transform.normalized(images, stream(), MEAN, STD, channels_last)
            assert samples.dtype == dtype
            assert samples.is_contiguous(memory_format=_twin.memory_format(channels_last))
            tolerance = {torch.float16: 1e-2, torch.bfloat16: 1e-1, torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
            torch.testing.assert_close(samples.double(), expected, rtol=0, atol=tolerance)


MATRIX = torch.zeros(1, 2, 3)
IMAGE = torch.zeros(1, 3, 4, 4)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.affine_sample(IMAGE[0], MATRIX), ValueError, r"\(3, 4, 4\).*\(N, C, H, W\)"),
        (lambda: ops.affine_sample(IMAGE.half(), MATRIX), TypeError, r"float16.*convert with \.float"),
        (lambda: ops.affine_sample(IMAGE, MATRIX[0]), ValueError, r"matrix has shape \(2, 3\).*\(N, 2, 3\)"),
        (lambda: ops.affine_sample(IMAGE, MATRIX.expand(2, 2, 3)), ValueError, r"matrix has shape \(2, 2, 3\); for 1"),
        (lambda: ops.affine_sample(IMAGE, MATRIX.int()), TypeError, "matrix has dtype torch.int32"),
        (lambda: ops.affine_sample(IMAGE, MATRIX.to("meta")), ValueError, "matrix is on meta and images on cpu"),
        (lambda: ops.affine_sample(IMAGE, MATRIX.clone().requires_grad_()), ValueError, r"pass matrix.detach\(\)"),
        (lambda: ops.affine_sample(IMAGE, MATRIX, mean=[1.0, 2.0]), ValueError, r"mean has shape \(2,\); for 3"),
        (lambda: ops.affine_sample(IMAGE, MATRIX, std=torch.ones(3, 1)), ValueError, r"std has shape \(3, 1\)"),
        (lambda: ops.affine_sample(IMAGE, MATRIX, std=[1.0, 0.0, 1.0]), ValueError, "divided by zero"),
    ],
)
def test_bad_input_gets_one_sentence(call: Callable[[], object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


@needs_kernels
def test_the_kernels_refuse_what_they_do_not_know() -> None:
    ones = torch.ones(3)
    bad: list[tuple[Callable[[], object], str]] = [
        (lambda: native.affine_sample(IMAGE[0], MATRIX, ones, ones, 0.0, False), "expected"),
        (
            lambda: native.affine_sample(IMAGE.half(), MATRIX, ones.half(), ones.half(), 0.0, False),
            "float32 or float64",
        ),
        (lambda: native.affine_sample(IMAGE, MATRIX.half(), ones, ones, 0.0, False), "float32 or float64"),
        (lambda: native.affine_sample(IMAGE, MATRIX[:, :1], ones, ones, 0.0, False), "one for each image"),
        (
            lambda: native.affine_sample(IMAGE, MATRIX, ones[:2], ones, 0.0, False),
            r"scale has the shape \(2,\); expected one",
        ),
        (lambda: native.affine_sample(IMAGE, MATRIX, ones, ones.double(), 0.0, False), "shift must have the dtype"),
        (lambda: native.affine_sample_backward(IMAGE, MATRIX, ones.double(), False), "scale must have the dtype"),
        (lambda: native.affine_sample(torch.zeros(1).expand(1, 3, 1, 2**31), MATRIX, ones, ones, 0.0, False), "pixels"),
    ]
    for call, words in bad:
        with pytest.raises(RuntimeError, match=words):
            call()
