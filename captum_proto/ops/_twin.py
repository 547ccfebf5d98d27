"""
The operators in plain PyTorch: the fallback where nothing native is built, and the oracle of the parity tests.

Written to be read beside ``csrc/kernels``: both compute the same integers, so their results are equal to the last bit.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from captum_proto.ops._twin_concepts import packed_counts, unit_concept_counts
from captum_proto.ops._twin_streams import radix_histogram, radix_select, top_k, unit_summary
from captum_proto.ops.double import has_float64

__all__ = [
    "accumulate",
    "accumulation_dtype",
    "affine_sample",
    "affine_sample_backward",
    "doubled_rank",
    "high_frequency_loss",
    "high_frequency_loss_backward",
    "memory_format",
    "packed_counts",
    "path_distance",
    "radix_histogram",
    "radix_select",
    "rank",
    "spearman",
    "top_k",
    "unit_concept_counts",
    "unit_summary",
]


def accumulation_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which differences of ``dtype`` are taken and returned: float32 for half types, else ``dtype``."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else dtype


def _wide(values: Tensor) -> torch.dtype:
    """The dtype in which sums of values are taken that stay on their device: float64, or their own where the device has none."""
    return torch.float64 if has_float64(values.device) else values.dtype


def high_frequency_loss(images: Tensor, power: int) -> Tensor:
    n, c, h, w = images.shape
    x = images.to(accumulation_dtype(images.dtype))
    loss = x.new_zeros(n)
    if n == 0:
        return loss
    for dim, pairs in ((2, c * (h - 1) * w), (3, c * h * (w - 1))):
        if pairs > 0:
            difference = x.diff(dim=dim)
            term = difference.abs() if power == 1 else difference.square()
            loss = loss + term.sum(dim=(1, 2, 3), dtype=_wide(x)).div(pairs).to(x.dtype)
    return loss


def high_frequency_loss_backward(grad_output: Tensor, images: Tensor, power: int) -> Tensor:
    _, c, h, w = images.shape
    x = images.to(accumulation_dtype(images.dtype))
    grad = torch.zeros_like(x)
    scale = grad_output.to(x.dtype).view(-1, 1, 1, 1)
    for dim, pairs in ((2, c * (h - 1) * w), (3, c * h * (w - 1))):
        if pairs > 0:
            difference = x.diff(dim=dim)
            slope = (difference.sign() if power == 1 else 2 * difference) * (scale / pairs)
            size = difference.size(dim)
            grad.narrow(dim, 1, size).add_(slope)
            grad.narrow(dim, 0, size).sub_(slope)
    return grad.to(images.dtype)


#: What PyTorch's sampler calls the borders of ``BORDERS``, in their order, and the numbers that it has for them.
_PADDING_MODES = ("zeros", "reflection", "border")
_PADDING_NUMBERS = {"zeros": 0, "border": 1, "reflection": 2}


def memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


def affine_sample(
    images: Tensor, matrix: Tensor, scale: Tensor, shift: Tensor, fill: float, channels_last: bool, border: int = 0
) -> Tensor:
    samples = torch.empty_like(images, memory_format=memory_format(channels_last))
    if images.numel() == 0:
        return samples
    sampled = torch.nn.functional.grid_sample(
        images - fill, _grid(matrix, images), mode="bilinear", padding_mode=_PADDING_MODES[border], align_corners=False
    )
    return samples.copy_(sampled * scale.view(-1, 1, 1) + shift.view(-1, 1, 1))


def affine_sample_backward(
    grad_output: Tensor, matrix: Tensor, scale: Tensor, channels_last: bool, border: int = 0
) -> Tensor:
    gradients = torch.empty_like(grad_output, memory_format=memory_format(channels_last))
    if grad_output.numel() == 0:
        return gradients
    scaled = grad_output * scale.view(-1, 1, 1)
    # Bilinear; the gradient by the images alone, which does not depend on them: any tensor of their shape will do.
    padding = _PADDING_NUMBERS[_PADDING_MODES[border]]
    gradient, _ = torch.ops.aten.grid_sampler_2d_backward(
        scaled, scaled, _grid(matrix, scaled), 0, padding, False, [True, False]
    )
    return gradients.copy_(gradient)


def _grid(matrix: Tensor, images: Tensor) -> Tensor:
    """Where each output pixel is read: taken in float64 where it is had, and rounded to the images' dtype, which has a sampler."""
    n, _, height, width = images.shape
    grid = torch.nn.functional.affine_grid(matrix.to(_wide(matrix)), [n, 1, height, width], align_corners=False)
    return grid.to(images.dtype)


