// Counting units' values by the digits of their keys: the passes that lead to exact order statistics.
#pragma once

#include <type_traits>

#include "../digits.h"
#include "block_sum.cuh"
#include "sort_key.cuh"
#include "unit_values.cuh"

namespace captum_proto::cuda {

template <typename T>
struct DigitsOf;
template <>
struct DigitsOf<Half> {
  using type = HalfDigits;
};
template <>
struct DigitsOf<BFloat16> {
  using type = BFloat16Digits;
};
template <>
struct DigitsOf<float> {
  using type = FloatDigits;
};
template <>
struct DigitsOf<double> {
  using type = DoubleDigits;
};

/// Values of a unit that a block takes at a time.
constexpr int64_t kCountedTogether = 16384;

__device__ __forceinline__ void add_count(int32_t* address, int32_t value) { atomicAdd(address, value); }
__device__ __forceinline__ unsigned long long add_count(int64_t* address, int64_t value) {
  return atomicAdd(reinterpret_cast<unsigned long long*>(address), static_cast<unsigned long long>(value));
}

/// The magnitude of a value, the bits below its sign.
template <typename T>
__device__ __forceinline__ Bits<T> magnitude_of(T value) {
  return static_cast<Bits<T>>(bits_of(value) & static_cast<Bits<T>>(~kSign<T>));
}
template <typename T>
__device__ __forceinline__ bool is_negative(T value) {
  return (bits_of(value) & kSign<T>) != 0;
}

/// Each block counts in its own memory, and then adds to the unit's counts (units, bins).
template <typename T, typename Count>
__global__ void __launch_bounds__(kBlockThreads) count_digits(UnitValues<T> x, Count* counts) {
  using Digit = typename DigitsOf<T>::type;
  using Bins = int32_t[Digit::kSignedBins];
  CAPTUM_PROTO_SHARED(Bins, of_block);
  const int64_t size = x.outer * x.inner;
  const int64_t parts = ceil_div(size, kCountedTogether);
  for (int64_t task = blockIdx.x; task < x.units * parts; task += gridDim.x) {
    const int64_t unit = task / parts;
    const int64_t begin = task % parts * kCountedTogether;
    const int64_t end = size - begin < kCountedTogether ? size : begin + kCountedTogether;
    for (int bin = static_cast<int>(threadIdx.x); bin < Digit::kSignedBins; bin += kBlockThreads) of_block[bin] = 0;
    __syncthreads();
    int32_t zeros = 0;  // after a ReLU they would queue up at one address
    for (int64_t i = begin + threadIdx.x; i < end; i += kBlockThreads) {
      const T value = x.at(unit, i);
      const int32_t bin = Digit::of_magnitude(magnitude_of(value));
      if (bin == 0) {
        ++zeros;
      } else {
        atomicAdd(of_block + (Digit::kLast + (is_negative(value) ? -bin : bin)), 1);
      }
    }
    zeros = block_sum(zeros);
    if (threadIdx.x == 0) of_block[Digit::kLast] = zeros;
    __syncthreads();
    for (int bin = static_cast<int>(threadIdx.x); bin < Digit::kSignedBins; bin += kBlockThreads) {
      if (of_block[bin] != 0) add_count(counts + unit * Digit::kSignedBins + bin, static_cast<Count>(of_block[bin]));
    }
    __syncthreads();  // before the next task clears the counts
  }
}

template <typename T, typename Count>
void radix_histogram(UnitValues<T> x, Count* counts, cudaStream_t stream) {
  const int64_t tasks = x.units * ceil_div(x.outer * x.inner, kCountedTogether);
  launch("counting digits", count_digits<T, Count>, grid_for(tasks), kBlockThreads, 0, stream, x, counts);
}

/// What a later pass looks for, and where it puts what it finds: see ops.radix_select.
template <typename T>
struct Selection {
  const int64_t* first;  // (units + 1,)
  const int64_t* slots;  // (number, kSlotColumns)
  int64_t number;
  int64_t* counts;
  int64_t bins;
  int64_t* filled;  // (number,)
  T* kept;
  int64_t room;
};

template <typename T>
__device__ void offer_to_slot(const Selection<T>& selection, int64_t slot, int64_t key, T value) {
  const int64_t* columns = selection.slots + slot * kSlotColumns;
  const uint64_t steps = static_cast<uint64_t>(key) - static_cast<uint64_t>(columns[kSlotLow]);
  if (steps >= static_cast<uint64_t>(columns[kSlotWidth])) return;
  const int64_t shift = columns[kSlotShift];
  const int64_t offset = columns[kSlotOffset];
  const bool keeps = shift < 0;
  const int64_t place = static_cast<int64_t>(keeps ? add_count(selection.filled + slot, 1) : steps >> shift);
  if (place >= columns[kSlotRoom] || offset < 0 || offset + place >= (keeps ? selection.room : selection.bins)) return;
  if (keeps) {
    selection.kept[offset + place] = value;
  } else {
    add_count(selection.counts + offset + place, 1);
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads) select_values(UnitValues<T> x, Selection<T> selection) {
  const int64_t size = x.outer * x.inner;
  const int64_t parts = ceil_div(size, kCountedTogether);
  for (int64_t task = blockIdx.x; task < x.units * parts; task += gridDim.x) {
    const int64_t unit = task / parts;
    const int64_t begin = task % parts * kCountedTogether;
    const int64_t end = size - begin < kCountedTogether ? size : begin + kCountedTogether;
    const int64_t first = selection.first[unit] < 0 ? 0 : selection.first[unit];
    const int64_t last = selection.first[unit + 1] > selection.number ? selection.number : selection.first[unit + 1];
    if (first >= last) continue;
    for (int64_t i = begin + threadIdx.x; i < end; i += kBlockThreads) {
      const T value = x.at(unit, i);
      const int64_t magnitude = static_cast<int64_t>(magnitude_of(value));
      for (int64_t slot = first; slot < last; ++slot) {
        offer_to_slot(selection, slot, is_negative(value) ? -magnitude : magnitude, value);
      }
    }
  }
}

template <typename T>
void radix_select(UnitValues<T> x, Selection<T> selection, cudaStream_t stream) {
  const int64_t tasks = x.units * ceil_div(x.outer * x.inner, kCountedTogether);
  launch("selecting values", select_values<T>, grid_for(tasks), kBlockThreads, 0, stream, x, selection);
}

}  // namespace captum_proto::cuda
