// What the operators on rows expect of their arguments, on every device.
#pragma once

#include "kernels/limits.h"
#include "tensors.h"

namespace captum_proto {

/// Rows (N, D) that are short enough for exact sums.
inline void check_rows(const Tensor& rows, const char* name) {
  require(rows.dim() == 2, name, " has the shape ", ShapeOf{rows}, "; expected rows (N, D).");
  require(rows.size(1) <= kLongestRow, name, " has rows of ", rows.size(1), " values; at most ", kLongestRow,
          " can be ranked exactly: split them, or take a sample.");
}

/// A second operand: (D,), shared by all rows of x (N, D), or (N, D).
inline void check_beside(const Tensor& other, const char* name, const Tensor& x) {
  const bool shared = other.dim() == 1 && other.size(0) == x.size(1);
  const bool each = other.dim() == 2 && other.size(0) == x.size(0) && other.size(1) == x.size(1);
  require(shared || each, name, " has the shape ", ShapeOf{other}, "; for x of shape ", ShapeOf{x}, " expected (", x.size(1),
          ",) or the shape of x.");
  check_same_device(other, name, x, "x");
}

inline void check_doubled_ranks(const Tensor& doubled_ranks, const Tensor& x) {
  check_beside(doubled_ranks, "doubled_ranks", x);
  require(doubled_ranks.scalar_type() == ScalarType::Int, "doubled_ranks must be int32, as ops.SpearmanReference makes them.");
}

inline void check_mean(const Tensor& mean, const Tensor& x) {
  check_beside(mean, "mean", x);
  require(is_float_or_double(mean), "mean must be float32 or float64.");
}

/// Running sums (D,) of rows (N, D).
inline void check_sums(const Tensor& sums, const Tensor& rows) {
  check_same_device(sums, "sums", rows, "the rows");
  require(sums.scalar_type() == ScalarType::Double && sums.is_contiguous(), "sums must be contiguous and float64.");
  require(sums.dim() == 1 && sums.size(0) == rows.size(1), "sums have the shape ", ShapeOf{sums}, "; for rows of shape ",
          ShapeOf{rows}, " expected (", rows.size(1), ",).");
}

}  // namespace captum_proto