def _sort_keys(row: Tensor) -> Tensor:
    """Integers that order as the values of ``row`` do, with -0 equal to +0."""
    if row.dtype in (torch.float16, torch.bfloat16):
        row = row.to(torch.float32)
    row = row + 0.0  # -0 + 0 is +0
    integer, lowest = (
        (torch.int64, torch.iinfo(torch.int64).min)
        if row.dtype == torch.float64
        else (torch.int32, torch.iinfo(torch.int32).min)
    )
    bits = row.view(integer)
    # A negative float's bits, read as an integer, fall as the value rises: mirror them below zero.
    return torch.where(bits < 0, lowest - bits, bits)


def _doubled_rank_of_row(row: Tensor) -> Tensor:
    size = row.numel()
    if size == 0 or bool(row.isnan().any()):
        return torch.zeros(size, dtype=torch.int32, device=row.device)
    # One row at a time: a one-dimensional sort takes PyTorch's parallel radix path, a two-dimensional one does not.
    keys, order = _sort_keys(row.contiguous()).sort()
    starts_group = torch.ones(size, dtype=torch.bool, device=row.device)
    torch.ne(keys[1:], keys[:-1], out=starts_group[1:])
    begin = starts_group.nonzero().squeeze(1)
    end = torch.cat([begin[1:], begin.new_tensor([size])])
    # Ranks begin+1 … end share their average, whose double is begin + end + 1.
    group_rank = (begin + end + 1).to(torch.int32)
    ranks = torch.empty(size, dtype=torch.int32, device=row.device)
    ranks[order] = group_rank.repeat_interleave(end - begin)
    return ranks


def doubled_rank(x: Tensor) -> Tensor:
    ranks = torch.empty(x.shape, dtype=torch.int32, device=x.device)
    for row, out in zip(x, ranks, strict=True):
        out.copy_(_doubled_rank_of_row(row))
    return ranks


def rank(x: Tensor) -> Tensor:
    doubled = doubled_rank(x)
    return torch.where(doubled == 0, float("nan"), doubled.to(torch.float64) / 2)


def _exact_dot(a: Tensor, b: Tensor) -> int:
    """
    The sum of the products of two int64 rows.

    Products stay below 2^58 for the longest row allowed. Their high and low 32 bits are summed apart, so that no sum overflows.
    """
    product = a * b
    return (int((product >> 32).sum()) << 32) + int((product & 0xFFFFFFFF).sum())


def _correlation(u: Tensor, q: Tensor) -> float:
    """Pearson correlation of two rows of doubled ranks (D,): exact integers, each rounded once, then three roundings more."""
    if u.numel() == 0 or bool(u[0] == 0) or bool(q[0] == 0):
        return math.nan
    center = u.numel() + 1
    u, q = u.long() - center, q.long() - center
    # Python's square root and division round as IEEE 754 says. PyTorch's square root on the CPU is MKL's, which may be one bit off.
    scale = math.sqrt(float(_exact_dot(u, u)) * float(_exact_dot(q, q)))
    return max(-1.0, min(1.0, float(_exact_dot(u, q)) / scale)) if scale else math.nan


def spearman(x: Tensor, doubled_ranks: Tensor) -> Tensor:
    result = torch.empty(x.size(0), dtype=torch.float64, device=x.device)
    for i, row in enumerate(x):
        result[i] = _correlation(
            _doubled_rank_of_row(row), doubled_ranks if doubled_ranks.dim() == 1 else doubled_ranks[i]
        )
    return result


def path_distance(x: Tensor, mean: Tensor, doubled_ranks: Tensor) -> tuple[Tensor, Tensor]:
    l1 = torch.empty(x.size(0), dtype=torch.float64, device=x.device)
    for i, row in enumerate(x):
        l1[i] = (row.to(torch.float64) - (mean if mean.dim() == 1 else mean[i]).to(torch.float64)).abs().sum()
    return spearman(x, doubled_ranks), l1


def accumulate(sums: Tensor, rows: Tensor) -> None:
    for row in rows:  # one by one: the order of a sum over the batch would depend on its size
        sums.add_(row)
