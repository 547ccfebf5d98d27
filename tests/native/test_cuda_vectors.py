"""CUDA's kernels of images where they read and write 16 bytes at once: where images lie so, with the bits of one value after the other."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from affine_samples import CONSTANT, REFLECT, REPLICATE, random_maps
from comparisons import SCHEDULES, compare_samples
from cuda_harness import COMPILER, OWN_LIMIT, Harness
from operator_samples import FLOATING, assert_same_bits
from torch import Tensor

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")


def placements(images: Tensor) -> Iterator[tuple[str, Tensor]]:
    """The same images as they may lie: in vectors of 16 bytes, beside them, in steps, and in rows longer than they are."""
    last = images.contiguous(memory_format=torch.channels_last)
    for name, like in (("contiguous", images), ("channels_last", last)):
        for offset in (0, 1, 8):
            memory = torch.zeros(images.numel() + offset, dtype=images.dtype)
            placed = memory.as_strided(images.shape, like.stride(), offset)
            yield f"{name}, {offset} off", placed.copy_(images)
    for longer, step in ((8, 1), (3, 1), (0, 2)):
        width = images.shape[-1] * step + longer
        memory = torch.zeros(*images.shape[:-1], width, dtype=images.dtype)
        placed = memory[..., : images.shape[-1] * step : step]
        yield f"rows of {width} in steps of {step}", placed.copy_(images)
    yield "one image for all", images[:1].expand_as(images)


#: Widths in and beside whole vectors of every type and whole warps of them; one, three, four and five channels.
VECTOR_SHAPES = [
    (2, 3, 5, 40), (2, 1, 3, 264), (1, 4, 4, 130), (2, 3, 2, 257), (1, 4, 35, 8), (2, 5, 3, 48), (1, 3, 1, 96), (1, 2, 3, 4)
]  # fmt: skip


def same_bits_in_vectors(
    harness: Harness, shape: tuple[int, ...], dtype: torch.dtype, powers: tuple[int, ...] = (1, 2)
) -> None:
    generator = torch.Generator().manual_seed(3)
    images = torch.randn(shape, generator=generator, dtype=torch.float64)
    images *= 10.0 ** torch.randint(-3, 4, shape, generator=generator)
    images = images.to(dtype)
    grad_output = torch.linspace(-1.5, 2.0, shape[0]).to(torch.float64 if dtype == torch.float64 else torch.float32)
    for power in powers:
        for _, placed in placements(images):
            results = []
            for farthest in (0, OWN_LIMIT):  # one value after the other, and vectors where they lie so
                harness.set(farthest=farthest)
                loss = harness.high_frequency_loss(placed, power)
                results.append((loss, harness.high_frequency_loss_backward(grad_output, placed, power)))
            for one, other in zip(*results, strict=True):
                assert_same_bits(one, other)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("shape", VECTOR_SHAPES, ids=str)
def test_the_loss_in_vectors_is_the_same_to_the_last_bit(
    plain: Harness, shape: tuple[int, ...], dtype: torch.dtype
) -> None:
    same_bits_in_vectors(plain, shape, dtype)


@pytest.mark.parametrize("variant", ["address", "thread", "interleaved"])
def test_vectors_are_read_and_written_where_they_may_be(request: pytest.FixtureRequest, variant: str) -> None:
    """Not beyond the memory, at multiples of 16 bytes, and terms in a warp's memory by who put them there."""
    harness: Harness = request.getfixturevalue(variant)
    harness.set(schedule="interleaved" if variant == "interleaved" else "shuffled", seed=11)
    for dtype in FLOATING if variant != "thread" else [torch.float32]:  # whose every access takes long there
        same_bits_in_vectors(harness, (1, 3, 2, 40), dtype, powers=(1,))
    for placed in (torch.randn(1, 4, 3, 5), torch.randn(1, 4, 3, 5).to(memory_format=torch.channels_last)):
        compare_samples(harness, placed, random_maps(1, seed=4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("channels", [2, 3, 4, 6, 8, 12])
def test_samples_of_channels_in_vectors(plain: Harness, channels: int, dtype: torch.dtype) -> None:
    for number, (_, placed) in enumerate(placements(torch.randn(2, channels, 6, 7).to(dtype))):
        for farthest in (0, OWN_LIMIT):
            for outputs_alone in (0, OWN_LIMIT):
                plain.set(farthest=farthest, outputs_alone=outputs_alone, schedule=SCHEDULES[number % 3])
                compare_samples(plain, placed, random_maps(2, seed=number), (CONSTANT, REFLECT, REPLICATE)[number % 3])


def test_vectors_ask_for_fewer_bytes(interleaved: Harness) -> None:
    """Of lines that lie in vectors, neighbors are handed from lane to lane."""

    def asked(images: Tensor, farthest: int) -> tuple[float, float, float]:
        interleaved.set(farthest=farthest)
        interleaved.high_frequency_loss(images, 1)
        forward, _ = interleaved.traffic()["summing differences"]
        interleaved.high_frequency_loss_backward(torch.ones(len(images)), images, 1)
        read, written = interleaved.traffic()["gathering the gradient"]
        return forward / images.numel(), read / images.numel(), written / images.numel()

    for images in (torch.randn(1, 3, 32, 128), torch.randn(1, 3, 32, 128).to(memory_format=torch.channels_last)):
        one_by_one, vectors = asked(images, 0), asked(images, OWN_LIMIT)
        assert one_by_one[0] > 11.5
        assert vectors[0] < 8.2  # each pixel, and the one below
        assert one_by_one[1] > 19.3
        assert vectors[1] < 12.8  # and the one above
        assert one_by_one[2] == vectors[2] == 4.0
