"""Affine samples of images that go on beyond their border, against PyTorch's own grid sampler and NumPy's frames."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native.affine_samples import (
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
from captum_proto.ops import _schemas, _twin

native = torch.ops.captum_proto
WIDE = [torch.float32, torch.float64]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
#: What PyTorch's sampler calls them.
PADDING = {"reflect": "reflection", "replicate": "border"}
#: What NumPy calls them: its "reflect" leaves the outermost pixel out of the mirror image.
NUMPY_MODES = {"reflect": "symmetric", "replicate": "edge"}
needs_kernels = pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def maps(name: str, n: int) -> Tensor:
    return torch.tensor(MATRICES[name], dtype=torch.float64).expand(n, 2, 3)


def oracle(images: Tensor, matrix: Tensor, fill: str) -> Tensor:
    """Of PyTorch, in float64."""
    x = images.double()
    grid = torch.nn.functional.affine_grid(matrix.double(), list(x.shape), align_corners=False)
    return torch.nn.functional.grid_sample(x, grid, mode="bilinear", padding_mode=PADDING[fill], align_corners=False)


def test_the_borders_are_in_the_order_of_the_kernels() -> None:
    assert _schemas.BORDERS == ("constant", "reflect", "replicate")


@pytest.mark.parametrize("fill", PADDING)
@pytest.mark.parametrize("name", FINITE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_equals_pytorch(shape: tuple[int, ...], name: str, fill: str) -> None:
    images, matrix = random(shape).requires_grad_(), maps(name, shape[0])
    samples = ops.affine_sample(images, matrix, fill=fill)
    expected = oracle(images, matrix, fill)
    # Far from the image a coordinate in pixels has few digits left below one.
    reach = 1 + float(matrix.abs().max()) * max(shape[2:])
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-13 * reach + 1e-10)
    given_gradient = random(shape, seed=1)
    (gradient,) = torch.autograd.grad(samples, images, given_gradient)
    (expected_gradient,) = torch.autograd.grad(expected, images, given_gradient)
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-12 * reach + 1e-10)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 12), st.integers(1, 30)),
    angle=st.floats(-180, 180),
    scale=st.floats(0.1, 4.0),
    shift=st.tuples(st.floats(-3, 3), st.floats(-3, 3)),
    fill=st.sampled_from(list(PADDING)),
)
def test_equals_pytorch_under_any_turn(
    shape: tuple[int, ...], angle: float, scale: float, shift: tuple[float, float], fill: str
) -> None:
    images = random(shape).requires_grad_()
    matrix = torch.tensor(turned(angle, scale, *shift), dtype=torch.float64).expand(shape[0], 2, 3)
    samples, expected = ops.affine_sample(images, matrix, fill=fill), oracle(images, matrix, fill)
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-10)
    given_gradient = random(shape, seed=1)
    gradients = [torch.autograd.grad(each, images, given_gradient)[0] for each in (samples, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("fill", PADDING)
def test_an_image_goes_on_as_numpys_frame_does(fill: str) -> None:
    images = random((2, 3, 5, 7))
    frame = np.pad(images.numpy(), [(0, 0), (0, 0), (25, 25), (35, 35)], mode=NUMPY_MODES[fill])
    for down, right in ((0, 0), (5, 0), (-5, 7), (1, 3), (-13, 22), (25, -35)):
        matrix = torch.tensor([[1.0, 0.0, 2 * right / 7], [0.0, 1.0, 2 * down / 5]], dtype=torch.float64)
        samples = ops.affine_sample(images, matrix.expand(2, 2, 3), fill=fill)
        expected = frame[..., 25 + down : 30 + down, 35 + right : 42 + right]
        np.testing.assert_allclose(samples.numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("fill", PADDING)
def test_normalization_is_torchvisions(fill: str) -> None:
    images, matrix = random((2, 3, 9, 14)), random_maps(2)
    samples = ops.affine_sample(images, matrix, mean=MEAN, std=STD, fill=fill, channels_last=True)
    expected = transforms.normalize(oracle(images, matrix, fill), MEAN, STD)
    torch.testing.assert_close(samples, expected, rtol=0, atol=1e-10)
    assert samples.is_contiguous(memory_format=torch.channels_last)


@needs_kernels
@pytest.mark.parametrize("border", [1, 2])
@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", MATRICES)
def test_kernels_round_as_written_down(name: str, dtype: torch.dtype, border: int) -> None:
    for shape in SHAPES:
        images, matrix = random(shape, dtype), maps(name, shape[0])
        scale, shift = torch.linspace(0.5, 2, shape[1]).to(dtype), torch.linspace(-1, 1, shape[1]).to(dtype)
        samples = native.affine_sample(images, matrix, scale, shift, 0.3, False, border)
        assert_same_bits(samples, sample_in_order(images, matrix, scale, shift, 0.3, border))
        gradient = native.affine_sample_backward(images, matrix, scale, False, border)
        assert_same_bits(gradient, gradient_in_order(images, matrix, scale, border))


@needs_kernels
@pytest.mark.parametrize("fill", PADDING)
def test_where_nothing_is_outside_every_fill_gives_the_same_bits(fill: str) -> None:
    matrix = torch.tensor([turned(angle, 1.6, 0.1, -0.1) for angle in (0, 10, 33, 90)], dtype=torch.float64)
    for dtype in WIDE:
        images = random((4, 3, 20, 20), dtype)
        assert torch.equal(ops.affine_sample(images, matrix, fill=fill), ops.affine_sample(images, matrix))
        gradients = [
            native.affine_sample_backward(images, matrix, torch.ones(3, dtype=dtype), False, border)
            for border in (0, _schemas.BORDERS.index(fill))
        ]
        assert torch.equal(*gradients)


@needs_kernels
@pytest.mark.parametrize("fill", PADDING)
def test_every_layout_thread_count_and_batch_gives_the_same_bits(fill: str) -> None:
    border = _schemas.BORDERS.index(fill)
    for images in image_layouts(random((3, 5, 31, 19), torch.float32)).values():
        n, channels = images.shape[:2]
        plain = images.clone(memory_format=torch.contiguous_format)
        matrix, scale, shift = random_maps(n), torch.linspace(0.5, 2, channels), torch.linspace(-1, 1, channels)
        expected = native.affine_sample(plain, matrix, scale, shift, 0.0, False, border)
        expected_gradient = native.affine_sample_backward(plain, matrix, scale, False, border)
        threads = torch.get_num_threads()
        try:
            for count, last in ((1, True), (2, False), (5, True)):
                torch.set_num_threads(count)
                assert torch.equal(native.affine_sample(images, matrix, scale, shift, 0.0, last, border), expected)
                gradient = native.affine_sample_backward(images, matrix, scale, last, border)
                assert torch.equal(gradient, expected_gradient)
                assert gradient.is_contiguous(memory_format=_twin.memory_format(last))
                alone = native.affine_sample_backward(images[1:2], matrix[1:2], scale, last, border)
                assert torch.equal(alone, expected_gradient[1:2])
        finally:
            torch.set_num_threads(threads)


@needs_kernels
def test_coordinates_that_are_not_finite_stay_within_the_image() -> None:
    images = random((1, 3, 6, 7))
    for border in (1, 2):
        for name in ("not a number", "infinite", "infinitely far", "overflowing", "far outside"):
            samples = native.affine_sample(
                images, maps(name, 1), torch.ones(3).double(), torch.zeros(3).double(), 0.0, False, border
            )
            assert bool(samples.isfinite().all())
            assert float(samples.abs().max()) <= float(images.abs().max())


def test_the_gradient_is_that_of_the_value() -> None:
    images = random((2, 5, 4, 6)).requires_grad_()
    for fill in PADDING:
        for name in ("turned", "turned far", "shrunk", "enlarged", "a diagonal"):
            matrix = maps(name, 2)

            def sample(x: Tensor, matrix: Tensor = matrix, fill: str = fill) -> Tensor:
                return ops.affine_sample(x, matrix, mean=[0.5], std=[0.25], fill=fill)

            assert torch.autograd.gradcheck(sample, images)


def test_every_sample_gives_its_whole_gradient() -> None:
    """Nothing is outside: the weights of a sample are of pixels, and sum to one."""
    images = random((3, 2, 12, 9)).requires_grad_()
    for fill in PADDING:
        samples = ops.affine_sample(images, random_maps(3), fill=fill)
        (gradient,) = torch.autograd.grad(samples.sum(), images)
        torch.testing.assert_close(gradient.sum((2, 3)), torch.full((3, 2), 108.0, dtype=torch.float64))


def test_opcheck_and_compile() -> None:
    scale, shift = torch.linspace(0.5, 2, 3), torch.linspace(-1, 1, 3)
    images, matrix = random((2, 3, 6, 5), torch.float32), random_maps(2).float()
    for border in (1, 2):
        arguments = (images.clone().requires_grad_(), matrix, scale, shift, 0.0, False, border)
        assert set(torch.library.opcheck(native.affine_sample.default, arguments).values()) == {"SUCCESS"}
        arguments = (images, matrix, scale, True, border)
        assert set(torch.library.opcheck(native.affine_sample_backward.default, arguments).values()) == {"SUCCESS"}

    def score(images: Tensor) -> Tensor:
        return ops.affine_sample(images, matrix, mean=MEAN, std=STD, fill="reflect").square().sum()

    images.requires_grad_()
    compiled, expected = torch.compile(score, fullgraph=True, backend="aot_eager")(images), score(images)
    torch.testing.assert_close(compiled, expected)
    torch.testing.assert_close(torch.autograd.grad(compiled, images)[0], torch.autograd.grad(expected, images)[0])


@pytest.mark.parametrize("fill", ["mirror", "constant", "reflection", ""])
def test_a_fill_that_is_none_is_told_in_a_sentence(fill: str) -> None:
    with pytest.raises(ValueError, match=f"fill is '{fill}'; affine_sample expects a number, or one of reflect, repl"):
        ops.affine_sample(torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 3), fill=fill)


@needs_kernels
def test_the_kernels_refuse_a_border_that_they_do_not_know() -> None:
    images, matrix, ones = torch.zeros(1, 3, 4, 4), torch.zeros(1, 2, 3), torch.ones(3)
    for border in (-1, 3):
        with pytest.raises(RuntimeError, match=f"border is {border}; expected 0"):
            native.affine_sample(images, matrix, ones, ones, 0.0, False, border)
        with pytest.raises(RuntimeError, match=f"border is {border}; expected 0"):
            native.affine_sample_backward(images, matrix, ones, False, border)


def test_a_constant_of_any_number_is_left_as_it_was() -> None:
    images, matrix = random((2, 3, 9, 8)), random_maps(2)
    for fill in (0, 0.5, -1.25, True, np.float32(0.5), torch.tensor(0.5)):
        samples = ops.affine_sample(images, matrix, fill=fill)
        grid = torch.nn.functional.affine_grid(matrix, list(images.shape), align_corners=False)
        sampled = torch.nn.functional.grid_sample(images - float(fill), grid, align_corners=False) + float(fill)
        torch.testing.assert_close(samples, sampled, rtol=0, atol=1e-10)
        assert math.isfinite(float(samples.sum()))
