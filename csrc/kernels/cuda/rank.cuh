// ops.rank: ranks of every row, ties averaged.
#pragma once

#include "half_rows.cuh"
#include "parted_rows.cuh"
#include "short_rows.cuh"

namespace captum_proto::cuda {

/// ranks (rows, length), contiguous = twice the average ranks of x; zeros for a row with a NaN.
template <typename T>
void doubled_rank(const Rows<T>& x, int64_t rows, int length, int32_t* ranks, const Plan& plan, Scratch& scratch,
                  cudaStream_t stream) {
  if (rows == 0 || length == 0) return;
  if (length <= plan.longest_short_row) {
    launch_rank_short_rows(x, rows, length, ranks, stream);
    return;
  }
  int32_t* has_nan = scratch.allocate<int32_t>(rows);
  fill_zero(has_nan, static_cast<size_t>(rows) * sizeof(int32_t), stream);
  if constexpr (kKeyBits<T> == 16) {
    if (length >= plan.shortest_histogram_row) {
      rank_half_rows(x, rows, length, plan.chunk_values, has_nan, ranks, scratch, stream);
      return;
    }
  }
  visit_rows(x, Payload{Rows<int32_t>{nullptr, 0, 0}}, NoDistance{}, rows, length, plan, has_nan,
             WriteRanks{ranks, has_nan, nullptr, false}, scratch, stream);
}

/// ranks = doubled / 2; NaN for the zeros of a row without ranks.
static __global__ void __launch_bounds__(kBlockThreads) halve_ranks(const int32_t* doubled, int64_t count, double* ranks) {
  const int64_t step = int64_t{blockDim.x} * gridDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step) {
    ranks[i] = doubled[i] == 0 ? not_a_number() : 0.5 * doubled[i];
  }
}

/// ranks (rows, length), contiguous = average ranks of x; NaN throughout a row with a NaN.
template <typename T>
void rank(const Rows<T>& x, int64_t rows, int length, double* ranks, const Plan& plan, Scratch& scratch, cudaStream_t stream) {
  if (rows * length == 0) return;
  for_chunks(
      rows, rows, scratch, [&](int64_t most) { return scratch.allocate<int32_t>(most * length); },
      [&](int32_t* doubled, int64_t first, int64_t count) {
        const Rows<T> part{x.data + first * x.row_stride, x.row_stride, x.stride};
        doubled_rank(part, count, length, doubled, plan, scratch, stream);
        launch("halving ranks", halve_ranks, grid_for(ceil_div(count * length, kBlockThreads)), kBlockThreads, 0, stream, doubled,
               count * length, ranks + first * length);
      });
}

}  // namespace captum_proto::cuda
