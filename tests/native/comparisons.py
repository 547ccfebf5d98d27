"""The kernels that run on the host, each way of theirs, compared with the twin, the CPU's kernels and NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import torch
from affine_samples import CONSTANT, MATRICES, REFLECT, REPLICATE, gradient_in_order, random_maps, sample_in_order
from cuda_harness import OWN_LIMIT, Harness
from operator_samples import assert_same_bits, image_layouts, references, rows_like_layers
from torch import Tensor

from captum_proto import ops
from captum_proto.ops import _twin

SCHEDULES = ["ascending", "descending", "shuffled"]

#: Ways of sorting, by the limits that choose them: each can then be tried on rows of any length.
WAYS = {
    "short rows": {"histogram_row": 2**30},
    "library sort": {"short_row": 0, "histogram_row": 2**30, "parted_row": 2**30},
    "library sort, one row at a time": {
        "short_row": 0,
        "histogram_row": 2**30,
        "parted_row": 2**30,
        "chunk_values": 1,
    },
    "parts": {"short_row": 0, "histogram_row": 2**30, "parted_row": 0},
    "parts of up to 64 values": {"short_row": 0, "histogram_row": 2**30, "parted_row": 0, "part_room": 64},
    "histogram": {"short_row": 0, "histogram_row": 0},
    "histogram of counts and sums apart": {"short_row": 0, "histogram_row": 0, "separate_row": 0},
    "histogram, one row at a time": {"short_row": 0, "histogram_row": 0, "chunk_values": 1},
}


def is_histogram(way: str, dtype: torch.dtype) -> bool:
    return way.startswith("histogram") and dtype.itemsize == 2


def compare_everything(harness: Harness, x: Tensor, reference: Tensor) -> None:
    """CUDA's kernels, the CPU's (the twin's again where none are built) and the twin."""
    ranks, correlations = _twin.doubled_rank(x), _twin.spearman(x, reference)
    assert_same_bits(harness.doubled_rank(x), ranks)
    assert_same_bits(harness.spearman(x, reference), correlations)
    assert_same_bits(torch.ops.captum_proto.doubled_rank(x), ranks)
    assert_same_bits(torch.ops.captum_proto.spearman(x, reference), correlations)


def compare_sums(harness: Harness, rows: Tensor) -> None:
    """Running sums that begin anywhere, after the rows came in two parts; and the CPU's."""
    expected = torch.linspace(-1, 1, rows.size(1), dtype=torch.float64)
    sums, cpu = expected.clone(), expected.clone()
    _twin.accumulate(expected, rows)
    for part in rows.tensor_split([len(rows) // 3]):
        harness.accumulate(sums, part)
    torch.ops.captum_proto.accumulate(cpu, rows)
    assert_same_bits(sums, expected)
    assert_same_bits(cpu, expected)


def compare_loss(harness: Harness, images: Tensor, power: int) -> None:
    expected = _twin.high_frequency_loss(images, power)
    loss = harness.high_frequency_loss(images, power)
    tolerance = 1e-12 if images.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(loss, expected, rtol=tolerance, atol=0, equal_nan=True)
    grad_output = torch.linspace(-1.5, 2.0, images.size(0)).to(loss.dtype)
    for given_gradient in (grad_output, grad_output[:1].expand(images.size(0))):
        gradient = harness.high_frequency_loss_backward(given_gradient, images, power)
        assert gradient.stride() == torch.empty_like(images).stride()
        assert_same_bits(gradient, _twin.high_frequency_loss_backward(given_gradient, images, power))


def compare_samples(harness: Harness, images: Tensor, matrix: Tensor, border: int = CONSTANT) -> None:
    """The kernels against NumPy, in which every rounding is written down, and against the CPU's."""
    channels = images.size(1)
    scale = torch.linspace(0.5, 2, 2 * channels).to(images.dtype)[::2]
    shift = torch.linspace(-1, 1, channels).to(images.dtype)
    expected = sample_in_order(images, matrix, scale, shift, 0.3, border)
    expected_gradient = gradient_in_order(images, matrix, scale, border)
    operator = torch.ops.captum_proto
    for channels_last in (False, True):
        samples = harness.affine_sample(images, matrix, scale, shift, 0.3, channels_last, border)
        gradient = harness.affine_sample_backward(images, matrix, scale, channels_last, border)
        assert_same_bits(samples, expected)
        assert_same_bits(gradient, expected_gradient)
        if ops.backend()["cpu"]["native"]:
            assert_same_bits(operator.affine_sample(images, matrix, scale, shift, 0.3, False, border), samples)
            cpu = operator.affine_sample_backward(images, matrix, scale, channels_last, border)
            assert_same_bits(cpu, gradient)
            assert cpu.stride() == gradient.stride()


def exercise_every_kernel(
    harness: Harness,
    dtype: torch.dtype,
    length: int,
    most_blocks: int = 2,
    schedules: Sequence[str] = SCHEDULES,
    seed: int = 0,
) -> None:
    """A few small inputs that together reach every kernel, and the loops of each."""
    for schedule, (name, way) in zip(cycle(schedules), WAYS.items(), strict=False):
        harness.set(**way, schedule=schedule, seed=seed, most_blocks=most_blocks)
        rows = 3 if is_histogram(name, dtype) else 9
        compare_everything(harness, rows_like_layers(rows, length, dtype, seed=5), references(rows, length))
    harness.reset()
    harness.set(schedule=schedules[-1], seed=seed, most_blocks=most_blocks)
    x = rows_like_layers(1, 8200, dtype)
    assert harness.path_distance(x, x[0].double(), references(1, 8200)[0])[1].tolist() == [0.0]
    assert_same_bits(harness.rank(x[:, :40]), _twin.rank(x[:, :40]))
    compare_sums(harness, rows_like_layers(19, 700, dtype))
    images = torch.randn(2, 3, 9, 40).to(dtype)
    for layout in image_layouts(images).values():
        for farthest in (0, OWN_LIMIT):
            harness.set(farthest=farthest)
            compare_loss(harness, layout, 1)
        if dtype.itemsize > 2:
            compare_samples(harness, layout, random_maps(layout.size(0)))
            compare_samples(harness, layout, torch.tensor(MATRICES["a row"]).expand(layout.size(0), 2, 3))
            for border, outputs_alone in (
                (REFLECT, 1024),
                (REPLICATE, 1024),
                (CONSTANT, 0),
                (REFLECT, 0),
                (REPLICATE, 64),
            ):
                harness.set(outputs_alone=outputs_alone)
                compare_samples(harness, layout, random_maps(layout.size(0), seed=1), border)
