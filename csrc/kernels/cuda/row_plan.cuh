// Where one way of ranking rows gives over to the next.
#pragma once

#include "../limits.h"
#include "platform.cuh"

namespace captum_proto::cuda {

constexpr int kLongestShortRow = 2048;

/// Long rows of float32 and float64 are parted from here on; below, and above what parts are made for, the library sorts them.
/// Parting asks for fewer bytes at any length (docs/results/cuda_traffic.csv), but launches more kernels: `cuda_timings.py --sweep`
/// finds out on a GPU where that pays.
constexpr int kShortestPartedRow = kLongestShortRow + 1;

/// The limits, and how much is sorted at once.
struct Plan {
  int longest_short_row = kLongestShortRow;
  int shortest_histogram_row = 16384;           // below, clearing and scanning 65,536 bins costs more than a sort
  int shortest_separate_row = kLongestRow + 1;  // from here on counts and sums are not packed even if they fit
  int shortest_parted_row = kShortestPartedRow;
  int part_room = kLongestRow;              // values of a part: less than a block has room for
  int64_t chunk_values = int64_t{1} << 25;  // 512 MiB of scratch, and enough to fill any GPU
};

}  // namespace captum_proto::cuda
