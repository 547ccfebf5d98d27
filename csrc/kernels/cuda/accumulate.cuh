// ops.accumulate: running sums over rows.
#pragma once

#include "values.cuh"

namespace captum_proto::cuda {

/// Rows whose values a thread reads before it adds them: so many of its reads are under way at a time.
constexpr int kRowsAhead = 8;

/// sums (length) += the rows, one after the other: the sums do not depend on how rows come in batches. A thread has sums of its
/// own, and neighbors read neighbors' values.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) add_rows(Rows<T> rows, int64_t count, int64_t length, double* __restrict__ sums) {
  const int64_t threads = int64_t{gridDim.x} * blockDim.x;
  for (int64_t column = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; column < length; column += threads) {
    double sum = sums[column];
    int64_t row = 0;
    for (; row + kRowsAhead <= count; row += kRowsAhead) {
      T values[kRowsAhead];
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) values[i] = rows.at(row + i, column);
#pragma unroll
      for (int i = 0; i < kRowsAhead; ++i) sum = add(sum, static_cast<double>(widen(values[i])));
    }
    for (; row < count; ++row) sum = add(sum, static_cast<double>(widen(rows.at(row, column))));
    sums[column] = sum;
  }
}

template <typename T>
void accumulate(const Rows<T>& rows, int64_t count, int64_t length, double* sums, cudaStream_t stream) {
  if (count == 0) return;
  launch("adding rows", add_rows<T>, grid_for(ceil_div(length, kBlockThreads)), kBlockThreads, 0, stream, rows, count, length,
         sums);
}

}  // namespace captum_proto::cuda
