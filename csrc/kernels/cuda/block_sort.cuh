// A block's radix sort in shared memory: stable, five bits a pass, and of the bits alone in which the keys differ.
//
// A warp counts the digits of its own stretch of values, lane d those of digit d. Which lanes have which digit is told by ballots,
// a bit of the digit each, so that nothing is counted atomically, and equal digits keep their order.
#pragma once

#include "block_sum.cuh"

namespace captum_proto::cuda {

constexpr int kDigitBits = 5;  // as many digits as a warp has lanes
constexpr int kMostWarps = 32;

/// How many values of each digit a warp has. Lives in shared memory.
template <int kThreads>
struct DigitCounts {
  int32_t of[kThreads / kWarp][kWarp];
};

/// All threads' values combined, in each of them. Every thread of the block calls it; blocks are whole warps.
template <typename T, class Combine>
__device__ T block_reduce(T value, const Combine& combine) {
  using PerWarp = T[kMostWarps];
  CAPTUM_PROTO_SHARED(PerWarp, of_warps);
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value = combine(value, __shfl_down_sync(kAllLanes, value, offset));
  __syncthreads();  // what an earlier call left has been read
  if (lane_of_thread() == 0) of_warps[warp_of_thread()] = value;
  __syncthreads();
  value = of_warps[0];
  for (int warp = 1; warp < warps_of_block(); ++warp) value = combine(value, of_warps[warp]);
  return value;
}

struct Least {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a < b ? a : b;
  }
};

struct BitOr {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a | b;
  }
};

struct Plus {
  template <typename T>
  __device__ __forceinline__ T operator()(T a, T b) const {
    return a + b;
  }
};

__device__ __forceinline__ int lowest_bit(uint32_t bits) { return __ffs(static_cast<int>(bits)) - 1; }
__device__ __forceinline__ int lowest_bit(uint64_t bits) { return __ffsll(static_cast<long long>(bits)) - 1; }

/// The sum over the lanes up to and with this one.
__device__ __forceinline__ int32_t scan_lanes(int32_t value) {
  for (int offset = 1; offset < kWarp; offset *= 2) {
    const int32_t before = __shfl_up_sync(kAllLanes, value, offset);
    if (lane_of_thread() >= offset) value += before;
  }
  return value;
}

/// Sorts values[0 … count), at most kPerThread for each thread of the block, by their keys. A barrier precedes it; it ends with
/// one.
///
/// Values say what an item is, Item; how its key is found, key(item); and where items lie: get(i), put(i, item).
template <int kPerThread, int kThreads, class Values>
__device__ void block_sort(DigitCounts<kThreads>& counts, Values values, int count) {
  using Item = typename Values::Item;
  using Key = typename Values::Key;
  constexpr unsigned kLastDigit = (1u << kDigitBits) - 1;
  const int lane = lane_of_thread();
  const int stretch = warp_of_thread() * kPerThread * kWarp;
  const unsigned lanes_below = (1u << lane) - 1;

  // Above the lowest key, keys that are near each other differ in few bits, wherever carries would change all.
  Key lowest = static_cast<Key>(~Key{0});
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    lowest = Least()(lowest, Values::key(values.get(i)));
  }
  lowest = block_reduce(lowest, Least());
  Key differing = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    differing |= Values::key(values.get(i)) - lowest;
  }
  differing = block_reduce(differing, BitOr());

  while (differing != 0) {
    const int shift = lowest_bit(differing);
    differing &= ~(static_cast<Key>(kLastDigit) << shift);
    Item items[kPerThread];
    int32_t places[kPerThread];  // among the warp's values of the same digit
    int32_t seen = 0;            // values of digit `lane` so far
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      if (stretch + j * kWarp >= count) break;  // for the whole warp
      const int i = stretch + j * kWarp + lane;
      unsigned digit = kLastDigit;
      if (i < count) {
        items[j] = values.get(i);
        digit = static_cast<unsigned>((Values::key(items[j]) - lowest) >> shift) & kLastDigit;
      }
      unsigned same = __ballot_sync(kAllLanes, i < count);  // lanes with this lane's digit
      unsigned counted = same;                              // lanes with the digit that this lane counts
#pragma unroll
      for (int bit = 0; bit < kDigitBits; ++bit) {
        const unsigned set = __ballot_sync(kAllLanes, (digit >> bit & 1u) != 0);
        same &= (digit >> bit & 1u) != 0 ? set : ~set;
        counted &= (lane >> bit & 1) != 0 ? set : ~set;
      }
      places[j] = __shfl_sync(kAllLanes, seen, static_cast<int>(digit)) + __popc(same & lanes_below);
      seen += __popc(counted);
    }
    counts.of[warp_of_thread()][lane] = seen;
    __syncthreads();
    // Lane d: where the warp's first value of digit d goes.
    int32_t all = 0;
    int32_t of_warps_before = 0;
    for (int warp = 0; warp < warps_of_block(); ++warp) {
      const int32_t of_warp = counts.of[warp][lane];
      all += of_warp;
      if (warp < warp_of_thread()) of_warps_before += of_warp;
    }
    const int32_t start = scan_lanes(all) - all + of_warps_before;
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      if (stretch + j * kWarp >= count) break;
      const bool present = stretch + j * kWarp + lane < count;
      const unsigned digit = present ? static_cast<unsigned>((Values::key(items[j]) - lowest) >> shift) & kLastDigit : 0;
      const int32_t first = __shfl_sync(kAllLanes, start, static_cast<int>(digit));
      if (present) values.put(first + places[j], items[j]);
    }
    __syncthreads();
  }
}

}  // namespace captum_proto::cuda
