// Short rows: a block sorts one row in shared memory, and one launch does all rows.
#pragma once

#include <algorithm>

#include "block_sort.cuh"
#include "correlation.cuh"
#include "keyed_values.cuh"
#include "row_distance.cuh"
#include "row_plan.cuh"
#include "tie_groups.cuh"

namespace captum_proto::cuda {

constexpr int kShortRowPerThread = 8;
constexpr int kShortRowThreads = kLongestShortRow / kShortRowPerThread;
// A block of fewer threads plays the threads of a distance's tile, some whole warps each.
static_assert(kShortRowThreads <= kBlockThreads && kBlockThreads % kShortRowThreads == 0 && kLongestShortRow <= kDistanceTile);

template <typename T>
constexpr int kShortRowBytes = kKeyBits<T> <= 32 ? sizeof(uint64_t) : sizeof(uint64_t) + sizeof(uint32_t);

/// Room for one row in the shared memory that the launch gives.
template <typename T>
__device__ __forceinline__ KeyedValues<T> short_row(int room) {
  uint64_t* const items = dynamic_shared<uint64_t>();
  if constexpr (kKeyBits<T> <= 32) {
    return KeyedValues<T>{items};
  } else {
    return KeyedValues<T>{items, reinterpret_cast<uint32_t*>(items + room)};
  }
}

/// Loads the row and takes its distance; true, for the whole block, if it holds a NaN. Ends with a barrier.
template <typename T, class Distance>
__device__ bool load_short_row(const KeyedValues<T>& values, const Rows<T>& x, const Rows<int32_t>& reference,
                               const Distance& distance, int64_t row, int length) {
  using Warps = double[kBlockThreads / kWarp];
  CAPTUM_PROTO_SHARED(Warps, of_warps);
  bool met_nan = false;
  auto sum = distance.start();
  for (int thread = static_cast<int>(threadIdx.x); thread < kBlockThreads; thread += static_cast<int>(blockDim.x)) {
    for (int i = thread; i < length; i += kBlockThreads) {
      const T value = x.at(row, i);
      met_nan |= is_nan(value);
      sum.add(value, row, i);
      const uint32_t payload = static_cast<uint32_t>(reference.data == nullptr ? i : reference.at(row, i));
      values.put(i, KeyedValues<T>::item(sort_key(value), payload));
    }
    sum.end_warp(of_warps, thread / kWarp);
  }
  const bool has_nan = __syncthreads_or(met_nan) != 0;
  sum.finish_warps(of_warps, row);
  return has_nan;
}

/// ranks = the rows' doubled ranks, zeros for a row with a NaN.
template <typename T>
__global__ void __launch_bounds__(kShortRowThreads) rank_short_rows(Rows<T> x, int64_t rows, int length, int room, int32_t* ranks) {
  using Digits = DigitCounts<kShortRowThreads>;
  CAPTUM_PROTO_SHARED(Digits, digits);
  CAPTUM_PROTO_SHARED(TieTile, tile);
  struct Write {
    int32_t* ranks;
    __device__ void visit(int index, int begin, int end) { ranks[index] = begin + end + 1; }
  };
  const KeyedValues<T> values = short_row<T>(room);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    if (load_short_row(values, x, Rows<int32_t>{nullptr, 0, 0}, NoDistance{}, row, length)) {
      for (int i = static_cast<int>(threadIdx.x); i < length; i += static_cast<int>(blockDim.x)) {
        ranks[row * length + i] = 0;
      }
    } else {
      block_sort<kShortRowPerThread>(digits, values, length);
      Write write{ranks + row * length};
      visit_tile(tile, values.order_from(0), length, 0, length, write);
    }
    __syncthreads();  // before the next row is loaded
  }
}

/// result = the rows' correlations with the reference; and their distances.
template <typename T, class Distance>
__global__ void __launch_bounds__(kShortRowThreads) correlate_short_rows(Rows<T> x, Rows<int32_t> reference, Distance distance,
                                                                         int64_t rows, int length, int room, double* result) {
  using Digits = DigitCounts<kShortRowThreads>;
  CAPTUM_PROTO_SHARED(Digits, digits);
  CAPTUM_PROTO_SHARED(TieTile, tile);
  struct Sum {
    int length;
    long long products;
    long long squares;
    long long reference_squares;
    __device__ void visit(int reference, int begin, int end) {
      const long long mine = begin + end - length;
      const long long theirs = static_cast<long long>(reference) - (length + 1);
      products += mine * theirs;
      squares += mine * mine;
      reference_squares += theirs * theirs;
    }
  };
  const KeyedValues<T> values = short_row<T>(room);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    // Sums of at most 2048 products below 2^22: exact in 64 bits and in double.
    Sum sum{length, 0, 0, 0};
    bool ranked = !load_short_row(values, x, reference, distance, row, length);
    if (ranked && length > 0) {
      ranked = reference.at(row, 0) != 0;  // zeros stand for a reference with NaNs
      block_sort<kShortRowPerThread>(digits, values, length);
      visit_tile(tile, values.order_from(0), length, 0, length, sum);
    }
    const long long products = block_sum(sum.products);
    const long long squares = block_sum(sum.squares);
    const long long reference_squares = block_sum(sum.reference_squares);
    if (threadIdx.x == 0) {
      result[row] =
          ranked ? correlation(static_cast<double>(products), static_cast<double>(squares), static_cast<double>(reference_squares))
                 : not_a_number();
    }
    __syncthreads();  // before the next row is loaded
  }
}

/// Threads, and the room of a row, for rows of `length`. Up to 256 values a block is a single warp, whose barriers wait for nobody.
struct ShortRowLaunch {
  int room;
  int threads;
  explicit ShortRowLaunch(int length) : room(std::max(1, length)), threads(kWarp) {
    while (threads * kShortRowPerThread < length) threads *= 2;
  }
};

template <typename T>
void launch_rank_short_rows(const Rows<T>& x, int64_t rows, int length, int32_t* ranks, cudaStream_t stream) {
  const ShortRowLaunch shape(length);
  launch("ranking short rows", rank_short_rows<T>, grid_for(rows), shape.threads, shape.room * kShortRowBytes<T>, stream, x, rows,
         length, shape.room, ranks);
}

template <typename T, class Distance>
void launch_correlate_short_rows(const Rows<T>& x, const Rows<int32_t>& reference, const Distance& distance, int64_t rows,
                                 int length, double* result, cudaStream_t stream) {
  const ShortRowLaunch shape(length);
  launch("correlating short rows", correlate_short_rows<T, Distance>, grid_for(rows), shape.threads, shape.room * kShortRowBytes<T>,
         stream, x, reference, distance, rows, length, shape.room, result);
}

}  // namespace captum_proto::cuda
