// Into which parts a row goes: buckets from a sample, counts of all values, parts that fit a block.
#pragma once

#include "block_sort.cuh"
#include "long_rows.cuh"
#include "part_tables.cuh"

namespace captum_proto::cuda {

constexpr int kPartThreads = 512;

template <typename T>
struct SampledKeys {
  using Key = Bits<T>;
  using Item = Bits<T>;
  Key* keys;

  static __device__ __forceinline__ Key key(Item item) { return item; }
  __device__ __forceinline__ Item get(int i) const { return keys[i]; }
  __device__ __forceinline__ void put(int i, Item item) const { keys[i] = item; }
};

/// Any value from one interval of a row each, so that no period of the row is that of the sample.
__device__ __forceinline__ int place_of_sample(int number, int samples, int length) {
  const int begin = static_cast<int>(int64_t{number} * length / samples);
  const int end = static_cast<int>((int64_t{number} + 1) * length / samples);
  uint32_t mixed = static_cast<uint32_t>(number) * 0x9e3779b9u;
  mixed = (mixed ^ mixed >> 15) * 0x85ebca6bu;
  mixed ^= mixed >> 13;
  return begin + static_cast<int>(mixed % static_cast<uint32_t>(end - begin));
}

/// bounds = quantiles of a sample of each row's values, without zeros. A key that is two or more quantiles gets a bucket of its
/// own, from the key to the next.
template <typename T>
__global__ void __launch_bounds__(kPartThreads, 1)  // where the compiler is not told, it spills for a second block
    sample_rows(Rows<T> x, int64_t first_row, int64_t rows, int length, PartTables<T> tables) {
  using Key = Bits<T>;
  using Keys = Key[kMostSamples];
  using Counts = DigitCounts<kPartThreads>;
  CAPTUM_PROTO_SHARED(Keys, keys);
  CAPTUM_PROTO_SHARED(Counts, counts);
  const Key highest = static_cast<Key>(~Key{0});
  const int samples = tables.parting.samples;
  const int buckets = tables.parting.buckets;
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    int32_t kept = 0;
    for (int i = static_cast<int>(threadIdx.x); i < samples; i += static_cast<int>(blockDim.x)) {
      const Key key = sort_key(x.at(first_row + row, place_of_sample(i, samples, length)));
      keys[i] = key == kSign<T> ? highest : key;  // behind the others
      kept += key == kSign<T> ? 0 : 1;
    }
    kept = block_reduce(kept, Plus());
    block_sort<kMostSamples / kPartThreads>(counts, SampledKeys<T>{keys}, samples);
    for (int bucket = static_cast<int>(threadIdx.x); bucket < buckets; bucket += static_cast<int>(blockDim.x)) {
      Key bound = 0;
      if (bucket > 0) {
        bound = keys[int64_t{bucket} * kept / buckets];
        const bool again = bucket > 1 && keys[(int64_t{bucket} - 1) * kept / buckets] == bound;
        if (again && bound != highest) ++bound;
      }
      tables.bounds[row * buckets + bucket] = bound;
    }
    __syncthreads();  // before the next row's sample
  }
}

/// counts = how many values a row's buckets have; and its zeros, its values below, its distance.
template <typename T, class Distance>
__global__ void __launch_bounds__(kBlockThreads) count_buckets(Rows<T> x, Distance distance, int64_t first_row, int64_t rows,
                                                               int length, PartTables<T> tables, int32_t* has_nan) {
  using Key = Bits<T>;
  using Tree = Key[kMostBuckets];
  using Counts = int32_t[kMostBuckets];
  CAPTUM_PROTO_SHARED(Tree, tree);
  CAPTUM_PROTO_SHARED(Counts, counts);
  const int buckets = tables.parting.buckets;
  const int64_t tiles = ceil_div(length, kDistanceTile);
  for (int64_t task = blockIdx.x; task < rows * tiles; task += gridDim.x) {
    const int64_t row = task / tiles;
    const int begin = static_cast<int>(task % tiles) * kDistanceTile;
    const int end = length - begin < kDistanceTile ? length : begin + kDistanceTile;
    plant_tree(tree, tables.bounds + row * buckets, buckets);
    for (int i = static_cast<int>(threadIdx.x); i < buckets; i += static_cast<int>(blockDim.x)) counts[i] = 0;
    __syncthreads();
    bool met_nan = false;
    auto sum = distance.start();
    int32_t zeros = 0;
    int32_t negatives = 0;
    for (int i = begin + static_cast<int>(threadIdx.x); i < end; i += static_cast<int>(blockDim.x)) {
      const T value = x.at(first_row + row, i);
      met_nan |= is_nan(value);
      sum.add(value, first_row + row, i);
      const Key key = sort_key(value);
      if (key == kSign<T>) {
        ++zeros;
      } else {
        negatives += key < kSign<T> ? 1 : 0;
        atomicAdd(counts + find_leaf(tree, buckets, key), 1);
      }
    }
    sum.finish(first_row + row, task % tiles, tiles);
    zeros = block_sum(zeros);  // with barriers, after which all is counted
    negatives = block_sum(negatives);
    if (threadIdx.x == 0) {
      if (zeros > 0) atomicAdd(&tables.rows[row].zeros, zeros);
      if (negatives > 0) atomicAdd(&tables.rows[row].negatives, negatives);
    }
    for (int i = static_cast<int>(threadIdx.x); i < buckets; i += static_cast<int>(blockDim.x)) {
      if (counts[i] > 0) atomicAdd(tables.counts + row * buckets + i, counts[i]);
    }
    note_nan(met_nan, has_nan + first_row + row);  // with a barrier, before the next task's tree
  }
}

