// Long rows, sorted in device memory by the library's radix sort, then read tile by tile.
#pragma once

#include <algorithm>

#include "library_sort.cuh"
#include "tie_groups.cuh"
#include "tie_sinks.cuh"

namespace captum_proto::cuda {

/// What travels with each value through the sort: the reference's doubled rank, or, where there is none, the value's index.
struct Payload {
  Rows<int32_t> reference;  // data is null where the index travels

  __device__ __forceinline__ uint32_t at(int64_t row, int column) const {
    return static_cast<uint32_t>(reference.data == nullptr ? column : reference.at(row, column));
  }
};

/// Notes in has_nan whether any thread of the block met a NaN.
__device__ __forceinline__ void note_nan(bool met, int32_t* has_nan) {
  if (__syncthreads_or(met) && threadIdx.x == 0) atomicOr(has_nan, 1);
}

/// items = row | key | payload, for the rows [first_row, first_row + rows).
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) pack_rows(Rows<T> x, Payload payload, int64_t first_row, int64_t rows, int length,
                                                           int payload_bits, uint64_t* items, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kTile);
  const uint64_t payload_mask = (uint64_t{1} << payload_bits) - 1;
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile;
    const int end = length - begin < kTile ? length : begin + kTile;
    // The row's number stands above the key, so that one sort keeps all rows apart.
    const uint64_t row_and_gap = static_cast<uint64_t>(row) << kKeyBits<T>;
    bool met_nan = false;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      items[row * length + i] = ((row_and_gap | sort_key(value)) << payload_bits) | (payload.at(first_row + row, i) & payload_mask);
    }
    note_nan(met_nan, has_nan + first_row + row);
  }
}

/// keys and payloads of one row.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) split_row(Rows<T> x, Payload payload, int64_t row, int length, int payload_bits,
                                                           uint64_t* keys, int32_t* payloads, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kTile);
  const uint32_t payload_mask = (uint32_t{1} << payload_bits) - 1;
  for (int64_t task = blockIdx.x; task < tiles; task += gridDim.x) {
    const int begin = static_cast<int>(task) * kTile;
    const int end = length - begin < kTile ? length : begin + kTile;
    bool met_nan = false;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(row, i);
      met_nan |= is_nan(value);
      keys[i] = sort_key(value);
      payloads[i] = static_cast<int32_t>(payload.at(row, i) & payload_mask);
    }
    note_nan(met_nan, has_nan + row);
  }
}

template <class Order, class Sink>
__global__ void __launch_bounds__(kBlockThreads)
    visit_sorted_rows(Order order, Sink sink, int64_t first_row, int64_t rows, int length) {
  CAPTUM_PROTO_SHARED(TieTile, tile);
  const int64_t tiles = ceil_div(length, kTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile;
    const int end = length - begin < kTile ? length : begin + kTile;
    sink.start(first_row + row, length);
    visit_tile(tile, order.row(row, length), length, begin, end, sink);
    sink.finish(first_row + row);
    __syncthreads();  // before the next task writes the tile
  }
}

/// Sorts all rows and shows every value's place to `sink`; `has_nan` (one per row) must be zeros and tells afterwards where NaNs
/// were. `chunk_values` bounds the values that are sorted at once, 16 bytes of scratch each; one row always fits.
template <typename T, class Sink>
void visit_long_rows(const Rows<T>& x, const Payload& payload, int64_t rows, int length, int64_t chunk_values, int32_t* has_nan,
                     const Sink& sink, Scratch& scratch, cudaStream_t stream) {
  const int payload_bits = bits_to_hold(2 * static_cast<int64_t>(length));  // doubled ranks and indices alike
  const int64_t tiles = ceil_div(length, kTile);
  SortMemory memory;
  if constexpr (kKeyBits<T> <= 32) {
    const int64_t most_rows = int64_t{1} << (64 - kKeyBits<T> - payload_bits);
    const int64_t chunks = ceil_div(rows, std::min(most_rows, std::max<int64_t>(1, chunk_values / length)));
    const int64_t chunk_rows = ceil_div(rows, chunks);  // chunks of nearly one size
    const Buffers<uint64_t> buffers = allocate_buffers<uint64_t>(scratch, chunk_rows * length);
    for (int64_t first = 0; first < rows; first += chunk_rows) {
      const int64_t count = std::min(chunk_rows, rows - first);
      Buffers<uint64_t> items = buffers;
      launch("packing rows", pack_rows<T>, grid_for(count * tiles), kBlockThreads, 0, stream, x, payload, first, count, length,
             payload_bits, items.current, has_nan);
      // Payloads need no order among equal keys, so their bits are not sorted.
      sort_items(items, count * length, payload_bits, payload_bits + kKeyBits<T> + bits_to_hold(count - 1), memory, scratch,
                 stream);
      launch("reading sorted rows", visit_sorted_rows<PackedOrder, Sink>, grid_for(count * tiles), kBlockThreads, 0, stream,
             PackedOrder{items.current, payload_bits}, sink, first, count, length);
    }
  } else {
    const Buffers<uint64_t> key_buffers = allocate_buffers<uint64_t>(scratch, length);
    const Buffers<int32_t> payload_buffers = allocate_buffers<int32_t>(scratch, length);
    for (int64_t row = 0; row < rows; ++row) {
      Buffers<uint64_t> keys = key_buffers;
      Buffers<int32_t> payloads = payload_buffers;
      launch("splitting a row", split_row<T>, grid_for(tiles), kBlockThreads, 0, stream, x, payload, row, length, payload_bits,
             keys.current, payloads.current, has_nan);
      sort_pairs(keys, payloads, length, memory, scratch, stream);
      launch("reading a sorted row", visit_sorted_rows<PairOrder, Sink>, grid_for(tiles), kBlockThreads, 0, stream,
             PairOrder{keys.current, payloads.current}, sink, row, int64_t{1}, length);
    }
  }
}

}  // namespace captum_proto::cuda
