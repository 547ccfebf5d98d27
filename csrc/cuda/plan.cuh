// The limits between the ways of sorting rows, as the environment may set them.
#pragma once

#include <cstdint>
#include <cstdlib>

#include "kernels/cuda/row_plan.cuh"

namespace captum_proto {

/// A limit from a variable of the environment, kept between two bounds; `otherwise` where there is no number in it.
inline int64_t limit_of(const char* variable, int64_t otherwise, int64_t least, int64_t most) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return otherwise;
  char* end = nullptr;
  const long long value = std::strtoll(text, &end, 10);
  if (end == text || *end != '\0') return otherwise;
  return value < least ? least : value > most ? most : value;
}

/// The limits of this process, read once. They are variables for the sweep of benchmarks/cuda_timings.py, which finds out on a GPU
/// where the ways cross. An argument of the operators would stand in their schemas for good, be traced by compilers and be passed
/// by everybody for the sake of one benchmark; limits read at every call could change between a call and its replay in a graph.
inline const cuda::Plan& plan() {
  static const cuda::Plan limits = [] {
    cuda::Plan read;
    // Above its own limit a short row has no room in a block's shared memory.
    read.longest_short_row =
        static_cast<int>(limit_of("CAPTUM_PROTO_CUDA_SHORT_ROW", read.longest_short_row, 0, cuda::kLongestShortRow));
    read.shortest_histogram_row =
        static_cast<int>(limit_of("CAPTUM_PROTO_CUDA_HISTOGRAM_ROW", read.shortest_histogram_row, 0, int64_t{1} << 30));
    read.shortest_parted_row =
        static_cast<int>(limit_of("CAPTUM_PROTO_CUDA_PARTED_ROW", read.shortest_parted_row, 0, int64_t{1} << 30));
    read.chunk_values = limit_of("CAPTUM_PROTO_CUDA_CHUNK_VALUES", read.chunk_values, 1, int64_t{1} << 31);
    return read;
  }();
  return limits;
}

}  // namespace captum_proto
