"""The operators on strange tensors, for test_strange_tensors.py: ``python strange_tensors.py FILE`` stores what came of it."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from captum_proto import ops


def odd(dtype: torch.dtype, offset: int) -> Tensor:
    """A view of bytes that begins at an odd address."""
    raw = bytearray(240 * torch.tensor([], dtype=dtype).element_size() + offset)
    return torch.frombuffer(raw, dtype=dtype, count=240, offset=offset).reshape(2, 3, 5, 8)


def kinds() -> dict[str, list[Tensor]]:
    x, many = torch.linspace(-3, 3, 240).reshape(2, 3, 5, 8), torch.arange(960.0)
    numbers = torch.view_as_complex(torch.linspace(0, 1, 480).reshape(2, 3, 5, 8, 2))
    others = [torch.int64, torch.int8, torch.bool, torch.complex64, torch.bfloat16, torch.float8_e4m3fn, torch.uint16]
    one = torch.ones(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rare = [x.to_sparse(), x[0, 0].to_sparse_csr(), torch.quantize_per_tensor(x, 0.1, 0, torch.qint8)]
    return {
        "empty": [
            torch.zeros(shape) for shape in ((0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0), (0, 0, 0, 0))
        ],
        "expanded": [x[:1, :1].expand(2, 3, 5, 8), one.expand(2, 3, 5, 8), x[..., :1].expand(2, 3, 5, 8)],
        "overlapping": [many.as_strided((2, 3, 5, 8), strides) for strides in ((1, 2, 3, 1), (7, 7, 7, 1))],
        "beginning within their storage": [
            many[17:257].reshape(2, 3, 5, 8),
            many.as_strided((2, 3, 5, 8), (240, 80, 16, 2), 5),
        ],
        "misaligned": [odd(dtype, at) for dtype in (torch.float32, torch.float64, torch.float16) for at in (1, 2, 3)],
        "permuted": [x.permute(3, 2, 1, 0), x.transpose(2, 3), x.flip(3), x.to(memory_format=torch.channels_last)],
        "of strange values": [
            x.log(),
            x * float("inf"),
            torch.full_like(x, float("nan")),
            x * 1e38 * 10,
            x * 1e-44,
            -x * 0,
        ],
        "of other types": [x.to(dtype) for dtype in others],
        "huge by strides": [one.expand(2**31, 2**16), one.expand(1, 2**29), one.expand(2**62), one.expand(3, 2**60)],
        "without values": [x.to("meta")],
        "sparse or quantized": rare,
        "conjugated or negated": [numbers.conj().imag, numbers.conj().real, torch._neg_view(x), numbers.conj()],
        "with a gradient": [x.clone().requires_grad_(), x.clone().requires_grad_() * 2, torch.nn.Parameter(x)],
        "of other dimensions": [torch.tensor(1.0), x[0, 0, 0], x[0, 0], x[0], x[None]],
    }


def calls(x: Tensor) -> Iterator[tuple[str, Callable[[], object]]]:
    small = x.layout is torch.strided and x.numel() < 10**6
    rows = x.flatten(1) if small and x.dim() > 2 else x
    count = rows.shape[-1] if rows.dim() and rows.shape[-1] < 1000 else 3
    line = torch.arange(float(count))

    def accumulated() -> Tensor:
        sums = torch.zeros(count, dtype=torch.float64)
        ops.accumulate(sums, rows)
        return sums

    images = x.shape[0] if x.dim() and x.shape[0] < 100 else 1
    matrix = torch.tensor([[1.0, 0.1, 0.2], [0.0, 0.9, -0.3]]).expand(images, 2, 3)
    words = rows.long() if small and not x.is_quantized and not x.is_complex() else rows
    yield "rank", lambda: ops.rank(rows)
    yield "spearman", lambda: ops.spearman(rows, line)
    yield "path_distance", lambda: ops.path_distance(rows, line)
    yield "accumulate", accumulated
    yield "high_frequency_loss", lambda: ops.high_frequency_loss(x)
    yield "high_frequency_loss, squared", lambda: ops.high_frequency_loss(x, 2)
    yield "affine_sample", lambda: ops.affine_sample(x, matrix)
    yield "affine_sample, reflected", lambda: ops.affine_sample(x, matrix, fill="reflect")
    if x.numel() < 10**6:  # units without values are units all the same, and each would be summarized
        yield "unit_summary", lambda: ops.unit_summary(x.flatten(2) if small and x.dim() > 3 else x)
    yield "packed_counts", lambda: ops.packed_counts(words, words)


def outcome(call: Callable[[], object]) -> str | list[Tensor]:
    try:
        found = call()
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        return f"{type(error).__name__}: {error}"
    return [each.detach() for each in (found if isinstance(found, tuple) else (found,)) if isinstance(each, Tensor)]


def main() -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    results: dict[str, dict[str, str | list[Tensor]]] = {}
    for kind, tensors in kinds().items():
        for number, x in enumerate(tensors):
            for name, call in calls(x):
                print(f"{kind}, {number}: {name}", flush=True)  # the last line says at what a process died
                results.setdefault(kind, {})[f"{name} of number {number}"] = outcome(call)
    torch.save(results, sys.argv[1])


if __name__ == "__main__":
    main()
