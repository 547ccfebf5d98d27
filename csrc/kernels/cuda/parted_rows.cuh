// Long rows, moved into parts by intervals of their keys, which blocks sort in shared memory and show to a sink at once. See
// part_tables.cuh.
#pragma once

#include "part_planning.cuh"
#include "part_values.cuh"
#include "row_plan.cuh"

namespace captum_proto::cuda {

/// A sink that is told places within a part.
template <class Sink>
struct WithinRow {
  Sink& sink;
  int32_t part_begin;
  PartedRow row;

  __device__ __forceinline__ void visit(int payload, int begin, int end) {
    const int32_t below = part_begin + (part_begin + begin >= row.negatives ? row.zeros : 0);
    sink.visit(payload, below + begin, below + end);
  }
};

/// At least so many blocks on a multiprocessor; where the compiler is not told, it spills registers for the sake of a third.
template <typename T>
constexpr int kMovingBlocks = kKeyBits<T> <= 32 ? 2 : 1;

/// Moves each value to its part. Zeros are shown to the sink: their places are known already.
template <typename T, class Sink>
__global__ void __launch_bounds__(kPartThreads, kMovingBlocks<T>)
    move_to_parts(Rows<T> x, Payload payload, Sink sink, int64_t first_row, int64_t rows, int length, PartTables<T> tables,
                  KeyedValues<T> values) {
  using Key = Bits<T>;
  using Tree = Key[kMostBuckets];
  using Counts = int32_t[kMostBuckets];
  CAPTUM_PROTO_SHARED(Tree, tree);
  CAPTUM_PROTO_SHARED(Counts, counts);  // of this tile's values by part, then where they go
  constexpr int kPerThread = kTile / kPartThreads;
  constexpr int kPlaceBits = 13;
  static_assert(kTile < 1 << kPlaceBits && kMostBuckets <= 1 << (31 - kPlaceBits));
  const int leaves = tables.parting.leaves;
  const int64_t tiles = ceil_div(length, kTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kTile + static_cast<int>(threadIdx.x);
    const PartedRow of_row = tables.rows[row];
    plant_tree(tree, tables.part_bounds + row * leaves, leaves);
    for (int i = static_cast<int>(threadIdx.x); i < leaves; i += static_cast<int>(blockDim.x)) counts[i] = 0;
    __syncthreads();
    sink.start(first_row + row, length);
    Key keys[kPerThread];
    int32_t places[kPerThread];  // part, and place among the tile's values of the part; negative where there is none
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      const int i = begin + j * kPartThreads;
      places[j] = -1;
      if (i < length) {
        keys[j] = sort_key(x.at(first_row + row, i));
        if (keys[j] == kSign<T>) {
          sink.visit(static_cast<int>(payload.at(first_row + row, i)), of_row.negatives, of_row.negatives + of_row.zeros);
        } else {
          const int leaf = find_leaf(tree, leaves, keys[j]);
          const int part = leaf < of_row.parts ? leaf : of_row.parts - 1;
          places[j] = part << kPlaceBits | atomicAdd(counts + part, 1);
        }
      }
    }
    __syncthreads();
    for (int part = static_cast<int>(threadIdx.x); part < of_row.parts; part += static_cast<int>(blockDim.x)) {
      const int32_t count = counts[part];
      if (count > 0) counts[part] = atomicAdd(tables.part_ends + row * leaves + part, count);
    }
    __syncthreads();
#pragma unroll
    for (int j = 0; j < kPerThread; ++j) {
      if (places[j] < 0) continue;
      const int32_t place = counts[places[j] >> kPlaceBits] + (places[j] & ((1 << kPlaceBits) - 1));
      const uint32_t its_payload = payload.at(first_row + row, begin + j * kPartThreads);
      values.put(row * length + place, KeyedValues<T>::item(keys[j], its_payload));
    }
    sink.finish(first_row + row);
    __syncthreads();  // before the next task's tree
  }
}

/// Sorts the parts for which a block has room, and shows them to the sink.
template <typename T, class Sink>
__global__ void __launch_bounds__(kPartThreads)
    visit_parts(KeyedValues<T> values, Sink sink, int64_t first_row, int64_t rows, int length, PartTables<T> tables) {
  using Memory = PartMemory<T>;
  using Counts = DigitCounts<kPartThreads>;
  CAPTUM_PROTO_SHARED(Memory, memory);
  CAPTUM_PROTO_SHARED(Counts, counts);
  CAPTUM_PROTO_SHARED(TieTile, tile);
  const Parting& parting = tables.parting;
  for (int64_t task = blockIdx.x; task < rows * parting.parts; task += gridDim.x) {
    const int64_t row = task / parting.parts;
    const int32_t* const begins = tables.part_begins + row * (parting.leaves + 1) + task % parting.parts;
    const int32_t begin = begins[0];
    const int count = begins[1] - begin;
    if (count == 0 || count > parting.room) continue;  // for the whole block
    const KeyedValues<T> own = memory.values();
    for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
      own.put(i, values.get(row * length + begin + i));
    }
    __syncthreads();
    block_sort<kPartRoom<T> / kPartThreads>(counts, own, count);
    sink.start(first_row + row, length);
    WithinRow<Sink> within{sink, begin, tables.rows[row]};
    visit_tile(tile, own.order_from(0), count, 0, count, within);
    sink.finish(first_row + row);
    __syncthreads();  // before the next part is loaded
  }
}

