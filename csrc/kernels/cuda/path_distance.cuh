// ops.path_distance: Spearman's correlation and the L1 distance of a layer's output to its reference.
#pragma once

#include "spearman.cuh"

namespace captum_proto::cuda {

constexpr int kDistanceTile = 8192;

/// partials (rows, tiles) = the tiles' sums of |x - mean|, each in a fixed order.
template <typename T, typename Mean>
__global__ void __launch_bounds__(kBlockThreads)
    sum_distances(Rows<T> x, Rows<Mean> mean, int64_t rows, int64_t length, double* partials) {
  const int64_t tiles = ceil_div(length, kDistanceTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int64_t begin = task % tiles * kDistanceTile;
    const int64_t end = length - begin < kDistanceTile ? length : begin + kDistanceTile;
    double sum = 0;
    for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
      sum += fabs(static_cast<double>(widen(x.at(row, i))) - static_cast<double>(mean.at(row, i)));
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) partials[task] = sum;
  }
}

/// result (rows) = the sums of the rows of partials. A warp adds one row.
static __global__ void __launch_bounds__(kBlockThreads)
    add_partials(const double* partials, int64_t rows, int64_t tiles, double* result) {
  const int64_t warps = int64_t{gridDim.x} * warps_of_block();
  for (int64_t row = int64_t{blockIdx.x} * warps_of_block() + warp_of_thread(); row < rows; row += warps) {
    double sum = 0;
    for (int64_t tile = lane_of_thread(); tile < tiles; tile += kWarp) sum += partials[row * tiles + tile];
    sum = warp_sum(sum);
    if (lane_of_thread() == 0) result[row] = sum;
  }
}

/// result (rows) = Σ |x - mean| of each row, in double.
template <typename T, typename Mean>
void l1_distance(const Rows<T>& x, const Rows<Mean>& mean, int64_t rows, int64_t length, double* result, Scratch& scratch,
                 cudaStream_t stream) {
  if (rows == 0) return;
  if (length == 0) {
    fill_zero(result, static_cast<size_t>(rows) * sizeof(double), stream);
    return;
  }
  const int64_t tiles = ceil_div(length, kDistanceTile);
  double* partials = tiles == 1 ? result : scratch.allocate<double>(rows * tiles);
  launch("summing distances", sum_distances<T, Mean>, grid_for(rows * tiles), kBlockThreads, 0, stream, x, mean, rows, length,
         partials);
  if (tiles > 1) {
    launch("adding partial distances", add_partials, grid_for(ceil_div(rows, kBlockThreads / kWarp)), kBlockThreads, 0, stream,
           partials, rows, tiles, result);
  }
}

}  // namespace captum_proto::cuda
