// Each unit's list of the k best entries so far, and new entries that may displace some of them.
#pragma once

#include "values.cuh"

namespace captum_proto::cuda {

/// Lists (units, k), best first.
template <typename T>
struct TopLists {
  T* scores;
  int64_t* indices;
  int64_t* payload;
  int64_t units;
  int64_t k;
};

template <typename T>
struct Entry {
  T score;
  int64_t index;
  int64_t payload;
};

template <bool largest, typename T>
__device__ __forceinline__ bool comes_before(const Entry<T>& entry, const TopLists<T>& lists, int64_t place) {
  const T score = lists.scores[place];
  if (entry.score != score) return largest ? entry.score > score : entry.score < score;
  const int64_t index = lists.indices[place];
  return entry.index != index ? entry.index < index : entry.payload < lists.payload[place];
}

/// A thread has a unit of its own, so neighbors read neighbors' scores; most of these change nothing.
template <typename T, bool largest>
__global__ void __launch_bounds__(kBlockThreads)
    put_into_lists(TopLists<T> lists, Rows<T> scores, Rows<int64_t> indices, Rows<int64_t> payload, int64_t rows) {
  for (int64_t unit = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; unit < lists.units;
       unit += static_cast<int64_t>(gridDim.x) * blockDim.x) {
    const int64_t first = unit * lists.k;
    const int64_t last = first + lists.k - 1;
    for (int64_t row = 0; row < rows; ++row) {
      const T score = scores.at(row, unit);
      if (largest ? score < lists.scores[last] : score > lists.scores[last]) continue;
      const Entry<T> entry{score, indices.at(row, unit), payload.at(row, unit)};
      if (!comes_before<largest>(entry, lists, last)) continue;
      int64_t place = last;
      for (; place > first && comes_before<largest>(entry, lists, place - 1); --place) {
        lists.scores[place] = lists.scores[place - 1];
        lists.indices[place] = lists.indices[place - 1];
        lists.payload[place] = lists.payload[place - 1];
      }
      lists.scores[place] = entry.score;
      lists.indices[place] = entry.index;
      lists.payload[place] = entry.payload;
    }
  }
}

template <typename T>
void top_k(TopLists<T> lists, Rows<T> scores, Rows<int64_t> indices, Rows<int64_t> payload, int64_t rows, bool largest,
           cudaStream_t stream) {
  const auto kernel = largest ? put_into_lists<T, true> : put_into_lists<T, false>;
  launch("lists of the best", kernel, grid_for(ceil_div(lists.units, kBlockThreads)), kBlockThreads, 0, stream, lists, scores,
         indices, payload, rows);
}

}  // namespace captum_proto::cuda
