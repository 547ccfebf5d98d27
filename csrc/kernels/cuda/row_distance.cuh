// The L1 distance of rows to a mean, in an order that depends on the length alone: taken by whichever kernel reads a row first.
#pragma once

#include "block_sum.cuh"
#include "values.cuh"

namespace captum_proto::cuda {

/// Values of a row that a block takes together when it reads them first: one partial sum of the distance. Its thread t of
/// kBlockThreads adds the values t, t + kBlockThreads, … of the tile.
constexpr int kDistanceTile = 8192;

/// No distance is asked for.
struct NoDistance {
  struct Sum {
    template <typename T>
    __device__ __forceinline__ void add(T /*value*/, int64_t /*row*/, int64_t /*column*/) {}
    __device__ __forceinline__ void finish(int64_t /*row*/, int64_t /*tile*/, int64_t /*tiles*/) {}
    __device__ __forceinline__ void end_warp(double* /*of_warps*/, int /*warp*/) {}
    __device__ __forceinline__ void finish_warps(const double* /*of_warps*/, int64_t /*row*/) {}
  };
  __device__ __forceinline__ Sum start() const { return Sum{}; }
};

/// partials (rows, tiles) = the tiles' sums of |x - mean|.
template <typename Mean>
struct DistanceTo {
  Rows<Mean> mean;
  double* partials;

  struct Sum {
    const DistanceTo& to;
    double sum;
    template <typename T>
    __device__ __forceinline__ void add(T value, int64_t row, int64_t column) {
      sum += fabs(static_cast<double>(widen(value)) - static_cast<double>(to.mean.at(row, column)));
    }
    /// Every thread of the block calls it, for each tile anew.
    __device__ __forceinline__ void finish(int64_t row, int64_t tile, int64_t tiles) {
      sum = block_sum(sum);
      if (threadIdx.x == 0) to.partials[row * tiles + tile] = sum;
    }

    /// For a row of one tile by a block of fewer threads, whose warps play the others one after the other: the sum of one of the
    /// warps of kBlockThreads.
    __device__ __forceinline__ void end_warp(double* of_warps, int warp) {
      sum = warp_sum(sum);
      if (lane_of_thread() == 0) of_warps[warp] = sum;
      sum = 0;
    }
    /// The sum of them all, by the block's first warp, after a barrier.
    __device__ __forceinline__ void finish_warps(const double* of_warps, int64_t row) {
      if (warp_of_thread() != 0) return;
      sum = warp_sum(lane_of_thread() < kBlockThreads / kWarp ? of_warps[lane_of_thread()] : 0.0);
      if (lane_of_thread() == 0) to.partials[row] = sum;
    }
  };
  __device__ __forceinline__ Sum start() const { return Sum{*this, 0}; }
};

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

}  // namespace captum_proto::cuda