/// Joins neighboring buckets to parts as long as they fit, and lists parts that do not fit at all.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) plan_parts(int64_t rows, int length, PartTables<T> tables) {
  using Places = int32_t[kMostBuckets + 1];
  using Cuts = int32_t[kMostBuckets];
  CAPTUM_PROTO_SHARED(Places, places);  // where a bucket begins among the row's values
  CAPTUM_PROTO_SHARED(Cuts, cuts);      // the first bucket of a part
  CAPTUM_PROTO_SHARED(int, found);
  const Parting& parting = tables.parting;
  const int buckets = parting.buckets;
  const int lane = lane_of_thread();
  for (int64_t row = blockIdx.x; row < rows; row += gridDim.x) {
    if (warp_of_thread() == 0) {
      int32_t before = 0;
      for (int first = 0; first < buckets; first += kWarp) {
        const int bucket = first + lane;
        const int32_t count = bucket < buckets ? tables.counts[row * buckets + bucket] : 0;
        const int32_t up_to_here = scan_lanes(count);
        if (bucket < buckets) places[bucket] = before + up_to_here - count;
        before += __shfl_sync(kAllLanes, up_to_here, kWarp - 1);
      }
      if (lane == 0) places[buckets] = before;
      __syncwarp();
      int parts = 0;
      for (int first = 0; first < buckets;) {
        if (lane == 0) cuts[parts] = first;
        ++parts;
        const int32_t most = places[first] + parting.room;
        int end = first + 1;  // a bucket that is too large is a part
        for (;;) {
          const int probe = end + 1 + lane;
          const unsigned beyond = __ballot_sync(kAllLanes, probe > buckets || places[probe] > most);
          if (beyond != 0) {
            end += __ffs(static_cast<int>(beyond)) - 1;
            break;
          }
          end += kWarp;
        }
        first = end;
      }
      if (lane == 0) {
        found = parts;
        tables.rows[row].parts = parts;
      }
    }
    __syncthreads();
    const int parts = found;
    for (int part = static_cast<int>(threadIdx.x); part < parting.leaves; part += static_cast<int>(blockDim.x)) {
      const int64_t at = row * parting.leaves + part;
      const bool exists = part < parts;
      const bool is_last = part + 1 >= parts;
      const int32_t begin = places[exists ? cuts[part] : buckets];
      const int32_t end = places[is_last ? buckets : cuts[part + 1]];
      const Bits<T> highest = static_cast<Bits<T>>(~Bits<T>{0});
      const Bits<T> bound = exists ? tables.bounds[row * buckets + cuts[part]] : highest;
      tables.part_bounds[at] = bound;
      tables.part_begins[row * (parting.leaves + 1) + part] = begin;
      tables.part_ends[at] = begin;
      if (end - begin > parting.room) {
        const bool one_key = !is_last && cuts[part] > 0 && tables.bounds[row * buckets + cuts[part + 1]] - bound == 1;
        const int tiles = static_cast<int>(ceil_div(end - begin, parting.room));
        const int32_t first = atomicAdd(tables.listed, tiles);
        for (int i = 0; i < tiles; ++i) {
          tables.tiles[first + i] = OverfullTile{static_cast<int32_t>(row), begin, end, i * parting.room, one_key ? 1 : 0};
        }
        if (!one_key) {
          const int32_t segment = atomicAdd(tables.listed + 1, 1);
          tables.segment_begins[segment] = static_cast<int32_t>(row * length + begin);
          tables.segment_ends[segment] = static_cast<int32_t>(row * length + end);
        }
      }
    }
    if (threadIdx.x == 0) tables.part_begins[row * (parting.leaves + 1) + parting.leaves] = places[buckets];
    __syncthreads();  // before the next row's places
  }
}

}  // namespace captum_proto::cuda
