// Long rows, sorted in device memory by the library's radix sort, then read tile by tile.
#pragma once

#include <algorithm>

#include "library_sort.cuh"
#include "row_distance.cuh"
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

/// items = row | key | payload, for the rows [first_row, first_row + rows); and their distances.
template <typename T, class Distance>
__global__ void __launch_bounds__(kBlockThreads)
    pack_rows(Rows<T> x, Payload payload, Distance distance, int64_t first_row, int64_t rows, int length, int payload_bits,
              uint64_t* items, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kDistanceTile);
  const uint64_t payload_mask = (uint64_t{1} << payload_bits) - 1;
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kDistanceTile;
    const int end = length - begin < kDistanceTile ? length : begin + kDistanceTile;
    // The row's number stands above the key, so that one sort keeps all rows apart.
    const uint64_t row_and_gap = static_cast<uint64_t>(row) << kKeyBits<T>;
    bool met_nan = false;
    auto sum = distance.start();
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      sum.add(value, first_row + row, i);
      items[row * length + i] = ((row_and_gap | sort_key(value)) << payload_bits) | (payload.at(first_row + row, i) & payload_mask);
    }
    sum.finish(first_row + row, task % tiles, tiles);
    note_nan(met_nan, has_nan + first_row + row);
  }
}

/// keys, and tags = row | payload, for the rows [first_row, first_row + rows); and their distances.
template <typename T, class Distance>
__global__ void __launch_bounds__(kBlockThreads)
    split_rows(Rows<T> x, Payload payload, Distance distance, int64_t first_row, int64_t rows, int length, int payload_bits,
               uint64_t* keys, uint32_t* tags, int32_t* has_nan) {
  const int64_t tiles = ceil_div(length, kDistanceTile);
  const uint32_t payload_mask = (uint32_t{1} << payload_bits) - 1;
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kDistanceTile;
    const int end = length - begin < kDistanceTile ? length : begin + kDistanceTile;
    const uint32_t row_and_gap = static_cast<uint32_t>(row) << payload_bits;
    bool met_nan = false;
    auto sum = distance.start();
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      sum.add(value, first_row + row, i);
      keys[row * length + i] = sort_key(value);
      tags[row * length + i] = row_and_gap | (payload.at(first_row + row, i) & payload_mask);
    }
    sum.finish(first_row + row, task % tiles, tiles);
    note_nan(met_nan, has_nan + first_row + row);
  }
}

/// At least so many blocks on a multiprocessor; where the compiler is not told, it spills registers for the sake of more.
constexpr int kVisitingBlocks = 4;

template <class Order, class Sink>
__global__ void __launch_bounds__(kBlockThreads, kVisitingBlocks)
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

/// What the sort of a chunk of rows works on, and how a chunk is sorted and shown to a sink. Payloads need no order among equal
/// keys, so their bits are not sorted.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct LongRows {
  static constexpr int kBitsBesideKey = 64 - kKeyBits<T>;  // for the row's number and the payload
  Buffers<uint64_t> items;

  LongRows(Scratch& scratch, int64_t count) : items(allocate_buffers<uint64_t>(scratch, count)) {}

  template <class Sink, class Distance>
  void visit(const Rows<T>& x, const Payload& payload, const Distance& distance, int64_t first, int64_t rows, int length,
             int payload_bits, int32_t* has_nan, const Sink& sink, SortMemory& memory, Scratch& scratch, cudaStream_t stream) {
    const int64_t tiles = grid_for(rows * ceil_div(length, kDistanceTile));
    const int64_t blocks = grid_for(rows * ceil_div(length, kTile));
    launch("packing rows", pack_rows<T, Distance>, tiles, kBlockThreads, 0, stream, x, payload, distance, first, rows, length,
           payload_bits, items.current, has_nan);
    sort_items(items, rows * length, payload_bits, payload_bits + kKeyBits<T> + bits_to_hold(rows - 1), memory, scratch, stream);
    launch("reading sorted rows", visit_sorted_rows<PackedOrder, Sink>, blocks, kBlockThreads, 0, stream,
           PackedOrder{items.current, payload_bits}, sink, first, rows, length);
  }
};

/// A key of 64 bits leaves no room beside it: a first sort of all rows by keys, a second one by the rows' numbers, which keeps the
/// order of the keys.
template <typename T>
struct LongRows<T, false> {
  static constexpr int kBitsBesideKey = 32;
  Buffers<uint64_t> keys;
  Buffers<uint32_t> tags;

  LongRows(Scratch& scratch, int64_t count)
      : keys(allocate_buffers<uint64_t>(scratch, count)), tags(allocate_buffers<uint32_t>(scratch, count)) {}

  template <class Sink, class Distance>
  void visit(const Rows<T>& x, const Payload& payload, const Distance& distance, int64_t first, int64_t rows, int length,
             int payload_bits, int32_t* has_nan, const Sink& sink, SortMemory& memory, Scratch& scratch, cudaStream_t stream) {
    const int64_t tiles = grid_for(rows * ceil_div(length, kDistanceTile));
    const int64_t blocks = grid_for(rows * ceil_div(length, kTile));
    launch("splitting rows", split_rows<T, Distance>, tiles, kBlockThreads, 0, stream, x, payload, distance, first, rows, length,
           payload_bits, keys.current, tags.current, has_nan);
    sort_pairs(keys, tags, rows * length, 0, kKeyBits<T>, memory, scratch, stream);
    if (rows > 1) {
      sort_pairs(tags, keys, rows * length, payload_bits, payload_bits + bits_to_hold(rows - 1), memory, scratch, stream);
    }
    launch("reading sorted rows", visit_sorted_rows<PairOrder, Sink>, blocks, kBlockThreads, 0, stream,
           PairOrder{keys.current, tags.current, payload_bits}, sink, first, rows, length);
  }
};

/// Sorts all rows and shows every value's place to `sink`; `has_nan` (one per row) must be zeros and tells afterwards where NaNs
/// were. `chunk_values` bounds the values that are sorted at once, 16 bytes of scratch each, 24 for float64; where
/// there are not as many bytes, fewer are.
template <typename T, class Sink, class Distance>
void visit_long_rows(const Rows<T>& x, const Payload& payload, const Distance& distance, int64_t rows, int length,
                     int64_t chunk_values, int32_t* has_nan, const Sink& sink, Scratch& scratch, cudaStream_t stream) {
  const int payload_bits = bits_to_hold(2 * static_cast<int64_t>(length));  // doubled ranks and indices alike
  const int64_t most_rows = int64_t{1} << (LongRows<T>::kBitsBesideKey - payload_bits);
  const int64_t chunks = ceil_div(rows, std::min(most_rows, std::max<int64_t>(1, chunk_values / length)));
  const int64_t chunk_rows = ceil_div(rows, chunks);  // chunks of nearly one size
  struct Chunk {
    LongRows<T> rows;
    SortMemory memory;
  };
  // Packing takes no memory and may be repeated; the sort's own is taken before the sink sees anything.
  for_chunks(
      rows, chunk_rows, scratch, [&](int64_t most) { return Chunk{LongRows<T>(scratch, most * length), SortMemory()}; },
      [&](Chunk& chunk, int64_t first, int64_t count) {
        chunk.rows.visit(x, payload, distance, first, count, length, payload_bits, has_nan, sink, chunk.memory, scratch, stream);
      });
}

}  // namespace captum_proto::cuda
