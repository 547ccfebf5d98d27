// For every position of a sorted row: where its group of equal keys begins and ends.
//
// A block looks at one tile of the row. A bit per position says whether a group starts there, so begin and end are the nearest
// set bits to either side: in the position's own word, or, scanned once for all, in the words before and after it. A group that
// reaches beyond the tile (after a ReLU one group is half the row) is followed by a search, 32 probes at a time.
#pragma once

#include "sorted_rows.cuh"

namespace captum_proto::cuda {

constexpr int kTile = 4096;
constexpr int kTileWords = kTile / kWarp;

/// Lives in shared memory.
struct TieTile {
  uint32_t starts[kTileWords];      // bit i of word w: a group starts at position 32 w + i of the tile
  int32_t open_before[kTileWords];  // where the group begins that is open when the word begins
  int32_t next_after[kTileWords];   // where the first group begins after the word
};

/// The first position in [begin, end) whose key is above `key` (or equal to it, where `inclusive`); `end` if there is none.
/// Called by a whole warp, with the same arguments.
template <class Order>
__device__ int search_by_warp(const Order& order, uint64_t key, bool inclusive, int begin, int end) {
  while (begin < end) {
    const int step = static_cast<int>(ceil_div(end - begin, kWarp));
    const int64_t probe = begin + int64_t{step} * lane_of_thread();
    bool reached = probe >= end;
    if (!reached) {
      const uint64_t there = order.key(static_cast<int>(probe));
      reached = inclusive ? there >= key : there > key;
    }
    const unsigned mask = __ballot_sync(kAllLanes, reached);
    const int first = mask == 0 ? kWarp : __ffs(static_cast<int>(mask)) - 1;
    if (first == 0) return begin;
    // The probe before `first` has not reached the key, probe `first` has (or is the end).
    const int64_t upper = begin + int64_t{step} * first;
    begin += step * (first - 1) + 1;
    if (upper < end) end = static_cast<int>(upper);
  }
  return begin;
}

/// By one warp: open_before of all words, given where the tile's first group begins.
__device__ inline void scan_forward(TieTile& tile, int words, int tile_begin, int open) {
  const int lane = lane_of_thread();
  for (int first = 0; first < words; first += kWarp) {
    const int word = first + lane;
    const uint32_t starts = word < words ? tile.starts[word] : 0;
    int last = starts == 0 ? -1 : tile_begin + word * kWarp + kWarp - 1 - __clz(static_cast<int>(starts));
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_up_sync(kAllLanes, last, offset);
      last = other > last ? other : last;  // lanes below `offset` receive their own value
    }
    const int before = __shfl_up_sync(kAllLanes, last, 1);
    if (word < words) tile.open_before[word] = (lane == 0 || before < open) ? open : before;
    const int newest = __shfl_sync(kAllLanes, last, kWarp - 1);
    open = newest > open ? newest : open;
  }
}

/// By one warp: next_after of all words, given where the first group after the tile begins.
__device__ inline void scan_backward(TieTile& tile, int words, int tile_begin, int next) {
  const int lane = lane_of_thread();
  for (int first = (words - 1) / kWarp * kWarp; first >= 0; first -= kWarp) {
    const int word = first + lane;
    const uint32_t starts = word < words ? tile.starts[word] : 0;
    int earliest = starts == 0 ? next : tile_begin + word * kWarp + __ffs(static_cast<int>(starts)) - 1;
    for (int offset = 1; offset < kWarp; offset *= 2) {
      const int other = __shfl_down_sync(kAllLanes, earliest, offset);
      earliest = other < earliest ? other : earliest;  // lanes at the end receive their own value
    }
    const int after = __shfl_down_sync(kAllLanes, earliest, 1);
    if (word < words) tile.next_after[word] = lane == kWarp - 1 ? next : after;
    next = __shfl_sync(kAllLanes, earliest, 0);
  }
}

/// Calls sink.visit(payload, begin, end) for every position of [tile_begin, tile_end), at most kTile of a row of `length`.
/// Every thread of the block calls it; `tile` may be used again after the block's next barrier.
template <class Order, class Sink>
__device__ void visit_tile(TieTile& tile, const Order& order, int length, int tile_begin, int tile_end, Sink& sink) {
  const int lane = lane_of_thread();
  const int warp = warp_of_thread();
  const int warps = warps_of_block();
  const int words = static_cast<int>(ceil_div(tile_end - tile_begin, kWarp));

  for (int word = warp; word < words; word += warps) {
    const int position = tile_begin + word * kWarp + lane;
    const bool starts = position < tile_end && (position == 0 || order.key(position) != order.key(position - 1));
    const unsigned mask = __ballot_sync(kAllLanes, starts);
    if (lane == 0) tile.starts[word] = mask;
  }
  __syncthreads();

  if (warp == 0) {
    int open = tile_begin;
    if ((tile.starts[0] & 1u) == 0) open = search_by_warp(order, order.key(tile_begin), true, 0, tile_begin);
    scan_forward(tile, words, tile_begin, open);
  }
  if (warp == warps - 1) {
    int next = tile_end;
    if (tile_end < length) next = search_by_warp(order, order.key(tile_end - 1), false, tile_end, length);
    scan_backward(tile, words, tile_begin, next);
  }
  __syncthreads();

  for (int word = warp; word < words; word += warps) {
    const int word_begin = tile_begin + word * kWarp;
    const int position = word_begin + lane;
    if (position >= tile_end) continue;
    const uint32_t up_to_here = tile.starts[word] & (kAllLanes >> (kWarp - 1 - lane));
    const uint32_t beyond = tile.starts[word] & ~(kAllLanes >> (kWarp - 1 - lane));
    const int begin = up_to_here == 0 ? tile.open_before[word] : word_begin + kWarp - 1 - __clz(static_cast<int>(up_to_here));
    const int end = beyond == 0 ? tile.next_after[word] : word_begin + __ffs(static_cast<int>(beyond)) - 1;
    sink.visit(order.payload(position), begin, end);
  }
}

}  // namespace captum_proto::cuda
