"""
The operators that carry the arithmetic: one schema each, native kernels for CPU and CUDA where they are built, and a plain PyTorch
twin everywhere else.
"""

from captum_proto.ops import _schemas as _schemas  # isort: skip  # defines what the next two register kernels for
from captum_proto.ops import _registration as _registration  # isort: skip
from captum_proto.ops import _native
from captum_proto.ops._concepts import packed_counts, unit_concept_counts
from captum_proto.ops._digits import ordered_keys, values_of_keys
from captum_proto.ops._functional import (
    SpearmanReference,
    accumulate,
    affine_sample,
    high_frequency_loss,
    path_distance,
    rank,
    spearman,
)
from captum_proto.ops._native import backend
from captum_proto.ops._slow_path import SlowPathWarning
from captum_proto.ops._streams import radix_bins, radix_histogram, radix_select, top_k, unit_summary

_native.load()

__all__ = [
    "SlowPathWarning",
    "SpearmanReference",
    "accumulate",
    "affine_sample",
    "backend",
    "high_frequency_loss",
    "ordered_keys",
    "packed_counts",
    "path_distance",
    "radix_bins",
    "radix_histogram",
    "radix_select",
    "rank",
    "spearman",
    "top_k",
    "unit_concept_counts",
    "unit_summary",
    "values_of_keys",
]
