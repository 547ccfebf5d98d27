// From exact sums to Spearman's correlation.
#pragma once

#include "tie_sinks.cuh"
#include "values.cuh"

namespace captum_proto::cuda {

constexpr int kCorrelationTile = 8192;

__device__ __forceinline__ double not_a_number() { return __longlong_as_double(0x7ff8000000000000ll); }

/// A constant row gives 0 / 0. Each step is one IEEE operation, as in the other implementations, so the bits agree.
__device__ __forceinline__ double correlation(double products, double squares, double reference_squares) {
  const double rho = __ddiv_rn(products, __dsqrt_rn(__dmul_rn(squares, reference_squares)));
  if (rho > 1.0) return 1.0;
  if (rho < -1.0) return -1.0;
  return rho;
}

/// squares[row] += the centered squares of the reference's doubled ranks.
static __global__ void __launch_bounds__(kBlockThreads)
    sum_reference_squares(Rows<int32_t> reference, int64_t rows, int length, WideSum* squares) {
  const int64_t tiles = ceil_div(length, kCorrelationTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kCorrelationTile;
    const int end = length - begin < kCorrelationTile ? length : begin + kCorrelationTile;
    WideSum sum{0, 0};
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const long long centered = static_cast<long long>(reference.at(row, i)) - (length + 1);
      sum.add(centered * centered);
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) squares[row].add_atomically(sum);
  }
}

/// One thread a row. `reference_rows` is 1 where all rows share one reference.
static __global__ void __launch_bounds__(kBlockThreads)
    correlate_rows(const RowSums* sums, const WideSum* reference_squares, Rows<int32_t> reference, int64_t reference_rows,
                   const int32_t* has_nan, int64_t rows, double* result) {
  const int64_t step = int64_t{blockDim.x} * gridDim.x;
  for (int64_t row = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; row < rows; row += step) {
    const bool ranked = has_nan[row] == 0 && reference.at(row, 0) != 0;  // zeros stand for a reference with NaNs
    result[row] = ranked ? correlation(sums[row].products.to_double(), sums[row].squares.to_double(),
                                       reference_squares[reference_rows == 1 ? 0 : row].to_double())
                         : not_a_number();
  }
}

}  // namespace captum_proto::cuda
