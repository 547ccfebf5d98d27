"""The operators' schemas: the one place where names and argument types are written down."""

from __future__ import annotations

import torch

NAMESPACE = "captum_proto"

#: Ranks are held as *doubled* ranks: twice the average rank is an integer, ties included, so every sum over them is exact.
#: A row that has no ranks because it holds a NaN is all zeros (the smallest doubled rank is 2).
SCHEMAS = {
    # (N, C, H, W) any strides -> (N,) float32, or float64 for float64 images
    "high_frequency_loss": "(Tensor images, int power) -> Tensor",
    # (N,) , (N, C, H, W) -> gradient in the dtype and layout of images
    "high_frequency_loss_backward": "(Tensor grad_output, Tensor images, int power) -> Tensor",
    # (N, C, H, W) float32 or float64, any strides; (N, 2, 3) float32 or float64; (C,) and (C,) in the images' dtype
    # -> (N, C, H, W), contiguous or channels_last: (sample of (images - fill) * scale) + shift; the border is one of BORDERS
    "affine_sample": (
        "(Tensor images, Tensor matrix, Tensor scale, Tensor shift, float fill, bool channels_last, int border=0) -> Tensor"
    ),
    # the gradient by the images, contiguous or channels_last, given the one by the samples
    "affine_sample_backward": (
        "(Tensor grad_output, Tensor matrix, Tensor scale, bool channels_last, int border=0) -> Tensor"
    ),
    # (N, D) floating -> (N, D) int32
    "doubled_rank": "(Tensor x) -> Tensor",
    # (N, D) floating -> (N, D) float64; NaN in a row: the whole row NaN
    "rank": "(Tensor x) -> Tensor",
    # (N, D) floating, (D,) or (N, D) int32 -> (N,) float64
    "spearman": "(Tensor x, Tensor doubled_ranks) -> Tensor",
    # (N, D) floating, (D,) or (N, D) float32 or float64, (D,) or (N, D) int32 -> (N,) float64, (N,) float64
    "path_distance": "(Tensor x, Tensor mean, Tensor doubled_ranks) -> (Tensor, Tensor)",
    # (D,) float64, (N, D) floating: the rows are added to the sums
    "accumulate": "(Tensor(a!) sums, Tensor rows) -> ()",
    # (N, C, P) floating -> maximum, its position and mean over P: (N, C) float32 or float64, (N, C) int64, (N, C)
    "unit_summary": "(Tensor values) -> (Tensor, Tensor, Tensor)",
    # three (U, k): float32 or float64, int64, int64; three (N, U) of the same dtypes: entries that may displace those of the lists
    "top_k": (
        "(Tensor(a!) scores, Tensor(b!) indices, Tensor(c!) payload, Tensor new_scores, Tensor new_indices, Tensor new_payload, "
        "bool largest) -> ()"
    ),
    # (U, bins) int32 or int64, (U, A, B) floating: each value adds one to its bin
    "radix_histogram": "(Tensor(a!) counts, Tensor values) -> ()",
    # (bins,) int64, (S,) int64, (room,) as values, (U, A, B) floating, (U + 1,) int64, (S, 5) int64: see ops.radix_select
    "radix_select": (
        "(Tensor(a!) counts, Tensor(b!) filled, Tensor(c!) kept, Tensor values, Tensor first, Tensor slots) -> ()"
    ),
    # (U, K + 1) int64, (N, U, h, w) float32 or float64, (U,) float64, (N, M, H, W) int16 -> firing pixels of each image (N, U) int64;
    # those of each label are added to the counts
    "unit_concept_counts": (
        "(Tensor(a!) counts, Tensor activations, Tensor thresholds, Tensor labels, bool align_corners) -> Tensor"
    ),
    # (p, W) and (q, W) int64 -> (p, q) int64: how many bits each pair has in common
    "packed_counts": "(Tensor a, Tensor b) -> Tensor",
}

#: What is outside of an image that is sampled, in the order of ``Border`` of ``csrc/kernels/border.h``: a number, the image's mirror
#: image, or its nearest pixel.
BORDERS = ("constant", "reflect", "replicate")

#: The longest row that can be ranked: up to here the halves of every 128-bit sum are exact in float64. The native kernels' limit is
#: ``kLongestRow`` of ``csrc/kernels/limits.h``; a test keeps the two equal.
MAX_ROW_LENGTH = 2**28

for name, schema in SCHEMAS.items():
    torch.library.define(f"{NAMESPACE}::{name}", schema)
