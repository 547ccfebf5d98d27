"""Inputs on which implementations of the operators are compared, here and in tests/cuda."""

from __future__ import annotations

import torch
from torch import Tensor

from captum_proto.ops import _twin

FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
EMPTY_IMAGES = [(0, 3, 4, 4), (2, 0, 4, 4), (2, 3, 0, 4), (2, 3, 4, 0)]
IMAGE_SHAPES = [
    (2, 3, 8, 9),
    (1, 1, 1, 1),
    (3, 2, 1, 7),
    (2, 3, 7, 1),
    (2, 1, 33, 65),
    (1, 5, 2, 2),
    (1, 3, 70, 40),
    *EMPTY_IMAGES,
]


def assert_same_bits(actual: Tensor, expected: Tensor) -> None:
    """Equal to the last bit; any NaN equals any other."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    actual, expected = actual.contiguous(), expected.contiguous()
    if actual.is_floating_point():
        assert torch.equal(actual.isnan(), expected.isnan())
        actual, expected = actual.nan_to_num(0.0), expected.nan_to_num(0.0)
        integer = {2: torch.int16, 4: torch.int32, 8: torch.int64}[actual.element_size()]
        actual, expected = actual.view(integer), expected.view(integer)
    assert torch.equal(actual, expected)


def rows_like_layers(rows: int, length: int, dtype: torch.dtype, seed: int = 0) -> Tensor:
    """Rows as networks make them and as they should never be: distinct values, many ties, a ReLU's zeros, constants, NaN."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, length, generator=generator, dtype=torch.float64)
    kinds = [
        lambda row: row,
        torch.relu,
        lambda row: (row * 2).round(),
        lambda row: torch.where(row > 1, 6.0, -0.0),
        torch.zeros_like,
        lambda row: row.sign() * float("inf"),
        lambda row: torch.where(row > row.max() - 0.01, float("nan"), row),
        lambda row: row.sort().values,
        lambda row: row * 1e-41,  # denormal in every type but float64
    ]
    for i in range(rows if length else 0):
        x[i] = kinds[(i + seed) % len(kinds)](x[i])
    return x.to(dtype)


def references(rows: int, length: int, seed: int = 1) -> Tensor:
    return _twin.doubled_rank(rows_like_layers(rows, length, torch.float32, seed))


def images_with_equal_neighbors(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Random images in which about a third of the pixels equal the one above: differences of exactly zero."""
    images = torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype)
    below, above = images[..., 1:, :], images[..., :-1, :]
    images[..., 1:, :] = torch.where(below > 0.5, above, below)
    return images


def image_layouts(images: Tensor) -> dict[str, Tensor]:
    n, c, h, w = images.shape
    if images.numel() == 0:
        return {"contiguous": images, "channels_last": images.to(memory_format=torch.channels_last)}
    return {
        "contiguous": images,
        "channels_last": images.to(memory_format=torch.channels_last),
        "transposed": images.transpose(2, 3).contiguous().transpose(2, 3),
        "expanded": images[:1].expand(max(n, 2), c, h, w),
        "expanded channels": images[:, :1].expand(n, 3, h, w),
        "cut out": torch.nn.functional.pad(images, (1, 2, 3, 1))[:, :, 3 : 3 + h, 1 : 1 + w],
        "cut out, channels_last": torch.nn.functional.pad(images, (1, 2, 3, 1)).to(memory_format=torch.channels_last)[
            :, :, 3 : 3 + h, 1 : 1 + w
        ],
        "flat": images.as_strided((2, c, h, w), (0, 0, 0, 0)),
    }