/// Shows parts that were too large for a block to the sink, tile by tile: `sorted` by the library, or, where all keys are equal, as
/// they were moved.
template <typename T, class Sink>
__global__ void __launch_bounds__(kBlockThreads, kVisitingBlocks)
    visit_overfull_parts(KeyedValues<T> sorted, KeyedValues<T> moved, Sink sink, int64_t first_row, int length,
                         PartTables<T> tables) {
  CAPTUM_PROTO_SHARED(TieTile, ties);
  const int32_t listed = tables.listed[0];
  for (int64_t task = blockIdx.x; task < listed; task += gridDim.x) {
    const OverfullTile tile = tables.tiles[task];
    const int count = tile.end - tile.begin;
    const int end = count - tile.tile < tables.parting.room ? count : tile.tile + tables.parting.room;
    const KeyedValues<T>& values = tile.one_key != 0 ? moved : sorted;
    sink.start(first_row + tile.row, length);
    WithinRow<Sink> within{sink, tile.begin, tables.rows[tile.row]};
    visit_tile(ties, values.order_from(int64_t{tile.row} * length + tile.begin), count, tile.tile, end, within);
    sink.finish(first_row + tile.row);
    __syncthreads();  // before the next tile
  }
}

/// As visit_long_rows(), with the same scratch memory, and less than a hundredth more for the tables of parts.
template <typename T, class Sink, class Distance>
void visit_parted_rows(const Rows<T>& x, const Payload& payload, const Distance& distance, int64_t rows, int length,
                       const Parting& parting, int64_t chunk_values, int32_t* has_nan, const Sink& sink, Scratch& scratch,
                       cudaStream_t stream) {
  const int64_t most_rows = std::max<int64_t>(1, std::min(chunk_values, int64_t{1} << 30) / length);  // places are 32 bits
  const int64_t chunks = ceil_div(rows, most_rows);
  struct Chunk {
    PartBuffers<T> buffers;
    PartTables<T> tables;
    SortMemory memory;
  };
  for_chunks(
      rows, ceil_div(rows, chunks), scratch,
      [&](int64_t most) {
        return Chunk{PartBuffers<T>(scratch, most * length), PartTables<T>(scratch, parting, most, length), SortMemory()};
      },
      [&](Chunk& chunk, int64_t first, int64_t count) {
        const PartTables<T>& tables = chunk.tables;
        const Segments segments{tables.segment_begins, tables.segment_ends, tables.most_segments};
        chunk.buffers.sort(count * length, segments, chunk.memory, scratch, stream, true);  // before the sink sees anything
        fill_zero(tables.counts, tables.zeros_bytes, stream);
        launch("sampling rows", sample_rows<T>, grid_for(count), kPartThreads, 0, stream, x, first, count, length, tables);
        launch("counting buckets", count_buckets<T, Distance>, grid_for(count * ceil_div(length, kDistanceTile)), kBlockThreads, 0,
               stream, x, distance, first, count, length, tables, has_nan);
        launch("planning parts", plan_parts<T>, grid_for(count), kBlockThreads, 0, stream, count, length, tables);
        const KeyedValues<T> moved = chunk.buffers.values();
        launch("moving to parts", move_to_parts<T, Sink>, grid_for(count * ceil_div(length, kTile)), kPartThreads, 0, stream, x,
               payload, sink, first, count, length, tables, moved);
        launch("sorting parts", visit_parts<T, Sink>, grid_for(count * parting.parts), kPartThreads, 0, stream, moved, sink, first,
               count, length, tables);
        chunk.buffers.sort(count * length, segments, chunk.memory, scratch, stream, false);
        launch("reading overfull parts", visit_overfull_parts<T, Sink>, grid_for(tables.most_tiles), kBlockThreads, 0, stream,
               chunk.buffers.values(), moved, sink, first, length, tables);
      });
}

/// Shows every value's place to `sink`, and takes distances: in parts, or sorted by the library.
template <typename T, class Sink, class Distance>
void visit_rows(const Rows<T>& x, const Payload& payload, const Distance& distance, int64_t rows, int length, const Plan& plan,
                int32_t* has_nan, const Sink& sink, Scratch& scratch, cudaStream_t stream) {
  if constexpr (kKeyBits<T> >= 32) {
    const Parting parting(length, std::min(plan.part_room, kPartRoom<T>));
    if (length >= plan.shortest_parted_row && parting.fits()) {
      visit_parted_rows(x, payload, distance, rows, length, parting, plan.chunk_values, has_nan, sink, scratch, stream);
      return;
    }
  }
  visit_long_rows(x, payload, distance, rows, length, plan.chunk_values, has_nan, sink, scratch, stream);
}

}  // namespace captum_proto::cuda
