// How many bits two masks have in common, for each pair of many.
#pragma once

#include "block_sum.cuh"

namespace captum_proto::cuda {

/// Masks (rows, words) of 64 bits a word, with any strides between rows.
struct PackedRows {
  const int64_t* data;
  int64_t rows, words, row_stride;
};

/// A warp has a pair of masks: neighboring threads read neighboring words.
__global__ void __launch_bounds__(kBlockThreads) count_common_bits(PackedRows a, PackedRows b, int64_t* counts) {
  const int64_t warps = static_cast<int64_t>(gridDim.x) * warps_of_block();
  for (int64_t pair = static_cast<int64_t>(blockIdx.x) * warps_of_block() + warp_of_thread(); pair < a.rows * b.rows;
       pair += warps) {
    const int64_t* of_a = a.data + pair / b.rows * a.row_stride;
    const int64_t* of_b = b.data + pair % b.rows * b.row_stride;
    int count = 0;
    for (int64_t word = lane_of_thread(); word < a.words; word += kWarp) {
      count += __popcll(static_cast<unsigned long long>(of_a[word]) & static_cast<unsigned long long>(of_b[word]));
    }
    count = warp_sum(count);
    if (lane_of_thread() == 0) counts[pair] = count;
  }
}

inline void packed_counts(PackedRows a, PackedRows b, int64_t* counts, cudaStream_t stream) {
  launch("counting common bits", count_common_bits, grid_for(ceil_div(a.rows * b.rows, kBlockThreads / kWarp)), kBlockThreads, 0,
         stream, a, b, counts);
}

}  // namespace captum_proto::cuda
