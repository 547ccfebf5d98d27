// Values that lie side by side, 16 bytes at a time: what a thread can read or write at once.
#pragma once

#include <cstring>

#include "values.cuh"

namespace captum_proto::cuda {

/// How many values are in 16 bytes.
template <typename T>
constexpr int kVector = 16 / static_cast<int>(sizeof(T));

/// The 16 bytes at a place, which is a multiple of 16.
template <typename T>
__device__ __forceinline__ void read_vector(const T* place, T (&values)[kVector<T>]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(place);
  memcpy(values, &bits, sizeof(bits));
}

template <typename T>
__device__ __forceinline__ void write_vector(T* place, const T (&values)[kVector<T>]) {
  uint4 bits;
  memcpy(&bits, values, sizeof(bits));
  *reinterpret_cast<uint4*>(place) = bits;
}

/// Whether memory begins at a multiple of 16 bytes.
inline bool is_aligned(const void* memory) { return reinterpret_cast<uintptr_t>(memory) % 16 == 0; }

/// Whether a step of so many values of type T goes from one multiple of 16 bytes to another.
template <typename T>
bool is_of_vectors(int64_t step) {
  return step % kVector<T> == 0;
}

}  // namespace captum_proto::cuda
