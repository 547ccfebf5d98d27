// Sums over a warp and over a block, always in the same order.
#pragma once

#include "wide_sum.cuh"

namespace captum_proto::cuda {

/// The sum over the warp, in lane 0.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_down_sync(kAllLanes, value, offset);
  return value;
}

/// The sum over the block, in thread 0. Every thread of the block calls it; blocks are whole warps.
template <typename T>
__device__ T block_sum(T value) {
  using PerWarp = T[kWarp];
  CAPTUM_PROTO_SHARED(PerWarp, sums);
  value = warp_sum(value);
  __syncthreads();  // the sums of an earlier call have been read
  if (lane_of_thread() == 0) sums[warp_of_thread()] = value;
  __syncthreads();
  if (warp_of_thread() != 0) return T(0);
  return warp_sum(lane_of_thread() < warps_of_block() ? sums[lane_of_thread()] : T(0));
}

__device__ __forceinline__ WideSum block_sum(WideSum value) {
  const unsigned long long low = block_sum(value.low);
  const unsigned long long high = block_sum(value.high);
  return WideSum{low, high};
}

}  // namespace captum_proto::cuda
