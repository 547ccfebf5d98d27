// The limits that kernels for CPU and CUDA share, and those that the operators check. Tuning that concerns one kernel stands beside
// it.
#pragma once

#include <cstdint>

namespace captum_proto {

/// Values of a row: up to here the halves of every 128-bit sum over ranks are exact in double. MAX_ROW_LENGTH in Python, where it
/// is needed without native code too; a test keeps the two equal.
constexpr std::int64_t kLongestRow = std::int64_t{1} << 28;

/// Bins of a histogram that ranks a row without sorting it: as many as a 16-bit type has values.
constexpr int kBins = 1 << 16;

/// Channels of a pixel that affine sampling works on at once: a vector of the CPU's, a few registers of a GPU's thread.
constexpr int kChannelsTogether = 4;

/// Pixels of an image that the CPU's affine sampling numbers in 32 bits, a rim of one pixel included.
constexpr std::int64_t kMostPixels = std::int64_t{1} << 31;

/// Pixels along a side of an image that CUDA's affine sampling counts in 32 bits, with room for a step beyond.
constexpr std::int64_t kLongestSide = std::int64_t{1} << 30;

}  // namespace captum_proto
