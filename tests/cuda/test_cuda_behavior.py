"""How the operators behave on a GPU: streams, graphs, repetitions, PyTorch's compiler and its checks of custom operators."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable

import pytest
import torch
from native.affine_samples import random_maps
from native.operator_samples import FLOATING, assert_same_bits, references, rows_like_layers
from torch import Tensor

from captum_proto import ops

native = torch.ops.captum_proto

#: One input for each way of working: short rows, the library's sort of one and of all rows, histograms.
WAYS = [
    (300, torch.float32),
    (300, torch.float64),
    (5000, torch.float32),
    (5000, torch.float64),
    (20000, torch.bfloat16),
]


def all_operators(x: Tensor, reference: Tensor, images: Tensor) -> list[Tensor]:
    loss = native.high_frequency_loss(images, 1)
    # No tensor is made on the host, or a graph could not be captured.
    wide = images.double() if images.dtype == torch.float64 else images.float()
    matrix = (wide[:, :2, :1, :3] * 0.3).squeeze(2)
    ones = torch.ones_like(wide[0, :, 0, 0])
    return [
        native.doubled_rank(x),
        native.rank(x),
        native.spearman(x, reference),
        *native.path_distance(x, x[0].float(), reference),
        loss,
        native.high_frequency_loss_backward(torch.ones_like(loss), images, 2),
        native.affine_sample(wide, matrix, ones, ones, 0.5, True),
        native.affine_sample_backward(wide, matrix, ones, False),
        native.affine_sample(wide, matrix, ones, ones, 0.0, False, 1),
        native.affine_sample_backward(wide, matrix, ones, True, 1),
    ]


def inputs(length: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    return rows_like_layers(9, length, dtype).cuda(), references(1, length, seed=7)[0].cuda(), images.to(dtype).cuda()


@pytest.mark.giant
@pytest.mark.parametrize(("length", "dtype"), WAYS, ids=str)
def test_work_is_queued_on_the_current_stream(length: int, dtype: torch.dtype) -> None:
    arguments = inputs(length, dtype)
    expected = all_operators(*arguments)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        all_operators(*arguments)  # takes the memory that the stream will need: allocating it might wait for the GPU
    torch.cuda.synchronize()
    busy = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)  # about a second in which the default stream does nothing else
    busy.record()
    with torch.cuda.stream(stream):
        results = all_operators(*arguments)
    stream.synchronize()
    waited_for_the_default_stream = busy.query()
    torch.cuda.synchronize()
    assert not waited_for_the_default_stream
    for result, right in zip(results, expected, strict=True):
        assert_same_bits(result, right)


@pytest.mark.giant
@pytest.mark.parametrize(("length", "dtype"), WAYS, ids=str)
def test_work_follows_what_its_stream_did_before(length: int, dtype: torch.dtype) -> None:
    x, reference, images = inputs(length, dtype)
    expected = all_operators(x, reference, images)
    late_x, late_images = torch.zeros_like(x), torch.zeros_like(images)
    torch.cuda.synchronize()
    with torch.cuda.stream(torch.cuda.Stream()):
        torch.cuda._sleep(200_000_000)
        late_x.copy_(x)
        late_images.copy_(images)
        results = all_operators(late_x, reference, late_images)
        late_x.zero_()
        late_images.zero_()
    torch.cuda.synchronize()
    for result, right in zip(results, expected, strict=True):
        assert_same_bits(result, right)


@pytest.mark.parametrize(("length", "dtype"), WAYS, ids=str)
def test_a_cuda_graph_holds_them(length: int, dtype: torch.dtype) -> None:
    """Nothing waits for the GPU, or a graph could not be captured."""
    x, reference, images = inputs(length, dtype)
    expected = all_operators(x, reference, images)
    static_x, static_images = x.clone(), images.clone()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        results = all_operators(static_x, reference, static_images)
    static_x.zero_()
    static_images.zero_()
    graph.replay()
    static_x.copy_(x)
    static_images.copy_(images)
    graph.replay()
    torch.cuda.synchronize()
    for result, right in zip(results, expected, strict=True):
        assert_same_bits(result, right)


@pytest.mark.parametrize(("length", "dtype"), [*WAYS, (200000, torch.float32), (200000, torch.float16)], ids=str)
def test_the_same_bits_every_time(length: int, dtype: torch.dtype) -> None:
    arguments = inputs(length, dtype)
    first = all_operators(*arguments)
    for _ in range(20):
        for result, before in zip(all_operators(*arguments), first, strict=True):
            assert_same_bits(result, before)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_a_row_alone_is_the_row_in_a_batch(dtype: torch.dtype) -> None:
    for length in (700, 6000, 30000):
        x, reference, _ = inputs(length, dtype)
        mean = x[0].double()
        together = native.path_distance(x, mean, reference)
        for i in range(x.size(0)):
            alone = native.path_distance(x[i : i + 1], mean, reference)
            assert_same_bits(alone[0], together[0][i : i + 1])
            assert_same_bits(alone[1], together[1][i : i + 1])


def test_another_gpu_than_the_current_one() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU only")
    arguments = inputs(5000, torch.float32)
    expected = all_operators(*arguments)
    with torch.cuda.device(0):
        results = all_operators(*(argument.to("cuda:1") for argument in arguments))
    for result, right in zip(results, expected, strict=True):
        assert result.device.index == 1
        assert_same_bits(result.cpu(), right.cpu())


def backends() -> list[str]:
    return ["aot_eager", "inductor"] if importlib.util.find_spec("triton") else ["aot_eager"]


@pytest.mark.parametrize("backend", backends())
def test_the_compiler_takes_them_whole(backend: str) -> None:
    x, reference, images = inputs(3000, torch.float32)

    def everything(x: Tensor, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        spearman, l1 = ops.path_distance(x * 2, x[0], ops.SpearmanReference(x[1]))
        return ops.rank(x), spearman + 1, l1, ops.high_frequency_loss(images, 2) * 3

    torch._dynamo.reset()
    images.requires_grad_()
    expected = everything(x, images)
    (expected_gradient,) = torch.autograd.grad(expected[-1].sum(), images)
    results = torch.compile(everything, fullgraph=True, backend=backend)(x, images)
    (gradient,) = torch.autograd.grad(results[-1].sum(), images)
    for result, right in zip(results, expected, strict=True):
        torch.testing.assert_close(result, right, equal_nan=True)
    torch.testing.assert_close(gradient, expected_gradient)
    assert_same_bits(torch.compile(ops.spearman, fullgraph=True, backend=backend)(x, x[2]), ops.spearman(x, x[2]))
    del reference


def samples() -> dict[str, list[Callable[[], tuple[object, ...]]]]:
    def rows(n: int, d: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(n, d, dtype=dtype, device="cuda")

    def ranks(n: int, d: int) -> Tensor:
        return native.doubled_rank(rows(n, d))

    def images(dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.randn(2, 3, 6, 5, dtype=dtype, device="cuda")

    def ones(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return torch.ones(3, dtype=dtype, device="cuda"), torch.ones(3, dtype=dtype, device="cuda")

    return {
        "doubled_rank": [lambda: (rows(3, 50),), lambda: (rows(2, 3000, torch.float64),), lambda: (rows(0, 4),)],
        "rank": [lambda: (rows(3, 50),), lambda: (rows(2, 3000),), lambda: (rows(2, 20000, torch.float16),)],
        "spearman": [lambda: (rows(3, 50), ranks(3, 50)), lambda: (rows(3, 3000), ranks(1, 3000)[0])],
        "path_distance": [
            lambda: (rows(3, 50), rows(1, 50)[0], ranks(3, 50)),
            lambda: (rows(3, 3000, torch.bfloat16), rows(3, 3000, torch.float64), ranks(1, 3000)[0]),
        ],
        "high_frequency_loss": [
            lambda: (images().requires_grad_(), 1),
            lambda: (images(torch.float64).to(memory_format=torch.channels_last).requires_grad_(), 2),
            lambda: (images(torch.float16), 1),
        ],
        "high_frequency_loss_backward": [
            lambda: (torch.ones(2, device="cuda"), images(), 1),
            lambda: (torch.ones(2, device="cuda"), images(torch.bfloat16), 2),
        ],
        "affine_sample": [
            lambda: (images().requires_grad_(), random_maps(2).cuda(), *ones(torch.float32), 0.5, False),
            lambda: (images(torch.float64).requires_grad_(), random_maps(2).cuda(), *ones(torch.float64), 0.5, True),
        ],
        "affine_sample_backward": [
            lambda: (images(), random_maps(2).float().cuda(), ones(torch.float32)[0], True),
            lambda: (images(torch.float64), random_maps(2).cuda(), ones(torch.float64)[0], False),
        ],
    }


@pytest.mark.parametrize("name", ["doubled_rank", "rank", "spearman", "path_distance"])
def test_opcheck_of_rows(name: str) -> None:
    for arguments in samples()[name]:
        torch.library.opcheck(getattr(native, name).default, arguments())


@pytest.mark.parametrize(
    "name", ["high_frequency_loss", "high_frequency_loss_backward", "affine_sample", "affine_sample_backward"]
)
def test_opcheck_of_images(name: str) -> None:
    for arguments in samples()[name]:
        torch.library.opcheck(getattr(native, name).default, arguments())
