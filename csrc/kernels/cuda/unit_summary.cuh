// Maximum, its position and mean of each unit over positions, in one reading.
#pragma once

#include "../digits.h"
#include "block_sum.cuh"
#include "unit_values.cuh"

namespace captum_proto::cuda {

/// The results, (outer, units) each.
template <typename W>
struct SummaryOutputs {
  W* largest;
  int64_t* position;
  W* mean;
};

constexpr int64_t kNoPosition = INT64_MAX;

/// The largest of some values and where it is, the first of several; or a NaN, if there is one, which counts as larger than all.
template <typename W>
struct Largest {
  W value;
  int64_t position;

  __device__ __forceinline__ bool is_nan() const { return value != value; }
  /// Takes in values of other positions.
  __device__ __forceinline__ void add(W other, int64_t at) {
    if (at == kNoPosition) return;
    const bool other_is_nan = other != other;
    const bool better = position == kNoPosition || (other_is_nan && !is_nan()) || (!is_nan() && other > value);
    const bool equal = other_is_nan ? is_nan() : other == value;
    if (better || (equal && at < position)) {
      value = other;
      position = at;
    }
  }
};

/// A block takes 32 units of an image at a time; positions come to shared memory by the 32, read along whichever axis is the finer.
/// Lane l of a warp adds up the positions l, l + 32, …, as the CPU's partial sums do.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) summarize_units(UnitValues<T> x, SummaryOutputs<Wide<T>> out) {
  using W = Wide<T>;
  constexpr int kWarps = kBlockThreads / kWarp;
  constexpr int kUnitsPerWarp = kWarp / kWarps;
  using Tile = W[kWarp][kWarp + 1];
  CAPTUM_PROTO_SHARED(Tile, tile);
  static_assert(kSummaryLanes == kWarp, "a lane makes one partial sum");
  const bool units_are_finer = x.unit_stride < x.inner_stride;
  const int lane = lane_of_thread();
  const int warp = warp_of_thread();
  const int64_t tiles = ceil_div(x.units, kWarp);
  for (int64_t task = blockIdx.x; task < x.outer * tiles; task += gridDim.x) {
    const int64_t image = task / tiles;
    const int64_t first_unit = task % tiles * kWarp;
    Largest<W> largest[kUnitsPerWarp];
    double sums[kUnitsPerWarp];
    for (int i = 0; i < kUnitsPerWarp; ++i) {
      largest[i] = Largest<W>{W(0), kNoPosition};
      sums[i] = 0;
    }
    for (int64_t first = 0; first < x.inner; first += kWarp) {
      for (int row = warp; row < kWarp; row += kWarps) {
        const int unit = units_are_finer ? lane : row;
        const int position = units_are_finer ? row : lane;
        if (first_unit + unit < x.units && first + position < x.inner) {
          tile[unit][position] =
              widen(x.data[(first_unit + unit) * x.unit_stride + image * x.outer_stride + (first + position) * x.inner_stride]);
        }
      }
      __syncthreads();
      for (int i = 0; i < kUnitsPerWarp; ++i) {
        const int unit = warp * kUnitsPerWarp + i;
        if (first_unit + unit < x.units && first + lane < x.inner) {
          largest[i].add(tile[unit][lane], first + lane);
          sums[i] = add(sums[i], static_cast<double>(tile[unit][lane]));
        }
      }
      __syncthreads();  // before the next positions come
    }
    for (int i = 0; i < kUnitsPerWarp; ++i) {
      const double sum = warp_sum(sums[i]);
      for (int offset = kWarp / 2; offset > 0; offset /= 2) {
        const W other = __shfl_down_sync(kAllLanes, largest[i].value, offset);
        const int64_t at = __shfl_down_sync(kAllLanes, largest[i].position, offset);
        if (lane + offset < kWarp) largest[i].add(other, at);
      }
      const int64_t unit = first_unit + warp * kUnitsPerWarp + i;
      if (lane == 0 && unit < x.units) {
        const int64_t index = image * x.units + unit;
        out.largest[index] = largest[i].value;
        out.position[index] = largest[i].position;
        out.mean[index] = static_cast<W>(__ddiv_rn(sum, static_cast<double>(x.inner)));
      }
    }
  }
}

template <typename T>
void unit_summary(UnitValues<T> x, SummaryOutputs<Wide<T>> out, cudaStream_t stream) {
  launch("summarizing units", summarize_units<T>, grid_for(x.outer * ceil_div(x.units, kWarp)), kBlockThreads, 0, stream, x, out);
}

}  // namespace captum_proto::cuda
