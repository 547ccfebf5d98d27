// How long rows are parted: a row's values, zeros apart, go into parts by intervals of their keys, each small enough for a block to
// sort. Equal keys share a part, so a part and what lies below it say all about its ranks.
//
// A sample of the row proposes buckets, counting fills in how many values each has, and neighbors are joined to parts while a block
// has room for them. A bucket that is too large all by itself is a part too, which the library sorts.
#pragma once

#include <algorithm>

#include "scratch.cuh"
#include "sort_key.cuh"
#include "tie_groups.cuh"

namespace captum_proto::cuda {

constexpr int kMostBuckets = 2048;
constexpr int kMostSamples = 4096;

/// Values that a block sorts in shared memory.
template <typename T>
constexpr int kPartRoom = kKeyBits<T> <= 32 ? kTile : kTile / 2;

inline int power_of_two(int64_t least) {
  int power = 1;
  while (power < least) power *= 2;
  return power;
}

/// Sizes that depend on the rows' length alone.
struct Parting {
  int room;     // values of a part
  int buckets;  // of a row: a power of two, of which a quarter of a part's room is to be expected
  int samples;  // of a row
  int parts;    // of a row, at most
  int leaves;   // the same, to a power of two

  Parting(int length, int part_room)
      : room(part_room),
        buckets(power_of_two(ceil_div(length, std::max(1, part_room / 4)))),
        samples(std::min(length, std::min(kMostSamples, std::max(256, 8 * buckets)))),
        // What does not fit beside a part goes into the next: two neighbors hold more than the room of one.
        parts(static_cast<int>(std::min<int64_t>(buckets, 2 * ceil_div(length, part_room) + 1))),
        leaves(power_of_two(parts)) {}

  bool fits() const { return buckets <= kMostBuckets; }
};

/// What is known of a row.
struct PartedRow {
  int32_t zeros;
  int32_t negatives;  // values below zero: places of the others are above the zeros
  int32_t parts;
};

/// Up to a block's room of values of a part that is too large.
struct OverfullTile {
  int32_t row, begin, end;  // the part
  int32_t tile;             // where the tile begins, counted from the part's begin
  int32_t one_key;          // whether all of the part's keys are equal, which need no sort
};

/// The parts of a chunk of rows, in scratch memory.
template <typename T>
struct PartTables {
  Parting parting;
  Bits<T>* bounds;       // (rows, buckets): the lowest key of a bucket may be this
  Bits<T>* part_bounds;  // (rows, leaves): of a part; the highest key where there is none
  int32_t* part_begins;  // (rows, leaves + 1): the first place of a part among a row's values that are not zero
  int32_t* part_ends;    // (rows, leaves): up to where a part is filled
  OverfullTile* tiles;   // (most_tiles)
  // From here on zeros, to begin with.
  int32_t* counts;  // (rows, buckets)
  PartedRow* rows;
  int32_t* segment_begins;  // (most_segments): parts for the library to sort, in all items
  int32_t* segment_ends;
  int32_t* listed;  // how many tiles, how many segments there are

  int64_t most_tiles;
  int64_t most_segments;
  size_t zeros_bytes;

  PartTables(Scratch& scratch, const Parting& sizes, int64_t row_count, int length) : parting(sizes) {
    most_segments = ceil_div(row_count * length, parting.room);  // each has more values than a part has room for
    most_tiles = 2 * most_segments;
    bounds = scratch.allocate<Bits<T>>(row_count * parting.buckets);
    part_bounds = scratch.allocate<Bits<T>>(row_count * parting.leaves);
    part_begins = scratch.allocate<int32_t>(row_count * (parting.leaves + 1));
    part_ends = scratch.allocate<int32_t>(row_count * parting.leaves);
    tiles = scratch.allocate<OverfullTile>(most_tiles);
    const int64_t words = row_count * parting.buckets + 3 * row_count + 2 * most_segments + 2;
    static_assert(sizeof(PartedRow) == 3 * sizeof(int32_t));
    zeros_bytes = static_cast<size_t>(words) * sizeof(int32_t);
    counts = scratch.allocate<int32_t>(words);
    rows = reinterpret_cast<PartedRow*>(counts + row_count * parting.buckets);
    segment_begins = reinterpret_cast<int32_t*>(rows + row_count);
    segment_ends = segment_begins + most_segments;
    listed = segment_ends + most_segments;
  }
};

/// Puts `leaves` sorted bounds, a power of two, into the order of a search tree: node k's children are 2 k and 2 k + 1. Nodes of
/// one level lie side by side, so that lanes which part ways meet few banks of shared memory twice.
template <typename Key>
__device__ void plant_tree(Key* tree, const Key* bounds, int leaves) {
  for (int node = 1 + static_cast<int>(threadIdx.x); node < leaves; node += static_cast<int>(blockDim.x)) {
    const int level = 31 - __clz(node);
    tree[node] = bounds[(2 * (node - (1 << level)) + 1) * (leaves >> (level + 1))];
  }
}

/// The last interval whose bound is not above the key; the first has none.
template <typename Key>
__device__ __forceinline__ int find_leaf(const Key* tree, int leaves, Key key) {
  int node = 1;
  while (node < leaves) node = 2 * node + (key >= tree[node] ? 1 : 0);
  return node - leaves;
}

}  // namespace captum_proto::cuda
