// Memory for parts: a block's, for one of them, and a chunk of rows'.
#pragma once

#include "keyed_values.cuh"
#include "library_sort.cuh"
#include "part_tables.cuh"

namespace captum_proto::cuda {

/// Room for a part in shared memory.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct PartMemory {
  uint64_t items[kPartRoom<T>];
  __device__ KeyedValues<T> values() { return KeyedValues<T>{items}; }
};

template <typename T>
struct PartMemory<T, false> {
  uint64_t keys[kPartRoom<T>];
  uint32_t payloads[kPartRoom<T>];
  __device__ KeyedValues<T> values() { return KeyedValues<T>{keys, payloads}; }
};

/// The values of a chunk of rows, and what the library needs to sort some of them.
template <typename T, bool = (kKeyBits<T> <= 32)>
struct PartBuffers {
  Buffers<uint64_t> items;

  PartBuffers(Scratch& scratch, int64_t count) : items(allocate_buffers<uint64_t>(scratch, count)) {}
  KeyedValues<T> values() const { return KeyedValues<T>{items.current}; }
  void sort(int64_t count, const Segments& segments, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
    sort_segments(items, count, segments, 32, 32 + kKeyBits<T>, memory, scratch, stream, only_reserve);
  }
};

template <typename T>
struct PartBuffers<T, false> {
  Buffers<uint64_t> keys;
  Buffers<uint32_t> payloads;

  PartBuffers(Scratch& scratch, int64_t count)
      : keys(allocate_buffers<uint64_t>(scratch, count)), payloads(allocate_buffers<uint32_t>(scratch, count)) {}
  KeyedValues<T> values() const { return KeyedValues<T>{keys.current, payloads.current}; }
  void sort(int64_t count, const Segments& segments, SortMemory& memory, Scratch& scratch, cudaStream_t stream, bool only_reserve) {
    sort_segments(keys, payloads, count, segments, 0, kKeyBits<T>, memory, scratch, stream, only_reserve);
  }
};

}  // namespace captum_proto::cuda
