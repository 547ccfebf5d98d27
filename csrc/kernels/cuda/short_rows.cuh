// Short rows: a block sorts one row in shared memory, and one launch does all rows.
#pragma once

#include <algorithm>

#include "correlation.cuh"
#include "row_plan.cuh"
#include "tie_groups.cuh"

namespace captum_proto::cuda {

constexpr int kShortRowThreads = 512;

/// Room for one row in shared memory: key and payload packed into one integer where the key leaves room.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct ShortRow {
  static constexpr size_t kBytesPerValue = sizeof(uint64_t);
  uint64_t* items;

  __device__ explicit ShortRow(int /*room*/) : items(dynamic_shared<uint64_t>()) {}
  __device__ void put(int i, T value, uint32_t payload) { items[i] = (static_cast<uint64_t>(sort_key(value)) << 32) | payload; }
  __device__ void pad(int i) { items[i] = ~uint64_t{0}; }
  __device__ bool above(int i, int j) const { return items[i] > items[j]; }
  __device__ void exchange(int i, int j) {
    const uint64_t item = items[i];
    items[i] = items[j];
    items[j] = item;
  }
  __device__ PackedOrder order() const { return PackedOrder{items, 32}; }
};

template <typename T>
struct ShortRow<T, false> {
  static constexpr size_t kBytesPerValue = sizeof(uint64_t) + sizeof(uint32_t);
  uint64_t* keys;
  uint32_t* payloads;

  __device__ explicit ShortRow(int room) : keys(dynamic_shared<uint64_t>()), payloads(reinterpret_cast<uint32_t*>(keys + room)) {}
  __device__ void put(int i, T value, uint32_t payload) {
    keys[i] = sort_key(value);
    payloads[i] = payload;
  }
  __device__ void pad(int i) {
    keys[i] = ~uint64_t{0};
    payloads[i] = 0;
  }
  __device__ bool above(int i, int j) const { return keys[i] > keys[j]; }
  __device__ void exchange(int i, int j) {
    const uint64_t key = keys[i];
    keys[i] = keys[j];
    keys[j] = key;
    const uint32_t payload = payloads[i];
    payloads[i] = payloads[j];
    payloads[j] = payload;
  }
  __device__ PairOrder order() const { return PairOrder{keys, payloads, 31}; }
};

/// Bitonic sort of `room` values, a power of two, which a barrier precedes. Ends with a barrier. Partners up to 32 apart are met by
/// one and the same warp, step after step, for all 64 values around them: only steps of partners that are further apart wait for
/// the block.
template <typename T>
__device__ void sort_short_row(ShortRow<T>& values, int room) {
  int before = 0;
  for (int run = 2; run <= room; run *= 2) {
    for (int distance = run / 2; distance > 0; before = distance, distance /= 2) {
      if (distance > kWarp || before > kWarp) {
        __syncthreads();
      } else {
        __syncwarp();
      }
      for (int i = static_cast<int>(threadIdx.x); i < room / 2; i += static_cast<int>(blockDim.x)) {
        const int lower = 2 * i - (i & (distance - 1));  // the i-th position whose partner is `distance` above
        const bool ascending = (lower & run) == 0;
        if (ascending ? values.above(lower, lower + distance) : values.above(lower + distance, lower)) {
          values.exchange(lower, lower + distance);
        }
      }
    }
  }
  __syncthreads();
}

/// Loads the row; true, for the whole block, if it holds a NaN. Ends with a barrier.
template <typename T>
__device__ bool load_short_row(ShortRow<T>& values, int room, const Rows<T>& x, const Rows<int32_t>& reference, int64_t row,
                               int length) {
  bool met_nan = false;
  for (int i = static_cast<int>(threadIdx.x); i < room; i += static_cast<int>(blockDim.x)) {
    if (i < length) {
      const T value = x.at(row, i);
      met_nan |= is_nan(value);
      values.put(i, value, static_cast<uint32_t>(reference.data == nullptr ? i : reference.at(row, i)));
    } else {
      values.pad(i);  // not below any value but a NaN
    }
  }
  return __syncthreads_or(met_nan) != 0;
}

/// ranks = the rows' doubled ranks, zeros for a row with a NaN.
template <typename T>
__global__ void __launch_bounds__(kShortRowThreads) rank_short_rows(Rows<T> x, int64_t rows, int length, int room, int32_t* ranks) {
  CAPTUM_PROTO_SHARED(TieTile, tile);
  struct Write {
    int32_t* ranks;
    __device__ void visit(int index, int begin, int end) { ranks[index] = begin + end + 1; }
  };
  ShortRow<T> values(room);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    if (load_short_row(values, room, x, Rows<int32_t>{nullptr, 0, 0}, row, length)) {
      for (int i = static_cast<int>(threadIdx.x); i < length; i += static_cast<int>(blockDim.x)) {
        ranks[row * length + i] = 0;
      }
    } else {
      sort_short_row(values, room);
      Write write{ranks + row * length};
      visit_tile(tile, values.order(), length, 0, length, write);
    }
    __syncthreads();  // before the next row is loaded
  }
}

/// result = the rows' correlations with the reference.
template <typename T>
__global__ void __launch_bounds__(kShortRowThreads)
    correlate_short_rows(Rows<T> x, Rows<int32_t> reference, int64_t rows, int length, int room, double* result) {
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
  ShortRow<T> values(room);
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    // Sums of at most 2048 products below 2^22: exact in 64 bits and in double.
    Sum sum{length, 0, 0, 0};
    bool ranked = !load_short_row(values, room, x, reference, row, length);
    if (ranked && length > 0) {
      ranked = reference.at(row, 0) != 0;  // zeros stand for a reference with NaNs
      sort_short_row(values, room);
      visit_tile(tile, values.order(), length, 0, length, sum);
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

/// Threads, and the room of a row, for rows of `length`.
struct ShortRowLaunch {
  int room;
  int threads;
  explicit ShortRowLaunch(int length) : room(kWarp), threads(kWarp) {
    while (room < length) room *= 2;
    threads = std::min(kShortRowThreads, std::max(kWarp, room / 2));
  }
};

template <typename T>
void launch_rank_short_rows(const Rows<T>& x, int64_t rows, int length, int32_t* ranks, cudaStream_t stream) {
  const ShortRowLaunch shape(length);
  launch("ranking short rows", rank_short_rows<T>, grid_for(rows), shape.threads, shape.room * ShortRow<T>::kBytesPerValue, stream,
         x, rows, length, shape.room, ranks);
}

template <typename T>
void launch_correlate_short_rows(const Rows<T>& x, const Rows<int32_t>& reference, int64_t rows, int length, double* result,
                                 cudaStream_t stream) {
  const ShortRowLaunch shape(length);
  launch("correlating short rows", correlate_short_rows<T>, grid_for(rows), shape.threads, shape.room * ShortRow<T>::kBytesPerValue,
         stream, x, reference, rows, length, shape.room, result);
}

}  // namespace captum_proto::cuda
