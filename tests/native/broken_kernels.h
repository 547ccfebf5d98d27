// Kernels with one mistake each. The harness must notice every one of them, or it could not vouch for the rest.
#pragma once

#include "../../csrc/kernels/cuda/block_sum.cuh"

namespace broken {

using namespace captum_proto::cuda;

constexpr int kThreads = 64;
using Values = int32_t[kThreads];

/// No mistake: each thread reads what its mirror image wrote.
inline void sound(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  __syncthreads();
  out[i] = values[kThreads - 1 - i];
}

inline void missing_barrier(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  out[i] = values[kThreads - 1 - i];
}

/// The second round may overwrite what a slower thread has yet to read in the first.
inline void missing_barrier_between_rounds(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  for (int round = 0; round < 2; ++round) {
    values[i] = i + round;
    __syncthreads();
    out[i] = values[kThreads - 1 - i];
  }
}

/// In lockstep all lanes of a warp would have written before any of them reads.
template <bool mended>
void neighbor_in_lockstep(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  if (mended) __syncwarp();
  out[i] = values[i ^ 1];
}

/// In lockstep the branch would be over before any lane reads. A pair's sum is the same before and after its swap, so that only a
/// lane that reads in the middle of it meets another.
template <bool mended>
void swap_in_lockstep(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  __syncthreads();
  if (i % 2 == 0) {
    const int32_t mine = values[i];
    values[i] = values[i + 1];
    values[i + 1] = mine;
  }
  if (mended) __syncwarp();
  out[i] = values[i] + values[i ^ 1];
}

/// In lockstep lanes that read would all have read before any of them writes.
template <bool mended>
void sum_in_lockstep(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  if (mended) __syncwarp();
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const int32_t other = values[i ^ distance];
    if (mended) __syncwarp();
    values[i] += other;
    if (mended) __syncwarp();
  }
  out[i] = values[i];
}

/// Places of digits among a warp's, as a radix sort wants them. In lockstep all lanes would have read the count before one adds to
/// it.
template <bool mended>
void digits_in_lockstep(int32_t* out) {
  using Counts = int32_t[kThreads / kWarp][kWarp];
  CAPTUM_PROTO_SHARED(Counts, counts);
  const int i = static_cast<int>(threadIdx.x);
  const int lane = lane_of_thread();
  const int digit = i * 5 % 3;
  int32_t& seen = counts[warp_of_thread()][digit];
  counts[warp_of_thread()][lane] = 0;
  __syncthreads();
  for (int round = 0; round < 2; ++round) {
    unsigned same = kAllLanes;
    for (int bit = 0; bit < 2; ++bit) {
      const unsigned set = __ballot_sync(kAllLanes, (digit >> bit & 1) != 0);
      same &= (digit >> bit & 1) != 0 ? set : ~set;
    }
    out[i] = seen + __popc(same & ((1u << lane) - 1));
    if (mended) __syncwarp();
    if (__ffs(static_cast<int>(same)) - 1 == lane) seen += __popc(same);
    if (mended) __syncwarp();
  }
}

/// A value's new place may be that of one which its thread has yet to read.
inline void scatter_before_all_have_read(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i] = i;
  __syncthreads();
  const int32_t mine = values[i];
  values[kThreads - 1 - i] = mine;
  __syncthreads();
  out[i] = values[i];
}

inline void syncwarp_in_a_branch(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = i;
  if (i % 2 == 0) __syncwarp();
}

inline void barrier_in_a_branch(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = i;
  if (i < kThreads / 2) __syncthreads();
}

inline void early_return(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  if (i == 5) return;
  __syncthreads();
  out[i] = i;
}

inline void two_barriers(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  if (i % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[i] = i;
}

inline void shuffle_in_a_branch(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = i;
  if (i % 2 == 0) out[i] = __shfl_down_sync(kAllLanes, i, 1);
}

inline void shuffle_from_an_absent_lane(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = i;
  if (i % 2 == 0) out[i] = __shfl_sync(0x55555555u, i, 1);
}

inline void beyond_shared_memory(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  values[i + 1] = i;
  out[i] = i;
}

inline void beyond_dynamic_shared_memory(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  dynamic_shared<int32_t>()[i + 1] = i;
  out[i] = i;
}

inline void beyond_global_memory(int32_t* out) { out[threadIdx.x + 1] = 0; }

inline void unwritten_shared_memory(int32_t* out) {
  CAPTUM_PROTO_SHARED(Values, values);
  const int i = static_cast<int>(threadIdx.x);
  if (i != 7) values[i] = i;
  __syncthreads();
  out[i] = values[kThreads - 1 - i];
}

inline void race_in_global_memory(int32_t* out) {
  out[threadIdx.x] = static_cast<int32_t>(threadIdx.x);
  out[0] += 1;
}

inline void signed_overflow(int32_t* out) {
  const int i = static_cast<int>(threadIdx.x);
  out[i] = 0x7fffffff - 10 + i;
}

inline void too_much_shared_memory(int32_t* out) {
  using Big = unsigned char[50 * 1024];
  CAPTUM_PROTO_SHARED(Big, big);
  big[threadIdx.x] = 1;
  out[threadIdx.x] = big[threadIdx.x];
}

inline void run(const std::string& name, int32_t* out) {
  const std::map<std::string, void (*)(int32_t*)> kernels{
      {"sound", sound},
      {"missing_barrier", missing_barrier},
      {"missing_barrier_between_rounds", missing_barrier_between_rounds},
      {"neighbor_in_lockstep", neighbor_in_lockstep<false>},
      {"neighbor_after_syncwarp", neighbor_in_lockstep<true>},
      {"swap_in_lockstep", swap_in_lockstep<false>},
      {"swap_before_syncwarp", swap_in_lockstep<true>},
      {"sum_in_lockstep", sum_in_lockstep<false>},
      {"sum_with_syncwarp", sum_in_lockstep<true>},
      {"digits_in_lockstep", digits_in_lockstep<false>},
      {"digits_with_syncwarp", digits_in_lockstep<true>},
      {"scatter_before_all_have_read", scatter_before_all_have_read},
      {"syncwarp_in_a_branch", syncwarp_in_a_branch},
      {"barrier_in_a_branch", barrier_in_a_branch},
      {"early_return", early_return},
      {"two_barriers", two_barriers},
      {"shuffle_in_a_branch", shuffle_in_a_branch},
      {"shuffle_from_an_absent_lane", shuffle_from_an_absent_lane},
      {"beyond_shared_memory", beyond_shared_memory},
      {"beyond_dynamic_shared_memory", beyond_dynamic_shared_memory},
      {"beyond_global_memory", beyond_global_memory},
      {"unwritten_shared_memory", unwritten_shared_memory},
      {"race_in_global_memory", race_in_global_memory},
      {"signed_overflow", signed_overflow},
      {"too_much_shared_memory", too_much_shared_memory},
  };
  launch(name.c_str(), kernels.at(name), 1, kThreads, kThreads * sizeof(int32_t), nullptr, out);
}

}  // namespace broken
