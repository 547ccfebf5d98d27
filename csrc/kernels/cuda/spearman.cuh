// ops.spearman: each row's rank correlation with a reference, from exact integer sums.
#pragma once

#include "rank.cuh"

namespace captum_proto::cuda {

/// result (rows) = Spearman's correlation of each row of x with the reference's doubled ranks: one row for all
/// (`reference_rows` is 1) or row by row. NaN where a row holds a NaN or is constant, or the reference begins with 0. `distance` is
/// taken of the rows besides.
template <typename T, class Distance = NoDistance>
void spearman(const Rows<T>& x, const Rows<int32_t>& reference, int64_t reference_rows, int64_t rows, int length, double* result,
              const Plan& plan, Scratch& scratch, cudaStream_t stream, const Distance& distance = Distance()) {
  if (rows == 0) return;
  if (length <= plan.longest_short_row) {
    launch_correlate_short_rows(x, reference, distance, rows, length, result, stream);
    return;
  }
  // One stretch of zeros: the sums of rows and references, and the rows' notes of NaNs.
  const size_t size =
      static_cast<size_t>(rows) * (sizeof(RowSums) + sizeof(int32_t)) + static_cast<size_t>(reference_rows) * sizeof(WideSum);
  RowSums* sums = static_cast<RowSums*>(scratch.bytes(size));
  WideSum* reference_squares = reinterpret_cast<WideSum*>(sums + rows);
  int32_t* has_nan = reinterpret_cast<int32_t*>(reference_squares + reference_rows);
  fill_zero(sums, size, stream);

  bool counted = false;
  if constexpr (kKeyBits<T> == 16) {
    if (length >= plan.shortest_histogram_row) {
      correlate_half_rows(x, reference, distance, rows, length, plan.chunk_values, has_nan, sums, scratch, stream,
                          length < plan.shortest_separate_row && PackedSums::fit(length));
      counted = true;
    }
  }
  if (!counted) {
    visit_rows(x, Payload{reference}, distance, rows, length, plan, has_nan, SumProducts{sums, 0, 0, 0}, scratch, stream);
  }
  launch("summing the reference", sum_reference_squares, grid_for(reference_rows * ceil_div(length, kCorrelationTile)),
         kBlockThreads, 0, stream, reference, reference_rows, length, reference_squares);
  launch("correlating rows", correlate_rows, grid_for(ceil_div(rows, kBlockThreads)), kBlockThreads, 0, stream, sums,
         reference_squares, reference, reference_rows, has_nan, rows, result);
}

}  // namespace captum_proto::cuda
